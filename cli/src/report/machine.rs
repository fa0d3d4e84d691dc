//! The report for programs: a JSON object a run.

use std::io::Write;

use serde::Serialize;
use tch_tensorboard::{ParameterReport, Role, Verdict};

use crate::output::{Failure, Number};
use crate::report::reading::Judged;

/// One line.
pub(super) fn write(out: &mut impl Write, judged: &Judged) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, &Contents::of(judged))?;
    writeln!(out)?;
    Ok(())
}

/// What is said of a run.
#[derive(Serialize)]
struct Contents<'a> {
    run: &'a str,
    /// Some variable has a fault.
    faulty: bool,
    models: Vec<Model<'a>>,
    variables: Vec<Variable<'a>>,
    /// What the report that the run itself wrote says otherwise.
    recorded: Vec<RecordedRow<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Model<'a> {
    scope: &'a str,
    step: Option<i64>,
    trend: Option<String>,
}

#[derive(Serialize)]
struct Variable<'a> {
    scope: &'a str,
    variable: &'a str,
    shape: &'a [i64],
    role: &'static str,
    verdict: &'static str,
    fault: bool,
    /// The verdict with its cause.
    text: String,
    since: Option<i64>,
    reason: &'a str,
    advice: &'static str,
    /// Points that were compared.
    compared: u64,
    mean: Option<Number>,
    std: Option<Number>,
    norm: Option<Number>,
    update_ratio: Option<Number>,
    changed_fraction: Option<Number>,
    drift: Option<Number>,
    nonfinite: u64,
}

#[derive(Serialize)]
struct RecordedRow<'a> {
    variable: &'a str,
    step: i64,
    verdict: &'static str,
    text: String,
}

impl<'a> Contents<'a> {
    fn of(judged: &'a Judged) -> Contents<'a> {
        let found = &judged.found;
        let report = &found.report;
        let models = report.models.iter().map(|model| Model {
            scope: &model.scope,
            step: model.step,
            trend: model.trend.map(|trend| trend.to_string()),
        });
        let recorded = found.recorded.iter().map(|recorded| RecordedRow {
            variable: &recorded.variable,
            step: recorded.step,
            verdict: recorded.verdict.name(),
            text: recorded.verdict.to_string(),
        });
        Contents {
            run: &judged.run,
            faulty: found.faults().next().is_some(),
            models: models.collect(),
            variables: report.parameters.iter().map(Variable::of).collect(),
            recorded: recorded.collect(),
            notes: &report.notes,
        }
    }
}

impl<'a> Variable<'a> {
    fn of(parameter: &'a ParameterReport) -> Variable<'a> {
        let verdict: Verdict = parameter.verdict;
        Variable {
            scope: &parameter.scope,
            variable: &parameter.name,
            shape: &parameter.shape,
            role: match parameter.role {
                Role::Frozen => "frozen",
                Role::Buffer => "buffer",
                _ => "trainable",
            },
            verdict: verdict.name(),
            fault: verdict.is_fault(),
            text: verdict.to_string(),
            since: parameter.since,
            reason: &parameter.reason,
            advice: verdict.advice(),
            compared: parameter.evidence.steps,
            mean: parameter.mean.map(Number),
            std: parameter.std.map(Number),
            norm: parameter.norm.map(Number),
            update_ratio: parameter.update_ratio.map(Number),
            changed_fraction: parameter.changed_fraction.map(Number),
            drift: parameter.drift.map(Number),
            nonfinite: parameter.nonfinite,
        }
    }
}
