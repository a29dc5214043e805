#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes a table, bench.json and bench.svg of what the guests measured.

A row's ratio is ours / peer, round by round: each round of ours is divided by
the peer's of the same round. There are two ratios: of instructions, which one
guest has counted for what fits on one CPU, and of time. What is judged is the
instructions where there are any, for they do not depend on what else the
machine does nor on how QEMU makes a locked instruction; else the time.
"""

import argparse
import json
import math
import os
import platform
import re
import sys

import figures

# A target of instructions or of memory is met if the median is at most this much above it.
EXACT = 1.01
# A target of time is met if the median is within the band of the null rows above it: a
# baseline against itself, in the same run. In a run whose band is wider than
# this, a ratio that is not beyond the band is not judged.
RESOLUTION = 0.05
# More instructions than this of what figures.json has is a failure.
OF_LAST = 1.03

# The rows' kinds, each with the null rows that show its band: of the kernel module, where a path
# is executed in a loop, and of processes, which sleep and wake.
USER = r"(null_pthread|pair|group)_.*"

# Row (a regular expression) -> (target ratio, description, why the target is missed). The first
# match is used; None means that the row has no target. This is the only place of the targets:
# README.md's tables are made from it and from figures.json.
ENDS = "guards of different locks are values, which safe code drops in any order: "
ROUND = ("a wait copies its struct in, and out both before it sleeps and when it returns, so that a fault changes nothing; "
         "it handles exits after the sleep, and compares what pollers see; a futex call has one word")
ROWS = [
    (r"null_.*", None, "a baseline against itself: how well this machine measures", ""),
    (r"seqlock_read", 1.0, "optimistic read of 24 bytes, against read_seqbegin/read_seqretry", ""),
    (r"seqlock_read_excl", 1.0, "exclusive read, against read_seqlock_excl", ""),
    (r"seqlock_write", 1.0, "write, against write_seqlock", ""),
    (r"seqlock_write_bh", 1.0, "write, against write_seqlock_bh",
     ENDS + "the end checks whether softirqs are pending, which must not run with interrupts disabled"),
    (r"seqlock_write_irq", 1.0, "write, against write_seqlock_irq",
     ENDS + "a section restores what it found, and C's cannot nest"),
    (r"seqlock_write_irqsave", 1.0, "write, against write_seqlock_irqsave",
     ENDS + "the end checks whether other sections have interrupts disabled"),
    (r"seqlock_write_irq_counted", 1.0, "write, against spin_lock_irq_disable, which counts as ours does", ""),
    (r"rundown_word", 1.0, "acquire and release, against atomic_long_inc_not_zero/dec_and_test", ""),
    (r"rundown_refcount", None, "acquire and release, against refcount_t", ""),
    (r"rundown_percpu", 1.0, "acquire and release, against percpu_ref", ""),
    (r"rundown_word_2cpus", None, "the same word on two CPUs at once, against atomic_long_t", ""),
    (r"rundown_percpu_2cpus", 1.0, "the same reference on two CPUs at once, against percpu_ref", ""),
    (r"rundown_word_scaling", None, "time of n on each of two CPUs / time of n on one CPU", ""),
    (r"rundown_percpu_scaling", 2 / 1.9, "time of n on each of two CPUs / time of n on one CPU", ""),
    (r"rundown_drain", 0.01, "begin, wait, re-init of a word with no holder, against percpu_ref", ""),
    (r"rundown_drain_percpu", 1.0, "the same of the per-CPU form, against percpu_ref", ""),
    (r"rundown_drain_\d+_holders?", None, "a word with so many holders, against percpu_ref", ""),
    (r"rundown_create", None, "make and unmake a word, against kmalloc and atomic_long_t", ""),
    (r"rundown_create_percpu", None, "make, drain and unmake, against percpu_ref", ""),
    (r"rcu_read", 1.0, "run and read, against rcu_read_lock/rcu_dereference", ""),
    (r"srcu_read", 1.05, "run and read in a domain of its own, against srcu_read_lock_fast",
     "both ends are inline, and ours put on the stack the mark by which synchronize() in a reader is an error and no deadlock"),
    (r"rcu_alloc", None, "allocate and free an object, KBox::new() against kmalloc: it goes through krealloc()", ""),
    (r"rcu_defer_1M", 1.0, "deferred free, nothing to drop, with its allocation, against kvfree_rcu",
     "an object is counted for its module, and kmalloc() and kvfree_call_rcu() are called by a helper each"),
    (r"rcu_defer_1M memory", 1.0, "peak memory of that", ""),
    (r"rcu_defer_drop_100k", 1.05, "deferred free with a drop, with its allocation, against call_rcu", ""),
    (r"rcu_defer_drop_100k memory", None, "peak memory of that", ""),
    (r"pair_eventfd_1cpu", 0.5, "round of two processes, against eventfds and a pipe",
     "one system call against three or more, but the task switch, which all need, is most of it"),
    (r"pair_eventfd_2cpus", 0.5, "round of two processes, against eventfds and a pipe", ""),
    (r"pair_pthread_1cpu", 1.0, "round of two processes, against pthread_barrier_t", ROUND),
    (r"pair_pthread_2cpus", 1.0, "round of two processes, against pthread_barrier_t", ""),
    (r"pair_pipes_\dcpus?", None, "round of two processes, against two pipes", ""),
    (r"pair_create", None, "make and unmake, against eventfds and a pipe", ""),
    (r"group_\d+_1cpu", 1.0, "round of N processes, against pthread_barrier_t", "as `pair_pthread_1cpu`"),
    (r"group_\d+_2cpus", 1.0, "round of N processes, against pthread_barrier_t", "as `pair_pthread_1cpu`"),
]


# Rows that wait for a grace period or for a timer: time is what they are about.
TIMED = r"rundown_drain.*|.*_percpu_create|rundown_create_percpu|.* memory"

MET, MISSED, NOT_JUDGED = "met", "missed", "not judged"


def describe(name):
    """The row's place in the table, its aim, its text, and why the aim is missed."""
    base = name.split("@")[0]
    for place, (pattern, aim, text, why) in enumerate(ROWS):
        if re.fullmatch(pattern, base):
            return place, None if "@" in name else aim, text, why
    return len(ROWS), None, "", ""


