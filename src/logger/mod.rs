//! The front door: what a training loop calls.

mod announcer;
mod board_url;
pub(crate) mod builder;
#[cfg(feature = "checkpoint")]
mod comparisons;
mod core;
mod dashboards;
mod findings;
mod greeting;
mod models;
mod once;
mod opening;
mod payload_call;
mod pictures;
mod visit;
mod weights;

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, Result};
use crate::logger::board_url::board_url;
use crate::logger::core::{Core, RunHandle, lock};
use crate::logger::models::Models;
use crate::model::types::{Step, WallTime};
use crate::report::WeightReport;
use crate::run::entry::RunEntry;
use crate::run::health::Stats;
use crate::source::element_source::{FetchedScalar, PendingScalar};
use crate::source::values::{Scalar, ScalarValue, Values};
use crate::summary::histograms::HistogramValues;
use crate::summary::hparams::Status;
use crate::summary::scalars::DeviceScalar;
use crate::summary::text::Markdown;
use crate::summary::{TagText, TaggedPayload};
use crate::worker::Command;
use crate::worker::queue::Pushed;

/// Logs one run: scalars, histograms, and the weights of models.
///
/// Clones share one writer, and calls may come from any thread. Dropping the last clone writes what
/// is left; [`close`](Logger::close) does the same and says how it went.
///
/// The `log_*` calls return an error only for a mistake in the call (an empty tag, a complex
/// tensor, a closed logger). What data or a disk can cause is reported to
/// [`on_error`](crate::LoggerBuilder::on_error) and counted in [`stats`](Logger::stats), so that
/// `?` in a training loop never ends it. [`flush`](Logger::flush) and [`close`](Logger::close)
/// return it where something waits or is lost.
#[doc(alias("SummaryWriter", "FileWriter", "EventFileWriter"))]
pub struct Logger {
    core: Arc<Core>,
    run: Arc<RunHandle>,
    models: Arc<Models>,
    /// The losses that `flush` has returned to whoever holds this handle.
    acknowledged: AtomicU64,
    /// When what this handle logs was measured; `None` for the time of each call.
    wall_time: Option<WallTime>,
}

impl Clone for Logger {
    fn clone(&self) -> Logger {
        self.with(self.run.clone(), self.models.clone())
    }
}

/// A panic while a call is under way leaves the logger whole: nothing behind its locks can be half
/// changed, and a callback that panics is contained. So it may be used in `catch_unwind`, as test
/// harnesses and servers do.
impl UnwindSafe for Logger {}
impl RefUnwindSafe for Logger {}

impl Logger {
    /// The directory this logger writes to.
    pub fn logdir(&self) -> &Path {
        &self.run.directory
    }

    /// The step to go on with after [`resume`](crate::LoggerBuilder::resume): the first one that
    /// may be logged. `None` when the run is a new one.
    pub fn resumed_at(&self) -> Option<i64> {
        self.run.resumed_at
    }

