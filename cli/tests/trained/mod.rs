//! A run that was trained, for the tests of several programs.

use std::path::Path;

use tch_tensorboard::Logger;

/// Logs two variables in a scope ("" for none), of which the second does not move from a step on.
/// The logger is that of the run.
pub(crate) fn train(run: &Path, scope: &str, steps: i64, still_from: i64) -> Logger {
    let whole = Logger::create(run).unwrap();
    let logger = match scope {
        "" => whole.clone(),
        scope => whole.scoped(scope).unwrap(),
    };
    for step in 0..steps {
        let weight = |seed: f32, step: i64| -> Vec<f32> {
            let element = |index: i64| (index as f32 + seed).sin() + 1e-3 * (step as f32).cos();
            (0..40).map(element).collect()
        };
        let weights = [
            ("fc1.weight", weight(1.0, step)),
            ("fc2.weight", weight(2.0, step.min(still_from))),
        ];
        logger.log_weights(&weights[..], step).unwrap();
    }
    whole
}
