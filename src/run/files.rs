//! The event files of a run: when records reach the disk, when the next file begins, and what
//! happens when a disk fails or somebody deletes a file.

use std::ffi::OsStr;
use std::io;
use std::mem;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{APPEND, Error, Result};
use crate::model::types::SyncPolicy;
use crate::proto::Event;
use crate::run::health::Health;
use crate::sink::{Claim, EventWriter, Fault, Loss, SYNC};

/// Records are written once this much waits, or when the worker has nothing else to do.
const WRITE_AT: usize = 1 << 20;

/// How long a failing disk is left alone before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Files that one write begins at most in place of lost ones, plus one.
const MAX_REPLACED: u32 = 3;

/// How a run's files are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileOptions {
    /// A file of at least this size is followed by another one.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) sync: SyncPolicy,
}

/// Completes an event that moves from a lost file into file number `u32`: the metadata of its tags
/// was in the lost one.
pub(crate) type Redescribe<'a> = &'a mut dyn FnMut(u32, &mut Event);

/// See the module.
pub(crate) struct Files {
    claim: Box<dyn Claim>,
    writer: EventWriter,
    options: FileOptions,
    /// The number of the current file, from 1 in each session.
    number: u32,
    refused: RefusedEvents,
    bytes_counted: u64,
    events_counted: u64,
    /// The newest failure since the last write that succeeded.
    failure: Option<Failure>,
    /// The next file could not be created, and the full one continues.
    unrotated_since: Option<Instant>,
    /// The current file replaced a lost one.
    replaced_at: Option<Instant>,
    /// The run's directory is gone or another run's, which has been reported: events are counted
    /// and dropped.
    lost: Option<Error>,
}

/// What a disk has refused, and when.
struct Failure {
    at: Instant,
    error: Error,
}

/// Events that did not fit into memory while the disk refused them.
#[derive(Debug, Default)]
struct RefusedEvents {
    /// Of this outage, and how many of them were reported.
    count: u64,
    reported: u64,
    /// Not yet recorded for `flush` and `close`.
    unrecorded: u64,
}

impl RefusedEvents {
    fn add(&mut self, events: u64) {
        self.count += events;
        self.unrecorded += events;
    }

    /// The first is reported at once, more when there are ten times as many: a long outage is seen
    /// while it lasts.
    fn is_report_due(&self) -> bool {
        self.count > self.reported.saturating_mul(10)
    }
}

