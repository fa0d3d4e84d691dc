//! What each variable of a model did from the first step to the newest, in a table of bounded size:
//! the state behind the picture `weight_map`.
//!
//! A column is a number of training steps in a row, the same for all columns. It doubles, and
//! neighbours are merged, each time there would be more than [`COLUMNS`] of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::analysis::aggregate_tags::role;

/// Columns at most.
pub(crate) const COLUMNS: usize = 256;

/// Up to this many variables each has a row; above, a role has one.
pub(crate) const ROWS: usize = 64;

/// The training step at which the first picture is drawn; each later one is drawn at twice the
/// steps.
const FIRST_PICTURE: u64 = 16;

/// Findings that are marked.
const MARKS: usize = 256;

/// Pictures that are drawn since a finding has begun.
const PICTURES_OF_FINDINGS: u32 = 16;

/// What one variable did at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Motion {
    /// There was nothing to compare with.
    Unseen,
    /// Some bit changed; log10 of the update ratio where it is defined.
    Moved(Option<f64>),
    /// No bit changed.
    Still,
    /// No bit changed, and none was meant to.
    Frozen,
    /// Some element is NaN or infinite.
    NonFinite,
}

/// The steps of a column, of the variables of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cell {
    /// Sum of log10 of the update ratios, and how many there are.
    sum: f64,
    ratios: u32,
    pub(crate) moved: u32,
    pub(crate) still: u32,
    pub(crate) frozen: u32,
    pub(crate) is_nonfinite: bool,
}

impl Cell {
    fn add(&mut self, motion: Motion) {
        match motion {
            Motion::Unseen => {}
            Motion::Moved(ratio) => {
                self.moved = self.moved.saturating_add(1);
                if let Some(ratio) = ratio.filter(|ratio| ratio.is_finite()) {
                    self.sum += ratio;
                    self.ratios = self.ratios.saturating_add(1);
                }
            }
            Motion::Still => self.still = self.still.saturating_add(1),
            Motion::Frozen => self.frozen = self.frozen.saturating_add(1),
            Motion::NonFinite => self.is_nonfinite = true,
        }
    }

    fn merge(&mut self, other: &Cell) {
        self.sum += other.sum;
        self.ratios = self.ratios.saturating_add(other.ratios);
        self.moved = self.moved.saturating_add(other.moved);
        self.still = self.still.saturating_add(other.still);
        self.frozen = self.frozen.saturating_add(other.frozen);
        self.is_nonfinite |= other.is_nonfinite;
    }

    /// Mean of log10 of the update ratio over the moves that have one.
    pub(crate) fn log_ratio(&self) -> Option<f32> {
        (self.ratios > 0).then(|| (self.sum / f64::from(self.ratios)) as f32)
    }

    /// How often it was observed.
    #[cfg(test)]
    pub(crate) fn observed(&self) -> u64 {
        u64::from(self.moved) + u64::from(self.still) + u64::from(self.frozen)
    }
}

/// Some training steps in a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Column {
    /// The user's number of the first step that was observed; `None` when none was.
    pub(crate) first_step: Option<i64>,
    /// One for each row.
    pub(crate) cells: Vec<Cell>,
}

/// A variable, or several of a role.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MapRow {
    pub(crate) name: Arc<str>,
    pub(crate) members: usize,
}

/// Where a finding began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// `None` for a finding of the whole model.
    pub(crate) row: Option<usize>,
    pub(crate) step: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct WeightMap {
    rows: Vec<MapRow>,
    /// The row of each variable of the plan.
    row_of: Vec<usize>,
    /// Of each name.
    places: HashMap<Arc<str>, usize>,
    columns: Vec<Column>,
    /// Training steps of a column, 0 before the first.
    stride: u64,
    marks: Vec<Mark>,
    newest_step: i64,
    /// Training steps so far, and those at the newest picture.
    steps: u64,
    pictured: u64,
    /// A finding has begun since the newest picture.
    has_news: bool,
    pictures_of_findings: u32,
}

