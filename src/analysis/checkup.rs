//! What is diagnosed of one watched model, and what of it nobody has been told yet.

use std::collections::HashMap;
use std::sync::Arc;

use crate::analysis::state::State;
use crate::capture::plan::{Plan, Variable};
use crate::capture::snapshot::Snapshot;
use crate::report::diagnosis::{Diagnosis, Found, Opinion};
use crate::report::history::Observation;
use crate::report::rules::Facts;
use crate::report::{Thresholds, Trend};
use crate::source::values::Glimpse;

/// See the module.
pub(crate) struct Checkup {
    diagnosis: Diagnosis,
    /// Faults in force, in the order in which they became sure.
    faults: Vec<Found>,
    /// Of these, the ones that nobody has been told of.
    news: Vec<Found>,
    /// Some verdict has changed since the report was last written.
    has_new_verdict: bool,
    /// What `log_gradients` saw of the newest step.
    exact_gradients: HashMap<Arc<str>, Glimpse>,
}

impl Checkup {
    pub(crate) fn new(thresholds: Thresholds) -> Checkup {
        Checkup {
            diagnosis: Diagnosis::new(thresholds),
            faults: Vec::new(),
            news: Vec::new(),
            has_new_verdict: false,
            exact_gradients: HashMap::new(),
        }
    }

    /// Takes up the variables of a new plan.
    pub(crate) fn adopt(&mut self, plan: &Plan) {
        let facts = |variable: &Variable| (variable.name.clone(), facts(variable));
        self.diagnosis.adopt(plan.variables.iter().map(facts));
    }

    /// The weights were replaced on purpose.
    pub(crate) fn rebase(&mut self) {
        self.diagnosis.rebase();
    }

    /// Takes what `log_gradients` saw: exact, where a glimpse on the caller's thread is an estimate.
    pub(crate) fn refine(&mut self, gradients: HashMap<Arc<str>, Glimpse>) {
        self.exact_gradients = gradients;
    }

    /// Takes what the newest snapshot says. True when the faults in force may have changed.
    pub(crate) fn observe(&mut self, snapshot: &Snapshot, states: &[State]) -> bool {
        let diagnosis = &mut self.diagnosis;
        diagnosis.set_learning_rate(snapshot.learning_rate);
        let known = std::iter::zip(&snapshot.plan.variables, states);
        let glimpses = snapshot.buffer.gradient_samples.iter();
        let glimpses = glimpses.chain(std::iter::repeat(&Glimpse::Unseen));
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
        for (place, state) in states.iter().enumerate() {
            diagnosis.units_changed(place, state.analysis.as_ref());
        }
        let found = diagnosis.observe(snapshot.step, snapshot.idle_calls.into(), &observations);
        let changed = diagnosis.take_changed();
        self.has_new_verdict |= changed;
        if changed {
            self.faults.retain(|fault| diagnosis.is_in_force(fault));
        }
        self.faults.extend(found.iter().cloned());
        let has_news = !found.is_empty();
        self.news.extend(found);
        changed || has_news
    }

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

    pub(crate) fn opinions(&self) -> impl Iterator<Item = Opinion> {
        self.diagnosis.opinions()
    }

    pub(crate) fn trend(&self) -> Option<Trend> {
        self.diagnosis.trend()
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.diagnosis.notes()
    }
}

fn facts(variable: &Variable) -> Facts {
    Facts::new(&variable.name, variable.info.clone())
}