    /// A logger for another model of the same run: its weights are shown as
    /// `weights/<name>/<variable>`, its own scalars as `<name>/<tag>`. Steps and history are apart.
    /// Scopes nest; the same name gives the same scope.
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty name or one that begins or ends with `/`.
    pub fn scoped(&self, name: &str) -> Result<Logger> {
        if name.is_empty() || name.starts_with('/') || name.ends_with('/') {
            let reason = "a scope needs a name that neither begins nor ends with '/'";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason: reason.into(),
            });
        }
        let scope = match &*self.models.scope {
            "" => name.to_owned(),
            outer => format!("{outer}/{name}"),
        };
        let models = self.core.models(&self.run, &scope);
        Ok(self.with(self.run.clone(), models))
    }

    /// A logger for a directory below, such as `val`: TensorBoard shows the same tag of both in one
    /// chart. It shares the writer thread; the same name gives the same sub-run.
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for a name that is no relative path downwards, and what
    /// [`Logger::create`] can return.
    pub fn subrun(&self, name: &str) -> Result<Logger> {
        let below = Path::new(name);
        if name.is_empty()
            || !below
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        {
            let reason = "a sub-run needs a name below the run: no '..', no absolute path";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason: reason.into(),
            });
        }
        self.core.check_may_wait("subrun", &self.run)?;
        let wanted = self.run.directory.join(below);
        let _making = lock(&self.core.making_subrun);
        let known = self.core.registry().runs.get(&wanted).cloned();
        let run = match known {
            Some(run) => run,
            None => {
                let (opened, resumed_at) = self.core.opening.open_run(&wanted)?;
                let run = self.core.open(opened, resumed_at)?;
                self.core.registry().runs.insert(wanted, run.clone());
                run
            }
        };
        let models = self.core.models(&run, &self.models.scope);
        Ok(self.with(run, models))
    }

    /// Another handle of the same writer.
    fn with(&self, run: Arc<RunHandle>, models: Arc<Models>) -> Logger {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        Logger {
            core: self.core.clone(),
            run,
            models,
            acknowledged: AtomicU64::new(acknowledged),
            wall_time: self.wall_time,
        }
    }

    /// A logger of which all calls have this wall time, rather than that of the call: for what was
    /// measured earlier, such as the log of another program.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// use std::time::{Duration, UNIX_EPOCH};
    ///
    /// for (secs, loss) in [(1_700_000_000, 0.7), (1_700_000_060, 0.4)] {
    ///     let then = logger.at_time(UNIX_EPOCH + Duration::from_secs(secs));
    ///     then.log_scalar("loss", loss, secs)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "walltime")]
    pub fn at_time(&self, time: SystemTime) -> Logger {
        let mut then = self.clone();
        then.wall_time = Some(WallTime::of(time));
        then
    }

    /// Describes a tag, of any dashboard: a title that the classic dashboards show in place of the
    /// tag, and a text in Markdown behind its information icon. Either may be empty. Call it before
    /// the first value of the tag: TensorBoard keeps what comes with that.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// logger.describe_tag("loss/train", "Training loss", "Cross entropy, **with** smoothing.")?;
    /// logger.log_scalar("loss/train", 0.7, 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty tag, [`Error::Closed`] for a closed logger.
    #[doc(alias = "summary_description")]
    pub fn describe_tag(&self, tag: &str, display_name: &str, description: &str) -> Result<()> {
        let call = self.begin_of_run(tag)?;
        let text = TagText {
            display_name: display_name.into(),
            description: description.into(),
        };
        let tag = self.full_tag(tag);
        call.send_whole(RunEntry::Text(tag, text)).map(drop)
    }

    /// The wall time of a call.
    fn now(&self) -> WallTime {
        self.wall_time.unwrap_or_else(WallTime::now)
    }

    /// Logs one number, or a tensor of one element, without waiting for its device. Stored as
    /// `f32`, as TensorBoard knows scalars: integers above 2^24 are rounded, and numbers beyond
    /// 3.4e38 become infinite. Charts mark NaN and infinite points and draw the others as usual.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// for step in 0..3 {
    ///     logger.log_scalar("loss/train", 1.0 / (step + 1) as f64, step)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An empty tag, a step beyond `i64`, a tensor that has not one element or is complex, a closed
    /// logger.
    #[doc(alias = "add_scalar")]
    pub fn log_scalar(&self, tag: &str, value: impl ScalarValue, step: impl Step) -> Result<()> {
        self.log_scalars(&[(tag, value)], step)
    }

    /// Logs several scalars of one step as one event: one wall time, one record. Those on an
    /// accelerator follow in events of their own. For values of several types: `&[("loss",
    /// Scalar::from(&loss)), ("rate", 0.1.into())]`, with [`Scalar`](crate::Scalar).
    ///
    /// # Errors
    /// As [`log_scalar`](Logger::log_scalar); then none of them is logged.
    #[doc(alias("add_scalars", "add_scalar"))]
    pub fn log_scalars<V: ScalarValue>(&self, values: &[(&str, V)], step: impl Step) -> Result<()> {
        let since = Instant::now();
        let wall_time = self.now();
        self.core.check_open(&self.run)?;
        self.core.announce_findings();
        let first = values.first().map_or("", |(tag, _)| tag);
        let step = self.run.check_step(first, step)?;
        let scope = &*self.models.scope;
        let mut waited = Duration::ZERO;
        // By far the most frequent: no list to make.
        if let [(tag, value)] = values {
            match fetch(tag, value)? {
                FetchedScalar::Now(number) if self.repeats_learning_rate(tag, number, step) => {}
                FetchedScalar::Now(number) => {
                    waited = self.push(step, wall_time, [(scope, *tag, number)])?
                }
                FetchedScalar::Later(tensor) => {
                    self.send_device_scalar(tag, tensor, step, wall_time)?;
                }
            }
        } else {
            let (mut numbers, mut tensors) = (Vec::with_capacity(values.len()), Vec::new());
            for (tag, value) in values {
                match fetch(tag, value)? {
                    FetchedScalar::Now(number) if self.repeats_learning_rate(tag, number, step) => {
                    }
                    FetchedScalar::Now(number) => numbers.push((scope, *tag, number)),
                    FetchedScalar::Later(tensor) => tensors.push((tag, tensor)),
                }
            }
            if !numbers.is_empty() {
                waited = self.push(step, wall_time, numbers)?;
            }
            for (tag, tensor) in tensors {
                self.send_device_scalar(tag, tensor, step, wall_time)?;
            }
        }
        self.core.shared.health.held(since.elapsed(), waited);
        Ok(())
    }

    /// The worker reads it.
    fn send_device_scalar(
        &self,
        tag: &str,
        tensor: Box<dyn PendingScalar>,
        step: i64,
        wall_time: WallTime,
    ) -> Result<()> {
        self.core.check_process(&self.run)?;
        let payload = TaggedPayload {
            step,
            wall_time,
            tag: self.full_tag(tag),
            description: "".into(),
            payload: Box::new(DeviceScalar(tensor)),
        };
        self.core.send_entry(&self.run, payload.into());
        Ok(())
    }

    fn push<'a>(
        &self,
        step: i64,
        wall_time: WallTime,
        scalars: impl IntoIterator<Item = (&'a str, &'a str, f64)>,
    ) -> Result<Duration> {
        let (queue, on_full) = (&self.core.shared.queue, self.core.on_full());
        let (pushed, waited) = queue.push(self.run.number, step, wall_time, scalars, on_full);
        self.core.count(pushed);
        if pushed == Pushed::Look {
            self.core.check_process(&self.run)?;
        }
        Ok(waited)
    }

    /// Logs the distribution of many values: a tensor of any kind and device, or a slice of
    /// numbers. NaN and infinite elements are left out. Shown in the Histograms and Distributions
    /// dashboards.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// logger.log_histogram("activations/relu1", &[0.0_f32, 0.5, 2.0], 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// An empty tag, a step beyond `i64`, an undefined or complex tensor, a closed logger.
    #[doc(alias = "add_histogram")]
    pub fn log_histogram<V: Values + ?Sized>(
        &self,
        tag: &str,
        values: &V,
        step: impl Step,
    ) -> Result<()> {
        let call = self.begin(tag, step)?;
        let source = values.source();
        let source = source.elements();
        let layout = source.inspect(tag)?;
        let rows = self.core.selection.options.histogram_rows;
        call.send(layout.bytes(), || {
            HistogramValues::copy(tag, source, &layout, rows)
        })
    }

    /// Logs a text in Markdown, shown in the Text dashboard: samples that a model generates, a
    /// table of settings, a note.
    ///
    /// TensorBoard renders headings, lists, tables, links and code, and removes raw HTML. Its fast
    /// loader keeps 100 texts of a tag, its Python loader 10.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// logger.log_text("settings", "| rate | batch |\n| --- | --- |\n| 1e-3 | 64 |", 0)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty tag, [`Error::InvalidStep`] for a step beyond `i64` or
    /// before the one at which the run was resumed, [`Error::Closed`] for a closed logger.
    #[doc(alias = "add_text")]
    pub fn log_text(&self, tag: &str, markdown: &str, step: impl Step) -> Result<()> {
        let call = self.begin(tag, step)?;
        call.send(markdown.len(), || Ok(Markdown(markdown.to_owned())))
    }

    /// What is known of each variable, over all scopes and sub-runs, when everything logged so far
    /// has been analysed.
    ///
    /// # Errors
    /// [`Error::WorkerStopped`]. After [`close`](Logger::close) it is the report of the end.
    pub fn weight_report(&self) -> Result<WeightReport> {
        if !self.core.is_closed() {
            let (answer, report) = sync_channel(1);
            if let Some(report) = self.core.ask(Command::Report(answer), &report) {
                self.core.announce_findings();
                return Ok(report);
            }
        }
        self.try_weight_report()
            .ok_or_else(|| self.core.stopped(&self.run))
    }

    /// The newest report without waiting, at most about a second old; `None` before the first.
    pub fn try_weight_report(&self) -> Option<WeightReport> {
        lock(&self.core.shared.report).as_deref().cloned()
    }

    /// The address of TensorBoard's Time Series page with the telling cards pinned, for a server at
    /// `base` such as `http://localhost:6006`.
    pub fn board_url(&self, base: &str) -> String {
        let (answer, telling) = sync_channel(1);
        let run = self.run.number;
        let asked = Command::Telling { run, answer };
        let tags = if self.core.is_closed() {
            None
        } else {
            self.core.ask(asked, &telling)
        };
        let tags = tags.unwrap_or_else(|| {
            lock(&self.core.shared.telling)
                .get(&run)
                .cloned()
                .unwrap_or_default()
        });
        board_url(base, &tags)
    }

    /// What the logger has done so far, over all clones.
    pub fn stats(&self) -> Stats {
        let costs = &self.core.shared.costs;
        Stats {
            unobserved: costs.unobserved(),
            spent: costs.spent(),
            ..self.core.shared.health.stats()
        }
    }

    /// Returns when everything logged before is in the files, handed to the operating system. `Ok`
    /// acknowledges a checkpoint: all that was logged before it can be read.
    ///
    /// A fault that is over and cost nothing is no error here; [`stats`](Logger::stats) counts it
    /// and [`on_error`](crate::LoggerBuilder::on_error) has reported it.
    ///
    /// # Errors
    /// [`Error::Io`] while something logged before waits in memory for a disk that refuses it; it
    /// is tried again. The error of something lost since the last `flush` of this handle; other
    /// clones return it too. [`Error::Closed`] after [`close`](Logger::close). Calls given up under
    /// [`OnFull::Drop`](crate::OnFull::Drop) are no error.
    pub fn flush(&self) -> Result<()> {
        self.core.check_may_wait("flush", &self.run)?;
        let (answer, flushed) = sync_channel(1);
        let flush = Command::Flush {
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            answer,
        };
        let flushed = self.core.ask(flush, &flushed);
        let flushed = flushed.ok_or_else(|| self.core.stopped(&self.run))?;
        self.core.announce_findings();
        self.acknowledged
            .fetch_max(flushed.acknowledged, Ordering::Relaxed);
        flushed.result
    }

    /// Writes the newest weights if their cadence left them out, flushes, and ends the writer
    /// thread. Other clones are closed with it. A disk that refuses the rest is tried for two
    /// seconds; then the rest is dropped and counted.
    ///
    /// # Errors
    /// The first loss of the run, also when a [`flush`](Logger::flush) has returned it.
    pub fn close(&self) -> Result<()> {
        self.core.check_thread("close", &self.run)?;
        let closed = self.core.close(Status::Success);
        self.core.announce_findings();
        closed.unwrap_or_else(|| Err(self.core.stopped(&self.run)))
    }

    fn full_tag(&self, tag: &str) -> Box<str> {
        match &*self.models.scope {
            "" => tag.into(),
            scope => format!("{scope}/{tag}").into(),
        }
    }
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Logger");
        shown
            .field("logdir", &self.run.directory)
            .field("scope", &self.models.scope)
            .finish_non_exhaustive()
    }
}

fn fetch<V: ScalarValue>(tag: &str, value: &V) -> Result<FetchedScalar> {
    check_tag(tag)?;
    match value.scalar() {
        Scalar::Number(number) => Ok(FetchedScalar::Now(number)),
        Scalar::Source(source) => source.fetch(tag),
    }
}

fn check_tag(tag: &str) -> Result<()> {
    if tag.is_empty() {
        return Err(Error::InvalidTag {
            tag: tag.into(),
            reason: "a tag must not be empty; use a name like \"loss/train\"".into(),
        });
    }
    Ok(())
}
