//! Reading records one by one, from sources that still grow and from damaged ones.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;

use crate::format::record::long_record::{LongRecord, look_at, seek};
use crate::format::record::window::Window;
use crate::format::record::{
    HEADER_LEN, MAX_RECORD_LEN, OVERHEAD, announced_len, checked_len, checked_payload,
};

/// Why no record could be read. Offsets count bytes from the start of the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The source ends inside the record that begins at `offset`. Reading goes on with this very
    /// record when the source has grown.
    #[error("the record at byte {offset} is not complete yet")]
    Truncated { offset: u64 },
    /// The length of the record does not match its checksum, so nothing tells where the next record
    /// begins. Reading ends.
    #[error("the length of the record at byte {offset} does not match its checksum")]
    LengthChecksum { offset: u64 },
    /// The payload does not match its checksum. Reading goes on with the next record.
    #[error("the content of the record at byte {offset} does not match its checksum")]
    DataChecksum { offset: u64 },
    /// The record is longer than the reader was told to accept. Reading ends.
    #[error("the record at byte {offset} has {len} bytes, more than the limit of {max}")]
    TooLong { offset: u64, len: u64, max: u64 },
    /// Only when resynchronising: `len` bytes from `offset` on belong to no record that could be
    /// read. Reading goes on behind them.
    #[error("the {len} bytes from byte {offset} on hold no readable record")]
    Skipped {
        offset: u64,
        len: u64,
        /// They reach up to the end of the source.
        to_end: bool,
    },
    /// The source failed. Reading goes on where it stopped.
    #[error("reading at byte {offset} failed: {source}")]
    Io { offset: u64, source: io::Error },
}

/// Reads records one by one from a source that may still be growing.
///
/// Memory grows with the bytes that arrive, never by what a length field announces, and holds one
/// record at a time.
#[derive(Debug)]
pub(crate) struct RecordReader<R> {
    window: Window<R>,
    max_len: u64,
    /// Bytes at the front of the window that the next call lets go of: the record just handed out.
    delivered: usize,
    /// How much of the record in progress had arrived when the last interruption was reported.
    reported: Option<usize>,
    /// The next record cannot be found.
    ended: bool,
    resync: Option<Resync>,
    /// Only files can be looked at before they are read.
    file: Option<FileAccess<R>>,
    /// Bytes of an incomplete record that the source holds, when they were not read.
    unread: usize,
}

/// What a file can do and a stream cannot.
#[derive(Debug, Clone, Copy)]
struct FileAccess<R> {
    /// Checks a record in its place: where its payload begins, and the length of it.
    look_at: fn(&mut R, u64, u64) -> io::Result<LongRecord>,
    seek: fn(&mut R, u64) -> io::Result<()>,
}

/// Records longer than this are checked in pieces, where that is possible, before they get memory.
const LONG: usize = 16 << 20;

/// Where the search for the next whole record stands.
#[derive(Debug, Default)]
struct Resync {
    /// The window begins in a damaged stretch.
    lost: bool,
    /// Up to here damage was reported.
    told: u64,
    /// Work done for nothing, and the places looked at: bounds the former by the latter.
    wasted: u64,
    looked: u64,
}

/// Bytes whose checksums may be computed in vain, and how many more for each byte looked at. Damage
/// by accident does not come near. A file made to waste time would otherwise cost the square of its
/// size: a header that announces the rest of the file takes twelve bytes.
const WASTE: u64 = 64 << 20;
const WASTE_PER_BYTE: u64 = 8;

/// Bytes of a damaged stretch that are let go of together.
const LOST_AT_ONCE: usize = 32 << 10;

impl Resync {
    fn may_waste(&self) -> bool {
        self.wasted <= WASTE + self.looked.saturating_mul(WASTE_PER_BYTE)
    }
}

/// What a search found, at a place counted from the front of the window.
enum SearchResult {
    /// A record whose two checksums are right.
    Record(usize),
    /// The source ends; a record of which only the beginning is there begins here.
    Beginning(usize),
    /// The source ends; no record begins before this place.
    Nothing(usize),
}

