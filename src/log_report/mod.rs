//! The weight report recomputed from the event files of a run: what its tags say, step by step,
//! before the same rules that judge while training runs.

mod declared;
mod distribution;
mod index;
mod limits;
mod model;
mod own_report;
mod recorded;
mod recorded_verdict;
mod sessions;
mod sighting;
mod v0_1;
mod variable;
mod variable_name;

use std::path::{Path, PathBuf};

pub use crate::log_report::recorded_verdict::RecordedVerdict;
pub use crate::log_report::variable_name::VariableName;

use crate::analysis::tag_parts::WEIGHT_REPORT;
use crate::error::Result;
use crate::format::event_file::ReadError;
use crate::log_report::index::Index;
use crate::log_report::recorded::Recorded;
use crate::log_report::sessions::Sessions;
use crate::options::{Pattern, Selection, WeightOptions};
use crate::proto::{Event, Summary, event::What};
use crate::read::plugin::Plugin;
use crate::read::{PointValue, Run, RunReader};
use crate::report::{Thresholds, Verdict, WeightReport};
use crate::summary::private;

/// The weight report of a run, recomputed from its event files.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LoggedReport {
    /// As [`Logger::weight_report`](crate::Logger::weight_report) gives it. Its notes say what the
    /// log does not allow to decide. Without variables where the log has no weights.
    pub report: WeightReport,
    /// Where `report` was judged from points: what the report that the run itself has written last
    /// says otherwise of a variable, where either of them sees a fault. The run has seen gradients
    /// and elements that are in no log.
    pub recorded: Vec<RecordedVerdict>,
    /// All variables of the log, also those that [`select`](WeightOptions::select) and
    /// [`exclude`](WeightOptions::exclude) left out: the names that patterns match, with the scope
    /// or without it. Of those left out, 10 000 at most.
    pub variables: Vec<VariableName>,
}

impl LoggedReport {
    /// The verdicts that are faults: those of the report, and those that the run has recorded.
    pub fn faults(&self) -> impl Iterator<Item = Verdict> {
        let recomputed = self.report.parameters.iter().map(|one| one.verdict);
        let findings = self.report.findings.iter().map(|finding| finding.verdict);
        let recorded = self.recorded.iter().map(|recorded| recorded.verdict);
        recomputed
            .chain(findings)
            .chain(recorded)
            .filter(|verdict| verdict.is_fault())
    }
}

/// Recomputes the weight report of a run event by event, with an eye on errors and on how far it
/// is.
///
/// [`Run::weight_report`] does it in one call. Logs of this crate give the verdicts, reasons and
/// findings that the run itself recorded: it has seen gradients and single elements. Where there is
/// no such record, or with [`recompute`](ReportReader::recompute), other thresholds or a part of
/// the variables, the points are judged by the same rules, as far as they say enough
/// ([`log_gradients`](crate::Logger::log_gradients) helps). Histograms that
/// others have written (`add_histogram` of torch and tensorboardX) show which variables move
/// between points. The notes of the report say what could not be decided. Memory is bounded by the
/// number of variables, of which 10 000 are judged.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// use tch_tensorboard::{LogDir, Logger, ReportReader, Verdict};
///
/// let logger = Logger::create(path.join("run"))?;
/// for step in 0..30 {
///     let weights = [("moves", vec![1.0 / (step + 1) as f32]), ("rests", vec![1.0])];
///     logger.log_weights(&weights[..], step)?;
/// }
/// logger.close()?;
///
/// for run in LogDir::open(path)?.runs() {
///     let mut reader = ReportReader::new(run);
///     while let Some(read) = reader.read_event() {
///         if let Err(error) = read {
///             eprintln!("{error}"); // one file is damaged; reading goes on
///         }
///     }
///     let found = reader.finish();
///     println!("{}", found.report);
///     assert_eq!(found.report.parameter("moves").map(|one| one.verdict), Some(Verdict::Learning));
///     assert_eq!(found.faults().count(), 2); // the verdict of "rests", and the finding
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReportReader {
    run: PathBuf,
    events: RunReader,
    sessions: Sessions,
    /// The files could not be listed, which the next event reports.
    unlisted: Option<ReadError>,
    judge: Judge,
}

/// What was read, whatever it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    index: Index,
    recorded: Recorded,
    /// The points alone are judged.
    recomputes: bool,
}

