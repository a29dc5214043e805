#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that the tests which qemu/CLAIMS.md names exist.

Each row has to name at least one thing in its second column, and every name in backquotes has to be
a suite of qemu/suites, a test function, a litmus file, a compile-fail case or a mutant (of
qemu/torture, or of qemu/mutants by its short name). A mutant of the sources that is named has to
be one that a test notices, and the row has to name a suite, or a test of a suite, that is run with it.
`*` stands for any characters, as in a shell. Prints KTAP, one test for each row.
"""

import fnmatch
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "qemu/mutants"))
import mutants  # noqa: E402 (its folder was not in the path)

ROW = re.compile(r"^\|(?!---| claim )(.*)$", re.M)
NAME = re.compile(r"`([^`]+)`")
C_TEST = re.compile(r"^TEST(?:_F\(\w+, |\()(\w+)\)", re.M)
PYTHON_TEST = re.compile(r"^    (?:async )?def (test_\w+)\(", re.M)
TEST = re.compile(r"#\[test\]\s*(?:(?:#\[.*\]|//.*)\s+)*(?:pub )?fn (\w+)")

# The tests of a program of qemu/rust, which its main function lists.
LISTED = re.compile(r"^ {12}(\w+)$", re.M)
# What runs the mutants that are made one at a time.
ALONE = {"harness": "quiesce_judge", "orderings": "quiesce_orderings", "types": "quiesce_compile_fail"}

# Tests that qemu/suites does not list, with what runs them.
ELSEWHERE = {
    "quiesce_unload": "qemu/test.sh, last in every guest",
    "make torture": "itself: the long run of the same parts",
    "make size": "itself: nothing is booted for it",
    "control": "qemu/libquiesce.sh, as one test of quiesce_libquiesce",
}

# Names in backquotes that are not tests, with what they are.
OTHER = {
    "quiesce.h": "the header that defines the device's behaviour",
    "SeqLock": "a type that a claim is about",
    "SeqCount": "a type that a claim is about",
    "Barrier": "a class that a claim is about",
    "Send": "a trait that a claim is about",
    "Sync": "a trait that a claim is about",
    "barrier()": "the call that a count follows",
    "# alive": "a line of each guest's results",
    "kunit_parser.py": "the kernel's parser of KTAP",
    "qemu/suites": "the list itself",
}


def texts(folder, pattern):
    """The text of each file of that name below a folder."""
    return [path.read_text(encoding="utf-8") for path in sorted((TOP / folder).rglob(pattern))]


def suites_of_tests():
    """Name of a test -> the suites that it is in."""
    suites = {}

    def add(tests, suite):
        for test in tests:
            suites.setdefault(test, set()).add(suite)

    for text in texts("kunit", "*.rs"):
        for suite in re.findall(r"#\[kunit_tests\((\w+)\)\]", text):
            add(TEST.findall(text), suite)
    for line in (TOP / "qemu/suites").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[0] == "user":
            program = re.sub(r"(?:_fallback)?(?:_32)?$", "", words[3])
            source = TOP / f"qemu/tests/{program}.c"
            if source.exists():
                add(C_TEST.findall(source.read_text(encoding="utf-8")), words[2])
            source = TOP / f"qemu/rust/src/bin/{program}.rs"
            if source.exists():
                add(LISTED.findall(source.read_text(encoding="utf-8")), words[2])
    for text in texts("qemu/tests/python", "test_*.py"):
        add(PYTHON_TEST.findall(text), "quiesce_user_python")
    return suites


def unsuitable(names):
    """What is wrong with the mutants of the sources among the names."""
    known = {mutant.id: mutant for mutant in mutants.tables()}
    tests = suites_of_tests()
    run = set(names).union(*(tests.get(name, ()) for name in names))
    out = []
    for mutant in (known[name] for name in names if name in known):
        if mutant.excuse:
            out.append(f"`{mutant.id}` shows nothing: {mutant.kind}")
        suites = set(mutant.suites) | ({ALONE[mutant.part]} if mutant.part in ALONE else set())
        if not any(fnmatch.filter(suites, name) for name in run):
            out.append(f"`{mutant.id}` is run with {', '.join(sorted(suites))} only")
    return out


def existing():
    """All names that a row may use."""
    names = set(ELSEWHERE) | set(OTHER)
    for line in (TOP / "qemu/suites").read_text(encoding="utf-8").splitlines():
        if line and line.split()[0] in ("kunit", "user", "python", "steps", "splats", "host", "after"):
            names.add(line.split()[2])
    for text in texts("kunit", "*.rs"):
        names.update(TEST.findall(text))
    for text in texts("qemu/tests", "*.c"):
        names.update(C_TEST.findall(text))
    for text in texts("qemu/tests/python", "test_*.py"):
        names.update(PYTHON_TEST.findall(text))
    for text in texts("qemu/rust/src/bin", "*.rs"):
        names.update(set(LISTED.findall(text)) & set(re.findall(r"^fn (\w+)\(\)", text, re.M)))
    for path in (TOP / "qemu/litmus").glob("*.litmus"):
        names.update((path.name, path.stem))
    names.update(path.stem for path in (TOP / "kunit/compile-fail").glob("*.rs"))
    for model, edit in re.findall(r'Edit\("([a-z-]+)", "([a-z-]+)"', (TOP / "qemu/model/broken.py").read_text(encoding="utf-8")):
        names.update((model, edit))
    for text in texts("qemu/torture", "*.rs"):
        names.update(re.findall(r'b"([a-z-]+)" =>', text))
    for text in texts("qemu/torture", "*.c"):
        names.update(re.findall(r'^\t\{ "([a-z-]+)", "\w+"(?:, [^}]+)? \},', text, re.M))
    for path in (TOP / "qemu/mutants").glob("*.mutants"):
        names.update(re.findall(r"^= (\w+) ", path.read_text(encoding="utf-8"), re.M))
    return names


def main():
    names = existing()
    text = (TOP / "qemu/CLAIMS.md").read_text(encoding="utf-8")
    rows = [row.strip().removesuffix(" |").split(" | ") for row in ROW.findall(text)]
    print(f"KTAP version 1\n1..{len(rows)}")
    failed = 0
    for number, cells in enumerate(rows, 1):
        reasons = [f"`{name}` does not exist" for name in NAME.findall(" | ".join(cells))
                   if not fnmatch.filter(names, name)]
        if len(cells) != 3:
            reasons.append(f"{len(cells)} columns instead of 3")
        elif not set(NAME.findall(cells[1])) - set(OTHER):
            reasons.append("no test is named that shows it")
        reasons += unsuitable(NAME.findall(" | ".join(cells)))
        failed += bool(reasons)
        for reason in reasons:
            print("#", reason)
        print("not ok" if reasons else "ok", number, "-", cells[0].replace("`", ""))
    sys.exit(1 if failed or not rows else 0)


if __name__ == "__main__":
    main()
