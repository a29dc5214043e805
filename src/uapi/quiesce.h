/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/quiesce: barriers between processes.
 *
 * An open file of /dev/quiesce creates barriers and counts them; it gives access
 * to nothing else. A barrier is accessed through descriptors, which only pass by
 * fork, exec and SCM_RIGHTS. There are two kinds of barrier:
 *
 *   pair   two parties, one descriptor each. A party arrives and waits for the
 *          arrivals of the other side.
 *   group  N parties and phases. The group has a descriptor of its own, from
 *          which parties are made (JOIN), and every party has one.
 *
 * A party ends when the last copy of its descriptor is closed, whoever held it
 * (by close, exec, exit or a signal), or, with QUIESCE_BIND_PROCESS, as soon as
 * the process it is bound to is dead. All state is in the kernel: copies of one
 * descriptor in several processes are one party.
 *
 * The pair, in full
 *
 *   What a party knows about the other side is its *view*; it advances in WAIT
 *   and ARRIVE_WAIT only. Until then ARRIVE succeeds and a side counts as not
 *   aborted whatever the other side has done. STATUS and MEMBER report the
 *   current state and do not advance the view.
 *
 *     balance   arrivals of this side, less arrivals of the other that it read
 *     unread    arrivals of the other side that this side has not read
 *
 *   If its condition already holds, a wait returns without reading anything.
 *   Otherwise it reads all unread arrivals at once, until the condition holds.
 *   The other side's ABORT supersedes its unread arrivals; its end (close, exec,
 *   exit, signal) queues behind them. Both set QUIESCE_THEY_ABORTED in the view,
 *   and this side's ABORT sets QUIESCE_I_ABORTED; neither is ever cleared.
 *
 * The group, in full
 *
 *   The group has `parties` seats; JOIN takes an open one, or adds one while
 *   there are fewer than `max_parties`. A phase is over when every seat has
 *   arrived, open seats included. ARRIVE returns a ticket, the number of the
 *   phase, and WAIT waits for the end of that phase; a party may arrive in the
 *   next phase without having waited for the last.
 *
 *   A party that ends after it arrived counts for that phase. A party that ends
 *   without having arrived, in this phase or the next, breaks the group or, with
 *   QUIESCE_GROUP_SHRINK, removes its seat. When the last copy of the group's
 *   descriptor is closed nobody can join any more, and the open seats end in the
 *   same way. LEAVE and QUIESCE_ARRIVE_DROP give a seat up and break nothing.
 *
 *   A party that has ended and arrived breaks the group when the next phase
 *   begins, or its seat is removed then; of several, the one with the lowest
 *   number is the cause.
 *
 *   A broken group stays broken, with the cause of the first break, until
 *   RESET. RESET starts a new phase, in which the remaining parties have to
 *   arrive; seats of ended parties are open again or, with
 *   QUIESCE_GROUP_SHRINK, are removed.
 *
 *   How a phase ended is kept for each party that arrived in it, for its last
 *   QUIESCE_OUTCOMES arrivals: RESET, LEAVE and the party's end do not change it.
 *
 * poll, epoll and io_uring poll; all are levels
 *
 *                 party of a pair              party of a group
 *   EPOLLIN       WAIT for NEXT would read     phase of the last arrival is over
 *                 arrivals and succeed         and no WAIT or COMPLETE has
 *                                              reported it yet; or this party
 *                                              has to COMPLETE it
 *   EPOLLOUT      ARRIVE would succeed         ARRIVE would succeed
 *   EPOLLPRI|ERR  other side called ABORT      group is broken
 *   EPOLLRDHUP    other side has ended         -
 *   EPOLLHUP      other side has ended and     party has left, or has ended with
 *                 nothing can be read; or      its process
 *                 this one has ended with
 *                 its process
 *
 *   On the group's descriptor: EPOLLIN a phase has ended since the last STATUS
 *   on this descriptor, EPOLLPRI|ERR broken, EPOLLHUP no seat is left.
 *
 *   A change that sets a level wakes the tasks that poll for it, even if this
 *   party made the change. Each arrival of the other side of a pair is an edge.
 *   Such an arrival, and a change of a group, wake those too that poll for another
 *   level of the descriptor: with EPOLLET they may get a level once more that was
 *   set before. io_uring reads the level after the wake-up, and posts no completion
 *   if a call has cleared it by then: a poll that was submitted before a WAIT does
 *   not complete later with the phase, or the arrivals, that the WAIT has reported.
 *
 * Structs and their versions
 *
 *   A struct's size is part of its command (_IOC_SIZE); the kernel identifies a
 *   command by type and number. EINVAL if the struct is smaller than its first
 *   version; E2BIG if it is larger than the kernel's and the excess is not zero.
 *   Members missing from a shorter struct read as zero and are not written.
 *   Members marked [in] are read, [out] are written without being read,
 *   [in/out] both. Undefined flags and `reserved` must be 0.
 *
 *   [out] members are written on success and, by those commands that list them,
 *   with ECONNABORTED, EOWNERDEAD, ESHUTDOWN, ECANCELED, ETIMEDOUT, EAGAIN and
 *   EINTR.
 *
 *   A call that fails has changed nothing, with EFAULT too: results are written
 *   before the state changes. A wait is the exception: an arrival that it made
 *   stands, arrivals that it read stay read, the view has advanced, and a timeout
 *   with QUIESCE_WAIT_BREAK has broken the group. With EFAULT that is so only if
 *   another thread unmapped the memory while the wait slept.
 *
 * Errors of all commands
 *
 *   ENOTTY        no such command on this kind of descriptor, or not with this
 *                 direction (_IOC_DIR)
 *   EINVAL        struct too small; unknown flag; `reserved` not 0; a value out
 *                 of its range
 *   E2BIG         struct larger than the kernel's and not zero beyond
 *   EFAULT        the struct, or memory that it points to, is not accessible
 *
 * Errors that depend on state
 *
 *   ECONNABORTED  pair: the other side called ABORT (in view)
 *                 group: broken by ABORT, or by a timeout with
 *                 QUIESCE_WAIT_BREAK
 *   EOWNERDEAD    pair: the other side has ended (in view)
 *                 group: broken by the end of a party or of the open seats
 *   ESHUTDOWN     pair: this side called ABORT
 *   ECANCELED     group: the ticket's phase ended by RESET
 *   ESTALE        group: the ticket is none of this party's last
 *                 QUIESCE_OUTCOMES, and it is older than the last phase that
 *                 RESET ended, or the call is ARRIVE_WAIT
 *   EALREADY      group: this party has arrived in this phase
 *   ENOTCONN      this party has left, or its process is dead (a copy of the
 *                 descriptor was kept elsewhere). Its tickets can be waited
 *                 for: a phase that is over comes first, and a party that has
 *                 left may also wait for the end of the current one
 *   EOVERFLOW     pair: this side would have arrived more than INT64_MAX times;
 *                 nothing has changed
 *   ETIMEDOUT     the deadline has passed
 *   EAGAIN        the descriptor has O_NONBLOCK, and the wait would sleep or has
 *                 a deadline that has passed
 *   EINTR         a signal handler without SA_RESTART ran. With SA_RESTART, and
 *                 where there is no handler, the kernel restarts the call
 *   EDQUOT        QUIESCE_MAX_OBJECTS barriers of this open file exist;
 *                 QUIESCE_MAX_BOUND parties are bound to this process, those
 *                 included that have left and are not closed; or the user has
 *                 as many groups and parties as the module's parameter
 *                 user_files allows. A party of a group counts until its
 *                 descriptor is closed and another party has its seat or the
 *                 group is gone. That is shortly after its last descriptor is
 *                 closed, if a process that a party was bound to has died just
 *                 before
 *   ENOSPC        group: no open seat, and max_parties seats
 *   EBUSY         JOIN: all have arrived, and the leader has not called COMPLETE
 *   EMFILE ENFILE no descriptor, or no file, is left
 *   ENOMEM        no memory, or the cgroup's limit. As with open(), the kernel
 *                 may call the OOM killer instead where the process's table of
 *                 descriptors grows, or where other tasks of the cgroup take what
 *                 memory is left while the call makes its files
 *   ESRCH         MEMBER: no such party
 *
 * Where several hold, a wait prefers its result to EINTR and EINTR to
 * ETIMEDOUT; how a ticket's phase ended comes first, then the state of this party
 * (ENOTCONN, ESHUTDOWN), then that of the barrier.
 */
