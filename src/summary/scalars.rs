//! The Scalars dashboard. Numbers that a caller has at hand go through a queue of their own: see
//! `worker/queue.rs`.

use crate::error::Result;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::proto::summary::{Value, value};
use crate::source::element_source::PendingScalar;
use crate::summary::Payload;

/// One scalar. `description` is given with the first value of the tag in a file. The fast loader
/// knows scalars as `f32` only: a value beyond its range becomes infinite.
pub(crate) fn value(tag: &str, value: f64, description: Option<&str>) -> Value {
    let mut message = Value::default();
    refill(&mut message, tag, value, description);
    message
}

/// Makes a scalar of a message that has been one before, without new memory.
pub(crate) fn refill(message: &mut Value, tag: &str, value: f64, description: Option<&str>) {
    message.tag.clear();
    message.tag.push_str(tag);
    message.metadata = description.map(|text| super::metadata(Plugin::Scalars, text));
    message.value = Some(content(value));
}

fn content(value: f64) -> value::Value {
    value::Value::SimpleValue(value as f32)
}

/// A number with a description.
#[cfg(feature = "checkpoint")]
pub(crate) struct PlainScalar(pub(crate) f64);

#[cfg(feature = "checkpoint")]
impl Payload for PlainScalar {
    fn plugin(&self) -> Plugin {
        Plugin::Scalars
    }

    fn bytes(&self) -> usize {
        0
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        Ok(Some(content(self.0)))
    }
}

/// A tensor of one element on another device, read when the worker gets to it.
pub(crate) struct DeviceScalar(pub(crate) Box<dyn PendingScalar>);

impl Payload for DeviceScalar {
    fn plugin(&self) -> Plugin {
        Plugin::Scalars
    }

    /// None of the host's.
    fn bytes(&self) -> usize {
        0
    }

    fn into_value(self: Box<Self>, tag: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        Ok(Some(content(self.0.read(tag)?)))
    }
}
