//! What is said of a run in one line.

use std::collections::HashSet;
use std::fmt;

use tch_tensorboard::Verdict;

use crate::output::{count, shown};
use crate::report::reading::Judged;

/// Variables that a line names.
const NAMED: usize = 3;

/// How a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Fault,
    /// No variable is judged yet.
    Undecided,
    Fine,
}

impl State {
    pub(super) fn of(judged: &Judged) -> State {
        let mut verdicts = judged.found.report.parameters.iter();
        if judged.found.faults().next().is_some() {
            return State::Fault;
        }
        let is_open = |verdict| matches!(verdict, Verdict::Undecided | Verdict::Frozen);
        match verdicts.all(|one| is_open(one.verdict)) {
            true => State::Undecided,
            false => State::Fine,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            State::Fault => "FAULT",
            State::Undecided => "undecided",
            State::Fine => "ok",
        }
    }
}

/// Variables with one verdict.
struct Group {
    verdict: Verdict,
    /// Empty: the model as a whole.
    variables: Vec<String>,
}

/// A run in one line.
pub(super) struct Summary {
    pub(super) run: String,
    pub(super) step: Option<i64>,
    pub(super) state: State,
    pub(super) variables: usize,
    /// The faults with the names of their variables; without a fault, how many variables have each
    /// verdict.
    pub(super) findings: String,
}

impl Summary {
    pub(super) fn of(judged: &Judged) -> Summary {
        let state = State::of(judged);
        let findings = match state {
            State::Fault => faults(judged).iter().map(Group::to_string).collect(),
            _ => counts(judged),
        };
        Summary {
            run: shown(&judged.run),
            step: judged.step(),
            state,
            variables: judged.found.report.parameters.len(),
            findings: findings.join("; "),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.variables.as_slice() {
            [] => "all variables".to_owned(),
            names => named(names, NAMED),
        };
        write!(formatter, "{}: {names}", words(self.verdict))
    }
}

/// The first of some names, and how many there are beside them.
pub(super) fn named(names: &[String], most: usize) -> String {
    let first: Vec<String> = names.iter().take(most).map(|name| shown(name)).collect();
    match names.len().saturating_sub(most) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// How many runs have faults, and how many are of each other state.
pub(super) fn headline(summaries: &[Summary]) -> String {
    let of = |state: State| summaries.iter().filter(|one| one.state == state).count();
    let mut parts = vec![match of(State::Fault) {
        0 => "no faults".to_owned(),
        1 => "1 has faults".to_owned(),
        faulty => format!("{faulty} have faults"),
    }];
    match of(State::Undecided) {
        0 => {}
        1 => parts.push("1 is undecided".to_owned()),
        undecided => parts.push(format!("{undecided} are undecided")),
    }
    let runs = count(summaries.len() as u64, "run");
    format!("{runs} with weights: {}", parts.join(", "))
}

fn words(verdict: Verdict) -> String {
    verdict.name().replace('_', " ")
}

/// The faults of a run, whatever says so: the table, a finding, or the run's own report.
fn faults(judged: &Judged) -> Vec<Group> {
    let found = &judged.found;
    let parameters = found.report.parameters.iter().map(|one| {
        let name = scoped(&one.scope, &one.name);
        (one.verdict, Some(name))
    });
    let findings = found.report.findings.iter().map(|one| {
        let variable = one.variable.as_ref();
        (one.verdict, variable.map(|name| scoped(&one.scope, name)))
    });
    let recorded = found.recorded.iter();
    let recorded = recorded.map(|one| (one.verdict, Some(one.variable.clone())));
    let mut groups: Vec<Group> = Vec::new();
    let all = parameters.chain(findings).chain(recorded);
    for (verdict, variable) in all.filter(|(verdict, _)| verdict.is_fault()) {
        let is_same = |group: &&mut Group| group.verdict.name() == verdict.name();
        match groups.iter_mut().find(is_same) {
            Some(group) => group.variables.extend(variable),
            None => groups.push(Group {
                verdict,
                variables: variable.into_iter().collect(),
            }),
        }
    }
    for group in &mut groups {
        let mut known = HashSet::new();
        group.variables.retain(|name| known.insert(name.clone()));
    }
    groups
}

fn scoped(scope: &str, name: &str) -> String {
    match scope {
        "" => name.to_owned(),
        scope => format!("{scope}/{name}"),
    }
}

fn counts(judged: &Judged) -> Vec<String> {
    let mut counts: Vec<(Verdict, usize)> = Vec::new();
    for parameter in &judged.found.report.parameters {
        let verdict = parameter.verdict;
        match counts.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, count)) => *count += 1,
            None => counts.push((verdict, 1)),
        }
    }
    let counts = counts.into_iter();
    counts
        .map(|(verdict, count)| format!("{count} {}", words(verdict)))
        .collect()
}
