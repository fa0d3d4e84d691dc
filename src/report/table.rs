//! The report as an aligned table.

use std::fmt;

use crate::report::cause::Cause;
use crate::report::number::{significant, whole_percent};
use crate::report::printable::printable;
use crate::report::remark::Remark;
use crate::report::verdict::Verdict;
use crate::report::weight_report::{ParameterReport, WeightReport};

const HEADINGS: [&str; 7] = [
    "variable",
    "shape",
    "norm",
    "update ratio",
    "changed",
    "drift",
    "verdict",
];

/// Columns of text are aligned to the left, numbers to the right.
const LEFT: [bool; 7] = [true, true, false, false, false, false, true];

/// A report for the terminal; see [`WeightReport::styled`].
#[derive(Debug, Clone, Copy)]
pub struct StyledReport<'a> {
    report: &'a WeightReport,
    colors: bool,
}

impl WeightReport {
    /// The table in colour, by ANSI escape codes: for a terminal that shows them. Whether it does,
    /// and whether its user wants colours (`NO_COLOR`), is for the caller to find out, for example
    /// with the crate `anstream`. `Display` of the report itself is plain.
    pub fn styled(&self) -> StyledReport<'_> {
        StyledReport {
            report: self,
            colors: true,
        }
    }
}

impl fmt::Display for WeightReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        StyledReport {
            report: self,
            colors: false,
        }
        .fmt(formatter)
    }
}

impl fmt::Display for StyledReport<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        if report.parameters.is_empty() {
            return formatter.write_str(
                "no weights logged: log_weights was not called, or select() matches none, or the \
                            VarStore is empty",
            );
        }
        self.rows(formatter)?;
        write!(formatter, "\n{}", printable(&summary(report)))?;
        for line in findings(report) {
            write!(formatter, "\n{line}")?;
        }
        for remark in remarks(report) {
            write!(formatter, "\nremark: {remark}")?;
        }
        for note in &report.notes {
            write!(formatter, "\nnote: {}", printable(note))?;
        }
        Ok(())
    }
}

impl StyledReport<'_> {
    fn rows(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters = &self.report.parameters;
        let rows: Vec<[String; 7]> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(parameters.iter().map(printable_cells))
            .collect();
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in std::iter::zip(&mut widths, row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let verdicts = std::iter::once(None).chain(parameters.iter().map(|one| Some(one.verdict)));
        for (index, (row, verdict)) in std::iter::zip(&rows, verdicts).enumerate() {
            let mut line = String::new();
            for ((cell, width), left) in std::iter::zip(std::iter::zip(row, widths), LEFT) {
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) = if left {
                    ("", padding.as_str())
                } else {
                    (padding.as_str(), "")
                };
                line.extend([before, cell, after, "  "]);
            }
            let (start, end) = self.color(verdict);
            let next = if index + 1 == rows.len() { "" } else { "\n" };
            write!(formatter, "{start}{}{end}{next}", line.trim_end())?;
        }
        Ok(())
    }

    /// What to write around a line.
    fn color(&self, verdict: Option<Verdict>) -> (&'static str, &'static str) {
        match verdict {
            _ if !self.colors => ("", ""),
            None => ("\u{1b}[1m", "\u{1b}[0m"),
            Some(verdict) if verdict.is_fault() => ("\u{1b}[31m", "\u{1b}[0m"),
            Some(Verdict::Learning) => ("", ""),
            Some(_) => ("\u{1b}[2m", "\u{1b}[0m"),
        }
    }
}

/// How many variables there are of each verdict, and where the models are going.
pub(crate) fn summary(report: &WeightReport) -> String {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for parameter in &report.parameters {
        let name = parameter.verdict.name().replace('_', " ");
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let trends = report.models.iter().filter_map(|model| {
        let trend = model.trend?;
        Some(match model.scope.as_str() {
            "" => format!("; {trend}"),
            scope => format!("; {scope} {trend}"),
        })
    });
    let variables = match report.parameters.len() {
        1 => "1 variable".to_owned(),
        count => format!("{count} variables"),
    };
    format!(
        "{variables}: {}{}",
        counts.join(", "),
        trends.collect::<String>()
    )
}

/// A line for each fault in force, with the variables that share it.
pub(crate) fn findings(report: &WeightReport) -> Vec<String> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for finding in &report.findings {
        let mut text = String::new();
        // Writing to a string cannot fail.
        finding.write_without_name(&mut text).ok();
        match lines.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(finding.full_name()),
            None => lines.push((text, vec![finding.full_name()])),
        }
    }
    let line = |(text, names): (String, Vec<String>)| format!("{}: {text}", joined(names));
    lines.into_iter().map(line).collect()
}

/// The first few names, and how many there are beside them.
fn joined(names: Vec<String>) -> String {
    const NAMED: usize = 5;
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<String> = names.into_iter().take(NAMED).collect();
    format!("{}{more}", named.join(", "))
}

/// What is worth a word and is in no cell: one line a kind of remark, with the variables that it is
/// about.
pub(crate) fn remarks(report: &WeightReport) -> Vec<String> {
    let mut kinds: Vec<(&Remark, Vec<String>)> = Vec::new();
    for parameter in &report.parameters {
        for remark in parameter.remarks() {
            // In a cell, or in a note.
            if matches!(remark, Remark::DeadUnits { .. } | Remark::GradientNotSeen) {
                continue;
            }
            let name = full_name(parameter);
            match kinds
                .iter_mut()
                .find(|(known, _)| known.name() == remark.name())
            {
                Some((_, names)) => names.push(name),
                None => kinds.push((remark, vec![name])),
            }
        }
    }
    let line = |(remark, names): (&Remark, Vec<String>)| format!("{}: {remark}", joined(names));
    kinds.into_iter().map(line).collect()
}

