#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The table of mutants: semantic changes of the sources that the tests must notice.

A file PART.mutants has, for each mutant:

    = ID FILE : SUITE... [profile=NAME]   the suites that are run, the likeliest first
    # What is changed.                    one sentence
    - text                                lines of FILE that occur there once, and
    + text                                what is there instead; $M is true if the mutant is on.
                                          Of Python the lines are indented as the first one is
    ~ equivalent: why                     no test can notice it, for this reason
    ~ survives: why                       no test notices it, for this reason
    @ FILE                                the next lines are about this file

Blanks at the ends of a line do not count, nor do comments between two lines. All mutants of the
module and of user space (libquiesce, the Python module, the Rust crate and quiesce(1)) are in one
build: which one is on is the parameter `mutant` of quiesce.ko, and the variable QUIESCE_MUTANT of
a program's environment. A number is one mutant's, so that the others see none. Those of the harness (harness.mutants,
orderings.mutants) are made one at a time, without $M, and a command on the host has
to notice them.

    mutants.py check             KTAP: each text matches once, each suite exists
    mutants.py apply TREE        writes the mutated sources of the module and of user space into TREE
    mutants.py plan [--part P] [--sample N] [--profile NAME|types]
    mutants.py host [--part P] [--sample N]
    mutants.py console FILE      what the kernel complained about while a mutant was on
    mutants.py report RESULTS... [--ktap]
                                 prints the score by part, or KTAP about those that were reached
