//! The front door: what a training loop calls.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::buffer::{Budget, Buffer};
use crate::error::{Error, Result};
use crate::health::{Health, OnError, Stats};
use crate::history::History;
use crate::logdir::{claim_again, claim_run};
use crate::named_tensors::NamedTensors;
use crate::options::{Selection, WeightOptions};
use crate::report::{Finding, WeightReport};
use crate::run::{FileOptions, Opened};
use crate::scalar_queue::{Pushed, ScalarQueue};
use crate::tensor::{Fetched, Tensor, fetch_scalar};
use crate::types::{Existing, OnFull, Step, SyncPolicy, WallTime};
use crate::values::{Facts, Scalar, ScalarValue, Source, Values, Way};
use crate::weights::capture::{Capture, Captured, Subject};
use crate::worker::{self, Closing, Command, Shared, Worker};

/// Commands that may wait. Snapshots and values are bounded by their memory before they get here.
const QUEUE: usize = 1024;

/// How long what was logged stays out of the files at most, unless set otherwise.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Shorter ones are only work, longer ones a mistake in the unit.
const FLUSH_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// A file is to hold more than the descriptions of its tags.
const LEAST_MAX_FILE_BYTES: u64 = 1 << 16;

/// What an address need not escape (RFC 3986, unreserved characters) is left readable.
const UNRESERVED_KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Logs one run: scalars, histograms, and the weights of models.
///
/// Clones share one writer, and calls may come from any thread. Dropping the last clone writes what is left;
/// [`close`](Logger::close) does the same and says how it went.
///
/// The `log_*` calls return an error only for a mistake in the call (an empty tag, a complex tensor, a closed logger).
/// What data or a disk can cause is told to [`on_error`](LoggerBuilder::on_error), counted in [`stats`](Logger::stats) and
/// returned by [`flush`](Logger::flush) and [`close`](Logger::close), so that `?` in a training loop never ends it.
#[derive(Clone)]
pub struct Logger {
    core: Arc<Core>,
    run: Arc<RunHandle>,
    models: Arc<Models>,
}

/// A panic while a call is under way leaves the logger whole: nothing behind its locks can be half changed, and a callback
/// that panics is contained. So it may be used in `catch_unwind`, as test harnesses and servers do.
impl UnwindSafe for Logger {}
impl RefUnwindSafe for Logger {}

/// What all clones share.
struct Core {
    commands: SyncSender<Command>,
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
    registry: Mutex<Registry>,
    /// Held while a sub-run's directory is made, so that two threads do not make it twice.
    opening: Mutex<()>,
    selection: Arc<Selection>,
    opening_of: OpeningOf,
    on_full: OnFull,
    /// The process that started the worker: a forked child has no such thread.
    process: u32,
}

/// How directories are taken and files begun, the first run's and its sub-runs'.
#[derive(Clone, Copy)]
struct OpeningOf {
    existing: Existing,
    resume: Option<Resume>,
    files: FileOptions,
}

/// Where a run is gone on with.
#[derive(Clone, Copy)]
enum Resume {
    /// Behind what its files hold.
    AtTheirEnd,
    /// At this step, which is logged next.
    At(i64),
}

#[derive(Default)]
struct Registry {
    runs: HashMap<PathBuf, Arc<RunHandle>>,
    run_count: u32,
    models: HashMap<(u32, Arc<str>), Arc<Models>>,
    watches: u32,
}

struct RunHandle {
    number: u32,
    directory: PathBuf,
    /// Earlier steps stand in the files already: logging one of them makes the fast loader forget those behind it.
    resumed_at: Option<i64>,
}

impl RunHandle {
    fn check_step(&self, what: &str, step: impl Step) -> Result<i64> {
        let step = check_step(what, step)?;
        match self.resumed_at {
            Some(resumed_at) if step < resumed_at => Err(Error::InvalidStep {
                what: what.into(),
                step: step.into(),
                reason: format!(
                    "this run was resumed at step {resumed_at} and holds the ones before; begin the loop at \
                     logger.resumed_at(), or resume_from an earlier step"
                )
                .into(),
            }),
            _ => Ok(step),
        }
    }
}

/// What is logged of the models of one scope.
struct Models {
    scope: Arc<str>,
    weights: Mutex<Channel>,
    gradients: Mutex<Channel>,
    learning_rate: Mutex<LearningRate>,
    /// [`Logger::new_baseline`] was called since then.
    rebase: AtomicBool,
}

