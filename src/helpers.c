// SPDX-License-Identifier: GPL-2.0

#include <linux/export.h>
#include <linux/sched.h>
#include <linux/wait_bit.h>

#include "helpers.h"

/* rundown */

void quiesce_helper_wait_var_event_zero(unsigned long *word)
{
	wait_var_event(word, !READ_ONCE(*word));
}
EXPORT_SYMBOL_GPL(quiesce_helper_wait_var_event_zero);

/* seqlock */

/* rcu */

/* device */