def order(row):
    """The key that sorts rows, of which the first item is the name, as in ROWS."""
    return describe(row[0])[0], [int(n) for n in re.findall(r"\d+", row[0])], row[0]


def kind_of(name):
    """Which null rows show the band of a row."""
    return "user" if re.fullmatch(USER, name) else "kernel"


def percentile(values, p):
    """Linear between the two nearest."""
    values = sorted(values)
    at = (len(values) - 1) * p / 100
    low = math.floor(at)
    high = math.ceil(at)
    return values[low] + (values[high] - values[low]) * (at - low)


def read(path, suffix, rows, sizes):
    """Collects (time per iteration, extra) by row and side; returns the guest's line."""
    machine = ""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words[:1] == ["round"] and len(words) == 6:
                _, name, side, n, ns, extra = words
                name += suffix
                row = rows.setdefault(name, {"ours": [], "peer": [], "extra": {"ours": [], "peer": []}})
                row[side].append(int(ns) / int(n))
                row["extra"][side].append(int(extra))
            elif words[:1] == ["bytes"]:
                sizes.append({"what": " ".join(words[3:]), "ours": int(words[1]), "peer": int(words[2])})
            elif line.startswith("# machine "):
                machine = line[len("# machine "):].strip()
    return machine


def ratios(ours, peer):
    """Medians, and the ratio with its spread."""
    pairs = [o / p for o, p in zip(ours, peer) if p]
    return {
        "rounds": len(pairs),
        "ours": percentile(ours, 50),
        "peer": percentile(peer, 50),
        "ratio": percentile(pairs, 50),
        "p10": percentile(pairs, 10),
        "p90": percentile(pairs, 90),
    }


def bands(timed):
    """Kind -> what this run cannot tell from 1: how far the rounds of the kind's null rows are from it,
    but for the tenth at each end; infinity if none was measured."""
    out = {"kernel": math.inf, "user": math.inf}
    for kind in out:
        ends = [ratios(t["ours"], t["peer"]) for name, t in timed.items()
                if name.startswith("null_") and "@" not in name and kind_of(name) == kind]
        if ends:
            out[kind] = max([1.0] + [r["p90"] for r in ends] + [1 / r["p10"] for r in ends])
    return out


def verdict(ratio, aim, slack, exact):
    """Whether an aim is met. slack is what a ratio may be off by: if it is too much to judge by, only
    what is beyond it in either direction is judged."""
    if ratio > aim * slack:
        return MISSED
    if exact or slack - 1 <= RESOLUTION or ratio * slack <= aim:
        return MET
    return NOT_JUDGED


