//! The tags of this crate taken apart again: what a value is, and which variable or aggregate it is of.

use crate::analysis::tags::GradientStatistic;
use crate::options::Statistic;

/// What the values of a tag are. Each has one name, of which tags begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Histograms of the weights.
    Weights,
    /// Of what a step changed.
    Deltas,
    /// Of the gradients.
    Gradients,
    Statistic(Statistic),
    Gradient(GradientStatistic),
    /// How many elements are NaN or infinite.
    Nonfinite,
    GradientNonfinite,
}

impl Quantity {
    /// The histograms.
    const HISTOGRAMS: [Quantity; 3] = [Quantity::Weights, Quantity::Deltas, Quantity::Gradients];
    /// The scalars that are no [`Statistic`].
    const OTHERS: [Quantity; 5] = [
        Quantity::Nonfinite,
        Quantity::GradientNonfinite,
        Quantity::Gradient(GradientStatistic::Norm),
        Quantity::Gradient(GradientStatistic::Std),
        Quantity::Gradient(GradientStatistic::MaxAbs),
    ];

    fn all() -> impl Iterator<Item = Quantity> {
        let statistics = Statistic::ALL.into_iter().map(Quantity::Statistic);
        Quantity::HISTOGRAMS
            .into_iter()
            .chain(Quantity::OTHERS)
            .chain(statistics)
    }

    pub(crate) fn is_of_gradient(self) -> bool {
        matches!(
            self,
            Quantity::Gradients | Quantity::Gradient(_) | Quantity::GradientNonfinite
        )
    }

    /// The first part of a variable's tag.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::Weights => "weights",
            Quantity::Deltas => "weight_deltas",
            Quantity::Gradients => "weight_gradients",
            Quantity::Statistic(statistic) => statistic.tag(),
            Quantity::Gradient(GradientStatistic::Norm) => "weight_gradient_norm",
            Quantity::Gradient(GradientStatistic::Std) => "weight_gradient_std",
            Quantity::Gradient(GradientStatistic::MaxAbs) => "weight_gradient_max_abs",
            Quantity::Nonfinite => "weight_nonfinite",
            Quantity::GradientNonfinite => "weight_gradient_nonfinite",
        }
    }
}

/// The last parts of an aggregate's tags, of those that a variable has as well.
pub(crate) mod aggregate {
    pub(crate) const UPDATE_RATIO_LOG10: &str = "update_ratio_log10";
    pub(crate) const CHANGED_FRACTION: &str = "changed_fraction";
    pub(crate) const DELTA_MAX_ABS: &str = "delta_max_abs";
    pub(crate) const WEIGHT_NORM: &str = "weight_norm";
    pub(crate) const WEIGHT_STD: &str = "weight_std";
    pub(crate) const DRIFT: &str = "drift";
    pub(crate) const NONFINITE: &str = "nonfinite";
    pub(crate) const GRADIENT_NORM: &str = "gradient_norm";
    pub(crate) const GRADIENT_NONFINITE: &str = "gradient_nonfinite";
}

const IN_AGGREGATES: [(&str, Quantity); 9] = [
    (
        aggregate::UPDATE_RATIO_LOG10,
        Quantity::Statistic(Statistic::WeightUpdateRatioLog10),
    ),
    (
        aggregate::CHANGED_FRACTION,
        Quantity::Statistic(Statistic::WeightChangedFraction),
    ),
    (
        aggregate::DELTA_MAX_ABS,
        Quantity::Statistic(Statistic::WeightDeltaMaxAbs),
    ),
    (
        aggregate::WEIGHT_NORM,
        Quantity::Statistic(Statistic::WeightNorm),
    ),
    (
        aggregate::WEIGHT_STD,
        Quantity::Statistic(Statistic::WeightStd),
    ),
    (
        aggregate::DRIFT,
        Quantity::Statistic(Statistic::WeightDrift),
    ),
    (aggregate::NONFINITE, Quantity::Nonfinite),
    (
        aggregate::GRADIENT_NORM,
        Quantity::Gradient(GradientStatistic::Norm),
    ),
    (aggregate::GRADIENT_NONFINITE, Quantity::GradientNonfinite),
];

/// The last parts of an aggregate's tags that say how its variables spread, with the share of each.
pub(crate) const SPREAD: [(&str, f64); 5] = [
    ("update_ratio_log10_min", 0.0),
    ("update_ratio_log10_p10", 0.1),
    ("update_ratio_log10_median", 0.5),
    ("update_ratio_log10_p90", 0.9),
    ("update_ratio_log10_max", 1.0),
];
pub(crate) const CHANGED_FRACTION_MIN: &str = "changed_fraction_min";

/// The first parts of the tags of single elements and of bands, which are no [`Quantity`].
pub(crate) const WEIGHT_SAMPLES: &str = "weight_samples";
pub(crate) const WEIGHT_DELTA_SAMPLES: &str = "weight_delta_samples";
pub(crate) const BAND_LOW: &str = "weight_mean_minus_std";
pub(crate) const BAND_HIGH: &str = "weight_mean_plus_std";

