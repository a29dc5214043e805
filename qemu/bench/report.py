#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes a table, bench.json and bench.svg of what the guests measured.

A row's ratio is ours / peer, round by round: each round of ours is divided by
the round of the peer that came right after it.
"""

import argparse
import json
import math
import os
import platform
import re
import sys

# What is called met: within this much of the aim. The null rows, a peer against
# itself, show what the machine can tell apart.
RESOLUTION = 0.05

# Row (a regular expression) -> (aim of the ratio, what is compared). The first
# that matches counts; None is no aim, only a figure.
ROWS = [
    (r"null_.*", None, "a peer against itself: how well this machine measures"),
    (r"seqlock_read", 1.0, "optimistic read of 24 bytes, against read_seqbegin/read_seqretry"),
    (r"seqlock_read_excl", 1.0, "exclusive read, against read_seqlock_excl"),
    (r"seqlock_write", 1.0, "write, against write_seqlock"),
    (r"seqlock_write_bh", 1.0, "write, against write_seqlock_bh"),
    (r"seqlock_write_irq", 1.0, "write, against write_seqlock_irq"),
    (r"seqlock_write_irqsave", 1.0, "write, against write_seqlock_irqsave"),
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
    (r"rcu_defer_1M", 1.0, "deferred free, nothing to drop, against kvfree_rcu"),
    (r"rcu_defer_1M memory", 1.0, "peak memory of that"),
    (r"rcu_defer_drop_100k", None, "deferred free with a drop, against call_rcu"),
    (r"rcu_defer_drop_100k memory", None, "peak memory of that"),
    (r"pair_eventfd_\dcpus?", 0.5, "round of two processes, against eventfds and a pipe"),
    (r"pair_pthread_\dcpus?", 1.0, "round of two processes, against pthread_barrier_t"),
    (r"pair_pipes_\dcpus?", None, "round of two processes, against two pipes"),
    (r"pair_create", None, "make and unmake, against eventfds and a pipe"),
    (r"group_\d+_\dcpus?", 1.0, "round of N processes, against pthread_barrier_t"),
]


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


def read(path, cpus, rows, sizes):
    """Collects (time per iteration, extra) by row and side; returns the guest's line."""
    machine = ""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            words = line.split()
            if words[:1] == ["round"] and len(words) == 6:
                _, name, side, n, ns, extra = words
                if cpus != "2":
                    name += f"@{cpus}cpus"
                row = rows.setdefault(name, {"ours": [], "peer": [], "extra": {"ours": [], "peer": []}})
                row[side].append(int(ns) / int(n))
                row["extra"][side].append(int(extra))
            elif words[:1] == ["bytes"]:
                sizes.append({"what": " ".join(words[3:]), "ours": int(words[1]), "peer": int(words[2])})
            elif line.startswith("# machine "):
                machine = line[len("# machine "):].strip()
    return machine


def summary(name, ours, peer):
    """One row of the table."""
    place, aim, text = describe(name)
    pairs = [o / p for o, p in zip(ours, peer) if p]
    row = {
        "name": name,
        "text": text,
        "place": place,
        "rounds": len(pairs),
        "ours": percentile(ours, 50),
        "peer": percentile(peer, 50),
        "ratio": percentile(pairs, 50),
        "p10": percentile(pairs, 10),
        "p90": percentile(pairs, 90),
        "aim": aim,
        "verdict": "",
    }
    if aim is not None:
        row["verdict"] = "met" if row["ratio"] <= aim * (1 + RESOLUTION) else "missed"
    return row


def summaries(rows):
    """All rows in the order of ROWS."""
    out = []
    for name, row in rows.items():
        out.append(summary(name, row["ours"], row["peer"]))
        if all(row["extra"]["ours"]) and all(row["extra"]["peer"]):
            memory = summary(name + " memory", row["extra"]["ours"], row["extra"]["peer"])
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


