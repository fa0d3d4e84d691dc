//! Stands in for `tensor` without the feature `tch`: there are no tensors.

/// Threads that copy beside the caller's: none.
pub(crate) fn threads() -> usize {
    1
}
