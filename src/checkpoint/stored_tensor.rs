//! Where the elements of one tensor lie in a file, and how.

use crate::checkpoint::section::FileSection;
use crate::checkpoint::stored_type::StoredType;

/// The elements of a tensor in a section of a file. Made by [`StoredTensor::new`] only, so that no
/// index of it leads out of the section.
#[derive(Debug, Clone)]
pub(crate) struct StoredTensor {
    pub(crate) section: FileSection,
    pub(crate) kind: StoredType,
    pub(crate) is_big_endian: bool,
    /// The element of the section at which it begins.
    pub(crate) start: u64,
    pub(crate) shape: Vec<u64>,
    /// In elements; `None` when they lie in row-major order.
    pub(crate) strides: Option<Vec<u64>>,
}

/// Dimensions that a tensor may have: numpy allows 64.
pub(super) const MOST_DIMENSIONS: usize = 64;

/// A view may repeat elements (`expand`). One that claims more than these times what is stored, and
/// more than [`FREE_ELEMENTS`], is a trap for whoever reads it.
const MOST_REPEATED: u64 = 256;
const FREE_ELEMENTS: u64 = 1 << 20;

impl StoredTensor {
    /// Checks that every element lies inside.
    ///
    /// # Errors
    /// The reason, without the name.
    pub(crate) fn new(
        section: FileSection,
        kind: StoredType,
        start: u64,
        shape: Vec<u64>,
        strides: Option<Vec<u64>>,
    ) -> Result<StoredTensor, String> {
        if shape.len() > MOST_DIMENSIONS {
            return Err(format!("has {} dimensions", shape.len()));
        }
        let elements = elements(&shape).ok_or("has a shape that overflows")?;
        let stored = u128::from(section.len) * 8 / u128::from(kind.bits());
        let strides = strides.filter(|strides| !is_row_major(&shape, strides));
        let last = match &strides {
            Some(strides) if strides.len() != shape.len() => {
                return Err("has other dimensions than strides".to_owned());
            }
            _ if elements == 0 => u128::from(start),
            None => u128::from(start) + u128::from(elements),
            Some(strides) => {
                let steps = std::iter::zip(&shape, strides)
                    .map(|(&size, &stride)| u128::from(size - 1) * u128::from(stride));
                let last = steps.fold(u128::from(start), u128::saturating_add);
                last.saturating_add(1)
            }
        };
        if last > stored {
            return Err(format!(
                "reaches to element {last} of a storage of {stored}: the file was cut short or is \
                    damaged"
            ));
        }
        let most = (stored as u64).saturating_mul(MOST_REPEATED);
        if elements > most.max(FREE_ELEMENTS) {
            return Err(format!(
                "claims {elements} elements, of which {stored} are stored"
            ));
        }
        if let Some(strides) = &strides
            && !section.is_random()
            && overlaps(&shape, strides)
        {
            return Err("is a view of a compressed storage that overlaps itself".to_owned());
        }
        if kind.bits() < 8 && (strides.is_some() || start != 0) {
            return Err(format!(
                "is a view of packed {kind}, which is not supported"
            ));
        }
        Ok(StoredTensor {
            section,
            kind,
            is_big_endian: false,
            start,
            shape,
            strides,
        })
    }

    /// Elements; a complex one counts as one.
    pub(crate) fn elements(&self) -> u64 {
        elements(&self.shape).unwrap_or(0)
    }

    /// Numbers: two in a complex element.
    pub(crate) fn numbers(&self) -> u64 {
        self.elements() * self.kind.parts()
    }
}

/// The product; `None` when it, or eight times it, is more than 63 bits hold.
pub(super) fn elements(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let product = shape
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size))?;
    (product < 1 << 58).then_some(product)
}

/// Whether elements lie one after the other; strides of dimensions of one element say nothing.
fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1_u64;
    shape.len() == strides.len()
        && std::iter::zip(shape, strides)
            .rev()
            .all(|(&size, &stride)| {
                let fits = size == 1 || stride == expected;
                expected = expected.saturating_mul(size);
                fits || shape.contains(&0)
            })
}

/// Whether two indices may lead to the same element, other than by strides of zero.
fn overlaps(shape: &[u64], strides: &[u64]) -> bool {
    let mut steps: Vec<(u64, u64)> = std::iter::zip(strides, shape)
        .filter(|(stride, size)| **stride > 0 && **size > 1)
        .map(|(&stride, &size)| (stride, size))
        .collect();
    steps.sort_unstable();
    let mut covered = 0_u64;
    steps.into_iter().any(|(stride, size)| {
        let is_inside = stride <= covered;
        covered = covered.saturating_add(stride.saturating_mul(size - 1));
        is_inside
    })
}
