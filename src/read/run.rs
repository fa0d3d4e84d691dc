//! One run of a log directory.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::format::event_file::ReadError;
use crate::read::run_reader::{RunLocation, RunReader};

/// A directory that holds event files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    name: String,
    location: RunLocation,
}

impl Run {
    pub(super) fn new(name: String, location: RunLocation) -> Run {
        Run { name, location }
    }

    /// The name TensorBoard shows: the path relative to the log directory, `.` for the log
    /// directory itself. Other bytes than UTF-8 are replaced, so two runs may share a name; their
    /// [`path`](Run::path) tells them apart.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory, or the event file that [`LogDir::open`](crate::LogDir::open) was given.
    pub fn path(&self) -> &Path {
        match &self.location {
            RunLocation::Directory(path) | RunLocation::File(path) => path,
        }
    }

    /// The event files that are there now, in the order in which TensorBoard reads them.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`] when the directory cannot be listed, for example because it was removed.
    pub fn files(&self) -> Result<Vec<PathBuf>, ReadError> {
        self.location.files()
    }

    /// Reads the events of all files, one file after the other, and goes on when files grow or new
    /// ones come.
    pub fn events(&self) -> RunReader {
        RunReader::new(self.location.clone())
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}
