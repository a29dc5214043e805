/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/quiesce: barriers between processes.
 */
#ifndef _UAPI_QUIESCE_H
#define _UAPI_QUIESCE_H

#include <linux/types.h>
#include <linux/ioctl.h>

/* The version of this interface. */
#define QUIESCE_VERSION 1

#endif /* _UAPI_QUIESCE_H */
