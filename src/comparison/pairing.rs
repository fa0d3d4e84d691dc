//! Which tensor of B is compared with which of A: by name, by name behind a prefix that a wrapper
//! adds, or by contents.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::{Checkpoint, CheckpointTensor};
use crate::comparison::content_hash;
use crate::comparison::pair::transposed;
use crate::error::Result;

/// How two tensors were found to belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// By their names.
    Name,
    /// By their contents.
    Contents,
    /// By their contents with rows and columns swapped.
    SwappedContents,
}

/// A row to be: indices into the tensors of A and of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) a: Option<usize>,
    pub(super) b: Option<usize>,
    pub(super) relation: Relation,
}

/// Matches all tensors of both; those of A in their order, then what only B has.
pub(super) fn matches(
    a: &Checkpoint,
    b: &Checkpoint,
    notes: &mut Vec<String>,
) -> Result<Vec<Match>> {
    let mut partners = by_name(a, b);
    align(a, b, &mut partners, notes);
    let by_contents = by_contents(a, b, &partners)?;
    let mut matches = Vec::with_capacity(a.tensors().len());
    for (at, partner) in partners.iter().enumerate() {
        let (b, relation) = match (partner, by_contents.get(&at)) {
            (Some(partner), _) => (Some(*partner), Relation::Name),
            (None, Some(&(partner, relation))) => (Some(partner), relation),
            (None, None) => (None, Relation::Name),
        };
        matches.push(Match {
            a: Some(at),
            b,
            relation,
        });
    }
    let taken: HashSet<usize> = matches.iter().filter_map(|found| found.b).collect();
    let added = (0..b.tensors().len()).filter(|at| !taken.contains(at));
    matches.extend(added.map(|at| Match {
        a: None,
        b: Some(at),
        relation: Relation::Name,
    }));
    Ok(matches)
}

fn by_name(a: &Checkpoint, b: &Checkpoint) -> Vec<Option<usize>> {
    let places: HashMap<&str, usize> = places(b);
    let partner = |tensor: &CheckpointTensor| places.get(tensor.name()).copied();
    a.tensors().iter().map(partner).collect()
}

fn places(checkpoint: &Checkpoint) -> HashMap<&str, usize> {
    let tensors = checkpoint.tensors().iter().enumerate();
    tensors.map(|(at, tensor)| (tensor.name(), at)).collect()
}

/// Names that are tried to find a prefix.
const TRIED: usize = 16;

/// Wrappers (`module.` of data parallelism, `_orig_mod.` of a compiler, `model.` of a trainer) put
/// a prefix before all names of one side: the one that joins most names is taken off, where it
/// joins half of those without a partner.
fn align(a: &Checkpoint, b: &Checkpoint, partners: &mut [Option<usize>], notes: &mut Vec<String>) {
    let taken: HashSet<usize> = partners.iter().flatten().copied().collect();
    let tensors = a.tensors().iter().zip(partners.iter());
    let only_a: Vec<&str> = tensors
        .filter(|(_, partner)| partner.is_none())
        .map(|(tensor, _)| tensor.name())
        .collect();
    let tensors = b.tensors().iter().enumerate();
    let only_b: Vec<&str> = tensors
        .filter(|(at, _)| !taken.contains(at))
        .map(|(_, tensor)| tensor.name())
        .collect();
    if only_a.is_empty() || only_b.is_empty() {
        return;
    }
    let of_b = best_prefix(&only_a, &only_b).map(|found| (found, true));
    let of_a = best_prefix(&only_b, &only_a).map(|found| (found, false));
    let best = of_b
        .into_iter()
        .chain(of_a)
        .max_by_key(|((_, joined), _)| *joined);
    let Some(((prefix, joined), is_of_b)) = best else {
        return;
    };
    if 2 * joined < only_a.len().min(only_b.len()) {
        return;
    }
    let places = places(b);
    for (tensor, partner) in a.tensors().iter().zip(partners.iter_mut()) {
        let other = match is_of_b {
            true => Some(format!("{prefix}{}", tensor.name())),
            false => tensor.name().strip_prefix(&*prefix).map(str::to_owned),
        };
        let place = other.and_then(|other| places.get(other.as_str()).copied());
        if partner.is_none() {
            *partner = place.filter(|place| !taken.contains(place));
        }
    }
    let side = if is_of_b { "B" } else { "A" };
    notes.push(format!(
        "names of {side} begin with {prefix:?}, which is left out: {joined} match"
    ));
}

