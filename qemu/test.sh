#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# test.sh: builds, boots and judges every profile, prints a table and the line
# 'N passed, M failed'. PROFILE= names the profiles, SUITE= the suites by prefix.
#
# A guest leaves about one processor idle. Two of them run at a time, if there are two
# processors and memory for that (GUESTS= sets how many), and beside them the profiles
# that follow are built and, with a lower priority, the suites run that need no guest.
#
# Exit status: 0 passed, 1 tests failed, 2 environment, 3 a kernel crashed, hung or
# complained.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"

SUITE=${SUITE:-}
TABLE=$BUILD/results.table
mkdir -p "$BUILD"

wanted() { [[ $1 == "$SUITE"* ]]; }

# in_run PROFILES: whether the run has one of these profiles, which have commas between them.
in_run() {
	local p
	for p in ${PROFILE:-$DEFAULT_PROFILES}; do
		[[ ,$1, != *",$p,"* ]] || return 0
	done
	return 1
}

# listed KIND: the lines of qemu/suites of that kind that hold for the profile, without
# kind and profiles. In a short profile 'all' is about kunit suites only. A suite on the
# host of some profiles is one of a run that has one of them.
listed() {
	local kind=$1 k profiles rest
	while read -r k profiles rest; do
		[ "$k" = "$kind" ] || continue
		[ "$profiles" != x86 ] || [ "${PROFILE_ARCH[$profile]:-}" != x86_64 ] || profiles=all
		case ,$profiles, in
		*",$profile,"*) ;;
		*,all,*) [ "$kind" = kunit ] || [[ " $SHORT_PROFILES " != *" $profile "* ]] || continue ;;
		*) { [[ $kind = @(host|after) ]] && in_run "$profiles"; } || continue ;;
		esac
		printf '%s\n' "$rest"
	done < <(grep -v '^#' "$QEMU_DIR/suites")
}

# suites KIND: those of the listed ones that are wanted; 'NAME rest of line' each.
suites() {
	local name rest
	while read -r name rest; do
		! wanted "$name" || printf '%s %s\n' "$name" "$rest"
	done < <(listed "$1")
}

names() { cut -d' ' -f1 | sort -u; }

# guest_suites: whether SUITE chooses anything that runs in a guest of the profile.
guest_suites() {
	local kind
	for kind in kunit user python steps splats; do
		[ -z "$(suites $kind)" ] || return 0
	done
	wanted quiesce_load || wanted quiesce_unload
}

# plan STAGE: writes the guest's tasks to /plan. Prints the suites that must report.
plan() {
	local stage=$1 name rest
	: >"$stage/plan"
	mkdir -p "$stage/tests"
	# The module is always loaded before the suites and unloaded after them.
	steps "$stage" quiesce_load load.steps
	kunit_globs >>"$stage/plan"
	suites kunit | names
	while read -r name rest; do
		cp "$user"/qemu/*/"${rest%% *}" "$stage/tests/"
		printf 'user %s %s\n' "$name" "$rest" >>"$stage/plan"
		echo "$name"
	done < <(suites user)
	[ -z "$(suites python)" ] || copy_python "$stage"
	while read -r name rest; do
		printf 'user %s run_python %s\n' "$name" "$rest" >>"$stage/plan"
		echo "$name"
	done < <(suites python)
	while read -r name rest; do
		steps "$stage" "$name" "$rest"
	done < <(suites steps)
	steps "$stage" quiesce_unload unload.steps
}

# kunit_globs: one glob if the profile runs all suites of the module that it matches, and
# one for each suite if not: what is not listed for a profile must not run there.
kunit_globs() {
	local name
	[ -n "$(suites kunit)" ] || return 0
	if [ "$(suites kunit | names)" = "$(awk '$1 == "kunit" { print $3 }' "$QEMU_DIR/suites" | grep "^$SUITE" | sort -u)" ]; then
		printf 'kunit - %s*\n' "${SUITE:-quiesce_}"
		return
	fi
	for name in $(suites kunit | names); do printf 'kunit - %s\n' "$name"; done
}

# steps STAGE SUITE FILE: a suite whose tests are shell commands, one a line. They find
# the programs in /tests that they name.
steps() {
	local program
	while read -r program; do
		cp "$user"/qemu/*/"$program" "$1/tests/"
	done < <(sed -n '/^#/!p' "$QEMU_DIR/tests/$3" | grep -o '/tests/[a-z_0-9]*' | sort -u | sed 's|.*/||')
	sed -n '/^#/d; s/ *| */|/p' "$QEMU_DIR/tests/$3" >"$1/$3"
	printf 'steps %s %s\n' "$2" "$3" >>"$1/plan"
	echo "$2"
}

