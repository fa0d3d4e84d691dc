//! The private record of a run: what of it has changed since it was last written. See
//! `proto/tch_tensorboard.proto`.

use std::collections::{BTreeMap, HashMap};

use crate::proto::tch_tensorboard::{FindingRecord, ModelRecord, RemarkRecord, VariableRecord};
use crate::summary::private;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// By scope.
    models: BTreeMap<String, Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// As it is now, and as it was when it was last written.
    now: ModelRecord,
    written: ModelRecord,
    /// The number of the file that begins with a whole record of it; 0 for none.
    whole_in: u32,
}

impl Records {
    /// Takes what is known of a model.
    pub(crate) fn set(&mut self, model: ModelRecord) {
        let recorded = self.models.entry(model.scope.clone()).or_default();
        recorded.now = model;
    }

    /// What is to be written to `file`: what has changed, and all of a model that the file has no
    /// record of. It counts as written.
    /// Texts and numbers alone are news only when it must be `exact`, as at the end: they change at
    /// each step.
    pub(crate) fn take(&mut self, file: u32, exact: bool) -> Vec<ModelRecord> {
        let models = self.models.values_mut();
        models
            .filter_map(|recorded| recorded.take(file, exact))
            .collect()
    }

    /// The record of a scope was not written.
    pub(crate) fn refuse(&mut self, scope: &str) {
        if let Some(recorded) = self.models.get_mut(scope) {
            recorded.whole_in = 0;
        }
    }
}

impl Written {
    fn take(&mut self, file: u32, exact: bool) -> Option<ModelRecord> {
        let is_first = self.whole_in != file;
        let changes = match is_first {
            true => Changes::Whole,
            false => changes(&self.written, &self.now, exact),
        };
        let (variables, is_whole) = match changes {
            Changes::Nothing => return None,
            Changes::Some(variables) => (variables, false),
            Changes::Whole => (self.now.variables.clone(), true),
        };
        (self.written, self.whole_in) = (self.now.clone(), file);
        Some(ModelRecord {
            format: private::FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_whole,
            variables,
            scope: self.now.scope.clone(),
            roles: self.now.roles.clone(),
            findings: self.now.findings.clone(),
            step: self.now.step,
            stride: self.now.stride,
            unobserved: self.now.unobserved,
            trend: self.now.trend.clone(),
            notes: self.now.notes.clone(),
        })
    }
}

enum Changes {
    Nothing,
    Some(Vec<VariableRecord>),
    /// There is no record, or variables are gone, which only a whole record says.
    Whole,
}

/// What is new of a model. Texts, numbers and a step alone are no news but where all must be exact;
/// with other news they are written, so that each record is true of its step.
fn changes(before: &ModelRecord, now: &ModelRecord, exact: bool) -> Changes {
    let mut known: HashMap<&str, &VariableRecord> = before
        .variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable))
        .collect();
    let mut has_news = exact && now.step != before.step;
    let mut changed = Vec::new();
    for variable in &now.variables {
        let known = known.remove(variable.name.as_str());
        if known != Some(variable) {
            has_news |= exact || known.map(essence) != Some(essence(variable));
            changed.push(variable.clone());
        }
    }
    has_news |= (&now.roles, &now.trend, now.stride)
        != (&before.roles, &before.trend, before.stride)
        || !faults(now).eq(faults(before))
        || (exact && (&now.findings, &now.notes) != (&before.findings, &before.notes));
    match has_news {
        _ if !known.is_empty() => Changes::Whole,
        true => Changes::Some(changed),
        false => Changes::Nothing,
    }
}

/// A variable without texts and numbers that change at each step.
fn essence(variable: &VariableRecord) -> VariableRecord {
    let remarks = variable.remarks.iter().map(|remark| RemarkRecord {
        name: remark.name.clone(),
        ..RemarkRecord::default()
    });
    VariableRecord {
        remarks: remarks.collect(),
        reason: String::new(),
        ..variable.clone()
    }
}

