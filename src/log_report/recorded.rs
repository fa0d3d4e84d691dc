//! The report that a run itself has written: it has seen gradients and elements that are in no log.

use std::collections::{HashMap, HashSet};

use crate::log_report::declared::Declared;
use crate::log_report::recorded_verdict::RecordedVerdict;
use crate::log_report::v0_1;
use crate::report::{ParameterReport, Verdict, WeightReport, full_name};

/// The newest verdicts in a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    step: Option<i64>,
    /// By the variable's name with its scope.
    verdicts: Vec<(String, Verdict)>,
}

impl Recorded {
    /// Those of the private record.
    pub(crate) fn of(declared: &Declared) -> Recorded {
        let mut verdicts: Vec<(String, Verdict)> = declared.verdicts().collect();
        verdicts.sort_by_key(|(_, verdict)| !verdict.is_fault());
        Recorded {
            step: declared.step(),
            verdicts,
        }
    }

    /// Those of a text of version 0.1, which has no private record.
    pub(crate) fn take(&mut self, step: i64, cells: Vec<String>) {
        if let Some(text) = cells.into_iter().next() {
            (self.step, self.verdicts) = (Some(step), v0_1::verdicts(&text));
        }
    }

    /// Their step.
    pub(crate) fn step(&self) -> Option<i64> {
        self.step
    }

    /// Where it says otherwise than what was recomputed, and either is a fault. `is_whole`: the
    /// report is about all variables.
    pub(crate) fn differences(
        &self,
        report: &WeightReport,
        is_whole: bool,
    ) -> Vec<RecordedVerdict> {
        let known: HashMap<String, &ParameterReport> = report
            .parameters
            .iter()
            .map(|parameter| (full_name(parameter), parameter))
            .collect();
        let differs = |(step, name, verdict): &(i64, String, Verdict)| match known.get(name) {
            // By the word of who asks, perhaps.
            Some(known) if known.verdict == Verdict::Frozen => false,
            // It is older, or could not tell yet.
            Some(known) if known.since > Some(*step) || *verdict == Verdict::Undecided => false,
            Some(known) => {
                known.verdict.name() != verdict.name()
                    && (known.verdict.is_fault() || verdict.is_fault())
            }
            None => is_whole && verdict.is_fault(),
        };
        self.verdicts()
            .filter(differs)
            .map(|(step, variable, verdict)| RecordedVerdict {
                variable,
                step,
                verdict,
            })
            .collect()
    }

    /// Variables that it calls frozen and that the log has nothing of: they wrote nothing, since
    /// they did not move.
    pub(crate) fn silent(&self, report: &WeightReport) -> usize {
        let known: HashSet<String> = report.parameters.iter().map(full_name).collect();
        self.verdicts()
            .filter(|(_, name, verdict)| *verdict == Verdict::Frozen && !known.contains(name))
            .count()
    }

    fn verdicts(&self) -> impl Iterator<Item = (i64, String, Verdict)> {
        let step = self.step.unwrap_or_default();
        let verdicts = self.verdicts.iter();
        verdicts.map(move |(name, verdict)| (step, name.clone(), *verdict))
    }
}
