//! The one error of the writing side.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What can go wrong in a call to this crate, each with the path, tag or variable it is about and
/// what to do.
///
/// `log_*` calls return an error only for a mistake in the call itself. What data or a disk cause
/// reaches `on_error`, `flush` and `close`. The error is `Clone`: the same failure is handed to
/// each of these.
///
/// `Debug` prints the name of the variant and then the text of `Display`: that is what a `main`
/// that returns an error, `unwrap` and `expect` print.
///
/// ```
/// let error = tch_tensorboard::Logger::create("").unwrap_err();
/// assert_eq!(format!("{error:?}"), format!("InvalidOption: {error}"));
/// ```
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused an operation.
    #[error("cannot {action} {}: {source}{}", path.display(), advice(action))]
    Io {
        /// What was tried, as a verb ("create", "write").
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: Arc<io::Error>,
    },
    /// The directory holds a run already and `Existing::Fail` was asked for.
    #[error(
        "{} holds a run already; choose another directory, or Existing::Number to get a numbered \
            one", path.display()
    )]
    RunExists {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The run that was to be resumed is still being written.
    #[error(
        "{} is still being written by another logger; close that one, or wait for its process to \
            end, before resuming", path.display()
    )]
    RunInUse {
        /// The directory asked for.
        path: PathBuf,
    },
    /// A run directory could not be claimed although many numbers were tried.
    #[error("no free run directory near {}: {tried} numbered ones are taken; remove old runs or \
        choose another name", path.display())]
    NoFreeRun {
        /// The directory asked for.
        path: PathBuf,
        /// How many names were tried.
        tried: u32,
    },
    /// A tag, scope, sub-run or variable name that cannot be used, or a tag that was used for two
    /// kinds of values.
    #[error("tag {}: {reason}", quoted(tag))]
    InvalidTag {
        /// The name as given.
        tag: Box<str>,
        /// Why it cannot be used, and what to do.
        reason: Box<str>,
    },
    /// Values that a dashboard cannot show: a shape that does not fit, lengths that differ, nothing
    /// at all, or more than there is room for.
    #[error("{kind} {}: {reason}", quoted(tag))]
    InvalidValue {
        /// What was to be shown, in a word: "PR curve", "audio".
        kind: &'static str,
        /// The tag.
        tag: Box<str>,
        /// Why it cannot be shown, and what to do.
        reason: Box<str>,
    },
    /// A step that does not fit, or that does not increase.
    #[error("step {step} for {}: {reason}", quoted(what))]
    InvalidStep {
        /// The tag or scope.
        what: Box<str>,
        /// The step as given.
        step: i128,
        /// Why it cannot be used, and what to do.
        reason: Box<str>,
    },
    /// A tensor that cannot be logged: undefined, complex, quantised, of an unknown kind, or not of
    /// one element.
    #[error("tensor {}: {reason}", quoted(name))]
    UnsupportedTensor {
        /// The tag or the variable's name.
        name: Box<str>,
        /// Why it cannot be logged, and what to do.
        reason: Box<str>,
    },
    /// A picture that cannot be shown: a wrong shape or type, no pixels, too many, or a file that
    /// is no picture.
    #[error("image {tag:?}: {reason}")]
    InvalidImage {
        /// The tag as given.
        tag: Box<str>,
        /// What is wrong with it, and what to do.
        reason: Box<str>,
    },
    /// A variable store that another thread kept locked: the call of `log_weights` was left out.
    #[error(
        "a variable store stayed locked for {:.1} s, so this call was left out; drop a Path::entry \
            that is still alive, and do not hold the store while its weights are logged",
        waited.as_secs_f64()
    )]
    StoreLocked {
        /// How long the call waited: see
        /// [`WeightOptions::store_timeout`](crate::WeightOptions::store_timeout).
        waited: Duration,
    },
    /// There is no memory for a further copy of a model.
    #[error(
        "{name}: no memory for another copy of {bytes} bytes, of which {existing} exist; {}choose \
            fewer variables with select(), or a sample with sample_limit()",
        without_copies(*existing)
    )]
    NoMemory {
        /// The scope, or `(all)`.
        name: Box<str>,
        /// The size of one copy.
        bytes: usize,
        /// Copies that exist.
        existing: usize,
    },
    /// The same variable name twice in one call.
    #[error(
        "variable {} occurs twice in one call; log the second model through \
            logger.scoped(\"name\")",
        quoted(name)
    )]
    DuplicateVariable {
        /// The name.
        name: Box<str>,
    },
    /// An option that makes no sense, seen when the logger is made.
    #[error("option {option}: {reason}")]
    InvalidOption {
        /// The builder's method.
        option: &'static str,
        /// What is wrong with the value, and what to do.
        reason: Box<str>,
    },
    /// Data that was accepted could not be kept: the disk was not writable for longer than the
    /// buffer lasts.
    #[error("{}: {events} events were dropped because the file could not be written for too \
        long{}", path.display(), because(cause))]
    Dropped {
        /// The event file.
        path: PathBuf,
        /// How many events were lost since the last report.
        events: u64,
        /// The operating system's reason, where it gave one.
        cause: Option<Arc<io::Error>>,
    },
    /// A checkpoint that cannot be read, or that changed while it was read.
    #[error("{} {reason}", path.display())]
    Checkpoint {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: Box<str>,
    },
    /// A call on a logger that was closed.
    #[error("the logger for {} is closed; make a new one with Logger::create", path.display())]
    Closed {
        /// The run's directory.
        path: PathBuf,
    },
    /// A call that waits for the writer thread was made on it, in an `on_error` callback.
    #[error("{call} for {} was called from on_error, on the thread that it waits for; send a \
        message to another thread instead", path.display())]
    OnWriterThread {
        /// The method.
        call: &'static str,
        /// The run's directory.
        path: PathBuf,
    },
    /// There is no writer thread: the process was forked from the one that made the logger, or a
    /// bug in this crate ended it.
    #[error("the writer thread for {} stopped: {reason}", path.display())]
    WorkerStopped {
        /// The run's directory.
        path: PathBuf,
        /// What is known of the cause.
        reason: Box<str>,
    },
}