run_profile() {
	local profile=$1 stage expect name file user r rc=0
	ROOT=$("$QEMU_DIR/buildroot.sh" "${PROFILE_ROOT[$profile]}")
	KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
	user=$(profile_user "$profile")
	stage=$BUILD/$profile/stage
	rm -rf "$stage"
	mkdir -p "$stage"
	copy_modules "$stage" "$profile"
	copy_tool "$stage" "$profile"
	cp -r "$user/samples" "$stage/samples"
	cp "$TOP/samples/words.txt" "$stage/samples/"
	expect=$(plan "$stage" | tr '\n' ' ')
	initramfs "$BUILD/$profile/initramfs" "$stage"
	: >"$BUILD/$profile/console.log"
	: >"$BUILD/$profile/results.log"
	# KASAN's shadow takes an eighth of the memory.
	MEM=$(profile_memory "$profile")
	# Some minutes on a machine that has nothing else to do.
	TIMEOUT=${TIMEOUT:-3600} step "Testing in profile $profile ($(cat "$KERNEL/release"))" \
		boot "$BUILD/$profile/initramfs" "quiesce_do=test $(profile_append "$profile")" \
		-serial "file:$BUILD/$profile/console.log" -serial "file:$BUILD/$profile/results.log" ||
		say "quiesce: QEMU ended with status $?"
	judge --profile "$profile" --console "$BUILD/$profile/console.log" \
		--results "$BUILD/$profile/results.log" --expect "$expect" \
		--alive "$(profile_alive "$profile")" || rc=$?
	if [ "$rc" = "$EX_CRASH" ]; then
		say "--- the end of $BUILD/$profile/console.log:"
		tail -n 60 "$BUILD/$profile/console.log" >&2
		say "--- what took time in $BUILD/$profile/results.log, and its end:"
		slowest "$BUILD/$profile/results.log" >&2
		tail -n 5 "$BUILD/$profile/results.log" >&2
	fi
	while read -r name file; do
		r=0
		step "Provoking complaints in profile $profile: $name" splats_to "$BUILD/$profile/$name.tap" "$name" "$file"
		host "$name" "$BUILD/$profile/$name.tap" "$profile" || r=$?
		[ "$r" -le "$rc" ] || rc=$r
	done < <(suites splats)
	return "$rc"
}

# slowest FILE: the suites of a guest that took the longest.
slowest() {
	awk '$2 == "begin" { name = $3 } $2 == "seconds" { print $3, name }' "$1" | sort -rn | head -n 6
}

splats_to() {
	local out=$1
	shift
	splats "$@" >"$out"
}

# splats SUITE FILE: a suite whose tests are warnings that a debugging kernel must
# print, one per line: name | regex | command. lockdep disables itself after its first
# warning, so each test has a separate boot.
splats() {
	local suite=$1 name regex command n=0 dir=$BUILD/$profile/splats
	rm -rf "$dir"
	mkdir -p "$dir"
	cp -r "$BUILD/$profile/stage" "$dir/stage"
	rm -rf "$dir/stage/usr"
	echo mark >"$dir/stage/mark"
	sed '/^#/d; s/ *| */|/g' "$QEMU_DIR/tests/$2" >"$dir/splats"
	echo "KTAP version 1"
	echo "1..$(grep -c . "$dir/splats")"
	while IFS='|' read -r name regex command; do
		n=$((n + 1))
		printf '%s\n' "$command" >"$dir/stage/command"
		initramfs "$dir/initramfs" "$dir/stage"
		TIMEOUT=400 boot "$dir/initramfs" quiesce_do=run -serial "file:$dir/console.$n" \
			-serial "file:$dir/output.$n" || true
		# Nothing else may be complained about.
		if grep -qE "$regex" "$dir/console.$n" && grep -q '^mark ' "$dir/output.$n" &&
			judge --console-only --announced "$regex" --console "$dir/console.$n" --results /dev/null | sed 's/^/# /'; then
			echo "ok $n - $name"
		else
			tail -n 30 "$dir/console.$n" | sed 's/^/# /'
			echo "not ok $n - $name"
		fi
	done <"$dir/splats"
}

# judge ARG...: runs judge.py with the table and the skips that the profile allows.
judge() {
	listed skip >"$BUILD/skips.$profile"
	in_root "$ROOT" python3 "$QEMU_DIR/judge.py" "$@" --skips "$BUILD/skips.$profile" --table "$TABLE"
}

# host SUITE FILE [PROFILE]: takes the KTAP document in FILE into the table, judged
# like a guest's.
host() {
	local suite=$1 file=$2 rc=0
	{
		echo "# begin $suite"
		cat "$file"
		printf '# end %s\n# DONE suites=1\n' "$suite"
	} >"$file.framed"
	judge --profile "${3:-host}" --console /dev/null --results "$file.framed" \
		--expect "$suite" || rc=$?
	return "$rc"
}

# run_host KIND: the suites on the host: those that need no guest, "host", or those that
# read what the guests wrote, "after".
run_host() {
	local kind=$1 name command rc=0 r profile=host
	# Suites that inspect built modules use those of the first profile; suites that read
	# the guests' logs use every profile.
	export profiles=${PROFILE:-$DEFAULT_PROFILES}
	export first=${profiles%% *}
	while read -r name command; do
		r=0
		step "Running $name" bash -c "cd \"\$0\" && { $command; } >\"\$1\"" "$TOP" "$BUILD/$name.tap" || r=$?
		printf '\n# status %s\n' "$r" >>"$BUILD/$name.tap"
		r=0
		host "$name" "$BUILD/$name.tap" || r=$?
		[ "$r" -le "$rc" ] || rc=$r
	done < <(suites "$kind")
	return "$rc"
}