def summary(name, timed, counted, band):
    """One row of the table; either of the two may be missing."""
    place, aim, text, why = describe(name)
    row = {"name": name, "text": text, "place": place, "time": timed, "instructions": counted, "aim": aim,
           "verdict": "", "by": "", "why": ""}
    if re.fullmatch(TIMED, name.split("@")[0]):
        row["instructions"] = None
    if aim is not None:
        by = "memory" if name.endswith(" memory") else "instructions" if row["instructions"] else "time"
        judged = row["instructions"] or timed
        row["by"] = by
        row["verdict"] = verdict(judged["ratio"], aim, band[kind_of(name)] if by == "time" else EXACT, by != "time")
        row["why"] = why if row["verdict"] == MISSED else ""
    return row


def summaries(timed, counted):
    """All rows in the order of ROWS."""
    out = []
    band = bands(timed)
    for name in {**timed, **counted}:
        t, c = timed.get(name), counted.get(name)
        out.append(summary(name, t and ratios(t["ours"], t["peer"]), c and ratios(c["ours"], c["peer"]), band))
        if t and all(t["extra"]["ours"]) and all(t["extra"]["peer"]):
            memory = summary(name + " memory", ratios(t["extra"]["ours"], t["extra"]["peer"]), None, band)
            memory["unit"] = "kB"
            out.append(memory)

    return sorted(out, key=lambda row: order((row["name"],)))


def figure(value):
    """Three digits, whatever the size."""
    if value >= 1000:
        return f"{value:.0f}"
    if value >= 100:
        return f"{value:.1f}"
    return f"{value:.3g}"


def recorded(rows, sizes, machine, band):
    """What is committed of a run of all rows."""
    out = {"machine": machine["guest"], "band": {kind: round(b, 3) for kind, b in band.items()}, "rows": {}, "bytes": sizes}
    for row in rows:
        one = out["rows"][row["name"]] = {"verdict": row["verdict"], "by": row["by"]}
        if row["instructions"]:
            one["instructions"] = [round(row["instructions"][side], 1) for side in ("ours", "peer")]
            one["instructions"].append(round(row["instructions"]["ratio"], 3))
        if row["time"]:
            one["time"] = [float(f"{row['time'][of]:.3g}") for of in ("ours", "peer", "ratio", "p10", "p90")]
    return out


def judge(rows, last, wanted):
    """What fails: the instructions against the committed ones; a row of either that the other does not
    have; and a missed target of instructions without a reason. wanted: the prefixes of BENCH, or nothing."""
    found = []
    known = last.get("rows", {})
    for row in rows:
        name = row["name"]
        if row["place"] == len(ROWS):
            found.append(f"{name} is not in ROWS")
        if row["verdict"] == MISSED and row["by"] != "time" and not row["why"]:
            found.append(f"{name} misses its target by {row['by']}, and ROWS has no reason")
        if not row["instructions"] or name.startswith("null_"):
            continue
        now, then = row["instructions"]["ours"], known.get(name, {}).get("instructions")
        if not then:
            found.append(f"{name} has no committed count; BENCH_RECORD=1 writes them")
        elif now > OF_LAST * then[0]:
            found.append(f"{name} has {figure(now)} instructions, and had {figure(then[0])}")
    measured = {row["name"]: row for row in rows}
    for name, then in known.items():
        if wanted and ("@" in name or not name.startswith(tuple(wanted))):
            continue
        if name not in measured:
            found.append(f"{name} was not measured, and has committed figures")
        elif "instructions" in then and not measured[name]["instructions"]:
            found.append(f"{name} was not counted, and has a committed count")
    if not wanted:
        for pattern, *_ in ROWS:
            if not any(re.fullmatch(pattern, name.split("@")[0]) for name in measured):
                found.append(f"no row was measured for {pattern}")
    return found


def unit(ns):
    """A time in the unit that suits it."""
    for size, name in ((1e6, "ms"), (1e3, "µs")):
        if ns >= size:
            return f"{figure(ns / size)} {name}"
    return f"{figure(ns)} ns"


