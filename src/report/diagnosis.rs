//! One model's verdicts as its steps come in: rules applied, confirmed before they become faults,
//! and reported once.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::kernel::Analysis;
use crate::report::cause::Cause;
use crate::report::evidence_table::Outcome;
use crate::report::facts::Facts;
use crate::report::gradient_state::GradientState;
use crate::report::gradient_trail::Pause;
use crate::report::history::{Idle, Observation, Scale, VIEW};
use crate::report::ledger::{Found, Ledger};
use crate::report::patient::Patient;
use crate::report::remark::Remark;
use crate::report::remarks::SLOW_STEPS;
use crate::report::rhythm::Rhythm;
use crate::report::rules::{Context, collapse, relative_gradient};
use crate::report::signs::gradient_patience;
use crate::report::thresholds::Thresholds;
use crate::report::verdict::{Evidence, Trend, Verdict};
use crate::source::gradient_sampler::GradientSample;
use crate::source::named_tensors::Role;

/// What is said of a variable.
#[derive(Debug, Clone)]
pub(crate) struct Opinion {
    pub(crate) verdict: Verdict,
    /// The first step at which it was so.
    pub(crate) since: Option<i64>,
    pub(crate) reason: String,
    pub(crate) evidence: Evidence,
}

/// What the other scopes of the run are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    /// One of them has gradients.
    pub(crate) has_gradients: bool,
    /// One of them has gradients and the same variables, by name and shape.
    pub(crate) has_twin: bool,
    /// And its first elements are next to those of this one.
    pub(crate) has_copy: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Diagnosis {
    thresholds: Thresholds,
    patients: Vec<Patient>,
    model: Model,
    ledger: Ledger,
    elsewhere: Elsewhere,
    /// Of names and shapes.
    signature: u64,
}

/// What is known of all variables together.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Moves of the model, counted in calls.
    moves: Rhythm,
    /// Whether anything moved, at the newest steps.
    moved: VecDeque<bool>,
    steps: u64,
    /// Moves since some variable that had been at rest began.
    awakening: Option<u64>,
    /// Slow average of the median logarithmic update ratio.
    slow_ratio: Option<f64>,
    ratio: Option<f64>,
    learning_rate: Option<f64>,
    /// The step at which all weights were last seen to be replaced at once.
    replaced: Option<i64>,
    /// Times that another store, or other variables altogether, came in place of those before.
    switches: u32,
    /// What was said of the model as a whole.
    general: Option<Verdict>,
    /// Some variable had a gradient.
    has_gradients: bool,
    /// Some verdict has changed since anybody asked.
    has_changed: bool,
}

/// Moves of others that a variable has sat out before it counts as having been at rest.
const REST: u64 = 5;

impl Diagnosis {
    pub(crate) fn new(thresholds: Thresholds) -> Diagnosis {
        Diagnosis {
            thresholds,
            patients: Vec::new(),
            model: Model::default(),
            ledger: Ledger::default(),
            elsewhere: Elsewhere::default(),
            signature: 0,
        }
    }

    /// Takes up the variables of a new plan. Those that are what they were keep their history,
    /// whatever their role.
    pub(crate) fn adopt(&mut self, variables: impl Iterator<Item = (Arc<str>, Facts)>) {
        let known = self
            .patients
            .drain(..)
            .map(|patient| (patient.name.clone(), patient));
        let mut known: HashMap<Arc<str>, Patient> = known.collect();
        let known_names: HashSet<Arc<str>> = known.keys().cloned().collect();
        let mut has_lost = false;
        let mut signature = DefaultHasher::new();
        self.patients = variables
            .map(|(name, facts)| {
                if facts.role != Role::Buffer {
                    (&name, &facts.shape).hash(&mut signature);
                }
                match known.remove(&name) {
                    Some(patient) if patient.facts.is_same_variable(&facts) => patient.renew(facts),
                    other => {
                        has_lost |= other.is_some_and(|patient| patient.is_decided());
                        Patient::new(name, facts)
                    }
                }
            })
            .collect();
        self.signature = signature.finish();
        let is_other = !known_names.is_empty()
            && !self
                .patients
                .iter()
                .any(|one| known_names.contains(&one.name));
        self.model.switches += u32::from(is_other);
        self.model.has_changed |= has_lost || known.values().any(Patient::is_decided);
    }

