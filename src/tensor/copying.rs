//! How a tensor's elements get into a host buffer.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::platform::optimised::IS_UNOPTIMISED;
use crate::source::element_source::{Access, CopyMethod, ElementLayout, Stride};
use crate::source::host::{copy_alone, gather};
use crate::tensor::layout::{contiguity, inspect, kind_of, memory};

/// libtorch gives each of its threads at least half of this to copy.
const WORTH_THREADS: usize = 256 << 10;

/// Threads that libtorch computes with.
pub(crate) fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Copies elements, in row-major order of the tensor's shape, to `target`, which holds exactly as
/// many. `Ok(false)` when the tensor is not what `layout` says any more: nothing useful was
/// written.
pub(super) fn copy(
    name: &str,
    tensor: &Tensor,
    layout: &ElementLayout,
    stride: Stride,
    method: CopyMethod,
    target: &mut [u8],
) -> Result<bool> {
    if layout.access == Access::Memory {
        let Some(bytes) = memory(tensor, layout) else {
            return Ok(false);
        };
        if stride != Stride::ALL && IS_UNOPTIMISED {
            copy_by_torch(name, tensor, layout, stride, target)?;
        } else if stride != Stride::ALL {
            gather(bytes, layout.dtype.size(), stride, target);
        } else if bytes.len() != target.len() {
            return Ok(false);
        } else if method == CopyMethod::Threads && bytes.len() >= WORTH_THREADS {
            copy_by_torch(name, tensor, layout, stride, target)?;
        } else {
            copy_alone(bytes, method, target);
        }
        return Ok(true);
    }
    // What cannot be logged any more is seen when the next plan is made.
    if inspect(name, tensor).is_ok_and(|now| now == *layout) {
        copy_by_torch(name, tensor, layout, stride, target)?;
        return Ok(true);
    }
    Ok(false)
}

/// Copies the elements of these row-major numbers, of what lies on another device or is strided,
/// without a copy of all. `Ok(false)` where libtorch has to convert all of them first, or the
/// tensor is not what `layout` says any more.
pub(super) fn pick(
    name: &str,
    tensor: &Tensor,
    layout: &ElementLayout,
    numbers: &[usize],
    target: &mut [u8],
) -> Result<bool> {
    let is_as_planned = || inspect(name, tensor).is_ok_and(|now| now == *layout);
    if layout.access == Access::Convert || !is_as_planned() {
        return Ok(false);
    }
    let _guard = tch::no_grad_guard();
    let places = numbers.iter().map(|&number| i64::try_from(number));
    let Ok(places) = places.collect::<std::result::Result<Vec<i64>, _>>() else {
        return Ok(false);
    };
    let taken = tensor.f_detach().and_then(|source| {
        let places = Tensor::f_from_slice(&places)?.f_to_device(source.device())?;
        source.f_take(&places)
    });
    let taken = taken.map_err(|error| not_copied(name, &error))?;
    copy_into(name, &taken, &taken.size(), layout.dtype, target)?;
    Ok(true)
}

/// Copies with libtorch's `copy_`, which resolves strides, devices and negation.
pub(super) fn copy_by_torch(
    name: &str,
    tensor: &Tensor,
    layout: &ElementLayout,
    stride: Stride,
    target: &mut [u8],
) -> Result<()> {
    let failed = |error: tch::TchError| not_copied(name, &error);
    // Without it, the target would join the graph of a tensor that requires a gradient.
    let _guard = tch::no_grad_guard();
    let mut source = tensor.f_detach().map_err(failed)?;
    if layout.access == Access::Convert {
        source = convert(&source, layout.dtype).map_err(failed)?;
    }
    if stride != Stride::ALL {
        source = chosen(&source, stride).map_err(failed)?;
    }
    copy_into(name, &source, &source.size(), layout.dtype, target)
}

/// Every `stride`-th element from `start` on, by their row-major numbers: flattening a strided view
/// to slice it would copy all of it.
fn chosen(source: &Tensor, stride: Stride) -> std::result::Result<Tensor, tch::TchError> {
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    if source.is_contiguous() {
        let (start, step) = (number(stride.start), number(stride.step));
        return source.f_view([-1])?.f_slice(0, start, None, step);
    }
    let (end, options) = (number(source.numel()), (Kind::Int64, source.device()));
    let numbers =
        Tensor::f_arange_start_step(number(stride.start), end, number(stride.step), options)?;
    source.f_take(&numbers)
}

pub(super) fn not_copied(name: &str, error: &tch::TchError) -> Error {
    let reason = format!("libtorch could not copy it: {}", first_line(error)).into();
    Error::UnsupportedTensor {
        name: name.into(),
        reason,
    }
}

/// `copy_` into the memory of `target`, which has to be as long as a tensor of this shape.
pub(super) fn copy_into(
    name: &str,
    source: &Tensor,
    shape: &[i64],
    dtype: DType,
    target: &mut [u8],
) -> Result<()> {
    let elements: i64 = shape.iter().product();
    let bytes = usize::try_from(elements)
        .unwrap_or(0)
        .saturating_mul(dtype.size());
    if bytes != target.len() {
        let reason = format!("has {bytes} bytes where {} were expected", target.len()).into();
        return Err(Error::UnsupportedTensor {
            name: name.into(),
            reason,
        });
    }
    if bytes == 0 {
        return Ok(());
    }
    let mut strides = vec![1_i64; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index] * shape[index].max(1);
    }
    let kind = kind_of(dtype);
    // SAFETY: `target` is exclusively borrowed for the life of `view`, aligned for the type
    // (offsets in a buffer are multiples of the element's size) and, as checked above, exactly as
    // long as the shape says.
    #[allow(unsafe_code)]
    let view =
        unsafe { Tensor::f_from_blob(target.as_mut_ptr(), shape, &strides, kind, Device::Cpu) };
    view.and_then(|mut view| view.f_copy_(source))
        .map_err(|error| not_copied(name, &error))
}

/// A dense tensor of the buffer's type.
pub(super) fn convert(source: &Tensor, dtype: DType) -> std::result::Result<Tensor, tch::TchError> {
    let kind = kind_of(dtype);
    if matches!(
        source.f_kind(),
        Ok(Kind::QInt8 | Kind::QUInt8 | Kind::QInt32)
    ) {
        return source.f_dequantize()?.f_to_kind(kind);
    }
    let dense = if source.is_mkldnn() || source.is_sparse() || contiguity(source).is_none() {
        source.f_to_dense(None, false)?
    } else {
        source.f_detach()?
    };
    dense.f_to_kind(kind)
}

/// libtorch's message without its C++ backtrace.
pub(super) fn first_line(error: &tch::TchError) -> String {
    let text = match error {
        tch::TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let end = text
        .find("Exception raised")
        .or_else(|| text.find('\n'))
        .unwrap_or(text.len());
    text.get(..end)
        .unwrap_or(&text)
        .trim()
        .trim_end_matches('(')
        .trim()
        .to_owned()
}
