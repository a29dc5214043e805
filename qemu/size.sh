#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# size.sh: instruction counts of the fast paths and sizes, ours and C's, read
# from objects built for four kernels: Debian's (gcc) for x86_64 and arm64, one of our
# own with LLVM, and that one with RUST_INLINE_HELPERS. SIZE_SHOW=function prints a path,
# SIZE_RECORD=1 writes qemu/bench/figures.json, and the table of its README, instead of
# comparing with them.
#
# Exit status: 0, or 1 if a path has become worse, is not counted, or has no committed
# count, or if a stack frame is too large.

. "$(dirname "$0")/lib.sh"

ROOT=$("$QEMU_DIR/buildroot.sh")
SOURCE=/usr/src/linux
. "$QEMU_DIR/bench/build.sh"

# Only objects are wanted, so the kernel itself is not built: what modules_prepare
# makes is all that they need. The base configuration without debug assertions.
make_prepared() {
	local kernel=${*: -1} fragments=() f
	for f in "${@:1:$#-1}"; do fragments+=("$QEMU_DIR/kernel/$f.config"); done
	mkdir -p "$kernel/build"
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" LLVM=1 tinyconfig
	# shellcheck disable=SC2016 # expanded by the inner shell
	in_root "$ROOT" bash -c 'cd "$1" && shift && "$@"' - "$kernel/build" \
		"$SOURCE/scripts/kconfig/merge_config.sh" -m .config "${fragments[@]}"
	in_root "$ROOT" "$SOURCE/scripts/config" --file "$kernel/build/.config" -d RUST_DEBUG_ASSERTIONS
	in_root "$ROOT" make -C "$SOURCE" O="$kernel/build" LLVM=1 -j"$JOBS" olddefconfig modules_prepare
	# The kernel is not built, so its exports are not known: modpost only warns.
	: >"$kernel/build/Module.symvers"
	echo "LLVM=1 KBUILD_MODPOST_WARN=1" >"$kernel/make"
}

# prepared NAME FRAGMENT...: prints the folder of such a kernel.
prepared() {
	local name=$1 kernel files=() f
	shift
	for f in "$@"; do files+=("$QEMU_DIR/kernel/$f.config"); done
	kernel=$CACHE/kernel-size-$name-$(key "$(basename "$ROOT")" "${files[@]}" "$(declare -f make_prepared)")
	if [ ! -e "$kernel/.done" ]; then
		(
			flock 8
			once "$kernel" step "Preparing an LLVM kernel for module objects, $name (about 2 minutes)" \
				make_prepared "$@"
		) 8>"$CACHE/kernel.lock" || die "the kernel for $name could not be prepared"
	fi
	printf '%s\n' "$kernel"
}

# objects NAME KERNEL: the crate and the bench module, built for one kernel.
objects() {
	local out=$BUILD/size/$1 words
	words=$(cat "$2/make")
	mkdir -p "$out/bench/module"
	# shellcheck disable=SC2086 # words are words
	in_root "$ROOT" make -C "$2/build" $words M="$TOP" MO="$out" modules || return
	build_bench_module "$2" "$out" "$out/bench/module"
}

measured=()
# measure NAME KERNEL [ROOT]
measure() {
	local ROOT=${3:-$ROOT}
	step "Building objects for $1" objects "$1" "$2" || die "they do not build"
	measured+=("$1=$BUILD/size/$1")
}

measure stock-gcc "$("$QEMU_DIR/kernel.sh" stock)"
measure stock-arm64 "$("$QEMU_DIR/kernel.sh" stock-arm64)" "$("$QEMU_DIR/buildroot.sh" arm64)"
measure llvm "$(prepared llvm base)"
measure llvm-inlined "$(prepared inlined base inline-helpers)"
in_root "$ROOT" python3 -B "$QEMU_DIR/bench/size.py" --out "$BUILD/size/size.json" \
	--figures "$QEMU_DIR/bench/figures.json" ${SIZE_RECORD:+--record} \
	${SIZE_SHOW:+--show "$SIZE_SHOW"} "${measured[@]}"
