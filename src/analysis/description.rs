//! What the first value of a tag says of it: the line that users read in TensorBoard, and what the variable is, for those who
//! read a log without the model.

use std::fmt;
use std::sync::Arc;

use crate::model::types::DType;
use crate::model::variable_info::Role;
/// The name that other folders still use.
pub(crate) use crate::model::variable_info::VariableInfo as Traits;
use crate::model::variable_info::VariableInfo;

/// What a tag means, in a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    pub(crate) text: &'static str,
    /// Under a `sample_limit`: how many elements of how many it is estimated from.
    pub(crate) sample: Option<(usize, usize)>,
    /// [`VariableInfo`] of the one variable that it is about.
    pub(crate) variable: Option<Arc<str>>,
}

impl fmt::Display for Description {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text)?;
        if let Some((sampled, all)) = self.sample {
            write!(formatter, " Estimated from {sampled} of {all} elements.")?;
        }
        match &self.variable {
            Some(variable) => write!(formatter, " {variable}"),
            None => Ok(()),
        }
    }
}

const BEGIN: &str = "Variable: ";
const HIDDEN: &str = ", not given to optimizers";
const DTYPES: [(DType, &str); 10] = [
    (DType::Bool, "bool"),
    (DType::U8, "u8"),
    (DType::I8, "i8"),
    (DType::I16, "i16"),
    (DType::I32, "i32"),
    (DType::I64, "i64"),
    (DType::F16, "f16"),
    (DType::BF16, "bf16"),
    (DType::F32, "f32"),
    (DType::F64, "f64"),
];
const ROLES: [(Role, &str); 3] = [
    (Role::Trainable, "trainable"),
    (Role::Frozen, "frozen"),
    (Role::Buffer, "buffer"),
];
/// Dimensions that are read; PyTorch's own tensors have 64 at most.
const RANK: usize = 64;

/// `Variable: f32 64x10, trainable.`
impl fmt::Display for VariableInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dtype = DTYPES.iter().find(|(dtype, _)| *dtype == self.dtype);
        let role = ROLES.iter().find(|(role, _)| *role == self.role);
        let sizes: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        let shape = if sizes.is_empty() {
            "scalar".to_owned()
        } else {
            sizes.join("x")
        };
        let (dtype, role) = (
            dtype.map_or("", |(_, text)| text),
            role.map_or("", |(_, text)| text),
        );
        let hidden = match self.is_member {
            Some(false) => HIDDEN,
            _ => "",
        };
        write!(formatter, "{BEGIN}{dtype} {shape}, {role}{hidden}.")
    }
}

impl VariableInfo {
    /// From the end of a description; `None` where there are none, as in those of other writers.
    pub(crate) fn of_description(description: &str) -> Option<VariableInfo> {
        let (_, text) = description.rsplit_once(BEGIN)?;
        let text = text.strip_suffix('.')?;
        let (text, is_member) = match text.strip_suffix(HIDDEN) {
            Some(text) => (text, Some(false)),
            None => (text, None),
        };
        let (dtype, rest) = text.split_once(' ')?;
        let (shape, role) = rest.split_once(", ")?;
        let (dtype, _) = DTYPES.iter().find(|(_, name)| *name == dtype)?;
        let (role, _) = ROLES.iter().find(|(_, name)| *name == role)?;
        let size = |size: &str| size.parse::<i64>().ok().filter(|size| *size >= 0);
        let shape: Vec<i64> = match shape {
            "scalar" => Vec::new(),
            sizes => sizes
                .split('x')
                .take(RANK + 1)
                .map(size)
                .collect::<Option<_>>()?,
        };
        (shape.len() <= RANK).then_some(VariableInfo {
            dtype: *dtype,
            shape,
            role: *role,
            is_member,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_are_read_back_from_a_description() {
        for (dtype, _) in DTYPES {
            for (role, _) in ROLES {
                for (shape, is_member) in [
                    (vec![], None),
                    (vec![3], Some(false)),
                    (vec![8, 0, 3], None),
                ] {
                    let info = VariableInfo {
                        dtype,
                        shape,
                        role,
                        is_member,
                    };
                    let description = Description {
                        text: "Mean of the weights.",
                        sample: Some((10, 20)),
                        variable: Some(info.to_string().into()),
                    };
                    let text = description.to_string();
                    assert_eq!(VariableInfo::of_description(&text), Some(info), "{text}");
                }
            }
        }
    }

    #[test]
    fn other_texts_have_no_traits() {
        for text in [
            "",
            "Mean of the weights.",
            "Variable: ",
            "Variable: f32 3x, trainable.",
            "Variable: f32 -3, trainable.",
            "Variable: f32 3, admired.",
            "Variable: f33 3, trainable.",
            "Variable: f32 3, trainable",
        ] {
            assert_eq!(VariableInfo::of_description(text), None, "{text}");
        }
        let many = format!("Variable: f32 {}1, trainable.", "1x".repeat(64));
        assert_eq!(VariableInfo::of_description(&many), None);
    }
}
