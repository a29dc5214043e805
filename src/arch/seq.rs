// SPDX-License-Identifier: GPL-2.0

//! Memory accesses under a sequence counter.
//!
//! x86_64 is TSO: a load is never reordered with a later access and a store never with a later
//! store, so that READ_ONCE() and barrier() make smp_load_acquire(), and smp_rmb() and smp_wmb() are
//! barrier() (arch/x86/include/asm/barrier.h); this is the same in Rust. A volatile access of a
//! naturally aligned machine type is one access that is neither torn, repeated nor left out, which
//! is what READ_ONCE() and WRITE_ONCE() are to the LKMM (tools/memory-model). An `asm!` block
//! without `nomem` is barrier(): the compiler moves no memory access across it.

use core::mem::MaybeUninit;

/// Keeps the compiler from moving memory accesses across it; C's `barrier()`.
#[cfg(CONFIG_X86_64)]
#[inline(always)]
fn barrier() {
    // SAFETY: The assembly contains no instruction, so it changes neither memory, registers nor the
    // stack.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
}

/// `smp_load_acquire()` of a `u32`.
///
/// # Safety
///
/// `ptr` is valid for reads and aligned, and concurrent writers use marked accesses (in the sense
/// of the LKMM) of four bytes, or of the eight that contain them: a store of eight bytes is one
/// access of 64-bit processors, and so is the half of it.
#[inline(always)]
pub(crate) unsafe fn load_acquire_u32(ptr: *const u32) -> u32 {
    #[cfg(CONFIG_X86_64)]
    {
        // SAFETY: `ptr` is valid for reads and aligned, as required of the caller. Writers use
        // marked accesses of four bytes, so the volatile load does not race with them.
        let value = unsafe { ptr.read_volatile() };
        barrier();
        value
    }
    #[cfg(quiesce_asm_arm64)]
    // SAFETY: Both functions require that `ptr` is valid for reads, aligned and written by marked
    // accesses only.
    unsafe {
        super::arm64::load_acquire_u32(ptr)
    }
    #[cfg(not(any(CONFIG_X86_64, quiesce_asm_arm64)))]
    // SAFETY: `ptr` is valid for reads and aligned, and concurrent writers use marked accesses, as
    // required of the caller; the load does not write through the pointer.
    unsafe {
        kernel::sync::atomic::atomic_load(ptr.cast_mut(), kernel::sync::atomic::Acquire)
    }
}

