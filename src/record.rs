//! TFRecord framing: bytes and checksums, nothing of what they mean.
//!
//! A record is the length of the payload (`u64`, little-endian), the masked checksum of these eight bytes, the payload,
//! and the masked checksum of the payload. A file is records one after the other, with nothing before, between or after.

use std::io::{self, Read};

/// Bytes in front of a payload.
const HEADER_LEN: usize = 12;
/// Bytes behind a payload.
const FOOTER_LEN: usize = 4;
/// Bytes that framing adds to a payload.
pub(crate) const OVERHEAD: usize = HEADER_LEN + FOOTER_LEN;

/// The longest record a reader accepts unless told otherwise, and the longest a writer should make: protobuf's own limit.
pub(crate) const MAX_RECORD_LEN: u64 = i32::MAX as u64;

/// CRC-32C (Castagnoli), masked as TFRecord asks: rotated and shifted, so that a checksum over data that holds checksums
/// stays meaningful.
pub(crate) fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// Appends `payload` to `out` as one record.
#[cfg(test)]
pub(crate) fn encode(payload: &[u8], out: &mut Vec<u8>) {
    encode_with(out, |out| out.extend_from_slice(payload));
}

/// Appends one record to `out`, whose payload is what `fill` appends: a message is serialized where it will lie.
///
/// `fill` must only append.
pub(crate) fn encode_with(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    fill(out);
    let Some((header, payload)) = out
        .get_mut(start..)
        .and_then(|record| record.split_first_chunk_mut::<HEADER_LEN>())
    else {
        debug_assert!(false, "fill shortened the buffer");
        return;
    };
    *header = header_of(payload.len() as u64);
    let footer = masked_crc(payload).to_le_bytes();
    out.extend_from_slice(&footer);
}

/// The payload of one whole record that was framed here, and so needs no check.
pub(crate) fn payload(record: &[u8]) -> Option<&[u8]> {
    record.get(HEADER_LEN..record.len().checked_sub(FOOTER_LEN)?)
}

fn header_of(len: u64) -> [u8; HEADER_LEN] {
    let len = len.to_le_bytes();
    let crc = masked_crc(&len).to_le_bytes();
    let mut header = [0; HEADER_LEN];
    let (head, tail) = header.split_at_mut(len.len());
    head.copy_from_slice(&len);
    tail.copy_from_slice(&crc);
    header
}

/// Why no record could be read. Offsets count bytes from where the reader started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The source ends inside the record that begins at `offset`. Reading goes on with this very record when the source
    /// has grown.
    #[error("the record at byte {offset} is not complete yet")]
    Truncated { offset: u64 },
    /// The length of the record does not match its checksum, so nothing tells where the next record begins. Reading ends.
    #[error("the length of the record at byte {offset} does not match its checksum")]
    LengthChecksum { offset: u64 },
    /// The payload does not match its checksum. Reading goes on with the next record.
    #[error("the content of the record at byte {offset} does not match its checksum")]
    DataChecksum { offset: u64 },
    /// The record is longer than the reader was told to accept. Reading ends.
    #[error("the record at byte {offset} has {len} bytes, more than the limit of {max}")]
    TooLong { offset: u64, len: u64, max: u64 },
    /// The source failed. Reading goes on where it stopped.
    #[error("reading at byte {offset} failed: {source}")]
    Io { offset: u64, source: io::Error },
}

/// Reads records one by one from a source that may still be growing.
///
/// Memory grows with the bytes that arrive, never by what a length field announces, and holds one record at a time.
#[derive(Debug)]
pub(crate) struct RecordReader<R> {
    source: R,
    max_len: u64,
    /// Offset of the record in progress.
    offset: u64,
    /// What has arrived of the record in progress: a prefix of header, payload and footer.
    partial: Vec<u8>,
    /// Length of the whole record just handed out, whose bytes still lie in `partial`.
    delivered: Option<usize>,
    /// How much of the record in progress had arrived when the last interruption was reported.
    reported: Option<usize>,
    /// The next record cannot be found.
    ended: bool,
}

impl<R: Read> RecordReader<R> {
    pub(crate) fn new(source: R) -> RecordReader<R> {
        RecordReader {
            source,
            max_len: MAX_RECORD_LEN,
            offset: 0,
            partial: Vec::new(),
            delivered: None,
            reported: None,
            ended: false,
        }
    }

    /// Records longer than this are refused.
    pub(crate) fn set_max_len(&mut self, bytes: u64) {
        self.max_len = bytes;
    }

    /// Offset of the record that the next call begins or goes on with.
    pub(crate) fn offset(&self) -> u64 {
        self.offset + self.delivered.unwrap_or(0) as u64
    }

