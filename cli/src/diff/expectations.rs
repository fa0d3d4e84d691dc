//! What must have changed and what must not: exit status 3 otherwise.

use globset::{GlobBuilder, GlobMatcher};
use tch_tensorboard::{ChangeVerdict, Comparison, TensorChange};

use crate::args::Diff;
use crate::output::{Failure, shown};
use crate::patterns::nearest;

/// Rows that are named in one line.
const NAMED: usize = 5;

pub(super) struct Expectations {
    fail_on: Vec<ChangeVerdict>,
    changed: Vec<Expected>,
    identical: Vec<Expected>,
}

/// A glob with its text.
struct Expected {
    text: String,
    glob: GlobMatcher,
}

impl Expectations {
    pub(super) fn new(args: &Diff) -> Result<Expectations, Failure> {
        Ok(Expectations {
            fail_on: args
                .fail_on
                .iter()
                .map(|name| verdict(name))
                .collect::<Result<_, _>>()?,
            changed: expected(&args.expect_changed)?,
            identical: expected(&args.expect_identical)?,
        })
    }

    /// What does not hold, a line each.
    pub(super) fn failures(&self, comparison: &Comparison) -> Vec<String> {
        let mut failures = Vec::new();
        for &verdict in &self.fail_on {
            let rows = comparison.rows.iter().filter(|row| row.verdict == verdict);
            if let Some(named) = named(rows) {
                failures.push(format!("--fail-on {}: {named}", verdict.name()));
            }
        }
        // Another shape alone is no change of the elements.
        let is_changed = |row: &TensorChange| match row.verdict {
            ChangeVerdict::Reshaped => row.statistics.is_none_or(|found| found.changed > 0),
            verdict => verdict.is_change(),
        };
        let is_identical = |row: &TensorChange| row.verdict == ChangeVerdict::Identical;
        check(
            comparison,
            &self.changed,
            ("--expect-changed", is_changed),
            &mut failures,
        );
        check(
            comparison,
            &self.identical,
            ("--expect-identical", is_identical),
            &mut failures,
        );
        failures
    }
}

fn check(
    comparison: &Comparison,
    expected: &[Expected],
    (option, holds): (&str, impl Fn(&TensorChange) -> bool),
    failures: &mut Vec<String>,
) {
    for expected in expected {
        let is_match = |row: &&TensorChange| {
            let other = row.other_name.as_deref();
            expected.glob.is_match(&row.name)
                || other.is_some_and(|name| expected.glob.is_match(name))
        };
        let rows: Vec<&TensorChange> = comparison.rows.iter().filter(is_match).collect();
        // A name with a slip of the pen would otherwise hold for ever.
        if rows.is_empty() {
            let names = comparison.rows.iter().map(|row| row.name.as_str());
            let nearest = nearest(&expected.text, names);
            let text = &expected.text;
            failures.push(format!("{option} {text:?}: no tensor matches; {nearest}"));
        }
        if let Some(named) = named(rows.into_iter().filter(|row| !holds(row))) {
            failures.push(format!("{option} {:?}: {named}", expected.text));
        }
    }
}

/// The first rows with their verdicts; `None` when there is none.
fn named<'a>(rows: impl Iterator<Item = &'a TensorChange>) -> Option<String> {
    let rows: Vec<&TensorChange> = rows.collect();
    (!rows.is_empty()).then(|| {
        let first = rows.iter().take(NAMED);
        let first = first.map(|row| format!("{} is {}", shown(&row.name), row.verdict.name()));
        let mut text = first.collect::<Vec<_>>().join(", ");
        if rows.len() > NAMED {
            text.push_str(&format!(", and {} more", rows.len() - NAMED));
        }
        text
    })
}

fn verdict(name: &str) -> Result<ChangeVerdict, Failure> {
    let name = name.replace('-', "_");
    let known = ChangeVerdict::ALL
        .into_iter()
        .find(|verdict| verdict.name() == name);
    known.ok_or_else(|| {
        let all: Vec<&str> = ChangeVerdict::ALL
            .iter()
            .map(|verdict| verdict.name())
            .collect();
        Failure::Argument(format!(
            "no verdict is called {name}; there are {}",
            all.join(", ")
        ))
    })
}

fn expected(globs: &[String]) -> Result<Vec<Expected>, Failure> {
    let expected = |text: &String| {
        let glob = GlobBuilder::new(text).build();
        let glob = glob.map_err(|error| Failure::Argument(error.to_string()))?;
        Ok(Expected {
            text: text.clone(),
            glob: glob.compile_matcher(),
        })
    };
    globs.iter().map(expected).collect()
}
