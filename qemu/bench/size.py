#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Counts the instructions of the fast paths, ours and C's, in built objects.

Takes one folder for each kernel: bench/ has the objects of the bench module,
quiesce.o is the crate. A path is the shortest one from a function's first
instruction to its return that passes the instruction that does the work. A
call counts as one instruction and is listed; what is the same in every function
of a kernel (endbr64 or bti, the ftrace call, alignment) does not count. On arm64 a
branch that the kernel replaces by a nop on CPUs with LSE counts as that, and the
five instructions of a frame do not count: rustc makes one in each function, gcc only
where there is a call, and an inlined path uses its caller's.

A path is met if it has at most 1 % more instructions than C's, and no call more.
figures.json has the last committed counts and calls: a path that has more than 3 %
more, or other calls, fails, and so does a frame that is too large. (That a path is
in a read-side critical section is seen by its calls alone.)
"""

import argparse
import collections
import glob
import heapq
import json
import os
import re
import subprocess
import sys

# Path -> what has to be on it, one after the other.
LOCKED = r"^lock|^xchg|^(cas|ldadd|swp)a?l?\b|^lda?xr"
PERCPU = r"%gs:"
SEQUENCE = r"^(inc|add)[lq] (?!.*%(gs|rsp))|^add [wx]\d+, [wx]\d+, #0x1$"
PATHS = {
    "seqlock_read": [],
    "seqlock_write": [],
    "seqlock_write_bh": [],
    "seqlock_write_irq": [],
    "seqlock_write_irqsave": [],
    "seqlock_field": [],
    "seqlock_set_field": [],
    "seqcount_read": [],
    "seqcount_store": [SEQUENCE],
    "seqcount_store_irq": [SEQUENCE],
    "rundown_acquire": [LOCKED],
    "rundown_release": [LOCKED],
    "rundown_percpu_acquire": [PERCPU],
    "rundown_percpu_release": [PERCPU],
    "rcu_read": [],
    "srcu_read": [],
}

# objdump gives these a line of their own.
PREFIXES = ("lock", "rep", "repne", "data16")

Insn = collections.namedtuple("Insn", "addr op args reloc")


def run(*command):
    """A tool's output."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def patched_to_nops(path):
    """Where the kernel replaces a branch by a nop, on arm64: alternative_has_cap_likely()."""
    out, last = set(), None
    for line in run("llvm-readelf", "-rW", path).splitlines():
        m = re.match(r"[0-9a-f]+\s+[0-9a-f]+ R_AARCH64_PREL32\s+[0-9a-f]+\s+(\S+)\s*([-+])\s*([0-9a-f]+)", line)
        if m and m.group(1) == "alt_cb_patch_nops":
            out.add(last)
        last = int(m.group(3), 16) if m and m.group(1) == ".text" else None
    return out


def disassemble(path):
    """Function name -> list of instructions."""
    functions, current, prefix = {}, None, None
    for line in run("llvm-objdump", "-dr", "--no-show-raw-insn", path).splitlines():
        head = re.match(r"[0-9a-f]+ <(.+)>:$", line)
        insn = re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)$", line)
        if head:
            current = functions.setdefault(head.group(1), [])
        elif insn and current is not None:
            addr, op, args = int(insn.group(1), 16), insn.group(2), insn.group(3)
            if op.startswith(("R_X86_64", "R_AARCH64")):
                if current:
                    current[-1] = current[-1]._replace(reloc=args.strip())
                continue
            if prefix is not None:
                addr, op = prefix.addr, f"{prefix.op} {op}"
                current.pop()
            prefix = Insn(addr, op, args, "") if op in PREFIXES and not args else None
            current.append(Insn(addr, op, args, ""))
    nops = patched_to_nops(path)
    for name, insns in functions.items():
        functions[name] = [i._replace(op="nop", args="") if i.addr in nops and i.op == "b" else i for i in insns]
    # Functions with the same code may be one, of which objdump gives one name.
    names = collections.defaultdict(list)
    for line in run("llvm-nm", "--defined-only", path).splitlines():
        value, kind, name = line.split()
        if kind in "tT":
            names[value].append(name)
    for same in names.values():
        for known in [n for n in same if functions.get(n)]:
            for name in same:
                functions.setdefault(name, functions[known])
    return functions


