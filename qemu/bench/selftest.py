#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of what judges the figures, report.py, size.py and scale.py, with made-up ones. Prints KTAP.

A case is a function; it passes when it raises nothing. Each rule has a figure that meets it and one
that does not.
"""

import contextlib
import io
import pathlib
import sys
import tempfile

import figures
import report
import scale
import size

HERE = pathlib.Path(__file__).resolve().parent
# report.py


def rounds(ours, peer, spread=0.0, extra=None):
    """Eleven rounds around a value, each side as far from it as the others but one."""
    steps = [1 + spread * (at - 5) / 5 for at in range(11)]
    return {"ours": [ours * step for step in steps], "peer": [float(peer)] * 11,
            "extra": {"ours": [extra[0] if extra else 0] * 11, "peer": [extra[1] if extra else 0] * 11}}


def run(timed=(), counted=(), null=0.01, null_user=0.01):
    """The rows of a run, by name, with null rows of these spreads."""
    timed = {"null_seqlock_read": rounds(10, 10, null), "null_pthread_2cpus": rounds(10, 10, null_user), **dict(timed)}
    return {row["name"]: row for row in report.summaries(timed, dict(counted))}


def verdict(name, ours, peer, **others):
    return run(timed={name: rounds(ours, peer)}, **others)[name]["verdict"]


def committed(rows):
    """Those rows as figures.json has them."""
    return report.recorded(rows.values(), [], {"guest": "made up"}, {"kernel": 1.0, "user": 1.0})


def failures(rows, last, wanted=("seqlock_read",)):
    """What report.py says of a run of some rows."""
    return report.judge(list(rows.values()), last, list(wanted))


def says(found, text):
    assert any(text in line for line in found), (text, found)


def is_silent(found):
    assert not found, found


def a_count_is_judged_at_one_percent():
    assert run(counted={"seqlock_read": rounds(1009, 1000)})["seqlock_read"]["verdict"] == report.MET
    assert run(counted={"seqlock_read": rounds(1011, 1000)})["seqlock_read"]["verdict"] == report.MISSED


def a_count_does_not_depend_on_the_band():
    row = run(counted={"seqlock_read": rounds(1011, 1000)}, null=0.04)["seqlock_read"]
    assert (row["verdict"], row["by"]) == (report.MISSED, "instructions")


def memory_is_judged_at_one_percent():
    def memory(ours):
        return run(timed={"rcu_defer_1M": rounds(10, 10, extra=(ours, 1000))}, null=0.04)["rcu_defer_1M memory"]
    assert (memory(1009)["verdict"], memory(1009)["by"]) == (report.MET, "memory")
    assert memory(1011)["verdict"] == report.MISSED


def a_time_is_judged_by_the_band():
    assert verdict("rundown_percpu_2cpus", 102, 100, null=0.04) == report.MET
    assert verdict("rundown_percpu_2cpus", 102, 100, null=0.01) == report.MISSED


def a_wide_band_meets_nothing():
    assert verdict("rundown_percpu_2cpus", 102, 100, null=0.5) == report.NOT_JUDGED
    assert verdict("rundown_percpu_2cpus", 100, 100, null=0.5) == report.NOT_JUDGED


def a_wide_band_leaves_what_is_beyond_it():
    assert verdict("rundown_percpu_2cpus", 200, 100, null=0.5) == report.MISSED
    assert verdict("rundown_percpu_2cpus", 50, 100, null=0.5) == report.MET


def the_band_is_that_of_the_kind():
    assert verdict("rundown_percpu_2cpus", 102, 100, null=0.01, null_user=0.5) == report.MISSED
    assert verdict("group_3_2cpus", 100, 100, null=0.01, null_user=0.5) == report.NOT_JUDGED
    assert verdict("pair_pthread_2cpus", 102, 100, null=0.5, null_user=0.04) == report.MET


def a_band_is_of_both_directions():
    timed = {"null_seqlock_read": rounds(8, 10), "rundown_percpu_2cpus": rounds(102, 100)}
    rows = {row["name"]: row for row in report.summaries(timed, {})}
    assert rows["rundown_percpu_2cpus"]["verdict"] == report.NOT_JUDGED


def without_a_null_row_no_time_is_judged():
    rows = {row["name"]: row for row in report.summaries({"rundown_percpu_2cpus": rounds(9, 10)}, {})}
    assert rows["rundown_percpu_2cpus"]["verdict"] == report.NOT_JUDGED


def the_table_counts_the_verdicts():
    timed = {"rundown_percpu_2cpus": rounds(100, 100), "group_3_2cpus": rounds(300, 100), "pair_pthread_2cpus": rounds(1, 100)}
    rows = run(timed, null=0.5)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        report.table(list(rows.values()), [], {"guest": "", "accel": "", "host": ""}, {"kernel": 1.5, "user": 1.01})
    for line in "1 met", "1 missed: group_3_2cpus", "1 not judged: rundown_percpu_2cpus", "warning: ":
        assert f"\n{line}" in out.getvalue(), (line, out.getvalue())


def three_percent_more_instructions_fail():
    last = committed(run(counted={"seqlock_read": rounds(1000, 2000)}))
    is_silent(failures(run(counted={"seqlock_read": rounds(1029, 2000)}), last))
    says(failures(run(counted={"seqlock_read": rounds(1031, 2000)}), last), "1031 instructions, and had 1000")


def a_count_without_a_committed_one_fails():
    rows = run(counted={"seqlock_read": rounds(1000, 1000)})
    says(failures(rows, {}), "seqlock_read has no committed count")
    says(failures(rows, committed(run(timed={"seqlock_read": rounds(9, 10)}))), "seqlock_read has no committed count")


def a_row_that_vanished_fails():
    both = run(timed={"group_3_2cpus": rounds(9, 10)}, counted={"seqlock_read": rounds(1000, 1000)})
    last = committed(both)
    is_silent([line for line in failures(both, last, ()) if "no row was measured" not in line])
    for name in "group_3_2cpus", "seqlock_read":
        rest = {n: row for n, row in both.items() if n != name}
        says(failures(rest, last, ()), f"{name} was not measured")
        # If other rows were asked for, it need not be there.
        assert not any(name in line for line in failures(rest, last, ["rundown", "null"]))


def a_count_that_vanished_fails():
    last = committed(run(timed={"seqlock_read": rounds(9, 10)}, counted={"seqlock_read": rounds(1000, 1000)}))
    says(failures(run(timed={"seqlock_read": rounds(9, 10)}), last), "seqlock_read was not counted")


def a_target_that_nothing_measures_fails():
    says(failures(run(), {}, ()), "no row was measured for seqlock_write_bh")


def a_row_without_a_line_of_the_table_fails():
    says(failures(run(timed={"another": rounds(1, 1)}), {}), "another is not in ROWS")


def a_miss_needs_a_reason():
    last = committed(run(counted={"seqlock_read": rounds(1100, 1000), "seqlock_write_irq": rounds(1100, 1000)}))
    found = failures(run(counted={"seqlock_read": rounds(1100, 1000), "seqlock_write_irq": rounds(1100, 1000)}), last)
    says(found, "seqlock_read misses its target")
    assert not any("seqlock_write_irq" in line for line in found)


def what_is_recorded_is_met():
    rows = run(timed={"group_3_2cpus": rounds(9, 10)}, counted={"seqlock_read": rounds(1000, 1000)})
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/figures.json"
        pathlib.Path(folder, "README.md").write_text("a\n<!-- bench: filled by x -->\nold\n<!-- bench end -->\nb\n", encoding="utf-8")
        figures.record(path, "bench", committed(rows), report.markdown(committed(rows)))
        is_silent(failures(rows, figures.read(path, "bench")))
        text = pathlib.Path(folder, "README.md").read_text(encoding="utf-8")
        assert "old" not in text and text.startswith("a\n<!--") and text.endswith("-->\nb\n") and "`group_3_2cpus`" in text


def main_gives_the_status(wanted="seqlock_read"):
    lines = "".join(f"round {name} {side} 10 {ns} 0\n" for name in ("null_seqlock_read", "seqlock_read") for side, ns in
                    (("ours", 1000), ("peer", 1000)))
    with tempfile.TemporaryDirectory() as folder:
        for name in "results.counting", "results.2":
            pathlib.Path(folder, name).write_text(lines, encoding="utf-8")
        pathlib.Path(folder, "README.md").write_text("<!-- bench: filled by x -->\n<!-- bench end -->\n", encoding="utf-8")
        arguments = ["report.py", "--out", folder, "--figures", f"{folder}/figures.json", "--wanted", wanted]
        results = [f"{folder}/results.counting", f"{folder}/results.2"]
        for more, status in ([], 1), (["--record"], 0), ([], 0):
            sys.argv = arguments + more + results
            with contextlib.redirect_stdout(io.StringIO()):
                assert report.main() == status, (more, status)


def the_readme_has_the_figures_of_one_run():
    path = str(HERE / "figures.json")
    text = pathlib.Path(figures.readme(path)).read_text(encoding="utf-8")
    for part, table in ("bench", report.markdown), ("size", size.markdown):
        assert figures.fill(text, part, table(figures.read(path, part))) == text, f"README.md's table of {part}"


def each_committed_miss_has_its_reason():
    for name, row in figures.read(str(HERE / "figures.json"), "bench")["rows"].items():
        assert row["verdict"] != report.MISSED or report.describe(name)[3], name


# size.py


def code(*lines):
    """Instructions, of each 'op args', or 'op args | relocation'; 'op @n' jumps to line n."""
    out = []
    for at, line in enumerate(lines):
        text, _, reloc = line.partition(" | ")
        op, _, args = text.partition(" ")
        out.append(size.Insn(at, op, f"0x{int(args[1:]):x}" if args.startswith("@") else args, reloc))
    return out


def kernels(ours=None, peer=None, frames=None, path="rundown_acquire", name="stock"):
    """A kernel with one path."""
    def side(one):
        return one and {"instructions": one[0], "calls": list(one[1:]), "locked": 0, "whole": one[0]}
    return {name: {"paths": {path: {"ours": side(ours), "peer": side(peer)}},
                   "frames": {"stack_512_read": {"bytes": 8, "most": 1536}} if frames is None else frames}}


def size_failures(now, last):
    return size.judge(now, size.recorded(last))


def a_path_that_skips_the_work_is_none():
    work = code("test %rdi, %rdi", "je @3", "lock incq (%rdi)", "ret")
    assert size.count({"f": work}, "f", [size.LOCKED])["instructions"] == 4
    skips = code("test %rdi, %rdi", "je @3", "incq (%rdi)", "ret")
    assert size.count({"f": skips}, "f", [size.LOCKED]) is None


def the_preemption_count_is_no_reference():
    for enters in "incl %gs:0x0(%rip) | __preempt_count", "incq %gs:0x0(%rip) | __preempt_count":
        assert size.count({"f": code(enters, "ret")}, "f", [size.PERCPU]) is None
    assert size.count({"f": code("incq %gs:(%rax)", "ret")}, "f", [size.PERCPU])["instructions"] == 2
    assert size.count({"f": code("addq $0x1, %gs:(%rax)", "ret")}, "f", [size.PERCPU])["instructions"] == 2


def work_out_of_line_counts():
    functions = {"f": code("bl 0x0 | helper", "ret"), "helper": code("mrs x0, TPIDR_EL1", "add x0, x0, #0x1", "ret")}
    one = size.count(functions, "f", [size.PERCPU])
    assert (one["instructions"], one["calls"]) == (5, ["helper"])
    functions["helper"] = code("add x0, x0, #0x1", "ret")
    assert size.count(functions, "f", [size.PERCPU]) is None


def a_call_that_reschedules_is_no_fast_path():
    path = code("cbz x0, 0x3", "ldr x0, [x1]", "b 0x4", "bl 0x0 | preempt_schedule", "ret")
    assert size.count({"f": path}, "f", [])["calls"] == []


def a_path_that_is_not_counted_fails():
    last = kernels((10,), (10,))
    is_silent(size_failures(kernels((10,), (10,)), last))
    says(size_failures(kernels(None, (10,)), last), "ours cannot be counted")
    says(size_failures(kernels((10,), None), last), "peer cannot be counted")
    assert "not counted" in size.verdict({"stock": kernels((10,), None)["stock"]["paths"]["rundown_acquire"]})


def a_path_that_is_documented_as_not_counted_passes():
    size.NOT_COUNTED[("stock", "rundown_acquire")] = "made up"
    try:
        is_silent(size_failures(kernels(None, (10,)), kernels(None, (10,))))
    finally:
        size.NOT_COUNTED.clear()


def a_path_that_is_worse_fails():
    last = kernels((100, "call"), (100, "call"))
    is_silent(size_failures(kernels((103, "call"), (100, "call")), last))
    says(size_failures(kernels((104, "call"), (100, "call")), last), "104 instructions, and had 100")
    says(size_failures(kernels((100, "other"), (100, "call")), last), "calls other, and called call")


def a_path_or_kernel_of_one_side_fails():
    one = kernels((10,), (10,))
    says(size_failures(one, {}), "stock has no committed figures")
    says(size_failures({}, one), "stock was not measured")
    says(size_failures(one, kernels((10,), (10,), path="rcu_read")), "rundown_acquire on stock has no committed count")
    says(size_failures(one, kernels((10,), (10,), path="rcu_read")), "rcu_read on stock was not measured")


def a_large_or_lost_frame_fails():
    last = kernels((10,), (10,))
    says(size_failures(kernels((10,), (10,), {"stack_512_read": {"bytes": 1537, "most": 1536}}), last), "1537 bytes of stack")
    says(size_failures(kernels((10,), (10,), {}), last), "stack_512_read on stock was not found")


def a_miss_of_size_is_in_the_table():
    paths = kernels((103,), (101,))["stock"]["paths"]["rundown_acquire"]
    assert size.verdict({"stock": paths}) == "missed on stock"
    assert size.verdict({"stock": kernels((9, "f"), (9,))["stock"]["paths"]["rundown_acquire"]}) == "a call more on stock"
    assert size.verdict({"stock": kernels((9,), (9,))["stock"]["paths"]["rundown_acquire"]}) == "met"


# scale.py


def curves(**others):
    """All curves, linear, but for these."""
    linear = {name: {size: 100.0 * (size - scale.WITHOUT.get(name, 0)) for size in (2, 10, 100)} for name in scale.CURVES}
    return {**linear, **others}


def linear_curves_pass():
    is_silent(scale.judge(curves(), True))
    # What does not depend on the size is most of the beginning.
    is_silent(scale.judge(curves(pollers={1: 900.0, 10: 1800.0, 100: 14000.0}), True))


def a_steep_end_fails():
    says(scale.judge(curves(pollers={1: 100.0, 10: 1000.0, 100: 13100.0}), True), "pollers: each of 100 costs 1.31 times each of 1")


def a_steep_beginning_fails():
    says(scale.judge(curves(pollers={1: 100.0, 10: 1310.0, 100: 13100.0}), True), "pollers: each of 10 costs 1.31 times each of 1")


def a_curve_that_rises_slowly_fails():
    says(scale.judge(curves(pollers={1: 100.0, 10: 1200.0, 100: 14400.0}), True), "pollers: each of 100 costs 1.44 times each of 1")


def a_flat_end_fails():
    says(scale.judge(curves(pollers={1: 100.0, 10: 1000.0, 100: 2000.0}), True), "something else is most of it")


def the_last_party_does_not_sleep():
    is_silent(scale.judge(curves(parties={2: 100.0, 3: 200.0, 11: 1000.0}), True))
    says(scale.judge(curves(parties={2: 100.0, 3: 300.0, 11: 1500.0}), True), "parties: each of 3 costs 1.50 times each of 2")


def a_missing_curve_fails_a_whole_run():
    for points in {}, {10: 1000.0}:
        says(scale.judge(curves(parties=points), True), f"parties was measured at {len(points)} sizes")
        is_silent(scale.judge(curves(parties=points), False))


def an_unknown_curve_fails():
    says(scale.judge(curves(other={1: 1.0, 2: 2.0}), False), "other is not in CURVES")


def the_rows_of_a_guest_are_read():
    with tempfile.TemporaryDirectory() as folder:
        for cpus in 1, 2:
            pathlib.Path(folder, f"results.scale{cpus}").write_text(
                f"# row scale_word_cpus_0\nround scale_word_cpus_0 ours 10 {cpus * 100} 0\nround scale_word_cpus_0 ours 10 {cpus * 200} 0\n"
                "round scale_pending_1000 ours 1000 5000 0\n", encoding="utf-8")
        read = scale.read([f"{folder}/results.scale1", f"{folder}/results.scale2"])
    assert read["word_cpus"] == {1: 10.0, 2: 20.0}, read
    assert read["pending"] == {1000: 5000.0}, read


def main():
    cases = [(name, case) for name, case in globals().items()
             if callable(case) and getattr(case, "__module__", "") == __name__ and name not in HELPERS]
    print("KTAP version 1")
    print(f"1..{len(cases)}")
    status = 0
    for number, (name, case) in enumerate(cases, 1):
        try:
            case()
        except Exception as error:  # whatever it is, the case failed
            status = 1
            print(f"# {type(error).__name__}: {error}")
            print("not ", end="")
        print(f"ok {number} - {name.replace('_', ' ')}")
    return status


HELPERS = ("rounds", "run", "verdict", "committed", "failures", "says", "is_silent", "code", "kernels", "size_failures",
           "curves", "main")

if __name__ == "__main__":
    sys.exit(main())
