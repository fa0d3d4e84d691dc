//! `diff`: what became of each tensor between two checkpoints.

mod expectations;
mod folding;
mod listing;
mod machine;
mod overview;

use std::io::{self, BufWriter, Write};

use anstream::AutoStream;
use tch_tensorboard::{ChangeVerdict, Checkpoint, CheckpointDiff, Comparison, TensorChange};

use crate::args::{Diff, SortBy};
use crate::checkpoints;
use crate::output::{Failure, Status, complain};
use crate::progress::Progress;

/// What all forms of output show.
struct Compared<'a> {
    a: &'a Checkpoint,
    b: &'a Checkpoint,
    comparison: &'a Comparison,
    /// In the order that was asked for.
    rows: Vec<&'a TensorChange>,
    failures: Vec<String>,
}

pub(crate) fn run(args: &Diff) -> Result<Status, Failure> {
    let expectations = expectations::Expectations::new(args)?;
    let chosen = checkpoints::ChosenTensors::new(&args.select)?;
    let keep = |names: &[&str]| chosen.has(names);
    let a = checkpoints::open_whole(&args.a, &args.select)?;
    let b = checkpoints::open_whole(&args.b, &args.select)?;
    let status = chosen.status(&[&a, &b]);
    let diff = CheckpointDiff::new(&a, &b)
        .only(&keep)
        .threads(checkpoints::threads(args.threads))
        .histograms(args.logdir.is_some());
    let progress = Progress::new(diff.bytes());
    let comparison = diff.on_progress(&|bytes| progress.advance(bytes)).run()?;
    drop(progress);
    if comparison.rows.is_empty() {
        return Err(checkpoints::none_matches(
            &[&args.a, &args.b],
            &[&a, &b],
            &args.select,
        ));
    }
    let compared = Compared {
        a: &a,
        b: &b,
        rows: sorted(&comparison, args.sort),
        failures: expectations.failures(&comparison),
        comparison: &comparison,
    };
    write(&compared, args)?;
    if let Some(logdir) = &args.logdir {
        let mut table = Vec::new();
        markdown(&mut table, &compared, &lines(&compared, args))?;
        let table = String::from_utf8_lossy(&table);
        checkpoints::log_diff(logdir, &a, &b, &comparison, &table)?;
    }
    compared.failures.iter().for_each(complain);
    Ok(match compared.failures.is_empty() {
        true => status,
        false => status.max(Status::Fault),
    })
}

fn write(compared: &Compared<'_>, args: &Diff) -> Result<(), Failure> {
    let out = io::stdout().lock();
    if args.json {
        return machine::json(compared, BufWriter::new(out));
    }
    if args.csv {
        return machine::csv(compared, BufWriter::new(out));
    }
    let lines = lines(compared, args);
    if args.markdown {
        let mut out = BufWriter::new(out);
        markdown(&mut out, compared, &lines)?;
        out.flush()?;
        return Ok(());
    }
    let mut out = BufWriter::new(AutoStream::auto(out));
    overview::text(&mut out, compared)?;
    listing::text(&mut out, &lines)?;
    if lines.len() < compared.rows.len() {
        let rows = compared.rows.len();
        let note = "rows of one kind are folded into one; --all shows each";
        writeln!(out, "\n{rows} tensors: {note}")?;
    }
    out.flush()?;
    Ok(())
}

fn markdown(
    out: &mut impl Write,
    compared: &Compared<'_>,
    lines: &[folding::Line],
) -> io::Result<()> {
    overview::markdown(out, compared)?;
    listing::markdown(out, lines)
}

fn lines(compared: &Compared<'_>, args: &Diff) -> Vec<folding::Line> {
    match !args.all && compared.rows.len() > folding::FOLDED_ABOVE {
        true => folding::folded(&compared.rows),
        false => compared
            .rows
            .iter()
            .map(|row| folding::Line::of(row))
            .collect(),
    }
}

fn sorted(comparison: &Comparison, by: SortBy) -> Vec<&TensorChange> {
    let mut rows: Vec<&TensorChange> = comparison.rows.iter().collect();
    let order = |verdict: ChangeVerdict| {
        let mut all = ChangeVerdict::ALL.iter();
        all.position(|other| *other == verdict)
    };
    // Stable: equal rows stay in the order of their names.
    let descending = |a: Option<f64>, b: Option<f64>| {
        let key = |value: Option<f64>| value.unwrap_or(-1.0);
        key(b).total_cmp(&key(a))
    };
    match by {
        SortBy::Name => {}
        SortBy::Verdict => rows.sort_by_key(|row| order(row.verdict)),
        SortBy::Change => {
            // Faults first: what is NaN or zero now has no meaningful size of change.
            let is_fault = |row: &TensorChange| {
                matches!(row.verdict, ChangeVerdict::NonFinite | ChangeVerdict::Zero)
            };
            rows.sort_by(|a, b| {
                let sizes = descending(a.size_of_change(), b.size_of_change());
                is_fault(b).cmp(&is_fault(a)).then(sizes)
            });
        }
        SortBy::Changed => rows.sort_by(|a, b| {
            let share = |row: &TensorChange| Some(row.statistics?.changed_fraction());
            descending(share(a), share(b))
        }),
        SortBy::Largest => rows.sort_by(|a, b| {
            let largest = |row: &TensorChange| row.statistics?.largest_change;
            descending(largest(a), largest(b))
        }),
        SortBy::Norm => rows.sort_by(|a, b| {
            let norm = |row: &TensorChange| Some(row.statistics?.norm_a);
            descending(norm(a), norm(b))
        }),
    }
    rows
}
