#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the bench's rows whose name begins with what /wanted says.

# shellcheck disable=SC2013 # names are words
wanted() {
	[ -s /wanted ] || return 0
	for want in $(cat /wanted); do
		case $1 in "$want"*) return 0 ;; esac
	done
	return 1
}

cd /work || exit 2
# shellcheck disable=SC3045 # busybox has it
ulimit -n 16384
insmod /modules/quiesce.ko || echo "# FAILED quiesce.ko did not load"
insmod quiesce_bench.ko || echo "# FAILED quiesce_bench.ko did not load"
dir=/sys/kernel/debug/quiesce_bench
echo "# machine $(uname -rv), $(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
for row in "$dir"/*; do
	name=${row##*/}
	if [ "$name" = sizes ] || ! wanted "$name"; then continue; fi
	echo "# row $name"
	cat "$row" || echo "# FAILED $name"
done
for name in $(./barrier-bench --list); do
	wanted "$name" || continue
	echo "# row $name"
	./barrier-bench "$name" || echo "# FAILED $name"
done
if [ ! -s /wanted ]; then
	cat "$dir/sizes"
	./barrier-bench --sizes || echo "# FAILED sizes"
fi
rmmod quiesce_bench || echo "# FAILED quiesce_bench.ko did not unload"
echo "# BENCH done"
