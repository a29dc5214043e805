#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the suites of one profile. Each suite is one KTAP document between the
# lines '# begin NAME' and '# end NAME'; the last line is '# DONE suites=N'.
#
# /plan has a line for each thing to do, in order; see test.sh on the host. A program that
# has not ended by itself after LIMIT seconds is killed, and its document is truncated. After one of
# them the slowest profile still has time for the rest.

LIMIT=600
suites=0
# Scanned at the end, by leaks.sh: a scan in the middle of a test reports what only a register
# refers to.
[ ! -e /sys/kernel/debug/kmemleak ] || echo scan=off > /sys/kernel/debug/kmemleak
cd /work || exit 2

begin() { echo "# begin $1"; start=$(cut -d' ' -f1 /proc/uptime); }
end() {
	echo "# seconds $(awk -v a="$start" '{ printf "%.1f", $1 - a }' /proc/uptime)"
	echo "# end $1"
	suites=$((suites + 1))
}

# limited COMMAND...: runs it; the console has a line if it is killed.
limited() {
	status=0
	timeout -s KILL "$LIMIT" "$@" || status=$?
	[ "$status" != 137 ] || echo "quiesce: killed after $LIMIT s: $*" > /dev/kmsg
}

# tap COMMAND "NAME": one test point of the document that is open. Status 4 is a skip,
# as in kselftest.
tap() {
	n=$((n + 1))
	limited sh -c "$1" > /tmp/out 2>&1
	case $status in
	0) echo "ok $n - $2" ;;
	4) echo "ok $n - $2 # SKIP $(tail -n 1 /tmp/out)" ;;
	*)
		sed 's/^/# /' /tmp/out
		echo "not ok $n - $2"
		;;
	esac
}

while read -r what suite args; do
	case $what in
	kunit)
		sh /kunit.sh "$args"
		for dir in /sys/kernel/debug/kunit/quiesce_*; do
			[ -e "$dir/results" ] || continue
			echo "# begin ${dir##*/}"
			cat "$dir/results"
			echo "# end ${dir##*/}"
			suites=$((suites + 1))
		done
		rmmod quiesce_kunit
		;;
	user)
		begin "$suite"
		# shellcheck disable=SC2086 # words
		limited /tests/$args
		echo "# status $status"
		end "$suite"
		;;
	steps)
		begin "$suite"
		echo "KTAP version 1"
		echo "1..$(grep -c . "/$args")"
		n=0
		while IFS='|' read -r name command; do
			tap "$command" "$name"
		done < "/$args"
		end "$suite"
		;;
	esac
done < /plan

sh /alive.sh
echo "# DONE suites=$suites"
