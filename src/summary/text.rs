//! The Text dashboard: Markdown, rendered by TensorBoard.

use crate::proto::summary::Value;
use crate::proto::{DataClass, SummaryMetadata};

const PLUGIN: &str = "text";

/// One text. `description` is given with the first value of the tag in a file.
pub(crate) fn value(tag: &str, markdown: &str, description: Option<&str>) -> Value {
    Value {
        tag: tag.into(),
        metadata: description.map(metadata),
        value: Some(super::string(markdown.into())),
    }
}

/// What the first value of a tag in a file carries.
pub(crate) fn metadata(description: &str) -> SummaryMetadata {
    super::metadata(PLUGIN, DataClass::Tensor, description)
}
