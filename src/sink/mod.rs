//! Where runs are written.
//!
//! A [`Sink`] hands out claims on runs, each to one writer. A [`Claim`] lists the segments of its
//! run and creates the next one. A [`Segment`] is only appended to and finished: nothing is
//! rewritten, renamed or cut back, so that an object store can be a sink as well as a directory.
//! [`EventWriter`] frames events and keeps them until the segment is known to hold them.

pub(crate) mod claim;
mod identity;
mod local;
mod local_segment;
#[cfg(test)]
pub(crate) mod memory;
mod names;
mod new_dirs;
mod pending;
mod writer;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;

use crate::error::Result;

pub(crate) use local::LocalSink;
pub(crate) use writer::{EventWriter, Fault, SYNC, session_event};

/// A place where runs are written.
pub(crate) trait Sink {
    /// Claims the run of this name; `None` when it is taken. What the sink makes for it is removed
    /// again after an error.
    fn claim(&self, run: &Path, sharing: Sharing) -> Result<Option<Box<dyn Claim>>>;

    /// True when something that can never be a run has this name.
    fn is_blocked(&self, run: &Path) -> bool;
}

/// Which other writers a claim tolerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// None, before or beside it: the run is new.
    Exclusive,
    /// Any: the caller orders the steps.
    Shared,
    /// Those that have ended. [`Error::RunInUse`](crate::Error::RunInUse) while another one writes.
    Resumed,
}

/// A claimed run.
pub(crate) trait Claim: Send {
    /// The run as it was asked for.
    fn path(&self) -> &Path;

    /// The names of its segments, in the order in which TensorBoard reads them: by name, as bytes.
    fn list(&self) -> io::Result<Vec<OsString>>;

    /// Opens a segment for reading.
    fn read(&self, name: &OsStr) -> io::Result<Box<dyn Read>>;

    /// Creates a segment that only this writer appends to; `None` when the name is taken. It is
    /// created in the run that was claimed, wherever that is by now, or not at all.
    fn create(&mut self, name: &str) -> Result<Option<Box<dyn Segment>>>;

    /// Writes a whole file that is no segment, below the run; one of this name is replaced.
    fn write_file(&mut self, name: &Path, bytes: &[u8]) -> io::Result<()>;

    /// True when the run that was claimed is still there. It may have moved, and `newest`, the path
    /// of its newest segment, shows where to.
    fn is_held(&mut self, newest: Option<&Path>) -> Result<bool>;

    /// Claims the run again after its segment was deleted; false when another writer owns it by now
    /// or it is gone.
    fn reclaim(&mut self) -> Result<bool>;

    /// Gives a claim back that came to nothing: what was made for it is removed.
    fn release(self: Box<Self>);
}

/// A file or object of a run, which only grows.
pub(crate) trait Segment: Send {
    /// Where it is, as far as known.
    fn path(&self) -> &Path;

    /// Appends bytes and returns how many were taken. What was taken counts as written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Detects what others have done to it since `written` bytes were taken.
    fn check(&mut self, written: u64) -> Result<(), Loss>;

    /// Returns when the device has all that was taken, and the name.
    fn sync(&mut self) -> io::Result<()>;

    /// Ends it: nothing is appended any more.
    fn finish(&mut self) -> io::Result<()>;

    /// Removes it. Only for a segment that no reader can have seen.
    fn discard(&mut self);
}

/// What others have done to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It has no name any more: what is appended goes nowhere, and no error says so.
    Deleted,
    /// It has another name, under which readers do not look for it, or another file has its name.
    Renamed,
    /// It is shorter than what was written: appending would put the rest of a record where its
    /// beginning is missing.
    CutShort,
}
