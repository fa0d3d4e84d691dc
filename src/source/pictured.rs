//! Chooses the variables that have a picture, and copies what is shown of them.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::source::copied::CopiedValues;
use crate::source::element_source::{ElementLayout, ElementSource};
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};
use crate::source::tiles::TileSheet;

/// Bytes that one visit copies, about: a source is locked while it is visited, and what it has
/// copied waits outside of the logger's memory for values.
const MOST_BYTES: usize = 16 << 20;

/// What is shown of a variable.
pub(crate) struct Pictured {
    pub(crate) name: String,
    pub(crate) sheet: TileSheet,
    pub(crate) values: CopiedValues,
}

/// Receives the variables of a source, and copies what is shown of matrices and filters of floating
/// types. One that is full needs another visit.
pub(crate) struct PictureSink<W> {
    is_wanted: W,
    /// The names of this visit and those before.
    copied: HashSet<String>,
    pictured: Vec<Pictured>,
    bytes: usize,
    is_full: bool,
    failed: Option<Error>,
}

impl<W: Fn(&str) -> bool> PictureSink<W> {
    /// Of the variables whose names are wanted.
    pub(crate) fn new(is_wanted: W) -> PictureSink<W> {
        PictureSink {
            is_wanted,
            copied: HashSet::new(),
            pictured: Vec::new(),
            bytes: 0,
            is_full: false,
            failed: None,
        }
    }

    /// What the last visit copied, and whether there may be more.
    ///
    /// # Errors
    /// The first of the visit.
    pub(crate) fn take(&mut self) -> Result<(Vec<Pictured>, bool)> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.bytes = 0;
        let is_full = std::mem::take(&mut self.is_full);
        Ok((std::mem::take(&mut self.pictured), is_full))
    }

    fn copy(
        &mut self,
        name: &str,
        source: &dyn ElementSource,
        layout: &ElementLayout,
        sheet: TileSheet,
    ) -> Result<()> {
        let mut numbers = Vec::with_capacity(sheet.elements());
        numbers.extend(sheet.numbers());
        let values = CopiedValues::chosen(name, source, layout, &numbers)?;
        self.bytes += values.len();
        self.copied.insert(name.to_owned());
        self.pictured.push(Pictured {
            name: name.to_owned(),
            sheet,
            values,
        });
        Ok(())
    }
}

impl<W: Fn(&str) -> bool> VariableSink for PictureSink<W> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, _: Option<Membership>) {
        if self.failed.is_some() || name.is_empty() || self.copied.contains(name) {
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
        if !is_floating || !(self.is_wanted)(name) {
            return;
        }
        let Some(sheet) = TileSheet::of(&layout.shape) else {
            return;
        };
        if self.bytes >= MOST_BYTES {
            self.is_full = true;
        } else {
            self.failed = self.copy(name, source, &layout, sheet).err();
        }
    }

    fn knows_store(&mut self, _: StoreIdentity) -> bool {
        false
    }
}
