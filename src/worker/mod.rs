//! The thread that does everything but the copy: statistics, histograms, messages, files.

pub(crate) mod queue;
pub(crate) mod shared;
mod status;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::analysis::watch::Watch;
use crate::capture::buffer::{Pool, are_plenty};
use crate::capture::{Snapshot, Subject};
use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::options::Selection;
use crate::platform::background::{self, WakeRhythm};
use crate::platform::cpu_clock;
use crate::report::WeightReport;
use crate::run::health::Health;
use crate::run::{Moment, RunWriter};
use crate::source::first_values::FirstValues;
use crate::summary::hparams::Status;
use crate::worker::queue::{Batch, PayloadEntry, ScalarEntry};
use crate::worker::shared::Shared;
use crate::worker::status::{keep_findings, weight_report};
use crate::worker::watches::{Watched, Watches};

/// How long scalars wait for the worker at most.
const TICK: Duration = Duration::from_millis(200);

/// The least time between two reports that nobody waits for.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The least time between two reports in a file.
const TEXT_INTERVAL: Duration = Duration::from_secs(2);

/// How long `close` tries to write what a disk refuses, and how long it waits between two tries. A
/// quota that is raised, or a file that is deleted to make room, usually takes longer; a network
/// file system that hiccups does not.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
const CLOSE_PAUSE: Duration = Duration::from_millis(100);

/// Cards that TensorBoard pins by address at most.
const PINNED: usize = 10;

/// What callers ask of the worker, in the order they asked.
pub(crate) enum Command {
    /// A further model, under this number.
    Watch {
        watch: u32,
        run: u32,
        subject: Subject,
        scope: Arc<str>,
        selection: Arc<Selection>,
        pool: Arc<Pool>,
        first_values: Option<Arc<dyn FirstValues>>,
    },
    Snapshot {
        watch: u32,
        snapshot: Box<Snapshot>,
    },
    /// The queue should be emptied now.
    Wake,
    /// Answer when all before was handed to the files.
    Flush {
        /// The losses that the caller has been told of.
        acknowledged: u64,
        answer: SyncSender<Flushed>,
    },
    /// Answer with the newest report.
    Report(SyncSender<WeightReport>),
    /// Answer with the tags that tell most of a run.
    Telling {
        run: u32,
        answer: SyncSender<Vec<String>>,
    },
    /// Write the rest and end; answer with the first loss of all.
    Close(Option<Closing>),
}

/// What a flush came to.
pub(crate) struct Flushed {
    /// An error while something waits, or when something was lost that the caller has not
    /// acknowledged.
    pub(crate) result: Result<()>,
    /// The losses that the caller has been told of by now.
    pub(crate) acknowledged: u64,
}

/// How a run ends.
pub(crate) struct Closing {
    /// A success when somebody said so: all of the newest step has been logged then. A failure when
    /// a panic let the last clone go out of scope; unknown where that may be the end of the loop,
    /// or an error in the middle of a step.
    pub(crate) status: Status,
    pub(crate) answer: SyncSender<Result<()>>,
}

/// See the module.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    selection: Arc<Selection>,
    runs: BTreeMap<u32, RunWriter>,
    watches: Watches,
    kernels: Kernels,
    /// CPU time of this thread.
    clock: fn() -> Duration,
    /// What the clock showed when costs were counted last.
    counted: Duration,
    batch: Batch,
    report_is_old: bool,
    reported: Instant,
    /// Runs whose report in the file is out of date.
    old_texts: BTreeSet<u32>,
    text_written: Option<Instant>,
    flush_interval: Duration,
    written: Instant,
    rhythm: WakeRhythm,
}

