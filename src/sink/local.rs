//! Runs in local directories: each run gets one of its own, however many start at once.
//!
//! A directory is claimed by making the marker file in it, which only one process can: unlike a
//! lock this also holds on network file systems, and outlives the process. It is also taken when an
//! event file lies directly in it, so that the runs of other writers count. What lies in
//! directories below does not count.
//!
//! An advisory lock tells a resuming writer that another one is still there: on the marker until
//! there is an event file, then on that, so that a run keeps one file open.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::event_file::files_in;
use crate::platform::file_lock::{LockState, lock_behind_end, lock_whole, look_behind_end};
use crate::sink::identity::{MARKER, MarkerIdentity};
use crate::sink::local_segment::LocalSegment;
use crate::sink::new_dirs::NewDirs;
use crate::sink::{Claim, Segment, Sharing, Sink};

/// How often a directory is made that others keep removing.
const MAX_TRIES: u32 = 10;

/// Directories of this machine's file systems.
pub(crate) struct LocalSink;

impl Sink for LocalSink {
    fn claim(&self, run: &Path, sharing: Sharing) -> Result<Option<Box<dyn Claim>>> {
        for _ in 1..MAX_TRIES {
            match LocalClaim::take(run, sharing) {
                // Another process gave the directory back between the making and the marking.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                taken => return Ok(taken?.map(|claim| Box::new(claim) as Box<dyn Claim>)),
            }
        }
        Ok(LocalClaim::take(run, sharing)?.map(|claim| Box::new(claim) as Box<dyn Claim>))
    }

    fn is_blocked(&self, run: &Path) -> bool {
        fs::metadata(run).is_ok_and(|found| !found.is_dir())
    }
}

/// A directory that was taken for a run.
struct LocalClaim {
    path: PathBuf,
    /// Where the directory was last: another path once it was moved.
    found_at: PathBuf,
    marker: MarkerIdentity,
    has_made_marker: bool,
    new_dirs: NewDirs,
    sharing: Sharing,
    /// The marker under its lock, until an event file has one.
    locked: Option<File>,
}

/// A marker that was made or found.
struct OpenMarker {
    file: File,
    identity: MarkerIdentity,
    is_new: bool,
}

/// The same as a claim keeps it.
struct OwnMarker {
    identity: MarkerIdentity,
    is_new: bool,
    locked: Option<File>,
}

impl LocalClaim {
    fn take(dir: &Path, sharing: Sharing) -> Result<Option<LocalClaim>> {
        let new_dirs = NewDirs::make(dir).map_err(|error| explain_blocked(dir, error))?;
        let taken = LocalClaim::mark(dir, sharing);
        if !matches!(taken, Ok(Some(_))) {
            new_dirs.remove();
        }
        Ok(taken?.map(|marker| LocalClaim {
            path: dir.to_owned(),
            found_at: dir.to_owned(),
            marker: marker.identity,
            has_made_marker: marker.is_new,
            new_dirs,
            sharing,
            locked: marker.locked,
        }))
    }

    fn mark(dir: &Path, sharing: Sharing) -> Result<Option<OwnMarker>> {
        let marker = match sharing {
            Sharing::Exclusive => mark_exclusively(dir)?,
            Sharing::Shared | Sharing::Resumed => Some(mark_or_open(dir)?),
        };
        let Some(OpenMarker {
            file,
            identity,
            is_new,
        }) = marker
        else {
            return Ok(None);
        };
        let state = lock_whole(&file);
        if sharing == Sharing::Resumed && (state == LockState::Held || is_locked(dir)?) {
            return Err(Error::RunInUse { path: dir.into() });
        }
        Ok(Some(OwnMarker {
            identity,
            is_new,
            locked: (state == LockState::Free).then_some(file),
        }))
    }

    fn adopt(&mut self, dir: &Path, marker: OpenMarker) {
        self.found_at = dir.to_owned();
        self.marker = marker.identity;
    }
}

impl Claim for LocalClaim {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        let files = files_in(&self.found_at)?;
        let names = files.iter().filter_map(|file| file.file_name());
        Ok(names.map(OsStr::to_owned).collect())
    }

    fn read(&self, name: &OsStr) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.found_at.join(name))?))
    }

    fn create(&mut self, name: &str) -> Result<Option<Box<dyn Segment>>> {
        let path = self.found_at.join(name);
        match create_in(&self.found_at, &self.marker, name) {
            Ok(file) => {
                if lock_behind_end(&file) == LockState::Free {
                    self.locked = None;
                }
                let segment = LocalSegment::new(path, file, self.marker.clone());
                Ok(Some(Box::new(segment)))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(Error::io("create", path, error)),
        }
    }

    fn write_file(&mut self, name: &Path, bytes: &[u8]) -> io::Result<()> {
        if !self.marker.is_in(&self.found_at)? {
            return Err(not_own());
        }
        let path = self.found_at.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // A reader sees the file before or the whole new one.
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        fs::write(&beside, bytes)?;
        fs::rename(&beside, &path)
    }

    fn is_held(&mut self, newest: Option<&Path>) -> Result<bool> {
        let newest_dir = newest.and_then(Path::parent);
        let mut places = vec![self.found_at.clone(), self.path.clone()];
        places.extend(newest_dir.map(Path::to_owned));
        for place in places {
            let is_there = self.marker.is_in(&place);
            if is_there.map_err(|error| Error::io("open", place.join(MARKER), error))? {
                self.found_at = place;
                return Ok(true);
            }
        }
        // Only the marker was deleted: readers find the run's newest file there.
        if let (Some(newest), Some(dir)) = (newest, newest_dir)
            && newest.is_file()
        {
            self.adopt(dir, mark_or_open(dir)?);
            return Ok(true);
        }
        Ok(false)
    }

    fn reclaim(&mut self) -> Result<bool> {
        let dir = self.found_at.clone();
        // One that is gone is not made again: whoever deleted it may begin another run there.
        if !dir.is_dir() {
            return Ok(false);
        }
        let marker = match self.sharing {
            Sharing::Exclusive => mark_exclusively(&dir)?,
            Sharing::Shared | Sharing::Resumed => make_marker(&dir)?,
        };
        let is_claimed = marker.is_some();
        if let Some(marker) = marker {
            self.adopt(&dir, marker);
        }
        Ok(is_claimed)
    }

    fn release(self: Box<Self>) {
        if self.has_made_marker {
            // What cannot be removed stays: the error that led here explains why.
            let _ = fs::remove_file(self.found_at.join(MARKER));
        }
        self.new_dirs.remove();
    }
}