#ifndef _UAPI_QUIESCE_H
#define _UAPI_QUIESCE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The version of this interface. */
#define QUIESCE_VERSION		2

#define QUIESCE_DEVICE		"/dev/quiesce"

/* Limits; FEATURES returns those of the running kernel. */
#define QUIESCE_MAX_PARTIES	1024	/* seats of a group */
#define QUIESCE_MAX_OBJECTS	4096	/* barriers of one open file */
#define QUIESCE_MAX_BOUND	1024	/* parties bound to one process */

/* group: number of a party's last arrivals whose outcome WAIT can return. */
#define QUIESCE_OUTCOMES	4

/* In `party`: not a party. The group itself, open seats, or nobody. */
#define QUIESCE_NOBODY		0xffffffffU

/* Deadlines are absolute, in ns; with one in the past a wait only polls. */
#define QUIESCE_FOREVER		0xffffffffffffffffULL
#define QUIESCE_NOW		0ULL

/* Why something ended. */
#define QUIESCE_CAUSE_NONE	0
#define QUIESCE_CAUSE_ABORT	1	/* ABORT; `code` is the caller's */
#define QUIESCE_CAUSE_TIMEOUT	2	/* a wait with QUIESCE_WAIT_BREAK */
#define QUIESCE_CAUSE_CLOSE	3	/* last copy closed */
#define QUIESCE_CAUSE_EXEC	4	/* last copy closed by execve() */
#define QUIESCE_CAUSE_EXIT	5	/* process exited; `status` is its code */
#define QUIESCE_CAUSE_SIGNAL	6	/* process killed; `status` is the signal */
#define QUIESCE_CAUSE_UNCLAIMED	7	/* open seats, and no descriptor to join by */

