//! Watch whether a tch model's weights are really learning.
#![deny(unsafe_code)]

mod error;
mod histogram;
mod kernel;
mod stats;
mod types;

pub use error::{Error, Result};
pub use histogram::Histogram;
pub use stats::{Change, Moments};
pub use types::{DType, Existing, OnFull, Step};
