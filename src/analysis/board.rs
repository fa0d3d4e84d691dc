//! What the generated dashboard shows of one watched model.

use crate::analysis::dashboard::{FaultBoard, ScopeBoard, VariableBoard};
use crate::analysis::state::State;
use crate::analysis::tags::{Aggregate, VariableTags};
use crate::capture::plan::Plan;
use crate::model::statistic::{Quantity, Statistic, StatisticRow};
use crate::model::tier::Tier;
use crate::report::Verdict;
use crate::report::ledger::Found;

/// Of a model in one scope: its variables with what is known of each, its parts, and the faults in
/// force.
pub(crate) fn scope_board(
    tier: Tier,
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
    let parts = aggregates.iter().filter(|part| !part.is_model);
    ScopeBoard {
        tier,
        prefix: model.map(|model| model.tag_name("")),
        faults: faults
            .iter()
            .filter_map(|fault| fault_board(fault, tags_of(fault.variable.as_deref()?)?))
            .collect(),
        parts: parts.map(|part| part.tag_name("")).collect(),
        variables: known().map(|(name, tags)| tags.board(name)).collect(),
    }
}

/// `None` for a fault of the whole model, which the model's own charts show.
fn fault_board(fault: &Found, tags: &VariableTags) -> Option<FaultBoard> {
    let name = fault.variable.as_deref()?;
    let shows = |row: &StatisticRow| {
        row.attention.is_some()
            || (row.quantity == Quantity::Nonfinite && fault.verdict == Verdict::NonFinite)
    };
    let lines = tags.scalars.iter().filter(|(row, _)| shows(row));
    Some(FaultBoard {
        title: format!("{name}: {}", fault.verdict).into(),
        tags: lines.map(|(_, tag)| tag.name.clone()).collect(),
    })
}

impl VariableTags {
    fn board(&self, name: &str) -> VariableBoard {
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
            name: name.into(),
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
