// SPDX-License-Identifier: GPL-2.0

#include <linux/pid.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"
