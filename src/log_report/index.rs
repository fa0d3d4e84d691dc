//! What each tag of a log is, told once when it is met: a quantity of a variable of a model.

use std::collections::{BTreeSet, HashMap};

use crate::error::Result;
use crate::log_report::declared::{Declared, traits};
use crate::log_report::distribution::Distribution;
use crate::log_report::model::LoggedModel;
use crate::log_report::v0_1;
use crate::log_report::variable::{Kind, LoggedVariable};
use crate::log_report::variable_name::VariableName;
use crate::model::statistic::Quantity;
use crate::model::tag_parts::{LEARNING_RATE, TagParts, split_scope};
use crate::options::{Pattern, Selection, WeightOptions};
use crate::proto::summary::{Value, value::Value as Field};
use crate::proto::tch_tensorboard::ModelRecord;
use crate::report::diagnosis::Elsewhere;

/// Variables and roles of a run that are judged at most: a file may hold any number of tags, and
/// each step looks at all.
const MOST: usize = 10_000;

/// Models of a run, and rates without one.
const MOST_MODELS: usize = 1000;

/// What other writers' users append to or put before the name of a weight for its gradient.
const GRADIENT_ENDS: [&str; 8] = [
    ".grad",
    "/grad",
    "_grad",
    ".gradient",
    "/gradient",
    "_gradient",
    "/grads",
    "/gradients",
];
const GRADIENT_BEGINS: [&str; 5] = ["grad/", "grads/", "gradient/", "gradients/", "grad_"];
const WEIGHT_BEGINS: [&str; 5] = ["", "weights/", "weight/", "params/", "parameters/"];

/// Where the values of a tag go.
#[derive(Debug, Clone, Copy)]
struct Slot {
    model: usize,
    variable: usize,
    quantity: Quantity,
}

/// A histogram of another writer whose tag says that it is of a gradient.
#[derive(Debug, Clone)]
struct ForeignGradient {
    /// Tags that its weights may have.
    weights: Vec<String>,
    pending: Option<Distribution>,
}

/// The models of a run and the tags that lead to them.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) selection: Selection,
    /// Variables that are not meant to move.
    frozen: Option<Selection>,
    pub(crate) models: Vec<LoggedModel>,
    /// What the private record says.
    pub(crate) declared: Declared,
    slots: HashMap<Box<str>, Slot>,
    gradients: HashMap<Box<str>, ForeignGradient>,
    /// The newest rate that was told for each scope.
    rates: HashMap<Box<str>, f64>,
    variables: usize,
    /// Variables that are not selected.
    left_out: BTreeSet<VariableName>,
    /// Some were not taken, since there were too many.
    pub(crate) is_full: bool,
}

impl Index {
    pub(crate) fn new(selection: Selection) -> Index {
        Index {
            selection,
            frozen: None,
            models: Vec::new(),
            declared: Declared::default(),
            slots: HashMap::new(),
            gradients: HashMap::new(),
            rates: HashMap::new(),
            variables: 0,
            left_out: BTreeSet::new(),
            is_full: false,
        }
    }

    pub(crate) fn set_frozen(&mut self, patterns: Vec<Pattern>) -> Result<()> {
        let chosen = !patterns.is_empty();
        let frozen = Selection::new(WeightOptions::new().select(patterns))?;
        self.frozen = chosen.then_some(frozen);
        Ok(())
    }

    /// Takes a private record, which comes before the values that it is about.
    pub(crate) fn take_record(&mut self, step: i64, record: &ModelRecord) {
        if self.declared.is_empty() {
            // A file may have been lost, or one of version 0.1 came before: what tags are is known
            // only now.
            self.slots.clear();
            self.models.retain(|model| !model.is_foreign);
        }
        self.declared.take(step, record);
        self.is_full |= self.declared.is_full;
        let index = self.model(&record.scope, false);
        let Some(model) = index.and_then(|index| self.models.get_mut(index)) else {
            return;
        };
        for variable in &record.variables {
            let traits = traits(variable);
            let is_old = |&known: &usize| {
                let known = model.variables.get(known);
                known.is_some_and(|known| known.kind == Kind::Variable && known.traits != traits)
            };
            let known = model.known(&variable.name).filter(is_old);
            if let Some(index) = known {
                model.complete_before(step);
                if let Some(known) = model.renew(index) {
                    known.traits = traits;
                }
            }
        }
    }

