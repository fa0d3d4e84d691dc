//! The files that the projector reads of a run, and their list.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::error::Error;
use crate::run::files::Files;
use crate::run::health::Health;
use crate::summary::projector::{CONFIG, EmbeddingFiles, EncodedEmbedding};

/// Where an entry begins, and how it ends: what is inside has spaces before it.
const BEGIN: &str = "embeddings {\n";
const END: &str = "\n}\n";

/// See the module.
#[derive(Default)]
pub(crate) struct Embeddings {
    /// The list as it is on the disk; `None` before it was read: an earlier session may have one.
    list: Option<String>,
}

impl Embeddings {
    /// Writes the files of an embedding, and then the list: TensorBoard fails for all runs where a
    /// list names a file that is missing.
    pub(crate) fn write(&mut self, health: &Health, files: &mut Files, of: EmbeddingFiles) {
        let written = of.encode().and_then(|encoded| {
            let run = files.directory().to_owned();
            self.write_encoded(files, encoded)
                .map_err(|(name, error)| Error::io("write", run.join(name), error))
        });
        if let Err(error) = written {
            Health::count(&health.dropped, 1);
            health.fail(error);
        }
    }

    fn write_encoded(
        &mut self,
        files: &mut Files,
        encoded: EncodedEmbedding,
    ) -> Result<(), (String, io::Error)> {
        for (name, bytes) in &encoded.files {
            let failed = |error| (name.display().to_string(), error);
            files.write_beside(name, bytes).map_err(failed)?;
        }
        let failed = |error| (CONFIG.to_owned(), error);
        let list = match self.list.take() {
            Some(list) => list,
            None => read(files).map_err(failed)?,
        };
        let list = with_entry(&list, &encoded.entry);
        files
            .write_beside(Path::new(CONFIG), list.as_bytes())
            .map_err(failed)?;
        self.list = Some(list);
        Ok(())
    }
}

/// The list with this entry, in the place of the one that has its name: the same step again.
fn with_entry(list: &str, entry: &str) -> String {
    let mut changed = String::with_capacity(list.len() + entry.len());
    let mut is_placed = false;
    for part in list.split_inclusive(END) {
        let (before, known) = part.split_at(part.find(BEGIN).unwrap_or(part.len()));
        changed.push_str(before);
        if name(known).is_none() || name(known) != name(entry) {
            changed.push_str(known);
        } else if !std::mem::replace(&mut is_placed, true) {
            changed.push_str(entry);
        }
    }
    if !is_placed {
        if !changed.is_empty() && !changed.ends_with('\n') {
            changed.push('\n');
        }
        changed.push_str(entry);
    }
    changed
}

/// The line of an entry that names it: TensorBoard keeps vectors by that.
fn name(entry: &str) -> Option<&str> {
    let mut lines = entry.lines().map(str::trim);
    lines.find(|line| line.starts_with("tensor_name:"))
}

fn read(files: &Files) -> io::Result<String> {
    let mut list = String::new();
    match files.read_beside(OsStr::new(CONFIG)) {
        Ok(mut file) => file.read_to_string(&mut list).map(|_| list),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(list),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, rest: &str) -> String {
        format!("embeddings {{\n  tensor_name: \"{name}\"\n{rest}}}\n")
    }

    #[test]
    fn an_entry_takes_the_place_of_the_one_of_its_name() {
        let sprite = "  sprite {\n    image_path: \"x\"\n  }\n";
        let head = "model_checkpoint_path: \"m\"\n";
        let list = format!("{head}{}{}", entry("a", sprite), entry("b", ""));
        let changed = with_entry(&list, &entry("a", "  metadata_path: \"y\"\n"));
        let wanted = entry("a", "  metadata_path: \"y\"\n");
        assert_eq!(changed, format!("{head}{wanted}{}", entry("b", "")));
        assert_eq!(with_entry(&list, &entry("b", "")), list);
        let longer = with_entry(&list, &entry("c", ""));
        assert_eq!(longer, format!("{list}{}", entry("c", "")));
        let nameless = "embeddings {\n  tensor_path: \"z\"\n}\n";
        let beside = with_entry(nameless, &entry("a", ""));
        assert_eq!(beside, format!("{nameless}{}", entry("a", "")));
        assert_eq!(with_entry("", &entry("a", "")), entry("a", ""));
    }
}
