#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of `make mutants`. /plan has a line for each mutant:
#
#   NAME NUMBER LIMIT KIND:SUITE:ARGUMENTS...
#
# LIMIT is the number of seconds that a suite may take; once /took or this guest knows
# how long it takes without a mutant, it is three times that. Prints '# begins NAME SUITE'
# before each suite, and '# mutant NAME caught|survived SUITE SECONDS' at the end.

cd /work || exit 2

kunit() {
	sh /kunit.sh "$1" || return 1
	grep -q "^ok 1 $1" "/sys/kernel/debug/kunit/$1/results"
	status=$?
	[ $status = 0 ] || grep '# \|not ok' "/sys/kernel/debug/kunit/$1/results"
	rmmod quiesce_kunit || return 1
	return $status
}

steps() {
	while IFS='|' read -r name command; do
		sh -c "$command" > /tmp/step 2>&1
		case $? in
		0 | 4) ;;
		*)
			cat /tmp/step
			echo "not ok $name"
			return 1
			;;
		esac
	done < "/$1"
}

# suite KIND NAME ARGUMENTS
suite() {
	# shellcheck disable=SC2046 # words
	case $1 in
	kunit) kunit "$2" ;;
	steps) steps "$3" ;;
	user) /tests/$(echo "$3" | tr , ' ') ;;
	esac
}

# limited SECONDS COMMAND...: its status, or 124.
limited() {
	rm -f /tmp/status
	left=$(($1 * 10))
	shift
	{
		"$@" > /tmp/suite 2>&1
		echo $? > /tmp/status
	} &
	while [ ! -s /tmp/status ]; do
		left=$((left - 1))
		[ $left -gt 0 ] || return 124
		usleep 100000
	done
	return "$(cat /tmp/status)"
}

seconds() { awk -v a="$1" '{ printf "%.1f", $1 - a }' /proc/uptime; }

# limit_of SUITE LIMIT
limit_of() {
	awk -v name="$1" -v limit="$2" '$1 == name { limit = int(3 * $2 + 10) } END { print limit }' /took /tmp/took
}

damaged() {
	[ "$(sed -n 's/^ *debug_locks: *//p' /proc/lockdep_stats 2> /dev/null)" != 0 ] || return 0
	dmesg -c | grep -q 'BUG \|BUG:\|Oops\|general protection'
}

touch /took /tmp/took
while read -r mutant number limit suites; do
	export QUIESCE_MUTANT="$number"
	begin=$(cut -d' ' -f1 /proc/uptime)
	verdict=survived
	dmesg -c > /dev/null
	for what in load:load: $suites; do
		kind=${what%%:*}
		args=${what#*:}
		name=${args%%:*}
		args=${args#*:}
		echo "# begins $mutant $name"
		echo "mutants: begin $mutant $name" > /dev/kmsg
		suite_begin=$(cut -d' ' -f1 /proc/uptime)
		most=$(limit_of "$name" "$limit")
		case $kind in
		load) limited "$most" insmod /modules/quiesce.ko mutant="$number" ;;
		*)
			# quiesce_load and the like load it themselves.
			[ "$name" != quiesce_load ] || rmmod quiesce
			limited "$most" suite "$kind" "$name" "$args"
			;;
		esac
		status=$?
		if [ $status != 0 ]; then
			verdict=caught
			sed 's/^/# | /' /tmp/suite | tail -n 12
			[ $status != 124 ] || name="$name hang"
			[ "$mutant" = none ] || break
			echo "# failed $name"
		fi
		[ "$mutant" = none ] || continue
		echo "$name $(seconds "$suite_begin")" >> /tmp/took
		echo "# took $(tail -n 1 /tmp/took)"
	done
	echo "# mutant $mutant $verdict $name $(seconds "$begin")"
	echo "mutants: end $mutant" > /dev/kmsg
	[ "$status" != 124 ] || break
	[ $verdict = survived ] || ! damaged || break
	for module in rust_external quiesce_torture quiesce_kunit; do
		[ ! -e /sys/module/$module ] || limited 15 rmmod $module || break 2
	done
	sh /unused.sh > /dev/null
	limited 20 rmmod quiesce || break
done < /plan
