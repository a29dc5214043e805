#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Counts the instructions of the fast paths, ours and C's, in built objects.

Takes one folder for each kernel: bench/ has the objects of the bench module,
quiesce.o is the crate. A path is the shortest one from a function's first
instruction to its return that passes the instruction that does the work. A
call counts as one instruction and is listed; if the work is done in a function that is called, of the
module or of the crate's helpers, its path counts too. What is the same in every function
of a kernel (endbr64 or bti, the ftrace call, alignment) does not count. On arm64 a
branch that the kernel replaces by a nop on CPUs with LSE counts as that, and the
five instructions of a frame do not count: rustc makes one in each function, gcc only
where there is a call, and an inlined path uses its caller's.

A path is met if it has at most 1 % more instructions than C's, and no call more.
figures.json has the last committed counts and calls: a path that has more than 3 %
more, or other calls, fails, and so does a path that cannot be counted or is not in
figures.json, or in it alone, and a frame that is too large or was not found. (That a path
is in a read-side critical section is seen by its calls alone.)
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

import figures

# Path -> what has to be on it, one after the other.
LOCKED = r"^lock|^xchg|^(cas|ldadd|swp)a?l?\b|^lda?xr"
# Not preempt_count, which is per CPU too, but has a name.
PERCPU = r"^(inc|add|dec|sub)q .*%gs:\(|, TPIDR_EL1"
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

# Called where the task has to reschedule: no fast path.
SLOW = r"preempt_schedule"

# Paths that a kernel does not have, of ours or of C's: (kernel, path) -> the reason.
NOT_COUNTED = {}
# A path may be in so many functions that call each other.
DEPTH = 3

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
        if re.search(SLOW, insn.reloc):
            continue
        text = f"{insn.op} {insn.args} {insn.reloc}".rstrip()
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


def is_call(insn):
    """Whether it leads to another function, which may return for this one."""
    return insn.op.startswith("call") or insn.op == "bl" or (insn.op in JUMPS and insn.reloc and not is_return(insn))


def callee(insn):
    """The name of the function that a call leads to."""
    if insn.reloc:
        return re.split(r"[-+]0x", insn.reloc.split()[-1])[0]
    m = re.search(r"<([^>+]+)>", insn.args)
    return m.group(1) if m else insn.args


def work_path(functions, name, via, depth=DEPTH):
    """The instructions of the shortest path that does the work, or None: in this function, or in it and in
    one that it calls."""
    insns = functions.get(name)
    if not insns:
        return None
    path = fast_path(insns, via)
    if path or not depth:
        return path
    found = []
    for called in sorted({callee(i) for i in insns if is_call(i)} - {name}):
        inner = work_path(functions, called, via, depth - 1)
        outer = inner and fast_path(insns, [rf"^(call|bl?\b|jmp).*[ <]{re.escape(called)}\b"])
        if outer:
            found.append(outer + inner)
    return min(found, key=len, default=None)


