// SPDX-License-Identifier: GPL-2.0

//! `kernel::sync::barrier`. `smp_rmb()` and `smp_wmb()` are weaker than C11's fences; loom has no other.

pub use crate::atomic::Full;
pub struct Read;
pub struct Write;

pub trait Kind {
    fn fence();
}
#[cfg(feature = "loom")]
use loom::sync::atomic::{fence, Ordering};
impl Kind for Read {
    fn fence() {
        #[cfg(feature = "loom")]
        fence(Ordering::Acquire);
    }
}
impl Kind for Write {
    fn fence() {
        #[cfg(feature = "loom")]
        fence(Ordering::Release);
    }
}
impl Kind for Full {
    fn fence() {
        #[cfg(feature = "loom")]
        fence(Ordering::SeqCst);
    }
}
pub fn smp_mb<K: Kind>(_: K) {
    K::fence();
}
