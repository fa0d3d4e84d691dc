//! Reading event files back, whoever wrote them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::format::event_file::scan::{EventScan, max_decoded_len};
use crate::format::record::{RecordError, RecordReader};
use crate::proto;

/// Reads the events of one event file, also while it is being written.
///
/// An iterator over `Result<`[`proto::Event`]`, `[`ReadError`]`>`. Both checksums of each record
/// are checked, unlike in TensorBoard's loaders, so damage that TensorBoard shows as data is found.
/// Memory holds one record at a time, never more than twice the bytes that have arrived of it, and
/// what it decodes to, at most 64 MiB plus 16 times its bytes: files from anywhere can be read.
///
/// `None` means that no further event is there *now*. When the file has grown the iterator goes on:
/// call `next` again. A record that is only half there gives [`ReadError::Truncated`], once for as
/// long as nothing more arrives, and comes out whole later.
///
/// ```no_run
/// use tch_tensorboard::EventReader;
///
/// for event in EventReader::open("runs/cnn/events.out.tfevents.1700000000.host.42.0000")? {
///     let event = event?;
///     println!("step {} at {}", event.step, event.wall_time);
/// }
/// # Ok::<(), tch_tensorboard::ReadError>(())
/// ```
///
/// All runs and files of a directory are read through [`LogDir`](crate::LogDir).
pub struct EventReader<R = File> {
    path: Option<PathBuf>,
    records: RecordReader<R>,
}

impl EventReader {
    /// Opens an event file.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`] when the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<EventReader, ReadError> {
        EventReader::open_at(path.as_ref(), 0)
    }

    /// Opens an event file to read on from `offset`, where a record begins.
    pub(crate) fn open_at(path: &Path, offset: u64) -> Result<EventReader, ReadError> {
        let open = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        let file = open().map_err(|source| ReadError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(EventReader {
            path: Some(path.to_owned()),
            records: RecordReader::of_file(file, offset),
        })
    }
}

impl<R: Read> EventReader<R> {
    /// Reads events from bytes in memory, a pipe, a decompressor. Up to 64 KiB are asked for at
    /// once.
    pub fn new(source: R) -> EventReader<R> {
        EventReader {
            path: None,
            records: RecordReader::at(source, 0),
        }
    }

    /// Refuses records whose payload is longer than `bytes`. The default is protobuf's own limit, 2
    /// GiB.
    #[must_use]
    pub fn max_record_len(mut self, bytes: u64) -> EventReader<R> {
        self.records.set_max_len(bytes);
        self
    }

    /// Whether to go on behind damage that hides where the next record begins; off by default.
    ///
    /// Then the next place is looked for where a length and a content both match their checksums,
    /// also inside a record that a killed writer left half written and another one went on behind.
    /// What was passed over is reported by [`ReadError::Skipped`], each byte once. The time is
    /// linear in the size of the file, also for one that was made to mislead; such a file may hide
    /// records of its own.
    #[must_use]
    pub fn resync(mut self, resync: bool) -> EventReader<R> {
        self.records.set_resync(resync);
        self
    }

    /// Where the next record begins, in bytes from the start.
    pub fn offset(&self) -> u64 {
        self.records.offset()
    }

    /// How far the source was read, in bytes from the start: at least
    /// [`offset`](EventReader::offset).
    pub(crate) fn seen(&self) -> u64 {
        self.records.offset() + self.records.arrived()
    }

    /// The bytes of the next record, their checksums checked but not decoded: for whoever counts,
    /// copies or checks records without looking into them. `None` and errors are those of the
    /// iterator.
    pub fn next_payload(&mut self) -> Option<Result<&[u8], ReadError>> {
        let path = &self.path;
        self.records
            .next_record()
            .map_err(|error| ReadError::of_record(error, path.clone()))
            .transpose()
    }

    /// Checks the next record as the iterator does, and gives the time of its event without keeping
    /// what it holds: several times faster. `None` and errors are those of the iterator.
    pub fn check_next(&mut self) -> Option<Result<f64, ReadError>> {
        let check = |payload: &[u8]| {
            let scan = EventScan::of(payload);
            match scan.is_valid && scan.decoded_len <= max_decoded_len(payload) {
                true => Ok(scan.wall_time),
                false => decode_scanned(payload, scan).map(|event| event.wall_time),
            }
        };
        self.next_with(check).transpose()
    }

    /// What `f` makes of the next record.
    pub(crate) fn next_with<T>(
        &mut self,
        f: impl FnOnce(&[u8]) -> Result<T, NoEvent>,
    ) -> Result<Option<T>, ReadError> {
        let offset = self.records.offset();
        let path = &self.path;
        match self.records.next_record() {
            Ok(None) => Ok(None),
            Ok(Some(payload)) => f(payload).map(Some).map_err(|error| match error {
                NoEvent::Invalid(source) => ReadError::Decode {
                    path: path.clone(),
                    offset,
                    source,
                },
                NoEvent::TooManyParts { decoded, max } => ReadError::TooManyParts {
                    path: path.clone(),
                    offset,
                    decoded,
                    max,
                },
            }),
            Err(error) => Err(ReadError::of_record(error, path.clone())),
        }
    }
}