/*
 * struct quiesce_cause - why and who
 * @cause:  QUIESCE_CAUSE_*
 * @party:  the party that did it, or QUIESCE_NOBODY
 * @pid:    the process that aborted, closed last or died, in the pid namespace
 *          of the reader; 0 where it is not visible there, and where no process
 *          released the last reference (a message that the garbage collector of
 *          sockets freed, a file that io_uring had). A process that closes a
 *          socket, or dies, with the message unread has released it. A process
 *          that reads the descriptor's entry in /proc/PID/fdinfo or /proc/PID/fd
 *          while PID closes it, executes a program or dies may be named, with
 *          QUIESCE_CAUSE_CLOSE, in its place; with QUIESCE_BIND_PROCESS not if
 *          PID dies. The number may be another process's once this one was
 *          waited for
 * @status: exit code or signal number, else 0
 * @code:   what was given to ABORT, else 0
 */
struct quiesce_cause {
	__u32 cause;
	__u32 party;
	__s32 pid;
	__s32 status;
	__u64 code;
};

/*
 * FEATURES, on /dev/quiesce.
 *
 * @version:     [out] QUIESCE_VERSION
 * @reserved:    [in] 0
 * @features:    [out] QUIESCE_FEATURE_*
 * @max_parties: [out] seats that a group can have
 * @max_objects: [out] barriers that one open file can have
 */
struct quiesce_features {
	__u32 version;
	__u32 reserved;
	__u64 features;
	__u32 max_parties;
	__u32 max_objects;
};

#define QUIESCE_FEATURE_PAIR	(1ULL << 0)
#define QUIESCE_FEATURE_GROUP	(1ULL << 1)
#define QUIESCE_FEATURE_BIND	(1ULL << 2)	/* QUIESCE_BIND_PROCESS */
#define QUIESCE_FEATURE_COMPLETION	(1ULL << 3)	/* QUIESCE_GROUP_COMPLETION */

