//! What `torch.save` wrote before PyTorch 1.6: five pickles one after the other (a magic number, a
//! version, facts about the machine, the value, the keys of its storages), then the storages, each
//! with its number of elements in front.

use std::collections::HashMap;
use std::sync::Arc;

use crate::checkpoint::contents::Contents;
use crate::checkpoint::pickle::{self, Graph, Node, NodeId, PickleStream};
use crate::checkpoint::rebuild::{LONGEST_KEY, Storages, storage_type};
use crate::checkpoint::section::FileSection;
use crate::checkpoint::state_dict;
use crate::checkpoint::stored_type::StoredType;
use crate::checkpoint::watched_file::WatchedFile;
use crate::error::Result;

/// `0x1950a86a20f9469cfc6c` as a pickle of protocol 2 writes it.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Whether the first bytes are those of a pickle.
pub(super) fn is_pickle(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

/// Whether the first bytes are those of `torch.save`.
pub(super) fn is_torch(head: &[u8]) -> bool {
    head.get(2..).is_some_and(|rest| rest.starts_with(MAGIC))
}

struct StreamStorages {
    whole: FileSection,
    by_key: HashMap<String, FileSection>,
}

impl Storages for StreamStorages {
    fn find(&self, key: &str) -> std::result::Result<FileSection, String> {
        let found = self.by_key.get(key).cloned();
        found.ok_or_else(|| format!("needs storage {key:?}, which the file does not have"))
    }

    fn pickle(&self) -> &FileSection {
        &self.whole
    }
}

/// A stream of `torch.save`, or any other pickle: of that the arrays of numpy that it holds.
///
/// # Errors
/// Pickles that cannot be read, and storages that reach beyond the end of the file.
pub(super) fn read(file: &Arc<WatchedFile>, head: &[u8], part: Option<&str>) -> Result<Contents> {
    let whole = FileSection::whole(file.clone());
    let mut stream = PickleStream::new(&whole, 0);
    let is_torch = is_torch(head);
    if is_torch {
        for _ in 0..3 {
            pickle::read(&mut stream)?;
        }
    }
    let (graph, top) = pickle::read(&mut stream)?;
    let by_key = match is_torch {
        true => {
            let keys = pickle::read(&mut stream)?;
            storages(&whole, stream.position(), &types(&graph), &keys)?
        }
        false => HashMap::new(),
    };
    let storages = StreamStorages { whole, by_key };
    let contents = state_dict::read(&graph, top, &storages, part);
    contents.map_err(|reason| file.damaged(reason))
}

/// The element type of each storage that the value names; bytes for untyped ones.
fn types(graph: &Graph) -> HashMap<String, StoredType> {
    let mut types = HashMap::new();
    for id in graph.persistent() {
        if let Some([_, class, key, ..]) = graph.as_sequence(id)
            && let Some((_, class)) = graph.as_global(*class)
            && let Some(key) = graph.as_text(*key)
            && key.len() <= LONGEST_KEY
            && let Ok(kind) = storage_type(class)
        {
            types.insert(key.to_owned(), kind.unwrap_or(StoredType::U8));
        }
    }
    types
}

fn storages(
    whole: &FileSection,
    start: u64,
    types: &HashMap<String, StoredType>,
    (graph, keys): &(Graph, NodeId),
) -> Result<HashMap<String, FileSection>> {
    let damaged = |reason: &str| whole.file.damaged(reason);
    let Node::List(keys) = graph.get(*keys) else {
        return Err(damaged("has no list of its storages"));
    };
    let (mut at, mut found) = (start, HashMap::new());
    let mut cursor = whole.cursor();
    for key in keys {
        let key = graph
            .as_text(*key)
            .ok_or_else(|| damaged("has a storage without a key"))?;
        // Without a type its length is unknown, and so is where the next one begins.
        let Some(kind) = types.get(key) else {
            break;
        };
        let mut elements = [0; 8];
        cursor.read_at(at, &mut elements)?;
        let length = u64::from_le_bytes(elements).checked_mul(kind.bits() / 8);
        let section = length.and_then(|length| whole.part(at + 8, length));
        let section = section.ok_or_else(|| {
            damaged("has a storage that reaches beyond its end; it was cut short or is damaged")
        })?;
        at = at + 8 + section.len;
        found.insert(key.to_owned(), section);
    }
    Ok(found)
}
