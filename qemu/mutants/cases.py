#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of what runs and judges the mutants, without a guest. Prints KTAP.

The guest's script runs on the host: its paths are those of a folder, and the commands that need
a kernel are replaced. There, a suite is a program that may ask for $QUIESCE_MUTANT.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import types

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import mutants  # noqa: E402 # pylint: disable=wrong-import-position

COMMANDS = {
    "insmod": "exit 0",
    "rmmod": "exit 0",
    "usleep": "sleep 0.1",
    # A complaint is printed once.
    "dmesg": 'cat "$GUEST/log" 2>/dev/null; [ "$1" != -c ] || : >"$GUEST/log"',
}
PASSES = "echo 'ok 1 - fine'"
FAILS = "echo 'not ok 1 - wrong place'; exit 1"
HANGS = "sleep 60"


def guest(plan, suites, took="", sample=False):
    """The verdicts that the guest prints for the lines of PLAN, and the times that it noted."""
    with tempfile.TemporaryDirectory() as folder:
        top = pathlib.Path(folder)
        for name in ("work", "tests", "bin", "tmp"):
            (top / name).mkdir()
        for place, programs in (("bin", COMMANDS), ("tests", suites)):
            for name, text in programs.items():
                (top / place / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
                (top / place / name).chmod(0o755)
        script = (HERE.parent / "guest/mutants.sh").read_text(encoding="utf-8")
        script = re.sub(r"(?<![\w$])/(?=(?:work|tests|tmp|took|plan|sample|unused\.sh|dev/kmsg)\b)", f"{top}/", script)
        (top / "dev").mkdir()
        (top / "unused.sh").touch()
        (top / "script").write_text(script, encoding="utf-8")
        (top / "plan").write_text(plan, encoding="utf-8")
        (top / "took").write_text(took, encoding="utf-8")
        if sample:
            (top / "sample").touch()
        env = {"PATH": f"{top}/bin:{os.environ['PATH']}", "GUEST": folder}
        with open(top / "output", "w", encoding="utf-8") as output:
            with subprocess.Popen(["sh", top / "script"], env=env, stdout=output, stderr=subprocess.DEVNULL,
                                  start_new_session=True) as run:
                run.wait(timeout=120)
                # A suite that hangs goes on.
                try:
                    os.killpg(run.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        lines = (top / "output").read_text(encoding="utf-8").splitlines()
        noted = (top / "tmp/took").read_text(encoding="utf-8")
    return [line for line in lines if line.startswith(("# mutant", "# again"))], noted


def verdicts(lines):
    """(name, verdict) of each line."""
    return [tuple(line.split()[2:4]) if line.startswith("# mutant") else (line.split()[2], "again") for line in lines]


def when(which, text):
    """A suite that does TEXT with one mutant, and passes with the others."""
    return f'if [ "$QUIESCE_MUTANT" = {which} ]; then {text}; else {PASSES}; fi'


def verdict_names_the_test():
    lines, _ = guest("a 1 9 user:one:one\n", {"one": FAILS})
    return verdicts(lines) == [("a", "caught")] and lines[0].endswith(" wrong_place")


def survivor_survives():
    lines, _ = guest("a 1 9 user:one:one\n", {"one": PASSES})
    return verdicts(lines) == [("a", "survived")]


def suite_that_fails_without_a_mutant_is_not_noted():
    lines, noted = guest("none 0 9 user:bad:bad user:good:good\n", {"bad": FAILS, "good": PASSES})
    return (verdicts(lines) == [("none", "caught")] and " bad " in lines[0]
            and [line.split()[0] for line in noted.splitlines()] == ["load", "good"])


def suite_that_hangs_without_a_mutant_is_not_noted():
    lines, noted = guest("none 0 2 user:bad:bad\n", {"bad": HANGS})
    return verdicts(lines) == [("none", "caught")] and " bad hang " in lines[0] and "bad" not in noted


def guest_ends_after_a_survivor():
    lines, _ = guest("a 1 9 user:one:one\nb 2 9 user:one:one\n", {"one": PASSES})
    return verdicts(lines) == [("a", "survived")]


def guest_goes_on_after_a_catch():
    lines, _ = guest("a 1 9 user:one:one\nb 2 9 user:one:one\n", {"one": FAILS})
    return verdicts(lines) == [("a", "caught"), ("b", "caught")]


def damage_is_not_blamed_on_a_later_mutant():
    suite = when(2, f'echo "BUG: memory" >"$GUEST/log"; {FAILS}')
    plan = "a 1 9 user:always:always\nb 2 9 user:one:one\n"
    suites = {"always": FAILS, "one": suite}
    return (verdicts(guest(plan, suites)[0]) == [("a", "caught"), ("b", "again")]
            and verdicts(guest(plan.splitlines()[1] + "\n", suites)[0]) == [("b", "caught")]
            and verdicts(guest(plan, suites, sample=True)[0]) == [("a", "caught"), ("b", "caught")])


def hang_is_not_blamed_on_a_later_mutant():
    plan = "a 1 9 user:always:always\nb 2 2 user:one:one\n"
    suites = {"always": FAILS, "one": HANGS}
    return (verdicts(guest(plan, suites)[0]) == [("a", "caught"), ("b", "again")]
            and " one hang " in guest(plan.splitlines()[1] + "\n", suites)[0][0])


def quickest_suite_is_first():
    lines, _ = guest("a 1 9 user:slow:slow user:quick:quick\n", {"slow": FAILS, "quick": FAILS},
                     took="slow 9.0 2\nquick 1.0 2\n")
    return " quick " in lines[0]


def complaints_of(text):
    """The mutants that the console TEXT catches."""
    with tempfile.NamedTemporaryFile("w", suffix=".console", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        run = subprocess.run([sys.executable, HERE / "mutants.py", "console", file.name], stdout=subprocess.PIPE,
                             text=True, check=True)
    return [line.split()[2] for line in run.stdout.splitlines()]


def console_catches():
    return complaints_of("mutants: begin r01 one\n[1.0] WARNING: at x\nmutants: end r01\nmutants: begin r02 one\n"
                         "mutants: end r02\n") == ["r01"]


def console_of_a_forgotten_run_does_not():
    return complaints_of("mutants: begin r01 one\n[1.0] WARNING: at x\nmutants: forget r01\nmutants: begin r01 one\n"
                         "mutants: end r01\n") == []


def score_is_rounded_down():
    every = [mutant for mutant in mutants.tables() if mutant.part == "rundown"]
    # The most whose score is nearer to the next number.
    caught = next(n for n in range(len(every) - 1, 0, -1) if 100 * n % len(every) * 2 > len(every))
    with tempfile.NamedTemporaryFile("w", suffix=".results", encoding="utf-8") as file:
        file.writelines(f"# mutant {mutant.id} {'caught' if place < caught else 'survived'} suite\n"
                        for place, mutant in enumerate(every))
        file.flush()
        run = subprocess.run([sys.executable, HERE / "mutants.py", "report", file.name, "--part", "rundown"],
                             stdout=subprocess.PIPE, text=True, check=False)
    score = re.search(rf"^all +{caught} +{len(every) - caught} +0 +0 +(\d+)%$", run.stdout, re.M)[1]
    return run.returncode == 1 and int(score) == 100 * caught // len(every)


def missing_one_fails():
    with tempfile.NamedTemporaryFile("w", suffix=".results", encoding="utf-8") as file:
        run = subprocess.run([sys.executable, HERE / "mutants.py", "report", file.name, "--part", "rundown"],
                             stdout=subprocess.PIPE, text=True, check=False)
    return run.returncode == 1 and " missing: " in run.stdout


def host_command(status, output):
    """What a command's end on the host counts as."""
    try:
        return mutants.failed(types.SimpleNamespace(returncode=status, stdout=output, args=["command"]))
    except SystemExit:
        return "error"


def test_that_fails_on_the_host_catches():
    return host_command(1, "ok 1 - a\nnot ok 2 - b\n") is True and host_command(0, "ok 1 - a\n") is False


def command_that_breaks_on_the_host_does_not():
    return (host_command(1, "Traceback (most recent call last):\n") == "error"
            and host_command(2, "not ok 1 - a\n") == "error")


def mutated_python_is_python():
    """A file that is none would be caught by any test."""
    with tempfile.TemporaryDirectory() as folder:
        mutants.apply(pathlib.Path(folder))
        files = {file for mutant in mutants.tables() for file, _, _ in mutant.edits
                 if mutant.part == "python" and file.endswith(".py")}
        for file in files:
            text = (pathlib.Path(folder) / file).read_text(encoding="utf-8")
            # The switch reads os.environ.
            if "QUIESCE_MUTANT" not in text or not re.search(r"^(?:import os|import .*\bos\b)", text, re.M):
                return False
            compile(text, file, "exec")
        return bool(files)


def suites_of_user_space_run_in_the_guest():
    known = mutants.suites_of_the_harness()
    return (known["quiesce_user_python"] == ("user", "run_python test_barrier test_pair test_group")
            and known["quiesce_tool"] == ("user", "tool"))


CASES = [value for value in list(globals().values())
         if callable(value) and getattr(value, "__module__", "") == __name__ and value.__code__.co_argcount == 0]


def main():
    print(f"KTAP version 1\n1..{len(CASES)}")
    failed = 0
    for number, case in enumerate(CASES, 1):
        fine = case()
        failed += not fine
        print("ok" if fine else "not ok", number, "-", case.__name__)
    return 1 if failed else 0


if __name__ == "__main__":

    sys.exit(main())