/* Descriptors are close-on-exec, except with this flag of PAIR, GROUP, JOIN. */
#define QUIESCE_FD_INHERIT	(1U << 0)

/*
 * PAIR, on /dev/quiesce: makes a pair.
 *
 * @flags:    [in] QUIESCE_FD_INHERIT
 * @fd:       [out] the descriptors of party 0 and party 1
 * @reserved: [in] 0
 *
 * Both parties count as the caller's until BIND.
 *
 * Errors: EDQUOT, EMFILE, ENFILE, ENOMEM.
 */
struct quiesce_pair {
	__u32 flags;
	__s32 fd[2];
	__u32 reserved;
};

/*
 * GROUP, on /dev/quiesce: makes a group and returns its descriptor in @fd.
 *
 * @flags:       [in] QUIESCE_FD_INHERIT, QUIESCE_GROUP_SHRINK,
 *               QUIESCE_GROUP_COMPLETION
 * @parties:     [in] seats to begin with, all open
 * @max_parties: [in] seats that JOIN may make in all, at least @parties and at
 *               least 1, at most QUIESCE_MAX_PARTIES; 0 means @parties
 * @fd:          [out] the group's descriptor
 *
 * Errors: EDQUOT, EMFILE, ENFILE, ENOMEM.
 */
struct quiesce_group {
	__u32 flags;
	__u32 parties;
	__u32 max_parties;
	__s32 fd;
};

/* The end of a party that has not arrived removes its seat and breaks nothing. */
#define QUIESCE_GROUP_SHRINK	(1U << 1)
/* A phase whose parties have all arrived ends when its leader calls COMPLETE. */
#define QUIESCE_GROUP_COMPLETION	(1U << 3)

/*
 * JOIN, on a group's descriptor: takes a seat and returns its descriptor.
 *
 * @flags:    [in] QUIESCE_FD_INHERIT, QUIESCE_BIND_PROCESS
 * @fd:       [out] the party's descriptor
 * @party:    [out] its number: that of the lowest open seat or, if none is open,
 *            the lowest number without a seat, below max_parties
 * @reserved: [in] 0
 * @phase:    [out] the phase in which it has to arrive first
 *
 * Errors: ENOSPC; EBUSY; ECONNABORTED, EOWNERDEAD when the group is broken; EDQUOT,
 * EMFILE, ENFILE, ENOMEM.
 */
struct quiesce_join {
	__u32 flags;
	__s32 fd;
	__u32 party;
	__u32 reserved;
	__u64 phase;
};

/*
 * BIND, on a party: sets its process to the calling one.
 *
 * @flags:    [in] QUIESCE_BIND_PROCESS: the party ends with this process, even
 *            if copies of the descriptor live on elsewhere. Without it, the
 *            process is only what MEMBER reports. The party has ended when
 *            wait() returns the process, and when a pidfd of it wakes a poller
 * @reserved: [in] 0
 *
 * Replaces what an earlier BIND or JOIN set.
 *
 * Errors: ENOTCONN, EDQUOT, ENOMEM.
 */
struct quiesce_bind {
	__u32 flags;
	__u32 reserved;
};

#define QUIESCE_BIND_PROCESS	(1U << 2)

/*
 * ARRIVE, on a party: arrives. Never sleeps.
 *
 * @flags:   [in] QUIESCE_ARRIVE_DROP
 * @index:   [out] group: how many arrived in this phase before; pair: 0
 * @count:   [in] pair: number of arrivals, at least 1; group: 1
 * @ticket:  [out] group: the phase; pair: arrivals of this side in all
 * @balance: [out] pair: as in struct quiesce_wait
 * @view:    [out] pair: as in struct quiesce_wait
 * @result:  [out] group: QUIESCE_RESULT_*
 * @cause:   [out] as in struct quiesce_wait
 *
 * Writes [out] also with ECONNABORTED, EOWNERDEAD and ESHUTDOWN.
 *
 * Errors, pair: ENOTCONN, ESHUTDOWN, ECONNABORTED, EOWNERDEAD, EOVERFLOW.
 * Errors, group: ENOTCONN, ECONNABORTED, EOWNERDEAD, EALREADY.
 */
