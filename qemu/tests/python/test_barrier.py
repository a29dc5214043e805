# SPDX-License-Identifier: GPL-2.0
"""quiesce.Barrier.

The classes Threads, Processes and Spawned have the behaviours that CPython's own tests require of
threading.Barrier and multiprocessing.Barrier; the others have what those do not do.
"""

import asyncio
import errno
import itertools
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from unittest import mock

import common
import quiesce
from quiesce import _barrier
from common import FORK, add, until
from quiesce import Reason

N = 5


def lockstep(barrier, entered, left, rounds):
    """Nobody leaves a round before all have entered it."""
    for number in range(1, rounds + 1):
        add(entered)
        barrier.wait()
        assert entered.value == number * N, f"{entered.value} entered round {number}"
        add(left)
        barrier.wait()
        assert left.value == number * N, f"{left.value} left round {number}"
    assert not barrier.broken


def wait(barrier, *args):
    return barrier.wait(*args)


class Count:
    """An action that counts its calls."""

    def __init__(self, counter):
        self.counter = counter

    def __call__(self):
        add(self.counter)


def one_aborts(barrier):
    """One of those that a round releases does not arrive again, but aborts."""
    try:
        if barrier.wait() == N // 2:
            barrier.abort()
            return "aborted"
        barrier.wait()
        return "released"
    except threading.BrokenBarrierError:
        return "broken"


def one_resets(barrier):
    """One resets while the others wait; then all meet."""
    if barrier.wait() == N // 2:
        until(lambda: barrier.n_waiting == N - 1)
        barrier.reset()
        result = "reset"
    else:
        try:
            barrier.wait()
            result = "released"
        except threading.BrokenBarrierError:
            result = "broken"
    barrier.wait()
    return result


def one_aborts_and_resets(barrier, other):
    """After an abort and a reset the barrier is as new."""
    result = one_aborts(barrier)
    if other.wait() == N // 2:
        barrier.reset()
    other.wait()
    barrier.wait()
    return result


def one_is_late(barrier, timeouts):
    """One arrives only when the wait of the others has timed out."""
    if barrier.wait(100) == N // 2:
        until(lambda: barrier.broken)
    try:
        barrier.wait(*timeouts)
        return "released"
    except threading.BrokenBarrierError:
        return "broken"


class Threads(unittest.TestCase):
    """Parties that are threads."""

    parties = common.Threads

    def run_parties(self, function, *args, count=N):
        return sorted(self.parties().run(function, count, *args), key=str)

    def counter(self):
        return FORK.Value("i")

    def test_lockstep(self):
        self.run_parties(lockstep, quiesce.Barrier(N), self.counter(), self.counter(), 1)

    def test_lockstep_of_many_rounds(self):
        barrier = quiesce.Barrier(N)
        self.run_parties(lockstep, barrier, self.counter(), self.counter(), 100)
        self.assertEqual(barrier.n_waiting, 0)

    def test_each_index_is_returned_once(self):
        self.assertEqual(self.run_parties(wait, quiesce.Barrier(N)), list(range(N)))

    def test_action_comes_before_the_release(self):
        action = Count(self.counter())
        self.run_parties(wait_and_check_once, quiesce.Barrier(N, action), action)
        self.assertEqual(action.counter.value, 1)

    def test_abort(self):
        barrier = quiesce.Barrier(N)
        self.assertEqual(self.run_parties(one_aborts, barrier), ["aborted"] + ["broken"] * (N - 1))
        self.assertTrue(barrier.broken)

    def test_reset_frees_those_that_wait(self):
        barrier = quiesce.Barrier(N)
        self.assertEqual(self.run_parties(one_resets, barrier), ["broken"] * (N - 1) + ["reset"])
        self.assertFalse(barrier.broken)

    def test_abort_and_reset(self):
        barrier = quiesce.Barrier(N)
        result = self.run_parties(one_aborts_and_resets, barrier, quiesce.Barrier(N))
        self.assertEqual(result, ["aborted"] + ["broken"] * (N - 1))
        self.assertFalse(barrier.broken)

    def test_timeout_breaks_it_for_all(self):
        self.assertEqual(self.run_parties(one_is_late, quiesce.Barrier(N), (0.1,)), ["broken"] * N)

    def test_default_timeout(self):
        self.assertEqual(self.run_parties(one_is_late, quiesce.Barrier(N, timeout=0.1), ()), ["broken"] * N)


class Processes(Threads):
    """Parties that are forked processes."""

    parties = common.Processes


