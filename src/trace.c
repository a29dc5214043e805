// SPDX-License-Identifier: GPL-2.0

#include <linux/export.h>
#include <linux/pid.h>

#include "helpers.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

void quiesce_helper_trace_place(u64 id, u32 party, u64 count, u64 ticket)
{
	trace_quiesce_place(id, party, count, ticket);
}
EXPORT_SYMBOL_GPL(quiesce_helper_trace_place);

void quiesce_helper_trace_wait_begin(u64 id, u32 party, u32 kind, u64 ticket)
{
	trace_quiesce_wait_begin(id, party, kind, ticket);
}
EXPORT_SYMBOL_GPL(quiesce_helper_trace_wait_begin);

void quiesce_helper_trace_wait_end(u64 id, u32 party, int ret)
{
	trace_quiesce_wait_end(id, party, ret);
}
EXPORT_SYMBOL_GPL(quiesce_helper_trace_wait_end);

void quiesce_helper_trace_abort(u64 id, u32 party, u64 code)
{
	trace_quiesce_abort(id, party, code);
}
EXPORT_SYMBOL_GPL(quiesce_helper_trace_abort);

void quiesce_helper_trace_death(u64 id, u32 party, u32 cause, int status, struct pid *pid)
{
	trace_quiesce_death(id, party, cause, status, pid);
}
EXPORT_SYMBOL_GPL(quiesce_helper_trace_death);
