# SPDX-License-Identifier: GPL-2.0
"""quiesce.Pair: systemd's semantics, with the device and without it."""

import asyncio
import errno
import os
import signal
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


def child_of(function, one, two):
    """A process that has one side, while this one keeps the other."""

    def main():
        one.close()
        function(two)

    process = FORK.Process(target=main)
    process.start()
    two.close()
    return process


class Pairs:
    """Behaviours that hold with the device and without."""

    use_device = True

    def setUp(self):
        self.one, self.two = quiesce.Pair.create(use_device=self.use_device)
        self.assertEqual(self.one.uses_device, self.use_device)

    def tearDown(self):
        self.one.close()
        self.two.close()

    def broken(self, call, *args):
        with self.assertRaises(quiesce.BrokenBarrierError) as caught:
            call(*args)
        return caught.exception

    def blocks(self, call):
        with self.assertRaises(quiesce.WaitTimeout):
            call(0)

    def test_place_is_read_by_a_wait(self):
        self.blocks(self.two.wait_next)
        self.one.place()
        self.two.wait_next()
        self.blocks(self.two.wait_next)

    def test_wait_next_reads_all_places(self):
        self.one.place(3)
        self.two.wait_next()
        self.blocks(self.two.wait_next)

    def test_sync(self):
        self.one.sync()
        self.one.place(2)
        self.blocks(self.one.sync)
        self.two.place()
        self.blocks(self.one.sync)
        self.two.place()
        self.one.sync()

    def test_sync_next(self):
        self.one.sync_next()
        self.one.place(2)
        self.blocks(self.one.sync_next)
        self.two.place()
        self.one.sync_next()
        self.blocks(self.one.sync_next)

    def test_place_and_sync(self):
        process = child_of(lambda side: (side.place_and_sync(), side.place_and_sync()), self.one, self.two)
        self.one.place_and_sync()
        self.one.place_and_sync()
        process.join()
        self.assertEqual(process.exitcode, 0)

    def test_place_and_sync_that_times_out_has_placed(self):
        with self.assertRaises(quiesce.WaitTimeout):
            self.one.place_and_sync(0)
        self.two.wait_next()

    def test_places_that_cannot_be_made(self):
        for count, error in (0, errno.EINVAL), (2**63, errno.EOVERFLOW), (2**64 - 1, errno.EOVERFLOW):
            with self.assertRaises(OSError) as caught:
                self.one.place(count)
            self.assertEqual(caught.exception.errno, error, count)
        # They have not been made, and are no abort.
        self.blocks(self.two.wait_next)
        self.one.place(2**62)
        self.assertRaises(OSError, self.one.place, 2**62)
        self.two.wait_next()
        self.blocks(self.two.wait_next)

    def test_view_is_lazy(self):
        self.two.abort()
        self.one.place()
        self.broken(self.one.wait_next)
        self.broken(self.one.place)

    def test_abort_supersedes_places(self):
        self.two.place()
        self.two.abort()
        self.broken(self.one.wait_next)

    def test_end_queues_behind_places(self):
        self.two.place()
        self.two.close()
        self.one.wait_next()
        self.broken(self.one.wait_next)

    def test_own_abort_ends_own_waits(self):
        self.one.abort()
        self.broken(self.one.wait_next)
        self.broken(self.one.sync)
        self.broken(self.one.place)

    def test_wait_abortion(self):
        self.two.place()
        self.blocks(self.one.wait_abortion)
        self.two.abort()
        self.one.wait_abortion()

    def test_wait_abortion_of_both(self):
        self.one.abort()
        self.blocks(self.one.wait_abortion)
        self.two.abort()
        self.broken(self.one.wait_abortion)

    def test_killed(self):
        process = child_of(lambda side: time.sleep(1000), self.one, self.two)
        threading.Thread(target=lambda: (until(lambda: common.asleep(os.getpid())), process.kill())).start()
        error = self.broken(self.one.wait_next)
        if self.use_device:
            self.assertEqual((error.cause.reason, error.cause.pid, error.cause.status),
                             (Reason.SIGNAL, process.pid, signal.SIGKILL))
        process.join()

    def test_deadline_is_kept(self):
        begin = time.monotonic()
        with self.assertRaises(TimeoutError):
            self.one.wait_next(0.2)
        self.assertGreaterEqual(time.monotonic() - begin, 0.2)

    def test_deadline_that_is_far_away(self):
        """A poll takes no more than 24 days."""
        old = signal.signal(signal.SIGALRM, lambda *_: self.two.place())
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        for seconds in 1e7, 1e12, 1e300:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            self.one.place_and_sync(seconds)

    def test_clocks(self):
        for clock in time.CLOCK_BOOTTIME, time.CLOCK_REALTIME:
            begin = time.clock_gettime(clock)
            with self.assertRaises(TimeoutError):
                self.one.wait_next(0.05, clock=clock)
            self.assertGreaterEqual(time.clock_gettime(clock) - begin, 0.05)
            self.one.sync(100, clock=clock)
        for call in self.one.wait_next, self.one.sync, self.one.place_and_sync:
            with self.assertRaises(ValueError):
                call(1, clock=time.CLOCK_PROCESS_CPUTIME_ID)
        # No call of the last kind has placed.
        with self.assertRaises(TimeoutError):
            self.two.wait_next(0)

    def test_handler_of_a_signal_runs(self):
        ran = []
        old = signal.signal(signal.SIGUSR1, lambda *_: ran.append(True))
        self.addCleanup(signal.signal, signal.SIGUSR1, old)
        parent = os.getpid()

        def child(side):
            until(lambda: common.asleep(parent))
            os.kill(parent, signal.SIGUSR1)
            side.wait_next()
            side.place()

        process = child_of(child, self.one, self.two)
        self.one.place()
        self.one.wait_next()
        process.join()
        self.assertEqual(ran, [True])
        # The other side has read one place, not one for each time that the wait went on.
        self.one.sync()

    def test_passed_to_a_spawned_process(self):
        process = common.SPAWN.Process(target=meet, args=(self.two,))
        process.start()
        self.two.close()
        self.one.place_and_sync()
        process.join()
        self.assertEqual(process.exitcode, 0)
        self.broken(self.one.wait_next)

    def test_descriptors_are_returned(self):
        before = common.descriptors()
        for side in quiesce.Pair.create(use_device=self.use_device):
            side.close()
            side.close()
            with self.assertRaises(ValueError):
                side.place()
        self.assertEqual(common.descriptors(), before)

    def test_asyncio(self):
        async def main():
            waiting = asyncio.create_task(self.one.wait_next_async())
            await asyncio.sleep(0)
            self.two.place()
            await waiting
            self.one.place()
            self.two.place()
            await asyncio.gather(self.one.place_and_sync_async(), self.two.sync_async())
            await self.one.sync_next_async()
            with self.assertRaises(quiesce.WaitTimeout):
                await self.one.wait_next_async(0.05)
            waiting = asyncio.create_task(self.one.wait_abortion_async())
            await asyncio.sleep(0)
            self.two.close()
            await waiting
            with self.assertRaises(quiesce.BrokenBarrierError):
                await self.one.wait_next_async()

        asyncio.run(main())

    def test_close_ends_the_waits_of_asyncio(self):
        """The numbers of its descriptors may be another pair's by then."""
        async def main():
            waiting = asyncio.create_task(self.one.wait_next_async())
            await asyncio.sleep(0)
            self.one.close()
            one, two = quiesce.Pair.create(use_device=self.use_device)
            with one, two:
                one.place()
                two.place()
                with self.assertRaises(ValueError):
                    await asyncio.wait_for(waiting, 60)
                one.wait_next(60)
                two.wait_next(60)
            self.two.wait_abortion(60)

        asyncio.run(main())

    def test_abort_ends_the_waits_of_asyncio(self):
        async def main():
            waiting = asyncio.create_task(self.one.sync_next_async())
            self.one.place()
            await asyncio.sleep(0)
            self.one.abort()
            with self.assertRaises(quiesce.BrokenBarrierError):
                await asyncio.wait_for(waiting, 60)

        asyncio.run(main())

    def test_a_wait_of_asyncio_has_no_copy(self):
        """A child that closes its copy of the side does not keep it alive by a wait of its parent's."""
        read, write = os.pipe()

        async def wait():
            waiting = asyncio.create_task(self.one.wait_next_async())
            await asyncio.sleep(0)
            if not os.fork():
                self.one.close()
                os.read(read, 1)
                os._exit(0)
            await waiting

        def main():
            self.two.close()
            os.close(write)
            asyncio.run(wait())

        process = FORK.Process(target=main)
        process.start()
        self.one.close()
        os.close(read)
        self.two.place()
        process.join()
        self.two.wait_abortion(60)
        os.close(write)


