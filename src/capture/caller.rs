//! The caller's side of `log_weights`: when to copy, and one copy of the selected tensors into a
//! pooled buffer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::buffer::{Buffer, Pool, Refusal};
use crate::capture::comparer::Comparer;
use crate::capture::copier::Copier;
use crate::capture::copy_tuner::CopyTuner;
use crate::capture::fingerprint::Fingerprint;
use crate::capture::plan::{Followed, Plan};
use crate::capture::planned::Planned;
use crate::capture::planner::Planner;
use crate::capture::shape_changes::ShapeChanges;
use crate::capture::snapshot::{Captured, Snapshot};
use crate::error::{Error, Result};
use crate::model::subject::Subject;
use crate::model::types::{OnFull, WallTime};
use crate::options::Selection;
use crate::source::named_tensors::{NamedTensors, StoreWait, Visitor};
use crate::tensor;

/// While the stride between points is at most this, every call is copied, so that the newest call
/// can be shown when the run ends and verdicts see each step. Above, the two calls that make a
/// delta are copied and the others cost nothing.
const DENSE_STRIDE: u64 = 8;

/// The idle call in a row that is taken as a step all the same, with all that follow: a rate of 0
/// is worth seeing.
pub(crate) const IDLE_CALLS: u32 = 20;

/// The newest snapshot, which the worker reads, too: what the next call is compared with.
struct NewestSnapshot {
    plan: Arc<Plan>,
    buffer: Arc<Buffer>,
}

/// A buffer that goes back to its pool unless it is kept, also when the source of the tensors
/// panics: a buffer that got lost would be waited for in vain.
struct Lent {
    pool: Arc<Pool>,
    buffer: Arc<Buffer>,
    is_kept: bool,
}

impl Lent {
    fn keep(mut self) -> Arc<Buffer> {
        self.is_kept = true;
        self.buffer.clone()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_kept {
            self.pool.put(self.buffer.clone());
        }
    }
}

/// Remembers of one model what the next call needs: never a tensor, so that nothing is kept alive.
pub(crate) struct Capture {
    subject: Subject,
    /// The scope as errors name it.
    scope: Arc<str>,
    selection: Arc<Selection>,
    on_full: OnFull,
    pool: Arc<Pool>,
    planned: Option<Planned>,
    last_step: Option<i64>,
    /// Calls that were steps: not those between which nothing moved.
    steps: u64,
    /// The step number, counted like `steps`, of the newest snapshot.
    copied: Option<u64>,
    newest: Option<NewestSnapshot>,
    /// Of the call before, where points lie far apart.
    fingerprint: Option<u64>,
    /// In a row, the newest call included.
    idle_calls: u32,
    /// Left out since the newest snapshot, which the next one reports.
    idle_unreported: u32,
    /// The step of the first in the row.
    idle_since: Option<i64>,
    /// The step of the call under way.
    step: i64,
    followed: Followed,
    /// Which stores the newest snapshot came from, and whether they are others than before.
    owners: Option<usize>,
    is_other_store: bool,
    rebase: bool,
    learning_rate: Option<f64>,
    tuner: CopyTuner,
    store_wait: StoreWait,
    /// The calls before found the store locked.
    was_locked: bool,
    /// There is memory for a single buffer: no call is compared with the one before.
    is_starved: bool,
    /// The size of a buffer that could not be had, and how many there were, as reported last.
    lacking: Option<(usize, usize)>,
    /// What the user has not been told yet.
    warnings: Vec<Error>,
    shapes: ShapeChanges,
}

/// After a wait in vain, the calls until the store is free wait this long: the holder may be this
/// thread.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);

impl Capture {
    pub(crate) fn new(
        subject: Subject,
        scope: Arc<str>,
        selection: Arc<Selection>,
        on_full: OnFull,
    ) -> Capture {
        Capture {
            subject,
            scope,
            selection,
            on_full,
            pool: Arc::default(),
            planned: None,
            last_step: None,
            steps: 0,
            copied: None,
            newest: None,
            fingerprint: None,
            idle_calls: 0,
            idle_unreported: 0,
            idle_since: None,
            step: 0,
            followed: Followed::default(),
            owners: None,
            is_other_store: false,
            rebase: false,
            learning_rate: None,
            tuner: CopyTuner::default(),
            store_wait: StoreWait::default(),
            was_locked: false,
            is_starved: false,
            lacking: None,
            warnings: Vec::new(),
            shapes: ShapeChanges::default(),
        }
    }

