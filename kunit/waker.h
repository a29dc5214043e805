/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _QUIESCE_KUNIT_WAKER_H
#define _QUIESCE_KUNIT_WAKER_H

/* Returns a table of functions of wakers; the first waker is counted. */
const void *quiesce_waker_table(void);

#endif /* _QUIESCE_KUNIT_WAKER_H */
