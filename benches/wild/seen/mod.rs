//! The half whose wrong answers may guide work on the verdicts.

mod copies;
mod data;
mod frozen;
mod gans;
mod gradients;
mod optimizers;
mod schedules;
mod starts;
mod values;

use crate::suite::Program;

/// The programs of all topics.
pub fn programs() -> Vec<&'static Program> {
    let topics = [
        frozen::PROGRAMS,
        gans::PROGRAMS,
        optimizers::PROGRAMS,
        schedules::PROGRAMS,
        copies::PROGRAMS,
        gradients::PROGRAMS,
        starts::PROGRAMS,
        values::PROGRAMS,
    ];
    topics.into_iter().flatten().collect()
}
