//! Disks that are full, and files that go away: training goes on, the user is told once, nothing
//! that was accepted is lost as long as it fits into memory, and what is lost is counted.
//!
//! A full disk is a limit on the size of files, set in a process of its own: writing beyond it
//! fails like `ENOSPC` does, after as many bytes as fit.
#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{event_files, read_scalars, read_values};
use tch_tensorboard::proto::event::What;
use tch_tensorboard::{Error, EventReader, Logger};

const DIR: &str = "TCH_TENSORBOARD_FAULT_DIR";

/// Runs a test of this file in a process of its own, and gives its directory back for a look from
/// outside.
fn in_child(test: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(
        text(&output.stdout).contains("1 passed"),
        "{test} was not run"
    );
    dir
}

/// The directory that a child works in; `None` when the test was started by hand.
fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Lets files of this process grow to this many bytes and no further; `None` as far as they may.
fn limit_files(bytes: Option<u64>) {
    // SAFETY: plain system calls on a structure that is whole.
    unsafe {
        // Elsewhere the signal has to be switched off.
        #[cfg(not(target_os = "linux"))]
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit), 0);
        limit.rlim_cur = bytes.map_or(limit.rlim_max, |bytes| bytes as libc::rlim_t);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

type Told = Arc<Mutex<Vec<Error>>>;

fn logger(dir: &Path) -> (Logger, Told) {
    let told = Told::default();
    let kept = told.clone();
    let logger = Logger::builder(dir.join("run"))
        .on_error(move |error| kept.lock().unwrap().push(error.clone()))
        .create()
        .unwrap();
    (logger, told)
}

/// Whole events, and whether the file ends in half of one.
fn readable(file: &Path) -> (usize, bool) {
    let (mut whole, mut torn) = (0, false);
    for event in EventReader::open(file).unwrap() {
        match event {
            Ok(_) => whole += 1,
            Err(error) => {
                assert!(error.is_truncated(), "{error}");
                torn = true;
            }
        }
    }
    (whole, torn)
}

#[test]
fn a_full_disk_ends_no_training_and_loses_nothing() {
    let dir = in_child("train_on_a_full_disk");
    let scalars = read_scalars(dir.path().join("run"));
    let expected = |from: i64, to: i64| {
        (from..to)
            .map(|step| (step, step as f32))
            .collect::<Vec<_>>()
    };
    // Each record once, in its place, through two outages.
    assert_eq!(scalars["loss"], expected(0, 4000));
    assert_eq!(scalars["lr"], expected(0, 4000));
    assert_eq!(scalars["after"], expected(0, 10));
}

