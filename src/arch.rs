// SPDX-License-Identifier: GPL-2.0

//! The few atomic operations of the fast paths, inline.

// --- Words of rundown references ---------------------------------------------
//
// A word holds twice the number of holders, plus one while it is live. See `rundown/word.rs`.

pub(crate) mod word {
    //! What acquires and releases a rundown reference.
    //!
    //! On x86_64 these are the instructions that C gets from `arch_atomic_long_try_cmpxchg()` and
    //! `arch_atomic_long_sub_and_test()`. The LKMM asks acquire ordering of the one and release
    //! ordering of the other; a `lock`ed instruction is a full barrier on x86, which is stronger
    //! than both, and neither block is `nomem`, so that the compiler moves no access across. The
    //! plain `mov` is what `READ_ONCE()` of an aligned word is.
    //!
    //! KASAN and KCSAN do not see into assembly; with them, on other architectures and where
    //! helpers are inlined anyway, the kernel's atomics do the same.

    use kernel::sync::atomic::Atomic;

    /// What is added per holder.
    pub(crate) const ONE: isize = 2;
    /// Set while the word is live.
    pub(crate) const LIVE: isize = 1;

    /// What became of a release.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Released {
        /// There are other holders, or the word is live.
        Shared,
        /// It was the last one and the word is not live. Nothing may touch the word any more.
        Drained,
        /// The word is negative now: it is saturated, or should be.
        Negative,
    }

    /// Adds a holder if the word is live; says whether it was.
    ///
    /// Acquire ordering if it was, none if not.
    #[cfg(all(
        CONFIG_X86_64,
        not(CONFIG_RUST_INLINE_HELPERS),
        not(CONFIG_KASAN),
        not(CONFIG_KCSAN)
    ))]
    #[inline(always)]
    pub(crate) fn add_one_if_live(word: &Atomic<isize>) -> bool {
        // SAFETY: The instructions read the word and change it atomically, which a reference to
        // the atomic allows; they touch no stack.
        unsafe {
            core::arch::asm!(
                "mov rax, qword ptr [{word}]",
                "2:",
                "test al, {live}",
                "je {dead}",
                "lea {new}, [rax + {one}]",
                "lock cmpxchg qword ptr [{word}], {new}",
                "jne 2b",
                word = in(reg) word.as_ptr(),
                new = out(reg) _,
                out("rax") _,
                live = const LIVE,
                one = const ONE,
                dead = label { return false },
                options(nostack),
            )
        }
        true
    }

    /// Takes a holder away.
    ///
    /// Release ordering; a full barrier on x86_64.
    #[cfg(all(
        CONFIG_X86_64,
        not(CONFIG_RUST_INLINE_HELPERS),
        not(CONFIG_KASAN),
        not(CONFIG_KCSAN)
    ))]
    #[inline(always)]
    pub(crate) fn sub_one(word: &Atomic<isize>) -> Released {
        // The usual way executes two instructions. The flags are those of this very subtraction:
        // after it the word may be gone, so that it cannot be read again.
        //
        // SAFETY: The instruction changes the word atomically, which a reference to the atomic
        // allows; it touches no stack.
        unsafe {
            core::arch::asm!(
                "lock sub qword ptr [{word}], {one}",
                "jg 2f",
                "je {drained}",
                "jmp {negative}",
                "2:",
                word = in(reg) word.as_ptr(),
                one = const ONE,
                drained = label { return Released::Drained },
                negative = label { return Released::Negative },
                options(nostack),
            )
        }
        Released::Shared
    }

    /// Adds a holder if the word is live; says whether it was.
    ///
    /// Acquire ordering if it was, none if not.
    #[cfg(not(all(
        CONFIG_X86_64,
        not(CONFIG_RUST_INLINE_HELPERS),
        not(CONFIG_KASAN),
        not(CONFIG_KCSAN)
    )))]
    #[inline(always)]
    pub(crate) fn add_one_if_live(word: &Atomic<isize>) -> bool {
        use kernel::sync::atomic::{Acquire, Relaxed};

        let mut old = word.load(Relaxed);
        while old & LIVE != 0 {
            match word.cmpxchg(old, old.wrapping_add(ONE), Acquire) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
        false
    }

    /// Takes a holder away.
    ///
    /// Release ordering; a full barrier on x86_64.
    #[cfg(not(all(
        CONFIG_X86_64,
        not(CONFIG_RUST_INLINE_HELPERS),
        not(CONFIG_KASAN),
        not(CONFIG_KCSAN)
    )))]
    #[inline(always)]
    pub(crate) fn sub_one(word: &Atomic<isize>) -> Released {
        use kernel::sync::atomic::Release;

        match word.fetch_sub(ONE, Release).wrapping_sub(ONE) {
            0 => Released::Drained,
            1.. => Released::Shared,
            _ => Released::Negative,
        }
    }
}

