//! Zip archives: where their entries lie.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;
use std::sync::Arc;

use zip::{CompressionMethod, ZipArchive};

use crate::checkpoint::section::FileSection;
use crate::checkpoint::watched_file::WatchedFile;
use crate::error::Result;

/// Bytes that may be read for the directory of an archive, and what it may take in memory is some
/// times as much. A hundred thousand entries take ten million.
const MOST_DIRECTORY: u64 = 48 << 20;

/// What deflate can do at most: 1032 bytes from one.
const MOST_DEFLATED: u64 = 1032;

/// The entries of an archive, in the order of their places.
pub(super) struct Archive {
    pub(super) entries: Vec<ArchiveEntry>,
    /// Places in `entries`, sorted by name: each of a hundred thousand storages is looked up.
    by_name: Vec<usize>,
}

pub(super) struct ArchiveEntry {
    pub(super) name: String,
    pub(super) section: FileSection,
}

impl Archive {
    /// # Errors
    /// A directory that does not fit the file, entries that overlap, are encrypted, are compressed
    /// by another method, or claim a size that they cannot have.
    pub(super) fn open(file: &Arc<WatchedFile>) -> Result<Archive> {
        let damaged = |error: zip::result::ZipError| {
            file.damaged(format!("is no archive that can be read: {error}"))
        };
        let budget = Rc::new(Cell::new(MOST_DIRECTORY));
        let reader = PositionedFile {
            file: file.clone(),
            position: 0,
            budget: budget.clone(),
        };
        let reader = BufReader::with_capacity(4096, reader);
        let mut archive = ZipArchive::new(reader).map_err(damaged)?;
        if archive.has_duplicate_names() {
            return Err(file.damaged("has two entries of one name"));
        }
        let mut entries = Vec::with_capacity(archive.len());
        for index in 0..archive.len() {
            budget.set(MOST_DIRECTORY);
            let entry = archive.by_index_raw(index).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?.into_owned();
            if entry.is_dir() {
                continue;
            }
            let packed = entry.compressed_size();
            let wrong = |reason: &str| file.damaged(format!("has an entry {name:?} {reason}"));
            if entry.encrypted() {
                return Err(wrong("that is encrypted"));
            }
            let deflated = match entry.compression() {
                CompressionMethod::Stored if entry.size() == packed => None,
                CompressionMethod::Stored => return Err(wrong("of two sizes")),
                CompressionMethod::DEFLATE => Some(packed),
                method => return Err(wrong(&format!("compressed by {method}; save it again"))),
            };
            if deflated.is_some() && entry.size() > packed.saturating_mul(MOST_DEFLATED) + 64 {
                return Err(wrong("that claims to unpack to more than it can"));
            }
            let offset = entry.data_start().ok_or_else(|| wrong("without a place"))?;
            if offset
                .checked_add(packed)
                .is_none_or(|end| end > file.len())
            {
                return Err(wrong("that reaches beyond the end of the file"));
            }
            let section = FileSection {
                file: file.clone(),
                offset,
                len: entry.size(),
                deflated,
            };
            entries.push(ArchiveEntry { name, section });
        }
        entries.sort_by_key(|entry| entry.section.offset);
        for pair in entries.windows(2) {
            if let [before, after] = pair {
                let length = before.section.deflated.unwrap_or(before.section.len);
                if before.section.offset + length > after.section.offset {
                    let (one, other) = (&before.name, &after.name);
                    let reason = format!("has entries that overlap: {one:?} and {other:?}");
                    return Err(file.damaged(reason));
                }
            }
        }
        let name = |place: usize| entries.get(place).map(|entry| entry.name.as_str());
        let mut by_name: Vec<usize> = (0..entries.len()).collect();
        by_name.sort_unstable_by_key(|place| name(*place));
        Ok(Archive { entries, by_name })
    }

    pub(super) fn get(&self, name: &str) -> Option<&FileSection> {
        let entry = |place: usize| self.entries.get(place);
        let known = |place: usize| entry(place).map(|entry| entry.name.as_str());
        let found = self
            .by_name
            .binary_search_by(|place| known(*place).cmp(&Some(name)));
        let place = self.by_name.get(found.ok()?)?;
        entry(*place).map(|entry| &entry.section)
    }
}

/// A file with a position, of which a bounded number of bytes is read.
struct PositionedFile {
    file: Arc<WatchedFile>,
    position: u64,
    budget: Rc<Cell<u64>>,
}

impl Read for PositionedFile {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len().saturating_sub(self.position);
        let most = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
        let room = room.get_mut(..most).unwrap_or_default();
        let budget = self.budget.get().checked_sub(most as u64);
        let budget = budget.ok_or_else(|| io::Error::other("its directory is too large"))?;
        self.budget.set(budget);
        self.file
            .read_at(self.position, room)
            .map_err(io::Error::other)?;
        self.position += most as u64;
        Ok(most)
    }
}

impl Seek for PositionedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.file.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
