//! What a person reads first: which checkpoints these are, and what happened, in sentences.

use std::io::{self, Write};

use tch_tensorboard::{ChangeVerdict, Checkpoint, TensorChange};

use crate::diff::Compared;
use crate::diff::listing::{percent, short};
use crate::output::{count, shown, size};

/// Adapters that are listed.
const ADAPTERS: usize = 20;

pub(super) fn text(out: &mut impl Write, compared: &Compared<'_>) -> io::Result<()> {
    writeln!(out, "A  {}", described(compared.a))?;
    writeln!(out, "B  {}\n", described(compared.b))?;
    for sentence in sentences(compared) {
        writeln!(out, "{sentence}")?;
    }
    for line in adapters(compared) {
        writeln!(out, "  {line}")?;
    }
    for note in notes(compared) {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out)
}

pub(super) fn markdown(out: &mut impl Write, compared: &Compared<'_>) -> io::Result<()> {
    writeln!(out, "- A: {}", described(compared.a))?;
    writeln!(out, "- B: {}\n", described(compared.b))?;
    writeln!(out, "{}\n", sentences(compared).join(" "))?;
    for line in adapters(compared) {
        writeln!(out, "- {line}")?;
    }
    for note in notes(compared) {
        writeln!(out, "- note: {note}")?;
    }
    writeln!(out)
}

fn notes<'a>(compared: &'a Compared<'_>) -> impl Iterator<Item = String> + 'a {
    let of = |side: &'static str, checkpoint: &'a Checkpoint| {
        let notes = checkpoint.notes().iter();
        notes.map(move |note| format!("{side}: {}", shown(note)))
    };
    let all = compared.comparison.notes.iter().map(|note| shown(note));
    of("A", compared.a).chain(of("B", compared.b)).chain(all)
}

fn described(checkpoint: &Checkpoint) -> String {
    let tensors = checkpoint.tensors();
    // Tied weights count once.
    let own = || tensors.iter().filter(|tensor| tensor.alias_of().is_none());
    let elements: u64 = own().map(|tensor| tensor.elements()).sum();
    let bits = |kind: Option<tch_tensorboard::StoredType>| kind.map_or(0, |kind| kind.bits());
    let bytes: u64 = own()
        .map(|tensor| tensor.elements() * bits(tensor.stored_type()) / 8)
        .sum();
    let mut types: Vec<&str> = own()
        .filter_map(|tensor| tensor.stored_type())
        .map(|kind| kind.name())
        .collect();
    types.sort_unstable();
    types.dedup();
    let step = checkpoint
        .step()
        .map(|step| format!(", step {step}"))
        .unwrap_or_default();
    format!(
        "{}: {}, {}, {} elements of {}, {}{step}",
        shown(&checkpoint.path().to_string_lossy()),
        checkpoint.format(),
        count(tensors.len() as u64, "tensor"),
        grouped(elements),
        types.join(", "),
        size(bytes),
    )
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// What happened: how many tensors of each verdict, how much in all, and where most.
fn sentences(compared: &Compared<'_>) -> Vec<String> {
    let rows = &compared.comparison.rows;
    let counts = compared.comparison.counts();
    let all = count(rows.len() as u64, "tensor");
    let mut sentences = Vec::new();
    match counts.as_slice() {
        [(ChangeVerdict::Identical, _)] => {
            sentences.push(format!("All {all} are identical."));
        }
        counts => {
            let parts: Vec<String> = counts
                .iter()
                .map(|(verdict, number)| format!("{number} {verdict}"))
                .collect();
            sentences.push(format!("Of {all}: {}.", parts.join(", ")));
        }
    }
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    let statistics = || rows.iter().filter_map(|row| row.statistics);
    let norm = |of: fn(&tch_tensorboard::ChangeStatistics) -> f64| {
        let squares = statistics().map(|found| finite(of(&found)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let (norm_a, change) = (norm(|found| found.norm_a), norm(|found| found.norm_change));
    let (numbers, changed): (u64, u64) = statistics().fold((0, 0), |(numbers, changed), found| {
        (numbers + found.numbers, changed + found.changed)
    });
    if changed > 0 {
        let relative = match norm_a > 0.0 {
            true => format!("the change is {} of the norm of A", short(change / norm_a)),
            false => "A is all zero".to_owned(),
        };
        let share = percent(changed as f64 / numbers.max(1) as f64);
        sentences.push(format!("{share} of all elements changed; {relative}."));
    }
    sentences.extend(most(rows));
    sentences
}

/// The row that changed most.
fn most(rows: &[TensorChange]) -> Option<String> {
    let changes = rows.iter().filter(|row| row.verdict.is_change());
    let sized = changes.filter_map(|row| Some((row.size_of_change()?, row)));
    let (size, row) = sized
        .filter(|(size, _)| size.is_finite())
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let name = shown(&row.name);
    (rows.len() > 1).then(|| format!("Most in {name}: {} of its norm.", short(size)))
}

/// The product of low-rank factors against their layer.
fn adapters<'a>(compared: &'a Compared<'_>) -> impl Iterator<Item = String> + 'a {
    let adapters = &compared.comparison.adapters;
    let lines = adapters.iter().take(ADAPTERS).map(|adapter| {
        let norm = |norm: Option<f64>| norm.map_or("-".to_owned(), short);
        let relative = match adapter.relative() {
            Some(relative) => format!(", {} of its layer", short(relative)),
            None => String::new(),
        };
        let zero = adapter.norm_b.or(adapter.norm_a) == Some(0.0);
        let state = if zero {
            ": the adapter does nothing yet"
        } else {
            ""
        };
        format!(
            "adapter {} (rank {}): |product| {} -> {}{relative}{state}",
            shown(&adapter.name),
            adapter.rank,
            norm(adapter.norm_a),
            norm(adapter.norm_b),
        )
    });
    let rest = adapters.len().saturating_sub(ADAPTERS);
    lines.chain((rest > 0).then(|| format!("and {rest} more adapters; --json lists all")))
}
