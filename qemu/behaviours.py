#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Fills the table of behaviours in qemu/README.md from a test run.

Without an argument it checks, as a suite of the host: every test that qemu/behaviours names
exists, each of those that this run had has passed, and the table is the one that the run gives.
Prints KTAP. With --write it writes the table; a cell whose tests were not run stays as it is.
More arguments are files of results, beside those in .build.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
README = TOP / "qemu/README.md"
BEGIN, END = "<!-- behaviours: filled by qemu/behaviours.py -->\n", "<!-- behaviours end -->\n"
HEAD = ("behaviour", "C", "C without the device", "Python", "Rust")
POINT = re.compile(r"^(not )?ok \d+ (?:- )?(\S+)(.*# SKIP)?")


def results(paths):
    """How each test of a suite went in each document: {(suite, test): [passed, ...]}."""
    found = {}
    for path in paths:
        suite = None
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("# begin "):
                suite = line.split()[2]
            elif line.startswith("# end "):
                suite = None
            elif suite and (point := POINT.match(line)) and not point[3]:
                # A fixture's variants stand between it and the test.
                parts = point[2].split(".")
                found.setdefault((suite, ".".join(parts[:1] + parts[1:][-1:])), []).append(not point[1])
    return found


def rows():
    """The lines of the data file: a heading, or a behaviour and its cells."""
    for line in (TOP / "qemu/behaviours").read_text(encoding="utf-8").split("\n\n", 1)[1].splitlines():
        if line.startswith("# "):
            yield line[2:], None
        elif line:
            behaviour, *cells = [cell.strip() for cell in line.split("|")]
            yield behaviour, cells


def tests(cell):
    """The tests that a cell names, as pairs of suite and test."""
    return [tuple(test.split()) for test in cell.split(",")] if cell[0] not in "-?" else []


def cell_text(cell, found, old):
    """What the table says of a cell."""
    if cell[0] == "-":
        return cell[2:]
    if cell == "?":
        return "not tested"
    went = [found[test] for test in tests(cell) if test in found]
    if len(went) < len(tests(cell)):
        return old or "not run"
    return "yes" if all(all(passes) for passes in went) else "**no**"


def table(found, old):
    """The table's text."""
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for behaviour, cells in rows():
        if cells is None:
            lines.append(f"| **{behaviour}** |" + " |" * (len(HEAD) - 1))
            continue
        before = old.get(behaviour, [""] * len(cells))
        lines.append(f"| {behaviour} | " + " | ".join(cell_text(*both, was) for both, was in zip(
            ((cell, found) for cell in cells), before)) + " |")
    return "\n".join(lines) + "\n"


def parts():
    """The README before the table, the table's cells by behaviour, and what follows."""
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in inside.splitlines()]
    return before, inside, {cell[0]: cell[1:] for cell in cells}, after


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--write"]
    found = results([*sorted((TOP / ".build").glob("*/results.log")), *sorted((TOP / ".build").glob("*.tap.framed")),
                     *map(pathlib.Path, arguments)])
    before, inside, old, after = parts()
    made = table(found, old)
    if "--write" in sys.argv[1:]:
        README.write_text(before + BEGIN + made + END + after, encoding="utf-8")
        return 0

    listed = {line.split()[2] for line in (TOP / "qemu/suites").read_text(encoding="utf-8").splitlines()
              if line and not line.startswith("#")}
    reported = {suite for suite, _ in found}
    words = {word for folder in ("qemu/tests", "qemu/rust", "src/user") for path in (TOP / folder).rglob("*")
             if path.suffix in (".c", ".py", ".rs", ".sh", ".steps")
             for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    behaviours = [(name, cells) for name, cells in rows() if cells is not None]
    print(f"KTAP version 1\n1..{len(behaviours) + 1}")
    failed = number = 0
    for number, (name, cells) in enumerate(behaviours, 1):
        wrong = [] if len(cells) == len(HEAD) - 1 else [f"{len(cells)} cells instead of {len(HEAD) - 1}"]
        for suite, test in (pair for cell in cells for pair in tests(cell)):
            if suite not in listed:
                wrong.append(f"qemu/suites has no {suite}")
            elif re.split(r"[.:]+", test)[-1] not in words:
                wrong.append(f"there is no test {test}")
            elif suite in reported and not all(found.get((suite, test), [False])):
                wrong.append(f"{test} of {suite} " + ("failed" if (suite, test) in found else "did not run"))
        failed += bool(wrong)
        for text in wrong:
            print("#", text)
        print("not ok" if wrong else "ok", number, "-", name)
    failed += made != inside
    print("ok" if made == inside else "not ok", number + 1, "-", "the table of qemu/README.md is this run's")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
