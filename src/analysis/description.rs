//! What the first value of a tag says of it: the line that users read in TensorBoard, and what the
//! variable is, for those who read a log without the model.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::model::variable_info::VariableInfo;
use crate::report::codes::{dtype_code, role_code};

/// What a tag means, in a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    pub(crate) text: Cow<'static, str>,
    /// Under a `sample_limit`: how many elements of how many it is estimated from.
    pub(crate) sample: Option<(usize, usize)>,
    /// [`VariableInfo`] of the one variable that it is about.
    pub(crate) variable: Option<Arc<str>>,
}

impl fmt::Display for Description {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)?;
        if let Some((sampled, all)) = self.sample {
            write!(formatter, " Estimated from {sampled} of {all} elements.")?;
        }
        match &self.variable {
            Some(variable) => write!(formatter, " {variable}"),
            None => Ok(()),
        }
    }
}

const HIDDEN: &str = ", not given to optimizers";

/// `Variable: f32 64x10, trainable.`
impl fmt::Display for VariableInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        let shape = if sizes.is_empty() {
            "scalar".to_owned()
        } else {
            sizes.join("x")
        };
        let (dtype, role) = (dtype_code(self.dtype), role_code(self.role));
        let hidden = match self.is_member {
            Some(false) => HIDDEN,
            _ => "",
        };
        write!(formatter, "Variable: {dtype} {shape}, {role}{hidden}.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::types::DType;
    use crate::model::variable_info::Role;

    #[test]
    fn a_description_ends_with_what_the_variable_is() {
        let info = VariableInfo {
            dtype: DType::F32,
            shape: vec![64, 10],
            role: Role::Trainable,
            is_member: Some(false),
        };
        let description = Description {
            text: "Mean of the weights.".into(),
            sample: Some((10, 640)),
            variable: Some(info.to_string().into()),
        };
        assert_eq!(
            description.to_string(),
            "Mean of the weights. Estimated from 10 of 640 elements. Variable: f32 64x10, \
                trainable, not given to optimizers."
        );
    }
}
