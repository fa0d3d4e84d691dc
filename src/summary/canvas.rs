//! A small picture with a palette: rectangles, text of 8 x 8 pixels a letter, and a PNG of it.

use font8x8::legacy::BASIC_LEGACY;

use crate::summary::png::{self, Pixels};

/// Width and height of a letter in pixels, the space to the next one included.
pub(crate) const LETTER: usize = 8;

/// A colour's place in the palette.
pub(crate) type Color = u8;

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// See the module. What lies outside is not drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Color>,
}

impl Canvas {
    pub(crate) fn new(width: usize, height: usize, background: Color) -> Canvas {
        Canvas {
            width,
            height,
            pixels: vec![background; width * height],
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// The pixels of a row from `x` on, at most `width` of them; empty outside.
    pub(crate) fn row(&mut self, x: usize, y: usize, width: usize) -> &mut [Color] {
        let end = x.saturating_add(width).min(self.width);
        let start = y.saturating_mul(self.width);
        match y < self.height && x < end {
            true => self.pixels.get_mut(start + x..start + end),
            false => None,
        }
        .unwrap_or_default()
    }

    pub(crate) fn fill(&mut self, rect: Rect, color: Color) {
        for y in rect.y..rect.y.saturating_add(rect.height).min(self.height) {
            self.row(rect.x, y, rect.width).fill(color);
        }
    }

    /// Writes from the upper left corner on. Letters beyond ASCII are question marks.
    pub(crate) fn text(&mut self, x: usize, y: usize, text: &str, color: Color) {
        for (place, letter) in text.chars().enumerate() {
            let glyph = u32::from(letter) as usize;
            let glyph = BASIC_LEGACY
                .get(glyph)
                .unwrap_or(&BASIC_LEGACY['?' as usize]);
            let left = x.saturating_add(place * LETTER);
            for (down, &bits) in glyph.iter().enumerate().filter(|(_, bits)| **bits != 0) {
                let row = self.row(left, y.saturating_add(down), LETTER);
                let mut rest = bits;
                while rest != 0 {
                    if let Some(pixel) = row.get_mut(rest.trailing_zeros() as usize) {
                        *pixel = color;
                    }
                    rest &= rest - 1;
                }
            }
        }
    }

    /// Repeats the part of a row below it, so that it is `height` rows high.
    pub(crate) fn repeat(&mut self, rect: Rect) {
        let end = rect.x.saturating_add(rect.width).min(self.width);
        let start = rect.y.saturating_mul(self.width);
        let last = rect.y.saturating_add(rect.height).min(self.height);
        for y in rect.y.saturating_add(1)..last {
            if rect.x < end {
                let source = start + rect.x..start + end;
                self.pixels.copy_within(source, y * self.width + rect.x);
            }
        }
    }

    /// The picture as a file. `None` for an empty one.
    pub(crate) fn to_png(&self, palette: &[[u8; 3]]) -> Option<Vec<u8>> {
        png::encode(
            self.width,
            self.height,
            &self.pixels,
            Pixels::Indexed(palette.as_flattened()),
        )
    }

    #[cfg(test)]
    pub(crate) fn at(&self, x: usize, y: usize) -> Option<Color> {
        (x < self.width).then(|| self.pixels.get(y * self.width + x).copied())?
    }
}

/// How wide a text is.
pub(crate) fn text_width(text: &str) -> usize {
    text.chars().count() * LETTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let mut canvas = Canvas::new(10, 4, 0);
        let rect = |x, y, width, height| Rect {
            x,
            y,
            width,
            height,
        };
        canvas.fill(rect(8, 2, 100, 100), 1);
        canvas.fill(rect(10, 0, 1, 1), 2);
        canvas.fill(rect(0, 4, 1, 1), 2);
        canvas.text(usize::MAX - 100, 1, "x", 2);
        canvas.text(0, 100, "x", 2);
        let drawn = |color| {
            canvas
                .pixels
                .iter()
                .filter(|&&pixel| pixel == color)
                .count()
        };
        assert_eq!((drawn(1), drawn(2)), (4, 0));
        assert_eq!(
            (canvas.at(8, 2), canvas.at(7, 2), canvas.at(10, 2)),
            (Some(1), Some(0), None)
        );
    }

    #[test]
    fn letters_differ_and_unknown_ones_are_question_marks() {
        let drawn = |text: &str| {
            let mut canvas = Canvas::new(text_width(text), LETTER, 0);
            canvas.text(0, 0, text, 1);
            canvas.pixels
        };
        assert_ne!(drawn("a"), drawn("b"));
        assert_eq!(drawn("\u{3b1}"), drawn("?"));
        assert_eq!(drawn("ab").len(), 2 * LETTER * LETTER);
    }
}
