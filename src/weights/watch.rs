//! The worker's side of `log_weights`: one model's newest snapshot, what it says against the one before, and the points
//! that come of it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::buffer::{Buffer, Pool};
use crate::dashboard::{FaultBoard, ScopeBoard, VariableBoard};
use crate::histogram::Histogram;
use crate::kernel::{Analysis, Elements, Kernels, Task};
use crate::options::{Selection, Statistic};
use crate::report::diagnosis::{Diagnosis, Found};
use crate::report::history::{Observation, Seen};
use crate::report::rules::Facts;
use crate::report::{ModelReport, ParameterReport, Verdict};
use crate::stats::Moments;
use crate::types::WallTime;
use crate::values::Glimpse;
use crate::weights::aggregate::aggregate_points;
use crate::weights::capture::{Snapshot, Subject};
use crate::weights::origin::Origin;
use crate::weights::plan::{Due, Plan, Variable};
use crate::weights::tags::{
    Aggregate, Description, GradientStatistic, Tag, Tier, VariableTags, aggregates, variable_tags,
};

/// The floor of the logarithmic update ratio, below which nothing is worth telling apart.
pub(crate) const RATIO_FLOOR: f64 = -8.0;

const FINDINGS: &str =
    "Variables with a fault in force, as the report under Text lists them. Healthy: 0.";

/// A scalar to write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScalarPoint {
    pub(crate) tag: Arc<str>,
    pub(crate) description: Description,
    pub(crate) value: f64,
}

impl ScalarPoint {
    pub(crate) fn new(tag: &Tag, value: f64) -> ScalarPoint {
        ScalarPoint {
            tag: tag.name.clone(),
            description: tag.description,
            value,
        }
    }
}

/// A histogram to write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistogramPoint {
    pub(crate) tag: Arc<str>,
    pub(crate) description: Description,
    pub(crate) histogram: Histogram,
}

impl HistogramPoint {
    pub(crate) fn new(tag: &Tag, histogram: Histogram) -> HistogramPoint {
        HistogramPoint {
            tag: tag.name.clone(),
            description: tag.description,
            histogram,
        }
    }
}

/// What one call writes.
#[derive(Debug)]
pub(crate) struct Points {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) scalars: Vec<ScalarPoint>,
    pub(crate) histograms: Vec<HistogramPoint>,
}

/// One model in one scope.
pub(crate) struct Watch {
    subject: Subject,
    scope: Arc<str>,
    selection: Arc<Selection>,
    plan: Option<Arc<Plan>>,
    states: Vec<State>,
    aggregates: Vec<Aggregate>,
    newest: Option<Newest>,
    /// A plan or a fault has come since the board was taken.
    has_new_board: bool,
    /// Of weights.
    diagnosis: Option<Diagnosis>,
    /// Faults in force, in the order in which they became sure.
    faults: Vec<Found>,
    /// Of these, the ones that nobody has been told of.
    news: Vec<Found>,
    /// Some verdict has changed since the report was last written.
    has_new_verdict: bool,
    /// What `log_gradients` saw of the newest step.
    exact_gradients: HashMap<Arc<str>, Glimpse>,
}

/// What is known of a variable beside its newest elements.
#[derive(Default)]
pub(crate) struct State {
    tags: Option<VariableTags>,
    /// Where it lies in the newest buffer.
    place: Option<Range<usize>>,
    /// Where it lay in the buffer before.
    place_before: Option<Range<usize>>,
    origin: Option<Origin>,
    /// Some bit of a watched variable changed; `None` without a snapshot before.
    watched_moved: Option<bool>,
    /// Of the newest snapshot.
    analysis: Option<Analysis>,
    pub(crate) measured: Measured,
}

/// The numbers that scalars, aggregates and the report share.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) norm: f64,
    /// Of the snapshot before, when it can be compared.
    pub(crate) norm_before: Option<f64>,
    /// `None` as well when no element's change is finite.
    pub(crate) delta_norm: Option<f64>,
    pub(crate) changed_fraction: Option<f64>,
    /// Squared norms of w - w(0) and of w(0), scaled from the sample to all elements.
    pub(crate) drift: Option<(f64, f64)>,
    /// Between this change and the one before, from a sample.
    cosine: Option<f64>,
}

impl Measured {
    /// norm(delta) / norm(before); not defined for a variable that was all zero.
    pub(crate) fn update_ratio(&self) -> Option<f64> {
        ratio(self.delta_norm?, self.norm_before?)
    }

