//! Going on with a run that crashed or was closed.

mod common;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use common::{event_files, read_events, read_scalars, read_values};
use tch_tensorboard::proto::{event::What, session_log::SessionStatus};
use tch_tensorboard::{Error, Logger};

fn log(logger: &Logger, steps: std::ops::Range<i64>) {
    for step in steps {
        logger.log_scalar("loss", step as f64, step).unwrap();
        logger
            .log_weights(&[("w", [step as f64, 1.0])], step)
            .unwrap();
    }
}

/// A run of steps 0 to 9 whose process ended without closing it.
fn crashed(dir: &Path) -> PathBuf {
    let run = dir.join("run");
    let logger = Logger::create(&run).unwrap();
    log(&logger, 0..10);
    drop(logger);
    run
}

fn resume(run: &Path) -> Logger {
    Logger::builder(run).resume().create().unwrap()
}

/// The steps of the session starts and stops in a file.
fn sessions(file: &Path) -> Vec<(SessionStatus, i64)> {
    read_events(file)
        .into_iter()
        .filter_map(|event| match event.what {
            Some(What::SessionLog(session)) => Some((session.status(), event.step)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_crashed_run_repeats_its_newest_step_and_a_closed_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let run = crashed(dir.path());
    let logger = resume(&run);
    assert_eq!((logger.logdir(), logger.resumed_at()), (&*run, Some(9)));
    log(&logger, 9..20);
    logger.close().unwrap();
    let logger = resume(&run);
    assert_eq!(logger.resumed_at(), Some(20));
    log(&logger, 20..30);
    logger.close().unwrap();
    let files = event_files(&run);
    assert_eq!(files.len(), 3);
    // The Python loader takes the first start of a run for its beginning: only the second one
    // counts.
    assert_eq!(sessions(&files[0]), []);
    let (start, stop) = (SessionStatus::Start, SessionStatus::Stop);
    assert_eq!(sessions(&files[1]), [(start, 9), (start, 9), (stop, 19)]);
    assert_eq!(sessions(&files[2]), [(start, 20), (stop, 29)]);
}

#[test]
fn a_new_directory_begins_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let logger = resume(&dir.path().join("run"));
    assert_eq!(logger.resumed_at(), None);
    log(&logger, 0..3);
    logger.close().unwrap();
    let file = event_files(logger.logdir()).remove(0);
    assert_eq!(sessions(&file), [(SessionStatus::Stop, 2)]);
}

#[test]
fn a_torn_tail_stays_and_the_step_before_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let logger = Logger::create(&run).unwrap();
    for step in 0..10_i64 {
        logger.log_scalar("loss", 1.0, step).unwrap();
    }
    drop(logger);
    let file = event_files(&run).remove(0);
    let whole = fs::metadata(&file).unwrap().len();
    let torn = OpenOptions::new().write(true).open(&file).unwrap();
    torn.set_len(whole - 5).unwrap();
    let logger = resume(&run);
    assert_eq!(logger.resumed_at(), Some(8));
    logger.log_scalar("loss", 2.0, 8).unwrap();
    logger.close().unwrap();
    let files = event_files(&run);
    assert_eq!(files[0], file);
    assert_eq!(fs::metadata(&file).unwrap().len(), whole - 5);
    assert_eq!(read_scalars(&files[1])["loss"], [(8, 2.0)]);
}

#[test]
fn a_checkpoint_says_where_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let run = crashed(dir.path());
    let from = |step| Logger::builder(&run).resume_from(step).create().unwrap();
    let logger = from(4);
    assert_eq!(logger.resumed_at(), Some(4));
    log(&logger, 4..6);
    drop(logger);
    // What was beyond step 6 in the first session has been taken back.
    assert_eq!(resume(&run).resumed_at(), Some(5));
    assert_eq!(from(100).resumed_at(), Some(100));
    assert_eq!(resume(&run).resumed_at(), Some(100));
}

/// In the fast loader an earlier step erases the points behind it.
#[test]
fn steps_that_are_there_already_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let run = crashed(dir.path());
    let logger = resume(&run);
    let text = logger.log_scalar("loss", 1.0, 0).unwrap_err().to_string();
    assert!(
        text.contains("step 0") && text.contains("resumed at step 9"),
        "{text}"
    );
    logger.log_histogram("h", &[1.0], 8).unwrap_err();
    logger.log_weights(&[("w", [1.0])], 8).unwrap_err();
    logger.log_scalar("loss", 1.0, 9).unwrap();
    logger.close().unwrap();
    assert_eq!(logger.stats().queued, 1);
}

