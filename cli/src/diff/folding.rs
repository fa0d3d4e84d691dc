//! Rows of large models that differ in a layer's number only, as one line.

use std::collections::BTreeMap;

use tch_tensorboard::{ChangeStatistics, ChangeVerdict, TensorChange};

use crate::output::shown;

/// Up to so many rows each is a line.
pub(super) const FOLDED_ABOVE: usize = 100;

/// What a line of the list shows.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) shape: String,
    pub(super) kind: String,
    pub(super) verdict: ChangeVerdict,
    /// Empty where numbers say it.
    pub(super) reason: String,
    pub(super) numbers: Option<LineNumbers>,
}

/// Sums over the rows of a line.
#[derive(Clone, Copy)]
pub(super) struct LineNumbers {
    pub(super) norm_a: f64,
    pub(super) norm_change: f64,
    numbers: u64,
    changed: u64,
    one_ulp: Option<u64>,
    /// Of all rows.
    pub(super) largest_change: Option<f64>,
    /// The least one.
    pub(super) cosine: Option<f64>,
}

impl LineNumbers {
    fn of(statistics: &ChangeStatistics) -> LineNumbers {
        LineNumbers {
            norm_a: statistics.norm_a,
            norm_change: statistics.norm_change,
            numbers: statistics.numbers,
            changed: statistics.changed,
            one_ulp: statistics.one_ulp,
            largest_change: statistics.largest_change,
            cosine: statistics.cosine,
        }
    }

    fn merge(self, other: LineNumbers) -> LineNumbers {
        LineNumbers {
            norm_a: self.norm_a.hypot(other.norm_a),
            norm_change: self.norm_change.hypot(other.norm_change),
            numbers: self.numbers + other.numbers,
            changed: self.changed + other.changed,
            one_ulp: self.one_ulp.zip(other.one_ulp).map(|(a, b)| a + b),
            largest_change: [self.largest_change, other.largest_change]
                .into_iter()
                .flatten()
                .reduce(f64::max),
            cosine: self.cosine.zip(other.cosine).map(|(a, b)| a.min(b)),
        }
    }

    pub(super) fn relative(self) -> Option<f64> {
        (self.norm_a > 0.0).then(|| self.norm_change / self.norm_a)
    }

    pub(super) fn changed_fraction(self) -> f64 {
        self.changed as f64 / self.numbers.max(1) as f64
    }

    pub(super) fn one_ulp_fraction(self) -> Option<f64> {
        self.one_ulp
            .map(|one_ulp| one_ulp as f64 / self.numbers.max(1) as f64)
    }
}

impl Line {
    pub(super) fn of(row: &TensorChange) -> Line {
        let name = match &row.other_name {
            Some(other) => format!("{} -> {}", shown(&row.name), shown(other)),
            None => shown(&row.name),
        };
        Line {
            name,
            shape: both(row.shape_a.as_deref(), row.shape_b.as_deref(), |shape| {
                size(shape)
            }),
            kind: both(row.type_a, row.type_b, |kind| kind.name().to_owned()),
            verdict: row.verdict,
            reason: row.reason.as_deref().map(shown).unwrap_or_default(),
            numbers: row.statistics.as_ref().map(LineNumbers::of),
        }
    }
}

/// The text of both sides, once where they are equal.
fn both<T: PartialEq + Copy>(a: Option<T>, b: Option<T>, text: impl Fn(T) -> String) -> String {
    match (a, b) {
        (Some(a), Some(b)) if a != b => format!("{} -> {}", text(a), text(b)),
        (Some(one), _) | (None, Some(one)) => text(one),
        (None, None) => String::new(),
    }
}

fn size(shape: &[u64]) -> String {
    let sizes: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// Lines in the order of their first rows. Rows are of one line when their names differ in numbers
/// only and verdict, type and shape are equal.
pub(super) fn folded(rows: &[&TensorChange]) -> Vec<Line> {
    let mut lines: Vec<(Line, usize, NumberRange)> = Vec::new();
    let mut places: BTreeMap<(String, ChangeVerdict, String, String), usize> = BTreeMap::new();
    for row in rows {
        let line = Line::of(row);
        let (pattern, number) = pattern(&line.name);
        let key = (pattern, line.verdict, line.shape.clone(), line.kind.clone());
        let place = *places.entry(key).or_insert(lines.len());
        match lines.get_mut(place) {
            None => lines.push((line, 1, NumberRange::of(number))),
            Some((first, count, range)) => {
                first.numbers = match (first.numbers, line.numbers) {
                    (Some(ours), Some(theirs)) => Some(ours.merge(theirs)),
                    _ => None,
                };
                if first.reason != line.reason {
                    first.reason.clear();
                }
                *count += 1;
                range.add(number);
            }
        }
    }
    let named = lines.into_iter().map(|(line, count, range)| match count {
        1 => line,
        count => Line {
            name: format!("{} x{count}", range.shown(&pattern(&line.name).0)),
            ..line
        },
    });
    named.collect()
}

/// The numbers of the layers on one line.
struct NumberRange(Option<(u64, u64)>);

impl NumberRange {
    fn of(number: Option<u64>) -> NumberRange {
        NumberRange(number.map(|number| (number, number)))
    }

    fn add(&mut self, number: Option<u64>) {
        self.0 = self
            .0
            .zip(number)
            .map(|((least, most), number)| (least.min(number), most.max(number)));
    }

    /// The pattern with the first number as a range.
    fn shown(&self, pattern: &str) -> String {
        match self.0 {
            Some((least, most)) => pattern.replacen('*', &format!("{{{least}..{most}}}"), 1),
            None => pattern.to_owned(),
        }
    }
}

/// A name with its numbers replaced, and the first of them.
fn pattern(name: &str) -> (String, Option<u64>) {
    let (mut pattern, mut first) = (String::with_capacity(name.len()), None);
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            pattern.push('.');
        }
        match part.parse::<u64>() {
            Ok(number) => {
                first = first.or(Some(number));
                pattern.push('*');
            }
            Err(_) => pattern.push_str(part),
        }
    }
    (pattern, first)
}
