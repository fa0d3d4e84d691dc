//! What the generated dashboard shows of one watched model.

use crate::analysis::dashboard::{FaultBoard, ScopeBoard, VariableBoard};
use crate::analysis::state::State;
use crate::analysis::tags::{Aggregate, GradientStatistic, Tier, VariableTags};
use crate::capture::plan::Plan;
use crate::options::Statistic;
use crate::report::Verdict;
use crate::report::ledger::Found;

/// Of a model in one scope: its variables with what is known of each, its parts, and the faults in force.
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
    let board = tags.board(name);
    let nonfinite = tags.nonfinite.as_ref().map(|tag| tag.name.clone());
    let nonfinite = nonfinite.filter(|_| fault.verdict == Verdict::NonFinite);
    let lines = [board.update_ratio, board.changed_fraction, nonfinite];
    Some(FaultBoard {
        title: format!("{name}: {}", fault.verdict).into(),
        tags: lines.into_iter().flatten().collect(),
    })
}

impl VariableTags {
    fn board(&self, name: &str) -> VariableBoard {
        let tag = |wanted: Statistic| {
            let found = self
                .statistics
                .iter()
                .find(|(statistic, _)| *statistic == wanted);
            found.map(|(_, tag)| tag.name.clone())
        };
        let band = self.band.as_ref().zip(tag(Statistic::WeightMean));
        VariableBoard {
            name: name.into(),
            update_ratio: tag(Statistic::WeightUpdateRatioLog10),
            changed_fraction: tag(Statistic::WeightChangedFraction),
            drift: tag(Statistic::WeightDrift),
            max_change: tag(Statistic::WeightDeltaMaxAbs),
            gradient_norm: self
                .gradients
                .iter()
                .find(|(statistic, _)| *statistic == GradientStatistic::Norm)
                .map(|(_, tag)| tag.name.clone()),
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
