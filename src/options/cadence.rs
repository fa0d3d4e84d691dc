//! Which calls are written: TensorBoard shows 1000 scalar and 100 (51) histogram points of a
//! series, the rest costs disk.

/// How often a series gets a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Cadence {
    /// Each call until there are 500 scalar (50 histogram) points, then the stride doubles after
    /// every half of that: the start of training in full, and a file that grows with the logarithm
    /// of its length. With [`expected_steps`](crate::WeightOptions::expected_steps), a log-spaced
    /// start and then even spacing, 1000 and 100 points in all.
    #[default]
    Auto,
    /// Each call.
    EveryCall,
    /// Every n-th call, the first included. `Every(0)` never writes.
    Every(u64),
}

/// The number of points `Auto` writes one by one before its stride first doubles.
pub(crate) const AUTO_SCALARS: u64 = 500;
/// The same for histograms.
pub(crate) const AUTO_HISTOGRAMS: u64 = 50;

/// A cadence made concrete for one kind of series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    cadence: Cadence,
    /// Points at stride 1 under `Auto`; half of it is written at each later stride.
    dense: u64,
    expected_steps: Option<u64>,
}

impl Schedule {
    pub(crate) fn new(cadence: Cadence, dense: u64, expected_steps: Option<u64>) -> Schedule {
        Schedule {
            cadence,
            dense,
            expected_steps: expected_steps.filter(|&n| n > 0),
        }
    }

    /// True when the call of this number, counted from 0, gets a point.
    pub(crate) fn is_due(&self, call: u64) -> bool {
        match (self.cadence, self.expected_steps) {
            (Cadence::EveryCall, _) => true,
            (Cadence::Every(0), _) => false,
            (Cadence::Every(n), _) => call.is_multiple_of(n),
            (Cadence::Auto, None) => call.is_multiple_of(self.doubling_stride(call)),
            // A run longer than expected, or counted in epochs by mistake, must not fill the disk.
            (Cadence::Auto, Some(expected)) if call >= expected.max(2 * self.dense) => {
                call.is_multiple_of(self.doubling_stride(call))
            }
            (Cadence::Auto, Some(expected)) => self.is_spread(call, expected),
        }
    }

    /// True for a cadence that the user has chosen, which no limit of costs thins out.
    pub(crate) fn is_explicit(&self) -> bool {
        self.cadence != Cadence::Auto
    }

    /// True when one of the `calls` up to this one, this one included, gets a point.
    pub(crate) fn is_due_within(&self, calls: u64, call: u64) -> bool {
        let first = (call + 1).saturating_sub(calls);
        // No longer than from one point to the next, whatever was left out.
        calls >= 2 * self.stride(call).max(1) && self.stride(call) > 0
            || (first..=call).any(|call| self.is_due(call))
    }

    /// Calls from one point to the next around this call.
    pub(crate) fn stride(&self, call: u64) -> u64 {
        match (self.cadence, self.expected_steps) {
            (Cadence::EveryCall, _) => 1,
            (Cadence::Every(n), _) => n,
            (Cadence::Auto, None) => self.doubling_stride(call),
            (Cadence::Auto, Some(expected)) if call >= expected.max(2 * self.dense) => {
                self.doubling_stride(call)
            }
            (Cadence::Auto, Some(expected)) => (expected / (2 * self.dense)).max(1),
        }
    }

    /// `dense` calls at stride 1, then `dense / 2` points at each doubled stride. Since both bounds
    /// are multiples of the stride, "due" is a plain multiple and a coarser schedule's points are
    /// points of a finer one.
    fn doubling_stride(&self, call: u64) -> u64 {
        match call / self.dense {
            0 => 1,
            periods => 1 << (periods.ilog2() + 1).min(62),
        }
    }

