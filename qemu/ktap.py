#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that the kernel's own parser reads what the tests of this run reported.

ktap.py PROFILE...: each document of the profiles' results goes through kunit_parser.py
of the kernel's source, which has to find it without fault and count as judge.py does.
The host's suites that have run are read too. Runs in the build root. Prints KTAP.
"""

import contextlib
import io
import pathlib
import sys

QEMU = pathlib.Path(__file__).resolve().parent
BUILD = QEMU.parent / ".build"


def documents(path):
    """The documents of one result line: suite's name and lines."""
    name, lines = None, []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("# begin "):
            name, lines = line.split()[2], []
        elif line.startswith("# end ") and name:
            yield name, lines
            name = None
        elif name:
            lines.append(line)


def fault(parser, printer, judge, name, lines):
    """What is wrong with a document, or nothing."""
    suite = judge.Suite(name)
    for line in lines:
        suite.line(line)
    suite.close(True)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        counts = parser.parse_run_tests(lines, printer).counts
    if counts.errors:
        return f"the kernel's parser finds {counts.errors} errors\n{said.getvalue()}"
    theirs, ours = (counts.passed, counts.failed + counts.crashed, counts.skipped), (suite.passed, suite.failed, suite.skipped)
    return "" if theirs == ours else f"the kernel's parser counts {theirs}, ours {ours}"


def main():
    sys.path[:0] = ["/usr/src/linux/tools/testing/kunit", str(QEMU)]
    import judge  # pylint: disable=import-outside-toplevel
    import kunit_parser as parser  # pylint: disable=import-outside-toplevel,import-error
    import kunit_printer  # pylint: disable=import-outside-toplevel,import-error
    printer = kunit_printer.Printer(print=True, output=io.StringIO())

    found = [(profile, name, lines) for profile in sys.argv[1:] if (BUILD / profile / "results.log").exists()
             for name, lines in documents(BUILD / profile / "results.log")]
    found += [("host", name, lines) for path in sorted(BUILD.glob("*.tap.framed")) for name, lines in documents(path)]
    # What has a fault, to see that it is found: a plan that is not kept, and one that comes last.
    broken = [["KTAP version 1", "1..2", "ok 1 - a"], ["KTAP version 1", "ok 1 - a", "1..1"]]
    print(f"KTAP version 1\n1..{len(found) + len(broken)}")
    failed = number = 0
    for number, lines in enumerate(broken, 1):
        seen = fault(parser, printer, judge, "broken", lines)
        failed += not seen
        print("ok" if seen else "not ok", number, "- a broken document is noticed")
    for number, (profile, name, lines) in enumerate(found, number + 1):
        why = fault(parser, printer, judge, name, lines)
        if why:
            failed += 1
            print("# " + why.replace("\n", "\n# "))
        print("not ok" if why else "ok", number, "-", profile, name)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
