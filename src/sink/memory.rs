//! Runs in memory, for tests: a sink that fails as scripted.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::sink::{Claim, Loss, Segment, Sharing, Sink};

/// What the sink does with one append. Afterwards it takes everything.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Take(usize),
    Fail(io::ErrorKind),
}

/// See the module. Clones are the same sink.
#[derive(Clone, Default)]
pub(crate) struct MemorySink(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    /// Runs, and the bytes of their segments.
    runs: BTreeMap<PathBuf, BTreeMap<OsString, Vec<u8>>>,
    /// Runs that are being written.
    writing: Vec<PathBuf>,
    answers: VecDeque<Answer>,
    /// Found by the next check.
    loss: Option<Loss>,
}

impl MemorySink {
    /// The next appends are answered like this.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.memory().answers = answers.into_iter().collect();
    }

    /// The next check finds this.
    pub(crate) fn lose(&self, loss: Loss) {
        self.memory().loss = Some(loss);
    }

    /// The segments of a run in the order of their names.
    pub(crate) fn segments(&self, run: impl AsRef<Path>) -> Vec<Vec<u8>> {
        let memory = self.memory();
        let segments = memory.runs.get(run.as_ref());
        segments
            .into_iter()
            .flat_map(|run| run.values().cloned())
            .collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }
}

impl Sink for MemorySink {
    fn claim(&self, run: &Path, sharing: Sharing) -> Result<Option<Box<dyn Claim>>> {
        let mut memory = self.memory();
        let is_written = memory.writing.iter().any(|writing| writing == run);
        match sharing {
            Sharing::Exclusive if memory.runs.contains_key(run) => return Ok(None),
            Sharing::Resumed if is_written => return Err(Error::RunInUse { path: run.into() }),
            Sharing::Exclusive | Sharing::Shared | Sharing::Resumed => {}
        }
        memory.runs.entry(run.to_owned()).or_default();
        memory.writing.push(run.to_owned());
        Ok(Some(Box::new(MemoryClaim {
            sink: self.clone(),
            run: run.to_owned(),
        })))
    }

    fn is_blocked(&self, _: &Path) -> bool {
        false
    }
}

struct MemoryClaim {
    sink: MemorySink,
    run: PathBuf,
}

impl Claim for MemoryClaim {
    fn path(&self) -> &Path {
        &self.run
    }

    fn list(&self) -> io::Result<Vec<OsString>> {
        let memory = self.sink.memory();
        let segments = memory.runs.get(&self.run);
        Ok(segments
            .into_iter()
            .flat_map(|run| run.keys().cloned())
            .collect())
    }

    fn read(&self, name: &OsStr) -> io::Result<Box<dyn Read>> {
        let memory = self.sink.memory();
        let bytes = memory.runs.get(&self.run).and_then(|run| run.get(name));
        let bytes = bytes.ok_or(io::ErrorKind::NotFound)?.clone();
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn create(&mut self, name: &str) -> Result<Option<Box<dyn Segment>>> {
        let mut memory = self.sink.memory();
        let segments = memory.runs.entry(self.run.clone()).or_default();
        if segments.contains_key(OsStr::new(name)) {
            return Ok(None);
        }
        segments.insert(name.into(), Vec::new());
        Ok(Some(Box::new(MemorySegment {
            sink: self.sink.clone(),
            path: self.run.join(name),
        })))
    }

    fn write_file(&mut self, name: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut memory = self.sink.memory();
        let files = memory.runs.entry(self.run.clone()).or_default();
        files.insert(name.into(), bytes.to_vec());
        Ok(())
    }

    fn is_held(&mut self, _: Option<&Path>) -> Result<bool> {
        Ok(self.sink.memory().runs.contains_key(&self.run))
    }

    fn reclaim(&mut self) -> Result<bool> {
        self.is_held(None)
    }

    fn release(self: Box<Self>) {
        self.sink.memory().runs.remove(&self.run);
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.sink.memory().writing.retain(|run| *run != self.run);
    }
}

struct MemorySegment {
    sink: MemorySink,
    path: PathBuf,
}

impl MemorySegment {
    fn with_bytes<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> Option<T> {
        let (run, name) = (self.path.parent()?, self.path.file_name()?);
        let mut memory = self.sink.memory();
        Some(change(memory.runs.get_mut(run)?.get_mut(name)?))
    }
}

impl Segment for MemorySegment {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let answer = self.sink.memory().answers.pop_front();
        let taken = match answer {
            Some(Answer::Fail(kind)) => return Err(kind.into()),
            Some(Answer::Take(most)) => most.min(bytes.len()),
            None => bytes.len(),
        };
        self.with_bytes(|segment| segment.extend_from_slice(&bytes[..taken]));
        Ok(taken)
    }

    fn check(&mut self, _: u64) -> Result<(), Loss> {
        self.sink.memory().loss.take().map_or(Ok(()), Err)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self) {
        self.with_bytes(Vec::clear);
    }
}
