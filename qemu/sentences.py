#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Lists the absolute sentences of the documentation that nothing shows.

A sentence is absolute if it has one of these words: never, cannot, always, every, impossible, or
'no ... can' and 'no ... may'; or if it has 'any' or 'all' otherwise than in one of the ORDINARY uses:
in a context, in a condition, in an idiom, or as the object of the verb by which a function's
documentation begins. It counts in README.md, in the manual pages, in module documentation
and in the documentation of items that are public, of macros and of trait methods.

Each has a line in qemu/claims.sentences with what shows it: names in backquotes, which have to
exist (see claims.py), or "definition:" or "kernel:" and a reason. A sentence without a line fails,
and so does a line without its sentence.
"""

import fnmatch
import pathlib
import re
import sys

import claims

TOP = pathlib.Path(__file__).resolve().parent.parent
ABSOLUTE = re.compile(r"\b(?:never|cannot|always|every|impossible|no \w+ (?:can|may))\b", re.I)
UNIVERSAL = re.compile(r"\b(?:any|all)\b", re.I)
ORDINARY = re.compile(
    # Idioms.
    r"any more\b|\bin all\b(?=[.,;:]|$)|\bat all\b|\bin any case\b|\bonce and for all\b|\bas for any\b|\bany other\b|"
    # Contexts, for which each module has a table that names its tests; places and sizes.
    r"\b(?:any|all) contexts?\b|\bany,? (?:but|including) |\bany, see|^Any[.,]|\bany place\b|\bof any size\b|"
    # Conditions, and clauses that say which.
    r"\b(?:if (?:there were )?|were )any\b|"
    r"\b(?:when|once|if|until|after|as soon as|as long as|whose|that|which|unless) (?:\w+ ){0,4}all\b|"
    # 'Returns all ...': what a function does.
    r"^(?:On success |The )?[A-Z][a-z]+s (?:[^,;:.]* )?(?:all|any)\b", re.I)
SENTENCE = re.compile(r"(?<=[.;:!?])\s+(?=[A-Z`\[*(])")
DOCUMENTED = re.compile(r"\s*(?:pub (?!\()|(?:unsafe )?fn |macro_rules!|type |const )")
FOLDED = re.compile(r"(?m)^\.(?:Nm|Fn|Dv|Er|Fa|Pa|Xr|Vt|Va|Cm) ?")
BREAKS = re.compile(r"(?m)^\.(?:Pp|Sh|It|Bl|El|Bd|Ed|Ss).*$")


def documentation(path):
    """The blocks of documentation of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".rs":
        return [re.sub(r"```.*?```|(?m:^    .*$)", "", text, flags=re.S) if path.suffix == ".md" else
                FOLDED.sub("", BREAKS.sub("\n", text))]
    blocks, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        begin = at
        while at < len(lines) and re.match(r"\s*//[/!]", lines[at]):
            at += 1
        if at == begin:
            at += 1
            continue
        after = at
        while after < len(lines) and re.match(r"\s*(?:#|\)\]|//)", lines[after]):
            after += 1
        inner = "//!" in lines[begin]
        if inner or (after < len(lines) and DOCUMENTED.match(lines[after])):
            blocks.append("\n".join(re.sub(r"\s*//[/!] ?", "", line) for line in lines[begin:at]))
    return [re.sub(r"```.*?(?:```|\Z)", "", block, flags=re.S) for block in blocks]


def sentences(path):
    """The absolute sentences of a file."""
    for block in documentation(path):
        for paragraph in re.split(r"\n\s*(?:\n|#|\||- |\* )", block):
            for sentence in SENTENCE.split(" ".join(paragraph.split())):
                if ABSOLUTE.search(sentence) or UNIVERSAL.search(ORDINARY.sub("", sentence)):
                    yield sentence


def listed():
    """(file, beginning) -> what shows it."""
    out, file = {}, None
    for line in (TOP / "qemu/claims.sentences").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            file = line.strip()
            continue
        begin, _, shown = line.strip().rpartition(" | ")
        out[file, begin.removesuffix("...")] = shown
    return out


def main():
    names = claims.existing()
    known = listed()
    unused, wrong = set(known), []
    files = [TOP / "README.md", *sorted((TOP / "src").rglob("*.rs")), *sorted((TOP / "src").rglob("man/*.[1-9]"))]
    for path in files:
        file = str(path.relative_to(TOP))
        for sentence in sentences(path):
            begins = [begin for of, begin in known if of == file and sentence.startswith(begin)]
            unused -= {(file, begin) for begin in begins}
            if not begins:
                wrong.append(f"{file}: nothing shows: {sentence}")
    wrong += [f"{file}: there is no such sentence: {begin}" for file, begin in sorted(unused)]
    for (file, begin), shown in known.items():
        named = re.findall(r"`([^`]+)`", shown)
        wrong += [f"{file}: {begin}: `{name}` does not exist" for name in named if not fnmatch.filter(names, name)]
        if not named and not re.match(r"(?:definition|kernel): \w", shown):
            wrong.append(f"{file}: {begin}: no reason")
    print("\n".join(wrong) if wrong else f"{len(known)} absolute sentences, each with what shows it")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
