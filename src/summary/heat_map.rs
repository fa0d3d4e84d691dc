//! Weights as heat maps: a matrix, or the filters of a convolution, with the range and what is left
//! out written below.

use crate::error::{Error, Result};
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::proto::summary::value;
use crate::source::copied::CopiedValues;
use crate::source::tiles::TileSheet;
use crate::summary::Payload;
use crate::summary::canvas::{Canvas, Color, LETTER, Rect, text_width};
use crate::summary::images::image_tensor;
use crate::summary::ramp::{draw_ramp, ramp};

/// Pixels that a small picture is enlarged to, and those of an element at most.
const WANTED: usize = 384;
const MOST_SCALE: usize = 24;

/// Colours from the lowest weight to the highest; that of zero is in the middle.
const LEVELS: usize = 65;

/// Ends, quarters and middle of the colours: a dark and a light blue, white, orange and dark red.
/// Blue and orange differ for eyes that lack one kind of cones, too.
const DIVERGING: [[u8; 3]; 5] = [
    [0x05, 0x30, 0x61],
    [0x43, 0x93, 0xc3],
    [0xf7, 0xf7, 0xf7],
    [0xe0, 0x82, 0x4e],
    [0x7f, 0x1b, 0x08],
];

const PAPER: Color = LEVELS as Color;
const INK: Color = PAPER + 1;
/// Between filters.
const GAP: Color = PAPER + 2;
/// NaN and infinite weights: the colour that images have for them.
const NONFINITE: Color = PAPER + 3;

fn palette() -> Vec<[u8; 3]> {
    let mut palette = ramp(&DIVERGING, LEVELS);
    palette.extend([[255; 3], [0x1a; 3], [0x50; 3], [255, 0, 255]]);
    palette
}

/// What TensorBoard shows beside the pictures of a tag.
pub(crate) const DESCRIPTION: &str = "Weights as colours: blue is negative, white 0, orange to red \
    positive, magenta NaN or infinite. The range is written below the picture; one weight in 200 \
    may lie beyond it and has the colour of its end.";

/// Weights of one variable that wait for the worker.
pub(crate) struct HeatMap {
    pub(crate) sheet: TileSheet,
    pub(crate) values: CopiedValues,
}

impl Payload for HeatMap {
    fn plugin(&self) -> Plugin {
        Plugin::Images
    }

    fn bytes(&self) -> usize {
        self.values.len()
    }

    fn into_value(self: Box<Self>, tag: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let canvas = draw(&self.sheet, &self.values.to_f32());
        let (width, height) = (canvas.width(), canvas.height());
        let file = canvas
            .to_png(&palette())
            .ok_or_else(|| Error::InvalidImage {
                tag: tag.into(),
                reason: format!("could not be encoded with {width} x {height} pixels").into(),
            })?;
        Ok(Some(image_tensor(width, height, file)))
    }
}

/// The magnitude at either end of the colours: all but one in 200 of the weights are within, so
/// that an outlier does not make the others pale. 0 where nothing is finite, or all is zero.
fn reach(values: &[f32]) -> f32 {
    let mut magnitudes: Vec<f32> = values
        .iter()
        .map(|value| value.abs())
        .filter(|value| value.is_finite())
        .collect();
    let last = magnitudes.len().saturating_sub(1);
    let place = last - last / 200;
    if magnitudes.is_empty() {
        return 0.0;
    }
    let (_, reach, above) = magnitudes.select_nth_unstable_by(place, f32::total_cmp);
    match *reach {
        // Nearly all are zero: the others decide.
        0.0 => above.iter().copied().fold(0.0, f32::max),
        reach => reach,
    }
}

fn level(value: f32, reach: f32) -> Color {
    if !value.is_finite() {
        return NONFINITE;
    }
    let middle = (LEVELS - 1) as f32 / 2.0;
    let share = match reach > 0.0 {
        true => (value / reach).clamp(-1.0, 1.0),
        false => 0.0,
    };
    (middle + share * middle).round() as Color
}

/// Where the parts of a picture are, in pixels.
struct Drawing<'a> {
    sheet: &'a TileSheet,
    /// Width and height of an element.
    scale: (usize, usize),
    gap: usize,
}

impl Drawing<'_> {
    fn of(sheet: &TileSheet) -> Drawing<'_> {
        let (columns, rows) = sheet.grid();
        let (across, down) = (columns * sheet.width(), rows * sheet.height());
        let fit = |elements: usize| (WANTED / elements).clamp(1, MOST_SCALE);
        let (x, y) = (fit(across), fit(down));
        // The elements of a filter are squares; those of a matrix fill the picture.
        let side = x.min(y);
        let (scale, gap) = match sheet.is_matrix() {
            true => ((x, y), 0),
            false => ((side, side), 1 + side / 8),
        };
        Drawing { sheet, scale, gap }
    }

    /// Width and height of a tile with its gap.
    fn tile(&self) -> (usize, usize) {
        let width = self.sheet.width() * self.scale.0 + self.gap;
        (width, self.sheet.height() * self.scale.1 + self.gap)
    }

    fn size(&self) -> (usize, usize) {
        let ((columns, rows), (width, height)) = (self.sheet.grid(), self.tile());
        (columns * width + self.gap, rows * height + self.gap)
    }

    fn draw(&self, canvas: &mut Canvas, values: &[f32], reach: f32) {
        let (width, height) = self.tile();
        let (columns, area) = (
            self.sheet.grid().0,
            self.sheet.width() * self.sheet.height(),
        );
        for (tile, values) in values.chunks_exact(area).enumerate() {
            let left = tile % columns * width + self.gap;
            let top = tile / columns * height + self.gap;
            for (row, values) in values.chunks_exact(self.sheet.width()).enumerate() {
                let y = top + row * self.scale.1;
                for (column, &value) in values.iter().enumerate() {
                    let rect = Rect {
                        x: left + column * self.scale.0,
                        y,
                        width: self.scale.0,
                        height: 1,
                    };
                    canvas.fill(rect, level(value, reach));
                }
                canvas.repeat(Rect {
                    x: left,
                    y,
                    width: width - self.gap,
                    height: self.scale.1,
                });
            }
        }
    }
}

