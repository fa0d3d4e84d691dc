//! Appending events to a file, and what the file is called.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;

use crate::error::{APPEND, Error, Result};
use crate::format::record;
use crate::model::types::{SyncPolicy, WallTime};
use crate::proto::session_log::SessionStatus;
use crate::proto::{self, event::What};

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
/// one behind it, and is never cut back or rewritten, which TensorBoard's fast loader would not survive. A record of which
/// the system took a part stays in memory whole: should the file be lost, it can begin anew in the next one.
pub(crate) struct EventWriter<W: Write = File> {
    path: PathBuf,
    /// `None` once it was given up.
    sink: Option<W>,
    /// Framed records that are not known to be in the file.
    pending: Vec<u8>,
    /// How much of `pending` the system has taken.
    taken: usize,
    /// Where `pending` begins in the file.
    start: u64,
    capacity: usize,
    /// Where each pending record ends.
    ends: VecDeque<End>,
    /// Events that the system has taken whole.
    events: u64,
    /// The system tells the length of the file as it is. Some network file systems do not while it is open.
    tells_length: bool,
}

/// Where a pending record ends in the file.
#[derive(Debug, Clone, Copy)]
struct End {
    at: u64,
    /// It is an event that somebody logged, not one of the file's own.
    counts: bool,
}

/// What kept records from the file.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The system refused; trying again is right.
    Refused {
        action: &'static str,
        source: io::Error,
    },
    /// The file is not what was written any more. What waits belongs into another one.
    Lost(Loss),
}

/// What somebody else has done to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It has no name any more: what is written goes nowhere, and no error says so.
    Deleted,
    /// It is shorter than what was written: appending would put the rest of a record where its beginning is missing.
    CutShort,
}

impl EventWriter<File> {
    /// Makes a new event file in `dir`, which must exist, and writes its first event.
    ///
    /// The name sorts behind all event files of the usual name in `dir` and behind `previous`, even when the clock was set
    /// back: TensorBoard reads the files of a run in the order of their names, and ignores those before the one it is at.
    pub(crate) fn create(
        dir: &Path,
        previous: Option<&Path>,
        sync: SyncPolicy,
    ) -> Result<EventWriter> {
        let now = WallTime::now();
        let host = host_label(&gethostname::gethostname());
        let process = std::process::id();
        let previous = previous.and_then(Path::file_name);
        let (secs, counter) = free_name(dir, now.secs() as u64, &host, process, previous)
            .map_err(|e| Error::io("list", dir, e))?;
        let (file, path) = create_new(dir, secs, &host, process, counter)?;
        let mut writer = EventWriter::new(path, file);
        // Never refused: nothing is pending yet.
        let _ = writer.append_own(&first_event(now.secs()));
        let begun = writer.begin(dir, sync);
        begun.inspect_err(|_| {
            // An empty or torn file is of no use to anyone, and only this call knows of it.
            let _ = fs::remove_file(&writer.path);
            writer.forget_pending();
        })?;
        Ok(writer)
    }

    fn begin(&mut self, dir: &Path, sync: SyncPolicy) -> Result<()> {
        let failed = |path: &Path, error| Error::io("write the first record of", path, error);
        self.flush().map_err(|e| failed(&self.path, e))?;
        let Some(file) = &self.sink else {
            return Ok(());
        };
        self.tells_length = file
            .metadata()
            .is_ok_and(|found| found.len() == self.bytes_written());
        if sync != SyncPolicy::Never {
            file.sync_data().map_err(|e| failed(&self.path, e))?;
            // The name is the directory's content. Directories cannot be opened everywhere.
            #[cfg(unix)]
            File::open(dir)
                .and_then(|dir| dir.sync_all())
                .map_err(|e| Error::io("sync", dir, e))?;
        }
        Ok(())
    }

