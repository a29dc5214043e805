#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the tables of contexts in src/*/README.md with qemu/contexts.tests, which names the tests of each cell.

Each cell but "no" and "-" needs an entry, whose tests exist, or the reason why there is none. Of a
row whose PREEMPT_RT cell is not "no", one test has to run in a profile with PREEMPT_RT. Prints
KTAP, one test for each row.
"""

import pathlib
import re
import sys

import claims

TOP = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = ["process", "softirq", "hardirq", "NMI", "PREEMPT_RT"]
ON_RT = {"all", "stock-rt", "kasan-rt"}


def cells(line):
    """The cells of a row of a table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def tables():
    """(file, row) -> column -> text."""
    out = {}
    for path in sorted((TOP / "src").glob("*/README.md")):
        inside = False
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("|"):
                inside = False
            elif cells(line)[1:] == COLUMNS:
                inside = True
            elif inside and not line.startswith("|---"):
                out[str(path.relative_to(TOP)), cells(line)[0]] = dict(zip(COLUMNS, cells(line)[1:]))
    return out


def entries():
    """(file, beginning of a row) -> column -> tests, or a reason."""
    out, file, row = {}, None, None
    for line in (TOP / "qemu/contexts.tests").read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            file = line[2:]
        elif line.startswith("- "):
            row = out.setdefault((file, line[2:]), {})
        elif line.startswith("  "):
            column, shown = line.split(maxsplit=1)
            row[column] = shown
    return out


def on_rt():
    """The suites that run with PREEMPT_RT, and the KUnit tests in them."""
    names = set()
    for line in (TOP / "qemu/suites").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words and words[0] in ("kunit", "user", "steps") and ON_RT & set(words[1].split(",")):
            names.add(words[2])
    for path in (TOP / "kunit").rglob("*.rs"):
        text = path.read_text(encoding="utf-8")
        if names & set(re.findall(r"#\[kunit_tests\((\w+)\)\]", text)):
            names |= set(claims.TEST.findall(text))
    return names


def main():
    existing, known, rt = claims.existing(), entries(), on_rt()
    rows, failed = tables(), 0
    print(f"KTAP version 1\n1..{len(rows) + 1}")
    used = set()
    for number, ((file, row), texts) in enumerate(rows.items(), 1):
        keys = [key for key in known if key[0] == file and row.startswith(key[1])]
        used |= set(keys)
        shown = known[keys[0]] if len(keys) == 1 else {}
        wrong = [] if len(keys) == 1 else [f"{len(keys)} entries"]
        for column in COLUMNS[:-1]:
            needed = texts[column] not in ("no", "-", "")
            if needed != (column in shown):
                wrong.append(f"{column}: '{texts[column]}', and {'no entry' if needed else 'an entry'}")
        tests = [test for tests in shown.values() if not tests.startswith("untested: ") for test in tests.split()]
        wrong += [f"there is no {test}" for test in tests if test not in existing]
        if texts["PREEMPT_RT"] not in ("no", "-", "") and not rt & set(tests):
            wrong.append("no test in a profile with PREEMPT_RT")
        for why in wrong:
            print(f"# {why}")
        failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {pathlib.Path(file).parent.name}: {row[:60]}")
    stale = [key for key in known if key not in used]
    for file, row in stale:
        print(f"# {file} has no row {row}")
    print(f"{'not ok' if stale else 'ok'} {len(rows) + 1} - no other entries")
    sys.exit(1 if failed or stale else 0)


if __name__ == "__main__":
    main()
