// SPDX-License-Identifier: GPL-2.0

//! A generator of numbers, the same on every run.

/// A linear congruential generator; Knuth's constants.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}
