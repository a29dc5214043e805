// SPDX-License-Identifier: GPL-2.0

//! Data behind a rundown reference.

use kernel::prelude::*;

use quiesce::rundown::Rundown;

static TABLE: Rundown<[u32; 4]> = Rundown::new([1, 2, 3, 4]);

fn lookup(i: usize) -> Result<u32> {
    TABLE.try_acquire()?.get(i).copied().ok_or(EINVAL)
}

fn replace(new: [u32; 4]) -> Result {
    // Exclusive: &mut, take() or re_init().
    let mut table = TABLE.wait_for_rundown()?;
    *table = new;
    table.re_init();
    Ok(())
}

#[kunit_tests(quiesce_readme_data)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced() -> Result {
        let before = lookup(0);
        replace([5, 6, 7, 8])?;
        let after = (lookup(3), lookup(4));
        replace([1, 2, 3, 4])?;
        assert_eq!(before, Ok(1));
        assert_eq!(after, (Ok(8), Err(EINVAL)));
        Ok(())
    }
}
