//! Two tensors that are compared.

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::model::types::DType;

/// The elements of both sides: as many numbers on each.
#[derive(Debug, Clone)]
pub(super) struct TensorPair {
    pub(super) a: StoredTensor,
    pub(super) b: StoredTensor,
    /// Both sides are one tensor, which is read once.
    pub(super) is_alone: bool,
}

impl TensorPair {
    /// `None` when one has more numbers than the other.
    pub(super) fn new(a: &StoredTensor, b: &StoredTensor) -> Option<TensorPair> {
        (a.numbers() == b.numbers()).then(|| TensorPair {
            a: a.clone(),
            b: b.clone(),
            is_alone: false,
        })
    }

    /// A tensor without a partner, for its own statistics.
    pub(super) fn alone(tensor: &StoredTensor) -> TensorPair {
        TensorPair {
            a: tensor.clone(),
            b: tensor.clone(),
            is_alone: true,
        }
    }

    pub(super) fn numbers(&self) -> u64 {
        self.a.numbers()
    }

    pub(super) fn is_one_type(&self) -> bool {
        self.a.kind == self.b.kind
    }

    /// The type in which both are compared: their own, or `f64`.
    pub(super) fn dtype(&self) -> DType {
        match self.is_one_type() {
            true => self.a.kind.analysed_as(),
            false => DType::F64,
        }
    }

    /// Whether a range of both can be read without what is before it.
    pub(super) fn is_random(&self) -> bool {
        let is_random =
            |tensor: &StoredTensor| tensor.strides.is_none() && tensor.section.is_random();
        is_random(&self.a) && is_random(&self.b)
    }

    /// Bytes of both in their files.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |tensor: &StoredTensor| tensor.elements() * tensor.kind.bits() / 8;
        match self.is_alone {
            true => bytes(&self.a),
            false => bytes(&self.a) + bytes(&self.b),
        }
    }
}

/// The matrix with its rows and columns swapped; `None` for what is no matrix. What a transposed
/// view was saved as (`w.t()`) lies in row-major order then.
pub(super) fn transposed(tensor: &StoredTensor) -> Option<StoredTensor> {
    let &[rows, columns] = &*tensor.shape else {
        return None;
    };
    let (down, right) = match tensor.strides.as_deref() {
        None => (columns, 1),
        Some(&[down, right]) => (down, right),
        Some(_) => return None,
    };
    let strides = Some(vec![right, down]);
    let (section, kind) = (tensor.section.clone(), tensor.kind);
    let swapped = StoredTensor::new(section, kind, tensor.start, vec![columns, rows], strides);
    swapped.ok().map(|swapped| StoredTensor {
        is_big_endian: tensor.is_big_endian,
        ..swapped
    })
}
