//! Low-rank adapters (LoRA): how large the product of a pair of factors is against the layer that
//! it is added to.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointTensor};
use crate::comparison::pair_reader::each_piece;
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

/// Factors of more elements are left out: their products would take minutes.
const MOST_ELEMENTS: u64 = 1 << 26;

/// Two factors of one layer.
struct Factors<'a> {
    down: &'a CheckpointTensor,
    up: &'a CheckpointTensor,
}

/// The adapters of both checkpoints.
pub(super) fn of(a: &Checkpoint, b: &Checkpoint) -> Result<Vec<AdapterChange>> {
    let (of_a, of_b) = (factors(a), factors(b));
    let names: std::collections::BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let norm = |factors: Option<&Factors<'_>>| factors.map(product_norm).transpose();
        let (norm_a, norm_b) = (norm(of_a.get(name))?, norm(of_b.get(name))?);
        let Some(factors) = of_b.get(name).or(of_a.get(name)) else {
            continue;
        };
        let rank = factors.down.shape().first().copied().unwrap_or(0);
        found.push(AdapterChange {
            name: name.clone(),
            rank,
            norm_a: norm_a.flatten(),
            norm_b: norm_b.flatten(),
            base_norm: base_norm(name, [a, b])?,
        });
    }
    found.sort_by(|a, b| alphanumeric_sort::compare_str(&a.name, &b.name));
    Ok(found)
}

fn factors(checkpoint: &Checkpoint) -> BTreeMap<String, Factors<'_>> {
    let mut found = BTreeMap::new();
    for down in checkpoint.tensors() {
        for (down_name, up_name) in NAMES {
            let Some((layer, rest)) = down.name().split_once(&format!(".{down_name}")) else {
                continue;
            };
            let up = checkpoint.tensor(&format!("{layer}.{up_name}{rest}"));
            if let Some(up) = up.filter(|up| are_factors(down, up)) {
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

/// The norm of `up * down` without making the product: the trace of the two Gram matrices of size
/// rank by rank.
fn product_norm(factors: &Factors<'_>) -> Result<Option<f64>> {
    let rank = factors.down.shape().first().copied().unwrap_or(0) as usize;
    let mut down = Vec::new();
    each_piece(factors.down.stored()?, |piece| {
        down.extend_from_slice(piece);
        true
    })?;
    let mut up = Vec::new();
    each_piece(factors.up.stored()?, |piece| {
        up.extend_from_slice(piece);
        true
    })?;
    // Rows of `down`, columns of `up`.
    let rows: Vec<&[f64]> = down.chunks((down.len() / rank.max(1)).max(1)).collect();
    let mut gram_up = vec![0.0; rank * rank];
    for row in up.chunks(rank) {
        for (x, products) in row.iter().zip(gram_up.chunks_mut(rank)) {
            for (y, sum) in row.iter().zip(products) {
                *sum += x * y;
            }
        }
    }
    let mut square = 0.0;
    for (one, products) in rows.iter().zip(gram_up.chunks(rank)) {
        for (other, up) in rows.iter().zip(products) {
            let product: f64 = one.iter().zip(*other).map(|(x, y)| x * y).sum();
            square += product * up;
        }
    }
    Ok(square.is_finite().then(|| square.max(0.0).sqrt()))
}

/// The norm of the layer's own weight: of the name itself, of what a wrapper calls it, or without
/// the prefixes that adapters put before names.
fn base_norm(layer: &str, checkpoints: [&Checkpoint; 2]) -> Result<Option<f64>> {
    let bare = layer.strip_prefix("base_model.model.").unwrap_or(layer);
    let names = [layer, bare].into_iter().flat_map(|layer| {
        [
            format!("{layer}.weight"),
            format!("{layer}.base_layer.weight"),
        ]
    });
    for name in names {
        for checkpoint in checkpoints {
            let Some(base) = checkpoint
                .tensor(&name)
                .filter(|base| base.stored_type().is_some_and(|kind| kind.is_float()))
            else {
                continue;
            };
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