def count(functions, name, via):
    """What the table says of one function."""
    path = work_path(functions, name, via)
    if path is None:
        return None
    return {
        "instructions": len(path),
        "calls": [callee(i) for i in path if is_call(i)],
        "locked": sum(1 for i in path if re.search(LOCKED, i.op)),
        "whole": sum(1 for i in functions[name] if not free(i)),
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


def all_functions(folder):
    """The functions of the bench module, and the crate's helpers, which they call."""
    functions = {}
    for path in sorted(glob.glob(os.path.join(folder, "src", "helpers", "*.o"))) + objects(folder):
        functions.update(disassemble(path))
    return functions


def measure(folder):
    """All figures of one kernel."""
    functions = all_functions(folder)
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


def verdict(kernels):
    """Whether a path is met: on which kernels it has more instructions or calls than C's, or is not counted."""
    found = collections.defaultdict(list)
    for name, sides in kernels.items():
        ours, peer = sides["ours"], sides["peer"]
        if not ours or not peer:
            found["not counted"].append(name)
            continue
        if ours["instructions"] > OF_C * peer["instructions"]:
            found["missed"].append(name)
        if len(ours["calls"]) > len(peer["calls"]):
            found["a call more"].append(name)
    return "; ".join(f"{what} on {', '.join(names)}" for what, names in found.items()) or "met"


def table(kernels):
    """What the terminal shows."""
    names = list(kernels)
    print("Instructions of the fast path, ours / C; '+2c': two of them are calls")
    print(f"{'path':26}" + "".join(f"{n:>22}" for n in names) + "  verdict")
    for path in PATHS:
        line = f"{path:26}"
        for n in names:
            ours, peer = kernels[n]["paths"][path]["ours"], kernels[n]["paths"][path]["peer"]
            line += f"{cell(ours) + ' / ' + cell(peer):>22}"
        print(line + "  " + verdict({n: kernels[n]["paths"][path] for n in names}))
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
        print(line + ("  TOO LARGE" if over else ""))
    print(f"\n{'bytes of .text':26}" + "".join(f"{n:>22}" for n in names))
    for part in ("rundown", "seqlock", "rcu", "barrier", "device", "arch", "rest"):
        print(f"{part:26}" + "".join(f"{kernels[n]['text'].get(part, 0):>22}" for n in names))
    for kind in ("text", "init", "rodata", "data", "bss"):
        print(f"{'quiesce.ko ' + kind:26}" + "".join(f"{kernels[n]['module'].get(kind, 0):>22}" for n in names))
    print(f"{'longest symbol':26}" + "".join(f"{kernels[n]['longest']:>22}" for n in names))


def recorded(kernels):
    """What is committed."""
    def side(one):
        return one and {"instructions": one["instructions"], "calls": one["calls"]}
    return {name: {"paths": {path: {of: side(one) for of, one in sides.items()} for path, sides in kernel["paths"].items()},
                   "frames": sorted(what for what in kernel["frames"] if what.startswith("stack_"))}
            for name, kernel in kernels.items()}


def judge(kernels, last):
    """What fails: a path against the committed figures, one that is not counted, one of either alone, and
    a frame that is too large or was not found."""
    out = []
    for name in {**last, **kernels}:
        if name not in kernels:
            out.append(f"{name} was not measured, and has committed figures")
            continue
        if name not in last:
            out.append(f"{name} has no committed figures; SIZE_RECORD=1 writes them")
            last = {**last, name: {"paths": {}, "frames": []}}
        paths, known = kernels[name]["paths"], last[name]["paths"]
        out += [f"{path} on {name} was not measured, and has committed figures" for path in known if path not in paths]
        for path, sides in paths.items():
            out += judge_path(f"{path} on {name}", sides, known.get(path), (name, path) in NOT_COUNTED)
        deep = kernels[name]["frames"]
        out += [f"{what} on {name} has {one['bytes']} bytes of stack, and may have {one['most']}"
                for what, one in deep.items() if one["bytes"] > one["most"]]
        out += [f"{what} on {name} was not found" for what in last[name]["frames"] if what not in deep]
    return out


def judge_path(path, sides, last, excused):
    """What fails of one path on one kernel."""
    now, then = sides["ours"], (last or {}).get("ours")
    out = [f"{path}: {of} cannot be counted" for of, one in sides.items() if not one and not excused]
    if not now or excused:
        return out
    if not then:
        return out + [f"{path} has no committed count; SIZE_RECORD=1 writes it"]
    if now["instructions"] > OF_LAST * then["instructions"]:
        out.append(f"{path} has {now['instructions']} instructions, and had {then['instructions']}")
    if now["calls"] != then["calls"]:
        out.append(f"{path} calls {' '.join(now['calls']) or 'nothing'}, and called {' '.join(then['calls']) or 'nothing'}")
    return out


def markdown(last):
    """README.md's table of the committed figures."""
    last = dict(sorted(last.items()))
    out = ["| path | " + " | ".join(last) + " | verdict |", "|---" * (len(last) + 2) + "|"]
    for path in PATHS:
        kernels = {name: kernel["paths"][path] for name, kernel in last.items()}
        out.append(f"| `{path}` | " + " | ".join(f"{cell(sides['ours'])} / {cell(sides['peer'])}" for sides in kernels.values())
                   + f" | {verdict(kernels)} |")
    return "\n".join(out)


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
            for i in work_path(all_functions(folder), args.show, via) or []:
                print(f"{name}: {i.addr:6x} {i.op} {i.args} {i.reloc}")
        return 0
    kernels = {name: measure(folder) for name, folder in folders.items()}
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump(kernels, f, indent=1)
    table(kernels)
    if not args.figures:
        return 0
    last = figures.read(args.figures, "size")
    if args.record:
        last = recorded(kernels)
        figures.record(args.figures, "size", last, markdown(last))
    found = judge(kernels, last)
    for line in found:
        print("FAILED:", line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