/// True for each tag that the weights or gradients of a model are logged under. A tag of the user's may begin alike
/// (`weight_decay`).
pub(crate) fn is_ours(tag: &str) -> bool {
    let Some((first, path)) = tag.split_once('/') else {
        return tag == WEIGHT_REPORT;
    };
    let last = path.rsplit('/').next().unwrap_or(path);
    let is_spread = SPREAD.iter().any(|(name, _)| *name == last) || last == CHANGED_FRACTION_MIN;
    let others = [WEIGHT_SAMPLES, WEIGHT_DELTA_SAMPLES, BAND_LOW, BAND_HIGH];
    others.contains(&first) || (first == "model" && is_spread) || TagParts::of(tag).is_some()
}

/// The text of the report.
pub(crate) const WEIGHT_REPORT: &str = "weight_report";

/// The scalar of the rate that the user told, behind the scope as the user's own tags are.
pub(crate) const LEARNING_RATE: &str = "learning_rate";

/// The statistic of a model, the last one of a call.
pub(crate) const FINDINGS: &str = "findings";

/// A tag of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagParts<'a> {
    /// The path is the scope and the name of a variable; a role has histograms under such tags, too.
    Variable { quantity: Quantity, path: &'a str },
    /// The path is the scope and the name of a group or role, either of which may be missing.
    Aggregate { quantity: Quantity, path: &'a str },
    /// How many findings there are in a scope: by this it is known that there is such a scope.
    Findings { scope: &'a str },
}

impl<'a> TagParts<'a> {
    /// `None` for tags that are not ours, and for those that say nothing that others do not.
    pub(crate) fn of(tag: &'a str) -> Option<TagParts<'a>> {
        if !tag.starts_with("weight") && !tag.starts_with("model/") {
            return None;
        }
        let (first, path) = tag.split_once('/')?;
        if first == "model" {
            return TagParts::of_aggregate(path);
        }
        let quantity = Quantity::all().find(|quantity| quantity.name() == first)?;
        Some(TagParts::Variable { quantity, path })
    }

    fn of_aggregate(path: &'a str) -> Option<TagParts<'a>> {
        let (path, last) = path.rsplit_once('/').unwrap_or(("", path));
        if last == FINDINGS {
            return Some(TagParts::Findings { scope: path });
        }
        let (_, quantity) = IN_AGGREGATES.iter().find(|(name, _)| *name == last)?;
        Some(TagParts::Aggregate {
            quantity: *quantity,
            path,
        })
    }
}

/// The scope and the rest of a path. Only scopes that are known to be there are told from the first part of a name with
/// slashes.
pub(crate) fn split_scope<'a>(
    path: &'a str,
    scopes: impl IntoIterator<Item = &'a str>,
) -> (&'a str, &'a str) {
    let inside = |scope: &&str| {
        !scope.is_empty()
            && path
                .strip_prefix(*scope)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let scope = scopes
        .into_iter()
        .filter(inside)
        .max_by_key(|scope| scope.len());
    match scope.and_then(|scope| Some((scope, path.get(scope.len() + 1..)?))) {
        Some(parts) => parts,
        None => ("", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_quantities_share_a_name() {
        let names: Vec<&str> = Quantity::all().map(Quantity::name).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn tags_of_others_are_left_alone() {
        for tag in [
            "",
            "weights",
            "weight_mean",
            "weighty/x",
            "model",
            "model/loss",
            "model/accuracy/val",
            "loss/train",
            "weight_samples/w/3",
            "model/update_ratio_log10_min",
        ] {
            assert_eq!(TagParts::of(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_tag_of_the_users_that_begins_like_ours_is_not_ours() {
        for tag in [
            "weight_decay",
            "weight_decay/group0",
            "weights",
            "weight",
            "model/loss",
            "model",
            "loss/weight_mean",
        ] {
            assert!(!is_ours(tag), "{tag}");
        }
        for tag in [
            "weights/w",
            "weight_samples/w/3",
            "weight_mean_plus_std/G/w",
            "model/findings",
            "model/G/update_ratio_log10_p10",
            "model/changed_fraction_min",
            "weight_report",
        ] {
            assert!(is_ours(tag), "{tag}");
        }
    }

    #[test]
    fn the_longest_scope_that_is_known_is_split_off() {
        let scopes = ["", "G", "G/x", "Gx"];
        for (path, parts) in [
            ("w", ("", "w")),
            ("G/w", ("G", "w")),
            ("G/x/w", ("G/x", "w")),
            ("G/y/w", ("G", "y/w")),
            ("Gx/w", ("Gx", "w")),
            ("H/w", ("", "H/w")),
            ("G", ("", "G")),
            ("G/", ("G", "")),
        ] {
            assert_eq!(split_scope(path, scopes), parts, "{path}");
        }
    }
}
