#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Prints the table of a test run, and writes it as a page of HTML.

The judge wrote the file: lines of profile, suite, passed, failed, skipped, seconds; lines
'#skip PROFILE SUITE TEST: REASON' of what may be skipped; '#wrong PROFILE TEXT'.
"""

import argparse
import html


STYLE = """body { font: 14px sans-serif; margin: 2em } table { border-collapse: collapse }
td, th { padding: 2px 10px; text-align: right; border-bottom: 1px solid #ddd }
td.name, th.name { text-align: left } .bad { background: #fcc } .good { background: #dfd }"""


def write_html(path, rows, skips, wrongs, verdict):
    profiles = list(dict.fromkeys(row[0] for row in rows))
    suites = list(dict.fromkeys(row[1] for row in rows))
    cells = {(row[0], row[1]): row for row in rows}
    out = [f"<!DOCTYPE html><title>quiesce: {verdict}</title><style>{STYLE}</style><h1>{verdict}</h1>"]
    out.append("<table><tr><th class=name>suite</th>" + "".join(f"<th>{html.escape(p)}</th>" for p in profiles) + "</tr>")
    for suite in suites:
        out.append(f"<tr><td class=name>{html.escape(suite)}</td>")
        for profile in profiles:
            row = cells.get((profile, suite))
            if not row:
                out.append("<td></td>")
                continue
            _, _, passed, failed, skipped, seconds = row
            text = f"{passed}" + (f", {failed} failed" if failed else "") + (f", {skipped} skipped" if skipped else "")
            out.append(f"<td class={'bad' if failed else 'good'} title='{seconds} s'>{text}</td>")
        out.append("</tr>")
    out.append("</table>")
    for title, lines in ("Wrong", wrongs), ("Skipped, as qemu/suites allows", skips):
        if lines:
            out.append(f"<h2>{title}</h2><ul>" + "".join(f"<li>{html.escape(line)}" for line in lines) + "</ul>")
    with open(path, "w", encoding="utf-8") as page:
        page.write("\n".join(out) + "\n")


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("table")
    args.add_argument("--html")
    args = args.parse_args()

    rows, skips, wrongs = [], [], []
    with open(args.table, encoding="utf-8") as lines:
        for line in lines:
            kind, _, rest = line.rstrip("\n").partition(" ")
            if kind == "#skip":
                profile, suite, text = rest.split(" ", 2)
                skips.append(f"{profile}: {suite}: {text}")
            elif kind == "#wrong":
                profile, _, text = rest.partition(" ")
                wrongs.append(f"{profile}: {text}")
            else:
                profile, suite, passed, failed, skipped, seconds = line.split()
                rows.append((profile, suite, int(passed), int(failed), int(skipped), seconds))

    print(f"{'profile':<15} {'suite':<34} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    for profile, suite, passed, failed, skipped, seconds in rows:
        print(f"{profile:<15} {suite:<34} {passed:7} {failed:7} {skipped:8} {seconds:>8}")
    print(f"\n{'profile':<15} {'suites':<34} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for profile in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == profile]
        print(f"{profile:<15} {len(own):<34} {sum(r[2] for r in own):7} {sum(r[3] for r in own):7} {sum(r[4] for r in own):8}")
    if skips:
        print("\nskipped, as qemu/suites allows:")
        print("".join(f"  {line}\n" for line in skips), end="")
    if wrongs:
        print("\nwrong:")
        print("".join(f"  {line}\n" for line in wrongs), end="")
    verdict = f"{sum(row[2] for row in rows)} passed, {sum(row[3] for row in rows)} failed"
    if args.html:
        write_html(args.html, rows, skips, wrongs, verdict)
    print(f"\n{verdict}")


if __name__ == "__main__":
    main()
