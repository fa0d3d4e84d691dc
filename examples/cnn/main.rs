//! Trains a small CNN on handwritten digits and logs everything worth looking at: 900 steps, a few
//! seconds on one core.
//!
//! ```sh
//! cargo run --release --example cnn            # the 1797 digits embedded here: 99 % accuracy
//! tensorboard --logdir runs
//! ```
//!
//! On screen: a progress bar, the accuracy, a table of the variables (norm, update ratio, changed
//! share, drift, verdict), and the address of a page with the telling charts pinned. In
//! TensorBoard: `loss` and `accuracy` with training and validation in one chart, `learning_rate`,
//! then everything about weights, their changes and their gradients under tags that begin with
//! `weight` and `model`, as scalars, histograms and the *custom scalars* layout. Beside them the
//! options of the run (HParams, Text), its modules (Graphs), and of the trained model sample
//! digits, a confusion matrix (Images) and a PR curve of each digit.

mod args;
mod boards;
#[path = "../digits/mod.rs"]
mod digits;

use std::f64::consts::PI;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::{Logger, Overhead, WeightOptions};

use args::Args;
use digits::{Batch, Batches, Cnn, Dataset, Score, evaluate};

/// Single weights to follow in each variable, as lines.
const SAMPLES: usize = 4;
/// The learning rate at the end, as a share of that at the start.
const LAST_RATE: f64 = 0.01;
/// Steps between two updates of the progress bar: showing the loss waits for the device.
const SHOW_EVERY: u64 = 10;
/// Where TensorBoard is found unless told otherwise.
const BOARD: &str = "http://localhost:6006";

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
    let device = args
        .device
        .device()
        .context("--device cuda: this libtorch finds no CUDA device; try --device cpu")?;
    let data = match &args.data {
        Some(dir) => Dataset::open(dir).context("--data")?,
        None => Dataset::embedded()?,
    };
    tch::set_num_threads(args.threads);
    tch::manual_seed(i64::from(args.seed));
    let vs = nn::VarStore::new(device);
    let model = Cnn::new(
        &vs.root(),
        data.train.images.rows,
        data.train.images.cols,
        data.classes,
    );

    let schedule = Schedule::new(args, data.train.len());
    let is_off = std::env::var_os("TCH_TENSORBOARD").is_some_and(|value| value == "off");
    let run = if args.no_log || is_off {
        None
    } else {
        let run = Run::create(args, &schedule)?;
        boards::log_options(&run.training, args, &vs)?;
        Some(run)
    };
    let started = Instant::now();
    train(args, &schedule, &data, &vs, &model, run.as_ref())?;
    let seconds = started.elapsed().as_secs_f64();

    let Score { loss, accuracy } = evaluate(&model, &data.test, device)?;
    let (steps, images) = (schedule.stop, data.test.len());
    let correct = (accuracy * images as f64).round();
    // writeln and not println, which would panic when the reader of a pipe goes away.
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "test accuracy {:.2} % ({correct} of {images}), loss {loss:.4}",
        100.0 * accuracy
    )?;
    writeln!(
        out,
        "{steps} steps in {seconds:.1} s ({:.0} a second)",
        steps as f64 / seconds
    )?;
    match run {
        Some(run) => {
            let (validation, classes) = (&run.validation, data.classes);
            boards::log_predictions(validation, &model, &data.test, classes, device, steps)?;
            run.finish(&mut out)
        }
        None => Ok(()),
    }
}

/// How many steps to make and how fast to learn in each.
struct Schedule {
    /// Steps of all epochs, which the learning rate is laid out over.
    all: u64,
    /// The last step to make: `all`, or less with `--max-steps`.
    stop: u64,
    first_rate: f64,
}

impl Schedule {
    fn new(args: &Args, images: usize) -> Schedule {
        let steps_per_epoch = (images as u64).div_ceil(u64::from(args.batch_size));
        let all = steps_per_epoch * u64::from(args.epochs);
        let stop = args.max_steps.map_or(all, |most| most.min(all));
        Schedule {
            all,
            stop,
            first_rate: args.learning_rate(),
        }
    }

    /// The learning rate of a step, counted from 1: half a cosine (Loshchilov and Hutter, 2017,
    /// without restarts).
    fn rate(&self, step: u64) -> f64 {
        let progress = (step - 1) as f64 / self.all as f64;
        let falling = (1.0 + (PI * progress).cos()) / 2.0;
        self.first_rate * (LAST_RATE + (1.0 - LAST_RATE) * falling)
    }
}