fn train(logger: &Logger, steps: std::ops::Range<i64>) -> tch_tensorboard::Result<()> {
    for step in steps {
        logger.log_scalars(&[("loss", step as f64), ("lr", step as f64)], step)?;
        if step % 100 == 0 {
            logger.log_histogram("weights", &[step as f64, 1.0, 2.0], step)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "run by a_full_disk_ends_no_training_and_loses_nothing"]
fn train_on_a_full_disk() {
    let Some(dir) = child_dir() else { return };
    let (logger, told) = logger(&dir);
    let file = event_files(logger.logdir()).remove(0);
    train(&logger, 0..500).unwrap();
    logger.flush().unwrap();
    let (flushed, torn) = readable(&file);
    assert!(flushed >= 500 && !torn);
    for (outage, steps) in [(1, 500..2000), (2, 2000..4000)] {
        limit_files(Some(fs::metadata(&file).unwrap().len() + 5000));
        train(&logger, steps).unwrap();
        // Each flush tries again, and tells.
        for _ in 0..3 {
            let error = logger.flush().unwrap_err();
            assert!(error.is_io(), "{error}");
            assert_eq!(error.path(), Some(&*file));
            let text = error.to_string();
            assert!(
                text.contains("cannot write") && text.contains(&file.display().to_string()),
                "{text}"
            );
        }
        assert_eq!(told.lock().unwrap().len(), outage, "told once an outage");
        assert!(readable(&file).0 >= flushed);
        let stats = logger.stats();
        assert!(stats.errors >= 3 && stats.dropped == 0, "{stats:?}");
        assert_eq!(stats.bytes, fs::metadata(&file).unwrap().len());
        limit_files(None);
        // The next flush writes the rest, and what is over is no error.
        logger.flush().unwrap();
        assert!(!readable(&file).1);
    }
    for step in 0..10_i64 {
        logger.log_scalar("after", step as f64, step).unwrap();
    }
    logger.close().unwrap();
    assert_eq!(told.lock().unwrap().len(), 2);
    let stats = logger.stats();
    assert_eq!((stats.dropped, stats.queued), (0, 4000 + 40 + 10));
    assert_eq!(stats.written, stats.queued);
    assert_eq!(stats.bytes, fs::metadata(&file).unwrap().len());
}

#[test]
fn a_run_that_ends_on_a_full_disk_keeps_what_was_flushed() {
    let dir = in_child("close_on_a_full_disk");
    let file = event_files(&dir.path().join("run")).remove(0);
    let (whole, _) = readable(&file);
    // The first event and the 100 that were flushed, and as many more as fitted.
    assert!((101..600).contains(&whole), "{whole}");
}

#[test]
#[ignore = "run by a_run_that_ends_on_a_full_disk_keeps_what_was_flushed"]
fn close_on_a_full_disk() {
    let Some(dir) = child_dir() else { return };
    let (logger, told) = logger(&dir);
    let log = |steps: std::ops::Range<i64>| {
        steps.for_each(|step| logger.log_scalar("loss", 1.0, step).unwrap());
    };
    log(0..100);
    logger.flush().unwrap();
    let file = event_files(logger.logdir()).remove(0);
    limit_files(Some(fs::metadata(&file).unwrap().len() + 1000));
    log(100..1000);
    let error = logger.close().unwrap_err();
    assert_eq!(error.path(), Some(&*file));
    let stats = logger.stats();
    let told = told.lock().unwrap();
    assert!(matches!(told[0], Error::Io { .. }), "{told:?}");
    assert!(matches!(told[1], Error::Dropped { events, .. } if events == stats.dropped));
    assert_eq!(told.len(), 2);
    // What did not reach the file is lost with the end of the run, and counted.
    assert_eq!(stats.written + stats.dropped, 1000, "{stats:?}");
    assert!(stats.dropped > 0 && stats.written > 100, "{stats:?}");
    assert_eq!(readable(&file), (stats.written as usize + 1, true));
}

const LONG: usize = 100_000;
const MANY: usize = 1000;

/// The name of one of many scalars that are so long that 64 MB do not hold them all.
fn long_tag(index: usize) -> String {
    format!("{index}{}", "x".repeat(LONG))
}

#[test]
fn what_does_not_fit_into_memory_is_dropped_counted_and_told() {
    let dir = in_child("overflow_while_the_disk_is_full");
    let tags: BTreeMap<String, usize> = read_values(dir.path().join("run")).into_iter().fold(
        BTreeMap::new(),
        |mut tags, (_, value)| {
            *tags.entry(value.tag).or_default() += 1;
            tags
        },
    );
    // Exactly once each, the earliest ones, without a gap.
    let kept = tags.keys().filter(|tag| tag.len() >= LONG).count();
    assert!((500..MANY).contains(&kept), "{kept}");
    for index in 0..kept {
        assert_eq!(tags[&long_tag(index)], 1, "{index}");
    }
    // A histogram without metadata stays unseen: the tag is described by its first value that was
    // kept.
    let values = read_values(dir.path().join("run"));
    let (_, first) = values
        .iter()
        .find(|(_, value)| value.tag == "histogram")
        .unwrap();
    let plugin = first
        .metadata
        .as_ref()
        .unwrap()
        .plugin_data
        .as_ref()
        .unwrap();
    assert_eq!(plugin.plugin_name, "histograms");
}

#[test]
#[ignore = "run by what_does_not_fit_into_memory_is_dropped_counted_and_told"]
fn overflow_while_the_disk_is_full() {
    let Some(dir) = child_dir() else { return };
    let (logger, told) = logger(&dir);
    let file = event_files(logger.logdir()).remove(0);
    limit_files(Some(fs::metadata(&file).unwrap().len() + 10));
    for index in 0..MANY {
        logger.log_scalar(&long_tag(index), 1.0, index).unwrap();
    }
    // Refused, with the metadata that its first value carries.
    let _ = logger.flush();
    logger
        .log_histogram("histogram", &vec![1.0; 5000], 0)
        .unwrap();
    for step in 0..100 {
        logger.log_scalar(&long_tag(0), 1.0, MANY + step).unwrap();
    }
    logger.flush().unwrap_err();
    let stats = logger.stats();
    assert!(stats.dropped > 100, "{stats:?}");
    let during = told.lock().unwrap().clone();
    limit_files(None);
    let lost = logger.flush().unwrap_err();
    assert!(matches!(lost, Error::Dropped { .. }), "{lost}");
    logger.log_histogram("histogram", &[1.0], 1).unwrap();
    let dropped = logger.stats().dropped;
    logger.flush().unwrap();
    let first = logger.close().unwrap_err();
    assert!(matches!(first, Error::Dropped { .. }), "{first}");
    // Once for the disk, then for what was lost, at the first event and when there were ten times
    // as many.
    let told = told.lock().unwrap();
    assert!(matches!(told[0], Error::Io { .. }), "{told:?}");
    assert!((3..=6).contains(&told.len()), "{told:?}");
    let reported = told[1..].iter().map(|error| match error {
        Error::Dropped {
            path,
            events,
            cause,
        } => {
            assert_eq!(path, &file);
            assert_eq!(
                cause.is_some(),
                error.to_string().contains("too large"),
                "{error}"
            );
            *events
        }
        other => panic!("{other}"),
    });
    assert_eq!(reported.sum::<u64>(), dropped);
    assert!(
        during
            .iter()
            .any(|error| matches!(error, Error::Dropped { .. })),
        "{during:?}"
    );
    let stats = logger.stats();
    assert_eq!(stats.written + stats.dropped, stats.queued, "{stats:?}");
    let whole = EventReader::open(&file)
        .unwrap()
        .map(|event| event.unwrap());
    let summaries = whole
        .filter(|event| matches!(event.what, Some(What::Summary(_))))
        .count();
    assert_eq!(summaries as u64, stats.written);
}

#[test]
fn a_logger_that_cannot_begin_takes_no_directory() {
    let dir = in_child("create_on_a_full_disk");
    let names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["run"]);
}

#[test]
#[ignore = "run by a_logger_that_cannot_begin_takes_no_directory"]
fn create_on_a_full_disk() {
    let Some(dir) = child_dir() else { return };
    limit_files(Some(10));
    for _ in 0..3 {
        let error = Logger::create(dir.join("run")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("cannot write") && text.contains("tfevents"),
            "{text}"
        );
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }
    limit_files(None);
    let logger = Logger::create(dir.join("run")).unwrap();
    assert_eq!(logger.logdir(), dir.join("run"));
    // The same below a run, and for directories above the run.
    limit_files(Some(10));
    let held = fs::read_dir(logger.logdir()).unwrap().count();
    logger.subrun("val").unwrap_err();
    logger.subrun("deep/er").unwrap_err();
    assert_eq!(fs::read_dir(logger.logdir()).unwrap().count(), held);
    Logger::create(dir.join("a/b/c")).unwrap_err();
    Logger::builder(dir.join("a/b/c"))
        .resume()
        .create()
        .unwrap_err();
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    limit_files(None);
    assert_eq!(logger.subrun("val").unwrap().logdir(), dir.join("run/val"));
    logger.close().unwrap();
}

/// The system takes what is written to a file without a name, and no error says so.
#[test]
fn a_run_that_is_deleted_while_it_is_written_is_told_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = logger(dir.path());
    let file = event_files(logger.logdir()).remove(0);
    logger.log_scalar("loss", 1.0, 0).unwrap();
    logger.flush().unwrap();
    fs::remove_dir_all(logger.logdir()).unwrap();
    for step in 1..4 {
        logger.log_scalar("loss", 1.0, step).unwrap();
        let flushed = logger.flush();
        // Each answers for what was logged before it.
        let text = flushed.unwrap_err().to_string();
        for word in ["deleted", "lost", &file.display().to_string()] {
            assert!(text.contains(word), "{text}");
        }
    }
    assert_eq!(told.lock().unwrap().len(), 1);
    let stats = logger.stats();
    assert_eq!((stats.written, stats.dropped), (1, 3), "{stats:?}");
    // The directory is not made again: another run may have begun there.
    assert!(!logger.logdir().exists());
    logger.close().unwrap_err();
    // A sub-run needs it.
    let next = Logger::create(logger.logdir()).unwrap();
    assert_eq!(next.logdir(), logger.logdir());
    next.close().unwrap();
}

