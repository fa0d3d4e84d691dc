//! Elements that do not lie in row-major order: transposed, permuted, sliced, expanded.
//!
//! A tensor is cut into slabs of elements that are neighbours in row-major order. Each is filled in
//! the order of the file, so that the file is read forwards and in runs as long as the layout
//! allows.

use crate::checkpoint::section::SectionCursor;
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::error::Result;

/// Bytes of a slab. Each one reads the whole range that the tensor covers, in runs that are the
/// longer the larger a slab is.
const SLAB: u64 = 8 << 20;
/// A deflated section is unpacked from its beginning for each slab.
const DEFLATED_SLAB: u64 = 64 << 20;

/// Elements that are at most so many bytes apart are read together with what lies between.
const NEAR: u64 = 1024;
/// Bytes that are read at once.
const MOST_READ: u64 = 1 << 20;

/// Bytes that one pass over a tensor reads: of a deflated section what is before the elements, too,
/// for each slab.
pub(super) fn bytes_of_pass(tensor: &StoredTensor) -> u128 {
    let bits = |elements: u64| u128::from(elements) * u128::from(tensor.kind.bits());
    let bytes = bits(tensor.elements()).div_ceil(8);
    if bytes == 0 || tensor.section.is_random() {
        return bytes;
    }
    match &tensor.strides {
        None => bits(tensor.start).div_ceil(8) + bytes,
        Some(_) => bytes.div_ceil(u128::from(DEFLATED_SLAB)) * u128::from(tensor.section.len),
    }
}

/// One dimension of a slab.
#[derive(Debug, Clone, Copy)]
struct Dimension {
    size: u64,
    /// In elements of the file.
    stride: u64,
    /// In elements of the slab.
    step: u64,
}

/// How a tensor is cut.
pub(super) struct Slabs {
    /// Bytes of an element.
    size: u64,
    start: u64,
    /// Sizes and strides of the dimensions that have more than one element.
    shape: Vec<u64>,
    strides: Vec<u64>,
    /// The dimension along which slabs follow each other; further ones are whole in each.
    cut: usize,
    /// Indices of that dimension in a slab.
    thickness: u64,
}

/// Elements that are neighbours in row-major order.
#[derive(Default)]
pub(super) struct Slab {
    first: u64,
    /// Elements; zero for one that is not loaded.
    elements: u64,
    bytes: Vec<u8>,
}

impl Slab {
    /// The bytes from an element on.
    pub(super) fn behind(&self, element: u64, size: usize) -> &[u8] {
        let from = usize::try_from(element.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.bytes
            .get(from.saturating_mul(size)..)
            .unwrap_or_default()
    }
}

impl Slabs {
    /// `None` when the elements lie in row-major order.
    pub(super) fn new(tensor: &StoredTensor) -> Option<Slabs> {
        let strides = tensor.strides.as_ref()?;
        let size = tensor.kind.bits() / 8;
        let most = match tensor.section.is_random() {
            true => SLAB / size,
            false => DEFLATED_SLAB / size,
        };
        let (shape, strides): (Vec<u64>, Vec<u64>) = std::iter::zip(&tensor.shape, strides)
            .filter(|(size, _)| **size != 1)
            .unzip();
        let behind = |dimension: usize| -> u64 {
            let inner = shape.get(dimension + 1..).unwrap_or_default();
            inner.iter().product()
        };
        let fits = |dimension: &usize| behind(*dimension) <= most;
        let cut = (0..shape.len()).find(fits).unwrap_or(0);
        let thickness = (most / behind(cut).max(1)).max(1);
        Some(Slabs {
            size,
            start: tensor.start,
            cut,
            thickness,
            shape,
            strides,
        })
    }

