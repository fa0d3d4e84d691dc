//! The report for people: all runs in a line each, then the table of each.

use std::io::{self, Write};

use tch_tensorboard::WeightReport;

use crate::output::{count, shown};
use crate::report::reading::Judged;
use crate::report::summary::{State, Summary, headline, named};

/// Runs that a line names.
const NAMED: usize = 5;

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

/// Writes all runs, with colours.
pub(super) fn write(out: &mut impl Write, all: &[Judged]) -> io::Result<()> {
    let judged: Vec<&Judged> = all.iter().filter(|one| one.has_weights()).collect();
    let summaries: Vec<Summary> = judged.iter().map(|one| Summary::of(one)).collect();
    if summaries.len() > 1 {
        overview(out, &summaries)?;
    }
    let shared = shared_notes(&judged);
    for (one, summary) in std::iter::zip(&judged, &summaries) {
        let mut report = one.found.report.clone();
        report
            .notes
            .retain(|note| !shared.iter().any(|(shared, _)| shared == note));
        section(out, summary, &report)?;
    }
    for (note, runs) in &shared {
        let whose = match runs.len() == judged.len() {
            true => String::new(),
            false => format!(" ({})", named(runs, NAMED)),
        };
        writeln!(out, "note{whose}: {}", shown(note))?;
    }
    let others = all.iter().filter(|one| !one.has_weights());
    let others: Vec<String> = others.map(|one| one.run.clone()).collect();
    if !others.is_empty() {
        writeln!(out, "No weights in {}", named(&others, NAMED))?;
    }
    Ok(())
}

/// All runs in a line each, those with faults first.
fn overview(out: &mut impl Write, summaries: &[Summary]) -> io::Result<()> {
    let mut rows: Vec<&Summary> = summaries.iter().collect();
    rows.sort_by_key(|row| row.state);
    let step = |row: &Summary| {
        row.step
            .map_or_else(|| "-".to_owned(), |step| step.to_string())
    };
    let variables = |row: &Summary| count(row.variables as u64, "variable");
    let width = |of: &dyn Fn(&Summary) -> String| {
        let widths = rows.iter().map(|row| of(row).chars().count());
        widths.max().unwrap_or(0)
    };
    let words = width(&|row| row.state.word().to_owned());
    let (runs, steps) = (width(&|row| row.run.clone()), width(&step));
    let counts = width(&variables);
    writeln!(out, "{BOLD}{}{PLAIN}", headline(summaries))?;
    for row in &rows {
        let (start, end) = color(row.state);
        let (word, run, findings) = (row.state.word(), &row.run, &row.findings);
        let (step, variables) = (step(row), variables(row));
        writeln!(
            out,
            "  {start}{word:<words$}{end}  {run:<runs$}  step {step:>steps$}  \
             {variables:<counts$}  {findings}",
        )?;
    }
    writeln!(out)
}

fn section(out: &mut impl Write, summary: &Summary, report: &WeightReport) -> io::Result<()> {
    let (start, end) = color(summary.state);
    let (run, word) = (&summary.run, summary.state.word());
    let step = summary.step.map(|step| format!(", step {step}"));
    let step = step.unwrap_or_default();
    writeln!(out, "{run}{step}: {start}{word}{end}")?;
    writeln!(out, "{}\n", report.styled())
}

fn color(state: State) -> (&'static str, &'static str) {
    match state {
        State::Fault => (RED, PLAIN),
        State::Undecided => (DIM, PLAIN),
        State::Fine => ("", ""),
    }
}

/// Notes that several runs have, with the names of these.
pub(super) fn shared_notes(judged: &[&Judged]) -> Vec<(String, Vec<String>)> {
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for one in judged {
        for note in &one.found.report.notes {
            match notes.iter_mut().find(|(known, _)| known == note) {
                Some((_, runs)) if runs.last() == Some(&one.run) => {}
                Some((_, runs)) => runs.push(one.run.clone()),
                None => notes.push((note.clone(), vec![one.run.clone()])),
            }
        }
    }
    notes.retain(|(_, runs)| runs.len() > 1);
    notes
}
