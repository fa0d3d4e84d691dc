//! A checkpoint as what `log_weights` reads.

use crate::checkpoint::checkpoint_tensor::CheckpointTensor;
use crate::checkpoint::reading::Checkpoint;
use crate::checkpoint::tensor_cursor::TensorCursor;
use crate::error::{Error, Result};
use crate::kernel::Elements;
use crate::platform::aligned::AlignedBytes;
use crate::source::element_source::{
    Access, CopyMethod, ElementLayout, ElementSource, Peek, Stride,
};
use crate::source::named_tensors::{NamedTensors, Visitor};

/// Bytes that are read at once where a sample is taken.
const PIECE: usize = 1 << 20;

/// Tensors that cannot be read are left out with a note, as other tensors that cannot be logged.
/// Elements of types that libtorch does not compute in are widened: eight bits to `float16`,
/// unsigned integers to signed ones; complex ones are two numbers each.
impl NamedTensors for Checkpoint {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        for tensor in self.tensors() {
            visitor.elements(tensor.name(), tensor, tensor.role());
        }
        self.check_unchanged()
    }
}

impl CheckpointTensor {
    /// All numbers.
    pub(super) fn values(&self) -> Result<Vec<f64>> {
        let stored = self.stored()?;
        let mut cursor = TensorCursor::new(stored);
        let (dtype, numbers) = (stored.kind.analysed_as(), stored.numbers());
        let mut piece = AlignedBytes::try_zeroed(PIECE).ok_or_else(|| self.too_large())?;
        let mut values = Vec::new();
        let room = usize::try_from(numbers).map_err(|_| self.too_large())?;
        values
            .try_reserve_exact(room)
            .map_err(|_| self.too_large())?;
        let mut first = 0;
        while first < numbers {
            let count = (numbers - first).min((PIECE / dtype.size()) as u64);
            let bytes = piece.as_mut_slice();
            let bytes = bytes
                .get_mut(..count as usize * dtype.size())
                .unwrap_or_default();
            cursor.read(first, bytes)?;
            if let Some(elements) = Elements::from_bytes(dtype, bytes) {
                values.extend((0..elements.len()).map(|index| elements.get(index)));
            }
            first += count;
        }
        Ok(values)
    }

    fn too_large(&self) -> Error {
        Error::UnsupportedTensor {
            name: self.name().into(),
            reason: "has more elements than memory can hold".into(),
        }
    }
}

impl ElementSource for CheckpointTensor {
    fn inspect(&self, _name: &str) -> Result<ElementLayout> {
        let stored = self.stored()?;
        let mut shape = Vec::with_capacity(stored.shape.len() + 1);
        for &size in &stored.shape {
            shape.push(i64::try_from(size).map_err(|_| self.too_large())?);
        }
        if stored.kind.parts() > 1 {
            shape.push(2);
        }
        Ok(ElementLayout {
            dtype: stored.kind.analysed_as(),
            shape,
            access: Access::Copy,
        })
    }

    fn copy(
        &self,
        name: &str,
        layout: &ElementLayout,
        stride: Stride,
        _method: CopyMethod,
        target: &mut [u8],
    ) -> Result<bool> {
        if self.inspect(name)? != *layout {
            return Ok(false);
        }
        let stored = self.stored()?;
        let mut cursor = TensorCursor::new(stored);
        let size = layout.dtype.size();
        if stride == Stride::ALL {
            let mut first = 0;
            for piece in target.chunks_mut(PIECE) {
                cursor.read(first, piece)?;
                first += (piece.len() / size) as u64;
            }
        } else {
            sample(&mut cursor, stored.numbers(), size, stride, target)?;
        }
        stored.section.file.check()?;
        Ok(true)
    }

    fn peek(&self, _layout: &ElementLayout) -> Peek<'_> {
        Peek::Hidden
    }

    fn with_stored(&self, see: &mut dyn FnMut(&dyn ElementSource)) {
        see(self);
    }
}

/// Copies every `stride`-th number.
fn sample(
    cursor: &mut TensorCursor<'_>,
    numbers: u64,
    size: usize,
    stride: Stride,
    target: &mut [u8],
) -> Result<()> {
    let mut piece = vec![0; PIECE];
    let (mut loaded, mut targets) = (0..0, target.chunks_exact_mut(size));
    let mut wanted = stride.start as u64;
    while let Some(target) = targets.next().filter(|_| wanted < numbers) {
        if !loaded.contains(&wanted) {
            // From a multiple of 4 on, for types of less than a byte.
            let first = wanted / 8 * 8;
            let count = (numbers - first).min((PIECE / size) as u64);
            let bytes = piece.get_mut(..count as usize * size).unwrap_or_default();
            cursor.read(first, bytes)?;
            loaded = first..first + count;
        }
        let at = (wanted - loaded.start) as usize * size;
        if let Some(found) = piece.get(at..at + size) {
            target.copy_from_slice(found);
        }
        wanted += stride.step as u64;
    }
    Ok(())
}
