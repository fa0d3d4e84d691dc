//! What users log, on its way to the worker, in the order in which it was logged. Scalars cost one
//! lock and one append into memory that is reused, and wake nobody; a payload takes its place among
//! them.

use std::time::Duration;

use crate::model::types::{OnFull, WallTime};
use crate::platform::gate::Gate;
use crate::run::entry::RunEntry;

/// Scalars that may wait. At about 50 bytes each, 3 MB. Two where schedules are tried: a full queue
/// is what matters.
const CAPACITY: usize = if cfg!(all(test, shuttle)) { 2 } else { 1 << 16 };

/// Bytes of names that may wait, however few scalars they belong to.
const NAMES_CAPACITY: usize = 16 << 20;

/// Payloads that may wait; their memory is bounded before they get here.
const PAYLOADS: usize = if cfg!(all(test, shuttle)) { 1 } else { 1 << 10 };

/// At this many scalars the worker is woken rather than left to its timer.
const WAKE_AT: usize = if cfg!(all(test, shuttle)) { 1 } else { 1 << 12 };

/// Once in so many the caller is asked to see whether there is a worker at all.
const LOOK_EVERY: usize = 64;

/// Scalars and payloads in the order they were logged.
#[derive(Default)]
pub(crate) struct Batch {
    names: String,
    items: Vec<Item>,
    payloads: Vec<PayloadEntry>,
}

/// One scalar of a [`Batch`].
#[derive(Debug, Clone, Copy)]
struct Item {
    run: u32,
    /// Where its name ends in `names`; it begins where the one before ends.
    name_end: usize,
    step: i64,
    wall_time: WallTime,
    value: f64,
    /// It belongs to the event of the one before.
    joins: bool,
}

/// One scalar as the worker reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ScalarEntry<'a> {
    pub(crate) run: u32,
    pub(crate) tag: &'a str,
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) value: f64,
    pub(crate) joins: bool,
}

/// A payload of a [`Batch`].
pub(crate) struct PayloadEntry {
    pub(crate) run: u32,
    /// How many scalars of the batch were logged before it.
    pub(crate) scalars_before: usize,
    pub(crate) entry: RunEntry,
}

impl Batch {
    /// Scalars in it.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= CAPACITY || self.names.len() >= NAMES_CAPACITY
    }

    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.items.clear();
        self.payloads.clear();
    }

    pub(crate) fn scalars(&self) -> impl Iterator<Item = ScalarEntry<'_>> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let tag = self.names.get(start..item.name_end).unwrap_or_default();
            start = item.name_end;
            let Item {
                run,
                step,
                wall_time,
                value,
                joins,
                ..
            } = *item;
            ScalarEntry {
                run,
                tag,
                step,
                wall_time,
                value,
                joins,
            }
        })
    }

    pub(crate) fn take_payloads(&mut self) -> Vec<PayloadEntry> {
        std::mem::take(&mut self.payloads)
    }

    /// Appends the scalars of one event.
    #[inline]
    fn push<'a>(
        &mut self,
        run: u32,
        step: i64,
        wall_time: WallTime,
        scalars: impl IntoIterator<Item = (&'a str, &'a str, f64)>,
    ) -> Pushed {
        let before = self.len();
        let was_awake = self.names.len() >= NAMES_CAPACITY / 2;
        let Batch { names, items, .. } = self;
        for (index, (scope, tag, value)) in scalars.into_iter().enumerate() {
            if !scope.is_empty() {
                names.push_str(scope);
                names.push('/');
            }
            names.push_str(tag);
            items.push(Item {
                run,
                name_end: names.len(),
                step,
                wall_time,
                value,
                joins: index > 0,
            });
        }
        match items.len() {
            now if before < WAKE_AT && now >= WAKE_AT => Pushed::Wake,
            _ if !was_awake && names.len() >= NAMES_CAPACITY / 2 => Pushed::Wake,
            now if before == 0 || now / LOOK_EVERY > before / LOOK_EVERY => Pushed::Look,
            _ => Pushed::Queued,
        }
    }
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits.
    Queued,
    /// It waits, and the worker should be woken.
    Wake,
    /// It waits, and it is time to see whether the worker is still there: a forked process has
    /// none.
    Look,
    /// There was no room, and [`OnFull::Drop`] was asked for, or the worker is gone.
    Dropped,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Queue {
    gate: Gate<Batch>,
}

