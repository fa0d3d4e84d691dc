//! The stretch of a source that is in memory: it grows by what arrives, and never by what a length
//! announces.

use std::io::{self, Read};

/// Bytes asked of the source at once.
const CHUNK: usize = 64 << 10;

/// Reads after which memory that was not needed is given back.
const SMALL_READS: u32 = 2;

/// A moving view of a source that may still be growing.
#[derive(Debug)]
pub(crate) struct Window<R> {
    source: R,
    /// Initialised memory, of which `start..end` holds bytes of the source.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    /// Where `start` is in the source.
    offset: u64,
    /// Reads in a row that needed little of the memory.
    small_reads: u32,
}

impl<R: Read> Window<R> {
    /// `offset` is where `source` stands now.
    pub(crate) fn new(source: R, offset: u64) -> Window<R> {
        Window {
            source,
            memory: Vec::new(),
            start: 0,
            end: 0,
            offset,
            small_reads: 0,
        }
    }

    /// Where the first byte of the window is in the source.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is in memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.end).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Reads until the window holds `target` bytes or more; false when the source ends before that.
    /// What came before an error stays.
    pub(crate) fn fill_to(&mut self, target: usize) -> io::Result<bool> {
        while self.len() < target {
            self.shrink(target);
            self.make_room()?;
            let room = self.memory.get_mut(self.end..).unwrap_or_default();
            match self.source.read(room) {
                Ok(0) => return Ok(false),
                // A source that claims more than there was room for is not believed.
                Ok(read) => self.end += read.min(room.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Lets go of the first `bytes`.
    pub(crate) fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.len());
        self.start += bytes;
        self.offset += bytes as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Begins anew at another place of the source, which stands there now.
    pub(crate) fn restart(&mut self, offset: u64) {
        (self.start, self.end, self.offset) = (0, 0, offset);
    }

    /// Gives memory back that a large record needed, once smaller ones have followed for a while.
    fn shrink(&mut self, target: usize) {
        let needed = target.max(self.len()).max(CHUNK);
        self.small_reads = match self.memory.len() / 4 > needed {
            true => self.small_reads + 1,
            false => 0,
        };
        if self.small_reads > SMALL_READS {
            self.move_to_front();
            self.memory.truncate(needed);
            self.memory.shrink_to_fit();
        }
    }

    /// Makes place for `target` bytes, no more: for a record that is known to be there.
    pub(crate) fn reserve(&mut self, target: usize) -> io::Result<()> {
        self.move_to_front();
        if let Some(more) = target.checked_sub(self.memory.len()) {
            self.grow(more)?;
        }
        Ok(())
    }

    /// Makes place behind `end`. The memory is at most twice what is held, or what it was before.
    fn make_room(&mut self) -> io::Result<()> {
        if self.start >= self.len() && self.start > 0 {
            // At least as much was consumed as is moved: each byte is moved once on average.
            self.move_to_front();
        }
        if self.end == self.memory.len() {
            self.grow(self.len().max(CHUNK))?;
        }
        Ok(())
    }

    fn grow(&mut self, more: usize) -> io::Result<()> {
        self.memory
            .try_reserve_exact(more)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.memory.resize(self.memory.len() + more, 0);
        Ok(())
    }

    fn move_to_front(&mut self) {
        let held = self.len();
        self.memory.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, held);
    }

    /// The source, to look into it; its position must be as before when bytes are asked for again.
    pub(crate) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }

    #[cfg(test)]
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    /// Bytes of memory in use.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.memory.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_in_order_however_they_are_taken() {
        let source: Vec<u8> = (0..1_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut window = Window::new(&source[..], 0);
        let mut at = 0;
        for take in [0, 1, 100_000, 3, 65_536, 400_000, 12, 300_000, 1] {
            assert!(window.fill_to(take).unwrap());
            assert_eq!(window.bytes()[..take], source[at..at + take]);
            window.consume(take);
            at += take;
            assert_eq!(window.offset(), at as u64);
        }
        assert!(!window.fill_to(source.len()).unwrap());
        assert_eq!(window.bytes(), &source[at..]);
    }

    #[test]
    fn memory_follows_what_arrives_and_goes_back() {
        let source = vec![1; 50 << 20];
        let mut window = Window::new(&source[..30 << 20], 0);
        assert!(!window.fill_to(usize::MAX / 2).unwrap());
        assert!(window.capacity() <= 2 * (30 << 20) + CHUNK);
        let mut window = Window::new(&source[..], 0);
        window.fill_to(10 << 20).unwrap();
        window.consume(10 << 20);
        for _ in 0..39 << 10 {
            window.fill_to(1 << 10).unwrap();
            window.consume(1 << 10);
        }
        assert!(window.capacity() <= 4 * CHUNK, "{}", window.capacity());
    }
}
