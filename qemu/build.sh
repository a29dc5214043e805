#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build.sh PROFILE [FOLDER...]: builds the modules for one profile into
# .build/PROFILE, a module in a tree of its own among them, and the programs of
# user space, which are the same for all profiles, into .build/user: those of the
# folders named, or all. If one of the folders is "crate", quiesce.ko alone is built,
# into .build/PROFILE/crate.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"

profile=${1:?usage: build.sh PROFILE [FOLDER...]}
shift
[ $# != 0 ] || set -- src/libquiesce samples qemu/tests qemu/torture src/user qemu/rust
folders=()
crate=
for folder; do
	if [ "$folder" = crate ]; then crate=1; else folders+=("$folder"); fi
done
need_profile "$profile"
ROOT=$("$QEMU_DIR/buildroot.sh" "${PROFILE_ROOT[$profile]}")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
OUT=$BUILD/$profile
USER_OUT=$(profile_user "$profile")
read -ra WORDS <<<"$(profile_words "$profile")"
USER_WORDS=()
# Neither 32-bit programs nor liburing are there for another architecture.
[ ${#WORDS[@]} = 0 ] || USER_WORDS=(CC=aarch64-linux-gnu-gcc-14 AR=aarch64-linux-gnu-ar CROSS=1)

# The out-of-tree example module: copied out of the repository and built as the
# README documents it.
build_external() {
	local dir=$OUT/external
	rm -rf "$dir"
	cp -r "$TOP/samples/external" "$dir"
	in_root "$ROOT" make -C "$dir" KDIR="$KERNEL/build" "${WORDS[@]}" QUIESCE="$OUT"
}

# The torture module, also in a separate tree.
build_torture() {
	mkdir -p "$OUT/torture"
	in_root "$ROOT" make -C "$TOP/qemu/torture" module KDIR="$KERNEL/build" "${WORDS[@]}" QUIESCE="$OUT" MO="$OUT/torture"
}

# The same, built against another state of the crate: one that insmod has to refuse.
build_stale() {
	local crate=$OUT/stale/crate dir=$OUT/stale/external
	mkdir -p "$crate"
	in_root "$ROOT" make -C "$TOP" modules KDIR="$KERNEL/build" "${WORDS[@]}" MO="$crate" obj-m=quiesce.o quiesce-abi=other
	rm -rf "$dir"
	cp -r "$TOP/samples/external" "$dir"
	in_root "$ROOT" make -C "$dir" KDIR="$KERNEL/build" "${WORDS[@]}" QUIESCE="$crate"
}

# check_relocs: what the modules export and refer to has to be there once they are loaded.
check_relocs() {
	(cd "$OUT" && sed 's/o$/ko/' modules.order | in_root "$ROOT" xargs python3 "$QEMU_DIR/relocs.py")
}

# quiesce.ko alone, as it is installed: without what the suites need of it.
build_crate() {
	mkdir -p "$OUT/crate"
	in_root "$ROOT" make -C "$TOP" modules KDIR="$KERNEL/build" "${WORDS[@]}" MO="$OUT/crate" obj-m=quiesce.o
}

build_modules() {
	mkdir -p "$OUT"
	# A build of the samples alone omits the suites, which take long to build.
	[[ " ${folders[*]} " != " samples "* ]] || kunit=hooks
	in_root "$ROOT" make -C "$TOP" modules KDIR="$KERNEL/build" "${WORDS[@]}" MO="$OUT" W=e QUIESCE_KUNIT="${kunit:-suites}"
	check_relocs
	build_external
	[[ " ${folders[*]} " != *" qemu/tests "* ]] || build_stale
	build_torture
}

build() {
	local dir program source
	if [ -n "$crate" ]; then build_crate; else build_modules; fi
	# Remove the programs of tests that no longer exist.
	for program in "$USER_OUT"/qemu/tests/*; do
		program=$(basename "$program")
		source=${program%_32}
		source=${source%_fallback}
		[ -e "$TOP/qemu/tests/${source%_symbols}.c" ] || rm -f "$USER_OUT/qemu/tests/$program"
	done
	for dir in "${folders[@]}"; do
		case $dir in
		src/user | qemu/rust) build_rust "$dir" ;;
		*) in_root "$ROOT" make -C "$TOP/$dir" O="$USER_OUT/$dir" "${USER_WORDS[@]}" -j"$JOBS" ;;
		esac
	done
}

build_alone() {
	flock 8
	build 8>&-
}

# needs_rust: whether programs in Rust are to be built. A short profile has no suite of them.
needs_rust() {
	[[ " ${folders[*]} " == *" src/user "* || " ${folders[*]} " == *" qemu/rust "* ]] &&
		[[ ${#WORDS[@]} = 0 || " $SHORT_PROFILES " != *" $profile "* ]]
}

# build_rust FOLDER: programs of user space in Rust, static, from Debian's crates.
build_rust() {
	local cross=() target=()
	needs_rust || return 0
	if [ ${#WORDS[@]} != 0 ]; then
		cross=(RUSTFLAGS="--sysroot=$STD" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc-14)
		target=(TARGET=aarch64-unknown-linux-gnu)
	fi
	in_root "$ROOT" env "${cross[@]}" make -C "$TOP/$1" O="$USER_OUT/$1" STATIC=1 REGISTRY="$REGISTRY" "${target[@]}" \
		CARGO_HOME="$USER_OUT/cargo-home" CARGO_TARGET_DIR="$USER_OUT/cargo-target"
}

need_space "$BUILD" 500 "the build"
if needs_rust; then
	REGISTRY=$("$QEMU_DIR/crates.sh")
	[ ${#WORDS[@]} = 0 ] || STD=$("$QEMU_DIR/crates.sh" arm64)
fi
# The programs of user space are the same for several profiles.
exec 8>"$BUILD/build.lock"
step "Building quiesce for profile $profile" build_alone
