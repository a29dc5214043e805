// SPDX-License-Identifier: GPL-2.0

//! A configuration.

use kernel::prelude::*;

use quiesce::rcu::{
    self,
    Domain,
    Object,
    RcuCell, //
};

struct Config {
    limit: usize,
}

static CONFIG: RcuCell<Option<KBox<Object<Config>>>> = RcuCell::none();

fn limit() -> usize {
    // Readers: any context. What is read cannot leave the closure.
    rcu::global().run(|t| CONFIG.read(t).map_or(0, |config| config.limit))
}

fn set_limit(limit: usize) -> Result {
    // Writers: any number at once, no lock.
    let new = Object::new(Config { limit }).boxed(GFP_KERNEL)?;
    let old = CONFIG.replace(Some(new));
    drop(old); // freed after a grace period; never waits, allocates nothing
    Ok(())
}

#[kunit_tests(quiesce_readme_rcu)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_replaced() -> Result {
        let before = limit();
        set_limit(7)?;
        let after = limit();
        CONFIG.publish(None);
        assert_eq!((before, after), (0, 7));
        Ok(())
    }
}
