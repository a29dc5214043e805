#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# types.sh TREE CASE: whether kunit/compile-fail/CASE.rs fails as it says against the
# crate in TREE, which is below .build. Compiled by the commands of the mutants' build
# for profile stock. Prints KTAP. Exit status: 0 it does; 1 it does not; 3 the crate does
# not compile; 2 environment.

. "$(dirname "$0")/../lib.sh"

tree=$1 name=$2
ROOT=$("$QEMU_DIR/buildroot.sh")
OUT=$BUILD/mutants/stock
work=$tree/types
mkdir -p "$work"
[ -e "$OUT/samples/.rust_rundown.o.cmd" ] || die "the mutants are not built for profile stock"

in_root "$ROOT" python3 "$QEMU_DIR/saved_command.py" "$OUT/src/.quiesce.o.cmd" rustc -- --crate-type rlib \
	--emit=metadata="$work/libquiesce.rmeta" "$tree/src/quiesce.rs" >"$work/crate.log" 2>&1 || {
	cat "$work/crate.log"
	exit 3
}
command=$(sed -n '1s/^savedcmd_[^ ]* := //p' "$OUT/samples/.rust_rundown.o.cmd" | sed -e 's/ --emit=[^ ]*//g' \
	-e 's/ --out-dir [^ ]*//' -e 's/ -Dwarnings//' -e 's| [^ ]*/rust_rundown\.rs.*||' \
	-e "s|quiesce=[^ ]*libquiesce.rmeta|quiesce=$work/libquiesce.rmeta|")
rc=0
# shellcheck disable=SC2016 # expanded by the inner shell
in_root "$ROOT" bash -c 'cd "$1" && RUSTC_BOOTSTRAP=1 && export RUSTC_BOOTSTRAP && eval "$2"' - "$OUT" \
	"$command --crate-name $name --emit=metadata=$work/case.rmeta $TOP/kunit/compile-fail/$name.rs" >"$work/case.log" 2>&1 || rc=$?
verdict() {
	printf 'KTAP version 1\n1..1\n%s 1 - %s\n' "$2" "$name"
	exit "$1"
}
[ "$rc" != 0 ] || verdict 1 "not ok"
while read -r wanted; do
	grep -qF -- "$wanted" "$work/case.log" || verdict 1 "not ok"
done < <(sed -n 's|^ *//~ ERROR ||p' "$TOP/kunit/compile-fail/$name.rs")
verdict 0 ok
