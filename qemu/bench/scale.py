#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Cost against size: scale.py SVG RESULTS...

Reads the rows `scale_CURVE_SIZE` of the benchmark, counted in instructions. Prints a table, judges
each curve by its slope between its largest sizes, where what does not depend on the size is small
(0: flat, 1: linear), and draws all of them. Exit status: 1 if one is steeper than CURVES allows.
"""

import collections
import math
import re
import sys

# Curve -> what is counted, its greatest slope, and why it has one.
CURVES = {
    "parties": ("round of a group, of so many processes", 1, "each party is called, sleeps and is woken"),
    "waiters": ("arrival that ends the waits of so many threads", 1, "the call wakes them, as wake_up_all() does"),
    "pollers": ("arrival that so many epoll descriptors watch", 1, "each has an entry in the wait queue"),
    "holders": ("so many acquisitions and releases, and a rundown", 1, "each is counted"),
    "pending": ("so many objects that are replaced in one go", 1, "each is freed"),
    "domains": ("a section in each of so many SRCU domains", 1, "each is entered; they share nothing"),
    "word_cpus": ("acquire and release a word, on so many CPUs in turn", 1, "QEMU counts what all CPUs execute"),
    "percpu_cpus": ("the same per CPU", 1, "QEMU counts what all CPUs execute"),
}
# What caches, trees and hash tables of the kernel may add.
TOLERANCE = 0.1
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


def slope(points):
    """Of the logarithms, between the last two sizes."""
    (x0, y0), (x1, y1) = sorted(points.items())[-2:]
    return math.log(y1 / y0) / math.log(x1 / x0)


def panel(name, points, left, top):
    """One curve, both axes logarithmic, with a grey line of slope 1 through its last point."""
    xs, ys = sorted(points), [points[x] for x in sorted(points)]
    x_of = lambda x: left + 60 + (WIDTH - 90) * math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
    low, high = min(ys) / 2, max(ys) * 2
    y_of = lambda y: top + HEIGHT - 40 - (HEIGHT - 90) * math.log(max(y, low) / low) / math.log(high / low)
    yield f'<text x="{left + 10}" y="{top + 18}" font-weight="bold">{name}: slope {slope(points):.2f}</text>'
    yield f'<text x="{left + 10}" y="{top + 34}">{CURVES[name][0]}</text>'
    yield (f'<line x1="{x_of(xs[0]):.1f}" y1="{y_of(ys[-1] * xs[0] / xs[-1]):.1f}" x2="{x_of(xs[-1]):.1f}" '
           f'y2="{y_of(ys[-1]):.1f}" stroke="#bbb"/>')
    path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in zip(xs, ys))
    yield f'<polyline points="{path}" fill="none" stroke="#06c" stroke-width="2"/>'
    for x, y in zip(xs, ys):
        yield f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="#06c"/>'
        yield f'<text x="{x_of(x):.1f}" y="{y_of(y) - 7:.1f}" text-anchor="middle" font-size="9">{y:.3g}</text>'
        yield f'<text x="{x_of(x):.1f}" y="{top + HEIGHT - 20}" text-anchor="middle" font-size="10">{x}</text>'


def main():
    curves = read(sys.argv[2:])
    missing = [name for name in CURVES if len(curves.get(name, {})) < 2]
    status = 0
    print(f"{'curve':12} {'sizes':>14} {'each, smallest':>14} {'each, largest':>13} {'slope':>6}")
    for name, points in curves.items():
        if name in missing or name not in CURVES:
            continue
        sizes = sorted(points)
        steep = slope(points) > CURVES[name][1] + TOLERANCE
        status |= steep
        kind = "flat" if abs(slope(points)) < TOLERANCE else "linear" if abs(slope(points) - 1) < TOLERANCE else \
            "less than linear" if slope(points) < 1 else "more than linear"
        print(f"{name:12} {sizes[0]:6}-{sizes[-1]:<7} {points[sizes[0]] / sizes[0]:14.1f} {points[sizes[-1]] / sizes[-1]:13.1f} "
              f"{slope(points):6.2f}  {kind}{': TOO STEEP' if steep else ''}; {CURVES[name][2]}")
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        rows = math.ceil(len(curves) / COLUMNS)
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}" '
                  'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n')
        for index, name in enumerate(name for name in CURVES if name not in missing):
            out.write("\n".join(panel(name, curves[name], index % COLUMNS * WIDTH, index // COLUMNS * HEIGHT)) + "\n")
        out.write("</svg>\n")
    if len(sys.argv) > 2 and not curves:
        sys.exit("no row of the benchmark was counted")
    return status


if __name__ == "__main__":
    sys.exit(main())
