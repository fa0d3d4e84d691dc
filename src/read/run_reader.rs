//! The events of all files of a run, also while they are being written.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::format::event_file::{EventReader, NoEvent, ReadError, decode, files_in};
use crate::proto;

/// Reads the events of a run, file after file in the order of their names.
///
/// An iterator over `Result<`[`proto::Event`]`, `[`ReadError`]`>`. `None` means that nothing more
/// is there *now*: call `next` again later, and it goes on with what was appended to any of the
/// files, and with files that are new. So the order is that of the names within one pass over the
/// files, and that of arrival between passes.
///
/// An error is about one file and does not end the run: reading goes on with the next record, or,
/// where [`ReadError::can_continue`] is false, with the next file. One file is open at a time.
pub struct RunReader {
    location: RunLocation,
    files: Vec<FileProgress>,
    /// Which of them is read next; `None` before a pass over the files begins.
    next: Option<usize>,
    open: Option<EventReader>,
    resync: bool,
    max_record_len: Option<u64>,
    /// The directory could not be listed, and that was reported.
    lost: bool,
}

/// Where the files of a run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunLocation {
    Directory(PathBuf),
    File(PathBuf),
}

impl RunLocation {
    /// The event files, in the order in which TensorBoard reads them.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, ReadError> {
        match self {
            RunLocation::File(file) => Ok(vec![file.clone()]),
            RunLocation::Directory(dir) => files_in(dir).map_err(|error| unopened(dir, error)),
        }
    }
}

pub(crate) fn unopened(path: &Path, source: io::Error) -> ReadError {
    ReadError::Open {
        path: path.to_owned(),
        source,
    }
}

/// How far a file was read.
#[derive(Debug)]
struct FileProgress {
    path: PathBuf,
    /// Where the next record begins.
    offset: u64,
    /// How many bytes of the file were seen.
    seen: u64,
    /// Reading it cannot go on.
    ended: bool,
}

impl RunReader {
    pub(crate) fn new(location: RunLocation) -> RunReader {
        RunReader {
            location,
            files: Vec::new(),
            next: None,
            open: None,
            resync: false,
            max_record_len: None,
            lost: false,
        }
    }

    /// Whether to go on behind damage within a file: see [`EventReader::resync`]. Off by default:
    /// the rest of the file is given up, as TensorBoard does.
    #[must_use]
    pub fn resync(mut self, resync: bool) -> RunReader {
        self.resync = resync;
        self
    }

    /// Refuses longer records: see [`EventReader::max_record_len`].
    #[must_use]
    pub fn max_record_len(mut self, bytes: u64) -> RunReader {
        self.max_record_len = Some(bytes);
        self
    }

    /// Whether somebody else has reported that the directory cannot be listed.
    pub(crate) fn listing_reported(mut self, reported: bool) -> RunReader {
        self.lost = reported;
        self
    }

    /// The file read last, and where its next record begins, in bytes from its start.
    pub fn position(&self) -> Option<(&Path, u64)> {
        let file = match self.next {
            Some(next) => self.files.get(next),
            None => self.files.last(),
        }?;
        let offset = self.open.as_ref().map_or(file.offset, EventReader::offset);
        Some((&file.path, offset))
    }

