//! The report as the run itself recorded it: it has seen gradients and single elements, which are
//! in no log. Numbers are those of the newest points. Where points go on behind the newest record,
//! as in a run that was killed, what they show since then comes on top.

use std::collections::HashMap;
use std::path::Path;

use crate::log_report::declared::{Declared, traits};
use crate::proto::tch_tensorboard::{FindingRecord, ModelRecord, VariableRecord};
use crate::report::codes::{remark_of, trend_of, verdict_of};
use crate::report::{Evidence, Finding, ModelReport, ParameterReport, Verdict, WeightReport};
use crate::source::named_tensors::Role;

/// Puts what was recorded in the place of what was recomputed, model by model. Models without a
/// record stay.
pub(crate) fn take_over(declared: &Declared, run: &Path, report: &mut WeightReport) {
    for (model, variables) in declared.judged() {
        let is_own = |scope: &str| scope == model.scope;
        let mut known: HashMap<String, ParameterReport> = report
            .parameters
            .extract_if(.., |parameter| is_own(&parameter.scope))
            .map(|parameter| (parameter.name.clone(), parameter))
            .collect();
        let judged = report.models.iter().find(|one| is_own(&one.scope));
        let judged = judged.and_then(|one| one.step);
        let is_stale = judged > model.step;
        let recorded = variables.iter().filter_map(|variable| {
            let recomputed = known.remove(&variable.name);
            parameter(run, model, is_stale, variable, recomputed)
        });
        let mut recorded: Vec<ParameterReport> = recorded.collect();
        recorded.sort_by(|one, other| alphanumeric_sort::compare_str(&one.name, &other.name));
        report.parameters.extend(recorded);
        report.models.retain(|one| !is_own(&one.scope));
        report.models.push(ModelReport {
            run: run.to_path_buf(),
            scope: model.scope.clone(),
            step: model.step.max(judged),
            trend: trend_of(&model.trend),
        });
        let is_since = |finding: &Finding| is_stale && Some(finding.first_step) > model.step;
        report
            .findings
            .retain(|finding| !is_own(&finding.scope) || is_since(finding));
        let findings = model.findings.iter();
        report
            .findings
            .extend(findings.filter_map(|found| finding(run, &model.scope, found)));
        report.notes.extend(model.notes.iter().cloned());
    }
}

/// `None` for a variable of which neither a verdict nor a value is known.
fn parameter(
    run: &Path,
    model: &ModelRecord,
    is_stale: bool,
    variable: &VariableRecord,
    recomputed: Option<ParameterReport>,
) -> Option<ParameterReport> {
    // It is watched beside the model only.
    if variable.verdict.is_empty() {
        return None;
    }
    let verdict = verdict_of(&variable.verdict, &variable.causes);
    let traits = traits(variable);
    if recomputed.is_none() && (verdict.is_none() || traits.is_none()) {
        return None;
    }
    let is_newer = recomputed.as_ref().is_some_and(|recomputed| {
        is_stale
            && (verdict == Some(Verdict::Undecided)
                || recomputed.verdict.is_fault() && recomputed.since > model.step)
    });
    let mut parameter = recomputed.unwrap_or_else(|| without_numbers(run, model, variable));
    if let Some(traits) = traits {
        (parameter.dtype, parameter.shape) = (Some(traits.dtype), traits.shape);
        parameter.role = traits.role;
    }
    // One of a newer version: the rules of this one have to do.
    let Some(verdict) = verdict.filter(|_| !is_newer) else {
        return Some(parameter);
    };
    parameter.verdict = verdict;
    parameter.since = variable.since;
    parameter.reason.clone_from(&variable.reason);
    parameter.evidence.remarks = variable.remarks.iter().filter_map(remark_of).collect();
    parameter.step = model
        .step
        .map_or(parameter.step, |step| step.max(parameter.step));
    Some(parameter)
}

/// Of a variable that has no points: it is frozen, or beyond what a large model shows.
fn without_numbers(run: &Path, model: &ModelRecord, variable: &VariableRecord) -> ParameterReport {
    ParameterReport {
        run: run.to_path_buf(),
        scope: model.scope.clone(),
        name: variable.name.clone(),
        shape: variable.shape.clone(),
        dtype: None,
        role: Role::Trainable,
        step: model.step.unwrap_or_default(),
        mean: None,
        std: None,
        norm: None,
        update_ratio: None,
        changed_fraction: None,
        drift: None,
        nonfinite: 0,
        verdict: Verdict::Undecided,
        since: None,
        reason: String::new(),
        evidence: Evidence::default(),
    }
}

/// `None` for a verdict that only a newer version knows.
fn finding(run: &Path, scope: &str, found: &FindingRecord) -> Option<Finding> {
    Some(Finding {
        run: run.to_path_buf(),
        scope: scope.to_owned(),
        variable: (!found.variable.is_empty()).then(|| found.variable.clone()),
        verdict: verdict_of(&found.verdict, &found.causes)?,
        first_step: found.first_step,
        step: found.step,
        reason: found.reason.clone(),
        over_since: None,
    })
}
