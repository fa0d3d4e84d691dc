//! The caller's side of `log_weights`: one copy of the selected tensors into a pooled buffer, and nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::{Buffer, Pool};
use crate::error::{Error, Result};
use crate::named_tensors::{NamedTensors, Visitor};
use crate::options::Selection;
use crate::types::{OnFull, WallTime};
use crate::weights::plan::{Due, Plan};
use crate::weights::walk::{Copier, Planned, Planner, Versions};

/// While the stride between points is at most this, every call is copied, so that the newest call can be shown when the
/// run ends and verdicts see each step. Above, the two calls that make a delta are copied and the others cost nothing.
const DENSE_STRIDE: u64 = 8;

/// Calls in a row without any write to a weight after which they are taken as steps all the same: a rate of 0 is worth
/// seeing, and so are weights that are changed behind libtorch's back.
const IDLE_CALLS: u32 = 20;

/// What is captured of each variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Weights,
    Gradients,
}

/// One call's copy of the selected tensors.
pub(crate) struct Snapshot {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) plan: Arc<Plan>,
    pub(crate) buffer: Buffer,
    /// Where the buffer goes back to.
    pub(crate) pool: Arc<Pool>,
    /// True when the snapshot sent before is that of the step before: deltas are per step or are not made.
    pub(crate) follows: bool,
    /// For each class of the plan.
    pub(crate) due: Vec<Due>,
    /// The weights were replaced on purpose: their distance counts from here.
    pub(crate) rebase: bool,
}

/// What a call came to.
pub(crate) enum Captured {
    /// To be sent to the worker.
    Snapshot(Box<Snapshot>),
    /// Nothing is due, or nothing was written to since the call before.
    Skipped,
    /// The worker is behind, and [`OnFull::Drop`] was asked for.
    Dropped,
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
    /// Calls that were steps: not those between which nothing was written.
    steps: u64,
    /// The step number, counted like `steps`, of the newest snapshot.
    copied: Option<u64>,
    version: Option<u64>,
    idle_calls: u32,
    moved: HashSet<Arc<str>>,
    rebase: bool,
}

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
            version: None,
            idle_calls: 0,
            moved: HashSet::new(),
            rebase: false,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The newest snapshot got lost on its way: the next one does not follow it.
    pub(crate) fn lost(&mut self) {
        self.copied = None;
    }

    /// The next call's weights are not the result of a step.
    pub(crate) fn rebase(&mut self) {
        self.rebase = true;
    }

    /// Copies what this call owes. The duration is the time spent waiting for a buffer.
    ///
    /// # Errors
    /// Mistakes in the call: a step that does not increase, a variable twice, a tensor that cannot be logged.
    pub(crate) fn take<S: NamedTensors + ?Sized>(
        &mut self,
        source: &S,
        step: i64,
        wall_time: WallTime,
    ) -> Result<(Captured, Duration)> {
        self.check_step(step)?;
        self.follow_moved();
        if self.planned.is_none() {
            self.make_plan(source)?;
        }
        if !self.wants_copy(source)? {
            return Ok((Captured::Skipped, Duration::ZERO));
        }
        let bytes = self
            .planned
            .as_ref()
            .map_or(0, |planned| planned.plan.bytes);
        let (buffer, waited) = self.pool.take(bytes, self.on_full);
        let Some(mut buffer) = buffer else {
            self.steps += 1;
            return Ok((Captured::Dropped, waited));
        };
        let version = match self.copy(source, &mut buffer) {
            Ok(version) => version,
            Err(error) => {
                self.pool.put(buffer);
                return Err(error);
            }
        };
        if !self.is_step(version) {
            self.pool.put(buffer);
            return Ok((Captured::Skipped, waited));
        }
        Ok((self.snapshot(step, wall_time, buffer), waited))
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
                "does not come after {last}, the step of the call before; count steps upwards, and log a second model \
                 through logger.scoped(\"name\")"
            );
            return Err(Error::InvalidStep {
                what,
                step: step.into(),
                reason: reason.into(),
            });
        }
        self.last_step = Some(step);
        Ok(())
    }

    /// Takes up frozen variables that the worker saw moving: from now on they are copied in full.
    fn follow_moved(&mut self) {
        if let Some(planned) = self.planned.take_if(|planned| planned.plan.has_moved()) {
            self.moved.extend(planned.plan.moved_names());
        }
    }

    fn make_plan<S: NamedTensors + ?Sized>(&mut self, source: &S) -> Result<()> {
        self.planned = None;
        let mut planner = Planner::new(self.subject, &self.selection);
        source.visit(&mut Visitor::new(&mut planner))?;
        self.planned = Some(planner.finish(&self.moved)?);
        Ok(())
    }

    /// Whether this call's tensors have to be copied. Between points that lie far apart most calls only look at
    /// libtorch's write counters.
    fn wants_copy<S: NamedTensors + ?Sized>(&mut self, source: &S) -> Result<bool> {
        let Some(planned) = &self.planned else {
            return Ok(false);
        };
        let (plan, call) = (planned.plan.clone(), self.steps);
        if plan.stride(call) <= DENSE_STRIDE || plan.is_due(call) || plan.is_due(call + 1) {
            return Ok(true);
        }
        let mut versions = Versions::new(self.subject, planned);
        source.visit(&mut Visitor::new(&mut versions))?;
        let version = versions.finish();
        self.is_step(version);
        Ok(false)
    }

    /// Copies the tensors, after a new plan where the variables are not those of the plan any more, and returns the sum
    /// of libtorch's write counters.
    fn copy<S: NamedTensors + ?Sized>(
        &mut self,
        source: &S,
        buffer: &mut Buffer,
    ) -> Result<Option<u64>> {
        for _ in 0..2 {
            if let Some(planned) = &mut self.planned {
                if buffer.bytes().len() < planned.plan.bytes {
                    *buffer = Buffer::with_bytes(planned.plan.bytes);
                }
                let mut copier = Copier::new(self.subject, planned, buffer.bytes_mut());
                source.visit(&mut Visitor::new(&mut copier))?;
                if let Some(version) = copier.finish()? {
                    return Ok(version);
                }
            }
            self.make_plan(source)?;
        }
        let name: Box<str> = if self.scope.is_empty() {
            "(all)".into()
        } else {
            (*self.scope).into()
        };
        let reason =
            "the variables change from one look to the next; stop training while they are logged"
                .into();
        Err(Error::UnsupportedTensor { name, reason })
    }

    /// Counts the call as a step, unless nothing was written since the call before (gradient accumulation, the other
    /// model's turn).
    fn is_step(&mut self, version: Option<u64>) -> bool {
        let idle = version.is_some()
            && self.version == version
            && self.subject == Subject::Weights
            && !self.rebase;
        self.version = version;
        self.idle_calls = if idle { self.idle_calls + 1 } else { 0 };
        let step = !idle || self.idle_calls > IDLE_CALLS;
        self.steps += u64::from(step);
        step
    }

    fn snapshot(&mut self, step: i64, wall_time: WallTime, mut buffer: Buffer) -> Captured {
        let call = self.steps - 1;
        buffer.stamp = self.steps;
        let Some(planned) = &self.planned else {
            return Captured::Skipped;
        };
        let plan = planned.plan.clone();
        let follows = call > 0 && self.copied == Some(call - 1);
        self.copied = Some(call);
        Captured::Snapshot(Box::new(Snapshot {
            step,
            wall_time,
            due: plan.due(call),
            plan,
            buffer,
            pool: self.pool.clone(),
            follows,
            rebase: std::mem::take(&mut self.rebase),
        }))
    }
}
