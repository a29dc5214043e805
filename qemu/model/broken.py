#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes a copy of the sources in which each edit below is in effect when BROKEN names it.

    broken.py TREE      writes TREE/src and TREE/qemu/model
    broken.py --list    prints a line for each edit: its name, and the model that has to find it

Of an edit, `old` is in its file exactly once, so that a change of the source that an edit depends on
is an error here and not an edit without effect. `says` is a regular expression: what the model prints
when it finds the edit. A model that fails in any other way has found nothing.
"""

import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


class Edit:
    def __init__(self, model, name, says, file, old, new):
        self.model, self.name, self.says, self.file, self.old, self.new = model, name, says, file, old, new


def without(statement):
    """The statement is left out."""
    return statement, "if !BROKEN { " + statement + " }"


def instead(expression, other):
    """Another expression."""
    return expression, "(if BROKEN { " + other + " } else { " + expression + " })"


def asleep(*threads):
    """loom's report that nothing can run, in which these threads sleep, and no others."""
    return "deadlock; threads = " + "".join(rf"(?{'=' if n in threads else '!'}.*\bId\({n}\), Blocked)" for n in range(5))


# loom's report of two accesses to a model's data (`Plain`), or to a payload's, that nothing orders.
RACE = "Causality violation: Concurrent (read and )?write accesses"
TORN = ": a torn value"
LEAKED = ": something was leaked"
FREED = ": used after it was freed"

# What is assembly in a file under a model, and which model's function has the same steps by hand.
TRANSCRIBED = [
    ("arch/percpu_count.rs", "kernel/src/percpu_ref.rs: count_one()", """\
            "mov {ptr}, qword ptr [{counters}]",
            "test {ptr:l}, 3",
            "jne {atomic}",
            concat!($instruction, " qword ptr gs:[{ptr}]"),
"""),
    ("arch/percpu_count.rs", "kernel/src/percpu_ref.rs: count_one()", """\
        bindings::__rcu_read_lock();
        count!("inc", counters, {
            return unsafe { refuse() };
        });
        bindings::__rcu_read_unlock();
        true
"""),
    ("arch/percpu_count.rs", "loom/src/rundown.rs: PerCpu::release()", """\
        bindings::__rcu_read_lock();
        count!("dec", counters, {
            unsafe {
                bindings::__rcu_read_unlock();
                return helpers::quiesce_helper_percpu_ref_put(count());
            }
        });
        bindings::__rcu_read_unlock();
"""),
]