    /// The weights were replaced: what comes is not to be compared with what was.
    pub(crate) fn rebase(&mut self) {
        let had_verdict =
            self.model.general.is_some() || self.patients.iter().any(Patient::is_decided);
        self.patients.iter_mut().for_each(Patient::forget);
        self.ledger.clear();
        self.model = Model {
            learning_rate: self.model.learning_rate,
            replaced: self.model.replaced,
            switches: self.model.switches,
            has_changed: self.model.has_changed || had_verdict,
            ..Model::default()
        };
    }

    pub(crate) fn set_learning_rate(&mut self, rate: Option<f64>) {
        self.model.learning_rate = rate.or(self.model.learning_rate);
    }

    /// The step comes from another store than the one before.
    pub(crate) fn count_other_store(&mut self) {
        self.model.switches += 1;
    }

    pub(crate) fn set_elsewhere(&mut self, elsewhere: Elsewhere) {
        self.elsewhere = elsewhere;
    }

    /// Whether gradients were seen, and what the variables are, for [`Elsewhere`].
    pub(crate) fn identity(&self) -> (bool, u64) {
        (self.model.has_gradients, self.signature)
    }

    /// Takes the newest step: one observation for each variable, in their order, and the calls left
    /// out before it.
    /// Returns what is news of faults.
    pub(crate) fn observe(
        &mut self,
        step: i64,
        idle: Idle,
        observations: &[Observation],
    ) -> Vec<Found> {
        self.push(step, idle, observations);
        if observations
            .iter()
            .all(|observation| observation.moved.is_none())
        {
            // Variables may have gone.
            let context = self.context();
            return self.settle(step, &context);
        }
        if self.is_replaced() {
            self.model.replaced = Some(step);
            self.rebase();
            return Vec::new();
        }
        let context = self.stand();
        self.model.follow(&self.patients);
        self.judge(step, &context)
    }

    /// Adds a step to the histories and to the model's rhythm.
    fn push(&mut self, step: i64, idle: Idle, observations: &[Observation]) {
        let thresholds = self.thresholds;
        let looked = || observations.iter().map(|observation| observation.glimpse);
        let is_fresh = looked().any(|glimpse| glimpse == GradientSample::Undefined)
            && looked().all(|glimpse| {
                matches!(glimpse, GradientSample::Undefined | GradientSample::Unseen)
            });
        let model_moved = self.has_moved(observations);
        let is_compared = observations.iter().any(|one| one.moved.is_some());
        if is_compared {
            self.model
                .count(idle, model_moved, thresholds.window as usize);
        }
        let mut awakes = false;
        for (patient, observation) in std::iter::zip(&mut self.patients, observations) {
            let scale = Scale {
                window: thresholds.window as usize,
                warm_up: thresholds.warm_up.into(),
                large: thresholds.large_update_ratio,
                huge: thresholds.exploding_update_ratio,
                is_fresh,
                reference_norm: patient.facts.reference_norm(),
                slow: thresholds.hardly_moving,
                model_moved,
                idle,
            };
            awakes |= observation.moved == Some(true) && patient.history.moves.since() >= REST;
            patient.push(step, observation, scale);
        }
        if awakes {
            self.model.awakening = Some(0);
        }
        let awakening = self.model.awakening;
        for patient in &mut self.patients {
            patient.history.hand_over(awakening);
        }
    }

    /// True when a variable moved that is trained; where none is, when any did.
    fn has_moved(&self, observations: &[Observation]) -> bool {
        let known = || std::iter::zip(&self.patients, observations);
        let moved = |observation: &Observation| observation.moved == Some(true);
        let is_trained = |patient: &Patient, observation: &Observation| {
            patient.facts.role != Role::Buffer
                && (observation.required != Some(false) || patient.is_trained())
        };
        match known().any(|(patient, observation)| is_trained(patient, observation)) {
            true => known().any(|(patient, observation)| {
                moved(observation) && is_trained(patient, observation)
            }),
            false => known().any(|(patient, observation)| {
                moved(observation) && patient.facts.role != Role::Buffer
            }),
        }
    }

