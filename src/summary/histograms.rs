//! The Histograms and Distributions dashboards, which share their data.

use crate::histogram::Histogram;
use crate::proto::summary::{Value, value};
use crate::proto::tensor_shape_proto::Dim;
use crate::proto::{DataClass, DataType, SummaryMetadata, TensorProto, TensorShapeProto};

const PLUGIN: &str = "histograms";

/// One histogram as a `[rows, 3]` tensor of (left, right, count), which both loaders keep as it is; the legacy message
/// loses mass in one and precision in the other. `description` is given with the first value of the tag in a file.
pub(crate) fn value(tag: &str, histogram: &Histogram, description: Option<&str>) -> Value {
    let rows = histogram.rows();
    let dim = |size: usize| Dim {
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..Default::default()
    };
    let numbers = rows.as_flattened();
    let content = if cfg!(target_endian = "little") {
        bytemuck::cast_slice(numbers).to_vec()
    } else {
        numbers
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    };
    let tensor = TensorProto {
        dtype: DataType::DtDouble.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: vec![dim(rows.len()), dim(3)],
            ..Default::default()
        }),
        tensor_content: content,
        ..Default::default()
    };
    Value {
        tag: tag.into(),
        metadata: description.map(metadata),
        value: Some(value::Value::Tensor(tensor)),
    }
}

/// What the first value of a histogram tag in a file carries.
pub(crate) fn metadata(description: &str) -> SummaryMetadata {
    super::metadata(PLUGIN, DataClass::Tensor, description)
}