    /// Hands all that was appended to the system, and to the device where `sync` says so. What is in the file for certain
    /// is forgotten, so nothing is lost to a file that somebody deletes meanwhile.
    pub(crate) fn commit(&mut self, sync: bool) -> Result<(), Fault> {
        self.look()?;
        let written = self.write_out();
        if written
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::StaleNetworkFileHandle)
        {
            return Err(Fault::Lost(Loss::Deleted));
        }
        self.look()?;
        self.settle();
        written.map_err(|source| Fault::Refused {
            action: APPEND,
            source,
        })?;
        match &self.sink {
            Some(file) if sync => file.sync_data().map_err(|source| Fault::Refused {
                action: "sync",
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Sees what has become of the file.
    fn look(&self) -> Result<(), Fault> {
        let Some(Ok(file)) = self.sink.as_ref().map(File::metadata) else {
            return Ok(());
        };
        // Elsewhere a file that is open cannot be deleted.
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&file) == 0 {
            return Err(Fault::Lost(Loss::Deleted));
        }
        if self.tells_length && file.len() < self.bytes_written() {
            return Err(Fault::Lost(Loss::CutShort));
        }
        Ok(())
    }
}

impl<W: Write> EventWriter<W> {
    /// Writes to `sink`, which must not buffer: what it takes counts as written.
    fn new(path: PathBuf, sink: W) -> EventWriter<W> {
        EventWriter {
            path,
            sink: Some(sink),
            pending: Vec::new(),
            taken: 0,
            start: 0,
            capacity: DEFAULT_CAPACITY,
            ends: VecDeque::new(),
            events: 0,
            tells_length: false,
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
    /// of it, when it is longer than protobuf allows, and when there is no memory for it.
    #[must_use = "a refused event has to be counted"]
    pub(crate) fn append(&mut self, event: &proto::Event) -> bool {
        self.append_as(event, true)
    }

    /// As [`append`](EventWriter::append), for an event that nobody logged and that is not counted.
    #[must_use]
    pub(crate) fn append_own(&mut self, event: &proto::Event) -> bool {
        self.append_as(event, false)
    }

    fn append_as(&mut self, event: &proto::Event, counts: bool) -> bool {
        let len = event.encoded_len();
        if len as u64 > record::MAX_RECORD_LEN {
            return false;
        }
        let needed = self.pending.len().saturating_add(len + record::OVERHEAD);
        if needed > self.capacity && !self.pending.is_empty() {
            return false;
        }
        if self.pending.try_reserve(len + record::OVERHEAD).is_err() {
            return false;
        }
        record::encode_with(&mut self.pending, |out| event.encode_raw(out));
        let at = self.start + self.pending.len() as u64;
        self.ends.push_back(End { at, counts });
        true
    }

    /// Hands all that was appended to the system.
    ///
    /// After an error what was not taken is kept and goes first the next time. Calling again is always right.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let result = self.write_out();
        self.settle();
        result
    }

    fn write_out(&mut self) -> io::Result<()> {
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        loop {
            let rest = self.pending.get(self.taken..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            match sink.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.taken += n.min(rest.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Forgets the records that the system has taken whole.
    fn settle(&mut self) {
        let written = self.bytes_written();
        let whole = self.ends.partition_point(|end| end.at <= written);
        let settled = self
            .ends
            .drain(..whole)
            .fold((0, None), |(events, _), end| {
                (events + u64::from(end.counts), Some(end.at))
            });
        if let (events, Some(end)) = settled {
            let bytes = usize::try_from(end - self.start).unwrap_or(self.taken);
            self.pending.drain(..bytes.min(self.pending.len()));
            self.taken -= bytes.min(self.taken);
            (self.start, self.events) = (end, self.events + events);
        }
    }

    /// The events that are not known to be in the file, and whether each counts.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (proto::Event, bool)> {
        let mut begin = self.start;
        self.ends.iter().filter_map(move |end| {
            let place = |at: u64| usize::try_from(at - self.start).ok();
            let record = self.pending.get(place(begin)?..place(end.at)?)?;
            begin = end.at;
            let event = proto::Event::decode(record::payload(record)?).ok()?;
            Some((event, end.counts))
        })
    }

    /// Gives up what waits, and tells how many logged events that is.
    pub(crate) fn forget_pending(&mut self) -> u64 {
        let events = self.pending_events();
        self.start += self.taken as u64;
        self.taken = 0;
        self.pending.clear();
        self.ends.clear();
        events
    }

    /// Gives up what waits, as [`forget_pending`](EventWriter::forget_pending) does, and closes the file: one that was deleted
    /// keeps its place on the disk while it is open.
    pub(crate) fn abandon(&mut self) -> u64 {
        self.sink = None;
        self.forget_pending()
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the system has taken.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.start + self.taken as u64
    }

    /// Logged events that the system has taken whole.
    pub(crate) fn events_written(&self) -> u64 {
        self.events
    }

    /// Logged events that wait for [`flush`](EventWriter::flush), perhaps half taken.
    pub(crate) fn pending_events(&self) -> u64 {
        self.ends.iter().filter(|end| end.counts).count() as u64
    }

    /// True when nothing waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes that are kept in memory.
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
            .field("written", &self.bytes_written())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// An event that says that a session began or ended at a step. TensorBoard's Python loader forgets all points at this step
/// and later when it meets a start that is not the first of the run; the fast loader ignores it.
pub(crate) fn session_event(status: SessionStatus, step: i64) -> proto::Event {
    proto::Event {
        wall_time: WallTime::now().secs(),
        step,
        what: Some(What::SessionLog(proto::SessionLog {
            status: status.into(),
            ..Default::default()
        })),
        ..Default::default()
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

/// Makes the file, with the first counter from `counter` on that is free: processes in two containers may share host name
/// and process number, and two loggers of one process start in the same second.
fn create_new(
    dir: &Path,
    secs: u64,
    host: &str,
    process: u32,
    mut counter: u32,
) -> Result<(File, PathBuf)> {
    loop {
        let path = dir.join(file_name(secs, host, process, counter));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && counter < MAX_COUNTER => {
                counter += 1;
            }
            Err(e) => return Err(Error::io("create", path, e)),
        }
    }
}

fn file_name(secs: u64, host: &str, process: u32, counter: u32) -> String {
    format!("{PREFIX}{secs:0SECS_DIGITS$}.{host}.{process}.{counter:04}")
}

/// The time and the counter to put into a name so that it sorts behind the event files in `dir` and behind `previous`: now
/// and 0 if that is enough. Behind a file of this very writer the counter tells the order, as files may follow each other
/// within a second; behind any other the time does.
fn free_name(
    dir: &Path,
    now: u64,
    host: &str,
    process: u32,
    previous: Option<&OsStr>,
) -> io::Result<(u64, u32)> {
    let mut newest = previous.map(OsStr::to_owned);
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let sorts_behind = newest.as_ref().is_none_or(|newest| name > *newest);
        if sorts_behind && secs_of(&name).is_some() {
            newest = Some(name);
        }
    }
    let now = now.min(MAX_SECS);
    let Some((name, taken)) = newest
        .as_ref()
        .and_then(|name| Some((name, secs_of(name)?)))
    else {
        return Ok((now, 0));
    };
    if taken < now {
        return Ok((now, 0));
    }
    let own = format!("{PREFIX}{taken:0SECS_DIGITS$}.{host}.{process}.");
    let counter = name
        .to_str()
        .filter(|_| previous == Some(name))
        .and_then(|name| name.strip_prefix(&own)?.parse::<u32>().ok());
    match counter {
        Some(counter) if counter < MAX_COUNTER => Ok((taken, counter + 1)),
        // Host and process number decide within a second, and may go either way.
        _ => Ok(((taken + 1).min(MAX_SECS), 0)),
    }
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
    use crate::format::event_file::{EventReader, is_event_file_name};
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_that_is_always_full_takes_nothing_and_costs_nothing() {
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut writer = EventWriter::new("/dev/full".into(), full);
        assert!(writer.append(&event(1)) && writer.append(&event(2)));
        for _ in 0..3 {
            let fault = writer.commit(true).unwrap_err();
            assert!(
                matches!(&fault, Fault::Refused { source, .. } if source.kind() == io::ErrorKind::StorageFull),
                "{fault:?}"
            );
        }
        assert_eq!((writer.pending_events(), writer.bytes_written()), (2, 0));
        let kept: Vec<_> = writer.unsettled().collect();
        assert_eq!(kept, [(event(1), true), (event(2), true)]);
    }

    /// The record that was half in the file is whole in memory: it can begin anew in another file.
    #[test]
    fn a_torn_record_is_kept_whole() {
        let disk = Disk::new([Answer::Take(60), Answer::Fail(io::ErrorKind::StorageFull)]);
        let mut writer = disk.writer();
        assert!((1..5).all(|step| writer.append(&event(step))));
        writer.flush().unwrap_err();
        let in_file = read_partial(&disk.bytes.borrow());
        let kept: Vec<_> = writer.unsettled().map(|(event, _)| event).collect();
        assert!(!in_file.is_empty() && !kept.is_empty());
        let all: Vec<_> = in_file.into_iter().chain(kept).collect();
        assert_eq!(all, [event(1), event(2), event(3), event(4)]);
    }

    fn read_partial(bytes: &[u8]) -> Vec<proto::Event> {
        EventReader::new(bytes).map_while(Result::ok).collect()
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
        let mut writer = EventWriter::create(dir.path(), None, SyncPolicy::Never).unwrap();
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
            let (secs, counter) = free_name(dir.path(), now, "a", 1, None).unwrap();
            let name = file_name(secs, "a", 1, counter);
            assert!(name.as_str() > taken, "{taken} {name}");
            assert!(secs >= now);
            assert_eq!(name.len(), "events.out.tfevents.1700000000.a.1.0000".len());
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("events.out.tfevents.9999999999.host"), "").unwrap();
        assert_eq!(
            free_name(dir.path(), now, "a", 1, None).unwrap(),
            (MAX_SECS, 0)
        );
    }

    #[test]
    fn writers_in_one_directory_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..5)
            .map(|_| {
                EventWriter::create(dir.path(), None, SyncPolicy::Never)
                    .unwrap()
                    .path()
                    .to_owned()
            })
            .collect();
        assert!(paths.is_sorted_by(|a, b| a < b), "{paths:?}");
    }

    #[test]
    fn a_taken_name_gets_the_next_counter() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..3)
            .map(|_| create_new(dir.path(), 17, "host", 4, 0).unwrap().1)
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
        let error = EventWriter::create(&missing, None, SyncPolicy::Never).unwrap_err();
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
