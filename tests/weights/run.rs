//! A run in a directory of its own, and what it left in its event file.
#![cfg_attr(
    not(feature = "tch"),
    allow(dead_code, reason = "tests with libtorch use the rest")
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tch_tensorboard::proto::{Event, event::What, summary};
use tch_tensorboard::{
    Cadence, LogDir, Logger, LoggerBuilder, OnFull, Overhead, WeightOptions, WeightReport,
};
use tempfile::TempDir;

use crate::common::read_events;

/// A logger whose directory goes away with it.
pub struct Run {
    directory: TempDir,
    logger: Logger,
}

impl Run {
    pub fn new() -> Run {
        Run::with(WeightOptions::new())
    }

    pub fn with(options: WeightOptions) -> Run {
        Run::build(|builder| builder.weights(options))
    }

    /// Every call gets its points: for tests that look at each step.
    pub fn of_every_call() -> Run {
        Run::with(every_call())
    }

    pub fn build(choose: impl FnOnce(LoggerBuilder) -> LoggerBuilder) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let builder = Logger::builder(directory.path().join("run"));
        // No clock decides what a test sees.
        let builder = builder.overhead(Overhead::Unlimited);
        let logger = choose(builder).create().unwrap();
        Run { directory, logger }
    }

    /// What is in the file now.
    pub fn so_far(&self) -> Written {
        self.logger.flush().unwrap();
        Written::read(self.logger.logdir())
    }

    /// Closes the run, whose files must then say of its weights what it says itself.
    pub fn close(&self) -> tch_tensorboard::Result<()> {
        self.logger.close()?;
        let live = self.logger.weight_report()?;
        let log = LogDir::open(self.directory.path()).unwrap();
        for run in log.runs() {
            let found = run.weight_report().unwrap();
            assert_eq!(found.recorded, [], "nothing is left to differ");
            assert_eq!(said(&found.report, run.path()), said(&live, run.path()));
            let unknown = found.report.notes.iter();
            let unknown: Vec<_> = unknown.filter(|note| !live.notes.contains(note)).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
        }
        Ok(())
    }

    pub fn finish(self) -> Written {
        self.close().unwrap();
        let written = Written::read(self.logger.logdir());
        drop(self.directory);
        written
    }
}

/// All that a report says of the weights of one run, but for numbers, which are those of the last
/// points in a log.
fn said(report: &WeightReport, run: &Path) -> Vec<String> {
    let mut said: Vec<String> = report
        .parameters
        .iter()
        .filter(|one| one.run == run)
        .map(|one| {
            format!(
                "{}/{} {:?} {:?} {:?}: {} since {:?}, {}, {:?}",
                one.scope,
                one.name,
                one.shape,
                one.dtype,
                one.role,
                one.verdict,
                one.since,
                one.reason,
                one.remarks()
            )
        })
        .collect();
    let models = report.models.iter().filter(|one| one.run == run);
    said.extend(models.map(|one| format!("{} {:?} {:?}", one.scope, one.step, one.trend)));
    let findings = report.findings.iter().filter(|one| one.run == run);
    said.extend(findings.map(|one| format!("{one:?}")));
    said
}

impl Deref for Run {
    type Target = Logger;

    fn deref(&self) -> &Logger {
        &self.logger
    }
}

pub fn every_call() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall)
}

/// What stands in the event file of a run directory.
pub struct Written {
    pub events: Vec<Event>,
    pub values: Vec<(i64, summary::Value)>,
    scalars: BTreeMap<String, Vec<(i64, f32)>>,
}

impl Written {
    pub fn read(directory: &Path) -> Written {
        let events = read_events(directory);
        let mut values = Vec::new();
        for event in &events {
            if let Some(What::Summary(summary)) = &event.what {
                values.extend(
                    summary
                        .value
                        .iter()
                        .map(|value| (event.step, value.clone())),
                );
            }
        }
        let mut scalars: BTreeMap<String, Vec<(i64, f32)>> = BTreeMap::new();
        for (step, value) in &values {
            if let Some(summary::value::Value::SimpleValue(scalar)) = value.value {
                let points = scalars.entry(value.tag.clone()).or_default();
                points.push((*step, scalar));
            }
        }
        Written {
            events,
            values,
            scalars,
        }
    }

