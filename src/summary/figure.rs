//! Drawings of the user's own, for the Images dashboard.

use std::fmt::Display;

use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::model::types::sealed::Sealed;
use crate::proto::summary::value;
use crate::source::image::check_size;
use crate::summary::Payload;
use crate::summary::images::image_tensor;
use crate::summary::png::{self, Pixels};

/// What errors call it.
const KIND: &str = "figure";

/// What a closure that draws returns: nothing, or a [`Result`](std::result::Result) whose error is
/// displayed. Sealed.
#[diagnostic::on_unimplemented(
    message = "a closure that draws returns nothing or a `Result<(), E>`, not `{Self}`: end it \
        with `;` or `Ok(())`",
    label = "neither nothing nor a `Result<(), E>` whose error is `Display`"
)]
pub trait Drawn: Sealed {
    #[doc(hidden)]
    fn into_reason(self) -> Option<String>;
}

impl Sealed for () {}
impl Drawn for () {
    fn into_reason(self) -> Option<String> {
        None
    }
}

impl<E: Display> Sealed for std::result::Result<(), E> {}
impl<E: Display> Drawn for std::result::Result<(), E> {
    fn into_reason(self) -> Option<String> {
        self.err().map(|error| format!("was not drawn: {error}"))
    }
}

/// A drawing that waits for the worker.
pub(crate) struct Figure {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Figure {
    /// Draws on white.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] when it cannot be shown, there is no memory for it, or `draw`
    /// returns an error.
    pub(crate) fn draw<D: Drawn>(
        tag: &str,
        width: usize,
        height: usize,
        draw: impl FnOnce(&mut [u8]) -> D,
    ) -> Result<Figure> {
        check_size(width, height).map_err(|reason| Error::value(KIND, tag, reason))?;
        let bytes = width.saturating_mul(height).saturating_mul(3);
        let mut pixels = Vec::new();
        if pixels.try_reserve_exact(bytes).is_err() {
            let reason = format!("has {bytes} bytes, more than there is memory for");
            return Err(Error::value(KIND, tag, reason));
        }
        pixels.resize(bytes, u8::MAX);
        match draw(&mut pixels).into_reason() {
            Some(reason) => Err(Error::value(KIND, tag, reason)),
            None => Ok(Figure {
                width,
                height,
                pixels,
            }),
        }
    }
}

impl Payload for Figure {
    fn plugin(&self) -> Plugin {
        Plugin::Images
    }

    fn bytes(&self) -> usize {
        self.pixels.len()
    }

    fn into_value(self: Box<Self>, tag: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let file = png::encode(self.width, self.height, &self.pixels, Pixels::Rgb);
        let failed = || Error::value(KIND, tag, "could not be encoded");
        let file = file.ok_or_else(failed)?;
        Ok(Some(image_tensor(self.width, self.height, file)))
    }
}