/// Creates a file in a directory that has the marker, even when another directory gets its name
/// meanwhile.
#[cfg(unix)]
fn create_in(dir: &Path, marker: &MarkerIdentity, name: &str) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, openat};

    let dir = File::open(dir)?;
    let read = OFlags::RDONLY | OFlags::CLOEXEC;
    let is_own = match openat(&dir, MARKER, read, Mode::empty()) {
        Ok(found) => MarkerIdentity::read(&File::from(found))? == *marker,
        Err(rustix::io::Errno::NOENT) => false,
        Err(error) => return Err(error.into()),
    };
    if !is_own {
        return Err(not_own());
    }
    let append = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(File::from(openat(&dir, name, append, Mode::from(0o666))?))
}

/// Elsewhere a directory with an open file in it cannot be renamed.
#[cfg(not(unix))]
fn create_in(dir: &Path, marker: &MarkerIdentity, name: &str) -> io::Result<File> {
    if !marker.is_in(dir)? {
        return Err(not_own());
    }
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .open(dir.join(name))
}

fn not_own() -> io::Error {
    let reason = format!(
        "the directory or its marker {MARKER} was moved, replaced or deleted; move it back, or \
         create a new logger"
    );
    io::Error::new(io::ErrorKind::NotFound, reason)
}

/// True when a writer holds an event file.
fn is_locked(dir: &Path) -> Result<bool> {
    let files = files_in(dir).map_err(|error| Error::io("list", dir, error))?;
    // One that cannot be opened is reported when it is read.
    let mut open = files.iter().filter_map(|file| File::open(file).ok());
    Ok(open.any(|file| look_behind_end(&file) == LockState::Held))
}

/// Marks `dir` for this run alone; `None` when it is taken.
fn mark_exclusively(dir: &Path) -> Result<Option<OpenMarker>> {
    // Before anything is written: a directory of another writer stays as it is, and need not even
    // be writable.
    if holds_events(dir)? {
        return Ok(None);
    }
    let Some(marker) = make_marker(dir)? else {
        return Ok(None);
    };
    // Again, for a writer that does not use markers and began meanwhile. The marker goes, because
    // the event file now says the same and whoever deletes the run does not expect it. Nobody
    // can win here between the two: they see the marker or the file.
    if holds_events(dir)? {
        let path = dir.join(MARKER);
        fs::remove_file(&path).map_err(|error| Error::io("remove", path, error))?;
        return Ok(None);
    }
    Ok(Some(marker))
}

/// Marks `dir` whatever it holds: no other run may take it before the first event is there.
fn mark_or_open(dir: &Path) -> Result<OpenMarker> {
    if let Some(marker) = make_marker(dir)? {
        return Ok(marker);
    }
    let path = dir.join(MARKER);
    let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
    let identity = MarkerIdentity::read(&file).map_err(|error| Error::io("read", &path, error))?;
    Ok(OpenMarker {
        file,
        identity,
        is_new: false,
    })
}

/// Makes the marker; `None` when it is there already.
fn make_marker(dir: &Path) -> Result<Option<OpenMarker>> {
    let path = dir.join(MARKER);
    let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(Error::io("create", path, error)),
    };
    let identity =
        MarkerIdentity::write(&file).map_err(|error| Error::io("create", path, error))?;
    Ok(Some(OpenMarker {
        file,
        identity,
        is_new: true,
    }))
}

/// True when an event file lies directly in `dir`.
fn holds_events(dir: &Path) -> Result<bool> {
    match files_in(dir) {
        Ok(files) => Ok(!files.is_empty()),
        Err(error) => Err(Error::io("list", dir, error)),
    }
}

/// Names the file that is where a directory should be, if there is one.
fn explain_blocked(dir: &Path, error: io::Error) -> Error {
    let blocking = dir
        .ancestors()
        .find(|path| fs::metadata(path).is_ok_and(|found| !found.is_dir()));
    let source = match blocking {
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
}