# low COMMAND...: runs it with a lower priority.
low() {
	renice -n 5 -p "$BASHPID" >/dev/null
	"$@"
}

# beside LOG COMMAND...: runs a shell function in a process group of its own. Sets $last to
# its number.
beside() {
	local log=$1
	shift
	set -m
	strict "$@" >"$log" 2>&1 </dev/null &
	set +m
	last=$!
	groups+=("$last")
}

end_groups() {
	local pid
	for pid in "${groups[@]}"; do kill -- -"$pid" 2>/dev/null || true; done
}

# guests_at_a_time: how many guests run at a time if GUESTS does not say it.
guests_at_a_time() {
	local mb
	mb=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo)
	if [ "$(nproc)" -ge 2 ] && [ "$mb" -ge 6000 ]; then echo 2; else echo 1; fi
}

# collect: waits until one of the guests has ended, and prints what it had to say.
collect() {
	local p n rc=0 names=()
	for p in "${ran[@]}"; do [ -z "${guest[$p]:-}" ] || names+=("$p"); done
	step "Testing in ${names[*]}" one_has_ended "${guest[@]}"
	for p in "${names[@]}"; do
		! kill -0 "${guest[$p]}" 2>/dev/null || continue
		n=${guest[$p]}
		unset "guest[$p]"
		wait "$n" || rc=$?
		cat "$(guest_log "$p")" >&2
		ended "$p" "$rc"
		return
	done
}

one_has_ended() {
	local pid
	while true; do
		for pid; do kill -0 "$pid" 2>/dev/null || return 0; done
		sleep 0.2
	done
}

guest_log() { printf '%s/logs/guest-%s.log\n' "$BUILD" "$1"; }

# ended PROFILE STATUS: takes the status of a profile's run into that of all.
ended() {
	in_table "$1" "$2"
	[ "$2" != "$EX_ENV" ] || exit "$EX_ENV"
	[ "$2" -le "$status" ] || status=$2
}

# any_suite: whether SUITE chooses anything at all; what it misspells would pass otherwise.
any_suite() {
	local profile
	for profile in ${PROFILE:-$DEFAULT_PROFILES}; do
		! guest_suites || return 0
	done
	profile=host
	[ -n "$(suites host)$(suites after)" ]
}

for p in ${PROFILE:-$DEFAULT_PROFILES}; do need_profile "$p"; done
any_suite || die "SUITE=$SUITE: no suite of ${PROFILE:-$DEFAULT_PROFILES} is called so (qemu/suites lists them)"
ROOT=$("$QEMU_DIR/buildroot.sh")
# Remove the results of earlier runs.
rm -f "$BUILD"/*/results.log "$BUILD"/*.tap "$BUILD"/*.tap.framed
: >"$TABLE"
ran=()
for profile in ${PROFILE:-$DEFAULT_PROFILES}; do
	if guest_suites; then
		ran+=("$profile")
	else
		say "[$(stamp)] Nothing of SUITE=$SUITE runs in profile $profile"
	fi
done
profile=host
on_host=$(suites host)
groups=()
trap end_groups EXIT
hosts=
status=0
declare -A guest=()
GUESTS=${GUESTS:-$(guests_at_a_time)}
for p in "${ran[@]}"; do
	rc=0
	profile=$p
	"$QEMU_DIR/build.sh" "$p" || {
		say "quiesce: profile $p does not build"
		ended "$p" "$EX_ENV"
	}
	# Some suites on the host use the first profile's modules.
	if [ "$p" = "${ran[0]}" ] && [ -n "$on_host" ]; then
		beside "$BUILD/logs/host.log" low run_host host
		hosts=$last
	fi
	if [ "${#ran[@]}" = 1 ]; then
		strict run_profile "$p" || rc=$?
		ended "$p" $rc
		continue
	fi
	[ "${#guest[@]}" -lt "$GUESTS" ] || collect
	beside "$(guest_log "$p")" run_profile "$p"
	guest[$p]=$last
done
while [ "${#guest[@]}" != 0 ]; do collect; done
rc=0
if [ -n "$hosts" ]; then
	step "Waiting for the suites that run beside the guests" tail --pid="$hosts" -f /dev/null
	wait "$hosts" || rc=$?
	cat "$BUILD/logs/host.log" >&2
else
	strict run_host host || rc=$?
fi
in_table host $rc
[ "$rc" -le "$status" ] || status=$rc
rc=0
strict run_host after || rc=$?
in_table host $rc
# The line at the end counts real results: a profile without any counts as a failure.
for p in "${ran[@]}"; do
	if ! grep -q "^$p " "$TABLE"; then
		echo "$p (harness) 0 1 0 -" >>"$TABLE"
		[ "$status" != 0 ] || status=$EX_TESTS
	fi
done
[ "$rc" -le "$status" ] || status=$rc

echo
in_root "$ROOT" python3 "$QEMU_DIR/table.py" "$TABLE" --html "$BUILD/results.html"
exit "$status"
