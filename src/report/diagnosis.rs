//! One model's verdicts as its steps come in: rules applied, confirmed before they become faults, and told once.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::kernel::Analysis;
use crate::report::history::{History, Observation, Scale};
use crate::report::reason::reason;
use crate::report::rules::{Case, Context, Facts, collapse, decide, relative_gradient};
use crate::report::thresholds::Thresholds;
use crate::report::verdict::{Cause, Evidence, Finding, GradientState, Trend, Verdict};
use crate::source::named_tensors::Role;
use crate::source::values::Glimpse;

/// A fault that a variable, or the whole model, has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// `None` for the model as a whole.
    pub(crate) variable: Option<Arc<str>>,
    pub(crate) verdict: Verdict,
    pub(crate) first_step: i64,
    pub(crate) step: i64,
    pub(crate) reason: String,
}

impl Found {
    /// What users are told of it.
    pub(crate) fn told(self, run: &Path, scope: &str) -> Finding {
        Finding {
            run: run.to_path_buf(),
            scope: scope.to_owned(),
            variable: self.variable.as_deref().map(str::to_owned),
            verdict: self.verdict,
            first_step: self.first_step,
            step: self.step,
            reason: self.reason,
        }
    }
}

/// What is said of a variable.
#[derive(Debug, Clone)]
pub(crate) struct Opinion {
    pub(crate) verdict: Verdict,
    /// The first step at which it was so.
    pub(crate) since: Option<i64>,
    pub(crate) reason: String,
    pub(crate) evidence: Evidence,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    thresholds: Thresholds,
    patients: Vec<Patient>,
    model: Model,
}

/// One variable.
#[derive(Debug)]
struct Patient {
    name: Arc<str>,
    facts: Facts,
    history: History,
    verdict: Verdict,
    since: Option<i64>,
    /// What the rules say of late where that is not the verdict, since when, and how often in a row.
    candidate: (Verdict, i64, u32),
    /// For each output unit the last compared step that changed it and not all; empty below two dimensions, and before any
    /// change was taken.
    units: Vec<u64>,
    /// The last compared step that changed all.
    all_units: u64,
}

/// What is known of all variables together.
#[derive(Debug, Default)]
struct Model {
    /// Whether anything moved, at the newest steps.
    moved: VecDeque<bool>,
    still: u64,
    steps: u64,
    /// Slow average of the median logarithmic update ratio.
    slow_ratio: Option<f64>,
    ratio: Option<f64>,
    learning_rate: Option<f64>,
    /// The step at which all weights were last seen to be replaced at once.
    replaced: Option<i64>,
    /// The whole model's fault has been told.
    is_told: bool,
    /// Some verdict has changed since anybody asked.
    has_changed: bool,
}

impl Diagnosis {
    pub(crate) fn new(thresholds: Thresholds) -> Diagnosis {
        Diagnosis {
            thresholds,
            patients: Vec::new(),
            model: Model::default(),
        }
    }

    /// Takes up the variables of a new plan. Those that are what they were keep their history.
    pub(crate) fn adopt(&mut self, variables: impl Iterator<Item = (Arc<str>, Facts)>) {
        let known = self
            .patients
            .drain(..)
            .map(|patient| (patient.name.clone(), patient));
        let mut known: HashMap<Arc<str>, Patient> = known.collect();
        let mut has_lost = false;
        self.patients = variables
            .map(|(name, facts)| match known.remove(&name) {
                Some(patient) if patient.facts == facts => patient,
                other => {
                    has_lost |= other.is_some_and(|patient| patient.is_decided());
                    Patient::new(name, facts)
                }
            })
            .collect();
        self.model.has_changed |= has_lost || known.values().any(Patient::is_decided);
    }

    /// The weights were replaced: what comes is not to be compared with what was.
    pub(crate) fn rebase(&mut self) {
        let had_verdict = self.model.is_told || self.patients.iter().any(Patient::is_decided);
        self.patients.iter_mut().for_each(Patient::forget);
        self.model = Model {
            learning_rate: self.model.learning_rate,
            replaced: self.model.replaced,
            has_changed: self.model.has_changed || had_verdict,
            ..Model::default()
        };
    }

    pub(crate) fn set_learning_rate(&mut self, rate: Option<f64>) {
        self.model.learning_rate = rate.or(self.model.learning_rate);
    }

