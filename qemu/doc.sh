#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# doc.sh: the crate's documentation, in .build/doc. A warning, a dead link or an exported
# macro without a page fails.

. "$(dirname "$0")/lib.sh"

profile=${PROFILE:-stock}
ROOT=$("$QEMU_DIR/buildroot.sh")
"$QEMU_DIR/build.sh" "$profile" src/libquiesce || die "profile $profile does not build"
rm -rf "$BUILD/doc"
step "Writing the documentation" in_root "$ROOT" python3 "$QEMU_DIR/saved_command.py" \
	"$BUILD/$profile/src/.quiesce.o.cmd" rustdoc --drop --cfg=CONFIG_KUNIT -- \
	-Dwarnings -Drustdoc::broken_intra_doc_links \
	--output "$BUILD/doc" "$TOP/src/quiesce.rs" || exit "$EX_TESTS"
without_page=0
while read -r macro; do
	[ -z "$(find "$BUILD/doc/quiesce" -name "macro.$macro.html")" ] || continue
	say "quiesce: the macro $macro has no page"
	without_page=1
done < <(cd "$TOP/src" && grep -rhA 3 --include='*.rs' '^#\[macro_export\]' . | sed -n 's/^macro_rules! \([a-z_]*\) .*/\1/p')
[ $without_page = 0 ] || exit "$EX_TESTS"
say "$BUILD/doc/quiesce/index.html"
