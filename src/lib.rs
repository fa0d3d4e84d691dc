//! Watch whether a tch model's weights are really learning, in the TensorBoard you already have.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod buffer;
mod cadence;
mod dashboard;
mod error;
mod event_file;
mod health;
mod histogram;
mod kernel;
mod logdir;
mod logger;
mod named_tensors;
mod options;
pub mod proto;
mod record;
mod report;
mod run;
mod scalar_queue;
mod stats;
mod summary;
#[cfg_attr(not(feature = "tch"), path = "no_tensor.rs")]
mod tensor;
mod types;
mod values;
mod weights;
mod worker;

pub use cadence::Cadence;
pub use error::{Error, Result};
pub use event_file::{EventReader, ReadError};
pub use health::Stats;
pub use histogram::Histogram;
pub use logger::{Logger, LoggerBuilder};
pub use named_tensors::{NamedTensors, Role, Visitor};
pub use options::{LayerOptions, Pattern, Statistic, WeightOptions};
pub use report::{ParameterReport, WeightReport};
pub use stats::Moments;
#[cfg(feature = "tch")]
pub use tensor::SubStore;
pub use types::{DType, Existing, OnFull, Step};
pub use values::{ScalarValue, Values};
