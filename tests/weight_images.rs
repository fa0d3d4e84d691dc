//! `log_weight_images` and `log_graph`, and what other threads do meanwhile.
#![cfg(feature = "tch")]

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{read_events, read_values};
use tch::nn::{Init, VarStore};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::proto::event::What;
use tch_tensorboard::{
    Error, Logger, LoggerBuilder, NamedTensors, OnFull, PrCurve, Result, Role, Visitor,
    WeightOptions,
};
use tempfile::TempDir;

/// Long enough for the slowest machine: what does not happen until then never does.
const NEVER: Duration = Duration::from_secs(120);

fn store() -> VarStore {
    let vs = VarStore::new(Device::Cpu);
    let _ = vs.root().var("w", &[4, 6], Init::Const(0.5));
    vs
}

type Errors = Arc<Mutex<Vec<Error>>>;

fn reporting(builder: LoggerBuilder) -> (Logger, Errors) {
    let reported = Errors::default();
    let errors = reported.clone();
    let builder = builder.on_error(move |error| errors.lock().unwrap().push(error.clone()));
    (builder.create().unwrap(), reported)
}

/// A logger whose writer thread waits, and whose queue is full, until it is released.
fn stalled(on_full: OnFull) -> (Logger, Sender<()>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ((reached, has_reached), (release, released)) = (channel(), channel());
    let released = Mutex::new(released);
    let logger = Logger::builder(dir.path().join("run"))
        .on_full(on_full)
        .on_error(move |_| {
            let _ = reached.send(());
            let released = released.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = released.recv();
        })
        .create()
        .unwrap();
    let bad = PrCurve::new(&[1_u8], &[17.0_f32]);
    logger.log_pr_curve("bad", bad, 0).unwrap();
    has_reached.recv().unwrap();
    // As many entries as may wait.
    for _ in 0..1024 {
        logger.log_text("note", "x", 0).unwrap();
    }
    (logger, release, dir)
}

/// Says when a visit has ended.
struct Visited {
    matrix: Tensor,
    ended: Sender<()>,
}

impl NamedTensors for Visited {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable("a", &self.matrix, Role::Trainable);
        visitor.variable("b", &self.matrix, Role::Trainable);
        let _ = self.ended.send(());
        Ok(())
    }
}

fn visited() -> (Visited, Receiver<()>) {
    let matrix = Tensor::ones([4, 6], (Kind::Float, Device::Cpu));
    let (ended, has_ended) = channel();
    (Visited { matrix, ended }, has_ended)
}

#[test]
fn a_store_is_free_while_the_call_waits_for_the_writer_thread() {
    let (logger, release, _dir) = stalled(OnFull::Block);
    let (model, has_ended) = visited();
    let caller = {
        let logger = logger.clone();
        std::thread::spawn(move || logger.log_weight_images(&model, 0))
    };
    let ended = has_ended.recv_timeout(NEVER);
    release.send(()).unwrap();
    ended.expect("the visit ends before there is room");
    assert_eq!(caller.join().unwrap().unwrap(), 2);
    let _ = logger.close();
    let values = read_values(logger.logdir());
    let is_image = |tag: &str| tag.starts_with("weight_images/");
    assert_eq!(
        values
            .iter()
            .filter(|(_, value)| is_image(&value.tag))
            .count(),
        2
    );
}

#[test]
fn pictures_that_are_given_up_are_not_in_the_number() {
    let (logger, release, _dir) = stalled(OnFull::Drop);
    let dropped = logger.stats().dropped;
    assert_eq!(logger.log_weight_images(&visited().0, 0).unwrap(), 0);
    assert_eq!(logger.stats().dropped - dropped, 2);
    release.send(()).unwrap();
    let _ = logger.flush();
    assert_eq!(logger.log_weight_images(&visited().0, 1).unwrap(), 2);
}

#[test]
fn of_a_view_that_fits_no_memory_the_picture_takes_what_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let side = 1_i64 << 21;
    let row = Tensor::arange(side, (Kind::Float, Device::Cpu));
    // 16 TB.
    let huge = row.expand([side, side], false);
    assert_eq!(logger.log_weight_images(&[("w", &huge)], 0).unwrap(), 1);
}

#[test]
fn a_model_of_many_matrices_has_all_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let matrix = Tensor::ones([512, 512], (Kind::Double, Device::Cpu));
    // 40 MB of what is shown, more than one visit copies.
    let named: Vec<(String, Tensor)> = (0..20)
        .map(|n| (format!("w{n}"), matrix.shallow_clone()))
        .collect();
    assert_eq!(logger.log_weight_images(&named, 0).unwrap(), 20);
    logger.close().unwrap();
    let values = read_values(logger.logdir());
    let mut tags: Vec<String> = values.into_iter().map(|(_, value)| value.tag).collect();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), 20, "each once");
}

#[test]
fn a_locked_store_is_waited_for_and_then_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = WeightOptions::new().store_timeout(Duration::from_millis(20));
    let builder = Logger::builder(dir.path().join("run")).weights(options);
    let (logger, reported) = reporting(builder);
    let vs = store();
    let held = vs.variables_.lock().unwrap();
    logger.log_graph(&vs).unwrap();
    assert_eq!(logger.log_weight_images(&vs, 0).unwrap(), 0);
    drop(held);
    let reported: Vec<bool> = {
        let reported = reported.lock().unwrap();
        let is_locked = |error: &Error| matches!(error, Error::StoreLocked { .. });
        reported.iter().map(is_locked).collect()
    };
    assert_eq!(reported, [true, true]);
    assert_eq!(logger.stats().dropped, 2);
    logger.log_graph(&vs).unwrap();
    assert_eq!(logger.log_weight_images(&vs, 0).unwrap(), 1);
}

#[test]
fn a_graph_waits_for_a_checkpoint_that_is_being_saved() {
    let dir = tempfile::tempdir().unwrap();
    let options = WeightOptions::new().store_timeout(NEVER);
    let builder = Logger::builder(dir.path().join("run")).weights(options);
    let logger = builder.create().unwrap();
    let vs = store();
    let (holds, is_held) = channel();
    std::thread::scope(|scope| {
        let saving = &vs;
        scope.spawn(move || {
            let _held = saving.variables_.lock().unwrap();
            holds.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
        });
        is_held.recv().unwrap();
        logger.log_graph(&vs).unwrap();
    });
    logger.close().unwrap();
    let mut events = read_events(logger.logdir()).into_iter();
    assert!(events.any(|event| matches!(event.what, Some(What::GraphDef(_)))));
}
