#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# mutants.sh [build|run|report] [ktap]: mutants of the sources (qemu/mutants), each of
# which the tests must notice. PART= tables or mutants, PROFILE= the kernels, stock and
# lockdep if it is not set. SAMPLE= how many of those for the stock kernel: they are
# chosen by a hash of their names and the sources, so that each state of the sources is
# tested with others. SECONDS_MAX= ends each profile's runs, for a sample after 180, or
# after twice that if fewer than a half of it have a verdict.
#
# All mutants of the module and of user space are in one build, but for the Rust programs
# and Python where no suite of the mutants needs them. A guest loads the
# module once for each mutant, and runs the suites that the table names until one
# fails. After a crash or a hang, another guest goes on with the next one. First,
# without a mutant, the same suites have to pass; and after a suite that took too long,
# it has to pass without the mutant in the same time, or the machine was slow and the
# mutant is run again. So is one that ended a guest in which others had run before, and
# one after which QEMU ended without a word of the kernel's: it counts the second time.
#
# "build" builds alone; "run" runs, of what was built, the mutants that have no verdict
# since, so that a run can be had in parts; "report" prints the score of these. With "ktap"
# the result is a KTAP document.
#
# Exit status: 0 all noticed, but for those that the table excuses; 1 not so;
# 2 environment; 3 the suites fail without a mutant.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"

VERB=all
case ${1:-} in
build | run | report)
	VERB=$1
	shift
	;;
esac
PART=${PART:-}
SAMPLE=${SAMPLE:-0}
LONGEST=${SECONDS_MAX:-$([ "$SAMPLE" = 0 ] && echo 0 || echo 180)}
# Seconds that a suite may take until it is known how long it takes without a mutant; that
# run may take ten times as long.
LIMIT=${LIMIT:-40}
OUT=$BUILD/mutants
TREE=$OUT/tree
RESULTS=$OUT/results
[ "$SAMPLE" = 0 ] || RESULTS=$OUT/results.sample
# table COMMAND...: by the tables that the mutants were built from.
table() { QUIESCE_TOP=$TOP python3 "$OUT/tables/mutants.py" "$@" --part "$PART" --sample "$SAMPLE"; }

# build_mutants PROFILE: the module, its tests and the programs, with all mutants.
build_mutants() {
	local dir=$OUT/$1 user=$OUT/user folder
	python3 "$QEMU_DIR/mutants/mutants.py" apply "$TREE"
	mkdir -p "$dir/torture"
	in_root "$ROOT" make -C "$TREE" modules KDIR="$KERNEL/build" MO="$dir" QUIESCE_KUNIT=suites
	rm -rf "$dir/external"
	cp -r "$TREE/samples/external" "$dir/external"
	in_root "$ROOT" make -C "$dir/external" KDIR="$KERNEL/build" QUIESCE="$dir"
	in_root "$ROOT" make -C "$TREE/qemu/torture" module KDIR="$KERNEL/build" QUIESCE="$dir" MO="$dir/torture"
	for folder in src/libquiesce samples qemu/tests qemu/torture; do
		in_root "$ROOT" make -C "$TREE/$folder" O="$user/$folder" -j"$JOBS"
	done
	! planned "$1" 'quiesce_user_rust|quiesce_tool' || for folder in src/user qemu/rust; do
		in_root "$ROOT" make -C "$TREE/$folder" O="$user/$folder" STATIC=1 REGISTRY="$REGISTRY" \
			CARGO_HOME="$user/cargo-home" CARGO_TARGET_DIR="$user/cargo-target"
	done
}

# planned PROFILE SUITES: whether a mutant of the plan has one of the suites, a regex.
planned() { table plan --profile "$1" | grep -E ":($2):" >/dev/null; }

# stage_mutants PROFILE STAGE: what the guest has.
stage_mutants() {
	local dir=$OUT/$1 stage=$2 ko
	rm -rf "$stage"
	mkdir -p "$stage"/{modules,tests,bin}
	for ko in "$dir"/*.ko "$dir"/external/*.ko "$dir"/torture/*.ko; do
		cp "$ko" "$stage/modules/"
		in_root "$ROOT" objcopy --strip-debug "$stage/modules/${ko##*/}"
	done
	cp -r "$OUT/user/samples" "$stage/samples"
	cp "$TOP/samples/words.txt" "$stage/samples/"
	cp "$OUT"/user/qemu/{tests,torture}/* "$stage/tests/"
	if planned "$1" 'quiesce_user_rust|quiesce_tool'; then
		cp "$OUT"/user/qemu/rust/* "$stage/tests/"
		cp "$OUT/user/src/user/quiesce" "$stage/bin/"
	fi
	! planned "$1" quiesce_user_python || copy_python "$stage" "$TREE"
	for ko in "$QEMU_DIR"/tests/*.steps; do
		# Every load of quiesce.ko is one of the mutant.
		# shellcheck disable=SC2016 # for the guest
		sed -n '/^#/d; /another state of the crate/d; /Unknown symbol/d; s|/modules/quiesce\.ko|& mutant="$QUIESCE_MUTANT"|g; s/ *| */|/p' "$ko" >"$stage/${ko##*/}"
	done
}