    /// Takes the values of an event.
    pub(crate) fn take(&mut self, step: i64, values: Vec<Value>) {
        // The last value of a model's event names its scope.
        for value in &values {
            if let Some(TagParts::Findings { scope }) = TagParts::of(&value.tag) {
                self.model(scope, false);
            }
        }
        for value in values {
            self.take_value(step, value);
        }
        self.look_elsewhere();
    }

    /// Says of each model what the others are like, as the worker does while a run goes on.
    fn look_elsewhere(&mut self) {
        let own = self.models.iter().filter(|model| !model.is_foreign);
        let identities: Vec<(bool, u64)> = own.map(LoggedModel::identity).collect();
        if identities.len() < 2 || !identities.iter().any(|(has_gradients, _)| *has_gradients) {
            return;
        }
        let own = self.models.iter_mut().filter(|model| !model.is_foreign);
        for (place, model) in own.enumerate() {
            let signature = identities.get(place).map(|(_, signature)| *signature);
            let others = || {
                let all = identities.iter().enumerate();
                all.filter(move |(other, (has_gradients, _))| *other != place && *has_gradients)
            };
            model.set_elsewhere(Elsewhere {
                has_gradients: others().next().is_some(),
                has_twin: others().any(|(_, (_, other))| Some(*other) == signature),
                has_copy: false,
            });
        }
    }

    fn take_value(&mut self, step: i64, mut value: Value) {
        let tag = std::mem::take(&mut value.tag);
        let slot = match self.slots.get(tag.as_str()) {
            Some(slot) => Some(*slot),
            None => self.meet(&tag, &value),
        };
        let Some(slot) = slot else {
            return self.take_other(step, &tag, value);
        };
        let Some(model) = self.models.get_mut(slot.model) else {
            return;
        };
        if !slot.quantity.is_of_gradient() {
            model.begin(step, slot.variable);
        } else if !model.begin_gradients(step) {
            return;
        }
        let described = value.metadata.as_ref();
        if let Some(description) = described.map(|metadata| &*metadata.summary_description)
            && !description.is_empty()
            && self.declared.is_empty()
        {
            describe(model, slot, description);
        }
        let Some(variable) = model.variables.get_mut(slot.variable) else {
            return;
        };
        if let Some(number) = number(&value) {
            variable.sighting.take_number(slot.quantity, number);
        } else if let Some(seen) = Distribution::of(value, HISTOGRAMS) {
            variable.sighting.take_distribution(slot.quantity, seen);
        }
    }

    /// Learns what a tag is by its first value. `None` for what is no weight's, or not selected.
    fn meet(&mut self, tag: &str, value: &Value) -> Option<Slot> {
        let description = value.metadata.as_ref();
        let description = description.map_or("", |metadata| &*metadata.summary_description);
        let slot = match TagParts::of(tag) {
            Some(TagParts::Variable { quantity, path }) => {
                self.meet_variable(quantity, path, description, value)
            }
            Some(TagParts::Aggregate { quantity, path }) if number(value).is_some() => {
                self.meet_role(quantity, path)
            }
            _ => None,
        };
        let slot = slot.or_else(|| self.meet_foreign(tag, value))?;
        self.slots.insert(tag.into(), slot);
        Some(slot)
    }

    fn meet_variable(
        &mut self,
        quantity: Quantity,
        path: &str,
        description: &str,
        value: &Value,
    ) -> Option<Slot> {
        let (scope, name) = self.split(path);
        let is_number = number(value).is_some();
        let is_histogram = matches!(
            quantity,
            Quantity::Weights | Quantity::Deltas | Quantity::Gradients
        );
        if is_number == is_histogram || name.is_empty() {
            return None;
        }
        let known = self.scope(&scope).and_then(|model| model.known(&name));
        let kind = if self.declared.is_empty() {
            match (is_histogram, known) {
                // Gradients may come before the weights that the record is about.
                (true, None) if quantity.is_of_gradient() => Kind::Variable,
                // Of another writer, whose tags may begin alike.
                (true, None) if !v0_1::is_ours(description) => return None,
                (true, None) if v0_1::traits(description).is_none() => Kind::Role,
                _ => Kind::Variable,
            }
        } else if self.declared.variable(&scope, &name).is_some() {
            Kind::Variable
        } else if is_histogram && self.declared.is_role(&scope, &name) {
            Kind::Role
        } else {
            return None;
        };
        let slot = self.slot(&scope, &name, kind, quantity)?;
        let declared = self.declared.variable(&scope, &name).and_then(traits);
        let variable = self.models.get_mut(slot.model)?.renew(slot.variable)?;
        variable.traits = declared.or(variable.traits.take());
        let is_whole = variable.kind == Kind::Variable || is_histogram;
        variable.is_member |= is_whole && !quantity.is_of_gradient();
        Some(slot)
    }

