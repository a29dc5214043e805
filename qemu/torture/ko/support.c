// SPDX-License-Identifier: GPL-2.0
/* What the KUnit modules' support is, in this module too. */

#include "../../../kunit/support.c"