# A guest ends before boot() ends it, in seconds.
GUEST_MAX=2400
PANIC='Kernel panic|Oops|BUG:|general protection|double fault'

# again ID: its run in this guest does not count.
again() {
	say "[$(stamp)]   $1 is run again in a new guest"
	echo "mutants: forget $1" >>"$OUT/console.$profile"
}

# time_is_over UNTIL RESULTS: whether there is no time for another mutant; 0 is no limit.
time_is_over() {
	local now verdicts
	now=$(date +%s)
	if [ "$1" = 0 ] || [ "$now" -lt "$1" ]; then return 1; fi
	verdicts=$(awk '/^# mutant / && $3 != "none" && !seen[$3]++ { n++ } END { print n + 0 }' "$2")
	[ $((2 * verdicts)) -ge "$SAMPLE" ] || [ "$now" -ge $(($1 + LONGEST)) ]
}

# guest STAGE PLAN RESULTS UNTIL: boots until the guest has done PLAN, or stops. Prints how
# many lines of it were done, of which the last may be one that ended the guest.
guest() {
	local stage=$1 plan=$2 results=$3 until=$4 line done=0 judged=0 current='' ended=crash pid rc anew=''
	local begun=$SECONDS
	cp "$plan" "$stage/plan"
	rm -f "$stage/sample"
	[ "$SAMPLE" = 0 ] || : >"$stage/sample"
	initramfs "$OUT/initramfs" "$stage"
	: >"$OUT/console"
	rm -f "$OUT/lines"
	mkfifo "$OUT/lines"
	# A process group of its own, which can be ended.
	set -m
	TIMEOUT=${TIMEOUT:-3000} MEM=$(profile_memory "$profile") boot "$OUT/initramfs" \
		"quiesce_do=mutants $(profile_append "$profile")" \
		-serial "file:$OUT/console" -serial stdio >"$OUT/lines" 2>"$OUT/qemu.err" </dev/null &
	pid=$!
	set +m
	while true; do
		rc=0
		# The guest limits each suite itself, unless it cannot any more.
		IFS= read -r -t $((LIMIT * 3 + 60)) line || rc=$?
		if [ $rc != 0 ]; then
			[ $rc -le 128 ] || ended=hang
			break
		fi
		line=${line%$'\r'}
		printf '%s\n' "$line" >>"$OUT/output"
		case $line in
		"# took "*)
			printf '%s\n' "${line#\# took }" >>"$TOOK"
			cp "$TOOK" "$stage/took"
			;;
		"# begins "*) current=${line#\# begins } ;;
		"# again "*)
			anew=${line#\# again } current=''
			done=$((done + 1))
			;;
		# What a mutant broke may keep it from shutting down.
		"# exit "*) break ;;
		"# mutant "*)
			printf '%s\n' "$line" >>"$results"
			say "[$(stamp)]   ${line#\# mutant }"
			done=$((done + 1)) current=''
			[[ $line = "# mutant none "* ]] || judged=$((judged + 1))
			# There is no time for another one.
			! time_is_over "$until" "$results" || break
			[ $((SECONDS - begun)) -lt $GUEST_MAX ] || break
			;;
		esac
	done <"$OUT/lines"
	kill -- -"$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	cat "$OUT/console" >>"$OUT/console.$profile"
	if [ -n "$current" ]; then
		done=$((done + 1))
		if ends_alone "${current%% *}" "$judged" "$ended"; then
			line="# mutant ${current%% *} caught ${current#* } $ended"
			printf '%s\n' "$line" >>"$results"
			say "[$(stamp)]   ${line#\# mutant }"
		else
			anew=${current%% *}
		fi
	fi
	[ -z "$anew" ] || again "$anew"
	echo "$done"
}

# ends_alone ID JUDGED crash|hang: whether it is this mutant that ended a guest in which
# JUDGED other ones had run before.
ends_alone() {
	[ "$1" != none ] && [ "$SAMPLE" = 0 ] || return 0
	[ "$2" = 0 ] || return 1
	[ "$3" != crash ] || ! grep -qE "$PANIC" "$OUT/console" || return 0
	[ "$3" != hang ] || return 0
	! grep -qx "$1" "$OUT/silent" || return 0
	echo "$1" >>"$OUT/silent"
	return 1
}

# build PROFILE: all mutants, if the part has any for the profile.
build() {
	local profile=$1
	ROOT=$("$QEMU_DIR/buildroot.sh")
	KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
	# The types need the build's commands.
	if [ -n "$(table plan --profile "$profile")" ] || { [ "$profile" = stock ] && [ -n "$(table plan --profile types)" ]; }; then
		! planned "$profile" 'quiesce_user_rust|quiesce_tool' || REGISTRY=$("$QEMU_DIR/crates.sh")
		step "Building the mutants for profile $profile" build_mutants "$profile" || die "they do not build"
		stage_mutants "$profile" "$OUT/stage-$profile"
	fi
	: >"$OUT/took.$profile"
}

