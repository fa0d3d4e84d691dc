//! `report --watch`: the report again each time a run has grown.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use tch_tensorboard::{LogDir, ReportReader, Run};

use crate::args::Report;
use crate::output::{Failure, Status, complain, shown};
use crate::patterns::Patterns;
use crate::progress::{Progress, bytes};
use crate::report::asked::{Asked, Wanted};
use crate::report::machine;
use crate::report::reading::{Judged, natural, read_on, reader};
use crate::report::screen::Screen;
use crate::report::stop::Stop;
use crate::report::text;

/// Bytes in which a file says of which session it is: the version and the start take 150.
const BEGINNING: u64 = 1024;

/// Looks and shows until Ctrl-C, or until nobody reads any more.
pub(super) fn run(
    args: &Report,
    wanted: &Wanted,
    asked: Asked,
    every: Duration,
) -> Result<Status, Failure> {
    let failed = |error| Failure::Argument(format!("cannot wait for Ctrl-C: {error}"));
    let stop = Stop::new().map_err(failed)?;
    let mut watched = Watched {
        args,
        wanted,
        asked,
        runs: Patterns::new("--run", &args.run)?,
        all: Vec::new(),
        judged: Vec::new(),
        status: Status::Fine,
        problems: Vec::new(),
    };
    let mut view = View::new(args, every);
    loop {
        watched.look(&stop)?;
        view.show(&watched)?;
        if stop.comes_within(every) {
            break;
        }
    }
    view.end()?;
    Ok(watched.status())
}

/// All runs, as far as they were read.
struct Watched<'a> {
    args: &'a Report,
    wanted: &'a Wanted,
    asked: Asked,
    runs: Patterns,
    all: Vec<Followed>,
    /// What is said of each of `all`.
    judged: Vec<Judged>,
    /// What reading has come to.
    status: Status,
    /// What went wrong, each once, and at last what is waited for.
    problems: Vec<String>,
}

/// A run that may grow.
struct Followed {
    run: Run,
    /// Those that were there when reading began, with the bytes of their beginnings. A further one
    /// may belong to a session that takes back steps of those before, which its first records say,
    /// so all is read again then.
    files: Vec<(PathBuf, u64)>,
    reader: ReportReader,
}

impl Watched<'_> {
    /// Reads what is new.
    fn look(&mut self, stop: &Stop) -> Result<(), Failure> {
        self.problems.clear();
        let runs = self.list();
        let known = std::mem::take(&mut self.all);
        let judged = std::mem::take(&mut self.judged);
        let mut known: HashMap<PathBuf, (Followed, Judged)> = std::iter::zip(known, judged)
            .map(|both| (both.0.run.path().to_owned(), both))
            .collect();
        let is_new = |run: &&Run| !known.contains_key(run.path());
        let mut progress = Progress::new(runs.iter().filter(is_new).map(bytes).sum());
        for run in runs {
            let files = beginnings(&run);
            let known = known.remove(run.path());
            let (followed, judged) = match known.filter(|(one, _)| one.files == files) {
                Some((followed, judged)) => (followed, Some(judged)),
                None => {
                    let reader = reader(&run, self.args)?;
                    (Followed { run, files, reader }, None)
                }
            };
            self.read(followed, judged, &mut progress, stop);
        }
        self.add_problems();
        Ok(())
    }

    /// Reads on in a run, of which something is known or not.
    fn read(
        &mut self,
        mut followed: Followed,
        judged: Option<Judged>,
        progress: &mut Progress,
        stop: &Stop,
    ) {
        let complain = |_: &Progress, error: tch_tensorboard::ReadError| {
            // It is being written.
            if !error.is_truncated() {
                self.status = self.status.max(Status::of(&error));
                self.problems.push(error.to_string());
            }
        };
        let events = read_on(&mut followed.reader, progress, || stop.is_set(), complain);
        let judged = match judged.filter(|_| events == 0) {
            Some(judged) => judged,
            None => {
                let judged = Judged::of(&followed.run, followed.reader.report());
                self.asked.meet(&judged.found.variables);
                judged
            }
        };
        self.all.push(followed);
        self.judged.push(judged);
    }

    /// The runs that are there now.
    fn list(&mut self) -> Vec<Run> {
        let log = match LogDir::open(&self.args.logdir) {
            Ok(log) => log,
            Err(error) => {
                self.problems.push(error.to_string());
                return Vec::new();
            }
        };
        let unreadable = log.unreadable().iter().map(ToString::to_string);
        self.problems.extend(unreadable);
        let names = log.runs().iter().map(Run::name);
        if !log.runs().is_empty() {
            let idle = self.runs.idle("run", names);
            self.problems.extend(idle.iter().map(ToString::to_string));
        }
        let runs = log.runs().iter();
        let runs = runs.filter(|run| self.runs.select(run.name()));
        let mut runs: Vec<Run> = runs.cloned().collect();
        runs.sort_by(|one, other| natural(one.name(), other.name()));
        runs
    }

    fn add_problems(&mut self) {
        let idle = self.asked.idle();
        self.problems.extend(idle.iter().map(ToString::to_string));
        if !self.has_weights() {
            let logdir = self.args.logdir.display();
            self.problems
                .push(format!("no weights in {logdir} yet; waiting"));
        }
    }

    fn has_weights(&self) -> bool {
        self.judged.iter().any(Judged::has_weights)
    }

    /// As of `report` without `--watch`, of what was seen last.
    fn status(&self) -> Status {
        let faults = self.judged.iter().map(|one| self.wanted.status(one)).max();
        let is_complete = self.has_weights() && self.asked.idle().is_empty();
        let completeness = match is_complete {
            true => Status::Fine,
            false => Status::CouldNot,
        };
        self.status
            .max(faults.unwrap_or(Status::Fine))
            .max(completeness)
    }
}

