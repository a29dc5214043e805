#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# torture.sh: longer runs under load, and runs of mutants, which must be caught.
# TIME= minutes for each profile, PROFILE= the profiles, PART= rundown, seqlock,
# rcu, unplug (a driver's device), device (the fuzzer), faults, unload, model (on the
# host, for TIME minutes once), coverage (of the fuzzer, in profile lockdep) or all.
#
# Exit status: 0 passed, 1 a failure, 2 environment, 3 a kernel crashed, hung or
# logged a warning.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"

TIME=${TIME:-10}
PART=${PART:-all}
TABLE=$BUILD/torture.table
mkdir -p "$BUILD"

# expected PROFILE: prints the suites that must report.
expected() {
	local p
	for p in rundown seqlock rcu unplug device faults unload; do
		[ "$PART" = all ] || [ "$PART" = "$p" ] || continue
		case $p in
		device)
			echo quiesce_torture_fuzz quiesce_torture_bystander
			[ "${PROFILE_ARCH[$1]}" != x86_64 ] || echo quiesce_torture_fuzz_32
			;;
		faults) [ "${PROFILE_KIND[$1]}" != own ] || echo quiesce_torture_faults quiesce_torture_load_faults ;;
		*) echo "quiesce_torture_$p" ;;
		esac
	done
	echo quiesce_torture_end
}

run_profile() {
	local profile=$1 dir=$BUILD/$1/torture-run rc=0 traced="" ROOT
	ROOT=$("$QEMU_DIR/buildroot.sh" "${PROFILE_ROOT[$profile]}")
	KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
	"$QEMU_DIR/build.sh" "$profile" qemu/torture samples || die "profile $profile does not build"
	rm -rf "$dir"
	mkdir -p "$dir/stage/tests"
	copy_modules "$dir/stage" "$profile"
	cp "$(profile_user "$profile")"/qemu/torture/* "$(profile_user "$profile")"/samples/hotplug "$dir/stage/tests/"
	sed '/^#/d; s/ *| */|/' "$QEMU_DIR/tests/twins.steps" >"$dir/stage/twins.steps"
	echo "quiesce_torture_end no memory was left | kmemleak is in kasan-rt" >"$dir/skips"
	initramfs "$dir/initramfs" "$dir/stage"
	MEM=$(profile_memory "$profile")
	# The profile that has the irqsoff tracer fails without its figure.
	[ "$profile" != lockdep ] || traced=quiesce_irqsoff=1
	# A loaded machine, or KASAN, may take three times as long.
	TIMEOUT=$((TIME * 180 + 600)) step "Torturing $(cat "$KERNEL/release") ($profile) for about $TIME minutes" \
		boot "$dir/initramfs" "quiesce_do=torture quiesce_time=$TIME quiesce_part=$PART $traced $(profile_append "$profile")" \
		-serial "file:$dir/console.log" -serial "file:$dir/results.log" ||
		say "quiesce: QEMU ended with status $?"
	in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --profile "$profile" --console "$dir/console.log" \
		--results "$dir/results.log" --expect "$(expected "$profile" | tr '\n' ' ')" --table "$TABLE" \
		--alive "$(profile_alive "$profile")" --skips "$dir/skips" || rc=$?
	[ "$rc" != "$EX_CRASH" ] || tail -n 60 "$dir/console.log" >&2
	figures "$profile" "$dir/results.log"
	return "$rc"
}