EDITS = [
    Edit("pair", "abort-does-not-supersede", r"the call Wait \{ side: 1, .*: the result is 0, and the header says ECONNABORTED",
         "barrier/pair.rs",
         "if other.aborted {\n                // The abort", "if other.aborted && !(BROKEN && read != other.arrivals) {\n // The abort"),
    Edit("pair", "abort-wakes-no-waiter", r"the call Abort .*: a wait of side \d of kind \d is over and not woken",
         "barrier/pair.rs",
         "now.aborted != before.aborted", "(now.aborted != before.aborted && !BROKEN)"),
    Edit("pair", "hup-while-readable", r"a poller of side 1 is given the events 0x2010, and 0x2145 are on",
         "barrier/pair.rs",
         "(other.ended && !readable)", "(other.ended && (BROKEN || !readable))"),
    Edit("pair", "arrival-is-no-edge", r"the call Arrive .*: a poller of side 1 for 0x1 is not woken",
         "barrier/pair.rs",
         "if arrived && poll & POLLIN != 0 {", "if arrived && poll & POLLIN != 0 && !(BROKEN && before.poll(side) & POLLIN != 0) {"),
    Edit("pair", "arrival-has-a-key", r"the call Arrive .*: a poller of side 1 is given the events 0x41, and does not ask",
         "barrier/pair.rs",
         "return Some(0);", "return Some(if BROKEN { POLLIN | POLLRDNORM } else { 0 });"),
    Edit("pair", "fault-leaves-the-arrival", r"the call ArriveWait .*: it failed, and has changed something",
         "device/pair.rs",
         *without("self.undo_arrive(side, arrived)")),
    Edit("pair", "waits-resumed-without-count", r"the call Continue .*: the result is EFAULT, and the header says EINVAL, where a write fails",
         "barrier/pair.rs",
         *instead("me.suspended.checked_sub(1).ok_or(EINVAL)?", "me.suspended")),
    Edit("group", "first-to-arrive-leads", r"the call (Wait|Continue) .*: the struct is .* result: 3, .* the header says .* result: 1,",
         "barrier/group.rs",
         "index >= best", "(index >= best) != BROKEN"),
    Edit("group", "dead-party-breaks-nothing-later", r"the call Arrive .*: poll is 41, and the header says 4b",
         "barrier/group.rs",
         "} else if let Some(n) = self.dead.first() {", "} else if let Some(n) = self.dead.first().filter(|_| !BROKEN) {"),
    Edit("group", "leaving-wakes-nobody", r"the call (Exit|Close|Leave) .*: a wait of party 0 for 1 is over and not woken",
         "barrier/group.rs",
         "waiters: phase || broken || hung_up ||", "waiters: phase || broken || (hung_up && !BROKEN) ||"),
    Edit("group", "hanging-up-wakes-no-poller", r"the call (Exit|Close|Leave|Arrive .*drop: true) .*: a poller of descriptor 1 for 0x10 is not woken",
         "barrier/group.rs",
         "hung_up || leads)", "(hung_up && !BROKEN) || leads)"),
    Edit("group", "end-of-phase-has-a-key", r"the call GroupReset: a poller of descriptor 0 is given the events 0x41, and does not ask",
         "barrier/group.rs",
         "wakes.then_some(0);", "wakes.then_some(if BROKEN && phase { 0x41 } else { 0 });"),
    Edit("group", "ticket-used-twice", r"the call Continue .*: the result is EFAULT, and the header says EINVAL, where a write fails",
         "barrier/group.rs",
         *without("arrived.suspended = false;")),
    Edit("group", "unknown-ticket-is-stale", r"the call Continue .*: the result is ESTALE, and the header says EINVAL, where a write fails",
         "barrier/group.rs",
         "None if ticket < oldest => Err(ESTALE),", "None if ticket < oldest.max(if BROKEN { 2 } else { 0 }) => Err(ESTALE),"),
    Edit("group", "end-uses-up-the-ticket", r"the call Continue .*: it failed, and has changed something",
         "device/party.rs",
         "if matches!(result, Err(EFAULT | ENOTCONN)) &&", "if (result == Err(EFAULT) || (result == Err(ENOTCONN) && !BROKEN)) &&"),
    Edit("group", "seats-stay-closed-after-reset", r"the call GroupReset: STATUS is .* open: 0, .* the header says .* open: 1,",
         "barrier/group/ends.rs",
         "} else {\n                self.open.insert(n);", "} else if !BROKEN {\n self.open.insert(n);"),
    Edit("group", "leader-is-not-replaced", r"the call Leave .*: poll is 0, and the header says 41",
         "barrier/group/ends.rs",
         *without("self.leader_left(seat.party());")),
    Edit("group", "seats-are-added-during-completion", r"the call Join .*: the result is (0|EFAULT|ENOSPC), and the header says EBUSY",
         "barrier/group.rs",
         "if self.completing.is_some() {\n            return Err(EBUSY);", "if self.completing.is_some() && !BROKEN {\n return Err(EBUSY);"),
    Edit("group", "reset-forgets-why", r"the call (Wait|Continue) .*: the result is ECANCELED, and the header says ECONNABORTED",
         "barrier/group/ends.rs",
         "self.broken.take().map_or(Failure::Reset, Failure::Broken)",
         "self.broken.take().filter(|_| !BROKEN).map_or(Failure::Reset, Failure::Broken)"),

    # Rundown references.
    Edit("rundown-release-wait", "release-is-relaxed", RACE,
         "arch/word.rs",
         *instead("word.fetch_sub(ONE, Release)", "word.fetch_sub(ONE, kernel::sync::atomic::Relaxed)")),
    Edit("rundown-claim", "acquisition-is-relaxed", RACE,
         "arch/word.rs",
         *instead("word.cmpxchg(old, old.wrapping_add(ONE), Acquire)", "word.cmpxchg(old, old.wrapping_add(ONE), Relaxed)")),
    Edit("rundown-callback", "callback-without-acquire", RACE,
         "rundown/word.rs",
         *without("arch::seq::read_barrier();")),
    Edit("rundown-release-wait", "completion-is-relaxed", RACE,
         "rundown/word.rs",
         *instead("self.0.load(Acquire)", "self.0.load(Relaxed)")),
    Edit("rundown-release-wait", "begin-overwrites-the-count", r": a wait failed left: Err\(Saturated\)",
         "rundown/word.rs",
         *instead("self.0.cmpxchg(old, new, Full)", "{ self.0.store(new, Release); Ok(old) }")),
    Edit("rundown-claim", "claim-is-relaxed", RACE,
         "rundown/word.rs",
         *instead("self.0.cmpxchg(0, new, Full)", "self.0.cmpxchg(0, new, Relaxed)")),
    Edit("rundown-claim-in-turn", "unclaim-wakes-nobody", asleep(0, 2),
         "rundown/word.rs",
         *instead("set(0).inspect(|()| wait::wake(self.key()))", "set(0)")),
    Edit("rundown-reinit", "reinit-forgets-waits", asleep(0, 1),
         "rundown/word.rs",
         *instead("wait::settle(self.key(), Ok(()), || self.change_run_down(LIVE))", "self.change_run_down(LIVE)")),
    Edit("rundown-resurrect", "resurrection-is-completion", r": another error left: TimedOut right: Resurrected",
         "rundown/word.rs",
         *instead("Err(RundownError::Resurrected)", "Err(RundownError::TimedOut)")),
    Edit("rundown-saturate", "saturation-wakes-nobody", asleep(0, 1),
         "rundown/word.rs",
         "// Waits fail, as they would never end.\n            wait::wake(self.key());", "if !BROKEN { wait::wake(self.key()); }"),
    Edit("rundown-two-waiters", "waiters-do-not-wake-each-other", asleep(0),
         "rundown/waiters.rs",
         "if wake_next && (*node)", "if wake_next && !BROKEN && (*node)"),
    Edit("rundown-resurrect-two", "outcome-is-not-passed-on", asleep(0, 1),
         "rundown/waiters.rs",
         *without("(*next).outcome = Some(outcome);")),
    Edit("rundown-claim-and-wait", "completed-only-if-unclaimed", asleep(0, 1),
         "rundown/word.rs",
         "0 | CLAIMED => Ok(true),", "CLAIMED if BROKEN => Ok(false),\n 0 | CLAIMED => Ok(true),"),
    Edit("rundown-claim-and-wait", "claims-come-first", asleep(0, 1),
         "rundown/waiters.rs",
         "if !(*node).claim {", "if !(*node).claim && !BROKEN {"),
    Edit("rundown-timeout", "gives-up-without-a-last-look", asleep(0, 2),
         "rundown/wait.rs",
         "} else if let Some(ret) = subject.poll() {", "} else if let Some(ret) = (if BROKEN && gave_up.is_some() { None } else { subject.poll() }) {"),
    Edit("rundown-listeners", "listener-is-gone-while-called", RACE,
         "rundown/listeners.rs",
         "if (*listener).running != 0 {", "if (*listener).running != 0 && !BROKEN {"),
    Edit("percpu-wait", "copy-is-not-marked", ": acquired after the rundown",
         "rundown/percpu_core.rs",
         "        dead();\n", "        if !BROKEN { dead(); }\n"),
    Edit("percpu-wait", "end-is-relaxed", RACE,
         "rundown/percpu_core.rs",
         *instead("this.phase.store(RUN_DOWN, Release)", "this.phase.store(RUN_DOWN, Relaxed)")),
    Edit("percpu-wait", "end-wakes-nobody", asleep(0, 1),
         "rundown/percpu_core.rs",
         *without("trace::end(this.key());\n    wait::wake(this.key());")),
    Edit("percpu-claim", "copy-stays-marked", ": it is live again",
         "rundown/percpu_core.rs",
         "live(self.counters());\n        Ok(())", "if !BROKEN { live(self.counters()); }\n Ok(())"),
    Edit("percpu-resurrect", "resurrection-keeps-a-reference", LEAKED,
         "rundown/percpu_core.rs",
         *without("self.refs.fetch_sub(1, Release);")),
    Edit("percpu-resurrect", "freed-under-a-callback", FREED,
         "rundown/percpu_core.rs",
         *instead("self.resurrected.load(Relaxed)", "false")),
    Edit("percpu-free", "rundown-has-no-reference", LEAKED,
         "rundown/percpu_core.rs",
         *without("self.refs.fetch_add(1, Relaxed);")),

    Edit("percpu-portable", "put-is-forgotten", asleep(0, 1),
         "arch/percpu_count.rs",
         *without("unsafe { helpers::quiesce_helper_percpu_ref_put(count()) };")),

    # Sequence counters.
    Edit("seqlock-store-read", "write-begins-without-barrier", TORN,
         "seqlock/sequence.rs",
         "// ORDERING: Keeps the increment before the stores; pairs with the barrier in `retry`.\n    arch::write_barrier();",
         "if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-store-read", "write-ends-without-barrier", TORN,
         "seqlock/sequence.rs",
         "// ORDERING: Keeps the stores before the increment; pairs with the acquire in `peek`.\n    arch::write_barrier();",
         "if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-store-read", "validated-without-barrier", TORN,
         "seqlock/sequence.rs",
         *without("arch::read_barrier();")),
    Edit("seqlock-store-read", "read-begins-relaxed", TORN,
         "seqlock/sequence.rs",
         *instead("unsafe { arch::load_acquire_u32(counter(seq)) }", "unsafe { arch::load_u32(counter(seq)) }")),
    Edit("seqlock-store-read", "write-begins-nothing", TORN,
         "seqlock/write.rs",
         *without("unsafe { sequence::write_begin_nested(body.sequence(), subclass) };")),
    Edit("seqlock-store-read", "copied-during-a-write", TORN,
         "seqlock/read.rs",
         "let start = unsafe { sequence::peek(self.sequence()) };\n        if start & 1 != 0 {",
         "let start = unsafe { sequence::peek(self.sequence()) };\n if start & 1 != 0 && !BROKEN {"),
    Edit("seqlock-read", "returned-without-validation", TORN,
         "seqlock/read.rs",
         "let copy = self.body.data.load();\n            if !self.body.retry(start) {",
         "let copy = self.body.data.load();\n if BROKEN || !self.body.retry(start) {"),
    Edit("seqlock-writers", "writers-have-locks-of-their-own", ": a (torn value|store was lost)",
         "seqlock/write.rs",
         "Held::lock_nested(self.body.lock(), subclass)",
         "Held::lock_nested(self.body.lock().wrapping_byte_add(if BROKEN { kernel::wait::current() } else { 0 }), subclass)"),
    Edit("seqlock-writers", "bounded-reader-takes-no-lock", TORN,
         "seqlock/read.rs",
         "*self.read_exclusive_in::<C>()\n",
         "if BROKEN { unsafe { self.body.data.load().assume_whole() } } else { *self.read_exclusive_in::<C>() }\n"),
    Edit("seqlock-count", "long-write-begins-without-barrier", TORN,
         "seqlock/long_count.rs",
         "// ORDERING: Keeps the increment before the stores; pairs with the barrier in `retry`.\n        arch::write_barrier();",
         "if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-count", "long-write-ends-without-barrier", TORN,
         "seqlock/long_count.rs",
         "// ORDERING: Keeps the stores before the increment; pairs with the acquire in `peek`.\n        arch::write_barrier();",
         "if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-count", "long-validated-without-barrier", TORN,
         "seqlock/long_count.rs",
         *without("arch::read_barrier();")),
    Edit("seqlock-count", "long-read-begins-relaxed", TORN,
         "seqlock/long_count.rs",
         *instead("unsafe { arch::load_acquire_u64(self.count.get()) }", "unsafe { arch::load_u64(self.count.get()) }")),
    Edit("seqlock-count", "count-copied-during-a-write", TORN,
         "seqlock/seqcount.rs",
         "let start = self.sequence.peek();\n        if start & 1 != 0 {",
         "let start = self.sequence.peek();\n if start & 1 != 0 && !BROKEN {"),
    Edit("seqlock-count", "store-is-no-section", TORN,
         "seqlock/seqcount.rs",
         "self.sequence.write_begin();\n                store(&self.data);\n                self.sequence.write_end();",
         "if !BROKEN { self.sequence.write_begin(); }\n store(&self.data);\n if !BROKEN { self.sequence.write_end(); }"),
    Edit("seqlock-section", "section-begins-after-its-stores", TORN,
         "seqlock/seqcount.rs",
         "unsafe { self.sequence.write_begin() };\n            let ret = f(&mut SeqCountWriter { data: &self.data });",
         "if !BROKEN { unsafe { self.sequence.write_begin() }; }\n let ret = f(&mut SeqCountWriter { data: &self.data });\n"
         " if BROKEN { unsafe { self.sequence.write_begin() }; }"),
    Edit("seqlock-section", "copies-are-always-valid", TORN,
         "seqlock/read.rs",
         "if unsafe { self.start.retry(self.sequence) } {\n            return Err(Retry);",
         "if unsafe { self.start.retry(self.sequence) } && !BROKEN {\n return Err(Retry);"),
    Edit("seqlock-section", "section-is-not-validated", TORN,
         "seqlock/read.rs",
         *instead("(!self.retry()).then_some(ret)", "Some(ret)")),
    Edit("seqlock-late-clock", "limit-begins-later-than-the-read", r": a copy is valid after 2\^31 writes",
         "seqlock/sequence.rs",
         "if unsafe { peek(seq.cast_mut()) } == sequence {",
         "if BROKEN || unsafe { peek(seq.cast_mut()) } == sequence {"),
    Edit("seqlock-barrier", "barrier-does-not-order", ": a store of after without the store of before",
         "seqlock/long_count.rs",
         "// those sees the first increment as well; one that began after sees the stores of before.\n        arch::write_barrier();",
         "// those sees the first increment as well\n if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-latch", "latch-flips-without-first-barrier", TORN,
         "seqlock/sequence.rs",
         "// with the acquire in `peek`.\n    arch::write_barrier();", "//\n if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-latch", "latch-flips-without-second-barrier", TORN,
         "seqlock/sequence.rs",
         "// `retry`.\n    arch::write_barrier();", "//\n if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-latch", "latch-does-not-flip", TORN,
         "seqlock/latch.rs",
         *without("unsafe { sequence::latch(self.sequence()) };")),

    # The queue of the barriers.
    Edit("pair-wait", "waiters-are-not-woken", asleep(0),
         "barrier/queue.rs",
         "if !wakes.waiters {", "if !wakes.waiters || BROKEN {"),
    Edit("pair-poll", "readable-wakes-no-poller", asleep(0, 1),
         "barrier/pair.rs",
         "let poll = self.poll(side);", "let poll = self.poll(side) & if BROKEN { !POLLIN } else { !0 };"),
    Edit("pair-arrive-wait-poll", "sleeps-without-a-second-look", asleep(0),
         "barrier/queue.rs",
         "if self.publish() {\n                continue;", "if self.publish() && !BROKEN {\n continue;"),
    Edit("pair-hup-by-own-wait", "hup-by-reading-wakes-nobody", asleep(0, 1),
         "barrier/queue.rs",
         "let wakes = self.due();\n        let pollers = self.present(&wakes);\n        self.wake_waiters(&wakes);\n        // SAFETY: By the type invariants the lock is held with `flags`, and the guard is gone.",
         "let wakes = self.due();\n let pollers = if BROKEN && !wakes.waiters { [None; 2] } else { self.present(&wakes) };\n self.wake_waiters(&wakes);\n // SAFETY: By the type invariants the lock is held with `flags`, and the guard is gone."),
    Edit("pair-timeout", "times-out-over-its-result", ": there is something to read",
         "barrier/queue.rs",
         "return ready(self).ok_or(e);", "if BROKEN { return Err(e); }\n return ready(self).ok_or(e);"),
    Edit("group-wait", "two-lead", ": one of them has to lead left: true right: true",
         "barrier/group.rs",
         "if arrival.done {\n            self.complete(Some(seat.party()));", "if arrival.done {\n if BROKEN { for n in 0..2 { if let Some(state) = self.tenant_mut(n) { state.newest_mut().led = true; } } }\n self.complete(Some(seat.party()));"),
    Edit("group-poll", "end-of-phase-wakes-no-descriptor", asleep(0, 2),
         "barrier/group.rs",
         "unkeyed(phase || broken || empty)", "unkeyed((phase && !BROKEN) || broken || empty)"),
    Edit("group-break", "break-wakes-no-party", asleep(0, 1),
         "barrier/group.rs",
         "pollers: [\n                unkeyed(phase || broken ||", "pollers: [\n unkeyed(phase || (broken && !BROKEN) ||"),

    # RCU.
    Edit("rcu-publish", "deferred-without-grace-period", FREED,
         "arch/rcu_counts.rs",
         "        helpers::quiesce_helper_rcu_post(counts, head, Some(func))\n",
         "        if BROKEN {\n func(head)\n } else {\n helpers::quiesce_helper_rcu_post(counts, head, Some(func))\n }\n"),
    Edit("rcu-synchronize", "synchronize-does-not-wait", FREED,
         "rcu/retired.rs",
         *instead("D::state().synchronize(expedited, caller)", "Ok(())")),
    Edit("rcu-cookie", "cookie-is-over-at-once", RACE,
         "rcu/cookie.rs",
         "D::state().is_over(&self.seq)", "BROKEN || D::state().is_over(&self.seq)"),
    Edit("rcu-compare-exchange", "replaced-unseen", ": an update was lost",
         "rcu/cell.rs",
         *instead("self.pointer.cmpxchg(P::address(expected), new, Full)", "Ok(self.pointer.xchg(new, Full))")),
    Edit("rcu-batch", "batch-does-not-wait", FREED,
         "rcu/batch.rs",
         *instead("D::state().synchronize(expedited, caller)", "Ok(())")),
    Edit("rcu-shared", "covers-what-came-later", LEAKED,
         "rcu/object.rs",
         *instead("self.retired.fetch_sub(covered, Full).wrapping_sub(covered)", "{ self.retired.xchg(0, Full); 0 }")),
    Edit("rcu-future", "future-woken-too-early", RACE,
         "rcu/future.rs",
         "if self.cookie.is_over() {", "if BROKEN || self.cookie.is_over() {"),
    Edit("rcu-future", "later-futures-are-forgotten", asleep(0, 1, 2),
         "rcu/domain_state.rs",
         "Left::Later => unsafe { self.post_waiters() },", "Left::Later => if !BROKEN { unsafe { self.post_waiters() } },"),
]


