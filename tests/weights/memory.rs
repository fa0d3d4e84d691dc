//! Models for whose copies there is hardly any memory, each in a process of its own that limits
//! itself.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tch_tensorboard::{Cadence, Logger, OnFull, WeightOptions};

use crate::common::read_scalars;
use crate::traps::reported;

const DIR: &str = "TCH_TENSORBOARD_MEMORY_DIR";

/// Elements of the model: 128 MB.
const ELEMENTS: usize = 32 << 20;
const BYTES: u64 = 4 * ELEMENTS as u64;

/// Runs a test of this file in a process of its own; what it printed.
fn in_child(test: &str, dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{stderr}");
    printed
}

/// Bytes of this process: addresses in use, and memory. See proc(5).
fn memory() -> (u64, u64) {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: Vec<u64> = statm
        .split(' ')
        .map(|size| size.trim().parse().unwrap())
        .collect();
    (pages[0] * 4096, pages[1] * 4096)
}

fn limit_addresses(bytes: u64) {
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a plain system call on numbers of our own.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(done, 0);
}

fn logger(dir: &Path, report: impl Fn(&tch_tensorboard::Error) + Send + Sync + 'static) -> Logger {
    let options = WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::Every(0));
    let logger = Logger::builder(dir.join("run"))
        .weights(options)
        .on_full(OnFull::Block)
        .on_error(report)
        .create()
        .unwrap();
    // The writer thread has all its own memory.
    logger
        .log_weights(&("small", vec![1.0_f32; 1 << 21]), 0)
        .unwrap();
    logger.flush().unwrap();
    logger
}

#[test]
fn calls_wait_for_the_copies_that_there_is_memory_for() {
    for (copies, test) in [
        (1, "memory::with_memory_for_one_copy"),
        (2, "memory::with_memory_for_two_copies"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let printed = in_child(test, dir.path());
        assert!(printed.contains("queued 5, dropped 0"), "{printed}");
        let reports: Vec<&str> = printed
            .lines()
            .filter(|line| line.starts_with("reported: "))
            .collect();
        let [report] = reports.as_slice() else {
            panic!("{printed}");
        };
        assert!(report.contains(&format!("{BYTES} bytes")), "{report}");
        assert!(
            report.contains(&format!("of which {copies} exist")),
            "{report}"
        );
        let scalars = read_scalars(dir.path().join("run"));
        assert_eq!(scalars["weight_mean/large/w"].len(), 4);
        let deltas = scalars.get("weight_delta_mean/large/w");
        assert_eq!(deltas.map_or(0, Vec::len), if copies > 1 { 3 } else { 0 });
    }
}

#[test]
#[ignore = "run by calls_wait_for_the_copies_that_there_is_memory_for"]
fn with_memory_for_one_copy() {
    log_with_memory_for(1);
}

#[test]
#[ignore = "run by calls_wait_for_the_copies_that_there_is_memory_for"]
fn with_memory_for_two_copies() {
    log_with_memory_for(2);
}

fn log_with_memory_for(copies: u64) {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let (errors, report) = reported();
    let logger = logger(Path::new(&dir), report);
    let large = logger.scoped("large").unwrap();
    let mut w = vec![0.5_f32; ELEMENTS];
    let (addresses, _) = memory();
    limit_addresses(addresses + copies * BYTES + BYTES / 2);
    for step in 1..5_i64 {
        w.iter_mut().for_each(|element| *element += 0.125);
        large.log_weights(&("w", &w), step).unwrap();
    }
    logger.close().unwrap();
    let stats = logger.stats();
    println!("queued {}, dropped {}", stats.queued, stats.dropped);
    for error in errors.lock().unwrap().iter() {
        println!("reported: {error}");
    }
}

#[test]
fn a_closed_logger_gives_memory_back() {
    let dir = tempfile::tempdir().unwrap();
    in_child("memory::close_with_a_clone_alive", dir.path());
}

#[test]
#[ignore = "run by a_closed_logger_gives_memory_back"]
fn close_with_a_clone_alive() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let logger = logger(Path::new(&dir), |_| {});
    let mut w = vec![0.5_f32; ELEMENTS];
    let (_, before) = memory();
    for step in 1..5_i64 {
        w.iter_mut().for_each(|element| *element += 0.125);
        logger
            .scoped("large")
            .unwrap()
            .log_weights(&("w", &w), step)
            .unwrap();
    }
    logger.flush().unwrap();
    let (_, open) = memory();
    assert!(open > before + BYTES, "{open} {before}");
    logger.clone().close().unwrap();
    let (_, closed) = memory();
    assert!(closed < before + BYTES / 4, "{closed} {before}");
    drop(logger);
}
