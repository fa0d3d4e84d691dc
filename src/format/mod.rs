//! Bytes and messages: record framing, protocol buffers, events.

pub(crate) mod event_file;
pub mod proto;
pub(crate) mod record;
