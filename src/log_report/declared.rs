//! What the private record of a log says of its variables: see `proto/tch_tensorboard.proto`.

use std::collections::{BTreeSet, HashMap};

use crate::log_report::variable_name::VariableName;
use crate::model::variable_info::VariableInfo;
use crate::proto::tch_tensorboard::{ModelRecord, VariableRecord};
use crate::report::Verdict;
use crate::report::codes::{dtype_of, role_of, verdict_of};
use crate::summary::private;

/// Variables and models that are taken at most: a file may name any number.
const MOST: usize = 10_000;
const MOST_MODELS: usize = 1000;

/// The state after the records that were read. Empty for a log of version 0.1, which has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    models: Vec<DeclaredModel>,
    variables: usize,
    /// The step of the newest record.
    step: Option<i64>,
    /// The version that wrote a record of a format that is newer than this version's.
    newer: Option<String>,
    pub(crate) is_full: bool,
}

#[derive(Debug, Clone)]
struct DeclaredModel {
    scope: String,
    variables: Vec<VariableRecord>,
    by_name: HashMap<String, usize>,
    roles: Vec<String>,
    /// The newest record beside its variables.
    newest: ModelRecord,
}

impl Declared {
    pub(crate) fn is_empty(&self) -> bool {
        self.step.is_none()
    }

    /// Takes a record at its step.
    pub(crate) fn take(&mut self, step: i64, record: &ModelRecord) {
        self.step = self.step.max(Some(step));
        if record.format > private::FORMAT {
            self.newer = Some(record.version.clone());
        }
        let known = self
            .models
            .iter()
            .position(|model| model.scope == record.scope);
        if known.is_none() {
            if self.models.len() >= MOST_MODELS {
                self.is_full = true;
                return;
            }
            self.models.push(DeclaredModel {
                scope: record.scope.clone(),
                variables: Vec::new(),
                by_name: HashMap::new(),
                roles: Vec::new(),
                newest: ModelRecord::default(),
            });
        }
        let index = known.unwrap_or(self.models.len() - 1);
        let Some(model) = self.models.get_mut(index) else {
            return;
        };
        if record.is_whole {
            self.variables -= model.variables.len();
            model.variables.clear();
            model.by_name.clear();
        }
        model.newest = ModelRecord {
            variables: Vec::new(),
            roles: Vec::new(),
            findings: record.findings.iter().take(MOST).cloned().collect(),
            notes: record.notes.iter().take(MOST).cloned().collect(),
            ..record.clone()
        };
        model.roles = record.roles.iter().take(MOST).cloned().collect();
        for variable in &record.variables {
            let place = model.by_name.get(&variable.name);
            match place.and_then(|&place| model.variables.get_mut(place)) {
                Some(known) => known.clone_from(variable),
                None if self.variables >= MOST => self.is_full = true,
                None => {
                    let place = model.variables.len();
                    model.by_name.insert(variable.name.clone(), place);
                    model.variables.push(variable.clone());
                    self.variables += 1;
                }
            }
        }
    }

    /// The models of which verdicts were recorded, with their variables, in the order in which
    /// they were logged first.
    pub(crate) fn judged(&self) -> impl Iterator<Item = (&ModelRecord, &[VariableRecord])> {
        let models = self.models.iter().filter(|model| {
            let mut variables = model.variables.iter();
            model.variables.is_empty() || variables.any(|one| !one.verdict.is_empty())
        });
        models.map(|model| (&model.newest, model.variables.as_slice()))
    }

    /// All variables that a record names.
    pub(crate) fn names(&self) -> impl Iterator<Item = VariableName> {
        self.models.iter().flat_map(|model| {
            let variables = model.variables.iter();
            variables.map(|variable| VariableName::new(&model.scope, &variable.name))
        })
    }

    fn model(&self, scope: &str) -> Option<&DeclaredModel> {
        self.models.iter().find(|model| model.scope == scope)
    }

    pub(crate) fn variable(&self, scope: &str, name: &str) -> Option<&VariableRecord> {
        let model = self.model(scope)?;
        model.variables.get(*model.by_name.get(name)?)
    }

    /// The scope and the name of the variable or role that a path is of.
    pub(crate) fn split<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let split = |model: &DeclaredModel| {
            let name = match model.scope.as_str() {
                "" => path,
                scope => path.strip_prefix(scope)?.strip_prefix('/')?,
            };
            let is_known = model.by_name.contains_key(name) || self.is_role(&model.scope, name);
            let scope = path.get(..model.scope.len())?;
            is_known.then_some((scope, name))
        };
        let splits = self.models.iter().filter_map(split);
        splits.max_by_key(|(scope, _)| scope.len())
    }

    /// Whether histograms of several variables together are written under this name.
    pub(crate) fn is_role(&self, scope: &str, name: &str) -> bool {
        let model = self.model(scope);
        model.is_some_and(|model| model.roles.iter().any(|role| role == name))
    }

    /// Of so many steps one was observed, of the model that was observed least.
    pub(crate) fn stride(&self) -> u64 {
        let strides = self.models.iter().map(|model| model.newest.stride);
        strides.max().unwrap_or_default()
    }

    /// The step of the newest record.
    pub(crate) fn step(&self) -> Option<i64> {
        self.step
    }

    /// The verdicts that this version knows, by the variable's name with its scope.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = (String, Verdict)> {
        self.all().filter_map(|(scope, variable)| {
            let verdict = verdict_of(&variable.verdict, &variable.causes)?;
            let name = match scope {
                "" => variable.name.clone(),
                scope => format!("{scope}/{}", variable.name),
            };
            Some((name, verdict))
        })
    }

    /// Codes of verdicts and causes that only a newer version knows, and that version if it says
    /// that it is one.
    pub(crate) fn unknown(&self) -> (BTreeSet<String>, Option<&str>) {
        let unknown = self.all().filter(|(_, variable)| {
            !variable.verdict.is_empty()
                && verdict_of(&variable.verdict, &variable.causes).is_none()
        });
        let code = |(_, variable): (&str, &VariableRecord)| match variable.causes.as_slice() {
            [] => variable.verdict.clone(),
            causes => format!("{} ({})", variable.verdict, causes.join(", ")),
        };
        (unknown.map(code).collect(), self.newer.as_deref())
    }

    fn all(&self) -> impl Iterator<Item = (&str, &VariableRecord)> {
        self.models.iter().flat_map(|model| {
            let variables = model.variables.iter();
            variables.map(|variable| (model.scope.as_str(), variable))
        })
    }
}

/// Type, shape and role; `None` where a newer version has written a code that this one does not
/// know.
pub(crate) fn traits(variable: &VariableRecord) -> Option<VariableInfo> {
    Some(VariableInfo {
        dtype: dtype_of(&variable.dtype)?,
        shape: variable.shape.iter().map(|&size| size.max(0)).collect(),
        role: role_of(&variable.role)?,
        is_member: variable.is_member,
    })
}
