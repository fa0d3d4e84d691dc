//! `history`: a series of checkpoints as a run of TensorBoard.

mod follow;
mod series;
mod steps;

use tch_tensorboard::{Cadence, Logger, Statistic, WeightOptions};

use crate::args::History;
use crate::output::{Failure, Status, complain};
use follow::Follower;
use series::Series;
use steps::{Dated, dated, sorted};

pub(crate) fn run(args: &History) -> Result<Status, Failure> {
    let found = sorted(dated(&args.checkpoints, &args.steps)?)?;
    if found.is_empty() && args.follow.is_none() {
        let reason = "name checkpoints, or a folder to follow with --follow";
        return Err(Failure::Argument(reason.to_owned()));
    }
    // Changes and drift have tags of their own; those of log_weights are about single steps.
    let statistics = [
        Statistic::WeightMean,
        Statistic::WeightStd,
        Statistic::WeightNorm,
    ];
    let options = WeightOptions::new()
        .statistics(statistics)
        .weight_map(false)
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall);
    let logger = Logger::builder(&args.logdir)
        .weights(options)
        .quiet(true)
        .create()?;
    complain(format!("writing to {}", logger.logdir().display()));
    let mut series = Series::new(&logger, args)?;
    for Dated { path, step } in found {
        series.add(&path, step)?;
    }
    if let Some(folder) = &args.follow {
        Follower::new(folder, args).run(&mut series)?;
    }
    let faulty = series.finish()?;
    logger.close()?;
    Ok(if faulty { Status::Fault } else { Status::Fine })
}
