//! Shows what the logger says of a training run in which something is wrong:
//!
//! ```sh
//! cargo run --release --example diagnose                      # a healthy run, and a broken conv2
//! cargo run --release --example diagnose -- --fault dead-relu # another fault; --help lists them
//! tensorboard --logdir runs
//! ```
//!
//! Without `--fault` the loss of both runs falls and both models tell digits well, so that the
//! usual curves look right. On screen: each finding at the step at which it is sure, the accuracy,
//! and the report with a verdict for each variable. In TensorBoard: *Custom scalars*, whose first
//! row is *Needs attention*, and the report under *Text*.

#[path = "../digits/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the cnn example needs more")]
mod digits;
mod fault;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::Logger;

use digits::{Batch, Batches, Cnn, Dataset, Score, evaluate};
use fault::Fault;

const BATCH: usize = 32;
const RATE: f64 = 2e-3;

/// Trains a small CNN on handwritten digits with a fault in it, and prints what the logger says of
/// each variable.
#[derive(Debug, Parser)]
#[command(after_help = "Then look at it with: tensorboard --logdir runs")]
struct Args {
    /// What is to be wrong [default: two runs, none and missing-from-optimizer]
    #[arg(long, value_enum)]
    fault: Option<Fault>,
    /// Directory of the run; a numbered one beside it when it holds a run already
    /// [default: runs/diagnose-<FAULT>, or two below runs/diagnose]
    #[arg(long, value_name = "DIR")]
    logdir: Option<PathBuf>,
    /// Training steps
    #[arg(
        long, value_name = "N", default_value_t = 600, 
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    steps: u32,
    /// Fixes initial weights, order, shifts and dropout
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}"); // all causes in one line, and no backtrace
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    // Nearly as fast for small images, and the logger's thread has a core of its own.
    tch::set_num_threads(1);
    let data = Dataset::embedded()?;
    let Some(fault) = args.fault else {
        let dir = args.logdir.clone().unwrap_or("runs/diagnose".into());
        train(args, &data, Fault::None, &dir.join("healthy"))?;
        let missing = Fault::MissingFromOptimizer;
        train(args, &data, missing, &dir.join("missing-conv2"))?;
        return how_to_look(&dir);
    };
    let usual = || PathBuf::from(format!("runs/diagnose-{}", fault.name()));
    let dir = args.logdir.clone().unwrap_or_else(usual);
    let dir = train(args, &data, fault, &dir)?;
    how_to_look(&dir)
}

/// The model with the fault that lies in its forward pass.
#[derive(Debug)]
struct Faulty {
    cnn: Cnn,
    fault: Fault,
}

impl ModuleT for Faulty {
    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        let images = images.to_kind(self.cnn.fc1.ws.kind());
        let logits = self
            .cnn
            .forward_through(&images, train, |maps| self.fault.link(maps));
        logits.to_kind(Kind::Float)
    }
}

/// Trains one model, telling findings as they come and the report at the end.
/// Returns the directory of the run: a numbered one where the one asked for was taken.
fn train(args: &Args, data: &Dataset, fault: Fault, dir: &Path) -> Result<PathBuf> {
    let mut out = anstream::stdout().lock(); // colours only where they are wanted
    tch::manual_seed(i64::from(args.seed));
    let mut vs = nn::VarStore::new(Device::Cpu);
    let images = &data.train.images;
    let cnn = Cnn::new(&vs.root(), images.rows, images.cols, data.classes);
    fault.put_into(&mut vs, &cnn)?;
    let model = Faulty { cnn, fault };
    let rate = fault.rate(RATE);
    let mut optimizer = nn::Adam::default().build(&vs, rate)?;

    let logger = Logger::create(dir)?;
    writeln!(out, "== fault: {}", fault.name())?;
    logger.set_learning_rate(rate);
    logger.log_weights(&vs, 0)?;
    let mut step = 0;
    while step < args.steps {
        for batch in Batches::shuffled(&data.train, BATCH, Device::Cpu)? {
            let Batch { images, labels } = batch?;
            step += 1;
            if step == args.steps / 2 {
                fault.strike(&model.cnn, &mut optimizer, rate)?;
            }
            let loss = model
                .forward_t(&images, true)
                .cross_entropy_for_logits(&labels);
            optimizer.backward_step(&loss);
            logger.log_scalar("loss", &loss, step)?;
            logger.log_weights(&vs, step)?;
            for finding in logger.take_findings() {
                writeln!(out, "step {step}: {finding}")?; // a loop may stop here, or lower the rate
            }
            if step == args.steps {
                break;
            }
        }
    }
    let report = logger.weight_report()?; // waits for what is still to be looked at
    for finding in logger.take_findings() {
        writeln!(out, "after the last step: {finding}")?;
    }
    logger.close()?;
    let Score { loss, accuracy } = evaluate(&model, &data.test, Device::Cpu)?;
    writeln!(
        out,
        "test loss {loss:.4}, accuracy {:.2} %\n\n{}\nwritten to {}\n",
        100.0 * accuracy,
        report.styled(),
        logger.logdir().display()
    )?;
    Ok(logger.logdir().to_owned())
}

fn how_to_look(dir: &Path) -> Result<()> {
    let dir = dir.display();
    Ok(writeln!(
        io::stdout(),
        "look at it with\n\n    tensorboard --logdir {dir}\n\nand open Custom scalars: Needs \
         attention comes first"
    )?)
}