    /// All matrices changed by their own size in one step, which they never did before, and nobody
    /// saw a gradient.
    fn is_replaced(&self) -> bool {
        let matrices = self
            .patients
            .iter()
            .filter(|patient| patient.facts.rank() >= 2);
        let trained = matrices.filter(|patient| patient.facts.role == Role::Trainable);
        let (mut all, mut jumped) = (0, 0);
        for patient in trained {
            all += 1;
            jumped += usize::from(patient.history.huge == 1 && patient.history.steps > 1);
        }
        let unseen = self
            .patients
            .iter()
            .all(|patient| patient.history.sums.nonzero == 0);
        all >= 2 && jumped * 5 >= all * 4 && unseen
    }

    /// Says of each variable what its gradient comes to, and of the model what they come to
    /// together.
    fn stand(&mut self) -> Context {
        let turn = self.turn();
        let patience = gradient_patience(&self.thresholds, turn);
        let moves = &self.model.moves;
        let is_still = moves.since() >= patience.least;
        let pause = Pause {
            is_still,
            is_long: is_still && moves.since() >= moves.reasoned_patience(patience.least),
        };
        let mut counted = Context::default();
        for patient in &mut self.patients {
            patient.stand(patience, pause).count(&mut counted);
        }
        self.model.has_gradients |= counted.with_gradient > 0;
        self.look_beside();
        self.context()
    }

    /// Says of each variable what the matrix of its layer is like.
    fn look_beside(&mut self) {
        let mut layers: HashMap<String, (bool, bool)> = HashMap::new();
        let asks = |patient: &Patient| match patient.gradient {
            GradientState::Zero => patient.facts.rank() < 2,
            GradientState::Undefined => true,
            _ => false,
        };
        // Seldom: nobody else needs to know.
        if !self.patients.iter().any(asks) {
            return;
        }
        let layer = |name: &str| {
            name.rsplit_once('.')
                .map_or("", |(layer, _)| layer)
                .to_owned()
        };
        for matrix in self.patients.iter().filter(|one| one.facts.rank() >= 2) {
            let known = layers.entry(layer(&matrix.name)).or_default();
            known.0 |= matrix.history.is_copy;
            known.1 |= matrix.gradient == GradientState::NonZero;
        }
        for patient in self.patients.iter_mut().filter(|patient| asks(patient)) {
            let known = layers.get(&layer(&patient.name)).copied();
            (patient.is_copy, patient.is_beside_gradient) = known.unwrap_or_default();
        }
    }

    /// The longest interval of any variable that is trained.
    fn turn(&self) -> u64 {
        // Where gradients are seen, a pause without one is a turn; one with a gradient is something
        // else.
        let own = |patient: &Patient| {
            let history = &patient.history;
            match history.trail.looks() {
                0 => history.moves.longest(),
                _ => history.trail.visits.longest(),
            }
        };
        self.patients.iter().map(own).max().unwrap_or_default()
    }