#[test]
fn deltas_and_drift_start_anew() {
    let dir = tempfile::tempdir().unwrap();
    let run = crashed(dir.path());
    let logger = resume(&run);
    log(&logger, 9..12);
    logger.close().unwrap();
    let resumed = read_scalars(event_files(&run).pop().unwrap());
    let steps = |tag: &str| -> Vec<i64> { resumed[tag].iter().map(|(step, _)| *step).collect() };
    assert_eq!(steps("weight_mean/w"), [9, 10, 11]);
    assert_eq!(steps("weight_delta_mean/w"), [10, 11]);
    // From (9, 1) to (10, 1).
    let drift = resumed["weight_drift/w"]
        .iter()
        .find(|(step, _)| *step == 10);
    let (_, drift) = drift.unwrap();
    assert!((drift - 1.0 / 82_f32.sqrt()).abs() < 1e-5, "{drift}");
}

/// The layout shows what earlier sessions logged, and a tag goes on meaning what it meant.
#[test]
fn tags_keep_their_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let run = crashed(dir.path());
    let logger = resume(&run);
    logger.log_weights(&[("w", [9.0, 1.0])], 9).unwrap();
    logger.log_histogram("loss", &[1.0], 9).unwrap();
    let error = logger.close().unwrap_err();
    assert!(matches!(error, Error::InvalidTag { .. }), "{error}");
    let last = event_files(&run).pop().unwrap();
    let layout = read_values(&last)
        .into_iter()
        .filter(|(_, value)| value.tag == "custom_scalars__config__")
        .map(|(step, value)| (step, format!("{value:?}")))
        .next_back()
        .unwrap();
    // The first step of this session: the layout of the session before has the first of that one.
    assert_eq!(layout.0, 9);
    let message = b"loss(/.*)?$";
    let text = format!("{:?}", &message[..]);
    assert!(
        layout
            .1
            .contains(text.trim_matches(|c| c == '[' || c == ']')),
        "the group of a tag that only the first session logged"
    );
}

/// What the crate writes of its own has steps that were logged, however often it is written at one
/// of them.
#[test]
fn the_step_after_the_newest_follows_whatever_the_layout_and_the_report_did() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let logger = Logger::create(&run).unwrap();
    for step in 5..=20 {
        let rests = if step < 12 { step as f64 } else { 12.0 };
        let weights = [("moves", [step as f64, 1.0]), ("rests", [rests, 1.0])];
        logger.log_weights(&weights, step).unwrap();
        logger.flush().unwrap();
    }
    // Each changes the layout.
    for tag in ["late", "later", "latest"] {
        logger.log_scalar(tag, 1.0, 20).unwrap();
        logger.flush().unwrap();
    }
    logger.close().unwrap();
    let events = read_events(&run);
    let steps = |tag: &str| -> Vec<i64> {
        let has_tag = |what: &Option<What>| match what {
            Some(What::Summary(summary)) => summary.value.iter().any(|value| value.tag == tag),
            _ => false,
        };
        let events = events.iter().filter(|event| has_tag(&event.what));
        events.map(|event| event.step).collect()
    };
    let layouts = steps("custom_scalars__config__");
    assert_eq!(layouts.first(), Some(&5), "{layouts:?}");
    assert!(layouts.len() > 2, "{layouts:?}");
    for own in [layouts, steps("weight_report"), steps("tch_tensorboard")] {
        assert!(!own.is_empty() && own.is_sorted(), "{own:?}");
        assert!(own.iter().all(|step| (5..=20).contains(step)), "{own:?}");
    }
    assert_eq!(resume(&run).resumed_at(), Some(21));
}

#[test]
fn sub_runs_go_on_where_the_run_does() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let logger = Logger::create(&run).unwrap();
    log(&logger, 0..10);
    logger
        .subrun("val")
        .unwrap()
        .log_scalar("loss", 1.0, 5)
        .unwrap();
    drop(logger);
    let logger = resume(&run);
    let val = logger.subrun("val").unwrap();
    assert_eq!(val.logdir(), run.join("val"));
    assert_eq!(val.resumed_at(), Some(9));
    let fresh = logger.subrun("test").unwrap();
    assert_eq!(fresh.logdir(), run.join("test"));
    logger.close().unwrap();
    let file = event_files(&run.join("val")).pop().unwrap();
    let start = SessionStatus::Start;
    assert_eq!(sessions(&file)[..2], [(start, 9), (start, 9)]);
}

#[cfg(unix)]
#[test]
fn a_run_that_is_still_being_written_is_not_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let error = Logger::builder(logger.logdir())
        .resume()
        .create()
        .unwrap_err();
    assert!(matches!(error, Error::RunInUse { .. }), "{error}");
    assert_eq!(error.path(), Some(logger.logdir()));
    assert_eq!(event_files(logger.logdir()).len(), 1);
    logger.close().unwrap();
    let run = logger.logdir().to_owned();
    drop(logger);
    resume(&run).close().unwrap();
}
