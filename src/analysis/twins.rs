//! Copies that follow by hand: averages of weights, target networks, momentum encoders.

use std::ops::Range;

use crate::analysis::state::{State, elements};
use crate::capture::buffer::Buffer;
use crate::capture::plan::Variable;
use crate::capture::snapshot::Snapshot;
use crate::source::gradient_sampler::GradientSample;
use crate::source::named_tensors::Role;

/// Variables of the same shape that one is compared with at most.
const CANDIDATES: usize = 8;

/// The cosine between its change and the way to the other variable: a copy goes straight there.
const STRAIGHT: f64 = 0.9;

/// How far a copy may be from what it was made of, against its own size: two that began apart are
/// farther.
const NEAR: f64 = 0.5;

/// Looks at each step until so many are done, then at every so many steps.
const LOOKS: u64 = 8;

/// Says of each variable that has no gradient whether it moves towards one that is trained, or is
/// its copy.
pub(crate) fn follow(
    states: &mut [State],
    snapshot: &Snapshot,
    before: Option<&Buffer>,
    steps: u64,
) {
    for state in states.iter_mut() {
        (state.follows, state.is_copy) = (None, None);
    }
    let Some(before) = before.filter(|_| steps < 4 * LOOKS || steps.is_multiple_of(LOOKS)) else {
        return;
    };
    let variables = &snapshot.plan.variables;
    let look = |place: usize| {
        snapshot
            .buffer
            .looks
            .get(place)
            .copied()
            .unwrap_or_default()
    };
    let glimpse = |place: usize| look(place).glimpse;
    let some_gradient =
        (0..variables.len()).any(|place| matches!(glimpse(place), GradientSample::NonZero(_)));
    let moved = |states: &[State], place: usize| {
        let analysis = states.get(place).and_then(|state| state.analysis());
        let change = analysis.and_then(|analysis| analysis.change);
        change.is_some_and(|change| change.changed > 0)
    };
    let is_trained = |states: &[State], place: usize| {
        look(place).required == Some(true)
            && moved(states, place)
            && !(some_gradient && glimpse(place) == GradientSample::Undefined)
    };
    for place in 0..variables.len() {
        let Some(variable) = variables.get(place).filter(|variable| variable.is_logged()) else {
            continue;
        };
        let without = variable.info.role == Role::Frozen
            || (some_gradient && glimpse(place) == GradientSample::Undefined);
        let is_still = !moved(states, place);
        if !without || (is_still && steps >= LOOKS) {
            continue;
        }
        let twins = (variables.iter().enumerate()).filter(|(other, twin)| {
            *other != place
                && is_trained(states, *other)
                && twin.is_same_tensor(variable)
                && twin.extent == variable.extent
                && last_part(&twin.name) == last_part(&variable.name)
        });
        let found = twins.take(CANDIDATES).any(|(other, _)| {
            let pair = Pair::of(variables, states, [place, other], &snapshot.buffer, before);
            pair.is_some_and(|pair| match is_still {
                true => pair.is_copy(),
                false => pair.is_on_the_way(),
            })
        });
        if let Some(state) = states.get_mut(place) {
            match is_still {
                true => state.is_copy = Some(found),
                false => state.follows = Some(found),
            }
        }
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The same sample of two variables, now and in the snapshot before.
struct Pair {
    own: [Vec<f64>; 2],
    other: [Vec<f64>; 2],
}

impl Pair {
    /// `None` where they cannot be compared.
    fn of(
        variables: &[Variable],
        states: &[State],
        [own, other]: [usize; 2],
        current: &Buffer,
        before: &Buffer,
    ) -> Option<Pair> {
        let numbers = states.get(own)?.origin.as_ref()?.sampled();
        let sample = |place: usize, buffer: &Buffer, at: Range<usize>| {
            let mut values = Vec::with_capacity(numbers.len());
            elements(variables.get(place)?, buffer, Some(at))?.gather(numbers, &mut values);
            Some(values)
        };
        let both = |place: usize| {
            let now = sample(place, current, variables.get(place)?.bytes())?;
            let then = states.get(place)?.place_before.clone()?;
            Some([now, sample(place, before, then)?])
        };
        Some(Pair {
            own: both(own)?,
            other: both(other)?,
        })
    }

    /// The first is next to where the second is.
    fn is_copy(&self) -> bool {
        let [own, other] = [&self.own[0], &self.other[0]];
        let apart = std::iter::zip(own, other).map(|(own, other)| (own - other) * (own - other));
        let size: f64 = own.iter().map(|own| own * own).sum();
        size > 0.0 && apart.sum::<f64>() < NEAR * NEAR * size
    }

    /// The change of the first leads to the second, as it was before or is now.
    fn is_on_the_way(&self) -> bool {
        let [own_now, own_then] = &self.own;
        self.other.iter().any(|target| {
            let (mut both, mut way, mut change) = (0.0, 0.0, 0.0);
            for ((now, then), target) in std::iter::zip(own_now, own_then).zip(target) {
                let (step, left) = (now - then, target - then);
                both += step * left;
                way += left * left;
                change += step * step;
            }
            both > STRAIGHT * (way * change).sqrt()
        })
    }
}