/// The files of a run, and how much there is of the bytes that have their first records.
fn beginnings(run: &Run) -> Vec<(PathBuf, u64)> {
    let files = run.files().unwrap_or_default().into_iter();
    let bytes = |file: &PathBuf| fs::metadata(file).map_or(0, |file| file.len());
    files
        .map(|file| {
            let bytes = bytes(&file).min(BEGINNING);
            (file, bytes)
        })
        .collect()
}

/// Where it is shown.
enum View {
    Screen(Screen),
    Lines(Lines),
}

/// JSON lines.
#[derive(Default)]
struct Lines {
    /// The newest line of each run, by its directory: two may share a name.
    last: HashMap<PathBuf, Vec<u8>>,
    complained: HashSet<String>,
}

impl View {
    fn new(args: &Report, every: Duration) -> View {
        match args.json || !Screen::is_there() {
            true => View::Lines(Lines::default()),
            false => View::Screen(Screen::new(every)),
        }
    }

    fn show(&mut self, watched: &Watched<'_>) -> Result<(), Failure> {
        match self {
            View::Lines(lines) => lines.show(watched),
            View::Screen(screen) => {
                let mut text = Vec::new();
                text::write(&mut text, &watched.judged)?;
                for problem in &watched.problems {
                    writeln!(text, "tch-tensorboard: {}", shown(problem))?;
                }
                screen.show(&String::from_utf8_lossy(&text))
            }
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            View::Lines(_) => Ok(()),
            View::Screen(screen) => screen.end(),
        }
    }
}

impl Lines {
    /// The runs of which something else is to be said than before.
    fn show(&mut self, watched: &Watched<'_>) -> Result<(), Failure> {
        for problem in &watched.problems {
            if self.complained.insert(problem.clone()) {
                complain(problem);
            }
        }
        let mut out = io::stdout().lock();
        let all = std::iter::zip(&watched.all, &watched.judged);
        for (followed, judged) in all.filter(|(_, judged)| judged.has_weights()) {
            let mut line = Vec::new();
            machine::write(&mut line, judged)?;
            let path = followed.run.path();
            if self.last.get(path) != Some(&line) {
                out.write_all(&line)?;
                self.last.insert(path.to_owned(), line);
            }
        }
        out.flush()?;
        Ok(())
    }
}
