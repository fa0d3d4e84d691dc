//! A reader of pickles that executes nothing: what a pickle would call is an inert node of a graph.
//!
//! All opcodes of protocols 0 to 5 are read. Python resolves a name (`GLOBAL`) to a function and
//! calls it (`REDUCE`); here the name stays text and the call a [`Node::Object`] with its
//! arguments. Nodes refer to each other by their numbers, so that neither depth nor circles of a
//! pickle matter, and what they take is counted against a budget.
//!
//! Imports go downhill: `stream`, `node` < `machine`.

mod machine;
mod node;
mod stream;

pub(super) use machine::read;
pub(super) use node::{Graph, Node, NodeId};
pub(super) use stream::PickleStream;