class Spawned(unittest.TestCase):
    """Parties that are processes with an interpreter of their own, which take the barrier by pickling."""

    def test_each_index_is_returned_once(self):
        self.assertEqual(sorted(common.SpawnedProcesses().run(wait, 3, quiesce.Barrier(3))), [0, 1, 2])

    def test_action_comes_before_the_release(self):
        parties = common.SpawnedProcesses()
        action = Count(common.SPAWN.Value("i"))
        parties.run(wait_and_check_once, 2, quiesce.Barrier(2, action), action)
        self.assertEqual(action.counter.value, 1)


def wait_and_check_once(barrier, action):
    barrier.wait()
    assert action.counter.value == 1, action.counter.value


class Alone(unittest.TestCase):
    """What takes no other party."""

    def test_one_party_never_waits(self):
        barrier = quiesce.Barrier(1)
        self.assertEqual([barrier.wait(), barrier.wait()], [0, 0])

    def test_parties_are_positive(self):
        for parties in 0, -1:
            with self.assertRaises(ValueError):
                quiesce.Barrier(parties)

    def test_repr(self):
        barrier = quiesce.Barrier(3)
        self.assertRegex(repr(barrier), r"^<quiesce\.Barrier at 0x[0-9a-f]+: waiters=0/3>$")
        parties = common.Threads()
        parties.start(wait, barrier)
        parties.start(wait, barrier)
        until(lambda: barrier.n_waiting == 2)
        self.assertRegex(repr(barrier), "waiters=2/3>$")
        barrier.wait()
        parties.join()
        self.assertRegex(repr(barrier), "waiters=0/3>$")
        barrier.abort()
        self.assertRegex(repr(barrier), "broken>$")
        barrier.close()
        self.assertRegex(repr(barrier), "closed>$")

    def test_timeout_is_kept(self):
        barrier = quiesce.Barrier(2, timeout=0.2)
        begin = time.monotonic()
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            barrier.wait()
        self.assertGreaterEqual(time.monotonic() - begin, 0.2)
        self.assertEqual((caught.exception.cause.reason, caught.exception.cause.pid), (Reason.TIMEOUT, os.getpid()))
        self.assertTrue(barrier.broken)

    def test_death_of_a_member_that_left_a_child(self):
        """It breaks the barrier although nobody waits and a child has copies of all descriptors."""
        barrier = quiesce.Barrier(2)
        reader, writer = os.pipe()
        process = FORK.Process(target=fork_and_die, args=(barrier, reader, writer))
        process.start()
        os.close(reader)
        process.join()
        self.assertTrue(barrier.broken)
        self.assertEqual((barrier.cause.reason, barrier.cause.pid), (Reason.SIGNAL, process.pid))
        os.close(writer)

    def test_death_by_an_exit_with_any_status(self):
        for status in 0, 1, 255:
            barrier = quiesce.Barrier(2)
            process = FORK.Process(target=die, args=(barrier, lambda: os._exit(status)))
            process.start()
            process.join()
            self.assertTrue(barrier.broken)
            self.assertEqual((barrier.cause.reason, barrier.cause.status, barrier.cause.pid),
                             (Reason.EXIT, status, process.pid))

    def test_deadline_that_is_far_away(self):
        """A poll takes no more than 24 days."""
        for seconds in 1e7, 1e12, 1e300:
            barrier = quiesce.Barrier(2)
            parties = common.Threads()
            parties.start(wait_second, barrier)
            self.assertEqual(barrier.wait(seconds), 0)
            parties.join()

    def test_action_that_raises_breaks_it(self):
        barrier = quiesce.Barrier(2, lambda: 1 / 0)
        parties = common.Threads()
        parties.start(self.broken, barrier)
        until(lambda: barrier.n_waiting == 1)
        with self.assertRaises(ZeroDivisionError):
            barrier.wait()
        self.assertEqual(parties.join(), [Reason.ABORT])

    @staticmethod
    def broken(barrier):
        try:
            barrier.wait()
        except quiesce.BrokenBarrierError as error:
            return error.cause.reason
        return None

    def test_action_that_another_barrier_breaks(self):
        """The action's own BrokenBarrierError is not the barrier's."""
        other = quiesce.Barrier(2)
        other.abort()
        barrier = quiesce.Barrier(2, other.wait)
        parties = common.Threads()
        parties.start(self.broken, barrier)
        until(lambda: barrier.n_waiting == 1)
        with self.assertRaises(quiesce.BrokenBarrierError):
            barrier.wait()
        self.assertEqual(parties.join(), [Reason.ABORT])

    def test_action_that_waits_for_its_own_barrier(self):
        barrier = quiesce.Barrier(1, lambda: barrier.wait())
        with self.assertRaises(RuntimeError):
            barrier.wait()
        self.assertEqual(barrier.cause.reason, Reason.ABORT)

    def slow_barrier(self, parties):
        """A barrier whose action has begun, in another thread, and ends by an event."""
        begun, gate = threading.Event(), threading.Event()
        self.addCleanup(gate.set)
        barrier = quiesce.Barrier(parties, lambda: (begun.set(), gate.wait()))
        threads = common.Threads()
        for _ in range(parties):
            threads.start(self.result, barrier)
        begun.wait()
        return barrier, gate, threads

    @staticmethod
    def result(barrier, *timeout):
        try:
            barrier.wait(*timeout)
            return "released"
        except quiesce.BrokenBarrierError as error:
            return error.errno

    def test_threads_that_come_during_the_action(self):
        """They are the next round's."""
        barrier, gate, threads = self.slow_barrier(2)
        self.assertEqual(barrier.n_waiting, 2)
        for _ in range(4):
            threads.start(self.result, barrier)
        until(lambda: all(common.asleep(f"{os.getpid()}/task/{thread.native_id}") for thread in threads.parties))
        gate.set()
        self.assertEqual(threads.join(), ["released"] * 6)

    def test_timeout_during_the_action(self):
        barrier, gate, threads = self.slow_barrier(2)
        self.assertEqual(self.result(barrier, 0.05), errno.ETIMEDOUT)
        gate.set()
        self.assertEqual(threads.join(), [errno.ECONNABORTED] * 2)
        self.assertEqual(barrier.cause.code, errno.ETIMEDOUT)

    def test_timeout_of_those_that_wait_for_the_action(self):
        gate = threading.Event()
        barrier = quiesce.Barrier(2, gate.wait)
        threads = common.Threads()
        threads.start(self.result, barrier, 1)
        until(lambda: barrier.n_waiting == 1 or barrier.broken)
        threads.start(self.result, barrier)
        until(lambda: barrier.broken)
        gate.set()
        self.assertEqual(sorted(threads.join()), sorted([errno.ETIMEDOUT, errno.ECONNABORTED]))

    def test_reset_during_the_action(self):
        barrier, gate, threads = self.slow_barrier(2)
        barrier.reset()
        gate.set()
        self.assertEqual(threads.join(), [errno.ECANCELED] * 2)
        self.assertEqual(sorted(common.Threads().run(wait, 2, barrier)), [0, 1])

    def test_action_that_raises_after_a_reset(self):
        """It breaks its own round, and not the one that has begun."""
        gate, begun = threading.Event(), threading.Event()

        def action():
            if not begun.is_set():
                begun.set()
                gate.wait()
                raise ZeroDivisionError

        barrier = quiesce.Barrier(2, action)
        first = common.Threads()
        for _ in range(2):
            first.start(self.result_or_error, barrier)
        begun.wait()
        barrier.reset()
        gate.set()
        self.assertEqual(sorted(first.join(), key=str), [errno.ECANCELED, "ZeroDivisionError"])
        self.assertFalse(barrier.broken)
        self.assertEqual(sorted(common.Threads().run(wait, 2, barrier)), [0, 1])

    @classmethod
    def result_or_error(cls, barrier):
        try:
            return cls.result(barrier)
        except ZeroDivisionError as error:
            return type(error).__name__

    def test_interrupted_anywhere(self):
        """An exception of a signal's handler, wherever it comes, leaves nobody waiting."""
        class Interrupt(Exception):
            pass

        def handler(*_):
            raise Interrupt

        old = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        for number in range(150):
            barrier = quiesce.Barrier(2, (lambda: None) if number % 2 else None)
            threads = common.Threads()
            threads.start(self.result, barrier)
            until(lambda: barrier.n_waiting == 1)
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 + number * 5e-6)
                    self.result(barrier)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                # It came before the arrival, and then nothing has happened, or it broke the
                # barrier, or came too late for that.
                until(lambda: barrier.broken or barrier._status()["phase"] == 2 or barrier.n_waiting < 2)
                if not barrier.broken and barrier._status()["phase"] == 1:
                    self.result(barrier)
            threads.join()
            barrier.close()

    def test_seats_name_the_process_that_uses_them(self):
        barrier = quiesce.Barrier(2)
        process = FORK.Process(target=wait, args=(barrier,))
        process.start()
        # A wait arrives first, binds its seat then, and sleeps.
        until(lambda: barrier.n_waiting == 1 and common.asleep(process.pid))
        self.assertEqual([barrier._taken[0].member(number).pid for number in range(2)], [process.pid, os.getpid()])
        barrier.wait()
        process.join()

    def test_seat_that_others_used_in_between(self):
        """It names the process that used it last, also where that had it before."""
        barrier = quiesce.Barrier(2)
        process = FORK.Process(target=wait, args=(barrier,))
        process.start()
        barrier.wait()
        process.join()
        number = barrier._thread.seat
        common.Processes().run(wait, 2, barrier)
        named = FORK.Value("i")
        process = FORK.Process(target=name_when_it_waits, args=(barrier, number, os.getpid(), named))
        process.start()
        barrier.wait()
        process.join()
        self.assertEqual((barrier._thread.seat, named.value), (number, os.getpid()))

    def test_code_of_an_abort(self):
        barrier = quiesce.Barrier(2)
        barrier.abort(77)
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            barrier.wait()
        self.assertEqual(caught.exception.cause.code, 77)
        self.assertEqual(barrier.cause.code, 77)

    def test_signal_handler_that_raises_breaks_it(self):
        class Interrupt(Exception):
            pass

        def handler(*_):
            raise Interrupt

        barrier = quiesce.Barrier(2)
        old = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        sender = FORK.Process(target=signal_when_it_waits, args=(barrier, os.getpid()))
        sender.start()
        with self.assertRaises(Interrupt):
            barrier.wait()
        sender.join()
        self.assertTrue(barrier.broken)

    def test_signal_handler_that_returns_does_not(self):
        ran = []
        barrier = quiesce.Barrier(2)
        old = signal.signal(signal.SIGUSR1, lambda *_: ran.append(True))
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        sender = FORK.Process(target=signal_when_it_waits, args=(barrier, os.getpid(), True))
        sender.start()
        barrier.wait()
        sender.join()
        self.assertTrue(ran)

    def test_more_threads_than_parties(self):
        """Any two waits release two threads, and extra threads are the next round's."""
        barrier = quiesce.Barrier(2)
        self.assertEqual(sorted(common.Threads().run(wait, 16, barrier)), [0] * 8 + [1] * 8)

    def test_close_returns_all_descriptors(self):
        quiesce.Barrier(1).close()
        before = common.descriptors()
        barrier = quiesce.Barrier(2, lambda: None)
        common.Threads().run(wait, 2, barrier)
        barrier.close()
        with self.assertRaises(ValueError):
            barrier.wait()
        self.assertEqual(common.descriptors(), before)
        del barrier
        self.assertEqual(common.descriptors(), before)

    @staticmethod
    def copy_of(barrier):
        """The same barrier with descriptors of its own, as another process has it."""
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with one, two:
            barrier.send(one)
            return quiesce.Barrier.receive(two)

    def test_close_while_a_thread_waits(self):
        """The thread has its result, and closes the descriptors."""
        quiesce.Barrier(1).close()
        before = common.descriptors()
        barrier = quiesce.Barrier(2)
        other = self.copy_of(barrier)
        threads = common.Threads()
        threads.start(self.result, barrier)
        until(lambda: other.n_waiting == 1)
        barrier.close()
        for call in barrier.wait, barrier.abort, barrier.reset, barrier.join:
            self.assertRaises(ValueError, call)
        self.assertEqual(other.n_waiting, 1)
        other.wait()
        self.assertEqual(threads.join(), ["released"])
        other.close()
        del barrier, other, threads
        self.assertEqual(common.descriptors(), before)

    def test_exception_while_a_thread_waits(self):
        """The block's exception breaks the barrier for the thread, too."""
        barrier = quiesce.Barrier(2)
        threads = common.Threads()
        threads.start(self.result, barrier)
        until(lambda: barrier.n_waiting == 1)
        with self.assertRaises(ZeroDivisionError):
            with barrier:
                raise ZeroDivisionError
        self.assertEqual(threads.join(), [errno.ECONNABORTED])

    def test_exception_after_close(self):
        for error in SystemExit(3), ZeroDivisionError():
            with self.assertRaises(type(error)):
                with quiesce.Barrier(2) as barrier:
                    barrier.close()
                    raise error

    def test_handler_of_a_signal_during_a_join(self):
        """It may join, leave and close; nothing of that deadlocks or breaks the barrier."""
        old = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        for name, before in itertools.product(("join", "leave", "close"), (True, False)):
            barrier = quiesce.Barrier(2)
            other = self.copy_of(barrier)
            join = barrier._members.join
            ran = []

            def handler(*_):
                if not ran:
                    ran.append(name)
                    getattr(barrier, name)()

            def interrupted_join(**options):
                if before:
                    signal.raise_signal(signal.SIGUSR1)
                member = join(**options)
                signal.raise_signal(signal.SIGUSR1)
                return member

            signal.signal(signal.SIGUSR1, handler)
            with mock.patch.object(barrier._members, "join", interrupted_join):
                barrier.join()
            self.assertEqual(ran, [name])
            self.assertFalse(other.broken)
            self.assertEqual(other._members.status().parties, int(name != "close"))
            barrier.close()
            self.assertEqual(other._members.status().parties, 0)
            self.assertFalse(other.broken)
            other.close()

    def test_failed_constructor_returns_all_descriptors(self):
        before = common.descriptors()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 5, hard))
        try:
            with self.assertRaises(OSError):
                quiesce.Barrier(20)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(common.descriptors(), before)

    def test_descriptors_are_not_inherited_by_exec(self):
        barrier = quiesce.Barrier(2, lambda: None)
        barrier.join()
        names = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True,
                               close_fds=False).stdout
        self.assertNotIn("quiesce", names)
        barrier.close()


