//! The elements of tensors in messages, in either form: a list of one type, or packed bytes.

use half::{bf16, f16};

use crate::proto::{DataType, TensorProto};

impl TensorProto {
    /// The sizes of the dimensions.
    pub(crate) fn shape(&self) -> Vec<i64> {
        let dims = self.tensor_shape.iter().flat_map(|shape| &shape.dim);
        dims.map(|dim| dim.size).collect()
    }

    /// The elements of a tensor of real numbers, as many as it holds. A single one that stands for
    /// all of a shape is not repeated.
    pub(crate) fn numbers(&self) -> Option<Vec<f64>> {
        if self.tensor_content.is_empty() {
            listed(self)
        } else {
            packed(self.dtype(), &self.tensor_content)
        }
    }

    /// How many elements it holds; `None` for a type that is neither a real number nor a string.
    pub(crate) fn held(&self) -> Option<usize> {
        if self.dtype() == DataType::DtString {
            return Some(self.string_val.len());
        }
        let size = element_len(self.dtype())?;
        Some(match self.tensor_content.len() {
            0 => listed_len(self)?,
            bytes => bytes / size,
        })
    }
}

fn listed_len(tensor: &TensorProto) -> Option<usize> {
    Some(match tensor.dtype() {
        DataType::DtFloat => tensor.float_val.len(),
        DataType::DtDouble => tensor.double_val.len(),
        DataType::DtHalf | DataType::DtBfloat16 => tensor.half_val.len(),
        DataType::DtInt8
        | DataType::DtInt16
        | DataType::DtInt32
        | DataType::DtUint8
        | DataType::DtUint16 => tensor.int_val.len(),
        DataType::DtInt64 => tensor.int64_val.len(),
        DataType::DtUint32 => tensor.uint32_val.len(),
        DataType::DtUint64 => tensor.uint64_val.len(),
        DataType::DtBool => tensor.bool_val.len(),
        _ => return None,
    })
}

fn listed(tensor: &TensorProto) -> Option<Vec<f64>> {
    let halves = || tensor.half_val.iter().map(|&bits| bits as u16);
    Some(match tensor.dtype() {
        DataType::DtFloat => tensor.float_val.iter().copied().map(f64::from).collect(),
        DataType::DtDouble => tensor.double_val.clone(),
        DataType::DtHalf => halves().map(|bits| f16::from_bits(bits).to_f64()).collect(),
        DataType::DtBfloat16 => halves()
            .map(|bits| bf16::from_bits(bits).to_f64())
            .collect(),
        DataType::DtInt8
        | DataType::DtInt16
        | DataType::DtInt32
        | DataType::DtUint8
        | DataType::DtUint16 => tensor.int_val.iter().copied().map(f64::from).collect(),
        DataType::DtInt64 => tensor.int64_val.iter().map(|&value| value as f64).collect(),
        DataType::DtUint32 => tensor.uint32_val.iter().copied().map(f64::from).collect(),
        DataType::DtUint64 => tensor
            .uint64_val
            .iter()
            .map(|&value| value as f64)
            .collect(),
        DataType::DtBool => tensor
            .bool_val
            .iter()
            .copied()
            .map(|value| f64::from(u8::from(value)))
            .collect(),
        _ => return None,
    })
}

/// Bytes of an element in `tensor_content`; `None` when it is no real number.
pub(crate) fn element_len(dtype: DataType) -> Option<usize> {
    Some(match dtype {
        DataType::DtInt8 | DataType::DtUint8 | DataType::DtBool => 1,
        DataType::DtHalf | DataType::DtBfloat16 | DataType::DtInt16 | DataType::DtUint16 => 2,
        DataType::DtFloat | DataType::DtInt32 | DataType::DtUint32 => 4,
        DataType::DtDouble | DataType::DtInt64 | DataType::DtUint64 => 8,
        _ => return None,
    })
}

/// The elements in `tensor_content`.
pub(crate) fn packed(dtype: DataType, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        let (cells, rest) = bytes.as_chunks::<N>();
        rest.is_empty()
            .then(|| cells.iter().map(|&cell| number(cell)).collect())
    }
    match dtype {
        DataType::DtFloat => each(bytes, |cell| f32::from_le_bytes(cell).into()),
        DataType::DtDouble => each(bytes, f64::from_le_bytes),
        DataType::DtHalf => each(bytes, |cell| f16::from_le_bytes(cell).into()),
        DataType::DtBfloat16 => each(bytes, |cell| bf16::from_le_bytes(cell).into()),
        DataType::DtInt8 => each(bytes, |cell| i8::from_le_bytes(cell).into()),
        DataType::DtInt16 => each(bytes, |cell| i16::from_le_bytes(cell).into()),
        DataType::DtInt32 => each(bytes, |cell| i32::from_le_bytes(cell).into()),
        DataType::DtInt64 => each(bytes, |cell| i64::from_le_bytes(cell) as f64),
        DataType::DtUint8 | DataType::DtBool => each(bytes, |[cell]| cell.into()),
        DataType::DtUint16 => each(bytes, |cell| u16::from_le_bytes(cell).into()),
        DataType::DtUint32 => each(bytes, |cell| u32::from_le_bytes(cell).into()),
        DataType::DtUint64 => each(bytes, |cell| u64::from_le_bytes(cell) as f64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_elements_are_held_as_can_be_read_of_each_type_and_form() {
        use DataType::*;
        for dtype in [
            DtFloat, DtDouble, DtHalf, DtBfloat16, DtInt8, DtInt16, DtInt32, DtInt64, DtUint8,
            DtUint16, DtUint32, DtUint64, DtBool,
        ] {
            let mut tensor = TensorProto {
                dtype: dtype.into(),
                float_val: vec![1.0; 2],
                double_val: vec![1.0; 2],
                half_val: vec![1; 2],
                int_val: vec![1; 2],
                int64_val: vec![1; 2],
                uint32_val: vec![1; 2],
                uint64_val: vec![1; 2],
                bool_val: vec![true; 2],
                ..Default::default()
            };
            let read = |tensor: &TensorProto| tensor.numbers().map(|numbers| numbers.len());
            assert_eq!(
                (tensor.held(), read(&tensor)),
                (Some(2), Some(2)),
                "{dtype:?}"
            );
            tensor.tensor_content = vec![0; 3 * element_len(dtype).unwrap()];
            assert_eq!(
                (tensor.held(), read(&tensor)),
                (Some(3), Some(3)),
                "{dtype:?}"
            );
        }
    }
}
