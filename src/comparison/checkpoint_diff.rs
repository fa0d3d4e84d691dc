//! The comparison of two checkpoints.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::{Checkpoint, CheckpointTensor, ElementPlace};
use crate::comparison::adapters::{self, AdapterChange};
use crate::comparison::change_verdict::ChangeVerdict;
use crate::comparison::pair::{TensorPair, transposed};
use crate::comparison::pairing::{self, Keep, Match, Relation};
use crate::comparison::second_look::{self, SecondLook};
use crate::comparison::statistics_pass::{self, PairStatistics, Passage};
use crate::comparison::tensor_change::{ChangeHistograms, ChangeStatistics, TensorChange, judge};
use crate::comparison::workers;
use crate::error::Result;
use crate::kernel::histogram::FineHistogram;

/// Compares two checkpoints, of the same format or not. Memory does not grow with the size of the
/// tensors, but for the factors of low-rank adapters, of which each thread holds one (128 MB at
/// most): a thread takes up to 30 MB, and 130 MB more where elements of a compressed file lie in
/// another order than their indices. Histograms are kept for each tensor.
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
    keep: &'a Keep<'a>,
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

impl Comparison {
    /// How many rows have which verdict, the most remarkable verdict first; none of zero.
    pub fn counts(&self) -> Vec<(ChangeVerdict, u64)> {
        let count = |verdict: ChangeVerdict| {
            let rows = self.rows.iter().filter(|row| row.verdict == verdict);
            (verdict, rows.count() as u64)
        };
        let counts = ChangeVerdict::ALL.into_iter().map(count);
        counts.filter(|(_, rows)| *rows > 0).collect()
    }
}

impl<'a> CheckpointDiff<'a> {
    /// From A, the earlier one, to B.
    pub fn new(a: &'a Checkpoint, b: &'a Checkpoint) -> CheckpointDiff<'a> {
        CheckpointDiff {
            a,
            b,
            threads: 1,
            histograms: false,
            keep: &|_| true,
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

    /// Compares only the rows for which this returns true. It gets the names of a row: that in A,
    /// that in B, or both, which may be equal. Tensors are matched before, so that the name on one
    /// side is enough to choose a pair.
    pub fn only(mut self, keep: &'a (dyn Fn(&[&str]) -> bool + Sync)) -> CheckpointDiff<'a> {
        self.keep = keep;
        self
    }

    /// Calls this, from any of the threads, with the bytes of both files that were read since it
    /// was called last. They add up to about [`bytes`](CheckpointDiff::bytes), unless a second look
    /// is needed.
    pub fn on_progress(mut self, progress: &'a (dyn Fn(u64) + Sync)) -> CheckpointDiff<'a> {
        self.progress = progress;
        self
    }

    /// Bytes of the elements of both checkpoints; tied ones count once.
    pub fn bytes(&self) -> u64 {
        let tensors = [self.a, self.b].into_iter().flat_map(Checkpoint::tensors);
        let wanted = tensors.filter(|tensor| (self.keep)(&[tensor.name()]));
        let own = wanted.filter(|tensor| tensor.alias_of().is_none());
        let stored = own.filter_map(|tensor| tensor.stored().ok());
        let bytes = stored.map(|stored| stored.elements() * stored.kind.bits() / 8);
        bytes.sum()
    }

    /// Compares them.
    ///
    /// # Errors
    /// What the files cannot give, and a file that changed meanwhile.
    pub fn run(self) -> Result<Comparison> {
        let mut notes = Vec::new();
        let both = [self.a, self.b];
        let matches = pairing::matches(both, self.keep, self.threads, &mut notes)?;
        let mut pairs = DistinctPairs::default();
        let drafts: Vec<RowDraft<'_>> = matches
            .into_iter()
            .filter_map(|found| self.draft(found, &mut pairs))
            .collect();
        let passage = Passage {
            threads: self.threads,
            histograms: self.histograms,
            progress: self.progress,
        };
        let found = statistics_pass::of_pairs(&pairs.pairs, &passage)?;
        let mut found: Vec<(TensorPair, PairStatistics)> =
            pairs.pairs.into_iter().zip(found).collect();
        let judge =
            |(): &mut (), (pair, found): &(TensorPair, PairStatistics)| JudgedPair::of(pair, found);
        let judged = workers::each(self.threads, &found, || Ok(()), judge)?;
        let mut rows = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let place = draft.pair.unwrap_or(usize::MAX);
            let found = found.get_mut(place).map(|(_, found)| found);
            let is_tied = pairs.tied.contains(&place);
            rows.extend(draft.finish(judged.get(place).zip(found), is_tied));
        }
        let adapters = adapters::of(both, &rows, self.keep, self.threads)?;
        self.a.check_unchanged()?;
        self.b.check_unchanged()?;
        Ok(Comparison {
            rows,
            adapters,
            notes,
        })
    }

    fn draft(&self, found: Match, pairs: &mut DistinctPairs<'a>) -> Option<RowDraft<'a>> {
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
        let is_alone = pair.is_none();
        let pair = pair.or_else(|| Some(TensorPair::alone(b?.stored().ok()?)));
        let places = (a.filter(|_| !is_alone), b);
        Some(RowDraft {
            a,
            b,
            pair: pair.map(|pair| pairs.place(pair, places, is_swapped)),
            is_alone,
            relation: found.relation,
            is_swapped,
        })
    }
}

/// What identifies a pair: where its elements lie, and whether those of B are swapped.
type PairPlace<'a> = (Option<ElementPlace<'a>>, ElementPlace<'a>, bool);

/// The pairs that are read: tied tensors are one.
#[derive(Default)]
struct DistinctPairs<'a> {
    pairs: Vec<TensorPair>,
    places: HashMap<PairPlace<'a>, usize>,
    /// Those of several rows.
    tied: HashSet<usize>,
}

impl<'a> DistinctPairs<'a> {
    /// The place of a pair, which is added if it is a new one.
    fn place(
        &mut self,
        pair: TensorPair,
        (a, b): (Option<&'a CheckpointTensor>, Option<&'a CheckpointTensor>),
        is_swapped: bool,
    ) -> usize {
        let new = self.pairs.len();
        let place_b = b.and_then(CheckpointTensor::place);
        let place = match place_b.filter(|_| a.is_none_or(|a| a.place().is_some())) {
            Some(b) => {
                let key = (a.and_then(CheckpointTensor::place), b, is_swapped);
                *self.places.entry(key).or_insert(new)
            }
            // Without elements.
            None => new,
        };
        if place == new {
            self.pairs.push(pair);
        } else {
            self.tied.insert(place);
        }
        place
    }
}

/// What the contents of a pair say.
struct JudgedPair {
    statistics: ChangeStatistics,
    verdict: ChangeVerdict,
    reason: Option<String>,
}

impl JudgedPair {
    fn of(pair: &TensorPair, found: &PairStatistics) -> Result<JudgedPair> {
        let mut statistics = ChangeStatistics::of(found, pair.is_one_type());
        if let Some(differing) = second_look::differing_integers(pair)? {
            statistics.changed = differing;
        }
        let look = match statistics.changed {
            0 => SecondLook::default(),
            _ => second_look::look(pair, found)?,
        };
        let types = (pair.a.kind, pair.b.kind);
        let (mut verdict, mut reason) = judge(&mut statistics, look, types);
        if verdict == ChangeVerdict::Changed && is_transposed(pair, &statistics)? {
            let why = "B is A with rows and columns swapped";
            (verdict, reason) = (ChangeVerdict::Transposed, Some(why.to_owned()));
        }
        Ok(JudgedPair {
            statistics,
            verdict,
            reason,
        })
    }
}

/// A row before its statistics are known.
struct RowDraft<'a> {
    a: Option<&'a CheckpointTensor>,
    b: Option<&'a CheckpointTensor>,
    /// Its place among the pairs.
    pair: Option<usize>,
    /// The pair is B alone.
    is_alone: bool,
    relation: Relation,
    /// B is compared with its rows and columns swapped.
    is_swapped: bool,
}

impl RowDraft<'_> {
    fn finish(
        self,
        found: Option<(&JudgedPair, &mut PairStatistics)>,
        is_tied: bool,
    ) -> Option<TensorChange> {
        let is_alone = self.is_alone;
        let Some((judged, found)) = found else {
            return self.finish_alone(None);
        };
        if is_alone {
            return self.finish_alone(Some(found));
        }
        let (verdict, reason) = self.verdict(judged);
        let row = TensorChange::of(self.a, self.b, verdict, reason)?;
        Some(TensorChange {
            statistics: Some(judged.statistics),
            histograms: histograms(found, is_tied).map(Box::new),
            ..row
        })
    }

