//! The comparison of two checkpoints.

use crate::checkpoint::{Checkpoint, CheckpointTensor};
use crate::comparison::adapters::{self, AdapterChange};
use crate::comparison::change_verdict::ChangeVerdict;
use crate::comparison::pair::{TensorPair, transposed};
use crate::comparison::pairing::{self, Match, Relation};
use crate::comparison::second_look::{self, SecondLook};
use crate::comparison::statistics_pass::{self, PairStatistics, Passage};
use crate::comparison::tensor_change::{ChangeHistograms, ChangeStatistics, TensorChange, judge};
use crate::error::Result;

/// Compares two checkpoints, of the same format or not. Memory is bounded by a few megabytes a
/// thread, whatever the size of the checkpoints.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let save = |name: &str, last: u8| {
/// #     let header = br#"{"fc.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  "#;
/// #     let mut file = (header.len() as u64).to_le_bytes().to_vec();
/// #     file.extend(header);
/// #     file.extend([0, 0, 128, 63, 0, 0, 0, last]);
/// #     std::fs::write(dir.path().join(name), file)
/// # };
/// # save("before.safetensors", 64)?;
/// # save("after.safetensors", 65)?;
/// use tch_tensorboard::{ChangeVerdict, Checkpoint, CheckpointDiff};
///
/// let before = Checkpoint::open(dir.path().join("before.safetensors"))?;
/// let after = Checkpoint::open(dir.path().join("after.safetensors"))?;
/// let comparison = CheckpointDiff::new(&before, &after).threads(2).run()?;
/// let row = &comparison.rows[0];
/// assert_eq!((row.name.as_str(), row.verdict), ("fc.weight", ChangeVerdict::Changed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CheckpointDiff<'a> {
    a: &'a Checkpoint,
    b: &'a Checkpoint,
    threads: usize,
    histograms: bool,
    progress: &'a (dyn Fn(u64) + Sync),
}

/// What became of every tensor between two checkpoints.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Comparison {
    /// The tensors of A in their natural order, then those that only B has.
    pub rows: Vec<TensorChange>,
    /// Pairs of low-rank factors, with the size of their product against their layer.
    pub adapters: Vec<AdapterChange>,
    /// What is worth knowing beside the rows.
    pub notes: Vec<String>,
}

impl<'a> CheckpointDiff<'a> {
    /// From A, the earlier one, to B.
    pub fn new(a: &'a Checkpoint, b: &'a Checkpoint) -> CheckpointDiff<'a> {
        CheckpointDiff {
            a,
            b,
            threads: 1,
            histograms: false,
            progress: &|_| {},
        }
    }

    /// Threads that read and compare, at least 1, which is the default.
    pub fn threads(mut self, threads: usize) -> CheckpointDiff<'a> {
        self.threads = threads.clamp(1, 256);
        self
    }

    /// Counts histograms of both sides and of the change, which `log_comparison` writes.
    pub fn histograms(mut self, histograms: bool) -> CheckpointDiff<'a> {
        self.histograms = histograms;
        self
    }

    /// Calls this, from any of the threads, with the bytes of both files that were read since it
    /// was called last. They add up to [`bytes`](CheckpointDiff::bytes), unless a second look is
    /// needed.
    pub fn on_progress(mut self, progress: &'a (dyn Fn(u64) + Sync)) -> CheckpointDiff<'a> {
        self.progress = progress;
        self
    }

    /// Bytes of the elements of both checkpoints.
    pub fn bytes(&self) -> u64 {
        let tensors = [self.a, self.b].into_iter().flat_map(Checkpoint::tensors);
        let stored = tensors.filter_map(|tensor| tensor.stored().ok());
        let bytes = stored.map(|stored| stored.elements() * stored.kind.bits() / 8);
        bytes.sum()
    }

    /// Compares them.
    ///
    /// # Errors
    /// What the files cannot give, and a file that changed meanwhile.
    pub fn run(self) -> Result<Comparison> {
        let mut notes = Vec::new();
        let matches = pairing::matches(self.a, self.b, &mut notes)?;
        let drafts: Vec<RowDraft<'_>> = matches
            .into_iter()
            .filter_map(|found| self.draft(found))
            .collect();
        let pairs: Vec<TensorPair> = drafts
            .iter()
            .filter_map(|draft| draft.pair.clone())
            .collect();
        let passage = Passage {
            threads: self.threads,
            histograms: self.histograms,
            progress: self.progress,
        };
        let mut found = statistics_pass::of_pairs(&pairs, &passage)?.into_iter();
        let mut rows = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let statistics = draft.pair.as_ref().and_then(|_| found.next());
            rows.extend(draft.finish(statistics)?);
        }
        let adapters = adapters::of(self.a, self.b)?;
        self.a.check_unchanged()?;
        self.b.check_unchanged()?;
        Ok(Comparison {
            rows,
            adapters,
            notes,
        })
    }

    fn draft(&self, found: Match) -> Option<RowDraft<'a>> {
        let a = found.a.and_then(|at| self.a.tensors().get(at));
        let b = found.b.and_then(|at| self.b.tensors().get(at));
        a.or(b)?;
        let stored = a
            .and_then(|a| a.stored().ok())
            .zip(b.and_then(|b| b.stored().ok()));
        let (mut pair, mut is_swapped) = (None, false);
        if let Some((a, b)) = stored {
            let swapped = transposed(b).filter(|swapped| swapped.shape == a.shape);
            is_swapped = match found.relation {
                Relation::SwappedContents => true,
                // Of equal shapes the order says nothing yet.
                _ => a.shape != b.shape && swapped.is_some(),
            };
            pair = match swapped.filter(|_| is_swapped) {
                Some(swapped) => TensorPair::new(a, &swapped),
                None => TensorPair::new(a, b),
            };
        }
        Some(RowDraft {
            a,
            b,
            pair,
            relation: found.relation,
            is_swapped,
        })
    }
}