    /// What is said of a role goes to it, and is dropped unless it has histograms: then it stands
    /// for its variables.
    fn meet_role(&mut self, quantity: Quantity, path: &str) -> Option<Slot> {
        let (scope, name) = self.split(path);
        if name.is_empty() || self.scope(name.as_str()).is_some() {
            return None;
        }
        let known = self.scope(&scope).and_then(|model| model.known(&name));
        let model = self.scope(&scope);
        let kind = known.and_then(|index| Some(model?.variables.get(index)?.kind));
        match kind {
            Some(Kind::Variable | Kind::Foreign) => None,
            Some(Kind::Role) | None => self.slot(&scope, &name, Kind::Role, quantity),
        }
    }

    fn meet_foreign(&mut self, tag: &str, value: &Value) -> Option<Slot> {
        let plugin = value
            .metadata
            .as_ref()
            .and_then(|metadata| metadata.plugin_data.as_ref());
        let is_histogram = match &value.value {
            Some(Field::Histo(_)) => true,
            Some(Field::Tensor(_)) => plugin.is_some_and(|data| data.plugin_name == HISTOGRAMS),
            _ => false,
        };
        let is_ours = match TagParts::of(tag) {
            Some(TagParts::Variable { quantity, .. }) if quantity.is_of_gradient() => true,
            parts => parts.is_some() && !self.declared.is_empty(),
        };
        if !is_histogram || is_ours || self.gradients.contains_key(tag) || weights_of(tag).is_some()
        {
            return None;
        }
        self.slot_of(tag, "", true, Kind::Foreign, Quantity::Weights)
    }

    /// Values that belong to no variable: a rate, or the gradient of another writer's weights.
    fn take_other(&mut self, step: i64, tag: &str, value: Value) {
        if let (Some(scope), Some(rate)) = (scope_of_rate(tag), number(&value)) {
            return self.set_rate(scope, rate);
        }
        if !self.gradients.contains_key(tag) {
            let is_histogram = matches!(value.value, Some(Field::Histo(_)));
            let Some(weights) = weights_of(tag).filter(|_| is_histogram) else {
                return;
            };
            if self.gradients.len() >= MOST {
                self.is_full = true;
                return;
            }
            let pending = None;
            self.gradients
                .insert(tag.into(), ForeignGradient { weights, pending });
        }
        let index = self.model("", true);
        let Some(model) = index.and_then(|index| self.models.get_mut(index)) else {
            return;
        };
        if !model.begin_gradients(step) {
            return;
        }
        let Some(gradient) = self.gradients.get_mut(tag) else {
            return;
        };
        gradient.pending = Distribution::of(value, HISTOGRAMS);
        // Weights that come after their gradient are not known at its first step.
        let known = gradient.weights.iter().find_map(|name| model.known(name));
        if let (Some(index), Some(seen)) = (known, gradient.pending.take())
            && let Some(variable) = model.variables.get_mut(index)
        {
            variable
                .sighting
                .take_distribution(Quantity::Gradients, seen);
        }
    }

    fn set_rate(&mut self, scope: &str, rate: f64) {
        if self.rates.len() < MOST_MODELS || self.rates.contains_key(scope) {
            self.rates.insert(scope.into(), rate);
        }
        let models = self.models.iter_mut();
        models
            .filter(|model| model.scope == scope)
            .for_each(|model| model.set_learning_rate(rate));
    }

    /// The slot of a variable, unless it is not selected.
    fn slot(&mut self, scope: &str, name: &str, kind: Kind, quantity: Quantity) -> Option<Slot> {
        self.slot_of(name, scope, false, kind, quantity)
    }

