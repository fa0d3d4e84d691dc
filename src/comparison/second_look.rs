//! What only a second pass shows: whether one side is the other times a factor, or the other cast
//! to a narrower type.

use half::{bf16, f16};

use crate::checkpoint::StoredType;
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::tensor_cursor::TensorCursor;
use crate::comparison::pair::TensorPair;
use crate::comparison::pair_reader::{PairBuffers, PairReader, no_memory};
use crate::comparison::statistics_pass::PairStatistics;
use crate::error::Result;
use crate::kernel::Elements;
use crate::model::types::DType;
use crate::platform::aligned::AlignedBytes;

/// Bytes of each side that are read at once.
const PIECE: usize = 512 << 10;

/// What one side is of the other.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct SecondLook {
    /// B is A times this, up to rounding.
    pub(super) factor: Option<f64>,
    /// One side is the other cast to a narrower type.
    pub(super) cast: Option<FoundCast>,
}

/// A cast of one side that is the other one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FoundCast {
    pub(super) to: StoredType,
    /// B is A cast, rather than A is B cast.
    pub(super) is_forward: bool,
}

/// Looks again at a pair whose statistics leave a factor or a cast possible.
pub(super) fn look(pair: &TensorPair, statistics: &PairStatistics) -> Result<SecondLook> {
    let casts = possible_casts(pair, statistics);
    let may_be_scaled = may_be_scaled(pair, statistics);
    if casts.is_empty() && !may_be_scaled {
        return Ok(SecondLook::default());
    }
    let mut buffers = PairBuffers::new(PIECE)?;
    let mut reader = PairReader::new(pair, &mut buffers);
    let most = reader.most() as u64;
    let (mut first, mut sums, mut casts) = (0, Products::default(), casts);
    let (mut wide_a, mut wide_b) = (Vec::new(), Vec::new());
    while first < pair.numbers() && (may_be_scaled || !casts.is_empty()) {
        let count = (pair.numbers() - first).min(most);
        let (a, b) = reader.read(first, count as usize)?;
        let views = (
            Elements::from_bytes(pair.dtype(), a),
            Elements::from_bytes(pair.dtype(), b),
        );
        if let (Some(a), Some(b)) = views {
            a.widen(&mut wide_a);
            b.widen(&mut wide_b);
        }
        casts.retain(|cast| {
            let mut pairs = wide_a.iter().zip(&wide_b);
            pairs.all(|(&a, &b)| cast.holds(a, b))
        });
        sums.add(&wide_a, &wide_b);
        first += count;
    }
    Ok(SecondLook {
        factor: if may_be_scaled {
            sums.factor(pair)
        } else {
            None
        },
        cast: casts.first().map(|cast| FoundCast {
            to: cast.to,
            is_forward: cast.is_forward,
        }),
    })
}

/// A cast of one side to a type, after which it is the other side.
struct Cast {
    to: StoredType,
    /// B is A cast, rather than the other way round.
    is_forward: bool,
    /// The values of a type of up to eight bits, sorted.
    values: Option<Vec<f64>>,
}

impl Cast {
    fn new(to: StoredType, is_forward: bool) -> Cast {
        let values = to.values();
        Cast {
            to,
            is_forward,
            values,
        }
    }

    fn holds(&self, a: f64, b: f64) -> bool {
        let (from, to) = if self.is_forward { (a, b) } else { (b, a) };
        if from.is_nan() {
            return to.is_nan();
        }
        match (self.to, &self.values) {
            // PyTorch takes doubles to half precision by way of single.
            (StoredType::BF16, _) => {
                let by_single = bf16::from_f32(from as f32).to_f64();
                by_single == to || bf16::from_f64(from).to_f64() == to
            }
            (StoredType::F16, _) => {
                let by_single = f16::from_f32(from as f32).to_f64();
                by_single == to || f16::from_f64(from).to_f64() == to
            }
            (StoredType::F32, _) => f64::from(from as f32) == to,
            (_, Some(values)) => is_nearest(values, from, to),
            _ => false,
        }
    }
}

