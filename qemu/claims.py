#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that the tests which qemu/CLAIMS.md names exist.

Each row has to name at least one thing in its second column, and every name in backquotes has to be
a suite of qemu/suites, a test function, a litmus file, a compile-fail case or a mutant (of
qemu/torture, or of qemu/mutants by its short name).
`*` stands for any characters, as in a shell. Prints KTAP, one test for each row.
"""

import fnmatch
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\|(?!---| claim )(.*)$", re.M)
NAME = re.compile(r"`([^`]+)`")
TEST = re.compile(r"#\[test\]\s*(?:(?:#\[.*\]|//.*)\s+)*(?:pub )?fn (\w+)")

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


def existing():
    """All names that a row may use."""
    names = set(ELSEWHERE) | set(OTHER)
    for line in (TOP / "qemu/suites").read_text(encoding="utf-8").splitlines():
        if line and line.split()[0] in ("kunit", "user", "python", "steps", "splats", "host", "after"):
            names.add(line.split()[2])
    for text in texts("kunit", "*.rs"):
        names.update(TEST.findall(text))
    for text in texts("qemu/tests", "*.c"):
        names.update(re.findall(r"^TEST(?:_F\(\w+, |\()(\w+)\)", text, re.M))
    for text in texts("qemu/tests/python", "test_*.py"):
        names.update(re.findall(r"^    (?:async )?def (test_\w+)\(", text, re.M))
    for path in (TOP / "qemu/litmus").glob("*.litmus"):
        names.update((path.name, path.stem))
    names.update(path.stem for path in (TOP / "kunit/compile-fail").glob("*.rs"))
    for model, edit in re.findall(r'Edit\("([a-z-]+)", "([a-z-]+)"', (TOP / "qemu/model/broken.py").read_text(encoding="utf-8")):
        names.update((model, edit))
    for text in texts("qemu/torture", "*.rs"):
        names.update(re.findall(r'b"([a-z-]+)" =>', text))
    for text in texts("qemu/torture", "*.c"):
        names.update(re.findall(r'^\t\{ "([a-z-]+)", "\w+" \},', text, re.M))
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
        failed += bool(reasons)
        for reason in reasons:
            print("#", reason)
        print("not ok" if reasons else "ok", number, "-", cells[0].replace("`", ""))
    sys.exit(1 if failed or not rows else 0)


if __name__ == "__main__":
    main()
