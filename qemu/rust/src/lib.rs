// SPDX-License-Identifier: GPL-2.0

//! A frame for test programs: each test runs in a process of its own, with a time limit.

use std::{
    env, fs,
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A test, or the part of one that runs in another process.
pub type Function = fn();

/// Seconds that a test may take; the machine may be very slow.
const LIMIT: u64 = 120;

/// Runs the tests and prints KTAP. With `--run NAME`, which the program uses itself, runs one
/// test or one part.
pub fn main(tests: &[(&str, Function)], parts: &[(&str, Function)]) {
    // A shell without job control has what it runs in the background ignore these.
    for number in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: The default action needs no function.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let arguments: Vec<String> = env::args().collect();
    if let [_, option, name] = &arguments[..] {
        assert_eq!(option, "--run");
        let all = || tests.iter().chain(parts);
        let (_, function) = all().find(|(n, _)| n == name).expect("no such test");
        function();
        return;
    }
    println!("KTAP version 1\n1..{}", tests.len());
    let mut failed = 0;
    for (number, (name, _)) in tests.iter().enumerate() {
        let (status, output) = run(name);
        if status.success() {
            println!("ok {} {name}", number + 1);
            continue;
        }
        failed += 1;
        for line in output.lines() {
            println!("# {line}");
        }
        println!("# {status}");
        println!("not ok {} {name}", number + 1);
        // Of a mutant one test is enough.
        if env::var_os("QUIESCE_MUTANT").is_some() {
            break;
        }
    }
    std::process::exit(i32::from(failed != 0));
}

/// The folder that a test runs in, empty at its beginning.
const FOLDER: &str = "/tmp/quiesce-test";
/// What a test prints.
const OUTPUT: &str = "/tmp/quiesce-test.out";

/// Runs a test in a process group, which is killed when the test has ended or the time is over.
/// Returns its status and what it printed.
fn run(name: &str) -> (ExitStatus, String) {
    let _ = fs::remove_dir_all(FOLDER);
    fs::create_dir(FOLDER).expect("/tmp is writable");
    fs::set_permissions(FOLDER, PermissionsExt::from_mode(0o777)).expect("it is ours");
    let output = fs::File::create(OUTPUT).expect("/tmp is writable");
    let mut command = this_program(name);
    command
        .current_dir(FOLDER)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a descriptor is free"))
        .stderr(output);
    let begin = Instant::now();
    let mut child = command.spawn().expect("the test program starts");
    let group = child.id() as i32;
    while begin.elapsed() < Duration::from_secs(LIMIT) && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    kill_group(group);
    let status = child.wait().expect("the test is a child");
    let text = fs::read(OUTPUT).expect("it was made above");
    (status, String::from_utf8_lossy(&text).into_owned())
}

fn kill_group(group: i32) {
    // SAFETY: The call has no memory arguments.
    unsafe {
        libc::kill(-group, libc::SIGKILL);
    }
}

/// Returns this program with the argument to run `part`.
pub fn this_program(part: &str) -> Command {
    let program = env::current_exe().expect("/proc is mounted");
    let mut command = Command::new(program);
    command.args(["--run", part]);
    command
}

/// Waits until `condition` holds, which another process or thread brings about.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the signal that killed a process.
pub fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}
