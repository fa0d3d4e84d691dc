//! Hyperparameters, and how runs end.

use std::path::Path;

use prost::Message;
use tch_tensorboard::proto::hparams::{
    HParamsPluginData, SessionStartInfo, Status, h_param_scalar::Kind, h_params_plugin_data::Data,
};
use tch_tensorboard::proto::{DataClass, DataType, summary};
use tch_tensorboard::{Error, HParams, Logger};

use crate::common::read_values;
use crate::{content, kind, shape};

const START: &str = "_hparams_/session_start_info";
const END: &str = "_hparams_/session_end_info";

fn params() -> HParams {
    HParams::new()
        .with("rate", 0.125)
        .with("optimizer", "adam")
        .with("augment", true)
}

/// What the only value of a tag says.
fn said(run: &Path, tag: &str) -> Option<Data> {
    let mut values = read_values(run);
    values.retain(|(_, value)| value.tag == tag);
    let (step, value) = match &values[..] {
        [] => return None,
        [only] => only,
        several => panic!("{several:?}"),
    };
    assert_eq!(*step, 0, "no purge of later steps takes it along");
    let metadata = value.metadata.as_ref().unwrap();
    assert_eq!(kind(metadata), ("hparams", DataClass::Tensor));
    let Some(summary::value::Value::Tensor(tensor)) = &value.value else {
        panic!("without a tensor the Python loader fails for all runs");
    };
    assert_eq!(
        (tensor.dtype(), shape(tensor)),
        (DataType::DtFloat, vec![0])
    );
    HParamsPluginData::decode(content(metadata)).unwrap().data
}

fn start(run: &Path) -> SessionStartInfo {
    match said(run, START) {
        Some(Data::SessionStartInfo(start)) => start,
        other => panic!("{other:?}"),
    }
}

fn end(run: &Path) -> Option<Status> {
    match said(run, END)? {
        Data::SessionEndInfo(end) => {
            assert!(end.end_time_secs > 1e9);
            Some(end.status())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_of_each_kind_are_those_that_were_logged() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    logger.log_hparams(params().group("seeds")).unwrap();
    logger.log_scalar("accuracy", 0.5, 100).unwrap();
    logger.close().unwrap();
    let start = start(logger.logdir());
    let kinds: Vec<(&str, &Kind)> = start
        .hparams
        .iter()
        .map(|(name, value)| (name.as_str(), value.kind.as_ref().unwrap()))
        .collect();
    let (adam, rate) = (Kind::StringValue("adam".into()), Kind::NumberValue(0.125));
    let wanted = [
        ("augment", &Kind::BoolValue(true)),
        ("optimizer", &adam),
        ("rate", &rate),
    ];
    assert_eq!(
        (kinds, start.group_name.as_str()),
        (wanted.to_vec(), "seeds")
    );
    assert!(start.start_time_secs > 1e9);
}

#[test]
fn the_status_says_how_the_run_ended() {
    let dir = tempfile::tempdir().unwrap();
    let run = |name: &str| dir.path().join(name);
    let logger = |name: &str| {
        let logger = Logger::create(run(name)).unwrap();
        logger.log_hparams(params()).unwrap();
        logger
    };
    logger("closed").close().unwrap();
    drop(logger("dropped"));
    let panicked = std::thread::spawn({
        let logger = logger("panicked");
        move || {
            let _logger = logger;
            panic!("as training may");
        }
    });
    assert!(panicked.join().is_err());
    let running = logger("running");
    running.flush().unwrap();
    assert_eq!(end(&run("closed")), Some(Status::Success));
    assert_eq!(end(&run("dropped")), Some(Status::Unknown));
    assert_eq!(end(&run("panicked")), Some(Status::Failure));
    assert_eq!(end(&run("running")), None);
}

#[test]
fn runs_have_their_own_and_those_without_have_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("sweep")).unwrap();
    for rate in [0.1, 0.01] {
        let trial = logger.subrun(&format!("rate_{rate}")).unwrap();
        trial
            .log_hparams(HParams::new().with("rate", rate))
            .unwrap();
        trial.log_scalar("accuracy", 1.0 - rate, 0).unwrap();
    }
    let other = logger.subrun("other").unwrap();
    other.log_hparams(HParams::new().with("depth", 3)).unwrap();
    logger.close().unwrap();
    assert_eq!(said(logger.logdir(), END), None);
    let names = |run: &str| start(&logger.logdir().join(run)).hparams.into_keys();
    assert_eq!(names("rate_0.1").collect::<Vec<_>>(), ["rate"]);
    assert_eq!(names("other").collect::<Vec<_>>(), ["depth"]);
    assert_eq!(end(other.logdir()), Some(Status::Success));
}

#[test]
fn a_resumed_run_is_gone_on_with_behind_its_own_steps() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    logger.log_hparams(params()).unwrap();
    logger.log_scalar("loss", 1.0, 7).unwrap();
    logger.close().unwrap();
    let resumed = Logger::builder(dir.path().join("run"))
        .resume()
        .create()
        .unwrap();
    assert_eq!(resumed.resumed_at(), Some(8));
    resumed.log_hparams(params()).unwrap();
    resumed.log_scalar("loss", 0.5, 8).unwrap();
    resumed.close().unwrap();
    let values = read_values(resumed.logdir());
    let starts = values.iter().filter(|(_, value)| value.tag == START);
    assert!(starts.count() >= 1);
    assert_eq!(end(resumed.logdir()), Some(Status::Success));
}

#[test]
fn what_the_table_cannot_show_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let refused = |params: HParams| match logger.log_hparams(params) {
        Err(error @ Error::InvalidValue { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused(HParams::new()).contains("there are none"));
    assert!(refused(params().with("", 1)).contains("needs a name"));
    assert!(refused(params().with("bad", f64::NAN)).contains("\"bad\": is NaN"));
    logger.log_hparams(params()).unwrap();
    assert!(refused(params()).contains("keeps the first"));
    logger.close().unwrap();
    let late = logger.log_hparams(params());
    assert!(matches!(late, Err(Error::Closed { .. })));
}
