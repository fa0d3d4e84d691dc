//! Watch whether a tch model's weights are really learning.
#![deny(unsafe_code)]

mod error;
mod types;

pub use error::{Error, Result};
pub use types::{DType, Existing, OnFull, Step};
