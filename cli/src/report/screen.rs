//! A terminal that shows the newest report.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use console::Term;

use crate::output::{Failure, count};

/// Its own picture, after which the terminal shows again what it showed before.
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

pub(super) struct Screen {
    every: Duration,
    /// The newest report, and the lines and columns that it was drawn for.
    text: String,
    size: Option<(u16, u16)>,
    is_entered: bool,
}

impl Screen {
    /// True where standard output is a terminal that can be drawn on.
    pub(super) fn is_there() -> bool {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        io::stdout().is_terminal() && !is_dumb
    }

    pub(super) fn new(every: Duration) -> Screen {
        Screen {
            every,
            text: String::new(),
            size: None,
            is_entered: false,
        }
    }

    /// Shows a report in the place of the one before.
    pub(super) fn show(&mut self, text: &str) -> Result<(), Failure> {
        let (text, size) = (with_chosen_colors(text), Term::stdout().size_checked());
        if self.is_entered && self.text == text && self.size == size {
            return Ok(());
        }
        (self.text, self.size) = (text, size);
        let picture = match size {
            Some((rows, columns)) => self.cut(usize::from(rows), usize::from(columns)),
            None => self.text.clone(),
        };
        let enter = if self.is_entered { "" } else { ENTER };
        self.is_entered = true;
        print(&format!("{enter}{CLEAR}{picture}"))
    }

    /// As many lines as there is room for, and one that says what is missing.
    fn cut(&self, rows: usize, columns: usize) -> String {
        let room = rows.saturating_sub(1);
        let rows_of = |line: &str| {
            let width = console::measure_text_width(line);
            width.div_ceil(columns.max(1)).max(1)
        };
        let lines: Vec<&str> = self.text.lines().collect();
        let (mut picture, mut used, mut shown) = (String::new(), 0, 0);
        for line in &lines {
            used += rows_of(line);
            if used > room {
                break;
            }
            picture.extend([line, "\n"]);
            shown += 1;
        }
        let secs = self.every.as_secs_f64();
        let more = match lines.len() - shown {
            0 => String::new(),
            more => format!("{} below; ", count(more as u64, "more line")),
        };
        let last = format!("{more}every {secs} s; Ctrl-C ends");
        let last: String = last.chars().take(columns.saturating_sub(1)).collect();
        picture + &last
    }

    /// Leaves the newest report on the terminal, all of it.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let text = std::mem::take(&mut self.text);
        drop(self);
        print(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_entered {
            // There is nobody to say to that it failed.
            let _ = print(LEAVE);
        }
    }
}

fn with_chosen_colors(text: &str) -> String {
    match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_owned(),
    }
}

/// In one go, so that nobody sees half of it.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
