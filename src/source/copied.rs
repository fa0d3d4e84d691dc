//! A copy of values that waits for the worker.

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::platform::aligned::AlignedBytes;
use crate::source::element_source::{CopyMethod, ElementLayout, ElementSource, Stride};

/// All elements of some values, row-major.
pub(crate) struct CopiedValues {
    dtype: DType,
    bytes: usize,
    memory: AlignedBytes,
}

impl CopiedValues {
    /// Copies `source`, which has this layout. `tag` is what errors speak of.
    ///
    /// # Errors
    /// [`Error::UnsupportedTensor`] when there is no memory for them, or they have changed since
    /// they were inspected.
    pub(crate) fn of(
        tag: &str,
        source: &dyn ElementSource,
        layout: &ElementLayout,
    ) -> Result<CopiedValues> {
        let failed = |reason: String| Error::UnsupportedTensor {
            name: tag.into(),
            reason: reason.into(),
        };
        let bytes = layout.bytes();
        let mut memory = AlignedBytes::try_zeroed(bytes)
            .ok_or_else(|| failed(format!("has {bytes} bytes, more than there is memory for")))?;
        let target = memory.as_mut_slice().get_mut(..bytes).unwrap_or_default();
        if !source.copy(tag, layout, Stride::ALL, CopyMethod::Plain, target)? {
            let reason = "changed its shape or type while it was read; log it from the thread that \
                          changes it";
            return Err(failed(reason.into()));
        }
        Ok(CopiedValues {
            dtype: layout.dtype,
            bytes,
            memory,
        })
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// How many bytes they are.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// The elements, aligned for their type.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.memory.as_slice().get(..self.bytes).unwrap_or_default()
    }
}
