//! The ways a run can end: closed, dropped, by a panic, by `exit`, by being killed. What was
//! flushed is in the file, and so is all the rest wherever destructors run.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use common::histograms::read_histograms;
use common::{event_files, read_scalars};
use tch_tensorboard::{Cadence, Logger, WeightOptions};

const DIR: &str = "TCH_TENSORBOARD_SHUTDOWN_DIR";

/// Runs a test of this file in a process of its own, which may end in any way.
fn in_child(test: &str) -> (tempfile::TempDir, ExitStatus, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    (
        dir,
        output.status,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(|dir| Path::new(&dir).join("run"))
}

fn log(logger: &Logger, steps: std::ops::Range<i64>) {
    for step in steps {
        logger.log_scalar("loss", step as f64, step).unwrap();
        logger
            .log_histogram("values", &[step as f64, 1.0], step)
            .unwrap();
        logger
            .log_weights(&[("w", [step as f64, 1.0])], step)
            .unwrap();
    }
}

fn check(run: &Path, steps: i64) {
    let scalars = read_scalars(run);
    let expected: Vec<(i64, f32)> = (0..steps).map(|step| (step, step as f32)).collect();
    assert_eq!(scalars["loss"], expected);
    assert_eq!(scalars["weight_mean/w"].len() as i64, steps);
    assert_eq!(read_histograms(run, "values").len() as i64, steps);
}

#[test]
fn dropping_the_last_clone_writes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let first = Logger::create(dir.path().join("run")).unwrap();
    let run = first.logdir().to_owned();
    let second = first.clone();
    let scope = first.scoped("G").unwrap();
    let val = scope.subrun("val").unwrap();
    log(&first, 0..10);
    drop(first);
    // Clones, scopes and sub-runs keep it open.
    log(&second, 10..20);
    drop(second);
    scope.log_scalar("loss", 1.0, 0).unwrap();
    drop(scope);
    val.log_scalar("loss", 2.0, 0).unwrap();
    drop(val);
    check(&run, 20);
    assert_eq!(read_scalars(&run)["G/loss"], [(0, 1.0)]);
    assert_eq!(read_scalars(run.join("val"))["G/loss"], [(0, 2.0)]);
}

#[test]
fn closing_twice_and_dropping_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    log(&logger, 0..10);
    let clone = logger.clone();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| logger.close().unwrap());
        }
    });
    clone.close().unwrap();
    check(logger.logdir(), 10);
}

/// The cadence left the last call out; the end of the run makes up for it, however it ends.
#[test]
fn the_last_weights_are_written_when_the_run_ends() {
    for closes in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let options = WeightOptions::new()
            .scalars(Cadence::Every(6))
            .histograms(Cadence::Every(6));
        let logger = Logger::builder(dir.path().join("run"))
            .weights(options)
            .create()
            .unwrap();
        let run = logger.logdir().to_owned();
        for step in 0..10 {
            logger
                .log_weights(&[("w", [f64::from(step), 1.0])], step)
                .unwrap();
        }
        if closes {
            logger.close().unwrap();
        }
        drop(logger);
        let steps =
            |points: &[(i64, f32)]| points.iter().map(|(step, _)| *step).collect::<Vec<_>>();
        let scalars = read_scalars(&run);
        assert_eq!(steps(&scalars["weight_mean/w"]), [0, 6, 9]);
        assert_eq!(scalars["weight_delta_mean/w"].last(), Some(&(9, 0.5)));
        assert_eq!(
            read_histograms(&run, "weight_deltas/w").last().unwrap().0,
            9
        );
    }
}

#[test]
fn a_panic_in_the_users_thread_writes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let path = run.clone();
    let training = thread::spawn(move || {
        let logger = Logger::create(path).unwrap();
        log(&logger, 0..10);
        panic!("in training");
    });
    training.join().unwrap_err();
    check(&run, 10);
}

#[test]
fn a_panic_in_main_writes_the_rest() {
    let (dir, status, stderr) = in_child("panic_in_child");
    assert!(!status.success());
    assert!(stderr.contains("in training"), "{stderr}");
    assert!(!stderr.contains("tch-tensorboard:"), "{stderr}");
    check(&dir.path().join("run"), 10);
}

#[test]
#[ignore = "run by a_panic_in_main_writes_the_rest"]
fn panic_in_child() {
    let Some(run) = child_dir() else { return };
    let logger = Logger::create(run).unwrap();
    log(&logger, 0..10);
    panic!("in training");
}

#[test]
fn exit_without_drop_keeps_what_was_flushed() {
    let (dir, status, stderr) = in_child("exit_in_child");
    assert_eq!(status.code(), Some(7), "{stderr}");
    // Whatever came of the rest, the file is whole up to there.
    let scalars = read_scalars(dir.path().join("run"));
    assert!(scalars["loss"].len() >= 10);
}

#[test]
#[ignore = "run by exit_without_drop_keeps_what_was_flushed"]
fn exit_in_child() {
    let Some(run) = child_dir() else { return };
    let logger = Logger::create(run).unwrap();
    log(&logger, 0..10);
    logger.flush().unwrap();
    log(&logger, 10..20);
    std::process::exit(7);
}

#[test]
fn a_killed_process_keeps_what_was_flushed() {
    let (dir, status, stderr) = in_child("abort_in_child");
    assert!(!status.success(), "{stderr}");
    let file = event_files(&dir.path().join("run")).remove(0);
    let events = tch_tensorboard::EventReader::open(file).unwrap();
    // A record that was being written may be cut.
    let whole = events.take_while(Result::is_ok).count();
    assert!(whole > 30, "{whole}");
}

#[test]
#[ignore = "run by a_killed_process_keeps_what_was_flushed"]
fn abort_in_child() {
    let Some(run) = child_dir() else { return };
    let logger = Logger::create(run).unwrap();
    log(&logger, 0..10);
    logger.flush().unwrap();
    log(&logger, 10..20);
    std::process::abort();
}

/// A logger in a static is never dropped: `flush` or `close` is the way.
#[test]
fn a_static_logger_is_closed_by_hand() {
    let (dir, status, stderr) = in_child("static_in_child");
    assert!(status.success(), "{stderr}");
    check(&dir.path().join("run"), 10);
}

#[test]
#[ignore = "run by a_static_logger_is_closed_by_hand"]
fn static_in_child() {
    static LOGGER: std::sync::OnceLock<Logger> = std::sync::OnceLock::new();
    let Some(run) = child_dir() else { return };
    let logger = LOGGER.get_or_init(|| Logger::create(run).unwrap());
    log(logger, 0..10);
    logger.close().unwrap();
}
