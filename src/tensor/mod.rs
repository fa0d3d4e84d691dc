//! The only folder that looks into tch memory: what a tensor is, and how its elements get into a host buffer.
//!
//! tch's accessors panic on tensors they cannot show (undefined, sparse, MKL-DNN). Here each tensor is classified once;
//! only dense CPU tensors are read through their pointer, after checks that make it sound, and everything else goes
//! through libtorch's own `copy_`, which knows negated views, other devices and any stride.

mod gradient;
mod metadata;
mod remote;
mod stores;

pub(crate) use tch::Tensor;
use tch::{Device, Kind};

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::source::values::{Access, Facts, Way, copy_alone, gather};

pub(crate) use gradient::{Glimpser, gradient};
use metadata::{Metadata, forget_error};
pub(crate) use remote::{Remote, fetch_remotes, remote};
pub use stores::SubStore;

/// Classifies a tensor. `name` is the tag or variable that errors speak of.
pub(crate) fn inspect(name: &str, tensor: &Tensor) -> Result<Facts> {
    let unsupported = |reason: String| Error::UnsupportedTensor {
        name: name.into(),
        reason: reason.into(),
    };
    if !tensor.defined() {
        return Err(unsupported(
            "is undefined; create it before logging, or leave it out with select()".into(),
        ));
    }
    let (dtype, plain) = match tensor.f_kind() {
        Ok(kind) => element_type(kind).ok_or_else(|| {
            unsupported(format!(
                "is complex ({kind:?}); log its .real() and .imag() instead"
            ))
        })?,
        // An unsigned type that tch has no name for: libtorch converts it.
        Err(_) => (DType::F64, false),
    };
    let shape = shape(tensor).ok_or_else(|| {
        unsupported("is a nested tensor, which has no shape; log its parts one by one".into())
    })?;
    let contiguous = contiguity(tensor);
    let dense = plain && !tensor.is_sparse() && !tensor.is_mkldnn() && contiguous.is_some();
    let access = if !dense {
        Access::Convert
    } else if tensor.device() != Device::Cpu {
        Access::Remote
    } else if contiguous == Some(true)
        && shape.len() <= DIMENSIONS
        && !Metadata::of(tensor).is_negated()
    {
        Access::Memory
    } else {
        Access::Copy
    };
    let facts = Facts {
        dtype,
        shape,
        access,
    };
    // A view of few bytes can have any number of elements.
    if isize::try_from(facts.bytes()).is_err() {
        let reason = format!("has shape {:?}, too large to be copied", facts.shape);
        return Err(unsupported(reason));
    }
    Ok(facts)
}

/// The buffer's type for a kind, and whether elements have that type already. `None` for complex kinds.
fn element_type(kind: Kind) -> Option<(DType, bool)> {
    Some(match kind {
        Kind::Bool => (DType::Bool, true),
        Kind::Uint8 => (DType::U8, true),
        Kind::Int8 => (DType::I8, true),
        Kind::Int16 => (DType::I16, true),
        Kind::Int => (DType::I32, true),
        Kind::Int64 => (DType::I64, true),
        Kind::Half => (DType::F16, true),
        Kind::BFloat16 => (DType::BF16, true),
        Kind::Float => (DType::F32, true),
        Kind::Double => (DType::F64, true),
        Kind::ComplexHalf | Kind::ComplexFloat | Kind::ComplexDouble => return None,
        // Quantised and 8-bit floats.
        _ => (DType::F32, false),
    })
}

fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::Bool => Kind::Bool,
        DType::U8 => Kind::Uint8,
        DType::I8 => Kind::Int8,
        DType::I16 => Kind::Int16,
        DType::I32 => Kind::Int,
        DType::I64 => Kind::Int64,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
    }
}

/// The sizes of the dimensions; `None` for a nested tensor, at which `Tensor::size` panics.
fn shape(tensor: &Tensor) -> Option<Vec<i64>> {
    let metadata = Metadata::of(tensor);
    let mut shape = vec![0; metadata.dimensions()];
    metadata.read_shape(&mut shape);
    (!forget_error(tensor)).then_some(shape)
}

/// [`Metadata::is_contiguous`], leaving no error behind.
fn contiguity(tensor: &Tensor) -> Option<bool> {
    let answer = Metadata::of(tensor).is_contiguous();
    if answer.is_none() {
        forget_error(tensor);
    }
    answer
}

