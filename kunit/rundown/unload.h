/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _QUIESCE_KUNIT_UNLOAD_H
#define _QUIESCE_KUNIT_UNLOAD_H

/* Of the holder, for the creator: takes a box with a guard and a callback's counter. */
void quiesce_kunit_unload_hold(void *held);
/* The Rust half of the holder. */
void quiesce_kunit_unload_keep(void *held);

#endif /* _QUIESCE_KUNIT_UNLOAD_H */
