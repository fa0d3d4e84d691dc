//! What the log calls take as values: slices of numbers and, with the feature `tch`, tensors.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use half::{bf16, f16};

use crate::model::types::{DType, sealed::Sealed};
use crate::source::element_source::{ElementSource, ScalarSource};
use crate::source::host::HostElements;

/// Many numbers: a `tch::Tensor` of any kind and device, or a slice, vector or array of numbers;
/// also behind references, `Box`, `Rc` and `Arc`. Sealed.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
/// logger.log_histogram("as/array", &[0.5_f32, 1.0], 0)?;
/// logger.log_histogram("as/vector", &vec![1_u8, 2, 3], 0)?;
/// logger.log_histogram("as/slice", &[1.0_f64, 2.0, 3.0][..2], 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of numbers: pass a tensor or a slice of numbers, as in \
        `&tensor` or `&[0.5_f32, 1.0]`",
    label = "neither a tensor nor a slice of numbers",
    note = "one number is logged by `log_scalar`, and all tensors of a model by \
        `logger.log_weights(&vs, step)`"
)]
pub trait Values: Sealed {
    #[doc(hidden)]
    fn source(&self) -> ValueSource<'_>;
}

/// Where values lie.
#[doc(hidden)]
pub enum ValueSource<'a> {
    /// In host memory.
    Host(HostElements<'a>),
    /// In a tensor.
    Other(&'a dyn ElementSource),
}

impl<'a> ValueSource<'a> {
    pub(crate) fn elements(&self) -> &(dyn ElementSource + 'a) {
        match self {
            ValueSource::Host(host) => host,
            ValueSource::Other(other) => *other,
        }
    }
}

/// A type whose slices are values.
trait Number: Copy {
    fn host(slice: &[Self]) -> ValueSource<'_>;
}

macro_rules! plain_numbers {
    ($($kind:ty => $dtype:ident),*) => {$(
        impl Number for $kind {
            fn host(slice: &[$kind]) -> ValueSource<'_> {
                ValueSource::Host(HostElements {
                    dtype: DType::$dtype,
                    bytes: Cow::Borrowed(bytemuck::cast_slice(slice)),
                })
            }
        }
    )*};
}
plain_numbers!(
    bool => Bool, u8 => U8, i8 => I8, i16 => I16, i32 => I32, i64 => I64, f16 => F16,
    bf16 => BF16, f32 => F32,
    f64 => F64
);

macro_rules! widened_numbers {
    ($($kind:ty => $wide:ty as $dtype:ident),*) => {$(
        impl Number for $kind {
            // PyTorch computes little in these types; statistics are in f64 anyway.
            fn host(slice: &[$kind]) -> ValueSource<'_> {
                let wide: Vec<$wide> = slice.iter().map(|&value| value as $wide).collect();
                let bytes = bytemuck::cast_slice(&wide).to_vec();
                ValueSource::Host(HostElements {
                    dtype: DType::$dtype,
                    bytes: Cow::Owned(bytes),
                })
            }
        }
    )*};
}
widened_numbers!(
    u16 => i32 as I32, u32 => i64 as I64, u64 => f64 as F64, usize => f64 as F64,
    isize => i64 as I64
);

macro_rules! impl_values {
    ($($kind:ty),*) => {$(
        impl Sealed for [$kind] {}
        impl Values for [$kind] {
            fn source(&self) -> ValueSource<'_> {
                <$kind as Number>::host(self)
            }
        }
        impl Sealed for Vec<$kind> {}
        impl Values for Vec<$kind> {
            fn source(&self) -> ValueSource<'_> {
                <$kind as Number>::host(self)
            }
        }
        impl<const N: usize> Sealed for [$kind; N] {}
        impl<const N: usize> Values for [$kind; N] {
            fn source(&self) -> ValueSource<'_> {
                <$kind as Number>::host(self)
            }
        }
    )*};
}
impl_values!(
    bool, u8, i8, i16, i32, i64, f16, bf16, f32, f64, u16, u32, u64, usize, isize
);

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<V: Values + ?Sized> Values for $pointer {
            fn source(&self) -> ValueSource<'_> {
                (**self).source()
            }
        }
        impl<V: ScalarValue + ?Sized> ScalarValue for $pointer {
            fn scalar(&self) -> Scalar<'_> {
                (**self).scalar()
            }
        }
    )*};
}
pointers!(&V, &mut V, Box<V>, Rc<V>, Arc<V>);

