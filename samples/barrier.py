#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Three processes meet in phases; one of them is killed, and the others learn who it was."""

import multiprocessing
import os
import signal

import quiesce


def work(barrier: quiesce.Barrier, number: int) -> None:
    try:
        for phase in range(3):
            if number == 1 and phase == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            barrier.wait()
    except quiesce.BrokenBarrierError:
        pass


def main() -> None:
    barrier = quiesce.Barrier(3)
    workers = [multiprocessing.Process(target=work, args=(barrier, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    try:
        for phase in range(3):
            print(f"phase {phase}: I was number {barrier.wait()}")
    except quiesce.BrokenBarrierError as error:
        print(f"broken: {error}")  # process 812 was killed by signal 9 (Killed)
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