struct quiesce_arrive {
	__u32 flags;
	__u32 index;
	__u64 count;
	__u64 ticket;
	__s64 balance;
	__u32 view;
	__u32 result;
	struct quiesce_cause cause;
};

/* group: arrive in this phase, and leave before the next. */
#define QUIESCE_ARRIVE_DROP	(1U << 0)

/* The phase is over. */
#define QUIESCE_RESULT_DONE	(1U << 0)
/*
 * This party leads: true for at most one party at a time, the last to arrive; if
 * the phase ends because a seat is removed, the last to arrive of the parties that
 * remain. Without QUIESCE_RESULT_DONE it has to call COMPLETE, and if it leaves or
 * ends instead, another party may lead the same phase.
 */
#define QUIESCE_RESULT_LEADER	(1U << 1)

/* pair: the view. */
#define QUIESCE_I_ABORTED	(1U << 0)
#define QUIESCE_THEY_ABORTED	(1U << 1)

/*
 * WAIT and ARRIVE_WAIT, on a party. With QUIESCE_NOW, or O_NONBLOCK, neither
 * sleeps, nor gives EINTR.
 *
 * @kind:     [in] QUIESCE_WAIT_*; of a pair NEXT, SYNC_NEXT, SYNC or ABORTION,
 *            of a group PHASE
 * @flags:    [in] QUIESCE_WAIT_REALTIME or QUIESCE_WAIT_BOOTTIME,
 *            QUIESCE_WAIT_BREAK
 * @deadline: [in] absolute, ns of CLOCK_MONOTONIC or, by flag, CLOCK_REALTIME
 *            or CLOCK_BOOTTIME, as the caller's time namespace has them;
 *            QUIESCE_FOREVER; a time in the past, or QUIESCE_NOW, only polls
 * @count:    [in] ARRIVE_WAIT: as in struct quiesce_arrive; WAIT: 0
 * @ticket:   [in/out] 0, or the ticket of an arrival whose end is waited for;
 *            see below
 * @balance:  [out] pair: arrivals of this side, less arrivals read
 * @view:     [out] pair: QUIESCE_I_ABORTED | QUIESCE_THEY_ABORTED
 * @result:   [out] group: QUIESCE_RESULT_*; QUIESCE_RESULT_LEADER only of this
 *            party's last QUIESCE_OUTCOMES arrivals
 * @index:    [out] group, on success: how many arrived in the ticket's phase
 *            before; of this party's last QUIESCE_OUTCOMES arrivals, else 0
 * @reserved: [in] 0
 * @cause:    [out] with ECONNABORTED, EOWNERDEAD and a successful
 *            QUIESCE_WAIT_ABORTION: why and who; else zero
 *
 * Writes [out] on success and with ECONNABORTED, EOWNERDEAD, ESHUTDOWN,
 * ECANCELED, ETIMEDOUT, EAGAIN and EINTR, as of its return; a call that sleeps
 * writes them before it does, too.
 *
 * The ticket. ARRIVE_WAIT with 0 arrives. If it is interrupted or times out
 * (EINTR, ETIMEDOUT, EAGAIN), the arrival stands and its ticket is written here;
 * the same call with it continues the wait, as the kernel does itself after
 * SA_RESTART, and does not arrive again. Once the wait is over, with success or
 * an error that writes [out], 0 is written, so that the same struct serves for the
 * next round. A ticket that was not written so, or that was used by the call that
 * continued the wait, is EINVAL: no two ARRIVE_WAITs return for one arrival. WAIT
 * does not use the ticket of an ARRIVE_WAIT: a program that ends the wait with it
 * has to write 0 before the next ARRIVE_WAIT, or else that continues the old wait
 * and does not arrive. (A pair counts such waits and does not
 * distinguish them: a ticket of an arrival is EINVAL once as many calls have
 * continued waits as were to be continued.) A leader that has to call COMPLETE
 * gets its ticket for that call, and has to write 0 itself before the next
 * ARRIVE_WAIT.
 *
 * WAIT of a group takes the ticket of any arrival of this party, or the number of
 * a phase that is over, and writes 0 once the wait is over; of a pair, it takes 0.
 *
 * ARRIVE_WAIT of a pair whose view is aborted does not arrive and returns what the
 * wait returns.
 *
 * Errors, pair: ENOTCONN, ESHUTDOWN, ECONNABORTED, EOWNERDEAD, ETIMEDOUT, EAGAIN,
 * EINTR, ARRIVE_WAIT also EOVERFLOW, EINVAL for the ticket.
 * Errors, group: ENOTCONN, ECONNABORTED, EOWNERDEAD, ECANCELED, ESTALE,
 * ETIMEDOUT, EAGAIN, EINTR, WAIT also EINVAL for ticket 0 and for a phase that is
 * not over and in which this party has not arrived, ARRIVE_WAIT also EALREADY,
 * EINVAL for the ticket.
 */
