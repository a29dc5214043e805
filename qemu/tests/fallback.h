/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of libquiesce that are built a second time with QUIESCE_FALLBACK:
 * they run without the device, on the host, and with it in the VM, where its
 * absence has to be asked for.
 */
#ifndef _QUIESCE_TESTS_FALLBACK_H
#define _QUIESCE_TESTS_FALLBACK_H

#include "barrier.h"

#ifdef QUIESCE_FALLBACK
#define FALLBACK 1

static inline int create_without_device(Barrier *b)
{
	if (access(QUIESCE_DEVICE, F_OK) == 0)
		return barrier_create_at(b, BARRIER_NO_DEVICE);
	return barrier_create(b);
}

#define barrier_create(b) create_without_device(b)
#else
#define FALLBACK 0
#endif

#endif /* _QUIESCE_TESTS_FALLBACK_H */
