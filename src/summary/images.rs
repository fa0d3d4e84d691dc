//! The Images dashboard: pictures of one step, as PNG or JPEG.

use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::model::types::DType;
use crate::proto::summary::value;
use crate::source::copied::CopiedValues;
use crate::source::image::{CopiedPixels, PixelSize};
use crate::summary::Payload;
use crate::summary::png::{self, Pixels};

/// Images of a grid side by side at most.
const GRID_COLUMNS: usize = 8;

/// The colour of a pixel that is no number, opaque.
const NO_NUMBER: [u8; 4] = [255, 0, 255, 255];

/// A picture that is a file already.
pub(crate) struct EncodedImage {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) file: Vec<u8>,
}

impl Payload for EncodedImage {
    fn plugin(&self) -> Plugin {
        Plugin::Images
    }

    fn bytes(&self) -> usize {
        self.file.len()
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        Ok(Some(image_tensor(self.width, self.height, self.file)))
    }
}

/// Pixels of one picture, or of several that become a grid.
pub(crate) struct PixelImages(pub(crate) Vec<CopiedPixels>);

impl Payload for PixelImages {
    fn plugin(&self) -> Plugin {
        Plugin::Images
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|pixels| pixels.values.len()).sum()
    }

    fn into_value(self: Box<Self>, tag: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let sheets: Vec<Sheet> = self.0.into_iter().flat_map(sheets).collect();
        let sheet = match <[Sheet; 1]>::try_from(sheets) {
            Ok([only]) => only,
            Err(several) => {
                Grid::of(several.iter().map(|sheet| (sheet.size(), 1))).arranged(several)
            }
        };
        let file = sheet.encode().ok_or_else(|| Error::InvalidImage {
            tag: tag.into(),
            reason: format!(
                "could not be encoded with {} x {} pixels",
                sheet.width, sheet.height
            )
            .into(),
        })?;
        Ok(Some(image_tensor(sheet.width, sheet.height, file)))
    }
}

/// Width and height as text, and then the file: both loaders read this form.
pub(super) fn image_tensor(width: usize, height: usize, file: Vec<u8>) -> value::Value {
    let [width, height] = [width, height].map(|size| size.to_string().into_bytes());
    super::strings(vec![width, height, file])
}

/// How images are arranged: row by row, each in a cell as large as the largest needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    columns: usize,
    rows: usize,
    cell: (usize, usize),
}

impl Grid {
    /// Of so many images of each of these widths and heights.
    pub(crate) fn of(sizes: impl Iterator<Item = ((usize, usize), usize)>) -> Grid {
        let (mut count, mut cell) = (0_usize, (0, 0));
        for ((width, height), images) in sizes {
            count = count.saturating_add(images);
            cell = (width.max(cell.0), height.max(cell.1));
        }
        let columns = count.clamp(1, GRID_COLUMNS);
        Grid {
            columns,
            rows: count.div_ceil(columns),
            cell,
        }
    }

    /// As many cells side by side as below each other.
    pub(super) fn square(side: usize, cell: (usize, usize)) -> Grid {
        Grid {
            columns: side,
            rows: side,
            cell,
        }
    }

    /// Width and height of all.
    pub(crate) fn size(self) -> (usize, usize) {
        let (width, height) = self.cell;
        (
            width.saturating_mul(self.columns),
            height.saturating_mul(self.rows),
        )
    }

    /// Puts images into the cells, on black; where some have an opacity, on nothing.
    pub(super) fn arranged(self, sheets: Vec<Sheet>) -> Sheet {
        let channels = sheets.iter().map(|sheet| sheet.channels).max().unwrap_or(1);
        let (width, height) = self.size();
        let mut data = vec![0; width * height * channels];
        for (place, sheet) in sheets.into_iter().enumerate() {
            let sheet = sheet.with_channels(channels);
            let (column, row) = (place % self.columns, place / self.columns);
            let lines = sheet.data.chunks_exact(sheet.width * channels);
            for (down, line) in lines.enumerate() {
                let y = row * self.cell.1 + down;
                let start = (y * width + column * self.cell.0) * channels;
                if let Some(target) = data.get_mut(start..start + line.len()) {
                    target.copy_from_slice(line);
                }
            }
        }
        Sheet {
            width,
            height,
            channels,
            data,
        }
    }
}

/// Pixels of one image as a file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
    pub(super) data: Vec<u8>,
}