    fn context(&self) -> Context {
        let trained = || self.patients.iter().filter(|patient| patient.is_trained());
        let matrices = || trained().filter(|patient| patient.facts.rank() >= 2);
        let mut relative: Vec<f64> = matrices()
            // What stands still with a large gradient is no measure: it may be held where it is.
            .filter(|patient| patient.history.sums.moves > 0)
            .filter_map(|patient| relative_gradient(&patient.history))
            .collect();
        let mut collapses: Vec<f64> = trained()
            .filter_map(|patient| collapse(&patient.history))
            .collect();
        let mut ratios: Vec<f64> = matrices()
            .filter(|patient| !patient.history.is_sparse)
            .filter_map(|patient| patient.history.sums.log_ratio())
            .collect();
        let mut first_scales: Vec<f64> = matrices()
            .filter_map(|patient| patient.facts.scale(patient.history.first.as_ref()?))
            .collect();
        let is_zero = |patient: &Patient| {
            let newest = patient.history.newest;
            newest.is_some_and(|newest| newest.count > 0 && newest.zeros == newest.count)
        };
        let has_gradients = trained().any(|patient| patient.gradient == GradientState::NonZero);
        let is_hurt = |patient: &Patient| {
            let died = has_gradients && patient.gradient == GradientState::Zero;
            patient.history.jumps > 0 || died || patient.gradient == GradientState::NonFinite
        };
        let movers = || trained().filter(|patient| patient.history.sums.moves > 0);
        let mut spreads: Vec<f64> = matrices()
            .filter_map(|patient| patient.history.spread())
            .collect();
        let moves = &self.model.moves;
        let mut context = Context {
            still: moves.since(),
            calls: moves.now(),
            steps: self.model.steps,
            has_moved: moves.events() > 0,
            patience: moves.patience(self.thresholds.window.into()),
            reasoned_patience: moves.reasoned_patience(self.thresholds.window.into()),
            turn: self.turn(),
            is_all_zero: matrices().all(is_zero),
            is_hurt: matrices().any(is_hurt),
            has_twin: self.elsewhere.has_twin,
            has_copy: self.elsewhere.has_copy,
            has_gradients_elsewhere: self.elsewhere.has_gradients,
            largest_relative_gradient: relative.iter().copied().max_by(f64::total_cmp),
            relative_gradient: quantile(&mut relative, 0.75),
            largest_gradient: trained()
                .filter_map(|patient| patient.history.sums.log_gradient())
                .max_by(f64::total_cmp),
            collapse: quantile(&mut collapses, 0.5),
            ratio: quantile(&mut ratios, 0.75),
            first_scale: lower_median(&mut first_scales),
            is_rounded: movers().next().is_some()
                && movers().all(|patient| patient.verdict == Verdict::RoundedAway),
            is_view: quantile(&mut spreads, 0.5).is_some_and(|spread| spread > VIEW),
            learning_rate: self.model.learning_rate,
            ..Context::default()
        };
        for patient in &self.patients {
            patient.standpoint().count(&mut context);
        }
        context
    }

    /// Applies the rules, and says what is news.
    fn judge(&mut self, step: i64, context: &Context) -> Vec<Found> {
        let mut changed = false;
        for patient in &mut self.patients {
            changed |= patient.judge(step, context, &self.thresholds);
        }
        self.model.has_changed |= changed;
        self.settle(step, context)
    }

    /// Brings the faults in force up to date.
    fn settle(&mut self, step: i64, context: &Context) -> Vec<Found> {
        let (general, covered) = self.general(context);
        if general == self.model.general && !self.model.has_changed {
            return Vec::new();
        }
        (self.model.general, self.model.has_changed) = (general, true);
        let mut wanted: Vec<Found> = self
            .patients
            .iter()
            .filter(|patient| patient.verdict.is_fault() && !covered.contains(&patient.name))
            .map(|patient| self.found(patient, step, context))
            .collect();
        wanted.extend(
            general.and_then(|verdict| self.found_general(verdict, &covered, step, context)),
        );
        self.ledger.update(step, wanted, &covered)
    }

    fn found(&self, patient: &Patient, step: i64, context: &Context) -> Found {
        Found {
            variable: Some(patient.name.clone()),
            verdict: patient.verdict,
            first_step: patient.since.unwrap_or(step),
            step,
            reason: patient.reason(context, &self.thresholds),
            over_since: None,
            is_revision: false,
        }
    }