// --- Counters and words of sequence locks -------------------------------------

pub(crate) mod seq {
    //! What reads and writes under a sequence counter.
    //!
    //! x86_64 is TSO: a load is never reordered with a later access and a store never with a later
    //! store, so that READ_ONCE() and barrier() make smp_load_acquire(), and smp_rmb() and smp_wmb() are
    //! barrier() (arch/x86/include/asm/barrier.h); this is the same, said in Rust. A volatile access of
    //! a naturally aligned machine type is one access that is neither torn, repeated nor left out, which
    //! is what READ_ONCE() and WRITE_ONCE() are to the LKMM (tools/memory-model). An `asm!` block
    //! without `nomem` is barrier(): the compiler moves no memory access across it.

    use core::mem::MaybeUninit;

    /// Keeps the compiler from moving memory accesses across it; C's `barrier()`.
    #[cfg(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS)))]
    #[inline(always)]
    fn barrier() {
        // SAFETY: There is no instruction in it.
        unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
    }

    /// `smp_load_acquire()` of a `u32`.
    ///
    /// # Safety
    ///
    /// `ptr` is valid for reads and aligned, and whoever writes it at the same time does so by an
    /// access of four bytes that the LKMM calls marked.
    #[inline(always)]
    pub(crate) unsafe fn load_acquire_u32(ptr: *const u32) -> u32 {
        #[cfg(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS)))]
        {
            // SAFETY: As the caller promises.
            let value = unsafe { ptr.read_volatile() };
            barrier();
            value
        }
        #[cfg(not(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS))))]
        // SAFETY: As the caller promises; the load does not write through the pointer.
        unsafe {
            kernel::sync::atomic::atomic_load(ptr.cast_mut(), kernel::sync::atomic::Acquire)
        }
    }

