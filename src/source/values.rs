//! What the log calls take as values: slices of numbers and tensors as one thing.

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};

use crate::error::Result;
use crate::model::types::{DType, sealed::Sealed};
use crate::platform::streaming;
use crate::tensor::{self, Remote, Tensor};

/// Many numbers: a `tch::Tensor` of any kind and device, or a slice, vector or array of numbers. Sealed.
pub trait Values: Sealed {
    #[doc(hidden)]
    fn source(&self) -> Source<'_>;
}

/// Where values lie.
#[doc(hidden)]
pub enum Source<'a> {
    /// Elements in host memory, native byte order.
    Host { dtype: DType, bytes: Cow<'a, [u8]> },
    /// A tensor of any device and layout.
    Tensor(&'a Tensor),
}

/// What is known of values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    /// The type the elements have in a buffer.
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    pub(crate) access: Access,
}

/// How elements are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Contiguous in host memory: a plain copy.
    Memory,
    /// On another device: fetched together with its neighbours.
    Remote,
    /// Strided or negated: libtorch copies it.
    #[cfg_attr(
        not(feature = "tch"),
        expect(dead_code, reason = "only tensors are so")
    )]
    Copy,
    /// Sparse, MKL-DNN, quantised, or of a type without a counterpart: libtorch converts it first.
    #[cfg_attr(
        not(feature = "tch"),
        expect(dead_code, reason = "only tensors are so")
    )]
    Convert,
}

/// What can be seen of values without copying them.
pub(crate) enum Glance<'a> {
    /// All elements, row-major.
    Bytes(&'a [u8]),
    /// Not what the facts say any more.
    Changed,
    /// On another device, or not in row-major order.
    Hidden,
}

/// What a glance at a gradient, on the caller's thread, has seen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Glimpse {
    /// Not looked at.
    #[default]
    Unseen,
    /// There is none.
    Undefined,
    /// All elements are zero.
    Zero,
    /// The elements looked at are zero, and there are too many to look at all.
    #[cfg_attr(
        not(feature = "tch"),
        allow(dead_code, reason = "only tensors have gradients")
    )]
    PerhapsZero,
    /// Some element is not zero; its norm, unless that is not known.
    NonZero(Option<f64>),
    NonFinite,
}

/// What a call sees of a variable beside its values.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Look {
    pub(crate) glimpse: Glimpse,
    /// Whether it requires a gradient; `None` for what is no tensor.
    pub(crate) required: Option<bool>,
}

/// How large pieces of host memory are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the caller's thread.
    Alone,
    /// By the caller's thread past the caches: see [`streaming`].
    Streaming,
    /// By libtorch's threads, which wait for work beside a training step: twice as fast while cores are free, and several
    /// times as slow while one is not.
    Threads,
}

impl Facts {
    pub(crate) fn elements(&self) -> usize {
        self.shape
            .iter()
            .map(|&size| usize::try_from(size).unwrap_or(0))
            .fold(1, usize::saturating_mul)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.size())
    }
}

