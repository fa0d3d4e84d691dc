//! Appending events to a file, and what the file is called.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::{Error, Result};
use crate::proto::{self, event::What};
use crate::record;
use crate::types::WallTime;

/// What the names of event files begin with, up to the time.
const PREFIX: &str = "events.out.tfevents.";
/// The format of event files since TensorFlow 0.6.
const FILE_VERSION: &str = "brain.Event:2";
/// Digits of the time in a name. Both loaders sort names as text, so every time needs as many.
const SECS_DIGITS: usize = 10;
/// The greatest time of that many digits.
const MAX_SECS: u64 = 9_999_999_999;
/// The counter in a name has four digits, for the same reason.
const MAX_COUNTER: u32 = 9999;

/// Bytes that may wait for a disk that does not accept them, unless set otherwise.
const DEFAULT_CAPACITY: usize = 64 << 20;

/// Appends events to one file, in whole records.
///
/// Events are framed into memory and handed to the system by [`flush`](EventWriter::flush). What the system does not
/// take stays in memory, down to the byte, and goes first the next time: the file never holds a torn record with another
/// one behind it, and is never cut back or rewritten, which TensorBoard's fast loader would not survive.
///
/// Not done here: syncing to the device, and going on in a further file after a size.
pub(crate) struct EventWriter<W: Write = File> {
    path: PathBuf,
    sink: W,
    /// Framed records that the system has not taken. Only the first may have lost bytes to it already.
    pending: Vec<u8>,
    capacity: usize,
    written: u64,
    /// Where each pending record ends in the file.
    ends: VecDeque<u64>,
    /// Events that the system has taken whole, but for the first of the file.
    events: u64,
}

impl EventWriter<File> {
    /// Makes a new event file in `dir`, which must exist, and writes its first event.
    ///
    /// The name sorts behind all event files of the usual name in `dir`, even when the clock was set back: TensorBoard
    /// reads the files of a run in the order of their names, and ignores those before the one it is at.
    pub(crate) fn create(dir: &Path) -> Result<EventWriter> {
        let now = WallTime::now();
        let secs = free_secs(dir, now.secs() as u64).map_err(|e| Error::io("list", dir, e))?;
        let host = host_label(&gethostname::gethostname());
        let (file, path) = create_new(dir, secs, &host, std::process::id())?;
        let mut writer = EventWriter::new(path, file);
        // Never refused: nothing is pending yet.
        let _ = writer.append(&first_event(now.secs()));
        if let Err(error) = writer.flush() {
            // An empty or torn file is of no use to anyone, and only this call knows of it.
            let _ = fs::remove_file(&writer.path);
            writer.pending.clear();
            return Err(Error::io("write the first record of", &writer.path, error));
        }
        writer.events = 0;
        Ok(writer)
    }

    /// True when the file has no name any more: what is written goes nowhere, and no error says so.
    pub(crate) fn is_deleted(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            self.sink.metadata().is_ok_and(|file| file.nlink() == 0)
        }
        // Elsewhere a file that is open cannot be deleted.
        #[cfg(not(unix))]
        false
    }
}

impl<W: Write> EventWriter<W> {
    /// Writes to `sink`, which must not buffer: what it takes counts as written.
    fn new(path: PathBuf, sink: W) -> EventWriter<W> {
        EventWriter {
            path,
            sink,
            pending: Vec::new(),
            capacity: DEFAULT_CAPACITY,
            written: 0,
            ends: VecDeque::new(),
            events: 0,
        }
    }

    #[cfg(test)]
    /// Sets how many bytes may wait in memory while the file cannot be written. A single event may exceed it.
    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    /// Takes an event to be written by the next [`flush`](EventWriter::flush); false when it was refused.
    ///
    /// It is refused when it does not fit into what may wait in memory, so that a disk that stays full cannot take all
    /// of it, and when it is longer than protobuf allows.
    #[must_use = "a refused event has to be counted"]
    pub(crate) fn append(&mut self, event: &proto::Event) -> bool {
        let len = event.encoded_len();
        if len as u64 > record::MAX_RECORD_LEN {
            return false;
        }
        let needed = self.pending.len().saturating_add(len + record::OVERHEAD);
        if needed > self.capacity && !self.pending.is_empty() {
            return false;
        }
        self.pending.reserve(len + record::OVERHEAD);
        record::encode_with(&mut self.pending, |out| event.encode_raw(out));
        self.ends
            .push_back(self.written + self.pending.len() as u64);
        true
    }

