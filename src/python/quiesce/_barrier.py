# SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
"""Barrier: multiprocessing.Barrier's interface on a group of /dev/quiesce.

Two groups of the device make a barrier.

*Seats*: a group whose N parties are all joined by the creator. Every process that has the barrier
has the descriptors of all N, and a wait arrives on the first of them that has not arrived in this
phase (EALREADY: the next one). Thus any N waits release the barrier, whichever threads and
processes they are from, and no seat is lost with a process.

*Members*: a group that nobody arrives in. A process joins it, bound, at its first wait, and leaves
it when it exits in the ordinary way. The death of a member breaks this group, which every waiter
polls. The first to notice gives its wait up, and that breaks the seats' group, unless the phase is
over: the kernel decides atomically, so a phase is released for all or broken for all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import select
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import reduction, util
from typing import Any

from . import _device as device
from ._group import Arrival, Group, Party

_HEADER = struct.Struct("!4sHHIId")
_MAGIC = b"qsce"
_VERSION = 1
# The kernel's SCM_MAX_FD is 253.
_FDS_A_MESSAGE = 250


class _Lock:
    """A lock between processes that its holder's death releases: a record lock of a memory file.

    Record locks belong to processes: threads exclude each other by a lock of their own, and no
    descriptor of the file is closed while the lock is in use here, since that releases it.
    """

    known: weakref.WeakValueDictionary[tuple[int, int], _Lock] = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.threads = threading.Lock()

    @classmethod
    def of(cls, fd: int) -> _Lock:
        """The lock of a file, the same for all descriptors of it in this process."""
        file = os.fstat(fd)
        lock = cls.known.setdefault((file.st_dev, file.st_ino), cls())
        lock.fds.append(fd)
        return lock

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock."""
        with self.threads:
            while True:
                try:
                    fcntl.lockf(self.fds[0], fcntl.LOCK_EX)
                    break
                except OSError as error:
                    # Threads of two processes, each of which holds another lock, are no deadlock.
                    if error.errno != errno.EDEADLK:
                        raise
                    time.sleep(0.001)
            try:
                yield
            finally:
                fcntl.lockf(self.fds[0], fcntl.LOCK_UN)

    def __del__(self) -> None:
        for fd in getattr(self, "fds", ()):
            os.close(fd)


