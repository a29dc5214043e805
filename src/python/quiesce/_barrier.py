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

With an action, the seats' group has QUIESCE_GROUP_COMPLETION: the last to arrive calls the action
and then ends the phase.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import select
import socket
import struct
import threading
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import reduction, util
from typing import Any

from . import _device as device
from ._group import Arrival, Group, Party

_HEADER = struct.Struct("!4sHHIId")
_MAGIC = b"qsce"
_VERSION = 2
# The kernel's SCM_MAX_FD is 253.
_FDS_A_MESSAGE = 250


class _Turn:
    """How far a wait has come.

    ``seat`` is set before the attempt to arrive, so that an exception at any point finds what may
    have happened: without an ``arrival`` that is not known.
    """

    def __init__(self) -> None:
        self.seat: Party | None = None
        self.arrival: Arrival | None = None
        self.leads = False
        self.thread = threading.get_ident()


class Barrier:
    """A barrier of ``parties`` threads and processes, as multiprocessing.Barrier.

    ``wait()`` blocks until ``parties`` calls of it wait, in whichever threads and processes, and
    returns a number from 0 to ``parties - 1``, to each another. ``action`` is called by one of them,
    the last to arrive, before any is released. A timeout, ``abort()``, and an exception of ``action``
    break the barrier until ``reset()``.

    What multiprocessing.Barrier does not have: a process that has waited, or called ``join()``, is a
    member until it exits in the ordinary way or calls ``leave()``. If a member is killed or calls
    ``os._exit()``, the barrier breaks, and the BrokenBarrierError of the others has the ``cause``:
    which process, and how it ended. An exception that leaves a block ``with barrier:`` aborts it.

    The barrier passes to other processes by fork, as an argument of multiprocessing.Process or of a
    pool's initializer, and, if they are not related, by ``serve()`` and ``connect()`` or by
    ``send()`` and ``receive()``.

    Limits: each process that has the barrier holds ``parties + 2`` descriptors, one more when it has
    waited, one for each thread that waits, and one for each ancestor that had waited when it
    forked. A thread that ends without its process is not noticed. An exception that ends a wait
    (KeyboardInterrupt, a cancelled task) breaks the barrier, since an arrival cannot be taken back.
    A process that is killed before its first ``wait()`` or ``join()`` is not a member yet.

    Raises DeviceMissingError where there is no /dev/quiesce, OSError (EINVAL) for more than 1024
    parties.
    """

    def __init__(self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None) -> None:
        if parties < 1:
            raise ValueError("parties must be > 0")
        with contextlib.ExitStack() as made:
            seats = made.enter_context(Group(parties, completion=action is not None))
            taken = [made.enter_context(seats.join()) for _ in range(parties)]
            members = made.enter_context(Group(0, device.MAX_PARTIES))
            made.pop_all()
        self._assemble(seats, taken, members, action, timeout)

    def _assemble(
            self, seats: Group, taken: list[Party], members: Group,
            action: Callable[[], object] | None, timeout: float | None) -> None:
        self._seats, self._taken, self._members = seats, taken, members
        self._action, self._timeout = action, timeout
        self._closed = False
        self._inherited: list[Party] = []
        self._start_in_process()
        _live.add(self)

    def _start_in_process(self) -> None:
        """Sets what each process has of its own."""
        self._member: Party | None = None
        # A signal's handler may leave or close the barrier in the middle of a join.
        self._joining = threading.RLock()
        self._users: set[object] = set()
        self._idle: list[select.epoll] = []
        self._leading: set[_Turn] = set()
        self._thread = threading.local()

    # What multiprocessing.Barrier has.

    def wait(self, timeout: float | None = None) -> int:
        """Waits until ``parties`` wait, and returns a number from 0 to ``parties - 1``.

        Raises BrokenBarrierError if the barrier is broken or reset, or ``timeout`` seconds, by
        default those of the constructor, have passed, which breaks it.
        """
        deadline = self._deadline(timeout)
        with self._used():
            self._enter()
            with self._giving_up() as turn:
                if not self._take_seat(turn):
                    with self._events() as events:
                        while not self._take_seat(turn):
                            if self._all_have_arrived(deadline):
                                events.poll(device.seconds_left(deadline))
                assert turn.arrival
                if turn.leads:
                    self._lead(turn)
                elif not turn.arrival.done:
                    with self._events() as events:
                        while not self._over(turn, deadline):
                            events.poll(device.seconds_left(deadline))
                return turn.arrival.index

    async def wait_async(self, timeout: float | None = None) -> int:
        """``wait()`` for asyncio. A task that is cancelled breaks the barrier.

        ``action`` runs in a thread of the loop's executor, and to its end even if the task is
        cancelled.
        """
        deadline = self._deadline(timeout)
        with self._used():
            self._enter()
            with self._giving_up() as turn:
                if not self._take_seat(turn):
                    with self._events() as events:
                        while not self._take_seat(turn):
                            if self._all_have_arrived(deadline):
                                await device.Wakers().readable(events, deadline)
                                events.poll(0)
                assert turn.arrival
                if turn.leads:
                    await self._lead_async(turn)
                elif not turn.arrival.done:
                    with self._events() as events:
                        while not self._over(turn, deadline):
                            await device.Wakers().readable(events, deadline)
                            events.poll(0)
                return turn.arrival.index

    def reset(self) -> None:
        """Starts anew; those that wait get BrokenBarrierError.

        The processes whose end broke the barrier are not members any more. An action that is being
        executed is not waited for: its caller gets BrokenBarrierError, too.
        """
        with self._used():
            # In this order nobody who still finds a dead member can break the phase that begins.
            self._members.reset()
            self._seats.reset()

    def abort(self, code: int = 0) -> None:
        """Breaks the barrier; the BrokenBarrierError of the others has ``code`` in its cause."""
        with self._used():
            self._seats.abort(code)

    @property
    def parties(self) -> int:
        """The number of waits that release the barrier."""
        return len(self._taken)

    @property
    def n_waiting(self) -> int:
        """The number of threads and processes that wait."""
        with self._used():
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
        with self._used():
            return self._broken() or device.cause_of(self._status())

    def join(self) -> None:
        """Makes this process a member now, and not with its first ``wait()``.

        Raises BrokenBarrierError if a member has died, OSError (ENOSPC) if there are 1024 members.
        """
        with self._used():
            self._join()

    def _join(self) -> None:
        with self._joining:
            if self._member is None:
                _at_exit()
                member = self._members.join(bind=True)
                if self._member is None:
                    self._member = member
                else:
                    # A signal's handler has joined meanwhile.
                    member.leave()
                    member.close()

    def leave(self) -> None:
        """Ends the membership of this process; ``wait()`` makes it a member again."""
        with self._joining:
            member, self._member = self._member, None
            if member:
                with contextlib.suppress(OSError):
                    member.leave()
                member.close()

    def close(self) -> None:
        """Leaves, and closes this process' descriptors.

        A ``wait()`` of another thread goes on and has its result. The last to return then leaves
        and closes.
        """
        self._closed = True
        if not self._users:
            self._release()

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """Keeps the descriptors open.

        Raises ValueError if the barrier is closed.
        """
        user = object()
        try:
            # In this order either close() finds the user, or this finds it closed.
            self._users.add(user)
            if self._closed:
                raise ValueError("the barrier is closed")
            yield
        finally:
            self._users.discard(user)
            if self._closed and not self._users:
                self._release()

    def _release(self) -> None:
        """Leaves, and closes this process' descriptors, now."""
        with self._joining:
            _live.discard(self)
            self.leave()
            for party in [self._seats, self._members, *self._taken, *self._inherited]:
                party.close()
            while self._idle:
                self._idle.pop().close()

    def __enter__(self) -> Barrier:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Closes the barrier; after an exception, other than an exit with status 0, aborts it first."""
        if error is not None and not self._closed and not (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.abort()
        self.close()

    def __del__(self) -> None:
        # Nobody uses it any more; an exception of a signal's handler may have left a user behind.
        if hasattr(self, "_thread"):
            self._release()

    # Arriving and waiting.

    def _deadline(self, timeout: float | None) -> int:
        return device.deadline_after(self._timeout if timeout is None else timeout)

    def _enter(self) -> None:
        """Makes the process a member. Raises BrokenBarrierError if a member has died."""
        if self._member is None:
            self._join()
        cause = self._broken()
        if cause:
            raise device.BrokenBarrierError(errno.EOWNERDEAD, cause)

    def _take_seat(self, turn: _Turn) -> bool:
        """Arrives on the first seat that has not arrived in this phase; False if there is none.

        That is so while a leader executes the action, and may be if a phase has ended meanwhile.
        """
        last: int | None = getattr(self._thread, "seat", None)
        # Each thread begins with the seat that it had last: nobody else wants that, as a rule.
        first = self._status()["arrived"] if last is None else last
        for number in range(first, first + len(self._taken)):
            number %= len(self._taken)
            turn.seat = self._taken[number]
            try:
                turn.arrival = arrival = turn.seat.arrive()
            except device.BrokenBarrierError as error:
                raise self._error(error) from None
            except OSError as error:
                # A call that fails has not arrived.
                turn.seat = None
                if error.errno != errno.EALREADY:
                    raise
                continue
            turn.leads = arrival.leader and not arrival.done
            # In a phase between this arrival and the thread's last one another may have used the seat.
            still_its_own = number == last and arrival.ticket == self._thread.ticket + 1
            self._thread.seat, self._thread.ticket = number, arrival.ticket
            if not still_its_own:
                # What MEMBER and fdinfo name. It fails if the phase broke meanwhile.
                with contextlib.suppress(OSError):
                    turn.seat.bind(process=False)
            return True
        return False

    def _all_have_arrived(self, deadline: int) -> bool:
        """Whether a leader still executes the action.

        Raises BrokenBarrierError, and breaks the barrier, if it takes too long.
        """
        if any(turn.thread == threading.get_ident() for turn in list(self._leading)):
            raise RuntimeError("the action waits for its own barrier")
        cause = self._broken()
        if cause:
            raise device.BrokenBarrierError(errno.EOWNERDEAD, cause)
        if device.seconds_left(deadline) == 0:
            self._seats.abort(errno.ETIMEDOUT)
            raise device.BrokenBarrierError(
                errno.ETIMEDOUT, device.Cause(device.Reason.TIMEOUT, pid=os.getpid()))
        return self._status()["arrived"] == self.parties

    def _lead(self, turn: _Turn) -> None:
        """Calls the action, and releases the others."""
        assert self._action and turn.seat and turn.arrival
        turn.thread = threading.get_ident()
        self._leading.add(turn)
        try:
            self._action()
            try:
                turn.seat.complete(turn.arrival.ticket)
            except device.BrokenBarrierError as error:
                turn.leads = False
                raise self._error(error) from None
            turn.leads = False
        finally:
            self._leading.discard(turn)

    async def _lead_async(self, turn: _Turn) -> None:
        import asyncio  # pylint: disable=import-outside-toplevel

        leading = asyncio.get_running_loop().run_in_executor(None, self._lead, turn)
        try:
            await asyncio.shield(leading)
        except asyncio.CancelledError:
            await asyncio.wait([leading])
            # The task ends with this error and not with the action's.
            leading.exception()
            raise

    def _over(self, turn: _Turn, deadline: int) -> bool:
        """Whether the phase is over. If it is not, and never will be, or is too late, breaks it.

        Raises BrokenBarrierError.
        """
        assert turn.seat and turn.arrival
        cause = self._broken()
        late = device.seconds_left(deadline) == 0
        try:
            turn.seat.wait(turn.arrival.ticket, 0, break_on_timeout=late or cause is not None)
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
    def _giving_up(self) -> Iterator[_Turn]:
        """Breaks the phase if an exception ends its wait: an arrival cannot be taken back."""
        turn = _Turn()
        try:
            yield turn
        except BaseException as error:
            with contextlib.suppress(OSError, device.BrokenBarrierError):
                self._give_up(turn, error)
            raise

    def _give_up(self, turn: _Turn, error: BaseException) -> None:
        """Breaks the phase, if it is not over."""
        if turn.arrival is None:
            # An exception of a signal's handler: whether the call arrived is not known.
            if turn.seat and not isinstance(error, device.BrokenBarrierError):
                self._seats.abort()
        elif turn.leads:
            # The action's exception, whatever it is. A phase that was reset is another one's.
            if self._status()["phase"] == turn.arrival.ticket:
                self._seats.abort()
        elif turn.seat and not isinstance(error, device.BrokenBarrierError):
            turn.seat.wait(turn.arrival.ticket, 0, break_on_timeout=True)

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
        with self._used():
            copies = [reduction.DupFd(fd) for fd in self._descriptors()]
        return _unpickle, (copies, self.parties, self._action, self._timeout)

    def _descriptors(self) -> list[int]:
        return [self._seats.fileno(), self._members.fileno(), *(seat.fileno() for seat in self._taken)]

    @classmethod
    def _of(
            cls, fds: list[int], parties: int, action: Callable[[], object] | None, timeout: float | None) -> Barrier:
        taken = [Party.adopt(fd) for fd in fds[2:2 + parties]]
        made = cls.__new__(cls)
        made._assemble(Group.adopt(fds[0]), taken, Group.adopt(fds[1]), action, timeout)
        return made

    def send(self, connection: socket.socket) -> None:
        """Sends the barrier to whoever receives from a UNIX socket."""
        with self._used():
            fds = self._descriptors()
            timeout = math.nan if self._timeout is None else self._timeout
            data = _HEADER.pack(_MAGIC, _VERSION, int(self._action is not None), self.parties, len(fds), timeout)
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
            while len(fds) != wanted:
                data, got, flags, _ = socket.recv_fds(connection, size, 253, socket.MSG_CMSG_CLOEXEC)
                fds += got
                if not data or flags & socket.MSG_CTRUNC or not got:
                    raise EOFError("the barrier was not sent whole, or this process has too few descriptors")
                if header is None:
                    header = _HEADER.unpack(data)
                    if header[:2] != (_MAGIC, _VERSION):
                        raise ValueError("this is not a barrier of this version")
                    wanted, size = header[4], 1
                if len(fds) > wanted:
                    raise ValueError("there are more descriptors than the barrier has")
            assert header is not None
            if header[3] < 1 or header[4] != header[3] + 2 or not all(
                    _kind(fd) == (device.KIND_GROUP if number < 2 else device.KIND_PARTY)
                    for number, fd in enumerate(fds)):
                raise ValueError("these are not the descriptors of a barrier")
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


def _kind(fd: int) -> int:
    """What a descriptor is; 0 if it is none of a barrier."""
    try:
        return device.STATUS.call(fd)["kind"]
    except OSError:
        return 0


def _identity(path: str) -> tuple[int, int]:
    file = os.lstat(path)
    return file.st_dev, file.st_ino


def _remove(path: str, file: tuple[int, int]) -> None:
    """Removes a socket's file, unless it is another one by now."""
    with contextlib.suppress(OSError):
        if _identity(path) == file:
            os.unlink(path)


