//! Event files: writing them record by record, and reading them back.

mod reader;
pub(crate) mod scan;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use reader::{EventReader, ReadError};
pub(crate) use reader::{NoEvent, decode};

/// What the name of every event file contains; TensorBoard reads all files that do.
const INFIX: &str = "tfevents";

/// True when TensorBoard would take a file of this name for an event file.
pub(crate) fn is_event_file_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.windows(INFIX.len())
        .any(|part| part == INFIX.as_bytes())
}

/// The event files directly in a directory, in the order in which TensorBoard reads them: by name,
/// as bytes. These are regular files, and links to such; what vanished meanwhile is left out.
pub(crate) fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A pipe of that name would block whoever opens it.
        if is_event_file_name(&entry.file_name())
            && fs::metadata(entry.path()).is_ok_and(|found| found.is_file())
        {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    Ok(files)
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
