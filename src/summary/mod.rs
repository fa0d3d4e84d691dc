//! Values to `Summary` messages, one file a dashboard. All message literals of what is written are
//! here, and no IO is.
//!
//! A further dashboard is a file with a [`Payload`], a line below, and a method of
//! [`Logger`](crate::Logger).

pub(crate) mod audio;
pub(crate) mod canvas;
pub(crate) mod charts;
pub(crate) mod custom_scalars;
pub(crate) mod figure;
pub(crate) mod foreign;
pub(crate) mod graph;
pub(crate) mod heat_map;
pub(crate) mod histograms;
pub(crate) mod hparams;
pub(crate) mod images;
pub(crate) mod mesh;
pub(crate) mod png;
pub(crate) mod pr_curves;
pub(crate) mod private;
pub(crate) mod projector;
pub(crate) mod ramp;
pub(crate) mod scalars;
pub(crate) mod text;
pub(crate) mod text_table;
pub(crate) mod video;

use std::borrow::Cow;

use crate::error::Result;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::model::types::WallTime;
use crate::proto::summary::value;
use crate::proto::summary_metadata::PluginData;
use crate::proto::tensor_shape_proto::Dim;
use crate::proto::{DataClass, DataType, SummaryMetadata, TensorProto, TensorShapeProto};

/// What one dashboard shows of a tag at one step, on its way from a caller to a file.
pub(crate) trait Payload: Send {
    /// The dashboard.
    fn plugin(&self) -> Plugin;

    /// Bytes of memory that it occupies while it waits for the worker.
    fn bytes(&self) -> usize;

    /// Turns it into a message, on the worker's thread. `None` when there is nothing to show.
    ///
    /// # Errors
    /// What makes the value of `tag` unusable; it is reported to `on_error`.
    fn into_value(
        self: Box<Self>,
        tag: &str,
        kernels: &mut Kernels,
    ) -> Result<Option<value::Value>>;

    /// Whether each value carries the tag's metadata, rather than the first in each file.
    fn repeats_metadata(&self) -> bool {
        false
    }

    /// What the dashboard reads from the tag's metadata; empty where the defaults are meant.
    fn content(&self) -> Vec<u8> {
        Vec::new()
    }

    /// False for what is said of a run as a whole: its step is none that was logged.
    fn is_of_a_step(&self) -> bool {
        true
    }
}

/// A payload with its place in a run.
pub(crate) struct TaggedPayload {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) tag: Box<str>,
    /// Markdown about the tag, empty for none.
    pub(crate) description: Cow<'static, str>,
    pub(crate) payload: Box<dyn Payload>,
}

/// What the first value of a tag in each file carries: both loaders take plugin and class from it.
pub(crate) fn metadata(plugin: Plugin, description: &str) -> SummaryMetadata {
    SummaryMetadata {
        plugin_data: Some(PluginData {
            plugin_name: plugin.name().into(),
            ..Default::default()
        }),
        summary_description: description.into(),
        data_class: data_class(plugin).into(),
        ..Default::default()
    }
}

/// Where the loaders keep what this plugin shows.
pub(crate) fn data_class(plugin: Plugin) -> DataClass {
    match plugin {
        Plugin::Scalars => DataClass::Scalar,
        Plugin::Histograms
        | Plugin::Text
        | Plugin::HParams
        | Plugin::CustomScalars
        | Plugin::PrCurves
        | Plugin::Mesh => DataClass::Tensor,
        Plugin::Images | Plugin::Audio | Plugin::Graphs => DataClass::BlobSequence,
        // Both loaders leave alone what has no class.
        Plugin::Private | Plugin::Other => DataClass::Unknown,
    }
}

/// What a user says of a tag, in place of this crate's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagText {
    /// The title in the classic dashboards; empty for the tag.
    pub(crate) display_name: Box<str>,
    /// Markdown; empty for none.
    pub(crate) description: Box<str>,
}

/// A tensor of numbers of this type and shape, little-endian and row-major.
fn tensor(dtype: DataType, shape: &[usize], content: Vec<u8>) -> value::Value {
    value::Value::Tensor(TensorProto {
        dtype: dtype.into(),
        tensor_shape: Some(tensor_shape(shape)),
        tensor_content: content,
        ..Default::default()
    })
}

/// A list of files or texts.
fn strings(list: Vec<Vec<u8>>) -> value::Value {
    value::Value::Tensor(TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(tensor_shape(&[list.len()])),
        string_val: list,
        ..Default::default()
    })
}

fn tensor_shape(shape: &[usize]) -> TensorShapeProto {
    let dim = |&size: &usize| Dim {
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..Default::default()
    };
    TensorShapeProto {
        dim: shape.iter().map(dim).collect(),
        unknown_rank: false,
    }
}

/// A tensor of rank 0 that holds one string, as the dashboards of texts and layouts want it.
fn string(bytes: Vec<u8>) -> value::Value {
    value::Value::Tensor(TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        string_val: vec![bytes],
        ..Default::default()
    })
}
