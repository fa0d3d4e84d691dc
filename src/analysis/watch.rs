//! The worker's side of `log_weights`: one model's newest snapshot, what it says against the one
//! before, and the points that come of it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::analysis::aggregate::aggregate_points;
use crate::analysis::aggregate_tags::{Aggregate, aggregates};
use crate::analysis::begun::Begun;
use crate::analysis::board::scope_board;
use crate::analysis::checkup::Checkup;
use crate::analysis::dashboard::ScopeBoard;
use crate::analysis::description::Description;
use crate::analysis::map_picture::{self, MapPng};
use crate::analysis::origin::Origin;
use crate::analysis::points::{PointBatch, ScalarPoint};
use crate::analysis::record::{Diagnosed, model_record};
use crate::analysis::state::{State, elements};
use crate::analysis::tag_parts::{FINDINGS, weight_map_tag};
use crate::analysis::tags::{PointTag, variable_tags};
use crate::analysis::twins::follow;
use crate::analysis::weight_map::WeightMap;
use crate::capture::buffer::{Buffer, Pool};
use crate::capture::plan::{Due, Plan, Variable};
use crate::capture::snapshot::{Snapshot, Thinning};
use crate::kernel::histogram::Curve;
use crate::kernel::stats::Moments;
use crate::kernel::{Kernels, Task};
use crate::model::subject::Subject;
use crate::model::tier::Tier;
use crate::model::types::WallTime;
use crate::options::Selection;
use crate::platform::optimised::{ADVICE, IS_UNOPTIMISED};
use crate::proto::tch_tensorboard::ModelRecord;
use crate::report::diagnosis::Elsewhere;
use crate::report::ledger::Found;
use crate::report::thinned_note::thinned_note;
use crate::report::{ModelReport, ParameterReport, Remark};
use crate::source::first_values::FirstValues;
use crate::source::gradient_sampler::GradientSample;

const FINDINGS_TEXT: &str =
    "Variables with a fault in force, as the report under Text lists them. Healthy: 0.";

/// A changed share above this at each step is 1 for whoever looks at a chart of it.
const TELLING_SHARE: f64 = 0.99;

/// One model in one scope.
pub(crate) struct Watch {
    subject: Subject,
    scope: Arc<str>,
    selection: Arc<Selection>,
    plan: Option<Arc<Plan>>,
    states: Vec<State>,
    aggregates: Vec<Aggregate>,
    begun: Begun,
    /// That of the number of faults.
    findings: Option<Arc<PointTag>>,
    newest: Option<KeptSnapshot>,
    /// Memory for a sample of one variable, and for cutting rows.
    sample: Vec<f64>,
    curve: Curve,
    /// A plan or a fault has come since the board was taken.
    has_new_board: bool,
    /// See [`ScopeBoard::has_unchanged`].
    has_unchanged: bool,
    /// Variables, their roles, or how few steps are observed have changed since the record was
    /// taken.
    has_new_plan: bool,
    /// Snapshots so far.
    observed: u64,
    /// As of the newest snapshot.
    thinning: Thinning,
    /// Of weights.
    checkup: Option<Checkup>,
    /// Of weights, unless the user does not want it.
    map: Option<WeightMap>,
    /// What drift is measured from, instead of the first snapshot.
    first_values: Option<Arc<dyn FirstValues>>,
}

/// A picture of what a model has done so far, at a step that the user logged.
pub(crate) struct MapPoint {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) tag: Box<str>,
    pub(crate) picture: MapPng,
}

/// The newest snapshot, kept to compare the next one with.
struct KeptSnapshot {
    step: i64,
    wall_time: WallTime,
    /// Of the buffer that the pool keeps.
    stamp: u64,
    pool: Arc<Pool>,
    /// The stamp of the snapshot that the deltas are against.
    before: Option<u64>,
    /// For each class, what its cadence left out: written when the run ends.
    unwritten: Vec<Due>,
}

