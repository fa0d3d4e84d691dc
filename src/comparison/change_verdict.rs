//! What became of a tensor between two checkpoints.

use std::fmt;

/// What became of a tensor from checkpoint A to checkpoint B. None of these depends on how many
/// steps lie between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ChangeVerdict {
    /// B has NaN or infinite elements, and other contents than A.
    NonFinite,
    /// All elements of B are zero, and those of A are not.
    Zero,
    /// Some elements changed by more than rounding.
    Changed,
    /// B is A times a factor, up to rounding: what weight decay alone does.
    Scaled,
    /// Only rounding: B is A cast to a narrower type; A is that of B, of another type; or each
    /// element that changed moved to the next number of `float32` or `float64`.
    Rounding,
    /// The same values in another type.
    Retyped,
    /// Another shape; for one with as many elements the statistics compare them in order.
    Reshaped,
    /// The same contents with rows and columns swapped.
    Transposed,
    /// The same contents under another name.
    Renamed,
    /// In A only.
    Missing,
    /// In B only.
    Added,
    /// It cannot be read: see the reason.
    Unreadable,
    /// The same elements, bit by bit but for the sign of zeros.
    Identical,
}

impl ChangeVerdict {
    /// All verdicts, the most remarkable first.
    pub const ALL: [ChangeVerdict; 13] = [
        ChangeVerdict::NonFinite,
        ChangeVerdict::Zero,
        ChangeVerdict::Changed,
        ChangeVerdict::Scaled,
        ChangeVerdict::Rounding,
        ChangeVerdict::Retyped,
        ChangeVerdict::Reshaped,
        ChangeVerdict::Transposed,
        ChangeVerdict::Renamed,
        ChangeVerdict::Missing,
        ChangeVerdict::Added,
        ChangeVerdict::Unreadable,
        ChangeVerdict::Identical,
    ];

    /// The name in machine-readable output, such as `non_finite`.
    pub fn name(self) -> &'static str {
        match self {
            ChangeVerdict::NonFinite => "non_finite",
            ChangeVerdict::Zero => "zero",
            ChangeVerdict::Changed => "changed",
            ChangeVerdict::Scaled => "scaled",
            ChangeVerdict::Rounding => "rounding",
            ChangeVerdict::Retyped => "retyped",
            ChangeVerdict::Reshaped => "reshaped",
            ChangeVerdict::Transposed => "transposed",
            ChangeVerdict::Renamed => "renamed",
            ChangeVerdict::Missing => "missing",
            ChangeVerdict::Added => "added",
            ChangeVerdict::Unreadable => "unreadable",
            ChangeVerdict::Identical => "identical",
        }
    }

    /// True when the contents moved by more than rounding, a factor included.
    pub fn is_change(self) -> bool {
        matches!(
            self,
            ChangeVerdict::NonFinite
                | ChangeVerdict::Zero
                | ChangeVerdict::Changed
                | ChangeVerdict::Scaled
        )
    }
}

impl fmt::Display for ChangeVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            ChangeVerdict::NonFinite => "NaN or infinite",
            ChangeVerdict::Zero => "all zero",
            ChangeVerdict::Rounding => "rounding only",
            verdict => verdict.name(),
        })
    }
}
