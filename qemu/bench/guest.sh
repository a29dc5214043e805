#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the bench's rows whose name begins with what /wanted says. Counting
# instructions needs fewer rounds, as they do not vary: /counting then exists.

# shellcheck disable=SC2013 # names are words
wanted() {
	[ -s /wanted ] || return 0
	for want in $(cat /wanted); do
		case $1 in "$want"*) return 0 ;; esac
	done
	return 1
}

# possible ROW: whether there are as many CPUs as its name says. What waits for
# grace periods is about time, and not counted.
possible() {
	case $1 in
	*_2cpus* | *_scaling) [ "$(nproc)" -ge 2 ] ;;
	rundown_drain* | *create_percpu) [ ! -e /counting ] ;;
	esac
}

cd /work || exit 2
# What the kernel still does in the background after its boot is not to be counted.
sleep 5
# shellcheck disable=SC3045 # busybox has it
ulimit -n 16384
insmod /modules/quiesce.ko || echo "# FAILED quiesce.ko did not load"
parameters=
if [ -e /counting ]; then
	parameters="rounds=4 run_us=300 divisor=20"
	export BENCH_ROUNDS=4 BENCH_RUN_US=10000
fi
# shellcheck disable=SC2086 # words
insmod quiesce_bench.ko $parameters || echo "# FAILED quiesce_bench.ko did not load"
dir=/sys/kernel/debug/quiesce_bench
echo "# machine $(uname -rv), $(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
for row in "$dir"/*; do
	name=${row##*/}
	if [ "$name" = sizes ] || ! wanted "$name" || ! possible "$name"; then continue; fi
	echo "# row $name"
	cat "$row" || echo "# FAILED $name"
done
for name in $(./barrier-bench --list); do
	if ! wanted "$name" || ! possible "$name"; then continue; fi
	echo "# row $name"
	./barrier-bench "$name" || echo "# FAILED $name"
done
if [ ! -s /wanted ] && [ ! -e /counting ]; then
	cat "$dir/sizes"
	./barrier-bench --sizes || echo "# FAILED sizes"
fi
rmmod quiesce_bench || echo "# FAILED quiesce_bench.ko did not unload"
echo "# BENCH done"
