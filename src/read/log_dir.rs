//! A log directory and the runs below it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::format::event_file::{ReadError, is_event_file_name};
use crate::read::run::Run;
use crate::read::run_reader::{RunLocation, unopened};

/// Directories that are walked before giving up: links can make any number of paths out of few
/// directories.
const MAX_DIRS: usize = 100_000;

/// A directory with runs below it, as `tensorboard --logdir` takes it.
///
/// A run is a directory that holds event files: regular files, or links to such, whose name
/// contains `tfevents`. Directories are walked as TensorBoard does it, hidden ones and links
/// included; a link back to a directory above is not followed.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// use tch_tensorboard::{LogDir, Logger, PointValue};
///
/// let logger = Logger::create(path.join("mlp"))?;
/// logger.log_scalar("loss", 0.5, 1)?;
/// logger.close()?;
///
/// for run in LogDir::open(path)?.runs() {
///     for point in run.events().points() {
///         let point = point?;
///         if let PointValue::Scalar(value) = point.value {
///             println!("{} {} {} {value}", run.name(), point.tag, point.step);
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogDir {
    path: PathBuf,
    runs: Vec<Run>,
    unreadable: Vec<ReadError>,
}

impl LogDir {
    /// Finds the runs at or below `path`. The path of a single event file is taken as a run of this
    /// file.
    ///
    /// # Errors
    ///
    /// [`ReadError::Open`] when `path` does not exist or cannot be listed. A directory below it
    /// that cannot be listed is among [`unreadable`](LogDir::unreadable) instead.
    pub fn open(path: impl AsRef<Path>) -> Result<LogDir, ReadError> {
        let mut log = LogDir {
            path: path.as_ref().to_owned(),
            runs: Vec::new(),
            unreadable: Vec::new(),
        };
        log.refresh()?;
        Ok(log)
    }

    /// Looks for the runs again: those of training that has begun meanwhile. A
    /// [`RunReader`](crate::RunReader) looks for new files of its run by itself.
    ///
    /// # Errors
    ///
    /// Those of [`open`](LogDir::open). The runs known before stay then.
    pub fn refresh(&mut self) -> Result<(), ReadError> {
        let found = fs::metadata(&self.path).map_err(|error| unopened(&self.path, error))?;
        if found.is_dir() {
            let RunDirs { dirs, unreadable } = RunDirs::below(&self.path)?;
            let run =
                |dir: PathBuf| Run::new(run_name(&self.path, &dir), RunLocation::Directory(dir));
            self.runs = dirs.into_iter().map(run).collect();
            self.unreadable = unreadable;
        } else {
            let location = RunLocation::File(self.path.clone());
            self.runs = vec![Run::new(".".to_owned(), location)];
            self.unreadable.clear();
        }
        Ok(())
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The runs, sorted by their paths.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run of this name.
    pub fn run(&self, name: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.name() == name)
    }

    /// The directories below that could not be looked into, each as an error that names it.
    pub fn unreadable(&self) -> &[ReadError] {
        &self.unreadable
    }
}

/// The name of a run: its path below the log directory.
fn run_name(logdir: &Path, run: &Path) -> String {
    let below = run.strip_prefix(logdir).unwrap_or(run);
    match below.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => below.to_string_lossy().into_owned(),
    }
}

/// The directories that hold event files, at or below another one.
#[derive(Default)]
struct RunDirs {
    dirs: BTreeSet<PathBuf>,
    /// The directories that could not be listed.
    unreadable: Vec<ReadError>,
}

impl RunDirs {
    fn below(root: &Path) -> Result<RunDirs, ReadError> {
        let mut found = RunDirs::default();
        let mut walked = 0;
        for entry in WalkDir::new(root).follow_links(true) {
            match entry {
                // A pipe of that name is no regular file: it would block whoever opens it.
                Ok(entry) if entry.file_type().is_file() => {
                    if is_event_file_name(entry.file_name()) {
                        found.add(entry.path().parent().unwrap_or(root));
                    }
                }
                Ok(entry) if entry.file_type().is_dir() => {
                    walked += 1;
                    if walked > MAX_DIRS {
                        let reason = format!(
                            "more than {MAX_DIRS} directories; name a smaller log directory"
                        );
                        let error = unopened(entry.path(), io::Error::other(reason));
                        found.unreadable.push(error);
                        break;
                    }
                }
                Ok(_) => {}
                Err(error) => found.cannot_walk(root, error)?,
            }
        }
        Ok(found)
    }

    fn add(&mut self, dir: &Path) {
        if !self.dirs.contains(dir) {
            self.dirs.insert(dir.to_owned());
        }
    }

