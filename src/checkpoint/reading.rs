//! Gathered a checkpoint: which format it is, which files it has, which tensors are in them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::archive::Archive;
use crate::checkpoint::checkpoint_tensor::CheckpointTensor;
use crate::checkpoint::contents::Contents;
use crate::checkpoint::folder::{self, CheckpointFiles};
use crate::checkpoint::section::FileSection;
use crate::checkpoint::watched_file::{WatchedFile, damaged};
use crate::checkpoint::{npz, safetensors_file, slabs, torch_archive, torch_stream};
use crate::error::{Error, Result};

/// The format of a checkpoint's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointFormat {
    /// `.safetensors`.
    Safetensors,
    /// numpy's `.npz` or `.npy`.
    Numpy,
    /// What `torch.save` writes since PyTorch 1.6: an archive.
    TorchArchive,
    /// A TorchScript archive: `torch.jit.save`, and `VarStore::save` of tch to `.ot`.
    TorchScript,
    /// What `torch.save` wrote before: a stream.
    TorchStream,
    /// A pickle with arrays of numpy.
    Pickle,
}

impl fmt::Display for CheckpointFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            CheckpointFormat::Safetensors => "safetensors",
            CheckpointFormat::Numpy => "numpy",
            CheckpointFormat::TorchArchive => "torch",
            CheckpointFormat::TorchScript => "TorchScript",
            CheckpointFormat::TorchStream => "torch (legacy)",
            CheckpointFormat::Pickle => "pickle",
        })
    }
}

/// The named tensors of a checkpoint, whichever framework wrote it: `.safetensors`, a folder of
/// shards with `model.safetensors.index.json`, `.npz`, PyTorch's `.pt`, `.pth` and `.bin` (of any
/// version since 0.4), TorchScript archives, and what tch's `VarStore::save` writes.
///
/// The format is recognised by the contents, not by the name. Nothing in a file is executed: names
/// of classes and functions in a pickle stay text, and a tensor that depends on one that is not
/// known is an error only for whoever asks for its elements. Gathered reads headers alone; elements
/// are read where they are needed, into bounded buffers, by positioned reads. A file that is
/// written to meanwhile is an error (size, modification time), and so is one that is replaced while
/// it is opened, so a checkpoint that is being written is never taken for a whole one. No memory is
/// mapped: a mapped file that somebody cuts kills the process.
///
/// Of a trainer's checkpoint the model's part is taken: the value of `state_dict`, `model` and the
/// like, or the only part with tensors. [`notes`](Checkpoint::notes) says what was left out, and
/// [`open_part`](Checkpoint::open_part) takes another part.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("model.safetensors");
/// # let header = br#"{"fc.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  "#;
/// # let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// # file.extend(header);
/// # file.extend([0, 0, 128, 63, 0, 0, 0, 64]);
/// # std::fs::write(&path, file)?;
/// use tch_tensorboard::{Checkpoint, Logger};
///
/// let checkpoint = Checkpoint::open(&path)?;
/// for tensor in checkpoint.tensors() {
///     println!("{} {:?}", tensor.name(), tensor.shape());
/// }
/// // Its statistics and histograms, as of a model in training:
/// let logger = Logger::create(dir.path().join("run"))?;
/// logger.log_weights(&checkpoint, 1000)?;
/// # logger.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    format: CheckpointFormat,
    files: Vec<Arc<WatchedFile>>,
    /// Sorted naturally by name.
    tensors: Vec<CheckpointTensor>,
    by_name: HashMap<Box<str>, usize>,
    step: Option<i64>,
    notes: Vec<String>,
}

