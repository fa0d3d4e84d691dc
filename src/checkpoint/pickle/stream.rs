//! The bytes of a pickle, read through a window.

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
        let mut bytes = [0; N];
        if self.left() < N as u64 {
            return Err(self.cut_short());
        }
        let at = self.position.wrapping_sub(self.start);
        let is_loaded = at.checked_add(N as u64);
        if self.position < self.start || is_loaded.is_none_or(|end| end > self.window.len() as u64)
        {
            let length = self.left().min(WINDOW);
            self.window.resize(length as usize, 0);
            self.start = self.position;
            self.cursor.read_at(self.position, &mut self.window)?;
        }
        let at = (self.position - self.start) as usize;
        if let Some(found) = self.window.get(at..at + N) {
            bytes.copy_from_slice(found);
        }
        self.position += N as u64;
        Ok(bytes)
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
        let span = self.skip(len)?;
        let mut bytes = vec![0; len as usize];
        self.cursor.read_at(span.offset, &mut bytes)?;
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
