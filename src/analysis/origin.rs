//! A sample of a variable's first weights, and how it has moved since: for tensors of any size at
//! the cost of a small one.

use crate::capture::plan::{Extent, Variable};
use crate::capture::samples::spread;
use crate::kernel::Elements;
use crate::model::measured::{ChangedSince, Drift};

/// Elements that are kept of each variable: all of a small one.
const ELEMENTS: usize = 4096;

/// Every so many of these tell whether successive changes point the same way.
const DIRECTION_STRIDE: usize = 4;

/// Steps over which changed elements are counted together.
const SPAN: u32 = 20;

/// Elements that this is counted of at most, and at least.
const ANCHORED: usize = 1024;
const FEWEST: usize = 64;

/// See the module.
pub(crate) struct Origin {
    /// Of the snapshot: element numbers count in it.
    extent: Extent,
    numbers: Box<[u32]>,
    first: Box<[f64]>,
    /// The squared norm of `first`; not finite where an element is not.
    first_squared: f64,
    /// Every fourth of the newest values, and of their newest changes; no changes after a gap.
    newest: Vec<f64>,
    deltas: Vec<f64>,
    /// The squared norm of `deltas`.
    deltas_squared: f64,
    /// What `newest` was up to [`SPAN`] steps before, and how many.
    anchor: Vec<f64>,
    age: u32,
}

/// What a snapshot shows of the way that a variable has taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Trace {
    pub(crate) drift: Option<Drift>,
    /// Between this change and the one before.
    pub(crate) cosine: Option<f64>,
    pub(crate) changed_since: Option<ChangedSince>,
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
            anchor: Vec::new(),
            age: 0,
            first_squared: sum(&first, &first, |then, _| then * then),
            first: first.into_boxed_slice(),
        }
    }

    pub(crate) fn fits(&self, variable: &Variable) -> bool {
        self.extent == variable.extent
    }

    /// Makes what was taken of a variable that was watched through a sample fit the whole: it has
    /// moved since that sample.
    pub(crate) fn widen(&mut self, variable: &Variable) {
        if let (Extent::Watched { stride }, Extent::Full) = (self.extent, variable.extent) {
            let stride = u32::try_from(stride).unwrap_or(u32::MAX);
            for number in &mut self.numbers {
                *number = number.saturating_mul(stride);
            }
            self.extent = Extent::Full;
            self.newest.clear();
            self.deltas.clear();
            self.anchor.clear();
        }
    }

    /// A few of the first elements.
    pub(crate) fn first_elements(&self) -> &[f64] {
        const FEW: usize = 64;
        self.first
            .get(..FEW.min(self.first.len()))
            .unwrap_or_default()
    }

    /// Element numbers of the sample.
    pub(crate) fn sampled(&self) -> &[u32] {
        &self.numbers
    }

    /// Takes a snapshot of a variable of `all` elements. `follows` when the one before is that of
    /// the step before. Returns how far it lies from the first, scaled from the sample to all
    /// elements, and where it goes. `now` is memory for the sample, whatever it holds.
    pub(crate) fn follow(
        &mut self,
        values: Elements<'_>,
        all: usize,
        follows: bool,
        now: &mut Vec<f64>,
    ) -> Trace {
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
        Trace {
            drift,
            cosine,
            changed_since: self.changed_since(now, follows),
        }
    }

    /// Every so many steps, the share of the sample that is not what it was so many steps before.
    fn changed_since(&mut self, now: &[f64], follows: bool) -> Option<ChangedSince> {
        self.age = if follows { self.age + 1 } else { 0 };
        if follows && self.age < SPAN && !self.anchor.is_empty() {
            return None;
        }
        let steps = std::mem::take(&mut self.age);
        let stride = now.len().div_ceil(ANCHORED).max(1);
        let sample = || now.iter().step_by(stride);
        let changed = std::iter::zip(&self.anchor, sample()).filter(|(then, now)| then != now);
        let share = changed.count() as f64 / self.anchor.len().max(1) as f64;
        let is_known = steps == SPAN && self.anchor.len() >= FEWEST;
        self.anchor.clear();
        self.anchor.extend(sample());
        is_known.then_some(ChangedSince { share, steps })
    }

    /// Elements that are not finite now or then are left out.
    fn drift(&self, now: &[f64], all: usize) -> Option<Drift> {
        let scale = all as f64 / self.numbers.len() as f64;
        let moved = sum(now, &self.first, |now, then| (now - then) * (now - then));
        if (moved + self.first_squared).is_finite() {
            return (!now.is_empty()).then_some(Drift {
                moved: moved * scale,
                origin: self.first_squared * scale,
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
        (finite > 0).then_some(Drift {
            moved: moved * scale,
            origin: origin * scale,
        })
    }

    /// The cosine between the newest change, which is kept, and the one before; `None` where either
    /// is zero or not finite. Leaves nothing of use in `newest`.
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
    use crate::capture::plan::{Followed, Plan, SourceVariable};
    use crate::model::types::DType;
    use crate::model::variable_info::{Role, VariableInfo};
    use crate::options::{Selection, WeightOptions};

    fn variable(elements: i64) -> Plan {
        let found = SourceVariable {
            name: "w".into(),
            info: VariableInfo {
                dtype: DType::F32,
                shape: vec![elements],
                role: Role::Trainable,
                is_member: None,
            },
            is_beside: false,
            tie: None,
        };
        let selection = Selection::new(WeightOptions::new()).unwrap();
        Plan::new(vec![found], &selection, &Followed::default(), None)
    }

    #[test]
    fn a_small_variable_is_followed_exactly() {
        // More than are summed side by side, and a rest.
        let plan = variable(11);
        let walk = [[0.0_f32; 11], [1.0; 11], [3.0; 11], [2.0; 11]];
        let mut origin = Origin::of(Elements::F32(&walk[1]), 0, &plan.variables[0]);
        let mut follow = |values: &[f32; 11], follows| {
            let trace = origin.follow(Elements::F32(values), 11, follows, &mut Vec::new());
            let drift = trace.drift.unwrap();
            ((drift.moved, drift.origin), trace.cosine)
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
    fn what_is_not_finite_is_left_out() {
        let plan = variable(3);
        let mut origin = Origin::of(Elements::F32(&[1.0, f32::NAN, 2.0]), 0, &plan.variables[0]);
        let partly = Elements::F32(&[2.0, 1.0, f32::INFINITY]);
        let trace = origin.follow(partly, 3, true, &mut Vec::new());
        assert_eq!(
            trace.drift,
            Some(Drift {
                moved: 1.0,
                origin: 1.0
            })
        );
        let trace = origin.follow(Elements::F32(&[f32::NAN; 3]), 3, true, &mut Vec::new());
        assert_eq!((trace.drift, trace.cosine), (None, None));
    }
}