/// Why a payload gives no event.
pub(crate) enum NoEvent {
    Invalid(prost::DecodeError),
    TooManyParts { decoded: u64, max: u64 },
}

/// The event that a payload is.
pub(crate) fn decode(payload: &[u8]) -> Result<proto::Event, NoEvent> {
    match EventScan::is_small(payload) {
        true => proto::Event::decode(payload).map_err(NoEvent::Invalid),
        false => decode_scanned(payload, EventScan::of(payload)),
    }
}

fn decode_scanned(payload: &[u8], scan: EventScan) -> Result<proto::Event, NoEvent> {
    let (decoded, max) = (scan.decoded_len, max_decoded_len(payload));
    if decoded > max {
        return Err(NoEvent::TooManyParts { decoded, max });
    }
    proto::Event::decode(payload).map_err(NoEvent::Invalid)
}

impl<R: Read> Iterator for EventReader<R> {
    type Item = Result<proto::Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(decode).transpose()
    }
}

impl<R> fmt::Debug for EventReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Why an event could not be read. `offset` is where the record begins, in bytes from the start;
/// `path` is `None` for [`EventReader::new`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file or directory could not be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The source failed. Reading can go on: the next call takes up where this one stopped.
    #[error("cannot read {} at byte {offset}: {source}", shown(path))]
    Io {
        /// The file.
        path: Option<PathBuf>,
        /// How far reading came.
        offset: u64,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file ends inside a record: it is being written, or its writer was killed. Reading can go
    /// on: when the file has grown the next call gives this record.
    #[error("{}", truncated(path, *offset))]
    Truncated {
        /// The file.
        path: Option<PathBuf>,
        /// Where the record begins.
        offset: u64,
    },
    /// The length of a record is damaged, or this is no event file. Reading cannot go on: nothing
    /// tells where the next record begins, unless [`resync`](EventReader::resync) is set.
    /// TensorBoard stops here too.
    #[error("{}", length_checksum(path, *offset))]
    LengthChecksum {
        /// The file.
        path: Option<PathBuf>,
        /// Where the record begins.
        offset: u64,
    },
    /// The content of a record is damaged. Reading can go on with the record after it.
    #[error(
        "{} is damaged at byte {offset}: the record's content does not match its checksum",
        shown(path)
    )]
    DataChecksum {
        /// The file.
        path: Option<PathBuf>,
        /// Where the record begins.
        offset: u64,
    },
    /// A record is longer than accepted. Reading cannot go on; open the file with a greater
    /// [`max_record_len`](EventReader::max_record_len).
    #[error(
        "{}: the record at byte {offset} has {len} bytes, more than the limit of {max}",
        shown(path)
    )]
    TooLong {
        /// The file.
        path: Option<PathBuf>,
        /// Where the record begins.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// What was accepted.
        max: u64,
    },
    /// Only with [`resync`](EventReader::resync): there is not one whole record in what could be
    /// read. Reading goes on when the file has grown.
    #[error(
        "{} is no event file: its {len} bytes hold no whole record",
        shown(path)
    )]
    NoRecord {
        /// The file.
        path: Option<PathBuf>,
        /// How many bytes were read.
        len: u64,
    },
    /// Only with [`resync`](EventReader::resync): bytes that belong to no readable record were
    /// passed over. Reading goes on behind them.
    #[error(
        "{} is damaged at byte {offset}: {len} bytes hold no readable record and were skipped",
        shown(path)
    )]
    Skipped {
        /// The file.
        path: Option<PathBuf>,
        /// Where the damage begins.
        offset: u64,
        /// How many bytes were skipped.
        len: u64,
    },
    /// A record is whole, but would take far more memory than its bytes do: it holds a great many
    /// empty parts. No writer makes such a thing by accident. Reading can go on with the record
    /// after it.
    #[error(
        "{}: the record at byte {offset} would take {decoded} bytes of memory, more than the \
         limit of {max}",
        shown(path)
    )]
    TooManyParts {
        /// The file.
        path: Option<PathBuf>,
        /// Where the record begins.
        offset: u64,
        /// Bytes of memory that it would take.
        decoded: u64,
        /// What was accepted for a record of this length.
        max: u64,
    },
    /// A record is whole but holds no event. Reading can go on with the record after it.
    #[error(
        "{}: the record at byte {offset} is not an event: {source}",
        shown(path)
    )]
    Decode {
        /// The file.
        path: Option<PathBuf>,
        /// Where the record begins.
        offset: u64,
        /// What protobuf says.
        source: prost::DecodeError,
    },
}

impl ReadError {
    fn of_record(error: RecordError, path: Option<PathBuf>) -> ReadError {
        match error {
            RecordError::Truncated { offset } => ReadError::Truncated { path, offset },
            RecordError::LengthChecksum { offset } => ReadError::LengthChecksum { path, offset },
            RecordError::DataChecksum { offset } => ReadError::DataChecksum { path, offset },
            RecordError::TooLong { offset, len, max } => ReadError::TooLong {
                path,
                offset,
                len,
                max,
            },
            RecordError::Skipped {
                offset: 0,
                len,
                to_end: true,
            } => ReadError::NoRecord { path, len },
            RecordError::Skipped { offset, len, .. } => ReadError::Skipped { path, offset, len },
            RecordError::Io { offset, source } => ReadError::Io {
                path,
                offset,
                source,
            },
        }
    }

