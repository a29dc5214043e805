#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# demo.sh: boots Debian's stock kernel, unmodified, in QEMU and runs the samples. Makes
# what is missing first.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"

profile=stock
say "quiesce: a Rust module for Debian's stock kernel. What is made now is kept in"
say "         $CACHE"
need_host
ROOT=$("$QEMU_DIR/buildroot.sh")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
"$QEMU_DIR/build.sh" "$profile" samples src/user || die "the module does not build"

dir=$BUILD/demo
rm -rf "$dir"
mkdir -p "$dir/stage/work"
copy_modules "$dir/stage" "$profile"
copy_tool "$dir/stage" "$profile"
cp -r "$BUILD/user/samples" "$dir/stage/"
cp "$TOP/samples/words.txt" "$dir/stage/work/"
initramfs "$dir/initramfs" "$dir/stage"

say "[$(stamp)] Booting $(cat "$KERNEL/release"), Debian's image as it is in the archive, in QEMU"
say ""
: >"$dir/console"
: >"$dir/story"
boot "$dir/initramfs" quiesce_do=demo -serial "file:$dir/console" -serial stdio 2>"$dir/qemu.err" </dev/null |
	tr -d '\r' | tee "$dir/story" | grep --line-buffered -v '^#' || true

# The picture that the guest made.
sed -n 's/^#svg //p' "$dir/story" >"$BUILD/timeline.svg"

rc=0
if ! grep -q '^# DEMO done' "$dir/story"; then
	tail -n 40 "$dir/console" "$dir/qemu.err" >&2
	say "quiesce: the machine ended before the demo did"
	exit "$EX_CRASH"
fi
grep -q '</svg>' "$BUILD/timeline.svg" || echo "# FAILED: no timeline" >>"$dir/story"
if grep -q '^# FAILED' "$dir/story"; then
	grep '^# FAILED' "$dir/story" >&2
	rc=$EX_TESTS
fi
in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --console-only --console "$dir/console" --results /dev/null || rc=$EX_CRASH
[ $rc != 0 ] ||
	say "[$(stamp)] Done: no complaint from the kernel; .build/timeline.svg shows who waited for whom. Next: make test, make shell, README.md"
exit $rc