impl ReportReader {
    /// Begins with the first file of a run.
    pub fn new(run: &Run) -> ReportReader {
        let (files, unlisted) = match run.files() {
            Ok(files) => (files, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        ReportReader {
            run: run.path().to_owned(),
            events: run.events().listing_reported(unlisted.is_some()),
            sessions: Sessions::of(&files),
            unlisted,
            judge: Judge::new(),
        }
    }

    /// Chooses as in writing: variables by [`select`](WeightOptions::select) and
    /// [`exclude`](WeightOptions::exclude), which the report then takes for the whole model, and
    /// [`thresholds`](WeightOptions::thresholds). With others than the defaults, or a part of the
    /// variables, the points are judged anew.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption).
    pub fn options(mut self, options: WeightOptions) -> Result<ReportReader> {
        self.judge.recomputes |= options.thresholds != Thresholds::default();
        self.judge.index.selection = Selection::new(options)?;
        Ok(self)
    }

    /// Variables that are not meant to move, where the log does not say so itself.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption).
    pub fn frozen<I>(mut self, patterns: I) -> Result<ReportReader>
    where
        I: IntoIterator,
        I::Item: Into<Pattern>,
    {
        let patterns: Vec<Pattern> = patterns.into_iter().map(Into::into).collect();
        self.judge.recomputes |= !patterns.is_empty();
        self.judge.index.set_frozen(patterns)?;
        Ok(self)
    }

    /// Whether to judge the points alone, as the log of another writer, also where the run has
    /// recorded its own report. [`LoggedReport::recorded`] then says where the two differ.
    #[must_use]
    pub fn recompute(mut self, recompute: bool) -> ReportReader {
        self.judge.recomputes = recompute;
        self
    }

    /// Whether to go on behind damage within a file: see [`RunReader::resync`].
    #[must_use]
    pub fn resync(mut self, resync: bool) -> ReportReader {
        self.events = self.events.resync(resync);
        self
    }

    /// Reads the next event. `None` when nothing more is there; an error is about one file, and
    /// reading goes on behind it.
    pub fn read_event(&mut self) -> Option<std::result::Result<(), ReadError>> {
        if let Some(error) = self.unlisted.take() {
            return Some(Err(error));
        }
        Some(self.events.next()?.map(|event| self.take(event)))
    }

    /// The reader underneath, to ask where it is.
    pub fn events(&self) -> &RunReader {
        &self.events
    }

    fn take(&mut self, event: Event) {
        if !self.sessions.is_empty()
            && let Some((file, _)) = self.events.position()
            && self.sessions.took_back(file, event.step)
        {
            return;
        }
        self.judge.take(event);
    }

    /// The report over what was read so far. Reading can go on, as a run grows:
    /// [`read_event`](ReportReader::read_event) gives what was appended since it returned `None`.
    /// Takes a copy of what is known of each variable, so it is for now and then.
    pub fn report(&self) -> LoggedReport {
        self.judge.clone().finish(&self.run)
    }

    /// The report over what was read.
    pub fn finish(self) -> LoggedReport {
        self.judge.finish(&self.run)
    }
}

impl Judge {
    pub(crate) fn new() -> Judge {
        Judge {
            index: Index::new(Selection::default()),
            recorded: Recorded::default(),
            recomputes: false,
        }
    }

    pub(crate) fn take(&mut self, event: Event) {
        let Some(What::Summary(Summary { value: mut values })) = event.what else {
            return;
        };
        for value in values.extract_if(.., |value| private::is_tag(&value.tag)) {
            if let Some(record) = private::record(&value) {
                self.index.take_record(event.step, &record);
            }
        }
        let texts = values.extract_if(.., |value| value.tag == WEIGHT_REPORT);
        for value in texts {
            if let PointValue::Text(cells) = PointValue::of(value, Some(Plugin::Text)) {
                self.recorded.take(event.step, cells);
            }
        }
        self.index.take(event.step, values);
    }

    pub(crate) fn finish(mut self, run: &Path) -> LoggedReport {
        let variables = self.index.names().into_iter().collect();
        let models = &mut self.index.models;
        models.iter_mut().for_each(|model| model.judge());
        // Histograms beside weights that this crate has logged are of something else.
        let has_own = models
            .iter()
            .any(|model| !model.is_foreign && model.has_members());
        models.retain(|model| model.has_members() && model.is_foreign != has_own);
        let mut report = WeightReport::default();
        for model in models.iter() {
            model.report(run, &mut report);
        }
        let is_whole = !self.index.selection.is_narrowed();
        let declared = &self.index.declared;
        if declared.judged().next().is_some() && is_whole && !self.recomputes {
            report.notes.clear();
            own_report::take_over(declared, run, &mut report);
            limits::note_unread(&self.index, &mut report);
            return LoggedReport {
                report,
                recorded: Vec::new(),
                variables,
            };
        }
        if !declared.is_empty() {
            self.recorded = Recorded::of(declared);
        }
        let recorded = self.recorded.differences(&report, is_whole);
        limits::note(&self.index, &self.recorded, &recorded, &mut report);
        LoggedReport {
            report,
            recorded,
            variables,
        }
    }
}

impl Run {
    /// The weight report recomputed from the run's event files: see [`ReportReader`], which also
    /// goes on behind damage.
    ///
    /// # Errors
    /// The first [`ReadError`] but for a half-written last record.
    pub fn weight_report(&self) -> std::result::Result<LoggedReport, ReadError> {
        let mut reader = ReportReader::new(self);
        while let Some(read) = reader.read_event() {
            read.or_else(|error| match error.is_truncated() {
                true => Ok(()),
                false => Err(error),
            })?;
        }
        Ok(reader.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::summary::{Value, value::Value as Field};
    use crate::proto::{HistogramProto, SummaryMetadata};
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = String> {
        let first = prop::sample::select(vec![
            "weights/",
            "weight_deltas/",
            "weight_gradients/",
            "weight_mean/",
            "weight_std/",
            "weight_norm/",
            "weight_delta_mean/",
            "weight_delta_std/",
            "weight_update_ratio_log10/",
            "weight_changed_fraction/",
            "weight_nonfinite/",
            "weight_gradient_norm/",
            "weight_gradient_nonfinite/",
            "model/",
            "",
            "grads/",
            "a/",
        ]);
        let last = prop::sample::select(vec![
            "w",
            "w.grad",
            "G/w",
            "findings",
            "G/findings",
            "h.*.w",
            "h.*.w/weight_std",
            "h.*.w/changed_fraction",
            "learning_rate",
            "G/learning_rate",
            "",
            "/",
        ]);
        (first, last).prop_map(|(first, last)| format!("{first}{last}"))
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(0.0),
            Just(-8.0),
            Just(1.0),
            Just(f64::MAX),
            Just(f64::NEG_INFINITY),
            Just(f64::NAN),
            any::<f64>(),
            -1.0..1.0_f64,
        ]
    }

    fn field() -> impl Strategy<Value = Field> {
        let histogram = (prop::array::uniform5(number()), number()).prop_map(
            |([min, max, num, sum, squares], at)| {
                Field::Histo(HistogramProto {
                    min,
                    max,
                    num,
                    sum,
                    sum_squares: squares,
                    bucket_limit: vec![at],
                    bucket: vec![num],
                })
            },
        );
        prop_oneof![
            number().prop_map(|number| Field::SimpleValue(number as f32)),
            histogram
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let description = prop::sample::select(vec![
            "",
            crate::model::statistic::WEIGHTS,
            "Variable: f32 9223372036854775807x9223372036854775807x2, trainable.",
            "Variable: bf16 0x3, frozen.",
            "Variable: f64 scalar, buffer.",
        ]);
        (tag(), description, field()).prop_map(|(tag, description, field)| Value {
            tag,
            metadata: Some(SummaryMetadata {
                summary_description: description.to_owned(),
                ..Default::default()
            }),
            value: Some(field),
        })
    }

    proptest! {
        // Whatever a file says: a report comes of it, and its numbers are numbers.
        #[test]
        fn any_values_give_a_report(
            events in prop::collection::vec(
                (0..40_i64, prop::collection::vec(value(), 0..12)),
                0..60,
            )
        ) {
            let mut judge = Judge::new();
            for (step, value) in events {
                let what = Some(What::Summary(Summary { value }));
                judge.take(Event { step, what, ..Default::default() });
            }
            let found = judge.finish(Path::new("run"));
            for one in &found.report.parameters {
                for number in [one.mean, one.std, one.norm, one.update_ratio, one.drift] {
                    prop_assert!(number.is_none_or(|number| !number.is_nan()), "{one:?}");
                }
            }
            let _ = (found.report.to_string(), found.report.to_markdown());
        }
    }
}
