# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""Groups: N parties that synchronize in phases."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from multiprocessing import reduction
from typing import Any, TypeVar

from . import _device as device

_T = TypeVar("_T", bound="_Shared")


@dataclasses.dataclass(frozen=True)
class Arrival:
    """The result of an arrival: its phase, how many arrived before, whether the phase is over.

    ``leader`` is true for the last to arrive. If the phase is not over then, it has to call
    ``Party.complete(ticket)``.
    """

    ticket: int
    index: int
    done: bool
    leader: bool


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a wait: how many arrived before, and whether this party leads the phase.

    ``completes`` is the ticket for ``Party.complete()``, if the others wait for this party to call
    it, else None.
    """

    index: int
    leader: bool
    completes: int | None = None


class _Shared(device.Descriptor):
    """What a group and its parties have in common."""

    @classmethod
    def adopt(cls: type[_T], fd: int) -> _T:
        """Makes an object of a descriptor that came by exec or over a socket, and owns it."""
        made = cls.__new__(cls)
        made._fd = fd
        return made

    def status(self) -> device.Status:
        """The state at once, with the parties that have not arrived. Never blocks."""
        return device.status(self.fileno())

    def member(self, party: int) -> device.Member:
        """The state of one party.

        Raises ProcessLookupError if there is no such party.
        """
        return device.member(self.fileno(), party)

    def abort(self, code: int = 0) -> None:
        """Breaks the group; the others receive ``code`` in the cause. The first break counts."""
        device.ABORT.call(self.fileno(), code=code)

    def __enter__(self: _T) -> _T:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return _adopt, (type(self), reduction.DupFd(self.fileno()))


def _adopt(cls: type[_T], copy: Any) -> _T:
    fd = copy.detach()
    os.set_inheritable(fd, False)
    return cls.adopt(fd)


class Group(_Shared):
    """A group of ``parties`` open seats, which joins may raise to ``max_parties``.

    With ``shrink`` the end of a party that has not arrived removes its seat; without, it breaks the
    group. With ``completion`` the last party to arrive ends the phase, by ``Party.complete()``.
    When the last copy of the group's descriptor is closed, the open seats end like parties.

    Raises DeviceMissingError where there is no /dev/quiesce.
    """

    def __init__(
            self, parties: int, max_parties: int = 0, *, shrink: bool = False, completion: bool = False,
            inheritable: bool = False) -> None:
        flags = (device.GROUP_SHRINK if shrink else 0) | (device.FD_INHERIT if inheritable else 0)
        flags |= device.GROUP_COMPLETION if completion else 0
        self._fd = -1
        opened = device.open_device()
        try:
            made = device.GROUP.call(opened, flags=flags, parties=parties, max_parties=max_parties)
        finally:
            os.close(opened)
        super().__init__(made["fd"])

    def join(self, *, bind: bool = False, inheritable: bool = False) -> Party:
        """Takes a seat; with ``bind`` the party ends with this process, whoever has a copy.

        Raises BrokenBarrierError if the group is broken, OSError (ENOSPC) if no seat is left,
        (EBUSY) while a leader has to complete the phase.
        """
        flags = (device.BIND_PROCESS if bind else 0) | (device.FD_INHERIT if inheritable else 0)
        try:
            return Party.adopt(device.JOIN.call(self.fileno(), flags=flags)["fd"])
        except device.BrokenBarrierError as error:
            raise device.BrokenBarrierError(error.errno, self.status().cause) from None

    def reset(self) -> int:
        """Starts a new phase, after a break or in the middle of one, and returns its number."""
        return device.RESET.call(self.fileno())["phase"]


class Party(_Shared):
    """A party of a group, as ``Group.join()`` and ``Party.adopt()`` make it."""

    def __init__(self) -> None:
        raise TypeError("Group.join() makes parties")

    def arrive(self) -> Arrival:
        """Arrives in this phase, without waiting.

        Raises BrokenBarrierError if the group is broken, OSError (EALREADY) if the party has
        arrived in this phase, (ENOTCONN) if it has left or its process is dead.
        """
        return _arrival(device.ARRIVE.call(self.fileno(), count=1))

    def arrive_and_drop(self) -> Arrival:
        """Arrives in this phase and has no part in those that follow."""
        return _arrival(device.ARRIVE.call(self.fileno(), count=1, flags=device.ARRIVE_DROP))

    def wait(
            self, ticket: int, timeout: float | None = None, *, break_on_timeout: bool = False,
            clock: int = time.CLOCK_MONOTONIC) -> Outcome:
        """Waits for the end of the ticket's phase; a party can wait for its last four tickets.

        The seconds of ``timeout`` are those of ``clock``, a number of the module time:
        CLOCK_MONOTONIC, CLOCK_REALTIME, or CLOCK_BOOTTIME, which counts while the machine is
        suspended.

        Raises WaitTimeout, which breaks the group only with ``break_on_timeout``, and not if the
        descriptor has O_NONBLOCK;
        BrokenBarrierError if the phase was broken or reset; OSError (ESTALE) for a ticket that is
        none of the last four and older than the last phase that a reset ended. Other older tickets
        succeed, with index 0 and without the leader.
        """
        return _outcome(device.WAIT.call(
            self.fileno(), kind=device.WAIT_PHASE, ticket=ticket, deadline=device.deadline_after(timeout, clock),
            flags=(device.WAIT_BREAK if break_on_timeout else 0) | device.clock_flag(clock)))

    def arrive_and_wait(self, timeout: float | None = None, *, clock: int = time.CLOCK_MONOTONIC) -> Outcome:
        """Arrives and waits in one system call.

        After WaitTimeout the party has arrived: ``wait(error.ticket)`` continues.
        """
        return _outcome(device.ARRIVE_WAIT.call(
            self.fileno(), kind=device.WAIT_PHASE, count=1, flags=device.clock_flag(clock),
            deadline=device.deadline_after(timeout, clock)))

    def complete(self, ticket: int) -> int:
        """Ends the phase that this party leads, and returns the number of the next one.

        Raises BrokenBarrierError if the phase was broken or reset; OSError (EINVAL) if this party
        does not have to complete it, (ENOTCONN, ESTALE).
        """
        try:
            return device.COMPLETE.call(self.fileno(), ticket=ticket)["phase"]
        except device.BrokenBarrierError as error:
            if error.errno != errno.ECANCELED:
                # A wait has the cause.
                self.wait(ticket, 0)
            raise

    async def wait_async(self, ticket: int, timeout: float | None = None) -> Outcome:
        """``wait()`` for asyncio. Cancelled, it leaves the arrival as it is.

        Raises ValueError if the party is closed or detached meanwhile.
        """
        return await self._tasks.wait(
            lambda: self.wait(ticket, 0), self.fileno(), device.deadline_after(timeout))

    def leave(self) -> None:
        """Gives the seat up, arrived or not, and breaks nothing."""
        device.LEAVE.call(self.fileno())

    def bind(self, process: bool = True) -> None:
        """Sets the party's process to this one; with ``process`` the party ends with it."""
        device.BIND.call(self.fileno(), flags=device.BIND_PROCESS if process else 0)


def _arrival(members: dict[str, int]) -> Arrival:
    result = members["result"]
    return Arrival(
        members["ticket"], members["index"], bool(result & device.RESULT_DONE), bool(result & device.RESULT_LEADER))


def _outcome(members: dict[str, int]) -> Outcome:
    result = members["result"]
    return Outcome(
        members["index"], bool(result & device.RESULT_LEADER),
        None if result & device.RESULT_DONE else members["ticket"])
