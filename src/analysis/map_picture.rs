//! Draws a [`WeightMap`]: a row a variable, time to the right, and all that is needed to read it.

use crate::analysis::map_legend::{LINE, legend};
use crate::analysis::map_signs::{
    GAP, INK, LEVELS, NONFINITE, PAPER, STILL, TRIANGLE, UNSEEN, hatch, palette, triangle,
};
use crate::analysis::weight_map::{Cell, Mark, WeightMap};
use crate::summary::canvas::{Canvas, Color, LETTER, Rect, text_width};

/// Width of the map in pixels.
const PLOT: usize = 512;

/// Of a map of few rows, rows are higher: together about this high, within bounds.
const PLOT_HEIGHT: usize = 240;
const LEAST_ROW: usize = 12;
const MOST_ROW: usize = 24;

/// Letters of a row's label at most. Of a longer one the middle is left out, and this many letters
/// stay in front.
const LABEL: usize = 40;
const LABEL_FRONT: usize = 12;

/// log10 of the update ratio at either end of the scale. Healthy training is in the middle, at -3.
const LOWEST: f32 = -5.0;
const HIGHEST: f32 = -1.0;

/// A picture of what the map holds, as a PNG; `None` of a map without a row or a column.
pub(crate) fn to_png(map: &WeightMap) -> Option<MapPng> {
    let canvas = draw(map)?;
    Some(MapPng {
        width: canvas.width(),
        height: canvas.height(),
        file: canvas.to_png(&palette())?,
    })
}

/// A file of a map, and its size in pixels.
pub(crate) struct MapPng {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) file: Vec<u8>,
}

fn draw(map: &WeightMap) -> Option<Canvas> {
    let (rows, columns) = (map.rows().len(), map.columns().len());
    if rows == 0 || columns == 0 {
        return None;
    }
    let labels: Vec<String> = map
        .rows()
        .iter()
        .map(|row| label(&row.name, row.members))
        .collect();
    let left = GAP / 2 + labels.iter().map(|label| text_width(label)).max()? + GAP;
    let width = left + PLOT + GAP;
    let legend = legend(width);
    let lines = legend.last().map_or(0, |item| item.line + 1);
    let plot = Plot {
        left,
        top: GAP / 2 + lines * LINE + LETTER,
        row: (PLOT_HEIGHT / rows).clamp(LEAST_ROW, MOST_ROW),
        rows,
        columns,
    };
    let mut canvas = Canvas::new(width, plot.bottom() + LETTER + 2 * GAP, PAPER);
    legend.iter().for_each(|item| item.draw(&mut canvas));
    for (row, label) in labels.iter().enumerate() {
        let x = left - GAP - text_width(label);
        let y = plot.y(row) + (plot.row - 1).saturating_sub(LETTER) / 2;
        canvas.text(x, y, label, INK);
        plot.draw_row(&mut canvas, map, row);
    }
    plot.draw_steps(&mut canvas, map);
    plot.draw_marks(&mut canvas, map);
    Some(canvas)
}

/// A row's name in at most [`LABEL`] letters.
fn label(name: &str, members: usize) -> String {
    let count = match members {
        1 => String::new(),
        members => format!(" x{members}"),
    };
    let (letters, room) = (name.chars().count(), LABEL - count.len());
    if letters <= room {
        return format!("{name}{count}");
    }
    let front: String = name.chars().take(LABEL_FRONT).collect();
    let back: String = name
        .chars()
        .skip(letters - (room - LABEL_FRONT - 2))
        .collect();
    format!("{front}..{back}{count}")
}

/// Where the map is.
struct Plot {
    left: usize,
    top: usize,
    /// Height of a row, the line below it included.
    row: usize,
    rows: usize,
    columns: usize,
}

impl Plot {
    fn y(&self, row: usize) -> usize {
        self.top + row * self.row
    }

    fn bottom(&self) -> usize {
        self.y(self.rows)
    }

    /// The left edge of a column.
    fn x(&self, column: usize) -> usize {
        self.left + column * PLOT / self.columns
    }

    fn middle(&self, column: usize) -> usize {
        (self.x(column) + self.x(column + 1)) / 2
    }

