//! The files that the projector reads of a run, and their list.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::error::Error;
use crate::run::files::Files;
use crate::run::health::Health;
use crate::summary::projector::{CONFIG, EmbeddingFiles, EncodedEmbedding};

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
        let mut list = match self.list.take() {
            Some(list) => list,
            None => read(files).map_err(failed)?,
        };
        // The same step again takes the place of the one before.
        if !list.contains(&encoded.entry) {
            list.push_str(&encoded.entry);
        }
        files
            .write_beside(Path::new(CONFIG), list.as_bytes())
            .map_err(failed)?;
        self.list = Some(list);
        Ok(())
    }
}

fn read(files: &Files) -> io::Result<String> {
    let mut list = String::new();
    match files.read_beside(OsStr::new(CONFIG)) {
        Ok(mut file) => file.read_to_string(&mut list).map(|_| list),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(list),
        Err(error) => Err(error),
    }
}
