//! What was seen of one variable: its newest steps, summed up as they come and go, and what is kept from further back.

use std::collections::VecDeque;

use crate::kernel::stats::{Change, Moments};
use crate::source::values::Glimpse;

/// One variable at one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Observation {
    pub(crate) glimpse: Glimpse,
    /// `None` for a frozen variable of which only a sample is compared.
    pub(crate) seen: Option<Seen>,
    /// Some bit changed; `None` when there was nothing to compare with.
    pub(crate) moved: Option<bool>,
}

/// The numbers of a variable that was analysed in full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) moments: Moments,
    pub(crate) change: Option<Change>,
    /// Norm of the change over the norm before.
    pub(crate) update_ratio: Option<f64>,
    /// Of this change and the one before.
    pub(crate) cosine: Option<f64>,
}

/// An update ratio or gradient norm is not told apart below this.
const FLOOR: f64 = 1e-30;

/// One step's share of the sums.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    moved: bool,
    log_ratio: Option<f64>,
    log_delta: Option<f64>,
    /// Share of the elements in rows that changed at all.
    changed: Option<f64>,
    changed_of_all: Option<f64>,
    /// Changed elements and those of them that moved by one unit in the last place.
    ulps: Option<(u64, u64)>,
    cosine: Option<f64>,
    glimpse: Glimpse,
    log_gradient: Option<f64>,
    log_norm: Option<f64>,
    is_large: bool,
    /// Share of the rows with a changed element.
    rows: Option<f64>,
}

/// Sums over the window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    /// Steps compared.
    pub(crate) steps: u32,
    pub(crate) moves: u32,
    ratios: Mean,
    deltas: Mean,
    changed: Mean,
    changed_of_all: Mean,
    changed_elements: u64,
    one_ulp: u64,
    cosines: Mean,
    gradients: Mean,
    rows: Mean,
    pub(crate) undefined: u32,
    pub(crate) zero: u32,
    pub(crate) perhaps_zero: u32,
    pub(crate) nonzero: u32,
    pub(crate) nonfinite: u32,
    /// Steps with an update ratio above `large_update_ratio`.
    pub(crate) large: u32,
}

/// A mean whose members come and go.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    count: u32,
    sum: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.count += 1;
            self.sum += value;
        }
    }

    fn remove(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.count -= 1;
            // What rounding leaves behind ends with the last member.
            self.sum = if self.count == 0 {
                0.0
            } else {
                self.sum - value
            };
        }
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl Sums {
    fn count(&mut self, entry: &Entry, step: impl Fn(&mut u32)) {
        step(&mut self.steps);
        if entry.moved {
            step(&mut self.moves);
        }
        if entry.is_large {
            step(&mut self.large);
        }
        match entry.glimpse {
            Glimpse::Unseen => {}
            Glimpse::Undefined => step(&mut self.undefined),
            Glimpse::Zero => step(&mut self.zero),
            Glimpse::PerhapsZero => step(&mut self.perhaps_zero),
            Glimpse::NonZero(_) => step(&mut self.nonzero),
            Glimpse::NonFinite => step(&mut self.nonfinite),
        }
    }

    fn add(&mut self, entry: &Entry) {
        self.count(entry, |count| *count += 1);
        self.ratios.add(entry.log_ratio);
        self.deltas.add(entry.log_delta);
        self.changed.add(entry.changed);
        self.changed_of_all.add(entry.changed_of_all);
        self.cosines.add(entry.cosine);
        self.gradients.add(entry.log_gradient);
        self.rows.add(entry.rows);
        let (changed, one_ulp) = entry.ulps.unwrap_or_default();
        self.changed_elements += changed;
        self.one_ulp += one_ulp;
    }

    fn remove(&mut self, entry: &Entry) {
        self.count(entry, |count| *count -= 1);
        self.ratios.remove(entry.log_ratio);
        self.deltas.remove(entry.log_delta);
        self.changed.remove(entry.changed);
        self.changed_of_all.remove(entry.changed_of_all);
        self.cosines.remove(entry.cosine);
        self.gradients.remove(entry.log_gradient);
        self.rows.remove(entry.rows);
        let (changed, one_ulp) = entry.ulps.unwrap_or_default();
        self.changed_elements -= changed;
        self.one_ulp -= one_ulp;
    }

    /// Natural logarithm of the update ratio's geometric mean.
    pub(crate) fn log_ratio(&self) -> Option<f64> {
        self.ratios.value()
    }

    /// The same of the change's norm.
    pub(crate) fn log_delta(&self) -> Option<f64> {
        self.deltas.value()
    }

    /// The same of the gradient's norm.
    pub(crate) fn log_gradient(&self) -> Option<f64> {
        self.gradients.value()
    }

    /// Mean share of elements that changed.
    pub(crate) fn changed_of_all(&self) -> Option<f64> {
        self.changed_of_all.value()
    }

    /// The same of those in rows that changed at all.
    pub(crate) fn changed(&self) -> Option<f64> {
        self.changed.value()
    }

    pub(crate) fn one_ulp(&self) -> Option<f64> {
        (self.changed_elements > 0).then(|| self.one_ulp as f64 / self.changed_elements as f64)
    }

    /// The mean, and how many there are.
    pub(crate) fn cosine(&self) -> Option<(f64, u32)> {
        Some((self.cosines.value()?, self.cosines.count))
    }

    /// Mean share of the rows that a step changed.
    pub(crate) fn rows(&self) -> Option<f64> {
        self.rows.value()
    }

    /// Looks at the gradient.
    pub(crate) fn looks(&self) -> u32 {
        self.undefined + self.zero + self.perhaps_zero + self.nonzero + self.nonfinite
    }
}