    /// Opens the next file that has something new; false when a pass is over.
    fn ensure_open(&mut self) -> Result<bool, ReadError> {
        if self.open.is_some() {
            return Ok(true);
        }
        if self.next.is_none() {
            self.next = Some(0);
            self.list()?;
        }
        while let Some(next) = self.next {
            let Some(file) = self.files.get_mut(next) else {
                self.next = None;
                break;
            };
            if !file.has_news() {
                self.next = Some(next + 1);
                continue;
            }
            match EventReader::open_at(&file.path, file.offset) {
                Ok(reader) => {
                    let reader = reader.resync(self.resync);
                    self.open = Some(match self.max_record_len {
                        Some(bytes) => reader.max_record_len(bytes),
                        None => reader,
                    });
                    return Ok(true);
                }
                Err(error) => {
                    self.next = Some(next + 1);
                    if !vanished(&error) {
                        file.ended = true;
                        return Err(error);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Brings the list of files up to date. A directory that was removed is told once.
    fn list(&mut self) -> Result<(), ReadError> {
        let paths = match self.location.files() {
            Ok(paths) => paths,
            Err(error) if !std::mem::replace(&mut self.lost, true) => return Err(error),
            Err(_) => return Ok(()),
        };
        self.lost = false;
        for path in paths {
            // Sorted by path, all of them in one directory.
            if let Err(place) = self.files.binary_search_by(|file| file.path.cmp(&path)) {
                self.files.insert(place, FileProgress::new(path));
            }
        }
        Ok(())
    }

    /// What `f` makes of the next record. `None` and errors are those of the iterator.
    pub(super) fn next_with<T>(
        &mut self,
        mut f: impl FnMut(&[u8]) -> Result<T, NoEvent>,
    ) -> Option<Result<T, ReadError>> {
        loop {
            match self.ensure_open() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            let reader = self.open.as_mut();
            match reader.and_then(|reader| reader.next_with(&mut f).transpose()) {
                Some(Err(error)) if !error.can_continue() => {
                    if let Some(file) = self.next.and_then(|next| self.files.get_mut(next)) {
                        file.ended = true;
                    }
                    self.leave();
                    return Some(Err(error));
                }
                Some(event) => return Some(event),
                None => self.leave(),
            }
        }
    }

    /// Closes the file that is open, and turns to the one after it.
    fn leave(&mut self) {
        let file = self.next.and_then(|next| self.files.get_mut(next));
        if let (Some(reader), Some(file)) = (self.open.take(), file) {
            (file.offset, file.seen) = (reader.offset(), reader.seen());
        }
        self.next = self.next.map(|next| next + 1);
    }
}

impl Iterator for RunReader {
    type Item = Result<proto::Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(decode)
    }
}

impl FileProgress {
    fn new(path: PathBuf) -> FileProgress {
        FileProgress {
            path,
            offset: 0,
            seen: 0,
            ended: false,
        }
    }

    /// True when the file is longer than what was seen of it. A file cut back has nothing new.
    fn has_news(&self) -> bool {
        !self.ended && fs::metadata(&self.path).is_ok_and(|file| file.len() > self.seen)
    }
}

fn vanished(error: &ReadError) -> bool {
    matches!(error, ReadError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

impl fmt::Debug for RunReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RunReader")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record;
    use crate::read::LogDir;
    use prost::Message;
    use std::io::Write;

    fn record(step: i64) -> Vec<u8> {
        let event = proto::Event {
            step,
            ..Default::default()
        };
        let mut record = Vec::new();
        record::encode(&event.encode_to_vec(), &mut record);
        record
    }

    fn append(path: &Path, bytes: &[u8]) {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    /// Steps, and errors as `None`, until nothing more is there.
    fn drain(reader: &mut RunReader) -> Vec<Option<i64>> {
        let events: Vec<_> = reader.by_ref().collect();
        events
            .into_iter()
            .map(|event| event.ok().map(|event| event.step))
            .collect()
    }

    #[test]
    fn files_that_grow_and_files_that_come_are_followed() {
        let temp = tempfile::tempdir().unwrap();
        let file = |name: &str| temp.path().join(format!("tfevents.{name}"));
        append(&file("b"), &record(1));
        let log = LogDir::open(temp.path()).unwrap();
        let mut reader = log.runs()[0].events();
        assert_eq!(drain(&mut reader), [Some(1)]);
        assert_eq!(drain(&mut reader), []);
        append(&file("c"), &record(3));
        append(&file("b"), &record(2));
        assert_eq!(drain(&mut reader), [Some(2), Some(3)]);
        // Before those that were read, in two halves.
        let (front, back) = (&record(4)[..9], &record(4)[9..]);
        append(&file("a"), front);
        assert_eq!(drain(&mut reader), [None]);
        assert_eq!(drain(&mut reader), []);
        append(&file("c"), &record(5));
        append(&file("a"), back);
        append(&file("a"), &record(6));
        assert_eq!(drain(&mut reader), [Some(4), Some(6), Some(5)]);
        fs::remove_file(file("b")).unwrap();
        append(&file("c"), &record(7));
        assert_eq!(drain(&mut reader), [Some(7)]);
        assert_eq!(reader.position().unwrap().0, file("c"));
        fs::remove_dir_all(temp.path()).unwrap();
        assert_eq!(drain(&mut reader), [None]);
        assert_eq!(drain(&mut reader), []);
    }

    #[test]
    fn damage_ends_a_file_but_not_the_run() {
        let temp = tempfile::tempdir().unwrap();
        let mut damaged = [record(1), record(2), record(3)].concat();
        damaged[record(1).len()] ^= 1;
        append(&temp.path().join("a.tfevents"), &damaged);
        append(&temp.path().join("b.tfevents"), &record(4));
        let log = LogDir::open(temp.path()).unwrap();
        let mut reader = log.runs()[0].events();
        assert_eq!(drain(&mut reader), [Some(1), None, Some(4)]);
        append(&temp.path().join("a.tfevents"), &record(5));
        assert_eq!(drain(&mut reader), [], "it stays given up");
        let mut reader = log.runs()[0].events().resync(true);
        assert_eq!(
            drain(&mut reader),
            [Some(1), None, Some(3), Some(5), Some(4)]
        );
        let mut reader = log.runs()[0].events().max_record_len(1);
        assert_eq!(drain(&mut reader), [None, None]);
    }
}
