/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C side of what the kernel has only as macros and inline functions. bindgen
 * reads this file, so that no prototype is written twice.
 */
#ifndef _QUIESCE_HELPERS_H
#define _QUIESCE_HELPERS_H

#include <linux/types.h>

/* rundown */
void quiesce_helper_wait_var_event_zero(unsigned long *word);

/* seqlock */

/* rcu */

/* device */

#endif /* _QUIESCE_HELPERS_H */
