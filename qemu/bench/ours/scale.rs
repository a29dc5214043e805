// SPDX-License-Identifier: GPL-2.0

//! Cost against the number of domains.

use core::hint::black_box;
use quiesce::rcu::{
    define_domain,
    Domain,
    Srcu,
    Tag, //
};

/// Defines domains, and [`SECTIONS`].
macro_rules! domains {
    ($($name:ident)*) => {
        $(
            define_domain! {
                /// One of a hundred.
                $name
            }
        )*

        /// A read-side critical section of each domain.
        const SECTIONS: &[fn()] = &[$(section::<$name>),*];
    };
}

domains! {
    D00 D01 D02 D03 D04 D05 D06 D07 D08 D09 D10 D11 D12 D13 D14 D15 D16 D17 D18 D19
    D20 D21 D22 D23 D24 D25 D26 D27 D28 D29 D30 D31 D32 D33 D34 D35 D36 D37 D38 D39
    D40 D41 D42 D43 D44 D45 D46 D47 D48 D49 D50 D51 D52 D53 D54 D55 D56 D57 D58 D59
    D60 D61 D62 D63 D64 D65 D66 D67 D68 D69 D70 D71 D72 D73 D74 D75 D76 D77 D78 D79
    D80 D81 D82 D83 D84 D85 D86 D87 D88 D89 D90 D91 D92 D93 D94 D95 D96 D97 D98 D99
}

fn section<T: Tag>() {
    if let Ok(domain) = Srcu::<T>::init() {
        domain.run(|token| {
            black_box(&token);
        });
    }
}

/// Enters `arg` domains, one after the other, `n` times.
#[no_mangle]
extern "C" fn bench_ours_domains(n: u64, arg: u32) -> u64 {
    for _ in (0..n).rev() {
        for section in SECTIONS.iter().take(arg as usize) {
            section();
        }
    }
    0
}