/// The prefix that makes most of the short names some of the long ones, and how many.
fn best_prefix(short: &[&str], long: &[&str]) -> Option<(String, usize)> {
    let known: HashSet<&str> = long.iter().copied().collect();
    let mut tried = BTreeMap::new();
    for name in short.iter().take(TRIED) {
        let ends = long.iter().filter_map(|long| long.strip_suffix(name));
        for prefix in ends.filter(|prefix| prefix.ends_with(['.', '/'])) {
            tried.entry(prefix).or_insert_with(|| {
                let joined = |name: &&&str| known.contains(format!("{prefix}{name}").as_str());
                short.iter().filter(joined).count()
            });
        }
    }
    let best = tried.into_iter().max_by_key(|(_, joined)| *joined)?;
    (best.1 > 0).then(|| (best.0.to_owned(), best.1))
}

/// Of the tensors without a partner, those whose contents are in both.
fn by_contents(
    a: &Checkpoint,
    b: &Checkpoint,
    partners: &[Option<usize>],
) -> Result<BTreeMap<usize, (usize, Relation)>> {
    let taken: HashSet<usize> = partners.iter().flatten().copied().collect();
    // By type and sizes in any order: only what may be the same is read.
    let mut candidates: HashMap<Key, Vec<usize>> = HashMap::new();
    for (at, tensor) in b.tensors().iter().enumerate() {
        if let Some(key) = Key::of(tensor).filter(|_| !taken.contains(&at)) {
            candidates.entry(key).or_default().push(at);
        }
    }
    let (mut found, mut hashes) = (BTreeMap::new(), HashMap::new());
    for (at, tensor) in a.tensors().iter().enumerate() {
        let key = Key::of(tensor).filter(|_| partners.get(at) == Some(&None));
        let Some(others) = key.and_then(|key| candidates.get_mut(&key)) else {
            continue;
        };
        if others.is_empty() {
            continue;
        }
        let hash = content_hash::of(tensor.stored()?)?;
        let mut partner = None;
        for (place, &other) in others.iter().enumerate() {
            let stored = match b.tensors().get(other) {
                Some(other) => other.stored()?,
                None => continue,
            };
            if let Some(relation) = relation(tensor.stored()?, hash, stored, other, &mut hashes)? {
                partner = Some((place, other, relation));
                break;
            }
        }
        if let Some((place, other, relation)) = partner {
            others.remove(place);
            found.insert(at, (other, relation));
        }
    }
    Ok(found)
}

/// Whether two tensors hold the same, by their hashes, which are made once.
fn relation(
    a: &StoredTensor,
    hash: u64,
    b: &StoredTensor,
    place: usize,
    hashes: &mut HashMap<(usize, bool), u64>,
) -> Result<Option<Relation>> {
    let mut hash_of = |tensor: &StoredTensor, is_swapped: bool| -> Result<u64> {
        if let Some(&known) = hashes.get(&(place, is_swapped)) {
            return Ok(known);
        }
        let hash = content_hash::of(tensor)?;
        hashes.insert((place, is_swapped), hash);
        Ok(hash)
    };
    if a.shape == b.shape && hash_of(b, false)? == hash {
        return Ok(Some(Relation::Contents));
    }
    match transposed(b).filter(|swapped| swapped.shape == a.shape) {
        Some(swapped) if hash_of(&swapped, true)? == hash => Ok(Some(Relation::SwappedContents)),
        _ => Ok(None),
    }
}

/// What two tensors of the same contents have in common.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: crate::checkpoint::StoredType,
    sizes: Vec<u64>,
}

impl Key {
    fn of(tensor: &CheckpointTensor) -> Option<Key> {
        let mut sizes = tensor.shape().to_vec();
        sizes.sort_unstable();
        (tensor.elements() > 0).then_some(())?;
        Some(Key {
            kind: tensor.stored_type()?,
            sizes,
        })
    }
}
