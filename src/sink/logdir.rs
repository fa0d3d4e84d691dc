//! Run directories: each run gets one of its own, however many start at once.
//!
//! A directory is taken by making the marker file in it, which only one process can: unlike a lock this also holds on
//! network file systems, and outlives the process. It is also taken when an event file lies directly in it, so that the
//! runs of other writers count. What lies in directories below does not count.
//!
//! While a run is written its marker is also held under an advisory lock, where the system has one: not what claims the
//! directory, but what tells `resume` that the run it is asked to go on with is still being written.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::event_file::files_in;
use crate::model::types::Existing;

/// The file that marks a directory as taken. TensorBoard ignores it.
const MARKER: &str = ".tch-tensorboard-run";

/// What the marker says to someone who wonders about it.
const MARKER_TEXT: &[u8] = b"This directory holds a run written by tch-tensorboard. \
    The file keeps other runs from being mixed into it; it may be deleted with the run.\n";

/// How many names are tried before giving up: a program that makes more runs than that has lost control of them.
const MAX_RUNS: u32 = 100_000;

/// A directory that was taken for a run.
#[derive(Debug)]
pub(crate) struct Claim {
    directory: PathBuf,
    /// Open, so that it stays known when somebody deletes or replaces it. `None` where it could not be opened.
    marker: Option<File>,
    existing: Existing,
}

impl Claim {
    /// The directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives the claim back when it came to nothing, so that the next try gets the directory itself. Directories go when
    /// nothing else is in them.
    pub(crate) fn release(self) {
        if self.existing != Existing::Append {
            // What cannot be removed stays: the error that led here tells more.
            let _ = fs::remove_file(self.directory.join(MARKER));
            let _ = fs::remove_dir(&self.directory);
        }
    }

