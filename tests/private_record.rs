//! The private record: what this crate's own reader goes by, and texts do not matter to it.

mod common;

use std::path::Path;

use common::{PRIVATE, event_files, read_events};
use prost::Message;
use tch_tensorboard::proto::{DataClass, DataType, Event, event::What, summary::value::Value};
use tch_tensorboard::{Cadence, LogDir, LoggedReport, Logger, NamedTensors, Role, Visitor};
use tch_tensorboard::{Verdict, WeightOptions};

#[allow(unreachable_pub)]
#[path = "../src/format/proto/tch_tensorboard.rs"]
#[allow(clippy::all, dead_code, reason = "generated, and a part of it is used")]
mod record;
use record::{ModelRecord, VariableRecord};

/// That of the scope `G`.
const TAG: &str = "tch_tensorboard/G";

/// Variables that have roles.
struct Roles(Vec<(&'static str, Vec<f32>, Role)>);

impl NamedTensors for Roles {
    fn visit(&self, visitor: &mut Visitor<'_>) -> tch_tensorboard::Result<()> {
        for (name, values, role) in &self.0 {
            visitor.variable(name, values, *role);
        }
        Ok(())
    }
}

fn every_call() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall)
}

/// Forty steps of a scope: one variable moves, one rests, one is frozen from step 20 on.
fn train(logger: &Logger) {
    let model = logger.scoped("G").unwrap();
    for step in 0..40_i64 {
        let at = step as f32;
        let frozen = if step < 20 {
            Role::Trainable
        } else {
            Role::Frozen
        };
        let variables = vec![
            ("moves", vec![at.sin(), at.cos(), 1.0], Role::Trainable),
            ("rests", vec![1.0, 2.0], Role::Trainable),
            ("stops", vec![at.min(20.0).sin(), 1.0], frozen),
        ];
        model.log_weights(&Roles(variables), step).unwrap();
        logger.flush().unwrap();
    }
}

/// The records of a run with their steps, and where each is among the events.
fn records(events: &[Event]) -> Vec<(usize, i64, ModelRecord)> {
    let mut records = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let Some(What::Summary(summary)) = &event.what else {
            continue;
        };
        for value in summary.value.iter().filter(|value| value.tag == TAG) {
            let Some(Value::Tensor(tensor)) = &value.value else {
                panic!("{value:?}");
            };
            let rank = tensor.tensor_shape.as_ref().map(|shape| shape.dim.len());
            assert_eq!((tensor.dtype(), rank), (DataType::DtString, Some(0)));
            let record = ModelRecord::decode(tensor.string_val[0].as_slice()).unwrap();
            records.push((place, event.step, record));
        }
    }
    records
}

fn variable<'a>(record: &'a ModelRecord, name: &str) -> Option<&'a VariableRecord> {
    let mut all = record.variables.iter();
    all.find(|variable| variable.name == name)
}

#[test]
fn what_a_variable_is_comes_before_its_points_and_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let logger = Logger::builder(&run)
        .weights(every_call())
        .create()
        .unwrap();
    train(&logger);
    logger.close().unwrap();
    let stats = logger.stats();
    let events = read_events(&run);
    let records = records(&events);
    let steps: Vec<i64> = records.iter().map(|(_, step, _)| *step).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "one a step: {steps:?}");
    let (place, step, first) = &records[0];
    assert_eq!((*place, *step), (1, 0), "behind the version of the file");
    assert!(first.is_whole && first.format == 1 && first.version == env!("CARGO_PKG_VERSION"));
    assert_eq!(first.scope, "G");
    let moves = variable(first, "moves").unwrap();
    assert_eq!(
        (moves.dtype.as_str(), moves.shape.as_slice()),
        ("f32", &[3][..])
    );
    assert_eq!(
        (moves.elements, moves.sampled, moves.first_step),
        (3, 3, Some(0))
    );
    assert_eq!(
        (moves.role.as_str(), moves.verdict.as_str()),
        ("trainable", "undecided")
    );

    // Frozen at step 20: recorded at that step, before any point of it.
    let frozen =
        |record: &ModelRecord| variable(record, "stops").is_some_and(|v| v.role == "frozen");
    let (place, step, _) = records.iter().find(|(.., record)| frozen(record)).unwrap();
    assert_eq!(*step, 20);
    assert!(events[..*place].iter().all(|event| event.step < 20));

    // The newest say what the report says.
    let newest = |name| {
        records
            .iter()
            .rev()
            .find_map(|(.., record)| variable(record, name))
    };
    let report = logger.weight_report().unwrap();
    for name in ["moves", "rests", "stops"] {
        let (recorded, reported) = (newest(name).unwrap(), report.parameter(name).unwrap());
        assert_eq!(recorded.verdict, reported.verdict.name(), "{name}");
        assert_eq!(recorded.since, reported.since, "{name}");
    }
    let rests = newest("rests").unwrap();
    assert_eq!(rests.verdict, "not_updated");
    assert!(rests.causes.len() > 1 && rests.causes.contains(&"not_in_optimizer".to_owned()));
    let (.., last) = records.last().unwrap();
    assert!(!last.is_whole, "only what has changed");
    let findings = records.iter().rev().map(|(.., record)| &record.findings);
    let finding = findings.flatten().next().unwrap();
    assert_eq!(
        (finding.variable.as_str(), finding.verdict.as_str()),
        ("rests", "not_updated")
    );
    // Nobody has logged it, so nobody counts it.
    let logged = |event: &&Event| match &event.what {
        Some(What::Summary(summary)) => summary.value[0].tag != TAG,
        _ => false,
    };
    assert_eq!(stats.written, events.iter().filter(logged).count() as u64);
}

