//! A long record of a file is checked piece by piece before it gets memory: a header is twelve
//! bytes and can announce two gigabytes, also in a sparse file that takes no room on the disk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::format::record::{FOOTER_LEN, HEADER_LEN, masked};

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// What a file holds of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LongRecord {
    /// The content matches its checksum.
    Sound,
    Damaged,
    /// The file ends before the record does, and holds this many bytes of it, header included.
    Incomplete {
        bytes: usize,
    },
}

/// Checks the record whose payload of `len` bytes begins at `offset`. The position of the file is
/// the same afterwards.
pub(crate) fn look_at(file: &mut File, offset: u64, len: u64) -> io::Result<LongRecord> {
    let file_len = file.metadata()?.len();
    if file_len < offset.saturating_add(len + FOOTER_LEN as u64) {
        let bytes = file_len
            .saturating_sub(offset)
            .saturating_add(HEADER_LEN as u64);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        return Ok(LongRecord::Incomplete { bytes });
    }
    let position = file.stream_position()?;
    let checked = check(file, offset, len);
    seek(file, position)?;
    checked
}

pub(crate) fn seek(file: &mut File, offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset)).map(drop)
}

fn check(file: &mut File, offset: u64, len: u64) -> io::Result<LongRecord> {
    seek(file, offset)?;
    let mut piece = vec![0; PIECE];
    let (mut crc, mut left) = (0, len);
    while left > 0 {
        let size = piece.len().min(left.try_into().unwrap_or(PIECE));
        let bytes = piece.get_mut(..size).unwrap_or_default();
        file.read_exact(bytes)?;
        crc = crc32c::crc32c_append(crc, bytes);
        left -= size as u64;
    }
    let mut footer = [0; FOOTER_LEN];
    file.read_exact(&mut footer)?;
    Ok(match masked(crc) == u32::from_le_bytes(footer) {
        true => LongRecord::Sound,
        false => LongRecord::Damaged,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{RecordError, RecordReader, encode, header_of};
    use std::io::Write;

    const LEN: u64 = 256 << 20;

    /// A header that announces a quarter of a gibibyte, zeros that take no room, and a whole
    /// record.
    fn sparse(zeros: u64) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut record = Vec::new();
        encode(b"first", &mut record);
        file.write_all(&record).unwrap();
        file.write_all(&header_of(LEN)).unwrap();
        file.seek(SeekFrom::Current(zeros as i64)).unwrap();
        record.clear();
        encode(b"last", &mut record);
        file.write_all(&record).unwrap();
        file.rewind().unwrap();
        file
    }

    const DAMAGED: u64 = 5 + 16;

    #[test]
    fn a_long_record_that_is_damaged_gets_no_memory() {
        for resync in [false, true] {
            let mut records = RecordReader::of_file(sparse(LEN + FOOTER_LEN as u64), 0);
            records.set_resync(resync);
            assert_eq!(records.next_record().unwrap(), Some(&b"first"[..]));
            match records.next_record() {
                Err(RecordError::DataChecksum { offset: DAMAGED }) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(records.next_record().unwrap(), Some(&b"last"[..]));
            assert_eq!(records.next_record().unwrap(), None);
            assert!(records.memory() < 4 * PIECE, "{}", records.memory());
        }
    }

    #[test]
    fn a_file_that_cannot_hold_a_record_is_not_read_for_it() {
        let mut records = RecordReader::of_file(sparse(LEN / 2), 0);
        assert!(records.next_record().is_ok());
        match records.next_record() {
            Err(RecordError::Truncated { offset: DAMAGED }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(records.next_record().unwrap(), None, "told once");
        assert!(records.memory() < 4 * PIECE, "{}", records.memory());
        assert!(records.arrived() > LEN / 2, "all of the file is known");

        let mut records = RecordReader::of_file(sparse(LEN / 2), 0);
        records.set_resync(true);
        assert!(records.next_record().is_ok());
        match records.next_record() {
            Err(RecordError::Skipped {
                offset: DAMAGED,
                len,
                ..
            }) => assert_eq!(len, HEADER_LEN as u64 + LEN / 2),
            other => panic!("{other:?}"),
        }
        assert_eq!(records.next_record().unwrap(), Some(&b"last"[..]));
        assert!(records.memory() < 4 * PIECE, "{}", records.memory());
    }

    #[test]
    fn a_long_record_that_is_sound_is_read_whether_its_file_was_whole_or_grew() {
        let payload = vec![7; 40 << 20];
        let mut bytes = Vec::new();
        encode(&payload, &mut bytes);
        let (front, back) = bytes.split_at(bytes.len() / 2);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(front).unwrap();
        let mut records = RecordReader::of_file(file.reopen().unwrap(), 0);
        let torn = records.next_record();
        assert!(matches!(torn, Err(RecordError::Truncated { offset: 0 })));
        assert_eq!(records.next_record().unwrap(), None);
        file.write_all(back).unwrap();
        assert!(records.next_record().unwrap() == Some(&payload[..]));
        let memory = records.memory();
        assert!(memory <= bytes.len() + 4 * PIECE, "{memory}");
    }
}
