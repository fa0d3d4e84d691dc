//! The bytes of a pickle, read through a window that only moves forwards: what is behind costs a
//! compressed section another unpacking from its beginning.

use crate::checkpoint::pickle::node::Span;
use crate::checkpoint::section::{FileSection, SectionCursor};
use crate::error::{Error, Result};

const WINDOW: u64 = 64 << 10;

/// The longest line of an opcode that takes one.
const LONGEST_LINE: usize = 1 << 16;

/// See the module.
pub(in crate::checkpoint) struct PickleStream {
    cursor: SectionCursor,
    position: u64,
    window: Vec<u8>,
    start: u64,
}

impl PickleStream {
    pub(in crate::checkpoint) fn new(section: &FileSection, position: u64) -> PickleStream {
        PickleStream {
            cursor: section.cursor(),
            position,
            window: Vec::new(),
            start: 0,
        }
    }

    /// The next byte's place in the section.
    pub(in crate::checkpoint) fn position(&self) -> u64 {
        self.position
    }

    /// An error at the current place.
    pub(in crate::checkpoint) fn damaged(&self, what: &str) -> Error {
        let file = &self.cursor.section().file;
        file.damaged(format!("{what} at byte {} of its pickle", self.position))
    }

    fn left(&self) -> u64 {
        self.cursor.section().len.saturating_sub(self.position)
    }

    fn cut_short(&self) -> Error {
        self.damaged("it ends within a value; it was cut short or is damaged, seen")
    }

    pub(in crate::checkpoint) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(in crate::checkpoint) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        if self.left() < N as u64 {
            return Err(self.cut_short());
        }
        if self.loaded().len() < N {
            self.load_more()?;
        }
        let found = self.loaded().first_chunk::<N>().copied();
        let bytes = found.ok_or_else(|| self.cut_short())?;
        self.position += N as u64;
        Ok(bytes)
    }

    /// What the window holds from the current place on.
    fn loaded(&self) -> &[u8] {
        let at = usize::try_from(self.position.saturating_sub(self.start));
        at.ok()
            .and_then(|at| self.window.get(at..))
            .unwrap_or_default()
    }

    /// Reads on behind the window, of which it keeps what is not used yet.
    fn load_more(&mut self) -> Result<()> {
        let kept = self.loaded().len();
        self.window.drain(..self.window.len() - kept);
        self.start = self.position;
        let more = self.left().saturating_sub(kept as u64).min(WINDOW);
        self.window.resize(kept + more as usize, 0);
        let room = self.window.get_mut(kept..).unwrap_or_default();
        let read = self.cursor.read_at(self.start + kept as u64, room);
        if read.is_err() {
            self.window.truncate(kept);
        }
        read
    }

    /// Bytes that stay where they are.
    pub(in crate::checkpoint) fn skip(&mut self, len: u64) -> Result<Span> {
        if len > self.left() {
            return Err(self.cut_short());
        }
        let span = Span {
            offset: self.position,
            len,
        };
        self.position += len;
        Ok(span)
    }

    /// Bytes in memory, of which the caller has bounded the number.
    pub(in crate::checkpoint) fn take(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > self.left() {
            return Err(self.cut_short());
        }
        let mut bytes = vec![0; len as usize];
        let loaded = self.loaded();
        let here = loaded.len().min(bytes.len());
        let (first, rest) = bytes.split_at_mut(here);
        first.copy_from_slice(loaded.get(..here).unwrap_or_default());
        if !rest.is_empty() {
            self.cursor.read_at(self.position + here as u64, rest)?;
        }
        self.position += len;
        Ok(bytes)
    }

    /// The text up to the next line feed.
    pub(in crate::checkpoint) fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
                _ if line.len() == LONGEST_LINE => {
                    return Err(self.damaged("a line without an end"));
                }
                byte => line.push(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::checkpoint::watched_file::WatchedFile;

    /// Numbers, as in a compressed part of a file.
    fn deflated(dir: &std::path::Path, numbers: u32) -> FileSection {
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        for number in 0..numbers {
            packer.write_all(&number.to_le_bytes()).unwrap();
        }
        let path = dir.join("packed");
        std::fs::write(&path, packer.finish().unwrap()).unwrap();
        let file = WatchedFile::open(&path).unwrap();
        FileSection {
            offset: 0,
            len: 4 * u64::from(numbers),
            deflated: Some(file.len()),
            file,
        }
    }

    #[test]
    fn a_compressed_pickle_is_unpacked_once() {
        let dir = tempfile::tempdir().unwrap();
        const NUMBERS: u32 = 1 << 18;
        let mut stream = PickleStream::new(&deflated(dir.path(), NUMBERS), 0);
        let (mut at, mut round) = (0_u64, 0_u64);
        // Pieces of all lengths, some longer than the window, from places that are no multiples of
        // four.
        while at + 100_000 < 4 * u64::from(NUMBERS) {
            let byte = |at: u64| (at / 4).to_le_bytes()[(at % 4) as usize];
            let expected = |from: u64, len: u64| (from..from + len).map(byte).collect::<Vec<u8>>();
            assert_eq!(stream.array::<7>().unwrap().to_vec(), expected(at, 7));
            at += 7;
            let len = [0, 1, 300, 5_000, 70_000][round as usize % 5] + round % 11;
            match round % 3 {
                0 => assert_eq!(stream.skip(len).unwrap().offset, at),
                _ => assert_eq!(stream.take(len).unwrap(), expected(at, len), "{at} {len}"),
            }
            at += len;
            round += 1;
            assert_eq!(stream.position(), at);
        }
        assert!(round > 50, "{round}");
        assert_eq!(stream.cursor.beginnings, 1);
        let rest = 4 * u64::from(NUMBERS) - at;
        assert!(stream.take(rest + 1).is_err());
        assert_eq!(stream.take(rest).unwrap().len() as u64, rest);
        assert!(stream.byte().is_err());
    }
}
