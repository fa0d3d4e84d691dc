//! What the private record says of a model: see `proto/tch_tensorboard.proto`.

use crate::analysis::aggregate_tags::Aggregate;
use crate::analysis::state::State;
use crate::capture::plan::{Plan, Variable};
use crate::capture::snapshot::Thinning;
use crate::proto::tch_tensorboard::{FindingRecord, ModelRecord, VariableRecord};
use crate::report::codes::{cause_codes, dtype_code, remark_record, role_code, trend_code};
use crate::report::{Finding, ParameterReport, Remark, Trend, Verdict};

/// What is known of a model beside its plan and states. Without verdicts where only gradients are
/// logged.
#[derive(Default)]
pub(crate) struct Diagnosed {
    /// Beside the variables of the plan.
    pub(crate) parameters: Vec<ParameterReport>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) trend: Option<Trend>,
    pub(crate) notes: Vec<String>,
}

/// The record of a model.
pub(crate) fn model_record(
    scope: &str,
    plan: &Plan,
    states: &[State],
    aggregates: &[Aggregate],
    (step, thinning): (Option<i64>, Thinning),
    diagnosed: &Diagnosed,
) -> ModelRecord {
    let mut reports = diagnosed.parameters.iter();
    let variables = std::iter::zip(&plan.variables, states);
    let variables = variables.map(|(variable, state)| {
        // What is only watched beside the model has no report.
        let report = (!variable.is_beside).then(|| reports.next()).flatten();
        variable_record(variable, state, report)
    });
    let roles = aggregates.iter().filter(|part| part.histogram.is_some());
    ModelRecord {
        scope: scope.to_owned(),
        variables: variables.collect(),
        roles: roles.map(|part| part.name.to_string()).collect(),
        findings: diagnosed.findings.iter().map(finding_record).collect(),
        step,
        stride: thinning.stride,
        unobserved: thinning.unobserved,
        trend: diagnosed.trend.map_or("", trend_code).to_owned(),
        notes: diagnosed.notes.clone(),
        ..ModelRecord::default()
    }
}

fn variable_record(
    variable: &Variable,
    state: &State,
    report: Option<&ParameterReport>,
) -> VariableRecord {
    let remarks = report
        .into_iter()
        .flat_map(|report| &report.evidence.remarks);
    VariableRecord {
        name: variable.name.to_string(),
        dtype: dtype_code(variable.info.dtype).to_owned(),
        shape: variable.info.shape.clone(),
        elements: variable.all as u64,
        sampled: variable.elements as u64,
        role: role_code(variable.info.role).to_owned(),
        is_member: variable.info.is_member,
        verdict: report.map_or("", |report| report.verdict.name()).to_owned(),
        causes: report.map_or_else(Vec::new, |report| causes(report.verdict)),
        since: report.and_then(|report| report.since),
        remarks: remarks.clone().map(remark_record).collect(),
        tied_with: remarks.filter_map(tied_with).next().unwrap_or_default(),
        first_step: state.first_step,
        reason: report.map_or_else(String::new, |report| report.reason.clone()),
    }
}

fn tied_with(remark: &Remark) -> Option<String> {
    match remark {
        Remark::Tied { with } => Some(with.clone()),
        _ => None,
    }
}

fn finding_record(finding: &Finding) -> FindingRecord {
    FindingRecord {
        variable: finding.variable.clone().unwrap_or_default(),
        verdict: finding.verdict.name().to_owned(),
        causes: causes(finding.verdict),
        first_step: finding.first_step,
        step: finding.step,
        reason: finding.reason.clone(),
    }
}

fn causes(verdict: Verdict) -> Vec<String> {
    cause_codes(verdict)
        .into_iter()
        .map(str::to_owned)
        .collect()
}