/// `smp_load_acquire()` of a `u32`, repeated until it is even.
///
/// The loop is written in assembly so that the compiler cannot rotate it, which would add a jump to
/// the fast path.
///
/// # Safety
///
/// As for [`load_acquire_u32`].
#[inline(always)]
pub(crate) unsafe fn load_acquire_even_u32(ptr: *const u32) -> u32 {
    #[cfg(quiesce_asm)]
    {
        let value: u32;
        // SAFETY: `ptr` is valid for reads and aligned, as required of the caller. The assembly
        // only reads four bytes from it, in one access, and does not use the stack.
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
    #[cfg(quiesce_asm_arm64)]
    // SAFETY: Both functions require that `ptr` is valid for reads, aligned and written by marked
    // accesses only.
    unsafe {
        super::arm64::load_acquire_even_u32(ptr)
    }
    #[cfg(not(any(quiesce_asm, quiesce_asm_arm64)))]
    loop {
        // SAFETY: Both functions require that `ptr` is valid for reads, aligned and written by
        // marked accesses only.
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
    // SAFETY: `ptr` is valid for reads and aligned, as required of the caller. Writers use marked
    // accesses of four bytes, so the volatile load does not race with them.
    unsafe { ptr.read_volatile() }
}

/// As [`load_acquire_u32`], of eight bytes.
///
/// # Safety
///
/// As for [`load_acquire_u32`], with accesses of eight bytes.
#[inline(always)]
pub(crate) unsafe fn load_acquire_u64(ptr: *const u64) -> u64 {
    #[cfg(CONFIG_X86_64)]
    {
        // SAFETY: `ptr` is valid for reads and aligned, as required of the caller. Writers use
        // marked accesses of eight bytes, so the volatile load does not race with them.
        let value = unsafe { ptr.read_volatile() };
        barrier();
        value
    }
    #[cfg(quiesce_asm_arm64)]
    // SAFETY: Both functions require that `ptr` is valid for reads, aligned and written by marked
    // accesses only.
    unsafe {
        super::arm64::load_acquire_u64(ptr)
    }
    #[cfg(not(any(CONFIG_X86_64, quiesce_asm_arm64)))]
    // SAFETY: `ptr` is valid for reads and aligned, and concurrent writers use marked accesses, as
    // required of the caller; the load does not write through the pointer.
    unsafe {
        kernel::sync::atomic::atomic_load(ptr.cast_mut(), kernel::sync::atomic::Acquire)
    }
}

/// As [`load_acquire_even_u32`], of eight bytes.
///
/// # Safety
///
/// As for [`load_acquire_u64`].
#[inline(always)]
pub(crate) unsafe fn load_acquire_even_u64(ptr: *const u64) -> u64 {
    #[cfg(quiesce_asm)]
    {
        let value: u64;
        // SAFETY: `ptr` is valid for reads and aligned, as required of the caller. The assembly
        // only reads eight bytes from it, in one access, and does not use the stack.
        unsafe {
            core::arch::asm!(
                "2:",
                "mov {value}, qword ptr [{ptr}]",
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
    #[cfg(quiesce_asm_arm64)]
    // SAFETY: Both functions require that `ptr` is valid for reads, aligned and written by marked
    // accesses only.
    unsafe {
        super::arm64::load_acquire_even_u64(ptr)
    }
    #[cfg(not(any(quiesce_asm, quiesce_asm_arm64)))]
    loop {
        // SAFETY: Both functions require that `ptr` is valid for reads, aligned and written by
        // marked accesses only.
        let value = unsafe { load_acquire_u64(ptr) };
        if value & 1 == 0 {
            return value;
        }
        kernel::processor::cpu_relax();
    }
}

/// As [`load_u32`], of eight bytes.
///
/// # Safety
///
/// As for [`load_acquire_u64`].
#[inline(always)]
pub(crate) unsafe fn load_u64(ptr: *const u64) -> u64 {
    // SAFETY: `ptr` is valid for reads and aligned, as required of the caller. Writers use marked
    // accesses of eight bytes, so the volatile load does not race with them.
    unsafe { ptr.read_volatile() }
}

/// As [`add_u32`], of eight bytes.
///
/// # Safety
///
/// As for [`increment_u32`], with accesses of eight bytes.
#[inline(always)]
pub(crate) unsafe fn add_u64(ptr: *mut u64, n: u64) {
    // SAFETY: `ptr` is valid for reads and writes and aligned, and nobody else writes it, as
    // required of the caller. Readers use marked accesses, so the volatile store does not race with
    // them.
    unsafe { ptr.write_volatile(ptr.read_volatile().wrapping_add(n)) }
}

/// `WRITE_ONCE()` of the next value of a counter that only the caller writes.
///
/// # Safety
///
/// `ptr` is valid for reads and writes and aligned, nobody else writes it, and concurrent readers
/// use marked accesses (in the sense of the LKMM) of four bytes.
#[inline(always)]
pub(crate) unsafe fn increment_u32(ptr: *mut u32) {
    // SAFETY: `ptr` is valid for reads and writes and aligned, nobody else writes it, and readers
    // use marked accesses: all of this is required of the caller.
    unsafe { add_u32(ptr, 1) }
}

/// `WRITE_ONCE()` of a counter that only the caller writes, with `n` added.
///
/// # Safety
///
/// As for [`increment_u32`].
#[inline(always)]
pub(crate) unsafe fn add_u32(ptr: *mut u32, n: u32) {
    // SAFETY: `ptr` is valid for reads and writes and aligned, and nobody else writes it, as
    // required of the caller. Readers use marked accesses, so the volatile store does not race with
    // them.
    unsafe { ptr.write_volatile(ptr.read_volatile().wrapping_add(n)) }
}

/// Keeps loads before the call ahead of loads after it, as `smp_rmb()`.
#[inline(always)]
pub(crate) fn read_barrier() {
    #[cfg(CONFIG_X86_64)]
    barrier();
    #[cfg(quiesce_asm_arm64)]
    super::arm64::read_barrier();
    #[cfg(not(any(CONFIG_X86_64, quiesce_asm_arm64)))]
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Read);
}

/// Keeps stores before the call ahead of stores after it, as `smp_wmb()`.
#[inline(always)]
pub(crate) fn write_barrier() {
    #[cfg(CONFIG_X86_64)]
    barrier();
    #[cfg(quiesce_asm_arm64)]
    super::arm64::write_barrier();
    #[cfg(not(any(CONFIG_X86_64, quiesce_asm_arm64)))]
    kernel::sync::barrier::smp_mb(kernel::sync::barrier::Write);
}

/// A machine type that [`load_word`] and [`store_word`] move in one access.
///
/// # Safety
///
/// The type is an integer of at most a machine word.
pub(crate) unsafe trait Word: Copy {}
// SAFETY: The type is an integer of at most the size of a word, so one instruction loads or stores
// it.
unsafe impl Word for u8 {}
// SAFETY: The type is an integer of at most the size of a word, so one instruction loads or stores
// it.
unsafe impl Word for u16 {}
// SAFETY: The type is an integer of at most the size of a word, so one instruction loads or stores
// it.
unsafe impl Word for u32 {}
// SAFETY: The type is an integer of the size of a word, so one instruction loads or stores it.
unsafe impl Word for usize {}

/// `READ_ONCE()` of a word that need not be initialised and may hold a part of a pointer.
///
/// It is no atomic operation of `kernel::sync`, because those are for types without padding.
///
/// # Safety
///
/// `ptr` is valid for reads and aligned, and concurrent writers use [`store_word`] or write as C
/// does under a sequence counter.
#[inline(always)]
pub(crate) unsafe fn load_word<W: Word>(ptr: *const W) -> MaybeUninit<W> {
    // SAFETY: `ptr` is valid for reads and aligned, and concurrent writers use marked accesses, as
    // required of the caller. Any bytes are a valid `MaybeUninit<W>`.
    unsafe { ptr.cast::<MaybeUninit<W>>().read_volatile() }
}

/// `WRITE_ONCE()` of a word that need not be initialised and may hold a part of a pointer.
///
/// # Safety
///
/// `ptr` is valid for writes and aligned, nobody else writes it, and concurrent readers use
/// [`load_word`] or read as C does under a sequence counter.
#[inline(always)]
pub(crate) unsafe fn store_word<W: Word>(ptr: *mut W, value: MaybeUninit<W>) {
    // SAFETY: `ptr` is valid for writes and aligned, and nobody else writes it, as required of the
    // caller. Readers use marked accesses, so the volatile store does not race with them.
    unsafe { ptr.cast::<MaybeUninit<W>>().write_volatile(value) }
}
