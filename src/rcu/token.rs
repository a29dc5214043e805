// SPDX-License-Identifier: GPL-2.0

//! The proof that a read section is under way.

use super::Domain;
use core::marker::PhantomData;
use kernel::types::NotThreadSafe;

/// Proof of being inside a read section of the domain `D`.
///
/// [`Domain::run`] hands one to its closure, for any lifetime `'r` that the closure does not get to
/// choose, so neither the token nor anything read with it can leave the closure: there is no guard
/// that could be leaked. It is neither [`Send`] nor [`Sync`], because the section is the task's, and
/// it costs nothing: there is nothing in it.
///
/// # Invariants
///
/// The current task, or the interrupt that runs, is inside a read section of `D` for all of `'r`.
pub struct Token<'r, D: Domain> {
    _section: PhantomData<&'r ()>,
    _domain: PhantomData<fn(D) -> D>,
    _not_send: NotThreadSafe,
}

impl<D: Domain> Clone for Token<'_, D> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Domain> Copy for Token<'_, D> {}

impl<D: Domain> Token<'_, D> {
    /// Makes a token.
    ///
    /// # Safety
    ///
    /// The caller is inside a read section of `D`, and stays there for the token's lifetime.
    #[inline(always)]
    pub(super) unsafe fn new() -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            _section: PhantomData,
            _domain: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}