/// A row before its statistics are known.
struct RowDraft<'a> {
    a: Option<&'a CheckpointTensor>,
    b: Option<&'a CheckpointTensor>,
    pair: Option<TensorPair>,
    relation: Relation,
    /// B is compared with its rows and columns swapped.
    is_swapped: bool,
}

impl RowDraft<'_> {
    fn finish(self, found: Option<PairStatistics>) -> Result<Option<TensorChange>> {
        let (Some(pair), Some(mut found)) = (&self.pair, found) else {
            let (verdict, reason) = self.without_statistics();
            return Ok(TensorChange::of(self.a, self.b, verdict, reason));
        };
        let mut statistics = ChangeStatistics::of(&found, pair.is_one_type());
        let look = match statistics.changed {
            0 => SecondLook::default(),
            _ => second_look::look(pair, &found)?,
        };
        let types = (pair.a.kind, pair.b.kind);
        let (mut verdict, mut reason) = judge(&mut statistics, look, types);
        let is_same = verdict == ChangeVerdict::Identical;
        let is_reshaped = self.shapes().is_some_and(|(a, b)| a != b);
        if is_same && self.is_swapped {
            (verdict, reason) = (ChangeVerdict::Transposed, None);
        } else if verdict == ChangeVerdict::Changed && is_transposed(pair, &statistics)? {
            let why = "B is A with rows and columns swapped";
            (verdict, reason) = (ChangeVerdict::Transposed, Some(why.to_owned()));
        } else if is_reshaped {
            let how = if is_same {
                "the same elements in order"
            } else {
                "other elements"
            };
            (verdict, reason) = (ChangeVerdict::Reshaped, Some(how.to_owned()));
        } else if is_same && self.relation == Relation::Contents {
            (verdict, reason) = (ChangeVerdict::Renamed, None);
        }
        let row = TensorChange::of(self.a, self.b, verdict, reason);
        Ok(row.map(|row| TensorChange {
            statistics: Some(statistics),
            histograms: histograms(&mut found).map(Box::new),
            ..row
        }))
    }

    fn shapes(&self) -> Option<(&[u64], &[u64])> {
        self.a
            .map(CheckpointTensor::shape)
            .zip(self.b.map(CheckpointTensor::shape))
    }

    fn without_statistics(&self) -> (ChangeVerdict, Option<String>) {
        let sides = [self.a, self.b].into_iter().flatten();
        let mut reasons = sides.filter_map(CheckpointTensor::unreadable_reason);
        let reason = reasons.next().map(str::to_owned);
        match (self.a, self.b) {
            (Some(_), None) => (ChangeVerdict::Missing, reason),
            (None, _) => (ChangeVerdict::Added, reason),
            _ if reason.is_some() => (ChangeVerdict::Unreadable, reason),
            _ => {
                let reason = "another number of elements".to_owned();
                (ChangeVerdict::Reshaped, Some(reason))
            }
        }
    }
}

/// Whether a square matrix that changed everywhere is the other one with rows and columns swapped.
fn is_transposed(pair: &TensorPair, statistics: &ChangeStatistics) -> Result<bool> {
    let is_square = matches!(&*pair.a.shape, [rows, columns] if rows == columns && *rows > 1);
    let apart = (statistics.norm_a - statistics.norm_b).abs();
    if !is_square || apart > 1e-6 * statistics.norm_a || !pair.is_one_type() {
        return Ok(false);
    }
    let Some(swapped) = transposed(&pair.b).and_then(|swapped| TensorPair::new(&pair.a, &swapped))
    else {
        return Ok(false);
    };
    second_look::are_equal(&swapped)
}

fn histograms(found: &mut PairStatistics) -> Option<ChangeHistograms> {
    Some(ChangeHistograms {
        a: found.histogram_a.take()?,
        b: found.histogram_b.take()?,
        change: found.histogram_change.take()?,
    })
}