    /// All tags but those of the layout, of the verdicts and of the map, which have tests of
    /// their own.
    pub fn tags(&self) -> BTreeSet<String> {
        let shown = self.values.iter().filter(|(_, value)| !is_private(value));
        let tags = shown.map(|(_, value)| value.tag.clone());
        tags.filter(|tag| {
            !["custom_scalars__config__", "weight_report"].contains(&tag.as_str())
                && !tag.ends_with("model/findings")
                && !tag.starts_with("weight_map")
        })
        .collect()
    }

    pub fn tags_of_step(&self, step: i64) -> BTreeSet<String> {
        let tags = self.tags();
        let of_step = self.values.iter().filter(|(at, _)| *at == step);
        of_step
            .map(|(_, value)| value.tag.clone())
            .filter(|tag| tags.contains(tag))
            .collect()
    }

    pub fn has(&self, tag: &str) -> bool {
        self.values.iter().any(|(_, value)| value.tag == tag)
    }

    /// The points of a scalar; empty when there are none.
    pub fn scalar(&self, tag: &str) -> &[(i64, f32)] {
        self.scalars.get(tag).map_or(&[], Vec::as_slice)
    }

    /// The scalar of one step. Panics when there is none, or more than one.
    pub fn at(&self, tag: &str, step: i64) -> f32 {
        let points: Vec<f32> = self
            .scalar(tag)
            .iter()
            .filter(|(at, _)| *at == step)
            .map(|(_, value)| *value)
            .collect();
        match points.as_slice() {
            [one] => *one,
            other => panic!("{tag} has {other:?} at step {step}"),
        }
    }

    /// The steps at which a tag has a value, in the order of the file.
    pub fn steps(&self, tag: &str) -> Vec<i64> {
        let of_tag = self.values.iter().filter(|(_, value)| value.tag == tag);
        of_tag.map(|(step, _)| *step).collect()
    }

    /// The rows `[left, right, count]` of the histogram of one step. Panics when there is not one.
    pub fn histogram(&self, tag: &str, step: i64) -> Vec<[f64; 3]> {
        let mut found = self
            .values
            .iter()
            .filter(|(at, value)| *at == step && value.tag == tag);
        let (Some((_, value)), None) = (found.next(), found.next()) else {
            panic!("{tag} has not one histogram at step {step}");
        };
        let Some(summary::value::Value::Tensor(tensor)) = &value.value else {
            panic!("{tag} is no tensor");
        };
        let numbers: Vec<f64> = tensor
            .tensor_content
            .chunks_exact(8)
            .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let rows: Vec<[f64; 3]> = numbers
            .chunks_exact(3)
            .map(|row| row.try_into().unwrap())
            .collect();
        let shape: Vec<i64> = tensor
            .tensor_shape
            .iter()
            .flat_map(|shape| shape.dim.iter().map(|dim| dim.size))
            .collect();
        assert_eq!(shape, [rows.len() as i64, 3]);
        rows
    }
}

/// A worker that stands still until it is let go: its error callback waits.
pub struct Stall {
    entered: Receiver<()>,
    go: SyncSender<()>,
}

impl Stall {
    /// A run whose worker stands still on the return of this call.
    pub fn run(on_full: OnFull, options: WeightOptions) -> (Run, Stall) {
        let (tell_entered, entered) = sync_channel::<()>(1);
        let (go, wait) = sync_channel::<()>(1);
        let wait = std::sync::Mutex::new(wait);
        let run = Run::build(|builder| {
            builder
                .on_full(on_full)
                .weights(options)
                .on_error(move |_| {
                    let _ = tell_entered.send(());
                    // An end of the test without `release` lets go, too.
                    let _ = wait.lock().unwrap().recv();
                })
        });
        // One tag for both kinds is refused on the worker's side, which is told to the callback.
        run.log_histogram("clash", &[1.0_f32], 0).unwrap();
        run.log_scalar("clash", 1.0, 0).unwrap();
        entered.recv().unwrap();
        (run, Stall { entered, go })
    }

    pub fn release(self) {
        drop(self.go);
        drop(self.entered);
    }
}

/// The record for this crate's own reader, which no dashboard shows; `tests/private_record.rs` is
/// about it.
pub fn is_private(value: &summary::Value) -> bool {
    value.tag.split('/').next() == Some("tch_tensorboard")
}
