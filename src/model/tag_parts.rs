//! The tags of this crate taken apart again: what a value is, and which variable or aggregate it is of.

use crate::model::statistic::{AggregateTag, Quantity, TABLE};

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