"""

import argparse
import collections
import hashlib
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# mutants.sh uses a copy of the tables, of those that were built.
TOP = pathlib.Path(os.environ.get("QUIESCE_TOP", HERE.parent.parent))

# Files whose mutants are made one at a time. Each names the program that has to fail then.
ALONE = ("harness", "orderings")
# Suites that take minutes without a mutant, which a sample has no time for.
SLOW = {"quiesce_tool", "quiesce_user_python"}
COMMENTS = r"[ \t]*\n(?:[ \t]*(?:(?://|/?\*)[^\n]*)?\n)*[ \t]*"

RUST = """
#[doc(hidden)]
#[allow(missing_docs)]
pub mod mutant {
    extern "C" {
        static quiesce_mutant: u32;
    }
    #[inline(always)]
    pub fn on(n: u32) -> bool {
        // SAFETY: It is there as long as the module.
        unsafe { (&raw const quiesce_mutant).read_volatile() == n }
    }
}
"""
RUST_PROGRAM = """
#[doc(hidden)]
#[allow(missing_docs)]
pub mod mutant {
    pub fn on(n: u32) -> bool {
        std::env::var("QUIESCE_MUTANT").is_ok_and(|on| on.parse() == Ok(n))
    }
}
"""
C_HEADER = """
extern unsigned int quiesce_mutant;
#define quiesce_mutant_is(n) (READ_ONCE(quiesce_mutant) == (n))
"""
C_SOURCE = """
unsigned int quiesce_mutant;
EXPORT_SYMBOL_GPL(quiesce_mutant);
module_param_named(mutant, quiesce_mutant, uint, 0644);
"""
LIBRARY = """
#include <stdlib.h>
static inline int quiesce__mutant(int n)
{
	const char *on = getenv("QUIESCE_MUTANT");

	return on && atoi(on) == n;
}
"""


class Mutant:
    """One entry of a table."""

    def __init__(self, part, number, head):
        match = re.fullmatch(r"= (\w+) (\S+) : (.*)", head)
        if not match:
            raise ValueError(f"{part}: no head of a mutant: {head}")
        self.part, self.number = part, number
        self.id, self.file, words = match.groups()
        self.profile = "stock"
        self.suites = []
        for word in words.split():
            if word.startswith("profile="):
                self.profile = word.partition("=")[2]
            elif word != "none":
                self.suites.append(word)
        self.what = self.excuse = ""
        # (file, lines of the original, lines of the replacement)
        self.edits = []

    @property
    def alone(self):
        """Whether it is made by itself, on the host."""
        return self.part in ALONE or self.part == "types"

    @property
    def kind(self):
        """Why it may survive: equivalent, survives or nothing."""
        return self.excuse.partition(":")[0]


def read(path, number):
    """The mutants of one table, numbered from NUMBER."""
    mutants, file, last = [], None, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("// "):
            continue
        mark, text = line[0], line[2:]
        if mark == "=":
            mutants.append(Mutant(path.stem, number, line))
            number += not mutants[-1].alone
            file, last = mutants[-1].file, mark
            continue
        mutant = mutants[-1]
        if mark == "@":
            file = text.strip()
        elif mark == "#":
            mutant.what += text
        elif mark == "~":
            mutant.excuse = text
        elif mark == "-":
            if last != "-":
                mutant.edits.append((file, [], []))
            mutant.edits[-1][1].append(text.strip())
        elif mark == "+":
            mutant.edits[-1][2].append(text)
        else:
            raise ValueError(f"{path.name}: {line}")
        last = mark
    return mutants


def tables():
    """All mutants."""
    mutants = []
    for path in sorted(HERE.glob("*.mutants")):
        mutants += read(path, sum(not mutant.alone for mutant in mutants) + 1)
    return mutants


def find(text, lines):
    """All places of the lines in the text."""
    pattern = COMMENTS.join(re.escape(line) for line in lines)
    return [match.span() for match in re.finditer(pattern, text)]


def switch(file, number):
    """The expression that is true if the mutant is on."""
    if file.endswith(".rs"):
        return f"crate::mutant::on({number})"
    if file.endswith(".py"):
        return f"(os.environ.get('QUIESCE_MUTANT') == '{number}')"
    if file.startswith("src/libquiesce/"):
        return f"quiesce__mutant({number})"
    return f"quiesce_mutant_is({number})"


def suites_of_the_harness():
    """Suite -> kind and arguments."""
    suites = {"quiesce_load": ("steps", "load.steps"), "quiesce_unload": ("steps", "unload.steps")}
    for line in (TOP / "qemu/suites").read_text(encoding="utf-8").splitlines():
        words = line.split(maxsplit=3)
        if words and words[0] in ("kunit", "user", "steps"):
            suites[words[2]] = (words[0], words[3] if len(words) > 3 else "")
        elif words and words[0] == "python":
            suites[words[2]] = ("user", "run_python " + words[3])
    return suites


def problems(mutant, texts, known):
    """What is wrong with an entry of a table."""
    out = []
    if not mutant.what:
        out.append("nothing says what is changed")
    if not mutant.edits:
        out.append("no change")
    if mutant.excuse and mutant.kind not in ("equivalent", "survives"):
        out.append(f"'{mutant.kind}' is neither 'equivalent' nor 'survives'")
    if not mutant.alone and not mutant.suites and mutant.kind != "equivalent":
        out.append("no suite")
    if not mutant.alone:
        out += [f"there is no suite {suite}" for suite in mutant.suites if suite not in known]
        if not any("$M" in line for _, _, new in mutant.edits for line in new):
            out.append("no $M")
    for file, old, new in mutant.edits:
        if file not in texts:
            path = TOP / file
            texts[file] = path.read_text(encoding="utf-8") if path.exists() else None
        if texts[file] is None:
            out.append(f"there is no file {file}")
            continue
        places = find(texts[file], old)
        if len(places) != 1:
            out.append(f"{file}: {len(places)} places instead of one: {' / '.join(old)}")
    return out


def overlaps(mutants):
    """Mutants of one build whose texts overlap."""
    spans = collections.defaultdict(list)
    for mutant in mutants:
        if mutant.alone:
            continue
        for file, old, _ in mutant.edits:
            path = TOP / file
            places = find(path.read_text(encoding="utf-8"), old) if path.exists() else []
            spans[file] += [(begin, end, mutant.id) for begin, end in places[:1]]
    for file, places in spans.items():
        places.sort()
        for (_, end, one), (begin, _, other) in zip(places, places[1:]):
            if begin < end:
                yield other, f"{file}: its text overlaps that of {one}"


def check():
    """Prints KTAP."""
    mutants, texts, known = tables(), {}, suites_of_the_harness()
    late = collections.defaultdict(list)
    for which, problem in overlaps(mutants):
        late[which].append(problem)
    ids = collections.Counter(mutant.id for mutant in mutants)
    print(f"KTAP version 1\n1..{len(mutants)}")
    failed = 0
    for number, mutant in enumerate(mutants, 1):
        wrong = problems(mutant, texts, known) + late[mutant.id]
        if ids[mutant.id] != 1:
            wrong.append("there is another one of this name")
        failed += bool(wrong)
        for line in wrong:
            print("#", line)
        print("not ok" if wrong else "ok", number, "-", f"{mutant.id} {mutant.what}".replace("#", ""))
    return 1 if failed or not mutants else 0


def write(path, text):
    """Writes a file, unless it is the same already: make looks at its time."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def mutate(text, edits):
    """The text with some of its parts replaced."""
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    return text


