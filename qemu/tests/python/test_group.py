# SPDX-License-Identifier: GPL-2.0
"""quiesce.Group and quiesce.Party."""

import asyncio
import copy
import errno
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from unittest import mock

import common
import quiesce
from common import FORK, until
from quiesce import Reason


class Groups(unittest.TestCase):
    """Parties, phases, and how they end."""

    def make(self, parties=2, max_parties=0, **options):
        group = quiesce.Group(parties, max_parties, **options)
        self.addCleanup(group.close)
        joined = [group.join() for _ in range(parties)]
        for party in joined:
            self.addCleanup(party.close)
        return group, joined

    def fails(self, number, call, *args, **options):
        with self.assertRaises(OSError) as caught:
            call(*args, **options)
        self.assertEqual(errno.errorcode[caught.exception.errno], errno.errorcode[number])

    def broken(self, call, *args):
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            call(*args)
        return caught.exception

    def test_phases_and_tickets(self):
        _, (a, b) = self.make()
        for phase in 1, 2, 3:
            first = a.arrive()
            self.assertEqual((first.ticket, first.index, first.done), (phase, 0, False))
            self.fails(errno.EALREADY, a.arrive)
            with self.assertRaises(quiesce.WaitTimeout):
                a.wait(first.ticket, 0)
            last = b.arrive()
            self.assertEqual((last.index, last.done), (1, True))
            self.assertEqual(a.wait(first.ticket), quiesce.Outcome(0, False))
            self.assertEqual(b.wait(last.ticket), quiesce.Outcome(1, True))
        self.fails(errno.EINVAL, a.wait, 99, 0)

    def test_arrive_and_wait(self):
        _, (a, b) = self.make()
        parties = common.Threads()
        parties.start(a.arrive_and_wait)
        until(lambda: b.status().arrived == 1)
        self.assertEqual(b.arrive_and_wait(), quiesce.Outcome(1, True))
        self.assertEqual(parties.join(), [quiesce.Outcome(0, False)])

    def test_timeout_breaks_nothing(self):
        _, (a, b) = self.make()
        with self.assertRaises(quiesce.WaitTimeout) as caught:
            a.arrive_and_wait(0.01)
        b.arrive()
        self.assertEqual(a.wait(caught.exception.ticket).index, 0)

    def test_timeout_breaks_when_asked(self):
        _, (a, b) = self.make()
        ticket = a.arrive().ticket
        with self.assertRaises(quiesce.WaitTimeout):
            a.wait(ticket, 0.01, break_on_timeout=True)
        self.assertEqual(self.broken(b.arrive).cause.reason, Reason.TIMEOUT)

    def test_abort(self):
        group, (a, b) = self.make()
        a.abort(77)
        b.abort(78)
        error = self.broken(b.arrive)
        self.assertEqual((error.cause.reason, error.cause.code, error.cause.party), (Reason.ABORT, 77, 0))
        self.assertEqual(self.broken(group.join).cause.code, 77)

    def test_death_before_arrival(self):
        group, (a,) = self.make(1, 2)
        process = FORK.Process(target=lambda: (group.join(bind=True), os.kill(os.getpid(), signal.SIGKILL)))
        process.start()
        process.join()
        error = self.broken(a.arrive)
        self.assertEqual((error.errno, error.cause.reason, error.cause.pid, error.cause.party),
                         (errno.EOWNERDEAD, Reason.SIGNAL, process.pid, 1))

    def test_death_after_arrival(self):
        group, (a,) = self.make(1, 2)

        def main():
            party = group.join(bind=True)
            party.arrive()
            os._exit(0)

        process = FORK.Process(target=main)
        process.start()
        process.join()
        self.assertTrue(a.arrive().done)
        self.assertEqual(self.broken(a.arrive).cause.pid, process.pid)

    def test_completion(self):
        group, (a, b) = self.make(completion=True)
        first = a.arrive()
        self.assertEqual((first.leader, first.done), (False, False))
        last = b.arrive()
        self.assertEqual((last.leader, last.done), (True, False))
        self.assertTrue(a.member(1).leads and not a.member(0).leads)
        with self.assertRaises(quiesce.WaitTimeout):
            a.wait(first.ticket, 0.01)
        self.fails(errno.EINVAL, a.complete, first.ticket)
        self.assertEqual(b.wait(last.ticket), quiesce.Outcome(1, True, last.ticket))
        self.assertEqual(b.complete(last.ticket), 2)
        self.fails(errno.EINVAL, b.complete, last.ticket)
        self.assertEqual(a.wait(first.ticket), quiesce.Outcome(0, False))

    def test_completion_of_a_broken_phase(self):
        group, (a, b) = self.make(completion=True)
        a.arrive()
        ticket = b.arrive_and_wait().completes
        a.abort(5)
        group.reset()
        # The cause is that of the ticket's phase.
        self.assertEqual(self.broken(b.complete, ticket).cause.code, 5)
        a.arrive()
        ticket = b.arrive_and_wait().completes
        group.reset()
        self.assertEqual(self.broken(b.complete, ticket).errno, errno.ECANCELED)

    def test_clocks(self):
        _, (a, b) = self.make()
        for clock in time.CLOCK_BOOTTIME, time.CLOCK_REALTIME:
            begin = time.clock_gettime(clock)
            with self.assertRaises(quiesce.WaitTimeout) as caught:
                a.arrive_and_wait(0.05, clock=clock)
            self.assertGreaterEqual(time.clock_gettime(clock) - begin, 0.05)
            b.arrive()
            a.wait(caught.exception.ticket, 100, clock=clock)
        with self.assertRaises(ValueError):
            a.arrive_and_wait(1, clock=time.CLOCK_PROCESS_CPUTIME_ID)
        self.assertEqual(a.status().arrived, 0)

    def test_shrink(self):
        _, (a, b, c) = self.make(3, shrink=True)
        ticket = a.arrive().ticket
        b.close()
        self.assertFalse(a.status().broken)
        self.assertTrue(c.arrive().done)
        a.wait(ticket)

    def test_leave_and_drop(self):
        _, (a, b, c) = self.make(3)
        ticket = a.arrive().ticket
        b.leave()
        self.fails(errno.ENOTCONN, b.arrive)
        self.assertTrue(c.arrive_and_drop().done)
        a.wait(ticket)
        self.assertEqual(a.status().parties, 1)
        self.assertTrue(a.arrive().done)

    def test_join_adds_seats(self):
        group, _ = self.make(1, 2)
        with group.join():
            self.fails(errno.ENOSPC, group.join)

    def test_reset_in_mid_phase(self):
        group, (a, b) = self.make()
        ticket = a.arrive().ticket
        self.assertEqual(group.reset(), 2)
        self.assertEqual(self.broken(a.wait, ticket).errno, errno.ECANCELED)
        a.arrive()
        self.assertTrue(b.arrive().done)

    def test_reset_after_break(self):
        group, (a, b) = self.make()
        b.close()
        self.broken(a.arrive)
        group.reset()
        a.arrive()
        with group.join() as again:
            self.assertTrue(again.arrive().done)

    def test_open_seats_break(self):
        group = quiesce.Group(2)
        with group.join() as party:
            ticket = party.arrive().ticket
            group.close()
            self.assertEqual(self.broken(party.wait, ticket).cause.reason, Reason.UNCLAIMED)

    def test_late_parties(self):
        group, parties = self.make(70)
        for number, party in enumerate(parties):
            if number not in (3, 69):
                party.arrive()
        self.assertEqual(group.status().late, (3, 69))

    def test_member(self):
        group, (a, b) = self.make()
        a.arrive()
        b.bind()
        self.assertEqual((group.member(0).arrived, group.member(0).count, group.member(0).pid), (True, 1, os.getpid()))
        self.assertTrue(group.member(1).bound)
        self.fails(errno.ESRCH, group.member, 2)

    def test_last_four_outcomes(self):
        group, (a, b) = self.make()
        for _ in range(5):
            a.arrive()
            b.arrive()
        group.reset()
        group.reset()
        for ticket in 2, 3, 4, 5:
            a.wait(ticket, 0)
        self.fails(errno.ESTALE, a.wait, 1, 0)

    def test_poll(self):
        _, (a, b) = self.make()
        poll = select.poll()
        poll.register(a, select.POLLIN)
        ticket = a.arrive().ticket
        self.assertEqual(poll.poll(0), [])
        b.arrive()
        self.assertEqual(poll.poll(0), [(a.fileno(), select.POLLIN)])
        a.wait(ticket)
        self.assertEqual(poll.poll(0), [])

    def test_passed_over_a_socket(self):
        _, (a, b) = self.make()
        one, two = socket.socketpair()
        socket.send_fds(one, [b"."], [b.fileno()])
        b.close()
        received = socket.recv_fds(two, 1, 1)[1][0]
        a.arrive()
        with quiesce.Party.adopt(received) as party:
            self.assertTrue(party.arrive().done)

    def test_passed_to_a_spawned_process(self):
        _, (a, b) = self.make()
        process = common.SPAWN.Process(target=quiesce.Party.arrive_and_wait, args=(b,))
        process.start()
        b.close()
        a.arrive_and_wait()
        process.join()
        self.assertEqual(process.exitcode, 0)

    def test_inherited_by_exec(self):
        group = quiesce.Group(2)
        party, other = group.join(inheritable=True), group.join()
        program = "import quiesce, sys; quiesce.Party.adopt(int(sys.argv[1])).arrive_and_wait()"
        child = subprocess.Popen([sys.executable, "-c", program, str(party.fileno())], close_fds=False)
        other.arrive_and_wait()
        self.assertEqual(child.wait(), 0)

    def test_deadline_is_kept(self):
        _, (a, _) = self.make()
        begin = time.monotonic()
        with self.assertRaises(TimeoutError):
            a.arrive_and_wait(0.2)
        self.assertGreaterEqual(time.monotonic() - begin, 0.2)

    def test_other_threads_run_while_one_waits(self):
        _, (a, b) = self.make()
        thread = threading.Thread(target=a.arrive_and_wait)
        thread.start()
        until(lambda: b.status().waiting == 1)
        b.arrive()
        thread.join()

    def test_asyncio(self):
        _, (a, b) = self.make()

        async def main():
            ticket = a.arrive().ticket
            with self.assertRaises(quiesce.WaitTimeout):
                await a.wait_async(ticket, 0.01)
            waiting = asyncio.create_task(a.wait_async(ticket))
            await asyncio.sleep(0)
            b.arrive()
            self.assertEqual((await waiting).index, 0)
            ticket = a.arrive().ticket
            waiting = asyncio.create_task(a.wait_async(ticket))
            await asyncio.sleep(0)
            b.close()
            with self.assertRaises(quiesce.BrokenBarrierError):
                await waiting

        asyncio.run(main())

    def test_asyncio_of_a_party_that_left(self):
        """Its wait sleeps until the phase is over: the hang-up of its descriptor stays."""
        _, (a, b) = self.make()

        async def main():
            ticket = a.arrive_and_drop().ticket
            with mock.patch.object(a, "wait", wraps=a.wait) as wait:
                waiting = asyncio.create_task(a.wait_async(ticket))
                await asyncio.sleep(0.3)
                self.assertLess(wait.call_count, 10)
                b.arrive()
                await waiting

        asyncio.run(main())

    def test_close_ends_the_waits_of_asyncio(self):
        _, (a, _) = self.make()

        async def main():
            waiting = asyncio.create_task(a.wait_async(a.arrive().ticket))
            await asyncio.sleep(0)
            a.close()
            with self.assertRaises(ValueError):
                await asyncio.wait_for(waiting, 60)

        asyncio.run(main())

    def test_descriptors_are_returned(self):
        before = common.descriptors()
        group = quiesce.Group(2)
        party = group.join()
        party.close()
        party.close()
        with self.assertRaises(ValueError):
            party.arrive()
        group.close()
        self.assertEqual(common.descriptors(), before)

    def test_nonblocking(self):
        """A wait that would sleep fails, with the ticket of the arrival, and that of asyncio sleeps."""
        _, (a, b) = self.make()
        os.set_blocking(a.fileno(), False)
        with self.assertRaises(quiesce.WaitTimeout) as caught:
            a.arrive_and_wait()
        ticket = caught.exception.ticket

        async def main():
            waiting = asyncio.create_task(a.wait_async(ticket))
            await asyncio.sleep(0)
            b.arrive()
            self.assertEqual((await waiting).index, 0)

        asyncio.run(main())

    def test_numbers_out_of_range(self):
        self.fails(errno.EINVAL, quiesce.Group, 0)
        self.fails(errno.EINVAL, quiesce.Group, 2000)
        self.fails(errno.EINVAL, quiesce.Group, 3, 2)