    fn slot_of(
        &mut self,
        name: &str,
        scope: &str,
        is_foreign: bool,
        kind: Kind,
        quantity: Quantity,
    ) -> Option<Slot> {
        if !self.selection.selects_scoped(scope, name) {
            self.leave_out(scope, name);
            return None;
        }
        let index = self.model(scope, is_foreign)?;
        let is_frozen = self
            .frozen
            .as_ref()
            .is_some_and(|frozen| frozen.selects_scoped(scope, name));
        let has_room = self.variables < MOST;
        let model = self.models.get_mut(index)?;
        let before = model.variables.len();
        let variable = model.variable(name, || {
            has_room.then(|| LoggedVariable::new(name, kind, is_frozen))
        });
        self.variables += model.variables.len() - before;
        self.is_full |= variable.is_none();
        Some(Slot {
            model: index,
            variable: variable?,
            quantity,
        })
    }

    fn leave_out(&mut self, scope: &str, name: &str) {
        if self.left_out.len() < MOST {
            self.left_out.insert(VariableName::new(scope, name));
        }
    }

    /// All variables of the log, those that are left out among them.
    pub(crate) fn names(&self) -> BTreeSet<VariableName> {
        let declared = self.declared.names();
        let met = self.models.iter().flat_map(|model| {
            let names = model.members().map(|variable| &*variable.name);
            names.map(|name| VariableName::new(&model.scope, name))
        });
        declared
            .chain(met)
            .chain(self.left_out.iter().cloned())
            .collect()
    }

    /// The index of the model of a scope, which is made when it is met for the first time.
    fn model(&mut self, scope: &str, is_foreign: bool) -> Option<usize> {
        let known = |model: &LoggedModel| model.scope == scope && model.is_foreign == is_foreign;
        if let Some(index) = self.models.iter().position(known) {
            return Some(index);
        }
        if self.models.len() >= MOST_MODELS {
            self.is_full = true;
            return None;
        }
        let mut model = LoggedModel::new(scope, is_foreign, self.selection.options.thresholds);
        if let Some(rate) = self.rates.get(scope) {
            model.set_learning_rate(*rate);
        }
        self.models.push(model);
        Some(self.models.len() - 1)
    }

    fn scope(&self, scope: &str) -> Option<&LoggedModel> {
        let ours = |model: &&LoggedModel| model.scope == scope && !model.is_foreign;
        self.models.iter().find(ours)
    }

    fn split(&self, path: &str) -> (String, String) {
        if let Some((scope, name)) = self.declared.split(path) {
            return (scope.to_owned(), name.to_owned());
        }
        let scopes = self.models.iter().filter(|model| !model.is_foreign);
        let (scope, name) = split_scope(path, scopes.map(|model| &*model.scope));
        (scope.to_owned(), name.to_owned())
    }
}

const HISTOGRAMS: &str = "histograms";

/// A scalar, in either form.
fn number(value: &Value) -> Option<f64> {
    match &value.value {
        Some(Field::SimpleValue(number)) => Some(f64::from(*number)),
        _ => None,
    }
}

/// The scope whose rate a tag tells.
fn scope_of_rate(tag: &str) -> Option<&str> {
    match tag.strip_suffix(LEARNING_RATE)? {
        "" => Some(""),
        scope => scope.strip_suffix('/'),
    }
}

/// Takes what a description of version 0.1 says of its variable.
fn describe(model: &mut LoggedModel, slot: Slot, description: &str) {
    let traits = v0_1::traits(description).filter(|_| !slot.quantity.is_of_gradient());
    let known = model.variables.get(slot.variable);
    if let Some(traits) = traits
        && known.is_some_and(|known| {
            known.kind == Kind::Variable && known.traits.as_ref() != Some(&traits)
        })
        && let Some(variable) = model.renew(slot.variable)
    {
        variable.traits = Some(traits);
    }
}

/// The tags that the weights may have whose gradient a tag is of; `None` when its name does not say
/// that it is one.
fn weights_of(tag: &str) -> Option<Vec<String>> {
    let by_end = GRADIENT_ENDS.iter().find_map(|end| tag.strip_suffix(end));
    let by_begin = GRADIENT_BEGINS
        .iter()
        .find_map(|begin| tag.strip_prefix(begin));
    let base = by_end.or(by_begin).filter(|base| !base.is_empty())?;
    Some(
        WEIGHT_BEGINS
            .iter()
            .map(|begin| format!("{begin}{base}"))
            .collect(),
    )
}
