//! Watch whether a tch model's weights are really learning.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod error;
pub mod proto;
mod types;

pub use error::{Error, Result};
pub use types::{DType, Existing, OnFull, Step};
