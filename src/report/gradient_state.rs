//! What was seen of a gradient.

/// What the last backward passes left, over the window, or as many looks as the rhythm of the run
/// asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum GradientState {
    /// It was not looked at: no tensor, or one that cannot be looked into.
    #[default]
    Unseen,
    /// It requires none.
    NotRequired,
    /// There was none.
    Undefined,
    /// It was there and exactly zero.
    Zero,
    /// It was there and not zero, at least once.
    NonZero,
    /// It held NaN or infinities again and again.
    NonFinite,
}
