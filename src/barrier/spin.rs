// SPDX-License-Identifier: GPL-2.0

//! How long a wait looks before it sleeps.
//!
//! To put a task to sleep and to wake it from another CPU takes longer than a round of parties
//! that meet at once. So a wait first looks for a while, as long as nothing else has use for its
//! CPU, and learns from what the waits before it took. That is KVM's halt polling
//! (`Documentation/virt/kvm/halt-polling.rst`): the time grows when a wait that slept was so short
//! that looking would have done, and is nothing after one that was not. A party that always comes
//! late costs the other one wait's looking, not one in each round.

/// Nanoseconds that the next wait looks, if the caller's limit allows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spin(u32);

impl Spin {
    /// What growing begins with.
    const FIRST: u32 = 10_000;

    /// Nothing, until a wait was short.
    pub const fn new() -> Self {
        Self(0)
    }

    /// How long to look if `limit` nanoseconds are allowed.
    pub fn time(self, limit: u32) -> u32 {
        self.0.min(limit)
    }

    /// A wait had to sleep, and took `waited` nanoseconds with what it looked before.
    pub fn slept(&mut self, waited: u64, limit: u32) {
        self.0 = if waited > u64::from(limit) {
            0
        } else {
            self.0
                .saturating_mul(2)
                .clamp(Self::FIRST.min(limit), limit)
        };
    }
}
