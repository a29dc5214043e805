#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Lists the absolute sentences of the documentation that nothing shows.

A sentence is absolute if it has one of the words of STRONG, or one of those of WEAK otherwise than
in one of the uses of ORDINARY, which are no claims:
- a context ("any context but NMI"), for which each module has a table whose cells name their tests
  (contexts.py), and the cells of such tables;
- a condition ("if there is no seat", "once all have left", "whether ...");
- a plain description of a return value ("Returns all keys", "`None` if there are none");
- an idiom ("in all", "as for any").
A WEAK word does not count either below the headings of REQUIRED, which say what the caller, or the
code itself, has to keep; nor in the paragraph "Context: ...".

It counts in README.md and those of src/*, in the manual pages, in the documentation of modules, and
in that of everything else but private fields and types (a private function looks like a trait's
method).

Each has a line in qemu/claims.sentences with what shows it: names in backquotes, which have to
exist (see claims.py), or "definition:" or "kernel:" and a reason. A sentence without a line fails,
and so does a line without its sentence. A mutant that is named has to be one that a test notices,
and one of the suites that the line names has to run it.
"""

import fnmatch
import pathlib
import re
import sys

import claims

TOP = pathlib.Path(__file__).resolve().parent.parent
STRONG = re.compile(r"\b(?:never|cannot|always|every|impossible)\b", re.I)
WEAK = re.compile(r"\b(?:any|all|no|none|nothing|nobody|neither)\b", re.I)
ORDINARY = re.compile(
    # Idioms.
    r"\bno more than\b|\bin all\b(?=[.,;:]|$)|\bonce and for all\b|\bas for any\b|"
    # Contexts, places and sizes.
    r"\b(?:any|all)(?: other)? contexts?\b|\bany,? (?:but|including) |\bany, (?:see|NMI)|^Any[.,]|\bany place\b|\bof any size\b|\|\s*(?:no|nothing)\b[^|]*|"
    # Conditions, and clauses that say which.
    r"\b(?:if (?:there were )?|were )any\b|"
    r"\b(?:when|once|if|as soon as|as long as|unless|whether) (?:[^\s,;:.]+ ){0,4}(?:all|no|none|nothing|nobody|neither)\b|"
    r"\bwhere (?:[^\s,;:.]+ ){0,2}(?:all|no|none|nothing|nobody|neither)\b|"
    # Return values.
    r"^Returns (?:[^,;:.]* )?(?:all|any|no)\b|^None are expected|^(?:\[?`None`\]?|`?E[A-Z]+`?|\[`\w+(?:::\w+)?`\]) (?:if|where|for|behind|when)\b.*", re.I)
REQUIRED = re.compile(r"#+ (?:Safety|Invariants?|Contexts?)$")
SENTENCE = re.compile(r"(?<=[.;:!?])\s+(?=[A-Z`\[*(])")
PRIVATE = re.compile(
    r"\s*(?:pub\(|(?:const |unsafe |async )*(?:struct|static|enum|union|trait|mod|use|impl|extern)\b|[a-z_][a-z0-9_]*: )")
FOLDED = re.compile(r"(?m)^\.(?:Nm|Fn|Dv|Er|Fa|Pa|Xr|Vt|Va|Cm) ?")
BREAKS = re.compile(r"(?m)^\.(?:Pp|Sh|It|Bl|El|Bd|Ed|Ss).*$")


def behind(lines, at):
    """The first line behind the attributes and comments that begin at AT, an attribute of several lines among them."""
    while at < len(lines):
        if re.match(r"\s*#!?\[", lines[at]):
            depth = 0
            while at < len(lines):
                depth += lines[at].count("[") - lines[at].count("]")
                at += 1
                if depth <= 0:
                    break
        elif re.match(r"\s*//", lines[at]):
            at += 1
        else:
            break
    return at


def documentation(path):
    """The blocks of documentation of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".rs":
        return [re.sub(r"```.*?```|(?m:^    .*$)", "", text, flags=re.S) if path.suffix == ".md" else
                FOLDED.sub("", BREAKS.sub("\n", text.replace(" No or ", " or ")))]
    blocks, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        begin = at
        while at < len(lines) and re.match(r"\s*//[/!]", lines[at]):
            at += 1
        if at == begin:
            at += 1
            continue
        after = behind(lines, at)
        inner = "//!" in lines[begin]
        if inner or not (after < len(lines) and PRIVATE.match(lines[after])):
            blocks.append("\n".join(re.sub(r"\s*//[/!] ?", "", line) for line in lines[begin:at]))
    return [re.sub(r"```.*?(?:```|\Z)", "", block, flags=re.S) for block in blocks]


def files():
    """The files that have documentation."""
    return [TOP / "README.md", *sorted((TOP / "src").glob("*/README.md")),
            *sorted((TOP / "src").rglob("*.rs")), *sorted((TOP / "src").rglob("man/*.[1-9]"))]


def sentences(path):
    """The absolute sentences of a file."""
    for block in documentation(path):
        required = False
        for paragraph in re.split(r"\n\s*(?=\n|#|\||- |\* )", block):
            paragraph = paragraph.strip()
            if paragraph.startswith("#"):
                head, _, paragraph = paragraph.partition("\n")
                required = bool(REQUIRED.match(head))
            if paragraph.startswith("Context: "):
                weak = False
            else:
                weak = not required
            for sentence in SENTENCE.split(" ".join(re.sub(r"^(?:\||- |\* )", "", paragraph).split())):
                if STRONG.search(sentence) or (weak and WEAK.search(ORDINARY.sub("", sentence))):
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
    for path in files():
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
        wrong += [f"{file}: {begin}: {reason}" for reason in claims.unsuitable(named)]
    print("\n".join(wrong) if wrong else f"{len(known)} absolute sentences, each with what shows it")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
