//! The choices that a logger is made with.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::capture::budget::Budget;
use crate::error::{Error, Result};
use crate::logger::Logger;
use crate::logger::announcer::{Announcer, OnFinding};
use crate::logger::core::Core;
use crate::logger::greeting::{dated_directory, greet};
use crate::logger::opening::{Opening, Resume};
use crate::model::types::{Existing, OnFull, SyncPolicy};
use crate::options::overhead::Overhead;
use crate::options::{Selection, WeightOptions};
use crate::platform::optimised;
use crate::report::Finding;
use crate::run::FileOptions;
use crate::run::health::{Health, OnError};
use crate::worker::Worker;
use crate::worker::queue::Queue;
use crate::worker::shared::Shared;

/// Commands that may wait. Snapshots and values are bounded by their memory before they get here.
const QUEUE: usize = 1024;

/// How long what was logged stays out of the files at most, unless set otherwise.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Shorter ones are only work, longer ones a mistake in the unit.
const FLUSH_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(3600);

/// A file is to hold more than the descriptions of its tags.
const LEAST_MAX_FILE_BYTES: u64 = 1 << 16;

/// Chooses how a [`Logger`] is made; see [`Logger::builder`].
#[must_use = "call create() to make the logger"]
pub struct LoggerBuilder {
    logdir: PathBuf,
    existing: Existing,
    resume: Option<Resume>,
    on_full: OnFull,
    weights: WeightOptions,
    threads: usize,
    /// `None` for that of the environment.
    overhead: Option<Overhead>,
    flush_interval: Duration,
    files: FileOptions,
    on_error: OnError,
    on_finding: Option<OnFinding>,
    quiet: bool,
}

impl Logger {
    /// Logs to a new directory below `runs/` with the defaults, named by the local time and the
    /// host as `SummaryWriter()` does: `runs/Nov26_10-15-00_hostname`.
    ///
    /// ```no_run
    /// let logger = tch_tensorboard::Logger::new()?;
    /// logger.log_scalar("loss/train", 0.5, 0)?;
    /// println!("{}", logger.logdir().display()); // runs/Nov26_10-15-00_hostname
    /// # Ok::<(), tch_tensorboard::Error>(())
    /// ```
    ///
    /// [`LoggerBuilder::default`] begins with the same directory.
    ///
    /// # Errors
    /// See [`LoggerBuilder::create`].
    #[doc(alias = "SummaryWriter")]
    pub fn new() -> Result<Logger> {
        LoggerBuilder::default().create()
    }

    /// Logs to a directory with the defaults: `runs/cnn`, or `runs/cnn_2` when that one holds a run
    /// already.
    ///
    /// # Errors
    /// See [`LoggerBuilder::create`].
    #[doc(alias = "SummaryWriter")]
    pub fn create(logdir: impl AsRef<Path>) -> Result<Logger> {
        Logger::builder(logdir).create()
    }

    /// Chooses how to log.
    pub fn builder(logdir: impl AsRef<Path>) -> LoggerBuilder {
        LoggerBuilder::new(logdir.as_ref())
    }
}

/// A builder for the directory of [`Logger::new`].
impl Default for LoggerBuilder {
    fn default() -> LoggerBuilder {
        LoggerBuilder::new(&dated_directory())
    }
}

impl LoggerBuilder {
    pub(super) fn new(logdir: &Path) -> LoggerBuilder {
        LoggerBuilder {
            logdir: logdir.to_path_buf(),
            existing: Existing::default(),
            resume: None,
            on_full: OnFull::default(),
            weights: WeightOptions::default(),
            threads: 1,
            overhead: None,
            flush_interval: FLUSH_INTERVAL,
            files: FileOptions::default(),
            on_error: Box::new(|error| eprintln!("tch-tensorboard: {error}")),
            on_finding: None,
            quiet: false,
        }
    }

    /// What to do when the directory holds a run already. Default: [`Existing::Number`].
    pub fn existing(mut self, existing: Existing) -> LoggerBuilder {
        self.existing = existing;
        self
    }

    /// Goes on with the run in the directory, which crashed or was closed, in a further file;
    /// begins one when there is none. [`Logger::resumed_at`] tells the step to go on with: the one
    /// after the newest if the run was closed, else the newest itself, since the process may have
    /// ended between two calls for it. What stands in the files from there on is taken back, as far
    /// as TensorBoard allows:
    ///
    /// - Its Python loader forgets every point of that step and later, when it meets the new
    ///   session.
    /// - Its fast loader forgets them tag by tag, with the first new point of each tag. A tag that
    ///   is not logged again keeps its points, and logging an earlier step would make it forget the
    ///   later ones: so that is an error here.
    ///
    /// All files of the run are read once for this. A torn tail stays where it is; the new file
    /// sorts behind it. Weights of the last few steps may have waited in memory when the process
    /// ended and are missing; [`resume_from`](Self::resume_from) the step of the checkpoint that
    /// training starts from, and they are logged again.
    ///
    /// A run has one newest step, over all its tags, scopes and sub-runs. Where these count in
    /// several units (the loss by iteration, the weights by epoch), a resumed run refuses the steps
    /// of the unit that counts more slowly: give each unit a logger of its own, in a directory of
    /// its own.
    ///
    /// Weight deltas start anew: the first call of `log_weights` writes none, and drift counts from
    /// that call. Sub-runs are resumed at the same step. [`existing`](Self::existing) is
    /// ignored.
    pub fn resume(mut self) -> LoggerBuilder {
        self.resume = Some(Resume::AtTheirEnd);
        self
    }

