//! Where event files go: claimed run directories and the files in them.

pub(crate) mod logdir;
pub(crate) mod writer;

pub(crate) use writer::{EventWriter, Fault, Loss, session_event};