    /// What is true of the model rather than of its variables, and of which of them it is.
    fn general(&self, context: &Context) -> (Option<Verdict>, HashSet<Arc<str>>) {
        let of = |is: &dyn Fn(Verdict) -> bool| -> Vec<&Patient> {
            let patients = self.patients.iter();
            patients.filter(|patient| is(patient.verdict)).collect()
        };
        let names = |patients: &[&Patient]| patients.iter().map(|one| one.name.clone()).collect();
        let unreached = of(&|verdict| verdict == Verdict::NoGradient);
        if !unreached.is_empty() {
            return (Some(Verdict::NoGradient), names(&unreached));
        }
        let zero = of(&|verdict| matches!(verdict, Verdict::ZeroGradient | Verdict::DecayOnly));
        if !zero.is_empty() && context.with_gradient == 0 {
            let decays = zero.iter().any(|one| one.verdict == Verdict::DecayOnly);
            let verdict = match decays {
                true => Verdict::DecayOnly,
                false => Verdict::ZeroGradient,
            };
            return (Some(verdict), names(&zero));
        }
        let rounded = of(&|verdict| verdict == Verdict::RoundedAway);
        // Said of all until it is true of less than half.
        let needed = match self.model.general {
            Some(Verdict::RoundedAway) => context.trained.div_ceil(2),
            _ => context.trained,
        };
        if rounded.len() > 1 && rounded.len() >= needed {
            return (Some(Verdict::RoundedAway), names(&rounded));
        }
        let still = of(&|verdict| match verdict {
            Verdict::NotUpdated { cause } => cause != Cause::NotInOptimizer,
            other => other == Verdict::RoundedAway,
        });
        // When all go on together, their common fault ends before that of each is over.
        let everywhere = context.still >= self.thresholds.window.into()
            || matches!(self.model.general, Some(Verdict::NotUpdated { .. }));
        match still.as_slice() {
            [first, others @ ..]
                if everywhere
                    && !others.is_empty()
                    && others.iter().all(|one| one.verdict == first.verdict) =>
            {
                (Some(first.verdict), names(&still))
            }
            _ => (None, HashSet::new()),
        }
    }

    fn found_general(
        &self,
        verdict: Verdict,
        covered: &HashSet<Arc<str>>,
        step: i64,
        context: &Context,
    ) -> Option<Found> {
        let members = || {
            let patients = self.patients.iter();
            patients.filter(|patient| covered.contains(&patient.name))
        };
        let first = members().find(|patient| patient.verdict == verdict)?;
        let reason = match verdict {
            Verdict::NotUpdated { .. } | Verdict::RoundedAway if context.still > 0 => format!(
                "no element of {} variables has changed, for {} calls",
                covered.len(),
                context.still
            ),
            _ => first.reason(context, &self.thresholds),
        };
        Some(Found {
            variable: None,
            first_step: members().filter_map(|patient| patient.since).min()?,
            reason,
            ..self.found(first, step, context)
        })
    }

    /// The faults in force, in the order in which they became sure.
    pub(crate) fn faults(&self) -> &[Found] {
        self.ledger.faults()
    }

    /// What is said of each variable, in their order.
    pub(crate) fn opinions(&self) -> impl Iterator<Item = Opinion> {
        let context = self.context();
        self.patients.iter().map(move |patient| {
            let mut evidence = patient.evidence(&context, &self.thresholds);
            if patient.verdict == Verdict::Frozen && self.has_moving_statistics(patient) {
                evidence.remarks.push(Remark::RunningStatisticsMove);
            }
            Opinion {
                verdict: patient.verdict,
                since: patient.since,
                reason: patient.reason(&context, &self.thresholds),
                evidence,
            }
        })
    }

    /// A buffer of the same layer moves.
    fn has_moving_statistics(&self, patient: &Patient) -> bool {
        let layer = |name: &str| name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
        let own = layer(&patient.name);
        self.patients.iter().any(|other| {
            patient.facts.role != Role::Buffer
                && other.facts.role == Role::Buffer
                && other.history.sums.moves > 0
                && layer(&other.name) == own
        })
    }

    /// Takes which output units of a variable the newest step changes, before it is observed.
    pub(crate) fn units_changed(&mut self, variable: usize, analysis: Option<&Analysis>) {
        if let (Some(patient), Some(analysis)) = (self.patients.get_mut(variable), analysis) {
            patient.units_changed(analysis);
        }
    }

