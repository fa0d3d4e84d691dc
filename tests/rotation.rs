//! Runs of several files: one follows the other by size, or because somebody deleted or cut the one
//! being written.
#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{event_files, read_scalars, read_values};
use tch_tensorboard::{Error, Logger, LoggerBuilder, SyncPolicy};

const DIR: &str = "TCH_TENSORBOARD_ROTATION_DIR";

type Told = Arc<Mutex<Vec<Error>>>;

fn listening(builder: LoggerBuilder) -> (Logger, Told) {
    let told = Told::default();
    let kept = told.clone();
    let logger = builder
        .on_error(move |error| kept.lock().unwrap().push(error.clone()))
        .create()
        .unwrap();
    (logger, told)
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

fn expected(steps: std::ops::Range<i64>) -> Vec<(i64, f32)> {
    steps.map(|step| (step, step as f32)).collect()
}

/// In each file the first value of every tag says what the tag is: readers may begin with any file.
fn assert_each_file_describes_its_tags(run: &Path) {
    for file in event_files(run) {
        let mut first = BTreeMap::new();
        for (_, value) in read_values(&file) {
            first.entry(value.tag.clone()).or_insert(value);
        }
        for (tag, value) in first {
            assert!(value.metadata.is_some(), "{tag} in {}", file.display());
        }
    }
}

#[test]
fn files_follow_each_other_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Logger::builder(dir.path().join("run"))
        .max_file_bytes(1 << 16)
        .sync(SyncPolicy::OnFlush);
    let (logger, told) = listening(builder);
    log(&logger, 0..1000);
    logger.close().unwrap();
    let files = event_files(logger.logdir());
    assert!(files.len() >= 4, "{files:?}");
    let lengths: Vec<u64> = files
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .collect();
    for length in &lengths[..lengths.len() - 1] {
        assert!((1 << 16..1 << 17).contains(length), "{lengths:?}");
    }
    assert_each_file_describes_its_tags(logger.logdir());
    // Read in the order of their names they are one run.
    let scalars = read_scalars(logger.logdir());
    assert_eq!(scalars["loss"], expected(0..1000));
    let stats = logger.stats();
    assert_eq!(stats.dropped, 0);
    assert_eq!(stats.bytes, lengths.iter().sum::<u64>());
    assert!(told.lock().unwrap().is_empty());
}

/// The number of descriptors is that of the process, so a child uses them up.
#[test]
fn a_next_file_that_cannot_be_made_is_told_once_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "rotate_without_descriptors",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
    let run = dir.path().join("run");
    assert!(event_files(&run).len() > 1);
    assert_eq!(read_scalars(&run)["loss"], expected(0..1200));
}

#[test]
#[ignore = "run by a_next_file_that_cannot_be_made_is_told_once_and_loses_nothing"]
fn rotate_without_descriptors() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let builder = Logger::builder(dir.join("run")).max_file_bytes(1 << 16);
    let (logger, told) = listening(builder);
    log(&logger, 0..10);
    logger.flush().unwrap();
    // SAFETY: plain system calls on a structure that is whole.
    let limit_descriptors = |most: Option<u64>| unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = most.map_or(limit.rlim_max, |most| most as libc::rlim_t);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    };
    limit_descriptors(Some(0));
    log(&logger, 10..600);
    // All of it is in the full file.
    logger.flush().unwrap();
    limit_descriptors(None);
    assert_eq!(event_files(logger.logdir()).len(), 1);
    let text = told.lock().unwrap()[0].to_string();
    assert!(text.contains("Too many open files"), "{text}");
    std::thread::sleep(Duration::from_millis(1100)); // the pause before the next try
    log(&logger, 600..1200);
    logger.close().unwrap();
    assert_eq!(told.lock().unwrap().len(), 1);
    assert_eq!((logger.stats().dropped, logger.stats().steps_back), (0, 0));
}

/// What takes the place of a directory that was moved.
#[derive(Debug, Clone, Copy, PartialEq)]
enum InPlace {
    Nothing,
    AnotherRun,
    EmptyDirectory,
    LinkedDirectory,
}

