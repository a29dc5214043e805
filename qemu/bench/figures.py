# SPDX-License-Identifier: GPL-2.0
"""figures.json, the committed figures, and the tables of README.md that are made from them."""

import json
import os
import re


def read(path, part):
    """The committed figures of a part, "bench" or "size"; empty if there are none."""
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f).get(part, {})
    except FileNotFoundError:
        return {}


def fill(text, part, table):
    """A README's text with the table between the part's marks."""
    begin, end = f"<!-- {part}: filled by ", f"<!-- {part} end -->"
    found = re.fullmatch(f"(.*{begin}[^\n]*\n)(.*)({end}.*)", text, re.S)
    if not found:
        raise ValueError(f"no marks of {part}")
    return found[1] + table + "\n" + found[3]


def readme(path):
    """The README beside the figures."""
    return os.path.join(os.path.dirname(path), "README.md")


def record(path, part, last, table):
    """Writes the figures of a part, and its table."""
    try:
        with open(path, encoding="utf-8") as f:
            figures = json.load(f)
    except FileNotFoundError:
        figures = {}
    figures[part] = last
    # A list of figures is a line.
    out = re.sub(r"\[[^][{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]).replace("[ ", "[").replace(" ]", "]"),
                 json.dumps(figures, indent=1, sort_keys=True))
    with open(path, "w", encoding="utf-8") as f:
        f.write(out + "\n")
    with open(readme(path), encoding="utf-8") as f:
        text = fill(f.read(), part, table)
    with open(readme(path), "w", encoding="utf-8") as f:
        f.write(text)