def meet(side):
    side.place_and_sync()


class Device(Pairs, unittest.TestCase):
    """A pair of /dev/quiesce."""

    def test_code_of_an_abort(self):
        self.two.abort(7)
        self.two.abort(8)
        error = self.broken(self.one.wait_next)
        self.assertEqual((error.cause.reason, error.cause.code, error.cause.pid), (Reason.ABORT, 7, os.getpid()))
        self.assertEqual(self.one.wait_abortion(), error.cause)

    def test_bound_side(self):
        """The death counts although another process has a copy of the side."""
        process = FORK.Process(target=lambda: (self.two.bind(), os._exit(9)))
        process.start()
        error = self.broken(self.one.wait_next)
        self.assertEqual((error.cause.reason, error.cause.status, error.cause.pid), (Reason.EXIT, 9, process.pid))
        process.join()

    def test_status_is_the_truth(self):
        self.one.place(2)
        self.two.abort(3)
        status = self.one.status()
        self.assertEqual((status.balance, status.sent, status.cause.code), (2, 2, 3))
        self.one.place()

    def test_adopted_after_exec(self):
        os.set_inheritable(self.two.fileno(), True)
        program = "import quiesce, sys; quiesce.Pair.adopt(int(sys.argv[1])).place_and_sync()"
        child = subprocess.Popen([sys.executable, "-c", program, str(self.two.fileno())], pass_fds=[self.two.fileno()])
        self.one.place_and_sync()
        self.assertEqual(child.wait(), 0)

    def test_two_threads_wait_for_one_place(self):
        threads = [threading.Thread(target=self.one.wait_next) for _ in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: self.one.status().waiting == 2)
        self.two.place()
        for thread in threads:
            thread.join()

    def test_nonblocking(self):
        """A wait that would sleep fails, and that of asyncio sleeps."""
        os.set_blocking(self.one.fileno(), False)
        self.assertRaises(quiesce.WaitTimeout, self.one.place_and_sync)
        self.assertRaises(quiesce.WaitTimeout, self.one.wait_next, 100)

        async def main():
            waiting = asyncio.create_task(self.one.sync_async())
            await asyncio.sleep(0)
            self.two.place()
            await waiting

        asyncio.run(main())

    def test_event_loop_reads_it(self):
        import select  # pylint: disable=import-outside-toplevel

        poll = select.poll()
        poll.register(self.one, select.POLLIN)
        self.assertEqual(poll.poll(0), [])
        self.two.place()
        self.assertEqual(poll.poll(0), [(self.one.fileno(), select.POLLIN)])


class WithoutDevice(Pairs, unittest.TestCase):
    """Eventfds and a pipe."""

    use_device = False

    def test_what_needs_the_device(self):
        for call in self.one.fileno, self.one.bind, self.one.status:
            with self.assertRaises(OSError):
                call()

    def test_taken_where_it_is_missing(self):
        with mock.patch("quiesce._device.DEVICE", "/nonexistent"):
            one, two = quiesce.Pair.create()
        self.assertFalse(one.uses_device)
        one.place()
        two.wait_next()


if __name__ == "__main__":
    unittest.main()
