#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares syzkaller's descriptions of /dev/quiesce with src/uapi/quiesce.h.

Of each command: its name, struct and direction. Of each struct: names, order, sizes and array lengths of
the members, and their directions, which the header's comments have as [in], [out] or [in/out].
Constants: each one that is used is in the header, and each flag of the header is used. Nothing refers to
what is not there, and nothing is unused. Then each edit of EDITS is made, and has to be noticed.
Prints KTAP.

    syzkaller.py --const    prints dev_quiesce.txt.const, for syzkaller, from the header
"""

import pathlib
import re
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent
HEADER = TOP / "src/uapi/quiesce.h"
TEXT = TOP / "qemu/syzkaller/dev_quiesce.txt"

SIZES = {"u8": 1, "u16": 2, "u32": 4, "s32": 4, "u64": 8, "s64": 8}
BUILTIN = {"fd", "const", "ptr", "ptr64", "string", "flags", "array", "len", "in", "out", "inout", "opt",
           "int8", "int16", "int32", "int64", "AT_FDCWD"}
# Constants that are no flag or kind of an argument: results, states, limits that FEATURES returns.
RESULTS = re.compile(r"QUIESCE_(VERSION|DEVICE|MAX_OBJECTS|MAX_BOUND|OUTCOMES|NOBODY|CAUSE_\w+|FEATURE_\w+|RESULT_\w+|"
                     r"STATE_\w+|KIND_\w+|[IY]_ABORTED|THEY_ABORTED|IOC_MAGIC|NR_\w+)")

# (text, replacement): faults of the descriptions.
EDITS = [
    ("\tindex\tint32\t(out)\n\tcount\tint64[1:4]\t(in)\n", "\tcount\tint64[1:4]\t(in)\n\tindex\tint32\t(out)\n"),
    ("\tsent\t\tint64\t(out)\n", ""),
    ("\tpid_ino\t\tint64", "\tpid_ino\t\tint32"),
    ("array[fd_quiesce_side, 2]", "array[fd_quiesce_side, 3]"),
    ("\tticket\t\tquiesce_ticket\t(inout)", "\tticket\t\tquiesce_ticket\t(in)"),
    ("QUIESCE_WAIT_REALTIME, ", ""),
    ("QUIESCE_ARRIVE_DROP", "QUIESCE_ARRIVE_DROPS"),
    ("cmd const[QUIESCE_IOC_RESET], arg ptr[inout, quiesce_reset]", "cmd const[QUIESCE_IOC_RESET], arg ptr[inout, quiesce_complete]"),
    ("arg ptr[in, quiesce_bind]", "arg ptr[inout, quiesce_bind]"),
    ("ioctl$QUIESCE_IOC_LEAVE(fd fd_quiesce_member, cmd const[QUIESCE_IOC_LEAVE])\n", ""),
    ("quiesce_wait_kinds = ", "quiesce_wait_kind = "),
    ("resource fd_quiesce_group[fd_quiesce_barrier]\n", ""),
    ("\tfd\t\tfd_quiesce_group\t(out)", "\tfd\t\tint32\t(out)"),
    ("\"/dev/quiesce\"", "\"/dev/quiesced\""),
]


class Header:
    """What the header defines."""

    def __init__(self, text):
        comments = {}
        self.structs = {}
        for comment, name, body in re.findall(r"/\*((?:(?!\*/).)*)\*/\nstruct (\w+) \{\n(.*?)\n\};", text, re.S):
            comments = dict(re.findall(r"@(\w+(?:\.\w+)?):\s+\[(in|out|in/out)\]", comment))
            self.structs[name] = [
                (member, SIZES.get(kind) or kind, int(length or 1), comments.get(member, "").replace("/", ""))
                for kind, member, length in re.findall(r"(?:__|struct )(\w+) (\w+)(?:\[(\d+)\])?;", body)
            ]
        self.commands = {}
        for name, direction, arguments in re.findall(r"#define (QUIESCE_IOC_\w+) \\\n\t_IO(\w*)\(([^)]*)\)", text):
            words = arguments.split(", ")
            struct = words[2].removeprefix("struct ") if len(words) > 2 else ""
            self.commands[name] = (direction, words[1], struct)
        self.values = {name: eval(re.sub(r"(?<=[0-9a-f])(?:ULL|U)\b", "", value))  # pylint: disable=eval-used
                       for name, value in re.findall(r"#define (QUIESCE_\w+)[ \t]+([^/\\\n]+?)\s*(?:/\*|$)", text, re.M)}
        for name, (direction, number, struct) in self.commands.items():
            bits = {"": 0, "W": 1, "R": 2, "WR": 3}[direction]
            self.values[name] = (bits << 30 | self.size(struct) << 16 | self.values["QUIESCE_IOC_MAGIC"] << 8 |
                                 self.values[number])

    def size(self, struct):
        """In bytes; no struct has padding."""
        return sum((size if isinstance(size, int) else self.size(size)) * length
                   for _, size, length, _ in self.structs.get(struct, []))


def described(kind, resources):
    """(size in bytes or name of a struct, array length) of a type."""
    array = re.fullmatch(r"array\[(\w+), (\d+)\]", kind)
    if array:
        return described(array[1], resources)[0], int(array[2])
    while kind in resources:
        kind = "int32" if resources[kind] == "fd" else resources[kind]
    if kind.startswith("ptr64["):
        return 8, 1
    bits = re.search(r"\bint(8|16|32|64)\b", kind)
    return (int(bits[1]) // 8, 1) if bits else (kind, 1)


def problems(text, header):
    """What is wrong with the descriptions."""
    text = re.sub(r"(?m)^#.*\n", "", text)
    resources = dict(re.findall(r"(?m)^resource (\w+)\[(\w+)\]", text))
    flags = dict(re.findall(r"(?m)^(\w+) = (.*)$", text))
    structs = {name: re.findall(r"(?m)^\t(\w+)\t+(.*?)(?:\t\((\w+)\))?$", body)
               for name, body in re.findall(r"(?ms)^(\w+) \{\n(.*?)^\}", text)}
    calls = re.findall(r"(?m)^ioctl\$(\w+)\(fd (\w+), cmd const\[(\w+)\](?:, arg ptr\[(\w+), (\w+)\])?\)$", text)
    out = []
    # Commands.
    if sorted(call[0] for call in calls) != sorted(header.commands):
        out.append(f"commands: {sorted({call[0] for call in calls} ^ set(header.commands))}")
    for name, _, command, direction, struct in calls:
        known = header.commands.get(name)
        if known and (command, {"in": "W", "out": "R", "inout": "WR", "": ""}[direction], struct) != (name, known[0], known[2]):
            out.append(f"{name}: {command}, {direction} {struct}")
    # Structs.
    for name in sorted(set(structs) ^ set(header.structs)):
        out.append(f"struct {name} is in one of both only")
    for name, members in structs.items():
        ours = [(member, *described(kind, resources), direction) for member, kind, direction in members]
        if name in header.structs and ours != header.structs[name]:
            out += [f"{name}: {one} instead of {other}" for one, other in zip(ours, header.structs[name]) if one != other]
            out += [f"{name}: {len(ours)} members instead of {len(header.structs[name])}"] * (len(ours) != len(header.structs[name]))
        for member, kind, direction in members:
            # A descriptor or a ticket that is no resource cannot be given to another call.
            if member == "fd" and not re.search(r"\bfd_quiesce_\w+", kind):
                out.append(f"{name}.fd is no resource")
            if member == "ticket" and kind != "quiesce_ticket":
                out.append(f"{name}.ticket is no resource")
    # Names.
    body = re.sub(r'"[^"]*"', "", text)
    used = set(re.findall(r"\b(?:QUIESCE|O|AT)_\w+", re.sub(r"ioctl\$\w+", "", body)))
    missing = {name for name in used if name.startswith("QUIESCE_")} - set(header.values)
    out += [f"the header has no {name}" for name in sorted(missing)]
    out += [f"{name} is not used" for name in sorted(set(header.values) - used) if not RESULTS.fullmatch(name)]
    names = set(resources) | set(flags) | set(structs)
    referred = set(re.findall(r"(?:[\[( ,\t]|^)(fd_quiesce(?:_\w+)?|quiesce_\w+)", re.sub(
        r"(?m)^(?:resource (?:\w+)|\w+ (?:=|\{))|openat\$\w+", "", body)))
    out += [f"nothing is called {name}" for name in sorted(referred - names)]
    out += [f"{name} is not used" for name in sorted(names - referred)]
    if '"/dev/quiesce"' not in text:
        out.append("the device is not opened")
    return out


def by_compiler(names):
    """The values of constants and sizes."""
    source = f'#include "{HEADER}"\n#include <stdio.h>\nint main(void) {{' + "".join(
        f'printf("%llu\\n", (unsigned long long)({name}));' for name in names) + "}"
    with tempfile.TemporaryDirectory() as folder:
        program = pathlib.Path(folder) / "values"
        subprocess.run(["cc", "-x", "c", "-", "-o", program], input=source, text=True, check=True)
        lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    return map(int, lines.split())


def main():
    header = Header(HEADER.read_text(encoding="utf-8"))
    text = TEXT.read_text(encoding="utf-8")
    if "--const" in sys.argv:
        print("# Code generated by qemu/syzkaller.py. DO NOT EDIT.\narches = amd64, arm64")
        print("\n".join(f"{name} = {header.values[name]}" for name in sorted(set(re.findall(r"\bQUIESCE_\w+", text)))))
        return 0
    print(f"KTAP version 1\n1..{len(EDITS) + 2}")
    found = problems(text, header)
    for line in found:
        print("#", line)
    print("not ok" if found else "ok", "1 - the descriptions are those of the header")
    expected = {**header.values, **{f"sizeof(struct {name})": header.size(name) for name in header.structs}}
    wrong = [f"{name}: {value} is read, {compiled} is compiled"
             for (name, value), compiled in zip(expected.items(), by_compiler(expected)) if value != compiled]
    for line in wrong:
        print("#", line)
    print("not ok" if wrong else "ok", f"2 - {len(expected)} constants and sizes are read as the compiler does")
    failed = bool(found or wrong)
    for number, (old, new) in enumerate(EDITS, 3):
        noticed = not found and text.count(old) == 1 and bool(problems(text.replace(old, new), header))
        failed |= not noticed
        print("ok" if noticed else "not ok", number, "- noticed:", " ".join(old.split()).replace("#", ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