    /// Hands all that was appended to the system.
    ///
    /// After an error what was not taken is kept and goes first the next time. Calling again is always right.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let mut taken = 0;
        let result = loop {
            let rest = self.pending.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.sink.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => taken += n.min(rest.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.pending.drain(..taken);
        self.written += taken as u64;
        let whole = self.ends.partition_point(|end| *end <= self.written);
        self.ends.drain(..whole);
        self.events += whole as u64;
        result
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the system has taken.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Events that the system has taken whole, without the first of the file, which is written when it is made.
    pub(crate) fn events_written(&self) -> u64 {
        self.events
    }

    /// Events that wait for [`flush`](EventWriter::flush), perhaps half taken.
    pub(crate) fn pending_events(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Bytes that wait for [`flush`](EventWriter::flush).
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl<W: Write> Drop for EventWriter<W> {
    /// Saves what it can when the owner panicked or forgot to flush; who wants to know of errors flushes before.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

impl<W: Write> fmt::Debug for EventWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWriter")
            .field("path", &self.path)
            .field("written", &self.written)
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// The event that every file begins with. Its time is the run's start time, which orders runs and so their colours.
fn first_event(wall_time: f64) -> proto::Event {
    proto::Event {
        wall_time,
        what: Some(What::FileVersion(FILE_VERSION.to_owned())),
        source_metadata: Some(proto::SourceMetadata {
            writer: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        }),
        ..Default::default()
    }
}

/// Makes the file, with the first counter that is free: processes in two containers may share host name and process
/// number, and two loggers of one process start in the same second.
fn create_new(dir: &Path, secs: u64, host: &str, pid: u32) -> Result<(File, PathBuf)> {
    let mut counter = 0;
    loop {
        let path = dir.join(file_name(secs, host, pid, counter));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && counter < MAX_COUNTER => {
                counter += 1;
            }
            Err(e) => return Err(Error::io("create", path, e)),
        }
    }
}

fn file_name(secs: u64, host: &str, pid: u32, counter: u32) -> String {
    format!("{PREFIX}{secs:0SECS_DIGITS$}.{host}.{pid}.{counter:04}")
}

/// The time to put into a name so that it sorts behind the event files in `dir`: `now`, or more if that is not enough.
fn free_secs(dir: &Path, now: u64) -> io::Result<u64> {
    let mut secs = now.min(MAX_SECS);
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if let Some(taken) = secs_of(&name).filter(|taken| *taken >= secs) {
            // Host and process number decide within a second, and may go either way.
            secs = (taken + 1).min(MAX_SECS);
        }
    }
    Ok(secs)
}

/// The time in the name of an event file, as it sorts: the first ten characters behind the prefix. Fewer digits, as
/// other writers may use, sort like ten with zeros behind; more like their first ten.
fn secs_of(name: &OsStr) -> Option<u64> {
    let rest = name.as_encoded_bytes().strip_prefix(PREFIX.as_bytes())?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let padded = digits
        .chain(std::iter::repeat(&b'0'))
        .take(SECS_DIGITS)
        .fold(0, |secs, digit| secs * 10 + u64::from(digit - b'0'));
    Some(padded)
}

/// The host's name as a part of a file name: ASCII letters, digits, `-`, `_` and `.` are kept, all else becomes `_`.
fn host_label(host: &OsStr) -> String {
    const MAX_LEN: usize = 64; // Linux' own limit; a file name may have 255 bytes in all.
    let label: String = host
        .to_string_lossy()
        .chars()
        .take(MAX_LEN)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => c,
            _ => '_',
        })
        .collect();
    match label.is_empty() {
        true => "localhost".to_owned(),
        false => label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_file::{EventReader, is_event_file_name};
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    fn event(step: i64) -> proto::Event {
        // Of different lengths, so that cuts fall everywhere.
        let value = proto::summary::Value {
            tag: "loss/".repeat(step as usize % 7),
            value: Some(proto::summary::value::Value::SimpleValue(step as f32)),
            ..Default::default()
        };
        proto::Event {
            wall_time: 1.5,
            step,
            what: Some(What::Summary(proto::Summary { value: vec![value] })),
            ..Default::default()
        }
    }

    fn read_all(bytes: &[u8]) -> Vec<proto::Event> {
        EventReader::new(bytes).map(Result::unwrap).collect()
    }

    /// What the system does with one write.
    #[derive(Debug, Clone)]
    enum Answer {
        Take(usize),
        Fail(io::ErrorKind),
    }

    /// A disk that answers as scripted and then takes everything.
    #[derive(Clone, Default)]
    struct Disk {
        script: Rc<RefCell<VecDeque<Answer>>>,
        bytes: Rc<RefCell<Vec<u8>>>,
    }

    impl Disk {
        fn new(script: impl IntoIterator<Item = Answer>) -> Disk {
            let disk = Disk::default();
            disk.script.borrow_mut().extend(script);
            disk
        }

        fn writer(&self) -> EventWriter<Disk> {
            EventWriter::new("scripted".into(), self.clone())
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.script.borrow_mut().pop_front() {
                Some(Answer::Fail(kind)) => return Err(kind.into()),
                Some(Answer::Take(most)) => most.min(bytes.len()),
                None => bytes.len(),
            };
            self.bytes.borrow_mut().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_interrupted_write_is_no_error() {
        let disk = Disk::new([
            Answer::Fail(io::ErrorKind::Interrupted),
            Answer::Take(5),
            Answer::Fail(io::ErrorKind::Interrupted),
        ]);
        let mut writer = disk.writer();
        assert!(writer.append(&event(1)));
        writer.flush().unwrap();
        assert_eq!(read_all(&disk.bytes.borrow()), [event(1)]);
        assert_eq!(writer.bytes_written(), disk.bytes.borrow().len() as u64);
        assert_eq!(writer.pending(), 0);
    }

    #[test]
    fn a_full_disk_costs_nothing_once_there_is_space() {
        let disk = Disk::new([Answer::Take(30), Answer::Fail(io::ErrorKind::StorageFull)]);
        let mut writer = disk.writer();
        assert!(writer.append(&event(1)) && writer.append(&event(2)));
        let error = writer.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(writer.bytes_written(), 30);
        assert!(writer.append(&event(3)));
        writer.flush().unwrap();
        assert_eq!(
            read_all(&disk.bytes.borrow()),
            [event(1), event(2), event(3)]
        );
    }

    #[test]
    fn a_write_of_nothing_is_an_error_not_a_loop() {
        let disk = Disk::new([Answer::Take(0)]);
        let mut writer = disk.writer();
        assert!(writer.append(&event(1)));
        let error = writer.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        writer.flush().unwrap();
        assert_eq!(read_all(&disk.bytes.borrow()), [event(1)]);
    }

    #[test]
    fn events_are_refused_whole_when_memory_is_full() {
        let disk = Disk::new([Answer::Take(20), Answer::Fail(io::ErrorKind::StorageFull)]);
        let mut writer = disk.writer();
        writer.set_capacity(300);
        let accepted: Vec<i64> = (0..100)
            .filter(|step| writer.append(&event(*step)))
            .collect();
        assert!(accepted.len() > 2 && accepted.len() < 20, "{accepted:?}");
        assert!(writer.pending() <= 300);
        writer.flush().unwrap_err();
        writer.flush().unwrap();
        let read: Vec<i64> = read_all(&disk.bytes.borrow())
            .iter()
            .map(|e| e.step)
            .collect();
        assert_eq!(read, accepted);
    }

    #[test]
    fn an_event_larger_than_the_capacity_passes_alone() {
        let disk = Disk::default();
        let mut writer = disk.writer();
        writer.set_capacity(10);
        assert!(writer.append(&event(1)));
        assert!(!writer.append(&event(2)));
        writer.flush().unwrap();
        assert!(writer.append(&event(3)));
        drop(writer);
        assert_eq!(read_all(&disk.bytes.borrow()), [event(1), event(3)]);
    }

    #[test]
    fn memory_is_reused() {
        let disk = Disk::default();
        let mut writer = disk.writer();
        let mut seen = Vec::new();
        for step in 0..20 {
            assert!(writer.append(&event(6)), "{step}");
            writer.flush().unwrap();
            seen.push((writer.pending.as_ptr(), writer.pending.capacity()));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1);
    }

    fn answers() -> impl Strategy<Value = Answer> {
        prop_oneof![
            4 => (0..90_usize).prop_map(Answer::Take),
            1 => Just(Answer::Fail(io::ErrorKind::Interrupted)),
            1 => Just(Answer::Fail(io::ErrorKind::StorageFull)),
            1 => Just(Answer::Fail(io::ErrorKind::PermissionDenied)),
        ]
    }

    proptest! {
        /// Whatever the disk does, every accepted event is read back once and in order, and at each moment the file is
        /// whole records with at most one torn one at the end.
        #[test]
        fn accepted_events_survive_any_disk(
            script in prop::collection::vec(answers(), 0..40),
            flush_after in prop::collection::vec(any::<bool>(), 1..60),
            capacity in 50..2000_usize,
        ) {
            let disk = Disk::new(script);
            let mut writer = disk.writer();
            writer.set_capacity(capacity);
            let mut accepted = Vec::new();
            for (step, flush) in flush_after.into_iter().enumerate() {
                if writer.append(&event(step as i64)) {
                    accepted.push(event(step as i64));
                }
                if flush {
                    let flushed = writer.flush();
                    prop_assert_eq!(flushed.is_ok(), writer.pending() == 0);
                    for event in EventReader::new(&disk.bytes.borrow()[..]) {
                        prop_assert!(event.map_or_else(|e| e.is_truncated(), |_| true));
                    }
                }
                prop_assert_eq!(writer.bytes_written(), disk.bytes.borrow().len() as u64);
            }
            disk.script.borrow_mut().clear();
            drop(writer);
            prop_assert_eq!(read_all(&disk.bytes.borrow()), accepted);
        }
    }

    #[test]
    fn a_new_file_begins_with_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let before = WallTime::now().secs();
        let mut writer = EventWriter::create(dir.path()).unwrap();
        assert!(writer.append(&event(1)));
        writer.flush().unwrap();
        let events: Vec<_> = EventReader::open(writer.path())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let [first, second] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(first.what, Some(What::FileVersion("brain.Event:2".into())));
        assert!(first.wall_time >= before && first.wall_time <= WallTime::now().secs());
        let by = &first.source_metadata.as_ref().unwrap().writer;
        assert_eq!(
            *by,
            format!("tch-tensorboard {}", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(*second, event(1));
        assert_eq!(
            writer.bytes_written(),
            fs::metadata(writer.path()).unwrap().len()
        );
    }

    // The bytes that TensorBoard's own protobuf and framing give for the same event.
    #[test]
    fn the_first_event_matches_golden_bytes() {
        let disk = Disk::default();
        let mut writer = disk.writer();
        assert!(writer.append(&proto::Event {
            source_metadata: None,
            ..first_event(1.0)
        }));
        writer.flush().unwrap();
        let hex: String = disk
            .bytes
            .borrow()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            hex,
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a"
        );
    }

    #[test]
    fn names_sort_behind_all_that_are_there() {
        let now = 1_700_000_000;
        for taken in [
            "events.out.tfevents.1600000000.host.1.0", // the usual case
            "events.out.tfevents.1700000000.zzz.99.0", // the same second
            "events.out.tfevents.1800000000.host",     // the clock was set back
            "events.out.tfevents.1700000000123.host.v2", // another writer's milliseconds
            "events.out.tfevents.18.host",
            "events.out.tfevents.",
            "a.tfevents",
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(taken), "").unwrap();
            let secs = free_secs(dir.path(), now).unwrap();
            let name = file_name(secs, "a", 1, 0);
            assert!(name.as_str() > taken, "{taken} {name}");
            assert!(secs >= now);
            assert_eq!(name.len(), "events.out.tfevents.1700000000.a.1.0000".len());
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events.out.tfevents.9999999999.host"), "").unwrap();
        assert_eq!(free_secs(dir.path(), now).unwrap(), MAX_SECS);
    }

    #[test]
    fn writers_in_one_directory_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..5)
            .map(|_| EventWriter::create(dir.path()).unwrap().path().to_owned())
            .collect();
        assert!(paths.is_sorted_by(|a, b| a < b), "{paths:?}");
    }

    #[test]
    fn a_taken_name_gets_the_next_counter() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..3)
            .map(|_| create_new(dir.path(), 17, "host", 4).unwrap().1)
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        let expected: Vec<_> = (0..3)
            .map(|n| format!("events.out.tfevents.0000000017.host.4.000{n}"))
            .collect();
        assert_eq!(names, expected);
        assert!(
            names
                .iter()
                .all(|name| is_event_file_name(OsStr::new(name)))
        );
    }

    #[test]
    fn creating_in_a_missing_directory_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = EventWriter::create(&missing).unwrap_err();
        assert!(error.is_io());
        assert_eq!(error.path(), Some(missing.as_path()));
    }

    #[test]
    fn host_names_become_part_of_a_file_name() {
        for (host, label) in [
            ("node-7.cluster", "node-7.cluster"),
            ("", "localhost"),
            ("a/b\\c:d e", "a_b_c_d_e"),
            ("rechnér", "rechn_r"),
        ] {
            assert_eq!(host_label(OsStr::new(host)), label);
        }
        assert_eq!(host_label(OsStr::new(&"é".repeat(300))).len(), 64);
    }

    #[cfg(unix)]
    #[test]
    fn a_host_name_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(host_label(OsStr::from_bytes(b"no\xffde")), "no_de");
        assert!(is_event_file_name(OsStr::from_bytes(b"\xff.tfevents\xff")));
    }
}