    /// The file this error is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            ReadError::Open { path, .. } => Some(path),
            ReadError::Io { path, .. }
            | ReadError::Truncated { path, .. }
            | ReadError::LengthChecksum { path, .. }
            | ReadError::DataChecksum { path, .. }
            | ReadError::TooLong { path, .. }
            | ReadError::NoRecord { path, .. }
            | ReadError::Skipped { path, .. }
            | ReadError::TooManyParts { path, .. }
            | ReadError::Decode { path, .. } => path.as_deref(),
        }
    }

    /// True for a record that is only half there, which is no fault of the file: its writer may be
    /// at it.
    pub fn is_truncated(&self) -> bool {
        matches!(self, ReadError::Truncated { .. })
    }

    /// True when the reader can go on after this error, now or when the file has grown.
    pub fn can_continue(&self) -> bool {
        match self {
            ReadError::Io { .. }
            | ReadError::Truncated { .. }
            | ReadError::DataChecksum { .. }
            | ReadError::NoRecord { .. }
            | ReadError::Skipped { .. }
            | ReadError::TooManyParts { .. }
            | ReadError::Decode { .. } => true,
            ReadError::Open { .. }
            | ReadError::LengthChecksum { .. }
            | ReadError::TooLong { .. } => false,
        }
    }
}

fn truncated(path: &Option<PathBuf>, offset: u64) -> String {
    match offset {
        0 => format!(
            "{} holds no whole record yet: it ends inside the first one",
            shown(path)
        ),
        offset => format!(
            "{} ends inside the record at byte {offset}; all events before it were read",
            shown(path)
        ),
    }
}

fn length_checksum(path: &Option<PathBuf>, offset: u64) -> String {
    let reason = "length does not match its checksum";
    match offset {
        0 => format!(
            "{} is no event file, or is damaged at byte 0: the first record's {reason}; \
             nothing in it can be read",
            shown(path)
        ),
        offset => format!(
            "{} is damaged at byte {offset}: the record's {reason}; nothing after it can be read",
            shown(path)
        ),
    }
}

fn shown(path: &Option<PathBuf>) -> impl fmt::Display {
    match path {
        Some(path) => path.display().to_string(),
        None => "the event stream".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record;
    use std::fs;
    use std::io::Write;

    fn event(step: i64) -> proto::Event {
        proto::Event {
            step,
            ..Default::default()
        }
    }

    #[test]
    fn a_live_file_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("live.tfevents");
        let mut file = File::create(&path).unwrap();
        let mut record = Vec::new();
        record::encode(&event(5).encode_to_vec(), &mut record);
        let mut reader = EventReader::open(&path).unwrap();
        assert!(reader.next().is_none());
        let (front, back) = record.split_at(record.len() / 2);
        file.write_all(front).unwrap();
        match reader.next().unwrap().unwrap_err() {
            ReadError::Truncated {
                path: at,
                offset: 0,
            } => assert_eq!(at.as_ref(), Some(&path)),
            other => panic!("{other}"),
        }
        assert!(reader.next().is_none());
        file.write_all(back).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), event(5));
        assert!(reader.next().is_none());
        assert_eq!(reader.offset(), record.len() as u64);
    }

    #[test]
    fn a_record_that_is_no_event_costs_only_itself() {
        let mut file = Vec::new();
        record::encode(&event(1).encode_to_vec(), &mut file);
        let second = file.len() as u64;
        record::encode(b"\xff\xff", &mut file);
        record::encode(&event(3).encode_to_vec(), &mut file);
        let mut reader = EventReader::new(&file[..]);
        assert_eq!(reader.next().unwrap().unwrap(), event(1));
        let error = reader.next().unwrap().unwrap_err();
        assert!(error.can_continue() && error.path().is_none());
        assert!(matches!(error, ReadError::Decode { offset, .. } if offset == second));
        assert_eq!(reader.next().unwrap().unwrap(), event(3));
        assert!(reader.next().is_none());
    }

    #[test]
    fn errors_name_the_file_and_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing");
        let error = EventReader::open(&path).unwrap_err();
        assert!(!error.can_continue());
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );

        let path = dir.path().join("text");
        fs::write(&path, "this is not an event file").unwrap();
        let errors: Vec<_> = EventReader::open(&path)
            .unwrap()
            .map(Result::unwrap_err)
            .collect();
        assert!(
            matches!(&errors[..], [ReadError::LengthChecksum { offset: 0, .. }]),
            "{errors:?}"
        );
        assert!(
            errors[0].to_string().contains(path.to_str().unwrap()),
            "{}",
            errors[0]
        );

        let error = EventReader::open(dir.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap_err();
        assert_eq!(error.path(), Some(dir.path()));
    }
}
