//! Framed records that are not known to be in their segment.

use std::collections::VecDeque;

use prost::Message;

use crate::format::record;
use crate::proto;

/// Bytes that may wait for a sink that does not accept them, unless set otherwise.
const DEFAULT_CAPACITY: usize = 64 << 20;

/// A queue of records in one piece of memory. A record of which a part was written stays whole
/// until the rest is written too: should the segment be lost, it can begin anew in the next one.
pub(super) struct PendingRecords {
    /// Framed, one behind the other.
    bytes: Vec<u8>,
    /// How much of `bytes` was written.
    taken: usize,
    /// Where `bytes` begins in the segment.
    start: u64,
    capacity: usize,
    /// Where each record ends.
    ends: VecDeque<RecordEnd>,
    /// Logged events that were written whole.
    events: u64,
}

/// Where a record ends in the segment.
#[derive(Debug, Clone, Copy)]
struct RecordEnd {
    at: u64,
    /// It is an event that somebody logged, not one of the file's own.
    counts: bool,
}

impl PendingRecords {
    pub(super) fn new() -> PendingRecords {
        PendingRecords {
            bytes: Vec::new(),
            taken: 0,
            start: 0,
            capacity: DEFAULT_CAPACITY,
            ends: VecDeque::new(),
            events: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    /// Frames an event behind the others; false when it was refused: it does not fit into what may
    /// wait, is longer than protobuf allows, or there is no memory for it. One event alone may
    /// exceed the capacity.
    #[must_use = "a refused event has to be counted"]
    pub(super) fn push(&mut self, event: &proto::Event, counts: bool) -> bool {
        let len = event.encoded_len();
        if len as u64 > record::MAX_RECORD_LEN {
            return false;
        }
        let needed = self.bytes.len().saturating_add(len + record::OVERHEAD);
        if needed > self.capacity && !self.bytes.is_empty() {
            return false;
        }
        if self.bytes.try_reserve(len + record::OVERHEAD).is_err() {
            return false;
        }
        record::encode_with(&mut self.bytes, |out| event.encode_raw(out));
        let at = self.start + self.bytes.len() as u64;
        self.ends.push_back(RecordEnd { at, counts });
        true
    }

    /// What is to be written next.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Of the rest, so much was written.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.taken = self.bytes.len().min(self.taken.saturating_add(bytes));
    }

    /// Forgets the records that were written whole.
    pub(super) fn settle(&mut self) {
        let written = self.written();
        let whole = self.ends.partition_point(|end| end.at <= written);
        let settled = self
            .ends
            .drain(..whole)
            .fold((0, None), |(events, _), end| {
                (events + u64::from(end.counts), Some(end.at))
            });
        if let (events, Some(end)) = settled {
            let bytes = usize::try_from(end - self.start).unwrap_or(self.taken);
            self.bytes.drain(..bytes.min(self.bytes.len()));
            self.taken -= bytes.min(self.taken);
            (self.start, self.events) = (end, self.events + events);
        }
    }

    /// The events that wait, and whether each counts.
    pub(super) fn events(&self) -> impl Iterator<Item = (proto::Event, bool)> {
        let mut begin = self.start;
        self.ends.iter().filter_map(move |end| {
            let place = |at: u64| usize::try_from(at - self.start).ok();
            let record = self.bytes.get(place(begin)?..place(end.at)?)?;
            begin = end.at;
            let event = proto::Event::decode(record::payload(record)?).ok();
            debug_assert!(event.is_some(), "a record of this writer does not decode");
            Some((event?, end.counts))
        })
    }

    /// Gives up what waits, and returns how many logged events that is.
    pub(super) fn forget(&mut self) -> u64 {
        let events = self.event_count();
        self.start += self.taken as u64;
        self.taken = 0;
        self.bytes.clear();
        self.ends.clear();
        events
    }

    /// Bytes of the segment that were written.
    pub(super) fn written(&self) -> u64 {
        self.start + self.taken as u64
    }

    /// Logged events that were written whole.
    pub(super) fn written_events(&self) -> u64 {
        self.events
    }

    /// Logged events that wait, perhaps half written.
    pub(super) fn event_count(&self) -> u64 {
        self.ends.iter().filter(|end| end.counts).count() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes in memory.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> (*const u8, usize) {
        (self.bytes.as_ptr(), self.bytes.capacity())
    }
}
