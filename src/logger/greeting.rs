//! What a user at a terminal reads when a run begins: where it is, and how to look at it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// One line on stderr, where somebody reads it: not in a log file or a pipe.
pub(super) fn greet(wanted: &Path, directory: &Path, resumed_at: Option<i64>) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A terminal that is gone is no reason to fail.
        let _ = writeln!(stderr, "{}", line(wanted, directory, resumed_at));
    }
}

fn line(wanted: &Path, directory: &Path, resumed_at: Option<i64>) -> String {
    let is_numbered = directory.file_name() != wanted.components().as_path().file_name();
    let verb = if resumed_at.is_some() {
        "going on with"
    } else {
        "logging to"
    };
    let place = match (resumed_at, is_numbered) {
        (Some(step), _) => format!(" at step {step}"),
        (None, true) => format!(" ({} holds a run already)", wanted.display()),
        (None, false) => String::new(),
    };
    let above = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) => Path::new("."),
        None => directory,
    };
    format!(
        "tch-tensorboard: {verb} {}{place}; to look at it: tensorboard --logdir {}",
        directory.display(),
        quoted(above)
    )
}

/// As a shell reads it as one word.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\._-+=@%:,".contains(c);
    match text.chars().all(is_plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// `runs/Nov26_10-15-00_hostname`, by the local time, as `SummaryWriter` names a run.
pub(super) fn dated_directory() -> PathBuf {
    let now = chrono::Local::now().format("%b%d_%H-%M-%S");
    let host = gethostname::gethostname();
    let host = host.to_string_lossy().replace(['/', '\\', ':'], "-");
    Path::new("runs").join(format!("{now}_{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(wanted: &str, directory: &str, resumed_at: Option<i64>) -> String {
        line(wanted.as_ref(), directory.as_ref(), resumed_at)
    }

    #[test]
    fn the_line_says_where_the_run_is_and_how_to_open_the_board() {
        assert_eq!(
            said("runs/mlp", "runs/mlp", None),
            "tch-tensorboard: logging to runs/mlp; to look at it: tensorboard --logdir runs"
        );
        assert_eq!(
            said("my runs/mlp/", "my runs/mlp_2", None),
            "tch-tensorboard: logging to my runs/mlp_2 (my runs/mlp/ holds a run already); \
             to look at it: tensorboard --logdir 'my runs'"
        );
        assert_eq!(
            said("mlp", "mlp", Some(7)),
            "tch-tensorboard: going on with mlp at step 7; to look at it: tensorboard --logdir ."
        );
    }
}
