#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Cost against size: scale.py [--whole] SVG RESULTS...

Reads the rows `scale_CURVE_SIZE` of the benchmark, counted in instructions, prints a table and draws
the curves. All are to be linear: what counts is the cost of each of a size, each party for instance.
Exit status: 1 if each of any size costs more than MOST times what each of a smaller one does; if each
of the largest size costs less than that of the size before by as much, for then something else is
most of what was measured; if a curve is not in CURVES; with --whole, if one of CURVES was not measured
at two sizes.
"""

import argparse
import collections
import math
import os
import re
import sys

# Curve -> what is counted, and why it is linear.
CURVES = {
    "parties": ("round of a group, of so many processes", "each but the last to arrive sleeps and is woken"),
    "waiters": ("arrival that ends the waits of so many threads", "the call wakes them, as wake_up_all() does"),
    "pollers": ("arrival that so many epoll descriptors watch", "each has an entry in the wait queue"),
    "holders": ("so many acquisitions and releases, and a rundown", "each is counted"),
    "pending": ("so many objects that are replaced in one go", "each is freed"),
    "domains": ("a section in each of so many SRCU domains", "each is entered; they share nothing"),
    # All CPUs of a guest that counts are executed by one thread, in turn: n of them execute n times
    # as much unless the path itself depends on their number. That they do not wait for each other is
    # not seen here but in the rows *_2cpus and *_scaling, by time.
    "word_cpus": ("acquire and release a word, on so many CPUs in turn", "by construction: what each CPU executes is counted"),
    "percpu_cpus": ("the same per CPU", "by construction: what each CPU executes is counted"),
}
# Of so many of a size there is no such cost.
WITHOUT = {"parties": 1}
# What trees of the kernel, and the order in which it runs tasks, may add to each, over all sizes.
MOST = 1.3
COLUMNS, WIDTH, HEIGHT = 2, 420, 260


def read(paths):
    """Curve -> {size: instructions of one operation}."""
    curves = collections.defaultdict(dict)
    for path in paths:
        cpus = int(re.search(r"(\d+)$", path)[1])
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                match = re.match(r"round scale_(\w+)_(\d+) ours (\d+) (\d+) ", line)
                if match:
                    curve, size, n, ns = match[1], int(match[2]), int(match[3]), int(match[4])
                    if curve == "pending":
                        n = 1
                    size = size or cpus
                    curves[curve][size] = min(ns / n, curves[curve].get(size, math.inf))
    return curves


def each(name, points):
    """(size, instructions of each) in order."""
    return [(size, count / (size - WITHOUT.get(name, 0))) for size, count in sorted(points.items())]


def judge(curves, whole):
    """What is not as it has to be."""
    found = [f"{name} is not in CURVES" for name in curves if name not in CURVES]
    for name in CURVES:
        costs = each(name, curves.get(name, {}))
        if len(costs) < 2:
            if whole:
                found.append(f"{name} was measured at {len(costs)} sizes")
            continue
        for at, (size, cost) in enumerate(costs[1:], 1):
            low, least = min(costs[:at], key=lambda one: one[1])
            if cost > MOST * least:
                found.append(f"{name}: each of {size} costs {cost / least:.2f} times each of {low}")
        (before, cost), (last, least) = costs[-2:]
        if cost > MOST * least:
            found.append(f"{name}: each of {last} costs {least / cost:.2f} times each of {before}: something else is most of it")
    return found


def table(curves):
    """What the terminal shows."""
    for name, points in curves.items():
        if name not in CURVES:
            continue
        print(f"{name}: {CURVES[name][0]}; {CURVES[name][1]}")
        for size, cost in each(name, points):
            print(f"{size:12} {points[size]:14.0f} {cost:12.1f} each")


def panel(name, points, left, top):
    """One curve, both axes logarithmic, with a grey line of slope 1 through its last point."""
    xs, ys = sorted(points), [points[x] for x in sorted(points)]
    x_of = lambda x: left + 60 + (WIDTH - 90) * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
    low, high = min(ys) / 2, max(ys) * 2
    y_of = lambda y: top + HEIGHT - 40 - (HEIGHT - 90) * math.log(max(y, low) / low) / math.log(high / low)
    yield f'<text x="{left + 10}" y="{top + 18}" font-weight="bold">{name}: {each(name, points)[-1][1]:.0f} each</text>'
    yield f'<text x="{left + 10}" y="{top + 34}">{CURVES[name][0]}</text>'
    yield (f'<line x1="{x_of(xs[0]):.1f}" y1="{y_of(ys[-1] * xs[0] / xs[-1]):.1f}" x2="{x_of(xs[-1]):.1f}" '
           f'y2="{y_of(ys[-1]):.1f}" stroke="#bbb"/>')
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in zip(xs, ys))
    yield f'<polyline points="{path}" fill="none" stroke="#06c" stroke-width="2"/>'
    for x, y in zip(xs, ys):
        yield f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="#06c"/>'
        yield f'<text x="{x_of(x):.1f}" y="{y_of(y) - 7:.1f}" text-anchor="middle" font-size="9">{y:.3g}</text>'
        yield f'<text x="{x_of(x):.1f}" y="{top + HEIGHT - 20}" text-anchor="middle" font-size="10">{x}</text>'


def draw(curves, path):
    """All curves with at least two sizes."""
    drawn = [name for name in CURVES if len(curves.get(name, {})) >= 2]
    rows = math.ceil(len(drawn) / COLUMNS)
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}" '
                  'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n')
        for index, name in enumerate(drawn):
            out.write("\n".join(panel(name, curves[name], index % COLUMNS * WIDTH, index // COLUMNS * HEIGHT)) + "\n")
        out.write("</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="all curves were to be measured")
    parser.add_argument("svg")
    parser.add_argument("results", nargs="+", help="results.scaleN of a guest with N CPUs")
    args = parser.parse_args()

    curves = read(args.results)
    if not curves:
        sys.exit("no row of the benchmark was counted")
    table(curves)
    draw(curves, args.svg)
    print(os.path.relpath(args.svg))
    found = judge(curves, args.whole)
    for line in found:
        print("FAILED:", line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