    /// What kept calls from being logged and is no mistake in them, to be reported once.
    pub(crate) fn take_warnings(&mut self) -> Vec<Error> {
        std::mem::take(&mut self.warnings)
    }

    /// The logger is closed: the memory of the newest snapshot goes back.
    pub(crate) fn release(&mut self) {
        (self.planned, self.newest) = (None, None);
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The newest snapshot got lost on its way: the next one does not follow it.
    pub(crate) fn lost(&mut self) {
        (self.copied, self.newest) = (None, None);
    }

    /// The next call's weights are not the result of a step.
    pub(crate) fn rebase(&mut self) {
        self.rebase = true;
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = Some(rate);
    }

    /// Copies what this call owes. The duration is the time spent waiting for a buffer or a store.
    ///
    /// # Errors
    /// Mistakes in the call: a step that does not increase, a variable twice, nothing but tensors
    /// that cannot be logged.
    pub(crate) fn take<S: NamedTensors + ?Sized>(
        &mut self,
        source: &S,
        step: i64,
        wall_time: WallTime,
    ) -> Result<(Captured, Duration)> {
        self.check_step(step)?;
        self.step = step;
        self.follow_moved();
        let timeout = self.selection.options.store_timeout;
        self.store_wait = StoreWait {
            patience: match self.was_locked {
                true => timeout.min(SHORT_PATIENCE),
                false => timeout,
            },
            waited: Duration::ZERO,
        };
        let captured = match self.plan_and_capture(source, step, wall_time) {
            Err(locked @ Error::StoreLocked { .. }) => {
                if !std::mem::replace(&mut self.was_locked, true) {
                    self.warnings.push(locked);
                }
                // No delta is written over the gap.
                self.count_step(false);
                (Captured::Dropped, Duration::ZERO)
            }
            captured => {
                self.was_locked = false;
                captured?
            }
        };
        // A call that failed may be made again.
        self.last_step = Some(step);
        let (captured, waited) = captured;
        Ok((captured, waited + self.store_wait.waited))
    }

    fn plan_and_capture<S: NamedTensors + ?Sized>(
        &mut self,
        source: &S,
        step: i64,
        wall_time: WallTime,
    ) -> Result<(Captured, Duration)> {
        if self.planned.is_none() {
            self.make_plan(source)?;
        }
        self.capture(source, step, wall_time)
    }

    fn capture<S: NamedTensors + ?Sized>(
        &mut self,
        source: &S,
        step: i64,
        wall_time: WallTime,
    ) -> Result<(Captured, Duration)> {
        let looks_idle = self.looks_idle(source)?;
        if self.passes_over(looks_idle) {
            return Ok((Captured::Skipped, Duration::ZERO));
        }
        let Some(bytes) = self.bytes_to_copy() else {
            self.count_step(looks_idle);
            return Ok((Captured::Skipped, Duration::ZERO));
        };
        let (buffer, waited) = self.take_buffer(bytes);
        let Some(buffer) = buffer else {
            self.count_step(looks_idle);
            return Ok((Captured::Dropped, waited));
        };
        let mut lent = Lent {
            pool: self.pool.clone(),
            buffer,
            is_kept: false,
        };
        self.copy(source, &mut lent.buffer)?;
        let is_idle = looks_idle || self.equals_newest(&lent.buffer);
        if !looks_idle && self.passes_over(is_idle) {
            return Ok((Captured::Skipped, waited));
        }
        self.count_step(is_idle);
        Ok((self.snapshot(step, wall_time, lent.keep()), waited))
    }

    /// A buffer, and how long the call waited for it; `None` when the worker is behind under
    /// [`OnFull::Drop`], or gone, or when there is no memory for a single one.
    fn take_buffer(&mut self, bytes: usize) -> (Option<Arc<Buffer>>, Duration) {
        if self.is_starved {
            self.newest = None;
        }
        let (taken, waited) = self.pool.take(bytes, self.on_full);
        let existing = match taken {
            Ok(buffer) => return (Some(buffer), waited),
            Err(Refusal::Full) => return (None, waited),
            Err(Refusal::NoMemory { existing }) => existing,
        };
        self.warn_of_memory(bytes, existing);
        if existing == 0 {
            return (None, waited);
        }
        if existing == 1 {
            (self.is_starved, self.newest) = (true, None);
        }
        let (taken, longer) = self.pool.take(bytes, self.on_full);
        (taken.ok(), waited + longer)
    }

    /// Reports, once for each size and number, what memory is missing.
    fn warn_of_memory(&mut self, bytes: usize, existing: usize) {
        let lack = Some((bytes, existing));
        if std::mem::replace(&mut self.lacking, lack) != lack {
            self.warnings.push(Error::NoMemory {
                name: self.name(),
                bytes,
                existing,
            });
        }
    }

    fn check_step(&mut self, step: i64) -> Result<()> {
        if let Some(last) = self.last_step.filter(|&last| step <= last) {
            let call = match self.subject {
                Subject::Weights => "log_weights",
                Subject::Gradients => "log_gradients",
            };
            let what = if self.scope.is_empty() {
                call.into()
            } else {
                format!("{call} in scope {}", self.scope).into()
            };
            let reason = format!(
                "does not come after {last}, the step of the call before; count steps upwards, and \
                    log a second model through logger.scoped(\"name\")"
            );
            return Err(Error::InvalidStep {
                what,
                step: step.into(),
                reason: reason.into(),
            });
        }
        Ok(())
    }

    /// Takes up frozen variables that the worker saw moving, from now on to be copied in full, and
    /// those that it saw trained in turn.
    fn follow_moved(&mut self) {
        if let Some(planned) = self.planned.take_if(|planned| planned.plan.has_news()) {
            self.followed.take(&planned.plan);
        }
    }

    fn make_plan<S: NamedTensors + ?Sized>(&mut self, source: &S) -> Result<()> {
        let before = self.planned.take();
        let mut planned = self.plan_once(source)?;
        // The second time that a role changes, it is changed in turn.
        if before.is_some_and(|before| self.followed.compare_roles(&before.plan, &planned.plan)) {
            planned = self.plan_once(source)?;
        }
        let bytes = planned.plan.bytes;
        self.is_starved = self.pool.is_starved(bytes);
        if !self.is_starved && !Buffer::has_room(bytes) {
            return Err(self.no_room(bytes));
        }
        self.shapes.follow(&mut planned.plan);
        self.planned = Some(planned);
        Ok(())
    }

    fn plan_once<S: NamedTensors + ?Sized>(&mut self, source: &S) -> Result<Planned> {
        let mut planner = Planner::new(self.subject, &self.selection, &self.followed);
        source.visit(&mut Visitor::new(&mut planner, &mut self.store_wait))?;
        planner.finish()
    }

    /// The size of the buffer when this call's tensors have to be copied; `None` for the calls
    /// between points that lie far apart, unless they are what is compared with from now on.
    fn bytes_to_copy(&self) -> Option<usize> {
        let plan = &self.planned.as_ref()?.plan;
        let wanted = self.rebase
            || plan.stride(self.steps) <= DENSE_STRIDE
            || plan.is_due(self.steps)
            // A delta needs the call before, too; gradients have none.
            || (self.subject == Subject::Weights && plan.is_due(self.steps + 1));
        wanted.then_some(plan.bytes)
    }

    /// True when nothing was seen to have moved since the call before (gradient accumulation, the
    /// other model's turn). What cannot be seen without a copy counts as moved.
    ///
    /// Where points lie far apart there is no copy of the call before to compare with, and a few
    /// elements stand for all: steps that change none of them, at most [`IDLE_CALLS`] in a row, are
    /// not counted, which moves the next point by as many calls. The two calls of a delta are
    /// always compared in full.
    fn looks_idle<S: NamedTensors + ?Sized>(&mut self, source: &S) -> Result<bool> {
        let Some(planned) = &self.planned else {
            return Ok(false);
        };
        if !self.can_be_idle() {
            return Ok(false);
        }
        let is_dense = planned.plan.stride(self.steps) <= DENSE_STRIDE;
        let fingerprint = if is_dense {
            None
        } else {
            let mut fingerprint = Fingerprint::new(self.subject, planned);
            source.visit(&mut Visitor::new(&mut fingerprint, &mut self.store_wait))?;
            fingerprint.finish()
        };
        let before = std::mem::replace(&mut self.fingerprint, fingerprint);
        if !is_dense && !self.follows() {
            return Ok(fingerprint.is_some() && fingerprint == before);
        }
        match &self.newest {
            Some(newest) if Arc::ptr_eq(&newest.plan, &planned.plan) => {
                let mut comparer = Comparer::new(self.subject, planned, newest.buffer.bytes());
                source.visit(&mut Visitor::new(&mut comparer, &mut self.store_wait))?;
                Ok(comparer.finish())
            }
            _ => Ok(false),
        }
    }

    /// Gradients may well repeat, and weights that were replaced on purpose are news.
    fn can_be_idle(&self) -> bool {
        self.subject == Subject::Weights && !self.rebase
    }

    /// True when the newest snapshot is that of the step before.
    fn follows(&self) -> bool {
        self.steps > 0 && self.copied == Some(self.steps - 1)
    }

    fn equals_newest(&self, buffer: &Buffer) -> bool {
        let (Some(newest), Some(planned)) = (&self.newest, &self.planned) else {
            return false;
        };
        let bytes = planned.plan.step_bytes;
        self.can_be_idle()
            && Arc::ptr_eq(&newest.plan, &planned.plan)
            && newest.buffer.bytes().get(..bytes) == buffer.bytes().get(..bytes)
    }

    /// True when an idle call is left out, which the first ones in a row are.
    fn passes_over(&mut self, is_idle: bool) -> bool {
        let passed = is_idle && self.idle_calls + 1 < IDLE_CALLS;
        self.idle_calls += u32::from(passed);
        self.idle_unreported += u32::from(passed);
        if is_idle {
            self.idle_since.get_or_insert(self.step);
        }
        passed
    }

    fn count_step(&mut self, is_idle: bool) {
        self.steps += 1;
        if !is_idle {
            self.idle_calls = 0;
            self.idle_since = None;
        }
    }

    /// Copies the tensors, after a new plan where the variables are not those of the plan any more.
    fn copy<S: NamedTensors + ?Sized>(
        &mut self,
        source: &S,
        shared: &mut Arc<Buffer>,
    ) -> Result<()> {
        for _ in 0..2 {
            if let Some(planned) = &self.planned {
                if shared.bytes().len() < planned.plan.bytes {
                    let bytes = planned.plan.bytes;
                    let larger = Buffer::try_with_bytes(bytes);
                    *shared = Arc::new(larger.ok_or_else(|| self.no_room(bytes))?);
                }
                // The pool hands out only what nobody else holds.
                if let Some(buffer) = Arc::get_mut(shared) {
                    let method = self.tuner.choose(planned.plan.bytes, tensor::threads());
                    let since = Instant::now();
                    let parts = buffer.parts_mut();
                    let mut copier = Copier::new(self.subject, planned, method, self.steps, parts);
                    source.visit(&mut Visitor::new(&mut copier, &mut self.store_wait))?;
                    let owners = copier.owners();
                    if copier.finish()? {
                        let before = self.owners.replace(owners);
                        self.is_other_store = before.is_some_and(|before| before != owners);
                        self.tuner.record(method, since.elapsed());
                        buffer.stamp = self.steps + 1;
                        return Ok(());
                    }
                }
            }
            self.make_plan(source)?;
        }
        let reason =
            "the variables change from one look to the next; stop training while they are logged"
                .into();
        let name = self.name();
        Err(Error::UnsupportedTensor { name, reason })
    }

    fn no_room(&self, bytes: usize) -> Error {
        let reason = format!(
            "the variables have {bytes} bytes, more than there is memory for; choose fewer with \
                select(), or a sample with sample_limit()"
        );
        Error::UnsupportedTensor {
            name: self.name(),
            reason: reason.into(),
        }
    }

    /// What errors about all variables call them.
    fn name(&self) -> Box<str> {
        match &*self.scope {
            "" => "(all)".into(),
            scope => scope.into(),
        }
    }

    /// The snapshot of the step that was counted last.
    fn snapshot(&mut self, step: i64, wall_time: WallTime, buffer: Arc<Buffer>) -> Captured {
        let call = self.steps - 1;
        let Some(planned) = &self.planned else {
            return Captured::Skipped;
        };
        let plan = planned.plan.clone();
        let follows = call > 0 && self.copied == Some(call - 1) && !self.is_other_store;
        self.copied = Some(call);
        self.newest = Some(NewestSnapshot {
            plan: plan.clone(),
            buffer: buffer.clone(),
        });
        let idle_calls = std::mem::take(&mut self.idle_unreported);
        Captured::Snapshot(Box::new(Snapshot {
            idle_calls,
            idle_since: self.idle_since,
            learning_rate: self.learning_rate,
            step,
            wall_time,
            due: plan.due(call),
            plan,
            buffer,
            pool: self.pool.clone(),
            follows,
            rebase: std::mem::take(&mut self.rebase),
            is_other_store: std::mem::take(&mut self.is_other_store),
        }))
    }
}
