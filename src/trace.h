/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of /dev/quiesce and of rundowns. A barrier is known by the id that
 * fdinfo shows, a party by its number, which is -1 for nobody; a rundown reference
 * by its address.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM quiesce

#if !defined(_QUIESCE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _QUIESCE_TRACE_H

#include <linux/tracepoint.h>

#include "uapi/quiesce.h"

TRACE_EVENT(quiesce_arrive,
	TP_PROTO(u64 id, u32 party, u64 count, u64 ticket),
	TP_ARGS(id, party, count, ticket),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, count)
		__field(u64, ticket)
		__field(u32, party)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->count = count;
		__entry->ticket = ticket;
		__entry->party = party;
	),
	TP_printk("id=%llu party=%d count=%llu ticket=%llu",
		  __entry->id, __entry->party, __entry->count, __entry->ticket)
);

TRACE_EVENT(quiesce_wait_begin,
	TP_PROTO(u64 id, u32 party, u32 kind, u64 ticket),
	TP_ARGS(id, party, kind, ticket),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, ticket)
		__field(u32, party)
		__field(u32, kind)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->ticket = ticket;
		__entry->party = party;
		__entry->kind = kind;
	),
	TP_printk("id=%llu party=%d kind=%s ticket=%llu",
		  __entry->id, __entry->party,
		  __print_symbolic(__entry->kind,
				   { QUIESCE_WAIT_NEXT, "next" },
				   { QUIESCE_WAIT_SYNC_NEXT, "sync_next" },
				   { QUIESCE_WAIT_SYNC, "sync" },
				   { QUIESCE_WAIT_ABORTION, "abortion" },
				   { QUIESCE_WAIT_PHASE, "phase" }),
		  __entry->ticket)
);

TRACE_EVENT(quiesce_wait_end,
	TP_PROTO(u64 id, u32 party, int ret),
	TP_ARGS(id, party, ret),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, party)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->party = party;
		__entry->ret = ret;
	),
	TP_printk("id=%llu party=%d ret=%d",
		  __entry->id, __entry->party, __entry->ret)
);

TRACE_EVENT(quiesce_abort,
	TP_PROTO(u64 id, u32 party, u64 code),
	TP_ARGS(id, party, code),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, code)
		__field(u32, party)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->code = code;
		__entry->party = party;
	),
	TP_printk("id=%llu party=%d code=%llu",
		  __entry->id, __entry->party, __entry->code)
);

#define quiesce_show_cause(cause)						\
	__print_symbolic(cause,							\
			 { QUIESCE_CAUSE_ABORT, "abort" },			\
			 { QUIESCE_CAUSE_TIMEOUT, "timeout" },			\
			 { QUIESCE_CAUSE_CLOSE, "close" },			\
			 { QUIESCE_CAUSE_EXEC, "exec" },			\
			 { QUIESCE_CAUSE_EXIT, "exit" },			\
			 { QUIESCE_CAUSE_SIGNAL, "signal" },			\
			 { QUIESCE_CAUSE_UNCLAIMED, "unclaimed" })

DECLARE_EVENT_CLASS(quiesce_end,
	TP_PROTO(u64 id, u32 party, u32 cause, int status, struct pid *pid),
	TP_ARGS(id, party, cause, status, pid),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, party)
		__field(u32, cause)
		__field(int, status)
		__field(int, pid)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->party = party;
		__entry->cause = cause;
		__entry->status = status;
		__entry->pid = pid_nr(pid);
	),
	TP_printk("id=%llu party=%d cause=%s status=%d pid=%d",
		  __entry->id, __entry->party,
		  quiesce_show_cause(__entry->cause),
		  __entry->status, __entry->pid)
);

/* A party ended; of party -1, the open seats did. */
DEFINE_EVENT(quiesce_end, quiesce_party_end,
	TP_PROTO(u64 id, u32 party, u32 cause, int status, struct pid *pid),
	TP_ARGS(id, party, cause, status, pid)
);

/* A group broke. */
DEFINE_EVENT(quiesce_end, quiesce_break,
	TP_PROTO(u64 id, u32 party, u32 cause, int status, struct pid *pid),
	TP_ARGS(id, party, cause, status, pid)
);

TRACE_EVENT(quiesce_join,
	TP_PROTO(u64 id, u32 party, u64 phase),
	TP_ARGS(id, party, phase),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, phase)
		__field(u32, party)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->phase = phase;
		__entry->party = party;
	),
	TP_printk("id=%llu party=%d phase=%llu",
		  __entry->id, __entry->party, __entry->phase)
);

TRACE_EVENT(quiesce_leave,
	TP_PROTO(u64 id, u32 party),
	TP_ARGS(id, party),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u32, party)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->party = party;
	),
	TP_printk("id=%llu party=%d", __entry->id, __entry->party)
);

DECLARE_EVENT_CLASS(quiesce_phase,
	TP_PROTO(u64 id, u64 phase),
	TP_ARGS(id, phase),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, phase)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->phase = phase;
	),
	TP_printk("id=%llu phase=%llu", __entry->id, __entry->phase)
);

/* All parties have arrived in this phase. */
DEFINE_EVENT(quiesce_phase, quiesce_phase_end,
	TP_PROTO(u64 id, u64 phase),
	TP_ARGS(id, phase)
);

/* A reset started this phase. */
DEFINE_EVENT(quiesce_phase, quiesce_reset,
	TP_PROTO(u64 id, u64 phase),
	TP_ARGS(id, phase)
);

DECLARE_EVENT_CLASS(quiesce_rundown,
	TP_PROTO(unsigned long key),
	TP_ARGS(key),
	TP_STRUCT__entry(
		__field(unsigned long, key)
	),
	TP_fast_assign(
		__entry->key = key;
	),
	TP_printk("ref=%p", (void *)__entry->key)
);

/* Acquisitions fail from now on. */
DEFINE_EVENT(quiesce_rundown, quiesce_rundown_begin,
	TP_PROTO(unsigned long key),
	TP_ARGS(key)
);

/* The last holder has released it, or there was none. */
DEFINE_EVENT(quiesce_rundown, quiesce_rundown_end,
	TP_PROTO(unsigned long key),
	TP_ARGS(key)
);

/* It is waited for since this time; with each report in the log. */
TRACE_EVENT(quiesce_rundown_stall,
	TP_PROTO(unsigned long key, u32 ms, unsigned long waiters, unsigned long holders),
	TP_ARGS(key, ms, waiters, holders),
	TP_STRUCT__entry(
		__field(unsigned long, key)
		__field(unsigned long, waiters)
		__field(unsigned long, holders)
		__field(u32, ms)
	),
	TP_fast_assign(
		__entry->key = key;
		__entry->waiters = waiters;
		__entry->holders = holders;
		__entry->ms = ms;
	),
	TP_printk("ref=%p ms=%u waiters=%lu holders=%lu", (void *)__entry->key,
		  __entry->ms, __entry->waiters, __entry->holders)
);

#endif /* _QUIESCE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
