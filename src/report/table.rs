//! The report as an aligned table.

use std::fmt;

use crate::named_tensors::Role;
use crate::report::{ParameterReport, WeightReport};

const HEADINGS: [&str; 7] = [
    "variable",
    "shape",
    "norm",
    "update ratio",
    "changed",
    "drift",
    "",
];

/// Columns of text are aligned to the left, numbers to the right.
const LEFT: [bool; 7] = [true, true, false, false, false, false, true];

impl fmt::Display for WeightReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parameters.is_empty() {
            return formatter
                .write_str("no weights logged yet: call log_weights in the training loop");
        }
        let rows: Vec<[String; 7]> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(self.parameters.iter().map(cells))
            .collect();
        let mut widths = [0; 7];
        for row in &rows {
            for (width, cell) in std::iter::zip(&mut widths, row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for (index, row) in rows.iter().enumerate() {
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
            let end = if index + 1 == rows.len() { "" } else { "\n" };
            write!(formatter, "{}{end}", line.trim_end())?;
        }
        for note in &self.notes {
            write!(formatter, "\nnote: {note}")?;
        }
        Ok(())
    }
}

fn cells(parameter: &ParameterReport) -> [String; 7] {
    let name = match parameter.scope.as_str() {
        "" => parameter.name.clone(),
        scope => format!("{scope}/{}", parameter.name),
    };
    [
        name,
        shape(&parameter.shape),
        number(parameter.norm, |norm| format!("{norm:.4}")),
        number(parameter.update_ratio, |ratio| format!("{ratio:.1e}")),
        number(parameter.changed_fraction, |share| {
            format!("{:.1} %", 100.0 * share)
        }),
        number(parameter.drift, |drift| format!("{drift:.3}")),
        remark(parameter),
    ]
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

fn remark(parameter: &ParameterReport) -> String {
    match (parameter.nonfinite, parameter.role) {
        (0, Role::Trainable) => String::new(),
        (0, Role::Frozen) => "frozen".into(),
        (0, Role::Buffer) => "buffer".into(),
        (count, _) => format!("{count} NaN or infinite"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DType;

    fn parameter(name: &str) -> ParameterReport {
        ParameterReport {
            run: "runs/a".into(),
            scope: String::new(),
            name: name.into(),
            shape: vec![8, 1, 3, 3],
            dtype: DType::F32,
            role: Role::Trainable,
            step: 3,
            mean: Some(0.0),
            std: Some(1.0),
            norm: Some(12.3456789),
            update_ratio: Some(0.00123),
            changed_fraction: Some(1.0),
            drift: Some(0.5),
            nonfinite: 0,
        }
    }

    #[test]
    fn columns_are_aligned() {
        let mut long = parameter("a.much.longer.name.weight");
        long.scope = "G".into();
        long.shape = vec![];
        long.update_ratio = None;
        let mut frozen = parameter("c");
        frozen.role = Role::Frozen;
        let text = WeightReport::new(vec![parameter("b"), long, frozen], vec!["read on".into()])
            .to_string();
        let expected = "\
variable                     shape       norm  update ratio  changed  drift
b                            8\u{d7}1\u{d7}3\u{d7}3  12.3457        1.2e-3  100.0 %  0.500
G/a.much.longer.name.weight  scalar   12.3457             -  100.0 %  0.500
c                            8\u{d7}1\u{d7}3\u{d7}3  12.3457        1.2e-3  100.0 %  0.500  frozen
note: read on";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_empty_report_says_what_to_do() {
        assert!(WeightReport::default().to_string().contains("log_weights"));
    }
}