def markdown(last):
    """README.md's tables of the committed figures."""
    def target(name):
        aim = describe(name)[1]
        return "-" if aim is None else format(aim, ".3g")

    def outcome(name, row):
        why = describe(name)[3]
        return row["verdict"] + (f": {why}" if row["verdict"] == MISSED and why else "")

    rows = dict(sorted(last["rows"].items(), key=order))
    counted = {n: r for n, r in rows.items() if "instructions" in r and not n.startswith("null_")}
    timed = {n: r for n, r in rows.items() if "time" in r and n not in counted and "@" not in n}
    out = ["Executed instructions for each operation, with the loop and the call around a path of a few:", "",
           "| row | path | ours | theirs | ratio | target | verdict |", "|---|---|---|---|---|---|---|"]
    for name, row in counted.items():
        ours, peer, ratio = row["instructions"]
        out.append(f"| `{name}` | {describe(name)[2]} | {figure(ours)} | {figure(peer)} | {ratio:.2f} | {target(name)} | "
                   f"{outcome(name, row)} |")
    out += ["", "Times, each party and worker pinned to a CPU. The band of this run is "
            f"{last['band']['kernel'] - 1:.1%} for the kernel's rows and {last['band']['user'] - 1:.1%} for those of processes:", "",
            "| row | path | ours | theirs | ratio (10th to 90th percentile) | target | verdict |", "|---|---|---|---|---|---|---|"]
    for name, row in timed.items():
        ours, peer, ratio, low, high = row["time"]
        sides = [f"{figure(x)} kB" if name.endswith(" memory") else unit(x) for x in (ours, peer)]
        out.append(f"| `{name}` | {describe(name)[2]} | {sides[0]} | {sides[1]} | {figure(ratio)} ({figure(low)} to {figure(high)}) | "
                   f"{target(name)} | {outcome(name, row)} |")
    out += ["", "| bytes of one | ours | theirs |", "|---|---|---|"]
    out += [f"| {s['what'].replace('(peer: ', '(theirs: ')} | {s['ours']} | {s['peer'] or '-'} |" for s in last["bytes"]]
    return "\n".join(out)


def table(rows, sizes, machine, band):
    """What the terminal shows."""
    print(f"\n{machine['guest']}; QEMU with {machine['accel']} on {machine['host']}")
    print(f"{'':32} {'instructions':^23} {'time, ns':^45}")
    print(f"{'row':32} {'ours':>8} {'peer':>8} {'ratio':>6} {'ours':>9} {'peer':>9} "
          f"{'ratio':>8} {'p10':>8} {'p90':>8} {'aim':>6}  verdict")
    for r in rows:
        i, t = r["instructions"], r["time"]
        line = f"{r['name']:32} "
        line += f"{figure(i['ours']):>8} {figure(i['peer']):>8} {figure(i['ratio']):>6} " if i else f"{'':25}"
        line += (f"{figure(t['ours']):>9} {figure(t['peer']):>9} {figure(t['ratio']):>8} {figure(t['p10']):>8} "
                 f"{figure(t['p90']):>8} " if t else f"{'':47}")
        line += f"{'' if r['aim'] is None else format(r['aim'], '.3g'):>6}  {r['verdict']}"
        print((line + (f", by {r['by']}" if r["by"] else "")).rstrip())
    if sizes:
        print(f"\n{'bytes: ours':>12} {'peer':>8}  of one")
        for s in sizes:
            print(f"{s['ours']:>12} {s['peer'] or '':>8}  {s['what']}")
    for kind, b in band.items():
        if b - 1 > RESOLUTION:
            print(f"warning: a baseline against itself differs by {b - 1:.1%} in the {kind}'s null rows: "
                  "this machine is too busy to measure time on, and what is within that is not judged")
    print(f"\nratio: ours / peer, median of the rounds, of the time with its 10th and 90th percentile; "
          f"met: instructions and memory at most {EXACT - 1:.0%} above the aim, time at most {band['kernel'] - 1:.1%} "
          f"(processes: {band['user'] - 1:.1%}), which the null rows of this run differ by")
    for what in (MET, MISSED, NOT_JUDGED):
        names = [r["name"] for r in rows if r["verdict"] == what]
        print(f"{len(names)} {what}" + (": " + " ".join(names) if names and what != MET else ""))
    for r in rows:
        if r["why"]:
            print(f"{r['name']}: {r['why']}")


