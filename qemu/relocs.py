#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Fails if a module refers to what the kernel does not keep of it.

relocs.py MODULE.ko...: the loader keeps the allocated sections of a module but for
.modinfo and __versions, which it reads and drops. A relocation into what is not kept,
such as an exported symbol of .modinfo makes, gives an address of nothing; on arm64 it
does not even fit, and the module does not load. Runs in the build root.
"""

import re
import subprocess
import sys

SECTION = re.compile(r"^\s*\[\s*(\d+)\]\s+(\S*)\s+([A-Z]\w+)\s+[0-9a-f]+ [0-9a-f]+ [0-9a-f]+ [0-9a-f]+\s+([A-Zoxl]*)")
SYMBOL = re.compile(r"^\s*(\d+): [0-9a-f]+ +\S+ +\S+ +\S+ +\S+ +(\S+)(?: +(\S+))?")
DROPPED = re.compile(r"^(\.modinfo|__versions|__version_ext_.*|\.discard.*)$")


def readelf(option, path):
    return subprocess.run(["readelf", option, "-W", path], check=True, capture_output=True, encoding="utf-8").stdout.splitlines()


def faults(path):
    """The relocations of a module, in a section that is kept, to one that is not."""
    sections = {m[1]: (m[2], "A" in m[4] and not DROPPED.match(m[2])) for m in map(SECTION.match, readelf("-S", path)) if m}
    kept = {name for name, stays in sections.values() if stays}
    symbols = {m[1]: (m[2], m[3] or "") for m in map(SYMBOL.match, readelf("-s", path)) if m}
    section = ""
    for line in readelf("-r", path):
        if line.startswith("Relocation section"):
            section = re.sub(r"^\.rela?", "", line.split("'")[1])
            continue
        words = line.split()
        if section not in kept or len(words) < 4 or not words[2].startswith("R_"):
            continue
        # The symbol's number is the upper half of the second word.
        index, name = symbols.get(str(int(words[1], 16) >> 32), ("UND", ""))
        target, stays = sections.get(index, ("", True))
        if not stays:
            yield f"{section} refers to {name or target} in {target or index}, which is not kept ({words[2]})"


def main():
    status = 0
    for path in sys.argv[1:]:
        for fault in faults(path):
            print(f"{path}: {fault}", file=sys.stderr)
            status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
