#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# kunit.sh GLOB [PARAMETER...]: runs the KUnit suites whose names match. Without KUnit
# in the kernel the module has a runner of its own; see kunit/runner.c.

glob=$1
shift
if [ -e /sys/module/kunit ]; then
	# printf: a newline would become part of the glob.
	printf %s "$glob" > /sys/module/kunit/parameters/filter_glob
else
	set -- "$@" filter_glob="$glob"
fi
insmod /modules/quiesce_kunit.ko "$@"
