//! One model of a log: its variables, the step that is being read, and the diagnosis that judges
//! steps as they are complete.

use std::collections::HashMap;
use std::path::Path;

use crate::capture::IDLE_CALLS;
use crate::log_report::variable::{LoggedVariable, missing};
use crate::report::diagnosis::{Diagnosis, Elsewhere, Opinion};
use crate::report::history::{Idle, Observation};
use crate::report::{ModelReport, ParameterReport, Thresholds, WeightReport};
use crate::source::gradient_sampler::GradientSample;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct LoggedModel {
    pub(crate) scope: String,
    /// Histograms of another writer.
    pub(crate) is_foreign: bool,
    pub(crate) variables: Vec<LoggedVariable>,
    by_name: HashMap<Box<str>, usize>,
    /// Indices of the variables that are judged, in natural order of their names.
    members: Vec<usize>,
    /// Some variable is new, or is known better.
    has_news: bool,
    /// The step of which values are being read.
    step: Option<i64>,
    /// The newest that was judged.
    judged: Option<i64>,
    /// Nothing moved at that one.
    was_still: bool,
    diagnosis: Diagnosis,
    learning_rate: Option<f64>,
    pub(crate) has_gradients: bool,
    /// Where steps went back, and to which: the run began again.
    pub(crate) went_back: Option<(i64, i64)>,
}

impl LoggedModel {
    pub(crate) fn new(scope: &str, is_foreign: bool, thresholds: Thresholds) -> LoggedModel {
        LoggedModel {
            scope: scope.to_owned(),
            is_foreign,
            variables: Vec::new(),
            by_name: HashMap::new(),
            members: Vec::new(),
            has_news: false,
            step: None,
            judged: None,
            was_still: false,
            diagnosis: Diagnosis::new(thresholds),
            learning_rate: None,
            has_gradients: false,
            went_back: None,
        }
    }

