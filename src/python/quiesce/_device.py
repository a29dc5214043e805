# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""The commands of /dev/quiesce, as src/uapi/quiesce.h defines them, and how calls fail."""

from __future__ import annotations

import array
import asyncio
import contextlib
import dataclasses
import enum
import errno
import fcntl
import os
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, Self, TypeVar

_T = TypeVar("_T")

DEVICE = "/dev/quiesce"
MAGIC = 0xB9

FOREVER = 2**64 - 1
NOW = 0
NOBODY = 2**32 - 1
MAX_PARTIES = 1024

FD_INHERIT = 1 << 0
GROUP_SHRINK = 1 << 1
GROUP_COMPLETION = 1 << 3
BIND_PROCESS = 1 << 2
ARRIVE_DROP = 1 << 0
RESULT_DONE = 1 << 0
RESULT_LEADER = 1 << 1
WAIT_REALTIME = 1 << 0
WAIT_BREAK = 1 << 1
WAIT_BOOTTIME = 1 << 2
I_ABORTED = 1 << 0
THEY_ABORTED = 1 << 1

WAIT_NEXT = 1
WAIT_SYNC_NEXT = 2
WAIT_SYNC = 3
WAIT_ABORTION = 4
WAIT_PHASE = 5

KIND_PARTY = 2
KIND_GROUP = 3

STATE_OPEN = 1 << 0
STATE_ARRIVED = 1 << 1
STATE_LEFT = 1 << 2
STATE_ABORTED = 1 << 3
STATE_ENDED = 1 << 4
STATE_BOUND = 1 << 5
STATE_BROKEN = 1 << 6
STATE_LEADS = 1 << 7

_CLOCKS = {time.CLOCK_MONOTONIC: 0, time.CLOCK_REALTIME: WAIT_REALTIME, time.CLOCK_BOOTTIME: WAIT_BOOTTIME}