/// Where the elements of a defined tensor begin, leaving no error behind; `None` where there is no memory.
fn start(tensor: &Tensor) -> Option<*const u8> {
    let start = Metadata::of(tensor).data();
    if start.is_none() {
        forget_error(tensor);
    }
    start
}

/// Dimensions up to which memory is read directly: they are compared at each call without an allocation.
const DIMENSIONS: usize = 16;

/// True for a tensor of this type and shape whose elements lie in host memory as a copy of them does.
fn lies_as(metadata: Metadata<'_>, facts: &Facts) -> bool {
    let mut shape = [0_i64; DIMENSIONS];
    let Some(sizes) = shape.get_mut(..facts.shape.len()) else {
        return false;
    };
    if metadata.dimensions() != sizes.len() || !metadata.has_type(facts.dtype) {
        return false;
    }
    metadata.read_shape(sizes);
    // Of a nested tensor no size was read, and it is not contiguous.
    sizes == facts.shape.as_slice()
        && metadata.is_contiguous() == Some(true)
        && metadata.is_on_cpu()
        && !metadata.is_negated()
}

/// The memory of a tensor that is still what `facts` says: dense, contiguous, on the CPU, of this type and shape. `None`
/// when it is not (any more), and the caller has to classify it again.
pub(crate) fn memory<'a>(tensor: &'a Tensor, facts: &Facts) -> Option<&'a [u8]> {
    let metadata = Metadata::of(tensor);
    if !metadata.is_defined() {
        return None;
    }
    if !lies_as(metadata, facts) {
        forget_error(tensor);
        return None;
    }
    let bytes = facts.bytes();
    if bytes == 0 {
        return Some(&[]);
    }
    let start = start(tensor)?;
    // SAFETY: `tensor` keeps its storage alive; being contiguous on the CPU with this type and shape, its elements are
    // these bytes from the data pointer on. Nothing writes them during the call unless another thread trains at the same
    // time, which libtorch itself does not allow for a tensor that is read; a torn read could only give a wrong number,
    // since every bit pattern of these bytes is valid.
    #[allow(unsafe_code)]
    Some(unsafe { std::slice::from_raw_parts(start, bytes) })
}

/// libtorch gives each of its threads at least half of this to copy.
const WORTH_THREADS: usize = 256 << 10;

/// Threads that libtorch computes with.
pub(crate) fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Copies all elements, in row-major order of the tensor's shape, to `target`, which holds exactly that many bytes.
/// `Ok(false)` when the tensor is not what `facts` says any more: nothing useful was written.
pub(crate) fn copy(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    way: Way,
    target: &mut [u8],
) -> Result<bool> {
    if facts.access == Access::Memory {
        let Some(bytes) = memory(tensor, facts) else {
            return Ok(false);
        };
        if bytes.len() != target.len() {
            return Ok(false);
        }
        if way == Way::Threads && bytes.len() >= WORTH_THREADS {
            copy_by_torch(name, tensor, facts, (0, 1), target)?;
        } else {
            copy_alone(bytes, way, target);
        }
        return Ok(true);
    }
    if inspect(name, tensor)? != *facts {
        return Ok(false);
    }
    copy_by_torch(name, tensor, facts, (0, 1), target)?;
    Ok(true)
}

/// Copies every `stride`-th element (row-major) from `start` on to `target`, which holds exactly as many as there are.
pub(crate) fn copy_strided(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    steps: (usize, usize),
    target: &mut [u8],
) -> Result<bool> {
    if facts.access == Access::Memory {
        let Some(bytes) = memory(tensor, facts) else {
            return Ok(false);
        };
        gather(bytes, facts.dtype.size(), steps, target);
        return Ok(true);
    }
    if inspect(name, tensor)? != *facts {
        return Ok(false);
    }
    copy_by_torch(name, tensor, facts, steps, target)?;
    Ok(true)
}

/// Copies with libtorch's `copy_`, which resolves strides, devices and negation.
fn copy_by_torch(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    steps: (usize, usize),
    target: &mut [u8],
) -> Result<()> {
    let failed = |error: tch::TchError| not_copied(name, &error);
    // Without it, the target would join the graph of a tensor that requires a gradient.
    let _guard = tch::no_grad_guard();
    let mut source = tensor.f_detach().map_err(failed)?;
    if facts.access == Access::Convert {
        source = convert(&source, facts.dtype).map_err(failed)?;
    }
    if steps != (0, 1) {
        source = chosen(&source, steps).map_err(failed)?;
    }
    copy_into(name, &source, &source.size(), facts.dtype, target)
}