impl Watch {
    pub(crate) fn new(
        subject: Subject,
        scope: Arc<str>,
        selection: Arc<Selection>,
        first_values: Option<Arc<dyn FirstValues>>,
    ) -> Watch {
        Watch {
            first_values,
            checkup: (subject == Subject::Weights)
                .then(|| Checkup::new(selection.options.thresholds)),
            map: (subject == Subject::Weights && selection.options.weight_map)
                .then(WeightMap::default),
            subject,
            scope,
            selection,
            plan: None,
            states: Vec::new(),
            aggregates: Vec::new(),
            begun: Begun::default(),
            findings: None,
            sample: Vec::new(),
            curve: Curve::default(),
            has_new_board: false,
            has_unchanged: false,
            has_new_plan: false,
            observed: 0,
            thinning: Thinning::default(),
            newest: None,
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    /// Takes a snapshot: analyses it and says what is to be written. `None` when nothing is.
    pub(crate) fn observe(
        &mut self,
        kernels: &mut Kernels,
        snapshot: Snapshot,
    ) -> Option<PointBatch> {
        let same_plan = !self.adopt(&snapshot.plan);
        self.has_new_board |= !same_plan;
        let before = std::mem::replace(&mut self.thinning, snapshot.thinning);
        self.has_new_plan |= before.stride != snapshot.thinning.stride;
        if !same_plan {
            self.has_new_plan = true;
            for state in &mut self.states {
                state.first_step.get_or_insert(snapshot.step);
            }
        }
        if snapshot.rebase {
            if !snapshot.keeps_origin {
                self.states.iter_mut().for_each(|state| state.origin = None);
                self.first_values = None;
            }
            self.checkup.iter_mut().for_each(Checkup::rebase);
        }
        let previous = self.newest.take();
        // None, too, where memory is so short that a later call has taken it.
        let previous = previous.and_then(|newest| newest.pool.take_kept(newest.stamp));
        let before = previous
            .as_deref()
            .filter(|_| snapshot.follows && !snapshot.rebase && self.subject == Subject::Weights);
        self.analyse(kernels, &snapshot.buffer, before, &snapshot.due);
        if let Some(checkup) = &mut self.checkup {
            follow(&mut self.states, &snapshot, before, self.observed);
            self.observed += 1;
            self.has_new_board |= checkup.observe(&snapshot, &self.states);
        }
        if let Some(map) = &mut self.map {
            let plan = &snapshot.plan;
            let call = snapshot.buffer.stamp.saturating_sub(1);
            let known = std::iter::zip(&plan.variables, &self.states);
            let motions = known.map(|(variable, state)| state.motion(variable));
            let rhythm = plan.stride(call).max(self.thinning.stride);
            map.observe(call, snapshot.step, rhythm, motions);
        }
        if !self.has_unchanged {
            let mut changed = self
                .states
                .iter()
                .map(|state| state.measured.changed_fraction());
            self.has_unchanged =
                changed.any(|share| share.is_some_and(|share| share < TELLING_SHARE));
            self.has_new_board |= self.has_unchanged;
        }
        let points = self.points(&snapshot, before);
        self.states.iter_mut().for_each(State::drop_histograms);
        let before = before.filter(|_| same_plan).map(|before| before.stamp);
        if let Some(previous) = previous {
            snapshot.pool.put(previous);
        }
        self.newest = Some(KeptSnapshot {
            step: snapshot.step,
            wall_time: snapshot.wall_time,
            stamp: snapshot.buffer.stamp,
            pool: snapshot.pool.clone(),
            before,
            unwritten: unwritten(&snapshot.plan, &snapshot.due),
        });
        snapshot.pool.keep(snapshot.buffer);
        points
    }

    /// The points of the newest snapshot that its cadence left out, so that a run ends with its
    /// last weights.
    pub(crate) fn finish(&mut self, kernels: &mut Kernels) -> Option<PointBatch> {
        let newest = self.newest.take()?;
        let plan = self.plan.clone()?;
        let buffer = newest.pool.take_kept(newest.stamp)?;
        let before = newest
            .before
            .and_then(|stamp| newest.pool.take_stamped(stamp));
        if newest.before.is_some() == before.is_some() {
            self.analyse_again(kernels, &newest, &buffer, before.as_deref());
        }
        let last = Snapshot {
            step: newest.step,
            wall_time: newest.wall_time,
            plan,
            buffer,
            pool: newest.pool,
            follows: before.is_some(),
            due: newest.unwritten,
            rebase: false,
            keeps_origin: false,
            idle_calls: 0,
            idle_since: None,
            learning_rate: None,
            is_other_store: false,
            thinning: self.thinning,
        };
        self.points(&last, before.as_deref())
    }

    /// Makes the states fit a plan. A variable that is as it was keeps its own; one of another
    /// shape or type starts anew. True when the plan is a new one.
    fn adopt(&mut self, plan: &Arc<Plan>) -> bool {
        if self
            .plan
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, plan))
        {
            return false;
        }
        let mut known: HashMap<Arc<str>, State> = HashMap::new();
        if let Some(old) = self.plan.take() {
            let new = plan.variables.iter().map(|new| (&*new.name, new));
            let new: HashMap<&str, &Variable> = new.collect();
            for (variable, state) in std::iter::zip(&old.variables, self.states.drain(..)) {
                let kept = match new.get(&*variable.name) {
                    Some(new) if new.continues(variable) => state,
                    // Frozen for a while: how far training has moved it still counts from the
                    // start.
                    Some(new) if new.is_same_tensor(variable) => State {
                        origin: state.origin,
                        first_step: state.first_step,
                        ..State::default()
                    },
                    _ => continue,
                };
                known.insert(variable.name.clone(), kept);
            }
        }
        let (scope, selection) = (&*self.scope, &*self.selection);
        let tags = variable_tags(plan, self.subject, scope, selection, &mut self.begun);
        self.states = std::iter::zip(&plan.variables, tags)
            .map(|(variable, tags)| State {
                tags,
                ..known.remove(&variable.name).unwrap_or_default()
            })
            .collect();
        self.aggregates = aggregates(plan, self.subject, scope, selection, &mut self.begun);
        let model = self.aggregates.iter().find(|aggregate| aggregate.is_model);
        self.findings = model.filter(|_| self.checkup.is_some()).map(findings_tag);
        if let Some(checkup) = &mut self.checkup {
            checkup.adopt(plan);
        }
        if let Some(map) = &mut self.map {
            let names = plan.variables.iter().map(|variable| variable.name.clone());
            map.adopt(&names.collect::<Vec<_>>());
        }
        self.plan = Some(plan.clone());
        true
    }