/// A run that is moved keeps being written: its file has another name, not none.
#[test]
fn a_run_that_is_moved_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = logger(dir.path());
    logger.log_scalar("loss", 1.0, 0).unwrap();
    logger.flush().unwrap();
    let moved = dir.path().join("moved");
    fs::rename(logger.logdir(), &moved).unwrap();
    logger.log_scalar("loss", 2.0, 1).unwrap();
    logger.close().unwrap();
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(read_scalars(&moved)["loss"], [(0, 1.0), (1, 2.0)]);
}

/// A file system of its own with 4 MB, which fills up and then gets space again.
#[test]
fn a_small_file_system_that_fills_up() {
    let dir = tempfile::tempdir().unwrap();
    let place = CString::new(dir.path().to_str().unwrap()).unwrap();
    // SAFETY: all strings end in zero and outlive the call.
    let mounted = unsafe {
        let options = c"size=4m".as_ptr().cast();
        libc::mount(
            c"none".as_ptr(),
            place.as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            options,
        )
    };
    if mounted != 0 {
        println!("skipped: mounting a file system is not allowed here");
        return;
    }
    let result = std::panic::catch_unwind(|| fill_up(dir.path()));
    // SAFETY: as above.
    assert_eq!(
        // SAFETY: the path is a string that ends in zero and lives until the call returns.
        unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) },
        0
    );
    result.unwrap();
}