    /// Variables that require no gradient at the calls, and did between them again and again.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = usize> {
        const OFTEN: u32 = 3;
        let often = |(_, patient): &(usize, &Patient)| patient.history.sums.between() >= OFTEN;
        self.patients
            .iter()
            .enumerate()
            .filter(often)
            .map(|(place, _)| place)
    }

    /// True when a fault of some variable is about to be confirmed.
    pub(crate) fn is_suspicious(&self) -> bool {
        self.patients.iter().any(Patient::is_suspected)
    }

    /// True when a verdict has changed since the last time.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.model.has_changed)
    }

    pub(crate) fn trend(&self) -> Option<Trend> {
        self.model.trend(&self.patients, &self.thresholds)
    }

    /// What the report says of the model in a line, each.
    pub(crate) fn notes(&self) -> Vec<String> {
        const IN_TURN: u32 = 3;
        let mut notes = Vec::new();
        if self.model.switches >= IN_TURN {
            notes.push(format!(
                "log_weights was given another model {} times under one scope, so its steps \
                 cannot be compared: give each its own, logger.scoped(\"name\")",
                self.model.switches
            ));
        }
        if let Some(step) = self.model.replaced {
            notes.push(format!(
                "all weights changed at once at step {step}, as when a checkpoint is loaded: \
                 new_baseline() says so"
            ));
        }
        let moving = self.model.moved.iter().any(|&moved| moved);
        let trained = || self.patients.iter().filter(|patient| patient.is_trained());
        let is_gone = |patient: &Patient| patient.gradient == GradientState::Undefined;
        let all_gone = trained().any(is_gone)
            && trained().all(|patient| is_gone(patient) || patient.history.trail.looks() == 0);
        let full = self.model.steps >= self.thresholds.window.into();
        let context = self.context();
        let copies = self.patients.iter().any(|patient| {
            patient.outcome(&context, &self.thresholds) == Outcome::MovedWithoutGradient
        });
        if full && moving && all_gone && !copies {
            notes.push(
                "no variable has a gradient when log_weights is called, so rules about gradients \
                 are silent: call it before gradients are cleared"
                    .into(),
            );
        }
        notes
    }
}

/// How slowly the slow average follows: a hundred steps.
const SLOW: f64 = 0.01;

impl Model {
    fn count(&mut self, idle: Idle, moved: bool, window: usize) {
        self.steps += 1;
        self.moves.pass(idle.calls + 1, moved);
        self.moved.push_back(moved);
        if self.moved.len() > window {
            self.moved.pop_front();
        }
        if moved && let Some(awakening) = &mut self.awakening {
            *awakening += 1;
        }
    }

    /// Follows how large steps are.
    fn follow(&mut self, patients: &[Patient]) {
        let trained = patients
            .iter()
            .filter(|patient| patient.is_trained() && patient.facts.rank() >= 2);
        let mut ratios: Vec<f64> = trained
            .filter_map(|patient| patient.history.sums.log_ratio())
            .collect();
        self.ratio = quantile(&mut ratios, 0.5);
        if let Some(ratio) = self.ratio {
            let slow = self.slow_ratio.unwrap_or(ratio);
            self.slow_ratio = Some(slow + SLOW * (ratio - slow));
        }
    }

    fn trend(&self, patients: &[Patient], thresholds: &Thresholds) -> Option<Trend> {
        let window = u64::from(thresholds.window);
        if self.moves.since() >= self.moves.patience(window) {
            return Some(Trend::Stagnant);
        }
        if self.steps < window + u64::from(thresholds.warm_up) {
            return None;
        }
        let trained = || patients.iter().filter(|patient| patient.is_trained());
        let wild = trained().any(|patient| {
            matches!(
                patient.verdict,
                Verdict::NonFinite | Verdict::Exploding | Verdict::Erratic
            )
        });
        if wild {
            return Some(Trend::Unstable);
        }
        let (all, still) = trained().fold((0, 0), |(all, still), patient| {
            let rests = patient.history.moves.since() >= window || has_hardly_moved(patient);
            (all + 1, still + usize::from(rests))
        });
        if all > 0 && still * 2 > all {
            return Some(Trend::Stagnant);
        }
        // A third up or down against the last hundred steps or so.
        let lead = self.ratio? - self.slow_ratio?;
        Some(if lead > 2_f64.ln() {
            Trend::Unstable
        } else if lead < -1.3_f64.ln() {
            Trend::Converging
        } else {
            Trend::Steady
        })
    }
}

