//! What all commands share in what they print and how they end.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Serialize, Serializer};
use tch_tensorboard::ReadError;

/// How a command ended, what matters more later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Fine,
    Damage,
    /// In the weights.
    Fault,
    CouldNot,
}

impl Status {
    /// What an error in the reading of a file means.
    pub(crate) fn of(error: &ReadError) -> Status {
        match error {
            ReadError::Open { .. } | ReadError::Io { .. } => Status::CouldNot,
            error if error.is_truncated() => Status::Fine,
            _ => Status::Damage,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        // Promised in `--help`.
        ExitCode::from(match status {
            Status::Fine => 0,
            Status::Damage => 1,
            Status::CouldNot => 2,
            Status::Fault => 3,
        })
    }
}

/// Why a command could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Read(ReadError),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot write the output: {0}")]
    Csv(#[from] csv::Error),
    #[error("{0}")]
    Option(tch_tensorboard::Error),
    #[error("cannot create {}: {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Argument(String),
}

impl Failure {
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let kind = match self {
            Failure::Output(error) => Some(error.kind()),
            Failure::Csv(error) => match error.kind() {
                csv::ErrorKind::Io(error) => Some(error.kind()),
                _ => None,
            },
            _ => None,
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        Failure::Output(error.into())
    }
}

/// Whether to write colours, wherever the output can have them.
pub(crate) fn choose_color(choice: clap::ColorChoice) {
    let choice = match choice {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::Always,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// True when whoever read the output has closed it, or the terminal is gone.
#[cfg(unix)]
pub(crate) fn is_unread(out: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut out = [PollFd::new(out, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ends = PollFlags::ERR | PollFlags::HUP;
    poll(&mut out, Some(&now)).is_ok() && out.iter().any(|out| out.revents().intersects(ends))
}

/// Not to be found out before something is written.
#[cfg(not(unix))]
pub(crate) fn is_unread<T>(_out: &T) -> bool {
    false
}

/// A line on standard error. One that is closed is no reason to stop.
pub(crate) fn complain(message: impl fmt::Display) {
    let _ = writeln!(
        io::stderr(),
        "tch-tensorboard: {}",
        shown(&message.to_string())
    );
}

/// Text from a file as a terminal may get it: on one line.
pub(crate) fn shown(text: &str) -> String {
    escaped(text, |_| false).into_owned()
}

/// Escapes control characters, but for those to `keep`, and characters that change the direction of
/// writing: they could fake what is on the screen.
pub(crate) fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let changes_direction =
        |letter| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let acts = |letter: char| (letter.is_control() && !keep(letter)) || changes_direction(letter);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match acts(letter) {
            true if letter.is_ascii() => safe.extend(letter.escape_default()),
            true => safe.extend(letter.escape_unicode()),
            false => safe.push(letter),
        }
    }
    Cow::Owned(safe)
}

/// A number as the files mean it: scalars are `f32` there, so 0.1 is not 0.10000000149011612. JSON
/// has no NaN and no infinities; they become the strings that TensorBoard uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let short = self.0 as f32;
        match self.0 {
            number if number.is_nan() => serializer.serialize_str("NaN"),
            f64::INFINITY => serializer.serialize_str("Infinity"),
            f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
            number if f64::from(short) == number => serializer.serialize_f32(short),
            number => serializer.serialize_f64(number),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.0 as f32;
        if f64::from(short) == self.0 {
            write!(formatter, "{short:?}")
        } else {
            write!(formatter, "{:?}", self.0)
        }
    }
}

/// A number of things, by their name in the singular.
pub(crate) fn count(number: u64, name: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {name}{plural}")
}

/// Bytes as people read them.
pub(crate) fn size(bytes: u64) -> impl fmt::Display {
    indicatif::HumanBytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_the_file_means_them() {
        for (number, text, json) in [
            (f64::from(0.1_f32), "0.1", "0.1"),
            (0.1, "0.1", "0.1"),
            (1.0 / 3.0, "0.3333333333333333", "0.3333333333333333"),
            (f64::from(f32::MAX), "3.4028235e38", "3.4028235e+38"),
            (f64::NAN, "NaN", "\"NaN\""),
            (f64::NEG_INFINITY, "-inf", "\"-Infinity\""),
            (5.0, "5.0", "5.0"),
        ] {
            assert_eq!(Number(number).to_string(), text);
            assert_eq!(serde_json::to_string(&Number(number)).unwrap(), json);
        }
    }

    #[test]
    fn a_tag_cannot_fake_the_screen() {
        let tag = "loss\x1b[2K\r\n\u{202e}ssol/\u{fc}";
        assert_eq!(shown(tag), "loss\\u{1b}[2K\\r\\n\\u{202e}ssol/\u{fc}");
    }
}
