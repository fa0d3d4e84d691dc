//! How many of a model's steps are observed, so that logging keeps to its share of the process's
//! CPU time, or of the time on the clock where that is more: a process that waits for a GPU
//! computes little itself.

use std::time::{Duration, Instant};

use crate::capture::costs::Costs;
use crate::options::overhead::Overhead;
use crate::platform::cpu_clock;

/// Steps at the beginning that are all observed, so that a fault that is there from the start is
/// reported as early as without a limit: ten of warm-up, a window of twenty, three that confirm it,
/// the first one, which has no delta, and two to spare.
const OBSERVED: u64 = 36;

/// The first of them from which on their costs count: the ones before make plan, tables and files.
const WARM: u64 = 6;

/// Steps between two decisions at least: fewer are too short to be measured.
const BETWEEN: u64 = 16;

/// What may be spent, whatever its share, before anything is thinned out: the first hundreds of
/// steps of a small model, all that a short run has, so that a fault that takes its time to be
/// sure, such as stillness without a reason, is reported as early as without a limit. It counts,
/// and is made up for later.
const ADVANCE: Duration = Duration::from_millis(100);

/// From this stride on the steps between are not even looked at.
const BLIND: u64 = 256;
const LONGEST: u64 = 1 << 12;

/// The stride is halved where the costs would stay below this part of the limit, and some: costs
/// at twice the stride are not quite half as high.
const ROOM: f64 = 0.4;

/// Clocks and counters at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    step: u64,
    spent: Duration,
    process: Duration,
    clock: Duration,
}

impl Reading {
    fn now(step: u64, costs: &Costs, began: Instant) -> Reading {
        Reading {
            step,
            spent: costs.spent(),
            process: cpu_clock::process(),
            clock: began.elapsed(),
        }
    }

    /// The share of the time that logging took since an earlier reading.
    fn share_since(&self, before: &Reading) -> f64 {
        let spent = self.spent.saturating_sub(before.spent).as_secs_f64();
        let process = self.process.saturating_sub(before.process);
        let clock = self.clock.saturating_sub(before.clock);
        spent / process.max(clock).as_secs_f64().max(1e-9)
    }
}

/// See the module. Strides are powers of two, so that a longer one observes steps of a shorter one.
#[derive(Debug)]
pub(crate) struct Throttle {
    limit: Option<f64>,
    stride: u64,
    created: Instant,
    /// When the steps began that keep to the limit.
    began: Option<Reading>,
    /// At the decision before.
    decided: Option<Reading>,
    /// As of then.
    has_credit: bool,
}