/// Makes all steps. Step n is the n-th update of the weights; step 0 is the model as it was made.
fn train(
    args: &Args,
    schedule: &Schedule,
    data: &Dataset,
    vs: &nn::VarStore,
    model: &Cnn,
    run: Option<&Run>,
) -> Result<()> {
    let mut optimizer = args.optimizer.build(vs, schedule.first_rate)?;
    let bar = progress_bar(args, schedule.stop)?;
    record_weights(args, vs, run, 0)?;
    let mut step = 0;
    while step < schedule.stop {
        let mut epoch = EpochAccuracy::new(vs.device());
        for batch in Batches::shuffled(&data.train, args.batch_size as usize, vs.device())? {
            let Batch { images, labels } = batch?;
            step += 1;
            let rate = schedule.rate(step);
            optimizer.set_lr(rate);
            let logits = model.forward_t(&images, true);
            let loss = logits.cross_entropy_for_logits(&labels);
            optimizer.backward_step(&loss);

            epoch.add(&logits, &labels);
            if let Some(run) = run {
                run.training.set_learning_rate(rate);
                run.training.log_scalar("loss", &loss, step)?;
                if !args.no_gradients {
                    run.training.log_gradients(vs, step)?;
                }
            }
            record_weights(args, vs, run, step)?;
            if step % SHOW_EVERY == 0 {
                bar.set_position(step);
                bar.set_message(format!("{:.4}", loss.f_double_value(&[])?));
            }
            if step == schedule.stop {
                break;
            }
        }
        let score = evaluate(model, &data.test, vs.device())?;
        bar.set_prefix(format!("{:.2} %", 100.0 * score.accuracy));
        if let Some(run) = run {
            run.training.log_scalar("accuracy", epoch.mean(), step)?;
            run.validation
                .log_scalars(&[("loss", score.loss), ("accuracy", score.accuracy)], step)?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Logs the weights, and writes them to a file as well when `--dump-weights` asks for it.
fn record_weights(args: &Args, vs: &nn::VarStore, run: Option<&Run>, step: u64) -> Result<()> {
    if let Some(run) = run {
        run.training.log_weights(vs, step)?;
    }
    match &args.dump_weights {
        Some(dir) => {
            dump_weights(dir, vs, step).with_context(|| format!("--dump-weights {}", dir.display()))
        }
        None => Ok(()),
    }
}

fn dump_weights(dir: &Path, vs: &nn::VarStore, step: u64) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut variables: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
    variables.retain(|(_, variable)| variable.requires_grad());
    variables.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(Tensor::write_safetensors(
        &variables,
        dir.join(format!("step_{step:06}.safetensors")),
    )?)
}

/// Share of the training images told in an epoch, as the weights were at each step; it stays on the
/// device.
struct EpochAccuracy {
    correct: Tensor,
    seen: i64,
}

impl EpochAccuracy {
    fn new(device: Device) -> EpochAccuracy {
        EpochAccuracy {
            correct: Tensor::zeros([], (Kind::Int64, device)),
            seen: 0,
        }
    }

    fn add(&mut self, logits: &Tensor, labels: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        self.correct += logits.argmax(-1, false).eq_tensor(labels).sum(Kind::Int64);
        self.seen += labels.numel() as i64;
    }

    fn mean(&self) -> Tensor {
        &self.correct / self.seen
    }
}

/// The two runs that are written: training, and validation in a directory below with the same tags.
struct Run {
    training: Logger,
    validation: Logger,
}

impl Run {
    fn create(args: &Args, schedule: &Schedule) -> Result<Run> {
        let weights = WeightOptions::new()
            .scalars(args.scalars.0)
            .histograms(args.histograms.0)
            .samples(SAMPLES)
            .expected_steps(schedule.stop + 1);
        // A run of seconds, to be looked at step by step: logging may cost more than 2 % of them.
        let training = Logger::builder(&args.logdir)
            .weights(weights)
            .overhead(Overhead::Unlimited)
            .create()?;
        let validation = training.subrun("val")?;
        Ok(Run {
            training,
            validation,
        })
    }

    /// Tells the report and how to look at the run, and makes sure that all of it is on disk.
    fn finish(self, out: &mut impl Write) -> Result<()> {
        let logdir = self.training.logdir().to_owned();
        let above = logdir
            .parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let (report, board) = (
            self.training.weight_report()?,
            self.training.board_url(BOARD),
        );
        self.validation.close()?;
        self.training.close()?;
        writeln!(
            out,
            "\n{report}\nwritten to {}; look at it with\n",
            logdir.display()
        )?;
        writeln!(
            out,
            "    tensorboard --logdir {}\n    {board}",
            above.display()
        )?;
        Ok(())
    }
}

fn progress_bar(args: &Args, steps: u64) -> Result<ProgressBar> {
    if args.no_progress {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template(
        "{bar:30} step {pos}/{len}  loss {msg}  accuracy {prefix}  {eta} left",
    )?;
    Ok(ProgressBar::new(steps)
        .with_style(style)
        .with_message("-")
        .with_prefix("-"))
}
