// SPDX-License-Identifier: GPL-2.0

//! Makes the bindings of `uapi/quiesce.h`, as Kbuild does.

use std::{env, path::Path, process::Command};

fn main() {
    for config in ["64BIT", "PREEMPT_COUNT", "PREEMPT_RCU", "SMP"] {
        println!("cargo:rustc-cfg=CONFIG_{config}");
    }
    let header = "../../../src/uapi/quiesce.h";
    let out = Path::new(&env::var("OUT_DIR").unwrap()).join("uapi.rs");
    println!("cargo:rerun-if-changed={header}");
    let status = Command::new("bindgen")
        .arg(header)
        .args([
            "--rust-target",
            "1.85",
            "--use-core",
            "--ctypes-prefix",
            "ffi",
            "--no-layout-tests",
            "--no-doc-comments",
        ])
        .args([
            "--allowlist-type",
            "(quiesce|QUIESCE)_.*",
            "--allowlist-var",
            "QUIESCE_.*",
        ])
        .args([
            "--default-macro-constant-type",
            "unsigned",
            "--with-derive-default",
            "-o",
        ])
        .arg(out)
        .status()
        .expect("bindgen runs");
    assert!(status.success(), "bindgen failed");
}
