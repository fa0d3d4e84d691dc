//! Watch whether a tch (libtorch) model's weights are really learning, in the TensorBoard you
//! already have.
//!
//! A loss that falls does not say that every layer learns: one that was never given to the
//! optimizer, or whose updates are rounded away in bf16, costs a point of accuracy and no error
//! message. This crate copies the weights of a model at each training step and writes what they
//! are, and what the step changed, into event files that plain `tensorboard --logdir runs` shows.
//!
//! # A training loop, step by step
//!
//! A [`Logger`] is a run directory. Numbers go there by tag and step:
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let runs = dir.path();
//! use tch_tensorboard::Logger;
//!
//! let logger = Logger::create(runs.join("mlp"))?; // "runs/mlp" in earnest
//! for step in 0..10 {
//!     logger.log_scalar("loss/train", 1.0 / (step + 1) as f32, step)?;
//! }
//! // Distributions of any numbers, or of any tensor:
//! logger.log_histogram("activations/relu1", &[0.0_f32, 0.0, 0.3, 1.2], 9)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Logger::log_weights`] is what the crate is for. It takes a `VarStore`, or anything that can
//! name its tensors:
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let runs = dir.path();
//! use tch_tensorboard::{LogDir, Logger};
//!
//! let logger = Logger::create(runs.join("by_hand"))?;
//! let mut weight = vec![1.0_f32, -2.0, 0.5];
//! for step in 0..5 {
//!     weight.iter_mut().for_each(|w| *w *= 0.999); // the optimizer's part
//!     logger.log_weights(&("fc.weight", &weight), step)?;
//! }
//! let report = logger.weight_report()?;
//! let ratio = report.parameter("fc.weight").and_then(|fc| fc.update_ratio);
//! assert!((ratio.unwrap() - 0.001).abs() < 1e-6);
//! println!("{report}");
//! logger.close()?;
//!
//! // Read it back, both checksums of each record checked:
//! let points = LogDir::open(logger.logdir())?.runs()[0].events().points();
//! assert!(points.collect::<Result<Vec<_>, _>>()?.len() > 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Logger::log_gradients`] does the same for gradients, [`Logger::subrun`] puts validation beside
//! training in one chart, [`Logger::scoped`] keeps two models of one run apart, [`WeightOptions`]
//! says what is written and how often, and [`Logger::board_url`] opens the page with the telling
//! charts pinned.
//!
//! # Other dashboards
//!
//! Whatever `torch.utils.tensorboard` writes, a method here writes, from tensors and from slices:
//!
//! | dashboard | method |
//! | --- | --- |
//! | Scalars, Time Series | [`Logger::log_scalar`], [`Logger::log_scalars`] |
//! | Custom Scalars | [`Logger::log_scalars_chart`], [`Logger::log_layout`] |
//! | Histograms, Distributions | [`Logger::log_histogram`] |
//! | Images | [`Logger::log_image`], [`Logger::log_images`] |
//! | Images: drawings, videos | [`Logger::log_figure`], [`Logger::log_video`] |
//! | Audio | [`Logger::log_audio`] |
//! | Text | [`Logger::log_text`], with [`TextTable`] |
//! | PR Curves | [`Logger::log_pr_curve`], [`Logger::log_pr_curves`] |
//! | HParams | [`Logger::log_hparams`] |
//! | Mesh | [`Logger::log_mesh`] |
//! | Projector | [`Logger::log_embedding`] |
//! | Graphs | [`Logger::log_graph`], [`Logger::log_graph_def`] |
//! | any | [`Logger::log_summary`], [`Logger::log_event`] |
//!
//! [`describe_tag`](Logger::describe_tag) gives a tag of any of them a title and a description, and
//! [`at_time`](Logger::at_time) calls another wall time. The caller pays the copy of its data; the
//! writer thread encodes it. What waits takes 64 MB at most, or one larger value: beyond,
//! [`OnFull`] decides.
//!
//! # Verdicts
//!
//! [`Logger::weight_report`] says of each variable whether it learns and if not, why: a [`Verdict`]
//! with its [`Evidence`], the first step at which it held, and what to do. `log_weights` is all it
//! needs: gradients are looked at where they lie, so call it before they are cleared.
//! [`Logger::take_findings`] and [`LoggerBuilder::on_finding`] hand each fault to the training
//! thread once, and
//! [`Logger::set_learning_rate`] narrows causes down. Numbers that decide are in [`Thresholds`].
//! [`Run::weight_report`] recomputes the report from a log directory.
//!
//! # Why not call `mean()`, `std()` and `histc()` oneself
//!
//! Each of these is a pass over the tensor on the training thread and, on an accelerator, a
//! synchronisation; a difference from the step before needs a copy anyway. Here the training thread
//! makes that one copy, into memory that is reused, and a fused pass on another thread gives all
//! moments, changes and both histograms at once.
//!
//! # Errors and panics
//!
//! `log_*` calls return an [`Error`] only for a mistake in the call. A disk error is reported once
//! through [`LoggerBuilder::on_error`] and counted in [`Logger::stats`]; unwritten records are kept
//! and tried again. [`Logger::flush`] returns an error while something waits or when something was
//! lost, [`Logger::close`] when something was lost. Neither data nor disk errors cause a panic.
//!
//! # Accuracy
//!
//! Moments are summed block by block around a value of the data, four elements at a time in `f32`
//! and these sums in `f64` (all in `f64` for `f64` tensors), and merged by Chan's formula: relative
//! errors of mean, spread and norm stay below 1e-6 also for ten million elements whose mean is
//! 10 000 times their spread. f16 and bf16 widen to f32, deltas are differences in the widened
//! type. NaN and infinite elements are counted, and left out of every other number. Row counts of
//! histograms are exact (under [`WeightOptions::sample_limit`] those of the sample, scaled to the
//! whole); what TensorBoard draws from 64 rows differs from the exact 30 bins by 0.1 % of the mass
//! for a normal distribution. TensorBoard keeps scalars as `f32`.
//!
//! # Limitations
//!
//! - A delta is that between two calls: if you log every tenth step yourself, it spans ten. Let
//!   [`Cadence`] thin out instead.
//! - Drift is estimated from 4096 elements where a variable has more, and is not defined for one
//!   that began all zero.
//! - [`LoggerBuilder::resume`] starts deltas and drift anew, and thins out as a new run does.
//! - One writer a directory. Two processes that log the same run need two directories;
//!   [`Logger::create`] sees to it.
//!
//! # Features
//!
//! - `tch` (default): tensors and `VarStore`s. Without it nothing of libtorch is needed.
//! - `checkpoint`: reading checkpoints of any framework. Pure Rust; it needs no libtorch.
//! - `serde`: `Serialize` for [`WeightReport`], [`Finding`], [`Verdict`] and what is in them. Names
//!   are those of [`Verdict::name`], [`Cause::name`] and [`Remark::name`] and stay; numbers that
//!   are not finite are `null` in JSON.
//! - `download-libtorch`: torch-sys downloads libtorch at build time.
//! - `doc-only`: checks and documents without libtorch; nothing links.
//!
//! The program `tch-tensorboard` (`inspect`, `verify`, `export`, `report`) is the package
//! `tch-tensorboard-cli`, which needs no libtorch.
#![deny(unsafe_code)]

