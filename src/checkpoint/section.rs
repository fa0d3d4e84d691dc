//! Bytes inside a file, stored as they are or deflated.

use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::DeflateDecoder;

use crate::checkpoint::watched_file::WatchedFile;
use crate::error::Result;

/// A range of a file. `len` counts the bytes that it unpacks to.
#[derive(Debug, Clone)]
pub(crate) struct FileSection {
    pub(super) file: Arc<WatchedFile>,
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Bytes in the file, of a deflated section.
    pub(super) deflated: Option<u64>,
}

impl FileSection {
    /// The whole file.
    pub(super) fn whole(file: Arc<WatchedFile>) -> FileSection {
        FileSection {
            offset: 0,
            len: file.len(),
            deflated: None,
            file,
        }
    }

    /// A part of it; `None` when it does not lie inside.
    pub(super) fn part(&self, offset: u64, len: u64) -> Option<FileSection> {
        let is_inside = offset.checked_add(len)? <= self.len;
        (is_inside && self.deflated.is_none()).then(|| FileSection {
            file: self.file.clone(),
            offset: self.offset + offset,
            len,
            deflated: None,
        })
    }

    /// True when any range of it can be read without what is before.
    pub(crate) fn is_random(&self) -> bool {
        self.deflated.is_none()
    }

    pub(super) fn cursor(&self) -> SectionCursor {
        SectionCursor {
            section: self.clone(),
            unpacked: None,
            #[cfg(test)]
            beginnings: 0,
        }
    }
}

/// Reads a section; keeps its place where that is deflated.
pub(super) struct SectionCursor {
    section: FileSection,
    unpacked: Option<(u64, DeflateDecoder<PackedBytes>)>,
    /// How often it was unpacked from the beginning.
    #[cfg(test)]
    pub(super) beginnings: u32,
}

impl SectionCursor {
    pub(super) fn section(&self) -> &FileSection {
        &self.section
    }

    /// Fills `target` from this byte of the section on.
    pub(super) fn read_at(&mut self, offset: u64, target: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(target.len() as u64);
        if end.is_none_or(|end| end > self.section.len) {
            let reason = "ends before its contents do; it was cut short or is damaged";
            return Err(self.section.file.damaged(reason));
        }
        match self.section.deflated {
            None => {
                let file = &self.section.file;
                file.read_at(self.section.offset + offset, target)
            }
            Some(packed) => self.unpack(packed, offset, target),
        }
    }

    fn unpack(&mut self, packed: u64, offset: u64, target: &mut [u8]) -> Result<()> {
        let section = &self.section;
        let fresh = || {
            let bytes = PackedBytes {
                file: section.file.clone(),
                offset: section.offset,
                left: packed,
            };
            (0, DeflateDecoder::new(bytes))
        };
        let (at, decoder) = match &mut self.unpacked {
            Some(unpacked) if unpacked.0 <= offset => unpacked,
            unpacked => {
                #[cfg(test)]
                {
                    self.beginnings += 1;
                }
                unpacked.insert(fresh())
            }
        };
        let damaged = |error: io::Error| {
            let reason = format!("has a compressed part that cannot be unpacked: {error}");
            section.file.damaged(reason)
        };
        let mut skipped = [0; 4096];
        while *at < offset {
            let most = usize::try_from(offset - *at).map_or(skipped.len(), |left| left.min(4096));
            let room = skipped.get_mut(..most).unwrap_or_default();
            decoder.read_exact(room).map_err(damaged)?;
            *at += most as u64;
        }
        decoder.read_exact(target).map_err(damaged)?;
        *at += target.len() as u64;
        Ok(())
    }
}

/// The compressed bytes of a section.
struct PackedBytes {
    file: Arc<WatchedFile>,
    offset: u64,
    left: u64,
}

impl Read for PackedBytes {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(room.len(), |left| left.min(room.len()));
        let room = room.get_mut(..most).unwrap_or_default();
        self.file
            .read_at(self.offset, room)
            .map_err(io::Error::other)?;
        self.offset += most as u64;
        self.left -= most as u64;
        Ok(most)
    }
}
