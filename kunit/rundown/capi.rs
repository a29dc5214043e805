// SPDX-License-Identifier: GPL-2.0

//! The C API; what uses it is C, in `capi.c`.

use super::{
    complaining,
    contexts::no_waits_in_atomic_context, //
};
use kernel::prelude::*;

mod bindings {
    use kernel::ffi::{
        c_int,
        c_uint, //
    };

    // As in `capi.h`.
    extern "C" {
        pub(super) fn quiesce_kunit_capi_word() -> c_int;
        pub(super) fn quiesce_kunit_capi_bad_counts() -> c_int;
        pub(super) fn quiesce_kunit_capi_signals() -> c_int;
        pub(super) fn quiesce_kunit_capi_atomic() -> c_int;
        pub(super) fn quiesce_kunit_capi_freed_after_every_wait(rounds: c_uint) -> c_int;
        pub(super) fn quiesce_kunit_capi_statics() -> c_int;
        pub(super) fn quiesce_kunit_capi_cache_aware() -> c_int;
        pub(super) fn quiesce_kunit_capi_over_release(run_down: bool) -> c_int;
        pub(super) fn quiesce_kunit_capi_re_init_too_early();
        pub(super) fn quiesce_kunit_capi_completed_too_early();
        pub(super) fn quiesce_kunit_capi_freed_after_wait(rounds: c_uint) -> c_int;
    }
}

#[kunit_tests(quiesce_rundown_capi)]
mod tests {
    use super::*;

    #[test]
    fn word() -> Result {
        // SAFETY: The test takes no pointer and may run in any task.
        assert_eq!(unsafe { bindings::quiesce_kunit_capi_word() }, 0);
        Ok(())
    }

    #[test]
    fn statics() -> Result {
        // SAFETY: The test takes no pointer and may run in any task.
        assert_eq!(unsafe { bindings::quiesce_kunit_capi_statics() }, 0);
        Ok(())
    }

    #[test]
    fn cache_aware() -> Result {
        // SAFETY: The test takes no pointer and may run in any task.
        assert_eq!(unsafe { bindings::quiesce_kunit_capi_cache_aware() }, 0);
        Ok(())
    }

    #[test]
    fn freed_after_wait() -> Result {
        // SAFETY: The test takes no pointer and may run in any task.
        let line = unsafe { bindings::quiesce_kunit_capi_freed_after_wait(500) };
        assert_eq!(line, 0);
        Ok(())
    }

    #[test]
    fn freed_after_every_wait() -> Result {
        // SAFETY: The test takes no pointer and may run in any task.
        let line = unsafe { bindings::quiesce_kunit_capi_freed_after_every_wait(50) };
        assert_eq!(line, 0);
        Ok(())
    }

    #[test]
    fn bad_counts() -> Result {
        let line = complaining("WARNING: .*src/rundown/capi.rs", || {
            // SAFETY: The test takes no pointer and may run in any task.
            unsafe { bindings::quiesce_kunit_capi_bad_counts() }
        });
        assert_eq!(line, 0);
        Ok(())
    }

    #[test]
    fn signals() -> Result {
        // SAFETY: The test takes no pointer and may run in any task.
        let line = unsafe { bindings::quiesce_kunit_capi_signals() };
        assert_eq!(line, 0);
        Ok(())
    }

    #[test]
    fn atomic() -> Result {
        // Once per boot, by this test alone.
        let (line, others) = complaining("WARNING: .*rundown_may_sleep", || {
            // SAFETY: The test takes no pointer and may run in any task.
            let line = unsafe { bindings::quiesce_kunit_capi_atomic() };
            (line, no_waits_in_atomic_context())
        });
        assert_eq!(line, 0);
        others
    }

    #[test]
    fn over_release() -> Result {
        for run_down in [false, true] {
            let line = complaining("WARNING: .*rundown_too_many_releases", || {
                // SAFETY: The test takes no pointer and may run in any task.
                unsafe { bindings::quiesce_kunit_capi_over_release(run_down) }
            });
            assert_eq!(line, 0);
        }
        Ok(())
    }

    #[test]
    fn too_early() -> Result {
        complaining("WARNING: .*src/rundown/capi.rs", || {
            // SAFETY: The test takes no pointer and may run in any task.
            unsafe { bindings::quiesce_kunit_capi_re_init_too_early() }
        });
        complaining("WARNING: .*src/rundown/capi.rs", || {
            // SAFETY: The test takes no pointer and may run in any task.
            unsafe { bindings::quiesce_kunit_capi_completed_too_early() }
        });
        Ok(())
    }
}