impl Queue {
    /// Appends the scalars of one event. The duration is the time spent waiting for room.
    pub(crate) fn push<'a>(
        &self,
        run: u32,
        step: i64,
        wall_time: WallTime,
        scalars: impl IntoIterator<Item = (&'a str, &'a str, f64)>,
        on_full: OnFull,
    ) -> (Pushed, Duration) {
        let (batch, waited) = self.gate.wait_until(on_full, |batch| !batch.is_full());
        match batch {
            Some(mut batch) => (batch.push(run, step, wall_time, scalars), waited),
            None => (Pushed::Dropped, waited),
        }
    }

    /// Appends a payload behind all scalars that were pushed before. One that does not fit is
    /// dropped.
    pub(crate) fn push_entry(
        &self,
        run: u32,
        entry: RunEntry,
        on_full: OnFull,
    ) -> (Pushed, Duration) {
        let mut entry = Some(entry);
        let (pushed, waited) = self.gate.enter(on_full, |batch| {
            if batch.payloads.len() >= PAYLOADS {
                return None;
            }
            batch.payloads.push(PayloadEntry {
                run,
                scalars_before: batch.items.len(),
                entry: entry.take()?,
            });
            // The worker takes all at once: it need not be woken for the others.
            Some(match batch.payloads.len() {
                1 => Pushed::Wake,
                _ => Pushed::Queued,
            })
        });
        (pushed.unwrap_or(Pushed::Dropped), waited)
    }

    /// Takes all that waits, leaving `empty` in its place.
    pub(crate) fn drain(&self, empty: Batch) -> Batch {
        let full = self.gate.with(|batch| std::mem::replace(batch, empty));
        if full.is_full() || full.payloads.len() >= PAYLOADS {
            self.gate.wake_all();
        }
        full
    }

    /// Wakes every waiting caller; nothing is taken any more.
    pub(crate) fn close(&self) {
        self.gate.close();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn push(queue: &Queue, tag: &str, on_full: OnFull) -> Pushed {
        queue
            .push(0, 1, WallTime::now(), [("", tag, 2.0)], on_full)
            .0
    }

    #[test]
    fn names_are_bounded_too() {
        let queue = Queue::default();
        let long = "x".repeat(NAMES_CAPACITY / 4);
        let pushed: Vec<Pushed> = (0..6).map(|_| push(&queue, &long, OnFull::Drop)).collect();
        assert_eq!(pushed[1], Pushed::Wake);
        assert_eq!(pushed[3], Pushed::Queued);
        assert_eq!(pushed[4..], [Pushed::Dropped; 2]);
        // Whoever waits for room gets it.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| push(&queue, "a", OnFull::Block));
            queue.drain(Batch::default());
            assert_ne!(waiting.join().unwrap(), Pushed::Dropped);
        });
    }

    #[test]
    fn entries_come_back_in_order_with_their_scopes() {
        let queue = Queue::default();
        let now = WallTime::now();
        queue.push(
            3,
            7,
            now,
            [("G", "loss", 1.0), ("", "b", 2.0)],
            OnFull::Block,
        );
        queue.push(4, 8, now, [("", "\u{fc}", f64::NAN)], OnFull::Block);
        let batch = queue.drain(Batch::default());
        let entries: Vec<ScalarEntry<'_>> = batch.scalars().collect();
        assert_eq!(
            entries[0],
            ScalarEntry {
                run: 3,
                tag: "G/loss",
                step: 7,
                wall_time: now,
                value: 1.0,
                joins: false
            }
        );
        assert_eq!((entries[1].tag, entries[1].joins), ("b", true));
        assert_eq!(
            (entries[2].run, entries[2].tag, entries[2].joins),
            (4, "\u{fc}", false)
        );
        assert_eq!(queue.drain(batch).len(), 0);
    }

    #[test]
    fn a_full_queue_drops_or_waits_for_the_worker() {
        let queue = Queue::default();
        let pushed: Vec<Pushed> = (0..CAPACITY)
            .map(|_| push(&queue, "a", OnFull::Drop))
            .collect();
        assert_eq!(
            pushed
                .iter()
                .filter(|&&pushed| pushed == Pushed::Wake)
                .count(),
            1
        );
        assert_eq!(push(&queue, "a", OnFull::Drop), Pushed::Dropped);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| push(&queue, "b", OnFull::Block));
            assert_eq!(queue.drain(Batch::default()).len(), CAPACITY);
            assert_eq!(
                waiter.join().expect("the waiter does not panic"),
                Pushed::Look
            );
        });
        assert_eq!(queue.drain(Batch::default()).len(), 1);
    }

    #[test]
    fn closing_releases_waiting_callers() {
        let queue = Queue::default();
        for _ in 0..CAPACITY {
            push(&queue, "a", OnFull::Drop);
        }
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| push(&queue, "b", OnFull::Block));
            queue.close();
            assert_eq!(
                waiter.join().expect("the waiter does not panic"),
                Pushed::Dropped
            );
        });
    }
}

