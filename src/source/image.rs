//! Pictures as the log calls take them.

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::source::copied::CopiedValues;
use crate::source::element_source::ElementLayout;
use crate::source::values::{ValueSource, Values};

/// Pixels of one picture at most: TensorBoard serves larger ones as a download that no page shows.
const MOST_PIXELS: usize = 178_956_970;

/// The order of a tensor's dimensions: N images, C channels, H rows of W pixels each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageLayout {
    /// One grey image.
    Hw,
    /// One image, the channels of each pixel together, as files have them.
    Hwc,
    /// One image, channel after channel, as convolutions take it.
    Chw,
    /// Several grey images.
    Nhw,
    /// Several images, the channels of each pixel together.
    Nhwc,
    /// Several images, channel after channel: a batch of a convolutional model.
    Nchw,
}

/// A picture, or a batch of them: what [`Logger::log_image`](crate::Logger::log_image) and
/// [`Logger::log_images`](crate::Logger::log_images) take.
///
/// Pixels have 1 channel (grey), 3 (red, green, blue) or 4 (and opacity). Of type `u8` they are
/// from 0 to 255, of a floating type from 0 to 1, of type `bool` 0 or 1. A value beyond is taken as
/// the nearest one within; between two of the 256 levels it is rounded down, as
/// `torch.utils.tensorboard` does. A pixel of which a channel is NaN becomes magenta (255, 0, 255),
/// in a grey image, too.
///
/// ```
/// use tch_tensorboard::Image;
///
/// let gradient: Vec<f32> = (0..64 * 32).map(|n| (n % 64) as f32 / 63.0).collect();
/// let image = Image::from_pixels(&gradient, 64, 32, 1);
/// # let _ = image;
/// ```
pub struct Image<'a> {
    content: Content<'a>,
}

enum Content<'a> {
    Pixels {
        source: ValueSource<'a>,
        shape: Shape,
    },
    File(&'a [u8]),
}

/// How the user describes the dimensions.
enum Shape {
    Given {
        width: usize,
        height: usize,
        channels: usize,
    },
    /// In this order those of the tensor.
    Own(ImageLayout),
}

impl<'a> Image<'a> {
    /// An image of numbers in a slice, vector or array: row by row from the top, the channels of
    /// each pixel together. There must be `width * height * channels` of them.
    pub fn from_pixels<V: Values + ?Sized>(
        pixels: &'a V,
        width: usize,
        height: usize,
        channels: usize,
    ) -> Image<'a> {
        let shape = Shape::Given {
            width,
            height,
            channels,
        };
        let source = pixels.source();
        Image {
            content: Content::Pixels { source, shape },
        }
    }

    /// An image, or a batch, in something whose own dimensions have this order.
    #[cfg_attr(not(feature = "tch"), allow(dead_code, reason = "only tensors"))]
    pub(crate) fn from_source(source: ValueSource<'a>, layout: ImageLayout) -> Image<'a> {
        let shape = Shape::Own(layout);
        Image {
            content: Content::Pixels { source, shape },
        }
    }

    /// An image that is a PNG or JPEG file already. It is stored as it is.
    pub fn from_encoded(file: &'a [u8]) -> Image<'a> {
        Image {
            content: Content::File(file),
        }
    }

    /// Looks at size and type, without copying anything.
    ///
    /// # Errors
    /// [`Error::InvalidImage`] for what cannot be shown, [`Error::UnsupportedTensor`] for what
    /// cannot be read.
    pub(crate) fn inspect(self, tag: &str) -> Result<Inspected<'a>> {
        let invalid = |reason: String| invalid(tag, reason);
        let Content::File(file) = self.content else {
            return self.inspect_pixels(tag).map(Inspected::Pixels);
        };
        let (width, height) = size_of_file(file).ok_or_else(|| {
            invalid("is neither a PNG nor a JPEG file; encode it, or log its pixels".into())
        })?;
        check_size(width, height).map_err(invalid)?;
        Ok(Inspected::File {
            file,
            width,
            height,
        })
    }

    /// The same of an image that has to be pixels.
    ///
    /// # Errors
    /// As [`Image::inspect`], and [`Error::InvalidImage`] for a file.
    pub(crate) fn inspect_pixels(self, tag: &str) -> Result<InspectedPixels<'a>> {
        let invalid = |reason: String| invalid(tag, reason);
        let Content::Pixels { source, shape } = self.content else {
            let reason = "is an encoded file, where pixels are shown; log it by log_image";
            return Err(invalid(reason.into()));
        };
        let layout = source.elements().inspect(tag)?;
        let size = shape.size(&layout).map_err(invalid)?;
        size.check().map_err(invalid)?;
        if !is_pixel_type(layout.dtype) {
            return Err(invalid(format!(
                "has elements of type {:?}; convert them to u8 from 0 to 255, or to a floating \
                 type from 0 to 1",
                layout.dtype
            )));
        }
        Ok(InspectedPixels {
            source,
            layout,
            size,
        })
    }
}

