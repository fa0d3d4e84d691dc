//! What all clones of a logger share: the way to the writer thread, and the runs and models that
//! are known.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::logger::announcer::Announcer;
use crate::logger::models::Models;
use crate::logger::opening::Opening;
use crate::model::types::{OnFull, Step};
use crate::options::Selection;
use crate::options::overhead::Overhead;
use crate::run::Opened;
use crate::run::entry::RunEntry;
use crate::run::health::Health;
use crate::summary::hparams::Status;
use crate::worker::queue::Pushed;
use crate::worker::shared::Shared;
use crate::worker::{Closing, Command};

/// What all clones share.
pub(super) struct Core {
    pub(super) commands: SyncSender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Mutex<Option<JoinHandle<()>>>,
    /// The same thread, to be called out of a nap.
    pub(super) thread: Thread,
    pub(super) closed: AtomicBool,
    pub(super) registry: Mutex<Registry>,
    /// Held while a sub-run's directory is made, so that two threads do not make it twice.
    pub(super) making_subrun: Mutex<()>,
    pub(super) selection: Arc<Selection>,
    pub(super) opening: Opening,
    pub(super) on_full: OnFull,
    /// Where the user wants to be called with findings.
    pub(super) announcer: Option<Announcer>,
    pub(super) overhead: Overhead,
    /// The process that started the worker: a forked child has no such thread.
    pub(super) process: u32,
}

#[derive(Default)]
pub(super) struct Registry {
    pub(super) runs: HashMap<PathBuf, Arc<RunHandle>>,
    pub(super) run_count: u32,
    pub(super) models: HashMap<(u32, Arc<str>), Arc<Models>>,
    pub(super) watches: u32,
}

pub(super) struct RunHandle {
    pub(super) number: u32,
    pub(super) directory: PathBuf,
    /// Earlier steps stand in the files already: logging one of them makes the fast loader forget
    /// those behind it.
    pub(super) resumed_at: Option<i64>,
    /// What a run has once.
    pub(super) has_hparams: AtomicBool,
    pub(super) has_graph: AtomicBool,
    /// The charts of several values that the worker has or gets.
    pub(super) charts: Mutex<HashSet<Box<str>>>,
}

impl RunHandle {
    pub(super) fn check_step(&self, what: &str, step: impl Step) -> Result<i64> {
        let step = check_step(what, step)?;
        match self.resumed_at {
            Some(resumed_at) if step < resumed_at => Err(Error::InvalidStep {
                what: what.into(),
                step: step.into(),
                reason: format!(
                    "this run was resumed at step {resumed_at} and holds the ones before; to go \
                     on from a checkpoint of an earlier step, open the run with \
                     resume_from(that step + 1), which drops what was logged after it; else begin \
                     the loop at logger.resumed_at()"
                )
                .into(),
            }),
            _ => Ok(step),
        }
    }
}

impl Core {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Nothing may wait on the worker's own thread.
    pub(super) fn on_full(&self) -> OnFull {
        match self.on_full {
            OnFull::Block if self.shared.is_worker_thread() => OnFull::Drop,
            on_full => on_full,
        }
    }

