//! The Scalars dashboard.

use crate::proto::summary::{Value, value};
use crate::proto::{DataClass, SummaryMetadata};

const PLUGIN: &str = "scalars";

/// One scalar. `description` is given with the first value of the tag in a file. The fast loader knows scalars as `f32`
/// only: a value beyond its range becomes infinite.
pub(crate) fn value(tag: &str, value: f64, description: Option<&str>) -> Value {
    let mut message = Value::default();
    refill(&mut message, tag, value, description);
    message
}

/// Makes a scalar of a message that has been one before, without new memory.
pub(crate) fn refill(message: &mut Value, tag: &str, value: f64, description: Option<&str>) {
    message.tag.clear();
    message.tag.push_str(tag);
    message.metadata = description.map(metadata);
    message.value = Some(value::Value::SimpleValue(value as f32));
}

/// What the first value of a scalar tag in a file carries.
pub(crate) fn metadata(description: &str) -> SummaryMetadata {
    super::metadata(PLUGIN, DataClass::Scalar, description)
}