def table(rows, sizes, machine):
    """What the terminal shows."""
    print(f"\n{machine['guest']}; QEMU with {machine['accel']} on {machine['host']}")
    print(f"{'row':32} {'ours, ns':>10} {'peer, ns':>10} {'ratio':>7} {'p10':>7} {'p90':>7} {'aim':>6}  verdict")
    for r in rows:
        aim = "" if r["aim"] is None else f"{r['aim']:.3g}"
        print(f"{r['name']:32} {figure(r['ours']):>10} {figure(r['peer']):>10} {figure(r['ratio']):>7} "
              f"{figure(r['p10']):>7} {figure(r['p90']):>7} {aim:>6}  {r['verdict']}")
    if sizes:
        print(f"\n{'bytes: ours':>12} {'peer':>8}  of one")
        for s in sizes:
            print(f"{s['ours']:>12} {s['peer'] or '':>8}  {s['what']}")
    noisy = [r for r in rows if r["name"].startswith("null_") and abs(r["ratio"] - 1) > RESOLUTION]
    for r in noisy:
        print(f"warning: {r['name']} is {figure(r['ratio'])} and should be 1: this machine is too busy to measure on")
    print(f"\nratio: ours / peer, median of the rounds, with its 10th and 90th percentile; "
          f"met: within {RESOLUTION:.0%} of the aim")


def svg(rows, machine, path):
    """The ratios on a logarithmic scale, the aims as red marks."""
    left, width, line, top = 250, 560, 18, 50
    aims = [r["aim"] for r in rows if r["aim"] is not None]
    low = min([r["p10"] for r in rows] + aims + [0.5])
    high = max([r["p90"] for r in rows] + aims + [2.0])
    begin = math.floor(math.log10(max(low, 1e-4)) * 2) / 2
    end = math.ceil(math.log10(high) * 2) / 2

    def x(ratio):
        at = math.log10(max(ratio, 10 ** begin))
        return left + width * (at - begin) / (end - begin)

    height = top + line * len(rows) + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
           'font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="white"/>',
           f'<text x="10" y="18" font-size="14">ours / peer, lower is better; median with 10th to 90th percentile; '
           'red: the aim</text>',
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
                   f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{r["name"]}</text>'
                   f'<line x1="{x(r["p10"]):.1f}" y1="{y}" x2="{x(r["p90"]):.1f}" y2="{y}" stroke="{colour}" '
                   f'stroke-width="3" stroke-opacity="0.4"/>'
                   f'<circle cx="{x(r["ratio"]):.1f}" cy="{y}" r="4" fill="{colour}"/>')
        if r["aim"] is not None:
            at = x(r["aim"])
            out.append(f'<line x1="{at:.1f}" y1="{y - 8}" x2="{at:.1f}" y2="{y + 8}" stroke="#cf222e" stroke-width="2"/>')
        out.append(f'<text x="{left + width + 10}" y="{y + 4}" fill="{colour}">{figure(r["ratio"])} {r["verdict"]}</text></g>')
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
    parser.add_argument("results", nargs="+", help="results.N of a guest with N CPUs")
    args = parser.parse_args()

    raw, sizes = {}, []
    machine = {"accel": args.accel, "host": host(), "guest": ""}
    for path in sorted(args.results):
        cpus = path.rsplit(".", 1)[1]
        guest = read(path, cpus, raw, sizes)
        if cpus == "2" or not machine["guest"]:
            machine["guest"] = guest
    rows = summaries(raw)
    if not rows:
        print("no row was measured: no name begins so", file=sys.stderr)
        return 2
    with open(os.path.join(args.out, "bench.json"), "w", encoding="utf-8") as f:
        json.dump({"machine": machine, "resolution": RESOLUTION, "rows": rows, "bytes": sizes, "rounds": raw}, f, indent=1)
    svg(rows, machine, os.path.join(args.out, "bench.svg"))
    table(rows, sizes, machine)
    print(f"{args.out}/bench.json, {args.out}/bench.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
