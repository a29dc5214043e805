#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Loads quiesce.ko and runs one command, or a shell; its status is printed for the
# host, after a marker that the host has chosen.

insmod /modules/quiesce.ko || echo "quiesce.ko did not load"
cd /work || exit 2
if [ -e /interactive ]; then
	# The console itself, so that the kernel's messages are seen too.
	tty=/dev/ttyS0
	[ ! -e /dev/ttyAMA0 ] || tty=/dev/ttyAMA0
	setsid sh -c "exec sh -l <$tty >$tty 2>&1"
	exit
fi
sh /command
status=$?
printf '\n%s %s\n' "$(cat /mark)" "$status"