/// Run by `make shuttle`: thousands of schedules of a few threads; a lost wake-up ends as a
/// deadlock, which is reported.
#[cfg(all(test, shuttle))]
mod schedules {
    use super::*;
    use shuttle::{check_pct, check_random, thread};
    use std::sync::Arc;

    const CALLERS: u32 = 3;
    const EACH: i64 = 3;

    fn push(queue: &Queue, run: u32, step: i64) -> Pushed {
        let scalar = [("", "tag", step as f64)];
        queue
            .push(run, step, WallTime::now(), scalar, OnFull::Block)
            .0
    }

    /// Every scalar arrives once, those of a caller in order, whoever had to wait.
    fn nothing_is_lost() {
        let queue = Arc::new(Queue::default());
        let callers: Vec<_> = (0..CALLERS)
            .map(|run| {
                let queue = queue.clone();
                thread::spawn(move || {
                    (0..EACH).for_each(|step| {
                        assert_ne!(push(&queue, run, step), Pushed::Dropped);
                    })
                })
            })
            .collect();
        let mut next = [0; CALLERS as usize];
        let mut spare = Batch::default();
        while next.iter().sum::<i64>() < EACH * i64::from(CALLERS) {
            let batch = queue.drain(std::mem::take(&mut spare));
            assert!(batch.len() <= CAPACITY);
            for entry in batch.scalars() {
                let expected = &mut next[entry.run as usize];
                assert_eq!((entry.step, entry.tag), (*expected, "tag"));
                *expected += 1;
            }
            spare = batch;
            spare.clear();
            thread::yield_now();
        }
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
        assert_eq!(queue.drain(Batch::default()).len(), 0);
    }

    /// Closing lets every caller go, and what was queued before stays for the worker.
    fn closing_lets_all_go() {
        let queue = Arc::new(Queue::default());
        let callers: Vec<_> = (0..CALLERS)
            .map(|run| {
                let queue = queue.clone();
                thread::spawn(move || {
                    (0..EACH)
                        .filter(|&step| push(&queue, run, step) != Pushed::Dropped)
                        .count()
                })
            })
            .collect();
        queue.close();
        let queued: usize = callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum();
        assert_eq!(queue.drain(Batch::default()).len(), queued);
    }

    #[test]
    fn a_queue_under_many_schedules() {
        check_random(nothing_is_lost, 5000);
        check_pct(nothing_is_lost, 5000, 3);
        check_random(closing_lets_all_go, 5000);
    }
}
