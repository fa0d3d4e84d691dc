//! The half whose wrong answers may guide work on the verdicts.

use crate::suite::Program;

/// The programs of all topics.
pub fn programs() -> Vec<&'static Program> {
    let topics: [&'static [Program]; 0] = [];
    topics.into_iter().flatten().collect()
}
