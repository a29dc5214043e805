#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# selftest.sh [NAME]: tests of the harness itself, without a guest. Prints KTAP. Each
# case is a function; it passes when it returns 0. NAME runs the cases whose function
# begins so.

. "$(dirname "$0")/lib.sh"

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# script TEXT: runs TEXT after the harness's library with a separate cache; its
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

what_is_mounted_in_it_is_left_alone() {
	# An interrupted maker left a file system mounted in the root that it made.
	mkdir -p "$WORK/root/mnt" "$WORK/other"
	: >"$WORK/other/kept"
	script "export -f remove_tree ns
		ns bash -c 'mount --bind $WORK/other $WORK/root/mnt && remove_tree $WORK/root'" || return
	[ -e "$WORK/other/kept" ] && [ ! -e "$WORK/root" ]
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
	local verb=$1 table=$BUILD/results.table before
	shift
	# This runs within a test run, which adds results to that table.
	mkdir -p "$BUILD"
	[ -e "$table" ] || : >"$table"
	before=$(cat "$table")
	env "$@" "$QEMU_DIR/$verb.sh" >"$WORK/out" 2>&1 && return 1
	[ $? = "$EX_ENV" ] && [ "$(grep -c . "$WORK/out")" = 1 ] && [[ $(cat "$table") == "$before"* ]]
}

a_suite_that_there_is_not() {
	misspelt test SUITE=quiesce_typo && says quiesce_typo
}

a_suite_that_does_not_run_in_the_profile() {
	misspelt test SUITE=quiesce_faults PROFILE=stock && says stock
}

a_profile_that_there_is_not() {
	misspelt test PROFILE=typo && misspelt torture PROFILE=typo
}

a_part_that_there_is_not() {
	misspelt torture PART=typo && misspelt torture PART=faults PROFILE=stock
}

models_that_do_not_build_have_failed() {
	mkdir "$WORK/top"
	cp -r "$QEMU_DIR" "$WORK/top/"
	# What was printed before counts no more than nothing.
	for printed in '' 'KTAP version 1\n1..2\nok 1 - one\n'; do
		printf '#!/bin/sh\nprintf "%s"\nexit 2\n' "$printed" >"$WORK/top/qemu/model/run.sh"
		PART=model PROFILE='' TIME=1 "$WORK/top/qemu/torture.sh" >"$WORK/out" 2>&1 && return 1
		says ", 1 failed" || return
	done
}

make_passes_a_command_as_it_is() {
	local command="echo 'one' \"two\" \$(uname) \$HOME \$\$ \\n # end" target
	mkdir "$WORK/qemu"
	for target in run external; do
		# shellcheck disable=SC2016 # for the script
		printf '#!/bin/sh\nprintf "%%s" "$CMD" >%s/got\n' "$WORK" >"$WORK/qemu/$target.sh"
		chmod 755 "$WORK/qemu/$target.sh"
		rm -f "$WORK/got"
		make -s -C "$WORK" -f "$TOP/Makefile" "$target" CMD="$command" DIR=x >"$WORK/out" 2>&1 &&
			[ "$(cat "$WORK/got")" = "$command" ] || return
	done
}

make_install_leaves_nothing() {
	local root dir=$BUILD/selftest-install
	root=$("$QEMU_DIR/buildroot.sh")
	rm -rf "$dir"
	mkdir -p "$dir/src"
	cp "$TOP/Makefile" "$dir/"
	cp -r "$TOP/src/libquiesce" "$TOP/src/uapi" "$dir/src/"
	(cd "$dir" && find . | sort) >"$WORK/before"
	in_root "$root" make -C "$dir" install PREFIX=/usr DESTDIR="$dir/to" >"$WORK/out" 2>&1 &&
		[ -e "$dir/to/usr/lib/libquiesce.so.1" ] && rm -r "$dir/to" &&
		(cd "$dir" && find . | sort) | diff "$WORK/before" - >>"$WORK/out"
}

a_list_of_exports_of_an_older_build() {
	local root dir=$BUILD/selftest-exports
	root=$("$QEMU_DIR/buildroot.sh")
	rm -rf "$dir"
	mkdir -p "$dir/src" "$dir/obj/linux"
	cp "$TOP/src/exports.c" "$dir/src/"
	echo 'older' >"$dir/src/exports_generated.h"
	echo 'this one' >"$dir/obj/exports_generated.h"
	: >"$dir/obj/linux/export.h"
	in_root "$root" gcc -E "-I$dir/obj" "$dir/src/exports.c" >"$WORK/out" && says "this one" && fails says older
}

