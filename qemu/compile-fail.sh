#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# compile-fail.sh [PROFILE]: checks that what must not compile does not. Prints KTAP.
#
# Each kunit/compile-fail/*.rs is a user of the crate, compiled by the command
# that Kbuild used for a sample module of the profile. With `--cfg fixed` it must
# compile; without, it must fail with every message that a line of it demands:
#
#	//~ ERROR part of a line of rustc's output
#
# Object code is generated, because some errors are reported only then.

. "$(dirname "$0")/lib.sh"

profile=${1:-stock}
ROOT=$("$QEMU_DIR/buildroot.sh")
OUT=$BUILD/$profile
CMD=$OUT/samples/.rust_rundown.o.cmd
WORK=$OUT/compile-fail
CASES=$QEMU_DIR/../kunit/compile-fail

[ -e "$CMD" ] || "$QEMU_DIR/build.sh" "$profile" samples || die "profile $profile does not build"
rm -rf "$WORK"
mkdir -p "$WORK/case" "$WORK/fixed" "$WORK/broken"
cp "$CASES"/*.rs "$WORK/case/"

# Cases that test this script: one that compiles in both forms, and one that fails
# with another error than it demands. Both must be reported.
echo '//~ ERROR nothing is wrong' >"$WORK/case/0_accepted.rs"
printf '%s\n' '//~ ERROR mismatched types' '#[cfg(not(fixed))]' 'fn f() { g() }' >"$WORK/case/0_other_error.rs"

# The command that Kbuild saved, without the source and the outputs.
sed -n '1s/^savedcmd_[^ ]* := //p' "$CMD" | sed -e 's/ --emit=[^ ]*//g' -e 's/ --out-dir [^ ]*//' \
	-e 's/ -Dwarnings//' -e 's/ -Cdebuginfo=[0-9]//' -e 's| [^ ]*/rust_rundown\.rs.*||' >"$WORK/rustc"
grep -q -e '--extern quiesce=' "$WORK/rustc" || die "no rustc command in $CMD"

# The inner part runs in the build root, where Kbuild ran: once per case and form.
cat >"$WORK/one.sh" <<-'EOF'
	name=$(basename "$1" .rs)
	export RUSTC_BOOTSTRAP=1 # as Kbuild does
	eval "$(cat compile-fail/rustc) --crate-name $name $2 -Copt-level=0" \
		--emit=obj --out-dir="compile-fail/$3" "$1" >"compile-fail/$name.$3.log" 2>&1
	echo $? >"compile-fail/$name.$3.rc"
EOF
(
	cd "$OUT"
	for case in compile-fail/case/*.rs; do
		printf '%s\0%s\0%s\0' "$case" '--cfg fixed' fixed "$case" '' broken
	done | in_root "$ROOT" xargs -0 -n 3 -P "$JOBS" bash compile-fail/one.sh
)

# verdict NAME: why the case is not as it should be, or nothing.
verdict() {
	local name=$1 file=$WORK/case/$1.rs wanted
	grep -q '^ *//~ ERROR ' "$file" || { echo "the case names no error"; return; }
	[ "$(cat "$WORK/$name.fixed.rc")" = 0 ] || { echo "the control does not compile"; return; }
	[ "$(cat "$WORK/$name.broken.rc")" = 1 ] || { echo "it compiles"; return; }
	while read -r wanted; do
		grep -qF -- "$wanted" "$WORK/$name.broken.log" || { echo "no error says: $wanted"; return; }
	done < <(sed -n 's|^ *//~ ERROR ||p' "$file")
}

names=$(cd "$WORK/case" && printf '%s\n' *.rs | sed 's/\.rs$//')
n=0 rc=0
echo "KTAP version 1"
echo "1..$(wc -w <<<"$names")"
for name in $names; do
	n=$((n + 1))
	why=$(verdict "$name")
	case $name in
	0_accepted) [ "$why" = "it compiles" ] && why= || why="an accepted case is not found out" ;;
	0_other_error) [ "$why" = "no error says: mismatched types" ] && why= || why="another error passes" ;;
	esac
	if [ -z "$why" ]; then
		echo "ok $n - $name"
	else
		rc=$EX_TESTS
		echo "not ok $n - $name"
		echo "# $why"
		sed -n 's/^/# /; 1,30p' "$WORK/$name".{fixed,broken}.log
	fi
done
exit "$rc"
