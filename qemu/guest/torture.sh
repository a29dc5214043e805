#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The torture runs of one profile. The kernel command line gives the minutes and the
# part; the host expects suites in the format of test.sh, and lines '# figures'.

# shellcheck disable=SC2154 # on the kernel command line
minutes=$quiesce_time part=$quiesce_part
suites=0
fault=/sys/module/quiesce_torture/parameters/fault
cpu1=/sys/devices/system/cpu/cpu1/online
cd /work || exit 2

wanted() { [ "$part" = all ] || [ "$part" = "$1" ]; }

begin() {
	echo "# begin quiesce_torture_$1"
	start=$(cut -d' ' -f1 /proc/uptime)
	n=0
}

end() {
	[ "$2" = ktap ] || echo "1..$n"
	echo "# seconds $(awk -v a="$start" '{ printf "%.1f", $1 - a }' /proc/uptime)"
	echo "# end quiesce_torture_$1"
	suites=$((suites + 1))
}

# tap "NAME" command...: one test point of the document that is open.
tap() {
	n=$((n + 1))
	name=$1
	shift
	status=0
	"$@" > /tmp/out 2>&1 || status=$?
	sed 's/^/# /' /tmp/out
	case $status in
	0) echo "ok $n - $name" ;;
	4) echo "ok $n - $name # SKIP $(tail -n 1 /tmp/out)" ;;
	*) echo "not ok $n - $name" ;;
	esac
}

# Takes the second CPU offline and online repeatedly.
hotplug() {
	[ -w $cpu1 ] || return 0
	times=0
	while [ ! -e /tmp/stop ]; do
		echo 0 > $cpu1 2> /dev/null
		usleep 300000
		echo 1 > $cpu1 2> /dev/null
		usleep 700000
		times=$((times + 1))
		echo "figures hotplug=$times" > /tmp/hotplug
	done
}

with_hotplug() {
	rm -f /tmp/stop
	hotplug &
	"$@"
	r=$?
	touch /tmp/stop
	wait
	cat /tmp/hotplug 2> /dev/null
	return $r
}

refused() { ! "$@"; }

# Loads and unloads with users attached and at work, for some seconds.
unload_loop() {
	seconds=$1 loops=0
	until=$(($(cut -d. -f1 /proc/uptime) + seconds))
	while [ "$(cut -d. -f1 /proc/uptime)" -lt $until ]; do
		insmod /modules/quiesce_torture.ko || return 1
		insmod /modules/rust_external.ko || return 1
		/tests/fuzz --part concurrent --calls 2000 > /tmp/fuzz.out &
		pid=$!
		sh /torture-part.sh rcu none 1 > /dev/null &
		usleep 300000
		refused rmmod quiesce 2> /dev/null || return 1
		wait $pid || { cat /tmp/fuzz.out; return 1; }
		echo flood > $fault || return 1
		# Waits for the part that is at work, and for what is deferred.
		rmmod quiesce_torture || return 1
		wait
		refused rmmod quiesce 2> /dev/null || return 1
		rmmod rust_external || return 1
		sh /unused.sh || return 1
		rmmod quiesce || return 1
		insmod /modules/quiesce.ko || return 1
		loops=$((loops + 1))
	done
	echo "figures unload loops=$loops"
	[ $loops -gt 0 ]
}

# In seconds; four runs have a half of the time.
each=$((minutes * 60 / 8))
insmod /modules/quiesce.ko || exit 2
insmod /modules/quiesce_torture.ko || exit 2

for p in rundown seqlock rcu; do
	wanted $p || continue
	begin $p
	tap "$p" with_hotplug sh /torture-part.sh $p none $each
	[ $p != rundown ] || tap "$p per CPU" with_hotplug sh /torture-part.sh $p percpu $each
	[ $p != rundown ] || tap "$p of data" with_hotplug sh /torture-part.sh $p data $((each / 2))
	# A mutant runs for at most one minute.
	while IFS='|' read -r name command; do
		case $command in *"sh /torture-part.sh $p "*) tap "${name% }" sh -c "$command" ;; esac
	done < /twins.steps
	end $p
done

# A device is unplugged in use; the baselines are drivers with the kernel's own means.
if wanted unplug; then
	begin unplug
	unplugs=$((minutes < 10 ? minutes * 200 : 10000))
	for driver in rust_sensor rust_sensor_revocable c_sensor; do
		insmod /modules/$driver.ko || exit 2
		tap "$driver: $unplugs times unplugged under 8 users" /tests/hotplug $unplugs 8
		tap "$driver is unloaded" rmmod $driver
		unplugs=100
	done
	end unplug
fi

if wanted device; then
	for bits in "" _32; do
		calls=$((minutes * 80000))
		[ -z $bits ] || calls=$((minutes * 20000))
		[ -e "/tests/fuzz$bits" ] || continue
		begin "fuzz$bits"
		"/tests/fuzz$bits" --calls $calls
		echo "# status $?"
		end "fuzz$bits" ktap
	done
	begin bystander
	tap "a process's exit delays no stranger" /tests/bystander ${quiesce_irqsoff:+--irqsoff}
	end bystander
fi

if wanted faults && [ -d /sys/kernel/debug/failslab ]; then
	begin faults
	/tests/faults
	echo "# status $?"
	end faults ktap
fi

rmmod quiesce_torture
if wanted unload; then
	begin unload
	tap "unloads under load" unload_loop $((each / 2 + 1))
	# A kernel with debugging takes long for each.
	objects=1000000
	[ ! -d /sys/kernel/debug/failslab ] || objects=100000
	tap "objects of one module do not delay rmmod of another" /tests/rmmod $objects
	end unload
fi

if wanted faults && [ -d /sys/kernel/debug/failslab ]; then
	begin load_faults
	tap "quiesce.ko unloads" rmmod quiesce
	# All of them from ten minutes on.
	stride=$((minutes < 10 ? 10 / minutes : 1))
	tap "quiesce.ko loads, each allocation failing once" \
		/tests/faults --stride $stride --module /modules/quiesce.ko
	tap "quiesce.ko loads" insmod /modules/quiesce.ko
	end load_faults
fi

begin end
tap "nothing uses quiesce.ko" sh /unused.sh
tap "quiesce.ko unloads" rmmod quiesce
tap "no memory was left" sh /leaks.sh
end end
sh /alive.sh
echo "# DONE suites=$suites"