    /// Takes the newest step: one observation for each variable, in their order, and how many idle calls came before it.
    /// Returns the faults that have become sure.
    pub(crate) fn observe(
        &mut self,
        step: i64,
        idle_calls: u64,
        observations: &[Observation],
    ) -> Vec<Found> {
        let thresholds = self.thresholds;
        let looked = || observations.iter().map(|observation| observation.glimpse);
        let is_fresh = looked().any(|glimpse| glimpse == Glimpse::Undefined)
            && looked().all(|glimpse| matches!(glimpse, Glimpse::Undefined | Glimpse::Unseen));
        for (patient, observation) in std::iter::zip(&mut self.patients, observations) {
            let scale = Scale {
                window: thresholds.window as usize,
                warm_up: thresholds.warm_up.into(),
                large: thresholds.large_update_ratio,
                huge: thresholds.exploding_update_ratio,
                is_fresh,
                reference_norm: patient.facts.reference_norm(),
            };
            patient.history.push(step, observation, scale);
            patient.history.is_sparse = patient.is_sparse(thresholds.window.into());
        }
        if observations
            .iter()
            .all(|observation| observation.moved.is_none())
        {
            return Vec::new();
        }
        self.count_moves(idle_calls, observations);
        if self.is_replaced() {
            self.model.replaced = Some(step);
            self.rebase();
            return Vec::new();
        }
        let context = self.context();
        self.model.follow(&self.patients);
        self.judge(step, &context)
    }

    fn count_moves(&mut self, idle_calls: u64, observations: &[Observation]) {
        let any = observations
            .iter()
            .any(|observation| observation.moved == Some(true));
        let model = &mut self.model;
        model.steps += 1;
        model.still = if any { 0 } else { model.still + 1 + idle_calls };
        model.moved.push_back(any);
        if model.moved.len() > self.thresholds.window as usize {
            model.moved.pop_front();
        }
    }

    /// All matrices changed by their own size in one step, which they never did before, and nobody saw a gradient.
    fn is_replaced(&self) -> bool {
        let matrices = || {
            self.patients
                .iter()
                .filter(|patient| patient.facts.rank() >= 2)
        };
        let trained = matrices().filter(|patient| patient.facts.role == Role::Trainable);
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

    fn context(&self) -> Context {
        let trained = || {
            self.patients
                .iter()
                .filter(|patient| patient.facts.role == Role::Trainable)
        };
        let matrices = trained().filter(|patient| patient.facts.rank() >= 2);
        let mut relative: Vec<f64> = matrices
            .filter_map(|patient| relative_gradient(&patient.history))
            .collect();
        let mut collapses: Vec<f64> = trained()
            .filter_map(|patient| collapse(&patient.history))
            .collect();
        let moves = self.model.moved.iter().filter(|&&moved| moved).count();
        Context {
            still: self.model.still,
            moves: u32::try_from(moves).unwrap_or(u32::MAX),
            has_gradients: trained().any(|patient| patient.history.sums.nonzero > 0),
            relative_gradient: quantile(&mut relative, 0.75),
            largest_gradient: trained()
                .filter_map(|patient| patient.history.sums.log_gradient())
                .max_by(f64::total_cmp),
            collapse: quantile(&mut collapses, 0.5),
            learning_rate: self.model.learning_rate,
        }
    }

    /// Applies the rules, and says which faults have become sure.
    fn judge(&mut self, step: i64, context: &Context) -> Vec<Found> {
        let thresholds = &self.thresholds;
        let mut found = Vec::new();
        for patient in &mut self.patients {
            let verdict = decide(&patient.case(context, thresholds));
            let before = patient.verdict;
            let is_new = patient.hear(verdict, step, thresholds);
            self.model.has_changed |= patient.verdict != before;
            if is_new {
                found.push(patient.found(step, context, thresholds));
            }
        }
        self.gather(step, context, found)
    }

    /// One fault of the model, told once, in place of one for each variable.
    fn gather(&mut self, step: i64, context: &Context, found: Vec<Found>) -> Vec<Found> {
        let everywhere = context.still >= self.thresholds.window.into();
        if !everywhere {
            self.model.has_changed |= std::mem::take(&mut self.model.is_told);
            return found;
        }
        let (still, own): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| {
            let general = !matches!(
                found.verdict,
                Verdict::NotUpdated {
                    cause: Cause::NotInOptimizer
                }
            );
            general
                && matches!(
                    found.verdict,
                    Verdict::NotUpdated { .. } | Verdict::RoundedAway
                )
        });
        let mut told = own;
        if let [first, others @ ..] = still.as_slice() {
            let alike = others.iter().all(|found| found.verdict == first.verdict);
            if others.is_empty() || !alike {
                told.extend(still);
            } else if !self.model.is_told {
                self.model.is_told = true;
                told.push(Found {
                    variable: None,
                    reason: format!(
                        "no element of {} variables has changed, for {} calls",
                        still.len(),
                        context.still
                    ),
                    step,
                    ..first.clone()
                });
            }
        }
        told
    }

