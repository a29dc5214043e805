/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _QUIESCE_KUNIT_CAPI_H
#define _QUIESCE_KUNIT_CAPI_H

#include <linux/types.h>

int quiesce_kunit_capi_word(void);
int quiesce_kunit_capi_bad_counts(void);
int quiesce_kunit_capi_signals(void);
int quiesce_kunit_capi_atomic(void);
int quiesce_kunit_capi_freed_after_every_wait(unsigned int rounds);
int quiesce_kunit_capi_statics(void);
int quiesce_kunit_capi_cache_aware(void);
int quiesce_kunit_capi_over_release(bool run_down);
void quiesce_kunit_capi_re_init_too_early(void);
void quiesce_kunit_capi_completed_too_early(void);
int quiesce_kunit_capi_freed_after_wait(unsigned int rounds);

#endif /* _QUIESCE_KUNIT_CAPI_H */
