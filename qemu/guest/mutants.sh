#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of `make mutants`. /plan has a line for each mutant:
#
#   NAME NUMBER LIMIT KIND:SUITE:ARGUMENTS...
#
# LIMIT is the number of seconds that a suite may take; once /took or this guest knows
# how long it takes without a mutant, it is three times that, and so is the time in which
# no test of it ends. Prints '# begins NAME SUITE'
# before each suite, and '# mutant NAME caught|survived SUITE SECONDS TEST' at the end. The
# suites of a mutant are run in the order of the time that they take without one. A line
# of the mutant "none", whose suites must pass, runs all of them; the time of one that
# failed is not noted.
#
# What one mutant has damaged must not be blamed on the next one: the guest ends after a
# survivor, and when the kernel has complained. If that is in the run of another mutant
# than the first one, '# again NAME' is printed instead of its verdict, unless the plan is
# a sample's (/sample).

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

# limited SECONDS QUIET COMMAND...: its status, or 124 after so many seconds, or QUIET
# seconds in which no test ended. Sets $longest to the seconds of the longest such time.
limited() {
	rm -f /tmp/status
	: > /tmp/suite
	left=$(($1 * 10)) quiet=$(($2 * 10))
	longest=0 silence=0 seen=
	shift 2
	{
		"$@" > /tmp/suite 2>&1
		echo $? > /tmp/status
	} &
	while [ ! -s /tmp/status ]; do
		left=$((left - 1)) silence=$((silence + 1))
		[ $left -gt 0 ] && [ $silence -lt $quiet ] || return 124
		# The host ends a guest that prints nothing for too long.
		[ $((left % 300)) != 0 ] || echo '# still running'
		usleep 100000
		[ $((silence % 10)) = 0 ] || continue
		[ $longest -ge $silence ] || longest=$silence
		ended=$({
			dmesg
			cat /tmp/suite
		} | grep -c 'ok [0-9]')
		[ "$ended" = "$seen" ] || silence=0 seen=$ended
	done
	longest=$((longest / 10 + 1))
	return "$(cat /tmp/status)"
}

seconds() { awk -v a="$1" '{ printf "%.1f", $1 - a }' /proc/uptime; }

# limits_of SUITE LIMIT: the limits of the time that it takes, and of that in which no
# test of it ends.
limits_of() {
	awk -v name="$1" -v limit="$2" '
		BEGIN { quiet = limit }
		$1 == name { limit = int(3 * $2 + 10); quiet = $3 ? int(3 * $3 + 10) : limit }
		END { print limit, quiet }' /took /tmp/took
}

# quickest_first KIND:SUITE:ARGUMENTS...: sorted; those that take the same time, and those
# that have not run yet, as they are.
quickest_first() {
	echo "$@" | tr ' ' '\n' | awk '
		NF > 1 { took[$1] = $2 }
		NF == 1 { split($1, a, ":"); print took[a[2]] + 0, NR, $1 }' /took /tmp/took - |
		sort -n -k 1,1 -k 2,2 | cut -d ' ' -f 3
}

damaged() {
	[ "$(sed -n 's/^ *debug_locks: *//p' /proc/lockdep_stats 2> /dev/null)" != 0 ] || return 0
	dmesg -c | grep -q 'BUG \|BUG:\|Oops\|general protection'
}

touch /took /tmp/took
judged=0
while read -r mutant number limit suites; do
	export QUIESCE_MUTANT="$number"
	begin=$(cut -d' ' -f1 /proc/uptime)
	verdict=survived failed=
	dmesg -c > /dev/null
	# shellcheck disable=SC2046,SC2086 # words
	for what in load:load: $(quickest_first $suites); do
		kind=${what%%:*}
		args=${what#*:}
		name=${args%%:*}
		args=${args#*:}
		echo "# begins $mutant $name"
		echo "mutants: begin $mutant $name" > /dev/kmsg
		suite_begin=$(cut -d' ' -f1 /proc/uptime)
		limits=$(limits_of "$name" "$limit")
		# shellcheck disable=SC2086 # two words
		case $kind in
		load) limited $limits insmod /modules/quiesce.ko mutant="$number" ;;
		*)
			# quiesce_load and the like load it themselves.
			[ "$name" != quiesce_load ] || rmmod quiesce
			limited $limits suite "$kind" "$name" "$args"
			;;
		esac
		status=$?
		if [ $status != 0 ]; then
			verdict=caught
			sed 's/^/# | /' /tmp/suite | tail -n 12
			[ "$mutant" = none ] || break
			echo "# failed $name"
			failed="$failed $name"
			[ $status != 124 ] || break
			continue
		fi
		[ "$mutant" = none ] || continue
		echo "$name $(seconds "$suite_begin") $longest" >> /tmp/took
		echo "# took $(tail -n 1 /tmp/took)"
	done
	echo "mutants: end $mutant" > /dev/kmsg
	[ -z "$failed" ] || name=${failed##* }
	test=$(sed -n 's/^ *not ok [0-9]* *-* *//p' /tmp/suite | head -n 1 | tr ' ' _)
	[ "$status" != 124 ] || name="$name hang"
	over=
	# What the suites provoke on purpose is there without a mutant too.
	[ "$mutant" = none ] || ! damaged || over=1
	[ "$status" != 124 ] || [ "$mutant" = none ] || over=1
	if [ -n "$over" ] && [ $judged -gt 0 ] && [ ! -e /sample ]; then
		echo "# again $mutant"
		break
	fi
	echo "# mutant $mutant $verdict $name $(seconds "$begin") $test"
	[ "$status" != 124 ] || break
	[ -z "$over" ] || break
	if [ "$mutant" != none ]; then
		[ $verdict = caught ] || break
		judged=$((judged + 1))
	fi
	for module in rust_external quiesce_torture quiesce_kunit; do
		[ ! -e /sys/module/$module ] || limited 15 15 rmmod $module || break 2
	done
	sh /unused.sh > /dev/null
	limited 20 20 rmmod quiesce || break
done < /plan