/// Width of the bar of colours below.
const BAR: usize = 2 * LEVELS;
const LINE: usize = LETTER + 4;

fn draw(sheet: &TileSheet, values: &[f32]) -> Canvas {
    let drawing = Drawing::of(sheet);
    let reach = reach(values);
    let (plot_width, plot_height) = drawing.size();
    let captions = sheet.captions();
    let (low, high) = (short(-reach), short(reach));
    let scale_width = text_width(&low) + text_width(&high) + BAR + 2 * LETTER;
    let widest = captions.iter().map(|line| text_width(line)).max();
    let width = plot_width.max(scale_width).max(widest.unwrap_or(0));
    let height = plot_height + (captions.len() + 1) * LINE + LETTER / 2;
    let mut canvas = Canvas::new(width, height, PAPER);
    if drawing.gap > 0 {
        let all = Rect {
            x: 0,
            y: 0,
            width: plot_width,
            height: plot_height,
        };
        canvas.fill(all, GAP);
    }
    drawing.draw(&mut canvas, values, reach);
    let y = plot_height + LETTER / 2;
    canvas.text(0, y, &low, INK);
    let left = text_width(&low) + LETTER;
    let bar = Rect {
        x: left,
        y,
        width: BAR,
        height: LETTER,
    };
    draw_ramp(&mut canvas, bar, LEVELS);
    canvas.text(left + BAR + LETTER, y, &high, INK);
    for (number, line) in captions.iter().enumerate() {
        canvas.text(0, y + (number + 1) * LINE, line, INK);
    }
    canvas
}

/// Three digits.
fn short(value: f32) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (1e-3..1e4).contains(&size) => {
            let decimals = (2 - size.log10().floor() as i32).clamp(0, 5);
            format!("{value:.*}", decimals as usize)
        }
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(shape: &[i64], values: &[f32]) -> Canvas {
        draw(&TileSheet::of(shape).unwrap(), values)
    }

    #[test]
    fn the_range_is_symmetric_and_zero_is_white() {
        let canvas = drawn(&[2, 2], &[-0.5, 0.0, 0.25, 0.5]);
        let at = |x, y| canvas.at(x * MOST_SCALE, y * MOST_SCALE).unwrap();
        assert_eq!((at(0, 0), at(1, 0), at(0, 1), at(1, 1)), (0, 32, 48, 64));
        assert_eq!(palette()[32], [0xf7; 3]);
        // Elements are blocks of one colour.
        let last = MOST_SCALE - 1;
        assert_eq!(
            (canvas.at(last, last), canvas.at(last + 1, last)),
            (Some(0), Some(32))
        );
    }

    #[test]
    fn outliers_zeros_and_nan_leave_the_others_visible() {
        let mut values = vec![0.1_f32; 1000];
        values[7] = 1e6;
        assert_eq!(reach(&values), 0.1);
        assert_eq!(level(1e6, 0.1), 64);
        assert_eq!(reach(&[0.0; 9]), 0.0);
        assert_eq!(level(0.0, 0.0), 32);
        let mut rare = vec![0.0_f32; 1000];
        rare[3] = 2.0;
        assert_eq!(reach(&rare), 2.0);
        assert_eq!(reach(&[f32::NAN, f32::INFINITY]), 0.0);
        assert_eq!(level(f32::NAN, 1.0), NONFINITE);
        assert_eq!(level(f32::NEG_INFINITY, 1.0), NONFINITE);
    }

    #[test]
    fn filters_are_tiles_with_lines_between() {
        let values: Vec<f32> = (0..4 * 9).map(|place| (place / 9) as f32 - 1.5).collect();
        let canvas = drawn(&[2, 2, 3, 3], &values);
        let scale = MOST_SCALE;
        let gap = 1 + scale / 8;
        let tile = 3 * scale + gap;
        let at = |x, y| canvas.at(x, y).unwrap();
        assert_eq!((at(0, 0), at(tile, 5), at(5, tile)), (GAP, GAP, GAP));
        assert_eq!(at(gap, gap), 0, "the first filter");
        assert_eq!(at(tile + gap, tile + gap), 64, "the last one");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.123_456, -12.345, 1234.5, 3e-5].map(short);
        assert_eq!(shown, ["0", "0.123", "-12.3", "1234", "3.00e-5"]);
    }
}