impl Worker {
    /// `threads` analyse large models. `flush_interval` is how long what was logged stays out of
    /// the files at most.
    pub(crate) fn new(
        shared: Arc<Shared>,
        selection: Arc<Selection>,
        threads: usize,
        flush_interval: Duration,
    ) -> Worker {
        Worker {
            shared,
            selection,
            flush_interval,
            written: Instant::now(),
            rhythm: WakeRhythm::default(),
            runs: BTreeMap::new(),
            watches: Watches::default(),
            kernels: Kernels::new(threads).with_clock(cpu_clock::thread),
            clock: cpu_clock::thread,
            counted: Duration::ZERO,
            batch: Batch::default(),
            report_is_old: false,
            reported: Instant::now(),
            old_texts: BTreeSet::new(),
            text_written: None,
        }
    }

    /// Works until it is told to close, or every caller is gone.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        background::enter();
        self.shared.enter_worker_thread();
        let mut tended = Instant::now();
        self.counted = (self.clock)();
        loop {
            let mut next = self.next(commands);
            while let Some(command) = next {
                if let Command::Close(closing) = command {
                    return self.close(commands, closing);
                }
                self.handle(command);
                self.count_costs();
                // While training is ahead there is always a next command: scalars and the file have
                // their turn.
                let rest = tended.elapsed() < self.flush_interval.min(TICK);
                next = if rest { commands.try_recv().ok() } else { None };
            }
            self.drain();
            self.refresh(Moment::Between);
            if self.written.elapsed() >= self.flush_interval {
                self.write(false);
            }
            self.count_costs();
            tended = Instant::now();
        }
    }

    /// Adds what was computed for models since costs were counted last.
    fn count_costs(&mut self) {
        let spent = self.take_spent();
        self.shared.costs.add_writer(spent);
    }

    /// What was computed since costs were counted last, which counts as counted now.
    fn take_spent(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.counted, (self.clock)());
        self.counted.saturating_sub(before) + self.kernels.take_spent()
    }

    /// The next command, waited for until scalars or the file have their turn.
    fn next(&self, commands: &Receiver<Command>) -> Option<Command> {
        loop {
            let due_in = self.flush_interval.saturating_sub(self.written.elapsed());
            if !self.rhythm.nap(due_in) {
                return match commands.recv_timeout(due_in.min(TICK)) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some(Command::Close(None)),
                };
            }
            if let Ok(command) = commands.try_recv() {
                return Some(command);
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Watch {
                watch,
                run,
                subject,
                scope,
                selection,
                pool,
                first_values,
            } => {
                self.open_runs();
                let state = Watch::new(subject, scope, selection, first_values);
                self.watches.insert(
                    watch,
                    Watched {
                        run,
                        watch: state,
                        pool,
                    },
                );
            }
            Command::Snapshot { watch, snapshot } => {
                self.rhythm.beat(are_plenty(snapshot.plan.bytes));
                self.snapshot(watch, *snapshot);
            }
            Command::Wake => self.drain(),
            Command::Flush {
                acknowledged,
                answer,
            } => {
                self.drain();
                self.refresh(Moment::Flush);
                self.write(true);
                // A caller that did not wait for the answer does not want it.
                let _ = answer.send(self.flushed(acknowledged));
            }
            Command::Report(answer) => drop(answer.send(self.report(None))),
            Command::Telling { run, answer } => {
                self.drain();
                let tags = self
                    .runs
                    .get(&run)
                    .map(|run| run.telling(PINNED))
                    .unwrap_or_default();
                let _ = answer.send(tags);
            }
            Command::Close(_) => {}
        }
    }

    fn snapshot(&mut self, number: u32, snapshot: Snapshot) {
        let elsewhere = self.watches.elsewhere(number);
        let Some(Watched { run, watch, .. }) = self.watches.get_mut(number) else {
            return;
        };
        let run_number = *run;
        watch.set_elsewhere(elsewhere);
        let points = watch.observe(&mut self.kernels, snapshot);
        self.report_is_old |= watch.subject() == Subject::Weights;
        let is_judged = watch.take_new_verdict();
        if is_judged {
            self.old_texts.insert(run_number);
        }
        if let Some(run) = self.runs.get_mut(run) {
            // Before the points: a reader has to know what they are of. At once, since a process
            // that is killed writes nothing more.
            let is_new = watch.take_new_plan() && watch.subject() == Subject::Weights;
            let record = (is_new || is_judged).then(|| watch.record()).flatten();
            if let Some(record) = record {
                run.record(&self.shared.health, record, Moment::Between);
            }
            if let Some(points) = points {
                run.points(&self.shared.health, number, &points);
            }
            if let Some(board) = watch.take_board() {
                run.show(number, board);
            }
            let found = watch.take_news();
            if !found.is_empty() {
                keep_findings(&self.shared, found, run.directory(), watch.scope());
            }
            if run.takes_weight_map(number)
                && let Some(map) = watch.take_map(false)
            {
                run.weight_map(&self.shared.health, &mut self.kernels, number, map, false);
            }
        }
        if watch.subject() == Subject::Gradients {
            let gradients = watch.gradients();
            if let Some(weights) = self.watches.weights_beside(number) {
                weights.watch.refine(gradients);
            }
        }
    }

    /// Takes the runs that were opened since. After any call of a run was taken, it is among them.
    fn open_runs(&mut self) {
        let mut opened = self
            .shared
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let runs = opened
            .drain(..)
            .map(|(run, opened)| (run, RunWriter::new(opened)));
        self.runs.extend(runs);
    }

    /// Writes what users have logged, in that order.
    fn drain(&mut self) {
        let mut batch = self.shared.queue.drain(std::mem::take(&mut self.batch));
        self.open_runs();
        self.count_costs();
        let payloads = batch.take_payloads();
        let mut scalars = batch.scalars();
        let mut done = 0;
        for entry in payloads {
            self.scalars(scalars.by_ref().take(entry.scalars_before - done));
            done = entry.scalars_before;
            self.payload(entry);
        }
        self.scalars(scalars);
        // Not a cost of models: to observe fewer of their steps would make none of it cheaper.
        let _ = self.take_spent();
        batch.clear();
        self.batch = batch;
    }

    fn scalars<'a>(&mut self, scalars: impl Iterator<Item = ScalarEntry<'a>>) {
        let mut scalars = scalars.peekable();
        let mut event = Vec::new();
        while let Some(first) = scalars.next() {
            event.push((first.tag, first.value));
            while let Some(next) = scalars.next_if(|entry| entry.joins) {
                event.push((next.tag, next.value));
            }
            if let Some(run) = self.runs.get_mut(&first.run) {
                run.user_scalars(
                    &self.shared.health,
                    first.wall_time,
                    first.step,
                    event.drain(..),
                );
            }
            event.clear();
        }
    }

    fn payload(&mut self, entry: PayloadEntry) {
        let bytes = entry.entry.bytes();
        if let Some(run) = self.runs.get_mut(&entry.run) {
            run.take(&self.shared.health, &mut self.kernels, entry.entry);
        }
        self.shared.budget.put(bytes);
    }

    /// Brings layouts and reports up to date.
    fn refresh(&mut self, at: Moment) {
        for run in self.runs.values_mut() {
            run.refresh_layout(&self.shared.health, &mut self.kernels, at);
        }
        if self.report_is_old && self.reported.elapsed() >= REPORT_INTERVAL {
            self.publish_report();
        }
        let is_due = at != Moment::Between
            || self
                .text_written
                .is_none_or(|at| at.elapsed() >= TEXT_INTERVAL);
        if is_due {
            self.write_reports(at);
        }
    }

    /// Writes the records and reports that have changed to their runs' files.
    fn write_reports(&mut self, at: Moment) {
        for number in std::mem::take(&mut self.old_texts) {
            let text = self.report(Some(number)).to_markdown();
            let Some(run) = self.runs.get_mut(&number) else {
                continue;
            };
            // At the end it is written already: what is made up for then is not recorded.
            if at != Moment::End {
                record_models(run, &self.watches, &self.shared.health, number, at);
            }
            if !run.report(&self.shared.health, &mut self.kernels, at, text) {
                self.old_texts.insert(number);
            }
            self.text_written = Some(Instant::now());
        }
    }

    fn publish_report(&mut self) {
        let report = Arc::new(self.report(None));
        *self
            .shared
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(report);
        (self.report_is_old, self.reported) = (false, Instant::now());
    }

    fn report(&self, only: Option<u32>) -> WeightReport {
        weight_report(&self.watches, &self.runs, &self.selection, only)
    }

    /// Writes what waits; `is_flush` when somebody waits for it, and then also to a disk that has
    /// just failed.
    fn write(&mut self, is_flush: bool) {
        for run in self.runs.values_mut() {
            if is_flush || run.wants_write() {
                run.write(&self.shared.health, is_flush);
            }
        }
        self.written = Instant::now();
    }

    fn flushed(&mut self, acknowledged: u64) -> Flushed {
        let health = &self.shared.health;
        self.runs
            .values_mut()
            .for_each(|run| run.record_refused(health));
        // What waits may still be written, so what was lost is returned by a later flush.
        if let Some(error) = self.runs.values().find_map(RunWriter::unwritten) {
            return Flushed {
                result: Err(error),
                acknowledged,
            };
        }
        let (acknowledged, loss) = health.losses_beyond(acknowledged);
        Flushed {
            result: loss.map_or(Ok(()), Err),
            acknowledged,
        }
    }

    /// Writes what is left, and tries again for [`CLOSE_PATIENCE`] where a disk refuses it.
    fn write_rest(&mut self) {
        let give_up_at = Instant::now() + CLOSE_PATIENCE;
        self.write(true);
        let is_unwritten = |run: &RunWriter| run.unwritten().is_some();
        while self.runs.values().any(is_unwritten) && Instant::now() < give_up_at {
            std::thread::sleep(CLOSE_PAUSE);
            for run in self.runs.values_mut().filter(|run| is_unwritten(run)) {
                run.write(&self.shared.health, true);
            }
        }
        self.runs
            .values_mut()
            .for_each(|run| run.give_up(&self.shared.health));
    }

    fn close(mut self, commands: &Receiver<Command>, closing: Option<Closing>) {
        self.finish_calls(commands);
        // The report of the end is that of the last call, not of what is made up for below.
        self.publish_report();
        let diagnosed = self
            .watches
            .iter()
            .filter(|watched| watched.watch.has_report());
        self.old_texts.extend(diagnosed.map(|watched| watched.run));
        for (&number, run) in &mut self.runs {
            record_models(run, &self.watches, &self.shared.health, number, Moment::End);
        }
        self.write_reports(Moment::End);
        for (number, Watched { run, watch, .. }) in self.watches.iter_mut() {
            let map = watch.take_map(true);
            if let (Some(map), Some(run)) = (map, self.runs.get_mut(run)) {
                run.weight_map(&self.shared.health, &mut self.kernels, number, map, true);
            }
            let points = watch.finish(&mut self.kernels);
            if let (Some(points), Some(run)) = (points, self.runs.get_mut(run)) {
                run.points(&self.shared.health, number, &points);
                if let Some(board) = watch.take_board() {
                    run.show(number, board);
                }
            }
        }
        self.refresh(Moment::End);
        let status = closing
            .as_ref()
            .map_or(Status::Unknown, |closing| closing.status);
        for run in self.runs.values_mut() {
            run.end_trial(&self.shared.health, &mut self.kernels, status);
        }
        if status == Status::Success {
            self.runs.values_mut().for_each(RunWriter::end_session);
        }
        self.write_rest();
        let telling = self
            .runs
            .iter()
            .map(|(&number, run)| (number, run.telling(PINNED)))
            .collect();
        *self
            .shared
            .telling
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = telling;
        if let Some(Closing { answer, .. }) = closing {
            let _ = answer.send(self.shared.health.first_loss().map_or(Ok(()), Err));
        }
    }
}