impl Source<'_> {
    /// Type and shape. `name` is the tag or variable that errors speak of.
    pub(crate) fn inspect(&self, name: &str) -> Result<Facts> {
        match self {
            Source::Host { dtype, bytes } => {
                let elements = i64::try_from(bytes.len() / dtype.size()).unwrap_or(i64::MAX);
                Ok(Facts {
                    dtype: *dtype,
                    shape: vec![elements],
                    access: Access::Memory,
                })
            }
            Source::Tensor(tensor) => tensor::inspect(name, tensor),
        }
    }

    /// Copies every `stride`-th element (row-major) from `start` on to `target`, which holds exactly as many. `Ok(false)`
    /// when the values are not what `facts` says any more: nothing useful was written.
    pub(crate) fn copy(
        &self,
        name: &str,
        facts: &Facts,
        steps: (usize, usize),
        way: Way,
        target: &mut [u8],
    ) -> Result<bool> {
        match self {
            // The length, too: a slice that grew a little can hold as many sampled elements as before.
            Source::Host { dtype, bytes } => Ok(*dtype == facts.dtype
                && bytes.len() == facts.bytes()
                && copy_elements(bytes, dtype.size(), steps, way, target)),
            Source::Tensor(tensor) => match steps {
                (0, 1) => tensor::copy(name, tensor, facts, way, target),
                steps => tensor::copy_strided(name, tensor, facts, steps, target),
            },
        }
    }

    /// Notes values that lie on another device, to be fetched into these bytes of a buffer later on. `Ok(None)` when they
    /// are not what `facts` says any more.
    pub(crate) fn remote(
        &self,
        name: &str,
        facts: &Facts,
        steps: (usize, usize),
        bytes: Range<usize>,
    ) -> Result<Option<Remote>> {
        match self {
            Source::Host { .. } => Ok(None),
            Source::Tensor(tensor) => tensor::remote(name, tensor, facts, steps, bytes),
        }
    }

    /// The elements where they lie, for a look that copies nothing.
    pub(crate) fn glance(&self, facts: &Facts) -> Glance<'_> {
        let bytes = match self {
            Source::Host { dtype, bytes } => (*dtype == facts.dtype).then_some(&**bytes),
            Source::Tensor(_) if facts.access != Access::Memory => return Glance::Hidden,
            Source::Tensor(tensor) => tensor::memory(tensor, facts),
        };
        match bytes {
            Some(bytes) if bytes.len() == facts.bytes() => Glance::Bytes(bytes),
            _ => Glance::Changed,
        }
    }

    /// The gradient that a backward pass left.
    pub(crate) fn gradient(&self) -> Option<Tensor> {
        match self {
            Source::Host { .. } => None,
            Source::Tensor(tensor) => tensor::gradient(tensor),
        }
    }

    /// `None` for values that know nothing of gradients.
    pub(crate) fn requires_grad(&self) -> Option<bool> {
        match self {
            Source::Host { .. } => None,
            Source::Tensor(tensor) => Some(tensor::requires_grad(tensor)),
        }
    }
}

/// False when the number of elements is not the planned one.
fn copy_elements(
    bytes: &[u8],
    size: usize,
    (start, stride): (usize, usize),
    way: Way,
    target: &mut [u8],
) -> bool {
    if (bytes.len() / size).saturating_sub(start).div_ceil(stride) != target.len() / size {
        return false;
    }
    if (start, stride) == (0, 1) {
        copy_alone(bytes, way, target);
        return true;
    }
    gather(bytes, size, (start, stride), target);
    true
}

/// What this thread copies by itself; both are as long.
pub(crate) fn copy_alone(bytes: &[u8], way: Way, target: &mut [u8]) {
    match way {
        Way::Streaming => streaming::copy(bytes, target),
        Way::Alone | Way::Threads => target.copy_from_slice(bytes),
    }
}

/// Every `stride`-th element of `size` bytes from `start` on.
pub(crate) fn gather(
    bytes: &[u8],
    size: usize,
    (start, stride): (usize, usize),
    target: &mut [u8],
) {
    let elements = bytes.chunks_exact(size).skip(start).step_by(stride);
    std::iter::zip(elements, target.chunks_exact_mut(size))
        .for_each(|(element, place)| place.copy_from_slice(element));
}

/// True when every `stride`-th element from `start` on equals the copy of them, bit by bit.
pub(crate) fn equals(
    bytes: &[u8],
    size: usize,
    (start, stride): (usize, usize),
    copy: &[u8],
) -> bool {
    if (start, stride) == (0, 1) {
        return bytes == copy;
    }
    let elements = bytes.chunks_exact(size).skip(start).step_by(stride);
    elements.eq(copy.chunks_exact(size))
}

/// A type whose slices are values.
trait Number: Copy {
    fn host(slice: &[Self]) -> Source<'_>;
}

macro_rules! plain_numbers {
    ($($kind:ty => $dtype:ident),*) => {$(
        impl Number for $kind {
            fn host(slice: &[$kind]) -> Source<'_> {
                Source::Host { dtype: DType::$dtype, bytes: Cow::Borrowed(bytemuck::cast_slice(slice)) }
            }
        }
    )*};
}
plain_numbers!(
    bool => Bool, u8 => U8, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f16 => F16, bf16 => BF16, f32 => F32,
    f64 => F64
);