    /// `smp_load_acquire()` of a `u32`, again until it is even.
    ///
    /// The way through the loop is told to nobody but the assembler: a compiler that sees it rotates it,
    /// and begins each read with a jump.
    ///
    /// # Safety
    ///
    /// As for [`load_acquire_u32`].
    #[inline(always)]
    pub(crate) unsafe fn load_acquire_even_u32(ptr: *const u32) -> u32 {
        #[cfg(all(
            CONFIG_X86_64,
            not(CONFIG_RUST_INLINE_HELPERS),
            not(CONFIG_KASAN),
            not(CONFIG_KCSAN)
        ))]
        {
            let value: u32;
            // SAFETY: As the caller promises; nothing is written.
            unsafe {
                core::arch::asm!(
                    "2:",
                    "mov {value:e}, dword ptr [{ptr}]",
                    "test {value:l}, 1",
                    "je 3f",
                    "pause",
                    "jmp 2b",
                    "3:",
                    value = out(reg) value,
                    ptr = in(reg) ptr,
                    options(nostack),
                )
            }
            value
        }
        #[cfg(not(all(
            CONFIG_X86_64,
            not(CONFIG_RUST_INLINE_HELPERS),
            not(CONFIG_KASAN),
            not(CONFIG_KCSAN)
        )))]
        loop {
            // SAFETY: As the caller promises.
            let value = unsafe { load_acquire_u32(ptr) };
            if value & 1 == 0 {
                return value;
            }
            kernel::processor::cpu_relax();
        }
    }

    /// `READ_ONCE()` of a `u32`.
    ///
    /// # Safety
    ///
    /// As for [`load_acquire_u32`].
    #[inline(always)]
    pub(crate) unsafe fn load_u32(ptr: *const u32) -> u32 {
        // SAFETY: As the caller promises.
        unsafe { ptr.read_volatile() }
    }

    /// `WRITE_ONCE()` of the next value of a counter that only the caller writes.
    ///
    /// # Safety
    ///
    /// `ptr` is valid for reads and writes and aligned, nobody else writes it, and whoever reads it at
    /// the same time does so by an access of four bytes that the LKMM calls marked.
    #[inline(always)]
    pub(crate) unsafe fn increment_u32(ptr: *mut u32) {
        // SAFETY: As the caller promises.
        unsafe { ptr.write_volatile(ptr.read_volatile().wrapping_add(1)) }
    }

    /// `smp_rmb()`.
    #[inline(always)]
    pub(crate) fn read_barrier() {
        #[cfg(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS)))]
        barrier();
        #[cfg(not(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS))))]
        kernel::sync::barrier::smp_mb(kernel::sync::barrier::Read);
    }

    /// `smp_wmb()`.
    #[inline(always)]
    pub(crate) fn write_barrier() {
        #[cfg(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS)))]
        barrier();
        #[cfg(not(all(CONFIG_X86_64, not(CONFIG_RUST_INLINE_HELPERS))))]
        kernel::sync::barrier::smp_mb(kernel::sync::barrier::Write);
    }

    /// A machine type that [`load_word`] and [`store_word`] move in one access.
    ///
    /// # Safety
    ///
    /// The type is an integer of at most a machine word.
    pub(crate) unsafe trait Word: Copy {}
    // SAFETY: It is an integer and not larger than a word.
    unsafe impl Word for u8 {}
    // SAFETY: It is an integer and not larger than a word.
    unsafe impl Word for u16 {}
    // SAFETY: It is an integer and not larger than a word.
    unsafe impl Word for u32 {}
    // SAFETY: It is an integer of a word.
    unsafe impl Word for usize {}

    /// `READ_ONCE()` of a word that need not be initialised and may hold a part of a pointer.
    ///
    /// It is no atomic operation of `kernel::sync`, because those are for types without padding.
    ///
    /// # Safety
    ///
    /// `ptr` is valid for reads and aligned, and whoever writes it at the same time does so by
    /// [`store_word`] or as C does under a sequence counter.
    #[inline(always)]
    pub(crate) unsafe fn load_word<W: Word>(ptr: *const W) -> MaybeUninit<W> {
        // SAFETY: As the caller promises; `MaybeUninit<W>` takes any bytes.
        unsafe { ptr.cast::<MaybeUninit<W>>().read_volatile() }
    }

    /// `WRITE_ONCE()` of a word that need not be initialised and may hold a part of a pointer.
    ///
    /// # Safety
    ///
    /// `ptr` is valid for writes and aligned, nobody else writes it, and whoever reads it at the same
    /// time does so by [`load_word`] or as C does under a sequence counter.
    #[inline(always)]
    pub(crate) unsafe fn store_word<W: Word>(ptr: *mut W, value: MaybeUninit<W>) {
        // SAFETY: As the caller promises.
        unsafe { ptr.cast::<MaybeUninit<W>>().write_volatile(value) }
    }
}

// --- Pointers of RCU cells ----------------------------------------------------

pub(crate) mod pointer {
    //! What reads a pointer that is published by RCU.

    use kernel::sync::atomic::Atomic;

    /// Loads a pointer whose target the caller then reads through it (`rcu_dereference`).
    ///
    /// The LKMM orders a marked load before what depends on its address, so all that is needed is one
    /// load of the whole word that the compiler can neither drop, repeat nor take from an earlier one.
    /// x86's `mov` is that, and `asm!` without `pure` is volatile. KASAN builds take the kernel's own
    /// load, which is instrumented.
    #[inline(always)]
    pub(crate) fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
        #[cfg(all(CONFIG_X86_64, not(CONFIG_KASAN), not(CONFIG_RUST_INLINE_HELPERS)))]
        {
            let value: *mut T;
            // SAFETY: `ptr` is valid for reads, aligned as an atomic is, and nothing is written.
            unsafe {
                core::arch::asm!(
                    "mov {value}, [{ptr}]",
                    value = lateout(reg) value,
                    ptr = in(reg) ptr.as_ptr(),
                    options(nostack, preserves_flags, readonly),
                );
            }
            value
        }
        #[cfg(not(all(CONFIG_X86_64, not(CONFIG_KASAN), not(CONFIG_RUST_INLINE_HELPERS))))]
        ptr.load(kernel::sync::atomic::Relaxed)
    }
}

// --- Counters per CPU --------------------------------------------------------

pub(crate) mod percpu_count {
    //! `percpu_ref_tryget_live()` and `percpu_ref_put()`, inline as they are in C.
    //!
    //! What counts is one instruction on the CPU's own counter, which interrupts cannot divide, in a
    //! read section of RCU, whose two calls C has too. Once the reference is counted by an atomic,
    //! C does the rest.