impl Worker {
    /// Takes what calls on other threads hand over that began before the logger was closed, so that
    /// nothing is lost that a call has accepted.
    fn finish_calls(&mut self, commands: &Receiver<Command>) {
        self.shared.queue.close();
        loop {
            // Asked before looking: a call that has ended has left its command.
            let under_way = self.shared.calls.load(Ordering::SeqCst) > 0;
            match commands.try_recv() {
                Ok(command) => self.handle(command),
                Err(_) if under_way => std::thread::yield_now(),
                Err(_) => break,
            }
        }
        self.drain();
    }
}

/// However the worker ends, also by a bug: nobody must wait for it in vain.
impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason =
                "a bug in tch-tensorboard; please report it with the panic message above".into();
            self.shared.health.fail(Error::WorkerStopped {
                path: "the run".into(),
                reason,
            });
        }
        self.shared.queue.close();
        self.shared.budget.close();
        self.watches.iter().for_each(|watched| watched.pool.close());
    }
}

/// Writes what is new of the models of a run to its private record.
fn record_models(run: &mut RunWriter, watches: &Watches, health: &Health, number: u32, at: Moment) {
    for watched in watches.weights(Some(number)) {
        if let Some(record) = watched.watch.record() {
            run.record(health, record, at);
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::plugin::Plugin;
    use crate::model::types::{Existing, OnFull, WallTime};
    use crate::options::WeightOptions;
    use crate::proto::summary::value::Value;
    use crate::run::run_history::RunHistory;
    use crate::run::{FileOptions, Opened};
    use crate::sink::LocalSink;
    use crate::sink::claim::claim_run;
    use crate::summary::{Payload, TaggedPayload};

    thread_local! {
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn compute(time: Duration) {
        NOW.set(NOW.get() + time);
    }

    /// A picture that takes an hour to encode.
    struct Slow;

    impl Payload for Slow {
        fn plugin(&self) -> Plugin {
            Plugin::Images
        }

        fn bytes(&self) -> usize {
            0
        }

        fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<Value>> {
            compute(Duration::from_secs(3600));
            Ok(None)
        }
    }

    /// A worker of one run, which is on no thread of its own and has a clock of its own.
    fn worker(run: &std::path::Path) -> Worker {
        let shared = Arc::new(Shared {
            queue: Default::default(),
            opened: Default::default(),
            budget: Default::default(),
            health: Health::new(Box::new(|_| {})),
            calls: Default::default(),
            report: Default::default(),
            findings: Default::default(),
            telling: Default::default(),
            costs: Default::default(),
        });
        let selection = Arc::new(Selection::new(WeightOptions::new()).unwrap());
        let mut worker = Worker::new(shared, selection, 1, TICK);
        worker.clock = || NOW.get();
        let claim = claim_run(&LocalSink, run, Existing::Fail).unwrap();
        let history = RunHistory::default();
        let opened = Opened::new(claim, history, None, FileOptions::default()).unwrap();
        worker.runs.insert(1, RunWriter::new(opened));
        worker
    }

    #[test]
    fn what_pictures_take_is_no_cost_of_models() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = worker(&dir.path().join("run"));
        compute(Duration::from_secs(2));
        let picture = TaggedPayload {
            step: 0,
            wall_time: WallTime::now(),
            tag: "picture".into(),
            description: "".into(),
            payload: Box::new(Slow),
        };
        let queue = &worker.shared.queue;
        queue.push_entry(1, picture.into(), OnFull::Drop);
        worker.drain();
        compute(Duration::from_secs(3));
        worker.count_costs();
        assert_eq!(NOW.get(), Duration::from_secs(3605), "it was encoded");
        assert_eq!(worker.shared.costs.spent(), Duration::from_secs(5));
    }
}