    /// Half of `2 * dense` points log-spaced over the first tenth of the run, half evenly over the
    /// rest.
    fn is_spread(&self, call: u64, expected: u64) -> bool {
        let points = 2 * self.dense;
        if expected <= points {
            return true;
        }
        let (start, early, late) = (expected / 10, points / 4, points - points / 4);
        let even = ((expected - start) as f64 / late as f64).max(1.0);
        if call >= start {
            // Due when a multiple of the (fractional) stride falls into this call.
            let position = (call - start) as f64;
            return call == start || (position / even).floor() > ((position - 1.0) / even).floor();
        }
        // The n-th early point lies at (start + 1)^(n / early) - 1: dense at first, then at even
        // ratios.
        let index = |call: u64| {
            (early as f64 * ((call + 1) as f64).ln() / ((start + 1) as f64).ln()).floor()
        };
        call == 0 || index(call) > index(call - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(schedule: Schedule, calls: u64) -> Vec<u64> {
        (0..calls).filter(|&call| schedule.is_due(call)).collect()
    }

    #[test]
    fn auto_doubles_after_every_half() {
        let due = points(Schedule::new(Cadence::Auto, AUTO_SCALARS, None), 4000);
        assert!((0..500).all(|call| due[call as usize] == call));
        assert_eq!(
            due[500..750],
            (0..250).map(|n| 500 + 2 * n).collect::<Vec<_>>()
        );
        assert_eq!(
            due[750..1000],
            (0..250).map(|n| 1000 + 4 * n).collect::<Vec<_>>()
        );
        assert_eq!(due.len(), 1250);
    }

    #[test]
    fn auto_histograms_fall_on_scalar_points() {
        let scalars = Schedule::new(Cadence::Auto, AUTO_SCALARS, None);
        let due = points(
            Schedule::new(Cadence::Auto, AUTO_HISTOGRAMS, None),
            1_000_000,
        );
        assert!(due.iter().all(|&call| scalars.is_due(call)));
        assert!((400..500).contains(&due.len()), "{}", due.len());
    }

    #[test]
    fn expected_steps_bound_the_points() {
        for expected in [100, 1000, 1001, 5000, 100_000, 12_345_678] {
            for dense in [AUTO_SCALARS, AUTO_HISTOGRAMS] {
                let due = points(
                    Schedule::new(Cadence::Auto, dense, Some(expected)),
                    expected.min(2_000_000),
                );
                assert!(
                    due.len() as u64 <= 2 * dense + 2,
                    "{expected} {dense} {}",
                    due.len()
                );
                assert_eq!(due[0], 0);
                if expected <= 2_000_000 && expected > 2 * dense {
                    assert!(due.len() as u64 > dense, "{expected} {dense} {}", due.len());
                }
            }
        }
    }

    #[test]
    fn a_run_longer_than_expected_goes_on() {
        let schedule = Schedule::new(Cadence::Auto, AUTO_SCALARS, Some(10_000));
        let later = (10_000..20_000)
            .filter(|&call| schedule.is_due(call))
            .count();
        assert!((200..1000).contains(&later), "{later}");
        let epochs_by_mistake = Schedule::new(Cadence::Auto, AUTO_HISTOGRAMS, Some(90));
        assert!(points(epochs_by_mistake, 100_000).len() < 500);
    }

    #[test]
    fn a_point_that_was_left_out_is_due_at_the_next_call_that_is_observed() {
        let schedule = Schedule::new(Cadence::Auto, AUTO_SCALARS, Some(20_000));
        let points = points(schedule, 3000);
        for (stride, call) in [(4, 64), (16, 64), (16, 2048), (128, 2944)] {
            let is_left_out = points.iter().any(|&due| due > call - stride && due <= call);
            assert_eq!(
                schedule.is_due_within(stride, call),
                is_left_out,
                "{stride} {call}"
            );
        }
        let never = Schedule::new(Cadence::Every(0), 1, None);
        assert!(!never.is_due_within(1 << 16, 1 << 17) && never.is_explicit());
        let auto = Schedule::new(Cadence::Auto, AUTO_SCALARS, None);
        assert!(auto.is_due_within(1 << 16, 1 << 17) && auto.is_due_within(8, 0));
        assert!(!auto.is_explicit());
    }

    #[test]
    fn every_n_and_never() {
        assert_eq!(
            points(Schedule::new(Cadence::Every(3), 1, None), 8),
            [0, 3, 6]
        );
        assert!(points(Schedule::new(Cadence::Every(0), 1, None), 8).is_empty());
        assert_eq!(
            points(Schedule::new(Cadence::EveryCall, 1, Some(9)), 3),
            [0, 1, 2]
        );
    }
}
