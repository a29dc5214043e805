#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# selftest.sh [NAME]: tests of the harness itself, without a guest. Prints KTAP. Each
# case is a function; it passes when it returns 0. NAME runs the cases whose function
# begins so.

. "$(dirname "$0")/lib.sh"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# script TEXT: runs TEXT after the harness's library with a cache of its own; its
# output goes to $WORK/out.
script() {
	mkdir -p "$WORK/cache"
	XDG_CACHE_HOME=$WORK/cache bash -c ". '$QEMU_DIR/lib.sh'; BUILD=$WORK/build; $1" "$0" >"$WORK/out" 2>&1
}

fails() { ! "$@"; }
says() { grep -qF -- "$1" "$WORK/out"; }

# A maker that fails in the middle: what follows must not run, and nothing is kept.
# shellcheck disable=SC2016 # for the script
MAKER='maker() { mkdir "$1"; false; echo "went on"; : >"$1/rest"; }'

maker_fails_under_or() {
	script "$MAKER; once $WORK/dir maker || exit 7" && return 1
	[ $? = 7 ] && [ ! -e "$WORK/dir/.done" ] && fails says "went on"
}

maker_fails_under_if() {
	script "$MAKER; if once $WORK/dir maker; then echo made; fi"
	[ ! -e "$WORK/dir/.done" ] && fails says "went on" && fails says made
}

maker_fails_in_a_step() {
	script "$MAKER; once $WORK/dir step 'Making it' maker || exit 7" && return 1
	[ $? = 7 ] && [ ! -e "$WORK/dir/.done" ] && says "FAILED after" && fails says "went on"
}

maker_fails_in_a_substitution() {
	script "$MAKER; outer() { local got; got=\$(maker $WORK/dir); echo \"went on \$got\"; }; strict outer || exit 7" && return 1
	[ $? = 7 ] && fails says "went on"
}

what_failed_is_made_again() {
	maker_fails_under_or
	script "maker() { mkdir \$1; : >\$1/whole; }; once $WORK/dir maker || exit 7"
	[ -e "$WORK/dir/.done" ] && [ -e "$WORK/dir/whole" ] && [ ! -e "$WORK/dir/rest" ]
}

what_is_made_is_kept() {
	local made="maker() { mkdir \$1; echo made; }; once $WORK/dir maker"
	script "$made" && says made && script "$made" && fails says made
}

step_passes_on_the_status() {
	script 'f() { return 5; }; step "Running it" f || exit $?' && return 1
	[ $? = 5 ]
}

strict_has_the_callers_variables() {
	# shellcheck disable=SC2016 # for the script
	script 'declare -A map=([a]="1 2"); list=("x y" z); both() { local own=$1; inner "$own"; }
		inner() { strict show "$@"; }; show() { echo "${map[a]}|${list[0]}|$own|$1|$#"; }
		both "a  b"' && says "1 2|x y|a  b|a  b|1"
}

strict_takes_programs() {
	script 'strict sh -c "exit 4" || exit $?' && return 1
	[ $? = 4 ]
}

an_unexplained_status_is_in_the_table() {
	script "TABLE=$WORK/table; echo 'stock a 1 0 0 -' >\$TABLE; in_table stock 0; in_table stock 2; in_table stock 2
		echo 'lockdep a 1 1 0 -' >>\$TABLE; in_table lockdep 1" || return
	[ "$(grep -c . "$WORK/table")" = 3 ] && grep -qx 'stock (harness) 0 1 0 -' "$WORK/table"
}

# misspelt VERB VAR=VALUE...: it must end at once, with the status of the environment.
misspelt() {
	local verb=$1
	shift
	env "$@" "$QEMU_DIR/$verb.sh" >"$WORK/out" 2>&1 && return 1
	[ $? = "$EX_ENV" ] && [ "$(grep -c . "$WORK/out")" = 1 ]
}

a_suite_that_there_is_not() {
	misspelt test SUITE=quiesce_typo && says quiesce_typo
}

a_suite_that_does_not_run_in_the_profile() {
	misspelt test SUITE=quiesce_faults PROFILE=stock && says stock
}

a_profile_that_there_is_not() {
	misspelt test PROFILE=typo && misspelt torture PROFILE=typo && misspelt run PROFILE=typo CMD=true
}

a_part_that_there_is_not() {
	misspelt torture PART=typo && misspelt torture PART=faults PROFILE=stock
}

make_passes_a_command_as_it_is() {
	local command="echo 'one' \"two\" \$(uname) \$HOME \$\$ \\n # end"
	mkdir "$WORK/qemu"
	printf '#!/bin/sh\nprintf "%%s" "$CMD" >%s/got\n' "$WORK" >"$WORK/qemu/run.sh"
	chmod 755 "$WORK/qemu/run.sh"
	make -s -C "$WORK" -f "$TOP/Makefile" run CMD="$command" >"$WORK/out" 2>&1 &&
		[ "$(cat "$WORK/got")" = "$command" ]
}

mapfile -t cases < <(sed -n 's/^\([a-z_]*\)() {$/\1/p' "$0" | grep -v '^script$\|^misspelt$' | grep "^${1:-}")
[ ${#cases[@]} != 0 ] || die "no case is called ${1:-}*"
echo "KTAP version 1"
echo "1..${#cases[@]}"
n=0 rc=0
for name in "${cases[@]}"; do
	n=$((n + 1))
	rm -rf "${WORK:?}"/*
	if "$name" 2>"$WORK/err"; then
		echo "ok $n - ${name//_/ }"
	else
		rc=$EX_TESTS
		sed 's/^/# /' "$WORK/out" "$WORK/err" 2>/dev/null
		echo "not ok $n - ${name//_/ }"
	fi
done
exit "$rc"
