//! What is captured of each variable.

/// What is captured of each variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// The elements themselves.
    Weights,
    /// What the last backward pass left.
    Gradients,
}
