#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Waits until nobody uses quiesce.ko: the kernel closes the last file that was sent
# over a socket, or that io_uring had, some time after the process has ended.

refcnt=/sys/module/quiesce/refcnt
for _ in $(seq 100); do
	[ "$(cat $refcnt)" != 0 ] || exit 0
	usleep 100000
done
echo "still used: $(cat $refcnt) times, by $(ls /sys/module/quiesce/holders)"
exit 1
