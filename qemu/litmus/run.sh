#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# litmus/run.sh [NAME...]: runs the memory-model tests of this folder (those
# whose name begins with a NAME) with herd7 and the kernel's memory model, and
# reports in KTAP. In CLAIM.litmus the bad outcome never happens, and no data
# race is flagged. In CLAIM.broken-WHAT.litmus one piece is taken away, and
# herd7 must find the bad outcome. Exit status: 0 if all is as claimed.

LITMUS=$(cd "$(dirname "$0")" && pwd)
. "$(dirname "$0")/../lib.sh"

HERD=$("$QEMU_DIR/herd.sh")
MODEL=$("$QEMU_DIR/buildroot.sh")/usr/src/linux/tools/memory-model

# herd FILE...: from the model's folder, which is where the .cfg finds its parts.
herd() {
	if [ -d "$HERD" ]; then
		(cd "$MODEL" && QUIESCE_BIND=$LITMUS in_root "$HERD" herd7 -conf linux-kernel.cfg "$@")
	else
		(cd "$MODEL" && "$HERD" -conf linux-kernel.cfg "$@")
	fi
}

# judge NAME OUTPUT: says what is wrong with one test's result, or nothing.
judge() {
	local expect=Never result
	case $1 in *.broken-*) expect=Sometimes ;; esac
	grep -qx " \* Result: $expect" "$LITMUS/$1.litmus" || { echo "its comment does not say Result: $expect"; return; }
	result=$(sed -n 's/^Observation [^ ]* \([A-Z][a-z]*\) .*/\1/p' "$2")
	if [ -z "$result" ]; then
		echo "herd7 gave no result"
	elif [ "$result" != "$expect" ]; then
		echo "expected $expect, herd7 says $result"
	elif [ "$expect" = Never ] && grep -q '^Flag data-race' "$2"; then
		echo "herd7 flags a data race"
	fi
}

tests=()
for file in "$LITMUS"/*.litmus; do
	name=$(basename "$file" .litmus)
	for want in "${@:-}"; do
		case $name in "$want"*) tests+=("$name") && break ;; esac
	done
done
[ ${#tests[@]} != 0 ] || die "no litmus test is called ${*}*"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
echo "KTAP version 1"
echo "1..${#tests[@]}"
rc=0
n=0
for name in "${tests[@]}"; do
	n=$((n + 1))
	herd "$LITMUS/$name.litmus" >"$out/$name" 2>&1 || true
	why=$(judge "$name" "$out/$name")
	# A claim without a broken variant would be a test that cannot fail.
	case $name in
	*.broken-*) ;;
	*) ls "$LITMUS/$name".broken-*.litmus >/dev/null 2>&1 || why="it has no broken variant" ;;
	esac
	if [ -z "$why" ]; then
		echo "ok $n - $name"
	else
		rc=$EX_TESTS
		sed 's/^/# /' "$out/$name"
		echo "# $why"
		echo "not ok $n - $name"
	fi
done
exit "$rc"