    fn draw_row(&self, canvas: &mut Canvas, map: &WeightMap, row: usize) {
        let cells = || {
            let columns = map.columns().iter().enumerate();
            columns.filter_map(|(place, column)| Some((place, column.cells.get(row)?)))
        };
        let rect = |place: usize, height: usize| Rect {
            x: self.x(place),
            y: self.y(row),
            width: self.x(place + 1) - self.x(place),
            height,
        };
        let height = self.row - 1;
        // Most cells have one colour: their first line is drawn, and the whole of it repeated.
        for (place, cell) in cells() {
            if let Some(color) = plain_color(cell) {
                canvas.fill(rect(place, 1), color);
            }
        }
        canvas.repeat(Rect {
            x: self.left,
            y: self.y(row),
            width: PLOT,
            height,
        });
        for (place, cell) in cells().filter(|(_, cell)| plain_color(cell).is_none()) {
            draw_parts(canvas, rect(place, height), cell);
        }
    }

    /// The user's numbers of some steps below the map.
    fn draw_steps(&self, canvas: &mut Canvas, map: &WeightMap) {
        let y = self.bottom() + 4;
        let end = self.left + PLOT;
        let last = map.newest_step().to_string();
        let mut free = self.left;
        let rightmost = end.saturating_sub(text_width(&last) + GAP);
        for (place, step) in ticks(map) {
            let text = match place {
                0 => format!("step {step}"),
                _ => step.to_string(),
            };
            let x = self.x(place);
            let middle = x.saturating_sub(if place == 0 { 0 } else { text_width(&text) / 2 });
            if middle >= free && middle + text_width(&text) <= rightmost {
                canvas.fill(tick(x, self.bottom()), INK);
                canvas.text(middle, y, &text, INK);
                free = middle + text_width(&text) + 2 * GAP;
            }
        }
        canvas.fill(tick(end - 1, self.bottom()), INK);
        canvas.text(end.saturating_sub(text_width(&last)), y, &last, INK);
    }

    fn draw_marks(&self, canvas: &mut Canvas, map: &WeightMap) {
        for &Mark { row, step } in map.marks() {
            let began = |first: i64| first <= step;
            let mut columns = map.columns().iter();
            let place = columns.rposition(|column| column.first_step.is_some_and(began));
            let x = self.middle(place.unwrap_or(0));
            match row {
                Some(row) => triangle(canvas, x, self.y(row)),
                None => triangle(canvas, x, self.top.saturating_sub(TRIANGLE + 1)),
            }
        }
    }
}

/// A short line below the map.
fn tick(x: usize, y: usize) -> Rect {
    Rect {
        x,
        y,
        width: 1,
        height: 3,
    }
}

/// Columns and the steps to write below them: the first, and round numbers.
fn ticks(map: &WeightMap) -> Vec<(usize, i64)> {
    let known = || {
        let columns = map.columns().iter().enumerate();
        columns.filter_map(|(place, column)| Some((place, column.first_step?)))
    };
    let Some((first_place, first)) = known().next() else {
        return Vec::new();
    };
    let mut ticks = vec![(first_place, first)];
    let range = map.newest_step().abs_diff(first);
    let unit = round_unit(range / 4);
    let mut next = first;
    for (place, step) in known().skip(1) {
        // The first column that begins at a multiple of the unit, or behind one.
        let multiple = step.div_euclid(unit) * unit;
        if multiple > next {
            ticks.push((place, multiple));
            next = multiple;
        }
    }
    ticks
}

