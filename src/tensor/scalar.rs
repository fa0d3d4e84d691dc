//! Tensors of one element as scalars.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::source::element_source::{
    Access, ElementLayout, FetchedScalar, PendingScalar, ScalarSource,
};
use crate::source::values::{Scalar, ScalarValue};
use crate::tensor::copying::{convert, first_line, not_copied};
use crate::tensor::layout::inspect;

impl ScalarValue for Tensor {
    fn scalar(&self) -> Scalar<'_> {
        Scalar::Source(self)
    }
}

impl ScalarSource for Tensor {
    fn fetch(&self, tag: &str) -> Result<FetchedScalar> {
        fetch_scalar(tag, self)
    }
}

/// A copy of one element on its device.
struct TensorScalar(Tensor);

impl PendingScalar for TensorScalar {
    fn read(&self, tag: &str) -> Result<f64> {
        read_scalar(tag, &self.0)
    }
}

/// Takes a scalar without waiting for an accelerator.
fn fetch_scalar(tag: &str, tensor: &Tensor) -> Result<FetchedScalar> {
    let layout = inspect(tag, tensor)?;
    if layout.elements() != 1 {
        let reason = format!(
            "has shape {:?}; a scalar has one element: log its mean, or log_histogram",
            layout.shape
        );
        return Err(Error::UnsupportedTensor {
            name: tag.into(),
            reason: reason.into(),
        });
    }
    if layout.access != Access::Remote {
        return read_scalar(tag, tensor).map(FetchedScalar::Now);
    }
    let _guard = tch::no_grad_guard();
    let copy = tensor.f_detach().and_then(|tensor| {
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(&tensor)?;
        Ok(copy)
    });
    copy.map(|copy| FetchedScalar::Later(Box::new(TensorScalar(copy))))
        .map_err(|error| not_copied(tag, &error))
}

/// Reads a tensor of one element, waiting for its device.
fn read_scalar(tag: &str, tensor: &Tensor) -> Result<f64> {
    let layout = inspect(tag, tensor)?;
    let value = match layout.access {
        Access::Convert => {
            convert(tensor, DType::F64).and_then(|tensor| tensor.f_double_value(&zeros(&layout)))
        }
        _ => tensor.f_double_value(&zeros(&layout)),
    };
    value.map_err(|error| Error::UnsupportedTensor {
        name: tag.into(),
        reason: format!("libtorch could not read it: {}", first_line(&error)).into(),
    })
}

/// The index of the only element.
fn zeros(layout: &ElementLayout) -> Vec<i64> {
    vec![0; layout.shape.len()]
}