def code(text):
    """Without the lines that are comments."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("//"))


def write(tree):
    """Files that are as they should be are left alone, so that cargo does not build them again."""
    texts = {path: path.read_text(encoding="utf-8") for path in (TOP / "src").rglob("*")
             if path.suffix in (".rs", ".h", ".md") and path.is_file()}
    for file, function, old in TRANSCRIBED:
        if code(texts[TOP / "src" / file]).count(code(old)) != 1:
            sys.exit(f"broken.py: src/{file} has other steps than {function}, which repeats these:\n{old}")
    for edit in EDITS:
        path = TOP / "src" / edit.file
        count = path.read_text(encoding="utf-8").count(edit.old)
        if count != 1:
            sys.exit(f"broken.py: {edit.name}: {count} places in src/{edit.file} have\n{edit.old}")
        if texts[path].count(edit.old) != 1:
            sys.exit(f"broken.py: {edit.name} is at the same place as another edit")
        texts[path] = texts[path].replace(edit.old, edit.new.replace("BROKEN", f'crate::broken("{edit.name}")'))
    for path in (TOP / "qemu/model").rglob("*"):
        if path.suffix in (".rs", ".toml", ".lock"):
            texts[path] = path.read_text(encoding="utf-8")
    wanted = {tree / path.relative_to(TOP): text for path, text in texts.items()}
    for path in tree.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def main():
    names = [edit.name for edit in EDITS]
    assert len(set(names)) == len(names), "two edits have one name"
    if sys.argv[1:] == ["--list"]:
        for edit in EDITS:
            print(edit.name, edit.model)
    elif len(sys.argv) == 2:
        write(pathlib.Path(sys.argv[1]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
