//! A value of a dashboard as a message, before its tag is described.

use std::borrow::Cow;

use crate::error::Result;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::proto::summary::value;
use crate::summary::TaggedPayload;

/// See the module.
pub(crate) struct EncodedPayload {
    pub(crate) tag: Box<str>,
    pub(crate) plugin: Plugin,
    /// Markdown about the tag, empty for none.
    pub(crate) description: Cow<'static, str>,
    pub(crate) repeats_metadata: bool,
    /// What the dashboard reads from the metadata of a tag that this file does not describe.
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) value: value::Value,
}

impl EncodedPayload {
    /// `None` when there is nothing to show. `is_described`: the metadata of the tag are in the
    /// file.
    ///
    /// # Errors
    /// See [`Payload::into_value`](crate::summary::Payload::into_value).
    pub(crate) fn of(
        tagged: TaggedPayload,
        is_described: bool,
        kernels: &mut Kernels,
    ) -> Result<Option<EncodedPayload>> {
        let TaggedPayload {
            tag,
            description,
            payload,
            ..
        } = tagged;
        let (plugin, repeats_metadata) = (payload.plugin(), payload.repeats_metadata());
        let content = (!is_described).then(|| payload.content());
        let value = payload.into_value(&tag, kernels)?;
        Ok(value.map(|value| EncodedPayload {
            tag,
            plugin,
            description,
            repeats_metadata,
            content,
            value,
        }))
    }
}
