#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The judge's own tests: recorded logs, with one thing changed in most. Prints KTAP.

The four recordings beside this file are of real runs. An edit of a log is a function
of its text; a case says which status the judge has to give and what it has to say.
"""

import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
EXPECT = "quiesce_load quiesce_rundown quiesce_unload"
PASS, TESTS, CRASH = 0, 1, 3


def said(*lines):
    """Edit of a console: what the kernel said, in one of the tests."""
    text = "".join(f"[    9.{at:06}] {line}\n" for at, line in enumerate(lines))
    return lambda log: log + text


def announced(regex, *lines):
    return said(f"quiesce: expect-begin {regex}", *lines, "quiesce: expect-end")


def replaced(old, new, count=1):
    def edit(log):
        assert log.count(old) >= count, old
        return log.replace(old, new)
    return edit


def without(first, last):
    """Edit that takes out the lines from one that begins with FIRST to one with LAST."""
    def edit(log):
        lines = log.splitlines(keepends=True)
        begin = next(at for at, line in enumerate(lines) if line.startswith(first))
        end = next(at for at, line in enumerate(lines) if at >= begin and line.startswith(last))
        return "".join(lines[:begin] + lines[end + 1:])
    return edit


def both(*edits):
    def edit(log):
        for one in edits:
            log = one(log)
        return log
    return edit


def same(log):
    return log


def nothing(log):
    return ""


def trace():
    """The recorded warning, as the kernel printed it."""
    log = (HERE / "warning/console.log").read_text(encoding="utf-8").splitlines()
    begin = next(at for at, line in enumerate(log) if "cut here" in line)
    end = next(at for at, line in enumerate(log) if "end trace" in line)
    return [line.partition("] ")[2] for line in log[begin:end + 1]]


WARNING = trace()
UNLOADED = "ok 6 - no memory was left"
SKIPPED = "ok 6 - no memory was left # SKIP kmemleak is not there"
MAY_SKIP = "quiesce_unload no memory was left | kmemleak is not there\n"

# name, recording, edit of the console, edit of the results, status, what is said, skips
CASES = [
    ("a clean run", "clean", same, same, PASS, ""),
    ("a failing test", "failing", same, same, TESTS, "version failed | version: ASSERTION FAILED at "),
    ("what a test printed before it failed", "failing", same, same, TESTS, " | Expected quiesce::rundown::version() == 2 to be true"),
    ("what another test printed", "clean", same, both(replaced("ok 3 - ", "# gone\nok 3 - "), replaced("ok 4 - the user",
        "not ok 4 - the user")), TESTS, "the user of another tree unloads failed\n"),
    ("a warning", "warning", same, same, CRASH, "WARNING:"),
    ("a panic", "panic", same, same, CRASH, "did not come to its end"),
    # The results.
    ("nothing at all", "clean", nothing, nothing, CRASH, "did not come to its end"),
    ("the guest ends in the middle", "clean", same, without("    ok 1 version", "# exit"), CRASH, "did not come to its end"),
    ("the last suite fails", "clean", same, replaced("ok 4 - the user", "not ok 4 - the user"), TESTS, "the user of another tree"),
    ("a suite is missing", "clean", same, both(without("# begin quiesce_rundown", "# end quiesce_rundown"),
        replaced("suites=3", "suites=2")), TESTS, "the expected suite is missing"),
    ("a test is missing", "clean", same, without(UNLOADED, UNLOADED), TESTS, "6 tests were planned, 5 reported"),
    ("a program dies", "clean", same, replaced("# end quiesce_load", "# status 139\n# end quiesce_load"), TESTS, "status 139"),
    ("a skip that is allowed", "clean", same, replaced(UNLOADED, SKIPPED), PASS, "", MAY_SKIP),
    ("a skip that is not allowed", "clean", same, replaced(UNLOADED, SKIPPED), TESTS, "does not allow"),
    ("a skip allowed in another suite", "clean", same, replaced(UNLOADED, SKIPPED), TESTS, "does not allow",
        MAY_SKIP.replace("unload", "load")),
    ("a failure that is expected", "clean", same, replaced(UNLOADED, "not ok 6 - no memory was left # TODO"), TESTS,
        "does not allow"),
    ("a suite that only skips", "clean", same, both(replaced("    ok 1 version", "    ok 1 version # SKIP"),
        replaced("ok 1 quiesce_rundown", "ok 1 quiesce_rundown # SKIP")), TESTS, "all of its tests were skipped",
        "quiesce_rundown * | never there\n"),
    ("a suite that is not listed", "clean", same, lambda log: log.replace("# DONE suites=3", "# begin quiesce_other\n1..1\n"
        "ok 1 - other\n# end quiesce_other\n# DONE suites=4"), TESTS, "does not list it here"),
    ("a suite that reports twice", "clean", same, lambda log: log.replace("# DONE suites=3", "# begin quiesce_rundown\n1..1\n"
        "ok 1 - version\n# end quiesce_rundown\n# DONE suites=4"), TESTS, "reported twice"),
    ("a suite that does not end", "clean", same, replaced("# end quiesce_load\n", ""), TESTS, "the document is truncated"),
    ("results out of order", "clean", same, replaced("ok 4 - the user", "ok 5 - the user"), TESTS, "came as number 4"),
    ("a suite that did not report", "clean", same, replaced("# DONE suites=3", "# DONE suites=4"), CRASH, "ran 4 suites and reported 3"),
    ("no test at all", "clean", same, both(*(without(f"# begin quiesce_{suite}", f"# end quiesce_{suite}")
        for suite in ("load", "rundown", "unload")), replaced("suites=3", "suites=0")), TESTS, "no test ran"),
    ("lockdep is off at the end", "clean", same, replaced("# alive lockdep kmemleak", "# alive kmemleak"), CRASH, "lockdep does not work"),
    ("kmemleak is off at the end", "clean", same, replaced("# alive lockdep kmemleak", "# alive lockdep"), CRASH, "kmemleak does not work"),
    # What the kernel says.
    ("taints", "clean", said("quiesce: loading out-of-tree module taints kernel.",
        "quiesce: module verification failed: signature and/or required key missing - tainting kernel",
        "Tainted: [O]=OOT_MODULE, [N]=TEST"), same, PASS, ""),
    ("a stall", "clean", said("rcu: INFO: rcu_preempt self-detected stall on CPU"), same, CRASH, "self-detected stall"),
    ("a task hangs", "clean", said("INFO: task kunit_try_catch:88 blocked for more than 120 seconds."), same, CRASH, "blocked for"),
    ("messages were dropped", "clean", said("** 37 printk messages dropped **"), same, CRASH, "37 printk messages"),
    ("a banner of the kernel's", "clean", said("** NOTICE NOTICE NOTICE NOTICE **"), same, PASS, ""),
    ("lockdep gives up", "clean", said("turning off the locking correctness validator."), same, CRASH, "turning off"),
    ("lockdep is off", "clean", said("INFO: lockdep is turned off."), same, CRASH, "turned off"),
    ("kmemleak gives up", "clean", said("kmemleak: Kernel memory leak detector disabled"), same, CRASH, "detector disabled"),
    ("the memory is used up", "clean", said("fuzz invoked oom-killer: gfp_mask=0xcc0"), same, CRASH, "oom-killer"),
    ("a softirq returns with another count", "clean", said("huh, entered softirq 9 RCU 00000000 with preempt_count "
        "00000100, exited with 00000101?"), same, CRASH, "huh, entered"),
    ("freed memory is written to", "clean", said("BUG kmalloc-64 (Tainted: G O): Poison overwritten"), same, CRASH, "Poison"),
    # What quiesce.ko says.
    ("a rundown hangs", "clean", said("quiesce: rundown of 00000000f00 has been waited for 30.016 s: 1 holders"), same, CRASH, "waited for"),
    ("a grace period hangs", "clean", said("quiesce: rcu: task kworker:7 blocked for 10000 ms waiting for the readers of d (called from a.rs:3)"), same, CRASH, "blocked for"),
    ("a misuse", "clean", said("quiesce: rcu: a.rs:3 waits for the readers of d where it must not"), same, CRASH, "must not"),
    ("a leak in an NMI", "clean", said("quiesce: rcu: deferred in an NMI, so it is leaked"), same, CRASH, "leaked"),
    # Announced.
    ("an announced warning", "clean", announced("WARNING: .*version", *WARNING), same, PASS, ""),
    ("an announced warning and another", "clean", announced("WARNING: .*version", *WARNING,
        "BUG: KASAN: slab-use-after-free in f+0x22/0x40"), same, CRASH, "KASAN"),
    ("an announced warning that does not come", "clean", announced("WARNING: .*version"), same, CRASH, "the announced warning did not appear"),
    ("an announced report of the crate's", "clean", announced("has been waited for", "quiesce: rundown of 00f has been waited "
        "for 0.1 s: 1 holders", "quiesce:   held by task 7, acquired at a.rs:3"), same, PASS, ""),
    ("an announced warning with a text", "clean", announced("WARNING: .*version", WARNING[0], "quiesce: it is leaked", *WARNING[1:]),
        same, PASS, ""),
    ("another warning with a text", "clean", announced("WARNING: .*version", *WARNING, WARNING[0], "quiesce: it is leaked",
        "WARNING: a.rs:3 at f+0x22/0x40"), same, CRASH, "it is leaked"),
    ("a test module announces", "clean", said("quiesce_kunit: quiesce: expect-begin has been waited for", "quiesce: rundown of "
        "00f has been waited for 0.1 s: 1 holders", "quiesce_kunit: quiesce: expect-end"), same, PASS, ""),
    ("an announcement that is not closed", "clean", said("quiesce: expect-begin WARNING: .*version", *WARNING), same, CRASH, "announced without an end"),
    ("an announcement within another", "clean", said("quiesce: expect-begin a", "quiesce: expect-begin WARNING: .*version",
        *WARNING, "quiesce: expect-end"), same, CRASH, "announced before the end of"),
    ("an announcement that is no pattern", "clean", announced("WARNING: ("), same, CRASH, "not a regular expression"),
    ("an end without a beginning", "clean", said("quiesce: expect-end"), same, CRASH, "without an announcement"),
]


def judge(work, recording, console, results, skips=""):
    for name, edit in ("console", console), ("results", results):
        text = (HERE / recording / f"{name}.log").read_text(encoding="utf-8")
        (work / name).write_text(edit(text), encoding="utf-8")
    (work / "skips").write_text(skips, encoding="utf-8")
    return subprocess.run(
        [sys.executable, HERE.parent / "judge.py", "--console", work / "console", "--results", work / "results",
         "--expect", EXPECT, "--alive", "lockdep kmemleak", "--skips", work / "skips", "--table", work / "table"],
        capture_output=True, encoding="utf-8", check=False)


def main():
    print(f"KTAP version 1\n1..{len(CASES)}")
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for number, (name, recording, console, results, status, says, *skips) in enumerate(CASES, 1):
            got = judge(pathlib.Path(work), recording, console, results, *skips)
            fine = got.returncode == status and says in got.stdout and (got.stdout == "") == (status == PASS)
            if not fine:
                failed += 1
                print("# " + "\n# ".join((got.stdout + got.stderr).splitlines()))
            print("ok" if fine else "not ok", number, "-", name if fine else f"{name}: status {got.returncode}, not {status}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
