//! What `diff` and `history` share: opening checkpoints and choosing tensors.

use std::path::Path;

use globset::GlobSet;
use tch_tensorboard::{Checkpoint, Comparison, Logger};

use crate::args::SelectTensors;
use crate::change_map;
use crate::output::{Failure, complain};
use crate::selection::globs;

/// Opens a checkpoint and leaves out the tensors that were not asked for.
pub(crate) fn open(path: &Path, select: &SelectTensors) -> Result<Checkpoint, Failure> {
    let mut checkpoint = match &select.part {
        Some(part) => Checkpoint::open_part(path, part)?,
        None => Checkpoint::open(path)?,
    };
    let (wanted, unwanted) = (globs(&select.tensor)?, globs(&select.exclude)?);
    let is_match = |globs: &Option<GlobSet>, name: &str, otherwise: bool| {
        globs
            .as_ref()
            .map_or(otherwise, |globs| globs.is_match(name))
    };
    checkpoint.retain(|tensor| {
        is_match(&wanted, tensor.name(), true) && !is_match(&unwanted, tensor.name(), false)
    });
    if checkpoint.tensors().is_empty() {
        return Err(Failure::Argument(format!(
            "no tensor of {} matches",
            path.display()
        )));
    }
    Ok(checkpoint)
}

/// The threads asked for, or as many as there are cores, of which a few saturate memory.
pub(crate) fn threads(asked: Option<usize>) -> usize {
    const ENOUGH: usize = 8;
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    asked.unwrap_or_else(|| cores().min(ENOUGH))
}

/// Writes both checkpoints and their difference as a run: histograms, numbers, a map and a table.
pub(crate) fn log_diff(
    logdir: &Path,
    a: &Checkpoint,
    b: &Checkpoint,
    comparison: &Comparison,
    table: &str,
) -> Result<(), Failure> {
    let steps = a.step().zip(b.step()).filter(|(a, b)| a < b);
    let (from, to) = steps.unwrap_or((0, 1));
    let logger = Logger::create(logdir)?;
    logger.log_compared_weights(comparison, from, to)?;
    logger.log_comparison(comparison, from, to)?;
    change_map::log(&logger, comparison, to, true)?;
    logger.log_text("checkpoint_changes", table, to)?;
    let written = logger.logdir().to_owned();
    logger.close()?;
    complain(format!("written to {}", written.display()));
    Ok(())
}
