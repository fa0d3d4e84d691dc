//! Reports as data for `serde`: names in snake case that stay, those of the private record. A
//! verdict is two fields, its name and the possible causes, beside the others of what it is about.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::model::types::DType;
use crate::report::codes::{cause_codes, dtype_code, role_code};
use crate::report::{Cause, GradientState, Trend, Verdict};
use crate::source::named_tensors::Role;

/// `{"verdict": "not_updated", "causes": ["step_not_called", "not_in_optimizer"], "fault": true}`
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Verdict", 3)?;
        fields.serialize_field("verdict", self.name())?;
        fields.serialize_field("causes", &cause_codes(*self))?;
        fields.serialize_field("fault", &self.is_fault())?;
        fields.end()
    }
}

/// The names of the causes that are possible, as a list.
impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.candidates().iter().map(|cause| cause.name()))
    }
}

impl Serialize for DType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(dtype_code(*self))
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(role_code(*self))
    }
}

impl Serialize for Trend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for GradientState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            GradientState::Unseen => "unseen",
            GradientState::NotRequired => "not_required",
            GradientState::Undefined => "undefined",
            GradientState::Zero => "zero",
            GradientState::NonZero => "non_zero",
            GradientState::NonFinite => "non_finite",
        })
    }
}