def svg(rows, machine, path):
    """The ratios on a logarithmic scale, the aims as red marks."""
    left, width, line, top = 250, 560, 18, 50
    aims = [r["aim"] for r in rows if r["aim"] is not None]
    shown = [r[by] for r in rows for by in ("time", "instructions") if r[by]]
    low = min([r["p10"] for r in shown] + aims + [0.5])
    high = max([r["p90"] for r in shown] + aims + [2.0])
    begin = math.floor(math.log10(max(low, 1e-4)) * 2) / 2
    end = math.ceil(math.log10(high) * 2) / 2

    def x(ratio):
        at = math.log10(max(ratio, 10 ** begin))
        return left + width * (at - begin) / (end - begin)

    height = top + line * len(rows) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
           'font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14">ours / peer, lower is better. Diamond: instructions. Dot and bar: time, '
           'median, 10th to 90th percentile. Red: the aim</text>',
           f'<text x="10" y="34" fill="#666">{machine["guest"]}; QEMU with {machine["accel"]}</text>']
    decade = math.ceil(begin)
    while decade <= end:
        for step in (1, 2, 5):
            ratio = step * 10 ** decade
            if begin <= math.log10(ratio) <= end:
                at = x(ratio)
                colour = "#888" if ratio == 1 else "#ddd"
                out.append(f'<line x1="{at:.1f}" y1="{top - 4}" x2="{at:.1f}" y2="{height - 30}" stroke="{colour}"/>')
                out.append(f'<text x="{at:.1f}" y="{height - 16}" text-anchor="middle" fill="#666">{ratio:g}</text>')
        decade += 1
    for i, r in enumerate(rows):
        y = top + line * i + line / 2
        colour = {MET: "#1a7f37", MISSED: "#b35900"}.get(r["verdict"], "#57606a")
        out.append(f'<g><title>{r["text"]}</title>'
                   f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{r["name"]}</text>')
        t, c = r["time"], r["instructions"]
        if t:
            fill = "none" if c else colour
            out.append(f'<line x1="{x(t["p10"]):.1f}" y1="{y}" x2="{x(t["p90"]):.1f}" y2="{y}" stroke="{colour}" '
                       f'stroke-width="3" stroke-opacity="0.3"/>'
                       f'<circle cx="{x(t["ratio"]):.1f}" cy="{y}" r="4" fill="{fill}" stroke="{colour}"/>')
        if c:
            at = x(c["ratio"])
            out.append(f'<path d="M {at - 5:.1f} {y} L {at:.1f} {y - 5} L {at + 5:.1f} {y} L {at:.1f} {y + 5} Z" fill="{colour}"/>')
        if r["aim"] is not None:
            at = x(r["aim"])
            out.append(f'<line x1="{at:.1f}" y1="{y - 8}" x2="{at:.1f}" y2="{y + 8}" stroke="#cf222e" stroke-width="2"/>')
        out.append(f'<text x="{left + width + 10}" y="{y + 4}" fill="{colour}">{figure((c or t)["ratio"])} {r["verdict"]}</text></g>')
    out.append("</svg>")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


def host():
    """The host's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return re.search(r"model name\s*: (.*)", f.read()).group(1)
    except (OSError, AttributeError):
        return platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the folder for bench.json and bench.svg")
    parser.add_argument("--accel", default="tcg")
    parser.add_argument("--figures", help="the committed figures")
    parser.add_argument("--record", action="store_true", help="write them instead of comparing")
    parser.add_argument("--wanted", default="", help="BENCH: the prefixes of the rows that were to be measured")
    parser.add_argument("results", nargs="+", help="results.N of a guest with N CPUs, results.counting")
    args = parser.parse_args()

    timed, counted, sizes = {}, {}, []
    machine = {"accel": args.accel, "host": host(), "guest": ""}
    for path in sorted(args.results):
        label = path.rsplit(".", 1)[1]
        if label == "counting":
            guest = read(path, "", counted, sizes)
        else:
            guest = read(path, "" if label == "2" else f"@{label}cpus", timed, sizes)
        if label == "2" or not machine["guest"]:
            machine["guest"] = guest
    rows = summaries(timed, counted)
    if not rows:
        print("no row was measured: no name begins so", file=sys.stderr)
        return 2
    band = bands(timed)
    with open(os.path.join(args.out, "bench.json"), "w", encoding="utf-8") as f:
        json.dump({"machine": machine, "band": band, "rows": rows, "bytes": sizes,
                   "rounds": {"time": timed, "instructions": counted}}, f, indent=1)
    svg(rows, machine, os.path.join(args.out, "bench.svg"))
    table(rows, sizes, machine, band)
    print(f"{args.out}/bench.json, {args.out}/bench.svg")
    if not args.figures:
        return 0
    last = figures.read(args.figures, "bench")
    if args.record:
        last = recorded(rows, sizes, machine, band)
        figures.record(args.figures, "bench", last, markdown(last))
    found = judge(rows, last, args.wanted.split())
    for line in found:
        print("FAILED:", line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
