#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints which of the kernel's checks still work: lockdep turns itself off after its
# first complaint and kmemleak when it has no memory, and both are silent then.

alive=
[ "$(sed -n 's/^ *debug_locks: *//p' /proc/lockdep_stats 2> /dev/null)" != 1 ] || alive="$alive lockdep"
# All but "clear" is refused when it is off.
if [ -e /sys/kernel/debug/kmemleak ] && echo stack=on 2> /dev/null > /sys/kernel/debug/kmemleak; then
	alive="$alive kmemleak"
fi
[ "$(cat /sys/kernel/slab/kmalloc-64/poison 2> /dev/null)" != 1 ] || alive="$alive poison"
echo "# alive$alive"