fn invalid(tag: &str, reason: String) -> Error {
    Error::InvalidImage {
        tag: tag.into(),
        reason: reason.into(),
    }
}

impl std::fmt::Debug for Image<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Image");
        match &self.content {
            Content::File(file) => shown.field("file_bytes", &file.len()),
            Content::Pixels {
                shape: Shape::Own(layout),
                ..
            } => shown.field("layout", layout),
            Content::Pixels {
                shape:
                    Shape::Given {
                        width,
                        height,
                        channels,
                    },
                ..
            } => shown.field("size", &(width, height, channels)),
        };
        shown.finish_non_exhaustive()
    }
}

/// An image that can be logged.
pub(crate) enum Inspected<'a> {
    File {
        file: &'a [u8],
        width: usize,
        height: usize,
    },
    Pixels(InspectedPixels<'a>),
}

/// Pixels that can be logged.
pub(crate) struct InspectedPixels<'a> {
    source: ValueSource<'a>,
    layout: ElementLayout,
    pub(crate) size: PixelSize,
}

impl InspectedPixels<'_> {
    /// Bytes that a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// Copies what the worker encodes.
    ///
    /// # Errors
    /// See [`CopiedValues::of`].
    pub(crate) fn copy(&self, tag: &str) -> Result<CopiedPixels> {
        let values = CopiedValues::of(tag, self.source.elements(), &self.layout)?;
        Ok(CopiedPixels {
            size: self.size,
            values,
        })
    }
}

/// What a buffer of pixels holds, none of it 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelSize {
    pub(crate) images: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    /// Channel after channel, rather than the channels of each pixel together.
    pub(crate) is_planar: bool,
}

/// A copy of pixels that waits for the worker.
pub(crate) struct CopiedPixels {
    pub(crate) size: PixelSize,
    pub(crate) values: CopiedValues,
}

impl PixelSize {
    fn check(&self) -> Result<(), String> {
        let PixelSize {
            images,
            width,
            height,
            channels,
            ..
        } = *self;
        if images == 0 {
            return Err("is a batch of no images; log it when there are some".into());
        }
        if ![1, 3, 4].contains(&channels) {
            return Err(format!(
                "has {channels} channels; 1 (grey), 3 (red, green, blue) and 4 (and opacity) can \
                 be shown. Is the layout another one?"
            ));
        }
        check_size(width, height)
    }
}

/// A picture of this size can be shown; else why not.
pub(crate) fn check_size(width: usize, height: usize) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(0) => Err(format!("is {width} pixels wide and {height} high: empty")),
        Some(pixels) if pixels <= MOST_PIXELS => Ok(()),
        _ => Err(format!(
            "is {width} pixels wide and {height} high; TensorBoard shows at most {MOST_PIXELS} \
             pixels: log a part of it, or a smaller version"
        )),
    }
}

fn is_pixel_type(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::U8 | DType::Bool | DType::F16 | DType::BF16 | DType::F32 | DType::F64
    )
}

impl Shape {
    fn size(&self, elements: &ElementLayout) -> Result<PixelSize, String> {
        match *self {
            Shape::Given {
                width,
                height,
                channels,
            } => {
                let pixels = width.checked_mul(height);
                let wanted = pixels.and_then(|pixels| pixels.checked_mul(channels));
                if wanted != Some(elements.elements()) {
                    return Err(format!(
                        "has {} numbers where {width} x {height} pixels of {channels} channels \
                         were announced",
                        elements.elements()
                    ));
                }
                Ok(PixelSize {
                    images: 1,
                    width,
                    height,
                    channels,
                    is_planar: false,
                })
            }
            Shape::Own(layout) => layout.size(&elements.shape),
        }
    }
}

impl ImageLayout {
    fn size(self, shape: &[i64]) -> Result<PixelSize, String> {
        let sizes: Option<Vec<usize>> = shape.iter().map(|&size| size.try_into().ok()).collect();
        let (images, height, width, channels) = match (self, sizes.as_deref()) {
            (ImageLayout::Hw, Some(&[h, w])) => (1, h, w, 1),
            (ImageLayout::Hwc, Some(&[h, w, c])) | (ImageLayout::Chw, Some(&[c, h, w])) => {
                (1, h, w, c)
            }
            (ImageLayout::Nhw, Some(&[n, h, w])) => (n, h, w, 1),
            (ImageLayout::Nhwc, Some(&[n, h, w, c])) | (ImageLayout::Nchw, Some(&[n, c, h, w])) => {
                (n, h, w, c)
            }
            _ => return Err(format!("has shape {shape:?}, which is not {self:?}")),
        };
        Ok(PixelSize {
            images,
            width,
            height,
            channels,
            is_planar: matches!(self, ImageLayout::Chw | ImageLayout::Nchw),
        })
    }
}

