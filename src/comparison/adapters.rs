//! Low-rank adapters (LoRA): how large the product of a pair of factors is against the layer that
//! it is added to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::checkpoint::{Checkpoint, CheckpointTensor};
use crate::comparison::pair_reader::each_piece;
use crate::comparison::pairing::Keep;
use crate::comparison::tensor_change::TensorChange;
use crate::comparison::workers;
use crate::error::Result;

/// A pair of low-rank factors and the layer they belong to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdapterChange {
    /// The layer's name, without the factors' parts.
    pub name: String,
    /// The smaller size of the factors.
    pub rank: u64,
    /// Euclidean norm of the product of the factors in A, without the adapter's scale.
    pub norm_a: Option<f64>,
    /// The same in B.
    pub norm_b: Option<f64>,
    /// Norm of the layer's own weight, from whichever checkpoint has it.
    pub base_norm: Option<f64>,
}

impl AdapterChange {
    /// The product's norm in B, or in A where B has none, over that of the layer.
    pub fn relative(&self) -> Option<f64> {
        let product = self.norm_b.or(self.norm_a)?;
        self.base_norm
            .filter(|base| *base > 0.0)
            .map(|base| product / base)
    }
}

/// How libraries name the two factors: the first one applied (down), then the second (up).
const NAMES: [(&str, &str); 4] = [
    ("lora_A", "lora_B"),
    ("lora_a", "lora_b"),
    ("lora_down", "lora_up"),
    ("lora.down", "lora.up"),
];

/// Factors of more elements are left out: their products would take minutes. One factor of a pair
/// is in memory, 8 bytes an element.
const MOST_ELEMENTS: u64 = 1 << 24;

/// Two factors of one layer.
struct Factors<'a> {
    down: &'a CheckpointTensor,
    up: &'a CheckpointTensor,
}

/// The adapters of both checkpoints of whose names `keep` holds. `rows` are those of the
/// comparison, whose norms need not be computed again.
pub(super) fn of(
    [a, b]: [&Checkpoint; 2],
    rows: &[TensorChange],
    keep: &Keep<'_>,
    threads: usize,
) -> Result<Vec<AdapterChange>> {
    let (of_a, of_b) = (factors(a, keep), factors(b, keep));
    let names: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let norms = BaseNorms::of([a, b], rows);
    let adapter = |(): &mut (), name: &&String| -> Result<Option<AdapterChange>> {
        let (in_a, in_b) = (of_a.get(*name), of_b.get(*name));
        let Some(factors) = in_b.or(in_a) else {
            return Ok(None);
        };
        let norm = |factors: Option<&Factors<'_>>| factors.map(product_norm).transpose();
        Ok(Some(AdapterChange {
            name: (*name).clone(),
            rank: factors.down.shape().first().copied().unwrap_or(0),
            norm_a: norm(in_a)?.flatten(),
            norm_b: norm(in_b)?.flatten(),
            base_norm: norms.of_layer(name)?,
        }))
    };
    let found = workers::each(threads, &names, || Ok(()), adapter)?;
    let mut found: Vec<AdapterChange> = found.into_iter().flatten().collect();
    found.sort_by(|a, b| alphanumeric_sort::compare_str(&a.name, &b.name));
    Ok(found)
}

fn factors<'a>(checkpoint: &'a Checkpoint, keep: &Keep<'_>) -> BTreeMap<String, Factors<'a>> {
    let mut found = BTreeMap::new();
    for down in checkpoint.tensors() {
        for (down_name, up_name) in NAMES {
            let Some((layer, rest)) = down.name().split_once(&format!(".{down_name}")) else {
                continue;
            };
            let up = checkpoint.tensor(&format!("{layer}.{up_name}{rest}"));
            let is_wanted = |up: &&CheckpointTensor| {
                are_factors(down, up) && keep(&[down.name()]) && keep(&[up.name()])
            };
            if let Some(up) = up.filter(is_wanted) {
                found.insert(layer.to_owned(), Factors { down, up });
            }
        }
    }
    found
}

