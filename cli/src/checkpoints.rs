//! What `diff` and `history` share: opening checkpoints and choosing tensors.

use std::path::Path;

use tch_tensorboard::{Checkpoint, Comparison, Logger};

use crate::args::SelectTensors;
use crate::change_map;
use crate::output::{Failure, Status, complain};
use crate::patterns::{Patterns, nearest};

/// Opens a checkpoint and leaves out the tensors that were not asked for.
pub(crate) fn open(path: &Path, select: &SelectTensors) -> Result<Checkpoint, Failure> {
    open_with_names(path, select).map(|(checkpoint, _)| checkpoint)
}

/// As [`open`], with the names of all tensors, those that are left out among them.
pub(crate) fn open_with_names(
    path: &Path,
    select: &SelectTensors,
) -> Result<(Checkpoint, Vec<String>), Failure> {
    let mut checkpoint = match &select.part {
        Some(part) => Checkpoint::open_part(path, part)?,
        None => Checkpoint::open(path)?,
    };
    let (wanted, unwanted) = patterns(select)?;
    let names = checkpoint.tensors().iter();
    let names: Vec<String> = names.map(|tensor| tensor.name().to_owned()).collect();
    checkpoint.retain(|tensor| wanted.select(tensor.name()) && !unwanted.is_match(tensor.name()));
    if checkpoint.tensors().is_empty() {
        return Err(Failure::Argument(format!(
            "no tensor of {} matches; {}",
            path.display(),
            nearest(&select.tensor.join(" "), names.iter().map(String::as_str))
        )));
    }
    Ok((checkpoint, names))
}

fn patterns(select: &SelectTensors) -> Result<(Patterns, Patterns), Failure> {
    let wanted = Patterns::new("--tensor", &select.tensor)?;
    Ok((wanted, Patterns::new("--exclude", &select.exclude)?))
}

/// Names the patterns that match none of these tensors.
pub(crate) fn pattern_status(select: &SelectTensors, names: &[String]) -> Result<Status, Failure> {
    let (wanted, unwanted) = patterns(select)?;
    let names = names.iter().map(String::as_str);
    let idle = [
        wanted.idle("tensor", names.clone()),
        unwanted.idle("tensor", names),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<Failure>>();
    idle.iter().for_each(complain);
    Ok(match idle.is_empty() {
        true => Status::Fine,
        false => Status::CouldNot,
    })
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
