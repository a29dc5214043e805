#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# external-test.sh PROFILE: tests of `make new` and `make external`, as a module's author
# uses them. Prints KTAP.

. "$(dirname "$0")/lib.sh"

export PROFILE=${1:?usage: external-test.sh PROFILE}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# verb VERB ARG...: a verb of the Makefile; what it prints is in $WORK/out. Not with the
# variables of the make that runs the tests, whose PROFILE may be several.
verb() {
	local rc=0
	MAKEFLAGS='' make -s -C "$TOP" "$@" >"$WORK/out" 2>&1 || rc=$?
	cat "$WORK/out"
	return "$rc"
}

says() { grep -qF -- "$1" "$WORK/out"; }

# refused TEXT VERB ARG...: it ends with one line of its own, which contains TEXT.
refused() {
	local text=$1
	shift
	! verb "$@" || return 1
	says "$text" && [ "$(grep -c '^quiesce: ' "$WORK/out")" = 1 ]
}

new_writes_a_module() {
	verb new DIR="$WORK/plug" && [ "$(grep -c . "$WORK/plug/Kbuild")" = 3 ] &&
		[ "$(ls -A "$WORK/plug")" = "$(printf 'Kbuild\nplug.rs')" ]
}

it_builds_and_runs_unchanged() {
	# shellcheck disable=SC2016 # for the guest
	verb external DIR="$WORK/plug" RUN=1 CMD='grep "^plug " /proc/modules' && says "plug: request served" &&
		says "plug: a request after the rundown: Err(" && grep -q "^plug [0-9]" "$WORK/out" &&
		# The author's tree stays as it was.
		[ "$(ls -A "$WORK/plug")" = "$(printf 'Kbuild\nplug.rs')" ]
}

a_failing_command_fails() {
	! verb external DIR="$WORK/plug" RUN=1 CMD='exit 3'
}

a_module_that_does_not_load_fails() {
	cp -r "$WORK/plug" "$WORK/refuses"
	sed -i 's/request()?;/return Err(EBUSY);/' "$WORK/refuses/plug.rs"
	! verb external DIR="$WORK/refuses" RUN=1 || return 1
	grep -qi 'plug.*busy' "$WORK/out"
}

a_broken_module_names_the_error() {
	cp -r "$WORK/plug" "$WORK/broken"
	sed -i 's/USERS.try_acquire()?/USERS.acquire_it()?/' "$WORK/broken/plug.rs"
	refused "no method named \`acquire_it\`" external DIR="$WORK/broken" && says "plug.rs:21:"
}

a_missing_DIR() {
	refused "usage: make external DIR=folder" external &&
		refused "usage: make external DIR=folder" new &&
		refused "there is no folder $WORK/nowhere/at/all" external DIR="$WORK/nowhere/at/all"
}

a_folder_without_a_Kbuild() {
	mkdir "$WORK/empty"
	refused "has no Kbuild" external DIR="$WORK/empty"
}

a_path_with_a_space() {
	cp -r "$WORK/plug" "$WORK/a plug"
	refused "has a space in it" external DIR="$WORK/a plug" && refused "has a space in it" new DIR="$WORK/b plug" &&
		[ ! -e "$WORK/b plug" ]
}

a_tilde_is_the_home_folder() {
	# shellcheck disable=SC2088 # not for this shell
	HOME=$WORK verb new DIR='~/tilde' && [ -e "$WORK/tilde/tilde.rs" ] && [ ! -e "$TOP/~" ]
}

new_overwrites_nothing() {
	refused "is there and not empty" new DIR="$WORK/plug" && refused "is there and no folder" new DIR="$WORK/out" &&
		refused "cannot be a module's name" new DIR="$WORK/7"
}

run_builds_only_what_it_uses() {
	verb run CMD=true && says "Building quiesce for profile $PROFILE" &&
		! grep -q 'kunit\|samples\|qemu/tests' "$(log_of "Building quiesce for profile $PROFILE")"
}

cases=(new_writes_a_module it_builds_and_runs_unchanged a_failing_command_fails a_module_that_does_not_load_fails
	a_broken_module_names_the_error a_missing_DIR a_folder_without_a_Kbuild a_path_with_a_space a_tilde_is_the_home_folder new_overwrites_nothing
	run_builds_only_what_it_uses)
echo "KTAP version 1"
echo "1..${#cases[@]}"
n=0 rc=0
for case in "${cases[@]}"; do
	n=$((n + 1))
	if $case >"$WORK/shown" 2>&1; then
		echo "ok $n - ${case//_/ }"
	else
		rc=1
		sed 's/^/# /' "$WORK/shown"
		echo "not ok $n - ${case//_/ }"
	fi
done
exit $rc
