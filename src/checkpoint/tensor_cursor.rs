//! Reads the elements of a tensor in row-major order, as the type they are analysed as.

use crate::checkpoint::section::SectionCursor;
use crate::checkpoint::slabs::{Slab, Slabs};
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::stored_type::StoredType;
use crate::error::Result;
use crate::model::types::DType;

/// Bytes of the file that are read and converted at once.
const RAW: usize = 1 << 20;

/// See the module. Memory is bounded: a buffer of [`RAW`] bytes where elements are converted, a
/// slab where they do not lie in row-major order.
pub(crate) struct TensorCursor<'a> {
    tensor: &'a StoredTensor,
    section: SectionCursor,
    slabs: Option<Slabs>,
    slab: Slab,
    table: Option<Box<[u16; 256]>>,
    raw: Vec<u8>,
}

impl<'a> TensorCursor<'a> {
    pub(crate) fn new(tensor: &'a StoredTensor) -> TensorCursor<'a> {
        TensorCursor {
            tensor,
            section: tensor.section.cursor(),
            slabs: Slabs::new(tensor),
            slab: Slab::default(),
            table: tensor.kind.table(),
            raw: Vec::new(),
        }
    }

    /// The type of the elements in a target.
    pub(crate) fn dtype(&self) -> DType {
        self.tensor.kind.analysed_as()
    }

    /// Fills `target` with numbers from the one of this index on: two numbers an element of complex
    /// ones. The index is one of a whole element, a multiple of 4 for those of less than a byte.
    pub(crate) fn read(&mut self, first: u64, target: &mut [u8]) -> Result<()> {
        let kind = self.tensor.kind;
        let first = first / kind.parts();
        let is_plain = kind.bits() / kind.parts() == 8 * self.dtype().size() as u64;
        if is_plain {
            self.read_raw(first, target)?;
            to_native(target, kind.swapped_bytes(), self.tensor.is_big_endian);
            return Ok(());
        }
        let mut raw = std::mem::take(&mut self.raw);
        raw.resize(RAW, 0);
        let converted = self.convert(first, target, &mut raw);
        self.raw = raw;
        converted
    }

    fn convert(&mut self, mut first: u64, target: &mut [u8], raw: &mut [u8]) -> Result<()> {
        let kind = self.tensor.kind;
        let size = self.dtype().size();
        // A multiple of 4 elements for those of six bits.
        let most = (RAW as u64 * 8 / kind.bits() / 4 * 4) as usize;
        for target in target.chunks_mut(most * size) {
            let elements = target.len() / size;
            let bytes = (elements as u64 * kind.bits()).div_ceil(8) as usize;
            let raw = raw.get_mut(..bytes).unwrap_or_default();
            self.read_raw(first, raw)?;
            to_native(raw, kind.swapped_bytes(), self.tensor.is_big_endian);
            widen(kind, self.table.as_deref(), raw, target);
            first += elements as u64;
        }
        Ok(())
    }

    /// The bytes of elements as they are in the file.
    fn read_raw(&mut self, first: u64, target: &mut [u8]) -> Result<()> {
        let Some(slabs) = &self.slabs else {
            let bits = (self.tensor.start + first) * self.tensor.kind.bits();
            return self.section.read_at(bits / 8, target);
        };
        let size = (self.tensor.kind.bits() / 8) as usize;
        let (mut first, mut rest) = (first, target);
        while !rest.is_empty() {
            slabs.load(first, &mut self.section, &mut self.slab)?;
            let from = self.slab.behind(first, size);
            let length = from.len().min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            now.copy_from_slice(from.get(..length).unwrap_or_default());
            if length == 0 {
                let reason = "a tensor has no elements where some should be";
                return Err(self.section.section().file.damaged(reason));
            }
            first += (length / size) as u64;
            rest = later;
        }
        Ok(())
    }
}

/// Puts numbers of so many bytes into the byte order of this machine.
fn to_native(bytes: &mut [u8], size: usize, is_big_endian: bool) {
    if size > 1 && is_big_endian != cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
}

/// Widens elements, in native byte order, to the type they are analysed as.
fn widen(kind: StoredType, table: Option<&[u16; 256]>, raw: &[u8], target: &mut [u8]) {
    fn each<const FROM: usize, const TO: usize>(
        raw: &[u8],
        target: &mut [u8],
        widen: impl Fn([u8; FROM]) -> [u8; TO],
    ) {
        let (from, to) = (raw.as_chunks::<FROM>().0, target.as_chunks_mut::<TO>().0);
        for (from, to) in from.iter().zip(to) {
            *to = widen(*from);
        }
    }
    let look_up = |pattern: u8| match table {
        Some(table) => table[usize::from(pattern)].to_ne_bytes(),
        None => [0; 2],
    };
    match kind {
        StoredType::U16 => each(raw, target, |from: [u8; 2]| {
            i32::from(u16::from_ne_bytes(from)).to_ne_bytes()
        }),
        StoredType::U32 => each(raw, target, |from: [u8; 4]| {
            i64::from(u32::from_ne_bytes(from)).to_ne_bytes()
        }),
        StoredType::F4 => each(raw, target, |[byte]: [u8; 1]| {
            let [a, b] = [look_up(byte & 15), look_up(byte >> 4)];
            [a[0], a[1], b[0], b[1]]
        }),
        StoredType::F6E2M3 | StoredType::F6E3M2 => each(raw, target, |[a, b, c]: [u8; 3]| {
            let bits = u32::from_le_bytes([a, b, c, 0]);
            let mut wide = [0; 8];
            for (index, to) in wide.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                *to = look_up((bits >> (6 * index) & 63) as u8);
            }
            wide
        }),
        _ => each(raw, target, |[byte]: [u8; 1]| look_up(byte)),
    }
}
