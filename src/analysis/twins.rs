//! Copies that follow by hand: averages of weights, target networks, momentum encoders.

use crate::analysis::state::{State, elements};
use crate::capture::buffer::Buffer;
use crate::capture::plan::Variable;
use crate::capture::snapshot::Snapshot;
use crate::source::named_tensors::Role;
use crate::source::values::Glimpse;

/// Variables of the same shape that one is compared with at most.
const CANDIDATES: usize = 8;

/// The cosine between its change and the way to the other variable: a copy goes straight there.
const STRAIGHT: f64 = 0.9;

/// Looks at each step until so many are done, then at every so many steps.
const LOOKS: u64 = 8;

/// Says of each variable that moves without a gradient whether it moves towards one that is trained.
pub(crate) fn follow(
    states: &mut [State],
    snapshot: &Snapshot,
    before: Option<&Buffer>,
    steps: u64,
) {
    states.iter_mut().for_each(|state| state.follows = None);
    let Some(before) = before.filter(|_| steps < 4 * LOOKS || steps.is_multiple_of(LOOKS)) else {
        return;
    };
    let variables = &snapshot.plan.variables;
    let glimpse = |place: usize| {
        let look = snapshot.buffer.looks.get(place);
        look.map_or(Glimpse::Unseen, |look| look.glimpse)
    };
    let has_gradient = |place: usize| matches!(glimpse(place), Glimpse::NonZero(_));
    if !(0..variables.len()).any(has_gradient) {
        return;
    }
    for place in 0..variables.len() {
        let follows = variables
            .get(place)
            .zip(states.get(place))
            .filter(|(variable, state)| {
                let moved = state
                    .analysis()
                    .and_then(|analysis| analysis.change)
                    .is_some_and(|change| change.changed > 0);
                let without =
                    variable.info.role == Role::Frozen || glimpse(place) == Glimpse::Undefined;
                moved && without && variable.is_logged()
            })
            .map(|(variable, _)| {
                let twins = (variables.iter().enumerate()).filter(|(other, twin)| {
                    *other != place
                        && has_gradient(*other)
                        && twin.is_same_tensor(variable)
                        && twin.extent == variable.extent
                        && last_part(&twin.name) == last_part(&variable.name)
                });
                twins.take(CANDIDATES).any(|(other, _)| {
                    let two = [place, other];
                    is_on_the_way(variables, states, two, &snapshot.buffer, before)
                        .unwrap_or_default()
                })
            });
        if let Some(state) = states.get_mut(place) {
            state.follows = follows;
        }
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Whether the change of the first variable leads to the second, as it was before or is now. `None` where they cannot be compared.
fn is_on_the_way(
    variables: &[Variable],
    states: &[State],
    [own, other]: [usize; 2],
    current: &Buffer,
    before: &Buffer,
) -> Option<bool> {
    let numbers = states.get(own)?.origin.as_ref()?.sampled();
    let sample = |place: usize, buffer: &Buffer, at: std::ops::Range<usize>| {
        let mut values = Vec::with_capacity(numbers.len());
        elements(variables.get(place)?, buffer, Some(at))?.gather(numbers, &mut values);
        Some(values)
    };
    let now = |place: usize| sample(place, current, variables.get(place)?.bytes());
    let then = |place: usize| sample(place, before, states.get(place)?.place_before.clone()?);
    let (own_now, own_then) = (now(own)?, then(own)?);
    let leads_to = |target: &[f64]| {
        let (mut both, mut way, mut change) = (0.0, 0.0, 0.0);
        for ((now, then), target) in std::iter::zip(&own_now, &own_then).zip(target) {
            let (step, left) = (now - then, target - then);
            both += step * left;
            way += left * left;
            change += step * step;
        }
        both > STRAIGHT * (way * change).sqrt()
    };
    Some(leads_to(&now(other)?) || leads_to(&then(other)?))
}