/// The same of the findings.
fn faults(model: &ModelRecord) -> impl Iterator<Item = FindingRecord> {
    model.findings.iter().map(|finding| FindingRecord {
        reason: String::new(),
        ..finding.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(scope: &str, variables: &[(&str, &str)]) -> ModelRecord {
        let variable = |(name, role): &(&str, &str)| VariableRecord {
            name: (*name).to_owned(),
            role: (*role).to_owned(),
            ..VariableRecord::default()
        };
        ModelRecord {
            scope: scope.to_owned(),
            variables: variables.iter().map(variable).collect(),
            ..ModelRecord::default()
        }
    }

    /// What is written to a file: `!` for whole ones, and the variables behind their scopes.
    fn written(records: &mut Records, file: u32) -> Vec<String> {
        let shown = |record: ModelRecord| {
            let variables = record.variables.iter();
            let variables = variables.map(|one| format!(" {}={}", one.name, one.role));
            let whole = if record.is_whole { "!" } else { "" };
            format!("{whole}{}:{}", record.scope, variables.collect::<String>())
        };
        records.take(file, false).into_iter().map(shown).collect()
    }

    #[test]
    fn only_changes_are_written_and_all_in_each_file() {
        let mut records = Records::default();
        assert!(written(&mut records, 1).is_empty());
        let first = model("", &[("a", "trainable"), ("b", "trainable")]);
        records.set(first.clone());
        assert_eq!(written(&mut records, 1), ["!: a=trainable b=trainable"]);
        records.set(ModelRecord {
            step: Some(9),
            ..first
        });
        assert!(written(&mut records, 1).is_empty());
        records.set(model("", &[("a", "trainable"), ("b", "frozen")]));
        assert_eq!(written(&mut records, 1), [": b=frozen"]);
        records.set(model("G", &[("w", "")]));
        assert_eq!(written(&mut records, 1), ["!G: w="]);
        let whole = ["!: a=trainable b=frozen", "!G: w="];
        assert_eq!(written(&mut records, 2), whole);
        assert!(written(&mut records, 2).is_empty());
        records.refuse("G");
        assert_eq!(written(&mut records, 2), [whole[1]]);
    }

    #[test]
    fn a_variable_that_is_gone_is_in_no_record_any_more() {
        let mut records = Records::default();
        records.set(model("", &[("a", ""), ("b", "")]));
        records.take(1, false);
        records.set(model("", &[("b", "")]));
        assert_eq!(written(&mut records, 1), ["!: b="]);
    }

    #[test]
    fn a_stride_is_news_and_steps_that_were_not_observed_are_none() {
        let mut records = Records::default();
        let thinned = |stride, unobserved| ModelRecord {
            stride,
            unobserved,
            ..model("", &[("a", "")])
        };
        records.set(thinned(1, 0));
        records.take(1, false);
        records.set(thinned(16, 3));
        let taken = records.take(1, false);
        let [record] = taken.as_slice() else {
            panic!("one record, not {taken:?}")
        };
        assert_eq!((record.stride, record.unobserved), (16, 3));
        records.set(thinned(16, 200));
        assert!(records.take(1, false).is_empty());
    }

    #[test]
    fn a_finding_and_a_trend_are_news() {
        let mut records = Records::default();
        records.set(model("", &[("a", "")]));
        records.take(1, false);
        records.set(ModelRecord {
            trend: "steady".into(),
            ..model("", &[("a", "")])
        });
        assert_eq!(written(&mut records, 1), [":"]);
        assert!(written(&mut records, 1).is_empty());
    }

    #[test]
    fn a_reason_alone_is_news_only_where_all_must_be_exact() {
        let mut records = Records::default();
        let mut now = model("", &[("a", "trainable")]);
        records.set(now.clone());
        records.take(1, false);
        now.variables[0].reason = "in 300 steps".into();
        records.set(now.clone());
        assert!(records.take(1, false).is_empty());
        let exact = records.take(1, true);
        assert_eq!(exact[0].variables[0].reason, "in 300 steps");
        assert!(records.take(1, true).is_empty());
        // Beside other news it is written, too.
        now.variables[0].reason = "in 301 steps".into();
        now.trend = "steady".into();
        records.set(now);
        assert_eq!(
            records.take(1, false)[0].variables[0].reason,
            "in 301 steps"
        );
        assert!(records.take(1, true).is_empty());
    }
}