a_build_in_the_folder_is_in_the_way() {
	mkdir -p "$WORK/kernel/include/config" "$WORK/kernel/rust"
	echo CONFIG_RUST=y >"$WORK/kernel/include/config/auto.conf"
	: >"$WORK/kernel/rust/libkernel.rmeta"
	: >"$WORK/modules.order"
	make -s -C "$WORK" -f "$TOP/Makefile" check-kdir KDIR="$WORK/kernel" >"$WORK/out" 2>&1 &&
		fails make -s -C "$WORK" -f "$TOP/Makefile" check-kdir KDIR="$WORK/kernel" MO="$WORK/mo" >"$WORK/out" 2>&1 &&
		says "make clean"
}

a_relative_cache_is_one_place() {
	local out
	out=$(cd "$WORK" && XDG_CACHE_HOME=relative bash -c ". '$QEMU_DIR/lib.sh'; cd /; echo \$CACHE")
	[ "$out" = "$(cd "$WORK" && pwd -P)/relative/quiesce" ]
}

a_folder_that_a_root_needs() {
	mkdir -p "$WORK/root/usr/src/linux" "$WORK/root/usr/src/empty" "$WORK/root/root"
	: >"$WORK/root/usr/src/linux/Makefile"
	: >"$WORK/root/root/.profile"
	for dir in / /usr /usr/src; do
		script "cd $dir; in_root $WORK/root true" && return 1
		[ $? = "$EX_ENV" ] && [ "$(grep -c . "$WORK/out")" = 1 ] && says "files of its own in $dir:" || return 1
	done
	script "fails() { ! \"\$@\"; }; fails covers $WORK/root /usr/src/empty; fails covers $WORK/root /usr/src/none; fails covers $WORK/root /root"
}

# tracked_in HEAD: what is tracked in a small checkout, prepared by HEAD.
tracked_in() {
	mkdir -p "$WORK/top/qemu" "$WORK/top/src/deep" "$WORK/top/.build"
	cp "$QEMU_DIR/lib.sh" "$WORK/top/qemu/"
	cp "$TOP/.gitignore" "$WORK/top/"
	(cd "$WORK/top" && : >Kbuild && : >src/a.rs && : >src/deep/b.rs && : >src/a.o && : >src/.a.o.cmd && : >src/exports_generated.h && : >.build/c.rs)
	bash -c "$1; . $WORK/top/qemu/lib.sh; tracked Kbuild src; echo --; tracked '*.rs'" >"$WORK/out" 2>&1
	[ "$(paste -sd' ' "$WORK/out")" = "Kbuild src/a.rs src/deep/b.rs -- src/a.rs src/deep/b.rs" ]
}

a_checkout_without_git() {
	tracked_in : && tracked_in "mkdir -p $WORK/top/.git; command() { return 1; }"
}

the_names_that_git_ignores() {
	# Without git as in a checkout; this machine may have none.
	(tracked src kunit qemu samples) >"$WORK/git"
	(command() { return 1; }; tracked src kunit qemu samples) | diff "$WORK/git" - >"$WORK/out"
}

# ordinary SCRIPT: runs it after the harness's library as a user without privileges, in
# a copy of the harness that this user can read, with the PATH that Debian gives to users.
ordinary() {
	local as=()
	chmod 755 "$WORK"
	mkdir "$WORK/top" "$WORK/home"
	cp -r "$QEMU_DIR" "$WORK/top/"
	chmod -R a+rX "$WORK/top"
	chmod 777 "$WORK/top" "$WORK/home"
	[ "$(id -u)" != 0 ] || as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	"${as[@]}" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME="$WORK/home" \
		bash -c ". '$WORK/top/qemu/lib.sh'; cd '$WORK/top'; $1" "$0" >"$WORK/out" 2>&1
}

an_ordinary_user_has_the_programs() {
	# If this machine lacks a package, one line names the package to install.
	ordinary 'need_host; command -v chroot unshare' || says "run  sudo apt-get install"
}