    /// True when the directory is still this run's, after a file in it was deleted. A marker that is gone is made again if
    /// nobody else has taken the directory. One that is gone itself is not made again: whoever deleted it may begin another
    /// run there.
    pub(crate) fn renew(&mut self) -> Result<bool> {
        let marker = self.directory.join(MARKER);
        match fs::metadata(&marker) {
            Ok(found) => Ok(self
                .marker
                .as_ref()
                .and_then(|marker| marker.metadata().ok())
                .is_some_and(|held| is_same_file(&held, &found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.directory.is_dir() {
                    return Ok(false);
                }
                self.marker = match self.existing {
                    Existing::Append => Some(append_to(&self.directory)?),
                    Existing::Number | Existing::Fail => try_claim(&self.directory)?,
                };
                Ok(self.marker.is_some())
            }
            Err(error) => Err(Error::io("look at", marker, error)),
        }
    }
}

/// Whether both describe one file. Both are open or just looked up, so no number was given away again meanwhile.
#[cfg(unix)]
fn is_same_file(a: &fs::Metadata, b: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
fn is_same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

/// Takes a directory for a run, makes it if need be, and tells which one it is.
///
/// # Errors
///
/// [`Error::InvalidOption`] for an empty path, [`Error::RunExists`] with [`Existing::Fail`], [`Error::NoFreeRun`], and
/// [`Error::Io`] when a directory cannot be made or marked, or when there is no name to put a number behind.
pub(crate) fn claim_run(dir: &Path, existing: Existing) -> Result<Claim> {
    let dir = named(dir)?;
    let (directory, marker) = match existing {
        Existing::Append => {
            let marker = append_to(&dir)?;
            (dir, marker)
        }
        Existing::Fail => match try_claim(&dir)? {
            Some(marker) => (dir, marker),
            None => return Err(Error::RunExists { path: dir }),
        },
        Existing::Number => claim_numbered(dir, MAX_RUNS)?,
    };
    // It tells `resume` that somebody writes here; it is not what keeps others out, so it may fail.
    let _ = lock(&marker);
    Ok(Claim {
        directory,
        marker: Some(marker),
        existing,
    })
}

/// Takes exactly `dir` to go on with the run in it, or to begin one.
///
/// # Errors
///
/// As [`claim_run`], and [`Error::RunInUse`] when a logger is writing there, in this process or another one on this machine.
pub(crate) fn claim_again(dir: &Path) -> Result<Claim> {
    let directory = named(dir)?;
    let marker = append_to(&directory)?;
    if lock(&marker) == Lock::Held {
        return Err(Error::RunInUse { path: directory });
    }
    Ok(Claim {
        directory,
        marker: Some(marker),
        existing: Existing::Append,
    })
}

/// The directory without trailing slashes, so that the path reads the same with and without a number.
fn named(dir: &Path) -> Result<PathBuf> {
    if dir.as_os_str().is_empty() {
        return Err(Error::InvalidOption {
            option: "logdir",
            reason: "the path is empty; name a directory such as \"runs/cnn\"".into(),
        });
    }
    Ok(dir.components().collect())
}

/// What came of asking for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// Ours until the marker is closed or the process ends.
    Taken,
    /// Somebody else's.
    Held,
    /// The file system has no locks.
    Unknown,
}

#[cfg(unix)]
fn lock(marker: &File) -> Lock {
    use rustix::fs::{FlockOperation, flock};
    match flock(marker, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Lock::Taken,
        Err(rustix::io::Errno::WOULDBLOCK) => Lock::Held,
        Err(_) => Lock::Unknown,
    }
}

#[cfg(not(unix))]
fn lock(_: &File) -> Lock {
    Lock::Unknown
}

/// Takes `dir`, or the first of `dir_2`, `dir_3`, … that is free.
fn claim_numbered(dir: PathBuf, max_runs: u32) -> Result<(PathBuf, File)> {
    if let Some(marker) = try_claim(&dir)? {
        return Ok((dir, marker));
    }
    // The last component of "..", "." and "/" is no name.
    let Some(name) = dir.file_name() else {
        let reason = "it holds a run already, and its path ends in no name to put a number behind; \
            give the directory by its name";
        return Err(Error::io("number", dir, io::Error::other(reason)));
    };
    for number in 2..=max_runs {
        let mut numbered = OsString::from(name);
        numbered.push(format!("_{number}"));
        let candidate = dir.with_file_name(numbered);
        // A file of that name is in no one's way: the next number is as good.
        let is_file = fs::metadata(&candidate).is_ok_and(|found| !found.is_dir());
        if is_file {
            continue;
        }
        if let Some(marker) = try_claim(&candidate)? {
            return Ok((candidate, marker));
        }
    }
    Err(Error::NoFreeRun {
        path: dir,
        tried: max_runs,
    })
}

/// Takes exactly `dir`, or tells by `None` that it is taken.
fn try_claim(dir: &Path) -> Result<Option<File>> {
    make_dir(dir)?;
    // Before anything is written: a directory of another writer stays as it is, and need not even be writable.
    if holds_events(dir)? {
        return Ok(None);
    }
    let Some(file) = make_marker(dir)? else {
        return Ok(None);
    };
    // Again, for a writer that knows nothing of markers and began meanwhile. The marker goes, because the event file now
    // says the same and whoever deletes the run does not know of it. Nobody can win here between the two: they see the
    // marker or the file.
    if holds_events(dir)? {
        let marker = dir.join(MARKER);
        fs::remove_file(&marker).map_err(|e| Error::io("remove", marker, e))?;
        return Ok(None);
    }
    Ok(Some(file))
}

/// Takes `dir` whatever it holds. It is marked all the same: no other run may take it before the first event is there.
fn append_to(dir: &Path) -> Result<File> {
    make_dir(dir)?;
    if let Some(marker) = make_marker(dir)? {
        return Ok(marker);
    }
    let marker = dir.join(MARKER);
    File::open(&marker).map_err(|e| Error::io("open", marker, e))
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| {
        let in_the_way = dir
            .ancestors()
            .find(|path| fs::metadata(path).is_ok_and(|found| !found.is_dir()));
        let source = match in_the_way {
            Some(file) => {
                let reason = format!(
                    "{} is a file; choose another directory, or remove it",
                    file.display()
                );
                io::Error::new(io::ErrorKind::NotADirectory, reason)
            }
            None => error,
        };
        Error::io("create", dir, source)
    })
}

/// Makes the marker; `None` when it is there already.
fn make_marker(dir: &Path) -> Result<Option<File>> {
    let marker = dir.join(MARKER);
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&marker)
    {
        Ok(mut file) => {
            // The name is what counts; on a full disk the first event tells.
            let _ = file.write_all(MARKER_TEXT);
            Ok(Some(file))
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(Error::io("create", marker, e)),
    }
}

/// True when an event file lies directly in `dir`.
fn holds_events(dir: &Path) -> Result<bool> {
    match files_in(dir) {
        Ok(files) => Ok(!files.is_empty()),
        Err(e) => Err(Error::io("list", dir, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::sync::Barrier;
    use std::thread;

    const CLAIMS: usize = 20;

    fn number(dir: &Path) -> PathBuf {
        claim_run(dir, Existing::Number).unwrap().directory
    }

    /// `dir`, `dir_2` … `dir_20`.
    fn first_numbered(dir: &Path) -> BTreeSet<PathBuf> {
        (1..=CLAIMS)
            .map(|n| match n {
                1 => dir.to_owned(),
                n => PathBuf::from(format!("{}_{n}", dir.display())),
            })
            .collect()
    }

    #[test]
    fn threads_at_once_get_each_their_own() {
        let temp = tempfile::tempdir().unwrap();
        // Many rounds: one alone seldom catches a check that is apart from the claim.
        for round in 0..20 {
            let (name, exists) = (format!("run{round}"), round % 2 == 1);
            let dir = temp.path().join(name);
            if exists {
                fs::create_dir(&dir).unwrap();
            }
            let barrier = Barrier::new(CLAIMS);
            let claimed: BTreeSet<PathBuf> = thread::scope(|scope| {
                let claim = || {
                    barrier.wait();
                    number(&dir)
                };
                let threads: Vec<_> = (0..CLAIMS).map(|_| scope.spawn(claim)).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(claimed, first_numbered(&dir));
        }
    }

    #[test]
    fn processes_at_once_get_each_their_own() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("deep/er/run");
        let mut children: Vec<_> = (0..CLAIMS)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args([
                        "--exact",
                        "logdir::tests::claim_in_child",
                        "--ignored",
                        "--nocapture",
                    ])
                    .env("TCH_TENSORBOARD_CLAIM", &dir)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        // All have started and wait for their standard input to close.
        let mut outputs: Vec<_> = children
            .iter_mut()
            .map(|child| BufReader::new(child.stdout.take().unwrap()).lines())
            .collect();
        for lines in &mut outputs {
            assert!(lines.any(|line| line.unwrap().ends_with("ready")));
        }
        children
            .iter_mut()
            .for_each(|child| drop(child.stdin.take()));
        let claimed: BTreeSet<PathBuf> = outputs
            .into_iter()
            .flat_map(|lines| lines.map(Result::unwrap))
            .filter_map(|line| Some(line.strip_prefix("claimed ")?.into()))
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(claimed, first_numbered(&dir));
    }

    /// Not a test by itself: what each process above runs.
    #[test]
    #[ignore = "run by processes_at_once_get_each_their_own"]
    fn claim_in_child() {
        let dir = std::env::var_os("TCH_TENSORBOARD_CLAIM").expect("set by the parent");
        println!("ready");
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        println!("claimed {}", number(Path::new(&dir)).display());
    }

    #[test]
    fn restarts_and_directories_that_exist() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.toml"), "lr = 0.1").unwrap();
        assert_eq!(number(&dir), dir, "a directory without a run is free");
        assert_eq!(number(&dir), temp.path().join("run_2"));
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(number(&dir), dir, "a deleted run frees its name");
        assert_eq!(number(&dir), temp.path().join("run_3"));
    }

    #[test]
    fn a_foreign_run_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("events.out.tfevents.1700000000.host"), "").unwrap();
        assert_eq!(number(&dir), temp.path().join("run_2"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let error = claim_run(&dir, Existing::Fail).unwrap_err();
        assert!(matches!(error, Error::RunExists { path } if path == dir));
    }

    #[test]
    fn nested_runs_do_not_take_their_parent() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        assert_eq!(number(&dir.join("val")), dir.join("val"));
        fs::create_dir(dir.join("tfevents.d")).unwrap();
        assert_eq!(number(&dir), dir);
        assert_eq!(number(&dir), temp.path().join("run_2"));
    }

    #[test]
    fn appending_takes_a_run_and_keeps_others_out() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        for _ in 0..2 {
            assert_eq!(claim_run(&dir, Existing::Append).unwrap().directory, dir);
        }
        assert_eq!(number(&dir), temp.path().join("run_2"));
    }

    #[test]
    fn failing_takes_a_free_directory_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        assert_eq!(claim_run(&dir, Existing::Fail).unwrap().directory, dir);
        let error = claim_run(&dir, Existing::Fail).unwrap_err();
        assert!(matches!(error, Error::RunExists { path } if path == dir));
    }

    #[cfg(unix)]
    #[test]
    fn a_run_that_is_being_written_is_not_gone_on_with() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        let writing = claim_run(&dir, Existing::Number).unwrap();
        let error = claim_again(&dir).unwrap_err();
        assert!(
            matches!(&error, Error::RunInUse { path } if *path == dir),
            "{error}"
        );
        drop(writing);
        let again = claim_again(&dir).unwrap();
        assert_eq!(again.directory(), dir);
        claim_again(&dir).unwrap_err();
        // It may also be the first to write there.
        claim_again(&temp.path().join("new")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_claim_is_renewed_while_nobody_else_has_taken_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        for existing in [Existing::Number, Existing::Append] {
            let mut claim = claim_run(&dir, existing).unwrap();
            assert!(claim.renew().unwrap(), "nothing has happened");
            fs::remove_file(dir.join(MARKER)).unwrap();
            assert!(claim.renew().unwrap(), "the marker alone was deleted");
            assert!(dir.join(MARKER).exists());
            fs::remove_file(dir.join(MARKER)).unwrap();
            let other = claim_run(&dir, Existing::Number).unwrap();
            assert!(!claim.renew().unwrap(), "another run has begun");
            drop(other);
            fs::remove_dir_all(&dir).unwrap();
            assert!(!claim.renew().unwrap(), "the directory was deleted");
            assert!(!dir.exists());
            number(&dir);
            assert!(!claim.renew().unwrap(), "another run in its place");
            fs::remove_dir_all(&dir).unwrap();
        }
    }

    #[test]
    fn odd_spellings_of_a_path() {
        let temp = tempfile::tempdir().unwrap();
        let run = temp.path().join("run");
        let slash = temp.path().join("run///");
        assert_eq!(number(&slash).as_os_str(), run.as_os_str());
        let second = temp.path().join("run_2");
        assert_eq!(number(&slash).as_os_str(), second.as_os_str());
        assert_eq!(number(&run.join(".")), temp.path().join("run_3"));

        // The parent is free, so it can be taken; once taken it cannot be numbered.
        let parent = run.join("..");
        assert_eq!(number(&parent), parent);
        let error = claim_run(&parent, Existing::Number).unwrap_err();
        assert!(error.to_string().contains("no name"), "{error}");
        assert_eq!(error.path(), Some(parent.as_path()));

        let error = claim_run(Path::new(""), Existing::Number).unwrap_err();
        assert!(matches!(
            error,
            Error::InvalidOption {
                option: "logdir",
                ..
            }
        ));
    }

    #[test]
    fn files_in_the_way() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        for existing in [Existing::Number, Existing::Append, Existing::Fail] {
            for dir in [file.clone(), file.join("run")] {
                let error = claim_run(&dir, existing).unwrap_err();
                assert!(
                    matches!(&error, Error::Io { path, .. } if *path == dir),
                    "{error}"
                );
            }
        }
        let dir = temp.path().join("run");
        fs::write(temp.path().join("run_2"), "").unwrap();
        assert_eq!(number(&dir), dir);
        assert_eq!(number(&dir), temp.path().join("run_3"));
    }

    // Permissions do not bind root, which tests often run as; nobody can make a directory here.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_parent_that_cannot_be_written() {
        let error = claim_run(Path::new("/proc/self/run"), Existing::Number).unwrap_err();
        assert!(error.is_io(), "{error}");
        assert_eq!(error.path(), Some(Path::new("/proc/self/run")));
    }

    #[test]
    fn numbering_gives_up() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("run");
        for _ in 0..3 {
            claim_numbered(dir.clone(), 3).unwrap();
        }
        let error = claim_numbered(dir.clone(), 3).unwrap_err();
        assert!(matches!(error, Error::NoFreeRun { path, tried: 3 } if path == dir));
    }
}
