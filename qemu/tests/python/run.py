#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""run.py MODULE...: runs the unittest modules beside this file and prints KTAP.

A test that takes longer than the limit ends the run with a traceback of all threads. A test
that leaves a process fails, and the process is killed: at its exit the interpreter would
wait for it, without a limit.
"""

import faulthandler
import multiprocessing
import os
import pathlib
import sys
import traceback
import unittest

LIMIT = 300


class Result(unittest.TestResult):
    """Prints a line for each test."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.failed = False

    def startTest(self, test):
        super().startTest(test)
        faulthandler.dump_traceback_later(LIMIT, exit=True)

    def line(self, test, passed, comment="", directive=""):
        self.number += 1
        left = multiprocessing.active_children()
        for process in left:
            process.kill()
            process.join()
        if left:
            passed, directive = False, ""
            comment += f"the test has left {left}"
        self.failed |= not passed
        for text in comment.splitlines():
            print("#", text)
        name = ".".join(test.id().split(".")[-2:])
        print("ok" if passed else "not ok", self.number, "-", name + directive, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.line(test, True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line(test, False, "".join(traceback.format_exception(*err)))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        raise NotImplementedError("a test is one line; it has no subtests")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(test, True, directive=f" # SKIP {reason}")


def main():
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:])
    print(f"KTAP version 1\n1..{suite.countTestCases()}", flush=True)
    result = Result()
    # Of a mutant one test is enough, and the others might wait for what it has broken.
    result.failfast = "QUIESCE_MUTANT" in os.environ
    suite.run(result)
    sys.stdout.flush()
    # Without waiting for the threads that a failed test has left.
    os._exit(result.failed)


if __name__ == "__main__":
    main()