class Sample(unittest.TestCase):
    """samples/barrier.py, which README.md shows."""

    def test_runs(self):
        sample = pathlib.Path(__file__).with_name("barrier.py")
        lines = subprocess.run([sys.executable, sample], capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertEqual([line[:9] for line in lines[:2]], ["phase 0: ", "phase 1: "])
        self.assertRegex(lines[2], r"^broken: process \d+ was killed by signal 9 \(Killed\)$")


class ModuleMissing(unittest.TestCase):
    """Where the module is not loaded."""

    def test_missing_device_is_named(self):
        with mock.patch("quiesce._device.DEVICE", "/nonexistent"):
            with self.assertRaises(quiesce.DeviceMissingError) as caught:
                quiesce.Barrier(2)
        self.assertIn("modprobe quiesce", str(caught.exception))


def signal_when_it_waits(barrier, pid, arrives=False):
    until(lambda: barrier.n_waiting == 1 and common.asleep(pid))
    os.kill(pid, signal.SIGUSR1)
    if arrives:
        barrier.wait()


def name_when_it_waits(barrier, number, pid, named):
    """Notes which process a seat names while another one waits, and releases that."""
    until(lambda: barrier.n_waiting == 1 and common.asleep(pid))
    named.value = barrier._taken[0].member(number).pid
    barrier.wait()


def die(barrier, how, ready=None):
    """A member that dies."""
    barrier.join()
    if ready:
        ready.set()
    how()


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def exit_at_once():
    os._exit(3)


def fail_in_block(barrier, error):
    sys.stderr = open(os.devnull, "w", encoding="ascii")
    with barrier:
        raise error


class Deaths(unittest.TestCase):
    """Who died, and how, when parties are processes."""

    def setUp(self):
        self.barrier = quiesce.Barrier(2)

    def start(self, function, *args):
        process = FORK.Process(target=function, args=args)
        process.start()
        self.addCleanup(process.join)
        return process

    def dies(self, how):
        process = self.start(die, self.barrier, how)
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            self.barrier.wait()
        cause = caught.exception.cause
        self.assertEqual(cause.pid, process.pid)
        self.assertEqual(self.barrier.cause, cause)
        return cause.reason, cause.status

    def test_killed(self):
        self.assertEqual(self.dies(kill_self), (Reason.SIGNAL, signal.SIGKILL))

    def test_message(self):
        process = self.start(die, self.barrier, kill_self)
        with self.assertRaisesRegex(quiesce.BrokenBarrierError, rf"^process {process.pid} was killed by signal 9 \(Killed\)$"):
            self.barrier.wait()

    def test_exited_without_handlers(self):
        self.assertEqual(self.dies(exit_at_once), (Reason.EXIT, 3))

    def test_exception_that_leaves_a_block(self):
        for error in RuntimeError(), SystemExit(4):
            barrier = quiesce.Barrier(2)
            process = self.start(fail_in_block, barrier, error)
            cause = self.cause_of_wait(barrier)
            self.assertEqual((cause.reason, cause.pid), (Reason.ABORT, process.pid))

    def test_block_that_ends_well(self):
        for error in SystemExit(), SystemExit(0):
            process = self.start(fail_in_block, self.barrier, error)
            process.join()
            self.assertFalse(self.barrier.broken)

    def test_killed_while_it_waits(self):
        barrier = quiesce.Barrier(3)
        process = self.start(wait, barrier)
        until(lambda: barrier.n_waiting == 1)
        parties = common.Threads()
        parties.start(self.cause_of_wait, barrier)
        until(lambda: barrier.n_waiting == 2)
        process.kill()
        cause = parties.join()[0]
        self.assertEqual((cause.reason, cause.pid), (Reason.SIGNAL, process.pid))

    @staticmethod
    def cause_of_wait(barrier):
        try:
            barrier.wait()
        except quiesce.BrokenBarrierError as error:
            return error.cause
        return None

    def test_all_that_wait_learn_the_same(self):
        barrier = quiesce.Barrier(4)
        ready = FORK.Event()
        gate = FORK.Event()
        process = self.start(die, barrier, lambda: (gate.wait(), kill_self()), ready)
        ready.wait()
        parties = common.Processes()
        for _ in range(3):
            parties.start(self.cause_of_wait, barrier)
        # All have to be woken: of the last to arrive, one that does not sleep yet would see the death.
        until(lambda: barrier.n_waiting == 3 and all(common.asleep(party.pid) for party in parties.parties))
        gate.set()
        self.assertEqual({(cause.reason, cause.pid) for cause in parties.join()}, {(Reason.SIGNAL, process.pid)})

    def test_ordinary_exit_breaks_nothing(self):
        """Each round has other processes, as with multiprocessing.Barrier."""
        for _ in range(3):
            self.assertEqual(sorted(common.Processes().run(wait, 2, self.barrier)), [0, 1])
        self.assertFalse(self.barrier.broken)

    def test_left_and_killed(self):
        process = self.start(leave_and_die, self.barrier)
        process.join()
        self.assertEqual(process.exitcode, -signal.SIGKILL)
        self.assertFalse(self.barrier.broken)

    def test_child_of_a_member_is_none(self):
        self.barrier.join()
        process = self.start(kill_self)
        process.join()
        self.assertFalse(self.barrier.broken)

    def test_member_that_left_a_child(self):
        """The death counts although a child has copies of all descriptors."""
        reader, writer = os.pipe()
        process = self.start(fork_and_die, self.barrier, reader, writer)
        os.close(reader)
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            self.barrier.wait()
        self.assertEqual(caught.exception.cause.pid, process.pid)
        os.close(writer)

    def test_death_and_reset(self):
        self.dies(kill_self)
        self.barrier.reset()
        self.assertFalse(self.barrier.broken)
        parties = common.Processes()
        parties.start(wait, self.barrier)
        results = [self.barrier.wait(), *parties.join()]
        self.assertEqual(sorted(results), [0, 1])
        self.assertEqual(self.dies(kill_self), (Reason.SIGNAL, signal.SIGKILL))

    def test_killed_in_the_action(self):
        barrier = quiesce.Barrier(2, kill_self_if_child(os.getpid()))
        process = FORK.Process(target=wait_second, args=(barrier,))
        process.start()
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            barrier.wait()
        self.assertEqual(caught.exception.cause.pid, process.pid)
        process.join()
        # Nobody has to complete the phase any more.
        barrier.reset()
        parties = common.Threads()
        parties.start(wait, barrier)
        self.assertEqual(sorted([barrier.wait(), *parties.join()]), [0, 1])


    def test_exit_during_the_action(self):
        """A thread that its process does not wait for executes the action."""
        barrier = quiesce.Barrier(2, sleep_in_child(os.getpid()))
        process = self.start(wait_in_daemon, barrier)
        cause = self.cause_of_wait(barrier)
        self.assertEqual((cause.reason, cause.pid), (Reason.ABORT, process.pid))

    def test_child_of_the_action(self):
        """A process that is forked in the action is no member and leads nothing."""
        processes = [FORK.Process(target=exit_at_once) for _ in range(2)]
        unstarted = iter(processes)
        barrier = quiesce.Barrier(1, lambda: next(unstarted).start())
        self.assertEqual([barrier.wait(), barrier.wait()], [0, 0])
        for process in processes:
            process.join()
            self.assertEqual(process.exitcode, 3)


def leave_and_die(barrier):
    barrier.join()
    barrier.leave()
    kill_self()


def fork_and_die(barrier, reader, writer):
    barrier.join()
    if os.fork() == 0:
        # Ends when the test closes its end.
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    kill_self()


def kill_self_if_child(parent):
    return lambda: None if os.getpid() == parent else kill_self()


def sleep_in_child(parent):
    return lambda: None if os.getpid() == parent else time.sleep(1000)


def wait_in_daemon(barrier):
    """Exits while a thread executes the action."""
    until(lambda: barrier.n_waiting == 1)
    threading.Thread(target=barrier.wait, daemon=True).start()
    until(lambda: barrier._leading)


def wait_second(barrier):
    until(lambda: barrier.n_waiting == 1)
    barrier.wait()


CLIENT = """
import os, signal, sys
import quiesce
barrier = quiesce.Barrier.connect(sys.argv[1])
if sys.argv[2] == "wait":
    print(barrier.wait())
else:
    barrier.join()
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Unrelated(unittest.TestCase):
    """Processes that are not related take the barrier from a socket."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "barrier")

    def client(self, what):
        return subprocess.Popen([sys.executable, "-c", CLIENT, self.path, what], stdout=subprocess.PIPE, text=True)

    def test_meet(self):
        barrier = quiesce.Barrier(3)
        with barrier.serve(self.path):
            clients = [self.client("wait"), self.client("wait")]
            index = barrier.wait()
            self.assertEqual(sorted([index, *(int(client.communicate()[0]) for client in clients)]), [0, 1, 2])
        self.assertFalse(os.path.exists(self.path))

    def test_death_is_named(self):
        barrier = quiesce.Barrier(2)
        with barrier.serve(self.path):
            client = self.client("die")
            with self.assertRaises(quiesce.BrokenBarrierError) as caught:
                barrier.wait()
            self.assertEqual((caught.exception.cause.pid, caught.exception.cause.reason), (client.pid, Reason.SIGNAL))
            client.communicate()

    def test_the_file_has_the_mode(self):
        barrier = quiesce.Barrier(2)
        with barrier.serve(self.path):
            self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
        with barrier.serve(self.path, 0o660):
            self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o660)

    def test_action_on_both_sides(self):
        ran = []
        barrier = quiesce.Barrier(2, lambda: ran.append(0), timeout=100)
        with barrier.serve(self.path):
            with self.assertRaises(ValueError):
                quiesce.Barrier.connect(self.path)
            other = quiesce.Barrier.connect(self.path, lambda: ran.append(1))
        parties = common.Threads()
        parties.start(wait, other)
        parties.start(wait, barrier)
        self.assertEqual(sorted(parties.join()), [0, 1])
        self.assertEqual(len(ran), 1)

    def test_more_descriptors_than_a_message_has(self):
        barrier = quiesce.Barrier(300)
        one, two = socket.socketpair()
        sender = threading.Thread(target=barrier.send, args=(one,))
        sender.start()
        other = quiesce.Barrier.receive(two)
        sender.join()
        self.assertEqual(other.parties, 300)
        other.abort(5)
        self.assertEqual(barrier.cause.code, 5)

    def test_server_without_descriptors_goes_on(self):
        barrier = quiesce.Barrier(1)
        with barrier.serve(self.path) as server:
            listener = server._socket
            server._socket = mock.Mock(wraps=listener)
            server._socket.accept.side_effect = itertools.chain(
                [OSError(errno.EMFILE, ""), OSError(errno.ENFILE, "")], itertools.repeat(mock.DEFAULT))
            # The first may be accepted by a call that had begun.
            for _ in range(2):
                quiesce.Barrier.connect(self.path).close()
            self.assertGreaterEqual(server._socket.accept.call_count, 3)

    def test_program_that_ends_without_closing(self):
        subprocess.run([sys.executable, "-c", "import sys, quiesce; quiesce.Barrier(1).serve(sys.argv[1])", self.path],
                       check=True)
        self.assertFalse(os.path.exists(self.path))

    def test_child_that_leaves_the_block(self):
        """The service is its parent's, and goes on."""
        barrier = quiesce.Barrier(1)
        with barrier.serve(self.path) as server:
            process = FORK.Process(target=server.close)
            process.start()
            process.join()
            self.assertEqual(process.exitcode, 0)
            quiesce.Barrier.connect(self.path).close()
        self.assertFalse(os.path.exists(self.path))

    def test_barrier_that_is_closed_first(self):
        """Nobody waits for it in vain."""
        barrier = quiesce.Barrier(1)
        with barrier.serve(self.path) as server:
            barrier.close()
            for _ in range(2):
                with self.assertRaises((EOFError, OSError)):
                    quiesce.Barrier.connect(self.path)
            server._thread.join()

    def test_file_of_another_server_is_left(self):
        barrier = quiesce.Barrier(1)
        with barrier.serve(self.path):
            os.unlink(self.path)
            pathlib.Path(self.path).write_text("mine", encoding="ascii")
        self.assertTrue(os.path.exists(self.path))

    def test_false_descriptors_are_rejected(self):
        barrier = quiesce.Barrier(2)
        fds = barrier._descriptors()
        before = common.descriptors()
        for sent, parties, count in (
                (fds[:3], 2, 3), (fds[:2], 0, 2), (fds[2:] * 2, 2, 4), ([0] * 4, 2, 4), (fds, 2, 3), (fds, 1, 4)):
            one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            socket.send_fds(one, [_barrier._HEADER.pack(b"qsce", 2, 0, parties, count, 1.0)], sent)
            one.close()
            with self.assertRaises((ValueError, EOFError)):
                quiesce.Barrier.receive(two)
            two.close()
        self.assertEqual(common.descriptors(), before)
        self.assertFalse(barrier.broken)

    def test_something_else_is_rejected(self):
        before = common.descriptors()
        one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(one, [b"x" * 28], [0])
        with self.assertRaises(ValueError):
            quiesce.Barrier.receive(two)
        one.close()
        with self.assertRaises(EOFError):
            quiesce.Barrier.receive(two)
        two.close()
        self.assertEqual(common.descriptors(), before)