class Reason(enum.IntEnum):
    """Why something ended: QUIESCE_CAUSE_*."""

    NONE = 0
    ABORT = 1
    TIMEOUT = 2
    CLOSE = 3
    EXEC = 4
    EXIT = 5
    SIGNAL = 6
    UNCLAIMED = 7


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why a barrier is broken, and who did it.

    ``pid`` is 0 where the process is not visible in the reader's pid namespace or none did it;
    ``party`` is None where it was none; ``status`` is an exit code or a signal number; ``code`` is
    what was given to ``abort()``.
    """

    reason: int
    party: int | None = None
    pid: int = 0
    status: int = 0
    code: int = 0

    def __str__(self) -> str:
        """The cause in words, the same as those of quiesce_cause_text(3)."""
        if self.pid:
            who = f"process {self.pid}"
        elif self.party is not None:
            who = f"party {self.party}"
        else:
            who = "somebody"
        match self.reason:
            case Reason.NONE:
                return "nothing has ended"
            case Reason.ABORT:
                return f"{who} aborted with code {self.code}"
            case Reason.TIMEOUT:
                return f"{who} would not wait any longer"
            case Reason.CLOSE:
                return f"{who} closed its descriptor"
            case Reason.EXEC:
                return f"{who} executed another program"
            case Reason.EXIT:
                return f"{who} exited with status {self.status}"
            case Reason.SIGNAL:
                return f"{who} was killed by signal {self.status} ({signal.strsignal(self.status)})"
            case Reason.UNCLAIMED:
                return "nobody can join any more"
        return f"{who} ended for reason {self.reason}"


class BrokenBarrierError(threading.BrokenBarrierError):
    """The barrier is broken, or the other side of a pair has aborted or ended.

    ``cause`` is why and who, or None where that is not known: after a reset, after this side of a
    pair has aborted, and for a pair without the device. ``errno`` is the device's error number.
    """

    def __init__(self, number: int = errno.ECONNABORTED, cause: Cause | None = None, text: str = "") -> None:
        super().__init__(text or (str(cause) if cause else os.strerror(number)))
        self.errno = number
        self.cause = cause

    def __reduce__(self) -> Any:
        return type(self), (self.errno, self.cause, self.args[0]), self.__dict__


class WaitTimeout(TimeoutError):
    """The deadline of a wait has passed; ``ticket`` is that of the arrival, which stands.

    Also raised, at once, by a wait that would sleep on a descriptor with O_NONBLOCK.
    """

    def __init__(self, ticket: int = 0) -> None:
        super().__init__(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        self.ticket = ticket

    def __reduce__(self) -> Any:
        return type(self), (self.ticket,), self.__dict__


class DeviceMissingError(FileNotFoundError):
    """There is no /dev/quiesce."""

    def __init__(self) -> None:
        super().__init__(
            errno.ENOENT,
            "the module is not loaded: 'modprobe quiesce' loads it, the Debian package quiesce-dkms installs it "
            "(multiprocessing.Barrier needs no device, but does not report which process ended)", DEVICE)

    def __reduce__(self) -> Any:
        return type(self), (), self.__dict__


_CAUSE = "cause:I party:I pid:i status:i code:Q"

# The least size of a buffer that ioctl() writes back when the call fails. From Python 3.14 on, that
# is a buffer which is too large for ioctl()'s own copy; before 3.14 it is any, and a large one would
# keep the interpreter lock during the call.
_BUFFER = 1025 if sys.version_info >= (3, 14) else 0


class Command:
    """A command: its number, its direction, and the members of its struct with their formats."""

    def __init__(self, number: int, members: str, direction: int = 3) -> None:
        pairs = [name.split(":") for name in members.split()]
        self.names = [name for name, _ in pairs]
        self.layout = struct.Struct("=" + "".join(form for _, form in pairs))
        self.request = direction << 30 | self.layout.size << 16 | MAGIC << 8 | number

    def call(self, fd: int, **values: int) -> dict[str, int]:
        """Executes the command and returns the members of its struct.

        A call that a signal interrupts is repeated once the signal's handler has returned. The
        struct then has the ticket of the arrival, so that no call arrives twice.
        """
        buffer = bytearray(max(self.layout.size, _BUFFER))
        self.layout.pack_into(buffer, 0, *(values.get(name, 0) for name in self.names))
        while True:
            try:
                fcntl.ioctl(fd, self.request, buffer, True)
                return self.members(buffer)
            except InterruptedError:
                continue
            except OSError as error:
                self.fail(error, self.members(buffer))

    def members(self, buffer: bytearray) -> dict[str, int]:
        """The members of the struct in a buffer."""
        return dict(zip(self.names, self.layout.unpack_from(buffer)))

    def fail(self, error: OSError, members: dict[str, int]) -> NoReturn:
        """Raises what the error means."""
        match error.errno:
            case errno.ECONNABORTED | errno.EOWNERDEAD:
                raise BrokenBarrierError(error.errno, cause_of(members)) from None
            case errno.ESHUTDOWN:
                raise BrokenBarrierError(errno.ESHUTDOWN, None, "this side has aborted") from None
            case errno.ECANCELED:
                raise BrokenBarrierError(errno.ECANCELED, None, "the phase was ended by a reset") from None
            case errno.ETIMEDOUT | errno.EAGAIN:
                raise WaitTimeout(members.get("ticket", 0)) from None
        raise error


def cause_of(members: dict[str, int]) -> Cause | None:
    """The cause in the members of a struct, if it has one."""
    if not members.get("cause"):
        return None
    party = members["cause_party"] if "cause_party" in members else members["party"]
    pid = members["cause_pid"] if "cause_pid" in members else members["pid"]
    return Cause(members["cause"], None if party == NOBODY else party, pid, members["status"], members["code"])


_NAMED_CAUSE = _CAUSE.replace("party", "cause_party").replace("pid", "cause_pid")

FEATURES = Command(0x00, "version:I reserved:I features:Q max_parties:I max_objects:I")
PAIR = Command(0x01, "flags:I fd0:i fd1:i reserved:I")
GROUP = Command(0x02, "flags:I parties:I max_parties:I fd:i")
ARRIVE = Command(0x10, f"flags:I index:I count:Q ticket:Q balance:q view:I result:I {_CAUSE}")
_WAIT = f"kind:I flags:I deadline:Q count:Q ticket:Q balance:q view:I result:I index:I reserved:I {_CAUSE}"
WAIT = Command(0x11, _WAIT)
ARRIVE_WAIT = Command(0x12, _WAIT)
ABORT = Command(0x13, "flags:I view:I code:Q")
BIND = Command(0x14, "flags:I reserved:I", direction=1)
STATUS = Command(
    0x15, "flags:I kind:I party:I view:I state:I parties:I arrived:I open:I waiting:I late_words:I late:Q "
    f"phase:Q balance:q unread:Q sent:Q {_NAMED_CAUSE}")
MEMBER = Command(0x16, f"party:I state:I pid:i waiting:I count:Q {_NAMED_CAUSE} pid_ino:Q cause_ino:Q")
JOIN = Command(0x20, "flags:I fd:i party:I reserved:I phase:Q")
LEAVE = Command(0x21, "", direction=0)
RESET = Command(0x22, "flags:I reserved:I phase:Q")
COMPLETE = Command(0x23, "flags:I reserved:I ticket:Q phase:Q")


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a barrier; ``late`` are the numbers of the parties that have not arrived."""

    parties: int
    arrived: int
    open: int
    waiting: int
    phase: int
    party: int | None
    balance: int
    unread: int
    sent: int
    broken: bool
    cause: Cause | None
    late: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Member:
    """The state of one party."""

    party: int
    pid: int
    waiting: int
    count: int
    open: bool
    arrived: bool
    left: bool
    aborted: bool
    ended: bool
    bound: bool
    leads: bool
    cause: Cause | None