/// Whether no value is nearer to `from` than `to`; beyond the largest one it is that, or NaN.
fn is_nearest(values: &[f64], from: f64, to: f64) -> bool {
    let (Some(&least), Some(&most)) = (values.first(), values.last()) else {
        return false;
    };
    if !to.is_finite() {
        return from < least || from > most;
    }
    let at = values.partition_point(|&value| value < to);
    let is_value = values.get(at) == Some(&to);
    let apart = (from - to).abs();
    let is_farther = |neighbour: Option<&f64>| {
        neighbour.is_none_or(|neighbour| (neighbour - from).abs() >= apart)
    };
    is_value && is_farther(at.checked_sub(1).and_then(|at| values.get(at))) && {
        is_farther(values.get(at + 1))
    }
}

/// A cast to bfloat16, the coarsest type with the range of single precision, moves a tensor by this
/// share of its norm at most: half a unit in the last place.
const MOST_ROUNDED: f64 = 1.0 / 256.0;

fn possible_casts(pair: &TensorPair, statistics: &PairStatistics) -> Vec<Cast> {
    let (a, b) = (pair.a.kind, pair.b.kind);
    if !a.is_float() || !b.is_float() || statistics.change.changed == 0 {
        return Vec::new();
    }
    if a != b {
        // To the narrower one.
        let (to, is_forward) = if b.bits() <= a.bits() {
            (b, true)
        } else {
            (a, false)
        };
        return match (a, b) {
            // Each has numbers that the other one has not.
            (StoredType::F16, StoredType::BF16) | (StoredType::BF16, StoredType::F16) => {
                vec![Cast::new(a, false), Cast::new(b, true)]
            }
            _ => vec![Cast::new(to, is_forward)],
        };
    }
    let share = statistics.change.deltas.norm() / statistics.a.norm();
    if share > MOST_ROUNDED {
        return Vec::new();
    }
    let narrower: &[StoredType] = match a {
        StoredType::F64 => &[StoredType::F32, StoredType::BF16, StoredType::F16],
        StoredType::F32 => &[StoredType::BF16, StoredType::F16],
        _ => &[],
    };
    // Not the other way round: where A was cast once, each small step away from it is one that a
    // cast of B would undo.
    let forward = |to: &StoredType| Cast::new(*to, true);
    narrower.iter().map(forward).collect()
}

/// The relative residual that rounding may leave behind a factor: errors of many steps add up in
/// single precision; in half precision one rounding is more than that.
fn most_residual(kind: StoredType) -> Option<f64> {
    match kind {
        StoredType::F64 | StoredType::C128 => Some(1e-7),
        StoredType::F32 | StoredType::C64 => Some(1e-5),
        StoredType::F16 => Some(1e-3),
        StoredType::BF16 => Some(4e-3),
        _ => None,
    }
}

/// Fewer elements look like a factor too easily.
const FEWEST_SCALED: u64 = 4;

/// Whether the norms leave a factor possible: the change is then as long as the factor makes it.
fn may_be_scaled(pair: &TensorPair, statistics: &PairStatistics) -> bool {
    let kinds = most_residual(pair.a.kind).zip(most_residual(pair.b.kind));
    let has_others = statistics.a.nonfinite() + statistics.b.nonfinite() > 0;
    let (a, b) = (statistics.a.norm(), statistics.b.norm());
    let change = statistics.change.deltas.norm();
    if kinds.is_none() || has_others || a == 0.0 || b == 0.0 || change == 0.0 {
        return false;
    }
    let factor_less_one = (b * b - a * a - change * change) / (2.0 * a * a);
    let off = (change - factor_less_one.abs() * a).abs();
    pair.numbers() >= FEWEST_SCALED && off <= 0.05 * change + 1e-6 * a
}

/// Sums of products of both sides, in `f64`.
#[derive(Default)]
struct Products {
    aa: f64,
    ab: f64,
    bb: f64,
}

impl Products {
    fn add(&mut self, a: &[f64], b: &[f64]) {
        let mut sums = [[0.0; 4]; 3];
        let (a, b) = (a.chunks(4), b.chunks(4));
        for (a, b) in a.zip(b) {
            for (lane, (a, b)) in a.iter().zip(b).enumerate() {
                for (sum, product) in sums.iter_mut().zip([a * a, a * b, b * b]) {
                    if let Some(sum) = sum.get_mut(lane) {
                        *sum += product;
                    }
                }
            }
        }
        let [aa, ab, bb] = sums.map(|lanes| lanes.iter().sum::<f64>());
        (self.aa, self.ab, self.bb) = (self.aa + aa, self.ab + ab, self.bb + bb);
    }