# rest PROFILE RESULTS: the mutants that have no verdict yet. A sample's have survived when
# they have three times: some are noticed only as a rule.
rest() {
	table plan --profile "$1" | awk -v limit="$LIMIT" -v results="$2" -v tries=$((SAMPLE ? 3 : 1)) '
		BEGIN { while ((getline < results) > 0) if (/^# mutant /) done[$3] += $4 == "caught" ? tries : 1 }
		done[$1] < tries { $2 = $2 " " limit; print }'
}

# without PLAN: a line for the suites of PLAN that have not passed without a mutant yet.
without() {
	awk -v limit=$((LIMIT * 10)) -v took="$TOOK" '
		BEGIN { while ((getline < took) > 0) passed[$1] = 1 }
		{ for (i = 4; i <= NF; i++) { split($i, a, ":"); if (!passed[a[2]] && !seen[$i]++) line = line " " $i } }
		END { if (line) print "none 0 " limit line }' "$1"
}

# run PROFILE RESULTS: all mutants of the plan, in as many guests as it takes.
run() {
	local profile=$1 results=$2 stage=$OUT/stage-$1 plan=$OUT/plan n until=0 last again=0 suite
	ROOT=$("$QEMU_DIR/buildroot.sh")
	KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
	TOOK=$OUT/took.$profile
	[ "$LONGEST" = 0 ] || until=$(($(date +%s) + LONGEST))
	: >>"$TOOK"
	: >"$OUT/console.$profile"
	: >"$OUT/silent"
	while rest "$profile" "$results" >"$plan" && [ -s "$plan" ]; do
		! time_is_over "$until" "$results" || break
		without "$plan" >"$plan.all"
		cat "$plan" >>"$plan.all"
		cp "$TOOK" "$stage/took"
		last=$(tail -n 1 "$results")
		if [[ $last == *" hang" || $last == *" hang "* ]]; then
			# Was it the mutant, or the machine?
			# shellcheck disable=SC2086 # words
			set -- $last
			suite=$(awk -v name=":$5:" '{ for (i = 4; i <= NF; i++) if (index($i, name)) { print $i; exit } }' \
				<(table plan --profile "$profile" | sed 's/ / 0 /'))
			[ -z "$suite" ] || sed -i "1i none 0 $LIMIT $suite" "$plan.all"
		fi
		n=$(guest "$stage" "$plan.all" "$results" "$until")
		[ "$n" != 0 ] || die "the guest did nothing; the end of its console: $(tail -n 5 "$OUT/console")"
		if grep -q '^# mutant none caught' "$results"; then
			sed -i '/^# mutant none/d' "$results"
			again=$((again + 1))
			if [ -z "${suite:-}" ] || [ $again -gt 3 ]; then
				say "quiesce: the suites fail without a mutant (see $OUT/console)"
				exit "$EX_CRASH"
			fi
			say "quiesce: the machine was too slow for $suite"
			again "$3"
			sed -i "/^# mutant $3 /d" "$results"
		fi
		sed -i '/^# mutant none/d' "$results"
		suite=
	done
	# A complaint of the kernel's notices a mutant too.
	table console "$OUT/console.$profile" >>"$results"
	if grep '^# mutant none' "$results" >&2; then
		sed -i '/^# mutant none/d' "$results"
		say "quiesce: the kernel complains without a mutant"
		exit "$EX_CRASH"
	fi
}

mkdir -p "$OUT"
: >"$OUT/output"
[ "$SAMPLE" = 0 ] || PROFILE=stock
for p in ${PROFILE:-stock lockdep}; do need_profile "$p"; done
if [ "$VERB" != run ] && [ "$VERB" != report ]; then
	rm -rf "$OUT/tables"
	cp -r "$QEMU_DIR/mutants" "$OUT/tables"
	: >"$RESULTS"
	git -C "$TOP" describe --always --dirty >"$OUT/commit" 2>/dev/null || echo "a checkout without git" >"$OUT/commit"
	for p in ${PROFILE:-stock lockdep}; do build "$p"; done
fi
if [ "$VERB" = build ]; then
	[ -z "${1:-}" ] || printf 'KTAP version 1\n1..1\nok 1 - the mutants build\n'
	exit 0
fi
if [ "$VERB" != report ]; then
	for p in ${PROFILE:-stock lockdep}; do
		profile=$p
		run "$p" "$RESULTS"
	done
	table host >>"$RESULTS"
fi
grep -q '^# mutant' "$RESULTS" || die "PART=$PART: there is no such table nor mutant"
rc=0
table report "$RESULTS" ${1:+--ktap} || rc=$?
[ -n "${1:-}" ] || echo "The sources: $(cat "$OUT/commit")"
exit $rc
