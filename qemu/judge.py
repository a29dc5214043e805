#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks one run of the guest: the documents on its result line, and its console.

A run passes only if the guest ran to its end, every expected suite printed a complete
document, no test failed, none was skipped without permission, the kernel and quiesce.ko
printed no unannounced warning, and the tools that would warn still worked at the end.
Missing output is a failure: QEMU exits with status 0 even after a guest panic.

Exit status: 0 passed, 1 tests failed, 3 the kernel crashed, hung or complained.
"""

import argparse
import fnmatch
import re
import sys

EX_OK, EX_TESTS, EX_CRASH = 0, 1, 3

# What a healthy kernel does not print; after rcutorture's console-badness.sh.
COMPLAINT = re.compile(
    r"WARNING:|\bBUG\b[: ]|\bOops\b|Kernel panic|Call Trace:|general protection fault|"
    r"KASAN|KCSAN:|UBSAN:|KFENCE|kmemleak: \d+ new|Unable to handle|"
    r"possible (?:circular|recursive) locking|inconsistent lock state|possible irq lock inversion|"
    r"suspicious RCU usage|bad unlock balance|INFO: task .* blocked for more than|held lock freed|"
    r"self-detected stall|detected stalls on|detected expedited stalls|soft lockup|hard LOCKUP|"
    r"ODEBUG:|list_(?:add|del) corruption|refcount_t:|sleeping function called|scheduling while atomic|"
    r"rust_kernel: panicked|percpu ref .* <= 0|kobject_add_internal failed|unregister_netdevice: waiting|"
    # A tool that warns has turned itself off, or messages were lost.
    r"printk messages dropped|lockdep is turned off|turning off the locking correctness validator|"
    r"Kernel memory leak detector disabled|kmemleak: Cannot allocate|huh, entered softirq|"
    r"invoked oom-killer|Out of memory|page allocation failure|"
    # The crate's own warnings.
    r"(?:^|\] )quiesce: (?!expect-(?:begin|end)\b|loading out-of-tree module|module verification failed)"
)
# Printed at boot by kernels that are configured with these tools.
HARMLESS = re.compile(
    r"KernelAddressSanitizer initialized|kasan: |\*\*(?!.*printk messages dropped).*\*\*|rcu: .*(?:CONFIG_|RCU_)|KFENCE.*initialized|kfence: initialized"
)
# Further lines of one complaint: a trace, and what a report of the crate's lists.
CONTINUED = re.compile(r"Call Trace:|(?:^|\] )quiesce: {2,}")
# A test that provokes a complaint says so in the kernel's log, before and after:
#   quiesce: expect-begin REGEX
#   quiesce: expect-end
# What comes between must match, and at least once. The text before "quiesce:" is the
# kernel's or, from a test module, that module's name.
EXPECT_BEGIN = re.compile(r"quiesce: expect-begin (.*)")
EXPECT_END = re.compile(r"quiesce: expect-end")

RESULT = re.compile(r"^(ok|not ok)\s+(\d+)(?:\s+-)?\s*(.*?)(?:\s+#\s*(SKIP|XFAIL|TODO)\b.*)?$", re.I)
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP.*)?$", re.I)
# Lines before a result that are not about why it failed.
NO_REASON = re.compile(r"K?TAP version|# Subtest:|# \S*\.?speed:|$")
REASONS = 4


class Level:
    """One level of a KTAP document: a plan and the results that it promised."""

    def __init__(self):
        self.plan = None
        self.results = 0
        self.had_child = False


class Suite:
    """One document of the result line."""

    def __init__(self, name):
        self.name = name
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.reasons = []
        self.skips = []
        self.problems = []
        self.seconds = ""
        self.status = None
        self.closed = False
        self.levels = [Level()]

    def line(self, raw):
        text = raw.strip()
        if text.startswith("# seconds "):
            self.seconds = text.split()[2]
            return
        if text.startswith("# status "):
            self.status = int(text.split()[2])
            return
        depth = (len(raw) - len(raw.lstrip(" "))) // 4
        plan, result = PLAN.match(text), RESULT.match(text)
        if not plan and not result:
            if not NO_REASON.match(text):
                self.reasons.append(text.removeprefix("# "))
            return
        reasons, self.reasons = self.reasons[-REASONS:], []
        while len(self.levels) > depth + 1:
            self.close_level()
        while len(self.levels) < depth + 1:
            self.levels[-1].had_child = True
            self.levels.append(Level())
        level = self.levels[-1]
        if plan:
            level.plan = int(plan.group(1))
            return
        level.results += 1
        if int(result.group(2)) != level.results:
            self.problems.append(f"result {result.group(2)} came as number {level.results}")
        ok, name, mark = result.group(1) == "ok", result.group(3), (result.group(4) or "").upper()
        # A parent's result repeats its children's.
        if level.had_child:
            level.had_child = False
            if not ok and not self.failed:
                self.problems.append(f"{name} failed though none of its tests did")
        # An expected failure counts as a skip: only a line of qemu/suites allows it.
        elif mark:
            self.skipped += 1
            self.skips.append(name)
        elif ok:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(" | ".join([f"{name} failed", *reasons]))

    def close_level(self):
        level = self.levels.pop()
        if level.plan is None:
            if level.results:
                self.problems.append("results without a plan")
        elif level.plan != level.results:
            self.problems.append(f"{level.plan} tests were planned, {level.results} reported")

    def close(self, closed):
        while self.levels:
            self.close_level()
        if not closed:
            self.problems.append("the document is truncated")
        if not self.passed + self.failed + self.skipped:
            self.problems.append("it ran no test")
        elif not self.passed + self.failed:
            self.problems.append("all of its tests were skipped")
        if self.status not in (None, 0, 4) and not self.failed:
            self.problems.append(f"it ended with status {self.status}")


def read_results(path):
    """Returns the suites of a result line, the number that the guest ended with, and what
    of the kernel's checks was alive then."""
    suites, done, current, alive = [], None, None, []
    with open(path, encoding="utf-8", errors="replace") as lines:
        for raw in lines:
            raw = raw.rstrip("\r\n")
            if raw.startswith("# begin "):
                if current:
                    current.close(False)
                current = Suite(raw.split()[2])
                suites.append(current)
            elif raw.startswith("# end ") and current:
                current.close(raw.split()[2] == current.name)
                current = None
            elif raw.startswith("# DONE suites="):
                done = int(raw.partition("=")[2])
            elif raw.startswith("# alive ") and not current:
                alive += raw.split()[2:]
            elif current:
                current.line(raw)
    if current:
        current.close(False)
    return suites, done, alive


