//! The report as plain data.

use std::path::PathBuf;

use crate::model::types::DType;
use crate::report::remark::Remark;
use crate::report::verdict::{Evidence, Finding, Trend, Verdict};
use crate::source::named_tensors::Role;

/// What is known of each variable after a call to `log_weights`. `Display` prints an aligned table.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct WeightReport {
    /// Model by model in the order of their first calls, in natural order of names.
    pub parameters: Vec<ParameterReport>,
    /// Each model as a whole, in the same order.
    pub models: Vec<ModelReport>,
    /// The faults in force, in the order in which they became sure.
    pub findings: Vec<Finding>,
    /// What a user should know once: what a large model leaves out by default, patterns that match
    /// no variable.
    pub notes: Vec<String>,
}

impl WeightReport {
    /// The first variable of this name; walk `parameters` to distinguish scopes and sub-runs.
    pub fn parameter(&self, name: &str) -> Option<&ParameterReport> {
        self.parameters
            .iter()
            .find(|parameter| parameter.name == name)
    }
}

/// What is known of a model as a whole.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelReport {
    /// The directory of the run or sub-run.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::report::lossy_path::serialize")
    )]
    pub run: PathBuf,
    /// The logger's scope, empty without one.
    pub scope: String,
    /// The newest step that was analysed.
    pub step: Option<i64>,
    /// Where training is going; `None` before enough steps were seen.
    pub trend: Option<Trend>,
}

/// What is known of one variable. Numbers are `None` where they are not defined: nothing to compare
/// with yet, no finite element, a division by zero, a frozen variable that is only watched.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParameterReport {
    /// The directory of the run or sub-run.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::report::lossy_path::serialize")
    )]
    pub run: PathBuf,
    /// The logger's scope, empty without one.
    pub scope: String,
    /// As the model spells it.
    pub name: String,
    /// Sizes of the dimensions. Read back from a log without them: the number of
    /// elements.
    pub shape: Vec<i64>,
    /// Type of the elements; `None` in a report read back from a log without it.
    pub dtype: Option<DType>,
    /// Trainable, frozen or a buffer. Read back from a log without it: trainable.
    pub role: Role,
    /// The newest step that was analysed.
    pub step: i64,
    /// Mean of the finite elements.
    pub mean: Option<f64>,
    /// Population standard deviation of the finite elements.
    pub std: Option<f64>,
    /// L2 norm of the finite elements.
    pub norm: Option<f64>,
    /// norm(w(t) - w(t-1)) / norm(w(t-1)).
    pub update_ratio: Option<f64>,
    /// Share of elements whose bits the newest step changed.
    pub changed_fraction: Option<f64>,
    /// norm(w(t) - w(0)) / norm(w(0)), from at most 4096 elements.
    pub drift: Option<f64>,
    /// Elements that are NaN or infinite.
    pub nonfinite: u64,
    /// Whether it learns, and if not, why.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub verdict: Verdict,
    /// The first step at which the verdict held.
    pub since: Option<i64>,
    /// The evidence for a fault in a line; empty without one.
    pub reason: String,
    /// The numbers behind the verdict.
    pub evidence: Evidence,
}

impl ParameterReport {
    /// What is worth a word beside the verdict and is no fault.
    pub fn remarks(&self) -> &[Remark] {
        &self.evidence.remarks
    }
}
