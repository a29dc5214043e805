# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""Pairs: two processes that wait for each other, with the semantics of systemd's barrier.

Where /dev/quiesce is missing, eventfds and a pipe take its place, as in libquiesce: the results are
the same, but a side has three descriptors, and no cause is known.
"""

from __future__ import annotations

import errno
import os
import select
import time
from multiprocessing import reduction
from typing import Any, Protocol

from . import _device as device

_ABORTION = 2**63 - 1
# As many as a side of the device can make, but for the abort.
_MAX_PLACES = _ABORTION - 1


class _Side(Protocol):
    """What a pair needs of the device, or of what takes its place."""

    def descriptors(self) -> list[int]: ...
    def arrive(self, count: int) -> None: ...
    def wait(self, kind: int, deadline: int, arrive: bool, clock: int) -> device.Cause | None: ...
    async def wait_async(self, kind: int, deadline: int) -> device.Cause | None: ...
    def abort(self, code: int) -> None: ...
    def close(self) -> None: ...


class _DeviceSide(device.Descriptor):
    """A party of a pair of the device."""

    def descriptors(self) -> list[int]:
        return [self.fileno()]

    def arrive(self, count: int) -> None:
        device.ARRIVE.call(self.fileno(), count=count)

    def wait(
            self, kind: int, deadline: int, arrive: bool, clock: int = time.CLOCK_MONOTONIC) -> device.Cause | None:
        command = device.ARRIVE_WAIT if arrive else device.WAIT
        return device.cause_of(command.call(
            self.fileno(), kind=kind, deadline=deadline, count=int(arrive), flags=device.clock_flag(clock)))

    async def wait_async(self, kind: int, deadline: int) -> device.Cause | None:
        return await self._tasks.wait(lambda: self.wait(kind, device.NOW, False), self.fileno(), deadline)

    def abort(self, code: int) -> None:
        device.ABORT.call(self.fileno(), code=code)
        self._tasks.wake()


class _EventSide:
    """A side of two eventfds and a pipe. It has no lock: one thread at a time may use it.

    Each side writes its places to its own eventfd and reads the other's. Nothing is ever written
    to the pipe: when its ends are closed, the other side has ended. An abort is a place of
    INT64_MAX, so that it counts however many places it adds to.
    """

    def __init__(self, me: int, them: int, pipe: int) -> None:
        self.me, self.them, self.pipe = me, them, pipe
        self.placed = self.ahead = 0
        self.i_aborted = self.they_aborted = False
        self.tasks = device.Wakers()

    def descriptors(self) -> list[int]:
        if self.me < 0:
            raise ValueError("the descriptors are closed")
        return [self.me, self.them, self.pipe]

    def close(self) -> None:
        fds, self.me, self.them, self.pipe = self.descriptors(), -1, -1, -1
        for fd in fds:
            os.close(fd)
        self.tasks.wake()

    def arrive(self, count: int) -> None:
        if count < 1:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.check()
        if self.placed + count > _MAX_PLACES:
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
        os.eventfd_write(self.me, count)
        self.placed += count
        self.ahead += count

    def abort(self, code: int) -> None:
        if not self.i_aborted:
            os.eventfd_write(self.me, _ABORTION)
        self.i_aborted = True
        self.tasks.wake()

    def check(self) -> None:
        """Raises what the view of an aborted side means."""
        if self.i_aborted:
            raise device.BrokenBarrierError(errno.ESHUTDOWN, None, "this side has aborted")
        if self.they_aborted:
            raise device.BrokenBarrierError(errno.ECONNABORTED, None, "the other side has aborted or ended")

    def read(self, places: int) -> None:
        if places >= _ABORTION:
            self.they_aborted = True
        else:
            self.ahead -= places

    def over(self, kind: int, goal: int) -> bool:
        """Whether the wait is over. Raises ValueError if this side was closed meanwhile."""
        self.descriptors()
        if kind == device.WAIT_ABORTION:
            return self.they_aborted
        self.check()
        return self.ahead <= goal

    def step(self, wait: int | None) -> bool:
        """Reads what the other side did; False if that was nothing within ``wait`` ms."""
        poll = select.poll()
        # The pipe is polled first: a side writes its places before it hangs up.
        poll.register(self.pipe, select.POLLHUP)
        poll.register(self.them, select.POLLIN)
        events = dict(poll.poll(wait))
        # The places of a side are read before its end takes effect.
        if self.them in events:
            try:
                self.read(os.eventfd_read(self.them))
            except BlockingIOError:
                pass
        elif self.pipe in events:
            self.read(_ABORTION)
        return bool(events)

    def goal(self, kind: int) -> int:
        """Until this many of this side's places are ahead, or fewer, a wait goes on."""
        if kind == device.WAIT_NEXT:
            return self.ahead - 1
        if kind == device.WAIT_SYNC_NEXT:
            return max(self.ahead - 1, 0)
        return 0

    def wait(
            self, kind: int, deadline: int, arrive: bool, clock: int = time.CLOCK_MONOTONIC) -> device.Cause | None:
        device.clock_flag(clock)
        if arrive:
            self.arrive(1)
        goal = self.goal(kind)
        while not self.over(kind, goal):
            left = device.seconds_left(deadline, clock)
            if left and clock != time.CLOCK_MONOTONIC:
                # poll() has another clock, and this one may be set or run on in between.
                left = min(left, 1)
            # poll() takes whole milliseconds.
            if not self.step(None if left is None else int(left * 1000) + (left > 0)) and left == 0:
                raise device.WaitTimeout()
        if self.i_aborted:
            self.check()
        return None

    async def wait_async(self, kind: int, deadline: int) -> device.Cause | None:
        goal = self.goal(kind)
        while not self.over(kind, goal):
            if not self.step(0):
                if device.seconds_left(deadline) == 0:
                    raise device.WaitTimeout()
                with select.epoll() as events:
                    events.register(self.pipe, select.EPOLLHUP)
                    events.register(self.them, select.EPOLLIN)
                    await self.tasks.readable(events, deadline)
        if self.i_aborted:
            self.check()
        return None


