//! Watch whether a tch model's weights are really learning.
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod event_file;
mod logdir;
pub mod proto;
mod record;
mod types;

pub use error::{Error, Result};
pub use event_file::{EventReader, ReadError};
pub use types::{DType, Existing, OnFull, Step};