class Barrier:
    """A barrier of ``parties`` threads and processes, as multiprocessing.Barrier.

    ``wait()`` blocks until ``parties`` calls of it wait, in whichever threads and processes, and
    returns a number from 0 to ``parties - 1``, to each another. ``action`` is called by one of them
    before any is released. A timeout, ``abort()``, and an exception of ``action`` break the barrier
    until ``reset()``.

    What multiprocessing.Barrier does not have: a process that has waited, or called ``join()``, is a
    member until it exits in the ordinary way or calls ``leave()``. If a member is killed or calls
    ``os._exit()``, the barrier breaks, and the BrokenBarrierError of the others has the ``cause``:
    which process, and how it ended. An exception that leaves a block ``with barrier:`` aborts it.

    The barrier passes to other processes by fork, as an argument of multiprocessing.Process or of a
    pool's initializer, and, if they are not related, by ``serve()`` and ``connect()`` or by
    ``send()`` and ``receive()``.

    Limits: each process that has the barrier holds ``parties + 2`` descriptors, one more when it has
    waited, and one for each thread that waits. A thread that ends without its process is not
    noticed. An exception that ends a wait (KeyboardInterrupt, a cancelled task) breaks the barrier,
    since an arrival cannot be taken back. A process that is killed before its first ``wait()`` or
    ``join()`` is not a member yet.

    Raises DeviceMissingError where there is no /dev/quiesce.
    """

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if parties < 1:
            raise ValueError("parties must be > 0")
        with contextlib.ExitStack() as made:
            seats = made.enter_context(Group(parties))
            taken = [made.enter_context(seats.join()) for _ in range(parties)]
            members = made.enter_context(Group(0, device.MAX_PARTIES))
            lock = -1 if action is None else os.memfd_create("quiesce-barrier")
            made.pop_all()
        self._assemble(seats, taken, members, lock, action, timeout)

    def _assemble(
            self, seats: Group, taken: list[Party], members: Group, lock: int,
            action: Callable[[], object] | None, timeout: float | None) -> None:
        self._seats, self._taken, self._members = seats, taken, members
        self._lock = None if lock < 0 else _Lock.of(lock)
        self._action, self._timeout = action, timeout
        self._closed = False
        self._start_in_process()
        _live.add(self)

    def _start_in_process(self) -> None:
        """Sets what each process has of its own."""
        self._member: Party | None = None
        self._joining = threading.Lock()
        self._idle: list[select.epoll] = []
        self._thread = threading.local()

    # What multiprocessing.Barrier has.

    def wait(self, timeout: float | None = None) -> int:
        """Waits until ``parties`` wait, and returns a number from 0 to ``parties - 1``.

        Raises BrokenBarrierError if the barrier is broken or reset, or ``timeout`` seconds, by
        default those of the constructor, have passed, which breaks it.
        """
        deadline = self._deadline(timeout)
        arrival, seat = self._arrive()
        if not arrival.done:
            with self._giving_up(arrival, seat), self._events() as events:
                while not self._over(arrival, seat, deadline):
                    left = device.seconds_left(deadline)
                    events.poll(left)
        return arrival.index

    async def wait_async(self, timeout: float | None = None) -> int:
        """``wait()`` for asyncio. A task that is cancelled breaks the barrier.

        ``action`` runs in a thread of the loop's executor.
        """
        deadline = self._deadline(timeout)
        arrival, seat = await self._arrive_async()
        if not arrival.done:
            with self._giving_up(arrival, seat), self._events() as events:
                while not self._over(arrival, seat, deadline):
                    await device.readable(events.fileno(), deadline)
                    events.poll(0)
        return arrival.index

    def reset(self) -> None:
        """Starts anew; those that wait get BrokenBarrierError.

        The processes whose end broke the barrier are not members any more.
        """
        with self._lock.held() if self._lock else contextlib.nullcontext():
            # In this order nobody who still finds a dead member can break the phase that begins.
            self._members.reset()
            self._seats.reset()

    def abort(self, code: int = 0) -> None:
        """Breaks the barrier; the BrokenBarrierError of the others has ``code`` in its cause."""
        self._seats.abort(code)

    @property
    def parties(self) -> int:
        """The number of waits that release the barrier."""
        return len(self._taken)

    @property
    def n_waiting(self) -> int:
        """The number of threads and processes that wait."""
        return 0 if self.broken else self._status()["arrived"]

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self.cause is not None

    def __repr__(self) -> str:
        where = f"<{type(self).__module__}.{type(self).__qualname__} at {id(self):#x}: "
        if self._closed:
            return where + "closed>"
        return where + ("broken>" if self.broken else f"waiters={self.n_waiting}/{self.parties}>")

    # What it does not have.

    @property
    def cause(self) -> device.Cause | None:
        """Why the barrier is broken, or None."""
        return self._broken() or device.cause_of(self._status())

    def join(self) -> None:
        """Makes this process a member now, and not with its first ``wait()``.

        Raises BrokenBarrierError if a member has died, OSError (ENOSPC) if there are 1024 members.
        """
        with self._joining:
            if self._member is None:
                _at_exit()
                self._member = self._members.join(bind=True)

    def leave(self) -> None:
        """Ends the membership of this process; ``wait()`` makes it a member again."""
        with self._joining:
            member, self._member = self._member, None
            if member:
                with contextlib.suppress(OSError):
                    member.leave()
                member.close()

    def close(self) -> None:
        """Leaves, and closes this process' descriptors."""
        if self._closed:
            return
        self._closed = True
        _live.discard(self)
        self.leave()
        self._lock = None
        for party in [self._seats, self._members, *self._taken]:
            party.close()
        for events in self._idle:
            events.close()

    def __enter__(self) -> Barrier:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Closes the barrier; after an exception, other than an exit with status 0, aborts it first."""
        if error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.abort()
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self.close()

    # Arriving and waiting.

    def _deadline(self, timeout: float | None) -> int:
        return device.deadline_after(self._timeout if timeout is None else timeout)

    def _arrive(self) -> tuple[Arrival, Party]:
        """Arrives; the last to arrive calls the action first."""
        if self._closed:
            raise ValueError("the barrier is closed")
        if self._member is None:
            self.join()
        cause = self._broken()
        if cause:
            raise device.BrokenBarrierError(errno.EOWNERDEAD, cause)
        if self._lock is None or self._action is None:
            return self._take_seat()
        with self._lock.held():
            status = self._status()
            if status["arrived"] == self.parties - 1 and not status["cause"]:
                try:
                    self._action()
                except BaseException:
                    self.abort()
                    raise
            return self._take_seat()

    async def _arrive_async(self) -> tuple[Arrival, Party]:
        if self._action is None:
            return self._arrive()
        import asyncio  # pylint: disable=import-outside-toplevel

        arriving = asyncio.get_running_loop().run_in_executor(None, self._arrive)
        try:
            return await asyncio.shield(arriving)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                self._give_up(*await arriving)
            raise

    def _take_seat(self) -> tuple[Arrival, Party]:
        """Arrives on the first seat that has not arrived in this phase."""
        first: int | None = getattr(self._thread, "seat", None)
        if first is None:
            first = self._status()["arrived"]
        number = first
        while True:
            # Each thread begins with the seat that it had last: nobody else wants that, as a rule.
            number %= len(self._taken)
            try:
                arrival = self._taken[number].arrive()
            except device.BrokenBarrierError as error:
                raise self._error(error) from None
            except OSError as error:
                # If all have arrived in turn, a phase has ended meanwhile.
                if error.errno != errno.EALREADY:
                    raise
                number += 1
                continue
            self._thread.seat = number
            return arrival, self._taken[number]

    def _over(self, arrival: Arrival, seat: Party, deadline: int) -> bool:
        """Whether the phase is over. If it is not, and never will be, or is too late, breaks it.

        Raises BrokenBarrierError.
        """
        cause = self._broken()
        late = device.seconds_left(deadline) == 0
        try:
            seat.wait(arrival.ticket, 0, break_on_timeout=late or cause is not None)
            return True
        except device.WaitTimeout:
            if cause:
                raise device.BrokenBarrierError(errno.EOWNERDEAD, cause) from None
            if late:
                raise device.BrokenBarrierError(
                    errno.ETIMEDOUT, device.Cause(device.Reason.TIMEOUT, pid=os.getpid())) from None
            return False
        except device.BrokenBarrierError as error:
            raise self._error(error) from None
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            raise device.BrokenBarrierError(error.errno, None, "the barrier was reset") from None

    @contextlib.contextmanager
    def _giving_up(self, arrival: Arrival, seat: Party) -> Iterator[None]:
        """Breaks the phase if an exception ends its wait: an arrival cannot be taken back."""
        try:
            yield
        except device.BrokenBarrierError:
            raise
        except BaseException:
            self._give_up(arrival, seat)
            raise

    @staticmethod
    def _give_up(arrival: Arrival, seat: Party) -> None:
        """Breaks the phase, if it is not over."""
        with contextlib.suppress(OSError, device.BrokenBarrierError):
            seat.wait(arrival.ticket, 0, break_on_timeout=True)

    def _error(self, error: device.BrokenBarrierError) -> device.BrokenBarrierError:
        """What the break of the seats means: the death of a member, if that is why."""
        cause = self._broken()
        if cause:
            return device.BrokenBarrierError(errno.EOWNERDEAD, cause)
        return error

    def _broken(self) -> device.Cause | None:
        """How the first member died, if one has."""
        return device.cause_of(device.STATUS.call(self._members.fileno()))

    def _status(self) -> dict[str, int]:
        """STATUS of the seats; on a party, since on the group it resets what is polled."""
        return device.STATUS.call(self._taken[0].fileno())

    @contextlib.contextmanager
    def _events(self) -> Iterator[select.epoll]:
        """Becomes readable when a phase ends, the barrier breaks, or a member dies.

        The seats' group reports an ended phase as a level that STATUS resets for all who poll, so
        that each waiter takes its edges, and reads the outcome of its own ticket.
        """
        try:
            events = self._idle.pop()
        except IndexError:
            events = select.epoll()
            events.register(self._seats.fileno(), select.EPOLLIN | select.EPOLLPRI | select.EPOLLET)
            events.register(self._members.fileno(), select.EPOLLPRI | select.EPOLLET)
        yield events
        self._idle.append(events)

    # Passing it on.

    def __reduce__(self) -> Any:
        return _unpickle, ([reduction.DupFd(fd) for fd in self._descriptors()], self.parties, self._action, self._timeout)

    def _descriptors(self) -> list[int]:
        lock = [self._lock.fds[0]] if self._lock else []
        return [self._seats.fileno(), self._members.fileno(), *(seat.fileno() for seat in self._taken), *lock]

    @classmethod
    def _of(
            cls, fds: list[int], parties: int, action: Callable[[], object] | None, timeout: float | None) -> Barrier:
        taken = [Party.adopt(fd) for fd in fds[2:2 + parties]]
        lock = fds[2 + parties] if len(fds) > 2 + parties else -1
        made = cls.__new__(cls)
        made._assemble(Group.adopt(fds[0]), taken, Group.adopt(fds[1]), lock, action, timeout)
        return made

    def send(self, connection: socket.socket) -> None:
        """Sends the barrier to whoever receives from a UNIX socket."""
        fds = self._descriptors()
        timeout = math.nan if self._timeout is None else self._timeout
        data = _HEADER.pack(_MAGIC, _VERSION, int(self._lock is not None), self.parties, len(fds), timeout)
        for first in range(0, len(fds), _FDS_A_MESSAGE):
            socket.send_fds(connection, [data], fds[first:first + _FDS_A_MESSAGE])
            data = b"+"

    @classmethod
    def receive(cls, connection: socket.socket, action: Callable[[], object] | None = None) -> Barrier:
        """Receives a barrier that ``send()`` has sent. It needs an action if it was made with one."""
        fds: list[int] = []
        wanted, size = 1, _HEADER.size
        header: tuple[bytes, int, int, int, int, float] | None = None
        try:
            while len(fds) < wanted:
                data, got, flags, _ = socket.recv_fds(connection, size, 253, socket.MSG_CMSG_CLOEXEC)
                fds += got
                if not data or flags & socket.MSG_CTRUNC or not got:
                    raise EOFError("the barrier was not sent whole, or this process has too few descriptors")
                if header is None:
                    header = _HEADER.unpack(data)
                    if header[:2] != (_MAGIC, _VERSION):
                        raise ValueError("this is not a barrier of this version")
                    wanted, size = header[4], 1
            assert header is not None
            if bool(header[2]) != (action is not None):
                raise ValueError("all processes give the barrier the same action, or none")
            return cls._of(fds, header[3], action, None if math.isnan(header[5]) else header[5])
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise

    def serve(self, path: str | os.PathLike[str], mode: int = 0o600) -> Server:
        """Gives the barrier to every process that connects to a UNIX socket, until closed.

        ``mode`` is that of the socket's file: who may write to it may connect.
        """
        return Server(self, path, mode)

    @classmethod
    def connect(cls, path: str | os.PathLike[str], action: Callable[[], object] | None = None) -> Barrier:
        """Takes the barrier that another process serves at ``path``."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(os.fspath(path))
            return cls.receive(connection, action)