/// Matrices, or convolutions whose second factor has a kernel of one element.
fn are_factors(down: &CheckpointTensor, up: &CheckpointTensor) -> bool {
    let (Some(&rank), [_, up_rank, kernel @ ..]) = (down.shape().first(), up.shape()) else {
        return false;
    };
    let are_floats = [down, up].iter().all(|factor| {
        factor
            .stored_type()
            .is_some_and(|kind| kind.is_float() && kind.parts() == 1)
    });
    let is_small = down.elements().max(up.elements()) <= MOST_ELEMENTS && rank <= 4096;
    are_floats && is_small && rank > 0 && rank == *up_rank && kernel.iter().all(|size| *size == 1)
}

/// The norm of `up * down` without making the product: the trace of the product of two Gram
/// matrices of size rank by rank, of which the upper triangles are enough.
fn product_norm(factors: &Factors<'_>) -> Result<Option<f64>> {
    let rank = factors.down.shape().first().copied().unwrap_or(0).max(1) as usize;
    let mut down = Vec::new();
    each_piece(factors.down.stored()?, |piece| {
        down.extend_from_slice(piece);
        true
    })?;
    let gram_up = gram_of_columns(factors.up, rank)?;
    let rows: Vec<&[f64]> = down.chunks((down.len() / rank).max(1)).collect();
    let mut square = 0.0;
    for (at, (one, products)) in rows.iter().zip(gram_up.chunks(rank)).enumerate() {
        let upper = rows.iter().zip(products).enumerate().skip(at);
        for (other_at, (other, up)) in upper {
            let product: f64 = one.iter().zip(*other).map(|(x, y)| x * y).sum();
            let times = if other_at == at { 1.0 } else { 2.0 };
            square += times * product * up;
        }
    }
    Ok(square.is_finite().then(|| square.max(0.0).sqrt()))
}

/// The products of the columns of a matrix of so many columns; zero below the diagonal.
fn gram_of_columns(matrix: &CheckpointTensor, columns: usize) -> Result<Vec<f64>> {
    let mut gram = vec![0.0; columns * columns];
    let mut rest: Vec<f64> = Vec::new();
    each_piece(matrix.stored()?, |piece| {
        rest.extend_from_slice(piece);
        let rows = rest.chunks_exact(columns);
        let left = rows.remainder().len();
        for row in rows {
            for (at, (x, products)) in row.iter().zip(gram.chunks_mut(columns)).enumerate() {
                for (y, sum) in row.iter().zip(products).skip(at) {
                    *sum += x * y;
                }
            }
        }
        rest.drain(..rest.len() - left);
        true
    })?;
    Ok(gram)
}

/// The norms of the layers that adapters belong to.
struct BaseNorms<'a> {
    checkpoints: [&'a Checkpoint; 2],
    /// Known from the comparison, by the name in either checkpoint.
    known: [HashMap<&'a str, f64>; 2],
}

impl<'a> BaseNorms<'a> {
    fn of(checkpoints: [&'a Checkpoint; 2], rows: &'a [TensorChange]) -> BaseNorms<'a> {
        let mut known = [HashMap::new(), HashMap::new()];
        for row in rows {
            let Some(statistics) = &row.statistics else {
                continue;
            };
            let [in_a, in_b] = &mut known;
            in_a.insert(row.name.as_str(), statistics.norm_a);
            let name = row.other_name.as_ref().unwrap_or(&row.name);
            in_b.insert(name.as_str(), statistics.norm_b);
        }
        BaseNorms { checkpoints, known }
    }

    /// The norm of a layer's own weight: of the name itself, of what a wrapper calls it, or without
    /// the prefixes that adapters put before names.
    fn of_layer(&self, layer: &str) -> Result<Option<f64>> {
        let bare = layer.strip_prefix("base_model.model.").unwrap_or(layer);
        let names = [layer, bare].into_iter().flat_map(|layer| {
            [
                format!("{layer}.weight"),
                format!("{layer}.base_layer.weight"),
            ]
        });
        for name in names {
            for (checkpoint, known) in self.checkpoints.iter().zip(&self.known) {
                let is_float = |base: &&CheckpointTensor| {
                    base.stored_type().is_some_and(|kind| kind.is_float())
                };
                let Some(base) = checkpoint.tensor(&name).filter(is_float) else {
                    continue;
                };
                if let Some(norm) = known.get(name.as_str()) {
                    return Ok(Some(*norm));
                }
                let mut square = 0.0;
                each_piece(base.stored()?, |piece| {
                    square += piece.iter().map(|x| x * x).sum::<f64>();
                    true
                })?;
                return Ok(Some(square.sqrt()));
            }
        }
        Ok(None)
    }
}
