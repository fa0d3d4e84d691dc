//! The command line of the `cnn` example.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use tch::nn::{self, OptimizerConfig};
use tch::{Device, TchError};
use tch_tensorboard::Cadence;

/// Trains a small CNN on handwritten digits and logs loss, accuracy, learning rate and all weights,
/// weight deltas and gradients for TensorBoard.
#[derive(Debug, Parser)]
#[command(
    after_help = "Run it twice, with different options, to compare the two runs: \
                  runs/cnn and runs/cnn_2.\n\
    Then look at them with: tensorboard --logdir runs"
)]
pub(crate) struct Args {
    /// How often to go through the training images
    #[arg(
        long, value_name = "N", default_value_t = 20, 
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) epochs: u32,
    /// Images in a training step
    #[arg(
        long, value_name = "N", default_value_t = 32, 
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) batch_size: u32,
    /// Learning rate at the start; it falls along a cosine to a hundredth of it
    /// [default: 0.002 for adam and adamw, 0.2 for sgd, 0.05 for momentum]
    #[arg(long, value_name = "RATE", value_parser = learning_rate, allow_negative_numbers = true)]
    pub(crate) learning_rate: Option<f64>,
    /// How the weights are moved
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: OptimizerKind,
    /// Fixes initial weights, order, shifts and dropout; the same seed trains the same model on a
    /// CPU
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u32,
    /// Directory of the run; a numbered one beside it (runs/cnn_2) when it holds a run already
    #[arg(long, value_name = "DIR", default_value = "runs/cnn")]
    pub(crate) logdir: PathBuf,
    /// When to write the scalars of the weights: auto (each call at first, thinned out in long
    /// runs), every-call, or a number n for each n-th call (0: never)
    #[arg(long, value_name = "CADENCE", default_value = "auto")]
    pub(crate) scalars: CadenceArg,
    /// When to write the histograms of weights, weight deltas and gradients; as for --scalars
    #[arg(long, value_name = "CADENCE", default_value = "auto")]
    pub(crate) histograms: CadenceArg,
    /// Directory with the four unpacked IDX files of MNIST, Fashion-MNIST or a set like them
    /// [default: the 1797 digits of 8x8 pixels embedded in this program]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Stop after this many training steps [default: when all epochs are done]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_steps: Option<u64>,
    /// Where to train; auto takes CUDA when libtorch finds it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: DeviceKind,
    /// CPU threads of libtorch. One is nearly as fast for small images, leaves the other cores
    /// alone, and gives the same result on machines with different numbers of cores
    #[arg(
        long, value_name = "N", default_value_t = 1, 
        value_parser = clap::value_parser!(i32).range(1..)
    )]
    pub(crate) threads: i32,
    /// For checking what is logged: also write the trainable variables of each step to
    /// DIR/step_000000.safetensors and so on
    #[arg(long, value_name = "DIR")]
    pub(crate) dump_weights: Option<PathBuf>,
    /// Show no progress bar (there is none anyway when stderr is not a terminal)
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Log no gradients
    #[arg(long)]
    pub(crate) no_gradients: bool,
    /// Train without logging anything, to compare the time; TCH_TENSORBOARD=off does the same
    #[arg(long)]
    pub(crate) no_log: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OptimizerKind {
    /// Adam without weight decay
    #[default]
    Adam,
    /// Adam with decoupled weight decay of 0.01
    Adamw,
    /// Plain gradient descent
    Sgd,
    /// Gradient descent with a Nesterov momentum of 0.9
    Momentum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DeviceKind {
    #[default]
    Auto,
    Cpu,
    Cuda,
}

/// A [`Cadence`] as it is spelt on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CadenceArg(pub Cadence);

impl Args {
    /// The learning rate asked for, or the one that suits the optimizer.
    pub(crate) fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(match self.optimizer {
            OptimizerKind::Adam | OptimizerKind::Adamw => 2e-3,
            OptimizerKind::Sgd => 0.2,
            OptimizerKind::Momentum => 0.05,
        })
    }
}

impl OptimizerKind {
    /// The optimizer of all trainable variables in `vs`.
    pub(crate) fn build(
        self,
        vs: &nn::VarStore,
        learning_rate: f64,
    ) -> Result<nn::Optimizer, TchError> {
        match self {
            OptimizerKind::Adam => nn::Adam::default().build(vs, learning_rate),
            OptimizerKind::Adamw => nn::AdamW::default().build(vs, learning_rate),
            OptimizerKind::Sgd => nn::Sgd::default().build(vs, learning_rate),
            OptimizerKind::Momentum => nn::sgd(0.9, 0.0, 0.0, true).build(vs, learning_rate),
        }
    }
}

impl DeviceKind {
    /// The device, or nothing when CUDA is asked for and libtorch finds none.
    pub(crate) fn device(self) -> Option<Device> {
        match self {
            DeviceKind::Auto => Some(Device::cuda_if_available()),
            DeviceKind::Cpu => Some(Device::Cpu),
            DeviceKind::Cuda => tch::Cuda::is_available().then_some(Device::Cuda(0)),
        }
    }
}

impl FromStr for CadenceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<CadenceArg, String> {
        let cadence = match text {
            "auto" => Cadence::Auto,
            "every-call" => Cadence::EveryCall,
            number => Cadence::Every(
                number
                    .parse()
                    .map_err(|_| "expected auto, every-call or a whole number")?,
            ),
        };
        Ok(CadenceArg(cadence))
    }
}

fn learning_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected a finite number, 0 or more".to_owned()),
    }
}
