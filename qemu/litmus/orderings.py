#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Compares the ordered operations of the sources with the list of them, qemu/litmus/orderings.

x86 executes most programs as if each operation were ordered, so no test notices there that an
ordering became weaker. So each operation that is not relaxed has a line in the list: its file, its
function, what it is, and why it has to be so: the litmus tests that herd7 checks, or a reason. An
operation that is not in the list fails, and a line without one does. Prints KTAP, a test for each
function. --list prints the list as the sources have it.
"""

import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent

ORDER = re.compile(r"\b(Acquire|Release|Full|Read|Write)\b(?=,?\s*\))")
# Those of src/arch, called there or from elsewhere.
CALL = re.compile(r"(arch::(?:\w+::)?|\b)(read_barrier|write_barrier|barrier|load_acquire_u32|load_acquire_even_u32|"
                  r"load_acquire_u64|load_acquire_even_u64|"
                  r"swap_pointer)\(")
C_BARRIER = re.compile(r"\b(smp_\w+)\(|\b((?:cmp)?xchg)\(")
# An assembly without one of these options is a barrier for the compiler.
ASSEMBLY = re.compile(r'\basm!\(\s*"(.*?)options\(([^)]*)\)', re.S)

USER_SPACE = ("src/libquiesce", "src/user", "src/python")

# Instructions that order, of x86 and arm64.
ORDERED = re.compile(r'"(lock \w+|xchg|ldar\w*|ldax\w*|stl\w*|cas\w+|swp\w+|ldadd\w+|dmb \w+)')


def without_comments(text):
    """The text with comments and imports blanked, so that positions stay."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    text = re.sub(r"//[^\n]*|/\*.*?\*/", blank, text, flags=re.S)
    return re.sub(r"^\s*(?:pub )?use [^;]*;", blank, text, flags=re.M)


def called(text, end):
    """The name before the parenthesis that is open at END."""
    depth = 0
    for at in range(end - 1, -1, -1):
        if text[at] in ")]}":
            depth += 1
        elif text[at] in "([{":
            if depth == 0:
                name = re.search(r"(\w+)$", text[:at])
                return name.group(1) if name else "?"
            depth -= 1
    return "?"


def operations(path):
    """(function, operation) of each ordered operation of a file, in its order."""
    text = without_comments(path.read_text(encoding="utf-8"))
    found = []
    if path.suffix == ".rs":
        heads = [(m.start(), m.group(1)) for m in re.finditer(r"\b(?:fn|macro_rules!) (\w+)", text)]
        for match in ORDER.finditer(text):
            found.append((match.start(), f"{called(text, match.start())} {match.group(1)}"))
        for match in CALL.finditer(text):
            if match.group(1) or ("arch" in path.parts and not text[:match.start()].endswith("fn ")):
                found.append((match.start(), match.group(2)))
        for match in ASSEMBLY.finditer(text):
            ordered = ORDERED.findall('"' + match.group(1))
            weak = {"nomem", "readonly", "pure"}.intersection(match.group(2).replace(",", " ").split())
            found.append((match.start(), " ".join(["asm", *ordered, *sorted(weak)])))
    else:
        heads = [(m.start(), m.group(1)) for m in re.finditer(r"^(?:[\w]+[ *]+)+(\w+)\((?:[^;{]|\n)*\)\n\{", text, re.M)]
        for match in C_BARRIER.finditer(text):
            found.append((match.start(), match.group(1) or match.group(2)))
    out = []
    for at, what in sorted(found):
        names = [name for begin, name in heads if begin < at]
        out.append((names[-1] if names else "-", what))
    return out


def sources():
    """(file, function) -> operations."""
    out = collections.defaultdict(list)
    for path in sorted((TOP / "src").rglob("*")):
        in_user_space = any(path.is_relative_to(TOP / folder) for folder in USER_SPACE)
        if path.suffix in (".rs", ".c") and not in_user_space:
            for function, what in operations(path):
                out[str(path.relative_to(TOP)), function].append(what)
    return out


def manifest():
    """(file, function) -> (operations, evidence)."""
    out = collections.defaultdict(list)
    file = None
    for line in (HERE / "orderings").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            file = line.strip()
            continue
        function, what, why = (cell.strip() for cell in line.split("|"))
        out[file, function].append((what, why))
    return out


def unknown(why):
    """What is wrong with the evidence."""
    if not why:
        return "there is no reason"
    if why.startswith("litmus "):
        for name in why.removeprefix("litmus ").partition(";")[0].split():
            if not (HERE / f"{name}.litmus").exists():
                return f"there is no {name}.litmus"
    return None


def print_list():
    """The list as the sources have it, with the evidence that there is."""
    known, last = manifest(), None
    for (file, function), found in sources().items():
        if file != last:
            print(f"\n{file}")
            last = file
        have = list(known[file, function])
        for what in found:
            why = next((why for one, why in have if one == what), "")
            print(f"  {function} | {what} | {why}")


def main():
    if "--list" in sys.argv:
        print_list()
        return
    known, found = manifest(), sources()
    places = sorted(set(known) | set(found))
    print(f"KTAP version 1\n1..{len(places)}")
    failed = 0
    for number, place in enumerate(places, 1):
        wrong = []
        if [what for what, _ in known[place]] != found[place]:
            wrong.append(f"listed: {', '.join(what for what, _ in known[place]) or 'nothing'}; "
                         f"in the source: {', '.join(found[place]) or 'nothing'}")
        wrong += filter(None, (unknown(why) for _, why in known[place]))
        failed += bool(wrong)
        for line in wrong:
            print("#", line)
        print("not ok" if wrong else "ok", number, "-", *place)
    sys.exit(1 if failed or not places else 0)


if __name__ == "__main__":
    main()