    /// A row without statistics; `found` are those of B alone.
    fn finish_alone(self, found: Option<&mut PairStatistics>) -> Option<TensorChange> {
        let (verdict, mut reason) = self.without_statistics();
        let nonfinite = found.as_ref().map(|found| found.b.nonfinite());
        if let (Some(found), Some(nonfinite @ 1..)) = (&found, nonfinite) {
            let found = format!(
                "{nonfinite} of {} elements are NaN or infinite",
                found.b.count
            );
            reason = Some(match reason {
                Some(reason) => format!("{reason}; {found}"),
                None => found,
            });
        }
        let row = TensorChange::of(self.a, self.b, verdict, reason)?;
        Some(TensorChange {
            nonfinite_alone: nonfinite,
            ..row
        })
    }

    /// The verdict with what names and shapes say.
    fn verdict(&self, judged: &JudgedPair) -> (ChangeVerdict, Option<String>) {
        let contents = (judged.verdict, judged.reason.clone());
        let is_identical = judged.verdict == ChangeVerdict::Identical;
        match judged.verdict {
            ChangeVerdict::Identical if self.is_swapped => (ChangeVerdict::Transposed, None),
            // Worse than another shape.
            ChangeVerdict::NonFinite | ChangeVerdict::Zero | ChangeVerdict::Transposed => contents,
            _ if self.shapes().is_some_and(|(a, b)| a != b) => {
                let how = match (judged.statistics.changed, contents.1) {
                    (0, _) if is_identical => "the same elements in order".to_owned(),
                    (0, Some(reason)) => reason,
                    _ => "other elements".to_owned(),
                };
                (ChangeVerdict::Reshaped, Some(how))
            }
            _ if is_identical && self.relation == Relation::Contents => {
                (ChangeVerdict::Renamed, None)
            }
            _ => contents,
        }
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

/// The histograms of a pair, which other rows of tied tensors need, too.
fn histograms(found: &mut PairStatistics, is_tied: bool) -> Option<ChangeHistograms> {
    let part = |histogram: &mut Option<FineHistogram>| match is_tied {
        true => histogram.clone(),
        false => histogram.take(),
    };
    Some(ChangeHistograms {
        a: part(&mut found.histogram_a)?,
        b: part(&mut found.histogram_b)?,
        change: part(&mut found.histogram_change)?,
    })
}
