// SPDX-License-Identifier: GPL-2.0

//! A gate of one word.

use kernel::prelude::*;

use quiesce::rundown::{
    RundownProtect,
    RundownRef, //
};

static USERS: RundownRef = RundownRef::new();

fn request() -> Result {
    // Once the rundown has begun: RundownInProgress, which becomes ENODEV.
    let _guard = USERS.try_acquire()?;
    // The device is there until the guard is dropped. Sleeping is fine.
    Ok(())
}

fn remove() -> Result {
    // New requests fail, and those under way end first.
    USERS.wait_for_rundown()?;
    Ok(())
}

#[kunit_tests(quiesce_readme_rundown)]
mod tests {
    use super::*;

    #[test]
    fn requests_fail_once_removed() -> Result {
        let (before, removed, after) = (request(), remove(), request());
        USERS.re_init()?;
        assert!(before.is_ok());
        assert!(removed.is_ok());
        assert_eq!(after, Err(ENODEV));
        Ok(())
    }
}