impl WeightMap {
    /// Takes up the variables of a new plan, in their order. Rows of names that were there keep
    /// what they have.
    pub(crate) fn adopt(&mut self, names: &[Arc<str>]) {
        let (rows, row_of) = rows_of(names);
        let mut places = HashMap::new();
        for (name, &row) in std::iter::zip(names, &row_of) {
            places.insert(name.clone(), row);
        }
        for (row, found) in rows.iter().enumerate() {
            places.entry(found.name.clone()).or_insert(row);
        }
        let new_place = |row: &MapRow| {
            let by_role = || places.get(&*role(&row.name)).copied();
            places.get(&row.name).copied().or_else(by_role)
        };
        let moves: Vec<Option<usize>> = self.rows.iter().map(new_place).collect();
        for column in &mut self.columns {
            let mut cells = vec![Cell::default(); rows.len()];
            for (cell, place) in std::iter::zip(&column.cells, &moves) {
                if let Some(target) = place.and_then(|place| cells.get_mut(place)) {
                    target.merge(cell);
                }
            }
            column.cells = cells;
        }
        self.marks.retain_mut(|mark| match mark.row {
            None => true,
            Some(row) => {
                mark.row = moves.get(row).copied().flatten();
                mark.row.is_some()
            }
        });
        (self.rows, self.row_of, self.places) = (rows, row_of, places);
    }

    /// Takes a snapshot: the number of its training step, counted from 0 for the first call, the
    /// user's number, how many training steps lie between two that are compared, and what each
    /// variable did, in the order of the plan.
    pub(crate) fn observe(
        &mut self,
        call: u64,
        step: i64,
        rhythm: u64,
        motions: impl Iterator<Item = Motion>,
    ) {
        (self.newest_step, self.steps) = (step, call);
        // The first call has nothing to be compared with.
        let Some(since_first) = call.checked_sub(1) else {
            return;
        };
        self.widen(since_first, rhythm);
        let place = usize::try_from(since_first / self.stride).unwrap_or(COLUMNS - 1);
        while self.columns.len() <= place {
            let cells = vec![Cell::default(); self.rows.len()];
            self.columns.push(Column {
                first_step: None,
                cells,
            });
        }
        let Some(column) = self.columns.get_mut(place) else {
            return;
        };
        let mut is_observed = false;
        for (motion, &row) in std::iter::zip(motions, &self.row_of) {
            if let Some(cell) = column.cells.get_mut(row) {
                is_observed |= motion != Motion::Unseen;
                cell.add(motion);
            }
        }
        if is_observed {
            column.first_step.get_or_insert(step);
        }
    }

    /// Doubles the steps of a column until there is one for this step, and each can have an
    /// observation.
    fn widen(&mut self, since_first: u64, rhythm: u64) {
        // A rhythm that has not come round yet says nothing.
        let rhythm = if rhythm > since_first { 1 } else { rhythm };
        self.stride = self.stride.max(1);
        while since_first / self.stride >= COLUMNS as u64 || self.stride < rhythm {
            self.stride = self.stride.saturating_mul(2);
            let mut columns = std::mem::take(&mut self.columns).into_iter();
            while let Some(mut first) = columns.next() {
                if let Some(second) = columns.next() {
                    let cells = std::iter::zip(&mut first.cells, &second.cells);
                    cells.for_each(|(cell, other)| cell.merge(other));
                    first.first_step = first.first_step.or(second.first_step);
                }
                self.columns.push(first);
            }
        }
    }

    /// Marks where a finding began: of a variable, or of the whole model.
    pub(crate) fn mark(&mut self, variable: Option<&str>, step: i64) {
        let row = variable.and_then(|name| self.places.get(name).copied());
        let mark = Mark { row, step };
        if row.is_some() == variable.is_some() && !self.marks.contains(&mark) {
            self.has_news = true;
            if self.marks.len() < MARKS {
                self.marks.push(mark);
            }
        }
    }

    /// True when a picture is to be drawn: of each doubled number of training steps, soon after a
    /// finding has begun, and at the end. It is taken for drawn then.
    pub(crate) fn take_due(&mut self, is_end: bool) -> bool {
        let since = self.steps.saturating_sub(self.pictured);
        if self.columns.is_empty() || (since == 0 && !self.has_news) {
            return false;
        }
        let next = (self.pictured + 1).next_power_of_two().max(FIRST_PICTURE);
        // Findings that follow each other share a picture, and early ones are on the next one soon.
        let of_finding = self.has_news
            && self.pictures_of_findings < PICTURES_OF_FINDINGS
            && since >= FIRST_PICTURE.max(self.pictured / 16 + 1);
        let is_due = is_end || self.steps >= next || of_finding;
        if is_due {
            self.pictures_of_findings += u32::from(of_finding);
            (self.pictured, self.has_news) = (self.steps, false);
        }
        is_due
    }

