# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Builds the bench's module and program. Sourced after lib.sh; ROOT and KERNEL
# are set, and build.sh has built quiesce itself.

bench_dir() { echo "$BUILD/$1/bench"; }

# build_bench PROFILE
build_bench() {
	local dir
	dir=$(bench_dir "$1")
	mkdir -p "$dir/module"
	build_bench_module "$KERNEL" "$BUILD/$1" "$dir/module"
	cp "$dir/module/quiesce_bench.ko" "$dir/"
	in_root "$ROOT" make -C "$QEMU_DIR/bench/user" LIBQUIESCE="$BUILD/user/src/libquiesce" O="$dir/user"
}

# build_bench_module KERNEL QUIESCE OUT: QUIESCE is where quiesce.ko was built.
build_bench_module() {
	local words
	words=$(cat "$1/make")
	# shellcheck disable=SC2086 # words are words
	in_root "$ROOT" make -C "$1/build" $words M="$QEMU_DIR/bench" MO="$3" QUIESCE="$2" modules
}
