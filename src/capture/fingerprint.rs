//! Whether anything moved between two calls of which neither is copied.

use crate::capture::planned::Planned;
use crate::capture::walk::Walk;
use crate::model::subject::Subject;
use crate::source::element_source::{ElementSource, Peek};
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};

/// Elements of each variable that a fingerprint is made of.
const PRINTED_ELEMENTS: usize = 16;

/// Makes one number of a few elements of each variable: it costs next to nothing and changes when a
/// model trains.
pub(crate) struct Fingerprint<'a> {
    walk: Walk<'a>,
    /// `None` when some variable cannot be seen without copying it.
    print: Option<u64>,
}

impl<'a> Fingerprint<'a> {
    pub(crate) fn new(subject: Subject, planned: &'a Planned) -> Fingerprint<'a> {
        Fingerprint {
            walk: Walk::new(subject, planned),
            print: Some(0),
        }
    }

    pub(crate) fn finish(self) -> Option<u64> {
        self.print.filter(|_| self.walk.is_complete())
    }

    fn of(&self, place: usize, source: &dyn ElementSource) -> Option<u64> {
        let (_, layout) = self.walk.planned.variable(place)?;
        let Peek::Bytes(bytes) = source.peek(layout) else {
            return None;
        };
        let size = layout.dtype.size();
        let stride = (bytes.len() / size).div_ceil(PRINTED_ELEMENTS).max(1);
        // Odd factors mix as in FNV-1a; the place makes two variables that swap their elements
        // differ.
        let mix = |print: u64, word: u64| {
            (print ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        };
        // A plain loop: a chain of iterators takes ten times as long in an unoptimised build.
        let (mut print, mut at) = (mix(0, place as u64), 0);
        while let Some(element) = bytes.get(at..at + size) {
            let mut word = [0; 8];
            word.get_mut(..size)?.copy_from_slice(element);
            print = mix(print, u64::from_ne_bytes(word));
            at += stride * size;
        }
        Some(print)
    }
}

impl VariableSink for Fingerprint<'_> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, membership: Option<Membership>) {
        let Some(place) = self.walk.place(name, source, membership) else {
            return;
        };
        if self.walk.planned.is_beside(place) {
            return;
        }
        // A sum does not mind the order in which a map shows its variables.
        self.print = self
            .print
            .zip(self.of(place, source))
            .map(|(sum, print)| sum.wrapping_add(print));
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}