    fn analyse(
        &mut self,
        kernels: &mut Kernels,
        current: &Buffer,
        before: Option<&Buffer>,
        due: &[Due],
    ) {
        let Some(plan) = self.plan.clone() else {
            return;
        };
        for (variable, state) in std::iter::zip(&plan.variables, &mut self.states) {
            state.place_before = state.place.replace(variable.bytes());
            state.watched_moved = before
                .filter(|_| !variable.is_logged())
                .and_then(|before| state.moved(current, before));
            if state.watched_moved == Some(true) && !variable.is_beside {
                plan.report_moved(variable);
            }
        }
        let for_roles = self.writes_roles(due);
        let task = |(variable, state): (&Variable, &State)| Task {
            current: elements(variable, current, Some(variable.bytes()))
                .filter(|_| variable.is_logged()),
            previous: before
                .and_then(|before| elements(variable, before, state.place_before.clone())),
            rows: variable.rows(),
            histograms: due.get(variable.class).is_some_and(|due| due.histograms) || for_roles,
        };
        let tasks: Vec<Task<'_>> = std::iter::zip(&plan.variables, &self.states)
            .map(task)
            .collect();
        let analyses = kernels.analyse(&tasks);
        let seed = self.selection.options.seed;
        let variables = std::iter::zip(&plan.variables, &mut self.states);
        for ((variable, state), (task, analysis)) in
            std::iter::zip(variables, std::iter::zip(&tasks, analyses))
        {
            if !variable.is_logged() && !variable.is_beside && state.origin.is_none() {
                let current = elements(variable, current, Some(variable.bytes()));
                let first_values = self.first_values.as_deref();
                state.origin = current.map(|current| {
                    Origin::of(current, seed, variable).beginning_at(first_values, variable)
                });
            }
            if let (Some(current), Some(analysis)) = (task.current, analysis) {
                let first_values = self.first_values.as_deref();
                let sample = &mut self.sample;
                state.take(analysis, current, seed, variable, sample, first_values);
            }
        }
    }