class Server:
    """A thread that gives a barrier to those who connect; a context manager."""

    def __init__(self, barrier: Barrier, path: str | os.PathLike[str], mode: int) -> None:
        self._path = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Nobody connects before listen(), so nobody does with another mode.
            self._socket.bind(self._path)
            os.chmod(self._path, mode)
            self._socket.listen()
        except OSError:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._run, args=(barrier,), daemon=True)
        self._thread.start()

    def _run(self, barrier: Barrier) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                barrier.send(connection)

    def close(self) -> None:
        """Ends the service and removes the socket's file."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unpickle(copies: list[Any], parties: int, action: Callable[[], object] | None, timeout: float | None) -> Barrier:
    fds = [copy.detach() for copy in copies]
    for fd in fds:
        os.set_inheritable(fd, False)
    return Barrier._of(fds, parties, action, timeout)


# The barriers of this process, and whether they are left when it exits.
_live: weakref.WeakSet[Barrier] = weakref.WeakSet()
_registered = False


def _at_exit() -> None:
    global _registered
    if not _registered:
        _registered = True
        # multiprocessing's children run no atexit handlers, but these. After its own, of which
        # some wait for children.
        util.Finalize(None, _leave_all, exitpriority=-100)


def _leave_all() -> None:
    for barrier in list(_live):
        barrier.leave()


def _after_fork() -> None:
    """The child is no member, and has no events of its own."""
    global _registered
    _registered = False
    for lock in list(_Lock.known.values()):
        lock.threads = threading.Lock()
    for barrier in list(_live):
        if barrier._member:
            barrier._member.close()
        for events in barrier._idle:
            events.close()
        barrier._start_in_process()


os.register_at_fork(after_in_child=_after_fork)
