//! The cumulative count as a polyline, and the few of its corners that stay closest to all of it.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{FineHistogram, TOLD_APART, value_of};

/// A point of the cumulative count.
#[derive(Debug, Clone, Copy)]
struct Vertex {
    x: f64,
    /// Values below `x`; those at `x` too when `behind` is set. A whole number, exact up to 2^53.
    cumulative: f64,
    /// The upper end of the vertical stroke of an atom: the row to the right begins just behind `x`.
    behind: bool,
}

/// The cumulative count as a polyline through the edges of all leaves.
pub(super) struct Curve {
    vertices: Vec<Vertex>,
    atoms_only: bool,
    total: f64,
    /// Factor that keeps differences of `x` finite.
    scale: f64,
    range: f64,
}

/// A row in the making: the vertices `from..=to`, and where it would best be cut.
#[derive(Debug, Clone, Copy)]
struct Piece {
    cost: f64,
    from: usize,
    to: usize,
    cut: usize,
}

impl PartialEq for Piece {
    fn eq(&self, other: &Piece) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Piece {}
impl PartialOrd for Piece {
    fn partial_cmp(&self, other: &Piece) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Piece {
    fn cmp(&self, other: &Piece) -> Ordering {
        self.cost
            .total_cmp(&other.cost)
            .then(other.from.cmp(&self.from))
    }
}

/// Weight of the largest error inside a row (it moves percentiles) beside the mean error over the range (it moves bins).
const PEAK_WEIGHT: f64 = 0.2;
/// Bins that TensorBoard draws.
const DRAWN_BINS: f64 = 30.0;
/// A row whose picture is wrong by less than this share of the elements is not cut.
const GOOD_ENOUGH: f64 = 3e-4;
/// A curve of fewer vertices is cut as fast as it is thinned out.
const THINNED_FROM: usize = 128;

impl Curve {
    pub(super) fn new(fine: &FineHistogram) -> Curve {
        let mut vertices: Vec<Vertex> = Vec::with_capacity(2 * fine.leaves.len());
        let mut cumulative = 0.0;
        let mut end = 0;
        let last = fine.leaves.len().saturating_sub(1);
        for (index, leaf) in fine.leaves.iter().enumerate() {
            // Leaves less than a grid step apart touch: no value can lie between them.
            let touches = index > 0 && leaf.key.saturating_sub(end) < 1 << fine.grid;
            let x = if index == 0 {
                fine.min
            } else {
                value_of(leaf.key)
            };
            match vertices.last_mut() {
                Some(vertex) if touches && !vertex.behind => vertex.x = x,
                Some(_) if touches && leaf.free > 0 => {}
                _ => vertices.push(Vertex {
                    x,
                    cumulative,
                    behind: false,
                }),
            }
            cumulative += leaf.count as f64;
            let x = match leaf.free {
                0 => value_of(leaf.key),
                _ if index == last => fine.max,
                _ => value_of(leaf.end()),
            };
            vertices.push(Vertex {
                x,
                cumulative,
                behind: leaf.free == 0,
            });
            end = leaf.end();
        }
        let finite = (fine.max - fine.min).is_finite();
        let scale = if finite { 1.0 } else { 0.5 };
        let mut curve = Curve {
            atoms_only: fine.leaves.iter().all(|leaf| leaf.free == 0),
            total: cumulative,
            scale,
            range: fine.max * scale - fine.min * scale,
            vertices,
        };
        curve.thin_out();
        curve
    }

    /// Leaves out vertices that stand next to the one before: the octaves around zero have many that hold nothing, and each
    /// cut looks at all of them again. Atoms stay.
    fn thin_out(&mut self) {
        let few = (self.total / TOLD_APART).floor();
        let narrow = self.range / TOLD_APART;
        if self.vertices.len() < THINNED_FROM {
            return;
        }
        let scale = self.scale;
        let mut kept: Vec<Vertex> = Vec::with_capacity(self.vertices.len());
        for (index, vertex) in self.vertices.iter().enumerate() {
            let next = self.vertices.get(index + 1);
            let spare = match (kept.last(), next) {
                (Some(last), Some(next)) => {
                    let stroke = vertex.behind || (next.behind && next.x == vertex.x);
                    !stroke
                        && next.cumulative - last.cumulative < few
                        && (next.x - last.x) * scale < narrow
                }
                _ => false,
            };
            if !spare {
                kept.push(*vertex);
            }
        }
        self.vertices = kept;
    }

    /// The number of values, when each of them is known.
    ///
    /// Then each value gets its row, and each gap between two where there is room: TensorBoard interpolates a percentile
    /// from the right edge of the row before, not from the left edge of the row it falls into.
    pub(super) fn atoms(&self) -> Option<usize> {
        self.atoms_only.then_some(self.vertices.len() / 2)
    }

    /// A row from each vertex to the next.
    pub(super) fn all_rows(&self) -> Vec<[f64; 3]> {
        self.rows(0..self.vertices.len())
    }

    /// At most `max_rows` rows: that with the largest error is cut where its error is largest, until they are used up.
    pub(super) fn cut_rows(&self, max_rows: usize) -> Vec<[f64; 3]> {
        if self.vertices.len() < 2 {
            return Vec::new();
        }
        let mut open = BinaryHeap::with_capacity(max_rows + 1);
        let mut cuts = Vec::with_capacity(max_rows + 2);
        cuts.extend([0, self.vertices.len() - 1]);
        open.push(self.piece(0, self.vertices.len() - 1));
        while cuts.len() <= max_rows {
            match open.pop() {
                Some(worst) if worst.cost > GOOD_ENOUGH => {
                    cuts.push(worst.cut);
                    open.push(self.piece(worst.from, worst.cut));
                    open.push(self.piece(worst.cut, worst.to));
                }
                _ => break,
            }
        }
        cuts.sort_unstable();
        self.rows(cuts)
    }

    /// The error of one row over all these vertices: the area between curve and chord as a share of what 30 bins show, and
    /// the largest distance.
    fn piece(&self, from: usize, to: usize) -> Piece {
        let mut piece = Piece {
            cost: 0.0,
            from,
            to,
            cut: from,
        };
        let Some(slice) = self.vertices.get(from..=to) else {
            return piece;
        };
        let [first, _, .., last] = slice else {
            return piece;
        };
        let width = (last.x - first.x) * self.scale;
        if width <= 0.0 {
            return piece;
        }
        let rise = last.cumulative - first.cumulative;
        let slope = rise / width * self.scale;
        // The trapezoids, added up by their corners; both ends lie on the chord.
        let (mut area, mut peak) = (0.0, 0.0);
        for (offset, three) in slice.windows(3).enumerate() {
            let [before, vertex, after] = three else {
                continue;
            };
            let line = (vertex.x - first.x) * slope;
            let error = (vertex.cumulative - first.cumulative - line).abs();
            area += error * (after.x - before.x);
            if error > peak {
                (peak, piece.cut) = (error, from + 1 + offset);
            }
        }
        area *= self.scale / 2.0;
        piece.cost = (area / self.range * DRAWN_BINS + PEAK_WEIGHT * peak) / self.total;
        piece
    }

    fn rows(&self, cuts: impl IntoIterator<Item = usize>) -> Vec<[f64; 3]> {
        let cuts = cuts.into_iter();
        let mut rows: Vec<[f64; 3]> = Vec::with_capacity(cuts.size_hint().0);
        let mut ends = cuts.filter_map(|cut| self.vertices.get(cut));
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
        if let (Some(row), Some(end)) = (rows.last_mut(), self.vertices.last()) {
            row[1] = end.x;
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