    use crate::bindings as helpers;
    use kernel::bindings;

    /// Adds one to, or subtracts one from, this CPU's counter; ends the caller with `$atomic` if
    /// the reference is counted by an atomic, or dead.
    #[cfg(all(
        CONFIG_X86_64,
        CONFIG_SMP,
        CONFIG_PREEMPT_RCU,
        not(CONFIG_DEBUG_LOCK_ALLOC),
        not(CONFIG_KASAN),
        not(CONFIG_KCSAN)
    ))]
    macro_rules! count {
        ($instruction:literal, $count:expr, $atomic:block) => {{
            // The two low bits of the pointer say so (`__PERCPU_REF_FLAG_MASK`); the load is what
            // READ_ONCE() is. Not `nomem`: what comes after the addition stays after it, which is
            // all that acquire ordering takes on x86, and what comes before a subtraction before.
            core::arch::asm!(
                "mov {ptr}, qword ptr [{count} + {offset}]",
                "test {ptr:l}, 3",
                "jne {atomic}",
                concat!($instruction, " qword ptr gs:[{ptr}]"),
                ptr = out(reg) _,
                count = in(reg) $count,
                offset = const core::mem::offset_of!(bindings::percpu_ref, percpu_count_ptr),
                atomic = label $atomic,
                options(nostack),
            )
        }};
    }

    /// Gets a reference unless it was killed; acquire ordering if so.
    ///
    /// # Safety
    ///
    /// `count` is initialised.
    #[inline(always)]
    pub(crate) unsafe fn tryget_live(count: *mut bindings::percpu_ref) -> bool {
        #[cfg(all(
            CONFIG_X86_64,
            CONFIG_SMP,
            CONFIG_PREEMPT_RCU,
            not(CONFIG_DEBUG_LOCK_ALLOC),
            not(CONFIG_KASAN),
            not(CONFIG_KCSAN)
        ))]
        // SAFETY: The count is initialised, and the CPUs' counters are there while it is not
        // atomic, until a grace period after that. The section is left on both ways.
        unsafe {
            bindings::__rcu_read_lock();
            count!("inc", count, {
                // SAFETY: The section is left; the count is initialised.
                unsafe {
                    bindings::__rcu_read_unlock();
                    return helpers::quiesce_helper_percpu_ref_tryget_live(count);
                }
            });
            bindings::__rcu_read_unlock();
            true
        }
        #[cfg(not(all(
            CONFIG_X86_64,
            CONFIG_SMP,
            CONFIG_PREEMPT_RCU,
            not(CONFIG_DEBUG_LOCK_ALLOC),
            not(CONFIG_KASAN),
            not(CONFIG_KCSAN)
        )))]
        // SAFETY: As the caller promises.
        unsafe {
            helpers::quiesce_helper_percpu_ref_tryget_live(count)
        }
    }

    /// Puts a reference; release ordering.
    ///
    /// # Safety
    ///
    /// `count` is initialised and has a reference of the caller's, which is used up.
    #[inline(always)]
    pub(crate) unsafe fn put(count: *mut bindings::percpu_ref) {
        #[cfg(all(
            CONFIG_X86_64,
            CONFIG_SMP,
            CONFIG_PREEMPT_RCU,
            not(CONFIG_DEBUG_LOCK_ALLOC),
            not(CONFIG_KASAN),
            not(CONFIG_KCSAN)
        ))]
        // SAFETY: As in `tryget_live`. `__rcu_read_unlock()` looks at the task alone, so that the
        // count may be gone by then.
        unsafe {
            bindings::__rcu_read_lock();
            count!("dec", count, {
                // SAFETY: The section is left; the count is there as long as the reference.
                unsafe {
                    bindings::__rcu_read_unlock();
                    return helpers::quiesce_helper_percpu_ref_put(count);
                }
            });
            bindings::__rcu_read_unlock();
        }
        #[cfg(not(all(
            CONFIG_X86_64,
            CONFIG_SMP,
            CONFIG_PREEMPT_RCU,
            not(CONFIG_DEBUG_LOCK_ALLOC),
            not(CONFIG_KASAN),
            not(CONFIG_KCSAN)
        )))]
        // SAFETY: As the caller promises.
        unsafe {
            helpers::quiesce_helper_percpu_ref_put(count)
        };
    }
}
