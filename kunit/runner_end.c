// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a module's list of KUnit suites, for runner.c: the last object that
 * Kbuild names for the module.
 */
#include <kunit/test.h>

static struct kunit_suite *last_suite[1] __used __section(".kunit_test_suites") = { NULL };