impl RecordReader<File> {
    /// Reads on from `offset`, where `file` stands and a record begins. A long record gets memory
    /// only when it is whole.
    pub(crate) fn of_file(file: File, offset: u64) -> RecordReader<File> {
        RecordReader {
            file: Some(FileAccess { look_at, seek }),
            ..RecordReader::at(file, offset)
        }
    }
}

impl<R: Read> RecordReader<R> {
    #[cfg(test)]
    pub(crate) fn new(source: R) -> RecordReader<R> {
        RecordReader::at(source, 0)
    }

    /// Reads on from `offset`, where `source` stands and a record begins.
    pub(crate) fn at(source: R, offset: u64) -> RecordReader<R> {
        RecordReader {
            window: Window::new(source, offset),
            max_len: MAX_RECORD_LEN,
            delivered: 0,
            reported: None,
            ended: false,
            resync: None,
            file: None,
            unread: 0,
        }
    }

    /// Records longer than this are refused.
    pub(crate) fn set_max_len(&mut self, bytes: u64) {
        self.max_len = bytes;
    }

    /// Whether to look for the next whole record behind damage instead of ending there.
    pub(crate) fn set_resync(&mut self, resync: bool) {
        self.resync = resync.then(Resync::default);
    }

    /// Offset of the record that the next call begins or goes on with.
    pub(crate) fn offset(&self) -> u64 {
        self.window.offset() + self.delivered as u64
    }

    /// Bytes of the record in progress that the source holds.
    pub(crate) fn arrived(&self) -> u64 {
        self.in_source().saturating_sub(self.delivered) as u64
    }

