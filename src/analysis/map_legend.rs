//! The legend of the picture of a weight map: what its colours and signs mean.

use crate::analysis::map_signs::{GAP, INK, LEVELS, NONFINITE, STILL, UNSEEN, hatch, triangle};
use crate::summary::canvas::{Canvas, Color, LETTER, Rect, text_width};
use crate::summary::ramp::draw_ramp;

/// Height of a line of the legend in pixels.
pub(super) const LINE: usize = 14;

/// What is drawn before a text of the legend.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    Scale,
    Plain(Color),
    Hatched,
    Mark,
}

/// A text of the legend with its sign.
pub(super) struct LegendItem {
    sign: Sign,
    text: &'static str,
    x: usize,
    pub(super) line: usize,
}

impl LegendItem {
    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let y = GAP / 2 + self.line * LINE;
        let rect = Rect {
            x: self.x,
            y,
            width: sign_width(self.sign),
            height: 9,
        };
        match self.sign {
            Sign::Scale => draw_ramp(canvas, rect, LEVELS),
            Sign::Plain(color) => canvas.fill(rect, color),
            Sign::Hatched => hatch(canvas, rect),
            Sign::Mark => triangle(canvas, self.x + rect.width / 2, y + 1),
        }
        canvas.text(self.x + rect.width + LETTER / 2, y + 1, self.text, INK);
    }

    fn end(&self) -> usize {
        self.x + sign_width(self.sign) + LETTER / 2 + text_width(self.text)
    }
}

/// Width of the scale of the legend in pixels.
const SCALE: usize = 2 * 33;

fn sign_width(sign: Sign) -> usize {
    match sign {
        Sign::Scale => SCALE,
        _ => 14,
    }
}

/// What the colours mean, in lines of a picture of this width.
pub(super) fn legend(width: usize) -> Vec<LegendItem> {
    let texts = [
        (Sign::Scale, "update ratio 1e-5 to 1e-1"),
        (Sign::Plain(STILL), "did not move"),
        (Sign::Hatched, "frozen"),
        (Sign::Plain(NONFINITE), "NaN or infinite"),
        (Sign::Plain(UNSEEN), "not observed"),
        (Sign::Mark, "a finding began"),
    ];
    let mut items: Vec<LegendItem> = Vec::new();
    for (sign, text) in texts {
        let before = items.last();
        let mut item = LegendItem {
            sign,
            text,
            x: before.map_or(GAP, |item| item.end() + 2 * GAP),
            line: before.map_or(0, |item| item.line),
        };
        if item.end() > width - GAP {
            (item.x, item.line) = (GAP, item.line + 1);
        }
        items.push(item);
    }
    items
}
