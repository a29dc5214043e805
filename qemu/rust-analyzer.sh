#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rust-analyzer.sh: writes rust-project.json, which describes the kernel's crates,
# this one and its users to an editor. The kernel's generator supplies the first.

. "$(dirname "$0")/lib.sh"

profile=${PROFILE:-stock}
ROOT=$("$QEMU_DIR/buildroot.sh")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
"$QEMU_DIR/build.sh" "$profile" src/libquiesce || die "profile $profile does not build"

generate() {
	local words
	read -ra words <"$KERNEL/make"
	mkdir -p "$BUILD/rust-analyzer"
	in_root "$ROOT" make -C "$KERNEL/build" M="$BUILD/rust-analyzer" "${words[@]}" rust-analyzer
	in_root "$ROOT" python3 "$QEMU_DIR/rust_project.py" "$BUILD/rust-analyzer/rust-project.json" \
		"$TOP" "$BUILD/$profile" "$ROOT" >"$TOP/rust-project.json"
}

step "Writing rust-project.json" generate || exit "$EX_ENV"
say "$TOP/rust-project.json"