/// It has hardly moved from the beginning on: what has slowed down may have converged.
fn has_hardly_moved(patient: &Patient) -> bool {
    let history = &patient.history;
    history.slow >= SLOW_STEPS && 2 * history.slow > history.steps && !history.is_sparse
}

/// The lower of the two in the middle where they are even.
fn lower_median(values: &mut [f64]) -> Option<f64> {
    let place = values.len().checked_sub(1)? / 2;
    let (_, value, _) = values.select_nth_unstable_by(place, f64::total_cmp);
    Some(*value)
}

/// The value below which this share of the others lies.
fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let place = (values.len().checked_sub(1)? as f64 * share).round() as usize;
    let (_, value, _) = values.select_nth_unstable_by(place, f64::total_cmp);
    Some(*value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::stats::{Change, Moments};
    use crate::model::types::DType;
    use crate::report::history::Seen;

    const NAMES: [&str; 4] = ["a.weight", "a.bias", "b.weight", "b.bias"];

    fn facts(name: &str) -> Facts {
        Facts {
            role: Role::Trainable,
            is_member: Some(true),
            dtype: DType::F32,
            shape: match name.ends_with("weight") {
                true => vec![10, 10],
                false => vec![100],
            },
            looks_embedded: false,
        }
    }

    /// A variable at a step: its gradient, whether it requires one, and what share of its elements
    /// changes by how much.
    type Sight = (GradientSample, bool, Option<(u64, f64)>);

    fn observation((glimpse, required, change): Sight) -> Observation {
        let moments = |std: f64| Moments {
            count: 100,
            min: -3.0 * std,
            max: 3.0 * std,
            m2: 100.0 * std * std,
            ..Moments::default()
        };
        Observation {
            glimpse,
            required: Some(required),
            seen: Some(Seen {
                moments: moments(0.1),
                change: change.map(|(changed, ratio)| Change {
                    deltas: moments(if changed > 0 { 0.1 * ratio } else { 0.0 }),
                    changed,
                    one_ulp: changed / 3,
                    rows: 1,
                    changed_rows: u64::from(changed > 0),
                }),
                update_ratio: change.map(|(changed, ratio)| match changed {
                    0 => 0.0,
                    _ => ratio,
                }),
                cosine: None,
                changed_since: None,
            }),
            moved: change.map(|(changed, _)| changed > 0),
            ..Observation::default()
        }
    }

    fn sight() -> impl Strategy<Value = Sight> {
        let glimpse = prop_oneof![
            Just(GradientSample::Unseen),
            Just(GradientSample::Undefined),
            Just(GradientSample::Zero),
            Just(GradientSample::NonFinite),
            (1e-6..1e3_f64).prop_map(|norm| GradientSample::NonZero(Some(norm))),
        ];
        let change = (prop_oneof![Just(0_u64), 1..=100_u64], 1e-9..1.0_f64);
        (glimpse, prop::bool::weighted(0.8), change)
            .prop_map(|(glimpse, required, change)| (glimpse, required, Some(change)))
    }

    /// Verdicts and faults by name, whatever the order of the variables.
    fn judged(
        order: &[usize],
        steps: &[(usize, [Sight; 4])],
        window: u32,
    ) -> (Vec<(String, Verdict)>, Vec<String>) {
        let thresholds = Thresholds {
            window,
            patience: window.max(200),
            ..Thresholds::default()
        };
        let mut diagnosis = Diagnosis::new(thresholds);
        let named = order
            .iter()
            .map(|&place| (Arc::from(NAMES[place]), facts(NAMES[place])));
        diagnosis.adopt(named);
        let mut step = 0;
        for (count, sights) in steps {
            for _ in 0..*count {
                let all: Vec<Observation> = order
                    .iter()
                    .map(|&place| observation(sights[place]))
                    .collect();
                diagnosis.observe(step, Idle::default(), &all);
                step += 1;
            }
        }
        let verdicts = std::iter::zip(order, diagnosis.opinions());
        let mut verdicts: Vec<(String, Verdict)> = verdicts
            .map(|(&place, opinion)| (NAMES[place].to_owned(), opinion.verdict))
            .collect();
        verdicts.sort_by(|a, b| a.0.cmp(&b.0));
        let faults = diagnosis.faults().iter();
        let mut faults: Vec<String> = faults
            .map(|one| format!("{:?} {} {}", one.variable, one.verdict, one.first_step))
            .collect();
        faults.sort();
        (verdicts, faults)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        // The order in which a map shows its variables is no evidence.
        #[test]
        fn the_order_of_variables_does_not_matter(
            steps in prop::collection::vec((1..40_usize, prop::array::uniform4(sight())), 1..5),
            window in prop_oneof![Just(4_u32), Just(20), Just(1000)],
        ) {
            let straight = judged(&[0, 1, 2, 3], &steps, window);
            prop_assert_eq!(&straight, &judged(&[3, 2, 1, 0], &steps, window));
            prop_assert_eq!(&straight, &judged(&[2, 0, 3, 1], &steps, window));
            for (name, verdict) in &straight.0 {
                let is_listed = straight.1.iter().any(|fault| {
                    fault.contains(&format!("Some(\"{name}\") ")) || fault.starts_with("None")
                });
                prop_assert_eq!(verdict.is_fault(), is_listed && verdict.is_fault());
            }
        }
    }

    const LEARNS: Sight = (GradientSample::NonZero(Some(1.0)), true, Some((100, 1e-3)));
    const RESTS: Sight = (GradientSample::Undefined, true, Some((0, 0.0)));

    fn verdicts(sights: [Sight; 4], steps: usize) -> Vec<Verdict> {
        let found = judged(&[0, 1, 2, 3], &[(steps, sights)], 20).0;
        found.into_iter().map(|(_, verdict)| verdict).collect()
    }

    #[test]
    fn evidence_at_the_edges() {
        let frozen = (GradientSample::Unseen, false, Some((0, 0.0)));
        assert_eq!(verdicts([frozen; 4], 40), [Verdict::Frozen; 4]);
        let copied = (GradientSample::Unseen, false, Some((100, 1e-3)));
        assert_eq!(
            verdicts([copied; 4], 40),
            [Verdict::MovedWithoutGradient; 4]
        );
        assert_eq!(verdicts([LEARNS; 4], 40), [Verdict::Learning; 4]);
        assert_eq!(verdicts([LEARNS; 4], 3), [Verdict::Undecided; 4]);
        assert_eq!(verdicts([RESTS; 4], 40), [Verdict::NoGradient; 4]);
        let broken = (GradientSample::NonFinite, true, Some((100, 1e-3)));
        assert_eq!(verdicts([broken; 4], 40), [Verdict::NonFinite; 4]);
        // One variable is a model, too.
        let (alone, faults) = judged(&[0], &[(40, [RESTS; 4])], 20);
        assert_eq!(alone[0].1, Verdict::NoGradient);
        assert_eq!(faults, ["None no gradient 0"]);
    }

    #[test]
    fn one_cause_is_one_finding_and_what_is_over_is_said_once() {
        let mut diagnosis = Diagnosis::new(Thresholds::default());
        diagnosis.adopt(NAMES.iter().map(|name| (Arc::from(*name), facts(name))));
        let mut news = Vec::new();
        for step in 0..120 {
            let first = if step < 60 { RESTS } else { LEARNS };
            let all = [first, first, LEARNS, LEARNS].map(observation);
            news.extend(diagnosis.observe(step, Idle::default(), &all));
        }
        let told: Vec<(Option<&str>, Verdict, bool)> = news
            .iter()
            .map(|one| {
                (
                    one.variable.as_deref(),
                    one.verdict,
                    one.over_since.is_some(),
                )
            })
            .collect();
        let detached = Verdict::Detached;
        let expected = [
            (Some("a.weight"), detached, false),
            (Some("a.bias"), detached, false),
            (Some("a.weight"), detached, true),
            (Some("a.bias"), detached, true),
        ];
        assert_eq!(told, expected);
        assert!(diagnosis.faults().is_empty());
        assert!(news.iter().all(|one| one.first_step == 0));
    }
}
