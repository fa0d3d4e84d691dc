//! Globs of an option, and what a user may have meant by one that matches nothing.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::output::{Failure, shown};

/// Names that a message has.
const NAMED: usize = 5;

/// The globs of one option.
pub(crate) struct Patterns {
    /// As the user writes it: `--run`.
    option: &'static str,
    texts: Vec<String>,
    globs: GlobSet,
}

impl Patterns {
    pub(crate) fn new(option: &'static str, texts: &[String]) -> Result<Patterns, Failure> {
        let wrong = |error: globset::Error| Failure::Argument(format!("{option}: {error}"));
        let mut globs = GlobSetBuilder::new();
        for text in texts {
            globs.add(GlobBuilder::new(text).build().map_err(wrong)?);
        }
        Ok(Patterns {
            option,
            texts: texts.to_vec(),
            globs: globs.build().map_err(wrong)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    pub(crate) fn is_match(&self, name: &str) -> bool {
        self.globs.is_match(name)
    }

    /// True of what one of them matches, and of all where there is none.
    pub(crate) fn select(&self, name: &str) -> bool {
        self.is_empty() || self.is_match(name)
    }

    /// Those that match none of these names: a sentence each, with the names that are nearest.
    /// `kind`: what the names are of.
    pub(crate) fn idle<'a, N>(&self, kind: &str, names: N) -> Vec<Failure>
    where
        N: Iterator<Item = &'a str> + Clone,
    {
        let mut idle = vec![true; self.texts.len()];
        for name in names.clone() {
            for index in self.globs.matches(name) {
                if let Some(idle) = idle.get_mut(index) {
                    *idle = false;
                }
            }
        }
        let idle = std::iter::zip(&self.texts, idle).filter(|(_, idle)| *idle);
        idle.map(|(text, _)| {
            let nearest = nearest(text, names.clone());
            let option = self.option;
            Failure::Argument(format!("{option} {text:?} matches no {kind}; {nearest}"))
        })
        .collect()
    }
}

/// The names that are most like what was asked for, the likeliest first.
pub(crate) fn nearest<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Nearest<'a> {
    let letters = |text: &str| text.to_lowercase();
    let asked: String = letters(asked).replace(['*', '?'], "");
    // Sorted once, compared once: a log may have thousands.
    let mut names: Vec<(f64, &str)> = names
        .map(|name| (strsim::jaro_winkler(&asked, &letters(name)), name))
        .collect();
    names.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    names.dedup_by(|one, other| one.1 == other.1);
    Nearest {
        more: names.len() > NAMED,
        names: names
            .into_iter()
            .take(NAMED)
            .map(|(_, name)| name)
            .collect(),
    }
}

/// See [`nearest`].
pub(crate) struct Nearest<'a> {
    names: Vec<&'a str>,
    more: bool,
}

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.names.iter().map(|name| shown(name)).collect();
        match (names.as_slice(), self.more) {
            ([], _) => formatter.write_str("there is none"),
            (names, false) => write!(formatter, "there are: {}", names.join(", ")),
            (names, true) => write!(formatter, "the nearest are: {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(asked: &str) -> &'static str {
        let names = [
            "conv1.weight",
            "decoder.0.weight",
            "encoder.0.weight",
            "fc1.bias",
            "fc1.weight",
            "loss/train",
            "loss/validation",
            "rate",
        ];
        nearest(asked, names.into_iter()).names[0]
    }

    #[test]
    fn the_nearest_name_is_what_was_meant() {
        for (asked, meant) in [
            ("fc1.wieght", "fc1.weight"),
            ("FC1.bias", "fc1.bias"),
            ("encodr.*", "encoder.0.weight"),
            ("loss/valid", "loss/validation"),
            ("losses/train*", "loss/train"),
            ("cnv1.*", "conv1.weight"),
        ] {
            assert_eq!(first(asked), meant, "{asked}");
        }
    }

    #[test]
    fn patterns_that_match_nothing_are_named_one_by_one() {
        let texts = ["a*".to_owned(), "x*".to_owned(), "[q]".to_owned()];
        let patterns = Patterns::new("--tag", &texts).unwrap();
        let idle = patterns.idle("tag", ["a", "ab"].into_iter());
        let idle: Vec<String> = idle.iter().map(ToString::to_string).collect();
        assert_eq!(
            idle,
            [
                "--tag \"x*\" matches no tag; there are: a, ab",
                "--tag \"[q]\" matches no tag; there are: a, ab"
            ]
        );
        let idle = patterns.idle("tag", std::iter::empty());
        assert!(
            idle[0]
                .to_string()
                .ends_with("matches no tag; there is none")
        );
    }
}
