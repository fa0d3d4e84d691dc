//! What was asked for: patterns of variables, and faults that matter.

use std::collections::BTreeSet;

use tch_tensorboard::{VariableName, Verdict};

use crate::args::Report;
use crate::output::{Failure, Status};
use crate::patterns::Patterns;
use crate::report::reading::Judged;

/// Patterns of variables, and the names that they may be of.
pub(super) struct Asked {
    patterns: Vec<Patterns>,
    /// With the scope and without it: both can be asked for.
    names: BTreeSet<String>,
}

impl Asked {
    pub(super) fn new(args: &Report) -> Result<Asked, Failure> {
        let options = [
            ("--variable", &args.variable),
            ("--exclude", &args.exclude),
            ("--frozen", &args.frozen),
        ];
        let patterns = options.map(|(option, texts)| Patterns::new(option, texts));
        Ok(Asked {
            patterns: patterns.into_iter().collect::<Result<_, _>>()?,
            names: BTreeSet::new(),
        })
    }

    /// Takes the variables of a run.
    pub(super) fn meet(&mut self, names: &[VariableName]) {
        for name in names {
            self.names.insert(name.to_string());
            if !name.scope.is_empty() {
                self.names.insert(name.name.clone());
            }
        }
    }

    /// How many names there were.
    pub(super) fn names(&self) -> usize {
        self.names.len()
    }

    /// The patterns that match no variable of any run; none while there are no variables.
    pub(super) fn idle(&self) -> Vec<Failure> {
        if self.names.is_empty() {
            return Vec::new();
        }
        let names = self.names.iter().map(String::as_str);
        let patterns = self.patterns.iter();
        patterns
            .flat_map(|patterns| patterns.idle("variable", names.clone()))
            .collect()
    }
}

/// The verdicts to fail for, by their names; all faults when there are none.
pub(super) struct Wanted(Vec<&'static str>);

impl Wanted {
    pub(super) fn new(asked: &[String]) -> Result<Wanted, Failure> {
        let known = |asked: &String| {
            let asked = asked.replace('-', "_");
            let known = faults().find(|fault| *fault == asked);
            known.ok_or_else(|| {
                let all = faults().collect::<Vec<_>>().join(", ");
                Failure::Argument(format!("no fault is called {asked}; there are {all}"))
            })
        };
        let names: Result<Vec<&str>, Failure> = asked.iter().map(known).collect();
        names.map(Wanted)
    }

    /// What the faults of a run come to.
    pub(super) fn status(&self, judged: &Judged) -> Status {
        let is_wanted = |fault: Verdict| self.0.is_empty() || self.0.contains(&fault.name());
        match judged.found.faults().any(is_wanted) {
            true => Status::Fault,
            false => Status::Fine,
        }
    }
}

/// Names of the verdicts that are faults, in the order in which rules decide.
fn faults() -> impl Iterator<Item = &'static str> {
    Verdict::all()
        .filter(|verdict| verdict.is_fault())
        .map(Verdict::name)
}