struct quiesce_wait {
	__u32 kind;
	__u32 flags;
	__u64 deadline;
	__u64 count;
	__u64 ticket;
	__s64 balance;
	__u32 view;
	__u32 result;
	__u32 index;
	__u32 reserved;
	struct quiesce_cause cause;
};

/*
 * The four waits of a pair. An aborted view ends all but ABORTION at once:
 * ESHUTDOWN if this side aborted, else ECONNABORTED or EOWNERDEAD.
 */
#define QUIESCE_WAIT_NEXT	1	/* an arrival was read since the call began */
#define QUIESCE_WAIT_SYNC_NEXT	2	/* as NEXT, or balance <= 0 */
#define QUIESCE_WAIT_SYNC	3	/* balance <= 0 */
/*
 * The other side aborted or ended; arrivals are read and ignored. Success if only
 * they aborted, ESHUTDOWN if both have. The one wait that sleeps after own ABORT.
 */
#define QUIESCE_WAIT_ABORTION	4
/* group: the phase of the ticket is over. */
#define QUIESCE_WAIT_PHASE	5

#define QUIESCE_WAIT_REALTIME	(1U << 0)
/*
 * group: a timeout of this wait breaks the group, unless this party has left.
 * With O_NONBLOCK it fails with EAGAIN, also after the deadline, and breaks nothing.
 */
#define QUIESCE_WAIT_BREAK	(1U << 1)
/* CLOCK_BOOTTIME, which counts while the machine is suspended. */
#define QUIESCE_WAIT_BOOTTIME	(1U << 2)

/*
 * ABORT, on a party or a group's descriptor. Never sleeps.
 *
 * @flags:    [in] 0
 * @view:     [out] pair: the view after it
 * @code:     [in] what the others get as cause.code
 *
 * Pair: this side is aborted; the first ABORT counts and others do nothing.
 * Group: it is broken; the first break counts and others do nothing.
 *
 * Errors: ENOTCONN.
 */
struct quiesce_abort {
	__u32 flags;
	__u32 view;
	__u64 code;
};

/*
 * STATUS, on a party or a group's descriptor: the truth, at once.
 *
 * @flags:      [in] 0
 * @kind:       [out] QUIESCE_KIND_*
 * @party:      [out] number of this party; QUIESCE_NOBODY for the group's
 *              descriptor
 * @view:       [out] pair: as in struct quiesce_wait, not advanced
 * @state:      [out] this party's QUIESCE_STATE_*
 * @parties:    [out] seats in this phase, 2 for a pair
 * @arrived:    [out] group: how many of them have arrived
 * @open:       [out] group: how many are open
 * @waiting:    [out] tasks in a wait on this barrier
 * @late_words: [in/out] how many __u64 @late has room for; written back as how
 *              many the whole bitmap needs. Words beyond those are not written
 * @late:       [in] 0, or a pointer to a bitmap: bit n is set if party n is
 *              late. Group: it has not arrived in this phase, or had not when
 *              the group broke and has not left since; open seats are late. Pair:
 *              it has arrived less often than the other side
 * @phase:      [out] group: number of the current phase, from 1
 * @balance:    [out] pair: as in struct quiesce_wait
 * @unread:     [out] pair: arrivals of the other side that this side has not read
 * @sent:       [out] pair: arrivals of this side that the other has not read
 * @cause:      [out] pair: how the other side ended or aborted; group: the break
 */
