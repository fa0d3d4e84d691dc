//! Weights from before training, from which drift is measured instead of from the first call.

/// Elements of variables by their names.
pub(crate) trait FirstValues: Send + Sync {
    /// Replaces `values` by the elements of these row-major numbers, in ascending order, of the
    /// variable of this name and so many elements. False when there is none, or it cannot be read.
    fn gather(&self, name: &str, elements: usize, numbers: &[usize], values: &mut Vec<f64>)
    -> bool;

    /// Whether there is a variable of this name with so many elements.
    fn has(&self, name: &str, elements: usize) -> bool;
}
