//! The Histograms and Distributions dashboards, which share their data.

use crate::kernel::histogram::Histogram;
use crate::proto::summary::{Value, value};
use crate::proto::tensor_shape_proto::Dim;
use crate::proto::{DataClass, DataType, SummaryMetadata, TensorProto, TensorShapeProto};

const PLUGIN: &str = "histograms";

/// One histogram as a `[rows, 3]` tensor of (left, right, count), which both loaders keep as it is; the legacy message
/// loses mass in one and precision in the other. `description` is given with the first value of the tag in a file.
pub(crate) fn value(tag: &str, histogram: &Histogram, description: Option<&str>) -> Value {
    let mut message = Value::default();
    refill(&mut message, tag, histogram, description);
    message
}

/// Makes a histogram of a message that has been one before, mostly without new memory.
pub(crate) fn refill(
    message: &mut Value,
    tag: &str,
    histogram: &Histogram,
    description: Option<&str>,
) {
    message.tag.clear();
    message.tag.push_str(tag);
    message.metadata = description.map(metadata);
    let mut tensor = match message.value.take() {
        Some(value::Value::Tensor(tensor)) => tensor,
        _ => TensorProto::default(),
    };
    fill(&mut tensor, histogram.rows());
    message.value = Some(value::Value::Tensor(tensor));
}

/// Writes the rows over what the tensor held.
fn fill(tensor: &mut TensorProto, rows: &[[f64; 3]]) {
    let dim = |size: usize| Dim {
        size: i64::try_from(size).unwrap_or(i64::MAX),
        ..Default::default()
    };
    tensor.dtype = DataType::DtDouble.into();
    let shape = tensor
        .tensor_shape
        .get_or_insert_with(TensorShapeProto::default);
    shape.dim.clear();
    shape.dim.extend([dim(rows.len()), dim(3)]);
    let (content, numbers) = (&mut tensor.tensor_content, rows.as_flattened());
    content.clear();
    if cfg!(target_endian = "little") {
        content.extend_from_slice(bytemuck::cast_slice(numbers));
    } else {
        content.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
}

/// What the first value of a histogram tag in a file carries.
pub(crate) fn metadata(description: &str) -> SummaryMetadata {
    super::metadata(PLUGIN, DataClass::Tensor, description)
}
