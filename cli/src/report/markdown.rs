//! The report as Markdown.

use std::io::{self, Write};

use crate::output::shown;
use crate::report::reading::Judged;
use crate::report::summary::{State, Summary, headline};
use crate::report::text::shared_notes;

/// Writes all runs: a table of them where there are several, then each.
pub(super) fn write(out: &mut impl Write, all: &[Judged]) -> io::Result<()> {
    let judged: Vec<&Judged> = all.iter().filter(|one| one.has_weights()).collect();
    if judged.len() > 1 {
        overview(out, &judged)?;
    }
    let shared = shared_notes(&judged);
    for one in &judged {
        let mut report = one.found.report.clone();
        report
            .notes
            .retain(|note| !shared.iter().any(|(shared, _)| shared == note));
        writeln!(out, "## {}\n\n{}", code(&one.run), report.to_markdown())?;
    }
    if !shared.is_empty() {
        writeln!(out, "## Notes\n")?;
    }
    for (note, runs) in &shared {
        let runs: Vec<String> = runs.iter().map(|run| code(run)).collect();
        let whose = match runs.len() == judged.len() {
            true => String::new(),
            false => format!("{}: ", runs.join(", ")),
        };
        writeln!(out, "- {whose}{}", escaped(note))?;
    }
    Ok(())
}

fn overview(out: &mut impl Write, judged: &[&Judged]) -> io::Result<()> {
    let mut rows: Vec<Summary> = judged.iter().map(|one| Summary::of(one)).collect();
    writeln!(out, "**{}**\n", headline(&rows))?;
    rows.sort_by_key(|row| row.state);
    writeln!(
        out,
        "| run | | step | variables | findings |\n|---|---|--:|--:|---|"
    )?;
    for row in &rows {
        let word = match row.state {
            State::Fault => "**FAULT**",
            state => state.word(),
        };
        let step = row.step.map(|step| step.to_string()).unwrap_or_default();
        let (run, findings) = (code(&row.run), escaped(&row.findings));
        writeln!(
            out,
            "| {run} | {word} | {step} | {} | {findings} |",
            row.variables
        )?;
    }
    writeln!(out)
}

/// A name, which nothing in it can end.
fn code(name: &str) -> String {
    format!("`{}`", shown(name).replace('`', "'").replace('|', "\\|"))
}

/// Text with names in it, none of whose letters is taken for Markdown.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in shown(text).chars() {
        if matches!(
            letter,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' | '~' | '&'
        ) {
            safe.push('\\');
        }
        safe.push(letter);
    }
    safe
}
