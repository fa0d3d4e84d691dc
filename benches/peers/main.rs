//! Our side of `make bench-peers`: makes the tensors, and does one step of logging for each line
//! read from standard input.
//!
//! `peers prepare MODEL FILE` writes weights and changes of a model for the Python side. `peers
//! serve MODEL DIR` answers each command with one line of JSON: the nanoseconds that the caller was
//! held, and what the file has grown by.

#[path = "../logger/model.rs"]
#[allow(dead_code)] // shared with the other benches
mod model;
#[path = "../logger/yardstick.rs"]
mod yardstick;

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::Model;
use tch::{Kind, Tensor};
use tch_tensorboard::{Cadence, Logger, Statistic, WeightOptions};
use yardstick::Yardstick;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["prepare", model, file] => Ok(model_of(model)?.write_safetensors(Path::new(file))?),
        ["serve", model, dir] => serve(model_of(model)?, Path::new(dir)),
        [] => {
            println!("run `make bench-peers`; this program is its Rust side");
            Ok(())
        }
        _ => Err("usage: peers prepare MODEL FILE | serve MODEL DIR".into()),
    }
}

fn model_of(name: &str) -> Result<Model> {
    Model::new(name).ok_or_else(|| format!("no model is called {name:?}").into())
}

fn serve(mut model: Model, dir: &Path) -> Result {
    let mut yardstick = Yardstick::of(&model);
    let mut ours = Ours::create(dir)?;
    let mut theirs = TensorboardRs::create(dir, &model);
    let mut out = io::stdout().lock();
    for (step, line) in io::stdin().lock().lines().enumerate() {
        let line = line?;
        let (nanos, bytes) = match line.as_str() {
            "step" => {
                model.step();
                (0, 0)
            }
            "ours" => ours.log(&model, step)?,
            "tensorboard-rs" => theirs.log(&model, step)?,
            "memcpy" => (nanos(|| yardstick.memcpy()), 0),
            "copy_" => (nanos(|| yardstick.copy_()), 0),
            other => return Err(format!("unknown command {other:?}").into()),
        };
        writeln!(out, "{{\"nanos\": {nanos}, \"bytes\": {bytes}}}")?;
        out.flush()?;
    }
    ours.logger.close()?;
    Ok(())
}

fn nanos(work: impl FnOnce()) -> u128 {
    let since = Instant::now();
    work();
    since.elapsed().as_nanos()
}

/// This crate, told to write the six scalars and two histograms of each variable at each call.
struct Ours {
    logger: Logger,
}

impl Ours {
    fn create(dir: &Path) -> Result<Ours> {
        let weights = WeightOptions::new()
            .statistics([
                Statistic::WeightMean,
                Statistic::WeightStd,
                Statistic::WeightNorm,
                Statistic::WeightDeltaMean,
                Statistic::WeightDeltaStd,
                Statistic::WeightDeltaMaxAbs,
            ])
            .samples(0)
            .scalars(Cadence::EveryCall)
            .histograms(Cadence::EveryCall);
        Ok(Ours {
            logger: Logger::builder(dir.join("ours"))
                .weights(weights)
                .create()?,
        })
    }

    fn log(&mut self, model: &Model, step: usize) -> Result<(u128, u64)> {
        let before = self.logger.stats().bytes;
        let mut result = Ok(());
        let nanos = nanos(|| result = self.logger.log_weights(&model.store, step));
        result?;
        self.logger.flush()?;
        Ok((nanos, self.logger.stats().bytes - before))
    }
}

/// tensorboard-rs computes nothing: libtorch does the statistics and the counting here, over the
/// bucket limits that `torch.utils.tensorboard` uses by default.
struct TensorboardRs {
    writer: tensorboard_rs::summary_writer::SummaryWriter,
    dir: PathBuf,
    names: Vec<String>,
    previous: Vec<Tensor>,
    limits: Vec<f64>,
    edges: Tensor,
}

