//! How often something happens, learnt from the run itself, so that a pause is measured against the
//! pauses before it.

/// A pause is long once it is this many times the mean interval: where events come at random, one
/// in so many times, a pause of ten means has a chance of e^-10.
const MEANS: f64 = 10.0;

/// Or this many times the longest interval so far, where they come in turn.
const LONGEST: u64 = 4;

/// Half of both where the reason for the pause is seen all along.
const WITH_REASON: f64 = 0.5;

/// When an event happened, counted in whatever its owner counts: calls, moves of a model, looks at
/// a gradient.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rhythm {
    now: u64,
    events: u64,
    last: u64,
    longest: u64,
}

impl Rhythm {
    /// So many more have passed, with the event at the newest of them or without.
    pub(crate) fn pass(&mut self, passed: u64, is_event: bool) {
        self.now += passed;
        if is_event {
            self.longest = self.longest.max(self.since());
            (self.events, self.last) = (self.events + 1, self.now);
        }
    }

    /// Since the last event, or since the beginning.
    pub(crate) fn since(&self) -> u64 {
        self.now - self.last
    }

    /// All that has passed since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The longest interval that an event has ended; 0 without an event.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }

    /// A pause of this length is longer than the intervals so far explain, and at least `least`.
    pub(crate) fn patience(&self, least: u64) -> u64 {
        least.max(LONGEST * self.longest)
    }

    /// The same of events that come at random.
    pub(crate) fn random_patience(&self, least: u64) -> u64 {
        self.patience(least).max((MEANS * self.mean()) as u64)
    }

    /// The same of a pause whose reason is seen.
    pub(crate) fn reasoned_patience(&self, least: u64) -> u64 {
        let longest = LONGEST as f64 * self.longest as f64;
        least.max((WITH_REASON * longest.max(MEANS * self.mean())) as u64)
    }

    /// The mean interval; 0 without an event.
    fn mean(&self) -> f64 {
        match self.events {
            0 => 0.0,
            events => self.last as f64 / events as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(intervals: &[u64]) -> Rhythm {
        let mut rhythm = Rhythm::default();
        for interval in intervals {
            rhythm.pass(interval - 1, false);
            rhythm.pass(1, true);
        }
        rhythm
    }

    #[test]
    fn each_call_needs_no_more_patience_than_the_least() {
        let rhythm = after(&[1; 70]);
        assert_eq!((rhythm.patience(20), rhythm.random_patience(20)), (20, 20));
        assert_eq!((rhythm.events(), rhythm.since()), (70, 0));
    }

    #[test]
    fn accumulation_is_waited_for() {
        let mut rhythm = after(&[64, 64]);
        assert_eq!((rhythm.longest(), rhythm.patience(20)), (64, 256));
        rhythm.pass(100, false);
        assert_eq!((rhythm.since(), rhythm.patience(20)), (100, 256));
    }

    #[test]
    fn events_at_random_are_waited_for_longer() {
        let rhythm = after(&[3, 17, 9, 11, 10]);
        assert_eq!((rhythm.patience(20), rhythm.random_patience(20)), (68, 100));
        assert_eq!(rhythm.reasoned_patience(20), 50);
        assert_eq!(after(&[1, 1, 1, 97]).reasoned_patience(20), 194);
        assert_eq!(Rhythm::default().random_patience(20), 20);
    }
}
