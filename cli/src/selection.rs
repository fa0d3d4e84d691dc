//! Which runs and tags were asked for.

use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use tch_tensorboard::{LogDir, Run};

use crate::args::Select;
use crate::output::{Failure, Status, complain};

/// The runs below a path, and what to read of them.
pub(crate) struct Selection {
    log: LogDir,
    runs: Option<GlobSet>,
    tags: Option<GlobSet>,
}

impl Selection {
    /// Fails when there is nothing to read.
    pub(crate) fn new(logdir: &Path, select: &Select) -> Result<Selection, Failure> {
        Selection::of(logdir, &select.run, &select.tag)
    }

    /// By the patterns of runs and of tags.
    pub(crate) fn of(
        logdir: &Path,
        runs: &[String],
        tags: &[String],
    ) -> Result<Selection, Failure> {
        let selection = Selection {
            runs: globs(runs)?,
            tags: globs(tags)?,
            log: open(logdir)?,
        };
        if selection.runs().next().is_none() {
            let names: Vec<&str> = selection.log.runs().iter().take(5).map(Run::name).collect();
            let known = names.join(", ");
            return Err(Failure::Argument(format!(
                "no run matches; the first ones are: {known}"
            )));
        }
        Ok(selection)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        let chosen = |run: &&Run| matches(&self.runs, run.name());
        self.log.runs().iter().filter(chosen)
    }

    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        matches(&self.tags, tag)
    }

    /// Tells the directories that could not be looked into.
    pub(crate) fn status(&self) -> Status {
        unreadable(&self.log)
    }
}

/// A log directory that holds a run at least.
pub(crate) fn open(logdir: &Path) -> Result<LogDir, Failure> {
    let log = LogDir::open(logdir)?;
    if log.runs().is_empty() {
        unreadable(&log);
        return Err(Failure::Argument(format!(
            "no event files at or below {}; their names contain \"tfevents\"",
            logdir.display()
        )));
    }
    Ok(log)
}

/// Tells the directories that could not be looked into.
pub(crate) fn unreadable(log: &LogDir) -> Status {
    log.unreadable().iter().for_each(complain);
    match log.unreadable().is_empty() {
        true => Status::Fine,
        false => Status::CouldNot,
    }
}

fn matches(globs: &Option<GlobSet>, name: &str) -> bool {
    globs.as_ref().is_none_or(|globs| globs.is_match(name))
}

pub(crate) fn globs(patterns: &[String]) -> Result<Option<GlobSet>, Failure> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let wrong = |error: globset::Error| Failure::Argument(error.to_string());
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).build().map_err(wrong)?);
    }
    set.build().map(Some).map_err(wrong)
}
