//! What was asked for: patterns of variables, and faults that matter.

use std::collections::BTreeSet;

use tch_tensorboard::{Remark, VariableName, Verdict};

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

/// The verdicts and remarks to fail for, by their names; all faults when there are none.
pub(super) struct Wanted(Vec<&'static str>);

/// Verdicts that are no faults and may be unwanted all the same.
const UNWANTED: [&str; 3] = ["frozen", "moved_without_gradient", "undecided"];

impl Wanted {
    pub(super) fn new(asked: &[String]) -> Result<Wanted, Failure> {
        let known = |asked: &String| {
            let asked = asked.replace('-', "_");
            let known = names().find(|name| *name == asked);
            known.ok_or_else(|| {
                let all = names().collect::<Vec<_>>().join(", ");
                Failure::Argument(format!(
                    "no fault or remark is called {asked}; there are {all}"
                ))
            })
        };
        let names: Result<Vec<&str>, Failure> = asked.iter().map(known).collect();
        names.map(Wanted)
    }

    /// What the faults of a run come to, and the verdicts and remarks that were named.
    pub(super) fn status(&self, judged: &Judged) -> Status {
        let is_named = |name: &str| self.0.contains(&name);
        let is_wanted = |fault: Verdict| self.0.is_empty() || is_named(fault.name());
        let mut parameters = judged.found.report.parameters.iter();
        let is_unwanted = parameters.any(|one| {
            // A name of both is the fault's.
            let mut remarks = one.remarks().iter().map(Remark::name);
            is_named(one.verdict.name())
                || remarks.any(|name| is_named(name) && !faults().any(|fault| fault == name))
        });
        match is_unwanted || judged.found.faults().any(is_wanted) {
            true => Status::Fault,
            false => Status::Fine,
        }
    }
}

/// What can be named, each once.
fn names() -> impl Iterator<Item = &'static str> {
    let remarks = Remark::NAMES.into_iter();
    let remarks = remarks.filter(|name| !faults().any(|fault| fault == *name));
    faults().chain(UNWANTED).chain(remarks)
}

/// Names of the verdicts that are faults, in the order in which rules decide.
fn faults() -> impl Iterator<Item = &'static str> {
    Verdict::all()
        .filter(|verdict| verdict.is_fault())
        .map(Verdict::name)
}
