// SPDX-License-Identifier: GPL-2.0

//! The modules that may use this one, each with its account and its worker.

use super::{
    account::{
        self,
        Account,
        Counts, //
    },
    worker::{
        self,
        Marker,
        Worker, //
    },
};
use crate::bindings as helpers;
use core::{
    mem::offset_of,
    ptr::null_mut, //
};
use kernel::{
    bindings,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    types::Opaque, //
};

/// A module that may use this one.
///
/// # Invariants
///
/// - The account is in the table from before the module's code runs until it has returned and the
///   account is empty.
/// - The worker is initialised, and stopped when the last reference is dropped.
/// - `references` is the number of `ClientRef`s, and one while the account is in the table.
pub(super) struct Client {
    account: Account,
    worker: Worker,
    references: Atomic<usize>,
    /// The work item that waits for the module when it is unloaded; belongs to `unload.rs`.
    pub(super) unload: Opaque<bindings::work_struct>,
}

kernel::sync::global_lock! {
    // SAFETY: `init()` initialises the mutex once, before a client is added.
    unsafe(uninit) static CLIENTS: Mutex<()> = ();
}

/// Initialises this module's own client.
///
/// # Safety
///
/// Called once, before everything else here, when the workqueue is there. `counts` are those of the
/// kernel's RCU.
pub(super) unsafe fn init(counts: &'static Counts) -> Result {
    // SAFETY: This function is called once, before everything else here.
    unsafe { CLIENTS.init() };
    // SAFETY: The first account is that of this module, which is there.
    unsafe { add(account::this_module(), counts) }
}

/// Removes all clients: this module's own, and those of modules that could have used it.
///
/// # Safety
///
/// Nothing is in flight, nobody uses this module any more, and no client is added.
pub(super) unsafe fn exit() {
    loop {
        let mut module = null_mut();
        account::for_each(0, |account| {
            module = account.module();
            false
        });
        // SAFETY: The client is removed below, and not used afterwards but for the owner's `put()`.
        let Some(client) = (unsafe { find(module) }) else {
            break;
        };
        // SAFETY: Nothing is in flight, nobody uses this module and no client is added, as this
        // function requires, so nothing else accesses the table or finds the client.
        unsafe { account::remove(module) };
        client.put();
    }
}

/// Adds a client.
///
/// # Safety
///
/// The module has none and its code has not run, if it is not this one; `counts` are those of the
/// kernel's RCU. The module's address ranges are there until the client is removed.
pub(super) unsafe fn add(module: *mut bindings::module, counts: &'static Counts) -> Result {
    // SAFETY: The module's address ranges are there until the client is removed, as this function
    // requires.
    let account = unsafe { Account::new(module)? };
    let client = KBox::new(
        Client {
            account,
            worker: Worker::new(),
            references: Atomic::new(1),
            unload: Opaque::zeroed(),
        },
        GFP_KERNEL,
    )?;
    // SAFETY: Both are initialised in the place where they stay, and are not in use.
    unsafe {
        client.account.init();
        client.worker.init(counts, module);
    }
    let client = KBox::into_raw(client);
    let _lock = CLIENTS.lock();
    // SAFETY: The lock excludes other calls. `remove` drops the client only after it has taken it
    // out of the table and a grace period has elapsed.
    let result = unsafe { account::insert(&raw mut (*client).account) };
    if result.is_err() {
        // SAFETY: `insert` failed, so the client is not in the table, and the pointer came from
        // `KBox::into_raw`.
        drop(unsafe { KBox::from_raw(client) });
    }
    result
}

/// The client of a module.
///
/// # Safety
///
/// It is not removed during `'a`.
pub(super) unsafe fn find<'a>(module: *mut bindings::module) -> Option<&'a Client> {
    // SAFETY: Each account in the table is the field of a `Client`, as only `add()` inserts one.
    account::find_account(module).map(|account| unsafe { Client::of(&*account) })
}

impl Client {
    /// The client that an account is of.
    ///
    /// # Safety
    ///
    /// The client stays during `'a`.
    unsafe fn of<'a>(account: &Account) -> &'a Self {
        let account = core::ptr::from_ref(account);
        // SAFETY: `add` enters no other account into the table than the field of a client.
        unsafe { &*account.byte_sub(offset_of!(Self, account)).cast::<Self>() }
    }

    /// The account.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Takes the client out of the table, and drops it.
    ///
    /// # Safety
    ///
    /// The account is empty, no code of the module runs any more, and this is called once.
    pub(super) unsafe fn remove(&self) {
        {
            let _lock = CLIENTS.lock();
            // SAFETY: The lock excludes other calls, and no code of the module runs.
            unsafe { account::remove(self.account.module()) };
        }
        // SAFETY: This function is called in process context, outside of read-side critical
        // sections.
        unsafe { bindings::synchronize_rcu() };
        self.put();
    }

