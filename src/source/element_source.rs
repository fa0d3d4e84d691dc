//! How elements are read, whatever holds them: a slice in host memory or a tensor of any device and
//! layout.

use std::any::Any;
use std::ops::Range;

use crate::error::Result;
use crate::model::types::DType;
use crate::model::variable_info;

/// Type, shape and place of elements, as they were when they were inspected.
#[derive(Debug, Clone, PartialEq)]
pub struct ElementLayout {
    /// The type the elements have in a buffer.
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    pub(crate) access: Access,
}

impl ElementLayout {
    pub(crate) fn elements(&self) -> usize {
        variable_info::elements(&self.shape)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }
}

/// How elements are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "only tensors"))]
pub(crate) enum Access {
    /// Contiguous in host memory: a plain copy.
    Memory,
    /// On another device: fetched together with its neighbours.
    Remote,
    /// Strided or negated: libtorch copies it.
    Copy,
    /// Sparse, MKL-DNN, quantised, or of a type without a counterpart: libtorch converts it first.
    Convert,
}

/// Which elements are copied, in row-major order: every `step`-th from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stride {
    pub(crate) start: usize,
    /// At least 1.
    pub(crate) step: usize,
}

impl Stride {
    /// Every element.
    pub(crate) const ALL: Stride = Stride { start: 0, step: 1 };

    /// How many of `all` elements are copied.
    pub(crate) fn count(self, all: usize) -> usize {
        all.saturating_sub(self.start).div_ceil(self.step)
    }
}

/// How large pieces of host memory are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMethod {
    /// By the caller's thread.
    Plain,
    /// By the caller's thread past the caches: see [`crate::platform::streaming`].
    Streaming,
    /// By libtorch's threads, which wait for work beside a training step: twice as fast while cores
    /// are free, and several times as slow while one is not.
    Threads,
}

/// What can be seen of elements without copying them.
pub enum Peek<'a> {
    /// All elements, row-major.
    Bytes(&'a [u8]),
    /// Not what the layout says any more.
    Changed,
    /// On another device, or not in row-major order.
    Hidden,
}

/// Elements that can be inspected, copied and looked at where they lie, and their gradient.
///
/// A `name` is the tag or variable that errors are about.
pub trait ElementSource {
    /// Type, shape and place.
    ///
    /// # Errors
    /// Elements that cannot be logged: undefined, complex, nested.
    fn inspect(&self, name: &str) -> Result<ElementLayout>;

    /// Copies elements to `target`, which holds exactly as many. `Ok(false)` when the source is not
    /// what `layout` says any more: nothing useful was written.
    fn copy(
        &self,
        name: &str,
        layout: &ElementLayout,
        stride: Stride,
        method: CopyMethod,
        target: &mut [u8],
    ) -> Result<bool>;

    /// Copies the elements of these row-major numbers to `target`, which holds exactly as many.
    /// `Ok(false)` where that takes a copy of all, or the source is not what `layout` says any
    /// more: nothing useful was written. The default can do no better.
    ///
    /// # Errors
    /// What a device cannot send.
    fn pick(
        &self,
        name: &str,
        layout: &ElementLayout,
        numbers: &[usize],
        target: &mut [u8],
    ) -> Result<bool> {
        let _ = (name, layout, numbers, target);
        Ok(false)
    }

    /// The elements where they lie, for a look that copies nothing.
    fn peek(&self, layout: &ElementLayout) -> Peek<'_>;

    /// Notes elements on another device ([`Access::Remote`]), to be fetched into these bytes of a
    /// buffer together with others. `Ok(false)` when the source is not what `layout` says any more.
    /// The default has none.
    fn fetch_later(
        &self,
        name: &str,
        layout: &ElementLayout,
        stride: Stride,
        bytes: Range<usize>,
        transfers: &mut PendingTransfers,
    ) -> Result<bool> {
        let _ = (name, layout, stride, bytes, transfers);
        Ok(false)
    }

    /// Shows the gradient that a backward pass left, if there is one.
    fn with_gradient(&self, see: &mut dyn FnMut(Option<&dyn ElementSource>)) {
        see(None);
    }

    /// The same of a source that may not require a gradient any more, and has kept one.
    fn with_kept_gradient(&self, see: &mut dyn FnMut(Option<&dyn ElementSource>)) {
        see(None);
    }

    /// Shows the elements that are stored: all of them, except those that a sparse tensor leaves
    /// out.
    fn with_stored(&self, see: &mut dyn FnMut(&dyn ElementSource));

    /// `None` for elements that have no gradients at all.
    fn requires_grad(&self) -> Option<bool> {
        None
    }
}

/// Transfers from other devices that one call has noted, made together so that neighbours travel in
/// one piece.
pub(crate) trait Transfers: Any {
    /// Makes them.
    ///
    /// # Errors
    /// What a device cannot send.
    fn fetch(self: Box<Self>, target: &mut [u8]) -> Result<()>;
}

/// The transfers of one call; made at the first one.
#[derive(Default)]
pub struct PendingTransfers {
    queue: Option<Box<dyn Transfers>>,
}

impl PendingTransfers {
    /// The queue of this type, which is the only one: all sources of one call are of one library.
    #[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "only tensors"))]
    pub(crate) fn queue<T: Transfers + Default>(&mut self) -> Option<&mut T> {
        let queue: &mut dyn Any = &mut **self.queue.get_or_insert_with(|| Box::<T>::default());
        queue.downcast_mut()
    }

    /// Makes all of them.
    pub(crate) fn fetch(self, target: &mut [u8]) -> Result<()> {
        match self.queue {
            Some(queue) => queue.fetch(target),
            None => Ok(()),
        }
    }
}

/// Where a number lies that is one element of something.
pub trait ScalarSource {
    /// Takes the number without waiting for a device.
    ///
    /// # Errors
    /// More than one element, or one that cannot be read.
    fn fetch(&self, tag: &str) -> Result<FetchedScalar>;
}

/// A number, or the promise of one.
pub enum FetchedScalar {
    Now(f64),
    /// A copy on its device, read by the writer thread.
    Later(Box<dyn PendingScalar>),
}

/// A number on its device.
pub trait PendingScalar: Send {
    /// Waits for the device and reads it.
    ///
    /// # Errors
    /// What a device cannot send.
    fn read(&self, tag: &str) -> Result<f64>;
}
