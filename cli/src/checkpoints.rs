//! What `diff` and `history` share: opening checkpoints and choosing tensors.

use std::path::Path;

use tch_tensorboard::{Checkpoint, Comparison, Logger};

use crate::args::SelectTensors;
use crate::change_map;
use crate::output::{Failure, complain};
use crate::patterns::{Patterns, nearest};

/// Which tensors were asked for.
pub(crate) struct ChosenTensors {
    wanted: Patterns,
    unwanted: Patterns,
}

impl ChosenTensors {
    pub(crate) fn new(select: &SelectTensors) -> Result<ChosenTensors, Failure> {
        Ok(ChosenTensors {
            wanted: Patterns::new("--tensor", &select.tensor)?,
            unwanted: Patterns::new("--exclude", &select.exclude)?,
        })
    }

    /// Whether a tensor of this name, or of a name in each of two checkpoints, was asked for.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        let any = |patterns: &Patterns| names.iter().any(|name| patterns.is_match(name));
        (self.wanted.is_empty() || any(&self.wanted)) && !any(&self.unwanted)
    }

    /// The patterns that match no tensor of these checkpoints, which have all of theirs.
    pub(crate) fn idle(&self, checkpoints: &[&Checkpoint]) -> Vec<Failure> {
        let tensors = checkpoints.iter().flat_map(|one| one.tensors());
        let names = tensors.map(|tensor| tensor.name());
        let mut idle = self.wanted.idle("tensor", names.clone());
        idle.extend(self.unwanted.idle("tensor", names));
        idle
    }
}

/// Opens a checkpoint with all of its tensors, for a comparison: which of them belong to those that
/// were asked for, only their partners say.
pub(crate) fn open_whole(path: &Path, select: &SelectTensors) -> Result<Checkpoint, Failure> {
    Ok(match &select.part {
        Some(part) => Checkpoint::open_part(path, part)?,
        None => Checkpoint::open(path)?,
    })
}

/// Opens a checkpoint and leaves out the tensors that were not asked for.
pub(crate) fn open(path: &Path, select: &SelectTensors) -> Result<Checkpoint, Failure> {
    let mut checkpoint = open_whole(path, select)?;
    let chosen = ChosenTensors::new(select)?;
    let names = checkpoint.tensors().iter().map(|tensor| tensor.name());
    if !names.clone().any(|name| chosen.has(&[name])) {
        let nearest = nearest(&select.tensor.join(" "), names);
        return Err(Failure::Argument(format!(
            "no tensor of {} matches; {nearest}",
            path.display()
        )));
    }
    checkpoint.retain(|tensor| chosen.has(&[tensor.name()]));
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
