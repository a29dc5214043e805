#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the models and the broken variants that they have to find; prints KTAP.

    models.py FOLDER [NAME...]     FOLDER has bin/ and broken/, as run.sh builds them

Environment: TIME=minutes explores further, for about so long; JOBS=n runs so many at a time.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys

from broken import EDITS

TIME = float(os.environ.get("TIME") or 0)
JOBS = int(os.environ.get("JOBS") or 2)

# State machines: the length of all sequences of calls. The long runs leave no symmetry out.
SEQUENCES = {"pair": 7, "group": 6}
LONGER = {"pair": 10, "group": 8}
# Edits are found by shorter ones.
SHORT = {"pair": 5, "group": 4}

# A broken variant that is not found in this time is one that is not found.
LIMIT = 600


class Test:
    def __init__(self, name, command, edit=None, seconds=None):
        self.name, self.command, self.edit, self.seconds = name, command, edit, seconds

    def run(self):
        """Returns whether it went as it should, and what it printed."""
        env = dict(os.environ, BROKEN=self.edit or "")
        if self.seconds:
            env["SECONDS"] = str(int(self.seconds))
        try:
            done = subprocess.run(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False,
                                  timeout=(self.seconds or 0) + LIMIT)
        except subprocess.TimeoutExpired:
            return False, "it did not end in time"
        text = done.stdout.decode(errors="replace").strip()
        if self.edit:
            # A model that aborts counts as one that has found nothing.
            return done.returncode == 1 and "# found" in text, text
        return done.returncode == 0, text


def tests(folder):
    """All of them, those that take longest first."""
    share = TIME * 60 * JOBS / 8 if TIME else None
    for kind in ("group", "pair"):
        length = [str(LONGER[kind]), "all", str(int(share))] if TIME else [str(SEQUENCES[kind])]
        yield Test(f"{kind}: sequences of calls", [folder / "bin/quiesce-machines", kind, *length], seconds=share)
    looms = subprocess.run([folder / "bin/quiesce-loom", "--list"], stdout=subprocess.PIPE, check=True).stdout.decode().split()
    share = TIME * 60 * JOBS * 3 / 4 / max(len(looms), 1) if TIME else None
    for model in looms:
        yield Test(model, [folder / "bin/quiesce-loom", model], seconds=share)
    for edit in EDITS:
        if edit.model in SHORT:
            command = [folder / "broken/quiesce-machines", edit.model, str(SHORT[edit.model])]
        elif edit.model in looms:
            command = [folder / "broken/quiesce-loom", edit.model]
        else:
            sys.exit(f"broken.py: {edit.name}: there is no model {edit.model}")
        yield Test(f"{edit.model} finds {edit.name}", command, edit.name)
    for model in looms:
        if not any(edit.model == model for edit in EDITS):
            sys.exit(f"the model {model} has no broken variant that it finds")


def main():
    folder = pathlib.Path(sys.argv[1])
    wanted = [test for test in tests(folder) if not sys.argv[2:] or any(test.name.startswith(name) for name in sys.argv[2:])]
    if not wanted:
        sys.exit("no model is called so")
    print(f"KTAP version 1\n1..{len(wanted)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for number, (test, (well, text)) in enumerate(zip(wanted, pool.map(Test.run, wanted)), 1):
            failed += not well
            lines = text.splitlines()
            # What a broken variant printed matters only if it was not what it should print.
            for line in lines[:60] if not (well and test.edit) else []:
                print("#", line.removeprefix("# "))
            print("ok" if well else "not ok", number, "-", test.name, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
