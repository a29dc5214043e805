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

# A target of instructions is met if the median is at most this much above it.
INSTRUCTIONS = 1.01
# A target of time is met if the median is within the band of the null rows above it: a
# baseline against itself, in the same run. A band wider than this is a warning.
RESOLUTION = 0.05
# More instructions than this of what figures.json has is a failure.
OF_LAST = 1.03

# Row (a regular expression) -> (target ratio, description). The first match is
# used; None means that the row has no target.
ROWS = [
    (r"null_.*", None, "a peer against itself: how well this machine measures"),
    (r"seqlock_read", 1.0, "optimistic read of 24 bytes, against read_seqbegin/read_seqretry"),
    (r"seqlock_read_excl", 1.0, "exclusive read, against read_seqlock_excl"),
    (r"seqlock_write", 1.0, "write, against write_seqlock"),
    (r"seqlock_write_bh", 1.0, "write, against write_seqlock_bh"),
    (r"seqlock_write_irq", 1.0, "write, against write_seqlock_irq"),
    (r"seqlock_write_irqsave", 1.0, "write, against write_seqlock_irqsave"),
    (r"seqlock_write_irq_counted", 1.0, "write, against spin_lock_irq_disable, which counts as ours does"),
    (r"rundown_word", 1.0, "acquire and release, against atomic_long_inc_not_zero/dec_and_test"),
    (r"rundown_refcount", None, "acquire and release, against refcount_t"),
    (r"rundown_percpu", 1.0, "acquire and release, against percpu_ref"),
    (r"rundown_word_2cpus", None, "the same word on two CPUs at once, against atomic_long_t"),
    (r"rundown_percpu_2cpus", 1.0, "the same reference on two CPUs at once, against percpu_ref"),
    (r"rundown_word_scaling", None, "time of n on each of two CPUs / time of n on one CPU"),
    (r"rundown_percpu_scaling", 2 / 1.9, "time of n on each of two CPUs / time of n on one CPU"),
    (r"rundown_drain", 0.01, "begin, wait, re-init of a word with no holder, against percpu_ref"),
    (r"rundown_drain_percpu", 1.0, "the same of the per-CPU form, against percpu_ref"),
    (r"rundown_drain_\d+_holders?", None, "a word with so many holders, against percpu_ref"),
    (r"rundown_create", None, "make and unmake a word, against kmalloc and atomic_long_t"),
    (r"rundown_create_percpu", None, "make, drain and unmake, against percpu_ref"),
    (r"rcu_read", 1.0, "run and read, against rcu_read_lock/rcu_dereference"),
    (r"srcu_read", 1.0, "run and read in a domain of its own, against srcu_read_lock"),
    (r"rcu_alloc", None, "allocate and free such an object: KBox, against kmalloc; in each row below"),
    (r"rcu_defer_1M", 1.0, "deferred free, nothing to drop, against kvfree_rcu"),
    (r"rcu_defer_1M memory", 1.0, "peak memory of that"),
    (r"rcu_defer_drop_100k", 1.05, "deferred free with a drop, against call_rcu"),
    (r"rcu_defer_drop_100k memory", None, "peak memory of that"),
    (r"pair_eventfd_\dcpus?", 0.5, "round of two processes, against eventfds and a pipe"),
    (r"pair_pthread_\dcpus?", 1.0, "round of two processes, against pthread_barrier_t"),
    (r"pair_pipes_\dcpus?", None, "round of two processes, against two pipes"),
    (r"pair_create", None, "make and unmake, against eventfds and a pipe"),
    (r"group_\d+_\dcpus?", 1.0, "round of N processes, against pthread_barrier_t"),
]


# Rows that wait for a grace period or for a timer: time is what they are about.
TIMED = r"rundown_drain.*|.*_percpu_create|rundown_create_percpu|.* memory"


def describe(name):
    """The row's place in the table, its aim and its text."""
    base = name.split("@")[0]
    for place, (pattern, aim, text) in enumerate(ROWS):
        if re.fullmatch(pattern, base):
            return place, None if "@" in name else aim, text
    return len(ROWS), None, ""


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


