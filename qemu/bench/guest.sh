#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the rows of the benchmark whose names begin with a word of /wanted. Counting
# instructions needs fewer rounds, as they vary little: /counting then exists. Rows of
# cost against size run only if they are asked for.

# shellcheck disable=SC2013 # names are words
wanted() {
	if [ ! -s /wanted ]; then
		case $1 in scale_*) return 1 ;; esac
		return 0
	fi
	for want in $(cat /wanted); do
		case $1 in "$want"*) return 0 ;; esac
	done
	return 1
}

# possible ROW: returns whether there are enough CPUs for the row. Rows that wait
# for grace periods measure time only, and are not counted.
possible() {
	case $1 in
	*_2cpus* | *_scaling) [ "$(nproc)" -ge 2 ] ;;
	rundown_drain* | *create_percpu) [ ! -e /counting ] ;;
	esac
}

cd /work || exit 2
# Wait until the kernel's background work after boot is done.
sleep 5
# shellcheck disable=SC3045 # busybox has it
ulimit -n 16384
echo 40000 > /proc/sys/kernel/threads-max
insmod /modules/quiesce.ko || echo "# FAILED quiesce.ko did not load"
parameters=
if [ -e /counting ]; then
	parameters="rounds=4 run_us=300 divisor=20"
	export BENCH_ROUNDS=4 BENCH_RUN_US=10000
fi
if grep -q '^scale' /wanted; then
	parameters="rounds=1 run_us=300"
	export BENCH_ROUNDS=1
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
