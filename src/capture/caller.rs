//! The caller's side of `log_weights`: when to copy, and one copy of the selected tensors into a
//! pooled buffer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::buffer::{Buffer, Lent, Pool, Refusal};
use crate::capture::comparer::Comparer;
use crate::capture::copier::Copier;
use crate::capture::copy_tuner::CopyTuner;
use crate::capture::costs::Costs;
use crate::capture::fingerprint::Fingerprint;
use crate::capture::meter::{EVERY, Meter};
use crate::capture::plan::{Due, Followed, Plan};
use crate::capture::planned::Planned;
use crate::capture::planner::Planner;
use crate::capture::rest::RestCounter;
use crate::capture::sampling::Sampling;
use crate::capture::shape_changes::ShapeChanges;
use crate::capture::snapshot::{Captured, Snapshot, Thinning};
use crate::capture::throttle::Throttle;
use crate::error::{Error, Result};
use crate::model::subject::Subject;
use crate::model::types::{OnFull, WallTime};
use crate::options::Selection;
use crate::options::overhead::Overhead;
use crate::source::named_tensors::{NamedTensors, StoreWait, Visitor};
use crate::tensor;

/// So many times as many steps are observed while a fault is about to be confirmed.
const SUSPECTED: u64 = 4;

/// The newest snapshot, which the worker reads, too: what the next call is compared with.
struct NewestSnapshot {
    plan: Arc<Plan>,
    buffer: Arc<Buffer>,
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
    /// Copies made so far.
    copies: u64,
    /// Calls, to measure every so many.
    calls: u32,
    throttle: Throttle,
    sampling: Sampling,
    costs: Arc<Costs>,
    /// Steps of this model that were not observed.
    unobserved: u64,
    newest: Option<NewestSnapshot>,
    /// Of the call before, where points lie far apart.
    fingerprint: Option<u64>,
    rest: RestCounter,
    followed: Followed,
    /// Which stores the newest snapshot came from, and whether they are others than before.
    owners: Option<usize>,
    is_other_store: bool,
    rebase: bool,
    /// Of a rebase: drift goes on from where it began.
    keeps_origin: bool,
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
        (overhead, costs): (Overhead, Arc<Costs>),
    ) -> Capture {
        Capture {
            copies: 0,
            calls: 0,
            throttle: Throttle::new(overhead),
            sampling: Sampling::new(overhead),
            costs,
            unobserved: 0,
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
            rest: RestCounter::default(),
            followed: Followed::default(),
            owners: None,
            is_other_store: false,
            rebase: false,
            keeps_origin: false,
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

    /// The next call is no step behind the one before: it writes no delta, and drift goes on.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn stand_apart(&mut self) {
        if !self.rebase {
            (self.rebase, self.keeps_origin) = (true, true);
        }
    }

    /// The next call's weights are not the result of a step.
    pub(crate) fn rebase(&mut self) {
        self.rebase = true;
        self.keeps_origin = false;
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = Some(rate);
    }

    /// Begins to measure what the next call costs.
    pub(crate) fn meter(&mut self) -> Meter {
        let planned = self.planned.as_ref();
        let is_free = planned.is_some_and(|planned| planned.plan.is_explicit());
        if is_free || !self.throttle.is_limited() {
            return Meter::Elapsed;
        }
        self.calls = self.calls.wrapping_add(1);
        if self.planned.is_none() || self.is_observed(self.steps) || self.is_base() {
            Meter::cpu(1)
        } else if self.calls.is_multiple_of(EVERY) {
            Meter::cpu(EVERY)
        } else {
            Meter::Represented
        }
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
        if self.is_passed_unseen() {
            self.count_unobserved();
            self.count_step(false);
            return Ok((Captured::Skipped, Duration::ZERO));
        }
        let looks_idle = self.looks_idle(source)?;
        if self.rest.passes_over(looks_idle, step) {
            return Ok((Captured::Skipped, Duration::ZERO));
        }
        let Some(bytes) = self.bytes_to_copy(looks_idle) else {
            match looks_idle {
                true => self.rest.count_unreported(),
                false => self.count_unobserved(),
            }
            self.count_step(looks_idle);
            return Ok((Captured::Skipped, Duration::ZERO));
        };
        let (buffer, waited) = self.take_buffer(bytes);
        let Some(buffer) = buffer else {
            self.count_step(looks_idle);
            return Ok((Captured::Dropped, waited));
        };
        let mut lent = Lent::new(self.pool.clone(), buffer);
        self.copy(source, &mut lent.buffer)?;
        let is_idle = looks_idle || self.equals_newest(&lent.buffer);
        if !looks_idle && self.rest.passes_over(is_idle, step) {
            return Ok((Captured::Skipped, waited));
        }
        if !self.is_observed(self.steps) && !self.follows() {
            self.count_unobserved();
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
        let is_whole = self.selection.options.sample_limit.is_none();
        if is_whole && self.sampling.take_size(planned.plan.bytes) {
            planned = self.plan_once(source)?;
            let note = self.sampling.note().unwrap_or_default();
            self.warnings.push(Error::InvalidOption {
                option: "overhead",
                reason: format!("{}: {note}", self.name()).into(),
            });
        }
        // A plan that was just made is nobody else's.
        if let (Some(note), Some(plan)) = (self.sampling.note(), Arc::get_mut(&mut planned.plan)) {
            plan.notes.push(note);
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
        let limit = self.selection.options.sample_limit;
        let limit = limit.or(self.sampling.limit());
        let mut planner = Planner::new(self.subject, &self.selection, &self.followed, limit);
        source.visit(&mut Visitor::new(&mut planner, &mut self.store_wait))?;
        planner.finish()
    }

    /// The size of the buffer when this call's tensors have to be copied; `None` for the calls
    /// between points that lie far apart, unless they are what is compared with from now on. A
    /// model that came to rest is worth seeing, however few calls are observed.
    fn bytes_to_copy(&self, looks_idle: bool) -> Option<usize> {
        let wanted = self.rebase
            || (looks_idle && self.is_watched_at_rest())
            || self.is_observed(self.steps)
            || self.is_base();
        wanted.then_some(self.planned.as_ref()?.plan.bytes)
    }

    fn is_observed(&self, step: u64) -> bool {
        let planned = self.planned.as_ref();
        planned.is_some_and(|planned| planned.plan.is_observed(step, self.stride()))
    }

    /// True for the first steps of a model at rest, which cannot be distinguished from the others
    /// later.
    fn is_watched_at_rest(&self) -> bool {
        self.stride() > 1 && self.throttle.has_credit() && self.rest.has_just_begun()
    }

    /// Of so many steps one is observed. More of them while a fault is about to be confirmed, out
    /// of the same limit.
    fn stride(&self) -> u64 {
        let planned = self.planned.as_ref();
        let is_suspected = planned.is_some_and(|planned| planned.plan.is_suspected());
        match self.throttle.stride() {
            stride if is_suspected && self.throttle.has_credit() => (stride / SUSPECTED).max(1),
            stride => stride,
        }
    }

    /// A delta needs the call before, too; gradients have none.
    fn is_base(&self) -> bool {
        self.subject == Subject::Weights && self.is_observed(self.steps + 1)
    }

    /// True for a call between two that are observed when these lie so far apart that looking at
    /// the others would cost too much.
    fn is_passed_unseen(&self) -> bool {
        self.throttle.is_blind()
            && self.planned.is_some()
            && !self.rebase
            && !self.is_observed(self.steps)
            && !self.is_base()
    }

    /// True when nothing was seen to have moved since the call before (gradient accumulation, the
    /// other model's turn). What cannot be seen without a copy counts as moved.
    ///
    /// Where points lie far apart there is no copy of the call before to compare with, and a few
    /// elements stand for all: steps that change none of them, at most
    /// [`IDLE_CALLS`](crate::capture::IDLE_CALLS) in a row, are not counted, which moves the next
    /// point by as many calls. The two calls of a delta are always compared in full.
    fn looks_idle<S: NamedTensors + ?Sized>(&mut self, source: &S) -> Result<bool> {
        let Some(planned) = &self.planned else {
            return Ok(false);
        };
        if !self.can_be_idle() {
            return Ok(false);
        }
        let is_dense = planned.plan.is_dense(self.steps, self.stride());
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

    fn count_step(&mut self, is_idle: bool) {
        self.steps += 1;
        self.rest.count_step(is_idle);
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
                    let mut copier = Copier::new(self.subject, planned, method, self.copies, parts);
                    source.visit(&mut Visitor::new(&mut copier, &mut self.store_wait))?;
                    let owners = copier.owners();
                    if copier.finish()? {
                        let before = self.owners.replace(owners);
                        self.is_other_store = before.is_some_and(|before| before != owners);
                        self.tuner.record(method, since.elapsed());
                        self.copies += 1;
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

    /// What a call writes. A step at which nothing moved is written whenever it is observed.
    fn due(&self, plan: &Plan, call: u64) -> Vec<Due> {
        let stride = self.stride();
        let is_at_rest = self.rest.since().is_some();
        let mut due = plan.due(call, stride);
        if stride > 1 && is_at_rest && !plan.is_observed(call, stride) {
            let classes = std::iter::zip(&mut due, &plan.classes);
            classes.for_each(|(due, class)| due.scalars |= !class.scalars.is_explicit());
        }
        due
    }

    /// Counts a step of which nobody sees what it has changed, unless its cadence asks for no more.
    fn count_unobserved(&mut self) {
        let planned = self.planned.as_ref();
        if planned.is_some_and(|planned| planned.plan.is_observed(self.steps, 1)) {
            self.unobserved += 1;
            self.costs.count_unobserved();
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
        let due = self.due(&plan, call);
        // The next snapshot may be far away: this one says what holds until then.
        if !plan.is_explicit() {
            self.throttle.follow(self.steps, &self.costs);
        }
        Captured::Snapshot(Box::new(Snapshot {
            idle_calls: self.rest.take_unreported(follows),
            idle_since: self.rest.since(),
            learning_rate: self.learning_rate,
            step,
            wall_time,
            due,
            thinning: Thinning {
                stride: self.stride(),
                unobserved: self.unobserved,
            },
            plan,
            buffer,
            pool: self.pool.clone(),
            follows,
            rebase: std::mem::take(&mut self.rebase),
            keeps_origin: std::mem::take(&mut self.keeps_origin),
            is_other_store: std::mem::take(&mut self.is_other_store),
        }))
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::capture::rest::{AT_REST, IDLE_CALLS};
    use crate::options::WeightOptions;

    /// A capture that observes one step of so many, and the buffer that its worker keeps.
    struct Thinned {
        capture: Capture,
        step: i64,
        /// Calls at rest that snapshots have reported which are compared with the one before.
        idle_calls: u32,
    }

    impl Thinned {
        fn new(stride: u64) -> Thinned {
            let selection = Arc::new(Selection::new(WeightOptions::new()).expect("valid"));
            let limit = (Overhead::Unlimited, Arc::default());
            let subject = Subject::Weights;
            let capture = Capture::new(subject, "".into(), selection, OnFull::Drop, limit);
            Thinned {
                capture: Capture {
                    throttle: Throttle::of_stride(stride),
                    ..capture
                },
                step: 0,
                idle_calls: 0,
            }
        }

        /// Logs a weight of this value. What came of the call: whether it was copied, whether it
        /// follows the copy before, and whether scalars are due.
        fn log(&mut self, value: f32) -> Option<(bool, bool)> {
            let source = ("w", vec![value; 100]);
            let now = WallTime::now();
            let taken = self
                .capture
                .take(&source, self.step, now)
                .expect("a good call");
            self.step += 1;
            let Captured::Snapshot(snapshot) = taken.0 else {
                return None;
            };
            let due = snapshot.due.iter().any(|due| due.scalars);
            self.idle_calls += snapshot.idle_calls * u32::from(snapshot.follows);
            // As the worker does.
            snapshot.pool.keep(snapshot.buffer);
            Some((snapshot.follows, due))
        }
    }

    #[test]
    fn two_calls_in_a_row_are_copied_of_each_stride() {
        let mut thinned = Thinned::new(8);
        for step in 0..40 {
            let copied = thinned.log(step as f32);
            let expected = match step % 8 {
                7 => Some((false, false)),
                0 => Some((step > 0, true)),
                _ => None,
            };
            assert_eq!(copied, expected, "step {step}");
        }
        assert_eq!(thinned.capture.costs.unobserved(), 40 - 5);
    }

    #[test]
    fn a_model_that_comes_to_rest_is_observed_for_a_while_whatever_the_stride() {
        let mut thinned = Thinned::new(64);
        (0..100).for_each(|step| assert!(thinned.log(step as f32).is_some() || step > 0));
        let unobserved = thinned.capture.costs.unobserved();
        // The first call is news. From the twentieth at rest on each counts, and is compared with
        // the first of them.
        let copied: Vec<_> = (0..200).map(|_| thinned.log(-1.0)).collect();
        let place = copied.iter().position(Option::is_some);
        assert_eq!(place, Some(IDLE_CALLS as usize));
        let seen: Vec<_> = copied.into_iter().flatten().collect();
        assert_eq!(seen[0], (false, true));
        assert!(
            seen[1..AT_REST as usize]
                .iter()
                .all(|&copy| copy == (true, true))
        );
        assert!(seen.len() < 2 * AT_REST as usize, "{}", seen.len());
        assert!(thinned.capture.costs.unobserved() > unobserved);
    }

    #[test]
    fn calls_at_rest_that_are_not_copied_are_reported_with_the_next_one_that_is_compared() {
        let mut thinned = Thinned::new(64);
        for call in 0..400 {
            thinned.log(if call < 100 { call as f32 } else { -1.0 });
        }
        let compared = 2 * AT_REST;
        assert!(
            thinned.idle_calls > 200 - compared,
            "{}",
            thinned.idle_calls
        );
        assert!(thinned.idle_calls <= 300, "{}", thinned.idle_calls);
    }

    #[test]
    fn more_steps_are_observed_while_a_fault_is_about_to_be_confirmed() {
        let mut thinned = Thinned::new(16);
        (0..32).for_each(|step| assert!(thinned.log(step as f32).is_some() || step % 16 != 0));
        let planned = thinned.capture.planned.as_ref();
        planned.expect("a plan").plan.report_suspicion(true);
        let copied: Vec<bool> = (32..48)
            .map(|step| thinned.log(step as f32).is_some())
            .collect();
        assert_eq!(
            copied.iter().filter(|&&copied| copied).count(),
            8,
            "{copied:?}"
        );
    }

    #[test]
    fn where_few_steps_are_observed_nothing_is_looked_at_between() {
        let mut thinned = Thinned::new(1 << 10);
        thinned.log(0.0);
        for _ in 1..1023 {
            assert_eq!(thinned.log(0.5), None);
        }
        assert_eq!(thinned.log(1.0), Some((false, false)));
        assert_eq!(thinned.log(2.0), Some((true, true)));
    }
}
