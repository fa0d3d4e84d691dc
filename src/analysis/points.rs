//! What the worker writes of one call, before it becomes messages.

use std::sync::Arc;

use crate::analysis::tags::PointTag;
use crate::kernel::histogram::Histogram;
use crate::model::types::WallTime;

/// A scalar to write.
#[derive(Debug)]
pub(crate) struct ScalarPoint {
    pub(crate) tag: Arc<PointTag>,
    pub(crate) value: f64,
}

impl ScalarPoint {
    pub(crate) fn new(tag: &Arc<PointTag>, value: f64) -> ScalarPoint {
        ScalarPoint {
            tag: tag.clone(),
            value,
        }
    }
}

/// A histogram to write.
#[derive(Debug)]
pub(crate) struct HistogramPoint {
    pub(crate) tag: Arc<PointTag>,
    pub(crate) histogram: Histogram,
}

impl HistogramPoint {
    pub(crate) fn new(tag: &Arc<PointTag>, histogram: Histogram) -> HistogramPoint {
        HistogramPoint {
            tag: tag.clone(),
            histogram,
        }
    }
}

/// What one call writes.
#[derive(Debug)]
pub(crate) struct PointBatch {
    pub(crate) step: i64,
    pub(crate) wall_time: WallTime,
    pub(crate) scalars: Vec<ScalarPoint>,
    pub(crate) histograms: Vec<HistogramPoint>,
}
