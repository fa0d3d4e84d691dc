//! How far a large log was read, on a terminal.

use std::fs;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tch_tensorboard::{Run, RunReader};

use crate::output::complain;

/// Below this the answer is there before a bar could be read.
const WORTH_SHOWING: u64 = 64 << 20;

/// Bytes between two updates: the bar asks for the time, which takes as long as a small record.
const PER_UPDATE: u64 = 256 << 10;

/// A bar on standard error; nothing when that is no terminal, or the log is small.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Bytes of the files before the current one.
    before: u64,
    file: PathBuf,
    offset: u64,
}

impl Progress {
    /// For so many bytes.
    pub(crate) fn new(bytes: u64) -> Progress {
        let target = match bytes >= WORTH_SHOWING {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let style = ProgressStyle::with_template(
            "{bytes:>10} of {total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress {
            bar,
            before: 0,
            file: PathBuf::new(),
            offset: 0,
        }
    }

    /// Reading goes on; to be called for each record or point.
    pub(crate) fn follow(&mut self, events: &RunReader) {
        let Some((file, offset)) = events.position() else {
            return;
        };
        // Compared as bytes: as paths they would be taken apart.
        let is_new = self.file.as_os_str() != file.as_os_str();
        if is_new || offset.saturating_sub(self.offset) >= PER_UPDATE {
            self.at(file, offset);
        }
    }

    /// Reading is at this byte of this file.
    pub(crate) fn at(&mut self, file: &Path, offset: u64) {
        if self.file.as_os_str() != file.as_os_str() {
            // Where reading of it ended may not have been told.
            self.before += fs::metadata(&self.file).map_or(self.offset, |file| file.len());
            self.file = file.to_owned();
        }
        self.offset = offset;
        self.bar.set_position(self.before + offset);
    }

    /// So many further bytes were read, by any thread.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// A line on standard error, above the bar.
    pub(crate) fn complain(&self, message: impl std::fmt::Display) {
        self.bar.suspend(|| complain(message));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Bytes of the files of a run that can be read now.
pub(crate) fn bytes(run: &Run) -> u64 {
    let files = run.files().unwrap_or_default();
    files
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|file| file.len())
        .sum()
}
