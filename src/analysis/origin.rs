//! A sample of a variable's first weights, and how it has moved since: for tensors of any size at the cost of a small one.

use crate::capture::plan::{Extent, Variable};
use crate::capture::samples::spread;
use crate::kernel::Elements;
use crate::model::measured::Drift;
use crate::model::variable_info::initial_norm;

/// Elements that are kept of each variable: all of a small one.
const ELEMENTS: usize = 4096;

/// Every so many of these tell whether successive changes point the same way.
const DIRECTION_STRIDE: usize = 4;

/// A variable that begins with less than this part of the norm of a fresh one (an adapter, the last layer of a residual
/// branch) is measured against that: against its own it would have moved hundreds of times its size after a few steps.
const NEXT_TO_ZERO: f64 = 0.01;

/// See the module.
pub(crate) struct Origin {
    /// Of the snapshot: element numbers count in it.
    extent: Extent,
    numbers: Box<[u32]>,
    first: Box<[f64]>,
    /// The squared norm of `first`; not finite where an element is not.
    first_squared: f64,
    /// That of all elements when they were freshly initialised.
    initial_squared: f64,
    /// Every fourth of the newest values, and of their newest changes; no changes after a gap.
    newest: Vec<f64>,
    deltas: Vec<f64>,
    /// The squared norm of `deltas`.
    deltas_squared: f64,
}

impl Origin {
    pub(crate) fn of(values: Elements<'_>, seed: u64, variable: &Variable) -> Origin {
        let most = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        let numbers = spread(values.len().min(most), ELEMENTS, seed, &variable.name);
        let numbers: Box<[u32]> = numbers.into_iter().map(|number| number as u32).collect();
        let mut first = Vec::with_capacity(numbers.len());
        values.gather(&numbers, &mut first);
        Origin {
            extent: variable.extent,
            numbers,
            newest: Vec::new(),
            deltas: Vec::new(),
            deltas_squared: 0.0,
            first_squared: sum(&first, &first, |then, _| then * then),
            first: first.into_boxed_slice(),
            initial_squared: initial_norm(&variable.info.shape).powi(2),
        }
    }

    pub(crate) fn fits(&self, variable: &Variable) -> bool {
        self.extent == variable.extent
    }

    /// Takes a snapshot of a variable of `all` elements. `follows` when the one before is that of the step before.
    /// Returns how far it lies from the first, scaled from the sample to all elements, and the cosine between this change
    /// and the one before. `now` is memory for the sample, whatever it holds.
    pub(crate) fn follow(
        &mut self,
        values: Elements<'_>,
        all: usize,
        follows: bool,
        now: &mut Vec<f64>,
    ) -> (Option<Drift>, Option<f64>) {
        now.clear();
        values.gather(&self.numbers, now);
        let drift = self.drift(now, all);
        let cosine = if follows {
            self.turn(now)
        } else {
            self.deltas.clear();
            None
        };
        self.newest.clear();
        self.newest.extend(now.iter().step_by(DIRECTION_STRIDE));
        (drift, cosine)
    }

    /// Elements that are not finite now or then are left out.
    fn drift(&self, now: &[f64], all: usize) -> Option<Drift> {
        let scale = all as f64 / self.numbers.len() as f64;
        let moved = sum(now, &self.first, |now, then| (now - then) * (now - then));
        if (moved + self.first_squared).is_finite() {
            return (!now.is_empty()).then(|| Drift {
                moved: moved * scale,
                origin: self.origin(self.first_squared * scale),
            });
        }
        let (mut moved, mut origin, mut finite) = (0.0, 0.0, 0_usize);
        for (now, then) in std::iter::zip(now, &self.first) {
            let delta = now - then;
            if delta.is_finite() {
                moved += delta * delta;
                origin += then * then;
                finite += 1;
            }
        }
        (finite > 0).then(|| Drift {
            moved: moved * scale,
            origin: self.origin(origin * scale),
        })
    }

    /// What a distance is measured with: the squared norm that the variable began with, unless that was next to zero.
    fn origin(&self, began_with: f64) -> f64 {
        if began_with < NEXT_TO_ZERO * NEXT_TO_ZERO * self.initial_squared {
            self.initial_squared
        } else {
            began_with
        }
    }