impl Checkpoint {
    /// What ends the names of files with weights, as libraries write them. [`open`](Self::open)
    /// recognises a format by content; a folder is searched for these names.
    pub const FILE_ENDINGS: [&'static str; 9] = folder::ENDINGS;

    /// True when the name of a file ends with one of [`FILE_ENDINGS`](Self::FILE_ENDINGS).
    pub fn is_named(path: impl AsRef<Path>) -> bool {
        let name = path.as_ref().file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        folder::ENDINGS.iter().any(|ending| name.ends_with(ending))
    }

    /// Opens a file, an index of shards, or a folder.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) for what the file system refuses, and
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) for a format that is not known, for damage,
    /// and for a file that changed while it was read.
    pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
        Checkpoint::open_any(path.as_ref(), None)
    }

    /// Opens another part than the model's of a trainer's checkpoint, by its keys: `"ema"`,
    /// `"optimizer.state"`. Formats without parts have one part only, and do not look at it.
    ///
    /// # Errors
    /// As [`open`](Checkpoint::open), and when there is no such part.
    pub fn open_part(path: impl AsRef<Path>, part: &str) -> Result<Checkpoint> {
        Checkpoint::open_any(path.as_ref(), Some(part))
    }

    fn open_any(path: &Path, part: Option<&str>) -> Result<Checkpoint> {
        let mut opening = Gathered::default();
        match folder::files(path)? {
            CheckpointFiles::One(file) => {
                let contents = opening.read(&file, part)?;
                opening.add(contents);
            }
            CheckpointFiles::Shards(shards) => {
                for (shard, names) in shards {
                    let mut contents = opening.read(&shard, part)?;
                    opening.keep_listed(&shard, &names, &mut contents)?;
                    opening.add(contents);
                }
            }
        }
        opening.finish(path)
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format of its files.
    pub fn format(&self) -> CheckpointFormat {
        self.format
    }

    /// The files that it is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path())
    }

    /// Its tensors, in the natural order of their names.
    pub fn tensors(&self) -> &[CheckpointTensor] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&CheckpointTensor> {
        self.tensors.get(*self.by_name.get(name)?)
    }

    /// The elements of a tensor in row-major order, in memory: two numbers an element of a complex
    /// one. For large tensors [`log_weights`](crate::Logger::log_weights) and the comparison take
    /// less memory.
    ///
    /// # Errors
    /// [`Error::InvalidTag`](crate::Error::InvalidTag) for a name that it does not have,
    /// [`Error::UnsupportedTensor`](crate::Error::UnsupportedTensor) for one that cannot be read,
    /// and what [`open`](Checkpoint::open) can return.
    pub fn values(&self, name: &str) -> Result<Vec<f64>> {
        let tensor = self.tensor(name).ok_or_else(|| Error::InvalidTag {
            tag: name.into(),
            reason: "the checkpoint has no tensor of this name".into(),
        })?;
        let values = tensor.values()?;
        self.check_unchanged()?;
        Ok(values)
    }

    /// The training step that the file itself gives: `global_step`, `step`, `epoch` and the like.
    pub fn step(&self) -> Option<i64> {
        self.step
    }

    /// What was left out, and what was taken for something that the file does not say.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Leaves out tensors for which `keep` returns false.
    pub fn retain(&mut self, keep: impl FnMut(&CheckpointTensor) -> bool) {
        self.tensors.retain(keep);
        // The first of tied tensors may be gone.
        mark_aliases(&mut self.tensors);
        self.by_name = places(&self.tensors);
    }

    /// Checks that no file was written to since it was opened. One that was removed or replaced
    /// meanwhile is read on as it was: trainers remove their old checkpoints.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) for one that was written to.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(|file| file.check())
    }
}

/// What was found so far.
#[derive(Default)]
struct Gathered {
    format: Option<CheckpointFormat>,
    files: Vec<Arc<WatchedFile>>,
    tensors: BTreeMap<String, CheckpointTensor>,
    step: Option<i64>,
    notes: Vec<String>,
}

impl Gathered {
    fn read(&mut self, path: &Path, part: Option<&str>) -> Result<Contents> {
        let file = WatchedFile::open(path)?;
        let (format, contents) = read_file(&file, part)?;
        file.check_place()?;
        self.format = Some(format);
        self.files.push(file);
        Ok(contents)
    }

    fn add(&mut self, contents: Contents) {
        self.step = self.step.or(contents.step);
        self.notes.extend(contents.notes);
        for tensor in contents.tensors {
            self.tensors.insert(tensor.name().to_owned(), tensor);
        }
    }