macro_rules! widened_numbers {
    ($($kind:ty => $wide:ty as $dtype:ident),*) => {$(
        impl Number for $kind {
            // PyTorch computes little in these types; statistics are in f64 anyway.
            fn host(slice: &[$kind]) -> Source<'_> {
                let wide: Vec<$wide> = slice.iter().map(|&value| value as $wide).collect();
                let bytes = bytemuck::cast_slice(&wide).to_vec();
                Source::Host { dtype: DType::$dtype, bytes: Cow::Owned(bytes) }
            }
        }
    )*};
}
widened_numbers!(u16 => i32 as I32, u32 => i64 as I64, u64 => f64 as F64, usize => f64 as F64, isize => i64 as I64);

macro_rules! impl_values {
    ($($kind:ty),*) => {$(
        impl Sealed for [$kind] {}
        impl Values for [$kind] {
            fn source(&self) -> Source<'_> {
                <$kind as Number>::host(self)
            }
        }
        impl Sealed for Vec<$kind> {}
        impl Values for Vec<$kind> {
            fn source(&self) -> Source<'_> {
                <$kind as Number>::host(self)
            }
        }
        impl<const N: usize> Sealed for [$kind; N] {}
        impl<const N: usize> Values for [$kind; N] {
            fn source(&self) -> Source<'_> {
                <$kind as Number>::host(self)
            }
        }
    )*};
}
impl_values!(
    bool, u8, i8, i16, i32, i64, f16, bf16, f32, f64, u16, u32, u64, usize, isize
);

impl<V: Sealed + ?Sized> Sealed for &V {}
impl<V: Values + ?Sized> Values for &V {
    fn source(&self) -> Source<'_> {
        (**self).source()
    }
}

impl Sealed for Tensor {}
impl Values for Tensor {
    fn source(&self) -> Source<'_> {
        Source::Tensor(self)
    }
}

/// One number: any primitive number, `bool`, or a `tch::Tensor` of one element on any device. Sealed.
///
/// TensorBoard stores scalars as `f32`. A tensor on an accelerator is copied there and fetched by the writer thread, so
/// that logging a loss does not wait for the device.
pub trait ScalarValue: Sealed {
    #[doc(hidden)]
    fn scalar(&self) -> Scalar<'_>;
}

/// Where a scalar lies.
#[doc(hidden)]
pub enum Scalar<'a> {
    /// In hand.
    Number(f64),
    /// In a tensor, perhaps on an accelerator.
    Tensor(&'a Tensor),
}

macro_rules! scalar_numbers {
    ($($kind:ty => $convert:expr),* $(,)?) => {$(
        impl ScalarValue for $kind {
            fn scalar(&self) -> Scalar<'_> {
                let convert: fn($kind) -> f64 = $convert;
                Scalar::Number(convert(*self))
            }
        }
    )*};
}
scalar_numbers!(
    bool => |v| f64::from(u8::from(v)), u8 => f64::from, u16 => f64::from, u32 => f64::from, u64 => |v| v as f64,
    usize => |v| v as f64, i8 => f64::from, i16 => f64::from, i32 => f64::from, i64 => |v| v as f64,
    isize => |v| v as f64, f16 => f64::from, bf16 => f64::from, f32 => f64::from, f64 => |v| v,
);

macro_rules! seal {
    ($($kind:ty),*) => {$(impl Sealed for $kind {})*};
}
// The steps among these are sealed beside `Step`.
seal!(bool, u8, u16, i8, i16, isize, f16, bf16, f32, f64);

impl<V: ScalarValue + ?Sized> ScalarValue for &V {
    fn scalar(&self) -> Scalar<'_> {
        (**self).scalar()
    }
}

impl ScalarValue for Tensor {
    fn scalar(&self) -> Scalar<'_> {
        Scalar::Tensor(self)
    }
}
