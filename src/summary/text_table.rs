//! Tables in Markdown, as the Text dashboard shows them.

use std::fmt;

/// A table of texts for [`Logger::log_text`](crate::Logger::log_text): it is displayed in Markdown.
///
/// Signs that would end a cell are escaped, and a line break becomes a space. Rows may be of any
/// length: what is missing is left empty, and what is too much widens the table.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let logger = tch_tensorboard::Logger::create(dir.path().join("run"))?;
/// use tch_tensorboard::TextTable;
///
/// let table = TextTable::new(["class", "accuracy"])
///     .row(["cat".to_owned(), format!("{:.1} %", 97.12)])
///     .row(["dog".to_owned(), format!("{:.1} %", 88.0)]);
/// logger.log_text("accuracy", &table.to_string(), 0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextTable {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these headings.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> TextTable {
        TextTable {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    #[must_use]
    pub fn row<T: Into<String>>(mut self, cells: impl IntoIterator<Item = T>) -> TextTable {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }
}

impl fmt::Display for TextTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows.iter().map(Vec::len);
        let columns = rows.chain([self.header.len(), 1]).max().unwrap_or(1);
        write_row(formatter, &self.header, columns)?;
        writeln!(formatter, "|{}", " --- |".repeat(columns))?;
        self.rows
            .iter()
            .try_for_each(|row| write_row(formatter, row, columns))
    }
}

fn write_row(formatter: &mut fmt::Formatter<'_>, cells: &[String], columns: usize) -> fmt::Result {
    formatter.write_str("|")?;
    for column in 0..columns {
        formatter.write_str(" ")?;
        for letter in cells.get(column).map_or("", String::as_str).chars() {
            match letter {
                '|' | '\\' => write!(formatter, "\\{letter}")?,
                '\n' | '\r' => formatter.write_str(" ")?,
                letter => write!(formatter, "{letter}")?,
            }
        }
        formatter.write_str(" |")?;
    }
    formatter.write_str("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_cell() {
        let table = TextTable::new(["a|b", "c"])
            .row(["x\ny"])
            .row(["1", "2", "\\"]);
        let wanted = "| a\\|b | c |  |\n| --- | --- | --- |\n| x y |  |  |\n| 1 | 2 | \\\\ |\n";
        assert_eq!(table.to_string(), wanted);
        assert_eq!(TextTable::default().to_string(), "|  |\n| --- |\n");
    }
}
