//! What is diagnosed of one watched model, and what of it nobody has been told yet.

use std::collections::HashMap;
use std::sync::Arc;

use crate::analysis::state::State;
use crate::capture::plan::{Plan, Variable};
use crate::capture::snapshot::Snapshot;
use crate::model::variable_info::Role;
use crate::report::diagnosis::{Diagnosis, Elsewhere, Opinion};
use crate::report::facts::Facts;
use crate::report::history::{Idle, Observation};
use crate::report::ledger::Found;
use crate::report::{Thresholds, Trend};
use crate::source::gradient_sampler::{GradientSample, Look};

/// See the module.
pub(crate) struct Checkup {
    diagnosis: Diagnosis,
    /// What is new of faults since anybody asked.
    news: Vec<Found>,
    /// Some verdict has changed since the report was last written.
    has_new_verdict: bool,
    /// What `log_gradients` saw of the newest step.
    exact_gradients: HashMap<Arc<str>, GradientSample>,
}

impl Checkup {
    pub(crate) fn new(thresholds: Thresholds) -> Checkup {
        Checkup {
            diagnosis: Diagnosis::new(thresholds),
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

    /// Takes what `log_gradients` saw: exact, where a glimpse on the caller's thread is an
    /// estimate.
    pub(crate) fn refine(&mut self, gradients: HashMap<Arc<str>, GradientSample>) {
        self.exact_gradients = gradients;
    }

    /// Takes what the newest snapshot says. True when the faults in force may have changed.
    pub(crate) fn observe(&mut self, snapshot: &Snapshot, states: &[State]) -> bool {
        let diagnosis = &mut self.diagnosis;
        diagnosis.set_learning_rate(snapshot.learning_rate);
        let known = std::iter::zip(&snapshot.plan.variables, states);
        let looks = snapshot.buffer.looks.iter().copied();
        let looks = looks.chain(std::iter::repeat(Look::default()));
        let observations: Vec<Observation> = std::iter::zip(known, looks)
            .map(|((variable, state), look)| Observation {
                glimpse: self
                    .exact_gradients
                    .remove(&variable.name)
                    .unwrap_or(look.glimpse),
                required: look.required.or(declared(variable)),
                ..state.observation(variable)
            })
            .collect();
        self.exact_gradients.clear();
        for (place, state) in states.iter().enumerate() {
            diagnosis.units_changed(place, state.analysis.as_ref());
        }
        if snapshot.is_other_store {
            diagnosis.count_other_store();
        }
        let idle = Idle {
            calls: snapshot.idle_calls.into(),
            since: snapshot.idle_since,
        };
        let found = diagnosis.observe(snapshot.step, idle, &observations);
        let changed = diagnosis.take_changed();
        snapshot.plan.report_suspicion(diagnosis.is_suspicious());
        self.has_new_verdict |= changed;
        for place in diagnosis.in_turn() {
            if let Some(variable) = snapshot.plan.variables.get(place) {
                snapshot.plan.report_in_turn(variable);
            }
        }
        let has_news = !found.is_empty();
        self.news.extend(found);
        changed || has_news
    }

    pub(crate) fn faults(&self) -> &[Found] {
        self.diagnosis.faults()
    }

    /// What the other scopes of the run are like.
    pub(crate) fn set_elsewhere(&mut self, elsewhere: Elsewhere) {
        self.diagnosis.set_elsewhere(elsewhere);
    }

    /// See [`Diagnosis::identity`].
    pub(crate) fn identity(&self) -> (bool, u64) {
        self.diagnosis.identity()
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

/// What the role of a source that holds no tensors says of gradients: a frozen one requires none.
fn declared(variable: &Variable) -> Option<bool> {
    (variable.info.role == Role::Frozen).then_some(false)
}