fn fill_up(dir: &Path) {
    let logger = Logger::builder(dir.join("run"))
        .on_error(|_| {})
        .create()
        .unwrap();
    let log = |steps: std::ops::Range<i64>| {
        for step in steps {
            let values: Vec<f64> = (0..200).map(f64::from).collect();
            logger.log_scalar("loss", step as f64, step).unwrap();
            logger.log_histogram("values", &values, step).unwrap();
        }
    };
    log(0..100);
    logger.flush().unwrap();
    let ballast = dir.join("ballast");
    // All that is left, to the last byte.
    let _ = std::io::copy(
        &mut std::io::repeat(1),
        &mut fs::File::create(&ballast).unwrap(),
    );
    log(100..1000);
    let error = logger.flush().unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    fs::remove_file(&ballast).unwrap();
    logger.flush().unwrap();
    log(1000..1100);
    logger.close().unwrap();
    let expected: Vec<(i64, f32)> = (0..1100).map(|step| (step, step as f32)).collect();
    assert_eq!(read_scalars(dir.join("run"))["loss"], expected);
    assert_eq!((logger.stats().written, logger.stats().dropped), (2200, 0));
}

/// A quota that is reached and raised: btrfs on a loop device, since it needs no quota files.
#[cfg(target_os = "linux")]
#[test]
fn a_quota_that_is_reached_and_raised() {
    let dir = tempfile::tempdir().unwrap();
    let (image, place) = (dir.path().join("image"), dir.path().join("place"));
    fs::create_dir(&place).unwrap();
    let file = fs::File::create(&image).unwrap();
    file.set_len(256 << 20).unwrap();
    let does = |command: &str| {
        let output = Command::new("sh").args(["-c", command]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let (image, at) = (image.display(), place.display());
    if !does(&format!(
        "mkfs.btrfs -q {image} && mount -o loop {image} {at}"
    )) {
        println!("skipped: no btrfs here, or mounting a file system is not allowed");
        return;
    }
    let limited = format!(
        "btrfs quota enable {at} && btrfs subvolume create {at}/runs && \
         btrfs qgroup limit 4M {at}/runs"
    );
    let raised = format!("btrfs qgroup limit none {at}/runs");
    let is_limited = does(&limited);
    let result = std::panic::catch_unwind(|| {
        assert!(is_limited);
        reach_the_quota(&place.join("runs"), || assert!(does(&raised)));
    });
    assert!(does(&format!("umount {at}")));
    result.unwrap();
}

#[cfg(target_os = "linux")]
fn reach_the_quota(dir: &Path, raise: impl FnOnce()) {
    let (logger, told) = logger(dir);
    let tag = "x".repeat(1 << 16);
    for step in 0..100_i64 {
        logger.log_scalar(&tag, step as f64, step).unwrap();
    }
    let error = logger.flush().unwrap_err().to_string();
    assert!(error.contains("quota exceeded"), "{error}");
    raise();
    logger.flush().unwrap();
    logger.close().unwrap();
    let expected: Vec<(i64, f32)> = (0..100).map(|step| (step, step as f32)).collect();
    assert_eq!(read_scalars(logger.logdir())[&tag], expected);
    assert_eq!((told.lock().unwrap().len(), logger.stats().dropped), (1, 0));
}

/// Root may write everywhere, so the child gives that up.
#[test]
fn a_directory_that_becomes_read_only_keeps_the_run_going() {
    let dir = in_child("rotate_in_a_read_only_directory");
    let run = dir.path().join("run");
    assert_eq!(read_scalars(&run)["loss"].len(), 3000);
    assert_eq!(event_files(&run).len(), 1);
}

#[test]
#[ignore = "run by a_directory_that_becomes_read_only_keeps_the_run_going"]
fn rotate_in_a_read_only_directory() {
    use std::os::unix::fs::PermissionsExt;
    let Some(dir) = child_dir() else { return };
    let told = Told::default();
    let kept = told.clone();
    let logger = Logger::builder(dir.join("run"))
        .max_file_bytes(1 << 16)
        .on_error(move |error| kept.lock().unwrap().push(error.clone()))
        .create()
        .unwrap();
    let read_only = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    read_only(logger.logdir(), 0o555);
    read_only(&dir, 0o555);
    // SAFETY: a plain system call; for another user than root it fails, and need not work.
    unsafe { libc::setuid(65534) };
    for step in 0..3000_i64 {
        logger.log_scalar("loss", 1.0, step).unwrap();
        logger.log_histogram("values", &[1.0, 2.0], step).unwrap();
    }
    // Nothing is lost by it.
    logger.close().unwrap();
    let text = told.lock().unwrap()[0].to_string();
    assert!(
        text.contains("cannot create") && text.contains("tfevents"),
        "{text}"
    );
    assert_eq!(told.lock().unwrap().len(), 1);
    let stats = logger.stats();
    assert_eq!((stats.written, stats.dropped), (6000, 0), "{stats:?}");
    // A new one says so at once.
    let error = Logger::create(dir.join("other")).unwrap_err();
    assert!(error.is_io() && error.path().is_some(), "{error}");
}

/// More memory than there is, and more than 10 000 tags.
#[test]
fn requests_without_measure_are_refused_or_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = logger(dir.path());
    for tag in 0..10_000 {
        logger.log_scalar(&format!("group/{tag}"), 1.0, 0).unwrap();
        logger
            .log_histogram(&format!("values/{tag}"), &[1.0], 0)
            .unwrap();
    }
    logger.flush().unwrap();
    assert_eq!(logger.stats().written, 20_000);
    assert_eq!(read_values(logger.logdir()).len(), 20_000);
    // 400 MB of names at once: they reach the file, or wait in bounded memory.
    let tag = "x".repeat(1 << 20);
    for step in 0..400_i64 {
        logger.log_scalar(&tag, 1.0, step).unwrap();
    }
    logger.close().unwrap();
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(logger.stats().written, 20_400);
}

#[test]
fn a_disk_that_is_free_again_while_closing_loses_nothing() {
    let dir = in_child("close_while_space_returns");
    let scalars = read_scalars(dir.path().join("run"));
    assert_eq!(scalars["loss"].len(), 1000);
}

#[test]
#[ignore = "run by a_disk_that_is_free_again_while_closing_loses_nothing"]
fn close_while_space_returns() {
    let Some(dir) = child_dir() else { return };
    let (logger, told) = logger(&dir);
    let file = event_files(logger.logdir()).remove(0);
    limit_files(Some(fs::metadata(&file).unwrap().len() + 100));
    for step in 0..1000_i64 {
        logger.log_scalar("loss", 1.0, step).unwrap();
    }
    let freed = thread::spawn(|| {
        thread::sleep(Duration::from_millis(500));
        limit_files(None);
    });
    logger.close().unwrap();
    freed.join().unwrap();
    let stats = logger.stats();
    assert_eq!((stats.written, stats.dropped), (1000, 0), "{stats:?}");
    assert_eq!(told.lock().unwrap().len(), 1);
    // With the first event and the end of the session.
    assert_eq!(readable(&file), (1002, false));
}

/// A limit on the size of files raises `SIGXFSZ`, which ends the process unless somebody prevents
/// it.
#[cfg(target_os = "linux")]
#[test]
fn a_file_size_limit_ends_no_training() {
    let dir = in_child("train_under_a_file_size_limit");
    let file = event_files(&dir.path().join("run")).remove(0);
    assert!(fs::metadata(&file).unwrap().len() <= 30_000);
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by a_file_size_limit_ends_no_training"]
fn train_under_a_file_size_limit() {
    let Some(dir) = child_dir() else { return };
    limit_files(Some(10));
    // On the thread of the caller.
    Logger::create(dir.join("run")).unwrap_err();
    limit_files(Some(30_000));
    let (logger, told) = logger(&dir);
    let steps = 2000;
    for step in 0..steps {
        logger.log_scalar("loss", 1.0, step).unwrap();
    }
    let error = logger.flush().unwrap_err().to_string();
    assert!(error.contains("File too large"), "{error}");
    logger.close().unwrap_err();
    let stats = logger.stats();
    assert_eq!(stats.written + stats.dropped, steps as u64);
    assert!(told.lock().unwrap().len() >= 2);
    // No signal waits for anybody, and none is blocked.
    // SAFETY: sets that the calls fill.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigpending(&mut set);
        assert_eq!(libc::sigismember(&set, libc::SIGXFSZ), 0);
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut set);
        assert_eq!(libc::sigismember(&set, libc::SIGXFSZ), 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_application_keeps_its_handler_for_file_size_limits() {
    in_child("handle_a_file_size_limit");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "run by an_application_keeps_its_handler_for_file_size_limits"]
fn handle_a_file_size_limit() {
    static CAUGHT: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn catch(_: libc::c_int) {
        CAUGHT.fetch_add(1, Ordering::SeqCst);
    }
    let Some(dir) = child_dir() else { return };
    // SAFETY: the handler does no more than add to an atomic.
    unsafe { libc::signal(libc::SIGXFSZ, catch as *const () as libc::sighandler_t) };
    let (logger, _) = logger(&dir);
    limit_files(Some(2000));
    for step in 0..1000_i64 {
        logger.log_scalar("loss", 1.0, step).unwrap();
    }
    logger.flush().unwrap_err();
    Logger::create(dir.join("other")).unwrap().close().unwrap();
    assert_eq!(
        CAUGHT.load(Ordering::SeqCst),
        0,
        "not for the files of the logger"
    );
    let own = fs::write(dir.join("own"), vec![0; 4000]).unwrap_err();
    assert_eq!(own.raw_os_error(), Some(libc::EFBIG));
    assert_eq!(CAUGHT.load(Ordering::SeqCst), 1);
    logger.close().unwrap_err();
}

#[test]
fn many_sub_runs_need_few_descriptors() {
    let dir = in_child("log_to_many_sub_runs");
    for number in 0..200 {
        let val = dir.path().join(format!("run/val{number}"));
        assert_eq!(read_scalars(val)["loss"], [(0, 1.0)]);
    }
}

#[test]
#[ignore = "run by many_sub_runs_need_few_descriptors"]
fn log_to_many_sub_runs() {
    let Some(dir) = child_dir() else { return };
    // SAFETY: plain system calls on a structure that is whole.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = 256;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    let (logger, told) = logger(&dir);
    for number in 0..200 {
        let val = logger.subrun(&format!("val{number}")).unwrap();
        val.log_scalar("loss", 1.0, 0).unwrap();
        // Locked by its event file: nobody else goes on with it meanwhile.
        let again = Logger::builder(val.logdir()).resume().create();
        #[cfg(target_os = "linux")]
        assert!(matches!(again, Err(Error::RunInUse { .. })));
        drop(again);
    }
    logger.close().unwrap();
    assert!(told.lock().unwrap().is_empty());
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod no_link_count {
    //! Some network and user-space file systems give a link count of 0 for every file. The standard
    //! library asks by `statx`, which this program stands in for.

    use std::ffi::{c_char, c_int, c_uint};
    use std::sync::atomic::AtomicBool;

    use super::*;

    static HIDES_LINKS: AtomicBool = AtomicBool::new(false);

    /// In place of the one of the C library.
    ///
    /// # Safety
    /// That of the function it stands in for: `found` points to a place for the answer.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn statx(
        dir: c_int,
        path: *const c_char,
        flags: c_int,
        mask: c_uint,
        found: *mut libc::statx,
    ) -> c_int {
        // SAFETY: the system checks what it is given.
        let done = unsafe { libc::syscall(libc::SYS_statx, dir, path, flags, mask, found) };
        if done == 0 && HIDES_LINKS.load(Ordering::Relaxed) {
            // SAFETY: the system has just written there.
            unsafe { (*found).stx_nlink = 0 };
        }
        done as c_int
    }

    #[test]
    fn a_file_system_without_link_counts_is_written_like_any() {
        let dir = in_child("no_link_count::log_without_link_counts");
        let run = dir.path().join("run");
        assert_eq!(event_files(&run).len(), 1);
        assert_eq!(read_scalars(&run)["loss"].len(), 300);
    }

    #[test]
    #[ignore = "run by a_file_system_without_link_counts_is_written_like_any"]
    fn log_without_link_counts() {
        use std::os::unix::fs::MetadataExt;
        let Some(dir) = child_dir() else { return };
        HIDES_LINKS.store(true, Ordering::Relaxed);
        assert_eq!(fs::metadata(&dir).unwrap().nlink(), 0);
        let (logger, told) = logger(&dir);
        for step in 0..300_i64 {
            logger.log_scalar("loss", 1.0, step).unwrap();
            if step % 10 == 0 {
                logger.flush().unwrap();
            }
        }
        logger.close().unwrap();
        assert!(told.lock().unwrap().is_empty(), "{told:?}");
        // A deleted file is found all the same: its name is gone.
        let (logger, _) = super::logger(&dir);
        logger.log_scalar("loss", 1.0, 0).unwrap();
        logger.flush().unwrap();
        fs::remove_file(event_files(logger.logdir()).remove(0)).unwrap();
        logger.flush().unwrap_err();
        logger.close().unwrap_err();
    }
}

/// A step that goes back costs points in TensorBoard: said once for a tag, counted always.
#[test]
fn steps_that_go_back_are_counted_and_told_once_a_tag() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = logger(dir.path());
    for _ in 0..3 {
        for step in 0..10_i64 {
            logger.log_scalar("a", 1.0, step).unwrap();
            logger.log_scalars(&[("b", 1.0), ("c", 2.0)], step).unwrap();
            logger.log_histogram("h", &[1.0], step).unwrap();
            // The same step again is no step back.
            logger.log_scalar("twice", 1.0, step / 2 + 10).unwrap();
        }
    }
    // Nothing of it is lost.
    logger.close().unwrap();
    let stats = logger.stats();
    // Two returns of each tag: every step of the later rounds but the last is lower than 9, and 10
    // to 13 than 14.
    assert_eq!(stats.steps_back, 2 * (4 * 9 + 8), "{stats:?}");
    assert_eq!((stats.dropped, stats.errors), (0, 0));
    let told = told.lock().unwrap();
    let mut tags: Vec<&str> = told
        .iter()
        .map(|error| match error {
            Error::InvalidStep { what, .. } => &**what,
            other => panic!("{other}"),
        })
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, ["a", "b", "c", "h", "twice"]);
    let text = told[0].to_string();
    assert!(text.contains("step 9") && text.contains("lower"), "{text}");
}
