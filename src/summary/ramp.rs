//! Colours of a scale, from its lowest value to its highest.

use crate::summary::canvas::{Canvas, Color, Rect};

/// The colours that lie evenly between these, the ends included. `levels` is one more than a
/// multiple of the steps between them.
pub(crate) fn ramp(stops: &[[u8; 3]], levels: usize) -> Vec<[u8; 3]> {
    let steps = (levels.saturating_sub(1) / stops.len().saturating_sub(1).max(1)).max(1);
    let color = |level: usize| {
        let (low, part) = (level / steps, level % steps);
        let from = stops.get(low).or(stops.last()).copied().unwrap_or_default();
        let to = stops.get(low + 1).copied().unwrap_or(from);
        std::array::from_fn(|channel| {
            let (from, to) = (usize::from(from[channel]), usize::from(to[channel]));
            ((from * (steps - part) + to * part) / steps) as u8
        })
    };
    (0..levels).map(color).collect()
}

/// Fills a rectangle with the first colours of the palette, so many, from the left to the right.
pub(crate) fn draw_ramp(canvas: &mut Canvas, rect: Rect, levels: usize) {
    for right in 0..rect.width {
        let bar = Rect {
            x: rect.x + right,
            width: 1,
            ..rect
        };
        canvas.fill(bar, (right * levels / rect.width) as Color);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_lie_evenly_between_the_given_ones() {
        let colors = ramp(&[[0; 3], [100; 3], [0, 200, 100]], 9);
        let wanted = [[0; 3], [25; 3], [50; 3], [75; 3], [100; 3]];
        assert_eq!(colors[..5], wanted);
        assert_eq!(colors[6..], [[50, 150, 100], [25, 175, 100], [0, 200, 100]]);
    }

    #[test]
    fn a_bar_has_each_colour_equally_often() {
        let mut canvas = Canvas::new(8, 1, 9);
        let rect = Rect {
            x: 1,
            y: 0,
            width: 6,
            height: 1,
        };
        draw_ramp(&mut canvas, rect, 3);
        let drawn: Vec<_> = (0..8).filter_map(|x| canvas.at(x, 0)).collect();
        assert_eq!(drawn, [9, 0, 0, 1, 1, 2, 2, 9]);
    }
}