def read_skips(path):
    """Returns the skips that are allowed: suite, pattern of the test's name, reason."""
    allowed = []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            suite, _, rest = line.strip().partition(" ")
            pattern, _, reason = rest.partition(" | ")
            allowed.append((suite, pattern.strip(), reason.strip()))
    return allowed


def kunit_seconds(path):
    """Returns how long each KUnit suite took, by the console's time stamps."""
    begun, took = {}, {}
    stamp = re.compile(r"^\[ *(\d+\.\d+)\] +(?:# Subtest: (\S+)|(?:not )?ok \d+ (\S+)$)")
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            match = stamp.match(line.rstrip())
            if match and match.group(2):
                begun[match.group(2)] = float(match.group(1))
            elif match and match.group(3) in begun:
                took[match.group(3)] = f"{float(match.group(1)) - begun[match.group(3)]:.1f}"
    return took


def complaints(path, announced=None):
    """Returns the kernel's complaints that no test had announced; ANNOUNCED is so all along."""
    found, expected, pattern, seen, number = [], bool(announced), re.compile(announced or "$^"), 0, 0
    cut, pending = False, None
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            begin = EXPECT_BEGIN.search(line)
            if begin:
                if expected:
                    found.append((number, f"announced before the end of: {pattern.pattern}"))
                try:
                    pattern = re.compile(begin.group(1).strip())
                except re.error:
                    found.append((number, f"not a regular expression: {begin.group(1)}"))
                    pattern = re.compile("$^")
                expected, seen = True, 0
                continue
            if EXPECT_END.search(line):
                if not expected:
                    found.append((number, "an end without an announcement"))
                elif not seen:
                    found.append((number, f"the announced warning did not appear: {pattern.pattern}"))
                expected = False
                continue
            if expected and pattern.search(line):
                seen += 1
                pending = None
            # The text of a WARN() comes between these two lines.
            if cut and expected and not pattern.search(line):
                pending = (number, line.strip()) if COMPLAINT.search(line) else None
                cut = False
                continue
            cut = "[ cut here ]" in line
            if pending:
                found.append(pending)
                pending = None
            if not COMPLAINT.search(line) or HARMLESS.search(line):
                continue
            # The trace of an announced complaint is part of it; another complaint is not.
            if expected and (pattern.search(line) or (seen and CONTINUED.search(line))):
                continue
            found.append((number, line.strip()))
    if pending:
        found.append(pending)
    if expected and not announced:
        found.append((number, f"announced without an end: {pattern.pattern}"))
    return found


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--console", required=True)
    args.add_argument("--results", required=True)
    args.add_argument("--expect", default="", help="the suites that have to be there, separated by blanks")
    args.add_argument("--alive", default="", help="the kernel's checks that have to work at the end, the same")
    args.add_argument("--skips", help="a file of the skips that are allowed: SUITE PATTERN | REASON in each line")
    args.add_argument("--profile", default="-")
    args.add_argument("--table", help="append a line for each suite to this file")
    args.add_argument("--console-only", action="store_true")
    args.add_argument("--announced", help="what the kernel may complain about anywhere, for --console-only")
    args = args.parse_args()

    bad = complaints(args.console, args.announced)
    if args.console_only:
        for number, line in bad[:10]:
            print(f"console:{number}: {line}")
        return EX_CRASH if bad else EX_OK

    suites, done, alive = read_results(args.results)
    allowed = read_skips(args.skips) if args.skips else []
    excused = []
    crash, failed = [], []
    if done is None:
        crash.append("the guest did not come to its end")
    elif done != len(suites):
        crash.append(f"the guest ran {done} suites and reported {len(suites)}")
    if done is not None:
        crash += [f"{check} does not work at the end" for check in args.alive.split() if check not in alive]
    crash += [f"console:{number}: {line}" for number, line in bad[:10]]
    if len(bad) > 10:
        crash.append(f"{len(bad) - 10} more warnings")

    names = [suite.name for suite in suites]
    failed += [f"{name}: the expected suite is missing" for name in args.expect.split() if name not in names]
    failed += [f"{name}: reported, and qemu/suites does not list it here" for name in names if name not in args.expect.split()]
    failed += [f"{name}: reported twice" for name in sorted(set(names)) if names.count(name) > 1]
    for suite in suites:
        failed += [f"{suite.name}: {failure}" for failure in suite.failures]
        for name in suite.skips:
            reason = next((why for of, pattern, why in allowed if of == suite.name and fnmatch.fnmatchcase(name, pattern)), None)
            if reason is None:
                suite.problems.append(f"{name} was skipped, which qemu/suites does not allow here")
            else:
                excused.append((suite.name, name, reason))
        failed += [f"{suite.name}: {problem}" for problem in suite.problems]
    if not any(suite.passed + suite.failed for suite in suites):
        failed.append("no test ran")

    for line in crash + failed:
        print(f"{args.profile}: {line}")
    if args.table:
        took = kunit_seconds(args.console)
        with open(args.table, "a", encoding="utf-8") as table:
            for suite in suites:
                wrong = suite.failed + (1 if suite.problems else 0)
                print(args.profile, suite.name, suite.passed, wrong, suite.skipped, suite.seconds or took.get(suite.name, "-"),
                      file=table)
            missing = [name for name in args.expect.split() if name not in names]
            for name in missing:
                print(args.profile, name, 0, 1, 0, "-", file=table)
            if crash:
                print(args.profile, "(kernel)", 0, 1, 0, "-", file=table)
            for suite, name, reason in excused:
                print("#skip", args.profile, suite, f"{name}: {reason}", file=table)
            for line in crash + failed:
                print("#wrong", args.profile, line, file=table)
    return EX_CRASH if crash else EX_TESTS if failed else EX_OK


if __name__ == "__main__":
    sys.exit(main())
