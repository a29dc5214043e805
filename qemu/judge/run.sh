#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# judge/run.sh: gives the judge recorded logs and looks at what it says. Prints
# KTAP. The logs of clean, failing, warning and panic are of real runs; the others
# are theirs with one thing changed.

JUDGE=$(cd "$(dirname "$0")" && pwd)
. "$JUDGE/../lib.sh"
ROOT=$("$QEMU_DIR/buildroot.sh")

mapfile -t cases < <(grep -v '^#' "$JUDGE/expected")
echo "KTAP version 1"
echo "1..${#cases[@]}"
n=0 rc=0
for line in "${cases[@]}"; do
	n=$((n + 1)) got=0
	read -r name want <<<"$line"
	says=$(in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --console "$JUDGE/$name/console.log" \
		--results "$JUDGE/$name/results.log" --expect "quiesce_load quiesce_rundown quiesce_unload") || got=$?
	if [ "$got" = "$want" ]; then
		echo "ok $n - $name"
	else
		rc=$EX_TESTS
		printf '# %s\n' "${says//$'\n'/$'\n'# }"
		echo "not ok $n - $name: status $got, not $want"
	fi
done
exit "$rc"
