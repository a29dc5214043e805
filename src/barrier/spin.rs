// SPDX-License-Identifier: GPL-2.0

//! The time that a wait busy-polls before it sleeps.
//!
//! Putting a task to sleep and waking it from another CPU takes longer than a round of parties
//! that arrive at the same time. So a wait first polls for a while, as long as no other task needs
//! its CPU, and adapts the time to the waits before it. That is KVM's halt polling
//! (`Documentation/virt/kvm/halt-polling.rst`): the time grows when a wait that slept was so short
//! that polling would have been enough, and becomes 0 after a longer one. A party that is always
//! late costs the other one poll, not one in each round.

/// Nanoseconds that the next wait polls, if the caller's limit allows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpinWindow(u32);

impl SpinWindow {
    /// The first time that is not 0.
    const FIRST: u32 = 10_000;

    /// Polls for 0 ns, until a wait was short.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Returns how long to poll if `limit` nanoseconds are allowed.
    pub fn time(self, limit: u32) -> u32 {
        self.0.min(limit)
    }

    /// Adapts to a wait that slept, and took `waited` nanoseconds with the polling before it.
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