/// What stands out from before the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    /// Natural logarithm of the highest geometric mean, over a window, of the norm of the change. Not of the update ratio,
    /// which is huge for a variable that begins at zero.
    pub(crate) log_delta: f64,
    /// Of the gradient's norm at that time.
    pub(crate) log_gradient: Option<f64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    pub(crate) sums: Sums,
    /// Steps compared since the first.
    pub(crate) steps: u64,
    pub(crate) first: Option<Moments>,
    pub(crate) newest: Option<Moments>,
    /// The first weights were seen before any backward pass, and so as they were initialised.
    pub(crate) is_fresh: bool,
    pub(crate) peak: Option<Peak>,
    pub(crate) path: f64,
    /// The highest mean update ratio of a window.
    pub(crate) ratio_peak: Option<f64>,
    /// Steps in a row, the newest included, without a changed bit.
    pub(crate) still: u64,
    /// The first of these.
    pub(crate) still_since: Option<i64>,
    /// A bit for each of the newest steps, the newest the lowest: the update was as large as the variable.
    pub(crate) huge: u64,
    /// How often that was so.
    pub(crate) jumps: u32,
    /// Each step changes a few rows, and not the same ones: a table of which each batch takes what it needs.
    pub(crate) is_sparse: bool,
    pub(crate) newest_glimpse: Glimpse,
}

/// What an observation is measured with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) window: usize,
    pub(crate) warm_up: u64,
    pub(crate) large: f64,
    pub(crate) huge: f64,
    /// No variable of the model has a gradient yet.
    pub(crate) is_fresh: bool,
    /// The norm that a fresh initialisation would give: what a change of weights that began at zero is measured with.
    pub(crate) reference_norm: f64,
}

impl History {
    /// Adds the newest step.
    pub(crate) fn push(&mut self, step: i64, observation: &Observation, scale: Scale) {
        if !matches!(observation.glimpse, Glimpse::Unseen) {
            self.newest_glimpse = observation.glimpse;
        }
        if let Some(seen) = &observation.seen {
            self.newest = Some(seen.moments);
            if self.first.is_none() {
                self.is_fresh = scale.is_fresh;
            }
            self.first.get_or_insert(seen.moments);
        }
        let Some(moved) = observation.moved else {
            return;
        };
        let entry = self.entry(observation, moved, scale);
        self.steps += 1;
        if moved {
            (self.still, self.still_since) = (0, None);
        } else {
            self.still += 1;
            self.still_since.get_or_insert(step);
        }
        self.keep_peak(scale);
        if self.entries.len() >= scale.window
            && let Some(oldest) = self.entries.pop_front()
        {
            self.sums.remove(&oldest);
        }
        self.sums.add(&entry);
        self.entries.push_back(entry);
        if let Some(log_ratio) = self
            .sums
            .log_ratio()
            .filter(|_| self.entries.len() >= scale.window)
        {
            let ratio = log_ratio.exp();
            self.ratio_peak = Some(self.ratio_peak.map_or(ratio, |peak| peak.max(ratio)));
        }
    }

