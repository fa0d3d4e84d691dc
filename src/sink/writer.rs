//! Appending events to a segment.

use std::fmt;
use std::io;
use std::path::Path;

use crate::error::{APPEND, Error, Result};
use crate::model::types::{SyncPolicy, WallTime};
use crate::proto::session_log::SessionStatus;
use crate::proto::{self, event::What};
use crate::sink::names::SegmentName;
use crate::sink::pending::PendingRecords;
use crate::sink::{Claim, Loss, Segment};

/// The format of event files since TensorFlow 0.6.
const FILE_VERSION: &str = "brain.Event:2";

/// Appends events to one segment, in whole records.
///
/// Events are framed into memory and handed to the segment by [`commit`](EventWriter::commit). What
/// it does not take stays in memory, down to the byte, and goes first the next time: the segment
/// never holds a torn record with another one behind it, and is never cut back or rewritten, which
/// TensorBoard's fast loader would not survive.
pub(crate) struct EventWriter {
    segment: Box<dyn Segment>,
    pending: PendingRecords,
    /// Nothing is written any more: the segment was given up.
    is_abandoned: bool,
}

/// What kept records from the segment.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The system refused; trying again is right.
    Refused {
        action: &'static str,
        source: io::Error,
    },
    /// The segment is not what was written any more. What waits belongs into another one.
    Lost(Loss),
}

impl EventWriter {
    /// Creates the next segment of a run and writes its first event. Its name sorts behind all
    /// segments of the usual name and behind `previous`, even when the clock was set back.
    ///
    /// # Errors
    /// [`Error::Io`] when the run cannot be listed, the segment cannot be created or its first
    /// event not be written; then no segment is left.
    pub(crate) fn create(
        claim: &mut dyn Claim,
        previous: Option<&EventWriter>,
        sync: SyncPolicy,
    ) -> Result<EventWriter> {
        let now = WallTime::now();
        let listed = claim
            .list()
            .map_err(|error| Error::io("list", claim.path(), error))?;
        let mut name = SegmentName::after(
            listed,
            previous.and_then(|previous| previous.path().file_name()),
            now.secs() as u64,
            &gethostname::gethostname(),
            std::process::id(),
        );
        let segment = loop {
            if let Some(segment) = claim.create(&name.to_string())? {
                break segment;
            }
            let taken = claim.path().join(name.to_string());
            name = name
                .next()
                .ok_or_else(|| Error::io("create", taken, io::ErrorKind::AlreadyExists.into()))?;
        };
        let mut writer = EventWriter::new(segment);
        // Never refused: nothing is pending yet.
        let is_first = writer.append_own(&first_event(now.secs()));
        debug_assert!(is_first);
        writer.begin(sync).inspect_err(|_| writer.discard())?;
        Ok(writer)
    }

    pub(crate) fn begin(&mut self, sync: SyncPolicy) -> Result<()> {
        let written = self.write_out();
        self.pending.settle();
        let synced = written.and_then(|()| match sync {
            SyncPolicy::Never => Ok(()),
            SyncPolicy::OnFlush | SyncPolicy::EveryWrite => self.segment.sync(),
        });
        synced.map_err(|error| Error::io("write the first record of", self.path(), error))?;
        // The segment compares itself with what it is later. Whatever this finds now, the next
        // commit finds again.
        let _ = self.segment.check(self.bytes_written());
        Ok(())
    }

    fn new(segment: Box<dyn Segment>) -> EventWriter {
        EventWriter {
            segment,
            pending: PendingRecords::new(),
            is_abandoned: false,
        }
    }

