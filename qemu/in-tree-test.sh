#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# in-tree-test.sh: lays the crate into the source of the lockdep profile's kernel, builds
# it as modules and built in, and runs the suites with the kernel's own kunit.py. Prints
# KTAP. Source and build folder of that kernel stay as they are: what is written goes
# into layers over them, so that little has to be built.

. "$(dirname "$0")/lib.sh"

if [ -z "${QUIESCE_LAYERED:-}" ]; then
	ROOT=$("$QEMU_DIR/buildroot.sh")
	KERNEL=$("$QEMU_DIR/kernel.sh" lockdep)
	rm -rf "$BUILD/in-tree"
	mkdir -p "$BUILD/in-tree"/{source,build}/{upper,work}
	export ROOT KERNEL QUIESCE_LAYERED=1
	# shellcheck disable=SC2016 # for the inner shell
	exec unshare --mount --propagation private bash -c '
		layer() { mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$1"; }
		layer "$ROOT/usr/src/linux" "$1/source" && layer "$KERNEL/build" "$1/build" && exec "$2"' - "$BUILD/in-tree" "$0"
fi

SOURCE=$ROOT/usr/src/linux
WORK=$BUILD/in-tree

# kernel TARGET...: make in the kernel's tree.
kernel() { in_root "$ROOT" make -C /usr/src/linux O="$KERNEL/build" LLVM=1 -j"$JOBS" "$@"; }

# configure y|m
configure() {
	in_root "$ROOT" /usr/src/linux/scripts/config --file "$KERNEL/build/.config" --set-val QUIESCE "$1" \
		--enable QUIESCE_KUNIT_TEST --enable SAMPLE_QUIESCE
	kernel olddefconfig
	grep "^CONFIG_QUIESCE=$1" "$KERNEL/build/.config"
	[ "$(grep -c "QUIESCE.*=y" "$KERNEL/build/.config")" -ge 2 ]
}

lays_it_out() {
	KSRC=$SOURCE "$QEMU_DIR/in-tree.sh"
	cp -a "$SOURCE/drivers/misc/Kconfig" "$WORK/once"
	KSRC=$SOURCE "$QEMU_DIR/in-tree.sh"
	cmp "$SOURCE/drivers/misc/Kconfig" "$WORK/once"
}

refuses_what_is_no_kernel() {
	! KSRC=$WORK "$QEMU_DIR/in-tree.sh" >"$WORK/refused" 2>&1 || return 1
	grep 'is no kernel source tree' "$WORK/refused"
}

builds_as_modules() {
	configure m
	kernel drivers/misc/quiesce/quiesce.ko drivers/misc/quiesce/quiesce_kunit.ko drivers/misc/quiesce/rust_rundown.ko
	[ -e "$KERNEL/build/drivers/misc/quiesce/quiesce_kunit.ko" ]
}

builds_in() {
	configure y
	kernel bzImage
	grep -q ' quiesce_' "$KERNEL/build/System.map"
}

kunit_runs_the_suites() {
	local rc=0
	cd "$SOURCE"
	# kunit.py takes KVM wherever /dev/kvm is, though that need not work (see vm.sh).
	[ "${ACCEL:-tcg}" = kvm ] || [ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm
	in_root "$ROOT" sh -c 'cd /usr/src/linux && exec "$@"' - ./tools/testing/kunit/kunit.py exec --arch=x86_64 --build_dir="$KERNEL/build" \
		--timeout=900 --qemu_args "-smp 2 -cpu max" 'quiesce*' >"$WORK/kunit" 2>&1 || rc=$?
	cp "$KERNEL/build/test.log" "$WORK/" || true
	cat "$WORK/kunit"
	[ "$rc" = 0 ] && grep 'Testing complete. Ran [1-9][0-9][0-9]' "$WORK/kunit" &&
		in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --console-only --console "$WORK/test.log" --results /dev/null
}

cases=(lays_it_out refuses_what_is_no_kernel builds_as_modules builds_in kunit_runs_the_suites)
echo "KTAP version 1"
echo "1..${#cases[@]}"
rc=0
for n in "${!cases[@]}"; do
	if strict "${cases[n]}" >"$WORK/out" 2>&1; then
		echo "ok $((n + 1)) - ${cases[n]//_/ }"
	else
		rc=1
		tail -n 60 "$WORK/out" | sed 's/^/# /'
		echo "not ok $((n + 1)) - ${cases[n]//_/ }"
	fi
done
exit $rc
