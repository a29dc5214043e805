# SPDX-License-Identifier: GPL-2.0
"""What the tests share: parties that run a function, and waiting for a state."""

import gc
import multiprocessing
import os
import threading
import time

FORK = multiprocessing.get_context("fork")
SPAWN = multiprocessing.get_context("spawn")


def until(condition, what="a state"):
    """Waits until a condition holds. That is a state which is reached, however long it takes."""
    end = time.monotonic() + 200
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} was not reached")
        time.sleep(0.005)


def asleep(pid):
    """Whether a process sleeps."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "S"


def add(counter):
    """Adds one to a value that parties share."""
    with counter.get_lock():
        counter.value += 1


def descriptors():
    """The number of this process' descriptors, without those that only garbage refers to."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def _report(results, function, args):
    try:
        results.put((True, function(*args)))
    except BaseException as error:  # pylint: disable=broad-except
        results.put((False, repr(error)))
        raise


class Threads:
    """Parties that are threads."""

    def __init__(self):
        self.results = FORK.SimpleQueue()
        self.parties = []

    def start(self, function, *args):
        party = threading.Thread(target=_report, args=(self.results, function, args))
        party.start()
        self.parties.append(party)
        return party

    def join(self):
        """What the parties returned, in any order. Raises if one failed."""
        results = [self.results.get() for _ in self.parties]
        for party in self.parties:
            party.join()
        self.parties = []
        failed = [result for fine, result in results if not fine]
        if failed:
            raise AssertionError(f"parties failed: {failed}")
        return [result for _, result in results]

    def run(self, function, count, *args):
        """Runs ``count`` parties and returns what they returned."""
        for _ in range(count):
            self.start(function, *args)
        return self.join()


class Processes(Threads):
    """Parties that are processes."""

    context = FORK

    def __init__(self):
        super().__init__()
        self.results = self.context.SimpleQueue()

    def start(self, function, *args):
        party = self.context.Process(target=_report, args=(self.results, function, args))
        party.start()
        self.parties.append(party)
        return party


class SpawnedProcesses(Processes):
    """Parties that are processes with an interpreter of their own."""

    context = SPAWN