    /// Sets how many bytes may wait in memory while the segment cannot be written. A single event
    /// may exceed it.
    #[cfg(test)]
    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.pending.set_capacity(bytes);
    }

    /// Takes an event to be written by the next [`commit`](EventWriter::commit); false when it was
    /// refused.
    ///
    /// It is refused when it does not fit into what may wait in memory, so that a disk that stays
    /// full cannot take all of it, when it is longer than protobuf allows, and when there is no
    /// memory for it.
    #[must_use = "a refused event has to be counted"]
    pub(crate) fn append(&mut self, event: &proto::Event) -> bool {
        self.pending.push(event, true)
    }

    /// As [`append`](EventWriter::append), for an event that nobody logged and that is not counted.
    #[must_use]
    pub(crate) fn append_own(&mut self, event: &proto::Event) -> bool {
        self.pending.push(event, false)
    }

    /// Hands all that was appended to the segment, and to the device where `sync` says so. What is
    /// in the segment for certain is forgotten, so nothing is lost to a file that somebody
    /// deletes meanwhile.
    ///
    /// After an error what was not taken is kept and goes first the next time. Calling again is
    /// always right.
    pub(crate) fn commit(&mut self, sync: bool) -> Result<(), Fault> {
        if self.is_abandoned {
            return Ok(());
        }
        self.check()?;
        let written = self.write_out();
        if let Err(error) = &written
            && error.kind() == io::ErrorKind::StaleNetworkFileHandle
        {
            return Err(Fault::Lost(Loss::Deleted));
        }
        self.check()?;
        self.pending.settle();
        written.map_err(|source| Fault::Refused {
            action: APPEND,
            source,
        })?;
        if sync {
            self.segment.sync().map_err(|source| Fault::Refused {
                action: SYNC,
                source,
            })?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Fault> {
        self.segment
            .check(self.pending.written())
            .map_err(Fault::Lost)
    }

    fn write_out(&mut self) -> io::Result<()> {
        loop {
            let rest = self.pending.rest();
            if rest.is_empty() {
                return Ok(());
            }
            match self.segment.append(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.pending.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The events that are not known to be in the segment, and whether each counts.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (proto::Event, bool)> {
        self.pending.events()
    }

    /// Gives up what waits, and returns how many logged events that is.
    pub(crate) fn forget_pending(&mut self) -> u64 {
        self.pending.forget()
    }

    /// Gives up what waits, as [`forget_pending`](EventWriter::forget_pending) does, and ends the
    /// segment: a file that was deleted keeps its place on the disk while it is open.
    pub(crate) fn abandon(&mut self) -> u64 {
        self.is_abandoned = true;
        // There is nothing in it that anybody could still want.
        let _ = self.segment.finish();
        self.forget_pending()
    }

    /// Ends the segment when nothing waits.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.commit(false)?;
        self.is_abandoned = true;
        self.segment.finish().map_err(|source| Fault::Refused {
            action: "finish",
            source,
        })
    }

    /// Removes a segment that nobody has seen.
    pub(crate) fn discard(&mut self) {
        self.is_abandoned = true;
        self.forget_pending();
        self.segment.discard();
    }

    /// The segment, as far as it is known where it is.
    pub(crate) fn path(&self) -> &Path {
        self.segment.path()
    }

    /// Bytes that the segment has taken.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.pending.written()
    }

    /// Logged events that the segment has taken whole.
    pub(crate) fn events_written(&self) -> u64 {
        self.pending.written_events()
    }

    /// True when nothing waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes that are kept in memory.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }
}

impl Drop for EventWriter {
    /// Saves what it can when the owner panicked or forgot to commit; who wants to know of errors
    /// commits before.
    fn drop(&mut self) {
        let _ = self.commit(false);
    }
}

impl fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWriter")
            .field("path", &self.path())
            .field("written", &self.bytes_written())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// The action of handing a file to the device.
pub(crate) const SYNC: &str = "sync";

/// An event that says that a session began or ended at a step. TensorBoard's Python loader forgets
/// all points at this step and later when it meets a start that is not the first of the run; the
/// fast loader ignores it.
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

/// The event that every file begins with. Its time is the run's start time, which orders runs and
/// so their colours.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::event_file::{EventReader, is_event_file_name};
    use crate::model::types::Existing;
    use crate::sink::claim::claim_run;
    use crate::sink::identity::MarkerIdentity;
    use crate::sink::local_segment::LocalSegment;
    use crate::sink::memory::{Answer, MemorySink};
    use crate::sink::{LocalSink, Sharing, Sink};
    use proptest::prelude::*;
    use std::fs::{self, File};

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

    const RUN: &str = "run";

    /// A writer without a first event, on a sink that answers as scripted and then takes
    /// everything.
    fn scripted(answers: impl IntoIterator<Item = Answer>) -> (MemorySink, EventWriter) {
        let sink = MemorySink::default();
        let claim = sink.claim(Path::new(RUN), Sharing::Exclusive);
        let segment = claim.unwrap().unwrap().create("events").unwrap();
        sink.script(answers);
        (sink, EventWriter::new(segment.unwrap()))
    }

    fn bytes(sink: &MemorySink) -> Vec<u8> {
        sink.segments(RUN).concat()
    }

    fn commit(writer: &mut EventWriter) -> io::Result<()> {
        writer.commit(false).map_err(|fault| match fault {
            Fault::Refused { source, .. } => source,
            Fault::Lost(loss) => panic!("{loss:?}"),
        })
    }

    #[test]
    fn an_interrupted_write_is_no_error() {
        let (sink, mut writer) = scripted([
            Answer::Fail(io::ErrorKind::Interrupted),
            Answer::Take(5),
            Answer::Fail(io::ErrorKind::Interrupted),
        ]);
        assert!(writer.append(&event(1)));
        commit(&mut writer).unwrap();
        assert_eq!(read_all(&bytes(&sink)), [event(1)]);
        assert_eq!(writer.bytes_written(), bytes(&sink).len() as u64);
        assert_eq!(writer.pending(), 0);
    }

    #[test]
    fn a_full_sink_costs_nothing_once_there_is_space() {
        let (sink, mut writer) =
            scripted([Answer::Take(30), Answer::Fail(io::ErrorKind::StorageFull)]);
        assert!(writer.append(&event(1)) && writer.append(&event(2)));
        let error = commit(&mut writer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(writer.bytes_written(), 30);
        assert!(writer.append(&event(3)));
        commit(&mut writer).unwrap();
        assert_eq!(read_all(&bytes(&sink)), [event(1), event(2), event(3)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_that_is_always_full_takes_nothing_and_costs_nothing() {
        let full = File::options().append(true).open("/dev/full").unwrap();
        let marker = MarkerIdentity::read(&File::open("/dev/null").unwrap()).unwrap();
        let segment = LocalSegment::new("/dev/full".into(), full, marker);
        let mut writer = EventWriter::new(Box::new(segment));
        assert!(writer.append(&event(1)) && writer.append(&event(2)));
        for _ in 0..3 {
            let fault = writer.commit(true).unwrap_err();
            let Fault::Refused { source, .. } = fault else {
                panic!("{fault:?}")
            };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(writer.bytes_written(), 0);
        let kept: Vec<_> = writer.unsettled().collect();
        assert_eq!(kept, [(event(1), true), (event(2), true)]);
    }

    /// The record that was half in the file is whole in memory: it can begin anew in another file.
    #[test]
    fn a_torn_record_is_kept_whole() {
        let (sink, mut writer) =
            scripted([Answer::Take(60), Answer::Fail(io::ErrorKind::StorageFull)]);
        assert!((1..5).all(|step| writer.append(&event(step))));
        commit(&mut writer).unwrap_err();
        let in_file = read_partial(&bytes(&sink));
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
        let (sink, mut writer) = scripted([Answer::Take(0)]);
        assert!(writer.append(&event(1)));
        let error = commit(&mut writer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        commit(&mut writer).unwrap();
        assert_eq!(read_all(&bytes(&sink)), [event(1)]);
    }

    #[test]
    fn events_are_refused_whole_when_memory_is_full() {
        let (sink, mut writer) =
            scripted([Answer::Take(20), Answer::Fail(io::ErrorKind::StorageFull)]);
        writer.set_capacity(300);
        let accepted: Vec<i64> = (0..100)
            .filter(|step| writer.append(&event(*step)))
            .collect();
        assert!(accepted.len() > 2 && accepted.len() < 20, "{accepted:?}");
        assert!(writer.pending() <= 300);
        commit(&mut writer).unwrap_err();
        commit(&mut writer).unwrap();
        let read: Vec<i64> = read_all(&bytes(&sink)).iter().map(|e| e.step).collect();
        assert_eq!(read, accepted);
    }

    #[test]
    fn an_event_larger_than_the_capacity_passes_alone() {
        let (sink, mut writer) = scripted([]);
        writer.set_capacity(10);
        assert!(writer.append(&event(1)));
        assert!(!writer.append(&event(2)));
        commit(&mut writer).unwrap();
        assert!(writer.append(&event(3)));
        drop(writer);
        assert_eq!(read_all(&bytes(&sink)), [event(1), event(3)]);
    }

    #[test]
    fn memory_is_reused() {
        let (_, mut writer) = scripted([]);
        let mut seen = Vec::new();
        for step in 0..20 {
            assert!(writer.append(&event(6)), "{step}");
            commit(&mut writer).unwrap();
            seen.push(writer.pending.memory());
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
        /// Whatever the sink does, every accepted event is read back once and in order, and at
        /// each moment the segment is whole records with at most one torn one at the end.
        #[test]
        fn accepted_events_survive_any_sink(
            script in prop::collection::vec(answers(), 0..40),
            flush_after in prop::collection::vec(any::<bool>(), 1..60),
            capacity in 50..2000_usize,
        ) {
            let (sink, mut writer) = scripted(script);
            writer.set_capacity(capacity);
            let mut accepted = Vec::new();
            for (step, flush) in flush_after.into_iter().enumerate() {
                if writer.append(&event(step as i64)) {
                    accepted.push(event(step as i64));
                }
                if flush {
                    let flushed = commit(&mut writer);
                    prop_assert_eq!(flushed.is_ok(), writer.pending() == 0);
                    for event in EventReader::new(&bytes(&sink)[..]) {
                        prop_assert!(event.map_or_else(|e| e.is_truncated(), |_| true));
                    }
                }
                prop_assert_eq!(writer.bytes_written(), bytes(&sink).len() as u64);
            }
            sink.script([]);
            drop(writer);
            prop_assert_eq!(read_all(&bytes(&sink)), accepted);
        }
    }

    #[test]
    fn a_new_file_begins_with_its_version() {
        let dir = tempfile::tempdir().unwrap();
        let before = WallTime::now().secs();
        let mut claim = claim_run(&LocalSink, dir.path(), Existing::Fail).unwrap();
        let mut writer = EventWriter::create(&mut *claim, None, SyncPolicy::Never).unwrap();
        assert!(writer.append(&event(1)));
        commit(&mut writer).unwrap();
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
        let (sink, mut writer) = scripted([]);
        assert!(writer.append(&proto::Event {
            source_metadata: None,
            ..first_event(1.0)
        }));
        commit(&mut writer).unwrap();
        let hex: String = bytes(&sink).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a"
        );
    }

    #[test]
    fn writers_in_one_directory_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut claim = claim_run(&LocalSink, dir.path(), Existing::Fail).unwrap();
        let mut create = |previous: Option<&EventWriter>| {
            EventWriter::create(&mut *claim, previous, SyncPolicy::OnFlush).unwrap()
        };
        let mut writers = vec![create(None)];
        for round in 0..6 {
            // As another writer in the same directory, and as this one going on.
            let previous = writers.last().filter(|_| round % 2 == 0);
            let next = create(previous);
            writers.push(next);
        }
        let paths: Vec<_> = writers.iter().map(EventWriter::path).collect();
        assert!(paths.is_sorted_by(|a, b| a < b), "{paths:?}");
        let are_event_files = |path: &&Path| path.file_name().is_some_and(is_event_file_name);
        assert!(paths.iter().all(are_event_files));
    }

    #[test]
    fn creating_in_a_directory_that_is_gone_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let mut claim = claim_run(&LocalSink, &run, Existing::Fail).unwrap();
        fs::remove_dir_all(&run).unwrap();
        let error = EventWriter::create(&mut *claim, None, SyncPolicy::Never).unwrap_err();
        assert!(error.is_io());
        assert_eq!(error.path(), Some(run.as_path()));
    }

    /// The same writer on another sink: nothing of it depends on files.
    #[test]
    fn a_run_in_memory_holds_the_same_records() {
        let sink = MemorySink::default();
        let mut claim = claim_run(&sink, Path::new(RUN), Existing::Number).unwrap();
        let mut first = EventWriter::create(&mut *claim, None, SyncPolicy::Never).unwrap();
        assert!(first.append(&event(1)));
        first.finish().unwrap();
        let mut second = EventWriter::create(&mut *claim, Some(&first), SyncPolicy::Never).unwrap();
        assert!(second.append(&event(2)));
        drop(second);
        let segments = sink.segments(RUN);
        let events: Vec<_> = segments.iter().map(|bytes| read_all(bytes).pop()).collect();
        assert_eq!(events, [Some(event(1)), Some(event(2))]);
        let other = claim_run(&sink, Path::new(RUN), Existing::Number).unwrap();
        assert_eq!(other.path(), Path::new("run_2"));
    }

    #[test]
    fn a_segment_that_was_lost_leaves_what_waits() {
        let (sink, mut writer) = scripted([]);
        assert!(writer.append(&event(1)));
        sink.lose(Loss::Renamed);
        assert!(matches!(
            writer.commit(false),
            Err(Fault::Lost(Loss::Renamed))
        ));
        assert_eq!(writer.unsettled().count(), 1);
        assert_eq!(writer.forget_pending(), 1);
        assert!(bytes(&sink).is_empty());
    }
}