struct quiesce_status {
	__u32 flags;
	__u32 kind;
	__u32 party;
	__u32 view;
	__u32 state;
	__u32 parties;
	__u32 arrived;
	__u32 open;
	__u32 waiting;
	__u32 late_words;
	__u64 late;
	__u64 phase;
	__s64 balance;
	__u64 unread;
	__u64 sent;
	struct quiesce_cause cause;
};

#define QUIESCE_KIND_PAIR	1	/* party of a pair */
#define QUIESCE_KIND_PARTY	2	/* party of a group */
#define QUIESCE_KIND_GROUP	3	/* a group's descriptor */

/*
 * MEMBER, on a party or a group's descriptor: the truth about one party.
 *
 * @party:   [in] number of the party, of a pair 0 or 1
 * @state:   [out] QUIESCE_STATE_*
 * @pid:     [out] its process: the one that created it, or was bound to it last;
 *           in the pid namespace of the reader; 0 if not visible or none
 * @waiting: [out] tasks in a wait of this party
 * @count:   [out] pair: its arrivals in all; group: the phase of its last
 *           arrival, 0 before the first
 * @cause:   [out] how it ended or aborted
 * @pid_ino: [out] inode number of the pidfds of process @pid; 0 if that is 0
 * @cause_ino: [out] the same of @cause.pid
 *
 * A pid may belong to another process by the time that it is used. The inode
 * number that fstat() returns for a pidfd is never reused, so open a pidfd for the
 * pid and compare the two. The first version of the struct ends with @cause.
 *
 * Errors: ESRCH.
 */
struct quiesce_member {
	__u32 party;
	__u32 state;
	__s32 pid;
	__u32 waiting;
	__u64 count;
	struct quiesce_cause cause;
	__u64 pid_ino;
	__u64 cause_ino;
};

#define QUIESCE_STATE_OPEN	(1U << 0)	/* group: seat that nobody took */
#define QUIESCE_STATE_ARRIVED	(1U << 1)	/* group: in this phase */
#define QUIESCE_STATE_LEFT	(1U << 2)	/* group: LEAVE or DROP */
#define QUIESCE_STATE_ABORTED	(1U << 3)	/* pair: called ABORT */
#define QUIESCE_STATE_ENDED	(1U << 4)	/* closed or died; not after LEFT */
#define QUIESCE_STATE_BOUND	(1U << 5)	/* QUIESCE_BIND_PROCESS */
#define QUIESCE_STATE_BROKEN	(1U << 6)	/* group: broken; from STATUS only */
#define QUIESCE_STATE_LEADS	(1U << 7)	/* group: has to call COMPLETE */

/*
 * LEAVE, on a party of a group: gives the seat up. An arrival in this phase
 * stands. The descriptor stays until closed, which then breaks nothing. Has no
 * struct, and the argument is not used.
 *
 * Errors: ENOTCONN.
 */

