//! The private record: what this crate's own reader has to know of a run, under a plugin that
//! TensorBoard does not know.
//!
//! Without a class of data neither of its loaders shows or keeps more of it than a value of any
//! unknown plugin: no tab, no entry in its listings, no message, and the scalars beside it
//! unaffected (TensorBoard 2.21, either loader).

use prost::Message;

use crate::proto::summary::{Value, value};
use crate::proto::tch_tensorboard::ModelRecord;

/// The tag of the record of the model without a scope. Behind a slash follows the scope of the
/// others, so that each tag has one value a step.
pub(crate) const TAG: &str = "tch_tensorboard";

/// The rules that a record of this version follows.
pub(crate) const FORMAT: u32 = 1;

pub(crate) fn tag(scope: &str) -> String {
    match scope {
        "" => TAG.to_owned(),
        scope => format!("{TAG}/{scope}"),
    }
}

/// Whether a record may be under this tag.
pub(crate) fn is_tag(tag: &str) -> bool {
    let rest = tag.strip_prefix(TAG);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(crate) fn content(record: &ModelRecord) -> value::Value {
    super::string(record.encode_to_vec())
}

/// The record in a value; `None` when it is none.
pub(crate) fn record(value: &Value) -> Option<ModelRecord> {
    match &value.value {
        Some(value::Value::Tensor(tensor)) if is_tag(&value.tag) => {
            let record = ModelRecord::decode(tensor.string_val.first()?.as_slice()).ok()?;
            (record.format > 0).then_some(record)
        }
        _ => None,
    }
}