    /// As [`resume`](Self::resume), at a step of your choice: the first one that will be logged.
    /// After a checkpoint that was saved behind step 1000 it is 1001.
    ///
    /// TensorBoard's fast loader goes on showing what was logged beyond, of tags that are not
    /// logged again and up to the first new point of those that are.
    #[doc(alias = "purge_step")]
    pub fn resume_from(mut self, step: i64) -> LoggerBuilder {
        self.resume = Some(Resume::At(step));
        self
    }

    /// How long what was logged stays out of the files at most, from 1 ms to an hour: what a killed
    /// process loses, beside the snapshots that wait to be analysed. Files are written earlier
    /// where 1 MB waits. Default: 200 ms.
    #[doc(alias = "flush_secs")]
    pub fn flush_interval(mut self, interval: Duration) -> LoggerBuilder {
        self.flush_interval = interval;
        self
    }

    /// When what was written is forced onto the device: what a crash of the machine can lose.
    /// Default: [`SyncPolicy::Never`].
    pub fn sync(mut self, policy: SyncPolicy) -> LoggerBuilder {
        self.files.sync = policy;
        self
    }

    /// Goes on in a further file once one has grown to this many bytes, at least 65 536. A file
    /// exceeds it by one call's records at most. The names sort in the order of writing, tags are
    /// described in each file, and TensorBoard shows the files of a directory as one run. A crash
    /// loses no more than with one file. Default: one file for each run.
    pub fn max_file_bytes(mut self, bytes: u64) -> LoggerBuilder {
        self.files.max_bytes = Some(bytes);
        self
    }

    /// What to do when the writer thread is behind. Default: [`OnFull::Block`].
    #[doc(alias = "max_queue")]
    pub fn on_full(mut self, on_full: OnFull) -> LoggerBuilder {
        self.on_full = on_full;
        self
    }

    /// What `log_weights` and `log_gradients` write.
    pub fn weights(mut self, options: WeightOptions) -> LoggerBuilder {
        self.weights = options;
        self
    }

    /// How many threads analyse the weights of a large model, 1 to 64. Default 1: training has the
    /// other cores.
    pub fn threads(mut self, threads: usize) -> LoggerBuilder {
        self.threads = threads;
        self
    }

