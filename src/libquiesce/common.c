// SPDX-License-Identifier: GPL-2.0
/* Why something ended, in words. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "barrier.h"

char *quiesce_cause_text(const struct quiesce_cause *cause, char *buf, size_t size)
{
	char who[48];

	if (cause->pid)
		snprintf(who, sizeof(who), "process %d", cause->pid);
	else if (cause->party != QUIESCE_NOBODY)
		snprintf(who, sizeof(who), "party %u", cause->party);
	else
		snprintf(who, sizeof(who), "somebody");

	switch (cause->cause) {
	case QUIESCE_CAUSE_NONE:
		snprintf(buf, size, "nothing has ended");
		break;
	case QUIESCE_CAUSE_ABORT:
		snprintf(buf, size, "%s aborted with code %llu", who,
			 (unsigned long long)cause->code);
		break;
	case QUIESCE_CAUSE_TIMEOUT:
		snprintf(buf, size, "%s would not wait any longer", who);
		break;
	case QUIESCE_CAUSE_CLOSE:
		snprintf(buf, size, "%s closed its descriptor", who);
		break;
	case QUIESCE_CAUSE_EXEC:
		snprintf(buf, size, "%s executed another program", who);
		break;
	case QUIESCE_CAUSE_EXIT:
		snprintf(buf, size, "%s exited with status %d", who, cause->status);
		break;
	case QUIESCE_CAUSE_SIGNAL:
		snprintf(buf, size, "%s was killed by signal %d (%s)", who, cause->status,
			 strsignal(cause->status));
		break;
	case QUIESCE_CAUSE_UNCLAIMED:
		snprintf(buf, size, "nobody can join any more");
		break;
	default:
		snprintf(buf, size, "%s ended for reason %u", who, cause->cause);
	}
	return buf;
}