    /// The index of a variable, which is made by `new` when it is met for the first time.
    pub(crate) fn variable(
        &mut self,
        name: &str,
        new: impl FnOnce() -> Option<LoggedVariable>,
    ) -> Option<usize> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        let index = self.variables.len();
        self.variables.push(new()?);
        self.by_name.insert(name.into(), index);
        self.has_news = true;
        Some(index)
    }

    /// The index of a variable that was met.
    pub(crate) fn known(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A variable that is about to be changed in what it is.
    pub(crate) fn renew(&mut self, index: usize) -> Option<&mut LoggedVariable> {
        self.has_news = true;
        self.variables.get_mut(index)
    }

    /// See [`Diagnosis::identity`].
    pub(crate) fn identity(&self) -> (bool, u64) {
        self.diagnosis.identity()
    }

    pub(crate) fn set_elsewhere(&mut self, elsewhere: Elsewhere) {
        self.diagnosis.set_elsewhere(elsewhere);
    }

    pub(crate) fn set_learning_rate(&mut self, rate: f64) {
        self.learning_rate = Some(rate);
    }

    /// Values of a variable's weights at this step follow: the step before is complete. Where the
    /// steps of a variable go back, the run has begun again.
    pub(crate) fn begin(&mut self, step: i64, variable: usize) {
        if self.step != Some(step) {
            self.judge();
            let before = self
                .variables
                .get(variable)
                .and_then(|variable| variable.seen_at);
            if let Some(before) = before.filter(|&before| step <= before) {
                self.begin_again(before, step);
            }
            self.step = Some(step);
        }
        if let Some(variable) = self.variables.get_mut(variable) {
            variable.seen_at = Some(step);
        }
    }

    /// What is known of a variable changes at this step: those before are judged by what was known.
    pub(crate) fn complete_before(&mut self, step: i64) {
        if self.step.is_some_and(|pending| pending < step) {
            self.judge();
        }
    }

    /// The same of a gradient. One of a step that is over comes too late: false.
    pub(crate) fn begin_gradients(&mut self, step: i64) -> bool {
        let newest = self.step.max(self.judged);
        if newest.is_none_or(|newest| step > newest) {
            self.judge();
            self.step = Some(step);
        }
        self.step == Some(step)
    }

    fn begin_again(&mut self, before: i64, step: i64) {
        self.went_back = Some((before, step));
        self.diagnosis.rebase();
        self.variables.iter_mut().for_each(LoggedVariable::forget);
        (self.judged, self.was_still) = (None, false);
    }

    /// Judges the step that was read, when anything of the weights was.
    pub(crate) fn judge(&mut self) {
        let has_weights = self
            .variables
            .iter()
            .any(|variable| variable.sighting.has_weights && variable.is_member);
        let Some(step) = self.step.filter(|_| has_weights) else {
            return;
        };
        if std::mem::take(&mut self.has_news) {
            self.adopt();
        }
        let mut observations = self.observations();
        let others = observations
            .iter()
            .any(|observation| observation.glimpse != GradientSample::Unseen);
        self.has_gradients |= others;
        if !self.is_foreign {
            for observation in &mut observations {
                observation.glimpse = missing(observation.glimpse, others);
            }
        }
        let idle_calls = self.idle_calls(&observations);
        self.diagnosis.set_learning_rate(self.learning_rate);
        let idle = Idle {
            calls: idle_calls,
            // The writer leaves out the first idle calls: where steps are counted one by one, the
            // first came next.
            since: self.judged.map(|judged| judged.saturating_add(1)),
        };
        self.diagnosis.observe(step, idle, &observations);
        (self.judged, self.step) = (Some(step), None);
    }

    fn adopt(&mut self) {
        let members = self.variables.iter().enumerate();
        self.members = members
            .filter(|(_, variable)| variable.is_member)
            .map(|(index, _)| index)
            .collect();
        let variables = &self.variables;
        let name = |index: usize| variables.get(index).map_or("", |variable| &*variable.name);
        self.members
            .sort_by(|&a, &b| alphanumeric_sort::compare_str(name(a), name(b)));
        let members = self
            .members
            .iter()
            .filter_map(|&index| variables.get(index));
        self.diagnosis
            .adopt(members.map(|variable| (variable.name.clone(), variable.facts())));
    }

    /// One for each member, in their order.
    fn observations(&mut self) -> Vec<Observation> {
        let variables = &mut self.variables;
        let observe = |&index: &usize| variables.get_mut(index).map(LoggedVariable::observe);
        self.members.iter().filter_map(observe).collect()
    }

    /// Calls that the writer left out before this step: where nothing at all moved it writes from
    /// the twentieth call on.
    fn idle_calls(&mut self, observations: &[Observation]) -> u64 {
        let all = |moved| {
            let mut each = observations.iter();
            each.all(|observation| observation.moved == Some(moved))
        };
        let begins = all(false) && !self.was_still && !self.is_foreign;
        self.was_still = all(false);
        if begins { u64::from(IDLE_CALLS) - 1 } else { 0 }
    }

    pub(crate) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Variables that are judged.
    pub(crate) fn members(&self) -> impl Iterator<Item = &LoggedVariable> {
        self.members
            .iter()
            .filter_map(|&index| self.variables.get(index))
    }

    /// Adds what is to be said of this model.
    pub(crate) fn report(&self, run: &Path, report: &mut WeightReport) {
        for (variable, opinion) in std::iter::zip(self.members(), self.diagnosis.opinions()) {
            report
                .parameters
                .push(self.parameter(run, variable, opinion));
        }
        report.models.push(ModelReport {
            run: run.to_path_buf(),
            scope: self.scope.clone(),
            step: self.judged,
            trend: self.diagnosis.trend(),
        });
        let faults = self.diagnosis.faults().iter().cloned();
        report
            .findings
            .extend(faults.map(|found| found.told(run, &self.scope)));
        report.notes.extend(self.diagnosis.notes());
    }

    fn parameter(
        &self,
        run: &Path,
        variable: &LoggedVariable,
        opinion: Opinion,
    ) -> ParameterReport {
        let newest = &variable.newest;
        let mut evidence = opinion.evidence;
        evidence.zero_fraction = newest.zero_fraction;
        evidence.changed_fraction = evidence.changed_fraction.filter(|_| variable.knows_changed);
        let traits = variable.traits.as_ref();
        ParameterReport {
            run: run.to_path_buf(),
            scope: self.scope.clone(),
            name: variable.name.to_string(),
            shape: variable.shape(),
            dtype: traits.map(|traits| traits.dtype),
            role: variable.facts().role,
            step: self.judged.unwrap_or_default(),
            mean: newest.mean,
            std: newest.std,
            norm: newest.norm,
            update_ratio: newest.update_ratio,
            changed_fraction: newest.changed_fraction,
            drift: newest.drift,
            nonfinite: newest.nonfinite,
            verdict: opinion.verdict,
            since: opinion.since,
            reason: opinion.reason,
            evidence,
        }
    }
}
