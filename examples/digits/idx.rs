//! Reads IDX files, the format of MNIST: two zero bytes, the element type, the number of
//! dimensions, each dimension as a big-endian `u32`, then the elements. Of the element types only
//! `u8` occurs in images and labels.

use std::fmt;

const TYPE_U8: u8 = 0x08;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Grey images, all of one size.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    /// How many images there are.
    pub count: usize,
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub cols: usize,
    /// `count * rows * cols` grey values, image after image, row after row.
    pub pixels: Vec<u8>,
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Images({} of {}x{})", self.count, self.rows, self.cols)
    }
}

/// Why a file is not a readable IDX file. The one who knows the file's name adds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdxError {
    #[error("this is a gzip file; only plain IDX is read, so unpack it first (gunzip)")]
    Gzip,
    #[error("this is not an IDX file: it starts with the bytes {0:02x?}, not with two zeros")]
    Magic(Vec<u8>),
    #[error("elements of IDX type 0x{0:02x}; only unsigned bytes (0x08) are read")]
    ElementType(u8),
    #[error("{found} dimensions where {what} have {expected}")]
    Dimensions {
        what: &'static str,
        expected: u8,
        found: u8,
    },
    #[error("the file ends within its header")]
    Header,
    #[error("the header {shape:?} asks for {expected} bytes of data, and {found} follow")]
    Length {
        shape: Vec<usize>,
        expected: u128,
        found: usize,
    },
}

/// Reads a file of images: three dimensions (count, rows, columns).
pub fn parse_images(bytes: &[u8]) -> Result<Images, IdxError> {
    let ([count, rows, cols], pixels) = parse("images", bytes)?;
    Ok(Images {
        count,
        rows,
        cols,
        pixels: pixels.to_vec(),
    })
}

/// Reads a file of labels: one dimension.
pub fn parse_labels(bytes: &[u8]) -> Result<Vec<u8>, IdxError> {
    let ([_], labels) = parse("labels", bytes)?;
    Ok(labels.to_vec())
}

/// The dimensions and the data behind them, which is exactly as long as they say.
fn parse<'a, const DIMS: usize>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<([usize; DIMS], &'a [u8]), IdxError> {
    if bytes.starts_with(&GZIP_MAGIC) {
        return Err(IdxError::Gzip);
    }
    let (element, found, mut rest) = match bytes {
        [0, 0, element, dims, rest @ ..] => (*element, *dims, rest),
        [] | [0] | [0, 0] | [0, 0, _] => return Err(IdxError::Header),
        _ => return Err(IdxError::Magic(bytes.iter().take(4).copied().collect())),
    };
    if element != TYPE_U8 {
        return Err(IdxError::ElementType(element));
    }
    if usize::from(found) != DIMS {
        return Err(IdxError::Dimensions {
            what,
            expected: DIMS as u8,
            found,
        });
    }
    let mut shape = [0usize; DIMS];
    for dim in &mut shape {
        let (size, behind) = rest.split_first_chunk::<4>().ok_or(IdxError::Header)?;
        // A usize of this crate's platforms holds any u32.
        *dim = u32::from_be_bytes(*size) as usize;
        rest = behind;
    }
    // Saturating: a product that does not fit fits no file either.
    let expected = shape
        .iter()
        .fold(1u128, |product, dim| product.saturating_mul(*dim as u128));
    if rest.len() as u128 != expected {
        return Err(IdxError::Length {
            shape: shape.to_vec(),
            expected,
            found: rest.len(),
        });
    }
    Ok((shape, rest))
}