/// The least of 1, 2, 5, 10, 20 ... that is as large.
fn round_unit(least: u64) -> i64 {
    let mut power = 1_i64;
    loop {
        for factor in [1, 2, 5] {
            let unit = power.saturating_mul(factor);
            if unit.unsigned_abs() >= least || unit == i64::MAX {
                return unit;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// The colour of a cell of which all steps did the same; `None` for one of parts, or a hatched one.
fn plain_color(cell: &Cell) -> Option<Color> {
    match (cell.moved, cell.still, cell.frozen) {
        _ if cell.is_nonfinite => Some(NONFINITE),
        (0, 0, 0) => Some(UNSEEN),
        (_, 0, 0) => Some(level(cell.log_ratio())),
        (0, _, 0) => Some(STILL),
        _ => None,
    }
}

/// From above: what moved, what did not, and what was not meant to, by their shares.
fn draw_parts(canvas: &mut Canvas, rect: Rect, cell: &Cell) {
    let shares = [cell.moved, cell.still, cell.frozen];
    let [moved, still, frozen] = heights(rect.height, shares);
    let part = |y: usize, height: usize| Rect { y, height, ..rect };
    canvas.fill(part(rect.y, moved), level(cell.log_ratio()));
    canvas.fill(part(rect.y + moved, still), STILL);
    hatch(canvas, part(rect.y + moved + still, frozen));
}

/// Height of a part at least, so that one variable of many that does not move can be seen.
const LEAST_PART: usize = 2;

/// Divides a height by shares, of which some are not zero.
fn heights(height: usize, shares: [u32; 3]) -> [usize; 3] {
    let all: f64 = shares.iter().copied().map(f64::from).sum();
    let mut parts = shares.map(|share| match share {
        0 => 0,
        share => ((height as f64 * f64::from(share) / all).round() as usize).max(LEAST_PART),
    });
    // Rounding and the least height are at the cost of the largest part.
    let sum: usize = parts.iter().sum();
    if let Some(largest) = parts.iter_mut().max() {
        *largest = (*largest + height).saturating_sub(sum);
    }
    parts
}

/// The colour of log10 of an update ratio. What moves away from zero has none, and moves as fast as
/// can be.
fn level(log_ratio: Option<f32>) -> Color {
    let share = (log_ratio.unwrap_or(HIGHEST) - LOWEST) / (HIGHEST - LOWEST);
    (share.clamp(0.0, 1.0) * (LEVELS - 1) as f32).round() as Color
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::map_signs::HATCH;
    use crate::analysis::weight_map::{COLUMNS, Motion};
    use std::sync::Arc;

    /// A map after so many calls.
    fn map(names: &[&str], calls: u64, motion: impl Fn(usize, u64) -> Motion) -> WeightMap {
        let names: Vec<Arc<str>> = names.iter().map(|&name| name.into()).collect();
        let mut map = WeightMap::default();
        map.adopt(&names);
        for call in 0..calls {
            let motions: Vec<Motion> = (0..names.len()).map(|row| motion(row, call)).collect();
            map.observe(call, call as i64, 1, motions.into_iter());
        }
        map
    }

    const STATES: [&str; 6] = ["moves", "rests", "frozen", "broken", "unseen", "half"];

    fn states() -> WeightMap {
        map(&STATES, 101, |row, call| match row {
            0 => Motion::Moved(Some(-5.0 + call as f64 / 25.0)),
            1 => Motion::Still,
            2 => Motion::Frozen,
            3 => Motion::NonFinite,
            4 => Motion::Unseen,
            _ if call < 51 => Motion::Moved(None),
            _ => Motion::Still,
        })
    }

    #[test]
    fn each_state_has_its_colour() {
        let canvas = draw(&states()).unwrap();
        let left = GAP / 2 + 6 * LETTER + GAP;
        let top = canvas.height() - (LETTER + 2 * GAP) - STATES.len() * MOST_ROW;
        let at = |row: usize, right: usize| canvas.at(left + right, top + row * MOST_ROW + 5);
        assert_eq!((at(0, 0), at(0, PLOT - 1)), (Some(0), Some(32)));
        assert_eq!(at(0, PLOT / 2).unwrap().abs_diff(16), 0);
        assert_eq!(at(1, 100), Some(STILL));
        let hatched: Vec<_> = (0..8).map(|right| at(2, right).unwrap()).collect();
        assert_eq!(hatched.iter().filter(|&&color| color == HATCH).count(), 2);
        assert_eq!(hatched.iter().filter(|&&color| color == PAPER).count(), 6);
        assert_eq!((at(3, 9), at(4, 9)), (Some(NONFINITE), Some(UNSEEN)));
        assert_eq!((at(5, 9), at(5, PLOT - 9)), (Some(32), Some(STILL)));
    }

    #[test]
    fn a_cell_shows_the_shares_of_its_steps() {
        // Every other step, in columns of four.
        let map = map(&["a"], 1 + 4 * COLUMNS as u64, |_, call| match call % 2 {
            0 => Motion::Moved(Some(-3.0)),
            _ => Motion::Still,
        });
        let canvas = draw(&map).unwrap();
        let left = GAP / 2 + LETTER + GAP;
        let top = canvas.height() - (LETTER + 2 * GAP) - MOST_ROW;
        let column: Vec<Color> = (0..MOST_ROW - 1)
            .map(|down| canvas.at(left + 77, top + down).unwrap())
            .collect();
        assert_eq!(column.iter().filter(|&&color| color == 16).count(), 12);
        assert_eq!(column.iter().filter(|&&color| color == STILL).count(), 11);
        assert!(column.is_sorted_by_key(|&color| color == STILL));
    }

    #[test]
    fn parts_fill_a_cell_and_none_is_lost() {
        assert_eq!(heights(11, [1, 0, 0]), [11, 0, 0]);
        assert_eq!(heights(11, [74, 1, 0]), [9, 2, 0]);
        assert_eq!(heights(11, [1, 1000, 1]), [2, 7, 2]);
        for shares in [
            [1, 1, 1],
            [3, 2, 1],
            [u32::MAX; 3],
            [0, 5, 9],
            [1, 0, u32::MAX],
        ] {
            for height in LEAST_ROW - 1..MOST_ROW {
                let parts = heights(height, shares);
                assert_eq!(parts.iter().sum::<usize>(), height, "{shares:?}");
                let lost =
                    std::iter::zip(parts, shares).any(|(part, share)| (part == 0) != (share == 0));
                assert!(!lost, "{shares:?}: {parts:?}");
            }
        }
    }

    #[test]
    fn a_finding_is_marked_where_it_began() {
        let plain = draw(&states()).unwrap();
        let mut map = states();
        map.mark(Some("rests"), 51);
        map.mark(None, 1);
        let marked = draw(&map).unwrap();
        let inked = |of: &Canvas, x: usize, y: usize| of.at(x, y) == Some(INK);
        let changed: Vec<(usize, usize)> = (0..plain.height())
            .flat_map(|y| (0..plain.width()).map(move |x| (x, y)))
            .filter(|&(x, y)| inked(&marked, x, y) && !inked(&plain, x, y))
            .collect();
        let left = GAP / 2 + 6 * LETTER + GAP;
        let (row, model): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|&(x, _)| x > left + PLOT / 4);
        let middle = |of: &[(usize, usize)]| of.iter().map(|(x, _)| x).sum::<usize>() / of.len();
        assert!(middle(&row).abs_diff(left + PLOT / 2) < 6);
        assert!(middle(&model).abs_diff(left) < 6);
    }

    #[test]
    fn labels_keep_both_ends_and_steps_are_round() {
        assert_eq!(label("fc1.weight", 1), "fc1.weight");
        assert_eq!(label("h.*.w", 12), "h.*.w x12");
        let long = "transformer.encoder.layers.*.attention.self.query.weight";
        let short = label(long, 120);
        assert_eq!(short, "transformer...ion.self.query.weight x120");
        assert_eq!(short.len(), LABEL);
        let units = [0, 1, 3, 5, 6, 25, 99, 1001].map(round_unit);
        assert_eq!(units, [1, 1, 5, 5, 10, 50, 100, 2000]);
        assert_eq!(round_unit(u64::MAX), i64::MAX);
        let map = map(&["a"], 1001, |_, _| Motion::Still);
        assert_eq!(ticks(&map), [(0, 1), (125, 500)]);
    }

    /// Of colours as eyes see them that lack one kind of cones (Machado, Oliveira and Fernandes,
    /// 2009, severity 1), the distance in CIELAB. From 10 on two colours beside each other differ
    /// at first sight.
    fn distance(one: [u8; 3], other: [u8; 3], eyes: &[[f64; 3]; 3]) -> f64 {
        let lab = |rgb: [u8; 3]| {
            let linear = rgb.map(|value| {
                let value = f64::from(value) / 255.0;
                match value <= 0.04045 {
                    true => value / 12.92,
                    false => ((value + 0.055) / 1.055).powf(2.4),
                }
            });
            let mix = |row: &[f64; 3]| std::iter::zip(row, linear).map(|(a, b)| a * b).sum::<f64>();
            let [r, g, b] = [0, 1, 2].map(|row| mix(&eyes[row]).clamp(0.0, 1.0));
            let xyz = [
                (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047,
                0.2126 * r + 0.7152 * g + 0.0722 * b,
                (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883,
            ];
            let [x, y, z] = xyz.map(|value| match value > 0.008856 {
                true => value.cbrt(),
                false => 7.787 * value + 16.0 / 116.0,
            });
            [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
        };
        let squares = std::iter::zip(lab(one), lab(other)).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f64>().sqrt()
    }

    #[test]
    fn all_eyes_tell_the_states_apart() {
        let eyes = [
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [
                [0.152286, 1.052583, -0.204868],
                [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998],
            ],
            [
                [0.367322, 0.860646, -0.227968],
                [0.280085, 0.672501, 0.047413],
                [-0.01182, 0.04294, 0.968881],
            ],
            [
                [1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.3039],
            ],
        ];
        let palette = palette();
        let states = [STILL, UNSEEN, NONFINITE].map(|color| palette[usize::from(color)]);
        for eyes in &eyes {
            for (place, &state) in states.iter().enumerate() {
                let scale = palette[..LEVELS].iter();
                let least = scale.map(|&level| distance(state, level, eyes));
                assert!(least.min_by(f64::total_cmp).unwrap() > 10.0, "{state:?}");
                let others = states[..place].iter();
                assert!(
                    others
                        .map(|&other| distance(state, other, eyes))
                        .all(|d| d > 10.0)
                );
            }
        }
    }

    #[test]
    fn nothing_seen_is_no_picture() {
        assert!(to_png(&WeightMap::default()).is_none());
        assert!(to_png(&map(&["a"], 1, |_, _| Motion::Still)).is_none());
        assert!(to_png(&map(&[], 9, |_, _| Motion::Still)).is_none());
    }

    /// `MAPS=folder` writes the pictures, to be looked at.
    #[test]
    fn pictures_are_small_whatever_happens() {
        let mut noise = 1_u64;
        let mut maps = vec![("states", states())];
        for (name, count) in [("8", 8), ("62", 62), ("300", 300)] {
            let parts = [
                "attn.qkv.weight",
                "attn.qkv.bias",
                "mlp.fc.weight",
                "ln.weight",
                "x",
            ];
            let names: Vec<String> = (0..count)
                .map(|n| format!("gpt.{}.{}", n / 4, parts[n % 4]))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let random = std::cell::RefCell::new(&mut noise);
            let mut next = map(&names, 3000, |row, call| {
                let mut noise = random.borrow_mut();
                **noise = noise
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                let noise = (**noise >> 40) as f64 / (1 << 24) as f64;
                match row {
                    5 if call > 1900 => Motion::NonFinite,
                    7 => Motion::Still,
                    30..34 => Motion::Frozen,
                    _ if (700..760).contains(&call) => Motion::Unseen,
                    40 if noise < 0.5 => Motion::Still,
                    _ => Motion::Moved(Some(-1.5 - row as f64 % 7.0 / 3.0 + 2.0 * noise)),
                }
            });
            next.mark(Some(names[5]), 1900);
            next.mark(Some(names[7]), 0);
            maps.push((name, next));
        }
        for (name, map) in &maps {
            let picture = to_png(map).unwrap();
            if let Some(folder) = std::env::var_os("MAPS") {
                let path = std::path::Path::new(&folder)
                    .join(name)
                    .with_extension("png");
                std::fs::write(path, &picture.file).unwrap();
                eprintln!(
                    "{name}: {} x {}, {} bytes",
                    picture.width,
                    picture.height,
                    picture.file.len()
                );
            }
            assert!(
                picture.file.len() < 60_000,
                "{name}: {} bytes",
                picture.file.len()
            );
        }
    }
}