    /// What is said of each variable, in their order.
    pub(crate) fn opinions(&self) -> impl Iterator<Item = Opinion> {
        let context = self.context();
        self.patients.iter().map(move |patient| Opinion {
            verdict: patient.verdict,
            since: patient.since,
            reason: reason(patient.verdict, &patient.case(&context, &self.thresholds)),
            evidence: patient.evidence(self.thresholds.window.into()),
        })
    }

    /// Takes which output units of a variable the newest step changes, before it is observed.
    pub(crate) fn units_changed(&mut self, variable: usize, analysis: Option<&Analysis>) {
        let Some(patient) = self.patients.get_mut(variable) else {
            return;
        };
        let Some((analysis, change)) = analysis.and_then(|all| Some((all, all.change?))) else {
            return;
        };
        let now = patient.history.steps + 1;
        if patient.units.is_empty() {
            patient.units = vec![0; patient.facts.units()];
        }
        match &analysis.rows_changed {
            None if change.changed_rows > 0 => patient.all_units = now,
            None => {}
            Some(bits) => {
                for (unit, last) in patient.units.iter_mut().enumerate() {
                    let word = bits.get(unit / 64).copied().unwrap_or_default();
                    if word >> (unit % 64) & 1 == 1 {
                        *last = now;
                    }
                }
            }
        }
    }

    /// True when a verdict has changed since the last time.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.model.has_changed)
    }

    /// True while what was found is still so.
    pub(crate) fn is_in_force(&self, found: &Found) -> bool {
        match &found.variable {
            None => self.model.is_told,
            Some(name) => self
                .patients
                .iter()
                .any(|patient| patient.name == *name && patient.verdict == found.verdict),
        }
    }

    pub(crate) fn trend(&self) -> Option<Trend> {
        self.model.trend(&self.patients, &self.thresholds)
    }

    /// What the report says of the model in a line, each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(step) = self.model.replaced {
            notes.push(format!(
                "all weights changed at once at step {step}, as when a checkpoint is loaded: new_baseline() says so"
            ));
        }
        let moving = self.model.moved.iter().any(|&moved| moved);
        let looked = self
            .patients
            .iter()
            .any(|patient| patient.history.sums.looks() > 0);
        let full = self.model.steps >= self.thresholds.window.into();
        if full && moving && looked && !self.context().has_gradients {
            notes.push(
                "no variable has a gradient when log_weights is called, so rules about gradients are silent: call it before \
                 gradients are cleared"
                    .into(),
            );
        }
        notes
    }
}

impl Patient {
    fn new(name: Arc<str>, facts: Facts) -> Patient {
        Patient {
            name,
            units: Vec::new(),
            all_units: 0,
            facts,
            history: History::default(),
            verdict: Verdict::Undecided,
            since: None,
            candidate: (Verdict::Undecided, 0, 0),
        }
    }

    fn is_decided(&self) -> bool {
        self.verdict != Verdict::Undecided
    }

    fn forget(&mut self) {
        self.history.forget();
        self.units.fill(0);
        self.all_units = 0;
        (self.verdict, self.since) = (Verdict::Undecided, None);
        self.candidate = (Verdict::Undecided, 0, 0);
    }

