//! What libtorch knows of a tensor beside its elements, by one call of its C interface for each
//! question.
//!
//! tch asks after each of them whether something was thrown, which takes as long again, and panics
//! where something was. The caller of `log_weights` asks ten questions of every variable, so here
//! nobody asks: an answer that says so, or that is not the wanted one, is followed by
//! [`forget_error`].

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

use tch::Tensor;

use crate::model::types::DType;

/// `at_device` says so of tensors in host memory.
const CPU: c_int = -1;

/// More than any tensor has whose elements can be copied; libtorch's own operations stop at 64.
const MOST_DIMENSIONS: usize = 1 << 16;

/// A tensor to ask.
#[derive(Clone, Copy)]
pub(super) struct Metadata<'a> {
    /// Valid for `'a`.
    handle: *mut torch_sys::C_tensor,
    tensor: PhantomData<&'a Tensor>,
}

// SAFETY, of all calls below: the handle is valid as long as the tensor is borrowed. They read
// metadata, let nothing be thrown through them, and know undefined tensors.
#[allow(unsafe_code)]
impl<'a> Metadata<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Metadata<'a> {
        Metadata {
            handle: tensor.as_ptr().cast_mut(),
            tensor: PhantomData,
        }
    }

    pub(super) fn is_defined(self) -> bool {
        // SAFETY: see above.
        unsafe { torch_sys::at_defined(self.handle) == 1 }
    }

    /// `None` where libtorch has no answer: the binding then returns the largest number there is.
    pub(super) fn dimensions(self) -> Option<usize> {
        // SAFETY: see above.
        let dimensions = unsafe { torch_sys::at_dim(self.handle) };
        (dimensions <= MOST_DIMENSIONS).then_some(dimensions)
    }

    pub(super) fn has_type(self, dtype: DType) -> bool {
        // SAFETY: see above.
        unsafe { torch_sys::at_scalar_type(self.handle) == scalar_type(dtype) }
    }

    /// The sizes of the dimensions, into as many or more. Those of a nested tensor are thrown for,
    /// and left alone.
    pub(super) fn read_shape(self, shape: &mut [i64]) {
        if self
            .dimensions()
            .is_some_and(|dimensions| dimensions <= shape.len())
        {
            // SAFETY: see above; there is room for all dimensions.
            unsafe { torch_sys::at_shape(self.handle, shape.as_mut_ptr()) };
        }
    }

    /// Whether the elements lie one after the other; `None` for the sparse layouts that have no
    /// such notion, some of which `Tensor::is_sparse` misses and `Tensor::is_contiguous` panics on.
    pub(super) fn is_contiguous(self) -> Option<bool> {
        // SAFETY: see above.
        match unsafe { torch_sys::at_is_contiguous(self.handle) } {
            ..0 => None,
            answer => Some(answer != 0),
        }
    }

    pub(super) fn is_on_cpu(self) -> bool {
        // SAFETY: see above.
        unsafe { torch_sys::at_device(self.handle) == CPU }
    }

    /// True for a view whose elements are those in memory with the other sign (`z.conj().imag()`).
    pub(super) fn is_negated(self) -> bool {
        // SAFETY: see above.
        unsafe { torch_sys::c_generated::atg_is_neg(self.handle) != 0 }
    }

    pub(super) fn requires_grad(self) -> bool {
        // SAFETY: see above.
        unsafe { torch_sys::at_requires_grad(self.handle) == 1 }
    }

    pub(super) fn is_leaf(self) -> bool {
        // SAFETY: see above.
        unsafe { torch_sys::c_generated::atg_is_leaf(self.handle) != 0 }
    }

    /// Where the elements begin; `None` where there is no memory.
    pub(super) fn data(self) -> Option<*const u8> {
        // SAFETY: see above.
        let start: *mut c_void = unsafe { torch_sys::at_data_ptr(self.handle) };
        (!start.is_null()).then_some(start.cast::<u8>().cast_const())
    }
}

/// The numbers of `c10::ScalarType`, which tch keeps to itself.
fn scalar_type(dtype: DType) -> c_int {
    match dtype {
        DType::U8 => 0,
        DType::I8 => 1,
        DType::I16 => 2,
        DType::I32 => 3,
        DType::I64 => 4,
        DType::F16 => 5,
        DType::F32 => 6,
        DType::F64 => 7,
        DType::Bool => 11,
        DType::BF16 => 15,
    }
}

/// libtorch's binding keeps the last error until somebody asks: the next fallible call would report
/// it as its own. True when there was one.
pub(super) fn forget_error(tensor: &Tensor) -> bool {
    tensor.f_is_leaf().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::layout::kind_of;
    use tch::{Device, Kind};

    #[test]
    fn a_type_is_known_by_its_number_and_taken_for_no_other() {
        for made in DType::ALL {
            let tensor = Tensor::zeros([2], (kind_of(made), Device::Cpu));
            for asked in DType::ALL {
                assert_eq!(
                    Metadata::of(&tensor).has_type(asked),
                    asked == made,
                    "{made:?} for {asked:?}"
                );
            }
        }
    }

    #[test]
    fn every_question_has_an_answer_for_any_tensor_and_no_error_stays() {
        let plain = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let sparse =
            Tensor::eye(2, (Kind::Float, Device::Cpu)).to_sparse(None, None::<&[i64]>, None);
        for tensor in [&plain, &sparse, &Tensor::new()] {
            let metadata = Metadata::of(tensor);
            let mut shape = [-1; 4];
            metadata.read_shape(&mut shape);
            let is_plain = std::ptr::eq(tensor, &plain);
            assert_eq!(shape.starts_with(&[2, 3]), is_plain);
            assert_eq!(
                metadata.is_contiguous() == Some(true) && metadata.data().is_some(),
                is_plain
            );
            assert!(!metadata.is_negated() && !metadata.requires_grad());
            forget_error(tensor);
            assert!(plain.f_neg().is_ok());
        }
        assert!(!Metadata::of(&Tensor::new()).is_defined());
        let mut short = [-1; 1];
        Metadata::of(&plain).read_shape(&mut short);
        assert_eq!(short, [-1]);
        let negated = Tensor::zeros([2], (Kind::ComplexFloat, Device::Cpu))
            .conj()
            .imag();
        assert!(Metadata::of(&negated).is_negated());
    }
}
