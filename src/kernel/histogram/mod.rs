//! Histograms: the fine one that the kernel counts, and the few rows that TensorBoard is given.
//!
//! TensorBoard never draws the rows it is given. It redraws them with 30 equal bins over the range
//! of all steps of a card, spreading the count of each row evenly over the row, and it interpolates
//! nine percentiles inside the rows. Both read the same curve: the cumulative count, taken to be
//! straight inside each row. [`FineHistogram::to_histogram`] therefore looks for the polyline of
//! few segments that stays closest to the true cumulative count.

mod curve;
mod fine_histogram;
mod rows;

pub(crate) use curve::Curve;
pub(crate) use fine_histogram::{FineHistogram, Leaf, TOLD_APART, key_of};
pub(crate) use rows::Histogram;
