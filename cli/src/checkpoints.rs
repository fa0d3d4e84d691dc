//! What `diff` and `history` share: opening checkpoints and choosing tensors.

use std::path::Path;

use tch_tensorboard::{Checkpoint, Comparison, Logger};

use crate::args::SelectTensors;
use crate::change_map;
use crate::output::{Failure, Status, complain};
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
        names.iter().any(|name| self.wanted.select(name))
            && !names.iter().any(|name| self.unwanted.is_match(name))
    }

    /// Names the patterns that match no tensor of these checkpoints.
    pub(crate) fn status(&self, checkpoints: &[&Checkpoint]) -> Status {
        let names = names(checkpoints);
        let mut idle = self.wanted.idle("tensor", names.clone());
        idle.extend(self.unwanted.idle("tensor", names));
        idle.iter().for_each(complain);
        match idle.is_empty() {
            true => Status::Fine,
            false => Status::CouldNot,
        }
    }
}

fn names<'a>(checkpoints: &'a [&Checkpoint]) -> impl Iterator<Item = &'a str> + Clone {
    let tensors = checkpoints.iter().flat_map(|one| one.tensors());
    tensors.map(|tensor| tensor.name())
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
    let is_any = checkpoint
        .tensors()
        .iter()
        .any(|tensor| chosen.has(&[tensor.name()]));
    if !is_any {
        return Err(none_matches(&[path], &[&checkpoint], select));
    }
    checkpoint.retain(|tensor| chosen.has(&[tensor.name()]));
    Ok(checkpoint)
}

/// No tensor of these checkpoints is among those asked for.
pub(crate) fn none_matches(
    paths: &[&Path],
    checkpoints: &[&Checkpoint],
    select: &SelectTensors,
) -> Failure {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let nearest = nearest(&select.tensor.join(" "), names(checkpoints));
    Failure::Argument(format!(
        "no tensor of {} matches; {nearest}",
        paths.join(" or ")
    ))
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
    let logger = Logger::builder(logdir).quiet(true).create()?;
    logger.log_compared_weights(comparison, from, to)?;
    logger.log_comparison(comparison, from, to)?;
    change_map::log(&logger, comparison, to, true)?;
    logger.log_text("checkpoint_changes", table, to)?;
    let written = logger.logdir().to_owned();
    logger.close()?;
    complain(format!("written to {}", written.display()));
    Ok(())
}
