//! What was seen of one variable's gradient, from the first call on.

use crate::report::gradient_state::GradientState;
use crate::report::rhythm::Rhythm;
use crate::source::gradient_sampler::GradientSample;

/// Looks in a row of one kind after which those of another kind before them no longer count.
const SETTLED: u32 = 10;

/// Looks that are needed to say that there is no gradient, or that it is zero.
const FEWEST: u32 = 2;

/// Patience with a gradient that is gone, where the run has not shown yet how often it comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Looks after which it is gone where it had come at each.
    pub(crate) least: u64,
    /// The same where it was seen once: a task that comes now and then.
    pub(crate) most: u64,
    /// The longest interval between two gradients, or two moves, of another variable of the model.
    pub(crate) turn: u64,
}

/// For how long nothing has moved when a gradient is judged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pause {
    /// For a window: then zeros of which not all were seen are all.
    pub(crate) is_still: bool,
    /// The whole model, for longer than pauses usually are: then gradients of exactly zero are the
    /// reason rather than a turn of another.
    pub(crate) is_long: bool,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GradientTrail {
    /// Gradients that are not zero, counted in looks.
    pub(crate) visits: Rhythm,
    looks: u64,
    /// Since the last visit, as far as they are of one kind.
    undefined: u32,
    zero: u32,
    perhaps_zero: u32,
    /// Of the newest kind, in a row, and since which step.
    in_a_row: u32,
    since: Option<i64>,
    kind: Option<GradientState>,
    /// Natural logarithms of the norm: the highest, and the newest.
    highest: Option<f64>,
    newest: Option<f64>,
}

impl GradientTrail {
    /// Takes one look.
    pub(crate) fn look(&mut self, step: i64, glimpse: GradientSample) {
        let kind = match glimpse {
            GradientSample::Unseen => return,
            GradientSample::Undefined => GradientState::Undefined,
            GradientSample::Zero | GradientSample::PerhapsZero => GradientState::Zero,
            GradientSample::NonZero(_) | GradientSample::NonFinite => GradientState::NonZero,
        };
        self.looks += 1;
        self.visits.pass(1, kind == GradientState::NonZero);
        if self.kind == Some(kind) {
            self.in_a_row += 1;
        } else {
            (self.kind, self.in_a_row, self.since) = (Some(kind), 1, Some(step));
        }
        match glimpse {
            GradientSample::Undefined => self.undefined += 1,
            GradientSample::Zero => self.zero += 1,
            GradientSample::PerhapsZero => self.perhaps_zero += 1,
            _ => (self.undefined, self.zero, self.perhaps_zero) = (0, 0, 0),
        }
        if self.in_a_row >= SETTLED {
            match kind {
                GradientState::Undefined => (self.zero, self.perhaps_zero) = (0, 0),
                GradientState::Zero => self.undefined = 0,
                _ => {}
            }
        }
        if let GradientSample::NonZero(Some(norm)) = glimpse
            && norm > 0.0
            && norm.is_finite()
        {
            let log = norm.ln();
            self.highest = Some(self.highest.map_or(log, |highest| highest.max(log)));
            self.newest = Some(log);
        }
    }

    /// What the looks come to.
    pub(crate) fn state(&self, patience: Patience, pause: Pause) -> GradientState {
        if self.looks == 0 {
            return GradientState::Unseen;
        }
        let zero = self.zero + self.perhaps_zero;
        let is_zero_throughout = pause.is_long && zero >= FEWEST && self.undefined == 0;
        if self.visits.events() > 0 && !is_zero_throughout {
            // Where a gradient is there and zero, nobody waits for its turn.
            let least = match self.visits.events() {
                1 if zero == 0 => patience.most,
                _ => patience.least,
            };
            let needed = self.visits.random_patience(least).max(4 * patience.turn);
            if self.visits.since() < needed {
                return GradientState::NonZero;
            }
        }
        match (zero, self.undefined) {
            (0, FEWEST..) => GradientState::Undefined,
            (FEWEST.., undefined) if zero > undefined => {
                match self.perhaps_zero == 0 || pause.is_still {
                    true => GradientState::Zero,
                    false => GradientState::Unseen,
                }
            }
            _ => GradientState::Unseen,
        }
    }

    /// The step of the first of the newest looks that are of one kind.
    pub(crate) fn since(&self) -> Option<i64> {
        self.since
    }

    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    /// The share of its highest norm that the newest gradient had before it came to rest at zero,
    /// or has.
    pub(crate) fn fall(&self) -> Option<f64> {
        Some((self.newest? - self.highest?).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Pause = Pause {
        is_still: true,
        is_long: false,
    };

    const PATIENCE: Patience = Patience {
        least: 20,
        most: 200,
        turn: 0,
    };

    fn after(looks: &[(u32, GradientSample)]) -> GradientTrail {
        let mut trail = GradientTrail::default();
        let all = looks
            .iter()
            .flat_map(|(count, glimpse)| std::iter::repeat_n(*glimpse, *count as usize));
        for (step, glimpse) in all.enumerate() {
            trail.look(step as i64, glimpse);
        }
        trail
    }

    const SOME: GradientSample = GradientSample::NonZero(Some(1.0));

    #[test]
    fn a_gradient_that_comes_each_time_is_missed_soon() {
        let state = |looks: &[(u32, GradientSample)]| after(looks).state(PATIENCE, STILL);
        let seen = (50, SOME);
        assert_eq!(
            state(&[seen, (19, GradientSample::Undefined)]),
            GradientState::NonZero
        );
        assert_eq!(
            state(&[seen, (20, GradientSample::Undefined)]),
            GradientState::Undefined
        );
        assert_eq!(
            state(&[seen, (20, GradientSample::Zero)]),
            GradientState::Zero
        );
    }

    #[test]
    fn a_task_that_comes_now_and_then_is_waited_for() {
        let mut looks = vec![(1, SOME), (29, GradientSample::Undefined)];
        assert_eq!(
            after(&looks).state(PATIENCE, STILL),
            GradientState::NonZero,
            "once"
        );
        looks.extend([(1, SOME), (29, GradientSample::Undefined), (1, SOME)]);
        looks.push((100, GradientSample::Undefined));
        assert_eq!(after(&looks).state(PATIENCE, STILL), GradientState::NonZero);
        looks.push((300, GradientSample::Undefined));
        assert_eq!(
            after(&looks).state(PATIENCE, STILL),
            GradientState::Undefined
        );
    }

    #[test]
    fn what_was_not_seen_in_full_is_zero_only_at_rest() {
        let trail = after(&[(5, GradientSample::PerhapsZero)]);
        assert_eq!(trail.state(PATIENCE, STILL), GradientState::Zero);
        assert_eq!(
            trail.state(PATIENCE, Pause::default()),
            GradientState::Unseen
        );
        assert_eq!(
            GradientTrail::default().state(PATIENCE, STILL),
            GradientState::Unseen
        );
    }
}