/// The variable with its scope.
pub(crate) fn full_name(parameter: &ParameterReport) -> String {
    match parameter.scope.as_str() {
        "" => parameter.name.clone(),
        scope => format!("{scope}/{}", parameter.name),
    }
}

pub(crate) fn cells(parameter: &ParameterReport) -> [String; 7] {
    let evidence = &parameter.evidence;
    [
        full_name(parameter),
        shape(&parameter.shape),
        number(parameter.norm, significant),
        // The verdict is about the window, and so are the numbers beside it.
        number(evidence.update_ratio.or(parameter.update_ratio), |ratio| {
            format!("{ratio:.1e}")
        }),
        number(
            evidence.changed_fraction.or(parameter.changed_fraction),
            |share| format!("{:.1} %", 100.0 * share),
        ),
        number(parameter.drift, significant),
        verdict(parameter),
    ]
}

fn printable_cells(parameter: &ParameterReport) -> [String; 7] {
    cells(parameter).map(|cell| printable(&cell).into_owned())
}

/// Units that stand still in a layer that lives are worth a word.
fn verdict(parameter: &ParameterReport) -> String {
    let still = parameter.evidence.still_units;
    match (parameter.verdict, still) {
        (Verdict::Learning, Some(still)) if still > 0.0 => {
            format!("learning, {} of its units still", whole_percent(still))
        }
        // The line below the table has them all.
        (
            Verdict::NotUpdated {
                cause: Cause::OneOf(_),
            },
            _,
        ) => "not updated".into(),
        (verdict, _) => verdict.to_string(),
    }
}

fn shape(sizes: &[i64]) -> String {
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    if sizes.is_empty() {
        "scalar".into()
    } else {
        sizes.join("\u{d7}")
    }
}

fn number(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".into(), format)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::types::DType;
    use crate::report::{Evidence, Finding, ModelReport, Trend};
    use crate::source::named_tensors::Role;

    pub(crate) fn parameter(name: &str) -> ParameterReport {
        ParameterReport {
            run: "runs/a".into(),
            scope: String::new(),
            name: name.into(),
            shape: vec![8, 1, 3, 3],
            dtype: Some(DType::F32),
            role: Role::Trainable,
            step: 3,
            mean: Some(0.0),
            std: Some(1.0),
            norm: Some(12.3456789),
            update_ratio: Some(0.00123),
            changed_fraction: Some(1.0),
            drift: Some(0.5),
            nonfinite: 0,
            verdict: Verdict::Learning,
            since: Some(0),
            reason: String::new(),
            evidence: Evidence::default(),
        }
    }

    #[test]
    fn columns_are_aligned() {
        let mut long = parameter("a.much.longer.name.weight");
        long.scope = "G".into();
        long.shape = vec![];
        long.update_ratio = None;
        long.evidence.still_units = Some(0.426);
        let mut missing = parameter("c");
        let verdict = Verdict::NotUpdated {
            cause: Cause::NotInOptimizer,
        };
        missing.verdict = verdict;
        let report = WeightReport {
            parameters: vec![parameter("b"), long, missing],
            models: vec![ModelReport {
                run: "runs/a".into(),
                scope: String::new(),
                step: Some(3),
                trend: Some(Trend::Steady),
            }],
            findings: vec![Finding {
                run: "runs/a".into(),
                scope: String::new(),
                variable: Some("c".into()),
                verdict,
                first_step: 1,
                step: 20,
                reason: "gradient norm 1.0e-1, and no element has changed in 20 steps".into(),
                over_since: None,
            }],
            notes: vec!["read on".into()],
        };
        let expected = "\
variable                     shape    norm  update ratio  changed  drift  verdict
b                            8\u{d7}1\u{d7}3\u{d7}3  12.3        1.2e-3  100.0 %  0.500  learning
G/a.much.longer.name.weight  scalar   12.3             -  100.0 %  0.500  \
learning, 43 % of its units still
c                            8\u{d7}1\u{d7}3\u{d7}3  12.3        1.2e-3  100.0 %  0.500  \
not updated: not in the optimizer
3 variables: 2 learning, 1 not updated; steady
c: not updated: not in the optimizer since step 1: gradient norm 1.0e-1, and no element has \
changed in 20 steps; create it through the store that the optimizer is built from, with \
requires_grad set there, or give it an optimizer of its own
note: read on";
        assert_eq!(report.to_string(), expected);
        let colored = StyledReport {
            report: &report,
            colors: true,
        };
        let red = colored
            .to_string()
            .lines()
            .filter(|line| line.starts_with("\u{1b}[31m"))
            .count();
        assert_eq!(red, 1);
    }

    #[test]
    fn a_name_cannot_break_the_table() {
        let mut evil = parameter("fc\n1 variable: 1 learning\u{1b}[2J");
        evil.scope = "G\u{7}".into();
        let finding = Finding {
            run: "runs/a".into(),
            scope: evil.scope.clone(),
            variable: Some(evil.name.clone()),
            verdict: Verdict::NonFinite,
            first_step: 1,
            step: 2,
            reason: "\r".into(),
            over_since: None,
        };
        let report = WeightReport {
            parameters: vec![evil],
            models: Vec::new(),
            findings: vec![finding.clone()],
            notes: vec!["\u{1b}]0;title\u{7}".into()],
        };
        let text = report.to_string();
        assert_eq!(text.lines().count(), 5, "{text}");
        for text in [text, finding.to_string()] {
            let acts = |letter: char| letter.is_control() && letter != '\n';
            assert!(!text.contains(acts), "{text:?}");
        }
    }

    #[test]
    fn an_empty_report_says_what_to_do() {
        assert!(WeightReport::default().to_string().contains("log_weights"));
    }
}