def target(insn):
    """Where a jump goes inside its function, or None if it leaves it."""
    if insn.reloc:
        return None
    m = re.search(r"(?<![#+])0x([0-9a-f]+)", insn.args)
    return int(m.group(1), 16) if m else None


def free(insn):
    """What is in every function of a kernel alike."""
    text = insn.op + " " + insn.args
    if re.fullmatch(r"(paci|auti)asp |(stp|ldp) x29, x30, \[sp.*|mov x29, sp", text):
        return True
    return insn.op in ("endbr64", "int3", "ud2", "bti", "brk", "udf") or "nop" in text or "__fentry__" in insn.reloc


JUMPS = ("jmp", "b")
# Conditional jumps of x86 begin with j; these are arm64's.
BRANCHES = ("b.", "cbz", "cbnz", "tbz", "tbnz")


def is_return(insn):
    return insn.op.startswith("ret") or "__x86_return_thunk" in insn.reloc


def fast_path(insns, via):
    """The instructions of the shortest path, or None."""
    index = {insn.addr: i for i, insn in enumerate(insns)}
    heap = [(0, 0, 0, ())]
    seen = set()
    while heap:
        cost, i, done, path = heapq.heappop(heap)
        if (i, done) in seen or i >= len(insns):
            continue
        seen.add((i, done))
        insn = insns[i]
        text = f"{insn.op} {insn.args}"
        if done < len(via) and re.search(via[done], text):
            done += 1
        if not free(insn):
            cost, path = cost + 1, path + (i,)
        if is_return(insn):
            if done == len(via):
                return [insns[j] for j in path]
            continue
        nexts = []
        if insn.op in JUMPS:
            to = target(insn)
            if to is None:
                # A tail call: it does the return.
                if insn.reloc and done == len(via):
                    return [insns[j] for j in path]
                continue
            nexts = [to]
        elif insn.op.startswith(("j", *BRANCHES)):
            to = target(insn)
            nexts = [to] if to is not None else []
        if insn.op not in JUMPS and i + 1 < len(insns):
            nexts.append(insns[i + 1].addr)
        for to in nexts:
            if to in index:
                heapq.heappush(heap, (cost, index[to], done, path))
    return None


def count(functions, name, via):
    """What the table says of one function."""
    insns = functions.get(name)
    if not insns:
        return None
    # The code that does the work may be out of line.
    path = fast_path(insns, via) or fast_path(insns, [])
    if path is None:
        return None
    calls = [re.split(r"[-+]0x", i.reloc.split()[-1] if i.reloc else i.args)[0]
             for i in path if i.op.startswith("call") or i.op == "bl" or (i.op in JUMPS and i.reloc and not is_return(i))]
    return {
        "instructions": len(path),
        "calls": calls,
        "locked": sum(1 for i in path if re.search(LOCKED, i.op)),
        "whole": sum(1 for i in insns if not free(i)),
    }


# What is accepted: of C's, and of the last committed count.
OF_C, OF_LAST = 1.01, 1.03

# A frame has room for this many bytes and for two of the values that are passed by value.
FRAME = 512


def frame(insns):
    """The bytes of stack that a function takes beside its return address, at most."""
    size = 0
    for insn in insns:
        m = re.match(r"\$(-?0x[0-9a-f]+|-?\d+), %rsp\b", insn.args)
        down = {"sub": 1, "add": -1}.get(insn.op.rstrip("q"), 0)
        if m and down * int(m.group(1), 0) > 0:
            size += abs(int(m.group(1), 0))
        size += 8 * insn.op.startswith("push")
        m = re.match(r"sp, sp, #(0x[0-9a-f]+|\d+)$|.*\[sp, #-(0x[0-9a-f]+|\d+)\]!$", insn.args)
        if m and (insn.op == "sub" or m.group(2)):
            size += int(m.group(1) or m.group(2), 0)
    return size


def frames(functions):
    """Function -> its frame and the largest that it may have, of those over that or named stack_N_*."""
    out = {}
    for name, insns in functions.items():
        m = re.match(r"stack_(\d+)_", name)
        most = FRAME + 2 * int(m.group(1)) if m else FRAME
        if m or frame(insns) > most:
            out[name] = {"bytes": frame(insns), "most": most}
    return out