# figures PROFILE RESULTS: what was done, in one table.
figures() {
	awk -v profile="$1" '
		function value(name,  i) {
			for (i = 1; i <= NF; i++)
				if (index($i, name "=") == 1)
					return substr($i, length(name) + 2) + 0
			return 0
		}
		/verdict=(ok|caught)/ {
			operations += value("reads") + value("writes")
			interrupts += value("hardirqs") + value("softirqs")
			delays += value("delays"); migrations += value("migrations"); storms += value("storms")
			if (/verdict=caught/) mutants++
		}
		/notices the mutant/ && /^ok/ { mutants++ }
		/figures hotplug=/ { hotplugs += value("hotplug") }
		/figures sensor:/ { unplugs += value("unplugs") }
		/figures faults:/ { faults += value("injected") }
		/figures fuzz:/ { calls += value("calls"); kills += value("kills") }
		/figures bystander:/ { fork = value("fork_us"); pollers = value("fork_us_pollers"); event = value("fork_us_eventfd"); leaders = value("fork_us_leaders"); most = value("fork_us_most"); event_most = value("fork_us_eventfd_most"); irqsoff = value("irqsoff_us"); irqsoff_event = value("irqsoff_us_eventfd") }
		/figures unload/ { loops += value("loops") }
		/figures rmmod:/ { rmmod = value("rmmod_us"); rmmod_quiesce = value("rmmod_us_quiesce"); rmmod_c = value("rmmod_us_c") }
		END {
			printf "\n%s\n", profile
			printf "  %12d operations of the primitives\n", operations
			printf "  %12d hardirqs and softirqs\n", interrupts
			printf "  %12d delays injected\n", delays
			printf "  %12d threads moved to another CPU\n", migrations
			printf "  %12d preemption storms\n", storms
			printf "  %12d times a CPU went away and came back\n", hotplugs
			printf "  %12d devices unplugged in use\n", unplugs
			printf "  %12d calls of the device fuzzed\n", calls
			printf "  %12d kills survived\n", kills
			printf "  %12d allocations made to fail\n", faults
			printf "  %12d times unloaded under load\n", loops
			printf "  %12d us: rmmod of a module that uses nothing (medians)\n", rmmod
			printf "  %12d us: the same beside a flood of deferred objects and a reader that sleeps\n", rmmod_quiesce
			printf "  %12d us: the same beside such a flood in C\n", rmmod_c
			printf "  %12d mutants noticed\n", mutants
			printf "  %12d us: longest fork of a bystander while 1024 bound parties end (medians)\n", fork
			printf "  %12d us: the same with 10^5 pollers of their group\n", pollers
			printf "  %12d us: the same with 10^5 pollers of an eventfd that becomes readable\n", event
			printf "  %12d us: the same with 1024 leaders of a completion step that end one after another\n", leaders
			printf "  %12d us: the longest fork of all these rounds\n", most
			printf "  %12d us: the longest with the pollers of the eventfd only\n", event_most
			printf "  %12d us: longest with interrupts disabled meanwhile (irqsoff; 0: no such tracer, as in all profiles but lockdep)\n", irqsoff
			printf "  %12d us: the same with the pollers of the eventfd only\n", irqsoff_event
		}' "$2"
}

# run_model: the models of src/, which need no guest, judged like a guest's suites: what
# does not come to its end has failed.
run_model() {
	local rc=0 r=0 tap=$BUILD/torture-model.tap
	TIME=$TIME "$QEMU_DIR/model/run.sh" >"$tap" || rc=$?
	grep '^not ok' -B 60 "$tap" >&2 || true
	{
		echo "# begin quiesce_torture_model"
		cat "$tap"
		printf '# end quiesce_torture_model\n# DONE suites=1\n'
	} >"$tap.framed"
	in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --profile host --console /dev/null --results "$tap.framed" \
		--expect quiesce_torture_model --table "$TABLE" || r=$?
	[ "$rc" != 0 ] || rc=$r
	return "$rc"
}

# run_coverage: the share of the device's lines that the fuzzer reaches.
run_coverage() {
	local rc=0
	"$QEMU_DIR/coverage.sh" || rc=$?
	echo "lockdep quiesce_torture_coverage $((rc == 0)) $((rc != 0)) 0 -" >>"$TABLE"
	return "$rc"
}

profiles=${PROFILE:-lockdep kasan-rt}
case $PART in
model | coverage) profiles= ;;
esac
for p in $profiles; do
	need_profile "$p"
	[ "$(expected "$p")" != quiesce_torture_end ] ||
		die "PART=$PART: there is no such part in profile $p (rundown, seqlock, rcu, unplug, device, faults in kernels of our own, unload, model, coverage, all)"
done
: >"$TABLE"
ROOT=$("$QEMU_DIR/buildroot.sh")
status=0
for p in $profiles; do
	rc=0
	strict run_profile "$p" || rc=$?
	in_table "$p" $rc
	[ $rc != "$EX_ENV" ] || exit "$EX_ENV"
	[ $rc -le $status ] || status=$rc
done

case $PART in
all | model)
	rc=0
	strict run_model || rc=$?
	in_table host $rc
	[ $rc -le $status ] || status=$rc
	;;
esac

case $PART in
all | coverage)
	rc=0
	run_coverage || rc=$?
	[ $rc -le $status ] || status=$rc
	;;
esac

echo
in_root "$ROOT" python3 "$QEMU_DIR/table.py" "$TABLE"
exit $status
