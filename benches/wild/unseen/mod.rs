//! The half that only measures: nobody who works on the verdicts looks at its wrong answers.

mod adapters;
mod copies;
mod data;
mod graph;
mod loops;
mod networks;
mod optimizers;

use crate::suite::Program;

/// The programs of all topics.
pub fn programs() -> Vec<&'static Program> {
    let topics: [&'static [Program]; 6] = [
        &loops::PROGRAMS,
        &graph::PROGRAMS,
        &optimizers::PROGRAMS,
        &copies::PROGRAMS,
        &adapters::PROGRAMS,
        &networks::PROGRAMS,
    ];
    topics.into_iter().flatten().collect()
}
