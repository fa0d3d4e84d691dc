//! JSON and CSV, with numbers in full.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use tch_tensorboard::{AdapterChange, ChangeStatistics, Checkpoint, Role, TensorChange};

use crate::diff::Compared;
use crate::export::Cells;
use crate::output::{Failure, Number};

#[derive(Serialize)]
struct Contents<'a> {
    a: Side<'a>,
    b: Side<'a>,
    /// Rows by verdict.
    verdicts: BTreeMap<&'static str, u64>,
    failures: &'a [String],
    notes: &'a [String],
    adapters: Vec<Adapter<'a>>,
    tensors: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Side<'a> {
    path: String,
    format: String,
    tensors: usize,
    step: Option<i64>,
    notes: &'a [String],
}

impl<'a> Side<'a> {
    fn of(checkpoint: &'a Checkpoint) -> Side<'a> {
        Side {
            path: checkpoint.path().display().to_string(),
            format: checkpoint.format().to_string(),
            tensors: checkpoint.tensors().len(),
            step: checkpoint.step(),
            notes: checkpoint.notes(),
        }
    }
}

#[derive(Serialize)]
struct Adapter<'a> {
    name: &'a str,
    rank: u64,
    norm_a: Option<Number>,
    norm_b: Option<Number>,
    base_norm: Option<Number>,
    relative: Option<Number>,
}

impl<'a> Adapter<'a> {
    fn of(adapter: &'a AdapterChange) -> Adapter<'a> {
        Adapter {
            name: &adapter.name,
            rank: adapter.rank,
            norm_a: adapter.norm_a.map(Number),
            norm_b: adapter.norm_b.map(Number),
            base_norm: adapter.base_norm.map(Number),
            relative: adapter.relative().map(Number),
        }
    }
}

#[derive(Serialize)]
struct Row<'a> {
    tensor: &'a str,
    other_name: Option<&'a str>,
    verdict: &'static str,
    reason: Option<&'a str>,
    shape_a: Option<&'a [u64]>,
    shape_b: Option<&'a [u64]>,
    type_a: Option<&'static str>,
    type_b: Option<&'static str>,
    role: &'static str,
    elements: u64,
    #[serde(flatten)]
    numbers: Numbers,
}

/// `None` where sides could not be compared.
#[derive(Serialize, Default)]
struct Numbers {
    norm_a: Option<Number>,
    norm_b: Option<Number>,
    norm_change: Option<Number>,
    relative_change: Option<Number>,
    changed: Option<u64>,
    changed_fraction: Option<Number>,
    one_ulp: Option<u64>,
    one_ulp_fraction: Option<Number>,
    largest_change: Option<Number>,
    cosine: Option<Number>,
    factor: Option<Number>,
    nonfinite_a: Option<u64>,
    nonfinite_b: Option<u64>,
    zeros_a: Option<u64>,
    zeros_b: Option<u64>,
}

impl Numbers {
    fn of(statistics: &ChangeStatistics) -> Numbers {
        Numbers {
            norm_a: Some(Number(statistics.norm_a)),
            norm_b: Some(Number(statistics.norm_b)),
            norm_change: Some(Number(statistics.norm_change)),
            relative_change: statistics.relative_change.map(Number),
            changed: Some(statistics.changed),
            changed_fraction: Some(Number(statistics.changed_fraction())),
            one_ulp: statistics.one_ulp,
            one_ulp_fraction: statistics.one_ulp_fraction().map(Number),
            largest_change: statistics.largest_change.map(Number),
            cosine: statistics.cosine.map(Number),
            factor: statistics.factor.map(Number),
            nonfinite_a: Some(statistics.nonfinite_a),
            nonfinite_b: Some(statistics.nonfinite_b),
            zeros_a: Some(statistics.zeros_a),
            zeros_b: Some(statistics.zeros_b),
        }
    }
}

impl<'a> Row<'a> {
    fn of(row: &'a TensorChange) -> Row<'a> {
        Row {
            tensor: &row.name,
            other_name: row.other_name.as_deref(),
            verdict: row.verdict.name(),
            reason: row.reason.as_deref(),
            shape_a: row.shape_a.as_deref(),
            shape_b: row.shape_b.as_deref(),
            type_a: row.type_a.map(|kind| kind.name()),
            type_b: row.type_b.map(|kind| kind.name()),
            role: match row.role {
                Role::Buffer => "buffer",
                _ => "parameter",
            },
            elements: row.elements,
            numbers: match &row.statistics {
                Some(statistics) => Numbers::of(statistics),
                None => Numbers {
                    nonfinite_b: row.nonfinite_alone,
                    ..Numbers::default()
                },
            },
        }
    }
}

pub(super) fn json(compared: &Compared<'_>, mut out: impl Write) -> Result<(), Failure> {
    let counts = compared.comparison.counts().into_iter();
    let contents = Contents {
        a: Side::of(compared.a),
        b: Side::of(compared.b),
        verdicts: counts
            .map(|(verdict, rows)| (verdict.name(), rows))
            .collect(),
        failures: &compared.failures,
        notes: &compared.comparison.notes,
        adapters: compared
            .comparison
            .adapters
            .iter()
            .map(Adapter::of)
            .collect(),
        tensors: compared.rows.iter().map(|row| Row::of(row)).collect(),
    };
    serde_json::to_writer(&mut out, &contents)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

const COLUMNS: [&str; 25] = [
    "tensor",
    "other_name",
    "verdict",
    "reason",
    "shape_a",
    "shape_b",
    "type_a",
    "type_b",
    "role",
    "elements",
    "norm_a",
    "norm_b",
    "norm_change",
    "relative_change",
    "changed",
    "changed_fraction",
    "one_ulp",
    "one_ulp_fraction",
    "largest_change",
    "cosine",
    "factor",
    "nonfinite_a",
    "nonfinite_b",
    "zeros_a",
    "zeros_b",
];

pub(super) fn csv(compared: &Compared<'_>, out: impl Write) -> Result<(), Failure> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    let number =
        |number: Option<Number>| number.map(|number| number.to_string()).unwrap_or_default();
    let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    let shape = |shape: Option<&[u64]>| {
        let sizes: Vec<String> = shape
            .unwrap_or_default()
            .iter()
            .map(u64::to_string)
            .collect();
        sizes.join("x")
    };
    for row in &compared.rows {
        let Row {
            tensor,
            other_name,
            verdict,
            reason,
            numbers,
            ..
        } = Row::of(row);
        let safe = |text: &str| Cells::Safe.name(text).into_owned();
        csv.write_record([
            safe(tensor),
            safe(other_name.unwrap_or_default()),
            verdict.to_owned(),
            safe(reason.unwrap_or_default()),
            shape(row.shape_a.as_deref()),
            shape(row.shape_b.as_deref()),
            row.type_a.map(|kind| kind.to_string()).unwrap_or_default(),
            row.type_b.map(|kind| kind.to_string()).unwrap_or_default(),
            Row::of(row).role.to_owned(),
            row.elements.to_string(),
            number(numbers.norm_a),
            number(numbers.norm_b),
            number(numbers.norm_change),
            number(numbers.relative_change),
            count(numbers.changed),
            number(numbers.changed_fraction),
            count(numbers.one_ulp),
            number(numbers.one_ulp_fraction),
            number(numbers.largest_change),
            number(numbers.cosine),
            number(numbers.factor),
            count(numbers.nonfinite_a),
            count(numbers.nonfinite_b),
            count(numbers.zeros_a),
            count(numbers.zeros_b),
        ])?;
    }
    csv.flush()?;
    Ok(())
}