    /// How much of the process's CPU time logging weights and gradients may take, the calling
    /// threads' and the writer's together. Default: two hundredths,
    /// [`Overhead::AtMost(0.02)`](Overhead::AtMost).
    ///
    /// The logger measures what it costs and leaves out what is too much, from the 36th step of a
    /// model on: verdicts need as many. A delta is always that of one step, and what was not
    /// observed is neither a gap nor standing still:
    /// [`Stats::unobserved`](crate::Stats::unobserved) counts it, the report has a note on it, and
    /// [`Stats::spent`](crate::Stats::spent) is what was measured. What the writer thread takes to
    /// encode pictures, curves and scalars is left out: to observe fewer steps of a model would
    /// make none of it cheaper. A cadence that you choose yourself
    /// ([`Cadence::EveryCall`](crate::Cadence::EveryCall),
    /// [`Cadence::Every`](crate::Cadence::Every)) is kept whatever it costs.
    ///
    /// Where a program sets nothing, the environment variable `TCH_TENSORBOARD_OVERHEAD` can:
    /// `unlimited`, for runs that are compared with each other, or a share.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use tch_tensorboard::{Logger, Overhead};
    ///
    /// let logger = Logger::builder(dir.path().join("run"))
    ///     .overhead(Overhead::Unlimited) // each step of a model that trains for minutes
    ///     .create()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn overhead(mut self, overhead: Overhead) -> LoggerBuilder {
        self.overhead = Some(overhead);
        self
    }

    /// Called, on the writer thread, with each new failure of the disk, not again until it has
    /// worked in between, and once with each tag that is used for two kinds of values or whose
    /// steps go back. What is dropped while a disk refuses everything is reported with the first
    /// event, then each time there are ten times as many, and at the end. Default: one line on
    /// stderr.
    ///
    /// Calls of the logger that wait for the writer thread (`flush`, `close`, `log_weights`,
    /// `subrun`) return [`Error::OnWriterThread`] in the callback. A callback that owns a clone of
    /// the logger keeps it alive: then only [`close`](Logger::close) ends the run. A panic in the
    /// callback is contained.
    pub fn on_error(mut self, on_error: impl Fn(&Error) + Send + Sync + 'static) -> LoggerBuilder {
        self.on_error = Box::new(on_error);
        self
    }

    /// Whether the line is left out that [`create`](Self::create) prints on stderr where that is a
    /// terminal: the run's directory, why it has a number, and how to open TensorBoard. Default:
    /// false. Errors are still printed, unless [`on_error`](Self::on_error) takes them.
    pub fn quiet(mut self, quiet: bool) -> LoggerBuilder {
        self.quiet = quiet;
        self
    }

    /// Called with each [`Finding`] once when it is confirmed, and once more, with
    /// [`over_since`](Finding::over_since) set, when the fault has ended. It runs on the training
    /// thread, so it may stop the loop, lower the rate or save a checkpoint: at the next
    /// `log_weights`, `log_gradients`, `log_scalar` or `log_scalars` after the writer thread has
    /// found it, before that call logs anything, and at the end of `weight_report`, `flush`,
    /// `close` and the drop of the last clone.
    /// [`take_findings`](Logger::take_findings) returns the same findings afterwards.
    ///
    /// Where several threads log, it runs on one of them at a time. It may call the logger; those
    /// calls announce nothing. A callback that owns a clone of the logger keeps it alive: then only
    /// [`close`](Logger::close) ends the run. A panic in the callback is contained: the call that
    /// it ran in goes on. Default: none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use tch_tensorboard::{Logger, Verdict};
    ///
    /// let stop = Arc::new(AtomicBool::new(false));
    /// let wanted = stop.clone();
    /// let logger = Logger::builder(dir.path().join("run"))
    ///     .on_finding(move |finding| {
    ///         eprintln!("{finding}");
    ///         let is_fatal = finding.verdict == Verdict::NonFinite;
    ///         wanted.fetch_or(is_fatal && finding.over_since.is_none(), Ordering::Relaxed);
    ///     })
    ///     .create()?;
    /// for step in 0..100 {
    ///     // train, then:
    ///     logger.log_weights(&("fc.weight", [0.1_f32, f32::NAN]), step)?;
    ///     if stop.load(Ordering::Relaxed) {
    ///         break;
    ///     }
    /// }
    /// logger.close()?;
    /// assert!(stop.load(Ordering::Relaxed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_finding(
        mut self,
        on_finding: impl FnMut(&Finding) + Send + 'static,
    ) -> LoggerBuilder {
        self.on_finding = Some(Box::new(on_finding));
        self
    }

    /// Takes the directory, makes its event file and starts the writer thread. Where stderr is a
    /// terminal, it prints one line there: see [`quiet`](Self::quiet).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a pattern or number that makes no sense and for a directory
    /// that is an address or begins with `~`, [`Error::Io`] when the directory or file cannot be
    /// made (then no new directory is left), [`Error::RunExists`] under [`Existing::Fail`],
    /// [`Error::RunInUse`] when the run to be resumed is still being written.
    pub fn create(self) -> Result<Logger> {
        self.check_numbers()?;
        let overhead = self.overhead.map_or_else(Overhead::of_environment, Ok)?;
        overhead.check()?;
        let selection = Arc::new(Selection::new(self.weights)?);
        let opening = Opening {
            existing: self.existing,
            resume: self.resume,
            files: self.files,
        };
        let (opened, resumed_at) = opening.open_run(&self.logdir)?;
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            opened: Mutex::default(),
            budget: Budget::default(),
            health: Health::new(self.on_error),
            calls: AtomicUsize::new(0),
            report: Mutex::default(),
            findings: Mutex::default(),
            telling: Mutex::default(),
            costs: Arc::default(),
        });
        if !self.quiet {
            greet(&self.logdir, opened.directory(), resumed_at);
        }
        optimised::advise();
        let (commands, queue) = sync_channel(QUEUE);
        let worker = Worker::new(
            shared.clone(),
            selection.clone(),
            self.threads,
            self.flush_interval,
        );
        let thread = std::thread::Builder::new().name("tch-tensorboard".into());
        let thread = match thread.spawn(move || worker.run(&queue)) {
            Ok(thread) => thread,
            Err(error) => {
                let error = Error::io("start a writer thread for", opened.directory(), error);
                opened.discard();
                return Err(error);
            }
        };
        let core = Core {
            commands,
            shared,
            thread: thread.thread().clone(),
            worker: Mutex::new(Some(thread)),
            closed: AtomicBool::new(false),
            registry: Mutex::default(),
            making_subrun: Mutex::default(),
            selection,
            opening: opening.below(resumed_at),
            on_full: self.on_full,
            announcer: self.on_finding.map(Announcer::new),
            overhead,
            process: std::process::id(),
        };
        let run = core.open(opened, resumed_at)?;
        let models = core.models(&run, "");
        Ok(Logger {
            core: Arc::new(core),
            run,
            models,
            acknowledged: AtomicU64::new(0),
            wall_time: None,
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