/*
 * COMPLETE, on a party of a group with QUIESCE_GROUP_COMPLETION: ends the phase
 * that this party leads. The other parties' waits return after it.
 *
 * The last party to arrive leads. Its ARRIVE, ARRIVE_WAIT or WAIT succeeds with
 * QUIESCE_RESULT_LEADER and without QUIESCE_RESULT_DONE, and with the ticket of
 * the phase; its descriptor polls EPOLLIN. Until COMPLETE the others wait, and
 * JOIN fails with EBUSY. A leader that leaves, or that ends in a group with
 * QUIESCE_GROUP_SHRINK, is replaced by the last to arrive of the parties that
 * remain; one that ends otherwise breaks the group. If none remains, the phase
 * ends without COMPLETE. With QUIESCE_ARRIVE_DROP a party leads only if no other
 * can. Nothing limits the time of the step but the others' deadlines: with
 * QUIESCE_WAIT_BREAK they break the group, and COMPLETE fails.
 *
 * @flags:    [in] 0
 * @reserved: [in] 0
 * @ticket:   [in] the phase that it ends
 * @phase:    [out] number of the phase that begins
 *
 * Errors: ECONNABORTED, EOWNERDEAD, ECANCELED if the ticket's phase was broken or
 * reset; ENOTCONN, ESTALE; EINVAL if this party does not have to complete that
 * phase, or has done so.
 */
struct quiesce_complete {
	__u32 flags;
	__u32 reserved;
	__u64 ticket;
	__u64 phase;
};

/*
 * RESET, on a group's descriptor: starts a new phase. Waits for the current one
 * fail with ECANCELED or, if it was broken, as before the reset.
 *
 * @flags:    [in] 0
 * @reserved: [in] 0
 * @phase:    [out] number of the new phase
 */
struct quiesce_reset {
	__u32 flags;
	__u32 reserved;
	__u64 phase;
};

/*
 * 0xB9, of which 00-2F are used: no other driver has it in 7.3's
 * Documentation/userspace-api/ioctl/ioctl-number.rst, where it is to be entered.
 */
#define QUIESCE_IOC_MAGIC	0xB9

#define QUIESCE_NR_FEATURES	0x00
#define QUIESCE_NR_PAIR		0x01
#define QUIESCE_NR_GROUP	0x02
#define QUIESCE_NR_ARRIVE	0x10
#define QUIESCE_NR_WAIT		0x11
#define QUIESCE_NR_ARRIVE_WAIT	0x12
#define QUIESCE_NR_ABORT	0x13
#define QUIESCE_NR_BIND		0x14
#define QUIESCE_NR_STATUS	0x15
#define QUIESCE_NR_MEMBER	0x16
#define QUIESCE_NR_JOIN		0x20
#define QUIESCE_NR_LEAVE	0x21
#define QUIESCE_NR_RESET	0x22
#define QUIESCE_NR_COMPLETE	0x23

#define QUIESCE_IOC_FEATURES \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_FEATURES, struct quiesce_features)
#define QUIESCE_IOC_PAIR \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_PAIR, struct quiesce_pair)
#define QUIESCE_IOC_GROUP \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_GROUP, struct quiesce_group)

#define QUIESCE_IOC_ARRIVE \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_ARRIVE, struct quiesce_arrive)
#define QUIESCE_IOC_WAIT \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_WAIT, struct quiesce_wait)
#define QUIESCE_IOC_ARRIVE_WAIT \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_ARRIVE_WAIT, struct quiesce_wait)
#define QUIESCE_IOC_ABORT \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_ABORT, struct quiesce_abort)
#define QUIESCE_IOC_BIND \
	_IOW(QUIESCE_IOC_MAGIC, QUIESCE_NR_BIND, struct quiesce_bind)
#define QUIESCE_IOC_STATUS \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_STATUS, struct quiesce_status)
#define QUIESCE_IOC_MEMBER \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_MEMBER, struct quiesce_member)

#define QUIESCE_IOC_JOIN \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_JOIN, struct quiesce_join)
#define QUIESCE_IOC_LEAVE \
	_IO(QUIESCE_IOC_MAGIC, QUIESCE_NR_LEAVE)
#define QUIESCE_IOC_RESET \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_RESET, struct quiesce_reset)
#define QUIESCE_IOC_COMPLETE \
	_IOWR(QUIESCE_IOC_MAGIC, QUIESCE_NR_COMPLETE, struct quiesce_complete)

#endif /* _UAPI_QUIESCE_H */
