// SPDX-License-Identifier: GPL-2.0
#include <linux/export.h>

#include "waker.h"

EXPORT_SYMBOL_GPL(quiesce_waker_table);
