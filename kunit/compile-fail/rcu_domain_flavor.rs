// SPDX-License-Identifier: GPL-2.0

//! Only a domain of the flavor SRCU-fast-updown has sections that end in another task.

//~ ERROR no rules expected

use quiesce::rcu;

#[cfg(not(fixed))]
rcu::define_domain! { @tag [] pub Moving, true, new_srcu }

#[cfg(fixed)]
rcu::define_domain! { pub Moving: up_down }