def symbols(path):
    """(size, type, mangled name) of an object's functions."""
    out = []
    for line in run("llvm-nm", "--defined-only", "--print-size", path).splitlines():
        words = line.split()
        if len(words) == 4 and words[2] in "tTwW":
            out.append((int(words[1], 16), words[2], words[3]))
    return out


def sizes(paths):
    """Object -> bytes of one, ours and C's."""
    out = {}
    for path in paths:
        for line in run("llvm-nm", "--defined-only", "--print-size", path).splitlines():
            m = re.match(r"\S+ (\S+) \S sizeof_(ours|peer)_(\w+)$", line)
            if m:
                out.setdefault(m.group(3), {})[m.group(2)] = int(m.group(1), 16)
    return out


def text_by_part(path):
    """Bytes of .text of each part of the crate."""
    syms = symbols(path)
    names = subprocess.run(["llvm-cxxfilt"], input="\n".join(s[2] for s in syms), check=True,
                           stdout=subprocess.PIPE, text=True).stdout.splitlines()
    parts = collections.Counter()
    for (size, _, _), name in zip(syms, names):
        m = re.search(r"quiesce(?:\[[0-9a-f]+\])?::(rundown|seqlock|rcu|barrier|device|arch)\b", name)
        parts[m.group(1) if m else "rest"] += size
    return dict(parts)


def longest_symbol(path):
    """The length of the longest name that the crate exports, and the name."""
    names = re.findall(r"\b_R\S+", run("llvm-nm", "--defined-only", path))
    return max(((len(n), n) for n in names), default=(0, ""))


def sections(path):
    """Bytes of code, read-only data, data and bss of a module."""
    out = collections.Counter()
    for line in run("llvm-size", "-A", path).splitlines():
        words = line.split()
        if len(words) == 3 and words[1].isdigit():
            name = words[0]
            for kind in (".text", ".init.text", ".exit.text", ".rodata", ".data", ".bss"):
                if name == kind or name.startswith(kind + "."):
                    out[kind.split(".")[-1] if kind.count(".") == 1 else "init"] += int(words[1])
    return dict(out)


def objects(folder):
    """The bench module's objects that have size_* functions."""
    bench = os.path.join(folder, "bench", "module")
    return sorted(glob.glob(os.path.join(bench, "peers", "*.o"))) + [os.path.join(bench, "ours", "ours.o")]


def measure(folder):
    """All figures of one kernel."""
    functions = {}
    for path in objects(folder):
        functions.update(disassemble(path))
    crate = os.path.join(folder, "src", "quiesce.o")
    return {
        "paths": {
            path: {
                "ours": count(functions, "size_ours_" + path, via),
                "peer": count(functions, "size_peer_" + path, via),
            }
            for path, via in PATHS.items()
        },
        "sizes": sizes(objects(folder)),
        "frames": frames({**disassemble(crate), **{n: f for n, f in functions.items() if n.startswith("stack_")}}),
        "text": text_by_part(crate),
        "module": sections(os.path.join(folder, "quiesce.o")),
        "longest": longest_symbol(crate)[0],
    }


def cell(one):
    """One side of a path in the table."""
    if one is None:
        return "-"
    return f"{one['instructions']}" + (f"+{len(one['calls'])}c" if one["calls"] else "")