/// As the user told it.
#[derive(Debug, Clone, Copy, Default)]
struct LearningRate {
    value: Option<f64>,
    /// Since the last call of `log_weights`.
    is_new: bool,
}

/// One subject of one scope on its way to the worker.
struct Channel {
    capture: Capture,
    /// The number the worker knows it by, from the first call on.
    watch: Option<u32>,
}

/// Chooses how a [`Logger`] is made; see [`Logger::builder`].
#[must_use = "call create() to make the logger"]
pub struct LoggerBuilder {
    logdir: PathBuf,
    existing: Existing,
    resume: Option<Resume>,
    on_full: OnFull,
    weights: WeightOptions,
    threads: usize,
    flush_interval: Duration,
    files: FileOptions,
    on_error: OnError,
}

impl LoggerBuilder {
    /// What to do when the directory holds a run already. Default: [`Existing::Number`].
    pub fn existing(mut self, existing: Existing) -> LoggerBuilder {
        self.existing = existing;
        self
    }

    /// Goes on with the run in the directory, which crashed or was closed, in a further file; begins one when there is none.
    /// [`Logger::resumed_at`] tells the step to go on with: the one after the newest if the run was closed, else the newest
    /// itself, since the process may have ended between two calls for it. What stands in the files from there on is taken
    /// back, as far as TensorBoard allows:
    ///
    /// - Its Python loader forgets every point of that step and later, when it meets the new session.
    /// - Its fast loader forgets them tag by tag, with the first new point of each tag. A tag that is not logged again keeps
    ///   its points, and logging an earlier step would make it forget the later ones: so that is an error here.
    ///
    /// All files of the run are read once for this. A torn tail stays where it is; the new file sorts behind it. Weights of the
    /// last few steps may have waited in memory when the process ended and are missing; [`resume_from`](Self::resume_from)
    /// the step of the checkpoint that training starts from, and they are logged again.
    ///
    /// Weight deltas start anew: the first call of `log_weights` writes none, and drift counts from that call. Sub-runs are
    /// resumed at the same step. [`existing`](Self::existing) has no say.
    pub fn resume(mut self) -> LoggerBuilder {
        self.resume = Some(Resume::AtTheirEnd);
        self
    }

    /// As [`resume`](Self::resume), at a step of your choice: the first one that will be logged. After a checkpoint that was
    /// saved behind step 1000 it is 1001.
    ///
    /// TensorBoard's fast loader goes on showing what was logged beyond, of tags that are not logged again and up to the first
    /// new point of those that are.
    pub fn resume_from(mut self, step: i64) -> LoggerBuilder {
        self.resume = Some(Resume::At(step));
        self
    }

    /// How long what was logged stays out of the files at most, from 1 ms to an hour: what a killed process loses, beside the
    /// snapshots that wait to be analysed. Files are written earlier where 1 MB waits. Default: 200 ms.
    pub fn flush_interval(mut self, interval: Duration) -> LoggerBuilder {
        self.flush_interval = interval;
        self
    }

    /// When what was written is forced onto the device: what a crash of the machine can lose. Default:
    /// [`SyncPolicy::Never`].
    pub fn sync(mut self, policy: SyncPolicy) -> LoggerBuilder {
        self.files.sync = policy;
        self
    }

    /// Goes on in a further file once one has grown to this many bytes, at least 65 536. A file exceeds it by one call's
    /// records at most. The names sort in the order of writing, tags are described in each file, and TensorBoard shows the
    /// files of a directory as one run. A crash loses no more than with one file. Default: one file for each run.
    pub fn max_file_bytes(mut self, bytes: u64) -> LoggerBuilder {
        self.files.max_bytes = Some(bytes);
        self
    }

    /// What to do when the writer thread is behind. Default: [`OnFull::Block`].
    pub fn on_full(mut self, on_full: OnFull) -> LoggerBuilder {
        self.on_full = on_full;
        self
    }

    /// What `log_weights` and `log_gradients` write.
    pub fn weights(mut self, options: WeightOptions) -> LoggerBuilder {
        self.weights = options;
        self
    }

    /// How many threads analyse the weights of a large model, 1 to 64. Default 1: training has the other cores.
    pub fn threads(mut self, threads: usize) -> LoggerBuilder {
        self.threads = threads;
        self
    }

