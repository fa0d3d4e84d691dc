//! An event file of a local directory, and what others can do to it while it is written.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::platform::file_size_signal;
use crate::sink::identity::{FileIdentity, MarkerIdentity, is_missing};
use crate::sink::{Loss, Segment};

/// See the module.
///
/// File systems differ in what they can say of an open file. Each check is made only where it held
/// for the new file: a file system that never counts links must not look like one on which every
/// file is deleted.
pub(super) struct LocalSegment {
    path: PathBuf,
    /// `None` once it was finished.
    file: Option<File>,
    /// The marker of the run's directory.
    marker: MarkerIdentity,
    /// The file system counts the names of a file.
    counts_links: bool,
    /// It finds the open file by its name.
    finds_name: bool,
    /// It gives the length of an open file as it is; `None` before the first check.
    gives_length: Option<bool>,
    /// The device has the file's name.
    is_name_synced: bool,
}

impl LocalSegment {
    /// Goes on with a file that was just created in the directory with this marker.
    pub(super) fn new(path: PathBuf, file: File, marker: MarkerIdentity) -> LocalSegment {
        let found = file.metadata().ok();
        LocalSegment {
            counts_links: found.as_ref().is_some_and(|found| links(found) > 0),
            finds_name: found.is_some_and(|found| {
                fs::metadata(&path)
                    .is_ok_and(|named| FileIdentity::of(&named) == FileIdentity::of(&found))
            }),
            path,
            file: Some(file),
            marker,
            gives_length: None,
            is_name_synced: false,
        }
    }

    /// Compares the name with the open file. A directory that was moved takes its files along: they
    /// go on there.
    fn check_name(&mut self, open: FileIdentity) -> Result<(), Loss> {
        match fs::metadata(&self.path) {
            Ok(named) if FileIdentity::of(&named) == open => return Ok(()),
            Err(error) if !is_missing(&error) => return Ok(()),
            _ => {}
        }
        let has_marker = |file: &Path| {
            file.parent()
                .is_some_and(|dir| matches!(self.marker.is_in(dir), Ok(true)))
        };
        if let Some(current) = self.file.as_ref().and_then(current_path)
            && has_marker(&current)
        {
            let is_renamed = current.file_name() != self.path.file_name();
            // The name stays, for the next file sorts behind it: a reader may have begun with it.
            if let (Some(dir), Some(name)) = (current.parent(), self.path.file_name()) {
                self.path = dir.join(name);
            }
            return if is_renamed {
                Err(Loss::Renamed)
            } else {
                Ok(())
            };
        }
        match has_marker(&self.path) {
            true => Err(Loss::Renamed),
            // The directory is not where it was, and nothing shows where it is.
            false => Ok(()),
        }
    }
}

impl Segment for LocalSegment {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the file was finished"));
        };
        file_size_signal::blocked(|| file.write(bytes))
    }

    fn check(&mut self, written: u64) -> Result<(), Loss> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let found = match file.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                return Err(Loss::Deleted);
            }
            Err(_) => return Ok(()),
        };
        if self.counts_links && links(&found) == 0 {
            return Err(Loss::Deleted);
        }
        let gives_length = *self.gives_length.get_or_insert(found.len() == written);
        if gives_length && found.len() < written {
            return Err(Loss::CutShort);
        }
        if self.finds_name {
            self.check_name(FileIdentity::of(&found))?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.sync_data()?;
        // The name is the directory's content. Directories cannot be opened everywhere.
        #[cfg(unix)]
        if !self.is_name_synced
            && let Some(dir) = self.path.parent()
        {
            File::open(dir)?.sync_all()?;
        }
        self.is_name_synced = true;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file = None;
        Ok(())
    }

    fn discard(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How many names the file has.
#[cfg(unix)]
fn links(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(found)
}

/// Elsewhere a file that is open cannot be deleted.
#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}

/// The path of an open file by now, where the system has it.
#[cfg(target_os = "linux")]
fn current_path(file: &File) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

#[cfg(not(target_os = "linux"))]
fn current_path(_: &File) -> Option<PathBuf> {
    None
}
