//! The marker file that claims a run directory, and by which a writer knows its own.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::platform::file_size_signal;

/// The file that marks a directory as taken. TensorBoard ignores it.
pub(super) const MARKER: &str = ".tch-tensorboard-run";

/// What the marker says to someone who wonders about it.
const MARKER_TEXT: &str = "This directory holds a run written by tch-tensorboard. \
    The file keeps other runs from being mixed into it; it may be deleted with the run.\n";

/// More than a marker has.
const MAX_MARKER_BYTES: u64 = 4096;

/// What distinguishes one marker from any other: the file, whose number a file system may give away
/// again once it is deleted, and an id in its text, which a copy of the directory has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MarkerIdentity {
    file: FileIdentity,
    text: Vec<u8>,
}

impl MarkerIdentity {
    /// Reads it from a marker that was opened for reading.
    pub(super) fn read(marker: &File) -> io::Result<MarkerIdentity> {
        let mut text = Vec::new();
        marker.take(MAX_MARKER_BYTES).read_to_end(&mut text)?;
        Ok(MarkerIdentity {
            file: FileIdentity::of(&marker.metadata()?),
            text,
        })
    }

    /// Writes the text of a new marker. The name alone claims the directory, so a full disk does no
    /// harm.
    pub(super) fn write(mut marker: &File) -> io::Result<MarkerIdentity> {
        let id = format!("{:016x}{:016x}", random(), random());
        let text = format!("{MARKER_TEXT}Run id: {id}\n").into_bytes();
        let written = file_size_signal::blocked(|| marker.write(&text)).unwrap_or(0);
        Ok(MarkerIdentity {
            file: FileIdentity::of(&marker.metadata()?),
            text: text.into_iter().take(written).collect(),
        })
    }

    /// True when the directory has this marker. Other errors than a missing file are returned.
    pub(super) fn is_in(&self, dir: &Path) -> io::Result<bool> {
        match File::open(dir.join(MARKER)) {
            Ok(marker) => Ok(MarkerIdentity::read(&marker)? == *self),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// True when a path leads nowhere.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The keys of the standard library's hash maps are random.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Which file it is, as long as it is not deleted. Always the same where the system has no numbers
/// for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    number: u64,
}

impl FileIdentity {
    #[cfg(unix)]
    pub(super) fn of(found: &std::fs::Metadata) -> FileIdentity {
        use std::os::unix::fs::MetadataExt;
        FileIdentity {
            device: found.dev(),
            number: found.ino(),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn of(_: &std::fs::Metadata) -> FileIdentity {
        FileIdentity {
            device: 0,
            number: 0,
        }
    }
}