class Words(unittest.TestCase):
    """A cause in words, the same as libquiesce's."""

    def test_cause_texts(self):
        cause = quiesce.Cause
        for made, text in (
                (cause(Reason.NONE), "nothing has ended"),
                (cause(Reason.ABORT, 1, 12, 0, 5), "process 12 aborted with code 5"),
                (cause(Reason.ABORT, 1, 0, 0, 5), "party 1 aborted with code 5"),
                (cause(Reason.ABORT), "somebody aborted with code 0"),
                (cause(Reason.TIMEOUT, 2, 12), "process 12 would not wait any longer"),
                (cause(Reason.CLOSE, 2, 12), "process 12 closed its descriptor"),
                (cause(Reason.EXEC, 2, 12), "process 12 executed another program"),
                (cause(Reason.EXIT, 2, 12, 3), "process 12 exited with status 3"),
                (cause(Reason.SIGNAL, 2, 12, 9), "process 12 was killed by signal 9 (Killed)"),
                (cause(Reason.UNCLAIMED), "nobody can join any more"),
                (cause(99, 2, 12), "process 12 ended for reason 99")):
            self.assertEqual(str(made), text)


def fail_with(error):
    raise error


class Errors(unittest.TestCase):
    """The module's exceptions pass to other processes."""

    ERRORS = (
        quiesce.BrokenBarrierError(),
        quiesce.BrokenBarrierError(errno.ECANCELED, None, "the phase was ended by a reset"),
        quiesce.BrokenBarrierError(errno.EOWNERDEAD, quiesce.Cause(Reason.SIGNAL, 2, 12, 9)),
        quiesce.WaitTimeout(7),
        quiesce.DeviceMissingError())

    def same(self, error, other):
        self.assertIs(type(other), type(error))
        for attribute in "args", "errno", "filename", "cause", "ticket", "__notes__":
            self.assertEqual(getattr(other, attribute, None), getattr(error, attribute, None), attribute)
        self.assertEqual(str(other), str(error))

    def test_every_error_is_here(self):
        errors = {value for value in vars(quiesce).values() if isinstance(value, type) and issubclass(value, Exception)}
        self.assertEqual(errors, {type(error) for error in self.ERRORS})

    def test_copied_and_pickled(self):
        for error in self.ERRORS:
            error.add_note("a note")
            self.same(error, copy.copy(error))
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                self.same(error, pickle.loads(pickle.dumps(error, protocol)))

    def test_raised_in_a_pool(self):
        with FORK.Pool(1) as pool:
            for error in self.ERRORS:
                with self.assertRaises(type(error)) as caught:
                    pool.apply_async(fail_with, (error,)).get(100)
                self.assertEqual(str(caught.exception), str(error))


if __name__ == "__main__":
    unittest.main()