    /// The payload of the next record, or `None` at the end of what there is so far.
    ///
    /// [`RecordError::Truncated`] and [`RecordError::Io`] are reported once: while nothing more arrives the next calls
    /// give `None`, so that a loop over all records ends. After an error that ends reading there is only `None`.
    pub(crate) fn next_record(&mut self) -> Result<Option<&[u8]>, RecordError> {
        self.drop_delivered();
        if self.ended {
            return Ok(None);
        }
        let whole = match self.fetch() {
            Ok(Some(whole)) => whole,
            Ok(None) => return Ok(None),
            Err(error) => return self.report(error),
        };
        self.delivered = Some(whole);
        self.reported = None;
        let offset = self.offset;
        let payload = checked_payload(self.partial.get(HEADER_LEN..whole).unwrap_or_default());
        payload
            .map(Some)
            .ok_or(RecordError::DataChecksum { offset })
    }

    /// Fetches the record in progress whole and gives its length with framing, or `None` when the source ends before it.
    fn fetch(&mut self) -> Result<Option<usize>, RecordError> {
        let offset = self.offset;
        if !self.fill_to(HEADER_LEN)? {
            return match self.partial.is_empty() {
                true => Ok(None),
                false => Err(RecordError::Truncated { offset }),
            };
        }
        let len = checked_len(&self.partial).ok_or(RecordError::LengthChecksum { offset })?;
        let max = self.max_len;
        let whole = usize::try_from(len)
            .ok()
            .filter(|_| len <= max)
            .and_then(|len| len.checked_add(OVERHEAD))
            .ok_or(RecordError::TooLong { offset, len, max })?;
        match self.fill_to(whole)? {
            true => Ok(Some(whole)),
            false => Err(RecordError::Truncated { offset }),
        }
    }

    /// Reads until `partial` holds `target` bytes; false when the source ends before that.
    fn fill_to(&mut self, target: usize) -> Result<bool, RecordError> {
        let missing = target.saturating_sub(self.partial.len());
        // Grows the buffer by what arrives, takes up interrupted reads, and keeps what came before an error.
        let read = (&mut self.source)
            .take(missing as u64)
            .read_to_end(&mut self.partial);
        match read {
            Ok(read) => Ok(read == missing),
            Err(source) => Err(RecordError::Io {
                offset: self.offset + self.partial.len() as u64,
                source,
            }),
        }
    }

    fn report(&mut self, error: RecordError) -> Result<Option<&[u8]>, RecordError> {
        match error {
            RecordError::Truncated { .. } | RecordError::Io { .. } => {
                if self.reported.replace(self.partial.len()) == Some(self.partial.len()) {
                    return Ok(None);
                }
            }
            _ => self.ended = true,
        }
        Err(error)
    }

    fn drop_delivered(&mut self) {
        if let Some(len) = self.delivered.take() {
            self.offset += len as u64;
            self.partial.clear();
        }
    }
}

/// The length that a header announces, if its checksum is right.
fn checked_len(header: &[u8]) -> Option<u64> {
    let (len, rest) = header.split_first_chunk::<8>()?;
    let (crc, _) = rest.split_first_chunk::<4>()?;
    (masked_crc(len) == u32::from_le_bytes(*crc)).then(|| u64::from_le_bytes(*len))
}

/// The payload of what follows a header, if its checksum is right.
fn checked_payload(body: &[u8]) -> Option<&[u8]> {
    let (payload, crc) = body.split_last_chunk::<FOOTER_LEN>()?;
    (masked_crc(payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    // crc32c values of RFC 3720, section B.4, and of the usual check string; masked ones computed from the definition.
    #[test]
    fn checksums_match_published_vectors() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
        assert_eq!(masked_crc(b""), 0xa282_ead8);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    // Event{wall_time: 1.0, file_version: "brain.Event:2"}, framed by TensorBoard's own writer.
    const VERSION_PAYLOAD: &str = "09000000000000f03f1a0d627261696e2e4576656e743a32";
    const VERSION_RECORD: &str =
        "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a";
    const EMPTY_RECORD: &str = "000000000000000029039807d8ea82a2";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn records_match_golden_bytes_whatever_lies_before_them() {
        for (payload, record) in [(VERSION_PAYLOAD, VERSION_RECORD), ("", EMPTY_RECORD)] {
            let mut out = b"before".to_vec();
            encode(&bytes(payload), &mut out);
            assert_eq!(out, [&b"before"[..], &bytes(record)].concat());
        }
    }

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
        assert!(reader.partial.capacity() < 4096);
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

    proptest! {
        #[test]
        fn what_is_written_is_read(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
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
        fn arbitrary_bytes_end(file in prop::collection::vec(any::<u8>(), 0..400)) {
            let reports = drain(&mut RecordReader::new(&file[..])).len();
            prop_assert!(reports <= file.len() / OVERHEAD + 1);
        }
    }
}