impl Sheet {
    fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// As a PNG; `None` where it cannot be one.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        png::encode(self.width, self.height, &self.data, self.kind())
    }

    pub(super) fn kind(&self) -> Pixels<'static> {
        match self.channels {
            1 => Pixels::Gray,
            3 => Pixels::Rgb,
            _ => Pixels::Rgba,
        }
    }

    /// The same with this many channels, if it has fewer.
    pub(super) fn with_channels(mut self, channels: usize) -> Sheet {
        if self.channels < channels {
            (self.data, self.channels) = (self.widened(channels), channels);
        }
        self
    }

    /// The same with more channels: grey in all three colours, opaque.
    fn widened(&self, channels: usize) -> Vec<u8> {
        let pixels = self.data.chunks_exact(self.channels);
        let wide = |pixel: &[u8]| match *pixel {
            [gray] => [gray, gray, gray, 255],
            [red, green, blue] => [red, green, blue, 255],
            [red, green, blue, opacity] => [red, green, blue, opacity],
            _ => NO_NUMBER,
        };
        let mut data = Vec::with_capacity(self.width * self.height * channels);
        for pixel in pixels {
            data.extend_from_slice(wide(pixel).get(..channels).unwrap_or_default());
        }
        data
    }
}

/// The images of a batch, as levels from 0 to 255 with the channels of each pixel together.
pub(super) fn sheets(pixels: CopiedPixels) -> Vec<Sheet> {
    let PixelSize {
        images,
        width,
        height,
        channels,
        is_planar,
    } = pixels.size;
    let Levels { data, no_numbers } = Levels::of(&pixels.values);
    let (area, mut no_numbers) = (width * height, no_numbers.into_iter().peekable());
    let each = data.chunks_exact(area * channels).take(images).enumerate();
    each.map(|(image, data)| {
        let mut sheet = Sheet {
            width,
            height,
            channels,
            data: if is_planar {
                interleaved(data, area)
            } else {
                data.to_vec()
            },
        };
        let start = image * area * channels;
        let end = start + area * channels;
        let mut holes = Vec::new();
        while let Some(element) = no_numbers.next_if(|&element| element < end) {
            let element = element - start;
            holes.push(if is_planar {
                element % area
            } else {
                element / channels
            });
        }
        sheet.paint(&holes);
        sheet
    })
    .collect()
}

impl Sheet {
    /// Gives pixels the colour of what is no number.
    fn paint(&mut self, pixels: &[usize]) {
        if pixels.is_empty() {
            return;
        }
        if self.channels == 1 {
            (self.data, self.channels) = (self.widened(3), 3);
        }
        for pixel in pixels {
            let start = pixel * self.channels;
            let color = NO_NUMBER.get(..self.channels).unwrap_or_default();
            if let Some(target) = self.data.get_mut(start..start + color.len()) {
                target.copy_from_slice(color);
            }
        }
    }
}

/// Channel after channel, each of `area` pixels, to pixel after pixel.
fn interleaved(planes: &[u8], area: usize) -> Vec<u8> {
    let channels = planes.len() / area;
    let mut data = vec![0; planes.len()];
    for (channel, plane) in planes.chunks_exact(area).enumerate() {
        let targets = data.iter_mut().skip(channel).step_by(channels);
        std::iter::zip(targets, plane).for_each(|(target, level)| *target = *level);
    }
    data
}

/// Elements as levels from 0 to 255.
struct Levels {
    data: Vec<u8>,
    /// The elements that are NaN, in order.
    no_numbers: Vec<usize>,
}

impl Levels {
    fn of(values: &CopiedValues) -> Levels {
        let bytes = values.as_bytes();
        match values.dtype() {
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => {
                let numbers = values.to_f32();
                let no_number = |(place, number): (usize, &f32)| number.is_nan().then_some(place);
                Levels {
                    data: numbers.iter().map(|&number| level(number)).collect(),
                    no_numbers: numbers.iter().enumerate().filter_map(no_number).collect(),
                }
            }
            DType::Bool => Levels::exact(bytes.iter().map(|&truth| truth.min(1) * 255).collect()),
            _ => Levels::exact(bytes.to_vec()),
        }
    }

    fn exact(data: Vec<u8>) -> Levels {
        Levels {
            data,
            no_numbers: Vec::new(),
        }
    }
}