    /// Called, on the writer thread, with each new failure of the disk, not again until it has worked in between, and with
    /// each tag that is used for two things, once. Default: one line on stderr.
    ///
    /// Calls of the logger that wait for the writer thread (`flush`, `close`, `log_weights`, `subrun`) return
    /// [`Error::OnWriterThread`] in the callback. A callback that owns a clone of the logger keeps it alive: then only
    /// [`close`](Logger::close) ends the run. A panic in the callback is contained.
    pub fn on_error(mut self, on_error: impl Fn(&Error) + Send + Sync + 'static) -> LoggerBuilder {
        self.on_error = Box::new(on_error);
        self
    }

    /// Takes the directory, makes its event file and starts the writer thread.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a pattern or number that makes no sense, [`Error::Io`] when the directory or file
    /// cannot be made, [`Error::RunExists`] under [`Existing::Fail`], [`Error::RunInUse`] when the run to be resumed is
    /// still being written.
    pub fn create(self) -> Result<Logger> {
        self.check_numbers()?;
        let selection = Arc::new(Selection::new(self.weights)?);
        let opening_of = OpeningOf {
            existing: self.existing,
            resume: self.resume,
            files: self.files,
        };
        let (opened, resumed_at) = opening_of.open_run(&self.logdir)?;
        let shared = Arc::new(Shared {
            scalars: ScalarQueue::default(),
            budget: Budget::default(),
            health: Health::new(self.on_error),
            calls: AtomicUsize::new(0),
            report: Mutex::default(),
            findings: Mutex::default(),
            telling: Mutex::default(),
        });
        let (commands, queue) = sync_channel(QUEUE);
        let worker = Worker::new(
            shared.clone(),
            selection.clone(),
            self.threads,
            self.flush_interval,
        );
        let thread = std::thread::Builder::new().name("tch-tensorboard".into());
        let thread = thread
            .spawn(move || worker.run(&queue))
            .map_err(|error| Error::io("start a writer thread for", opened.directory(), error))?;
        let core = Core {
            commands,
            shared,
            worker: Mutex::new(Some(thread)),
            closed: AtomicBool::new(false),
            registry: Mutex::default(),
            opening: Mutex::default(),
            selection,
            opening_of: opening_of.below(resumed_at),
            on_full: self.on_full,
            process: std::process::id(),
        };
        let run = core.open(opened, resumed_at)?;
        let models = core.models(&run, "");
        Ok(Logger {
            core: Arc::new(core),
            run,
            models,
        })
    }

    fn check_numbers(&self) -> Result<()> {
        let refused = |option, reason: String| {
            Err(Error::InvalidOption {
                option,
                reason: reason.into(),
            })
        };
        if !(1..=64).contains(&self.threads) {
            return refused("threads", format!("{} is not in 1..=64", self.threads));
        }
        if !FLUSH_INTERVALS.contains(&self.flush_interval) {
            let reason = format!("{:?} is not between 1 ms and an hour", self.flush_interval);
            return refused("flush_interval", reason);
        }
        match self.files.max_bytes {
            Some(bytes) if bytes < LEAST_MAX_FILE_BYTES => refused(
                "max_file_bytes",
                format!("{bytes} is less than {LEAST_MAX_FILE_BYTES}; give it in bytes"),
            ),
            _ => Ok(()),
        }
    }
}

impl OpeningOf {
    /// Takes a directory and makes its event file. A directory whose file cannot be made is given back.
    fn open_run(&self, logdir: &Path) -> Result<(Opened, Option<i64>)> {
        let Some(resume) = self.resume else {
            let claim = claim_run(logdir, self.existing)?;
            let opened = Opened::new(claim, History::default(), None, self.files)?;
            return Ok((opened, None));
        };
        let claim = claim_again(logdir)?;
        let history = History::read(claim.directory())?;
        let step = match resume {
            Resume::AtTheirEnd => history.next_step(),
            Resume::At(step) => Some(step),
        };
        Ok((Opened::new(claim, history, step, self.files)?, step))
    }

    /// The same for sub-runs: they go on at the step at which the run does.
    fn below(mut self, resumed_at: Option<i64>) -> OpeningOf {
        if let (Some(resume), Some(step)) = (&mut self.resume, resumed_at) {
            *resume = Resume::At(step);
        }
        self
    }
}

impl Logger {
    /// Logs to a directory with the defaults: `runs/cnn`, or `runs/cnn_2` when that one holds a run already.
    ///
    /// # Errors
    /// See [`LoggerBuilder::create`].
    pub fn create(logdir: impl AsRef<Path>) -> Result<Logger> {
        Logger::builder(logdir).create()
    }