#[test]
fn it_names_a_plugin_and_no_class_in_each_file_and_is_whole_there() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let logger = Logger::builder(&run)
        .weights(every_call())
        .max_file_bytes(1 << 16)
        .create()
        .unwrap();
    train(&logger);
    let steps = 40..80_i64;
    steps.for_each(|step| logger.log_text("long", &"x".repeat(3000), step).unwrap());
    logger.close().unwrap();
    let files = event_files(&run);
    assert!(files.len() > 2, "{files:?}");
    for file in &files {
        let events = read_events(file);
        let records = records(&events);
        let (place, _, first) = &records[0];
        assert!(*place <= 1 && first.is_whole, "{file:?}");
        assert_eq!(first.variables.len(), 3);
        let Some(What::Summary(summary)) = &events[*place].what else {
            panic!("a summary");
        };
        let metadata = summary.value[0].metadata.as_ref().unwrap();
        assert_eq!(metadata.data_class(), DataClass::Unknown);
        let plugin = metadata.plugin_data.as_ref().unwrap();
        assert_eq!(plugin.plugin_name, PRIVATE);
    }
}

fn read_back(run: &Path) -> LoggedReport {
    let log = LogDir::open(run).unwrap();
    log.runs()[0].weight_report().unwrap()
}

/// Writes a run again with its events changed.
fn rewrite(run: &Path, change: impl Fn(&mut tch_tensorboard::proto::summary::Value)) {
    let file = event_files(run).remove(0);
    let mut bytes = Vec::new();
    for mut event in read_events(&file) {
        if let Some(What::Summary(summary)) = &mut event.what {
            summary.value.iter_mut().for_each(&change);
        }
        let payload = event.encode_to_vec();
        let masked = |bytes: &[u8]| {
            let crc = crc32c::crc32c(bytes).rotate_right(15);
            crc.wrapping_add(0xa282_ead8).to_le_bytes()
        };
        let length = (payload.len() as u64).to_le_bytes();
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&masked(&length));
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&masked(&payload));
    }
    std::fs::write(file, bytes).unwrap();
}

fn logged(dir: &Path) -> std::path::PathBuf {
    let run = dir.join("run");
    let logger = Logger::builder(&run)
        .weights(every_call())
        .create()
        .unwrap();
    train(&logger);
    logger.close().unwrap();
    run
}

#[test]
fn no_text_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = logged(dir.path());
    let before = read_back(&run);
    let rests = before.report.parameter("rests").unwrap();
    assert_eq!(
        (rests.scope.as_str(), rests.shape.as_slice()),
        ("G", &[2][..])
    );
    assert!(matches!(rests.verdict, Verdict::NotUpdated { .. }));
    assert_eq!(before.report.parameter("stops").unwrap().role, Role::Frozen);
    rewrite(&run, |value| {
        if let Some(metadata) = &mut value.metadata {
            metadata.summary_description = "Variable: f64 9x9, buffer.".to_owned();
        }
        if value.tag == "weight_report"
            && let Some(Value::Tensor(tensor)) = &mut value.value
        {
            tensor.string_val = vec![b"| moves | frozen |\n| rests | learning |".to_vec()];
        }
    });
    assert_eq!(read_back(&run), before);
}

#[test]
fn what_a_newer_version_records_is_shown_as_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let run = logged(dir.path());
    let before = read_back(&run);
    rewrite(&run, |value| {
        let Some(Value::Tensor(tensor)) = &mut value.value else {
            return;
        };
        if value.tag != TAG {
            return;
        }
        let mut record = ModelRecord::decode(tensor.string_val[0].as_slice()).unwrap();
        (record.format, record.version) = (2, "7.0.0".to_owned());
        for variable in &mut record.variables {
            if variable.name == "rests" {
                variable.verdict = "bored".to_owned();
                variable.causes = vec!["too_easy".to_owned()];
                variable.dtype = "f8".to_owned();
            }
        }
        let mut bytes = record.encode_to_vec();
        // Field 1000, a string.
        bytes.extend_from_slice(&[0xc2, 0x3e, 3, b'n', b'e', b'w']);
        tensor.string_val = vec![bytes];
    });
    let found = read_back(&run);
    let notes = found.report.notes.join("\n");
    assert!(notes.contains("bored (too_easy)"), "{notes}");
    assert!(notes.contains("version 7.0.0"), "{notes}");
    let verdict = |report: &LoggedReport, name| report.report.parameter(name).unwrap().verdict;
    assert_eq!(verdict(&found, "moves"), verdict(&before, "moves"));
    assert_eq!(found.report.parameter("rests").unwrap().dtype, None);
    assert!(
        found
            .recorded
            .iter()
            .all(|recorded| recorded.variable != "G/rests")
    );
}
