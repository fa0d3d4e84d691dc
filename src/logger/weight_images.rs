//! `log_weight_images`: a picture of each matrix and of the filters of each convolution.

use crate::error::{Error, Result};
use crate::logger::{Logger, PayloadCall};
use crate::model::tag_parts::WEIGHT_IMAGES;
use crate::model::types::DType;
use crate::source::copied::CopiedValues;
use crate::source::element_source::ElementSource;
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};
use crate::source::tiles::TileSheet;
use crate::summary::heat_map::HeatMap;

/// What TensorBoard shows beside the pictures of a tag.
const DESCRIPTION: &str = "Weights as colours: blue is negative, white 0, orange to red positive, \
    magenta NaN or infinite. The range is written below the picture; one weight in 200 may lie \
    beyond it and has the colour of its end.";

/// Receives the variables of a source, and logs pictures of those that have one.
pub(super) struct WeightPictures<'a> {
    logger: &'a Logger,
    step: i64,
    logged: usize,
    failed: Option<Error>,
}

impl<'a> WeightPictures<'a> {
    pub(super) fn new(logger: &'a Logger, step: i64) -> WeightPictures<'a> {
        WeightPictures {
            logger,
            step,
            logged: 0,
            failed: None,
        }
    }

    /// How many were logged.
    pub(super) fn finish(self) -> Result<usize> {
        self.failed.map_or(Ok(self.logged), Err)
    }

    /// False for a variable that has no picture.
    fn log(&self, name: &str, source: &dyn ElementSource) -> Result<bool> {
        let logger = self.logger;
        if name.is_empty() || !logger.core.selection.selects(name) {
            return Ok(false);
        }
        // What cannot be read is in the notes of the weight report.
        let Ok(layout) = source.inspect(name) else {
            return Ok(false);
        };
        let is_floating = matches!(
            layout.dtype,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64
        );
        let Some(sheet) = TileSheet::of(&layout.shape).filter(|_| is_floating) else {
            return Ok(false);
        };
        let scope = &*logger.models.scope;
        let separator = if scope.is_empty() { "" } else { "/" };
        let tag = format!("{WEIGHT_IMAGES}/{scope}{separator}{name}");
        let call = PayloadCall {
            tag: tag.into(),
            description: DESCRIPTION,
            ..logger.begin(name, self.step)?
        };
        let bytes = sheet.elements() * layout.dtype.size();
        call.send(bytes, || {
            let numbers = sheet.numbers();
            let values = CopiedValues::chosen(name, source, &layout, sheet.elements(), numbers)?;
            Ok(HeatMap { sheet, values })
        })?;
        Ok(true)
    }
}

impl VariableSink for WeightPictures<'_> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, _: Option<Membership>) {
        if self.failed.is_none() {
            match self.log(name, source) {
                Ok(logged) => self.logged += usize::from(logged),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    fn knows_store(&mut self, _: StoreIdentity) -> bool {
        false
    }
}
