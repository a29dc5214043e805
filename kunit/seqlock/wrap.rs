// SPDX-License-Identifier: GPL-2.0

//! A counter that wraps while a copy is held.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};
use quiesce::{
    new_seqcount, new_seqlock, seq_field,
    seqlock::{
        RawSeqLock,
        Retry,
        SeqCount, //
    },
};

use crate::support;

#[derive(Clone, Copy)]
struct Range {
    low: u32,
    high: u32,
}

#[kunit_tests(quiesce_seqlock_wrap)]
mod tests {
    use super::*;

    /// A copy that is half of one value and half of another must not be valid after 2^31 writes,
    /// when the counter is what it was.
    #[test]
    fn a_torn_copy_is_not_valid_after_the_counter_wrapped() -> Result {
        let range = KBox::pin_init(
            new_seqlock!(RawSeqLock<Range>, Range { low: 0, high: 10 }),
            GFP_KERNEL,
        )?;
        // The counter is the first member of the lock.
        let counter = range.as_raw().cast::<u32>();
        // SAFETY: `range` is this test's own lock, and no writer holds it.
        let before = unsafe { counter.read_volatile() };

        let section = range.begin();
        let mut writer = range.write();
        writer.set_field(seq_field!(Range, low), 20);
        let torn = section.load();
        let low = section.field(seq_field!(Range, low));
        writer.set_field(seq_field!(Range, high), 30);
        drop(writer);
        let early = section.retry();

        // 2^31 - 1 writes more, which take longer than this.
        support::msleep(300);
        // SAFETY: The lock is a local of this test, which does not write now, so nobody else
        // accesses the counter, and it is even.
        unsafe { counter.write_volatile(before) };
        let late = section.retry();
        assert!(early && late);
        assert!(torn.validate().is_err());
        assert_eq!(low.validate(), Err(Retry));

        // The lock is as it was.
        let section = range.begin();
        let copy = section.load().validate();
        assert_eq!(copy.map(|copy| (copy.low, copy.high)), Ok((20, 30)));
        Ok(())
    }

    /// The call of `read_section_or_lock()` under the lock excludes writers, and has no limit.
    #[test]
    fn a_section_under_the_lock_does_not_expire() -> Result {
        let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u64>, 7), GFP_KERNEL)?;
        let mut calls = 0;
        let mut seen = None;
        let ret = lock.read_section_or_lock::<1, _>(|s| {
            calls += 1;
            if calls == 1 {
                return Err(Retry);
            }
            let copy = s.load();
            // Not again and again, if it is called again.
            if calls == 2 {
                (0..300).for_each(|_| support::udelay(1000));
            }
            seen.get_or_insert((s.retry(), s.load().validate()));
            copy.validate()
        });
        assert_eq!((calls, ret), (2, 7));
        assert_eq!(seen, Some((false, Ok(7))));
        Ok(())
    }

    /// The least time for 2^31 changes of a counter is longer than a section is valid. The fastest
    /// change is an invalidation with the lock held all the time.
    #[test]
    fn wrapping_takes_longer_than_a_section_lasts() -> Result {
        const PART: u32 = 1 << 22;
        let owner = KBox::pin_init(kernel::new_mutex!(0u32), GFP_KERNEL)?;
        let mut owner = owner.lock();
        let count = KBox::pin_init(new_seqcount!(SeqCount<u32, u32>, 0, &*owner), GFP_KERNEL)?;
        let mut refused = 0;
        let mut least = i64::MAX;
        for _ in 0..8 {
            let before = Instant::<Monotonic>::now();
            for _ in 0..PART {
                refused += u32::from(count.invalidate(&mut owner).is_err());
            }
            least = least.min(before.elapsed().as_nanos());
        }
        drop(owner);
        let whole = least.saturating_mul(i64::from((1u32 << 31) / PART));
        assert_eq!(refused, 0);
        assert!(whole > 250_000_000);
        Ok(())
    }

    /// A section's body has a good part of the time for which it is valid.
    #[test]
    fn a_section_lasts_for_a_while() -> Result {
        let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u64>, 7), GFP_KERNEL)?;
        // A slow machine may take longer for some of them.
        let valid = (0..50).any(|_| {
            let section = lock.begin();
            let copy = section.load();
            support::msleep(80);
            copy.validate() == Ok(7)
        });
        assert!(valid);
        Ok(())
    }

    /// A copy that a thread makes while another one stores is no mixture, though the lower half of the
    /// counter is the same after each store.
    #[test]
    fn a_copy_of_a_counter_is_whole_though_it_wraps() -> Result {
        const WORDS: usize = 1 << 13;
        type Large = SeqCount<[u64; WORDS], u32>;

        let owner = KBox::pin_init(kernel::new_mutex!(0u32), GFP_KERNEL)?;
        let count = Arc::init(Large::init(pin_init::init_zeroed()), GFP_KERNEL)?;
        count.bind(&owner.lock())?;
        let reads = Arc::new(Atomic::new(1i32), GFP_KERNEL)?;
        let torn = Arc::new(Atomic::new(0i32), GFP_KERNEL)?;
        let reader = {
            let (count, reads, torn) = (count.clone(), reads.clone(), torn.clone());
            let mut copy = KVBox::<[u64; WORDS]>::new_uninit(GFP_KERNEL)?;
            support::spawn(c"seqlock_wrap", move || {
                while reads.load(Acquire) != 0 {
                    let words = count.read_into(&mut copy);
                    torn.add(i32::from(words.iter().any(|w| *w != words[0])), Relaxed);
                }
            })?
        };
        let mut value = KVBox::<[u64; WORDS]>::init(pin_init::init_zeroed(), GFP_KERNEL)?;
        let began = Instant::<Monotonic>::now();
        let mut refused = 0;
        // The counter is the first member.
        let counter = core::ptr::from_ref(&*count).cast::<u32>().cast_mut();
        let low = if cfg!(target_endian = "big") { 1 } else { 0 };
        while began.elapsed().as_nanos() < 300_000_000 {
            let mut owner = owner.lock();
            let next = value[0] + 1;
            value.fill(next);
            // SAFETY: This thread alone writes the counter, whose lower half is even: as if 2^31 - 1
            // invalidations came before the store, which makes it wrap.
            unsafe { counter.add(low).write_volatile(u32::MAX - 1) };
            refused += u32::from(count.store_from(&mut owner, &value).is_err());
        }
        reads.store(0, Release);
        reader.join();
        assert_eq!(refused, 0);
        assert!(value[0] > 1);
        assert_eq!(torn.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn the_counter_itself_may_wrap() -> Result {
        let lock = KBox::pin_init(new_seqlock!(RawSeqLock<u64>, 7), GFP_KERNEL)?;
        // SAFETY: The count is a local of this test, which does not write now, so nobody else
        // accesses the counter; the value is even.
        unsafe { lock.as_raw().cast::<u32>().write_volatile(u32::MAX - 1) };
        let section = lock.begin();
        let old = section.load();
        assert_eq!(lock.read(), 7);
        lock.write().set(8);
        assert_eq!(old.validate(), Err(Retry));
        // SAFETY: `lock` is this test's own, and no writer holds it.
        assert_eq!(unsafe { lock.as_raw().cast::<u32>().read_volatile() }, 0);
        assert_eq!((lock.read(), lock.try_read()), (8, Some(8)));
        Ok(())
    }
}