    /// As [`remove`](Self::remove), without waiting for tasks that may have found the client.
    ///
    /// # Safety
    ///
    /// As for [`remove`](Self::remove), and nothing was ever counted in the account.
    pub(super) unsafe fn remove_soon(&self) {
        {
            let _lock = CLIENTS.lock();
            // SAFETY: The lock excludes other calls, and no code of the module runs.
            unsafe { account::remove(self.account.module()) };
        }
        // SAFETY: The work item is not in use. The client stays until its function has run.
        unsafe {
            helpers::quiesce_helper_rcu_init_work(self.unload.get(), Some(put_later), true);
            worker::WAIT.queue(self.unload.get());
        }
    }

    /// Drops a reference.
    fn put(&self) {
        if self.references.fetch_sub(1usize, Full) == 1 {
            // SAFETY: The last reference is put when the account is empty, so the worker's list is
            // empty.
            unsafe { self.worker.stop() };
            // SAFETY: `fetch_sub` returned one, so this was the last reference, and `add` got the
            // client from `KBox::into_raw`.
            drop(unsafe { KBox::from_raw(core::ptr::from_ref(self).cast_mut()) });
        }
    }
}

/// Drops the first reference to a client that nobody finds any more.
///
/// # Safety
///
/// Called by the workqueue with the work item of a client that is not in the table.
unsafe extern "C" fn put_later(work: *mut bindings::work_struct) {
    // SAFETY: The workqueue calls this function with the work item of a client, which its first
    // reference keeps alive until it is dropped below.
    let client = unsafe { &*work.byte_sub(offset_of!(Client, unload)).cast::<Client>() };
    // SAFETY: The workqueue runs this function, in process context without locks held.
    unsafe { bindings::synchronize_rcu() };
    client.put();
}

/// A reference to a client.
struct ClientRef(*const Client);

impl ClientRef {
    /// Takes a reference, unless the last one was dropped.
    fn get(client: &Client) -> Option<Self> {
        let mut n = client.references.load(Relaxed);
        while n != 0 {
            match client.references.cmpxchg(n, n.wrapping_add(1), Full) {
                Ok(_) => return Some(Self(client)),
                Err(now) => n = now,
            }
        }
        None
    }
}

impl core::ops::Deref for ClientRef {
    type Target = Client;

    fn deref(&self) -> &Client {
        // SAFETY: `self` holds a reference to the client, which is not freed before it is put.
        unsafe { &*self.0 }
    }
}

impl Drop for ClientRef {
    fn drop(&mut self) {
        self.put();
    }
}

/// Queues `func` to be called with `head` by the worker of the module that `func` is in.
///
/// # Safety
///
/// As for [`Worker::push`]. `module` is what `this_module` returned in code that runs, and `func` is
/// a function of that module or of one that it depends on.
pub(super) unsafe fn push(
    module: *mut bindings::module,
    head: *mut bindings::callback_head,
    func: account::Reclaim,
) {
    // SAFETY: `module` is what `this_module` returned in code that runs, `func` is a function of
    // that module or of one that it depends on, and `head` is valid, counted and not used by others
    // until `func` is called, as this function requires. The client stays as long as its account,
    // and its worker is initialised.
    unsafe {
        Client::of(account::of_function(module, func as *const _))
            .worker
            .push(head, func)
    };
}

/// The number of workers that are waited for at a time.
const AT_ONCE: usize = 4;

/// Waits until the workers have reclaimed what was pushed to them before: of all modules that have
/// something in flight, or of one.
///
/// # Safety
///
/// Process context; the caller is no destructor that a worker runs.
#[inline(never)]
pub(super) unsafe fn flush(module: Option<*mut bindings::module>) {
    let mut from = 0;
    while from < account::SLOTS {
        let markers = [const { Marker::new() }; AT_ONCE];
        let mut clients = [const { None::<ClientRef> }; AT_ONCE];
        let mut n = 0;
        from = account::for_each(from, |account| {
            let meant = module.is_none_or(|module| module == account.module());
            if !meant || account.counts().in_flight() == 0 {
                return true;
            }
            let Some(place) = clients.get_mut(n) else {
                return false;
            };
            // SAFETY: The account, and with it the client, stays during this section.
            *place = ClientRef::get(unsafe { Client::of(account) });
            n = n.wrapping_add(usize::from(place.is_some()));
            true
        });
        for (client, marker) in clients.iter().flatten().zip(&markers) {
            // SAFETY: Workers of clients are initialised, and the marker is waited for below.
            unsafe { marker.push(&client.worker) };
        }
        for (_client, marker) in clients.iter().flatten().zip(&markers) {
            // SAFETY: The marker was pushed in the loop above. This is process context, and no
            // destructor that a worker runs, as this function requires.
            unsafe { marker.wait() };
        }
    }
}
