// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::rundown`.

use kernel::prelude::*;

#[kunit_tests(quiesce_rundown)]
mod tests {
    use super::*;
    use kernel::time::msecs_to_jiffies;
    use quiesce::rundown::{
        RundownError,
        RundownProtect,
        RundownRef, //
    };

    #[test]
    fn acquire_until_rundown() -> Result {
        let r = RundownRef::new();
        let guard = r.try_acquire();
        let got = guard.is_ok();
        drop(guard);
        assert!(got);
        r.wait_for_rundown()?;
        assert!(r.rundown_completed());
        let err = r.try_acquire().err();
        assert_eq!(err, Some(RundownError::RundownInProgress));
        r.re_init()?;
        assert!(r.try_acquire().is_ok());
        Ok(())
    }

    #[test]
    fn a_guard_holds_the_wait_up() -> Result {
        let r = RundownRef::new();
        let guard = r.try_acquire()?.unbind();
        let first = r.wait_for_rundown_timeout(msecs_to_jiffies(10));
        let requested = guard.is_rundown_requested();
        drop(guard);
        assert_eq!(first, Err(RundownError::TimedOut));
        assert!(requested);
        assert_eq!(r.wait_for_rundown_timeout(0), Ok(()));
        Ok(())
    }
}
