// SPDX-License-Identifier: GPL-2.0

//! Limits on what one user and one process can have.
//!
//! Counts are kept per user for files of barriers and parties of groups, and per process for
//! bindings. A [`Charge`] is one unit of a count, owned by what was charged for, and is given back
//! when that is freed. The counts are in one tree, with nodes only for those that are not zero.

use crate::{
    barrier::Pid,
    bindings::{
        self,
        uapi, //
    }, //
};
use core::pin::Pin;
use kernel::{
    error::to_result,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::global_lock, //
};

/// The key of a count: whose use is counted, and of what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Files of barriers and parties of groups, by the user who made them.
    Files(u32),
    /// Parties that end with a process, by the address of its `struct pid`.
    Bindings(usize),
}

global_lock! {
    /// The counts that are not zero, by key.
    // SAFETY: `init()` initialises the lock once, in the module's init, before the device is
    // registered.
    unsafe(uninit) static COUNTS: SpinLock<Option<RBTree<Key, u32>>> = None;
}

/// Initialises the counts.
///
/// # Safety
///
/// Called once, before anything else here.
pub(super) unsafe fn init() {
    // SAFETY: This function requires to be called once, before everything else of this module that
    // uses `COUNTS`.
    unsafe { COUNTS.init() }
}

/// One file, party or binding that is charged, until dropped; with a barrier's lock held, too.
///
/// # Invariants
///
/// The count of the key includes it.
pub(crate) struct Charge(Key);

impl Charge {
    /// Charges a file of a barrier, or a party of a group, to the calling task's user.
    ///
    /// # Errors
    ///
    /// `EDQUOT` if the user has too many and the task has neither `CAP_SYS_RESOURCE` nor
    /// `CAP_SYS_ADMIN`; `ENOMEM`, also where the cgroup's limit is reached: a file of the VFS
    /// would have the OOM killer called.
    pub(super) fn file() -> Result<Self> {
        // SAFETY: The helpers only read the credentials, the limits and the memory cgroup of
        // `current`, in process context.
        let (user, limit) = unsafe {
            (
                bindings::quiesce_helper_current_uid(),
                bindings::quiesce_helper_user_files(),
            )
        };
        // SAFETY: The helpers only read the credentials, the limits and the memory cgroup of
        // `current`, in process context.
        to_result(unsafe { bindings::quiesce_helper_charge_ahead() })?;
        Self::new(Key::Files(user), limit).or_else(|e| {
            // SAFETY: The helpers only read the credentials, the limits and the memory cgroup of
            // `current`, in process context.
            if e == EDQUOT && unsafe { bindings::quiesce_helper_is_unlimited() } {
                Self::new(Key::Files(user), u32::MAX)
            } else {
                Err(e)
            }
        })
    }

    /// Charges a party that ends with the process `pid`, to which the caller keeps a reference
    /// while the charge lives.
    ///
    /// # Errors
    ///
    /// `EDQUOT` if the process has too many; `ENOMEM`.
    pub(super) fn binding(pid: &Pid) -> Result<Self> {
        Self::new(
            Key::Bindings(pid.as_ptr() as usize),
            uapi::QUIESCE_MAX_BOUND,
        )
    }

    fn new(key: Key, limit: u32) -> Result<Self> {
        if let Some(counted) = Self::count(key, limit, None) {
            return counted;
        }
        // Without the lock: a task at its cgroup's limit may take long here, and all other users
        // take the same lock.
        let spare = RBTreeNode::new(key, 1, GFP_KERNEL_ACCOUNT)?;
        Self::count(key, limit, Some(spare)).unwrap_or(Err(ENOMEM))
    }

    /// Counts one more for `key`, with `spare` as its node if it is the first one. Returns `None`
    /// if it is and there is no `spare`.
    fn count(key: Key, limit: u32, spare: Option<RBTreeNode<Key, u32>>) -> Option<Result<Self>> {
        let mut counts = COUNTS.lock();
        let counts = counts.get_or_insert_with(RBTree::new);
        match counts.get_mut(&key) {
            Some(n) if *n >= limit => return Some(Err(EDQUOT)),
            // `limit` is `u32::MAX` at most.
            Some(n) => *n = n.wrapping_add(1),
            None if limit == 0 => return Some(Err(EDQUOT)),
            None => {
                let _ = counts.insert(spare?);
            }
        }
        // INVARIANT: It was counted.
        Some(Ok(Self(key)))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut guard = COUNTS.lock();
        let Some(counts) = guard.as_mut() else {
            return;
        };
        let last = match counts.get_mut(&self.0) {
            Some(n) if *n > 1 => {
                *n = n.wrapping_sub(1);
                false
            }
            _ => true,
        };
        // Freed without the lock.
        let _node = if last {
            counts.remove_node(&self.0)
        } else {
            None
        };
        drop(guard);
    }
}
