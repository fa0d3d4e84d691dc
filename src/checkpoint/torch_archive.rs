//! What `torch.save` writes since PyTorch 1.6, TorchScript archives, and what tch's
//! `VarStore::save` writes to `.ot`: a zip archive with a pickle and a file a storage.

use crate::checkpoint::archive::Archive;
use crate::checkpoint::checkpoint_tensor::CheckpointTensor;
use crate::checkpoint::contents::Contents;
use crate::checkpoint::pickle::{self, PickleStream};
use crate::checkpoint::rebuild::Storages;
use crate::checkpoint::section::FileSection;
use crate::checkpoint::state_dict;
use crate::error::Result;

/// The pickle's name behind the archive's own folder.
const PICKLE: &str = "data.pkl";

struct ArchiveStorages<'a> {
    archive: &'a Archive,
    pickle: &'a FileSection,
    /// The folder with a slash.
    root: &'a str,
    is_big_endian: bool,
}

impl Storages for ArchiveStorages<'_> {
    fn find(&self, key: &str) -> std::result::Result<FileSection, String> {
        let name = format!("{}data/{key}", self.root);
        let found = self.archive.get(&name);
        found
            .cloned()
            .ok_or_else(|| format!("needs {name:?}, which the archive does not have"))
    }

    fn pickle(&self) -> &FileSection {
        self.pickle
    }

    fn is_big_endian(&self) -> bool {
        self.is_big_endian
    }
}

/// The entry with the pickle.
pub(super) fn pickle_of(archive: &Archive) -> Option<(&str, &FileSection)> {
    // Of several the one that is least deep.
    let pickles = archive.entries.iter().filter_map(|entry| {
        let root = entry.name.strip_suffix(PICKLE)?;
        let is_own = root.is_empty() || root.ends_with('/');
        is_own.then_some((root, &entry.section))
    });
    pickles.min_by_key(|(root, _)| root.len())
}

/// The tensors, and whether it is an archive of TorchScript; `None` for another archive.
///
/// # Errors
/// A pickle that cannot be read; a tensor whose storage is missing is no error until it is asked
/// for.
pub(super) fn read(archive: &Archive, part: Option<&str>) -> Result<Option<(Contents, bool)>> {
    let Some((root, pickle)) = pickle_of(archive) else {
        return Ok(None);
    };
    let storages = ArchiveStorages {
        archive,
        pickle,
        root,
        is_big_endian: is_big_endian(archive, root)?,
    };
    let mut stream = PickleStream::new(pickle, 0);
    let (graph, top) = pickle::read(&mut stream)?;
    let contents = state_dict::read(&graph, top, &storages, part);
    let mut contents = contents.map_err(|reason| pickle.file.damaged(reason))?;
    let is_script = archive.entries.iter().any(|entry| {
        let rest = entry.name.strip_prefix(root).unwrap_or_default();
        rest == "constants.pkl" || rest.starts_with("code/")
    });
    if is_script {
        // An attribute cannot have a dot in its name: tch writes a bar instead.
        let renamed = |tensor: CheckpointTensor| {
            let name = tensor.name().replace('|', ".");
            tensor.renamed(name)
        };
        contents.tensors = contents.tensors.into_iter().map(renamed).collect();
    }
    Ok(Some((contents, is_script)))
}

/// What the archive says about the byte order of its storages; little-endian where it is silent.
fn is_big_endian(archive: &Archive, root: &str) -> Result<bool> {
    let Some(section) = archive.get(&format!("{root}byteorder")) else {
        return Ok(false);
    };
    let mut text = [0; 3];
    if section.len < 3 {
        return Ok(false);
    }
    section.cursor().read_at(0, &mut text)?;
    Ok(&text == b"big")
}
