// SPDX-License-Identifier: GPL-2.0

//! Values of all shapes: sizes from one byte to four KiB, padding, niches, alignment; and the
//! counter's overflow.

use core::{
    mem::MaybeUninit,
    num::NonZeroU16, //
};
use kernel::prelude::*;
use quiesce::{
    new_latch, new_seqlock, seq_field,
    seqlock::{
        Latch,
        RawSeqLock,
        SeqData,
        SeqLock, //
    },
    seqlock_static,
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Colour {
    Red,
    Green(u8),
    Blue { deep: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
struct Padded {
    a: u8,
    b: u32,
    c: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, packed)]
struct Packed {
    a: u8,
    b: u32,
    c: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(64))]
struct Aligned(u8, [u16; 3]);

/// Stores `values` one after the other in each way and reads each back in each way.
fn round_trip<T: SeqData + PartialEq>(values: &[T]) -> Result<bool> {
    let lock = KBox::pin_init(new_seqlock!(SeqLock<T>, values[0]), GFP_KERNEL)?;
    let raw = KBox::pin_init(new_seqlock!(RawSeqLock<T>, values[0]), GFP_KERNEL)?;
    let latch = KBox::pin_init(new_latch!(Latch<T>, values[0]), GFP_KERNEL)?;
    let mut ok = lock.read() == values[0] && raw.read() == values[0] && latch.read() == values[0];
    for value in values {
        lock.write().set(*value);
        raw.write().update(|v| *v = *value);
        latch.store(*value);
        ok &= lock.read() == *value;
        ok &= lock.try_read() == Some(*value);
        ok &= lock.begin().load().validate() == Ok(*value);
        ok &= *lock.read_exclusive() == *value;
        ok &= *lock.read_begin() == *value;
        ok &= raw.read() == *value;
        ok &= latch.read() == *value;
    }
    Ok(ok)
}

fn bytes<const N: usize>() -> Result<bool> {
    let values: [[u8; N]; 3] =
        core::array::from_fn(|k| core::array::from_fn(|i| (i * 7 + k) as u8));
    round_trip(&values)
}

/// A size too large for many copies on the stack: through exclusive readers and fields.
fn large<const N: usize>() -> Result<bool> {
    let lock = KBox::pin_init(new_seqlock!(SeqLock<[u64; N]>, [3; N]), GFP_KERNEL)?;
    let mut ok = lock.read_exclusive().iter().all(|w| *w == 3);
    lock.write().set([5; N]);
    ok &= lock.read_exclusive().iter().all(|w| *w == 5);
    ok &= lock.read().iter().all(|w| *w == 5);
    Ok(ok)
}

/// A value that a stack cannot hold more than once.
type Large = [u64; 512];

seqlock_static! {
    static BIG: SeqLock<Large> = [7; 512];
}

/// Whether each word of `large` is `by` times its place.
fn is(large: &Large, by: u64) -> bool {
    (0u64..).zip(large).all(|(i, w)| *w == i * by)
}

/// A value of `N` bytes at an odd address, between two bytes.
#[repr(C)]
struct Between<const N: usize> {
    before: u8,
    value: MaybeUninit<[u8; N]>,
    after: u8,
}

fn in_place<const N: usize>() -> Result<bool> {
    let value: [u8; N] = core::array::from_fn(|i| i as u8 | 0x80);
    let lock = KBox::new(SeqLock::<[u8; N]>::new([0; N]), GFP_KERNEL)?;
    let latch = KBox::new(Latch::<[u8; N]>::new([0; N]), GFP_KERNEL)?;
    let source = Between {
        before: 0,
        value: MaybeUninit::new(value),
        after: 0,
    };
    // SAFETY: `source.value` was made by `MaybeUninit::new()`.
    let source = unsafe { source.value.assume_init_ref() };
    lock.write().set_from(source);
    latch.store_from(source);
    let mut to = Between {
        before: 1,
        value: MaybeUninit::uninit(),
        after: 2,
    };
    let read = *lock.read_into(&mut to.value);
    let latched = *latch.read_into(&mut to.value);
    Ok(read == value && latched == value && (to.before, to.after) == (1, 2))
}

#[kunit_tests(quiesce_seqlock_payload)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_bytes() -> Result {
        assert!(bytes::<1>()? && bytes::<2>()? && bytes::<3>()? && bytes::<4>()?);
        assert!(bytes::<5>()? && bytes::<7>()? && bytes::<8>()? && bytes::<9>()?);
        assert!(bytes::<13>()? && bytes::<15>()? && bytes::<16>()? && bytes::<17>()?);
        assert!(bytes::<24>()? && bytes::<31>()? && bytes::<33>()? && bytes::<63>()?);
        assert!(bytes::<64>()? && bytes::<65>()? && bytes::<99>()? && bytes::<127>()?);
        Ok(())
    }

    #[test]
    fn large_ones() -> Result {
        assert!(large::<32>()?);
        assert!(large::<64>()?);
        Ok(())
    }

    #[test]
    fn four_kib_in_place() -> Result {
        let made = || pin_init::init_array_from_fn(|i| 3 * i as u64);
        let lock = KBox::init(SeqLock::<Large>::init(made()), GFP_KERNEL)?;
        let latch = KBox::init(Latch::<Large>::init(made()), GFP_KERNEL)?;
        let mut a = KBox::new_uninit(GFP_KERNEL)?;
        let mut b = KBox::new_uninit(GFP_KERNEL)?;
        assert!(is(lock.read_into(&mut a), 3) && is(latch.read_into(&mut b), 3));
        assert!(is(&lock.read_exclusive(), 3));

        let other = KBox::init(pin_init::init_array_from_fn(|i| 5 * i as u64), GFP_KERNEL)?;
        lock.write().set_from(&other);
        latch.store_from(&other);
        assert!(lock.try_read_into(&mut a).is_some_and(|v| is(v, 5)));
        assert!(is(latch.read_into(&mut b), 5));
        assert_eq!(BIG.read_exclusive()[511], 7);

        let guard = lock.write();
        let disturbed = lock.try_read_into(&mut a).is_none();
        drop(guard);
        assert!(disturbed);
        Ok(())
    }

    /// Stores and loads in place have no more room than the value: the byte after it stays.
    #[test]
    fn odd_sizes_in_place() -> Result {
        assert!(in_place::<1>()? && in_place::<2>()? && in_place::<3>()? && in_place::<5>()?);
        assert!(in_place::<7>()? && in_place::<8>()? && in_place::<13>()? && in_place::<99>()?);
        Ok(())
    }

    #[test]
    fn nothing() -> Result {
        assert!(round_trip(&[(), ()])?);
        Ok(())
    }

    #[test]
    fn niches() -> Result {
        assert!(round_trip(&[true, false])?);
        assert!(round_trip(&['a', '\u{10ffff}', '\0'])?);
        assert!(round_trip(&[
            Colour::Red,
            Colour::Green(0),
            Colour::Green(255),
            Colour::Blue { deep: true }
        ])?);
        assert!(round_trip(&[NonZeroU16::MIN, NonZeroU16::MAX])?);
        assert!(round_trip(&[None, Some(NonZeroU16::MIN), None])?);
        assert!(round_trip(&[Some(Some(true)), Some(None), None])?);
        assert!(round_trip(&[
            (true, 'x', Colour::Red),
            (false, 'y', Colour::Green(1))
        ])?);
        assert!(round_trip(&[
            "a static string is copied as what it is",
            ""
        ])?);
        Ok(())
    }

    #[test]
    fn padding_and_alignment() -> Result {
        let padded = |n: u8| Padded {
            a: n,
            b: u32::from(n) << 24,
            c: u16::from(n) * 3,
        };
        let packed = |n: u8| Packed {
            a: n,
            b: u32::from(n) << 24,
            c: u64::from(n) * 3,
        };
        assert!(round_trip(&[padded(1), padded(255)])?);
        assert!(round_trip(&[packed(1), packed(255)])?);
        assert!(round_trip(&[Aligned(1, [2, 3, 4]), Aligned(5, [6, 7, 8])])?);
        assert!(round_trip(&[(1u8, 2u128), (3, u128::MAX)])?);
        Ok(())
    }

    #[test]
    fn fields_where_they_lie_badly() -> Result {
        let lock = KBox::pin_init(new_seqlock!(Packed { a: 1, b: 2, c: 3 }), GFP_KERNEL)?;
        lock.write().set_field(seq_field!(Packed, b), 0x1234_5678);
        lock.write().set_field(seq_field!(Packed, c), u64::MAX);
        assert_eq!(lock.read_field(seq_field!(Packed, a)), 1);
        assert_eq!(lock.read_field(seq_field!(Packed, b)), 0x1234_5678);
        assert_eq!(lock.read_field(seq_field!(Packed, c)), u64::MAX);
        let value = lock.read();
        assert_eq!(
            (value.a, { value.b }, { value.c }),
            (1, 0x1234_5678, u64::MAX)
        );
        Ok(())
    }

    /// The counter starts at three below its overflow.
    #[test]
    fn the_counter_wraps() -> Result {
        let lock = KBox::pin_init(new_seqlock!(SeqLock<u64>, 0), GFP_KERNEL)?;
        // SAFETY: The lock is a local of this test, so nobody else uses it, and its counter is even
        // as no write is in progress.
        unsafe { (*lock.as_raw()).seqcount.seqcount.sequence = u32::MAX - 3 };
        let old = lock.begin();
        for n in 1..=6 {
            lock.write().set(n);
            assert_eq!(lock.read(), n);
            assert_eq!(lock.try_read(), Some(n));
            assert!(old.retry());
        }
        // SAFETY: Only this test uses the lock, and no write is in progress.
        let sequence = unsafe { (*lock.as_raw()).seqcount.seqcount.sequence };
        assert_eq!(sequence, 8);
        Ok(())
    }
}
