//! Findings reach the training thread: by a callback, and by asking for them.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use tch_tensorboard::{Finding, Logger, LoggerBuilder, Verdict};

const HEALTHY: [f32; 3] = [0.1, -0.2, 0.3];
const BROKEN: [f32; 3] = [0.1, f32::NAN, 0.3];

fn builder(dir: &Path) -> LoggerBuilder {
    Logger::builder(dir.join("run"))
}

/// What a callback got, and where.
type Calls = Arc<Mutex<Vec<(ThreadId, Finding)>>>;

fn recording(dir: &Path) -> (Logger, Calls) {
    let calls = Calls::default();
    let recorded = calls.clone();
    let on_finding = move |finding: &Finding| {
        let call = (thread::current().id(), finding.clone());
        recorded.lock().unwrap().push(call);
    };
    let logger = builder(dir).on_finding(on_finding).create().unwrap();
    (logger, calls)
}

/// Weights that break at step 3, all analysed, with nothing but what that takes: `board_url` waits
/// for the writer thread and announces nothing.
fn log_broken_weights(logger: &Logger) {
    for step in 0..8 {
        let weights = if step < 3 { HEALTHY } else { BROKEN };
        logger
            .log_weights(
                &("w", weights.map(|w| w * (1.0 - 0.01 * step as f32))),
                step,
            )
            .unwrap();
        logger.board_url("http://localhost:6006");
    }
}

#[test]
fn a_finding_calls_back_on_the_training_thread_at_the_next_call() {
    let dir = tempfile::tempdir().unwrap();
    for call in [
        "log_scalar",
        "log_weights",
        "flush",
        "weight_report",
        "close",
        "drop",
    ] {
        let (logger, calls) = recording(dir.path());
        logger.log_weights(&("w", HEALTHY), 0).unwrap();
        logger.log_weights(&("w", BROKEN), 1).unwrap();
        logger.board_url("http://localhost:6006");
        assert!(calls.lock().unwrap().is_empty(), "before {call}");
        match call {
            "log_scalar" => logger.log_scalar("loss", 0.5, 1).unwrap(),
            "log_weights" => logger.log_weights(&("w", BROKEN), 2).unwrap(),
            "flush" => logger.flush().unwrap(),
            "weight_report" => drop(logger.weight_report().unwrap()),
            "close" => logger.close().unwrap(),
            _ => drop(logger),
        }
        let calls = calls.lock().unwrap();
        let [(thread, finding)] = &calls[..] else {
            panic!("{call}: {calls:?}");
        };
        assert_eq!(*thread, thread::current().id(), "{call}");
        assert_eq!(finding.verdict, Verdict::NonFinite, "{call}");
    }
}

#[test]
fn what_was_announced_can_be_taken_once() {
    let dir = tempfile::tempdir().unwrap();
    let (logger, calls) = recording(dir.path());
    log_broken_weights(&logger);
    logger.flush().unwrap();
    let announced = calls.lock().unwrap().clone();
    let announced: Vec<Finding> = announced.into_iter().map(|(_, finding)| finding).collect();
    assert!(!announced.is_empty());
    assert_eq!(logger.take_findings(), announced);
    assert_eq!(logger.take_findings(), []);
    logger.log_scalar("loss", 0.5, 9).unwrap();
    assert_eq!(
        calls.lock().unwrap().len(),
        announced.len(),
        "announced twice"
    );
}

#[test]
fn a_panic_in_the_callback_is_contained_and_further_findings_are_announced() {
    let dir = tempfile::tempdir().unwrap();
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    let on_finding = move |_: &Finding| {
        *counted.lock().unwrap() += 1;
        panic!("in the user's callback");
    };
    let logger = builder(dir.path()).on_finding(on_finding).create().unwrap();
    for scope in ["a", "b"] {
        log_broken_weights(&logger.scoped(scope).unwrap());
        logger.flush().unwrap();
    }
    assert_eq!(*count.lock().unwrap(), 2);
    assert_eq!(logger.take_findings().len(), 2);
    logger.close().unwrap();
}

#[test]
fn the_callback_may_log() {
    let dir = tempfile::tempdir().unwrap();
    let slot: Arc<Mutex<Option<Logger>>> = Arc::default();
    let own = slot.clone();
    let on_finding = move |finding: &Finding| {
        let own = own.lock().unwrap();
        let logger = own.as_ref().expect("set before anything is found");
        logger
            .log_text("faults", &finding.to_string(), finding.step)
            .unwrap();
        logger
            .log_scalar("faults/step", finding.step as f64, finding.step)
            .unwrap();
        assert!(!logger.take_findings().is_empty());
    };
    let logger = builder(dir.path()).on_finding(on_finding).create().unwrap();
    *slot.lock().unwrap() = Some(logger.clone());
    log_broken_weights(&logger);
    logger.close().unwrap();
    let run = tch_tensorboard::LogDir::open(logger.logdir())
        .unwrap()
        .runs()[0]
        .clone();
    let tags: Vec<String> = run
        .events()
        .points()
        .map(|point| point.unwrap().tag)
        .filter(|tag| tag.starts_with("faults"))
        .collect();
    assert_eq!(tags.len(), 2, "{tags:?}");
}
