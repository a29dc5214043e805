#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fails and prints the leaks if kmemleak finds any. Skips if there is no kmemleak.

if [ ! -e /sys/kernel/debug/kmemleak ]; then
	echo "no kmemleak"
	exit 4
fi
# Objects that were freed since the last scan may be reported as leaked; scan twice.
echo scan > /sys/kernel/debug/kmemleak || exit 1
sleep 6
echo scan > /sys/kernel/debug/kmemleak || exit 1
cat /sys/kernel/debug/kmemleak > /tmp/leaks
cat /tmp/leaks
[ ! -s /tmp/leaks ]
