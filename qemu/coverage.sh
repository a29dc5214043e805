#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# coverage.sh [build|run]: `make torture PART=coverage`; builds quiesce.ko for profile lockdep, whose kernel has CONFIG_KCOV, with
# a trace point in each block of instructions, and runs the fuzzer on it. Prints how many
# of the lines of src/device and src/barrier that have a trace point its calls reached; .build/coverage/missed
# lists the others. CALLS= is how many calls it makes.
#
# Exit status: 0 if LEAST percent or more were reached; 1 if less, or if the fuzzer failed; 2 environment;
# 3 the guest ended too early.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"

# Runs of 80000 calls reached 342 to 347 of 458 lines, 75 or 76 %. Most of the others run outside of a call, or
# where memory is short or a limit is reached.
LEAST=70

profile=lockdep
OUT=$BUILD/coverage
ROOT=$("$QEMU_DIR/buildroot.sh")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")

build_coverage() {
	mkdir -p "$OUT/crate"
	in_root "$ROOT" make -C "$TOP" modules KDIR="$KERNEL/build" MO="$OUT/crate" obj-m=quiesce.o \
		KCOV_INSTRUMENT=y KRUSTFLAGS=-Cdebuginfo=1 KCFLAGS=-gdwarf-4
	in_root "$ROOT" make -C "$TOP/qemu/torture" O="$OUT/user" KCOV=1 "$OUT/user/fuzz"
}

[ "${1:-}" = run ] || step "Building quiesce.ko with trace points" build_coverage || die "it does not build"
[ "${1:-}" != build ] || exit 0
rm -rf "$OUT/stage"
mkdir -p "$OUT/stage"/{modules,tests}
cp "$OUT/crate/quiesce.ko" "$OUT/stage/modules/"
in_root "$ROOT" objcopy --strip-debug "$OUT/stage/modules/quiesce.ko"
cp "$OUT/user/fuzz" "$OUT/stage/tests/"
echo "--calls ${CALLS:-80000}" >"$OUT/stage/arguments"
initramfs "$OUT/initramfs" "$OUT/stage"
step "Fuzzing it" boot "$OUT/initramfs" "quiesce_do=coverage nokaslr" \
	-serial "file:$OUT/console" -serial "file:$OUT/results" || true
if ! grep -q '^# COVERAGE done' "$OUT/results"; then
	tail -n 20 "$OUT/console" "$OUT/results" >&2
	exit "$EX_CRASH"
fi
rc=0
in_root "$ROOT" python3 "$QEMU_DIR/coverage.py" "$OUT/crate/quiesce.ko" "$OUT/results" "$OUT/missed" "$LEAST" || rc=$EX_TESTS
if ! grep -q '^# | 1\.\.' "$OUT/results" || grep '^# | not ok' "$OUT/results" >&2; then
	say "quiesce: the fuzzer failed"
	rc=$EX_TESTS
fi
exit "$rc"
