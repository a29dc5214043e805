#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs the models and the broken variants that they have to find; prints KTAP.

    models.py FOLDER [NAME...]     FOLDER has bin/ and broken/, as run.sh builds them

Environment: TIME=minutes explores further afterwards, for about so long; JOBS=n runs so many at a time.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

from broken import EDITS, asleep

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
    """A run: of what is right if it has no `says`; else it has to fail, and to print what that matches."""

    def __init__(self, name, command, says=None, seconds=None, **variables):
        self.name, self.command, self.says, self.seconds, self.variables = name, command, says, seconds, variables

    def run(self):
        """Returns whether it went as it should, and what it printed."""
        env = {name: value for name, value in os.environ.items() if name not in ("SECONDS", "KEPT", "BRANCHES")}
        env |= {"BROKEN": "", **self.variables}
        if self.seconds:
            env["SECONDS"] = str(int(self.seconds))
        try:
            done = subprocess.run(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, check=False,
                                  timeout=(self.seconds or 0) + LIMIT)
        except subprocess.TimeoutExpired:
            return False, "it did not end in time"
        return self.judge(done.returncode, done.stdout.decode(errors="replace").strip())

    def judge(self, status, text):
        """The same, of a run that has ended."""
        if not self.says:
            return status == 0, text
        # What was found is one line. A model that aborts or is cut off, or that fails for another
        # reason, counts as one that has found nothing.
        found = [line for line in text.splitlines() if line.startswith("# found")]
        if status == 1 and len(found) == 1 and re.search(self.says, found[0]):
            return True, found[0][:200]
        return False, f"{text}\nexit status {status}; this should have found {self.says}"


def the_judge_errs():
    """Returns the judgements of `Test` that are wrong, of what the programs print."""
    found = "# found in execution 7: "
    deadlock = "deadlock; threads = [(Id(0), Blocked(Location(None))), (Id(1), Terminated), (Id(2), Blocked(Location(None)))]"
    cases = [
        (None, 0, "# 5 executions", True),
        (None, 1, found + "a torn value", False),
        (": a torn value", 1, found + "assertion failed: a torn value left: 0 right: 1", True),
        (": a torn value", 0, "# 5 executions", False),
        (": a torn value", 1, found + "called `Result::unwrap()` on an `Err` value: TimedOut", False),
        (": a torn value", 1, found + "another object is at this address", False),
        (": a torn value", 2, "# cut off in execution 7: Model exceeded maximum number of branches. a torn value", False),
        (": a torn value", 101, found + "a torn value", False),
        (": a torn value", -6, found + "a torn value", False),
        (": a torn value", 1, "# after: a torn value", False),
        (asleep(0, 2), 1, found + deadlock, True),
        (asleep(0), 1, found + deadlock, False),
        (asleep(0, 1, 2), 1, found + deadlock, False),
    ]
    return [case for case in cases if Test("", [], says=case[0]).judge(*case[1:3])[0] != case[3]]


def lines(command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()


def tests(folder):
    """All of them, those that take longest first."""
    machines, looms = folder / "bin/quiesce-machines", folder / "bin/quiesce-loom"
    worlds = {"pair": [], "group": []}
    for line in lines([machines, "--list"]):
        kind, name = line.split(maxsplit=1)
        worlds[kind].append(name)
    # Each model's name, and "bounded" if its preemptions are.
    bounds = dict(line.partition(" ")[::2] for line in lines([looms, "--list"]))
    models = list(bounds)

    sequences = [(kind, n, name) for kind in ("pair", "group") for n, name in enumerate(worlds[kind])]
    # Those with completion come last in the list, and are the longest.
    for kind, n, name in reversed(sequences):
        yield Test(f"{kind}: sequences of calls: {name}", [machines, kind, str(SEQUENCES[kind]), str(n)])
    for model in models:
        yield Test(model, [looms, model])
    for edit in EDITS:
        if edit.model in SHORT:
            command = [folder / "broken/quiesce-machines", edit.model, str(SHORT[edit.model])]
        elif edit.model in models:
            command = [folder / "broken/quiesce-loom", edit.model]
        else:
            sys.exit(f"broken.py: {edit.name}: there is no model {edit.model}")
        yield Test(f"{edit.model} finds {edit.name}", command, edit.says, BROKEN=edit.name)
    for model in models:
        if not any(edit.model == model for edit in EDITS):
            sys.exit(f"the model {model} has no broken variant that it finds")
    # What is cut off without a TIME is no success, and nothing that was found.
    yield CutOff("cut off: sequences out of memory", [machines, "group", "4", "0"], KEPT="100")
    yield CutOff("cut off: an execution out of branches", [looms, "group-break"], BRANCHES="20")

    # These come on top of the others, which are whole. They end with their time.
    if TIME:
        share = TIME * 60 * JOBS / 4 / len(sequences)
        for kind, n, name in sequences:
            yield Test(f"longer sequences of calls: {name}", [machines, kind, str(LONGER[kind]), str(n), "all"], seconds=max(share, 1))
        bounded = [model for model in models if bounds[model]]
        share = TIME * 60 * JOBS * 3 / 4 / len(bounded)
        for model in bounded:
            yield Test(f"{model} with any number of preemptions", [looms, model], seconds=max(share, 1))


class CutOff(Test):
    """A run that has to fail because it was cut off."""

    def judge(self, status, text):
        return status != 0 and "\n# cut off" in "\n" + text and "# found" not in text, text


def main():
    folder = pathlib.Path(sys.argv[1])
    wrong = the_judge_errs()
    if wrong:
        sys.exit(f"models.py judges these wrongly: {wrong}")
    wanted = [test for test in tests(folder) if not sys.argv[2:] or any(test.name.startswith(name) for name in sys.argv[2:])]
    if not wanted:
        sys.exit("no model is called so")
    print(f"KTAP version 1\n1..{len(wanted)}", flush=True)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for number, (test, (well, text)) in enumerate(zip(wanted, pool.map(Test.run, wanted)), 1):
            failed += not well
            for line in text.splitlines()[:60]:
                print("#", line.removeprefix("# "))
            print("ok" if well else "not ok", number, "-", test.name, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