    fn case<'a>(&'a self, context: &'a Context, thresholds: &'a Thresholds) -> Case<'a> {
        Case {
            facts: &self.facts,
            history: &self.history,
            context,
            thresholds,
        }
    }

    /// Takes what the rules say now. True when a fault has become sure that was not before.
    fn hear(&mut self, verdict: Verdict, step: i64, thresholds: &Thresholds) -> bool {
        if verdict == self.verdict {
            self.candidate.2 = 0;
            return false;
        }
        if self.candidate.2 == 0 || self.candidate.0 != verdict {
            self.candidate = (verdict, step, 0);
        }
        self.candidate.2 += 1;
        let needed = match (self.verdict.is_fault(), verdict.is_fault()) {
            // Not a number does not come and go.
            _ if verdict == Verdict::NonFinite => 1,
            (_, true) => thresholds.confirm,
            // Coming back from a fault takes longer than getting into it, or a report would flicker.
            (true, false) => thresholds.window / 2,
            (false, false) => 1,
        };
        if self.candidate.2 < needed {
            return false;
        }
        let first = match verdict {
            Verdict::Detached | Verdict::NotUpdated { .. } | Verdict::AllZero => {
                self.history.still_since.unwrap_or(self.candidate.1)
            }
            _ => self.candidate.1,
        };
        (self.verdict, self.since) = (verdict, Some(first));
        self.candidate.2 = 0;
        verdict.is_fault()
    }

    fn found(&self, step: i64, context: &Context, thresholds: &Thresholds) -> Found {
        Found {
            variable: Some(self.name.clone()),
            verdict: self.verdict,
            first_step: self.since.unwrap_or(step),
            step,
            reason: reason(self.verdict, &self.case(context, thresholds)),
        }
    }

    fn evidence(&self, window: u64) -> Evidence {
        let (history, sums) = (&self.history, &self.history.sums);
        let known = sums.steps > 0 && history.newest.is_some();
        let newest = history.newest.as_ref().filter(|newest| newest.count > 0);
        Evidence {
            steps: history.steps,
            moves: sums.moves,
            changed_fraction: sums.changed_of_all().filter(|_| known),
            one_ulp_fraction: sums.one_ulp(),
            update_ratio: sums.log_ratio().map(f64::exp),
            update_ratio_peak: history.ratio_peak,
            cosine: sums.cosine().map(|(cosine, _)| cosine),
            gradient: self.gradient_state(),
            gradient_norm: sums.log_gradient().map(f64::exp),
            path: history.path,
            initial_scale: history.first.and_then(|first| self.facts.scale(&first)),
            scale: history.newest.and_then(|newest| self.facts.scale(&newest)),
            zero_fraction: newest.map(|newest| newest.zeros as f64 / newest.count as f64),
            still_units: self.still_units(window),
        }
    }

    fn gradient_state(&self) -> GradientState {
        let sums = &self.history.sums;
        match self.history.newest_glimpse {
            Glimpse::NonFinite => GradientState::NonFinite,
            _ if sums.nonzero > 0 => GradientState::NonZero,
            _ if sums.zero + sums.perhaps_zero > sums.undefined => GradientState::Zero,
            _ if sums.undefined > 0 => GradientState::Undefined,
            _ => GradientState::Unseen,
        }
    }

    /// See [`History::is_sparse`]. Units that never fire leave rows untouched, too, but always the same ones.
    fn is_sparse(&self, window: u64) -> bool {
        // A table has more rows than columns.
        let [rows, columns] = self.facts.shape.as_slice() else {
            return false;
        };
        if rows <= columns {
            return false;
        }
        let a_step = self.history.sums.rows();
        let Some(a_step) = a_step.filter(|share| *share < 0.5) else {
            return false;
        };
        let seen = window.min(self.history.steps);
        let still = self.share_still_for(seen);
        still.map_or(a_step < 0.25, |still| 1.0 - still > 2.0 * a_step)
    }

    fn still_units(&self, window: u64) -> Option<f64> {
        let full = self.history.steps >= window;
        self.share_still_for(window).filter(|_| full)
    }

    /// Share of the units that the newest steps, so many of them, left as they were; `None` where they are not told apart.
    fn share_still_for(&self, steps: u64) -> Option<f64> {
        let now = self.history.steps;
        if self.units.is_empty() {
            return None;
        }
        let rests = |last: &&u64| (**last).max(self.all_units) + steps <= now;
        let still = self.units.iter().filter(rests).count();
        Some(still as f64 / self.units.len() as f64)
    }
}

/// How slowly the slow average follows: a hundred steps.
const SLOW: f64 = 0.01;

impl Model {
    /// Follows how large steps are.
    fn follow(&mut self, patients: &[Patient]) {
        let trained = patients
            .iter()
            .filter(|patient| patient.facts.role == Role::Trainable && patient.facts.rank() >= 2);
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
        if self.still >= window {
            return Some(Trend::Stagnant);
        }
        if self.steps < window + u64::from(thresholds.warm_up) {
            return None;
        }
        let trained = || {
            patients
                .iter()
                .filter(|patient| patient.facts.role == Role::Trainable)
        };
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
            (
                all + 1,
                still + usize::from(patient.history.still >= window),
            )
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

/// The value below which this share of the others lies.
fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    let place = (values.len().checked_sub(1)? as f64 * share).round() as usize;
    let (_, value, _) = values.select_nth_unstable_by(place, f64::total_cmp);
    Some(*value)
}
