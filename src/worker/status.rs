//! What callers can ask about models: the report, and findings that wait to be taken.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::PoisonError;

use crate::options::Selection;
use crate::report::WeightReport;
use crate::report::ledger::Found;
use crate::run::RunWriter;
use crate::worker::shared::Shared;
use crate::worker::watches::Watches;

/// Findings that wait to be taken at most; the oldest go first.
const FINDINGS: usize = 10_000;

/// What is known of the models of one run, or of all.
pub(super) fn weight_report(
    watches: &Watches,
    runs: &BTreeMap<u32, RunWriter>,
    selection: &Selection,
    only: Option<u32>,
) -> WeightReport {
    let mut report = WeightReport::default();
    for watched in watches.weights(only) {
        let watch = &watched.watch;
        let run = runs.get(&watched.run).map(RunWriter::directory);
        let run = run.unwrap_or(Path::new(""));
        report.parameters.extend(watch.report(run));
        report.models.extend(watch.model_report(run));
        let faults = watch.faults().iter().cloned();
        report
            .findings
            .extend(faults.map(|found| found.told(run, watch.scope())));
        report.notes.extend(watch.notes());
    }
    if !report.parameters.is_empty() && only.is_none() {
        let names = report.parameters.iter().map(|parameter| &*parameter.name);
        let names: Vec<&str> = names.collect();
        let idle = selection.idle_patterns(&names).into_iter();
        let notes = idle.map(|pattern| format!("{pattern} matches no variable"));
        report.notes.extend(notes);
    }
    report
}

/// Keeps findings for the training thread.
pub(super) fn keep_findings(shared: &Shared, found: Vec<Found>, run: &Path, scope: &str) {
    let mut findings = shared
        .findings
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for found in found {
        let is_revision = found.is_revision;
        let finding = found.told(run, scope);
        let waiting = findings.iter_mut().find(|waiting| {
            waiting.over_since.is_none()
                && waiting.variable == finding.variable
                && waiting.first_step == finding.first_step
                && waiting.scope == finding.scope
                && waiting.run == finding.run
        });
        let is_told_otherwise = is_revision && finding.over_since.is_some();
        match waiting {
            _ if is_told_otherwise => findings.retain(|waiting| {
                waiting.variable != finding.variable
                    || waiting.first_step != finding.first_step
                    || waiting.scope != finding.scope
                    || waiting.run != finding.run
            }),
            // What nobody has taken yet is corrected in place.
            Some(waiting) if is_revision || finding.over_since.is_some() => *waiting = finding,
            _ if is_revision => {}
            _ => findings.push_back(finding),
        }
    }
    let surplus = findings.len().saturating_sub(FINDINGS);
    findings.drain(..surplus);
}
