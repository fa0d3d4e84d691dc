//! The Text dashboard: Markdown, rendered by TensorBoard.

use crate::proto::summary::{Value, value};
use crate::proto::{DataClass, DataType, SummaryMetadata, TensorProto, TensorShapeProto};

const PLUGIN: &str = "text";

/// One text. `description` is given with the first value of the tag in a file.
pub(crate) fn value(tag: &str, markdown: &str, description: Option<&str>) -> Value {
    let tensor = TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        string_val: vec![markdown.as_bytes().to_vec()],
        ..Default::default()
    };
    Value {
        tag: tag.into(),
        metadata: description.map(metadata),
        value: Some(value::Value::Tensor(tensor)),
    }
}

/// What the first value of a tag in a file carries.
pub(crate) fn metadata(description: &str) -> SummaryMetadata {
    super::metadata(PLUGIN, DataClass::Tensor, description)
}
