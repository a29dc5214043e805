// SPDX-License-Identifier: GPL-2.0

//! Suites of `quiesce::rundown`.

use kernel::prelude::*;

#[kunit_tests(quiesce_rundown)]
mod tests {
    use super::*;

    #[test]
    fn version() -> Result {
        assert_eq!(quiesce::rundown::version(), 1);
        Ok(())
    }
}