/// As torch's `add_image` does it: times 255, within bounds, rounded down.
fn level(number: f32) -> u8 {
    // The conversion keeps within bounds, and takes NaN for 0.
    (number * 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::image::Image;
    use crate::summary::png::tests::decode;

    fn copied(image: Image<'_>) -> CopiedPixels {
        image.inspect_pixels("tag").unwrap().copy("tag").unwrap()
    }

    /// Width, height and pixels after encoding and decoding.
    fn shown(images: Vec<CopiedPixels>) -> (usize, usize, Vec<[u8; 4]>) {
        let payload = Box::new(PixelImages(images));
        let value = payload.into_value("tag", &mut Kernels::new(1)).unwrap();
        let Some(value::Value::Tensor(tensor)) = value else {
            panic!("a tensor");
        };
        let [width, height, file] = &tensor.string_val[..] else {
            panic!("three strings");
        };
        let decoded = decode(file);
        let said = (decoded.0.to_string(), decoded.1.to_string());
        assert_eq!(
            (&**width, &**height),
            (said.0.as_bytes(), said.1.as_bytes())
        );
        decoded
    }

    #[test]
    fn values_beyond_are_clamped_and_rounded_down() {
        let wanted = [0, 0, 127, 254, 255, 255, 0, 255];
        let values = [
            -3.0,
            0.0,
            0.5,
            0.9999,
            1.0,
            7.5,
            f32::NEG_INFINITY,
            f32::INFINITY,
        ];
        let (width, height, pixels) = shown(vec![copied(Image::from_pixels(&values, 4, 2, 1))]);
        assert_eq!((width, height), (4, 2));
        assert_eq!(
            pixels.iter().map(|pixel| pixel[0]).collect::<Vec<_>>(),
            wanted
        );
        let wide = values.map(f64::from);
        assert_eq!(
            shown(vec![copied(Image::from_pixels(&wide, 4, 2, 1))]).2,
            pixels
        );
        let bytes = wanted.map(|level: u8| level);
        assert_eq!(
            shown(vec![copied(Image::from_pixels(&bytes, 4, 2, 1))]).2,
            pixels
        );
        let truth = shown(vec![copied(Image::from_pixels(&[true, false], 2, 1, 1))]).2;
        assert_eq!(truth, [[255; 4], [0, 0, 0, 255]]);
    }

    #[test]
    fn a_pixel_that_is_no_number_is_magenta() {
        let gray = [0.5, f32::NAN, 1.0];
        let pixels = shown(vec![copied(Image::from_pixels(&gray, 3, 1, 1))]).2;
        assert_eq!(pixels, [[127, 127, 127, 255], NO_NUMBER, [255; 4]]);
        let rgba = [0.0, 0.2, f32::NAN, 0.0, 1.0, 1.0, 1.0, 0.5];
        let pixels = shown(vec![copied(Image::from_pixels(&rgba, 2, 1, 4))]).2;
        assert_eq!(pixels, [NO_NUMBER, [255, 255, 255, 127]]);
        // Two images of two pixels, channel after channel; the second pixel of the second one has
        // no green.
        let mut planes = [0.0; 12];
        planes[9] = f32::NAN;
        let mut batch = copied(Image::from_pixels(&planes, 12, 1, 1));
        batch.size = PixelSize {
            images: 2,
            width: 2,
            height: 1,
            channels: 3,
            is_planar: true,
        };
        let black = [0, 0, 0, 255];
        assert_eq!(shown(vec![batch]).2, [black, black, black, NO_NUMBER]);
    }

    #[test]
    fn planes_become_pixels() {
        assert_eq!(interleaved(&[1, 2, 3, 4, 5, 6], 2), [1, 3, 5, 2, 4, 6]);
        assert_eq!(interleaved(&[1, 2], 2), [1, 2]);
    }

    #[test]
    fn a_grid_has_eight_columns_and_a_black_rest() {
        let pixels: Vec<[u8; 6]> = (1..=10).map(|n| [n; 6]).collect();
        let images = pixels
            .iter()
            .map(|pixels| copied(Image::from_pixels(pixels, 2, 3, 1)));
        let (width, height, shown_pixels) = shown(images.collect());
        assert_eq!((width, height), (16, 6));
        let at = |x: usize, y: usize| shown_pixels[y * 16 + x][0];
        assert_eq!((at(0, 0), at(2, 0), at(15, 2)), (1, 2, 8));
        assert_eq!((at(0, 3), at(3, 5), at(4, 3), at(15, 5)), (9, 10, 0, 0));
        let (small, large) = ([200_u8], [10_u8, 20, 30, 10, 20, 30]);
        let mixed = vec![
            copied(Image::from_pixels(&small, 1, 1, 1)),
            copied(Image::from_pixels(&large, 1, 2, 3)),
        ];
        let (gray, color) = ([200, 200, 200, 255], [10, 20, 30, 255]);
        let black = [0, 0, 0, 255];
        assert_eq!(shown(mixed), (2, 2, vec![gray, color, black, color]));
    }
}
