//! Checkpoints that are folders: shards with an index, a folder of a hub's cache, or one file among
//! others.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::checkpoint::watched_file::{WatchedFile, damaged, io_error};
use crate::error::{Error, Result};

/// The longest index that is read.
const LONGEST_INDEX: u64 = 32 << 20;

/// See [`Checkpoint::FILE_ENDINGS`](crate::Checkpoint::FILE_ENDINGS).
pub(crate) const ENDINGS: [&str; 9] = [
    ".safetensors",
    ".npz",
    ".pt",
    ".pth",
    ".bin",
    ".ckpt",
    ".ot",
    ".npy",
    ".pkl",
];

/// Names that libraries give to a model's weights, alone or, with `.index.json` behind, in shards.
const NAMES: [&str; 8] = [
    "model.safetensors",
    "adapter_model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "adapter_model.bin",
    "diffusion_pytorch_model.bin",
    "pytorch_lora_weights.safetensors",
    "mp_rank_00_model_states.pt",
];

/// The end of the name of an index of shards.
const INDEX: &str = ".index.json";

/// The files of a checkpoint.
#[derive(Debug, PartialEq)]
pub(super) enum CheckpointFiles {
    One(PathBuf),
    /// Each with the names of its tensors.
    Shards(BTreeMap<PathBuf, Vec<String>>),
}

/// What to read for a path that the user gave.
///
/// # Errors
/// A folder without weights, or with several files of which none is known to be the model's.
pub(super) fn files(path: &Path) -> Result<CheckpointFiles> {
    let metadata = std::fs::metadata(path).map_err(|source| io_error("open", path, source))?;
    if metadata.is_dir() {
        return in_folder(path, 0);
    }
    match name(path).ends_with(INDEX) {
        true => shards(path),
        false => Ok(CheckpointFiles::One(path.to_owned())),
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn in_folder(folder: &Path, depth: usize) -> Result<CheckpointFiles> {
    for name in NAMES {
        let index = folder.join(format!("{name}{INDEX}"));
        if index.is_file() {
            return shards(&index);
        }
        let file = folder.join(name);
        if file.is_file() {
            return Ok(CheckpointFiles::One(file));
        }
    }
    if let Some(snapshot) = snapshot(folder).filter(|_| depth == 0) {
        return in_folder(&snapshot, depth + 1);
    }
    let listed = std::fs::read_dir(folder).map_err(|source| io_error("open", folder, source))?;
    let (mut found, mut indexes) = (Vec::new(), Vec::new());
    for entry in listed {
        let path = entry
            .map_err(|source| io_error("open", folder, source))?
            .path();
        let name = name(&path);
        if name.ends_with(INDEX) && ENDINGS.iter().any(|ending| name.contains(ending)) {
            indexes.push(path);
        } else if ENDINGS.iter().any(|ending| name.ends_with(ending)) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    indexes.sort();
    match (indexes.as_slice(), found.as_slice()) {
        ([index], _) => return shards(index),
        ([], _) => {}
        (several, _) => return Err(several_checkpoints(folder, several)),
    }
    let shard = found.iter().find_map(|path| shards_of(&name(path)));
    match (found.as_slice(), shard) {
        (_, Some(shards)) => {
            let reason = format!(
                "has a shard of {shards}, and no index of them ({INDEX}): wait for it, or name one \
                    file"
            );
            Err(damaged(folder, reason))
        }
        ([only], _) => Ok(CheckpointFiles::One(only.clone())),
        ([], _) => {
            let endings = ENDINGS.join(", ");
            let reason = format!("is a folder without a file of weights ({endings})");
            Err(damaged(folder, reason))
        }
        (several, _) => Err(several_checkpoints(folder, several)),
    }
}

fn several_checkpoints(folder: &Path, paths: &[PathBuf]) -> Error {
    let names: Vec<String> = paths.iter().take(8).map(|path| name(path)).collect();
    let reason = format!("is a folder of several checkpoints; name one: {names:?}");
    damaged(folder, reason)
}

/// Of how many shards a file is one by its name, `model-00001-of-00003.safetensors`; `None` for a
/// file that is whole.
pub(crate) fn shards_of(name: &str) -> Option<u64> {
    let (before, after) = name.rsplit_once("-of-")?;
    let is_digit = |letter: char| letter.is_ascii_digit();
    let end = after.find(|letter| !is_digit(letter));
    let shards: u64 = after.get(..end.unwrap_or(after.len()))?.parse().ok()?;
    (before.ends_with(is_digit) && shards > 1).then_some(shards)
}

/// The newest snapshot of a model in a hub's cache: `refs/main` names the folder in `snapshots`.
fn snapshot(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.join("snapshots");
    let main = WatchedFile::open(&folder.join("refs/main")).ok();
    if let Some(main) = main.filter(|main| main.len() < 256) {
        let mut text = vec![0; main.len() as usize];
        main.read_at(0, &mut text).ok()?;
        let revision = String::from_utf8(text).ok()?;
        return downwards(&snapshots, revision.trim());
    }
    let mut entries = std::fs::read_dir(snapshots).ok()?;
    let only = entries.next()?.ok()?;
    entries.next().is_none().then(|| only.path())
}

/// A path below a folder; `None` for one that leads out of it.
fn downwards(folder: &Path, relative: &str) -> Option<PathBuf> {
    let relative = Path::new(relative);
    let is_below = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    is_below.then(|| folder.join(relative))
}

/// What an index of shards says.
#[derive(Deserialize)]
struct ShardIndex {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

fn shards(path: &Path) -> Result<CheckpointFiles> {
    let file = WatchedFile::open(path)?;
    if file.len() > LONGEST_INDEX {
        return Err(file.damaged("is too long for an index of shards"));
    }
    let mut text = vec![0; file.len() as usize];
    file.read_at(0, &mut text)?;
    let index: ShardIndex = serde_json::from_slice(&text)
        .map_err(|error| file.damaged(format!("is no index of shards: {error}")))?;
    file.check()?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for (tensor, shard) in index.weight_map {
        let shard = downwards(folder, &shard).ok_or_else(|| {
            file.damaged(format!("names a shard outside of its folder: {shard:?}"))
        })?;
        files.entry(shard).or_default().push(tensor);
    }
    Ok(CheckpointFiles::Shards(files))
}
