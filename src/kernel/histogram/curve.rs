//! The cumulative count as a polyline, and the few of its corners that stay closest to all of it.

use crate::kernel::histogram::fine_histogram::{FineHistogram, value_of};

/// A point of the cumulative count.
#[derive(Debug, Clone, Copy)]
struct Vertex {
    x: f64,
    /// Values below `x`; those at `x` too when `behind` is set. A whole number, exact up to 2^53.
    cumulative: f64,
    /// The upper end of the vertical stroke of an atom: the row to the right begins just behind
    /// `x`.
    behind: bool,
}

/// The cumulative count as a polyline through the edges of the leaves, column by column: each cut
/// looks at all vertices between two others, several at a time. It serves one histogram after the
/// other, for its memory.
#[derive(Default)]
pub(crate) struct Curve {
    x: Vec<f64>,
    cumulative: Vec<f64>,
    behind: Vec<bool>,
    /// From the vertex before to the one behind, scaled.
    spans: Vec<f64>,
    /// The distance of each vertex from the chord of the row that it is in.
    errors: Vec<f64>,
    /// Rows that may be cut, and the vertices where rows end.
    open: Vec<Piece>,
    cuts: Vec<usize>,
    total: f64,
    /// Factor that keeps differences of `x` finite.
    scale: f64,
    range: f64,
}

/// A row in the making: the vertices `from..=to`, and how wrong it is.
#[derive(Debug, Clone, Copy)]
struct Piece {
    cost: f64,
    /// The largest distance of a vertex from the chord: where the row would best be cut.
    peak: f64,
    from: usize,
    to: usize,
}

/// Weight of the largest error inside a row (it moves percentiles) beside the mean error over the
/// range (it moves bins).
const PEAK_WEIGHT: f64 = 0.2;
/// Bins that TensorBoard draws.
const DRAWN_BINS: f64 = 30.0;
/// A row whose picture is wrong by less than this share of the elements is not cut.
const GOOD_ENOUGH: f64 = 3e-4;
/// Rows to begin with: each cut looks at all vertices of a row, and to begin with a single one, at
/// all of them, takes a third longer for no better rows.
const FIRST_ROWS: usize = 16;
/// Vertices looked at side by side: as many as keep an adder busy.
const LANES: usize = 4;

impl Curve {
    /// At most `max_rows` rows: a few of equal mass, of which that with the largest error is cut
    /// where its error is largest, until they are used up.
    pub(super) fn rows_of(&mut self, fine: &FineHistogram, max_rows: usize) -> Vec<[f64; 3]> {
        self.trace(fine);
        self.cut(max_rows);
        self.rows()
    }

    /// Lays the vertices along the leaves.
    fn trace(&mut self, fine: &FineHistogram) {
        let leaves = fine.leaves.as_slice();
        let finite = (fine.max - fine.min).is_finite();
        let scale = if finite { 1.0 } else { 0.5 };
        let Curve {
            x,
            cumulative,
            behind,
            spans,
            errors,
            ..
        } = self;
        [&mut *x, cumulative, spans, errors]
            .into_iter()
            .for_each(Vec::clear);
        behind.clear();
        (self.total, self.scale) = (0.0, scale);
        self.range = fine.max * scale - fine.min * scale;
        // Whether the leaf at hand touches the one before, and whether that is an atom.
        let (mut touches, mut atom_before) = (false, false);
        for (index, leaf) in leaves.iter().enumerate() {
            let is_atom = leaf.free == 0;
            if !touches || (is_atom && atom_before) {
                let x = if index == 0 {
                    fine.min
                } else {
                    value_of(leaf.key)
                };
                self.push(x, false);
            }
            self.total += leaf.count as f64;
            // Leaves less than a grid step apart touch: no value can lie between them.
            let next = leaves.get(index + 1);
            let touching = next.filter(|next| next.key.saturating_sub(leaf.end()) < 1 << fine.grid);
            let x = match (is_atom, next, touching) {
                (true, ..) => value_of(leaf.key),
                (_, None, _) => fine.max,
                (.., Some(touching)) => value_of(touching.key),
                (_, Some(_), None) => value_of(leaf.end()),
            };
            self.push(x, is_atom);
            (touches, atom_before) = (touching.is_some(), is_atom);
        }
        self.spans.push(0.0);
        let pairs = std::iter::zip(&self.x, self.x.iter().skip(2));
        self.spans
            .extend(pairs.map(|(before, behind)| behind * scale - before * scale));
        self.spans.push(0.0);
        self.errors.resize(self.x.len(), 0.0);
    }

    /// A vertex at the height reached so far.
    fn push(&mut self, x: f64, behind: bool) {
        self.x.push(x);
        self.cumulative.push(self.total);
        self.behind.push(behind);
    }

    fn vertex(&self, index: usize) -> Option<Vertex> {
        Some(Vertex {
            x: *self.x.get(index)?,
            cumulative: *self.cumulative.get(index)?,
            behind: *self.behind.get(index)?,
        })
    }

    /// Finds where the rows end, in order.
    fn cut(&mut self, max_rows: usize) {
        self.open.clear();
        self.cuts.clear();
        let Some(last) = self.x.len().checked_sub(1).filter(|&last| last > 0) else {
            return;
        };
        self.cuts.push(0);
        let rows = FIRST_ROWS.min(max_rows / 2).max(1);
        let share = self.total / rows as f64;
        let mut from = 0;
        for row in 1..=rows {
            let to = match row == rows {
                true => last,
                false => self.vertex_at(share * row as f64).min(last),
            };
            if to > from {
                self.end_row(from, to);
                from = to;
            }
        }
        while self.cuts.len() <= max_rows
            && let Some(worst) = self.take_worst()
        {
            if let Some(cut) = self.best_cut(&worst) {
                self.end_row(worst.from, cut);
                let right = self.piece(cut, worst.to);
                self.open.extend(right);
            }
        }
        self.cuts.sort_unstable();
    }

