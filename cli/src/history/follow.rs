//! A folder into which somebody else's training writes checkpoints.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tch_tensorboard::Checkpoint;

use crate::args::History;
use crate::checkpoints;
use crate::history::series::Series;
use crate::history::steps::{Dated, is_shard, step_of};
use crate::output::{Failure, complain};

const POLL: Duration = Duration::from_secs(1);

pub(super) struct Follower<'a> {
    folder: &'a Path,
    args: &'a History,
    /// Logged, or given up.
    done: HashSet<PathBuf>,
    /// What was seen at the last look: a checkpoint is whole once it stays the same and opens.
    seen: BTreeMap<PathBuf, Shape>,
    /// Steps of those that are quiet, which only their contents may say.
    steps: BTreeMap<PathBuf, Option<i64>>,
    complained: HashSet<PathBuf>,
}

/// Length and time of all files of a checkpoint.
#[derive(PartialEq, Clone, Debug)]
struct Shape(Vec<(PathBuf, u64, Option<SystemTime>)>);

impl<'a> Follower<'a> {
    pub(super) fn new(folder: &'a Path, args: &'a History) -> Follower<'a> {
        let given = args
            .checkpoints
            .iter()
            .filter_map(|path| std::path::absolute(path).ok());
        Follower {
            folder,
            args,
            done: given.collect(),
            seen: BTreeMap::new(),
            steps: BTreeMap::new(),
            complained: HashSet::new(),
        }
    }

    /// Logs what comes, until it is interrupted or nothing has come for the time that was asked
    /// for. Everything is on disk after each checkpoint.
    pub(super) fn run(mut self, series: &mut Series<'_>) -> Result<(), Failure> {
        let patience = self.args.until_idle.map(Duration::from_secs);
        let mut since = Instant::now();
        loop {
            if self.look(series)? {
                since = Instant::now();
            }
            if patience.is_some_and(|patience| since.elapsed() >= patience) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Logs the checkpoints that are whole; true when there was one.
    fn look(&mut self, series: &mut Series<'_>) -> Result<bool, Failure> {
        let mut ready = Vec::new();
        for path in self.candidates()? {
            let shape = Shape::of(&path);
            let is_quiet = self.seen.get(&path) == Some(&shape);
            self.seen.insert(path.clone(), shape);
            if !is_quiet {
                self.steps.remove(&path);
                continue;
            }
            let step = self.steps.entry(path.clone());
            match *step.or_insert_with(|| step_of(&path)) {
                Some(step) => ready.push(Dated { path, step }),
                None => self.complain_once(&path, "has no step in its name"),
            }
        }
        ready.sort_by_key(|dated| dated.step);
        let mut found = false;
        for Dated { path, step } in ready {
            if series.newest_step().is_some_and(|newest| step <= newest) {
                self.complain_once(&path, "is of an earlier step than the newest one; left out");
                self.done.insert(path);
                continue;
            }
            // Half of a file may look quiet while its writer waits.
            match self.add(series, &path, step)? {
                Ok(()) => {
                    self.done.insert(path);
                    found = true;
                }
                Err(error) => self.complain_once(&path, &format!("cannot be read yet: {error}")),
            }
        }
        Ok(found)
    }

    /// Adds a checkpoint to the series; the inner error is one that its writer may mend.
    fn add(
        &self,
        series: &mut Series<'_>,
        path: &Path,
        step: i64,
    ) -> Result<Result<(), Failure>, Failure> {
        let checkpoint = match checkpoints::open(path, &self.args.select) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Ok(Err(error)),
        };
        match series.add_open(checkpoint.clone(), step) {
            Err(error) if checkpoint.check_unchanged().is_err() => Ok(Err(error)),
            added => added.map(Ok),
        }
    }

    fn complain_once(&mut self, path: &Path, reason: &str) {
        if self.complained.insert(path.to_owned()) {
            complain(format!("{} {reason}", path.display()));
        }
    }

    /// Files and folders that may be checkpoints and are not done.
    fn candidates(&self) -> Result<Vec<PathBuf>, Failure> {
        let failed = |source| Failure::Open {
            path: self.folder.to_owned(),
            source,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.folder).map_err(failed)? {
            let path = std::path::absolute(entry.map_err(failed)?.path()).map_err(failed)?;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_hidden = name.starts_with('.');
            let may_be = path.is_dir() || (Checkpoint::is_named(&path) && !is_shard(&name));
            if !is_hidden && may_be && !self.done.contains(&path) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

impl Shape {
    fn of(path: &Path) -> Shape {
        let mut paths = vec![path.to_owned()];
        if let Ok(entries) = std::fs::read_dir(path) {
            paths.extend(entries.flatten().map(|entry| entry.path()));
        }
        paths.sort();
        let file = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.len(), metadata.modified().ok()))
        };
        Shape(paths.into_iter().filter_map(file).collect())
    }
}
