//! What happens to calls while there is no room for what they log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};

use prost::Message;
use tch_tensorboard::proto::custom_scalar::Layout;
use tch_tensorboard::proto::event::What;
use tch_tensorboard::proto::summary::value::Value;
use tch_tensorboard::{Audio, HParams, Logger, Mesh, OnFull, PrCurve};
use tempfile::TempDir;

use crate::common::{read_events, read_values};

/// A logger that gives up what there is no room for, and whose writer thread waits, with all that
/// is logged meanwhile, until it is released.
struct Stalled {
    /// First, so that a test that fails releases the thread before the logger waits for it.
    release: Sender<()>,
    logger: Logger,
    _dir: TempDir,
}

impl Stalled {
    fn new() -> Stalled {
        let dir = tempfile::tempdir().unwrap();
        let ((reached, has_reached), (release, released)) = (channel(), channel());
        let released = Mutex::new(released);
        let logger = Logger::builder(dir.path().join("run"))
            .on_full(OnFull::Drop)
            .on_error(move |_| {
                let _ = reached.send(());
                let _ = released
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv();
            })
            .create()
            .unwrap();
        let bad = PrCurve::new(&[1_u8], &[17.0_f32]);
        logger.log_pr_curve("bad", bad, 0).unwrap();
        has_reached.recv().unwrap();
        Stalled {
            _dir: dir,
            logger,
            release,
        }
    }

    /// Logs texts until there is no room for another entry.
    fn fill(&self) {
        let dropped = self.logger.stats().dropped;
        while self.logger.stats().dropped == dropped {
            self.logger.log_text("note", "x", 0).unwrap();
        }
    }
}

#[test]
fn what_does_not_fit_beside_what_waits_is_given_up_as_a_whole_and_counted() {
    let Stalled {
        logger,
        release,
        _dir,
    } = Stalled::new();
    let dropped_before = logger.stats().dropped;
    let large = vec![0_i16; 20 << 20];
    logger
        .log_audio("first", Audio::mono(&large, 8000), 0)
        .unwrap();
    // 24 MB would fit beside 40 MB, but not the colours too.
    let (vertices, colors) = (vec![0.0_f32; 6_000_000], vec![0_u8; 6_000_000]);
    logger
        .log_mesh("beside", Mesh::new(&vertices).colors(&colors), 0)
        .unwrap();
    logger
        .log_audio("second", Audio::mono(&large, 8000), 0)
        .unwrap();
    assert_eq!(
        logger.stats().dropped - dropped_before,
        2,
        "neither fits beside the first"
    );
    release.send(()).unwrap();
    assert!(logger.close().is_err(), "the curve was lost");
    let tags: Vec<String> = read_values(logger.logdir())
        .into_iter()
        .map(|(_, value)| value.tag)
        .collect();
    assert_eq!(tags, ["first"]);
}

#[test]
fn what_a_run_has_once_can_be_logged_again_after_it_was_given_up() {
    let stalled = Stalled::new();
    let logger = &stalled.logger;
    let log_all = |step: i64| {
        logger
            .log_hparams(HParams::new().with("rate", 0.1))
            .unwrap();
        logger.log_graph(&("w", [1.0_f32])).unwrap();
        let values = [("train", 1.0), ("val", 2.0)];
        logger.log_scalars_chart("loss", &values, step).unwrap();
    };
    stalled.fill();
    let dropped = logger.stats().dropped;
    log_all(0);
    assert_eq!(logger.stats().dropped - dropped, 3);
    stalled.release.send(()).unwrap();
    let _ = logger.flush();
    log_all(1);
    let second = logger.log_hparams(HParams::new().with("rate", 0.1));
    assert!(second.is_err() && logger.log_graph(&("w", [1.0_f32])).is_err());
    let _ = logger.close();
    let values = read_values(logger.logdir());
    let count = |tag: &str| values.iter().filter(|(_, value)| value.tag == tag).count();
    assert_eq!(count("_hparams_/session_start_info"), 1);
    let events = read_events(logger.logdir()).into_iter();
    let graphs = events.filter(|event| matches!(event.what, Some(What::GraphDef(_))));
    assert_eq!(graphs.count(), 1);
    let is_layout = |tag: &str| tag == "custom_scalars__config__";
    let layout = values.iter().rev().find(|(_, value)| is_layout(&value.tag));
    let Some(Value::Tensor(layout)) = &layout.expect("a layout").1.value else {
        panic!("a tensor");
    };
    let layout = Layout::decode(&layout.string_val[0][..]).unwrap();
    assert_eq!(layout.category[0].title, "Charts");
}

#[test]
fn what_is_said_of_tags_counts_with_its_bytes() {
    let stalled = Stalled::new();
    let text = "x".repeat(40 << 20);
    let dropped = stalled.logger.stats().dropped;
    for tag in ["a", "b"] {
        stalled.logger.describe_tag(tag, "", &text).unwrap();
    }
    assert_eq!(stalled.logger.stats().dropped - dropped, 1);
    stalled.release.send(()).unwrap();
}

/// 75 MB, more than may wait beside another value.
const SIDE: usize = 5000;

#[test]
fn a_drawing_that_panics_keeps_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::builder(dir.path().join("run")).on_full(OnFull::Drop);
    let logger = logger.create().unwrap();
    let draw = |_: &mut [u8]| -> () { panic!("as a user's drawing may") };
    let call = || logger.log_figure("figure", SIDE, SIDE, draw, 0);
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    logger.log_text("note", "x", 0).unwrap();
    assert_eq!(logger.stats().dropped, 0);
}

#[test]
fn a_drawing_can_log() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::builder(dir.path().join("run")).on_full(OnFull::Drop);
    let logger = logger.create().unwrap();
    let draw = |_: &mut [u8]| {
        logger.log_text("note", "x", 0)?;
        logger.flush()
    };
    logger.log_figure("figure", SIDE, SIDE, draw, 0).unwrap();
    logger.close().unwrap();
    assert_eq!(logger.stats().dropped, 0);
    let tags = read_values(logger.logdir()).into_iter();
    let tags: Vec<String> = tags.map(|(_, value)| value.tag).collect();
    assert_eq!(tags, ["note", "figure"]);
}