impl TensorboardRs {
    fn create(dir: &Path, model: &Model) -> TensorboardRs {
        let _no_grad = tch::no_grad_guard();
        let dir = dir.join("tensorboard-rs");
        let mut positive = Vec::new();
        let mut limit = 1e-12;
        while limit < 1e20 {
            positive.push(limit);
            limit *= 1.1;
        }
        let negative = positive.iter().rev().map(|limit| -limit);
        let limits: Vec<f64> = negative
            .chain([0.0])
            .chain(positive.iter().copied())
            .chain([f64::MAX])
            .collect();
        let edges: Vec<f32> = limits.iter().map(|&limit| limit as f32).collect();
        let variables = model.store.variables();
        let named = model.tensors().map(|tensor| {
            let found = variables
                .iter()
                .find(|(_, variable)| variable.data_ptr() == tensor.data_ptr());
            found.map(|(name, _)| name.clone()).unwrap_or_default()
        });
        TensorboardRs {
            names: named.collect(),
            writer: tensorboard_rs::summary_writer::SummaryWriter::new(&dir),
            dir,
            previous: model
                .tensors()
                .map(|tensor| tensor.detach().copy())
                .collect(),
            limits,
            edges: Tensor::from_slice(&edges),
        }
    }

    fn log(&mut self, model: &Model, step: usize) -> Result<(u128, u64)> {
        let before = self.bytes()?;
        let mut result = Ok(());
        let nanos = nanos(|| result = self.log_all(model, step));
        result?;
        // Its flush does not wait for the file.
        let mut bytes = self.bytes()?;
        self.writer.flush();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let now = self.bytes()?;
            if now == bytes && now > before {
                return Ok((nanos, now - before));
            }
            bytes = now;
        }
    }

    fn log_all(&mut self, model: &Model, step: usize) -> Result {
        let _no_grad = tch::no_grad_guard();
        let TensorboardRs {
            writer,
            names,
            previous,
            limits,
            edges,
            ..
        } = self;
        for ((name, tensor), previous) in names.iter().zip(model.tensors()).zip(previous) {
            let delta = tensor - &*previous;
            let mut scalar = |statistic: &str, value: &Tensor| -> Result {
                writer.add_scalar(
                    &format!("{statistic}/{name}"),
                    value.f_double_value(&[])? as f32,
                    step,
                );
                Ok(())
            };
            scalar("weight_mean", &tensor.f_mean(Kind::Float)?)?;
            scalar("weight_std", &tensor.f_std(false)?)?;
            scalar("weight_norm", &tensor.f_norm()?)?;
            scalar("weight_delta_mean", &delta.f_mean(Kind::Float)?)?;
            scalar("weight_delta_std", &delta.f_std(false)?)?;
            scalar("weight_delta_max_abs", &delta.f_abs()?.f_max()?)?;
            for (kind, values) in [("weights", tensor), ("weight_deltas", &delta)] {
                let flat = values.f_reshape([-1])?;
                let bins = flat.f_bucketize(edges, true, false)?;
                let counts = Vec::<f64>::try_from(
                    &bins
                        .f_bincount(None::<&Tensor>, limits.len() as i64)?
                        .f_to_kind(Kind::Double)?,
                )?;
                let wide = |value: Tensor| value.f_double_value(&[]);
                writer.add_histogram_raw(
                    &format!("{kind}/{name}"),
                    wide(flat.f_min()?)?,
                    wide(flat.f_max()?)?,
                    flat.numel() as f64,
                    wide(flat.f_sum(Kind::Double)?)?,
                    wide(flat.f_square()?.f_sum(Kind::Double)?)?,
                    limits,
                    counts.get(..limits.len()).unwrap_or_default(),
                    step,
                );
            }
            previous.f_copy_(tensor)?;
        }
        Ok(())
    }

    fn bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(&self.dir)? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }
}