    /// Bytes of memory in use.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.window.capacity()
    }

    /// Bytes that the source holds from the front of the window on, as far as is known.
    fn in_source(&self) -> usize {
        self.window.len().max(self.unread)
    }

    /// The payload of the next record, or `None` at the end of what there is so far.
    ///
    /// [`RecordError::Truncated`] and [`RecordError::Io`] are reported once: while nothing more
    /// arrives the next calls give `None`, so that a loop over all records ends. After an error
    /// that ends reading there is only `None`.
    pub(crate) fn next_record(&mut self) -> Result<Option<&[u8]>, RecordError> {
        self.window.consume(self.delivered);
        self.delivered = 0;
        self.unread = 0;
        if self.ended {
            return Ok(None);
        }
        let whole = match self.find() {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(error) => return self.report(error),
        };
        self.delivered = whole;
        self.reported = None;
        Ok(Some(self.payload(0, whole)))
    }

    /// Length with framing of a record that stands whole at the front of the window.
    fn find(&mut self) -> Result<Option<usize>, RecordError> {
        if self.resync.as_ref().is_some_and(|resync| resync.lost) && !self.search(0)? {
            return Ok(None);
        }
        match self.fetch() {
            Ok(Some(whole)) => {
                let body = self.window.bytes().get(HEADER_LEN..whole);
                match body.and_then(checked_payload) {
                    Some(_) => Ok(Some(whole)),
                    None => self.damaged_content(whole),
                }
            }
            Err(RecordError::LengthChecksum { .. } | RecordError::TooLong { .. })
                if self.resync.is_some() =>
            {
                self.lose()
            }
            Err(torn @ RecordError::Truncated { .. })
                if self.resync.is_some() && self.reported != Some(self.in_source()) =>
            {
                // A whole record inside it tells that it will never be completed.
                let inside = match self.unread {
                    0 => self.inside(usize::MAX)?,
                    _ => self.inside_long(usize::MAX)?,
                };
                Err(inside.unwrap_or(torn))
            }
            other => other,
        }
    }

    /// Fetches the record in progress and gives its length with framing, or `None` when the source
    /// ends before it.
    fn fetch(&mut self) -> Result<Option<usize>, RecordError> {
        let offset = self.window.offset();
        if !self.fill_to(HEADER_LEN)? {
            return match self.window.len() {
                0 => Ok(None),
                _ => Err(RecordError::Truncated { offset }),
            };
        }
        let len = checked_len(self.window.bytes()).ok_or(RecordError::LengthChecksum { offset })?;
        let max = self.max_len;
        let whole = self
            .framed_len(len)
            .ok_or(RecordError::TooLong { offset, len, max })?;
        if whole > LONG {
            match self.look_at(0, whole)? {
                LongRecord::Sound => {}
                LongRecord::Damaged => return self.damaged_long(whole),
                LongRecord::Incomplete { bytes } => {
                    self.unread = bytes;
                    return Err(RecordError::Truncated { offset });
                }
            }
        }
        match self.fill_to(whole)? {
            true => Ok(Some(whole)),
            false => Err(RecordError::Truncated { offset }),
        }
    }

    /// Looks at the record of `whole` bytes at a place of the window, if it is long and not in
    /// memory. What is not looked at counts as sound.
    #[cold]
    fn look_at(&mut self, at: usize, whole: usize) -> Result<LongRecord, RecordError> {
        let Some(file) = &self.file else {
            return Ok(LongRecord::Sound);
        };
        if self.window.len() >= at + whole {
            return Ok(LongRecord::Sound);
        }
        let offset = self.window.offset() + (at + HEADER_LEN) as u64;
        let len = (whole - OVERHEAD) as u64;
        let failed = |source| RecordError::Io { offset, source };
        let found = (file.look_at)(self.window.source_mut(), offset, len).map_err(failed)?;
        if found == LongRecord::Sound {
            self.window.reserve(at + whole).map_err(failed)?;
        }
        Ok(found)
    }

    /// Passes over a long record that is damaged, or goes on with a record inside it.
    fn damaged_long(&mut self, whole: usize) -> Result<Option<usize>, RecordError> {
        let offset = self.window.offset();
        if self.resync.as_ref().is_some_and(Resync::may_waste) {
            self.waste(whole);
            if let Some(skipped) = self.inside_long(whole)? {
                return Err(skipped);
            }
        }
        self.jump(offset + whole as u64)?;
        Err(RecordError::DataChecksum { offset })
    }

    /// As `inside`, for a record that is not held in memory.
    fn inside_long(&mut self, whole: usize) -> Result<Option<RecordError>, RecordError> {
        let offset = self.window.offset();
        let found = self.look(HEADER_LEN..whole, true);
        if let Ok(SearchResult::Record(at)) = found {
            return Ok(Some(self.skip_from(offset, at)));
        }
        self.jump(offset)?;
        found.map(|_| None)
    }

    /// Goes on at another place of the file.
    fn jump(&mut self, offset: u64) -> Result<(), RecordError> {
        let Some(file) = &self.file else {
            debug_assert!(false, "only files are looked at before they are read");
            return Ok(());
        };
        let failed = |source| RecordError::Io { offset, source };
        (file.seek)(self.window.source_mut(), offset).map_err(failed)?;
        self.window.restart(offset);
        Ok(())
    }

    /// Length with framing, for a length that is accepted.
    fn framed_len(&self, len: u64) -> Option<usize> {
        let len = usize::try_from(len).ok().filter(|_| len <= self.max_len)?;
        len.checked_add(OVERHEAD)
    }

    /// The payload of the record of `whole` bytes at a place of the window.
    fn payload(&self, at: usize, whole: usize) -> &[u8] {
        let end = at + whole - (OVERHEAD - HEADER_LEN);
        let payload = self.window.bytes().get(at + HEADER_LEN..end);
        payload.unwrap_or_default()
    }

    fn fill_to(&mut self, target: usize) -> Result<bool, RecordError> {
        self.window
            .fill_to(target)
            .map_err(|source| RecordError::Io {
                offset: self.window.offset() + self.window.len() as u64,
                source,
            })
    }

    /// The first record has a good length and a bad content: a few of its bytes changed, or it was
    /// torn and the next record begins inside it.
    fn damaged_content(&mut self, whole: usize) -> Result<Option<usize>, RecordError> {
        let offset = self.window.offset();
        if self.resync.as_ref().is_some_and(Resync::may_waste)
            && let Some(skipped) = self.inside(whole)?
        {
            self.waste(whole);
            return Err(skipped);
        }
        self.delivered = whole;
        Err(RecordError::DataChecksum { offset })
    }

    /// Goes on with the first whole record that begins in the `whole` bytes of the one at the front
    /// of the window, and gives what was skipped for it. `None` when there is no such record.
    fn inside(&mut self, whole: usize) -> Result<Option<RecordError>, RecordError> {
        let offset = self.window.offset();
        let SearchResult::Record(at) = self.look(HEADER_LEN..whole, false)? else {
            return Ok(None);
        };
        Ok(Some(self.skip_from(offset, at)))
    }

    /// Skips what lies between `offset` and a whole record at a place of the window.
    fn skip_from(&mut self, offset: u64, at: usize) -> RecordError {
        self.window.consume(at);
        let until = self.window.offset();
        if let Some(resync) = &mut self.resync {
            resync.told = until;
        }
        RecordError::Skipped {
            offset,
            len: until - offset,
            to_end: false,
        }
    }

    /// Begins a damaged stretch at the front of the window, where no record begins.
    fn lose(&mut self) -> Result<Option<usize>, RecordError> {
        let offset = self.window.offset();
        if let Some(resync) = &mut self.resync {
            resync.lost = true;
            resync.told = resync.told.max(offset);
        }
        match self.search(1)? {
            // Only within the last bytes of a stretch that was reported up to the end of the
            // source.
            true => self.find(),
            false => Ok(None),
        }
    }

    /// Looks for the end of a damaged stretch. `Err(Skipped)` reports it up to where reading goes
    /// on, or up to the end of the source. `Ok(true)` when a record follows and nothing is left to
    /// report, `Ok(false)` when there is nothing new.
    fn search(&mut self, from: usize) -> Result<bool, RecordError> {
        let found = self.look(from..usize::MAX, true)?;
        let (place, ends) = match found {
            SearchResult::Record(at) | SearchResult::Beginning(at) => (at, true),
            SearchResult::Nothing(at) => (at, false),
        };
        self.window.consume(place);
        let Some(resync) = &mut self.resync else {
            return Ok(false);
        };
        resync.lost = !ends;
        // The last bytes may turn out to be the front of a header. They are reported all the same:
        // nothing may follow.
        let until = match ends {
            true => self.window.offset(),
            false => self.window.offset() + self.window.len() as u64,
        };
        if until <= resync.told {
            return Ok(ends);
        }
        let offset = resync.told;
        resync.told = until;
        Err(RecordError::Skipped {
            offset,
            len: until - offset,
            to_end: !ends,
        })
    }

    /// Looks for the next record that begins at one of these places of the window. What was looked
    /// at need not stay in memory when it is `lost`.
    fn look(&mut self, mut places: Range<usize>, lost: bool) -> Result<SearchResult, RecordError> {
        let mut at = places.start;
        let mut beginning = None;
        loop {
            if lost && beginning.is_none() && at >= LOST_AT_ONCE {
                self.window.consume(at);
                places.end = places.end.saturating_sub(at);
                at = 0;
            }
            if at >= places.end || !self.fill_to(at + HEADER_LEN)? {
                return Ok(beginning.map_or(SearchResult::Nothing(at), SearchResult::Beginning));
            }
            if let Some(resync) = &mut self.resync {
                resync.looked += 1;
            }
            let header = self.window.bytes().get(at..).unwrap_or_default();
            // No header is all zeros, but much of a sparse file is.
            let zeros = leading_zeros(header);
            if zeros >= HEADER_LEN {
                at += zeros - HEADER_LEN + 1;
                continue;
            }
            // Most lengths are out of the question, which is told faster than their checksum.
            let whole = announced_len(header).and_then(|len| self.framed_len(len));
            if let Some(whole) = whole.filter(|_| checked_len(header).is_some())
                && self.resync.as_ref().is_none_or(Resync::may_waste)
            {
                let found = match whole > LONG {
                    true => self.look_at(at, whole)?,
                    false => LongRecord::Sound,
                };
                match found {
                    LongRecord::Damaged => self.waste(whole),
                    LongRecord::Incomplete { .. } => beginning = beginning.or(Some(at)),
                    LongRecord::Sound if !self.fill_to(at + whole)? => {
                        beginning = beginning.or(Some(at));
                    }
                    LongRecord::Sound if self.is_record(at, whole) => {
                        return Ok(SearchResult::Record(at));
                    }
                    LongRecord::Sound => {}
                }
            }
            at += 1;
        }
    }

    /// Whether the content of the record at a place is right, as far as that may be computed.
    fn is_record(&mut self, at: usize, whole: usize) -> bool {
        if !self.resync.as_ref().is_some_and(Resync::may_waste) {
            return false;
        }
        let body = self.window.bytes().get(at + HEADER_LEN..at + whole);
        let right = body.and_then(checked_payload).is_some();
        if !right {
            self.waste(whole);
        }
        right
    }

    fn waste(&mut self, bytes: usize) {
        if let Some(resync) = &mut self.resync {
            resync.wasted = resync.wasted.saturating_add(bytes as u64);
        }
    }

    fn report(&mut self, error: RecordError) -> Result<Option<&[u8]>, RecordError> {
        match error {
            RecordError::Truncated { .. } | RecordError::Io { .. } => {
                let arrived = self.in_source();
                if self.reported.replace(arrived) == Some(arrived) {
                    return Ok(None);
                }
            }
            RecordError::LengthChecksum { .. } | RecordError::TooLong { .. } => self.ended = true,
            RecordError::DataChecksum { .. } | RecordError::Skipped { .. } => self.reported = None,
        }
        Err(error)
    }
}

