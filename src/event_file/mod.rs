//! Event files: writing them record by record, and reading them back.

mod decoded;
pub(crate) mod glance;
mod reader;
mod writer;

use std::ffi::OsStr;

pub(crate) use decoded::fits_memory;
pub use reader::{EventReader, ReadError};
pub(crate) use reader::{NoEvent, decode};
pub(crate) use writer::{EventWriter, Fault, Loss, session_event};

/// What the name of every event file contains; TensorBoard reads all files that do.
const INFIX: &str = "tfevents";

/// True when TensorBoard would take a file of this name for an event file.
pub(crate) fn is_event_file_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.windows(INFIX.len())
        .any(|part| part == INFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tensorboard_reads() {
        for name in [
            "x.tfevents",
            ".tfevents",
            "events.out.tfevents.1.tmp",
            "tfevents",
        ] {
            assert!(is_event_file_name(OsStr::new(name)), "{name}");
        }
        for name in ["", "X.TFEVENTS.1", "tf_events", "tfevent"] {
            assert!(!is_event_file_name(OsStr::new(name)), "{name}");
        }
    }
}