    /// True when histograms of roles are due. Each is over all its members, whatever the cadence of
    /// each.
    fn writes_roles(&self, due: &[Due]) -> bool {
        let mut aggregates = self.aggregates.iter();
        due.first().is_some_and(|due| due.histograms)
            && aggregates.any(|aggregate| aggregate.histogram.is_some())
    }

    /// Makes up the histograms of the newest snapshot that were not due when it came; the moments
    /// are known.
    fn analyse_again(
        &mut self,
        kernels: &mut Kernels,
        newest: &KeptSnapshot,
        buffer: &Buffer,
        before: Option<&Buffer>,
    ) {
        let Some(plan) = self.plan.clone() else {
            return;
        };
        let for_roles = self.writes_roles(&newest.unwritten);
        let task = |variable: &Variable| {
            let due = newest.unwritten.get(variable.class);
            let wanted = due.is_some_and(|due| due.histograms) || for_roles;
            let current = elements(variable, buffer, Some(variable.bytes()));
            Task {
                current: current.filter(|_| wanted && variable.is_logged()),
                previous: before
                    .and_then(|before| elements(variable, before, Some(variable.bytes()))),
                rows: variable.rows(),
                histograms: true,
            }
        };
        let tasks: Vec<Task<'_>> = plan.variables.iter().map(task).collect();
        let analyses = kernels.analyse(&tasks);
        for ((variable, state), analysis) in
            std::iter::zip(std::iter::zip(&plan.variables, &mut self.states), analyses)
        {
            if let Some(analysis) = analysis {
                state.analysis = Some(analysis.scaled(variable.scale()));
            }
        }
    }

    fn points(&mut self, snapshot: &Snapshot, before: Option<&Buffer>) -> Option<PointBatch> {
        let mut points = PointBatch {
            step: snapshot.step,
            wall_time: snapshot.wall_time,
            scalars: Vec::new(),
            histograms: Vec::new(),
        };
        for (variable, state) in std::iter::zip(&snapshot.plan.variables, &self.states) {
            let due = snapshot
                .due
                .get(variable.class)
                .copied()
                .unwrap_or_default();
            if due.scalars {
                state.scalars(&mut points.scalars);
                state.sample_lines(variable, &snapshot.buffer, before, &mut points.scalars);
            }
            if due.histograms {
                state.histograms(
                    self.selection.options.histogram_rows,
                    &mut self.curve,
                    &mut points.histograms,
                );
            }
        }
        let general = snapshot.due.first().copied().unwrap_or_default();
        if general.scalars || general.histograms {
            let rows = self.selection.options.histogram_rows;
            for aggregate in &mut self.aggregates {
                aggregate_points(
                    aggregate,
                    self.subject,
                    &self.states,
                    general,
                    rows,
                    &mut self.curve,
                    &mut points,
                );
            }
        }
        if let Some(tag) = self.findings.as_ref().filter(|_| general.scalars) {
            let faults = self.faults().len() as f64;
            points.scalars.push(ScalarPoint::new(tag, faults));
        }
        (!points.scalars.is_empty() || !points.histograms.is_empty()).then_some(points)
    }

    /// True when there is something to report.
    pub(crate) fn has_report(&self) -> bool {
        self.checkup.is_some() && self.states.iter().any(|state| state.analysis.is_some())
    }

