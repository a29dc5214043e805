#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Writes every example of the crate's documentation as a test of one KUnit suite.

doctests.py SRC: the examples of SRC/**/*.rs and SRC/*/README.md go to the output, wrapped as rustdoc wraps
them: in a function of their own, which returns a Result if the example ends so, and
with nothing imported but the kernel's prelude. The kernel has scripts for that
(rustdoc_test_gen) which know the kernel crate alone.

Of the attributes of a block rustdoc's own are known: no_run is compiled and not run;
ignore, text and other languages are left alone; compile_fail is refused, because
kunit/compile-fail is the place for what must not compile and says why it does not.
"""

import pathlib
import re
import sys

# A fence, and what precedes the text of a line, by the suffix of the file.
FENCE = {".rs": re.compile(r"\s*//[/!] ?\s*```\s*(.*)$"), ".md": re.compile(r"```\s*(.*)$")}
COMMENT = {".rs": re.compile(r"^\s*//[/!] ?"), ".md": re.compile(r"^")}
HIDDEN = re.compile(r"^(\s*)#(?: |$)")
# What rustdoc takes for the end of a function that returns a Result.
RESULT = re.compile(r"^\s*Ok::<\(\), *[\w:]+>\(\(\)\)\s*$", re.M)
RUST = {"", "rust", "no_run"}
OTHER = {"ignore", "text", "c", "sh", "console", "make", "python", "toml", "rs"}


def examples(path):
    """The examples of a file: line, attributes, text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    opens, comment = FENCE[path.suffix], COMMENT[path.suffix]
    at = 0
    while at < len(lines):
        fence = opens.match(lines[at])
        at += 1
        if not fence:
            continue
        first, body = at + 1, []
        while at < len(lines) and not opens.match(lines[at]):
            if not comment.match(lines[at]):
                sys.exit(f"{path}:{at + 1}: an example does not end")
            body.append(HIDDEN.sub(r"\1", comment.sub("", lines[at])))
            at += 1
        at += 1
        yield first, set(re.split(r"[,\s]+", fence.group(1).strip())), body


def main():
    src = pathlib.Path(sys.argv[1])
    out, number = [], {}
    for path in sorted([*src.rglob("*.rs"), *src.glob("*/README.md")]):
        # The crate for user space is not compiled into the kernel.
        if "_generated" in path.name or path.is_relative_to(src / "user"):
            continue
        name = "_".join(path.relative_to(src).with_suffix("").parts).lower()
        for line, attributes, body in examples(path):
            where = f"{path.relative_to(src.parent)}:{line}"
            if attributes & OTHER:
                continue
            if not attributes <= RUST:
                sys.exit(f"{where}: what is an example with {' '.join(sorted(attributes))}?")
            number[name] = number.get(name, -1) + 1
            text = "\n".join(body)
            if re.search(r"^fn main\(", text, re.M):
                text += "\nmain()"
            result = " -> Result" if RESULT.search(text) else ""
            if "no_run" in attributes:
                text = f"fn no_run(){result} {{\n{text}\n}}\nlet _ = no_run;" + ("\nOk(())" if result else "")
            out.append(f"    // {where}\n    #[test]\n    fn {name}_{number[name]}(){result} {{\n{text}\n    }}\n")
    print("// SPDX-License-Identifier: GPL-2.0\n// Made by qemu/doctests.py.\n\nuse kernel::prelude::*;\n")
    print("#[kunit_tests(quiesce_doctests)]\nmod tests {\n    use kernel::prelude::*;\n")
    print("\n".join(out) + "}")


if __name__ == "__main__":
    main()