    /// Chooses how to log.
    pub fn builder(logdir: impl AsRef<Path>) -> LoggerBuilder {
        LoggerBuilder {
            logdir: logdir.as_ref().to_path_buf(),
            existing: Existing::default(),
            on_full: OnFull::default(),
            weights: WeightOptions::default(),
            threads: 1,
            resume: None,
            flush_interval: FLUSH_INTERVAL,
            files: FileOptions::default(),
            on_error: Box::new(|error| eprintln!("tch-tensorboard: {error}")),
        }
    }

    /// The directory this logger writes to.
    pub fn logdir(&self) -> &Path {
        &self.run.directory
    }

    /// The step to go on with after [`resume`](LoggerBuilder::resume): the first one that may be logged. `None` when the run
    /// is a new one.
    pub fn resumed_at(&self) -> Option<i64> {
        self.run.resumed_at
    }

    /// A logger for another model of the same run: its weights are shown as `weights/<name>/<variable>`, its own scalars
    /// as `<name>/<tag>`. Steps and history are apart. Scopes nest; the same name gives the same scope.
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for an empty name or one that begins or ends with `/`.
    pub fn scoped(&self, name: &str) -> Result<Logger> {
        if name.is_empty() || name.starts_with('/') || name.ends_with('/') {
            let reason = "a scope needs a name that neither begins nor ends with '/'";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason,
            });
        }
        let scope = match &*self.models.scope {
            "" => name.to_owned(),
            outer => format!("{outer}/{name}"),
        };
        let models = self.core.models(&self.run, &scope);
        Ok(Logger {
            core: self.core.clone(),
            run: self.run.clone(),
            models,
        })
    }

    /// A logger for a directory below, such as `val`: TensorBoard shows the same tag of both in one chart. It shares the
    /// writer thread; the same name gives the same sub-run.
    ///
    /// # Errors
    /// [`Error::InvalidTag`] for a name that is no relative path downwards, and what [`Logger::create`] can return.
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
                reason,
            });
        }
        self.core.check_may_wait("subrun", &self.run)?;
        let wanted = self.run.directory.join(below);
        let _opening = lock(&self.core.opening);
        let known = self.core.registry().runs.get(&wanted).cloned();
        let run = match known {
            Some(run) => run,
            None => {
                let (opened, resumed_at) = self.core.opening_of.open_run(&wanted)?;
                let run = self.core.open(opened, resumed_at)?;
                self.core.registry().runs.insert(wanted, run.clone());
                run
            }
        };
        let models = self.core.models(&run, &self.models.scope);
        Ok(Logger {
            core: self.core.clone(),
            run,
            models,
        })
    }

    /// Logs one number, or a tensor of one element, without waiting for its device. Stored as `f32`, as TensorBoard knows
    /// scalars: integers above 2^24 are rounded, and numbers beyond 3.4e38 become infinite. Charts mark NaN and infinite
    /// points and draw the others as usual.
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
    /// An empty tag, a step beyond `i64`, a tensor that has not one element or is complex, a closed logger.
    pub fn log_scalar(&self, tag: &str, value: impl ScalarValue, step: impl Step) -> Result<()> {
        self.log_scalars(&[(tag, value)], step)
    }

    /// Logs several scalars of one step as one event: one wall time, one record. Those on an accelerator follow in events of
    /// their own. For values of several types: `&[("loss", &loss as &dyn ScalarValue), ("rate", &0.1)]`.
    ///
    /// # Errors
    /// As [`log_scalar`](Logger::log_scalar); then none of them is logged.
    pub fn log_scalars<V: ScalarValue>(&self, values: &[(&str, V)], step: impl Step) -> Result<()> {
        let since = Instant::now();
        let wall_time = WallTime::now();
        self.core.check_open(&self.run)?;
        let first = values.first().map_or("", |(tag, _)| tag);
        let step = self.run.check_step(first, step)?;
        let scope = &*self.models.scope;
        let mut waited = Duration::ZERO;
        // By far the most frequent: no list to make.
        if let [(tag, value)] = values {
            match fetch(tag, value)? {
                Fetched::Now(number) => {
                    waited = self.push(step, wall_time, [(scope, *tag, number)])?
                }
                Fetched::Later(tensor) => self.send_device_scalar(tag, tensor, step, wall_time),
            }
        } else {
            let (mut numbers, mut tensors) = (Vec::with_capacity(values.len()), Vec::new());
            for (tag, value) in values {
                match fetch(tag, value)? {
                    Fetched::Now(number) => numbers.push((scope, *tag, number)),
                    Fetched::Later(tensor) => tensors.push((tag, tensor)),
                }
            }
            if !numbers.is_empty() {
                waited = self.push(step, wall_time, numbers)?;
            }
            for (tag, tensor) in tensors {
                self.send_device_scalar(tag, tensor, step, wall_time);
            }
        }
        self.core.shared.health.held(since.elapsed(), waited);
        Ok(())
    }

    /// The worker fetches it.
    fn send_device_scalar(&self, tag: &str, tensor: Tensor, step: i64, wall_time: WallTime) {
        let (run, tag) = (self.run.number, self.full_tag(tag));
        self.core.send(Command::DeviceScalar {
            run,
            step,
            wall_time,
            tag,
            tensor,
        });
    }

    fn push<'a>(
        &self,
        step: i64,
        wall_time: WallTime,
        scalars: impl IntoIterator<Item = (&'a str, &'a str, f64)>,
    ) -> Result<Duration> {
        let (queue, on_full) = (&self.core.shared.scalars, self.core.on_full());
        let (pushed, waited) = queue.push(self.run.number, step, wall_time, scalars, on_full);
        let health = &self.core.shared.health;
        match pushed {
            Pushed::Dropped => Health::count(&health.dropped, 1),
            Pushed::Queued | Pushed::Wake | Pushed::Look => Health::count(&health.queued, 1),
        }
        match pushed {
            // A full queue means that the worker is awake.
            Pushed::Wake => drop(self.core.commands.try_send(Command::Wake)),
            Pushed::Look => self.core.check_process(&self.run)?,
            Pushed::Queued | Pushed::Dropped => {}
        }
        Ok(waited)
    }

    /// Logs the distribution of many values: a tensor of any kind and device, or a slice of numbers. NaN and infinite
    /// elements are left out. Shown in the Histograms and Distributions dashboards.
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
    pub fn log_histogram<V: Values + ?Sized>(
        &self,
        tag: &str,
        values: &V,
        step: impl Step,
    ) -> Result<()> {
        let since = Instant::now();
        let wall_time = WallTime::now();
        self.core.check_open(&self.run)?;
        self.core.check_process(&self.run)?;
        check_tag(tag)?;
        let step = self.run.check_step(tag, step)?;
        let (values, waited) = self.core.copy_values(tag, values.source())?;
        if let Some(values) = values {
            let (run, tag) = (self.run.number, self.full_tag(tag));
            self.core.send(Command::Histogram {
                run,
                step,
                wall_time,
                tag,
                values,
            });
        }
        self.core.shared.health.held(since.elapsed(), waited);
        Ok(())
    }

    /// Logs the weights of a model, and what changed since the call before: call it after each optimizer step.
    ///
    /// Copies the selected tensors once; everything else happens on the writer thread. A delta is that of one step,
    /// however far apart the points lie: the first call has none, nor does one after a gap that [`OnFull::Drop`] left, nor
    /// the one after [`new_baseline`](Logger::new_baseline). Calls between which no weight moved (gradient accumulation,
    /// the other model's turn) are no steps and write nothing, up to the twentieth in a row: standing still is worth
    /// seeing. A variable whose shape or type changes starts anew.
    ///
    /// # Errors
    /// A step that does not increase within this scope, the same name twice, a complex or undefined tensor, a store that
    /// is locked, a closed logger.
    pub fn log_weights<S: NamedTensors + ?Sized>(&self, source: &S, step: impl Step) -> Result<()> {
        let step = self.run.check_step("log_weights", step)?;
        self.log_subject(Subject::Weights, source, step)?;
        let rate = {
            let mut rate = lock(&self.models.learning_rate);
            let is_new = std::mem::take(&mut rate.is_new);
            rate.value.filter(|_| is_new)
        };
        match rate {
            Some(rate) => self.log_scalar("learning_rate", rate, step),
            None => Ok(()),
        }
    }

    /// Logs the gradients that the last backward pass left: norms and histograms. Call it after `backward` and before
    /// they are cleared; `Optimizer::backward_step` leaves them in place. Variables without a gradient write nothing.
    ///
    /// # Errors
    /// As [`log_weights`](Logger::log_weights).
    pub fn log_gradients<S: NamedTensors + ?Sized>(
        &self,
        source: &S,
        step: impl Step,
    ) -> Result<()> {
        let step = self.run.check_step("log_gradients", step)?;
        self.log_subject(Subject::Gradients, source, step)
    }

    fn log_subject<S: NamedTensors + ?Sized>(
        &self,
        subject: Subject,
        source: &S,
        step: i64,
    ) -> Result<()> {
        let since = Instant::now();
        let wall_time = WallTime::now();
        let (call, channel) = match subject {
            Subject::Weights => ("log_weights", &self.models.weights),
            Subject::Gradients => ("log_gradients", &self.models.gradients),
        };
        self.core.check_may_wait(call, &self.run)?;
        let mut channel = lock(channel);
        if subject == Subject::Weights && self.models.rebase.swap(false, Ordering::AcqRel) {
            channel.capture.rebase();
        }
        if let Some(rate) = lock(&self.models.learning_rate).value {
            channel.capture.set_learning_rate(rate);
        }
        let (captured, waited) = channel.capture.take(source, step, wall_time)?;
        match captured {
            Captured::Snapshot(snapshot) => {
                let watch = self.watch(&mut channel, subject);
                if !self.core.send(Command::Snapshot { watch, snapshot }) {
                    channel.capture.lost();
                }
            }
            Captured::Skipped => {}
            Captured::Dropped => Health::count(&self.core.shared.health.dropped, 1),
        }
        self.core.shared.health.held(since.elapsed(), waited);
        Ok(())
    }

    /// The worker's number for a channel, announced before its first snapshot.
    fn watch(&self, channel: &mut Channel, subject: Subject) -> u32 {
        *channel.watch.get_or_insert_with(|| {
            let watch = {
                let mut registry = self.core.registry();
                registry.watches += 1;
                registry.watches
            };
            let (scope, selection) = (self.models.scope.clone(), self.core.selection.clone());
            let pool = channel.capture.pool().clone();
            let _ = self.core.commands.send(Command::Watch {
                watch,
                run: self.run.number,
                subject,
                scope,
                selection,
                pool,
            });
            watch
        })
    }

    /// Tells the learning rate, which tch tells no one: written as the scalar `learning_rate` with the next call of
    /// `log_weights`, and used by the verdicts of this scope to tell a rate of 0 and updates lost to rounding from an
    /// optimizer that does not know a variable. With several parameter groups, tell that of the first.
    pub fn set_learning_rate(&self, rate: f64) {
        *lock(&self.models.learning_rate) = LearningRate {
            value: Some(rate),
            is_new: true,
        };
    }

    /// The weights were replaced on purpose (a checkpoint was loaded): the next call of `log_weights` writes no delta, and
    /// drift counts from there.
    pub fn new_baseline(&self) {
        self.models.rebase.store(true, Ordering::Release);
    }

    /// What is known of each variable, over all scopes and sub-runs, when everything logged so far has been analysed.
    ///
    /// # Errors
    /// [`Error::WorkerStopped`]. After [`close`](Logger::close) it is the report of the end.
    pub fn weight_report(&self) -> Result<WeightReport> {
        if !self.core.is_closed() {
            let (answer, report) = sync_channel(1);
            if let Some(report) = self.core.ask(Command::Report(answer), &report) {
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

    /// What was found wrong since the last call, over all scopes and sub-runs, without waiting: for a loop that stops, or
    /// lowers the rate. A finding is told once, when it has become sure; it follows the step by the time that the writer
    /// thread needs. At most 10 000 wait.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
    /// for finding in logger.take_findings() {
    ///     eprintln!("{finding}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_findings(&self) -> Vec<Finding> {
        lock(&self.core.shared.findings).drain(..).collect()
    }

    /// The address of TensorBoard's Time Series page with the telling cards pinned, for a server at `base` such as
    /// `http://localhost:6006`.
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
        let base = base.trim_end_matches('/');
        if tags.is_empty() {
            return format!("{base}/#timeseries");
        }
        let cards: Vec<String> = tags
            .iter()
            .map(|tag| format!("{{\"plugin\":\"scalars\",\"tag\":{}}}", json_string(tag)))
            .collect();
        let cards = format!("[{}]", cards.join(","));
        let cards = percent_encoding::utf8_percent_encode(&cards, UNRESERVED_KEPT);
        format!("{base}/?pinnedCards={cards}&smoothing=0#timeseries")
    }

    /// What the logger has done so far, over all clones.
    pub fn stats(&self) -> Stats {
        self.core.shared.health.stats()
    }

    /// Returns when everything logged before is in the files, handed to the operating system.
    ///
    /// # Errors
    /// The first failure since the last flush; what was not written is kept and tried again. [`Error::Closed`] after
    /// [`close`](Logger::close).
    pub fn flush(&self) -> Result<()> {
        self.core.check_may_wait("flush", &self.run)?;
        let (answer, result) = sync_channel(1);
        self.core
            .ask(Command::Flush(answer), &result)
            .unwrap_or_else(|| Err(self.core.stopped(&self.run)))
    }

    /// Writes the newest weights if their cadence left them out, flushes, and ends the writer thread. Other clones are
    /// closed with it.
    ///
    /// # Errors
    /// The first failure of the run.
    pub fn close(&self) -> Result<()> {
        self.core.check_thread("close", &self.run)?;
        self.core
            .close(true)
            .unwrap_or_else(|| Err(self.core.stopped(&self.run)))
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

impl Core {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Nothing may wait on the worker's own thread.
    fn on_full(&self) -> OnFull {
        match self.on_full {
            OnFull::Block if self.shared.is_worker_thread() => OnFull::Drop,
            on_full => on_full,
        }
    }

    fn check_open(&self, run: &RunHandle) -> Result<()> {
        if self.is_closed() {
            Err(Error::Closed {
                path: run.directory.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// A forked child has no worker: the logger is closed there, with an error that says so first.
    fn check_process(&self, run: &RunHandle) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        self.closed.store(true, Ordering::SeqCst);
        Err(self.stopped(run))
    }

    fn check_thread(&self, call: &'static str, run: &RunHandle) -> Result<()> {
        if self.shared.is_worker_thread() {
            return Err(Error::OnWriterThread {
                call,
                path: run.directory.clone(),
            });
        }
        Ok(())
    }

    /// For calls that wait for the worker.
    fn check_may_wait(&self, call: &'static str, run: &RunHandle) -> Result<()> {
        self.check_open(run)?;
        self.check_process(run)?;
        self.check_thread(call, run)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Makes a run known to the worker.
    fn open(&self, opened: Opened, resumed_at: Option<i64>) -> Result<Arc<RunHandle>> {
        let number = {
            let mut registry = self.registry();
            registry.run_count += 1;
            registry.run_count
        };
        let run = Arc::new(RunHandle {
            number,
            directory: opened.directory().to_owned(),
            resumed_at,
        });
        let open = Command::Open {
            run: number,
            opened: Box::new(opened),
        };
        if self.commands.send(open).is_err() {
            return Err(self.stopped(&run));
        }
        Ok(run)
    }

    fn models(&self, run: &RunHandle, scope: &str) -> Arc<Models> {
        let scope: Arc<str> = scope.into();
        let make = || {
            let channel = |subject| {
                let capture =
                    Capture::new(subject, scope.clone(), self.selection.clone(), self.on_full);
                Mutex::new(Channel {
                    capture,
                    watch: None,
                })
            };
            Arc::new(Models {
                scope: scope.clone(),
                weights: channel(Subject::Weights),
                gradients: channel(Subject::Gradients),
                learning_rate: Mutex::default(),
                rebase: AtomicBool::new(false),
            })
        };
        self.registry()
            .models
            .entry((run.number, scope.clone()))
            .or_insert_with(make)
            .clone()
    }

    /// Copies values into memory of their own. `None` when there is no room for them.
    fn copy_values(
        &self,
        tag: &str,
        source: Source<'_>,
    ) -> Result<(Option<worker::Values>, Duration)> {
        let facts = source.inspect(tag)?;
        let (dtype, bytes) = (facts.dtype, facts.bytes());
        let (granted, waited) = self.shared.budget.take(bytes, self.on_full());
        if !granted {
            Health::count(&self.shared.health.dropped, 1);
            return Ok((None, waited));
        }
        let copied = copy_whole(tag, &source, &facts);
        let buffer = copied.inspect_err(|_| self.shared.budget.put(bytes))?;
        Ok((
            Some(worker::Values {
                dtype,
                bytes,
                buffer,
            }),
            waited,
        ))
    }

    /// Hands a command over; false when it was given up.
    fn send(&self, command: Command) -> bool {
        // The worker waits for calls that began before the logger was closed.
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        let given_up = match self.on_full() {
            _ if self.is_closed() => Some(command),
            OnFull::Block => self.commands.send(command).err().map(|error| error.0),
            OnFull::Drop => self
                .commands
                .try_send(command)
                .err()
                .map(|error| match error {
                    TrySendError::Full(command) | TrySendError::Disconnected(command) => command,
                }),
        };
        self.shared.calls.fetch_sub(1, Ordering::SeqCst);
        let sent = given_up.is_none();
        match given_up {
            Some(Command::Snapshot { snapshot, .. }) => snapshot.pool.put(snapshot.buffer),
            Some(Command::Histogram { values, .. }) => self.shared.budget.put(values.bytes),
            _ => {}
        }
        let health = &self.shared.health;
        Health::count(
            if sent {
                &health.queued
            } else {
                &health.dropped
            },
            1,
        );
        sent
    }

    /// Asks the worker and waits; `None` when it is gone.
    fn ask<T>(&self, command: Command, answer: &Receiver<T>) -> Option<T> {
        // In a forked child nobody answers, and the worker does not answer itself.
        if self.process != std::process::id() || self.shared.is_worker_thread() {
            return None;
        }
        self.commands.send(command).ok()?;
        answer.recv().ok()
    }

    /// Ends the worker, `is_complete` when all of the newest step has been logged; `None` when it cannot say how it went.
    fn close(&self, is_complete: bool) -> Option<Result<()>> {
        if self.process != std::process::id() {
            return None;
        }
        if self.shared.is_worker_thread() {
            // The last clone was dropped by `on_error`: the worker ends by itself, when nobody can send to it any more.
            return None;
        }
        let mut worker = lock(&self.worker);
        self.closed.store(true, Ordering::SeqCst);
        let Some(thread) = worker.take() else {
            return Some(self.shared.health.first().map_or(Ok(()), Err));
        };
        let (answer, result) = sync_channel(1);
        let closing = Closing {
            is_complete,
            answer,
        };
        let result = self.ask(Command::Close(Some(closing)), &result);
        // A worker that panicked has said so.
        let _ = thread.join();
        result
    }

    fn stopped(&self, run: &RunHandle) -> Error {
        let path = run.directory.clone();
        let reason = if self.process != std::process::id() {
            "this process was forked from the one that made the logger; make a new one in the child"
        } else if self.is_closed() {
            return Error::Closed { path };
        } else {
            "its thread ended early; see the error reported before"
        };
        Error::WorkerStopped {
            path,
            reason: reason.into(),
        }
    }
}

/// All elements in memory of their own.
fn copy_whole(tag: &str, source: &Source<'_>, facts: &Facts) -> Result<Buffer> {
    let failed = |reason: String| Error::UnsupportedTensor {
        name: tag.into(),
        reason: reason.into(),
    };
    let bytes = facts.bytes();
    let mut buffer = Buffer::try_with_bytes(bytes)
        .ok_or_else(|| failed(format!("has {bytes} bytes, more than there is memory for")))?;
    let target = buffer.bytes_mut().get_mut(..bytes).unwrap_or_default();
    if !source.copy(tag, facts, (0, 1), Way::Alone, target)? {
        let reason =
            "changed its shape or type while it was read; log it from the thread that changes it";
        return Err(failed(reason.into()));
    }
    Ok(buffer)
}

/// The last clone is gone: what is left is written, and errors have been told to `on_error`.
impl Drop for Core {
    fn drop(&mut self) {
        // Perhaps by an error or a panic in the middle of a step.
        let _ = self.close(false);
    }
}

/// Locks what no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fetch<V: ScalarValue>(tag: &str, value: &V) -> Result<Fetched> {
    check_tag(tag)?;
    match value.scalar() {
        Scalar::Number(number) => Ok(Fetched::Now(number)),
        Scalar::Tensor(tensor) => fetch_scalar(tag, tensor),
    }
}

fn check_tag(tag: &str) -> Result<()> {
    if tag.is_empty() {
        return Err(Error::InvalidTag {
            tag: tag.into(),
            reason: "a tag must not be empty; use a name like \"loss/train\"",
        });
    }
    Ok(())
}

fn check_step(what: &str, step: impl Step) -> Result<i64> {
    step.to_i64().ok_or_else(|| Error::InvalidStep {
        what: what.into(),
        step: step.to_i128(),
        reason: "is beyond the range of i64, in which TensorBoard counts steps".into(),
    })
}

/// A JSON string (RFC 8259).
fn json_string(text: &str) -> String {
    let mut json = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => json.extend(['\\', letter]),
            control if u32::from(control) < 0x20 => {
                json.push_str(&format!("\\u{:04x}", u32::from(control)))
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}
