//! The list of tensors: columns for a terminal, or a table in Markdown.

use std::io::{self, Write};

use tch_tensorboard::ChangeVerdict;

use crate::diff::folding::Line;

const TITLES: [&str; 10] = [
    "tensor",
    "shape",
    "type",
    "|A|",
    "|B-A|/|A|",
    "changed",
    "1 ulp",
    "largest",
    "1-cosine",
    "verdict",
];

/// Columns of text, which begin at the left.
const TEXTS: [usize; 4] = [0, 1, 2, 9];

/// The widest name that is shown whole.
const WIDEST: usize = 60;

fn cells(line: &Line) -> [String; 10] {
    let numbers = line.numbers;
    // Of what is identical there is nothing to say but how large it is.
    let moved = numbers.filter(|_| line.verdict != ChangeVerdict::Identical);
    let short = |value: Option<f64>| value.map(short).unwrap_or_default();
    let verdict = match line.reason.as_str() {
        "" => line.verdict.to_string(),
        reason => format!("{}: {reason}", line.verdict),
    };
    [
        clipped(&line.name),
        line.shape.clone(),
        line.kind.clone(),
        short(numbers.map(|numbers| numbers.norm_a)),
        moved
            .map(|numbers| numbers.relative().map_or("-".into(), self::short))
            .unwrap_or_default(),
        moved
            .map(|numbers| percent(numbers.changed_fraction()))
            .unwrap_or_default(),
        moved
            .and_then(|numbers| numbers.one_ulp_fraction())
            .map(percent)
            .unwrap_or_default(),
        short(moved.and_then(|numbers| numbers.largest_change)),
        short(
            moved
                .and_then(|numbers| numbers.cosine)
                .map(|cosine| 1.0 - cosine),
        ),
        verdict,
    ]
}

/// A name in whose middle letters are left out.
fn clipped(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= WIDEST {
        return name.to_owned();
    }
    let (start, end) = (WIDEST / 3, letters.len() - (WIDEST - WIDEST / 3 - 1));
    let part = |range: &[char]| range.iter().collect::<String>();
    let before = part(letters.get(..start).unwrap_or_default());
    format!("{before}…{}", part(letters.get(end..).unwrap_or_default()))
}

/// Three significant digits.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => {
            let digits = 2 - size.log10().floor() as i32;
            format!("{value:.*}", usize::try_from(digits).unwrap_or(0))
        }
    }
}

/// A share in percent; one that is not all or nothing never looks like it.
pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        100.0 => "100 %".to_owned(),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent if percent > 99.9 => ">99.9 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

pub(super) fn text(out: &mut impl Write, lines: &[Line]) -> io::Result<()> {
    let rows: Vec<[String; 10]> = lines.iter().map(cells).collect();
    let widths: Vec<usize> = TITLES
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(title.chars().count())
        })
        .collect();
    let titles = TITLES.map(str::to_owned);
    let styles = std::iter::once("\x1b[1m").chain(lines.iter().map(|line| style(line.verdict)));
    for (row, style) in std::iter::once(&titles).chain(&rows).zip(styles) {
        let mut text = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            match TEXTS.contains(&column) {
                true => text.push_str(&format!("{cell}{padding}  ")),
                false => text.push_str(&format!("{padding}{cell}  ")),
            }
        }
        match style {
            "" => writeln!(out, "{}", text.trim_end())?,
            style => writeln!(out, "{style}{}\x1b[0m", text.trim_end())?,
        }
    }
    Ok(())
}

/// Bold red for faults, faint for what is as it was.
fn style(verdict: ChangeVerdict) -> &'static str {
    match verdict {
        ChangeVerdict::NonFinite | ChangeVerdict::Zero => "\x1b[1;31m",
        ChangeVerdict::Missing | ChangeVerdict::Added | ChangeVerdict::Unreadable => "\x1b[33m",
        ChangeVerdict::Identical => "\x1b[2m",
        _ => "",
    }
}

pub(super) fn markdown(out: &mut impl Write, lines: &[Line]) -> io::Result<()> {
    writeln!(out, "| {} |", TITLES.join(" | "))?;
    let rules = (0..TITLES.len()).map(|column| match TEXTS.contains(&column) {
        true => "---",
        false => "---:",
    });
    writeln!(out, "| {} |", rules.collect::<Vec<_>>().join(" | "))?;
    for line in lines {
        let [name, rest @ ..] = cells(line);
        let name = format!("`{}`", name.replace('`', "'"));
        let row = std::iter::once(name).chain(rest);
        let row: Vec<String> = row.map(|cell| cell.replace('|', "\\|")).collect();
        writeln!(out, "| {} |", row.join(" | "))?;
    }
    Ok(())
}