/// The next files are created in the directory that the run owns, whatever has its name by now.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_moved_stays_together() {
    for in_place in [
        InPlace::Nothing,
        InPlace::AnotherRun,
        InPlace::EmptyDirectory,
        InPlace::LinkedDirectory,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let builder = Logger::builder(dir.path().join("run")).max_file_bytes(1 << 16);
        let (logger, told) = listening(builder);
        log(&logger, 0..10);
        logger.flush().unwrap();
        let moved = dir.path().join("run_old");
        fs::rename(logger.logdir(), &moved).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        let other = match in_place {
            InPlace::Nothing => None,
            InPlace::AnotherRun => {
                let other = Logger::create(logger.logdir()).unwrap();
                assert_eq!(other.logdir(), logger.logdir());
                other.log_scalar("other", 1.0, 0).unwrap();
                Some(other)
            }
            InPlace::EmptyDirectory => {
                fs::create_dir(logger.logdir()).unwrap();
                None
            }
            InPlace::LinkedDirectory => {
                fs::create_dir(&elsewhere).unwrap();
                std::os::unix::fs::symlink(&elsewhere, logger.logdir()).unwrap();
                None
            }
        };
        log(&logger, 10..1000);
        logger.close().unwrap();
        assert!(told.lock().unwrap().is_empty(), "{in_place:?} {told:?}");
        assert!(event_files(&moved).len() > 3, "{in_place:?}");
        assert_eq!(
            read_scalars(&moved)["loss"],
            expected(0..1000),
            "{in_place:?}"
        );
        if let Some(other) = other {
            other.close().unwrap();
            let tags: Vec<String> = read_scalars(other.logdir()).into_keys().collect();
            assert_eq!(tags, ["other"]);
        }
        for place in [logger.logdir(), &elsewhere] {
            let is_free = place.is_dir() && in_place != InPlace::AnotherRun;
            assert!(!is_free || event_files(place).is_empty(), "{in_place:?}");
        }
    }
}

/// The marker is lost too, so that nothing shows where the run's directory is: the full file goes
/// on.
#[test]
fn a_next_file_is_never_created_in_a_foreign_directory() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Logger::builder(dir.path().join("run")).max_file_bytes(1 << 16);
    let (logger, told) = listening(builder);
    log(&logger, 0..10);
    logger.flush().unwrap();
    let moved = dir.path().join("run_old");
    fs::rename(logger.logdir(), &moved).unwrap();
    fs::remove_file(moved.join(".tch-tensorboard-run")).unwrap();
    fs::create_dir(logger.logdir()).unwrap();
    log(&logger, 10..1000);
    logger.close().unwrap();
    let text = told.lock().unwrap()[0].to_string();
    assert!(text.contains("moved or replaced"), "{text}");
    assert_eq!(told.lock().unwrap().len(), 1);
    assert_eq!(event_files(&moved).len(), 1);
    assert_eq!(read_scalars(&moved)["loss"], expected(0..1000));
    assert_eq!(fs::read_dir(logger.logdir()).unwrap().count(), 0);
}

/// As NFS does with a file that another process deletes, and as a program does that moves finished
/// files away.
#[test]
fn a_renamed_file_is_told_once_and_another_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("archive");
    fs::create_dir(&archive).unwrap();
    for (round, target) in [
        "run0/.nfs0000000000000001",
        "archive/events.out.tfevents.1.x",
    ]
    .into_iter()
    .enumerate()
    {
        let run = dir.path().join(format!("run{round}"));
        let (logger, told) = listening(Logger::builder(&run));
        log(&logger, 0..10);
        logger.flush().unwrap();
        let first = event_files(&run).remove(0);
        let target = match round {
            0 => dir.path().join(target),
            _ => archive.join(first.file_name().unwrap()),
        };
        fs::rename(&first, &target).unwrap();
        log(&logger, 10..20);
        let text = logger.flush().unwrap_err().to_string();
        for word in ["renamed", "goes on in"] {
            assert!(text.contains(word), "{text}");
        }
        let next = event_files(&run).pop().unwrap();
        assert!(next > first, "a reader may have begun with that name");
        log(&logger, 20..300);
        logger.flush().unwrap();
        logger.close().unwrap_err();
        assert_eq!(told.lock().unwrap().len(), 1);
        assert_eq!(read_scalars(&run)["loss"], expected(10..300));
        assert_each_file_describes_its_tags(&run);
        assert_eq!(logger.stats().dropped, 0);
        // It is whole, and was not written again.
        let left = fs::metadata(&target).unwrap().len();
        assert_eq!(
            read_scalars(&target)["loss"],
            expected(0..10),
            "{left} bytes"
        );
    }
}

/// One that moves every file away does not get a new one at each write.
#[test]
fn files_that_vanish_all_the_time_are_replaced_once_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let builder = Logger::builder(&run).flush_interval(Duration::from_millis(1));
    let (logger, told) = listening(builder);
    let until = Instant::now() + Duration::from_millis(1500);
    let mut steps = 0;
    while Instant::now() < until {
        for file in event_files(&run) {
            let _ = fs::remove_file(file);
        }
        log(&logger, steps..steps + 1);
        steps += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!((1..=3).contains(&told.lock().unwrap().len()), "{told:?}");
    logger.flush().unwrap_err();
    logger.close().unwrap_err();
    assert_eq!(logger.stats().dropped, 0);
    let kept = &read_scalars(&run)["loss"];
    assert_eq!(kept.last(), Some(&(steps - 1, (steps - 1) as f32)));
}

/// A fault is an error for each handle that has not returned it, and for the end of the run.
#[test]
fn a_loss_is_returned_to_each_handle_once() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = listening(Logger::builder(dir.path().join("run")));
    let other = logger.clone();
    log(&logger, 0..10);
    logger.flush().unwrap();
    fs::remove_file(event_files(logger.logdir()).remove(0)).unwrap();
    log(&logger, 10..20);
    logger.flush().unwrap_err();
    logger.flush().unwrap();
    // One that was made later has nothing to answer for.
    logger.clone().flush().unwrap();
    other.flush().unwrap_err();
    other.flush().unwrap();
    assert_eq!(told.lock().unwrap().len(), 1);
    logger.close().unwrap_err();
    other.close().unwrap_err();
}

