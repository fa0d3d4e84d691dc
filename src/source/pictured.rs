//! Chooses the variables that have a picture.

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::source::element_source::{ElementLayout, ElementSource};
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};
use crate::source::tiles::TileSheet;

/// A variable that has a picture.
pub(crate) struct Pictured<'a> {
    pub(crate) name: &'a str,
    pub(crate) source: &'a dyn ElementSource,
    pub(crate) layout: ElementLayout,
    pub(crate) sheet: TileSheet,
}

/// Receives the variables of a source, and passes on matrices and filters of floating types.
pub(crate) struct PictureSink<F> {
    log: F,
    logged: usize,
    failed: Option<Error>,
}

impl<F: FnMut(Pictured<'_>) -> Result<bool>> PictureSink<F> {
    /// `log` returns whether it took the variable.
    pub(crate) fn new(log: F) -> PictureSink<F> {
        PictureSink {
            log,
            logged: 0,
            failed: None,
        }
    }

    /// How many were taken, or the first error.
    pub(crate) fn finish(self) -> Result<usize> {
        self.failed.map_or(Ok(self.logged), Err)
    }
}

impl<F: FnMut(Pictured<'_>) -> Result<bool>> VariableSink for PictureSink<F> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, _: Option<Membership>) {
        if self.failed.is_some() {
            return;
        }
        // What cannot be read is in the notes of the weight report.
        let Ok(layout) = source.inspect(name) else {
            return;
        };
        let is_floating = matches!(
            layout.dtype,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64
        );
        let Some(sheet) = TileSheet::of(&layout.shape).filter(|_| is_floating) else {
            return;
        };
        let pictured = Pictured {
            name,
            source,
            layout,
            sheet,
        };
        match (self.log)(pictured) {
            Ok(taken) => self.logged += usize::from(taken),
            Err(error) => self.failed = Some(error),
        }
    }

    fn knows_store(&mut self, _: StoreIdentity) -> bool {
        false
    }
}