    pub(crate) fn rows(&self) -> &[MapRow] {
        &self.rows
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The user's number of the newest step.
    pub(crate) fn newest_step(&self) -> i64 {
        self.newest_step
    }
}

/// The rows of variables of these names, and the row of each.
fn rows_of(names: &[Arc<str>]) -> (Vec<MapRow>, Vec<usize>) {
    if names.len() <= ROWS {
        let row = |name: &Arc<str>| MapRow {
            name: name.clone(),
            members: 1,
        };
        return (names.iter().map(row).collect(), (0..names.len()).collect());
    }
    let (mut rows, mut row_of): (Vec<MapRow>, Vec<usize>) = Default::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for name in names {
        let role = role(name);
        let place = match places.get(&role) {
            Some(&place) => place,
            None => {
                let name: Arc<str> = role.as_str().into();
                rows.push(MapRow { name, members: 0 });
                places.insert(role, rows.len() - 1);
                rows.len() - 1
            }
        };
        if let Some(row) = rows.get_mut(place) {
            row.members += 1;
        }
        row_of.push(place);
    }
    for (name, &place) in std::iter::zip(names, &row_of) {
        if let Some(row) = rows.get_mut(place).filter(|row| row.members == 1) {
            row.name = name.clone();
        }
    }
    if rows.len() > ROWS {
        let rest = rows.split_off(ROWS - 1);
        rows.push(MapRow {
            name: "(others)".into(),
            members: rest.iter().map(|row| row.members).sum(),
        });
        row_of
            .iter_mut()
            .for_each(|row| *row = (*row).min(ROWS - 1));
    }
    (rows, row_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn map(of: &[&str]) -> WeightMap {
        let mut map = WeightMap::default();
        map.adopt(&names(of));
        map
    }

    fn run(map: &mut WeightMap, calls: std::ops::Range<u64>, motion: impl Fn(u64) -> Motion) {
        for call in calls {
            let motions = map.row_of.iter().map(|_| motion(call));
            let motions: Vec<Motion> = motions.collect();
            map.observe(call, call as i64 * 10, 1, motions.into_iter());
        }
    }

    #[test]
    fn columns_stay_bounded_and_lose_no_step() {
        let mut map = map(&["a", "b"]);
        run(&mut map, 0..100_001, |call| match call % 4 {
            0 => Motion::Still,
            _ => Motion::Moved(Some(-3.0)),
        });
        assert_eq!(map.stride, 512);
        assert_eq!(map.columns.len(), 100_000_usize.div_ceil(512));
        let whole = map.columns.iter().fold(Cell::default(), |mut sum, column| {
            sum.merge(&column.cells[1]);
            sum
        });
        assert_eq!((whole.moved, whole.still), (75_000, 25_000));
        assert!((whole.log_ratio().unwrap() + 3.0).abs() < 1e-3);
        let first = |place: usize| map.columns[place].first_step;
        assert_eq!((first(0), first(1)), (Some(10), Some(5130)));
    }

    #[test]
    fn columns_are_as_wide_as_the_rhythm_and_gaps_stay_empty() {
        let mut sparse = map(&["a"]);
        for call in (0..20_000).step_by(1000) {
            sparse.observe(call, call as i64, 1000, [Motion::Still].into_iter());
        }
        assert!(
            sparse
                .columns
                .iter()
                .all(|column| column.cells[0].still > 0)
        );
        let mut gap = map(&["a"]);
        run(&mut gap, 0..10, |_| Motion::Still);
        run(&mut gap, 20..30, |_| Motion::Still);
        let seen: Vec<bool> = gap
            .columns
            .iter()
            .map(|column| column.first_step.is_some())
            .collect();
        assert_eq!(seen.len(), 29);
        assert_eq!(seen.iter().filter(|&&seen| !seen).count(), 10);
        let mut far = map(&["a"]);
        run(&mut far, 0..10, |_| Motion::Still);
        far.observe(u64::MAX, 7, u64::MAX, [Motion::Still].into_iter());
        assert!(far.columns.len() <= COLUMNS);
    }

    #[test]
    fn a_cell_says_what_was_worst_and_averages_the_rest() {
        let mut map = map(&["a"]);
        map.stride = 8;
        run(&mut map, 1..9, |call| match call {
            1 => Motion::Moved(Some(-2.0)),
            2 => Motion::Moved(Some(-4.0)),
            3 => Motion::Moved(None),
            4 => Motion::Moved(Some(f64::INFINITY)),
            5 => Motion::Unseen,
            6 => Motion::NonFinite,
            _ => Motion::Still,
        });
        let cell = map.columns[0].cells[0];
        assert_eq!((cell.moved, cell.still, cell.observed()), (4, 2, 6));
        assert_eq!(cell.log_ratio(), Some(-3.0));
        assert!(cell.is_nonfinite);
    }

    #[test]
    fn large_models_have_a_row_for_each_role() {
        let name = |layer: usize| ["weight", "bias"].map(|part| format!("h.{layer}.{part}").into());
        let many: Vec<Arc<str>> = (0..40).flat_map(name).collect();
        let (rows, row_of) = rows_of(&many);
        let shown: Vec<(&str, usize)> = rows.iter().map(|row| (&*row.name, row.members)).collect();
        assert_eq!(shown, [("h.*.weight", 40), ("h.*.bias", 40)]);
        assert_eq!((row_of[0], row_of[79]), (0, 1));
        let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
        let apart: Vec<Arc<str>> = (0..676)
            .map(|n| format!("{}{}", letter(n / 26), letter(n)).into())
            .collect();
        let (rows, row_of) = rows_of(&apart);
        assert_eq!(rows.len(), ROWS);
        assert_eq!((&*rows[63].name, rows[63].members), ("(others)", 676 - 63));
        assert_eq!(row_of.iter().max(), Some(&63));
    }

    #[test]
    fn a_new_plan_keeps_the_rows_that_are_still_there() {
        let mut map = map(&["h.1.w", "x", "h.2.w"]);
        run(&mut map, 0..5, |_| Motion::Moved(Some(-3.0)));
        map.mark(Some("h.2.w"), 20);
        map.mark(Some("x"), 20);
        map.mark(None, 30);
        map.mark(Some("unknown"), 30);
        map.adopt(&names(&["a", "h.2.w"]));
        let column = &map.columns[0].cells;
        assert_eq!((column[0].observed(), column[1].moved), (0, 1));
        assert_eq!(
            map.marks,
            [
                Mark {
                    row: Some(1),
                    step: 20
                },
                Mark {
                    row: None,
                    step: 30
                },
            ]
        );
        // More than there are rows for: what h.2.w did is now of its role.
        let many: Vec<Arc<str>> = (0..80).map(|n| format!("h.{n}.w").into()).collect();
        map.adopt(&many);
        assert_eq!((map.rows.len(), map.columns[0].cells[0].moved), (1, 1));
        assert_eq!(map.marks[0].row, Some(0));
    }

    #[test]
    fn pictures_come_at_doubled_steps_with_findings_and_at_the_end() {
        let mut map = map(&["a"]);
        let mut drawn = Vec::new();
        for call in 0..1000 {
            run(&mut map, call..call + 1, |_| Motion::Still);
            if call == 300 || call == 301 {
                map.mark(Some("a"), call as i64);
            }
            if map.take_due(false) {
                drawn.push(call);
            }
        }
        assert_eq!(drawn, [16, 32, 64, 128, 256, 300, 319, 512]);
        assert!(map.take_due(true));
        assert!(!map.take_due(true), "nothing is new");
        let mut all = 0;
        for call in 1000..100_000 {
            run(&mut map, call..call + 1, |_| Motion::Still);
            map.mark(Some("a"), call as i64);
            all += u32::from(map.take_due(false));
        }
        assert!(all <= PICTURES_OF_FINDINGS + 7, "{all}");
    }

    #[test]
    fn the_mean_of_many_steps_is_that_of_each() {
        let mut cell = Cell::default();
        (0..1_000_000).for_each(|_| cell.add(Motion::Moved(Some(-3.3))));
        assert_eq!(cell.log_ratio(), Some(-3.3));
    }
}