    fn entry(&mut self, observation: &Observation, moved: bool, scale: Scale) -> Entry {
        let seen = observation.seen.as_ref();
        let change = seen.and_then(|seen| seen.change.as_ref());
        let delta_norm = change.map_or(0.0, |change| change.deltas.norm());
        if delta_norm.is_finite() {
            self.path += delta_norm;
        }
        let norm = seen.map_or(0.0, |seen| seen.moments.norm());
        let size = delta_norm / norm.max(scale.reference_norm);
        self.huge = self.huge << 1 | u64::from(size >= scale.huge);
        self.jumps += u32::from(size >= scale.huge);
        let positive =
            |value: f64| (value > 0.0 && value.is_finite()).then(|| value.max(FLOOR).ln());
        let gradient = match observation.glimpse {
            Glimpse::NonZero(norm) => norm.and_then(positive),
            _ => None,
        };
        Entry {
            moved,
            log_ratio: seen.and_then(|seen| seen.update_ratio).and_then(positive),
            log_delta: positive(delta_norm),
            changed: change.and_then(changed_of_living_rows),
            changed_of_all: change.and_then(Change::changed_fraction),
            ulps: change
                .filter(|change| change.rows > 0)
                .map(|change| (change.changed, change.one_ulp)),
            cosine: seen.and_then(|seen| seen.cosine),
            glimpse: observation.glimpse,
            log_gradient: gradient,
            log_norm: positive(norm),
            is_large: size > scale.large,
            rows: change
                .filter(|change| change.changed > 0)
                .and_then(Change::changed_share_of_rows),
        }
    }

    /// Remembers the highest mean of a full window after warm-up.
    fn keep_peak(&mut self, scale: Scale) {
        let is_full = self.entries.len() >= scale.window && self.steps >= scale.warm_up;
        let Some(log_delta) = self.sums.log_delta().filter(|_| is_full) else {
            return;
        };
        if self.peak.is_none_or(|peak| log_delta > peak.log_delta) {
            self.peak = Some(Peak {
                log_delta,
                log_gradient: self.sums.log_gradient(),
            });
        }
    }

    /// How much the norm has grown from the oldest to the newest step of the window.
    pub(crate) fn growth(&self) -> Option<f64> {
        let first = self.entries.iter().find_map(|entry| entry.log_norm)?;
        let last = self.entries.iter().rev().find_map(|entry| entry.log_norm)?;
        Some((last - first).exp())
    }

    /// How much the gradient's norm has grown from the first to the second half of the window.
    pub(crate) fn gradient_growth(&self) -> Option<f64> {
        let mean = |entries: &mut dyn Iterator<Item = &Entry>| {
            let mut mean = Mean::default();
            entries.for_each(|entry| mean.add(entry.log_gradient));
            mean.value()
        };
        let half = self.entries.len() / 2;
        let before = mean(&mut self.entries.iter().take(half))?;
        let after = mean(&mut self.entries.iter().skip(half))?;
        Some((after - before).exp())
    }

    /// The weights were replaced: what was seen before says nothing of what comes.
    pub(crate) fn forget(&mut self) {
        *self = History::default();
    }
}

/// Of a table of which each step takes a few rows, only those rows could change.
fn changed_of_living_rows(change: &Change) -> Option<f64> {
    let rows = match change.rows {
        0 => 0.0,
        rows => change.changed_rows as f64 / rows as f64,
    };
    let fraction = change.changed_fraction()?;
    Some(if rows > 0.0 {
        (fraction / rows).min(1.0)
    } else {
        fraction
    })
}
