//! The tags of this crate taken apart again: what a value is, and which variable or aggregate it is
//! of.

use crate::model::statistic::{AggregateTag, Quantity, TABLE};

/// The first parts of the tags of single elements and of bands, which are no [`Quantity`].
pub(crate) const WEIGHT_SAMPLES: &str = "weight_samples";
pub(crate) const WEIGHT_DELTA_SAMPLES: &str = "weight_delta_samples";
pub(crate) const BAND_LOW: &str = "weight_mean_minus_std";
pub(crate) const BAND_HIGH: &str = "weight_mean_plus_std";

/// True for each tag that the weights or gradients of a model are logged under. A tag of the user's
/// may begin alike (`weight_decay`).
pub(crate) fn is_ours(tag: &str) -> bool {
    let Some((first, path)) = tag.split_once('/') else {
        return tag == WEIGHT_REPORT || tag == WEIGHT_MAP;
    };
    let last = path.rsplit('/').next().unwrap_or(path);
    let mut spreads = TABLE.iter().filter_map(|row| row.spread.as_ref());
    let is_spread = spreads.any(|of| of.quantiles.iter().any(|(name, _)| *name == last));
    let others = [
        WEIGHT_SAMPLES,
        WEIGHT_DELTA_SAMPLES,
        BAND_LOW,
        BAND_HIGH,
        WEIGHT_MAP,
        WEIGHT_IMAGES,
    ];
    others.contains(&first) || (first == "model" && is_spread) || TagParts::of(tag).is_some()
}

/// The text of the report.
pub(crate) const WEIGHT_REPORT: &str = "weight_report";

/// The picture of what each variable did, before the scope.
const WEIGHT_MAP: &str = "weight_map";

/// The tag of the map of the model in a scope.
pub(crate) fn weight_map_tag(scope: &str) -> Box<str> {
    match scope {
        "" => WEIGHT_MAP.into(),
        scope => format!("{WEIGHT_MAP}/{scope}").into(),
    }
}

/// The pictures of weights, before the scope and the variable.
pub(crate) const WEIGHT_IMAGES: &str = "weight_images";

/// The scalar of the rate that the user told, behind the scope as the user's own tags are.
pub(crate) const LEARNING_RATE: &str = "learning_rate";

/// The statistic of a model, the last one of a call.
pub(crate) const FINDINGS: &str = "findings";

/// A tag of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagParts<'a> {
    /// The path is the scope and the name of a variable; a role has histograms under such tags,
    /// too.
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
        let quantity = Quantity::of_name(first)?;
        Some(TagParts::Variable { quantity, path })
    }

    fn of_aggregate(path: &'a str) -> Option<TagParts<'a>> {
        let (path, last) = path.rsplit_once('/').unwrap_or(("", path));
        if last == FINDINGS {
            return Some(TagParts::Findings { scope: path });
        }
        let is_it = |of: &AggregateTag| of.tag == last;
        let row = TABLE
            .iter()
            .find(|row| row.aggregate.as_ref().is_some_and(is_it))?;
        Some(TagParts::Aggregate {
            quantity: row.quantity,
            path,
        })
    }
}

/// The scope and the rest of a path. Only scopes that are known to be there are told from the first
/// part of a name with slashes.
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
            &weight_map_tag(""),
            &weight_map_tag("G"),
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