def table(kernels):
    """What the terminal shows; the number of functions whose frames are too large."""
    names = list(kernels)
    print("Instructions of the fast path, ours / C; '+2c': two of them are calls")
    print(f"{'path':26}" + "".join(f"{n:>22}" for n in names) + "  verdict")
    deep = 0
    for path in PATHS:
        line, verdict = f"{path:26}", ""
        for n in names:
            ours, peer = kernels[n]["paths"][path]["ours"], kernels[n]["paths"][path]["peer"]
            line += f"{cell(ours) + ' / ' + cell(peer):>22}"
            if ours and peer and ours["instructions"] > OF_C * peer["instructions"]:
                verdict = "missed on " + n if not verdict else verdict + ", " + n
            if ours and peer and len(ours["calls"]) > len(peer["calls"]):
                verdict = (verdict + "; " if verdict else "") + "a call more on " + n
        print(line + "  " + (verdict or "met"))
    print(f"\n{'bytes of one, ours / C':26}" + "".join(f"{n:>22}" for n in names))
    for what in kernels[names[0]]["sizes"]:
        line = f"{what:26}"
        for n in names:
            one = kernels[n]["sizes"].get(what, {})
            line += f"{str(one.get('ours', '-')) + ' / ' + str(one.get('peer', '-')):>22}"
        print(line)
    rows = sorted({what for n in names for what in kernels[n]["frames"]})
    readable = subprocess.run(["llvm-cxxfilt"], input="\n".join(rows), check=True, stdout=subprocess.PIPE,
                              text=True).stdout.splitlines()
    print(f"\n{'bytes of stack / at most':60}" + "".join(f"{n:>14}" for n in names))
    for what, name in zip(rows, readable):
        name = re.sub(r"\[[0-9a-f]{16}\]", "", name)[-60:]
        line, over = f"{name:60}", False
        for n in names:
            one = kernels[n]["frames"].get(what)
            line += f"{str(one['bytes']) + ' / ' + str(one['most']) if one else '-':>14}"
            over |= bool(one) and one["bytes"] > one["most"]
        deep += over
        print(line + ("  TOO LARGE" if over else ""))
    print(f"\n{'bytes of .text':26}" + "".join(f"{n:>22}" for n in names))
    for part in ("rundown", "seqlock", "rcu", "barrier", "device", "arch", "rest"):
        print(f"{part:26}" + "".join(f"{kernels[n]['text'].get(part, 0):>22}" for n in names))
    for kind in ("text", "init", "rodata", "data", "bss"):
        print(f"{'quiesce.ko ' + kind:26}" + "".join(f"{kernels[n]['module'].get(kind, 0):>22}" for n in names))
    print(f"{'longest symbol':26}" + "".join(f"{kernels[n]['longest']:>22}" for n in names))
    return deep


def counts(one):
    """What is committed of one side of a path."""
    return {"instructions": one["instructions"], "calls": one["calls"]}


def worse(kernels, last):
    """What has become worse than the last committed figures."""
    out = []
    for name, kernel in kernels.items():
        for path, sides in kernel["paths"].items():
            now, then = sides["ours"], last.get(name, {}).get(path)
            if then and not now:
                out.append(f"{path} on {name} cannot be counted any more")
            elif then and now["instructions"] > OF_LAST * then["instructions"]:
                out.append(f"{path} on {name} has {now['instructions']} instructions, and had {then['instructions']}")
            elif then and now["calls"] != then["calls"]:
                out.append(f"{path} on {name} calls {' '.join(now['calls']) or 'nothing'}, and called "
                           f"{' '.join(then['calls']) or 'nothing'}")
    return out


def read_figures(path):
    """The committed figures; empty if there are none yet."""
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def judge(kernels, path, record):
    """Compares the paths with the committed figures, or commits them; returns the exit status."""
    figures = read_figures(path)
    last = figures.setdefault("size", {})
    if record:
        for name, kernel in kernels.items():
            last[name] = {path: counts(sides["ours"]) for path, sides in kernel["paths"].items() if sides["ours"]}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(figures, f, indent=1, sort_keys=True)
            f.write("\n")
        return 0
    for name in kernels:
        if name not in last:
            print(f"{name}: there are no committed figures; SIZE_RECORD=1 writes them")
    found = worse(kernels, last)
    for line in found:
        print("WORSE:", line)
    return 1 if found else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", help="a file for the figures in JSON")
    parser.add_argument("--figures", help="the committed figures")
    parser.add_argument("--record", action="store_true", help="write them instead of comparing")
    parser.add_argument("--show", help="print the path of this function, e.g. size_ours_seqlock_read")
    parser.add_argument("kernel", nargs="+", help="NAME=folder that the modules were built in")
    args = parser.parse_args()
    folders = dict(k.split("=", 1) for k in args.kernel)
    if args.show:
        via = PATHS.get(re.sub("^size_(ours|peer)_", "", args.show), [])
        for name, folder in folders.items():
            for path in objects(folder):
                insns = disassemble(path).get(args.show)
                for i in (fast_path(insns, via) or fast_path(insns, []) or []) if insns else []:
                    print(f"{name}: {i.addr:6x} {i.op} {i.args} {i.reloc}")
        return 0
    kernels = {name: measure(folder) for name, folder in folders.items()}
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump(kernels, f, indent=1)
    deep = table(kernels)
    status = judge(kernels, args.figures, args.record) if args.figures else 0
    return 1 if deep else status


if __name__ == "__main__":
    sys.exit(main())
