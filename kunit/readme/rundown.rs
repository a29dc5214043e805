// SPDX-License-Identifier: GPL-2.0

//! A gate of one word.

use kernel::prelude::*;

use quiesce::rundown::RundownRef;

static USERS: RundownRef = RundownRef::new();

fn request() -> Result {
    // Once the rundown has begun: RundownInProgress, which becomes ENODEV.
    let _guard = USERS.try_acquire()?;
    // The device is there until the guard is dropped. Sleeping is fine.
    Ok(())
}

fn remove() {
    // New requests fail, and those under way end first.
    USERS.wait_for_rundown();
}

#[kunit_tests(quiesce_readme_rundown)]
mod tests {
    use super::*;

    #[test]
    fn requests_fail_once_removed() -> Result {
        let before = request();
        remove();
        let after = request();
        USERS.re_init()?;
        assert!(before.is_ok());
        assert_eq!(after, Err(ENODEV));
        Ok(())
    }
}
