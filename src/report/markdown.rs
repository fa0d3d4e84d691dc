//! The report as Markdown, for the Text dashboard.

use std::fmt::Write;

use crate::report::table::{cells, findings, full_name, remarks, summary};
use crate::report::weight_report::WeightReport;

/// Rows of the table at most: TensorBoard lays out a table of thousands slowly, and faults come
/// first.
const ROWS: usize = 300;

impl WeightReport {
    /// As Markdown, faults first: what the Text dashboard shows, for a pull request or a page of
    /// results. Names are escaped.
    pub fn to_markdown(&self) -> String {
        markdown(self)
    }
}

/// The report: what is wrong and what to do, then the table.
fn markdown(report: &WeightReport) -> String {
    let mut text = format!("**{}**\n", escaped(&summary(report)));
    if !report.findings.is_empty() {
        text.push('\n');
    }
    for line in findings(report) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {}", escaped(&line));
    }
    text.push_str(
        "\n| variable | shape | norm | update ratio | changed | drift | verdict \
         |\n|---|---|--:|--:|--:|--:|---|\n",
    );
    let mut parameters: Vec<_> = report.parameters.iter().collect();
    parameters.sort_by_key(|parameter| !parameter.verdict.is_fault());
    for parameter in parameters.iter().take(ROWS) {
        let cells = cells(parameter).map(|cell| escaped(&cell));
        let line = cells.join(" | ");
        let _ = match parameter.verdict.is_fault() {
            true => writeln!(
                text,
                "| **{}** | {} |",
                escaped(&full_name(parameter)),
                &cells[1..].join(" | ")
            ),
            false => writeln!(text, "| {line} |"),
        };
    }
    if parameters.len() > ROWS {
        let _ = writeln!(text, "\n{} more variables.", parameters.len() - ROWS);
    }
    for remark in remarks(report) {
        let _ = writeln!(text, "\n{}", escaped(&remark));
    }
    for note in &report.notes {
        let _ = writeln!(text, "\n{}", escaped(note));
    }
    text
}

/// Names come from models: none of their letters may be taken for Markdown, a table's bar, HTML or
/// a line's end.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            // A backslash does not keep a bar from ending a cell in all Markdown dialects.
            '|' => safe.push_str("&#124;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '~' => {
                safe.extend(['\\', letter]);
            }
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_taken_for_markdown() {
        let name = "a|b*c_d[x](http://e)<script>`\n# h\\";
        let safe = escaped(name);
        assert!(!safe.contains('\n') && !safe.contains('<') && !safe.contains('|'));
        assert!(safe.contains("\\#"));
        for letter in ['*', '_', '[', '(', '`'] {
            let place = safe.find(letter).unwrap();
            assert_eq!(safe.as_bytes()[place - 1], b'\\', "{letter}");
        }
    }

    #[test]
    fn thousands_of_variables_are_cut() {
        use crate::report::table::tests::parameter;
        let report = WeightReport {
            parameters: (0..1000)
                .map(|index| parameter(&format!("h{index}")))
                .collect(),
            ..WeightReport::default()
        };
        let text = markdown(&report);
        assert!(text.contains("700 more variables") && text.lines().count() < 320);
    }
}
