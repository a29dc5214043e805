#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs another compiler front end with the flags that Kbuild used for an object.

saved_command.py CMDFILE TOOL [--drop FLAG]... [-- EXTRA...]

CMDFILE is the .NAME.o.cmd that Kbuild left beside an object. Output options and the
source are dropped; EXTRA says what is wanted instead, with SOURCE for the source. Runs
in the folder that the flags are relative to, the one that modules were built in.
"""

import os
import shlex
import sys

WITH_VALUE = ("--out-dir", "--crate-type", "-o")
DROPPED = ("--emit", "-Cmetadata", "-Zbinary_dep_depinfo")


def main():
    cmdfile, tool, *rest = sys.argv[1:]
    extra = rest[rest.index("--") + 1:] if "--" in rest else []
    drop = [b for a, b in zip(rest, rest[1:]) if a == "--drop"]
    with open(cmdfile, encoding="utf-8") as lines:
        target, _, command = lines.readline().partition(":=")
    command = command.partition(" ; ")[0]
    words = shlex.split(command)
    env = dict(os.environ, RUSTC_BOOTSTRAP="1")
    while "=" in words[0] and not words[0].startswith("-"):
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    words.pop(0)
    flags, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in WITH_VALUE:
            skip = True
        elif not word.startswith(tuple(DROPPED) + tuple(drop)) and not word.endswith(".rs"):
            flags.append(word)
    source = next(word for word in words if word.endswith(".rs"))
    extra = [source if word == "SOURCE" else word for word in extra]
    # savedcmd_DIR/NAME.o: DIR is where the object is, seen from that folder.
    depth = target.strip().removeprefix("savedcmd_").count("/") + 1
    base = os.path.abspath(cmdfile)
    for _ in range(depth):
        base = os.path.dirname(base)
    env["QUIESCE_OBJ"] = base
    os.chdir(base)
    os.execvpe(tool, [tool, *flags, *extra], env)


if __name__ == "__main__":
    main()
