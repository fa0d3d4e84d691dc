//! Values to `Summary` messages, one file a dashboard. All plugin names and message literals of
//! what is written live here, and no IO does.

pub(crate) mod custom_scalars;
pub(crate) mod histograms;
pub(crate) mod scalars;
pub(crate) mod text;

use crate::proto::summary::value;
use crate::proto::summary_metadata::PluginData;
use crate::proto::{DataClass, DataType, SummaryMetadata, TensorProto, TensorShapeProto};

/// The metadata a tag's first value in each file carries: both loaders take plugin and class from it.
fn metadata(plugin: &str, class: DataClass, description: &str) -> SummaryMetadata {
    SummaryMetadata {
        plugin_data: Some(PluginData {
            plugin_name: plugin.into(),
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