impl<V: Sealed + ?Sized> Sealed for &mut V {}
impl<V: Sealed + ?Sized> Sealed for Box<V> {}
impl<V: Sealed + ?Sized> Sealed for Rc<V> {}
impl<V: Sealed + ?Sized> Sealed for Arc<V> {}

/// One number: any primitive number, `bool`, or a `tch::Tensor` of one element on any device; also
/// behind references, `Box`, `Rc` and `Arc`. Sealed.
///
/// TensorBoard stores scalars as `f32`. A tensor on an accelerator is copied there and fetched by
/// the writer thread, so that logging a loss does not wait for the device.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not one number: pass a number, or a tensor of one element, as in \
        `logger.log_scalar(\"loss\", &loss, step)`",
    label = "neither a number nor a tensor",
    note = "several numbers are logged by `log_scalars` or `log_histogram`, a text by `log_text`"
)]
pub trait ScalarValue: Sealed {
    #[doc(hidden)]
    fn scalar(&self) -> Scalar<'_>;
}

/// A scalar of any type, for lists that mix them: made of a number, or of a reference to anything
/// that is a [`ScalarValue`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
/// use tch_tensorboard::Scalar;
///
/// // A tensor: Scalar::from(&loss)
/// let values = [("epoch", Scalar::from(3_u32)), ("rate", 0.1.into()), ("warm", true.into())];
/// logger.log_scalars(&values, 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Scalar<'a> {
    /// In hand.
    #[doc(hidden)]
    Number(f64),
    /// In a tensor, perhaps on an accelerator.
    #[doc(hidden)]
    Source(&'a dyn ScalarSource),
}

impl std::fmt::Debug for Scalar<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Number(number) => formatter.debug_tuple("Scalar").field(number).finish(),
            Scalar::Source(_) => formatter.write_str("Scalar(tensor)"),
        }
    }
}

impl<'a, V: ScalarValue + ?Sized> From<&'a V> for Scalar<'a> {
    fn from(value: &'a V) -> Scalar<'a> {
        value.scalar()
    }
}

impl Sealed for Scalar<'_> {}
impl ScalarValue for Scalar<'_> {
    fn scalar(&self) -> Scalar<'_> {
        *self
    }
}

macro_rules! scalar_numbers {
    ($($kind:ty => $convert:expr),* $(,)?) => {$(
        impl ScalarValue for $kind {
            fn scalar(&self) -> Scalar<'_> {
                let convert: fn($kind) -> f64 = $convert;
                Scalar::Number(convert(*self))
            }
        }
        impl From<$kind> for Scalar<'_> {
            fn from(value: $kind) -> Self {
                let convert: fn($kind) -> f64 = $convert;
                Scalar::Number(convert(value))
            }
        }
    )*};
}
scalar_numbers!(
    bool => |v| f64::from(u8::from(v)), u8 => f64::from, u16 => f64::from, u32 => f64::from,
    u64 => |v| v as f64,
    usize => |v| v as f64, i8 => f64::from, i16 => f64::from, i32 => f64::from, i64 => |v| v as f64,
    isize => |v| v as f64, f16 => f64::from, bf16 => f64::from, f32 => f64::from, f64 => |v| v,
);

macro_rules! seal {
    ($($kind:ty),*) => {$(impl Sealed for $kind {})*};
}
// The steps among these are sealed beside `Step`.
seal!(bool, u8, u16, i8, i16, isize, f16, bf16, f32, f64);
