//! The weight report: what is known of each variable, its verdict and why, as plain data and as a
//! table.

mod case;
mod cause;
pub(crate) mod codes;
pub(crate) mod diagnosis;
mod evidence_table;
pub(crate) mod facts;
mod gradient_state;
mod gradient_trail;
pub(crate) mod history;
pub(crate) mod ledger;
#[cfg(feature = "serde")]
mod lossy_path;
mod markdown;
mod number;
mod patient;
mod printable;
mod remark;
mod remarks;
mod rhythm;
mod rules;
#[cfg(feature = "serde")]
mod serialized;
mod signs;
mod table;
pub(crate) mod thinned_note;
mod verdict;
mod weight_report;

pub(crate) use crate::options::thresholds;
pub use crate::options::thresholds::Thresholds;
pub use cause::Cause;
pub use gradient_state::GradientState;
pub use remark::Remark;
pub use table::StyledReport;
pub(crate) use table::full_name;
pub use verdict::{Evidence, Finding, Trend, Verdict};
pub use weight_report::{ModelReport, ParameterReport, WeightReport};