    /// Loads the slab with this element, unless it is loaded.
    pub(super) fn load(
        &self,
        element: u64,
        section: &mut SectionCursor,
        slab: &mut Slab,
    ) -> Result<()> {
        let loaded = slab.first..slab.first + slab.elements;
        if loaded.contains(&element) {
            return Ok(());
        }
        let inner = |dimension: usize| -> u64 {
            let inner = self.shape.get(dimension + 1..).unwrap_or_default();
            inner.iter().product::<u64>().max(1)
        };
        // The indices of the dimensions before the cut, then that of the slab.
        let (mut rest, mut offset, mut first) = (element, self.start, 0);
        let outer = std::iter::zip(&self.shape, &self.strides).enumerate();
        let mut dimensions = Vec::new();
        for (dimension, (&size, &stride)) in outer {
            let step = inner(dimension);
            let index = rest / step;
            rest %= step;
            match dimension.cmp(&self.cut) {
                std::cmp::Ordering::Less => {
                    offset += index * stride;
                    first += index * step;
                }
                std::cmp::Ordering::Equal => {
                    let index = index / self.thickness * self.thickness;
                    offset += index * stride;
                    first += index * step;
                    let size = self.thickness.min(size.saturating_sub(index));
                    dimensions.push(Dimension { size, stride, step });
                }
                std::cmp::Ordering::Greater => {
                    dimensions.push(Dimension { size, stride, step });
                }
            }
        }
        let elements = dimensions.iter().map(|dimension| dimension.size).product();
        slab.elements = 0;
        slab.bytes.clear();
        slab.bytes.resize((elements * self.size) as usize, 0);
        // In the order of the file.
        dimensions.sort_by_key(|dimension| std::cmp::Reverse(dimension.stride));
        fill(&dimensions, self.size, offset, section, &mut slab.bytes)?;
        slab.first = first;
        slab.elements = elements;
        Ok(())
    }
}

/// Copies elements of `size` bytes from the file, from the one at `start` on.
fn fill(
    dimensions: &[Dimension],
    size: u64,
    start: u64,
    section: &mut SectionCursor,
    target: &mut [u8],
) -> Result<()> {
    let (inner, outer) = match dimensions.split_last() {
        Some((inner, outer)) => (*inner, outer),
        None => {
            let one = Dimension {
                size: 1,
                stride: 1,
                step: 1,
            };
            (one, dimensions)
        }
    };
    let run = match inner.stride * size {
        0..=NEAR => inner.size * inner.stride * size,
        _ => 0,
    };
    let mut window = ReadWindow {
        start: 0,
        bytes: Vec::new(),
        read: run.min(MOST_READ).max(size),
    };
    let mut index = vec![0_u64; outer.len()];
    loop {
        let place = |field: fn(&Dimension) -> u64| -> u64 {
            let steps = std::iter::zip(&index, outer);
            steps
                .map(|(index, dimension)| index * field(dimension))
                .sum()
        };
        let (mut from, mut to) = (
            (start + place(|dimension| dimension.stride)) * size,
            (place(|dimension| dimension.step) * size) as usize,
        );
        for _ in 0..inner.size {
            let bytes = window.get(from, size, section)?;
            if let Some(target) = target.get_mut(to..to + bytes.len()) {
                target.copy_from_slice(bytes);
            }
            from += inner.stride * size;
            to += (inner.step * size) as usize;
        }
        // The next one, as the hands of a clock move.
        let mut hands = std::iter::zip(&mut index, outer).rev();
        let moved = hands.any(|(index, dimension)| {
            *index += 1;
            let is_inside = *index < dimension.size;
            if !is_inside {
                *index = 0;
            }
            is_inside
        });
        if !moved {
            return Ok(());
        }
    }
}

/// A piece of the section that was read.
struct ReadWindow {
    start: u64,
    bytes: Vec<u8>,
    /// Bytes that are read at once.
    read: u64,
}

impl ReadWindow {
    fn get(&mut self, from: u64, size: u64, section: &mut SectionCursor) -> Result<&[u8]> {
        let end = self.start + self.bytes.len() as u64;
        if from < self.start || from + size > end {
            let left = section.section().len.saturating_sub(from);
            let length = self.read.min(left).max(size);
            self.bytes.resize(length as usize, 0);
            self.start = from;
            section.read_at(from, &mut self.bytes)?;
        }
        let at = (from - self.start) as usize;
        Ok(self.bytes.get(at..at + size as usize).unwrap_or_default())
    }
}
