// SPDX-License-Identifier: GPL-2.0

//! A set of party numbers, as a bitmap that is large enough for `QUIESCE_MAX_PARTIES`.

use crate::bindings::uapi::QUIESCE_MAX_PARTIES;

/// Number of words of a set.
pub const WORDS: usize = QUIESCE_MAX_PARTIES as usize / 64;

/// A set of numbers below `QUIESCE_MAX_PARTIES`, as a bitmap whose size does not vary.
///
/// Larger numbers are in no set, and inserting them does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set([u64; WORDS]);

impl Set {
    /// The empty set.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Returns the set of the numbers below `n`.
    pub fn first_n(n: u32) -> Self {
        let mut set = Self::EMPTY;
        for i in 0..n {
            set.insert(i);
        }
        set
    }

    /// Returns whether `n` is in the set.
    pub fn contains(&self, n: u32) -> bool {
        self.0
            .get(n as usize / 64)
            .is_some_and(|word| word & (1 << (n % 64)) != 0)
    }

    /// Inserts `n`.
    pub fn insert(&mut self, n: u32) {
        if let Some(word) = self.0.get_mut(n as usize / 64) {
            *word |= 1 << (n % 64);
        }
    }

    /// Removes `n`.
    pub fn remove(&mut self, n: u32) {
        if let Some(word) = self.0.get_mut(n as usize / 64) {
            *word &= !(1 << (n % 64));
        }
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Returns the number of elements.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Returns the lowest number in the set.
    pub fn first(&self) -> Option<u32> {
        let at = self.0.iter().position(|&word| word != 0)?;
        Some(at as u32 * 64 + self.0[at].trailing_zeros())
    }

    /// Returns the lowest number that is not in the set.
    pub fn first_missing(&self) -> Option<u32> {
        let at = self.0.iter().position(|&word| word != u64::MAX)?;
        Some(at as u32 * 64 + self.0[at].trailing_ones())
    }

    /// Removes the lowest number and returns it.
    pub fn pop(&mut self) -> Option<u32> {
        let n = self.first()?;
        self.remove(n);
        Some(n)
    }

    /// Those that are in `self` and not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        let mut ret = *self;
        for (word, other) in ret.0.iter_mut().zip(&other.0) {
            *word &= !other;
        }
        ret
    }

    /// The bitmap: number `n` is bit `n % 64` of word `n / 64`.
    pub fn words(&self) -> &[u64] {
        &self.0
    }
}