def apply(tree):
    """Writes the sources with all mutants into TREE."""
    changes = collections.defaultdict(list)
    for mutant in tables():
        if mutant.alone:
            continue
        for file, old, new in mutant.edits:
            text = (TOP / file).read_text(encoding="utf-8")
            (begin, end), = find(text, old)
            on = switch(file, mutant.number)
            newline = "\n" + " " * (begin - text.rfind("\n", 0, begin) - 1) if file.endswith(".py") else "\n"
            changes[file].append((begin, end, newline.join(new).replace("$M", on)))
    extra = {"src/quiesce.rs": RUST, "src/helpers/process.c": C_SOURCE,
             "src/user/barrier/src/lib.rs": RUST_PROGRAM, "src/user/tool/src/main.rs": RUST_PROGRAM}
    for folder in ("src", "kunit", "samples", "qemu/tests", "qemu/torture", "qemu/rust", "qemu/doctests.py", "Kbuild", "Makefile"):
        source = TOP / folder
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if not path.is_file():
                continue
            file = str(path.relative_to(TOP))
            if file in changes or file in extra or file in ("src/helpers.h", "src/libquiesce/common.h"):
                text = mutate(path.read_text(encoding="utf-8"), changes[file]) + extra.get(file, "")
                if file == "src/helpers.h":
                    text = text.replace("#endif /* _QUIESCE_HELPERS_H */", C_HEADER + "#endif", 1) \
                        if "#endif /* _QUIESCE_HELPERS_H */" in text else text + C_HEADER
                if file == "src/libquiesce/common.h":
                    text = text.replace("#define must(", LIBRARY + "#define must(", 1)
                write(tree / file, text)
            else:
                new = tree / file
                if not new.exists() or new.read_bytes() != path.read_bytes():
                    new.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, new)


def chosen(part, sample):
    """The mutants of a part, or a sample that is the same for the same tables and sources."""
    mutants = [m for m in tables() if not part or {m.part, m.id}.intersection(part.split())]
    if sample:
        mutants = [m for m in mutants if m.profile == "stock" and not m.excuse and not SLOW.intersection(m.suites)]
        mutants.sort(key=lambda m: hashlib.sha256((m.id + seed()).encode()).digest())
        mutants = sorted(mutants[:sample], key=lambda m: m.number)
    return mutants


def seed():
    """Changes with the sources, so that each state of them is tested with other mutants."""
    text = b"".join(path.read_bytes() for path in sorted((TOP / "src").rglob("*.rs")))
    return hashlib.sha256(text).hexdigest()


def plan(part, sample, profile):
    """Prints ID NUMBER and suites of those that run in a guest of the profile, a line each."""
    known = suites_of_the_harness()
    for mutant in chosen(part, sample):
        if profile == "types" and mutant.part == "types":
            print(mutant.id)
        if mutant.alone or mutant.profile != profile or not mutant.suites:
            continue
        # The fuzzer notices a mutant early.
        known["quiesce_device_fuzz"] = ("user", "fuzz --calls 8000")
        suites = [":".join((*known[suite][:1], suite, known[suite][1].replace(" ", ","))) for suite in mutant.suites]
        print(mutant.id, mutant.number, *suites)


def failed(run):
    """Whether a test of a host's command failed. That it could not be run proves nothing."""
    if run.returncode == 0:
        return False
    if run.returncode != 1 or not re.search(r"^ *not ok ", run.stdout, re.M):
        sys.exit(f"{' '.join(map(str, run.args))} ended with status {run.returncode}, and without a test that failed:\n"
                 + run.stdout)
    return True


def host(part, sample):
    """Runs the mutants that need no guest, one at a time in one copy of the tree. Prints the same
    lines as a guest does."""
    mutants = [mutant for mutant in chosen(part, sample) if mutant.alone]
    if not mutants:
        return
    (TOP / ".build").mkdir(exist_ok=True)
    # A case that must not compile is compiled in the build root, which sees the checkout.
    with tempfile.TemporaryDirectory(dir=TOP / ".build") as folder:
        tree = pathlib.Path(folder)

        def command(mutant):
            if mutant.part == "types":
                return [TOP / "qemu/mutants/types.sh", tree, *mutant.suites]
            return ["python3", *mutant.suites]

        for name in ("qemu", "src"):
            shutil.copytree(TOP / name, tree / name, ignore=shutil.ignore_patterns(".build", "__pycache__"))

        def fails(command):
            return failed(subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                         text=True, check=False, timeout=300))

        for words in {tuple(map(str, command(mutant))) for mutant in mutants}:
            if fails(words):
                sys.exit(f"{' '.join(words)} fails without a mutant")
        for mutant in mutants:
            before = {file: (tree / file).read_text(encoding="utf-8") for file, _, _ in mutant.edits}
            for file, text in before.items():
                edits = [(*find(text, old)[0], "\n".join(new)) for of, old, new in mutant.edits if of == file]
                (tree / file).write_text(mutate(text, edits), encoding="utf-8")
            print("# mutant", mutant.id, "caught" if fails(command(mutant)) else "survived", *mutant.suites, flush=True)
            for file, text in before.items():
                (tree / file).write_text(text, encoding="utf-8")


