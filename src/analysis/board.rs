//! What the generated dashboard shows of one watched model.

use crate::analysis::aggregate_tags::Aggregate;
use crate::analysis::dashboard::{FaultBoard, ScopeBoard, VariableBoard};
use crate::analysis::state::State;
use crate::analysis::tags::VariableTags;
use crate::capture::plan::Plan;
use crate::model::statistic::{Attention, Quantity, Statistic, StatisticRow};
use crate::model::tier::Tier;
use crate::report::Verdict;
use crate::report::ledger::Found;

/// Of the model in a scope: its variables with what is known of each, its parts, and the faults in
/// force.
pub(crate) fn scope_board(
    scope: &str,
    tier: Tier,
    has_unchanged: bool,
    plan: Option<&Plan>,
    states: &[State],
    aggregates: &[Aggregate],
    faults: &[Found],
) -> ScopeBoard {
    let known = || {
        plan.into_iter()
            .flat_map(|plan| std::iter::zip(&plan.variables, states))
            .filter_map(|(variable, state)| Some((&*variable.name, state.tags.as_ref()?)))
    };
    let tags_of = |name: &str| {
        known()
            .find(|(known, _)| *known == name)
            .map(|(_, tags)| tags)
    };
    let model = aggregates.iter().find(|part| part.is_model);
    let parts = |is_group: bool| {
        let parts = aggregates.iter().filter(|part| !part.is_model);
        let wanted = parts.filter(move |part| part.is_group == is_group);
        wanted.map(|part| part.tag_name("")).collect()
    };
    let in_scope = |name: &str| -> Box<str> {
        match scope {
            "" => name.into(),
            scope => format!("{scope}/{name}").into(),
        }
    };
    ScopeBoard {
        tier,
        prefix: model.map(|model| model.tag_name("")),
        faults: faults
            .iter()
            .filter_map(|fault| {
                let name = fault.variable.as_deref()?;
                Some(fault_board(fault, &in_scope(name), tags_of(name)?))
            })
            .collect(),
        groups: parts(true),
        roles: parts(false),
        has_unchanged,
        variables: known()
            .map(|(name, tags)| tags.board(in_scope(name)))
            .collect(),
    }
}

/// Of a fault of a variable. One of the whole model has none: the model's own charts show it.
fn fault_board(fault: &Found, name: &str, tags: &VariableTags) -> FaultBoard {
    // A share beside a logarithm would be two straight lines.
    let shows = |row: &StatisticRow| {
        let is_pinned = |of: &Attention| of.pins_variables;
        row.attention.as_ref().is_some_and(is_pinned)
            || (row.quantity == Quantity::Nonfinite && fault.verdict == Verdict::NonFinite)
    };
    let lines = tags.scalars.iter().filter(|(row, _)| shows(row));
    // The causes that are possible are in the report: a title has one line.
    let verdict = fault.verdict.to_string();
    let verdict = verdict.split(':').next().unwrap_or(&verdict);
    FaultBoard {
        title: format!("{name}: {verdict}").into(),
        tags: lines.map(|(_, tag)| tag.name.clone()).collect(),
    }
}

impl VariableTags {
    fn board(&self, name: Box<str>) -> VariableBoard {
        let tag = |wanted: Quantity| {
            let mut scalars = self.scalars.iter();
            let found = scalars.find(|(row, _)| row.quantity == wanted);
            found.map(|(_, tag)| tag.name.clone())
        };
        let charted = self.scalars.iter().filter(|(row, _)| row.chart.is_some());
        let band = self
            .band
            .as_ref()
            .zip(tag(Quantity::Statistic(Statistic::WeightMean)));
        VariableBoard {
            name,
            lines: charted
                .map(|(row, tag)| (row.quantity, tag.name.clone()))
                .collect(),
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
