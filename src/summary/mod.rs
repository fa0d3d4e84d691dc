//! Values to `Summary` messages, one file a dashboard. All message literals of what is written are
//! here, and no IO is.
//!
//! A further dashboard is a file with a [`Payload`], a line below, and a method of
//! [`Logger`](crate::Logger).

pub(crate) mod canvas;
pub(crate) mod custom_scalars;
pub(crate) mod heat_map;
pub(crate) mod histograms;
pub(crate) mod images;
pub(crate) mod png;
pub(crate) mod private;
pub(crate) mod scalars;
pub(crate) mod text;

use crate::error::Result;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::model::types::WallTime;
use crate::proto::summary::value;
use crate::proto::summary_metadata::PluginData;
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
}

/// A payload with its place in a run.
pub(crate) struct TaggedPayload {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) tag: Box<str>,
    /// Markdown about the tag, empty for none.
    pub(crate) description: &'static str,
    pub(crate) payload: Box<dyn Payload>,
}

/// What the first value of a tag in each file carries: both loaders take plugin and class from it.
pub(crate) fn metadata(plugin: Plugin, description: &str) -> SummaryMetadata {
    let class = match plugin {
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
    };
    SummaryMetadata {
        plugin_data: Some(PluginData {
            plugin_name: plugin.name().into(),
            ..Default::default()
        }),
        summary_description: description.into(),
        data_class: class.into(),
        ..Default::default()
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