/// Width and height of a PNG or JPEG file, from its header; `None` for anything else.
fn size_of_file(file: &[u8]) -> Option<(usize, usize)> {
    match file {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
            let number = |at: usize| {
                let bytes = file.get(at..at + 4)?.first_chunk()?;
                usize::try_from(u32::from_be_bytes(*bytes)).ok()
            };
            Some((number(16)?, number(20)?))
        }
        [0xff, 0xd8, 0xff, ..] => size_of_jpeg(file.get(2..)?),
        _ => None,
    }
}

/// Goes from segment to segment until one begins a frame.
fn size_of_jpeg(mut segments: &[u8]) -> Option<(usize, usize)> {
    loop {
        let marker = match *segments {
            // Any number of these may stand between segments.
            [0xff, 0xff, ..] => {
                segments = segments.get(1..)?;
                continue;
            }
            [0xff, marker, ..] => marker,
            _ => return None,
        };
        let number = |at: usize| {
            let bytes = segments.get(at..at + 2)?.first_chunk()?;
            Some(usize::from(u16::from_be_bytes(*bytes)))
        };
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            return Some((number(7)?, number(5)?));
        }
        segments = segments.get(2 + number(2)?.max(2)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(image: Image<'_>) -> String {
        match image.inspect("tag") {
            Err(error @ Error::InvalidImage { .. }) => error.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => "is fine".into(),
        }
    }

    #[test]
    fn wrong_pixels_are_errors_that_name_the_tag() {
        let (few, none) = ([0_u8; 11], [0_f32; 0]);
        for (image, wanted) in [
            (
                Image::from_pixels(&few, 2, 2, 3),
                "11 numbers where 2 x 2 pixels of 3",
            ),
            (
                Image::from_pixels(&[0_u8; 8], 2, 2, 2),
                "has 2 channels; 1 (grey)",
            ),
            (
                Image::from_pixels(&none, 0, 7, 3),
                "is 0 pixels wide and 7 high",
            ),
            (
                Image::from_pixels(&[0_i64; 4], 2, 2, 1),
                "type I64; convert them to u8",
            ),
            (Image::from_pixels(&few, usize::MAX, 3, 3), "11 numbers"),
            (Image::from_encoded(b"GIF89a"), "neither a PNG nor a JPEG"),
            (Image::from_encoded(b""), "neither"),
        ] {
            let reason = reason(image);
            assert!(
                reason.starts_with("image \"tag\": ") && reason.contains(wanted),
                "{reason}"
            );
        }
        assert_eq!(reason(Image::from_pixels(&[true; 6], 3, 2, 1)), "is fine");
        assert!(check_size(MOST_PIXELS, 1).is_ok());
        assert!(check_size(MOST_PIXELS + 1, 1).is_err());
        assert!(check_size(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn dimensions_are_read_in_the_order_of_the_layout() {
        let size = |images, width, height, channels, is_planar| {
            Ok(PixelSize {
                images,
                width,
                height,
                channels,
                is_planar,
            })
        };
        use ImageLayout::*;
        assert_eq!(Hw.size(&[2, 5]), size(1, 5, 2, 1, false));
        assert_eq!(Hwc.size(&[2, 5, 3]), size(1, 5, 2, 3, false));
        assert_eq!(Chw.size(&[3, 2, 5]), size(1, 5, 2, 3, true));
        assert_eq!(Nhw.size(&[9, 2, 5]), size(9, 5, 2, 1, false));
        assert_eq!(Nhwc.size(&[9, 2, 5, 4]), size(9, 5, 2, 4, false));
        assert_eq!(Nchw.size(&[9, 1, 2, 5]), size(9, 5, 2, 1, true));
        assert!(
            Chw.size(&[2, 5])
                .unwrap_err()
                .contains("[2, 5], which is not Chw")
        );
        assert!(
            Nchw.size(&[0, 3, 2, 2])
                .unwrap()
                .check()
                .unwrap_err()
                .contains("no images")
        );
    }

    #[test]
    fn files_have_their_size_in_the_header() {
        let png = crate::summary::png::encode(3, 7, &[0; 21], crate::summary::png::Pixels::Gray);
        assert_eq!(size_of_file(&png.unwrap()), Some((3, 7)));
        // Start, a comment, a table, fill bytes, and a progressive frame of 8 bits, 258 high and 3
        // wide.
        let mut jpeg = b"\xff\xd8\xff\xfe\x00\x04hi\xff\xc4\x00\x02\xff\xff".to_vec();
        jpeg.extend(b"\xff\xc2\x00\x0b\x08\x01\x02\x00\x03\x01");
        assert_eq!(size_of_file(&jpeg), Some((3, 258)));
        for cut in 0..jpeg.len() - 1 {
            assert_eq!(size_of_file(&jpeg[..cut]), None, "{cut}");
        }
        assert_eq!(size_of_file(b"\xff\xd8\xff\xe0\x00\x00\xff\xe0"), None);
    }
}
