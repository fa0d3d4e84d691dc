//! What a tensor is, and where its elements lie.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::source::element_source::{Access, ElementLayout};
use crate::tensor::metadata::{Metadata, forget_error};

/// Classifies a tensor. `name` is the tag or variable that errors speak of.
pub(super) fn inspect(name: &str, tensor: &Tensor) -> Result<ElementLayout> {
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
    let layout = ElementLayout {
        dtype,
        shape,
        access,
    };
    // A view of few bytes can have any number of elements.
    if isize::try_from(layout.bytes()).is_err() {
        let reason = format!("has shape {:?}, too large to be copied", layout.shape);
        return Err(unsupported(reason));
    }
    Ok(layout)
}

/// The buffer's type for a kind, and whether elements have that type already. `None` for complex
/// kinds.
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

pub(super) fn kind_of(dtype: DType) -> Kind {
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
    let mut shape = vec![0; metadata.dimensions().unwrap_or_default()];
    metadata.read_shape(&mut shape);
    (!forget_error(tensor) && metadata.dimensions().is_some()).then_some(shape)
}

/// [`Metadata::is_contiguous`], leaving no error behind.
pub(super) fn contiguity(tensor: &Tensor) -> Option<bool> {
    let answer = Metadata::of(tensor).is_contiguous();
    if answer.is_none() {
        forget_error(tensor);
    }
    answer
}

/// Where the elements of a defined tensor begin, leaving no error behind; `None` where there is no
/// memory.
pub(super) fn start(tensor: &Tensor) -> Option<*const u8> {
    let start = Metadata::of(tensor).data();
    if start.is_none() {
        forget_error(tensor);
    }
    start
}

/// Dimensions up to which memory is read directly: they are compared at each call without an
/// allocation.
const DIMENSIONS: usize = 16;

/// True for a tensor of this type and shape whose elements lie in host memory as a copy of them
/// does.
fn lies_as(metadata: Metadata<'_>, layout: &ElementLayout) -> bool {
    let mut shape = [0_i64; DIMENSIONS];
    let Some(sizes) = shape.get_mut(..layout.shape.len()) else {
        return false;
    };
    if metadata.dimensions() != Some(sizes.len()) || !metadata.has_type(layout.dtype) {
        return false;
    }
    metadata.read_shape(sizes);
    // Of a nested tensor no size was read, and it is not contiguous.
    sizes == layout.shape.as_slice()
        && metadata.is_contiguous() == Some(true)
        && metadata.is_on_cpu()
        && !metadata.is_negated()
}

/// The memory of a tensor that is still what `layout` says: dense, contiguous, on the CPU, of this
/// type and shape. `None` when it is not (any more), and the caller has to classify it again.
pub(super) fn memory<'a>(tensor: &'a Tensor, layout: &ElementLayout) -> Option<&'a [u8]> {
    let metadata = Metadata::of(tensor);
    if !metadata.is_defined() {
        return None;
    }
    if !lies_as(metadata, layout) {
        forget_error(tensor);
        return None;
    }
    let bytes = layout.bytes();
    if bytes == 0 {
        return Some(&[]);
    }
    let start = start(tensor)?;
    // SAFETY: `tensor` keeps its storage alive; being contiguous on the CPU with this type and
    // shape, its elements are these bytes from the data pointer on, all initialised as far as
    // libtorch is concerned, and every bit pattern is a valid `u8`. The borrow ends within the log
    // call. That nobody writes to the storage meanwhile cannot be checked: it is the documented
    // condition of `log_weights` and `log_histogram`. A thread that trains at the same time
    // (Hogwild) breaks it, and the read is then a data race, undefined behaviour in Rust's and in
    // C++'s terms, as any read by libtorch itself would be. No index, length, tag or pointer is
    // ever taken from these bytes, and nothing relies on two loads of one byte being equal: they
    // are copied, compared for a yes or no, or widened to floats. Volatile loads or libtorch's own
    // `copy_` would not make a race defined, and cost the vectorised copy or 1 to 2 us a tensor.
    #[allow(unsafe_code)]
    Some(unsafe { std::slice::from_raw_parts(start, bytes) })
}

/// True for a tensor that gradients are tracked for.
pub(super) fn requires_grad(tensor: &Tensor) -> bool {
    let metadata = Metadata::of(tensor);
    metadata.is_defined() && metadata.requires_grad()
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
