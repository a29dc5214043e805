#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The lines of quiesce.ko that a run reached: coverage.py MODULE RESULTS MISSED LEAST

MODULE has trace points, RESULTS has the addresses of its sections and of the trace points that
were reached. Prints a line for each file of src/device and src/barrier, and writes the lines that were
not reached into MISSED, with their functions. Exit status 1 if less than LEAST percent were reached.
"""

import collections
import pathlib
import re
import subprocess
import sys


def instructions(module):
    """Lists of the instructions of each symbol: (section, offset, the trace point before it or None)."""
    text = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", module], capture_output=True, text=True, check=True).stdout
    section, point, out = None, None, []
    for line in text.splitlines():
        if line.startswith("Disassembly of section "):
            section = line.split()[-1].rstrip(":")
        elif line.endswith(">:"):
            point = None
            out.append([])
        elif "__sanitizer_cov_trace_pc" in line and "R_X86_64_" in line:
            # What KCOV records is the address behind the call; the relocation is one byte behind its begin.
            point = section, int(line.split(":")[0], 16) + 4
        elif re.match(r"\s+[0-9a-f]+:\t(?!\s*R_X86)", line):
            out[-1].append((section, int(line.split(":")[0], 16), point))
    return out


def frames(module, found):
    """Point -> (function, place) of its instruction, and of the calls that it was inlined by."""
    out = {}
    for name in {section for section, _ in found}:
        ours = sorted(offset for section, offset in found if section == name)
        text = subprocess.run(["addr2line", "-a", "-f", "-i", "-C", "-j", name, "-e", module], capture_output=True, text=True,
                              check=True, input="\n".join(hex(offset - 1) for offset in ours)).stdout
        for offset, block in zip(ours, re.split(r"(?m)^0x[0-9a-f]+\n", text)[1:]):
            lines = block.splitlines()
            out[name, offset] = list(zip(lines[::2], lines[1::2]))
    return out


def main():
    module, results, missed, least = sys.argv[1:]
    sections, reached = {}, set()
    for line in pathlib.Path(results).read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["section"]:
            sections[words[1]] = int(words[2], 16)
        elif words[:1] == ["reached"]:
            reached.add(int(words[1], 16))
    symbols = instructions(module)
    hits = {(section, offset - sections[section]) for offset in reached for section in sections
            if offset >= sections[section]}
    # An instruction is executed if the trace point before it is.
    executed = {(section, offset + 1) for symbol in symbols for section, offset, point in symbol if point in hits}
    functions = {function for stack in frames(module, executed).values() for function, _ in stack}
    every, hit = collections.defaultdict(dict), collections.defaultdict(set)
    for symbol in symbols:
        points = list(dict.fromkeys(point for _, _, point in symbol if point))
        stacks = frames(module, points) if points else {}
        # A function that is inlined has a copy that is exported and that nobody may call.
        if not points or (points[0] not in hits and stacks[points[0]][-1][0] in functions):
            continue
        for point in points:
            function, place = stacks[point][0]
            match = re.search(r"/(src/(?:device|barrier)\S*\.rs|src/helpers/(?:process|queue)\.c):(\d+)", place)
            if match:
                file, line = match[1], int(match[2])
                every[file].setdefault(line, function)
                if point in hits:
                    hit[file].add(line)
    if not any(hit.values()):
        sys.exit("no trace point of the module was reached")
    total = [0, 0]
    print(f"{'file':34} {'reached':>8} {'lines':>6}")
    with open(missed, "w", encoding="utf-8") as out:
        for file in sorted(every):
            total = [total[0] + len(hit[file]), total[1] + len(every[file])]
            print(f"{file:34} {len(hit[file]):8} {len(every[file]):6} {100 * len(hit[file]) / len(every[file]):5.0f} %")
            for line in sorted(set(every[file]) - hit[file]):
                out.write(f"{file}:{line} {every[file][line]}\n")
    print(f"{'all':34} {total[0]:8} {total[1]:6} {100 * total[0] / total[1]:5.0f} %")
    if 100 * total[0] < int(least) * total[1]:
        sys.exit(f"less than {least} % of the lines were reached")


if __name__ == "__main__":
    main()
