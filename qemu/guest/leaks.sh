#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fails, and prints them, if kmemleak finds leaks. Where there is no kmemleak, skips.

if [ ! -e /sys/kernel/debug/kmemleak ]; then
	echo "no kmemleak"
	exit 4
fi
# What was just freed is seen as leaked until a scan finds it gone.
echo scan > /sys/kernel/debug/kmemleak || exit 1
sleep 6
echo scan > /sys/kernel/debug/kmemleak || exit 1
cat /sys/kernel/debug/kmemleak > /tmp/leaks
cat /tmp/leaks
[ ! -s /tmp/leaks ]