    /// The factor that leaves the least residual, where that is no more than rounding leaves, and
    /// far less than what the factor did.
    fn factor(&self, pair: &TensorPair) -> Option<f64> {
        let most = most_residual(pair.a.kind)?.max(most_residual(pair.b.kind)?);
        let factor = self.ab / self.aa;
        let residual = ((self.bb - factor * self.ab) / self.bb).max(0.0).sqrt();
        let is_scaled = residual <= most && (factor - 1.0).abs() >= 4.0 * residual.max(1e-7);
        is_scaled.then_some(factor)
    }
}

/// Whether both sides are equal bit by bit; ends at the first difference.
pub(super) fn are_equal(pair: &TensorPair) -> Result<bool> {
    let mut buffers = PairBuffers::new(PIECE)?;
    let mut reader = PairReader::new(pair, &mut buffers);
    let (most, mut first) = (reader.most() as u64, 0);
    while first < pair.numbers() {
        let count = (pair.numbers() - first).min(most);
        let (a, b) = reader.read(first, count as usize)?;
        if a != b {
            return Ok(false);
        }
        first += count;
    }
    Ok(true)
}

/// How many integers of two types differ in value, where `f64`, in which they were compared, does
/// not hold all of them; `None` for other pairs.
pub(super) fn differing_integers(pair: &TensorPair) -> Result<Option<u64>> {
    let kinds = [pair.a.kind, pair.b.kind];
    let is_wide = |kind: &StoredType| matches!(kind, StoredType::I64 | StoredType::U64);
    let are_integers = kinds.iter().all(|kind| !kind.is_float());
    if pair.is_one_type() || !are_integers || !kinds.iter().any(is_wide) {
        return Ok(None);
    }
    let mut sides = [Integers::new(&pair.a)?, Integers::new(&pair.b)?];
    let (mut first, mut differing) = (0, 0_u64);
    while first < pair.numbers() {
        let count = (pair.numbers() - first).min(MOST_INTEGERS);
        for side in &mut sides {
            side.read(first, count as usize)?;
        }
        let [a, b] = &sides;
        let pairs = a.values.iter().zip(&b.values);
        differing += pairs.filter(|(a, b)| a != b).count() as u64;
        first += count;
    }
    Ok(Some(differing))
}

/// Integers that are read at once.
const MOST_INTEGERS: u64 = 1 << 16;

/// The elements of an integer tensor, piece by piece, as a type that holds all of them.
struct Integers<'a> {
    kind: StoredType,
    cursor: TensorCursor<'a>,
    bytes: AlignedBytes,
    values: Vec<i128>,
}

impl<'a> Integers<'a> {
    fn new(tensor: &'a StoredTensor) -> Result<Integers<'a>> {
        let room = MOST_INTEGERS as usize * size_of::<i64>();
        Ok(Integers {
            kind: tensor.kind,
            cursor: TensorCursor::new(tensor),
            bytes: AlignedBytes::try_zeroed(room).ok_or_else(|| no_memory(room))?,
            values: Vec::new(),
        })
    }

    fn read(&mut self, first: u64, count: usize) -> Result<()> {
        let dtype = self.cursor.dtype();
        let bytes = self.bytes.as_mut_slice();
        let bytes = bytes.get_mut(..count * dtype.size()).unwrap_or_default();
        self.cursor.read(first, bytes)?;
        self.values.clear();
        if dtype == DType::I64 {
            let wide = bytes.as_chunks::<8>().0.iter();
            let value = |bytes: &[u8; 8]| match self.kind {
                StoredType::U64 => i128::from(u64::from_ne_bytes(*bytes)),
                _ => i128::from(i64::from_ne_bytes(*bytes)),
            };
            self.values.extend(wide.map(value));
        } else if let Some(elements) = Elements::from_bytes(dtype, bytes) {
            let narrow = (0..elements.len()).map(|index| elements.get(index) as i128);
            self.values.extend(narrow);
        }
        Ok(())
    }
}
