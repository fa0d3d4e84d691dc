//! What a caller hands over beside scalars, on its way to a run.

use prost::Message;

use crate::proto::Event;
use crate::proto::custom_scalar::{Category, Chart};
use crate::summary::projector::EmbeddingFiles;
use crate::summary::{TagText, TaggedPayload};

/// See the module.
pub(crate) enum RunEntry {
    /// Values of dashboards that belong together, of one step: one event.
    Payloads(Vec<TaggedPayload>),
    /// A message of the caller's own, and the bytes it takes.
    Event(Box<Event>, usize),
    /// Files of the projector, which reads no events.
    Embedding(Box<EmbeddingFiles>),
    /// What the caller says of a tag.
    Text(Box<str>, TagText),
    /// The caller's own charts: categories of the same titles take their place.
    Charts(Vec<Category>),
    /// A chart of the caller's own for this category.
    Chart(Box<str>, Chart),
}

impl RunEntry {
    /// Bytes of memory that it occupies while it waits for the worker.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            RunEntry::Payloads(payloads) => payloads
                .iter()
                .map(|payload| payload.payload.bytes())
                .fold(0, usize::saturating_add),
            RunEntry::Embedding(files) => files.bytes(),
            RunEntry::Event(_, bytes) => *bytes,
            RunEntry::Text(tag, text) => {
                tag.len() + text.display_name.len() + text.description.len()
            }
            RunEntry::Charts(categories) => categories.iter().map(Message::encoded_len).sum(),
            RunEntry::Chart(category, chart) => category.len() + chart.encoded_len(),
        }
    }
}

impl From<TaggedPayload> for RunEntry {
    fn from(payload: TaggedPayload) -> RunEntry {
        RunEntry::Payloads(vec![payload])
    }
}
