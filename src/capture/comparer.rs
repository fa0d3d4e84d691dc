//! Whether anything moved since the newest snapshot.

use crate::capture::planned::Planned;
use crate::capture::walk::Walk;
use crate::model::subject::Subject;
use crate::source::element_source::{ElementSource, Peek};
use crate::source::host::equals;
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};

/// Compares the tensors with the newest copy of them, up to the first difference.
///
/// libtorch's own write counters cannot tell: its SGD, among others, writes through an alias that
/// counts for itself.
pub(crate) struct Comparer<'a> {
    walk: Walk<'a>,
    copy: &'a [u8],
    /// Some variable differs, or cannot be seen without copying it.
    ended: bool,
}

impl<'a> Comparer<'a> {
    pub(crate) fn new(subject: Subject, planned: &'a Planned, copy: &'a [u8]) -> Comparer<'a> {
        Comparer {
            walk: Walk::new(subject, planned),
            copy,
            ended: false,
        }
    }

    /// True when every variable was seen to be as it was.
    pub(crate) fn finish(self) -> bool {
        !self.ended && self.walk.is_complete()
    }

    fn is_same(&self, place: usize, source: &dyn ElementSource) -> bool {
        let Some((variable, layout)) = self.walk.planned.variable(place) else {
            return false;
        };
        match (source.peek(layout), self.copy.get(variable.bytes())) {
            (Peek::Bytes(bytes), Some(copy)) => {
                let stride = variable.extent.stride();
                equals(bytes, layout.dtype.size(), stride, copy) == Some(true)
            }
            _ => false,
        }
    }
}

impl VariableSink for Comparer<'_> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, membership: Option<Membership>) {
        if self.ended {
            return;
        }
        match self.walk.place(name, source, membership) {
            Some(place) if self.walk.planned.is_beside(place) => {}
            Some(place) => self.ended = !self.is_same(place, source),
            None => self.ended = self.walk.stale,
        }
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}