    /// The cosine between the newest change, which is kept, and the one before; `None` where either is zero or not finite.
    /// Leaves nothing of use in `newest`.
    fn turn(&mut self, now: &[f64]) -> Option<f64> {
        let had_change = self.deltas.len() == self.newest.len() && !self.deltas.is_empty();
        let sample = now.iter().step_by(DIRECTION_STRIDE);
        for (before, now) in self.newest.iter_mut().zip(sample) {
            *before = now - *before;
        }
        std::mem::swap(&mut self.deltas, &mut self.newest);
        let (change, before) = (&self.deltas, &self.newest);
        let squared = sum(change, change, |change, _| change * change);
        let both = std::mem::replace(&mut self.deltas_squared, squared) * squared;
        if !had_change {
            return None;
        }
        let cosine = sum(change, before, |change, before| change * before) / both.sqrt();
        cosine.is_finite().then_some(cosine)
    }
}

/// Sums kept side by side: a single one would wait for the addition before.
const LANES: usize = 8;

/// The sum of the terms of two columns of one length.
fn sum(one: &[f64], other: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    let ((rows, rest), (others, others_rest)) =
        (one.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (one, other) in std::iter::zip(rows, others) {
        for lane in 0..LANES {
            sums[lane] += term(one[lane], other[lane]);
        }
    }
    let rest = std::iter::zip(rest, others_rest).map(|(&one, &other)| term(one, other));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::plan::{Plan, SourceVariable};
    use crate::model::types::DType;
    use crate::model::variable_info::{Role, VariableInfo};
    use crate::options::{Selection, WeightOptions};
    use std::collections::HashSet;

    fn variable(elements: i64) -> Plan {
        of_shape(&[elements])
    }

    fn of_shape(shape: &[i64]) -> Plan {
        let found = SourceVariable {
            name: "w".into(),
            info: VariableInfo {
                dtype: DType::F32,
                shape: shape.to_vec(),
                role: Role::Trainable,
                is_member: None,
            },
        };
        let selection = Selection::new(WeightOptions::new()).unwrap();
        Plan::new(vec![found], &selection, &HashSet::new())
    }

    #[test]
    fn a_small_variable_is_followed_exactly() {
        // More than are summed side by side, and a rest.
        let plan = variable(11);
        let walk = [[0.0_f32; 11], [1.0; 11], [3.0; 11], [2.0; 11]];
        let mut origin = Origin::of(Elements::F32(&walk[1]), 0, &plan.variables[0]);
        let mut follow = |values: &[f32; 11], follows| {
            let (drift, cosine) =
                origin.follow(Elements::F32(values), 11, follows, &mut Vec::new());
            let drift = drift.unwrap();
            ((drift.moved, drift.origin), cosine)
        };
        assert_eq!(follow(&walk[0], false), ((11.0, 11.0), None));
        // The first change has none before it.
        assert_eq!(follow(&walk[1], true), ((0.0, 11.0), None));
        assert_eq!(follow(&walk[2], true), ((44.0, 11.0), Some(1.0)));
        assert_eq!(follow(&walk[3], true), ((11.0, 11.0), Some(-1.0)));
        // Nor has the first after a gap.
        assert_eq!(follow(&walk[0], false).1, None);
        assert_eq!(follow(&walk[1], true).1, None);
        // Standing still points nowhere.
        assert_eq!(follow(&walk[1], true).1, None);
    }

    #[test]
    fn a_matrix_that_began_next_to_zero_is_measured_against_a_fresh_one() {
        let plan = of_shape(&[8, 2]);
        let mut drift = |first: f32, now: f32| {
            let mut origin = Origin::of(Elements::F32(&[first; 16]), 0, &plan.variables[0]);
            let (drift, _) = origin.follow(Elements::F32(&[now; 16]), 16, false, &mut Vec::new());
            drift.map(|drift| (drift.moved, drift.origin))
        };
        // The norm of a fresh one is 4.
        assert_eq!(drift(0.0, 1.0), Some((16.0, 16.0)));
        assert_eq!(drift(0.0, 0.0), Some((0.0, 16.0)));
        assert_eq!(drift(0.5, 1.0), Some((4.0, 4.0)));
        let (moved, origin) = drift(1e-3, 1.0).expect("a drift");
        assert!(
            (moved - 15.968).abs() < 1e-3 && origin == 16.0,
            "{moved} {origin}"
        );
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let plan = variable(3);
        let mut origin = Origin::of(Elements::F32(&[1.0, f32::NAN, 2.0]), 0, &plan.variables[0]);
        let (drift, _) = origin.follow(
            Elements::F32(&[2.0, 1.0, f32::INFINITY]),
            3,
            true,
            &mut Vec::new(),
        );
        assert_eq!(
            drift,
            Some(Drift {
                moved: 1.0,
                origin: 1.0
            })
        );
        let (drift, cosine) =
            origin.follow(Elements::F32(&[f32::NAN; 3]), 3, true, &mut Vec::new());
        assert_eq!((drift, cosine), (None, None));
    }
}
