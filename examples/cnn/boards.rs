//! What other dashboards show of a run: its options and modules at the start, and at the end which
//! digits the model classifies how.

use anyhow::Result;
use clap::ValueEnum;
use tch::nn::{ModuleT, VarStore};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::{HParams, Image, ImageLayout, Logger, PrCurve, TextTable};

use crate::args::Args;
use crate::digits::{Batches, Cnn, Split};

/// Digits in a picture of samples.
const SAMPLES: i64 = 32;
/// How often each of their pixels is repeated in both directions, and how far they are apart.
const ENLARGED: i64 = 3;
/// Pixels of a side of a cell of the confusion matrix.
const CELL: i64 = 12;
/// Images that the model looks at together.
const BATCH: usize = 512;

/// Logs the options as hyperparameters and as a text, and the modules as a graph.
pub(crate) fn log_options(run: &Logger, args: &Args, vs: &VarStore) -> Result<()> {
    let optimizer = args.optimizer.to_possible_value();
    let optimizer = optimizer.map_or_else(String::new, |value| value.get_name().to_owned());
    run.log_hparams(
        HParams::new()
            .with("batch_size", args.batch_size)
            .with("epochs", args.epochs)
            .with("learning_rate", args.learning_rate())
            .with("optimizer", optimizer.as_str())
            .with("seed", args.seed),
    )?;
    let options = TextTable::new(["option", "value"])
        .row(["--epochs", &args.epochs.to_string()])
        .row(["--batch-size", &args.batch_size.to_string()])
        .row(["--learning-rate", &args.learning_rate().to_string()])
        .row(["--optimizer", &optimizer])
        .row(["--seed", &args.seed.to_string()]);
    run.log_text("options", &options.to_string(), 0)?;
    Ok(run.log_graph(vs)?)
}

/// Logs sample digits (those that the model has wrong first, and red), a confusion matrix, and a PR
/// curve of each digit.
pub(crate) fn log_predictions(
    run: &Logger,
    model: &Cnn,
    split: &Split,
    classes: usize,
    device: Device,
    step: u64,
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let (mut scores, mut labels, mut samples) = (Vec::new(), Vec::new(), None);
    for batch in Batches::in_order(split, BATCH, device) {
        let batch = batch?;
        scores.push(
            model
                .forward_t(&batch.images, false)
                .softmax(-1, Kind::Float),
        );
        labels.push(batch.labels);
        samples.get_or_insert(batch.images);
    }
    let (scores, labels) = (Tensor::cat(&scores, 0), Tensor::cat(&labels, 0));
    let found = scores.argmax(-1, false);
    if let Some(images) = samples {
        log_samples(run, &images, &found.eq_tensor(&labels), step)?;
    }
    log_confusion(run, &labels, &found, classes as i64, step)?;
    let names: Vec<String> = (0..classes).map(|digit| digit.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(run.log_pr_curves("digit", PrCurve::new(&labels, &scores), &names, step)?)
}

fn log_samples(run: &Logger, images: &Tensor, is_right: &Tensor, step: u64) -> Result<()> {
    let is_right = is_right.narrow(0, 0, images.size()[0]);
    let order = is_right
        .to_kind(Kind::Int64)
        .argsort(0, false)
        .slice(0, 0, SAMPLES, 1);
    let images = images.index_select(0, &order).repeat([1, 3, 1, 1]);
    let right = is_right
        .index_select(0, &order)
        .to_kind(Kind::Float)
        .reshape([-1, 1, 1, 1]);
    // Green and blue of a wrong one are dimmed.
    let tint = Tensor::cat(&[right.ones_like(), right.shallow_clone(), right], 1) * 0.8 + 0.2;
    let images = (images * tint)
        .clamp(0.0, 1.0)
        .repeat_interleave_self_int(ENLARGED, 2, None)
        .repeat_interleave_self_int(ENLARGED, 3, None)
        .constant_pad_nd([ENLARGED; 4]);
    Ok(run.log_images(
        "samples",
        [Image::from_tensor(&images, ImageLayout::Nchw)],
        step,
    )?)
}

/// A row for each digit, a column for what the model says: white where all are.
fn log_confusion(
    run: &Logger,
    labels: &Tensor,
    found: &Tensor,
    classes: i64,
    step: u64,
) -> Result<()> {
    let places = labels * classes + found;
    let counts = places
        .bincount::<Tensor>(None, classes * classes)
        .reshape([classes, classes]);
    let of_each = counts
        .sum_dim_intlist([1].as_slice(), true, Kind::Float)
        .clamp_min(1.0);
    let shares = counts.to_kind(Kind::Float) / of_each;
    let cells = shares
        .repeat_interleave_self_int(CELL, 0, None)
        .repeat_interleave_self_int(CELL, 1, None);
    Ok(run.log_image(
        "confusion",
        Image::from_tensor(&cells, ImageLayout::Hw),
        step,
    )?)
}
