//! The private record: what this crate's own reader has to know of a run, under a plugin that TensorBoard does not know.
//!
//! Without a class of data neither of its loaders shows or keeps more of it than a value of any unknown plugin: no tab, no
//! entry in its listings, no message, and the scalars beside it unaffected (TensorBoard 2.21, either loader).

use prost::Message;

use crate::proto::summary::{Value, value};
use crate::proto::tch_tensorboard::RunRecord;

/// The only tag of a run that has it.
pub(crate) const TAG: &str = "tch_tensorboard";

/// The rules that a record of this version follows.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn content(record: &RunRecord) -> value::Value {
    super::string(record.encode_to_vec())
}

/// The record in a value of [`TAG`]; `None` when it is none.
pub(crate) fn record(value: &Value) -> Option<RunRecord> {
    match &value.value {
        Some(value::Value::Tensor(tensor)) => {
            let bytes = tensor.string_val.first()?;
            RunRecord::decode(bytes.as_slice()).ok()
        }
        _ => None,
    }
}