class Asyncio(unittest.IsolatedAsyncioTestCase):
    """Tasks of event loops as parties."""

    async def test_tasks(self):
        barrier = quiesce.Barrier(3)
        for _ in range(3):
            self.assertEqual(sorted(await asyncio.gather(*(barrier.wait_async() for _ in range(3)))), [0, 1, 2])

    async def test_task_and_process(self):
        barrier = quiesce.Barrier(2)
        parties = common.Processes()
        parties.start(wait, barrier)
        index = await barrier.wait_async()
        self.assertEqual(sorted([index, *parties.join()]), [0, 1])

    async def test_timeout(self):
        barrier = quiesce.Barrier(2)
        with self.assertRaises(quiesce.BrokenBarrierError):
            await barrier.wait_async(0.05)
        self.assertTrue(barrier.broken)

    async def test_cancelled(self):
        barrier = quiesce.Barrier(3)
        one, two = asyncio.create_task(barrier.wait_async()), asyncio.create_task(barrier.wait_async())
        while barrier.n_waiting < 2:
            await asyncio.sleep(0.005)
        one.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await one
        with self.assertRaises(quiesce.BrokenBarrierError):
            await two

    async def test_death(self):
        barrier = quiesce.Barrier(2)
        process = FORK.Process(target=die, args=(barrier, kill_self))
        process.start()
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            await barrier.wait_async()
        self.assertEqual(caught.exception.cause.pid, process.pid)
        process.join()

    async def test_cancelled_in_the_action(self):
        """The action is executed to its end, and the others are released."""
        begun, gate = threading.Event(), threading.Event()
        barrier = quiesce.Barrier(2, lambda: (begun.set(), gate.wait()))
        one = asyncio.create_task(barrier.wait_async())
        while barrier.n_waiting < 1:
            await asyncio.sleep(0.005)
        two = asyncio.create_task(barrier.wait_async())
        while not begun.is_set():
            await asyncio.sleep(0.005)
        two.cancel()
        await asyncio.sleep(0.01)
        self.assertFalse(one.done())
        gate.set()
        with self.assertRaises(asyncio.CancelledError):
            await two
        self.assertEqual(await one, 0)
        self.assertFalse(barrier.broken)

    async def test_tasks_that_come_during_the_action(self):
        barrier = quiesce.Barrier(2, lambda: time.sleep(0.05))
        self.assertEqual(sorted(await asyncio.gather(*(barrier.wait_async() for _ in range(6)))), [0, 0, 0, 1, 1, 1])

    async def test_action(self):
        ran = []
        barrier = quiesce.Barrier(2, lambda: ran.append(threading.current_thread()))
        await asyncio.gather(barrier.wait_async(), barrier.wait_async())
        self.assertEqual(len(ran), 1)
        self.assertIsNot(ran[0], threading.main_thread())


if __name__ == "__main__":
    unittest.main()
