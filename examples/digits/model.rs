//! A small convolutional network, and how well it does on a split.

use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};

use super::{Batches, Split};

/// Images with a shorter side of at least this are halved after the first convolution as well.
const HALVED_TWICE_FROM: usize = 16;
const EVALUATION_BATCH: usize = 512;
const DROPOUT: f64 = 0.25;

/// Two convolutions of 3x3 and two linear layers: 71,754 parameters for images of 8x8 and ten
/// classes.
#[derive(Debug)]
pub struct Cnn {
    pub conv1: nn::Conv2D,
    pub conv2: nn::Conv2D,
    pub fc1: nn::Linear,
    pub fc2: nn::Linear,
    halved_twice: bool,
}

impl Cnn {
    /// Makes the variables `conv1.weight` to `fc2.bias` below `vs` for images of `rows` x `cols`.
    pub fn new(vs: &nn::Path, rows: usize, cols: usize, classes: usize) -> Cnn {
        let padded = nn::ConvConfig {
            padding: 1,
            ..Default::default()
        };
        let halved_twice = rows.min(cols) >= HALVED_TWICE_FROM;
        let shrink = if halved_twice { 4 } else { 2 };
        let features = 32 * (rows / shrink) * (cols / shrink);
        Cnn {
            conv1: nn::conv2d(vs / "conv1", 1, 16, 3, padded),
            conv2: nn::conv2d(vs / "conv2", 16, 32, 3, padded),
            fc1: nn::linear(vs / "fc1", features as i64, 128, Default::default()),
            fc2: nn::linear(vs / "fc2", 128, classes as i64, Default::default()),
            halved_twice,
        }
    }

    /// As `forward_t`, with something between the first convolution and its ReLU.
    pub fn forward_through(
        &self,
        images: &Tensor,
        train: bool,
        link: impl FnOnce(Tensor) -> Tensor,
    ) -> Tensor {
        let mut maps = link(images.apply(&self.conv1)).relu();
        if self.halved_twice {
            maps = maps.max_pool2d_default(2);
        }
        let maps = maps.apply(&self.conv2).relu().max_pool2d_default(2);
        let hidden = maps
            .flatten(1, -1)
            .dropout(DROPOUT, train)
            .apply(&self.fc1)
            .relu();
        hidden.dropout(DROPOUT, train).apply(&self.fc2)
    }
}

impl ModuleT for Cnn {
    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        self.forward_through(images, train, |maps| maps)
    }
}

/// How well a model does on a split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of images whose digit was told, from 0 to 1.
    pub accuracy: f64,
}

/// Scores `model` on all of `split` without touching its gradients or the random numbers of the
/// training.
pub fn evaluate(
    model: &dyn ModuleT,
    split: &Split,
    device: tch::Device,
) -> Result<Score, tch::TchError> {
    let _no_grad = tch::no_grad_guard();
    let (mut loss, mut correct) = (0.0, 0.0);
    for batch in Batches::in_order(split, EVALUATION_BATCH, device) {
        let batch = batch?;
        let logits = model.forward_t(&batch.images, false);
        loss += logits
            .cross_entropy_for_logits(&batch.labels)
            .f_double_value(&[])?
            * batch.labels.size1()? as f64;
        correct += logits
            .argmax(-1, false)
            .eq_tensor(&batch.labels)
            .sum(Kind::Int64)
            .f_double_value(&[])?;
    }
    let count = split.len() as f64;
    Ok(Score {
        loss: loss / count,
        accuracy: correct / count,
    })
}
