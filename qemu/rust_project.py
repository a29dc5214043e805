#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Adds this tree's crates to the rust-project.json of the kernel's generator.

rust_project.py FILE TOP OUT ROOT: paths of the build root are written as they are
seen from outside it. Prints the result.
"""

import json
import pathlib
import sys

DEPS = ["core", "kernel", "pin_init", "zerocopy", "zerocopy_derive"]


def main():
    file, top, out, root = sys.argv[1:]
    text = pathlib.Path(file).read_text(encoding="utf-8")
    project = json.loads(text.replace('"/usr/', f'"{root}/usr/'))
    crates = project["crates"]
    index = {crate["display_name"]: number for number, crate in enumerate(crates)}
    kernel = crates[index["kernel"]]

    def add(path, deps):
        crates.append({
            "display_name": path.stem,
            "root_module": str(path),
            "is_workspace_member": True,
            "is_proc_macro": False,
            "deps": [{"crate": index[name], "name": name} for name in deps if name in index],
            "cfg": kernel["cfg"],
            "edition": "2021",
            "env": {**kernel["env"], "QUIESCE_OBJ": out, "RUST_MODFILE": "quiesce"},
            "source": {"include_dirs": [top, out], "exclude_dirs": []},
        })
        index[path.stem] = len(crates) - 1

    add(pathlib.Path(top, "src/quiesce.rs"), DEPS)
    for folder in ("kunit", "samples", "qemu"):
        for path in sorted(pathlib.Path(top, folder).rglob("*.rs")):
            if "module! {" in path.read_text(encoding="utf-8"):
                add(path, DEPS + ["quiesce"])
    json.dump(project, sys.stdout, indent=4, sort_keys=True)


if __name__ == "__main__":
    main()
