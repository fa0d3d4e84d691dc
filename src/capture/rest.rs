//! Calls between which nothing moved (gradient accumulation, the other model's turn), and steps of
//! a model that rests.

/// The idle call in a row that is taken as a step all the same, with all that follow: a rate of 0
/// is worth seeing.
pub(crate) const IDLE_CALLS: u32 = 20;

/// Steps of a model at rest that are observed however few are: as many as a verdict looks back
/// over, and some.
pub(super) const AT_REST: u32 = 24;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RestCounter {
    /// Passed over in a row, the newest call included.
    idle_calls: u32,
    /// Left out since the newest snapshot, which the next one reports.
    unreported: u32,
    /// Steps in a row at which nothing moved.
    steps: u32,
    /// The step of the first call in the row.
    since: Option<i64>,
}

impl RestCounter {
    /// Takes the call of this step. True when it is idle and left out, which the first ones in a
    /// row are.
    pub(super) fn passes_over(&mut self, is_idle: bool, step: i64) -> bool {
        let is_passed = is_idle && self.idle_calls + 1 < IDLE_CALLS;
        self.idle_calls += u32::from(is_passed);
        self.unreported += u32::from(is_passed);
        if is_idle {
            self.since.get_or_insert(step);
        }
        is_passed
    }

    /// Takes a call that was a step.
    pub(super) fn count_step(&mut self, is_idle: bool) {
        self.steps += u32::from(is_idle);
        if !is_idle {
            (self.idle_calls, self.steps) = (0, 0);
            self.since = None;
        }
    }

    /// Counts an idle step that is not copied.
    pub(super) fn count_unreported(&mut self) {
        self.unreported += 1;
    }

    /// The idle calls that nobody has reported, for a snapshot that is compared with the one
    /// before or not. One that is compared with nothing says nothing of the rest that it lies in.
    pub(super) fn take_unreported(&mut self, is_compared: bool) -> u32 {
        match is_compared || self.since.is_none() {
            true => std::mem::take(&mut self.unreported),
            false => 0,
        }
    }

    /// True for the first steps at which nothing moves.
    pub(super) fn has_just_begun(&self) -> bool {
        self.steps < AT_REST
    }

    /// The step of the first idle call in the row; `None` when the newest call moved something.
    pub(super) fn since(&self) -> Option<i64> {
        self.since
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn the_twentieth_idle_call_in_a_row_is_a_step() {
        let mut rest = RestCounter::default();
        for step in 0..19 {
            assert!(rest.passes_over(true, step));
        }
        assert!(!rest.passes_over(true, 19) && !rest.passes_over(true, 20));
        rest.count_step(true);
        assert_eq!(rest.since(), Some(0));
        assert_eq!(rest.take_unreported(false), 0, "in the middle of the rest");
        assert_eq!(rest.take_unreported(true), 19);
        rest.count_step(false);
        assert_eq!(rest.since(), None);
        assert!(rest.passes_over(true, 30), "another row");
    }

    #[test]
    fn a_rest_has_just_begun_for_as_many_steps_as_a_verdict_needs() {
        let mut rest = RestCounter::default();
        (0..AT_REST).for_each(|_| {
            assert!(rest.has_just_begun());
            rest.count_step(true);
        });
        assert!(!rest.has_just_begun());
    }
}