class Server:
    """A thread that gives a barrier to those who connect; a context manager."""

    def __init__(self, barrier: Barrier, path: str | os.PathLike[str], mode: int) -> None:
        self._path = os.fspath(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Nobody connects before listen(), so nobody does with another mode.
            self._socket.bind(self._path)
            os.chmod(self._path, mode)
            self._file = _identity(self._path)
            self._socket.listen()
        except OSError:
            self._socket.close()
            raise
        self._pid = os.getpid()
        self._closing = threading.Event()
        # A program that ends without close() leaves no file either.
        self._remove = util.Finalize(self, _remove, (self._path, self._file), exitpriority=0)
        self._thread = threading.Thread(target=self._run, args=(barrier,), daemon=True)
        self._thread.start()

    def _run(self, barrier: Barrier) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED):
                    return
                # Others wait until there are descriptors again, or until close().
                if self._closing.wait(0.1):
                    return
                continue
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                try:
                    barrier.send(connection)
                except ValueError:
                    # The barrier is closed. Whoever has connected, or will, gets an error.
                    self._socket.close()
                    return

    def close(self) -> None:
        """Ends the service and removes the socket's file, unless it was replaced.

        In a child of the process that serves, closes the child's copy of the socket, and the
        service goes on.
        """
        if os.getpid() != self._pid:
            self._socket.close()
            return
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._remove()

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
        # A thread that is not waited for executes an action: nobody else would release the others.
        if barrier._leading:
            with contextlib.suppress(OSError, ValueError):
                barrier._seats.abort()
        barrier.leave()


def _after_fork() -> None:
    """The child is no member, and has no events of its own."""
    global _registered
    _registered = False
    for barrier in list(_live):
        if barrier._member:
            # Open until the barrier is closed: if this were the last copy, that would end the party
            # before the death of its process does, and name this one.
            barrier._inherited.append(barrier._member)
        for events in barrier._idle:
            events.close()
        barrier._start_in_process()
        if barrier._closed:
            # Those for which the parent keeps it open are not in the child.
            barrier._release()


os.register_at_fork(after_in_child=_after_fork)
