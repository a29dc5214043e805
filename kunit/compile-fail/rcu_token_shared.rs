// SPDX-License-Identifier: GPL-2.0

//! A reference to the token cannot be sent to another thread either.

//~ ERROR cannot be shared between threads safely

use quiesce::rcu::{self, Domain};

fn on_another_thread(f: impl FnOnce() + Send) {
    f()
}

pub fn f() {
    rcu::global().run(|t| {
        #[cfg(not(fixed))]
        on_another_thread(|| {
            let _t = &t;
        });
        #[cfg(fixed)]
        {
            let _t = &t;
            on_another_thread(|| ());
        }
    });
}
