//! The line that begins a run: on a terminal, and nowhere else.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;

use tch_tensorboard::Logger;

const DIR: &str = "TCH_TENSORBOARD_GREETING_DIR";
const QUIET: &str = "TCH_TENSORBOARD_GREETING_QUIET";

/// Run by the tests below, with a terminal or a pipe as stderr.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let dir = std::env::var(DIR).expect("the parent sets it");
    std::env::set_current_dir(dir).unwrap();
    let quiet = std::env::var_os(QUIET).is_some();
    for _ in 0..2 {
        let logger = Logger::builder("runs/mlp").quiet(quiet).create().unwrap();
        logger.subrun("val").unwrap();
        logger.close().unwrap();
    }
}

fn command(dir: &Path, quiet: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--ignored", "--nocapture"]);
    command.env(DIR, dir).stdout(Stdio::null());
    if quiet {
        command.env(QUIET, "1");
    }
    command
}

/// What the child prints on a terminal.
fn on_a_terminal(dir: &Path, quiet: bool) -> String {
    let (mut leader, mut follower) = (0, 0);
    // SAFETY: both places are valid, and null asks for the defaults; the descriptors are new, so
    // each has one owner from here on.
    let (mut leader, follower) = unsafe {
        let (name, settings, size) = (ptr::null_mut(), ptr::null(), ptr::null());
        let opened = libc::openpty(&mut leader, &mut follower, name, settings, size);
        assert_eq!(opened, 0);
        (File::from_raw_fd(leader), File::from_raw_fd(follower))
    };
    let status = command(dir, quiet).stderr(follower).status().unwrap();
    assert!(status.success());
    let mut printed = Vec::new();
    // Linux ends the reading with an error once nobody holds the other side.
    let _ = leader.read_to_end(&mut printed);
    String::from_utf8(printed).unwrap()
}

#[test]
fn a_terminal_shows_one_line_for_each_run() {
    let dir = tempfile::tempdir().unwrap();
    let printed = on_a_terminal(dir.path(), false);
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            "tch-tensorboard: logging to runs/mlp; to look at it: tensorboard --logdir runs",
            "tch-tensorboard: logging to runs/mlp_2 (runs/mlp holds a run already); to look at it: \
             tensorboard --logdir runs",
        ]
    );
}

#[test]
fn nothing_is_printed_when_asked_for_quiet_or_where_stderr_is_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(on_a_terminal(dir.path(), true), "");
    let done = command(dir.path(), false).stderr(Stdio::piped()).output();
    assert_eq!(String::from_utf8(done.unwrap().stderr).unwrap(), "");
}

/// The only test that changes the directory of this process is the child.
#[test]
fn a_run_without_a_name_has_one_by_time_and_host() {
    const SCRIPT: &str = "TCH_TENSORBOARD_GREETING_DATED";
    let Some(dir) = std::env::var_os(SCRIPT) else {
        let dir = tempfile::tempdir().unwrap();
        let name = "a_run_without_a_name_has_one_by_time_and_host";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([name, "--exact"]).env(SCRIPT, dir.path());
        child.env("TZ", "UTC").stdout(Stdio::null());
        assert!(child.status().unwrap().success());
        let runs = std::fs::read_dir(dir.path().join("runs")).unwrap();
        let names: Vec<String> = runs
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let [name] = &names[..] else {
            panic!("{names:?}");
        };
        // Nov26_10-15-00_host
        let shape: String = name
            .chars()
            .take(15)
            .map(|c| match c {
                '0'..='9' => '0',
                'A'..='Z' => 'A',
                'a'..='z' => 'a',
                other => other,
            })
            .collect();
        assert_eq!(shape, "Aaa00_00-00-00_", "{name}");
        let host = gethostname::gethostname().into_string().unwrap();
        assert!(name.ends_with(&host), "{name}");
        return;
    };
    std::env::set_current_dir(dir).unwrap();
    Logger::new().unwrap().close().unwrap();
}