    /// The row that is most wrong. So few are open, even where 1000 are allowed, that looking at
    /// all of them is quicker than keeping them in order; and a plain loop is a fifth quicker than
    /// `max_by`.
    fn take_worst(&mut self) -> Option<Piece> {
        let mut worst = (f64::NEG_INFINITY, None);
        for (index, piece) in self.open.iter().enumerate() {
            if piece.cost > worst.0 {
                worst = (piece.cost, Some(index));
            }
        }
        Some(self.open.swap_remove(worst.1?))
    }

    /// The first vertex at or above this height.
    fn vertex_at(&self, mass: f64) -> usize {
        self.cumulative.partition_point(|&below| below < mass)
    }

    /// A row ends at `to`, and may be cut.
    fn end_row(&mut self, from: usize, to: usize) {
        self.cuts.push(to);
        let piece = self.piece(from, to);
        self.open.extend(piece);
    }

    /// The row over all these vertices, when it is worth being cut: its error is the area between
    /// curve and chord, as a share of what 30 bins show, and the largest distance.
    fn piece(&mut self, from: usize, to: usize) -> Option<Piece> {
        let columns = Columns {
            x: self.x.get(from..=to)?,
            cumulative: self.cumulative.get(from..=to)?,
            spans: self.spans.get(from..=to)?,
            scale: self.scale,
        };
        let (area, peak) = columns.measure(self.errors.get_mut(from + 1..to)?)?;
        let cost = (area / self.range * DRAWN_BINS + PEAK_WEIGHT * peak) / self.total;
        (cost > GOOD_ENOUGH).then_some(Piece {
            cost,
            peak,
            from,
            to,
        })
    }

    /// The first vertex of the piece that has the largest error.
    fn best_cut(&self, piece: &Piece) -> Option<usize> {
        let inner = self.errors.get(piece.from + 1..piece.to)?;
        let place = inner.iter().position(|&error| error == piece.peak)?;
        Some(piece.from + 1 + place)
    }

    fn rows(&self) -> Vec<[f64; 3]> {
        let mut rows: Vec<[f64; 3]> = Vec::with_capacity(self.cuts.len());
        let mut ends = self.cuts.iter().filter_map(|&cut| self.vertex(cut));
        let Some(mut from) = ends.next() else {
            return rows;
        };
        for to in ends {
            let count = to.cumulative - from.cumulative;
            let atom = to.behind && !from.behind && from.x == to.x;
            let (left, right) = if atom {
                (from.x, to.x)
            } else {
                (from.edge(), to.edge())
            };
            if count > 0.0 || left < right {
                rows.push([left, right, count]);
            }
            from = to;
        }
        if let (Some(row), Some(&end)) = (rows.last_mut(), self.x.last()) {
            row[1] = end;
        }
        rows
    }
}

impl Vertex {
    /// The edge between the values counted by now and the others.
    fn edge(&self) -> f64 {
        if self.behind {
            self.x.next_up()
        } else {
            self.x
        }
    }
}

/// The vertices of a row.
struct Columns<'a> {
    x: &'a [f64],
    cumulative: &'a [f64],
    spans: &'a [f64],
    scale: f64,
}

impl Columns<'_> {
    /// Writes how far each vertex but the first and the last lies from the straight line between
    /// those two. Returns the area between curve and line (trapezoids, added up by their corners)
    /// and the largest distance; `None` without a vertex in between or without width.
    fn measure(&self, errors: &mut [f64]) -> Option<(f64, f64)> {
        let inner = errors.len();
        let (left, right) = (self.x.first()? * self.scale, self.x.last()? * self.scale);
        let (below, above) = (*self.cumulative.first()?, self.cumulative.last()?);
        if inner == 0 || right <= left {
            return None;
        }
        let (scale, slope) = (self.scale, (above - below) / (right - left));
        let vertices = std::iter::zip(self.x.get(1..=inner)?, self.cumulative.get(1..=inner)?);
        for (error, (x, cumulative)) in errors.iter_mut().zip(vertices) {
            *error = (cumulative - below - (x * scale - left) * slope).abs();
        }
        let spans = self.spans.get(1..=inner)?;
        let (rows, rest) = errors.as_chunks::<LANES>();
        let (spans, rest_spans) = spans.as_chunks::<LANES>();
        let (mut areas, mut peaks) = ([0.0; LANES], [0.0_f64; LANES]);
        for (errors, spans) in rows.iter().zip(spans) {
            for ((area, error), span) in areas.iter_mut().zip(errors).zip(spans) {
                *area += error * span;
            }
            for (peak, &error) in peaks.iter_mut().zip(errors) {
                *peak = if error > *peak { error } else { *peak };
            }
        }
        let (mut area, mut peak) = (0.0, 0.0);
        for (error, span) in rest.iter().zip(rest_spans) {
            area += error * span;
            peak = if *error > peak { *error } else { peak };
        }
        area += areas.iter().sum::<f64>();
        for other in peaks {
            peak = if other > peak { other } else { peak };
        }
        Some((area / 2.0, peak))
    }
}