/// How many bytes are zero before the first that is not.
fn leading_zeros(bytes: &[u8]) -> usize {
    let blocks = bytes.as_chunks::<64>().0;
    let zeros = 64 * blocks.iter().take_while(|block| **block == [0; 64]).count();
    let rest = bytes.get(zeros..).unwrap_or_default();
    zeros + rest.iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{encode, header_of};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::io;
    use std::rc::Rc;

    /// A source that grows between calls, like a file another process writes.
    #[derive(Clone, Default)]
    struct Growing(Rc<RefCell<(Vec<u8>, usize)>>);

    impl Growing {
        fn push(&self, bytes: &[u8]) {
            self.0.borrow_mut().0.extend_from_slice(bytes);
        }
    }

    impl Read for Growing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let (data, at) = &mut *self.0.borrow_mut();
            let read = (&data[*at..]).read(out)?;
            *at += read;
            Ok(read)
        }
    }

    /// Everything readable now: payloads, and the errors by their text.
    fn drain<R: Read>(reader: &mut RecordReader<R>) -> Vec<Result<Vec<u8>, String>> {
        let mut all = Vec::new();
        loop {
            match reader.next_record() {
                Ok(Some(payload)) => all.push(Ok(payload.to_vec())),
                Ok(None) => return all,
                Err(error) => all.push(Err(error.to_string())),
            }
        }
    }

    fn framed(payloads: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        payloads
            .iter()
            .for_each(|payload| encode(payload, &mut file));
        file
    }

    #[test]
    fn a_growing_source_is_read_whole_wherever_it_was_cut() {
        let payloads: [&[u8]; 4] = [b"first", b"", b"third one", &[7; 300]];
        let file = framed(&payloads);
        for cut in 0..=file.len() {
            let source = Growing::default();
            let mut reader = RecordReader::new(source.clone());
            source.push(&file[..cut]);
            let mut seen = drain(&mut reader);
            let at = reader.offset();
            let inside = seen.last().is_some_and(Result::is_err);
            assert_eq!(inside, at != cut as u64, "cut at {cut}");
            if inside {
                let expected = format!("the record at byte {at} is not complete yet");
                assert_eq!(seen.pop(), Some(Err(expected)));
            }
            source.push(&file[cut..]);
            seen.extend(drain(&mut reader));
            let expected: Vec<_> = payloads
                .iter()
                .map(|payload| Ok(payload.to_vec()))
                .collect();
            assert_eq!(seen, expected, "cut at {cut}");
            assert_eq!(reader.offset(), file.len() as u64);
        }
    }

    #[test]
    fn a_half_written_tail_is_reported_again_only_after_it_grew() {
        let file = framed(&[b"payload"]);
        let source = Growing::default();
        let mut reader = RecordReader::new(source.clone());
        for byte in &file[..file.len() - 1] {
            source.push(&[*byte]);
            let error = reader.next_record().unwrap_err();
            assert!(matches!(error, RecordError::Truncated { offset: 0 }));
            assert!(reader.next_record().unwrap().is_none());
        }
        source.push(&file[file.len() - 1..]);
        assert_eq!(reader.next_record().unwrap(), Some(&b"payload"[..]));
        assert!(reader.next_record().unwrap().is_none());
    }

    #[test]
    fn damaged_content_costs_one_record() {
        let mut file = framed(&[b"one", b"two", b"three"]);
        let second = OVERHEAD + 3;
        file[second + HEADER_LEN] ^= 1;
        let mut reader = RecordReader::new(&file[..]);
        assert_eq!(reader.next_record().unwrap(), Some(&b"one"[..]));
        match reader.next_record() {
            Err(RecordError::DataChecksum { offset }) => assert_eq!(offset, second as u64),
            other => panic!("{other:?}"),
        }
        assert_eq!(reader.next_record().unwrap(), Some(&b"three"[..]));
        assert!(reader.next_record().unwrap().is_none());
    }

    #[test]
    fn a_damaged_length_and_a_zero_filled_tail_end_reading() {
        let mut damaged = framed(&[b"one", b"two", b"three"]);
        damaged[OVERHEAD + 3] ^= 1;
        let mut zeros = framed(&[b"one"]);
        zeros.extend([0; 4096]);
        for file in [damaged, zeros] {
            let mut reader = RecordReader::new(&file[..]);
            assert_eq!(reader.next_record().unwrap(), Some(&b"one"[..]));
            match reader.next_record() {
                Err(RecordError::LengthChecksum { offset }) => assert_eq!(offset, 19),
                other => panic!("{other:?}"),
            }
            assert!(reader.next_record().unwrap().is_none());
        }
    }

    #[test]
    fn an_announced_length_costs_no_memory() {
        let mut file = header_of(MAX_RECORD_LEN).to_vec();
        file.extend([1; 100]);
        let mut reader = RecordReader::new(&file[..]);
        let error = reader.next_record().unwrap_err();
        assert!(matches!(error, RecordError::Truncated { offset: 0 }));
        assert!(reader.window.capacity() <= 64 << 10);
    }

    #[test]
    fn records_above_the_limit_are_refused() {
        for (len, max) in [
            (u64::MAX, u64::MAX),
            (MAX_RECORD_LEN + 1, MAX_RECORD_LEN),
            (4, 3),
        ] {
            let mut file = header_of(len).to_vec();
            file.extend([1; 100]);
            let mut reader = RecordReader::new(&file[..]);
            reader.set_max_len(max);
            match reader.next_record() {
                Err(RecordError::TooLong {
                    offset: 0,
                    len: found,
                    ..
                }) => assert_eq!(found, len),
                other => panic!("{other:?}"),
            }
            assert!(reader.next_record().unwrap().is_none());
        }
        let file = framed(&[b"four"]);
        let mut reader = RecordReader::new(&file[..]);
        reader.set_max_len(4);
        assert_eq!(reader.next_record().unwrap(), Some(&b"four"[..]));
    }

    /// Fails every second read, and gives three bytes otherwise.
    struct Failing<'a>(&'a [u8], bool);

    impl Read for Failing<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::Error::other("unplugged"));
            }
            let most = out.len().min(3);
            self.0.read(&mut out[..most])
        }
    }

    #[test]
    fn a_failing_source_loses_nothing() {
        let file = framed(&[b"one", b"two"]);
        let mut reader = RecordReader::new(Failing(&file, false));
        let (mut seen, mut failed) = (Vec::new(), 0);
        while reader.offset() < file.len() as u64 {
            match reader.next_record() {
                Ok(Some(payload)) => seen.push(payload.to_vec()),
                Ok(None) => {}
                Err(RecordError::Io { .. }) => failed += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(seen, [b"one", b"two"]);
        assert!(failed > 2);
    }

    fn resyncing<R: Read>(source: R) -> RecordReader<R> {
        let mut reader = RecordReader::new(source);
        reader.set_resync(true);
        reader
    }

    /// What a damaged stretch is reported as.
    fn skipped(offset: usize, len: usize) -> Result<Vec<u8>, String> {
        Err(format!(
            "the {len} bytes from byte {offset} on hold no readable record"
        ))
    }

    fn good(payload: &[u8]) -> Result<Vec<u8>, String> {
        Ok(payload.to_vec())
    }

    #[test]
    fn a_damaged_length_costs_one_record_when_resynchronising() {
        let mut file = framed(&[b"one", b"two", b"three"]);
        file[19] ^= 1;
        let expected = [good(b"one"), skipped(19, 19), good(b"three")];
        assert_eq!(drain(&mut resyncing(&file[..])), expected);
    }

    #[test]
    fn a_damaged_content_is_reported_as_such_when_the_next_record_stands_where_it_should() {
        let mut file = framed(&[b"one", b"two", b"three"]);
        file[19 + HEADER_LEN] ^= 1;
        let error = "the content of the record at byte 19 does not match its checksum";
        let expected = [good(b"one"), Err(error.to_owned()), good(b"three")];
        assert_eq!(drain(&mut resyncing(&file[..])), expected);
        file.truncate(38);
        assert_eq!(drain(&mut resyncing(&file[..])), expected[..2]);
    }

    // A writer was killed in the middle of a record, and another went on behind it.
    #[test]
    fn a_record_behind_a_torn_one_is_found_inside_it() {
        for torn_at in 1..=115 {
            let mut file = framed(&[b"one"]);
            file.extend_from_slice(&framed(&[&[7; 100]])[..torn_at]);
            let next = file.len();
            // Shorter than what the torn one announces, and longer.
            for behind in [&[&b"two"[..]][..], &[b"two", &[8; 300], b"three"]] {
                let mut file = file.clone();
                file.extend(framed(behind));
                let mut expected = vec![good(b"one"), skipped(19, next - 19)];
                expected.extend(behind.iter().map(|payload| good(payload)));
                assert_eq!(drain(&mut resyncing(&file[..])), expected, "{torn_at}");
            }
        }
    }

    #[test]
    fn garbage_before_between_and_behind_is_reported_and_does_not_stay_in_memory() {
        let garbage: Vec<u8> = (0..3_000_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let file = [
            &garbage,
            &framed(&[b"one"])[..],
            &[0; 100_000],
            &framed(&[b"two"]),
            &garbage,
        ];
        let mut reader = resyncing(Growing::default());
        file.iter()
            .for_each(|part| reader_source(&reader).push(part));
        let expected = [
            skipped(0, garbage.len()),
            good(b"one"),
            skipped(garbage.len() + 19, 100_000),
            good(b"two"),
            skipped(garbage.len() + 100_038, garbage.len()),
        ];
        assert_eq!(drain(&mut reader), expected);
        assert!(reader.window.capacity() <= 256 << 10);
    }

    fn reader_source(reader: &RecordReader<Growing>) -> Growing {
        reader.window.source().clone()
    }

    #[test]
    fn a_damaged_file_that_grows_is_followed_and_no_byte_is_reported_twice() {
        let mut file = framed(&[b"one"]);
        file.extend([0; 50]);
        file.extend(framed(&[b"two", b"three"]));
        for cut in 19..file.len() {
            let source = Growing::default();
            let mut reader = resyncing(source.clone());
            source.push(&file[..cut]);
            let mut seen = drain(&mut reader);
            source.push(&file[cut..]);
            seen.extend(drain(&mut reader));
            let records: Vec<_> = seen.iter().flatten().cloned().collect();
            assert_eq!(records, [&b"one"[..], b"two", b"three"], "cut at {cut}");
            let lost: u64 = seen
                .iter()
                .filter_map(|report| lost_bytes(report.as_ref().err()?))
                .sum();
            // The front of a header may have been reported before the rest of it arrived.
            assert!(
                (50..50 + HEADER_LEN as u64).contains(&lost),
                "cut at {cut}: {seen:?}"
            );
        }
    }

    fn lost_bytes(report: &str) -> Option<u64> {
        report
            .strip_prefix("the ")?
            .split_once(" bytes from")?
            .0
            .parse()
            .ok()
    }

    // Headers that are right and announce far more than follows: each would cost a checksum over
    // the rest of the file.
    #[test]
    fn a_file_made_to_waste_time_does_not() {
        let mut file = vec![0; 7];
        for _ in 0..400_000 {
            file.extend(header_of(2 << 20));
        }
        file.extend(vec![9; 4 << 20]);
        let mut reader = resyncing(&file[..]);
        assert!(drain(&mut reader).iter().all(Result::is_err));
        let resync = reader.resync.unwrap();
        assert!(resync.wasted <= WASTE + (WASTE_PER_BYTE + 1) * file.len() as u64 + (2 << 20));
        assert!(resync.wasted > WASTE, "the bound was not reached");
    }

    #[test]
    fn a_record_above_the_limit_is_skipped_when_resynchronising() {
        let file = framed(&[b"one", &[7; 5000], b"two"]);
        let mut reader = resyncing(&file[..]);
        reader.set_max_len(4999);
        assert_eq!(
            drain(&mut reader),
            [good(b"one"), skipped(19, 5016), good(b"two")]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payloads in vec(vec(any::<u8>(), 0..200), 0..20)) {
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let file = framed(&slices);
            let seen = drain(&mut RecordReader::new(&file[..]));
            prop_assert_eq!(seen, payloads.into_iter().map(Ok).collect::<Vec<_>>());
        }

        #[test]
        fn any_flipped_bit_is_noticed(at in 0..59_usize, bit in 0..8_u32) {
            let whole = framed(&[b"one", b"two", b"three"]);
            let mut file = whole.clone();
            file[at] ^= 1 << bit;
            let seen = drain(&mut RecordReader::new(&file[..]));
            prop_assert!(seen.iter().any(Result::is_err));
            let intact: Vec<_> = seen.into_iter().flatten().collect();
            let written = [&b"one"[..], b"two", b"three"];
            prop_assert!(intact.iter().all(|payload| written.contains(&payload.as_slice())));
        }

        #[test]
        fn arbitrary_bytes_end(file in vec(any::<u8>(), 0..400)) {
            let reports = drain(&mut RecordReader::new(&file[..])).len();
            prop_assert!(reports <= file.len() / OVERHEAD + 1);
        }

        #[test]
        fn resynchronising_loses_only_what_was_damaged(
            sizes in vec(0..200_usize, 1..20), at in any::<prop::sample::Index>(), bit in 0..8_u32
        ) {
            // From one: eight zeros with their checksum are the header of an empty record, too.
            let payload = |(i, &size): (u8, &usize)| vec![i; size];
            let payloads: Vec<Vec<u8>> = (1..).zip(&sizes).map(payload).collect();
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let mut file = framed(&slices);
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            let mut end = 0;
            let mut end_of = |size: &usize| {
                end += size + OVERHEAD;
                end
            };
            let ends: Vec<usize> = sizes.iter().map(&mut end_of).collect();
            let mut expected = payloads;
            expected.remove(ends.partition_point(|&end| end <= at));
            let seen = drain(&mut resyncing(&file[..]));
            prop_assert_eq!(seen.iter().filter(|record| record.is_err()).count(), 1);
            prop_assert_eq!(seen.into_iter().flatten().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn arbitrary_bytes_end_when_resynchronising(file in vec(any::<u8>(), 0..400)) {
            drain(&mut resyncing(&file[..]));
        }
    }
}