class Pair:
    """One side of a pair; ``Pair.create()`` makes both.

    A side learns of the other's abort or end in waits only: until then it may place. A wait raises
    BrokenBarrierError, with the cause, once the other side has aborted or ended in that view, or
    this one has aborted. The end of a side queues behind its places, an abort supersedes them.

    A copy of a side's descriptors that a child inherits keeps the side alive: close the other side
    after fork, or ``bind()`` each side to its process.
    """

    def __init__(self) -> None:
        raise TypeError("Pair.create() makes both sides")

    _side: _Side
    _closed: bool

    @classmethod
    def _of(cls, side: _Side) -> Pair:
        made = cls.__new__(cls)
        made._side, made._closed = side, False
        return made

    @classmethod
    def create(cls, *, use_device: bool = True) -> tuple[Pair, Pair]:
        """Makes a pair and returns its sides; without the device if it is missing or cannot be opened."""
        try:
            opened = device.open_device() if use_device else -1
        except (device.DeviceMissingError, PermissionError):
            opened = -1
        if opened < 0:
            return cls._without_device()
        try:
            made = device.PAIR.call(opened)
        finally:
            os.close(opened)
        return cls._of(_DeviceSide(made["fd0"])), cls._of(_DeviceSide(made["fd1"]))

    @classmethod
    def _without_device(cls) -> tuple[Pair, Pair]:
        flags = os.EFD_CLOEXEC | os.EFD_NONBLOCK
        opened: list[int] = []
        try:
            opened += [os.eventfd(0, flags), os.eventfd(0, flags)]
            opened += [os.dup(opened[1]), os.dup(opened[0])]
            opened += os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        one, two, one_of_two, two_of_one, read, write = opened[0], opened[1], opened[2], opened[3], opened[4], opened[5]
        return cls._of(_EventSide(one, one_of_two, read)), cls._of(_EventSide(two, two_of_one, write))

    @classmethod
    def adopt(cls, fd: int) -> Pair:
        """Makes a side of a descriptor of the device that came by exec or over a socket."""
        return cls._of(_DeviceSide(fd))

    @property
    def uses_device(self) -> bool:
        """Whether the pair is one of /dev/quiesce, so that causes are known."""
        return isinstance(self._side, _DeviceSide)

    def fileno(self) -> int:
        """The device's descriptor, for event loops; readable when a place can be read.

        Raises OSError (EOPNOTSUPP) without the device.
        """
        return self._device()

    def _device(self) -> int:
        if self._closed:
            raise ValueError("this side is closed")
        if not isinstance(self._side, _DeviceSide):
            raise OSError(errno.EOPNOTSUPP, "not without /dev/quiesce")
        return self._side.fileno()

    def _open(self) -> _Side:
        if self._closed:
            raise ValueError("this side is closed")
        return self._side

    def place(self, count: int = 1) -> None:
        """Places; never blocks."""
        self._open().arrive(count)

    def abort(self, code: int = 0) -> None:
        """Aborts this side; the other receives ``code`` in the cause. The first abort counts."""
        self._open().abort(code)

    def wait_next(self, timeout: float | None = None, *, clock: int = time.CLOCK_MONOTONIC) -> None:
        """Waits for the next place of the other side; reads all there are.

        This and the other waits raise BrokenBarrierError, and WaitTimeout when ``timeout`` seconds
        have passed: those of ``clock``, which is CLOCK_MONOTONIC, CLOCK_REALTIME or CLOCK_BOOTTIME
        of the module time. A signal's handler runs and the wait goes on, unless the handler raises.
        """
        self._open().wait(device.WAIT_NEXT, device.deadline_after(timeout, clock), False, clock)

    def sync_next(self, timeout: float | None = None, *, clock: int = time.CLOCK_MONOTONIC) -> None:
        """``wait_next()``, or nothing if the other side has placed as often as this one."""
        self._open().wait(device.WAIT_SYNC_NEXT, device.deadline_after(timeout, clock), False, clock)

    def sync(self, timeout: float | None = None, *, clock: int = time.CLOCK_MONOTONIC) -> None:
        """Waits until the other side has placed as often as this one."""
        self._open().wait(device.WAIT_SYNC, device.deadline_after(timeout, clock), False, clock)

    def place_and_sync(self, timeout: float | None = None, *, clock: int = time.CLOCK_MONOTONIC) -> None:
        """``place()`` and ``sync()``, in one system call. After WaitTimeout the place stands."""
        self._open().wait(device.WAIT_SYNC, device.deadline_after(timeout, clock), True, clock)

    def wait_abortion(
            self, timeout: float | None = None, *, clock: int = time.CLOCK_MONOTONIC) -> device.Cause | None:
        """Waits until the other side aborts or ends, and returns how; places are ignored.

        Raises BrokenBarrierError if this side has aborted, too.
        """
        return self._open().wait(device.WAIT_ABORTION, device.deadline_after(timeout, clock), False, clock)

    async def wait_next_async(self, timeout: float | None = None) -> None:
        """``wait_next()`` for asyncio. One task at a time may wait for a side."""
        await self._open().wait_async(device.WAIT_NEXT, device.deadline_after(timeout))

    async def sync_next_async(self, timeout: float | None = None) -> None:
        """``sync_next()`` for asyncio."""
        await self._open().wait_async(device.WAIT_SYNC_NEXT, device.deadline_after(timeout))

    async def sync_async(self, timeout: float | None = None) -> None:
        """``sync()`` for asyncio."""
        await self._open().wait_async(device.WAIT_SYNC, device.deadline_after(timeout))

    async def place_and_sync_async(self, timeout: float | None = None) -> None:
        """``place_and_sync()`` for asyncio. After a timeout or when cancelled, the place stands."""
        self.place()
        await self.sync_async(timeout)

    async def wait_abortion_async(self, timeout: float | None = None) -> device.Cause | None:
        """``wait_abortion()`` for asyncio."""
        return await self._open().wait_async(device.WAIT_ABORTION, device.deadline_after(timeout))

    def bind(self, process: bool = True) -> None:
        """Sets this side's process to this one; with ``process`` the side ends with it.

        Raises OSError (EOPNOTSUPP) without the device.
        """
        device.BIND.call(self._device(), flags=device.BIND_PROCESS if process else 0)

    def status(self) -> device.Status:
        """The state at once, even if no wait has reported it yet.

        Raises OSError (EOPNOTSUPP) without the device.
        """
        return device.status(self._device())

    def close(self) -> None:
        """Closes this side, which ends once its last copy is closed. Its waits of asyncio raise ValueError."""
        if not self._closed:
            self._closed = True
            self._side.close()

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    def __reduce__(self) -> Any:
        side = self._open()
        state = (side.placed, side.ahead, side.i_aborted, side.they_aborted) if isinstance(side, _EventSide) else None
        return _unpickle, ([reduction.DupFd(fd) for fd in side.descriptors()], state)


def _unpickle(copies: list[Any], state: tuple[int, int, bool, bool] | None) -> Pair:
    fds: list[int] = [copy.detach() for copy in copies]
    for fd in fds:
        os.set_inheritable(fd, False)
    if state is None:
        return Pair.adopt(fds[0])
    side = _EventSide(fds[0], fds[1], fds[2])
    side.placed, side.ahead, side.i_aborted, side.they_aborted = state
    return Pair._of(side)