impl Files {
    pub(crate) fn new(claim: Box<dyn Claim>, writer: EventWriter, options: FileOptions) -> Files {
        Files {
            claim,
            writer,
            options,
            number: 1,
            refused: RefusedEvents::default(),
            bytes_counted: 0,
            events_counted: 0,
            failure: None,
            unrotated_since: None,
            replaced_at: None,
            lost: None,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.claim.path()
    }

    /// Writes a whole file that is no event file, below the run's directory.
    pub(crate) fn write_beside(&mut self, name: &Path, bytes: &[u8]) -> io::Result<()> {
        self.claim.write_file(name, bytes)
    }

    /// Opens a file in the run's directory.
    pub(crate) fn read_beside(&self, name: &OsStr) -> io::Result<Box<dyn io::Read>> {
        self.claim.read(name)
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Adds an event to what waits; false, and counted as dropped, when it was refused.
    pub(crate) fn append(&mut self, health: &Health, event: &Event) -> bool {
        if let Some(error) = &self.lost {
            Health::count(&health.dropped, 1);
            health.record_loss(error.clone());
            return false;
        }
        let is_taken = self.writer.append(event);
        if !is_taken {
            self.refuse(health, 1);
        }
        is_taken
    }

    fn refuse(&mut self, health: &Health, events: u64) {
        Health::count(&health.dropped, events);
        self.refused.add(events);
        if self.refused.is_report_due() {
            self.report_refused(health);
        }
    }

    /// Adds an event that nobody logged and nobody counts; false when there was no room.
    pub(crate) fn append_own(&mut self, event: &Event) -> bool {
        !self.is_lost() && self.writer.append_own(event)
    }

    /// True when so much waits that it should be written before anything else is done.
    pub(crate) fn is_write_due(&self) -> bool {
        self.writer.pending() >= WRITE_AT && self.may_try() && has_passed(self.replaced_at)
    }

    /// True when something waits and the disk may be tried again.
    pub(crate) fn wants_write(&self) -> bool {
        !self.writer.is_settled() && self.may_try()
    }

    /// Whether the disk may be tried again.
    fn may_try(&self) -> bool {
        has_passed(self.failure.as_ref().map(|failure| failure.at))
    }

    /// Why something waits that could not be written; `None` when nothing waits.
    pub(crate) fn unwritten(&self) -> Option<Error> {
        if self.is_lost() || self.writer.is_settled() {
            return None;
        }
        let failure = self.failure.as_ref().map(|failure| failure.error.clone());
        Some(failure.unwrap_or_else(|| {
            let reason = "others keep removing or renaming the file";
            Error::io(APPEND, self.writer.path(), io::Error::other(reason))
        }))
    }

    /// Hands all that waits to the system, and to the device where the policy says so; `is_flush`
    /// when a caller waits for it. A failure is reported once, until writing has succeeded
    /// again. True when the file was lost and replaced.
    pub(crate) fn write(
        &mut self,
        health: &Health,
        is_flush: bool,
        redescribe: Redescribe<'_>,
    ) -> bool {
        let sync = match self.options.sync {
            SyncPolicy::Never => false,
            SyncPolicy::OnFlush => is_flush,
            SyncPolicy::EveryWrite => true,
        };
        let mut is_replaced = false;
        for _ in 0..MAX_REPLACED {
            if self.is_lost() {
                break;
            }
            let result = self.writer.commit(sync);
            self.count_written(health);
            match result {
                Ok(()) => {
                    self.failure = None;
                    self.report_refused(health);
                    self.refused = RefusedEvents::default();
                    break;
                }
                Err(Fault::Refused { action, source }) => {
                    self.fail(health, Error::io(action, self.writer.path(), source));
                    break;
                }
                // One whose files vanish all the time gets no new one at each write.
                Err(Fault::Lost(_)) if !is_flush && !has_passed(self.replaced_at) => break,
                Err(Fault::Lost(loss)) => {
                    if !self.replace(health, loss, redescribe) {
                        break;
                    }
                    is_replaced = true;
                }
            }
        }
        is_replaced
    }

    /// Begins the next file once this one has the greatest length. The full one is written first:
    /// TensorBoard's Python loader reads no file again once a later one exists. True when the
    /// file was lost and replaced.
    pub(crate) fn rotate(&mut self, health: &Health, redescribe: Redescribe<'_>) -> bool {
        if self.is_lost() || !self.is_full() || !self.may_try() || !has_passed(self.unrotated_since)
        {
            return false;
        }
        let is_replaced = self.write(health, true, redescribe);
        // It may have failed, or found the file lost and begun another one.
        if self.is_lost() || !self.writer.is_settled() || !self.is_full() {
            return is_replaced;
        }
        match self.next_file() {
            Ok(writer) => {
                // Nothing waits for it, and what it holds was checked before.
                let _ = self.install(writer).finish();
                self.unrotated_since = None;
            }
            // Nothing is lost: the full file goes on.
            Err(error) => match self.unrotated_since.replace(Instant::now()) {
                None => health.warn(&error),
                Some(_) => health.warn_again(),
            },
        }
        is_replaced
    }

    fn is_full(&self) -> bool {
        let length = self.writer.bytes_written() + self.writer.pending() as u64;
        self.options.max_bytes.is_some_and(|max| length >= max)
    }

    /// Creates the next file in the directory that the run owns, wherever that is by now.
    fn next_file(&mut self) -> Result<EventWriter> {
        let newest = self.writer.path().to_owned();
        if !self.claim.is_held(Some(&newest))? {
            let reason = "it is not this run's directory any more: it was moved or replaced; \
                          move it back, or create a new logger (the full file goes on)";
            let source = io::Error::new(io::ErrorKind::NotFound, reason);
            return Err(Error::io(
                "create the next file in",
                self.claim.path(),
                source,
            ));
        }
        EventWriter::create(&mut *self.claim, Some(&self.writer), self.options.sync)
    }

    fn install(&mut self, writer: EventWriter) -> EventWriter {
        self.number += 1;
        (self.bytes_counted, self.events_counted) = (0, 0);
        mem::replace(&mut self.writer, writer)
    }

    /// Continues in a further file with what is not known to be in the one that somebody deleted or
    /// cut; false when that is impossible. What was in that file was theirs to remove.
    fn replace(&mut self, health: &Health, loss: Loss, redescribe: Redescribe<'_>) -> bool {
        let writer = match self.find_run() {
            Ok(true) => {
                EventWriter::create(&mut *self.claim, Some(&self.writer), self.options.sync)
            }
            Ok(false) => {
                self.lose(health);
                return false;
            }
            Err(error) => Err(error),
        };
        let writer = match writer {
            Ok(writer) => writer,
            Err(error) => {
                self.fail(health, error);
                return false;
            }
        };
        self.replaced_at = Some(Instant::now());
        let mut lost = self.install(writer);
        self.adopt(health, &lost, redescribe);
        lost.forget_pending();
        let reason = match loss {
            Loss::Deleted => "it was deleted while it was being written",
            Loss::Renamed => "it was renamed or replaced while it was being written",
            Loss::CutShort => "it was cut short while it was being written",
        };
        let next = self.writer.path().display();
        let reason =
            format!("{reason}, with what had been written to it; logging goes on in {next}");
        let source = io::Error::new(io::ErrorKind::NotFound, reason);
        health.fail(Error::io("go on writing", lost.path(), source));
        true
    }

    /// True when there is a run to write to: the one that was claimed, or its directory, from which
    /// files were deleted.
    fn find_run(&mut self) -> Result<bool> {
        let newest = self.writer.path().to_owned();
        Ok(self.claim.is_held(Some(&newest))? || self.claim.reclaim()?)
    }

    /// Takes over what waits for another file.
    fn adopt(&mut self, health: &Health, lost: &EventWriter, redescribe: Redescribe<'_>) {
        let mut refused = 0;
        for (mut event, counts) in lost.unsettled() {
            redescribe(self.number, &mut event);
            let is_taken = match counts {
                true => self.writer.append(&event),
                false => self.writer.append_own(&event),
            };
            refused += u64::from(!is_taken && counts);
        }
        self.refuse(health, refused);
    }

    /// The directory is gone or another run's: whoever deleted it may have begun another run in its
    /// place.
    fn lose(&mut self, health: &Health) {
        let events = self.writer.abandon();
        Health::count(&health.dropped, events);
        let reason = "the run's directory was deleted while it was being written, and what is \
                      logged from here on is lost; make a new logger";
        let source = io::Error::new(io::ErrorKind::NotFound, reason);
        let error = Error::io("go on writing", self.writer.path(), source);
        self.lost = Some(error.clone());
        health.fail(error);
    }

    /// Ends the file. What never reached it is dropped: there is no next try.
    pub(crate) fn give_up(&mut self, health: &Health) {
        let events = self.writer.forget_pending();
        Health::count(&health.dropped, events);
        self.refused.add(events);
        self.record_refused(health);
        self.report_refused(health);
        // All that it holds was handed to the system before.
        let _ = self.writer.finish();
    }

    /// Reports events that were refused since the last report.
    fn report_refused(&mut self, health: &Health) {
        let events = self.refused.count - self.refused.reported;
        self.refused.reported = self.refused.count;
        if events > 0 {
            self.record_refused(health);
            health.warn(&self.dropped(events));
        }
    }

    /// Records them for `flush` and `close`.
    pub(crate) fn record_refused(&mut self, health: &Health) {
        let events = mem::take(&mut self.refused.unrecorded);
        if events > 0 {
            health.record_loss(self.dropped(events));
        }
    }

    fn dropped(&self, events: u64) -> Error {
        let cause = self
            .failure
            .as_ref()
            .and_then(|failure| match &failure.error {
                Error::Io { source, .. } => Some(source.clone()),
                _ => None,
            });
        Error::Dropped {
            path: self.writer.path().into(),
            events,
            cause,
        }
    }

    /// Reports a failure of the disk once, until writing has succeeded again.
    fn fail(&mut self, health: &Health, error: Error) {
        // What a device did not take may be lost with the next power cut, whatever it takes later.
        if matches!(&error, Error::Io { action, .. } if *action == SYNC) {
            health.record_loss(error.clone());
        }
        match &self.failure {
            None => health.warn(&error),
            Some(_) => health.warn_again(),
        }
        let at = Instant::now();
        self.failure = Some(Failure { at, error });
    }

    fn count_written(&mut self, health: &Health) {
        let bytes = self.writer.bytes_written();
        Health::count(&health.bytes, bytes - self.bytes_counted);
        let events = self.writer.events_written();
        Health::count(&health.written, events - self.events_counted);
        (self.bytes_counted, self.events_counted) = (bytes, events);
    }

    #[cfg(test)]
    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.writer.set_capacity(bytes);
    }

    /// The events that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Vec<Event> {
        self.writer.unsettled().map(|(event, _)| event).collect()
    }
}

/// Whether what failed then may be tried again.
fn has_passed(since: Option<Instant>) -> bool {
    since.is_none_or(|since| since.elapsed() > RETRY_AFTER)
}
