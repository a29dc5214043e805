// SPDX-License-Identifier: GPL-2.0
/* The KUnit modules' support code, compiled into this module too. */

#include "../../../kunit/support.c"
