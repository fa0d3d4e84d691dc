//! What the crate says of a variable, by names: the only place that has to follow its API.

use std::collections::BTreeMap;
use std::fmt;

use tch_tensorboard::{Finding, ParameterReport, Remark, Verdict, WeightReport};

/// The words said of one variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    pub verdict: String,
    pub is_fault: bool,
    pub causes: Vec<String>,
    pub reason: String,
    pub remarks: Vec<&'static str>,
}

impl Said {
    fn new(parameter: &ParameterReport) -> Said {
        Said {
            verdict: parameter.verdict.name().to_owned(),
            is_fault: parameter.verdict.is_fault(),
            causes: causes(parameter.verdict),
            reason: parameter.reason.clone(),
            remarks: parameter.remarks().iter().map(Remark::name).collect(),
        }
    }

    /// Whether a remark such as "dead_units" is made.
    pub fn has_remark(&self, remark: &str) -> bool {
        self.remarks.contains(&remark)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verdict)?;
        if self.causes.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.causes.join(", "))
    }
}

/// The names of all causes that a verdict leaves open.
fn causes(verdict: Verdict) -> Vec<String> {
    let Verdict::NotUpdated { cause } = verdict else {
        return Vec::new();
    };
    let candidates = cause.candidates().iter();
    candidates.map(|one| snake(&format!("{one:?}"))).collect()
}

/// `NotInOptimizer` as `not_in_optimizer`.
fn snake(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// "scope/variable", or "variable" without a scope.
fn full_name(scope: &str, variable: &str) -> String {
    match scope {
        "" => variable.to_owned(),
        _ => format!("{scope}/{variable}"),
    }
}

/// What a report says of each variable.
pub fn of(report: &WeightReport) -> BTreeMap<String, Said> {
    let named = |one: &ParameterReport| (full_name(&one.scope, &one.name), Said::new(one));
    report.parameters.iter().map(named).collect()
}

/// A finding in a few words: "not_updated fc.weight @ 40".
pub fn finding(finding: &Finding) -> String {
    let verdict = finding.verdict.name();
    let name = match &finding.variable {
        Some(variable) => full_name(&finding.scope, variable),
        None => full_name(&finding.scope, "(model)"),
    };
    format!("{verdict} {name} @ {}", finding.first_step)
}
