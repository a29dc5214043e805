#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Checks that the README files show code that is compiled and run.

A fenced block that names a file behind its language has to stand in that file as it
is. The files are built and run by the tests. A Rust block of a module's README that
names none is an example of the documentation (qemu/doctests.py). Prints KTAP.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.M | re.S)


def main():
    files = [TOP / "README.md", *sorted((TOP / "src").glob("*/README.md"))]
    blocks = [
        (language, name, code)
        for file in files
        for language, name, code in BLOCK.findall(file.read_text(encoding="utf-8"))
        if name or language != "rust" or file.parent == TOP
    ]
    print(f"KTAP version 1\n1..{len(blocks)}")
    failed = 0
    for number, (language, name, code) in enumerate(blocks, 1):
        path = TOP / name
        fine = name and path.is_file() and code in path.read_text(encoding="utf-8")
        failed += not fine
        print("ok" if fine else "not ok", number, "-", f"block {number} ({language}) stands in {name or 'no file'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
