//! Which tensor of B is compared with which of A: by name, by name behind a prefix that a wrapper
//! adds, or by contents.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::{Checkpoint, CheckpointTensor, StoredType};
use crate::comparison::content_hash;
use crate::comparison::pair::transposed;
use crate::comparison::workers;
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

/// Whether a row of these names is wanted: that of A, that of B, or both.
pub(super) type Keep<'a> = dyn Fn(&[&str]) -> bool + Sync + 'a;

/// Matches all tensors of both; those of A in their order, then what only B has. Then leaves out
/// what is not wanted: the partner of a wanted tensor may have another name.
///
/// # Errors
/// What the files cannot give, where contents are compared.
pub(super) fn matches(
    [a, b]: [&Checkpoint; 2],
    keep: &Keep<'_>,
    threads: usize,
    notes: &mut Vec<String>,
) -> Result<Vec<Match>> {
    let mut partners = by_name(a, b);
    align(a, b, &mut partners, notes);
    let by_contents = by_contents([a, b], &partners, keep, threads)?;
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
    matches.retain(|found| {
        let name = |checkpoint: &Checkpoint, at: Option<usize>| {
            let tensor = checkpoint.tensors().get(at?);
            tensor.map(|tensor| tensor.name().to_owned())
        };
        let names = [name(a, found.a), name(b, found.b)];
        let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
        keep(&names)
    });
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

/// Of the tensors without a partner, those whose contents are in both: first in the same order,
/// then with rows and columns swapped.
fn by_contents(
    checkpoints: [&Checkpoint; 2],
    partners: &[Option<usize>],
    keep: &Keep<'_>,
    threads: usize,
) -> Result<BTreeMap<usize, (usize, Relation)>> {
    let [a, b] = checkpoints;
    let taken: HashSet<usize> = partners.iter().flatten().copied().collect();
    let is_alone = |at: &usize| partners.get(*at) == Some(&None);
    let mut lone_a = lone(a, (0..a.tensors().len()).filter(is_alone), keep);
    let mut lone_b = lone(
        b,
        (0..b.tensors().len()).filter(|at| !taken.contains(at)),
        keep,
    );
    let mut found = BTreeMap::new();
    for relation in [Relation::Contents, Relation::SwappedContents] {
        // Only what may be the same is read.
        let kinds = |lone: &[LoneTensor<'_>], relation| -> HashSet<ContentKind> {
            let kinds = lone.iter().filter_map(|lone| lone.kind(relation));
            kinds.collect()
        };
        let (of_a, of_b) = (kinds(&lone_a, Relation::Contents), kinds(&lone_b, relation));
        let hash = |(): &mut (), lone: &LoneTensor<'_>| lone.hash(&of_b, Relation::Contents);
        let hashes_a = workers::each(threads, &lone_a, || Ok(()), hash)?;
        for (lone, hash) in lone_a.iter_mut().zip(&hashes_a) {
            lone.known.clone_from(hash);
        }
        let hash = |(): &mut (), lone: &LoneTensor<'_>| lone.hash(&of_a, relation);
        let hashes_b = workers::each(threads, &lone_b, || Ok(()), hash)?;
        let mut candidates: HashMap<HashedContents, VecDeque<usize>> = HashMap::new();
        for (lone, hash) in lone_b.iter().zip(hashes_b) {
            if let Some(hash) = hash {
                candidates.entry(hash).or_default().push_back(lone.at);
            }
        }
        for (lone, hash) in lone_a.iter().zip(hashes_a) {
            let others = hash.and_then(|hash| candidates.get_mut(&hash));
            if let Some(other) = others.and_then(VecDeque::pop_front) {
                found.insert(lone.at, (other, relation));
            }
        }
        lone_a.retain(|lone| !found.contains_key(&lone.at));
        let taken: HashSet<usize> = found.values().map(|(other, _)| *other).collect();
        lone_b.retain(|lone| !taken.contains(&lone.at));
    }
    Ok(found)
}

/// A tensor without a partner.
struct LoneTensor<'a> {
    at: usize,
    stored: &'a StoredTensor,
    /// Its contents in their own order, once they were read.
    known: Option<HashedContents>,
}

/// Of these tensors the wanted ones that can be read.
fn lone<'a>(
    checkpoint: &'a Checkpoint,
    places: impl Iterator<Item = usize>,
    keep: &Keep<'_>,
) -> Vec<LoneTensor<'a>> {
    let lone = |at: usize| {
        let tensor = checkpoint.tensors().get(at)?;
        let stored = tensor.stored().ok()?;
        let is_wanted = stored.elements() > 0 && keep(&[tensor.name()]);
        is_wanted.then_some(LoneTensor {
            at,
            stored,
            known: None,
        })
    };
    places.filter_map(lone).collect()
}

/// What two tensors of the same contents have in common.
type ContentKind = (StoredType, Vec<u64>);

type HashedContents = (ContentKind, u64);

impl LoneTensor<'_> {
    /// The type and the shape, of a matrix with swapped contents those of the swapped one.
    fn kind(&self, relation: Relation) -> Option<ContentKind> {
        let shape = match (relation, &*self.stored.shape) {
            (Relation::SwappedContents, &[rows, columns]) => vec![columns, rows],
            (Relation::SwappedContents, _) => return None,
            (_, shape) => shape.to_vec(),
        };
        Some((self.stored.kind, shape))
    }

    /// Its contents, where the other side has something of this kind and they are not constant.
    fn hash(
        &self,
        others: &HashSet<ContentKind>,
        relation: Relation,
    ) -> Result<Option<HashedContents>> {
        let Some(kind) = self.kind(relation).filter(|kind| others.contains(kind)) else {
            return Ok(None);
        };
        let hash = match relation {
            Relation::SwappedContents => match transposed(self.stored) {
                Some(swapped) => content_hash::of(&swapped)?,
                None => None,
            },
            _ if self.known.is_some() => return Ok(self.known.clone()),
            _ => content_hash::of(self.stored)?,
        };
        Ok(hash.map(|hash| (kind, hash)))
    }
}