impl Throttle {
    pub(crate) fn new(overhead: Overhead) -> Throttle {
        Throttle {
            limit: overhead.share(),
            stride: 1,
            created: Instant::now(),
            began: None,
            decided: None,
            has_credit: true,
        }
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Of so many steps one is observed; 1 for all of them.
    pub(crate) fn stride(&self) -> u64 {
        self.stride
    }

    /// True unless more than the limit has been spent.
    pub(crate) fn has_credit(&self) -> bool {
        self.has_credit
    }

    /// True when the steps between those that are observed are so many that none is looked at.
    pub(crate) fn is_blind(&self) -> bool {
        self.stride >= BLIND
    }

    /// One that stays as it is.
    #[cfg(test)]
    pub(crate) fn of_stride(stride: u64) -> Throttle {
        Throttle {
            stride,
            ..Throttle::new(Overhead::Unlimited)
        }
    }

    /// The step from which on the next decision is made.
    fn due(&self) -> u64 {
        match self.decided {
            None => WARM,
            Some(_) if self.began.is_none() => OBSERVED,
            Some(before) => before.step + BETWEEN.max(2 * self.stride),
        }
    }

    /// Takes that so many steps have passed, and decides for those to come.
    pub(crate) fn follow(&mut self, steps: u64, costs: &Costs) {
        if self.limit.is_some() && self.is_due(steps, costs.spent()) {
            self.decide(Reading::now(steps, costs, self.created));
        }
    }

    fn is_due(&self, steps: u64, spent: Duration) -> bool {
        match self.began {
            Some(began) if self.stride == 1 && spent < began.spent + ADVANCE => false,
            _ => steps >= self.due(),
        }
    }

    fn decide(&mut self, now: Reading) {
        let (Some(limit), Some(before)) = (self.limit, self.decided.replace(now)) else {
            return;
        };
        let Some(began) = self.began else {
            self.began = Some(now);
            return;
        };
        let (recent, all) = (now.share_since(&before), now.share_since(&began));
        self.has_credit = all < limit;
        let wanted = if recent > limit {
            let times = (recent / limit).log2().ceil().clamp(1.0, 6.0);
            self.stride << times as u32
        } else if all > limit && recent > limit / 4.0 {
            // What was too much is made up for.
            2 * self.stride
        } else if all < limit && recent < ROOM * limit {
            self.stride / 2
        } else {
            self.stride
        };
        self.stride = wanted.clamp(1, LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose steps take a millisecond, each observed one so many microseconds more and the
    /// others a few: the strides decided, and the share that logging took in the end.
    fn run(limit: f64, costs: impl FnMut(u64) -> (u64, u64), steps: u64) -> (Vec<u64>, f64) {
        run_beside(Duration::ZERO, limit, costs, steps)
    }

    /// The same where a step takes so long on the clock.
    fn run_beside(
        clock: Duration,
        limit: f64,
        mut costs: impl FnMut(u64) -> (u64, u64),
        steps: u64,
    ) -> (Vec<u64>, f64) {
        let mut throttle = Throttle::new(Overhead::AtMost(limit));
        let (mut spent, mut process) = (Duration::ZERO, Duration::ZERO);
        let (mut strides, mut began) = (vec![1], Duration::ZERO);
        for step in 0..steps {
            let (observed, passed) = costs(step);
            let is_observed = step.is_multiple_of(throttle.stride);
            let taken = Duration::from_micros(if is_observed { observed } else { passed });
            spent += taken;
            process += taken + Duration::from_millis(1);
            let reading = Reading {
                step,
                spent,
                process,
                clock: step as u32 * clock,
            };
            if throttle.is_due(step, spent) {
                throttle.decide(reading);
            }
            if step == OBSERVED {
                began = spent;
            }
            if strides.last() != Some(&throttle.stride) {
                strides.push(throttle.stride);
            }
        }
        let share = (spent - began).as_secs_f64() / (process.as_secs_f64());
        (strides, share)
    }

    #[test]
    fn what_is_cheap_is_observed_at_each_step() {
        assert_eq!(run(0.02, |_| (15, 1), 3000).0, [1]);
    }

    #[test]
    fn a_process_that_waits_is_measured_by_the_clock() {
        let waits = Duration::from_millis(30);
        assert_eq!(run_beside(waits, 0.02, |_| (500, 2), 3000).0, [1]);
        assert!(run(0.02, |_| (500, 2), 3000).0.len() > 1);
    }

    #[test]
    fn a_short_run_is_observed_in_full_whatever_the_share_of_its_steps() {
        // 100 ms are 300 steps of 330 microseconds behind the first 36.
        let (strides, _) = run(0.02, |_| (330, 1), 330);
        assert_eq!(strides, [1]);
        let (strides, share) = run(0.02, |_| (330, 1), 20_000);
        assert!(strides.len() > 1 && share < 0.021, "{share} {strides:?}");
    }

    #[test]
    fn the_limit_is_kept_by_one_stride_that_stays() {
        for observed in [25, 100, 333, 1000, 5000] {
            let (strides, share) = run(0.02, |_| (observed, 2), 20_000);
            let (longer, _) = run(0.02, |_| (observed, 2), 40_000);
            assert!(share <= 0.0201, "{observed}: {share} {strides:?}");
            // What made up for the advance is over.
            assert_eq!(strides, longer, "{observed}");
            assert!(strides.iter().all(|stride| stride.is_power_of_two()));
            // Half of what is allowed is used at least, but for what a power of two leaves.
            assert!(share > 0.004, "{observed}: {share} {strides:?}");
        }
    }

    #[test]
    fn a_run_that_gets_cheaper_is_observed_more() {
        let (strides, _) = run(0.02, |step| (if step < 500 { 1000 } else { 10 }, 1), 6000);
        assert_eq!(strides.last(), Some(&1), "{strides:?}");
        let (strides, share) = run(0.02, |step| (if step < 500 { 10 } else { 1000 }, 1), 12_000);
        assert!(*strides.last().unwrap() >= 32, "{strides:?}");
        assert!(share < 0.021, "{share}");
    }

    #[test]
    fn where_looking_alone_is_too_much_nobody_looks() {
        let mut throttle = Throttle::new(Overhead::AtMost(0.01));
        throttle.stride = BLIND;
        assert!(throttle.is_blind());
        throttle.stride = BLIND / 2;
        assert!(!throttle.is_blind());
    }

    #[test]
    fn without_a_limit_no_clock_decides() {
        let mut throttle = Throttle::new(Overhead::Unlimited);
        let costs = Costs::default();
        costs.add_writer(Duration::from_secs(1000));
        (0..100).for_each(|step| throttle.follow(step, &costs));
        assert_eq!(throttle.stride(), 1);
        assert!(throttle.decided.is_none());
    }
}
