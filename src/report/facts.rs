//! What a variable is, beside its numbers, as far as rules ask.

use crate::kernel::stats::Moments;
use crate::model::types::DType;
use crate::model::variable_info::VariableInfo;
use crate::report::evidence_table::Listed;
use crate::source::named_tensors::Role;

/// What a variable is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    /// Whether its store hands it to optimizers; `None` where there is no store.
    pub(crate) is_member: Option<bool>,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    /// Its name is one that embeddings have.
    pub(crate) looks_embedded: bool,
}

/// The norm of a fresh matrix of this shape with He's spread, sqrt(2 / fan-in) an element; 0 below
/// two dimensions. A table with a leading 1, `[1, positions, width]`, has as many rows as
/// positions.
pub(crate) fn reference_norm(shape: &[i64]) -> f64 {
    let rows = match shape {
        [1, rows, _] => *rows as f64,
        [rows, _, ..] => *rows as f64,
        _ => return 0.0,
    };
    match shape.contains(&0) {
        true => 0.0,
        false => (2.0 * rows).sqrt(),
    }
}

impl Facts {
    pub(crate) fn new(name: &str, traits: VariableInfo) -> Facts {
        // Names that embeddings have in the models people publish.
        const EMBEDDINGS: [&str; 6] = ["emb", "wte", "wpe", "token", "position", "codebook"];
        let name = name.to_lowercase();
        Facts {
            role: traits.role,
            is_member: traits.is_member,
            dtype: traits.dtype,
            shape: traits.shape,
            looks_embedded: EMBEDDINGS.iter().any(|part| name.contains(part)),
        }
    }

    /// True when the elements are those of the same variable, whatever role it has now.
    pub(crate) fn is_same_variable(&self, other: &Facts) -> bool {
        self.dtype == other.dtype && self.shape == other.shape
    }

    pub(crate) fn listed(&self) -> Listed {
        match self.is_member {
            None => Listed::Unknown,
            Some(false) => Listed::No,
            Some(true) => Listed::Yes,
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Output units that are told apart: slices along the first dimension of a matrix.
    pub(crate) fn units(&self) -> usize {
        const MOST: usize = 1 << 16;
        let units = self.shape.first().filter(|_| self.rank() >= 2);
        let units = units.and_then(|&units| usize::try_from(units).ok());
        units.filter(|&units| units <= MOST).unwrap_or(0)
    }

    /// Inputs of one output unit, with PyTorch's order of dimensions; `None` below two.
    pub(crate) fn fan_in(&self) -> Option<f64> {
        let inner = self.shape.get(1..).filter(|inner| !inner.is_empty())?;
        Some(inner.iter().map(|&size| size as f64).product())
    }

    pub(crate) fn reference_norm(&self) -> f64 {
        reference_norm(&self.shape)
    }

    /// Standard deviation in units of 1 / sqrt(fan-in).
    pub(crate) fn scale(&self, moments: &Moments) -> Option<f64> {
        Some(moments.std()? * self.fan_in()?.sqrt())
    }

    /// Largest relative distance of a number of this type from the next, halved: what a smaller
    /// step cannot cross.
    pub(crate) fn half_ulp(&self) -> f64 {
        match self.dtype {
            DType::F64 => f64::EPSILON / 2.0,
            DType::F32 => f64::from(f32::EPSILON) / 2.0,
            DType::F16 => f64::from(half::f16::EPSILON) / 2.0,
            DType::BF16 => f64::from(half::bf16::EPSILON) / 2.0,
            _ => 0.5,
        }
    }
}
