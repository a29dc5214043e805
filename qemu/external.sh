#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# external.sh build: builds the kernel modules of the tree DIR (a Kbuild is enough)
#                    against the crate, for PROFILE; with RUN=1 boots a VM, loads
#                    them in the order of obj-m, shows what they log, unloads them.
# external.sh new:   writes a module that works into DIR.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"

verb=${1:?usage: external.sh build|new}
[ -n "${DIR:-}" ] || die "usage: make external DIR=folder [PROFILE=stock] [RUN=1], or make new DIR=folder"
# Not every shell expands a tilde in an argument of make.
DIR=${DIR/#\~\//$HOME/}
dir=$(realpath -m -- "$DIR")
[[ $dir != *[[:space:]]* ]] || die "'$dir' has a space in it, and the kernel's build system cannot build there"

if [ "$verb" = new ]; then
	name=$(basename "$DIR" | tr -c 'a-z0-9_\n' _)
	[[ $name =~ ^[a-z][a-z0-9_]*$ ]] || die "'$name' cannot be a module's name: give DIR one of letters, digits and _"
	[ ! -e "$DIR" ] || [ -d "$DIR" ] || die "$DIR is there and no folder"
	[ ! -d "$DIR" ] || [ -z "$(ls -A "$DIR")" ] || die "$DIR is there and not empty"
	mkdir -p "$DIR" 2>/dev/null || die "$DIR cannot be made"
	cat >"$DIR/Kbuild" <<-KBUILD
		obj-m := $name.o
		KBUILD_EXTRA_SYMBOLS := \$(QUIESCE)/Module.symvers
		rustflags-y := -L \$(QUIESCE)/src --extern quiesce
	KBUILD
	sed "s/@NAME@/$name/g" "$QEMU_DIR/module.rs.in" >"$DIR/$name.rs"
	say "$DIR/$name.rs is a module that works. Build and run it:  make external DIR=$DIR RUN=1"
	exit
fi

[ -d "$dir" ] || die "there is no folder $DIR (make new DIR=$DIR writes a module there)"
[ -e "$dir/Kbuild" ] || [ -e "$dir/Makefile" ] || die "$DIR has no Kbuild"
profile=${PROFILE:-stock}
need_profile "$profile"
ROOT=$("$QEMU_DIR/buildroot.sh" "${PROFILE_ROOT[$profile]}")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
CRATE=$BUILD/$profile/crate
OUT=$BUILD/$profile/outside/$(key "$dir")-$(basename "$dir")
mkdir -p "$OUT"

# The user's tree stays as it is: objects are made in .build.
build_outside() {
	local words
	read -ra words <"$KERNEL/make"
	cd "$dir"
	in_root "$ROOT" make -C "$KERNEL/build" "${words[@]}" M="$dir" MO="$OUT" QUIESCE="$CRATE" modules
}

"$QEMU_DIR/build.sh" "$profile" crate || die "quiesce does not build for profile $profile"
what="Building $(basename "$dir")"
step "$what" build_outside || {
	# The compiler's first error, in one line: message and place.
	error=$(awk '/(^| )error(\[E[0-9]+\])?:|^ERROR: modpost:/ { message = $0; sub(/^\x1b\[[0-9;]*m/, "", message); if ((getline place) > 0 && place ~ /-->/) { sub(/^ *--> */, "", place); message = message " (" place ")" }; print message; exit }' \
		"$(log_of "$what")")
	say "quiesce: $DIR does not build${error:+: $error}"
	exit "$EX_TESTS"
}
modules=()
while read -r object; do
	modules+=("$OUT/${object%.o}.ko")
	say "        $OUT/${object%.o}.ko"
done <"$OUT/modules.order"
[ -n "${RUN:-}" ] || exit 0

# The script that the VM runs: loads the modules, runs CMD, unloads them in the opposite
# order, and prints the modules' log messages.
script=$OUT/outside.sh
names=
{
	echo "rc=0"
	for ko in "${modules[@]}"; do
		name=$(basename "$ko" .ko)
		names+="${names:+|}$name"
		echo "insmod $name.ko || rc=1"
	done
	echo "[ \$rc != 0 ] || { ${CMD:-true}; } || rc=\$?"
	for ko in "${modules[@]}"; do basename "$ko" .ko; done | tac | sed 's/.*/rmmod & || rc=1/'
	echo "dmesg | grep -E '^\\[[^]]*\\] ($names): ' | sed 's/^\\[[^]]*\\] //'"
	echo "exit \$rc"
} >"$script"
FILES="${modules[*]} $script ${FILES:-}" CMD="sh outside.sh" PROFILE=$profile exec "$QEMU_DIR/run.sh" run
