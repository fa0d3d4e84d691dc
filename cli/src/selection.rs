//! Which runs and tags were asked for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use tch_tensorboard::{LogDir, Run};

use crate::args::Select;
use crate::output::{Failure, Status, complain};
use crate::patterns::Patterns;

/// The runs below a path, and what to read of them.
pub(crate) struct Selection {
    log: LogDir,
    runs: Patterns,
    tags: Patterns,
    /// The tags that were met, and whether they are asked for; none where all are.
    met: RefCell<HashMap<Box<str>, bool>>,
}

impl Selection {
    /// Fails when there is nothing to read, or a pattern matches no run.
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
            runs: Patterns::new("--run", runs)?,
            tags: Patterns::new("--tag", tags)?,
            log: open(logdir)?,
            met: RefCell::default(),
        };
        let names = selection.log.runs().iter().map(Run::name);
        let mut idle = selection.runs.idle("run", names);
        let last = idle.pop();
        idle.iter().for_each(complain);
        last.map_or(Ok(selection), Err)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        let chosen = |run: &&Run| self.runs.select(run.name());
        self.log.runs().iter().filter(chosen)
    }

    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        if self.tags.is_empty() {
            return true;
        }
        let mut met = self.met.borrow_mut();
        if let Some(has) = met.get(tag) {
            return *has;
        }
        let has = self.tags.is_match(tag);
        met.insert(tag.into(), has);
        has
    }

    /// Names the directories that could not be looked into.
    pub(crate) fn status(&self) -> Status {
        unreadable(&self.log)
    }

    /// Names the patterns that have matched no tag, once all runs are read.
    pub(crate) fn tag_status(&self) -> Status {
        let met = self.met.borrow();
        let idle = self.tags.idle("tag", met.keys().map(|tag| &**tag));
        idle.iter().for_each(complain);
        match idle.is_empty() {
            true => Status::Fine,
            false => Status::CouldNot,
        }
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

/// Names the directories that could not be looked into.
pub(crate) fn unreadable(log: &LogDir) -> Status {
    log.unreadable().iter().for_each(complain);
    match log.unreadable().is_empty() {
        true => Status::Fine,
        false => Status::CouldNot,
    }
}