def status(fd: int) -> Status:
    """STATUS, on a party or a group's descriptor."""
    late = array.array("Q", bytes(MAX_PARTIES // 8))
    members = STATUS.call(fd, late=late.buffer_info()[0], late_words=len(late))
    bits = int.from_bytes(late.tobytes(), sys.byteorder)
    return Status(
        members["parties"], members["arrived"], members["open"], members["waiting"], members["phase"],
        None if members["party"] == NOBODY else members["party"], members["balance"], members["unread"],
        members["sent"], bool(members["state"] & STATE_BROKEN), cause_of(members),
        tuple(n for n in range(bits.bit_length()) if bits >> n & 1))


def member(fd: int, party: int) -> Member:
    """MEMBER, on a party or a group's descriptor."""
    members = MEMBER.call(fd, party=party)
    state = members["state"]
    return Member(
        party, members["pid"], members["waiting"], members["count"], bool(state & STATE_OPEN),
        bool(state & STATE_ARRIVED), bool(state & STATE_LEFT), bool(state & STATE_ABORTED),
        bool(state & STATE_ENDED), bool(state & STATE_BOUND), bool(state & STATE_LEADS), cause_of(members))


def open_device() -> int:
    """Opens /dev/quiesce.

    Raises DeviceMissingError if there is none, PermissionError if it may not be opened.
    """
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionError(
            error.errno, f"{os.strerror(error.errno or 0)}; the module's parameter `mode` and udev rules decide who "
            "may open it", DEVICE) from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise DeviceMissingError() from None
        raise


def clock_flag(clock: int) -> int:
    """The flag of a wait whose deadline is by that clock."""
    if clock not in _CLOCKS:
        raise ValueError("the clock is CLOCK_MONOTONIC, CLOCK_REALTIME or CLOCK_BOOTTIME")
    return _CLOCKS[clock]


def deadline_after(timeout: float | None, clock: int = time.CLOCK_MONOTONIC) -> int:
    """The deadline that is so many seconds from now, in ns of the clock."""
    if timeout is None or timeout >= FOREVER / 1e9:
        return FOREVER
    if timeout <= 0:
        return NOW
    return min(time.clock_gettime_ns(clock) + int(timeout * 1e9), FOREVER - 1)


def seconds_left(deadline: int, clock: int = time.CLOCK_MONOTONIC) -> float | None:
    """The seconds that a poll for the deadline may take, or None if there is no deadline.

    0 if it has passed, and a day at the most: no poll takes more than 24 of them. Whoever waits
    calls this again after each poll.
    """
    if deadline == FOREVER:
        return None
    return min(max(deadline - time.clock_gettime_ns(clock), 0) / 1e9, 86400)


class Wakers:
    """Tasks of asyncio that wait for a descriptor, which its ``close()`` wakes."""

    def __init__(self) -> None:
        self._wakers: set[Callable[[], None]] = set()

    def wake(self) -> None:
        for waker in tuple(self._wakers):
            waker()

    async def readable(self, events: select.epoll, deadline: int) -> None:
        """Waits until there are events, until ``wake()``, or until the deadline has passed.

        Nobody else waits for these events: a loop has one callback for each number of a descriptor.
        """
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def waker() -> None:
            # A loop that was closed has no tasks left to wake.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake)

        left = seconds_left(deadline)
        timer = None if left is None else loop.call_later(left, wake)
        self._wakers.add(waker)
        try:
            loop.add_reader(events.fileno(), wake)
            try:
                await woken
            finally:
                loop.remove_reader(events.fileno())
        finally:
            self._wakers.discard(waker)
            if timer:
                timer.cancel()

    async def wait(self, call: Callable[[], _T], fd: int, deadline: int) -> _T:
        """Calls ``call`` until it does not time out: now, and whenever ``fd`` has a new event."""
        with select.epoll() as events:
            # A reference to the file would keep a party alive. Edges, as the hang-up of a party that
            # has left stays; the first is what is there already.
            events.register(fd, select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET)
            while True:
                try:
                    return call()
                except WaitTimeout:
                    if seconds_left(deadline) == 0:
                        raise
                await self.readable(events, deadline)
                events.poll(0)


class Descriptor:
    """An object that owns a descriptor."""

    _tasks: Wakers

    def __new__(cls, *_: object, **__: object) -> Self:
        made = super().__new__(cls)
        made._tasks = Wakers()
        return made

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor, for select, poll, epoll and event loops."""
        if self._fd < 0:
            raise ValueError("the descriptor is closed")
        return self._fd

    def close(self) -> None:
        """Closes the descriptor; the last copy of a party's ends the party."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
            self._tasks.wake()

    def detach(self) -> int:
        """Returns the descriptor, which the caller owns from now on."""
        fd, self._fd = self.fileno(), -1
        self._tasks.wake()
        return fd

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()

    def __repr__(self) -> str:
        return f"<quiesce.{type(self).__name__} {self._fd if self._fd >= 0 else 'closed'}>"
