//! The Scalars dashboard.

use crate::proto::DataClass;
use crate::proto::summary::{Value, value};

const PLUGIN: &str = "scalars";

/// One scalar. `description` is given with the first value of the tag in a file. The fast loader knows scalars as `f32`
/// only: a value beyond its range becomes infinite.
pub(crate) fn value(tag: &str, value: f64, description: Option<&str>) -> Value {
    Value {
        tag: tag.into(),
        metadata: description
            .map(|description| super::metadata(PLUGIN, DataClass::Scalar, description)),
        value: Some(value::Value::SimpleValue(value as f32)),
    }
}
