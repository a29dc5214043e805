#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes a copy of the sources in which each edit below is in effect when BROKEN names it.

    broken.py TREE      writes TREE/src and TREE/qemu/model
    broken.py --list    prints a line for each edit: its name, and the model that has to find it

Of an edit, `old` is in its file exactly once, so that a change of the source that an edit depends on
is an error here and not an edit without effect.
"""

import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent


class Edit:
    def __init__(self, model, name, file, old, new):
        self.model, self.name, self.file, self.old, self.new = model, name, file, old, new


def without(statement):
    """The statement is left out."""
    return statement, "if !BROKEN { " + statement + " }"


def instead(expression, other):
    """Another expression."""
    return expression, "(if BROKEN { " + other + " } else { " + expression + " })"


EDITS = [
    Edit("pair", "abort-does-not-supersede", "barrier/pair.rs",
         "if other.aborted {\n                // The abort", "if other.aborted && !(BROKEN && read != other.arrivals) {\n // The abort"),
    Edit("pair", "abort-wakes-no-waiter", "barrier/pair.rs",
         "over: [a.aborted,", "over: [a.aborted && !BROKEN,"),
    Edit("pair", "hup-while-readable", "barrier/pair.rs",
         "(other.ended && !readable)", "(other.ended && (BROKEN || !readable))"),
    Edit("pair", "arrival-is-no-edge", "barrier/pair.rs",
         *without("events |= now.poll[n] & (POLLIN | POLLRDNORM);")),
    Edit("pair", "fault-leaves-the-arrival", "device/pair.rs",
         *without("self.undo_arrive(side, arrived)")),
    Edit("pair", "waits-resumed-without-count", "barrier/pair.rs",
         *instead("me.suspended.checked_sub(1).ok_or(EINVAL)?", "me.suspended")),
    Edit("group", "first-to-arrive-leads", "barrier/group.rs",
         "index >= best", "(index >= best) != BROKEN"),
    Edit("group", "dead-party-breaks-nothing-later", "barrier/group.rs",
         "} else if let Some(n) = self.dead.first() {", "} else if let Some(n) = self.dead.first().filter(|_| !BROKEN) {"),
    Edit("group", "leaving-wakes-nobody", "barrier/group.rs",
         "waiters: phase || broken || hung_up ||", "waiters: phase || broken || (hung_up && !BROKEN) ||"),
    Edit("group", "one-partys-event-is-given-to-all", "barrier/group.rs",
         "let unkeyed = hung_up ||", "let unkeyed = (hung_up && !BROKEN) ||"),
    Edit("group", "ticket-used-twice", "barrier/group.rs",
         *without("arrived.suspended = false;")),
    Edit("group", "unknown-ticket-is-stale", "barrier/group.rs",
         "None if ticket < oldest => Err(ESTALE),", "None if ticket < oldest.max(if BROKEN { 2 } else { 0 }) => Err(ESTALE),"),
    Edit("group", "end-uses-up-the-ticket", "device/party.rs",
         "if matches!(result, Err(EFAULT | ENOTCONN)) &&", "if (result == Err(EFAULT) || (result == Err(ENOTCONN) && !BROKEN)) &&"),
    Edit("group", "seats-stay-closed-after-reset", "barrier/group/ends.rs",
         "} else {\n                self.open.insert(n);", "} else if !BROKEN {\n self.open.insert(n);"),
    Edit("group", "leader-is-not-replaced", "barrier/group/ends.rs",
         *without("self.leader_left(seat.party());")),
    Edit("group", "seats-are-added-during-completion", "barrier/group.rs",
         "if self.completing.is_some() {\n            return Err(EBUSY);", "if self.completing.is_some() && !BROKEN {\n return Err(EBUSY);"),
    Edit("group", "reset-forgets-why", "barrier/group/ends.rs",
         "self.broken.take().map_or(Failure::Reset, Failure::Broken)",
         "self.broken.take().filter(|_| !BROKEN).map_or(Failure::Reset, Failure::Broken)"),

    # Rundown references.
    Edit("rundown-release-wait", "release-is-relaxed", "arch/word.rs",
         *instead("word.fetch_sub(ONE, Release)", "word.fetch_sub(ONE, kernel::sync::atomic::Relaxed)")),
    Edit("rundown-claim", "acquisition-is-relaxed", "arch/word.rs",
         *instead("word.cmpxchg(old, old.wrapping_add(ONE), Acquire)", "word.cmpxchg(old, old.wrapping_add(ONE), Relaxed)")),
    Edit("rundown-release-wait", "completion-is-relaxed", "rundown/word.rs",
         *instead("self.0.load(Acquire)", "self.0.load(Relaxed)")),
    Edit("rundown-release-wait", "begin-overwrites-the-count", "rundown/word.rs",
         *instead("self.0.cmpxchg(old, new, Full)", "{ self.0.store(new, Release); Ok(old) }")),
    Edit("rundown-claim", "claim-is-relaxed", "rundown/word.rs",
         *instead("self.0.cmpxchg(0, new, Full)", "self.0.cmpxchg(0, new, Relaxed)")),
    Edit("rundown-claim-in-turn", "unclaim-wakes-nobody", "rundown/word.rs",
         *instead("set(0).inspect(|()| wait::wake(self.key()))", "set(0)")),
    Edit("rundown-reinit", "reinit-forgets-waits", "rundown/word.rs",
         *instead("wait::settle(self.key(), Ok(()), || self.change_run_down(LIVE))", "self.change_run_down(LIVE)")),
    Edit("rundown-resurrect", "resurrection-is-completion", "rundown/word.rs",
         *instead("Err(RundownError::Resurrected)", "Err(RundownError::TimedOut)")),
    Edit("rundown-saturate", "saturation-wakes-nobody", "rundown/word.rs",
         "// Waits fail, as they would never end.\n            wait::wake(self.key());", "if !BROKEN { wait::wake(self.key()); }"),
    Edit("rundown-two-waiters", "waiters-do-not-wake-each-other", "rundown/waiters.rs",
         "if wake_next && (*node)", "if wake_next && !BROKEN && (*node)"),
    Edit("rundown-resurrect-two", "outcome-is-not-passed-on", "rundown/waiters.rs",
         *without("(*next).outcome = Some(outcome);")),
    Edit("rundown-claim-and-wait", "completed-only-if-unclaimed", "rundown/word.rs",
         "0 | CLAIMED => Ok(true),", "CLAIMED if BROKEN => Ok(false),\n 0 | CLAIMED => Ok(true),"),
    Edit("rundown-claim-and-wait", "claims-come-first", "rundown/waiters.rs",
         "if !(*node).claim {", "if !(*node).claim && !BROKEN {"),
    Edit("rundown-timeout", "gives-up-without-a-last-look", "rundown/wait.rs",
         "} else if let Some(ret) = subject.poll() {", "} else if let Some(ret) = (if BROKEN && gave_up.is_some() { None } else { subject.poll() }) {"),
    Edit("rundown-listeners", "listener-is-gone-while-called", "rundown/listeners.rs",
         "if (*listener).running != 0 {", "if (*listener).running != 0 && !BROKEN {"),
    Edit("percpu-wait", "copy-is-not-marked", "rundown/percpu_core.rs",
         "        dead();\n", "        if !BROKEN { dead(); }\n"),
    Edit("percpu-wait", "end-is-relaxed", "rundown/percpu_core.rs",
         *instead("this.phase.store(RUN_DOWN, Release)", "this.phase.store(RUN_DOWN, Relaxed)")),
    Edit("percpu-wait", "end-wakes-nobody", "rundown/percpu_core.rs",
         *without("trace::end(this.key());\n    wait::wake(this.key());")),
    Edit("percpu-claim", "copy-stays-marked", "rundown/percpu_core.rs",
         "live(self.counters());\n        Ok(())", "if !BROKEN { live(self.counters()); }\n Ok(())"),
    Edit("percpu-resurrect", "resurrection-keeps-a-reference", "rundown/percpu_core.rs",
         *without("self.refs.fetch_sub(1, Release);")),
    Edit("percpu-resurrect", "freed-under-a-callback", "rundown/percpu_core.rs",
         *instead("self.resurrected.load(Relaxed)", "false")),
    Edit("percpu-free", "rundown-has-no-reference", "rundown/percpu_core.rs",
         *without("self.refs.fetch_add(1, Relaxed);")),

    # Sequence counters.
    Edit("seqlock-store-read", "write-begins-without-barrier", "seqlock/sequence.rs",
         "// ORDERING: Keeps the increment before the stores; pairs with the barrier in `retry`.\n    arch::write_barrier();",
         "if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-store-read", "write-ends-without-barrier", "seqlock/sequence.rs",
         "// ORDERING: Keeps the stores before the increment; pairs with the acquire in `peek`.\n    arch::write_barrier();",
         "if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-store-read", "validated-without-barrier", "seqlock/sequence.rs",
         *without("arch::read_barrier();")),
    Edit("seqlock-store-read", "read-begins-relaxed", "seqlock/sequence.rs",
         *instead("unsafe { arch::load_acquire_u32(counter(seq)) }", "unsafe { arch::load_u32(counter(seq)) }")),
    Edit("seqlock-barrier", "barrier-does-not-order", "seqlock/sequence.rs",
         "// sees the first increment as well; one that began after sees the stores of before.\n    arch::write_barrier();",
         "// sees the first increment as well\n if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-latch", "latch-flips-without-first-barrier", "seqlock/sequence.rs",
         "// with the acquire in `peek`.\n    arch::write_barrier();", "//\n if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-latch", "latch-flips-without-second-barrier", "seqlock/sequence.rs",
         "// `retry`.\n    arch::write_barrier();", "//\n if !BROKEN { arch::write_barrier(); }"),
    Edit("seqlock-latch", "latch-does-not-flip", "seqlock/latch.rs",
         *without("unsafe { sequence::latch(self.sequence()) };")),

    # The queue of the barriers.
    Edit("pair-wait", "waiters-are-not-woken", "barrier/queue.rs",
         "if !wakes.waiters {", "if !wakes.waiters || BROKEN {"),
    Edit("pair-poll", "readable-wakes-no-poller", "barrier/pair.rs",
         "events != 0).then_some(events)", "events != 0 && !BROKEN).then_some(events)"),
    Edit("pair-arrive-wait-poll", "sleeps-without-a-second-look", "barrier/queue.rs",
         "if self.publish() {\n                continue;", "if self.publish() && !BROKEN {\n continue;"),
    Edit("pair-hup-by-own-wait", "hup-by-reading-wakes-nobody", "barrier/queue.rs",
         "let wakes = self.due();\n        let pollers = self.present(&wakes);\n        self.wake_waiters(&wakes);\n        // SAFETY: By the type invariants the lock is held with `flags`, and the guard is gone.",
         "let wakes = self.due();\n let pollers = if BROKEN && !wakes.waiters { [None; 2] } else { self.present(&wakes) };\n self.wake_waiters(&wakes);\n // SAFETY: By the type invariants the lock is held with `flags`, and the guard is gone."),
    Edit("pair-timeout", "times-out-over-its-result", "barrier/queue.rs",
         "return ready(self).ok_or(e);", "if BROKEN { return Err(e); }\n return ready(self).ok_or(e);"),
    Edit("group-wait", "two-lead", "barrier/group.rs",
         "if arrival.done {\n            self.complete(Some(seat.party()));", "if arrival.done {\n if BROKEN { for n in 0..2 { if let Some(state) = self.tenant_mut(n) { state.newest_mut().led = true; } } }\n self.complete(Some(seat.party()));"),
    Edit("group-poll", "end-of-phase-wakes-no-descriptor", "barrier/group.rs",
         *without("group |= POLLIN | POLLRDNORM;")),
    Edit("group-break", "break-wakes-no-party", "barrier/group.rs",
         *without("parties |= POLLPRI | POLLERR;")),

    # RCU.
    Edit("rcu-publish", "deferred-without-grace-period", "arch/rcu_counts.rs",
         "        helpers::quiesce_helper_rcu_post(counts, head, Some(func))\n",
         "        if BROKEN {\n func(head)\n } else {\n helpers::quiesce_helper_rcu_post(counts, head, Some(func))\n }\n"),
    Edit("rcu-synchronize", "synchronize-does-not-wait", "rcu/retired.rs",
         *instead("D::state().synchronize(expedited, caller)", "Ok(())")),
    Edit("rcu-cookie", "cookie-is-over-at-once", "rcu/cookie.rs",
         "D::state().is_over(&self.seq)", "BROKEN || D::state().is_over(&self.seq)"),
    Edit("rcu-compare-exchange", "replaced-unseen", "rcu/cell.rs",
         *instead("self.pointer.cmpxchg(P::address(expected), new, Full)", "Ok(self.pointer.xchg(new, Full))")),
    Edit("rcu-batch", "batch-does-not-wait", "rcu/batch.rs",
         *instead("D::state().synchronize(expedited, caller)", "Ok(())")),
    Edit("rcu-shared", "covers-what-came-later", "rcu/object.rs",
         *instead("self.retired.fetch_sub(covered, Full).wrapping_sub(covered)", "{ self.retired.xchg(0, Full); 0 }")),
    Edit("rcu-future", "future-woken-too-early", "rcu/future.rs",
         "if self.cookie.is_over() {", "if BROKEN || self.cookie.is_over() {"),
    Edit("rcu-future", "later-futures-are-forgotten", "rcu/domain_state.rs",
         "Left::Later => unsafe { self.post_waiters() },", "Left::Later => if !BROKEN { unsafe { self.post_waiters() } },"),
]


def write(tree):
    """Files that are as they should be are left alone, so that cargo does not build them again."""
    texts = {path: path.read_text(encoding="utf-8") for path in (TOP / "src").rglob("*")
             if path.suffix in (".rs", ".h", ".md") and path.is_file()}
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