    /// Of a shard the tensors that the index lists for it.
    fn keep_listed(
        &mut self,
        shard: &Path,
        names: &[String],
        contents: &mut Contents,
    ) -> Result<()> {
        let listed: HashSet<&str> = names.iter().map(String::as_str).collect();
        let all = contents.tensors.len();
        contents
            .tensors
            .retain(|tensor| listed.contains(tensor.name()));
        if contents.tensors.len() < listed.len() {
            let found: HashSet<&str> = contents
                .tensors
                .iter()
                .map(CheckpointTensor::name)
                .collect();
            let missing = names.iter().find(|name| !found.contains(name.as_str()));
            let reason = format!("lacks tensor {missing:?}, which the index of the shards lists");
            return Err(damaged(shard, reason));
        }
        let extra = all - contents.tensors.len();
        if extra > 0 {
            let shard = shard.display();
            let note = format!("left out: {extra} tensors of {shard} that its index does not list");
            self.notes.push(note);
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<Checkpoint> {
        let Some(format) = self.format.filter(|_| !self.tensors.is_empty()) else {
            let reason = "holds no tensors";
            return Err(damaged(path, reason));
        };
        let mut tensors: Vec<CheckpointTensor> = self.tensors.into_values().collect();
        tensors.sort_by(|a, b| alphanumeric_sort::compare_str(a.name(), b.name()));
        mark_aliases(&mut tensors);
        check_pass(path, &self.files, &tensors)?;
        // Shards belong together.
        self.files.iter().try_for_each(|file| file.check_place())?;
        Ok(Checkpoint {
            path: path.to_owned(),
            format,
            files: self.files,
            by_name: places(&tensors),
            tensors,
            step: self.step,
            notes: self.notes,
        })
    }
}

/// What one pass over all tensors may read: so many times what is stored, and these bytes besides.
/// Views may repeat what is stored (tied weights, `expand`), and two slabs of a compressed array in
/// column-major order need two unpackings; a million views of one element are a trap.
const MOST_PASSES: u128 = 128;
const FREE_BYTES: u128 = 1 << 30;

/// Refuses tensors that nobody could read to their end.
fn check_pass(path: &Path, files: &[Arc<WatchedFile>], tensors: &[CheckpointTensor]) -> Result<()> {
    let mut stored: u128 = files.iter().map(|file| u128::from(file.len())).sum();
    let (mut unpacked, mut claimed) = (HashSet::new(), 0_u128);
    for tensor in tensors.iter().filter_map(|tensor| tensor.stored().ok()) {
        claimed += slabs::bytes_of_pass(tensor);
        let section = &tensor.section;
        let place = (Arc::as_ptr(&section.file), section.offset);
        if !section.is_random() && unpacked.insert(place) {
            stored += u128::from(section.len);
        }
    }
    if claimed > stored * MOST_PASSES + FREE_BYTES {
        let reason = format!(
            "has tensors whose reading takes {claimed} bytes, of which {stored} are stored; save \
                copies of its views (contiguous), uncompressed"
        );
        return Err(damaged(path, reason));
    }
    Ok(())
}

fn places(tensors: &[CheckpointTensor]) -> HashMap<Box<str>, usize> {
    let names = tensors.iter().enumerate();
    names
        .map(|(at, tensor)| (tensor.name().into(), at))
        .collect()
}

fn mark_aliases(tensors: &mut [CheckpointTensor]) {
    let mut first: HashMap<_, Arc<str>> = HashMap::new();
    let aliases: Vec<Option<Arc<str>>> = tensors
        .iter()
        .map(|tensor| {
            let place = tensor.place()?;
            match first.entry(place) {
                Entry::Occupied(known) => Some(known.get().clone()),
                Entry::Vacant(place) => {
                    place.insert(tensor.name().into());
                    None
                }
            }
        })
        .collect();
    for (tensor, alias) in tensors.iter_mut().zip(aliases) {
        tensor.alias_of = alias;
    }
}

/// Bytes that show the format.
const HEAD: u64 = 512;

fn read_file(file: &Arc<WatchedFile>, part: Option<&str>) -> Result<(CheckpointFormat, Contents)> {
    let mut head = vec![0; file.len().min(HEAD) as usize];
    file.read_at(0, &mut head)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return read_archive(file, part);
    }
    if npz::is_npy(&head) {
        let mut contents = Contents::default();
        let name = file
            .path()
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        npz::read_array(&name, &FileSection::whole(file.clone()), &mut contents)?;
        return Ok((CheckpointFormat::Numpy, contents));
    }
    if torch_stream::is_pickle(&head) {
        let contents = torch_stream::read(file, &head, part)?;
        let format = match torch_stream::is_torch(&head) {
            true => CheckpointFormat::TorchStream,
            false => CheckpointFormat::Pickle,
        };
        return Ok((format, contents));
    }
    if safetensors_file::is_it(&head) {
        let contents = safetensors_file::read(file)?;
        return Ok((CheckpointFormat::Safetensors, contents));
    }
    Err(file.damaged(unknown(&head)))
}

fn read_archive(
    file: &Arc<WatchedFile>,
    part: Option<&str>,
) -> Result<(CheckpointFormat, Contents)> {
    let archive = Archive::open(file)?;
    if let Some((contents, is_script)) = torch_archive::read(&archive, part)? {
        let format = match is_script {
            true => CheckpointFormat::TorchScript,
            false => CheckpointFormat::TorchArchive,
        };
        return Ok((format, contents));
    }
    match npz::is_npz(&archive) {
        true => Ok((CheckpointFormat::Numpy, npz::read(&archive)?)),
        false => Err(file.damaged("is an archive without tensors (neither data.pkl nor .npy)")),
    }
}

/// What a file is that is no checkpoint, and what to do.
fn unknown(head: &[u8]) -> &'static str {
    let is_at = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|at| at.starts_with(magic));
    match () {
        () if head.is_empty() => "is empty",
        () if is_at(257, b"ustar") => {
            "is a tar archive, as PyTorch wrote before 0.2; load it there and save it again"
        }
        () if is_at(0, b"\x89HDF") => "is HDF5 (Keras); save it as .npz or .safetensors",
        () if is_at(0, b"GGUF") => "is GGUF, whose tensors are quantised; compare their source",
        () if is_at(0, b"version https://git-lfs") => {
            "is a pointer of Git LFS, not the file; fetch it with git lfs pull"
        }
        () if is_at(0, b"\x1f\x8b") => "is compressed by gzip; unpack it first",
        () if is_at(0, b"<") => "is a page of HTML or XML, not the file: download it again",
        () => {
            "is of no known format; known are .safetensors, .npz, .npy, PyTorch's .pt, .pth and \
                .bin, TorchScript and tch's .ot"
        }
    }
}
