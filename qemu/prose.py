#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""prose.py [--list] [FILE...]: counts words and forms that the kernel's documentation does not use.

Looks at comments, documentation and messages, never at code. The word list and the reasons are in
.github/CONTRIBUTING.md. `qemu/prose.allow` names what may stay: FILE<TAB>PATTERN<TAB>TEXT<TAB>REASON.
Exits with 1 if anything is found that is not allowed, or if an entry of the list matches nothing.
"""
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent

PATTERNS = {
    "report": (r"\b(?:tells?|told|telling)\b", "returns, reports, wakes with"),
    "poll": (r"\b(?:looks?|looked|looking) (?:for|at|again|whether|after|into|once|so|before|back|on)\b|\blooks?\.", "polls, checks, reads"),
    "disable": (r"\bswitch(?:es|ed|ing)? (?:it |them |that |preemption |interrupts )?(?:off|on)\b", "disables, enables"),
    "section": (r"\bread sections?\b", "read-side critical section"),
    "safety": (r"SAFETY: (?:As (?:above|before|in |the caller|there|for)|By the (?:requirements|safety|function|caller)|"
               r"The caller(?:'s)?(?: promises| guarantees)?\.|The same\b|Nor\b|It was\b|In this order|Just called|Likewise)",
               "name the invariant, the call or the lock"),
    "private": (r"\b(?:the seeds?|seed's|peers?|twins?)\b", "XWOS, minircu, systemd, NT; baseline; mutant"),
    "literary": (r"\b(?:for ever|in vain|to the death|by and large|lets? go|letting go)\b", "indefinitely; without effect; releases"),
}

COMMENT = {
    ".rs": r"//[/!]?(.*)$", ".c": r"(?:/\*|^\s*\*|//)(.*)$", ".h": r"(?:/\*|^\s*\*|//)(.*)$",
    ".py": r"#(.*)$", ".sh": r"(?:^|\s)#(?!!)(.*)$",
}
TEXT = {".md", ".1", ".3", ".4", ".8", ".rst"}


def lines(path: pathlib.Path):
    """The text of a file, a line at a time: all of a document, the comments of a source."""
    suffix = path.suffix
    pattern = COMMENT.get(suffix)
    if suffix not in TEXT and pattern is None:
        if path.name in ("Kbuild", "Makefile", "init"):
            pattern = COMMENT[".sh"]
        else:
            return
    code = False
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if suffix in TEXT:
            if line.startswith("```"):
                code = not code
            if not code and not line.startswith("    "):
                yield number, line
            continue
        found = re.search(pattern, line)
        if found and not (suffix == ".rs" and '"' in line[: found.start()] and "//" in line[line.index('"'):found.start() + 1]):
            yield number, found.group(1)


def main() -> int:
    arguments = sys.argv[1:]
    listing = "--list" in arguments
    names = [a for a in arguments if a != "--list"]
    if not names:
        names = subprocess.check_output(
            ["bash", "-c", ". qemu/lib.sh; tracked"], cwd=TOP, text=True).split("\n")
    allowed = {}
    allow = TOP / "qemu/prose.allow"
    if allow.exists():
        for line in allow.read_text().splitlines():
            if line and not line.startswith("#"):
                file, pattern, text, _reason = line.split("\t")
                allowed[(file, pattern, text)] = False
    counts = dict.fromkeys(PATTERNS, 0)
    for name in sorted(set(names)):
        path = TOP / name
        if not name or name in (".github/CONTRIBUTING.md", "LICENSE", "qemu/prose.py") or not path.is_file():
            continue
        for number, text in lines(path):
            for pattern, (regex, instead) in PATTERNS.items():
                for found in re.finditer(regex, text):
                    for key in allowed:
                        if key[0] == name and key[1] == pattern and key[2] in text:
                            allowed[key] = True
                            break
                    else:
                        counts[pattern] += 1
                        if listing:
                            print(f"{name}:{number}: {found.group(0)!r} (write: {instead}): {text.strip()[:110]}")
    stale = [key for key, used in allowed.items() if not used and key[0] in names]
    for key in stale:
        print(f"qemu/prose.allow: matches nothing: {' | '.join(key)}")
    for pattern, count in counts.items():
        print(f"{pattern:10} {count}")
    return 1 if stale or any(counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