    pub(crate) fn update_ratio_log10(&self) -> Option<f64> {
        self.update_ratio().map(floored_log10)
    }

    pub(crate) fn drift(&self) -> Option<f64> {
        let (moved, origin) = self.drift?;
        ratio(moved.sqrt(), origin.sqrt())
    }
}

pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0 && whole.is_finite()).then(|| part / whole)
}

pub(crate) fn floored_log10(ratio: f64) -> f64 {
    ratio.log10().max(RATIO_FLOOR)
}

/// The newest snapshot, kept to compare the next one with.
struct Newest {
    step: i64,
    wall_time: WallTime,
    buffer: Arc<Buffer>,
    pool: Arc<Pool>,
    /// The stamp of the snapshot that the deltas are against.
    before: Option<u64>,
    /// For each class, what its cadence left out: written when the run ends.
    unwritten: Vec<Due>,
}

impl Watch {
    pub(crate) fn new(subject: Subject, scope: Arc<str>, selection: Arc<Selection>) -> Watch {
        Watch {
            diagnosis: (subject == Subject::Weights)
                .then(|| Diagnosis::new(selection.options.thresholds)),
            faults: Vec::new(),
            news: Vec::new(),
            has_new_verdict: false,
            exact_gradients: HashMap::new(),
            subject,
            scope,
            selection,
            plan: None,
            states: Vec::new(),
            aggregates: Vec::new(),
            has_new_board: false,
            newest: None,
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        self.subject
    }

    /// Takes a snapshot: analyses it and says what is to be written. `None` when nothing is.
    pub(crate) fn observe(&mut self, kernels: &mut Kernels, snapshot: Snapshot) -> Option<Points> {
        let same_plan = !self.adopt(&snapshot.plan);
        self.has_new_board |= !same_plan;
        if snapshot.rebase {
            self.states.iter_mut().for_each(|state| state.origin = None);
            self.diagnosis.iter_mut().for_each(Diagnosis::rebase);
        }
        let previous = self.newest.take();
        let before = previous
            .as_ref()
            .filter(|_| snapshot.follows && !snapshot.rebase && self.subject == Subject::Weights);
        self.analyse(
            kernels,
            &snapshot.buffer,
            before.map(|previous| &*previous.buffer),
            &snapshot.due,
        );
        self.diagnose(&snapshot);
        let points = self.points(&snapshot, before.map(|previous| &*previous.buffer));
        let stamp = before
            .filter(|_| same_plan)
            .map(|previous| previous.buffer.stamp);
        if let Some(previous) = previous {
            previous.pool.put(previous.buffer);
        }
        self.newest = Some(Newest {
            step: snapshot.step,
            wall_time: snapshot.wall_time,
            buffer: snapshot.buffer,
            pool: snapshot.pool,
            before: stamp,
            unwritten: unwritten(&snapshot.plan, &snapshot.due),
        });
        points
    }

    /// The points of the newest snapshot that its cadence left out, so that a run ends with its last weights.
    pub(crate) fn finish(&mut self, kernels: &mut Kernels) -> Option<Points> {
        let newest = self.newest.take()?;
        let plan = self.plan.clone()?;
        let before = newest
            .before
            .and_then(|stamp| newest.pool.take_stamped(stamp));
        if newest.before.is_some() == before.is_some() {
            self.analyse_again(kernels, &newest, before.as_deref());
        }
        let last = Snapshot {
            step: newest.step,
            wall_time: newest.wall_time,
            plan,
            buffer: newest.buffer,
            pool: newest.pool,
            follows: before.is_some(),
            due: newest.unwritten,
            rebase: false,
            idle_calls: 0,
            learning_rate: None,
        };
        self.points(&last, before.as_deref())
    }

    /// Makes the states fit a plan. A variable that is as it was keeps its own; one of another shape or type starts anew.
    /// True when the plan is a new one.
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
                    // Frozen for a while: how far training has moved it still counts from the start.
                    Some(new) if new.is_same_tensor(variable) => State {
                        origin: state.origin,
                        ..State::default()
                    },
                    _ => continue,
                };
                known.insert(variable.name.clone(), kept);
            }
        }
        let tags = variable_tags(plan, self.subject, &self.scope, &self.selection);
        self.states = std::iter::zip(&plan.variables, tags)
            .map(|(variable, tags)| State {
                tags,
                ..known.remove(&variable.name).unwrap_or_default()
            })
            .collect();
        self.aggregates = aggregates(plan, self.subject, &self.scope, &self.selection);
        if let Some(diagnosis) = &mut self.diagnosis {
            let facts = |variable: &Variable| (variable.name.clone(), facts(variable));
            diagnosis.adopt(plan.variables.iter().map(facts));
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
            if state.watched_moved == Some(true) {
                plan.report_moved(variable);
            }
        }
        // A role's histogram is over all its members, whatever the cadence of each.
        let for_roles = due.first().is_some_and(|due| due.histograms)
            && self
                .aggregates
                .iter()
                .any(|aggregate| aggregate.histogram.is_some());
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
            if let (Some(current), Some(analysis)) = (task.current, analysis) {
                state.take(analysis, current, seed, variable);
            }
        }
    }

    /// Makes up the histograms of the newest snapshot that were not due when it came; the moments are known.
    fn analyse_again(&mut self, kernels: &mut Kernels, newest: &Newest, before: Option<&Buffer>) {
        let Some(plan) = self.plan.clone() else {
            return;
        };
        let task = |variable: &Variable| {
            let wanted = newest
                .unwritten
                .get(variable.class)
                .is_some_and(|due| due.histograms);
            let current = elements(variable, &newest.buffer, Some(variable.bytes()));
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

    fn points(&self, snapshot: &Snapshot, before: Option<&Buffer>) -> Option<Points> {
        let mut points = Points {
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
                    &mut points.histograms,
                );
            }
        }
        let general = snapshot.due.first().copied().unwrap_or_default();
        if general.scalars || general.histograms {
            let rows = self.selection.options.histogram_rows;
            for aggregate in &self.aggregates {
                aggregate_points(
                    aggregate,
                    self.subject,
                    &self.states,
                    general,
                    rows,
                    &mut points,
                );
            }
        }
        if let Some(model) = self
            .model()
            .filter(|_| general.scalars && self.diagnosis.is_some())
        {
            points.scalars.push(ScalarPoint {
                tag: model.tag("findings"),
                description: Description {
                    text: FINDINGS,
                    sample: None,
                },
                value: self.faults.len() as f64,
            });
        }
        (!points.scalars.is_empty() || !points.histograms.is_empty()).then_some(points)
    }

    /// True when there is something to report.
    pub(crate) fn has_report(&self) -> bool {
        self.diagnosis.is_some() && self.states.iter().any(|state| state.analysis.is_some())
    }

    /// What the report says of each variable.
    pub(crate) fn report(&self, run: &Path) -> Vec<ParameterReport> {
        let (Some(plan), Some(diagnosis)) = (&self.plan, &self.diagnosis) else {
            return Vec::new();
        };
        let step = self.newest.as_ref().map(|newest| newest.step);
        let known = std::iter::zip(&plan.variables, &self.states);
        std::iter::zip(known, diagnosis.opinions())
            .map(|((variable, state), opinion)| {
                let weights = state.analysis.as_ref().map(|analysis| &analysis.weights);
                ParameterReport {
                    run: run.to_path_buf(),
                    scope: self.scope.to_string(),
                    name: variable.name.to_string(),
                    shape: variable.shape.clone(),
                    dtype: variable.dtype,
                    role: variable.standing.role,
                    step: step.unwrap_or_default(),
                    mean: weights.and_then(|weights| weights.std().map(|_| weights.mean)),
                    std: weights.and_then(Moments::std),
                    norm: weights.and_then(|weights| weights.std().map(|_| weights.norm())),
                    update_ratio: state.measured.update_ratio(),
                    changed_fraction: state.measured.changed_fraction,
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

    /// What the report says of the model as a whole; `None` for gradients.
    pub(crate) fn model_report(&self, run: &Path) -> Option<ModelReport> {
        let diagnosis = self.diagnosis.as_ref()?;
        Some(ModelReport {
            run: run.to_path_buf(),
            scope: self.scope.to_string(),
            step: self.newest.as_ref().map(|newest| newest.step),
            trend: diagnosis.trend(),
        })
    }

    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    /// What a user should know of this model once.
    pub(crate) fn notes(&self) -> Vec<String> {
        let diagnosed = self.diagnosis.iter().flat_map(Diagnosis::notes);
        self.left_out().into_iter().chain(diagnosed).collect()
    }

    /// The faults in force.
    pub(crate) fn faults(&self) -> &[Found] {
        &self.faults
    }

    /// The faults that became sure since the last time.
    pub(crate) fn take_news(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.news)
    }

    /// True when the report is worth writing again.
    pub(crate) fn take_new_verdict(&mut self) -> bool {
        std::mem::take(&mut self.has_new_verdict)
    }

    /// What the newest snapshot says of the gradients, when this is a watch of gradients.
    pub(crate) fn gradients(&self) -> HashMap<Arc<str>, Glimpse> {
        let Some(plan) = self
            .plan
            .as_ref()
            .filter(|_| self.subject == Subject::Gradients)
        else {
            return HashMap::new();
        };
        let known = std::iter::zip(&plan.variables, &self.states);
        let glimpse = |(variable, state): (&Variable, &State)| {
            let gradient = &state.analysis.as_ref()?.weights;
            let glimpse = if gradient.nonfinite() > 0 {
                Glimpse::NonFinite
            } else if gradient.zeros == gradient.count {
                Glimpse::Zero
            } else {
                Glimpse::NonZero(Some(gradient.norm()))
            };
            Some((variable.name.clone(), glimpse))
        };
        known.filter_map(glimpse).collect()
    }

    /// Takes what `log_gradients` saw: exact, where a glimpse on the caller's thread is an estimate.
    pub(crate) fn refine(&mut self, gradients: HashMap<Arc<str>, Glimpse>) {
        self.exact_gradients = gradients;
    }

    /// Hands what the newest snapshot says to the diagnosis.
    fn diagnose(&mut self, snapshot: &Snapshot) {
        let Some(diagnosis) = &mut self.diagnosis else {
            return;
        };
        diagnosis.set_learning_rate(snapshot.learning_rate);
        let known = std::iter::zip(&snapshot.plan.variables, &self.states);
        let glimpses = snapshot
            .buffer
            .glimpses
            .iter()
            .chain(std::iter::repeat(&Glimpse::Unseen));
        let observations: Vec<Observation> = std::iter::zip(known, glimpses)
            .map(|((variable, state), &glimpse)| Observation {
                glimpse: self
                    .exact_gradients
                    .remove(&variable.name)
                    .unwrap_or(glimpse),
                ..state.observation(variable)
            })
            .collect();
        self.exact_gradients.clear();
        for (place, state) in self.states.iter().enumerate() {
            diagnosis.units_changed(place, state.analysis.as_ref());
        }
        let found = diagnosis.observe(snapshot.step, snapshot.idle_calls.into(), &observations);
        let changed = diagnosis.take_changed();
        self.has_new_verdict |= changed;
        if changed || !found.is_empty() {
            self.has_new_board = true;
            self.faults.retain(|fault| diagnosis.is_in_force(fault));
            self.faults.extend(found.iter().cloned());
            self.news.extend(found);
        }
    }

    fn model(&self) -> Option<&Aggregate> {
        self.aggregates.iter().find(|aggregate| aggregate.is_model)
    }

    fn logged(&self) -> usize {
        self.states
            .iter()
            .filter(|state| state.tags.is_some())
            .count()
    }

    /// What is left out of a model of this size by default, `None` when nothing is or the user chose the statistics.
    fn left_out(&self) -> Option<String> {
        if self.selection.options.statistics.is_some() {
            return None;
        }
        let logged = self.logged();
        match Tier::of(logged) {
            Tier::Small => None,
            Tier::Medium => Some(format!(
                "{logged} variables: four statistics and the histograms of each; WeightOptions::statistics and \
                 samples write more"
            )),
            Tier::Large => Some(format!(
                "{logged} variables: roles stand for them; WeightOptions::select and for_matching write single ones"
            )),
        }
    }

    /// What the generated dashboard shows of this model, when that has changed since the last time.
    pub(crate) fn take_board(&mut self) -> Option<ScopeBoard> {
        std::mem::take(&mut self.has_new_board).then(|| self.board())
    }

    /// `None` for a fault of the whole model, which the model's own charts show.
    fn fault_board(&self, fault: &Found) -> Option<FaultBoard> {
        let name = fault.variable.as_ref()?;
        let plan = self.plan.as_ref()?;
        let mut known = std::iter::zip(&plan.variables, &self.states);
        let (_, state) = known.find(|(variable, _)| variable.name == *name)?;
        let tags = state.tags.as_ref()?;
        let board = tags.board(name);
        let nonfinite = tags.nonfinite.as_ref().map(|tag| tag.name.clone());
        let nonfinite = nonfinite.filter(|_| fault.verdict == Verdict::NonFinite);
        let lines = [board.update_ratio, board.changed_fraction, nonfinite];
        Some(FaultBoard {
            title: format!("{name}: {}", fault.verdict).into(),
            tags: lines.into_iter().flatten().collect(),
        })
    }

    fn board(&self) -> ScopeBoard {
        let variables = self
            .plan
            .iter()
            .flat_map(|plan| std::iter::zip(&plan.variables, &self.states));
        ScopeBoard {
            tier: Tier::of(self.logged()),
            prefix: self.model().map(|model| model.tag("")),
            faults: self
                .faults
                .iter()
                .filter_map(|fault| self.fault_board(fault))
                .collect(),
            parts: self
                .aggregates
                .iter()
                .filter(|part| !part.is_model)
                .map(|part| part.tag(""))
                .collect(),
            variables: variables
                .filter_map(|(variable, state)| Some(state.tags.as_ref()?.board(&variable.name)))
                .collect(),
        }
    }
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

fn elements<'a>(
    variable: &Variable,
    buffer: &'a Buffer,
    place: Option<Range<usize>>,
) -> Option<Elements<'a>> {
    Elements::from_bytes(variable.dtype, buffer.bytes().get(place?)?)
}

fn facts(variable: &Variable) -> Facts {
    // Names that embeddings have in the models people publish.
    const EMBEDDINGS: [&str; 5] = ["emb", "wte", "wpe", "token", "position"];
    let name = variable.name.to_lowercase();
    Facts {
        role: variable.standing.role,
        is_member: variable.standing.is_member,
        dtype: variable.dtype,
        shape: variable.shape.clone(),
        looks_embedded: EMBEDDINGS.iter().any(|part| name.contains(part)),
    }
}

impl State {
    /// What the diagnosis is told, but for the gradient.
    fn observation(&self, variable: &Variable) -> Observation {
        let logged = self.analysis.as_ref().filter(|_| variable.is_logged());
        let change = logged.and_then(|analysis| analysis.change);
        Observation {
            glimpse: Glimpse::Unseen,
            seen: logged.map(|analysis| Seen {
                moments: analysis.weights,
                change,
                update_ratio: self.measured.update_ratio(),
                cosine: self.measured.cosine,
            }),
            moved: change
                .map(|change| change.changed > 0)
                .or(self.watched_moved),
        }
    }

    /// What the newest snapshot says of this variable.
    pub(crate) fn analysis(&self) -> Option<&Analysis> {
        self.analysis.as_ref()
    }

    /// Whether a watched variable's bits changed; `None` when they cannot be compared.
    fn moved(&self, current: &Buffer, before: &Buffer) -> Option<bool> {
        let now = self
            .place
            .clone()
            .and_then(|place| current.bytes().get(place));
        let then = self
            .place_before
            .clone()
            .and_then(|place| before.bytes().get(place));
        now.zip(then)
            .filter(|(now, then)| now.len() == then.len())
            .map(|(now, then)| now != then)
    }

    fn take(&mut self, analysis: Analysis, elements: Elements<'_>, seed: u64, variable: &Variable) {
        let analysis = analysis.scaled(variable.scale());
        let change = analysis.change.as_ref();
        let norm_before = change.map(|_| self.measured.norm);
        if self
            .origin
            .as_ref()
            .is_none_or(|origin| !origin.fits(variable))
        {
            self.origin = Some(Origin::of(elements, seed, variable));
        }
        let (drift, cosine) = self
            .origin
            .as_mut()
            .map(|origin| origin.follow(elements, variable.all, change.is_some()))
            .unwrap_or_default();
        self.measured = Measured {
            norm: analysis.weights.norm(),
            norm_before,
            delta_norm: change.and_then(|change| change.deltas.std().map(|_| change.deltas.norm())),
            changed_fraction: change.and_then(|change| change.changed_fraction()),
            drift,
            cosine,
        };
        self.analysis = Some(analysis);
    }

    fn scalars(&self, points: &mut Vec<ScalarPoint>) {
        let (Some(tags), Some(analysis)) = (&self.tags, &self.analysis) else {
            return;
        };
        let weights = &analysis.weights;
        for (statistic, tag) in &tags.statistics {
            points.extend(
                self.statistic(*statistic)
                    .map(|value| ScalarPoint::new(tag, value)),
            );
        }
        for (statistic, tag) in &tags.gradients {
            let value = match statistic {
                GradientStatistic::Norm => weights.std().map(|_| weights.norm()),
                GradientStatistic::Std => weights.std(),
                GradientStatistic::MaxAbs => weights.max_abs(),
            };
            points.extend(value.map(|value| ScalarPoint::new(tag, value)));
        }
        if let (Some((low, high)), Some(std)) = (&tags.band, weights.std()) {
            points.push(ScalarPoint::new(low, weights.mean - std));
            points.push(ScalarPoint::new(high, weights.mean + std));
        }
        if let Some(tag) = tags.nonfinite.as_ref().filter(|_| weights.nonfinite() > 0) {
            points.push(ScalarPoint::new(tag, weights.nonfinite() as f64));
        }
    }

    /// `None` where it is not defined: no finite element, nothing to compare with, or a division by zero.
    fn statistic(&self, statistic: Statistic) -> Option<f64> {
        let analysis = self.analysis.as_ref()?;
        let (weights, change) = (&analysis.weights, analysis.change.as_ref());
        match statistic {
            Statistic::WeightMean => weights.std().map(|_| weights.mean),
            Statistic::WeightStd => weights.std(),
            Statistic::WeightNorm => weights.std().map(|_| weights.norm()),
            Statistic::WeightDeltaMean => {
                change.and_then(|change| change.deltas.std().map(|_| change.deltas.mean))
            }
            Statistic::WeightDeltaStd => change.and_then(|change| change.deltas.std()),
            Statistic::WeightDeltaMaxAbs => change.and_then(|change| change.deltas.max_abs()),
            Statistic::WeightUpdateRatioLog10 => self.measured.update_ratio_log10(),
            Statistic::WeightUpdateRatio => self.measured.update_ratio(),
            Statistic::WeightChangedFraction => self.measured.changed_fraction,
            Statistic::WeightDrift => self.measured.drift(),
        }
    }

    fn sample_lines(
        &self,
        variable: &Variable,
        current: &Buffer,
        before: Option<&Buffer>,
        points: &mut Vec<ScalarPoint>,
    ) {
        let Some(tags) = self.tags.as_ref().filter(|tags| !tags.samples.is_empty()) else {
            return;
        };
        let Some(elements) = elements(variable, current, Some(variable.bytes())) else {
            return;
        };
        let compared = self
            .analysis
            .as_ref()
            .is_some_and(|analysis| analysis.change.is_some());
        let before = before
            .filter(|_| compared)
            .and_then(|before| self::elements(variable, before, self.place_before.clone()));
        for sample in &tags.samples {
            let value = elements.get(sample.element);
            points.push(ScalarPoint::new(&sample.weight, value));
            if let Some(before) = before {
                points.push(ScalarPoint::new(
                    &sample.delta,
                    value - before.get(sample.element),
                ));
            }
        }
    }

    fn histograms(&self, rows: usize, points: &mut Vec<HistogramPoint>) {
        let (Some(tags), Some(analysis)) = (&self.tags, &self.analysis) else {
            return;
        };
        if let (Some(tag), Some(fine)) = (&tags.histogram, &analysis.weight_histogram) {
            points.push(HistogramPoint::new(tag, fine.to_histogram(rows)));
        }
        if let (Some(tag), Some(fine)) = (&tags.delta_histogram, &analysis.delta_histogram) {
            points.push(HistogramPoint::new(tag, fine.to_histogram(rows)));
        }
    }
}

impl VariableTags {
    fn board(&self, name: &str) -> VariableBoard {
        let tag = |wanted: Statistic| {
            let found = self
                .statistics
                .iter()
                .find(|(statistic, _)| *statistic == wanted);
            found.map(|(_, tag)| tag.name.clone())
        };
        let band = self.band.as_ref().zip(tag(Statistic::WeightMean));
        VariableBoard {
            name: name.into(),
            update_ratio: tag(Statistic::WeightUpdateRatioLog10),
            changed_fraction: tag(Statistic::WeightChangedFraction),
            drift: tag(Statistic::WeightDrift),
            max_change: tag(Statistic::WeightDeltaMaxAbs),
            gradient_norm: self
                .gradients
                .iter()
                .find(|(statistic, _)| *statistic == GradientStatistic::Norm)
                .map(|(_, tag)| tag.name.clone()),
            band: band.map(|((low, high), mean)| [mean, low.name.clone(), high.name.clone()]),
            samples: self
                .samples
                .iter()
                .map(|sample| sample.weight.name.clone())
                .collect(),
            delta_samples: self
                .samples
                .iter()
                .map(|sample| sample.delta.name.clone())
                .collect(),
        }
    }
}