    pub(super) fn check_open(&self, run: &RunHandle) -> Result<()> {
        if self.is_closed() {
            Err(Error::Closed {
                path: run.directory.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// A forked child has no worker: the logger is closed there, with an error that says so first.
    pub(super) fn check_process(&self, run: &RunHandle) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        self.closed.store(true, Ordering::SeqCst);
        Err(self.stopped(run))
    }

    /// Hands new findings to the user's callback, if there is one: not on the writer thread, and
    /// not in a forked child, where the writer may have held the lock for ever.
    pub(super) fn announce_findings(&self) {
        if let Some(announcer) = &self.announcer
            && !self.shared.is_worker_thread()
            && self.process == std::process::id()
        {
            announcer.announce(&self.shared);
        }
    }

    pub(super) fn check_thread(&self, call: &'static str, run: &RunHandle) -> Result<()> {
        if self.shared.is_worker_thread() {
            return Err(Error::OnWriterThread {
                call,
                path: run.directory.clone(),
            });
        }
        Ok(())
    }

    /// For calls that wait for the worker.
    pub(super) fn check_may_wait(&self, call: &'static str, run: &RunHandle) -> Result<()> {
        self.check_open(run)?;
        self.check_process(run)?;
        self.check_thread(call, run)
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        lock(&self.registry)
    }

    /// Makes a run known to the worker.
    pub(super) fn open(&self, opened: Opened, resumed_at: Option<i64>) -> Result<Arc<RunHandle>> {
        let number = {
            let mut registry = self.registry();
            registry.run_count += 1;
            registry.run_count
        };
        let run = Arc::new(RunHandle {
            number,
            directory: opened.directory().to_owned(),
            resumed_at,
            has_hparams: AtomicBool::new(false),
            has_graph: AtomicBool::new(false),
            charts: Mutex::default(),
        });
        lock(&self.shared.opened).push((number, opened));
        if self.commands.send(Command::Wake).is_err() {
            // Nobody will log to it.
            lock(&self.shared.opened)
                .extract_if(.., |(opened, _)| *opened == number)
                .for_each(|(_, opened)| opened.discard());
            return Err(self.stopped(&run));
        }
        Ok(run)
    }

    pub(super) fn models(&self, run: &RunHandle, scope: &str) -> Arc<Models> {
        let scope: Arc<str> = scope.into();
        let limit = (self.overhead, &self.shared.costs);
        let models = || Models::new(scope.clone(), &self.selection, self.on_full, limit);
        self.registry()
            .models
            .entry((run.number, scope.clone()))
            .or_insert_with(|| Arc::new(models()))
            .clone()
    }

    /// Hands an entry over, whose bytes were taken from the budget. Returns whether it was
    /// accepted, and how long the call waited.
    pub(super) fn send_entry(&self, run: &RunHandle, entry: RunEntry) -> (bool, Duration) {
        let bytes = entry.bytes();
        let (pushed, waited) = self
            .shared
            .queue
            .push_entry(run.number, entry, self.on_full());
        if pushed == Pushed::Dropped {
            self.shared.budget.put(bytes);
        }
        self.count(pushed);
        (pushed != Pushed::Dropped, waited)
    }

    /// Counts what was pushed, and wakes the worker when it is time.
    #[inline]
    pub(super) fn count(&self, pushed: Pushed) {
        let health = &self.shared.health;
        match pushed {
            Pushed::Dropped => Health::count(&health.dropped, 1),
            Pushed::Queued | Pushed::Wake | Pushed::Look => Health::count(&health.queued, 1),
        }
        if pushed == Pushed::Wake {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // A full queue of commands means that the worker is awake.
        let _ = self.commands.try_send(Command::Wake);
    }

    /// Hands a command over; false when it was given up.
    pub(super) fn send(&self, command: Command) -> bool {
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
        if let Some(Command::Snapshot { snapshot, .. }) = given_up {
            snapshot.pool.put(snapshot.buffer);
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
    pub(super) fn ask<T>(&self, command: Command, answer: &Receiver<T>) -> Option<T> {
        // In a forked child nobody answers, and the worker does not answer itself.
        if self.process != std::process::id() || self.shared.is_worker_thread() {
            return None;
        }
        self.commands.send(command).ok()?;
        self.thread.unpark();
        answer.recv().ok()
    }

    /// Ends the worker, whose runs end like that; `None` when it cannot say how it went.
    pub(super) fn close(&self, status: Status) -> Option<Result<()>> {
        if self.process != std::process::id() {
            return None;
        }
        if self.shared.is_worker_thread() {
            // The last clone was dropped by `on_error`: the worker ends by itself, when nobody can
            // send to it any more.
            return None;
        }
        let mut worker = lock(&self.worker);
        self.closed.store(true, Ordering::SeqCst);
        let Some(thread) = worker.take() else {
            return Some(self.shared.health.first_loss().map_or(Ok(()), Err));
        };
        let (answer, result) = sync_channel(1);
        let closing = Closing { status, answer };
        let result = self.ask(Command::Close(Some(closing)), &result);
        // A worker that panicked has said so.
        let _ = thread.join();
        self.release_memory();
        result
    }

    /// Gives back the newest snapshot of each model: clones of a closed logger may live on.
    fn release_memory(&self) {
        let models: Vec<Arc<Models>> = self.registry().models.values().cloned().collect();
        for models in models {
            // A call that is under way, perhaps on this very thread, keeps its own.
            for channel in [&models.weights, &models.gradients] {
                if let Ok(mut channel) = channel.try_lock() {
                    channel.capture.release();
                }
            }
        }
    }

    pub(super) fn stopped(&self, run: &RunHandle) -> Error {
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

/// The last clone is gone: what is left is written, and errors have been told to `on_error`.
impl Drop for Core {
    fn drop(&mut self) {
        // Perhaps by an error or a panic in the middle of a step.
        let _ = self.close(match std::thread::panicking() {
            true => Status::Failure,
            false => Status::Unknown,
        });
        self.announce_findings();
    }
}

/// Locks what no panic can leave half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn check_step(what: &str, step: impl Step) -> Result<i64> {
    step.to_i64().ok_or_else(|| Error::InvalidStep {
        what: what.into(),
        step: step.to_i128(),
        reason: "is beyond the range of i64, in which TensorBoard counts steps".into(),
    })
}
