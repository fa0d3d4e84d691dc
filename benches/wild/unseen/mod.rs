//! The half that only measures: nobody who works on the verdicts looks at its wrong answers.

use crate::suite::Program;

/// The programs of all topics.
pub fn programs() -> Vec<&'static Program> {
    let topics: [&'static [Program]; 0] = [];
    topics.into_iter().flatten().collect()
}