mod analysis;
mod capture;
#[cfg(feature = "checkpoint")]
mod checkpoint;
#[cfg(feature = "checkpoint")]
mod comparison;
mod error;
mod format;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, doc(hidden), allow(missing_docs))]
pub mod fuzzing;
mod kernel;
mod log_report;
mod logger;
mod model;
mod options;
mod platform;
mod read;
mod report;
mod run;
mod sink;
mod source;
mod summary;
#[cfg_attr(not(feature = "tch"), path = "tensor/no_tensor.rs")]
mod tensor;
mod worker;

#[cfg(feature = "checkpoint")]
pub use checkpoint::{Checkpoint, CheckpointFormat, CheckpointTensor, StoredType};
#[cfg(feature = "checkpoint")]
pub use comparison::{
    AdapterChange, ChangeStatistics, ChangeVerdict, CheckpointDiff, Comparison, TensorChange,
};
pub use error::{Error, Result};
pub use format::event_file::{EventReader, ReadError};
pub use format::proto;
pub use log_report::{LoggedReport, RecordedVerdict, ReportReader, VariableName};
pub use logger::Logger;
pub use logger::builder::LoggerBuilder;
pub use model::hparam::HParam;
pub use model::statistic::Statistic;
pub use model::types::{DType, Existing, OnFull, Step, SyncPolicy};
pub use model::variable_info::Role;
pub use options::cadence::Cadence;
pub use options::overhead::Overhead;
pub use options::{LayerOptions, Pattern, Patterns, WeightOptions};
pub use read::{LogDir, Point, PointInfo, PointInfos, PointValue, Points, Run, RunReader};
pub use report::{
    Cause, Evidence, Finding, GradientState, ModelReport, ParameterReport, Remark, StyledReport,
    Thresholds, Trend, Verdict, WeightReport,
};
pub use run::health::Stats;
pub use source::image::{Image, ImageLayout};
pub use source::named_tensors::{NamedTensors, Visitor};
pub use source::values::{Scalar, ScalarValue, Values};
pub use summary::audio::Audio;
pub use summary::charts::{ChartCategory, CustomChart};
pub use summary::figure::Drawn;
pub use summary::hparams::HParams;
pub use summary::mesh::Mesh;
pub use summary::pr_curves::PrCurve;
pub use summary::projector::Embedding;
pub use summary::text_table::TextTable;
#[cfg(feature = "tch")]
pub use tensor::SubStore;

/// The examples of the README and of the documents, compiled.
#[cfg(all(doctest, feature = "tch"))]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/coming-from.md")]
    struct ComingFrom;
    #[doc = include_str!("../docs/program.md")]
    struct Program;
    #[doc = include_str!("../docs/symptoms.md")]
    struct Symptoms;
    #[doc = include_str!("../docs/using.md")]
    struct Using;
}
