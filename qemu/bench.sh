#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# bench.sh: measures quiesce and the baselines alternately in one boot of a stock
# kernel. Prints a table of ratios and writes bench.json and bench.svg to
# .build/bench. BENCH= selects rows by one or more prefixes of their names. BENCH=scale
# counts the instructions of ours at several sizes instead, draws scale.svg, and judges
# whether each curve is as flat or linear as it has to be.
#
# The null rows are measured in each run: their spread is what a row's time may miss
# its aim by. BENCH_RECORD=1 writes the figures of a run of all rows into
# bench/figures.json, and bench/README.md's tables.
#
# Exit status: 0 measured; 1 a row has more than 3 % more instructions than figures.json
# has, misses a target of instructions or memory without a reason in report.py, or is of
# figures.json or the run alone, or a curve of BENCH=scale is not as it has to be; 2
# environment; 3 a kernel warning, or the guest ended too early.

. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/profiles.sh"
. "$QEMU_DIR/vm.sh"
eval "measured_$(declare -f accel)"

profile=${PROFILE:-stock}
need_profile "$profile"
BENCH=${BENCH:-}
# The committed figures are of one kernel, and all of one run.
FIGURES=$QEMU_DIR/bench/figures.json
[ "$profile" = stock ] || FIGURES=
[ -z "${BENCH_RECORD:-}" ] || { [ -z "$BENCH" ] && [ "$profile" = stock ]; } ||
	die "BENCH_RECORD=1 is of all rows, and of profile stock"
ROOT=$("$QEMU_DIR/buildroot.sh")
KERNEL=$("$QEMU_DIR/kernel.sh" "$profile")
"$QEMU_DIR/build.sh" "$profile" || die "profile $profile does not build"
. "$QEMU_DIR/bench/build.sh"
step "Building the bench" build_bench "$profile" || die "the bench does not build"

OUT=$BUILD/bench
STAGE=$OUT/stage
rm -rf "$STAGE"
mkdir -p "$STAGE/work"
copy_modules "$STAGE" "$profile"
cp "$(bench_dir "$profile")"/{quiesce_bench.ko,user/barrier-bench} "$STAGE/work/"
in_root "$ROOT" objcopy --strip-debug "$STAGE/work/quiesce_bench.ko"

# QEMU's options for the guest's clock. When counting, the clock is the number of
# executed instructions, and time in which the guest sleeps is skipped, so other
# load on the host does not affect the result.
MEASURING=
accel() {
	case $MEASURING in
	counting | scale*) echo "-accel tcg,thread=single -icount shift=0,sleep=off -cpu max" ;;
	*) measured_accel ;;
	esac
}

# guest LABEL CPUS WANTED: one boot; the lines of all rows into $OUT/results.LABEL.
guest() {
	local label=$1 cpus=$2 wanted=$3 results=$OUT/results.$1 line null
	MEASURING=$label
	[[ $wanted = scale* ]] && null='' || null=null_
	printf '%s\n' "$wanted" ${wanted:+$null} | sed '/^$/d' >"$STAGE/wanted"
	rm -f "$STAGE/counting"
	[ "$label" != counting ] || : >"$STAGE/counting"
	cp "$QEMU_DIR/bench/guest.sh" "$STAGE/bench.sh"
	initramfs "$OUT/initramfs" "$STAGE"
	say "[$(stamp)] booting $(cat "$KERNEL/release"), $label, with $cpus CPUs"
	: >"$OUT/console.$label"
	# A guest that prints nothing for so long hangs.
	while IFS= read -r -t 600 line; do
		line=${line%$'\r'}
		printf '%s\n' "$line"
		case $line in "# row "*) say "[$(stamp)]   ${line#\# row }" ;; esac
	done < <(SMP=$cpus TIMEOUT=2400 MEM=2048 boot "$OUT/initramfs" quiesce_do=bench \
		-pidfile "$OUT/qemu.pid" -serial "file:$OUT/console.$label" -serial stdio 2>"$OUT/qemu.err" </dev/null) >"$results"
	# One that hangs is still there.
	[ ! -e "$OUT/qemu.pid" ] || kill "$(cat "$OUT/qemu.pid")" 2>/dev/null || true
	if ! grep -q '^# BENCH done' "$results" || grep '^# FAILED' "$results" >&2; then
		tail -n 40 "$OUT/console.$label" "$OUT/qemu.err" >&2
		say "quiesce: the bench did not come to its end"
		exit "$EX_CRASH"
	fi
	in_root "$ROOT" python3 "$QEMU_DIR/judge.py" --console-only --console "$OUT/console.$label" \
		--results /dev/null || exit "$EX_CRASH"
}

rm -f "$OUT"/results.*
if [[ $BENCH = scale* ]]; then
	guest scale1 1 "$BENCH"
	for cpus in 2 4 8; do
		[ "$BENCH" = scale ] || [[ $BENCH = *_cpus* ]] || continue
		guest "scale$cpus" "$cpus" scale_word_cpus\ scale_percpu_cpus
	done
	whole=
	[ "$BENCH" != scale ] || whole=--whole
	in_root "$ROOT" python3 -B "$QEMU_DIR/bench/scale.py" $whole "$OUT/scale.svg" "$OUT"/results.scale*
	exit
fi
guest counting 1 "$BENCH"
guest 2 2 "$BENCH"
# The cost of a drain on fewer and on more CPUs.
case $BENCH in
'' | rundown_drain*)
	guest 1 1 rundown_drain
	guest 4 4 rundown_drain
	;;
esac
grep '^# row' "$OUT"/results.* | grep -qv ':# row null_' || [[ $BENCH = null* ]] || die "BENCH=$BENCH: no row's name begins so"
in_root "$ROOT" python3 -B "$QEMU_DIR/bench/report.py" --out "$OUT" --accel "${ACCEL:-tcg}" \
	${FIGURES:+--figures "$FIGURES"} ${BENCH_RECORD:+--record} --wanted "$BENCH" "$OUT"/results.*
