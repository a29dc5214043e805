#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# doc.sh: the crate's documentation, in .build/doc. A warning or a dead link fails.

. "$(dirname "$0")/lib.sh"

profile=${PROFILE:-stock}
ROOT=$("$QEMU_DIR/buildroot.sh")
"$QEMU_DIR/build.sh" "$profile" src/libquiesce || die "profile $profile does not build"
rm -rf "$BUILD/doc"
step "Writing the documentation" in_root "$ROOT" python3 "$QEMU_DIR/saved_command.py" \
	"$BUILD/$profile/src/.quiesce.o.cmd" rustdoc --drop --cfg=CONFIG_KUNIT -- \
	-Dwarnings -Drustdoc::broken_intra_doc_links \
	--output "$BUILD/doc" "$TOP/src/quiesce.rs" || exit "$EX_TESTS"
say "$BUILD/doc/quiesce/index.html"
