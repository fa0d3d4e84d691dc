//! The colours and signs of the picture of a weight map.

use crate::summary::canvas::{Canvas, Color, Rect};
use crate::summary::ramp::ramp;

/// Space between parts in pixels.
pub(super) const GAP: usize = 8;

/// Colours of the scale.
pub(super) const LEVELS: usize = 33;

/// Viridis at each eighth (Smith and van der Walt, 2015; CC0): its brightness rises evenly, for
/// eyes that see fewer colours, too. All other colours differ from these for them as well, which a
/// test checks.
const VIRIDIS: [[u8; 3]; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];

pub(super) const PAPER: Color = LEVELS as Color;
pub(super) const INK: Color = PAPER + 1;
pub(super) const STILL: Color = PAPER + 2;
pub(super) const UNSEEN: Color = PAPER + 3;
pub(super) const HATCH: Color = PAPER + 4;
pub(super) const NONFINITE: Color = PAPER + 5;
const COLORS: usize = LEVELS + 6;

/// The colours behind the numbers of a [`Canvas`].
pub(super) fn palette() -> Vec<[u8; 3]> {
    let mut palette = ramp(&VIRIDIS, LEVELS);
    palette.resize(COLORS, [255; 3]);
    let others = [
        (INK, [0x1a, 0x1a, 0x1a]),
        (STILL, [0xbe, 0xbe, 0xbe]),
        (UNSEEN, [0xee, 0xf2, 0xfb]),
        (HATCH, [0x78, 0x78, 0x78]),
        (NONFINITE, [0xd4, 0x00, 0x00]),
    ];
    for (color, rgb) in others {
        if let Some(place) = palette.get_mut(usize::from(color)) {
            *place = rgb;
        }
    }
    palette
}

pub(super) fn hatch(canvas: &mut Canvas, rect: Rect) {
    for y in rect.y..rect.y + rect.height {
        for (right, pixel) in canvas.row(rect.x, y, rect.width).iter_mut().enumerate() {
            let is_line = (rect.x + right + y).is_multiple_of(4);
            *pixel = if is_line { HATCH } else { PAPER };
        }
    }
}

/// Height of the mark of a finding, without its outline.
pub(super) const TRIANGLE: usize = 6;

/// A triangle that points down at `x`, with an outline that parts it from what is behind.
pub(super) fn triangle(canvas: &mut Canvas, x: usize, y: usize) {
    let mut layer = |down: usize, half: usize, color: Color| {
        let rect = Rect {
            x: x.saturating_sub(half),
            y: y + down,
            width: 2 * half + 1,
            height: 1,
        };
        canvas.fill(rect, color);
    };
    for down in 0..TRIANGLE + 2 {
        layer(down, TRIANGLE.saturating_sub(down * 3 / 4), PAPER);
    }
    for down in 0..TRIANGLE {
        layer(down, (TRIANGLE - down) * 3 / 4, INK);
    }
}