    /// What the report says of each variable.
    pub(crate) fn report(&self, run: &Path) -> Vec<ParameterReport> {
        let (Some(plan), Some(checkup)) = (&self.plan, &self.checkup) else {
            return Vec::new();
        };
        let step = self.newest.as_ref().map(|newest| newest.step);
        let known = std::iter::zip(&plan.variables, &self.states);
        std::iter::zip(known, checkup.opinions())
            .filter(|((variable, _), _)| !variable.is_beside)
            .map(|((variable, state), mut opinion)| {
                if let Some(tie) = &variable.tie {
                    let with = tie.with.to_string();
                    opinion.evidence.remarks.push(Remark::Tied { with });
                }
                let weights = state.analysis.as_ref().map(|analysis| &analysis.weights);
                ParameterReport {
                    run: run.to_path_buf(),
                    scope: self.scope.to_string(),
                    name: variable.name.to_string(),
                    shape: variable.info.shape.clone(),
                    dtype: Some(variable.info.dtype),
                    role: variable.info.role,
                    step: step.unwrap_or_default(),
                    mean: weights.and_then(|weights| weights.std().map(|_| weights.mean)),
                    std: weights.and_then(Moments::std),
                    norm: weights.and_then(|weights| weights.std().map(|_| weights.norm())),
                    update_ratio: state.measured.update_ratio(),
                    changed_fraction: state.measured.changed_fraction(),
                    drift: state.measured.drift(),
                    nonfinite: weights.map_or(0, Moments::nonfinite),
                    verdict: opinion.verdict,
                    since: opinion.since,
                    reason: opinion.reason,
                    evidence: opinion.evidence,
                }
            })
            .collect()
    }

    /// What the private record says of this model; `None` before the first snapshot.
    pub(crate) fn record(&self) -> Option<ModelRecord> {
        let run = Path::new("");
        let findings = self.faults().iter().cloned();
        let diagnosed = Diagnosed {
            parameters: self.report(run),
            findings: findings.map(|found| found.told(run, &self.scope)).collect(),
            trend: self.checkup.as_ref().and_then(Checkup::trend),
            notes: self.notes(),
        };
        let step = self.newest.as_ref().map(|newest| newest.step);
        let (plan, states) = (self.plan.as_ref()?, &self.states);
        let aggregates = &self.aggregates;
        Some(model_record(
            &self.scope,
            plan,
            states,
            aggregates,
            (step, self.thinning),
            &diagnosed,
        ))
    }

    /// True when variables, their roles, or how few steps are observed have changed since this was
    /// last asked.
    pub(crate) fn take_new_plan(&mut self) -> bool {
        std::mem::take(&mut self.has_new_plan)
    }

    /// What the report says of the model as a whole; `None` for gradients.
    pub(crate) fn model_report(&self, run: &Path) -> Option<ModelReport> {
        let checkup = self.checkup.as_ref()?;
        Some(ModelReport {
            run: run.to_path_buf(),
            scope: self.scope.to_string(),
            step: self.newest.as_ref().map(|newest| newest.step),
            trend: checkup.trend(),
        })
    }

    /// Takes what the other scopes of the run are like.
    pub(crate) fn set_elsewhere(&mut self, elsewhere: Elsewhere) {
        if let Some(checkup) = &mut self.checkup {
            checkup.set_elsewhere(elsewhere);
        }
    }

    /// A few of the first elements of a matrix, the same ones in each model that has the same
    /// variables.
    pub(crate) fn first_elements(&self) -> &[f64] {
        let Some(plan) = &self.plan else {
            return &[];
        };
        let mut matrices = std::iter::zip(&plan.variables, &self.states)
            .filter(|(variable, _)| variable.info.shape.len() >= 2 && !variable.is_beside);
        let origin = matrices.find_map(|(_, state)| state.origin.as_ref());
        origin.map_or(&[], Origin::first_elements)
    }

    /// What this one is like for the others; `None` for gradients.
    pub(crate) fn identity(&self) -> Option<(bool, u64)> {
        Some(self.checkup.as_ref()?.identity())
    }

    pub(crate) fn scope(&self) -> &Arc<str> {
        &self.scope
    }

    /// What a user should know of this model once.
    pub(crate) fn notes(&self) -> Vec<String> {
        let diagnosed = self.checkup.iter().flat_map(Checkup::notes);
        let planned = self.plan.iter().flat_map(|plan| plan.notes.iter().cloned());
        let own = self.left_out().into_iter().chain(planned);
        let own = own.chain(thinned_note(self.thinning.stride));
        let is_weights = self.checkup.is_some();
        let own = own.chain((IS_UNOPTIMISED && is_weights).then(|| ADVICE.to_owned()));
        own.chain(diagnosed).collect()
    }

    /// The faults in force.
    pub(crate) fn faults(&self) -> &[Found] {
        self.checkup.as_ref().map_or(&[], Checkup::faults)
    }

