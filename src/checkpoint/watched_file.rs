//! A file that must stay as it is while it is read.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Result};

/// An open file with its size, modification time and identity when it was opened.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    file: File,
    stamp: FileStamp,
}

/// What changes when somebody writes to a file or puts another one in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device and inode, where the platform has them.
    identity: Option<(u64, u64)>,
}

impl FileStamp {
    fn of(metadata: &Metadata) -> FileStamp {
        FileStamp {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            identity: identity(metadata),
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Option<(u64, u64)> {
    None
}

impl WatchedFile {
    /// Opens a regular file, through links. A pipe, which would keep the caller waiting, is an
    /// error.
    pub(super) fn open(path: &Path) -> Result<Arc<WatchedFile>> {
        let refused = |source| io_error("open", path, source);
        let found = std::fs::metadata(path).map_err(refused)?;
        if !found.is_file() {
            return Err(refused(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            )));
        }
        let file = File::open(path).map_err(refused)?;
        let stamp = FileStamp::of(&file.metadata().map_err(refused)?);
        Ok(Arc::new(WatchedFile {
            path: path.to_owned(),
            file,
            stamp,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.stamp.len
    }

    /// Fills `target` from this byte on, at any position, from any thread.
    pub(super) fn read_at(&self, offset: u64, target: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, offset, target).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                self.changed("is shorter than it was when it was opened")
            }
            _ => io_error("read", &self.path, source),
        })
    }

    /// Compares size and modification time of the open file with those at the beginning. One that
    /// was removed or replaced since is still what it was.
    pub(super) fn check(&self) -> Result<()> {
        let refused = |source| io_error("read", &self.path, source);
        let open = FileStamp::of(&self.file.metadata().map_err(refused)?);
        match open == self.stamp {
            true => Ok(()),
            false => Err(self.changed("was written to while it was read")),
        }
    }

    /// Checks also that the file still lies at its path: of several files that belong together,
    /// none was replaced while the others were opened.
    pub(super) fn check_place(&self) -> Result<()> {
        self.check()?;
        match std::fs::metadata(&self.path) {
            Ok(metadata) if FileStamp::of(&metadata) == self.stamp => Ok(()),
            Ok(_) => Err(self.changed("was replaced while it was read")),
            Err(_) => Err(self.changed("was removed while it was read")),
        }
    }

    fn changed(&self, how: &str) -> Error {
        self.damaged(format!("{how}; try again once its writer has finished"))
    }

    /// An error about what this file holds.
    pub(super) fn damaged(&self, reason: impl Into<Box<str>>) -> Error {
        damaged(&self.path, reason)
    }
}

/// An error about what a file holds.
pub(super) fn damaged(path: &Path, reason: impl Into<Box<str>>) -> Error {
    Error::Checkpoint {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        action,
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, target: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, target, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut target: &mut [u8]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !target.is_empty() {
        match file.seek_read(target, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                offset += read as u64;
                target = target.get_mut(read..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(not(any(unix, windows)))]
fn read_exact_at(mut file: &File, offset: u64, target: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model");
        std::fs::write(&path, [1; 100]).unwrap();
        let file = WatchedFile::open(&path).unwrap();
        file.check_place().unwrap();
        // Cut while it is read.
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(50)
            .unwrap();
        let error = file.read_at(0, &mut [0; 100]).unwrap_err().to_string();
        assert!(
            error.contains("shorter") && error.contains("model"),
            "{error}"
        );
        assert!(file.check().is_err());
        // Another one under the same name: this one is still what it was.
        let file = WatchedFile::open(&path).unwrap();
        std::fs::write(dir.path().join("new"), [1; 50]).unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        let error = file.check_place().unwrap_err().to_string();
        assert!(error.contains("replaced"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = file.check_place().unwrap_err().to_string();
        // The link count is no part of the stamp; the name is gone.
        assert!(error.contains("removed"), "{error}");
        file.check().unwrap();
        let mut bytes = [0; 50];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [1; 50]);
    }

    #[test]
    fn a_folder_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let error = WatchedFile::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("regular"), "{error}");
    }
}
