//! One verdict that a run recorded.

use crate::report::Verdict;

/// A verdict in the report that a run itself has written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedVerdict {
    /// The variable, behind its scope and a slash where there is one.
    pub variable: String,
    /// The step of the report.
    pub step: i64,
    /// What it says.
    pub verdict: Verdict,
}