#[test]
fn a_deleted_file_is_told_once_and_another_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = listening(Logger::builder(dir.path().join("run")));
    log(&logger, 0..10);
    logger.flush().unwrap();
    let first = event_files(logger.logdir()).remove(0);
    fs::remove_file(&first).unwrap();
    log(&logger, 10..20);
    let error = logger.flush().unwrap_err();
    let text = error.to_string();
    assert_eq!(error.path(), Some(&*first));
    let second = event_files(logger.logdir()).remove(0);
    for word in ["deleted", "goes on in", &second.display().to_string()] {
        assert!(text.contains(word), "{text}");
    }
    assert!(second > first, "it sorts behind the one before");
    log(&logger, 20..30);
    logger.close().unwrap_err();
    assert_eq!(told.lock().unwrap().len(), 1);
    // What had settled in the deleted file went with it; all the rest is there, described anew.
    assert_eq!(read_scalars(logger.logdir())["loss"], expected(10..30));
    assert_each_file_describes_its_tags(logger.logdir());
    let layouts = read_values(logger.logdir());
    assert!(
        layouts
            .iter()
            .any(|(_, value)| value.tag == "custom_scalars__config__")
    );
    let stats = logger.stats();
    assert_eq!(stats.dropped, 0, "{stats:?}");
}

#[test]
fn a_file_that_was_cut_short_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = listening(Logger::builder(dir.path().join("run")));
    log(&logger, 0..10);
    logger.flush().unwrap();
    let first = event_files(logger.logdir()).remove(0);
    // As someone does who needs space: `> file`.
    OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(&first)
        .unwrap();
    log(&logger, 10..20);
    let text = logger.flush().unwrap_err().to_string();
    assert!(text.contains("cut short"), "{text}");
    logger.close().unwrap_err();
    assert_eq!(fs::metadata(&first).unwrap().len(), 0);
    assert_eq!(told.lock().unwrap().len(), 1);
    assert_eq!(read_scalars(logger.logdir())["loss"], expected(10..20));
    assert_eq!(logger.stats().dropped, 0);
}

/// The names that a clock in the future has left behind do not come after the new ones.
#[test]
fn a_clock_that_was_set_back_leaves_the_order_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let first = Logger::create(&run).unwrap();
    first.log_scalar("loss", 0.0, 0).unwrap();
    first.close().unwrap();
    let file = event_files(&run).remove(0);
    let future = run.join("events.out.tfevents.4000000000.host.1.0000");
    fs::rename(&file, &future).unwrap();
    let builder = Logger::builder(&run).resume().max_file_bytes(1 << 16);
    let (second, _) = listening(builder);
    log(&second, 1..1000);
    second.close().unwrap();
    let files = event_files(&run);
    assert_eq!(files[0], future);
    assert!(files.len() > 3, "{files:?}");
    let mut made: Vec<_> = files
        .iter()
        .map(|file| fs::metadata(file).unwrap().modified().unwrap())
        .collect();
    assert!(made.is_sorted(), "{made:?}");
    made.dedup();
    assert_eq!(read_scalars(&run)["loss"], expected(0..1000));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || Logger::builder(dir.path().join("run"));
    for (builder, option) in [
        (builder().max_file_bytes(10), "max_file_bytes"),
        (builder().flush_interval(Duration::ZERO), "flush_interval"),
        (builder().flush_interval(Duration::MAX), "flush_interval"),
    ] {
        let error = builder.create().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidOption { option: named, .. } if *named == option),
            "{error}"
        );
    }
    assert!(!dir.path().join("run").exists());
}

#[test]
fn a_long_flush_interval_writes_when_asked_and_when_much_waits() {
    let dir = tempfile::tempdir().unwrap();
    let builder = Logger::builder(dir.path().join("run"))
        .flush_interval(Duration::from_secs(3600))
        .sync(SyncPolicy::EveryWrite);
    let (logger, _) = listening(builder);
    logger.log_scalar("loss", 0.0, 0).unwrap();
    logger.log_histogram("values", &[1.0], 0).unwrap();
    // The worker has taken it all: it answers in order.
    logger.weight_report().unwrap();
    assert_eq!(read_values(logger.logdir()).len(), 0);
    logger.flush().unwrap();
    assert_eq!(read_values(logger.logdir()).len(), 2);
    for step in 1..2000 {
        let values: Vec<f64> = (0..200).map(|n| f64::from(n * step)).collect();
        logger.log_histogram("values", &values, step).unwrap();
    }
    logger.weight_report().unwrap();
    assert!(read_values(logger.logdir()).len() > 500);
    logger.close().unwrap();
    assert_eq!(read_values(logger.logdir()).len(), 2001);
}
