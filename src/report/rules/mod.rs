//! One file a rule: the verdict, when it holds, how the evidence reads, and what to do. None looks
//! at anything but its [`Case`].

mod all_zero;
mod dead_gradient;
mod decay_only;
mod detached;
mod erratic;
mod exploding;
mod frozen;
mod identical_units;
mod large_updates;
mod learning;
mod moved_without_gradient;
mod moving_while_frozen;
mod no_gradient;
mod non_finite;
mod not_updated;
mod poor_init;
mod rounded_away;
mod scale_drift;
mod stalled;
#[cfg(test)]
mod tests;
mod undecided;
mod vanishing;
mod zero_gradient;

use std::mem;

use crate::report::evidence_table::Outcome;
use crate::report::verdict::Verdict;

pub(crate) use crate::report::case::{Case, Context, collapse, relative_gradient};

pub(crate) use large_updates::is_large;
pub(crate) use not_updated::LISTS;
pub(crate) use poor_init::is_out_of_band;
pub(crate) use scale_drift::drift;

/// Whether a verdict holds, and all that is said of it.
pub(crate) struct Rule {
    /// Of several causes, any.
    pub(crate) verdict: Verdict,
    /// In snake case, as the program spells it.
    pub(crate) name: &'static str,
    pub(crate) is_fault: bool,
    /// Findings of one kind have one cause: the later one takes the place of the earlier.
    pub(crate) kind: RuleKind,
    /// The verdict, where it holds.
    pub(crate) decide: fn(&Case<'_>) -> Option<Verdict>,
    /// The evidence in a line.
    pub(crate) reason: fn(&Case<'_>) -> String,
    /// What to do; empty where nothing is to be done.
    pub(crate) advice: &'static str,
}

/// What a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleKind {
    Health,
    Values,
    /// It stands still, or hardly moves.
    Rest,
    /// What reaches it.
    Gradient,
    /// Steps and spreads.
    Size,
}

/// In the order in which they decide: what is above explains what is below.
pub(crate) const RULES: [&Rule; 22] = [
    &non_finite::RULE,
    &frozen::RULE,
    &moved_without_gradient::RULE,
    &moving_while_frozen::RULE,
    &no_gradient::RULE,
    &detached::RULE,
    &all_zero::RULE,
    &decay_only::RULE,
    &zero_gradient::RULE,
    &dead_gradient::RULE,
    &identical_units::RULE,
    &stalled::RULE,
    &vanishing::RULE,
    &not_updated::RULE,
    &rounded_away::RULE,
    &poor_init::RULE,
    &exploding::RULE,
    &large_updates::RULE,
    &erratic::RULE,
    &scale_drift::RULE,
    &learning::RULE,
    &undecided::RULE,
];

/// The rule that a verdict comes from.
pub(crate) fn rule(verdict: Verdict) -> &'static Rule {
    let is_same = |rule: &&&Rule| mem::discriminant(&rule.verdict) == mem::discriminant(&verdict);
    RULES.iter().find(is_same).unwrap_or(&&undecided::RULE)
}

/// The verdict of the first rule that holds.
pub(crate) fn decide(case: &Case<'_>) -> Verdict {
    let decided = RULES.iter().find_map(|rule| (rule.decide)(case));
    decided.unwrap_or(Verdict::Undecided)
}

impl Verdict {
    /// One of each kind, in the order in which rules are tried. Of `NotUpdated` there are as many
    /// as there are causes.
    pub fn all() -> impl Iterator<Item = Verdict> {
        RULES.iter().map(|rule| rule.verdict)
    }

    /// True for what a user should look at; false for `Learning`, `Frozen`, `MovedWithoutGradient`
    /// and `Undecided`.
    pub fn is_fault(self) -> bool {
        rule(self).is_fault
    }

    /// One line on what to do; empty where nothing is to be done.
    pub fn advice(self) -> &'static str {
        match self {
            Verdict::NotUpdated { cause } => cause.advice(),
            other => rule(other).advice,
        }
    }

    /// The name in snake case, as `tch-tensorboard report --json` and `--fail-on` spell it.
    pub fn name(self) -> &'static str {
        rule(self).name
    }
}

/// Of a rule that is one row of the table.
fn of_row(case: &Case<'_>, row: Outcome, verdict: Verdict) -> Option<Verdict> {
    (case.outcome == row).then_some(verdict)
}

/// Of what needs no reason.
fn none(_: &Case<'_>) -> String {
    String::new()
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share))
}