def null_band(timed):
    """The largest 90th percentile of the null rows' ratios of time: what this run cannot tell from 1."""
    return max([1.0] + [ratios(t["ours"], t["peer"])["p90"] for name, t in timed.items()
                        if name.startswith("null_") and "@" not in name])


def summary(name, timed, counted, band):
    """One row of the table; either of the two may be missing."""
    place, aim, text = describe(name)
    row = {"name": name, "text": text, "place": place, "time": timed, "instructions": counted, "aim": aim,
           "verdict": "", "by": ""}
    if re.fullmatch(TIMED, name.split("@")[0]):
        row["instructions"] = None
    if aim is not None:
        by = "instructions" if row["instructions"] else "time"
        judged = row[by]
        row["by"] = "memory" if name.endswith(" memory") else by
        accepted = INSTRUCTIONS if row["instructions"] else band
        row["verdict"] = "missed" if judged["ratio"] > aim * accepted else "met"
    return row


def summaries(timed, counted):
    """All rows in the order of ROWS."""
    out = []
    band = null_band(timed)
    for name in {**timed, **counted}:
        t, c = timed.get(name), counted.get(name)
        out.append(summary(name, t and ratios(t["ours"], t["peer"]), c and ratios(c["ours"], c["peer"]), band))
        if t and all(t["extra"]["ours"]) and all(t["extra"]["peer"]):
            memory = summary(name + " memory", ratios(t["extra"]["ours"], t["extra"]["peer"]), None, band)
            memory["unit"] = "kB"
            out.append(memory)

    def number(name):
        return [int(n) for n in re.findall(r"\d+", name)]
    return sorted(out, key=lambda r: (r["place"], number(r["name"]), r["name"]))


def figure(value):
    """Three digits, whatever the size."""
    if value >= 1000:
        return f"{value:.0f}"
    if value >= 100:
        return f"{value:.1f}"
    return f"{value:.3g}"


def judge(rows, path, record):
    """Compares the counted instructions with the committed ones, or commits them; the exit status."""
    try:
        with open(path, encoding="utf-8") as f:
            figures = json.load(f)
    except FileNotFoundError:
        figures = {}
    last, status = figures.setdefault("bench", {}), 0
    for row in rows:
        if not row["instructions"] or row["name"].startswith("null_"):
            continue
        now = row["instructions"]["ours"]
        if record:
            last[row["name"]] = round(now, 1)
        elif row["name"] in last and now > OF_LAST * last[row["name"]]:
            print(f"WORSE: {row['name']} has {figure(now)} instructions, and had {figure(last[row['name']])}")
            status = 1
    if record:
        with open(path, "w", encoding="utf-8") as f:
            json.dump(figures, f, indent=1, sort_keys=True)
            f.write("\n")
    return status


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
    for r in rows:
        if r["name"].startswith("null_") and r["time"] and abs(r["time"]["ratio"] - 1) > RESOLUTION:
            print(f"warning: the time of {r['name']} is {figure(r['time']['ratio'])} and should be 1: "
                  "this machine is too busy to measure time on")
    print(f"\nratio: ours / peer, median of the rounds, of the time with its 10th and 90th percentile; "
          f"met: instructions at most {INSTRUCTIONS - 1:.0%} above the aim, time at most {band - 1:.1%}, "
          "the 90th percentile of the null rows of this run")


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
        colour = {"met": "#1a7f37", "missed": "#b35900"}.get(r["verdict"], "#57606a")
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
    with open(os.path.join(args.out, "bench.json"), "w", encoding="utf-8") as f:
        json.dump({"machine": machine, "band": null_band(timed), "rows": rows, "bytes": sizes,
                   "rounds": {"time": timed, "instructions": counted}}, f, indent=1)
    svg(rows, machine, os.path.join(args.out, "bench.svg"))
    table(rows, sizes, machine, null_band(timed))
    print(f"{args.out}/bench.json, {args.out}/bench.svg")
    return judge(rows, args.figures, args.record) if args.figures else 0


if __name__ == "__main__":
    sys.exit(main())
