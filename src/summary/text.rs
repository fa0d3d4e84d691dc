//! The Text dashboard: Markdown, rendered by TensorBoard.

use crate::error::Result;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::proto::summary::value;
use crate::summary::Payload;

/// One text.
pub(crate) struct Markdown(pub(crate) String);

impl Payload for Markdown {
    fn plugin(&self) -> Plugin {
        Plugin::Text
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        Ok(Some(super::string(self.0.into_bytes())))
    }
}