    /// An error at the root ends the walk. Links to nowhere and to directories above are left out,
    /// and so is what vanished meanwhile.
    fn cannot_walk(&mut self, root: &Path, error: walkdir::Error) -> Result<(), ReadError> {
        let path = error.path().unwrap_or(root).to_owned();
        let is_root = error.depth() == 0;
        let Some(source) = error.into_io_error() else {
            return Ok(()); // a link to a directory above
        };
        let error = unopened(&path, source);
        if is_root {
            return Err(error);
        }
        if fs::symlink_metadata(&path).is_ok_and(|entry| entry.is_dir()) {
            self.unreadable.push(error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(log: &LogDir) -> Vec<&str> {
        log.runs().iter().map(Run::name).collect()
    }

    fn touch(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn runs_are_named_and_found_as_tensorboard_does() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        touch(root.join("events.out.tfevents.1"));
        touch(root.join("cnn/val/x.tfevents"));
        touch(root.join("cnn/notes.txt"));
        touch(root.join(".hidden/a b/tfevents"));
        touch(root.join("tfevents.d/none.txt"));
        touch(root.join("UPPER/X.TFEVENTS"));
        let log = LogDir::open(root).unwrap();
        let expected = [".", ".hidden/a b", "cnn/val"];
        assert_eq!(
            names(&log),
            expected.map(|name| name.replace('/', std::path::MAIN_SEPARATOR_STR))
        );
        assert!(log.unreadable().is_empty());
        assert_eq!(
            log.run(".").unwrap().files().unwrap(),
            [root.join("events.out.tfevents.1")]
        );
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["b.tfevents", "a.tfevents.10", "a.tfevents.2", "A.tfevents"] {
            touch(temp.path().join(name));
        }
        let log = LogDir::open(temp.path()).unwrap();
        let files = log.runs()[0].files().unwrap();
        let expected = ["A.tfevents", "a.tfevents.10", "a.tfevents.2", "b.tfevents"];
        assert_eq!(files, expected.map(|name| temp.path().join(name)));
    }

    #[test]
    fn new_runs_are_found_and_a_missing_directory_is_an_error() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("runs");
        let error = LogDir::open(&root).unwrap_err();
        assert_eq!(error.path(), Some(root.as_path()));
        touch(root.join("a/tfevents"));
        let mut log = LogDir::open(&root).unwrap();
        assert_eq!(names(&log), ["a"]);
        touch(root.join("b/tfevents"));
        log.refresh().unwrap();
        assert_eq!(names(&log), ["a", "b"]);
        fs::remove_dir_all(&root).unwrap();
        assert!(log.refresh().is_err());
        assert_eq!(names(&log), ["a", "b"], "what is known stays");
        assert!(log.runs()[0].files().is_err());
    }

    #[test]
    fn a_single_file_is_a_run() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("copy_of_a_log");
        touch(file.clone());
        let log = LogDir::open(&file).unwrap();
        assert_eq!(names(&log), ["."]);
        assert_eq!(log.runs()[0].files().unwrap(), [file]);
    }

    // The real path of each directory above was asked for at each directory: 14 s for 800 levels.
    #[test]
    fn deep_directories_are_walked() {
        let temp = tempfile::tempdir().unwrap();
        let mut dir = temp.path().to_owned();
        (0..800).for_each(|_| dir.push("d"));
        touch(dir.join("tfevents"));
        let log = LogDir::open(temp.path()).unwrap();
        assert_eq!(log.runs().len(), 1);
        assert_eq!(log.runs()[0].path(), dir);
        assert!(log.unreadable().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_cannot_be_listed_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        touch(temp.path().join("a/tfevents"));
        touch(temp.path().join("b/tfevents"));
        let closed = temp.path().join("a");
        let mode = |mode| fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
        mode(0);
        let is_open = fs::read_dir(&closed).is_ok(); // for the superuser it is
        let log = LogDir::open(temp.path()).unwrap();
        mode(0o700);
        if is_open {
            assert_eq!(names(&log), ["a", "b"]);
        } else {
            assert_eq!(names(&log), ["b"]);
            assert_eq!(log.unreadable()[0].path(), Some(closed.as_path()));
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        touch(root.join("a/tfevents"));
        touch(root.join("b/tfevents"));
        symlink(root.join("b"), root.join("a/to_b")).unwrap();
        symlink(root.join("a"), root.join("b/to_a")).unwrap();
        symlink(root, root.join("a/up")).unwrap();
        symlink(root.join("nowhere"), root.join("broken.tfevents")).unwrap();
        let log = LogDir::open(root).unwrap();
        assert_eq!(names(&log), ["a", "a/to_b", "b", "b/to_a"]);
    }

    // A named pipe would block whoever opens it for reading.
    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let pipe =
            std::ffi::CString::new(temp.path().join("pipe.tfevents").to_str().unwrap()).unwrap();
        #[allow(
            unsafe_code,
            reason = "there is no other way to make a pipe with a name"
        )]
        // SAFETY: the path ends in a zero byte and lives through the call.
        let made = unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) };
        assert_eq!(made, 0);
        assert!(LogDir::open(temp.path()).unwrap().runs().is_empty());
    }
}
