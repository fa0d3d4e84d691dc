//! Compares what the crate says with the right answer.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use globset::{Glob, GlobMatcher};

use crate::answer::Said;
use crate::suite::{Expect, ModelExpect, Program};

/// What a run of one program gave.
pub struct Outcome {
    /// The report at the end, by "scope/variable".
    pub said: BTreeMap<String, Said>,
    /// All findings, in a few words each.
    pub findings: Vec<String>,
    /// Variables of which the written files say something else: "variable: live / files".
    pub differences: Vec<String>,
    /// The panic or error of the program.
    pub failure: Option<String>,
    pub secs: f64,
}

/// What is wrong with the answers; empty: all are right.
pub fn mistakes(program: &Program, outcome: &Outcome) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if let Some(failure) = &outcome.failure {
        wrong.push(format!("failed: {failure}"));
    }
    for expect in program.expect {
        let matching = matching(expect, &outcome.said)?;
        if matching.is_empty() {
            wrong.push(format!("no variable matches {}", expect.variables));
        }
        for (name, said) in matching {
            wrong.extend(mistake(expect, said).map(|what| format!("{name}: {what}")));
        }
    }
    let faults = outcome.findings.len() + outcome.said.values().filter(|one| one.is_fault).count();
    match program.model {
        ModelExpect::Healthy if faults > 0 => {
            let all = match outcome.findings.is_empty() {
                true => "a fault in the report".to_owned(),
                false => outcome.findings.join(", "),
            };
            wrong.push(format!("healthy, but: {all}"));
        }
        ModelExpect::Fault if outcome.findings.is_empty() => wrong.push("no finding".to_owned()),
        _ => {}
    }
    Ok(wrong)
}

/// The variables that an answer speaks of.
fn matching<'a>(
    expect: &Expect,
    said: &'a BTreeMap<String, Said>,
) -> Result<Vec<(&'a str, &'a Said)>> {
    let glob = glob(expect.variables)?;
    let matches = |name: &str| {
        let bare = name.rsplit('/').next().unwrap_or(name);
        glob.is_match(name) || glob.is_match(bare)
    };
    let all = said.iter().map(|(name, one)| (name.as_str(), one));
    Ok(all.filter(|(name, _)| matches(name)).collect())
}

/// A pattern of variables, compiled.
pub fn glob(pattern: &str) -> Result<GlobMatcher> {
    let glob = Glob::new(pattern).with_context(|| format!("the pattern {pattern}"))?;
    Ok(glob.compile_matcher())
}

/// What is wrong with the words said of one variable.
fn mistake(expect: &Expect, said: &Said) -> Option<String> {
    if !expect.verdicts.contains(&said.verdict.as_str()) {
        return Some(format!("{said} for {}", expect.verdicts.join(" | ")));
    }
    let named = |cause: &String| expect.causes.contains(&cause.as_str());
    let has_cause = said.verdict == "not_updated" && !expect.causes.is_empty();
    if has_cause && !said.causes.iter().any(named) {
        return Some(format!("{said}, cause {}", expect.causes.join(" | ")));
    }
    let missing = expect.remarks.iter().find(|one| !said.has_remark(one))?;
    Some(format!("{said} without the remark {missing}"))
}

/// The right answer in a few words.
pub fn expected(program: &Program) -> String {
    let mut parts: Vec<String> = program.expect.iter().map(one_answer).collect();
    parts.push(format!("{:?}", program.model).to_lowercase());
    parts.join("; ")
}

fn one_answer(expect: &Expect) -> String {
    let mut text = format!("{}: {}", expect.variables, expect.verdicts.join(" or "));
    if !expect.causes.is_empty() {
        text += &format!(" ({})", expect.causes.join(" or "));
    }
    for remark in expect.remarks {
        text += &format!(" + {remark}");
    }
    text
}

/// What was said in a few words: variables of one verdict together.
pub fn said(outcome: &Outcome) -> String {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, one) in &outcome.said {
        groups.entry(one.to_string()).or_default().push(name);
    }
    let group = |(verdict, names): (&String, &Vec<&str>)| match names.len() {
        1..=4 => format!("{}: {verdict}", names.join(", ")),
        many => format!("{} and {} more: {verdict}", names[..2].join(", "), many - 2),
    };
    groups.iter().map(group).collect::<Vec<_>>().join("; ")
}