    /// The faults that became sure since the last time.
    pub(crate) fn take_news(&mut self) -> Vec<Found> {
        let news = self.checkup.as_mut().map(Checkup::take_news);
        let news = news.unwrap_or_default();
        if let Some(map) = &mut self.map {
            let began = |found: &&Found| found.over_since.is_none() && !found.is_revision;
            for found in news.iter().filter(began) {
                map.mark(found.variable.as_deref(), found.first_step);
            }
        }
        news
    }

    /// The picture of the newest snapshot, when one is due; at the end, when anything is new since
    /// the last one.
    pub(crate) fn take_map(&mut self, is_end: bool) -> Option<MapPoint> {
        let newest = self.newest.as_ref()?;
        let map = self.map.as_mut()?;
        if !map.take_due(is_end) {
            return None;
        }
        Some(MapPoint {
            step: newest.step,
            wall_time: newest.wall_time,
            tag: weight_map_tag(&self.scope),
            picture: map_picture::to_png(map)?,
        })
    }

    /// True when the report is worth writing again.
    pub(crate) fn take_new_verdict(&mut self) -> bool {
        self.checkup.as_mut().is_some_and(Checkup::take_new_verdict)
    }

    /// What the newest snapshot says of the gradients, when this is a watch of gradients.
    pub(crate) fn gradients(&self) -> HashMap<Arc<str>, GradientSample> {
        let Some(plan) = self
            .plan
            .as_ref()
            .filter(|_| self.subject == Subject::Gradients)
        else {
            return HashMap::new();
        };
        let known = std::iter::zip(&plan.variables, &self.states);
        let sample = |(variable, state): (&Variable, &State)| {
            let gradient = &state.analysis.as_ref()?.weights;
            let sample = if gradient.nonfinite() > 0 {
                GradientSample::NonFinite
            } else if gradient.zeros == gradient.count {
                GradientSample::Zero
            } else {
                GradientSample::NonZero(Some(gradient.norm()))
            };
            Some((variable.name.clone(), sample))
        };
        known.filter_map(sample).collect()
    }

    /// Takes what `log_gradients` saw of the same step.
    pub(crate) fn refine(&mut self, gradients: HashMap<Arc<str>, GradientSample>) {
        if let Some(checkup) = &mut self.checkup {
            checkup.refine(gradients);
        }
    }

    fn logged(&self) -> usize {
        self.states
            .iter()
            .filter(|state| state.tags.is_some())
            .count()
    }

    /// What is left out of a model of this size by default, `None` when nothing is or the user
    /// chose the statistics.
    fn left_out(&self) -> Option<String> {
        if self.selection.options.statistics.is_some() {
            return None;
        }
        let logged = self.logged();
        match Tier::of(logged) {
            Tier::Small => None,
            Tier::Medium => Some(format!(
                "{logged} variables: four statistics and the histograms of each; \
                    WeightOptions::statistics and samples write more"
            )),
            Tier::Large => Some(format!(
                "{logged} variables: roles stand for them; WeightOptions::select and for_matching \
                    write single ones"
            )),
        }
    }

    /// What the generated dashboard shows of this model, when that has changed since the last time.
    pub(crate) fn take_board(&mut self) -> Option<ScopeBoard> {
        std::mem::take(&mut self.has_new_board).then(|| {
            scope_board(
                &self.scope,
                Tier::of(self.logged()),
                self.has_unchanged,
                self.plan.as_deref(),
                &self.states,
                &self.aggregates,
                self.faults(),
            )
        })
    }
}

/// No estimate, whatever the model's other statistics are.
fn findings_tag(model: &Aggregate) -> Arc<PointTag> {
    Arc::new(PointTag {
        name: model.tag_name(FINDINGS),
        description: Description {
            text: FINDINGS_TEXT.into(),
            sample: None,
            variable: None,
        },
    })
}

/// What a snapshot's cadence left out, except for classes that never write.
fn unwritten(plan: &Plan, due: &[Due]) -> Vec<Due> {
    std::iter::zip(&plan.classes, due)
        .map(|(class, due)| Due {
            scalars: !due.scalars && class.scalars.stride(0) > 0,
            histograms: !due.histograms && class.histograms.stride(0) > 0,
        })
        .collect()
}
