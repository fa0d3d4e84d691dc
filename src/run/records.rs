//! The private record of a run: what of it has changed since it was last written. See `proto/tch_tensorboard.proto`.

use std::collections::{BTreeMap, HashMap};

use crate::proto::tch_tensorboard::{ModelRecord, RunRecord, VariableRecord};
use crate::summary::private;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// By scope.
    models: BTreeMap<String, ModelRecord>,
    /// The number of the file that begins with a whole record; 0 for none.
    whole_in: u32,
}

impl Records {
    /// Takes what is known of a model, and returns what is to be written to `file`.
    pub(crate) fn update(&mut self, file: u32, model: ModelRecord) -> Option<RunRecord> {
        let before = self.models.insert(model.scope.clone(), model.clone());
        if self.whole_in != file {
            return self.renew(file);
        }
        let Some(before) = before else {
            return Some(record(false, vec![model]));
        };
        match changes(&before, model) {
            Changes::Nothing => None,
            Changes::Some(model) => Some(record(false, vec![model])),
            Changes::Fewer => Some(self.whole(file)),
        }
    }

    /// The whole record, unless `file` has one already or there is nothing to record.
    pub(crate) fn renew(&mut self, file: u32) -> Option<RunRecord> {
        let is_due = self.whole_in != file && !self.models.is_empty();
        is_due.then(|| self.whole(file))
    }

    /// What was to be written was not.
    pub(crate) fn refuse(&mut self) {
        self.whole_in = 0;
    }

    fn whole(&mut self, file: u32) -> RunRecord {
        self.whole_in = file;
        record(true, self.models.values().cloned().collect())
    }
}

fn record(is_whole: bool, models: Vec<ModelRecord>) -> RunRecord {
    RunRecord {
        format: private::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        is_whole,
        models,
    }
}

enum Changes {
    Nothing,
    Some(ModelRecord),
    /// Variables are gone, which only a whole record says.
    Fewer,
}

/// What is new in `model`. A step alone is no news.
fn changes(before: &ModelRecord, mut model: ModelRecord) -> Changes {
    let by_name = |variable: &VariableRecord| (variable.name.clone(), variable.clone());
    let mut known: HashMap<String, VariableRecord> = before.variables.iter().map(by_name).collect();
    model
        .variables
        .retain(|variable| known.remove(&variable.name).as_ref() != Some(variable));
    if !known.is_empty() {
        return Changes::Fewer;
    }
    let is_same = model.variables.is_empty()
        && (&model.roles, &model.findings, &model.trend)
            == (&before.roles, &before.findings, &before.trend);
    match is_same {
        true => Changes::Nothing,
        false => Changes::Some(model),
    }
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

    /// Whether it is whole, and its variables behind their scopes.
    fn shown(record: Option<RunRecord>) -> Option<(bool, Vec<String>)> {
        let record = record?;
        let names = record.models.iter().flat_map(|model| {
            let name = |one: &VariableRecord| format!("{}/{}={}", model.scope, one.name, one.role);
            model.variables.iter().map(name).collect::<Vec<_>>()
        });
        Some((record.is_whole, names.collect()))
    }

    #[test]
    fn only_changes_are_written_and_all_in_each_file() {
        let mut records = Records::default();
        assert_eq!(records.renew(1), None);
        let first = model("", &[("a", "trainable"), ("b", "trainable")]);
        let all = vec!["/a=trainable".to_owned(), "/b=trainable".to_owned()];
        assert_eq!(
            shown(records.update(1, first.clone())),
            Some((true, all.clone()))
        );
        let later = ModelRecord {
            step: Some(9),
            ..first.clone()
        };
        assert_eq!(records.update(1, later), None);
        let frozen = model("", &[("a", "trainable"), ("b", "frozen")]);
        let changed = vec!["/b=frozen".to_owned()];
        assert_eq!(shown(records.update(1, frozen)), Some((false, changed)));
        let other = shown(records.update(1, model("G", &[("w", "")])));
        assert_eq!(other, Some((false, vec!["G/w=".to_owned()])));
        let whole: Vec<String> = ["/a=trainable", "/b=frozen", "G/w="].map(Into::into).into();
        assert_eq!(shown(records.renew(2)), Some((true, whole.clone())));
        assert_eq!(records.renew(2), None);
        records.refuse();
        assert_eq!(shown(records.renew(2)), Some((true, whole)));
    }

    #[test]
    fn a_variable_that_is_gone_is_in_no_record_any_more() {
        let mut records = Records::default();
        records.update(1, model("", &[("a", ""), ("b", "")]));
        let fewer = shown(records.update(1, model("", &[("b", "")])));
        assert_eq!(fewer, Some((true, vec!["/b=".to_owned()])));
    }

    #[test]
    fn a_finding_and_a_trend_are_news() {
        let mut records = Records::default();
        records.update(1, model("", &[("a", "")]));
        let trend = ModelRecord {
            trend: "steady".into(),
            ..model("", &[("a", "")])
        };
        assert_eq!(
            shown(records.update(1, trend.clone())),
            Some((false, vec![]))
        );
        assert_eq!(records.update(1, trend), None);
    }
}