def console(path):
    """Prints a verdict for each mutant that the kernel complained about."""
    sys.path.insert(0, str(TOP / "qemu"))
    judge = importlib.import_module("judge")
    segments = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        at = None
        for line in lines:
            begin = re.search(r"mutants: begin (\w+) (\w+)", line)
            if begin:
                at = segments.setdefault(begin.group(1), [begin.group(2), []])
            elif "mutants: end" in line:
                at = None
            elif "mutants: forget " in line:
                segments.pop(line.split()[-1], None)
            elif at:
                at[1].append(line)
    for which, (suite, lines) in segments.items():
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            found = judge.complaints(file.name)
        if found:
            print("# mutant", which, "caught", suite, "console:", found[0][1])


def print_ktap(mutants, verdicts):
    """One test for each mutant that there was time for; the exit status."""
    reached = [mutant for mutant in mutants if mutant.id in verdicts]
    print(f"KTAP version 1\n1..{len(reached) + 1}")
    failed = 0
    for number, mutant in enumerate(reached, 1):
        verdict, by = verdicts[mutant.id]
        failed += verdict != "caught"
        print("ok" if verdict == "caught" else "not ok", number, "-", f"{mutant.id} {mutant.what}".replace("#", ""))
        print(f"# {verdict}: {by}")
    enough = 2 * len(reached) >= len(mutants)
    print("ok" if enough else "not ok", len(reached) + 1, "- there was time for a half of them at least")
    print(f"# {len(reached)} of {len(mutants)}")
    return 1 if failed or not enough else 0


def report(paths, part, sample, ktap):
    """Prints the score by part and the survivors; returns the exit status."""
    verdicts = {}
    for path in paths:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            words = line.split(maxsplit=4)
            if words[:2] == ["#", "mutant"] and verdicts.get(words[2], ("",))[0] != "caught":
                verdicts[words[2]] = (words[3], words[4] if len(words) > 4 else "")
    if ktap:
        return print_ktap(chosen(part, sample), verdicts)
    score = collections.defaultdict(collections.Counter)
    status = 0
    for mutant in chosen(part, sample):
        verdict, by = verdicts.get(mutant.id, ("equivalent" if mutant.kind == "equivalent" else "missing", ""))
        if mutant.kind == "equivalent":
            if verdict == "caught":
                print(f"{mutant.id}: caught by {by}, and the table says: {mutant.excuse}")
                status = 1
            else:
                verdict = "equivalent"
        elif verdict != "caught":
            print(f"{mutant.id} {verdict}: {mutant.what}" + (f" ({mutant.excuse})" if mutant.excuse else ""))
            if mutant.kind != "survives" or verdict == "missing":
                status = 1
        elif mutant.kind == "survives":
            print(f"{mutant.id}: caught by {by}, and the table says: {mutant.excuse}")
            status = 1
        score[mutant.part][verdict] += 1
    print(f"{'part':12} {'caught':>7} {'survived':>9} {'equivalent':>11} {'missing':>8} {'score':>6}")
    total = collections.Counter()
    for name in sorted(score) + ["all"]:
        one = score[name] if name != "all" else total
        if name != "all":
            total.update(one)
        of = one["caught"] + one["survived"] + one["missing"]
        # Rounded down: 100 % is all of them.
        print(f"{name:12} {one['caught']:7} {one['survived']:9} {one['equivalent']:11} {one['missing']:8} "
              f"{100 * one['caught'] // of if of else 100:5}%")
    return status


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("check", "apply", "plan", "host", "console", "report"))
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--part", default="", help="rundown, seqlock, ..., or names of mutants")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--ktap", action="store_true")
    parser.add_argument("--profile", default="stock")
    args = parser.parse_args()
    if args.command == "check":
        return check()
    if args.command == "apply":
        return apply(pathlib.Path(args.paths[0]))
    if args.command == "plan":
        return plan(args.part, args.sample, args.profile)
    if args.command == "host":
        return host(args.part, args.sample)
    if args.command == "console":
        return console(args.paths[0])
    return report(args.paths, args.part, args.sample, args.ktap)


if __name__ == "__main__":
    sys.exit(main())