/// Every `stride`-th element from `start` on, by their row-major numbers: flattening a strided view to slice it would copy
/// all of it.
fn chosen(
    source: &Tensor,
    (start, stride): (usize, usize),
) -> std::result::Result<Tensor, tch::TchError> {
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let (end, options) = (number(source.numel()), (Kind::Int64, source.device()));
    let numbers = Tensor::f_arange_start_step(number(start), end, number(stride), options)?;
    source.f_take(&numbers)
}

fn not_copied(name: &str, error: &tch::TchError) -> Error {
    let reason = format!("libtorch could not copy it: {}", first_line(error)).into();
    Error::UnsupportedTensor {
        name: name.into(),
        reason,
    }
}

/// `copy_` into the memory of `target`, which has to be as long as a tensor of this shape.
fn copy_into(
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
    // SAFETY: `target` is exclusively borrowed for the life of `view`, aligned for the type (offsets in a buffer are
    // multiples of the element's size) and, as checked above, exactly as long as the shape says.
    #[allow(unsafe_code)]
    let view =
        unsafe { Tensor::f_from_blob(target.as_mut_ptr(), shape, &strides, kind, Device::Cpu) };
    view.and_then(|mut view| view.f_copy_(source))
        .map_err(|error| not_copied(name, &error))
}

/// A dense tensor of the buffer's type.
fn convert(source: &Tensor, dtype: DType) -> std::result::Result<Tensor, tch::TchError> {
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
fn first_line(error: &tch::TchError) -> String {
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

/// True for a tensor that gradients are tracked for.
pub(crate) fn requires_grad(tensor: &Tensor) -> bool {
    let metadata = Metadata::of(tensor);
    metadata.is_defined() && metadata.requires_grad()
}

/// A tensor of one element, read at once when it lies on the CPU.
pub(crate) enum Fetched {
    Now(f64),
    /// A copy on its device, to be read by [`read_scalar`].
    Later(Tensor),
}

/// Takes a scalar without waiting for an accelerator.
pub(crate) fn fetch_scalar(tag: &str, tensor: &Tensor) -> Result<Fetched> {
    let facts = inspect(tag, tensor)?;
    if facts.elements() != 1 {
        let reason = format!(
            "has shape {:?}; a scalar has one element: log its mean, or log_histogram",
            facts.shape
        );
        return Err(Error::UnsupportedTensor {
            name: tag.into(),
            reason: reason.into(),
        });
    }
    if facts.access != Access::Remote {
        return read_scalar(tag, tensor).map(Fetched::Now);
    }
    let _guard = tch::no_grad_guard();
    let copy = tensor.f_detach().and_then(|tensor| {
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(&tensor)?;
        Ok(copy)
    });
    copy.map(Fetched::Later)
        .map_err(|error| not_copied(tag, &error))
}

/// Reads a tensor of one element, waiting for its device.
pub(crate) fn read_scalar(tag: &str, tensor: &Tensor) -> Result<f64> {
    let facts = inspect(tag, tensor)?;
    let value = match facts.access {
        Access::Convert => {
            convert(tensor, DType::F64).and_then(|tensor| tensor.f_double_value(&zeros(&facts)))
        }
        _ => tensor.f_double_value(&zeros(&facts)),
    };
    value.map_err(|error| Error::UnsupportedTensor {
        name: tag.into(),
        reason: format!("libtorch could not read it: {}", first_line(&error)).into(),
    })
}

/// The index of the only element.
fn zeros(facts: &Facts) -> Vec<i64> {
    vec![0; facts.shape.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_look_leaves_no_error_behind() {
        let sparse = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 2.0])
            .reshape([2, 2])
            .f_to_sparse_csr(None)
            .unwrap();
        assert_eq!(contiguity(&sparse), None);
        assert_eq!(inspect("w", &sparse).unwrap().access, Access::Convert);
        // The binding would hand a stale error to the next fallible call.
        assert!(Tensor::from_slice(&[1.0_f32]).f_neg().is_ok());
    }
}
