//! The size classes of models, which decide what is written by default.
//!
//! Measured in TensorBoard 2.21: its page and memory limit the number of series, not this crate.

/// Up to this many variables every statistic is written for each.
pub(crate) const SMALL: usize = 32;
/// Up to this many the key statistics and all histograms are written for each; above, roles stand
/// for them.
pub(crate) const MEDIUM: usize = 1000;

/// How large a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// At most [`SMALL`] variables.
    Small,
    /// At most [`MEDIUM`].
    Medium,
    /// More.
    Large,
}

impl Tier {
    /// The tier of a model with this many logged variables.
    pub(crate) fn of(variables: usize) -> Tier {
        if variables <= SMALL {
            Tier::Small
        } else if variables <= MEDIUM {
            Tier::Medium
        } else {
            Tier::Large
        }
    }
}