an_ordinary_user_gets_into_a_root() {
	# Without subordinate ids, which this user has none of: only one id is mapped.
	# shellcheck disable=SC2016 # for the script
	ordinary 'ns() { unshare --mount --propagation private --map-root-user -- "$@"; }
		mkdir -p "$CACHE"; in_root / sh -c "echo I am \$(id -u) in \$(pwd)"' &&
		says "I am 0 in $WORK/top"
}

a_failing_step_into_a_root_is_noticed() {
	# shellcheck disable=SC2016 # for the script
	ordinary 'ns() { unshare --mount --propagation private --map-root-user -- "$@"; }
		step "Preparing it" in_root /nowhere true || exit 7' && return 1
	[ $? = 7 ] && says "FAILED after"
}

a_user_without_a_home() {
	env -i PATH=/usr/local/bin:/usr/bin:/bin bash -c ". '$QEMU_DIR/lib.sh'; echo \$HOME; [ -n \"\$HOME\" ]" >"$WORK/out" 2>&1
}

a_path_with_a_space() {
	mkdir "$WORK/a b"
	cp -r "$QEMU_DIR" "$WORK/a b/"
	"$WORK/a b/qemu/demo.sh" >"$WORK/out" 2>&1 && return 1
	[ $? = "$EX_ENV" ] && [ "$(grep -c . "$WORK/out")" = 1 ] && says "has a space"
}

# small COMMAND...: runs it with $WORK/small on a disk of ten megabytes.
small() {
	mkdir -p "$WORK/small"
	# shellcheck disable=SC2016 # for the inner shell
	ns sh -c 'mount -t tmpfs -o size=10m tmpfs "$0" && exec "$@"' "$WORK/small" "$@" >"$WORK/out" 2>&1
}

a_disk_that_is_too_small() {
	small env XDG_CACHE_HOME="$WORK/small" "$QEMU_DIR/buildroot.sh" && return 1
	[ $? = "$EX_ENV" ] && [ "$(grep -c . "$WORK/out")" = 1 ] && says "MB are free there"
}

a_disk_that_fills() {
	small bash -c ". '$QEMU_DIR/lib.sh'; BUILD=$WORK/build
		step 'Filling it' dd if=/dev/zero of=$WORK/small/big bs=1M count=20 || exit 7" && return 1
	[ $? = 7 ] && says "the disk is full"
}

a_cache_that_cannot_be_written() {
	ordinary "XDG_CACHE_HOME=/proc/no $WORK/top/qemu/buildroot.sh" && return 1
	[ $? = "$EX_ENV" ] && { says "cannot write to /proc/no" || says "run  sudo apt-get install"; }
}

an_archive_that_cannot_be_reached() {
	# A network with nothing in it.
	ns unshare --net env XDG_CACHE_HOME="$WORK/cache" bash -c ". '$QEMU_DIR/buildroot.sh'; BUILD=$WORK/build
		need_space() { :; }; once \"\$CACHE/root\" step 'Making the root' make_root || die 'not made'" "$0" >"$WORK/out" 2>&1 && return 1
	[ $? = "$EX_ENV" ] && says "the archive cannot be reached" && [ "$(grep -c . "$WORK/out")" -le 4 ]
}

# module TEXT: compiles TEXT like a kernel module and prints the output of relocs.py.
module() {
	ROOT=$("$QEMU_DIR/buildroot.sh")
	printf '%s\n' "$1" >"$BUILD/selftest.c"
	in_root "$ROOT" gcc -c -o "$BUILD/selftest.o" "$BUILD/selftest.c" &&
		in_root "$ROOT" python3 "$QEMU_DIR/relocs.py" "$BUILD/selftest.o" >"$WORK/out" 2>&1
}

MODINFO='__attribute__((section(".modinfo"))) const char info[] = "license=GPL";'

an_export_of_what_is_dropped() {
	module "$MODINFO __attribute__((section(\"__ksymtab\"))) const void *const entry = info;" && return 1
	says "__ksymtab refers to info in .modinfo"
}

an_export_of_what_is_kept() {
	module "$MODINFO int kept; __attribute__((section(\"__ksymtab\"))) const void *const entry = &kept;"
}

mapfile -t cases < <(sed -n 's/^\([a-z_]*\)() {$/\1/p' "$0" | grep -v '^script$\|^misspelt$\|^ordinary$\|^small$\|^module$\|^tracked_in$' | grep "^${1:-}")
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