/// A name as far as a line can show it: names of any length are logged.
fn quoted(name: &str) -> String {
    const SHOWN: usize = 100;
    match name.char_indices().nth(SHOWN) {
        None => format!("{name:?}"),
        Some((end, _)) => {
            let shown = name.get(..end).unwrap_or_default();
            format!("{shown:?}... ({} bytes)", name.len())
        }
    }
}

/// The system's reason in parentheses.
fn because(cause: &Option<Arc<io::Error>>) -> String {
    cause
        .as_ref()
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default()
}

/// What few copies mean for what is written.
fn without_copies(existing: usize) -> &'static str {
    match existing {
        0 => "the call is left out; ",
        1 => "what a step changes cannot be written with a single one; ",
        _ => "training waits for the writer thread; ",
    }
}

/// What happens next, where the user need not do anything.
fn advice(action: &str) -> &'static str {
    match action {
        APPEND => "; what was logged waits in memory and is tried again",
        _ => "",
    }
}

/// The action of writing to the file of a run that is under way.
pub(crate) const APPEND: &str = "write";

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

// An error is returned through every log call: it must not make them slow.
const _: () = assert!(size_of::<Error>() <= 64);

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Io {
            action,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn value(kind: &'static str, tag: &str, reason: impl Into<Box<str>>) -> Error {
        Error::InvalidValue {
            kind,
            tag: tag.into(),
            reason: reason.into(),
        }
    }

    /// The name of the variant.
    fn variant(&self) -> &'static str {
        match self {
            Error::Io { .. } => "Io",
            Error::RunExists { .. } => "RunExists",
            Error::RunInUse { .. } => "RunInUse",
            Error::NoFreeRun { .. } => "NoFreeRun",
            Error::InvalidTag { .. } => "InvalidTag",
            Error::InvalidValue { .. } => "InvalidValue",
            Error::InvalidStep { .. } => "InvalidStep",
            Error::UnsupportedTensor { .. } => "UnsupportedTensor",
            Error::InvalidImage { .. } => "InvalidImage",
            Error::StoreLocked { .. } => "StoreLocked",
            Error::NoMemory { .. } => "NoMemory",
            Error::DuplicateVariable { .. } => "DuplicateVariable",
            Error::InvalidOption { .. } => "InvalidOption",
            Error::Dropped { .. } => "Dropped",
            Error::Checkpoint { .. } => "Checkpoint",
            Error::Closed { .. } => "Closed",
            Error::OnWriterThread { .. } => "OnWriterThread",
            Error::WorkerStopped { .. } => "WorkerStopped",
        }
    }

    /// The path this error is about, if it is about one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Io { path, .. }
            | Error::RunExists { path }
            | Error::RunInUse { path }
            | Error::NoFreeRun { path, .. }
            | Error::Dropped { path, .. }
            | Error::Closed { path }
            | Error::OnWriterThread { path, .. }
            | Error::WorkerStopped { path, .. } => Some(path),
            _ => None,
        }
    }

    /// True when the file system is the cause, and trying again later can help.
    pub fn is_io(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Dropped { .. })
    }
}

/// `main` prints an error by `Debug`, and the advice is in the text of `Display`.
impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {self}", self.variant())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_has_the_name_of_the_variant_and_the_advice() {
        let in_use = Error::RunInUse {
            path: "runs/x".into(),
        };
        let boxed: Box<dyn std::error::Error> = Box::new(in_use.clone());
        let shown = format!("{boxed:?}");
        assert_eq!(shown, format!("RunInUse: {in_use}"));
        assert!(shown.contains("close that one"), "{shown}");
        assert_eq!(format!("{boxed:#?}"), shown);
    }

    #[test]
    fn long_names_are_cut_in_messages() {
        let name: Box<str> = "é\n".repeat(1 << 15).into();
        let (step, reason) = (1, "x");
        let errors = [
            Error::InvalidTag {
                tag: name.clone(),
                reason: reason.into(),
            },
            Error::InvalidValue {
                kind: "audio",
                tag: name.clone(),
                reason: reason.into(),
            },
            Error::InvalidStep {
                what: name.clone(),
                step,
                reason: reason.into(),
            },
            Error::UnsupportedTensor {
                name: name.clone(),
                reason: reason.into(),
            },
            Error::DuplicateVariable { name },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(text.len() < 600 && text.contains("(98304 bytes)"), "{text}");
            assert!(text.contains("\"é\\né"), "{text}");
        }
        assert_eq!(quoted("loss"), "\"loss\"");
    }
}
