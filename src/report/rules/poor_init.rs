//! The rule for `poor_init`.

use crate::report::evidence_table::Moved;
use crate::report::rules::{Case, Rule, RuleKind};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::PoorInit,
    name: "poor_init",
    is_fault: true,
    kind: RuleKind::Size,
    decide,
    reason,
    advice: "initialise it with Xavier or He for its fan-in",
};

/// A spread of this size is that of no layer, table or image of usual values.
const WIDE: f64 = 2.5;

/// The update ratio of what is far too large, against the upper quartile of the other matrices.
const SLOWER: f64 = 0.05;

/// So many times the median of the matrices, where that is a usual one, a scale is no result of the
/// first step, which is as large for all where the learning rate is too high.
const APART: f64 = 10.0;

/// A first step that is so many times the variable has nothing to do with how it began.
const REPLACED: f64 = 3.0;

/// A first spread is a number. It is a fault where something comes of it: steps next to those of
/// the other layers are next to nothing, or the first step is many times the variable, or the model
/// is hurt.
fn decide(case: &Case<'_>) -> Option<Verdict> {
    let scale = is_out_of_band(case)?;
    let history = case.history;
    let harmed = match scale > case.thresholds.init_scale_max {
        true => {
            let wide = history.first?.std()? > WIDE;
            let hurt = case.context.is_hurt;
            let slow = std::iter::zip(history.sums.log_ratio(), case.context.ratio)
                .any(|(own, others)| own < others + SLOWER.ln());
            hurt || (wide && slow)
        }
        false => history.first_ratio.is_some_and(|ratio| ratio > REPLACED) || case.context.is_hurt,
    };
    let holds = harmed && case.is_open() && case.signs.moved != Moved::Never;
    holds.then_some(Verdict::PoorInit)
}

/// The first scale, where Xavier and He are far from it.
pub(crate) fn is_out_of_band(case: &Case<'_>) -> Option<f64> {
    let thresholds = case.thresholds;
    let first = case.history.first?;
    let scale = case.facts.scale(&first)?;
    // Weights that begin at zero are small after the first step: only what was seen before it
    // tells.
    let too_small = scale > 0.0 && scale < thresholds.init_scale_min && case.history.is_fresh;
    // Embeddings begin with a spread of one whatever their width.
    let is_table = case.facts.looks_embedded && (0.5..2.0).contains(&first.std()?);
    // And after a step as large as the variable, its spread is that of the step.
    let usual = thresholds.init_scale_min..thresholds.init_scale_max;
    let is_apart = case
        .context
        .first_scale
        .is_some_and(|median| usual.contains(&median) && scale > APART * median);
    let is_sure = case.history.is_fresh || is_apart;
    let began_so = is_sure || case.history.jumps == 0;
    let too_large = scale > thresholds.init_scale_max && !is_table && began_so;
    let warm = is_sure || case.history.steps >= u64::from(thresholds.warm_up);
    ((too_small || too_large) && warm && !case.is_embedding()).then_some(scale)
}

fn reason(case: &Case<'_>) -> String {
    let scale = case
        .history
        .first
        .and_then(|first| case.facts.scale(&first));
    let ratios = std::iter::zip(case.history.sums.log_ratio(), case.context.ratio).next();
    let harm = match (case.history.first_ratio, ratios) {
        (Some(ratio), _) if ratio > REPLACED => {
            format!("its first step was {ratio:.0} times as large as it")
        }
        (_, Some((own, others))) if own < others + SLOWER.ln() => format!(
            "its update ratio is {:.1e} of the other layers'",
            (own - others).exp()
        ),
        _ => "steps as large as the weights, or dead gradients, have come of it".into(),
    };
    format!(
        "its first standard deviation was {:.1e} / sqrt(fan-in); He is 1.4, Xavier 1; {harm}",
        scale.unwrap_or(f64::NAN)
    )
}
