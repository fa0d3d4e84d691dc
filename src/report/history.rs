//! What was seen of one variable: its newest steps, summed up as they come and go, and what is kept
//! from further back.

use std::collections::VecDeque;

use crate::kernel::stats::{Change, Moments};
use crate::model::measured::ChangedSince;
use crate::report::evidence_table::Required;
use crate::report::gradient_trail::GradientTrail;
use crate::report::rhythm::Rhythm;
use crate::source::gradient_sampler::GradientSample;

/// One variable at one step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observation {
    pub(crate) glimpse: GradientSample,
    /// Whether it required a gradient at the call; `None` where that is not known.
    pub(crate) required: Option<bool>,
    /// It moved towards another variable of its model that is trained and has its shape; `None`
    /// where nobody looked.
    pub(crate) follows: Option<bool>,
    /// Its elements are next to those of such a variable; `None` where nobody looked.
    pub(crate) is_copy: Option<bool>,
    /// All its rows are equal but for a few; `None` where rows are not told apart.
    pub(crate) has_equal_rows: Option<bool>,
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
    /// Every so many steps: the share of a sample that has changed since.
    pub(crate) changed_since: Option<ChangedSince>,
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
    glimpse: GradientSample,
    need: Need,
    log_gradient: Option<f64>,
    norm: f64,
    delta: f64,
    is_large: bool,
    /// Share of the rows with a changed element.
    rows: Option<f64>,
}

/// Whether a gradient was required at a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Need {
    #[default]
    Unknown,
    No,
    Yes,
    /// Not at the call, and yet its gradient is another than at the call before: it was in between.
    Between,
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
    /// Calls at which it required a gradient; did not, but in between; did not.
    required: u32,
    between: u32,
    unrequired: u32,
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

/// A mean of shares: rounding of what came and went must not make it negative.
fn share(mean: Mean) -> Option<f64> {
    Some(mean.value()?.max(0.0))
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
        match entry.need {
            Need::Unknown => {}
            Need::No => step(&mut self.unrequired),
            Need::Yes => step(&mut self.required),
            Need::Between => step(&mut self.between),
        }
        match entry.glimpse {
            GradientSample::Unseen => {}
            GradientSample::Undefined => step(&mut self.undefined),
            GradientSample::Zero => step(&mut self.zero),
            GradientSample::PerhapsZero => step(&mut self.perhaps_zero),
            GradientSample::NonZero(_) => step(&mut self.nonzero),
            GradientSample::NonFinite => step(&mut self.nonfinite),
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
        share(self.changed_of_all)
    }

    /// The same of those in rows that changed at all.
    pub(crate) fn changed(&self) -> Option<f64> {
        share(self.changed)
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

    /// Whether it required a gradient.
    pub(crate) fn required(&self) -> Required {
        match (self.required, self.between, self.unrequired) {
            (0, 0, 0) => Required::Unknown,
            (0, 0, _) => Required::Never,
            (_, 0, 0) => Required::Always,
            _ => Required::InTurn,
        }
    }

    /// So often that it did not, and its gradient was a new one all the same.
    pub(crate) fn between(&self) -> u32 {
        self.between
    }
}

/// What stands out from before the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peak {
    /// Natural logarithm of the highest geometric mean, over a window, of the norm of the change.
    /// Not of the update ratio, which is huge for a variable that begins at zero.
    pub(crate) log_delta: f64,
    /// Of the gradient's norm at that time.
    pub(crate) log_gradient: Option<f64>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
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
    /// A bit for each of the newest steps, the newest the lowest: the update was as large as the
    /// variable.
    pub(crate) huge: u64,
    /// How often that was so.
    pub(crate) jumps: u32,
    /// Each step changes a few rows, and not the same ones: a table of which each batch takes what
    /// it needs.
    pub(crate) is_sparse: bool,
    /// More and more of its rows have come to be changed, each as a whole.
    pub(crate) is_table: bool,
    pub(crate) newest_glimpse: GradientSample,
    /// What was seen of its gradient since the first call.
    pub(crate) trail: GradientTrail,
    /// Its own moves, counted in those of its model.
    pub(crate) moves: Rhythm,
    /// As of the newest call, before enough of them are there to be summed up.
    required_now: Option<bool>,
    /// The first of the calls in a row, the newest included, at which it did not require a
    /// gradient.
    pub(crate) unrequired_since: Option<i64>,
    /// Another variable began at the step at which it stopped.
    pub(crate) is_handed_over: bool,
    /// Looks in a row, the newest included, at which it followed another variable.
    pub(crate) following: u32,
    /// Looks at whether it does.
    pub(crate) follow_looks: u32,
    /// It began as a copy of a trained variable.
    pub(crate) is_copy: bool,
    /// Looks since it last moved, and those that saw a gradient that is not zero.
    looks_at_rest: u32,
    visits_at_rest: u32,
    /// Steps at which anything of it was seen.
    seen: Rhythm,
    /// Elements compared since the first step, those that changed, and those by one unit in the
    /// last place.
    elements: f64,
    changed: f64,
    one_ulp: f64,
    /// Steps in a row, the newest included, at which its rows were equal and changed.
    pub(crate) equal_rows: u64,
    /// Steps in a row over which the update ratio was next to nothing.
    pub(crate) slow: u64,
    /// The norm of the newest gradient that was not zero, to tell a new one from one that was left
    /// behind.
    gradient_norm: Option<f64>,
    /// Of the first ten steps, those at which the update was as large as the variable.
    pub(crate) early_jumps: u32,
    /// Of the first step that changed it: the norm of the change over that of the variable.
    pub(crate) first_ratio: Option<f64>,
    /// The first of the steps in a row, the newest included, at which the update was large.
    pub(crate) large_since: Option<i64>,
    /// The step of the first look.
    pub(crate) first_step: Option<i64>,
    /// See [`History::spread`].
    spreads: Mean,
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
    /// The norm that a fresh initialisation would give: what a change of weights that began at zero
    /// is measured with.
    pub(crate) reference_norm: f64,
    /// An update ratio below this is next to nothing.
    pub(crate) slow: f64,
    /// The model moved at this step.
    pub(crate) model_moved: bool,
    /// Calls left out just before, at which nothing moved, and the first of them.
    pub(crate) idle: Idle,
}

/// A [`History::spread`] above this is that of a view.
pub(crate) const VIEW: f64 = 0.6;

/// Calls that were left out since nothing moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(crate) calls: u64,
    /// The first step of these in a row; `None` where that is not known.
    pub(crate) since: Option<i64>,
}

/// Steps at the beginning in which steps as large as the variable are counted apart.
const EARLY: u64 = 10;

impl History {
    /// Adds the newest step.
    pub(crate) fn push(&mut self, step: i64, observation: &Observation, scale: Scale) {
        self.first_step.get_or_insert(step);
        let is_seen = observation.seen.is_some() || observation.moved.is_some();
        self.seen.pass(1, is_seen);
        if !matches!(observation.glimpse, GradientSample::Unseen) {
            self.newest_glimpse = observation.glimpse;
        }
        let need = self.need(step, observation);
        if need != Need::No {
            self.trail.look(step, observation.glimpse);
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
        let entry = Entry {
            need,
            ..self.entry(observation, moved, scale)
        };
        self.steps += 1;
        if moved {
            (self.still, self.still_since) = (0, None);
        } else {
            self.still += 1;
            let first = scale.idle.since.filter(|_| scale.idle.calls > 0);
            self.still_since.get_or_insert(first.unwrap_or(step));
        }
        if need != Need::No {
            self.moves
                .pass(u64::from(scale.model_moved || moved), moved);
        }
        self.follow(step, observation, &entry, moved);
        self.keep_peak(scale);
        if self.entries.len() >= scale.window
            && let Some(oldest) = self.entries.pop_front()
        {
            self.sums.remove(&oldest);
        }
        self.sums.add(&entry);
        self.entries.push_back(entry);
        if let Some(since) = observation.seen.and_then(|seen| seen.changed_since) {
            self.take_spread(since);
        }
        if let Some(log_ratio) = self
            .sums
            .log_ratio()
            .filter(|_| self.entries.len() >= scale.window)
        {
            let ratio = log_ratio.exp();
            self.ratio_peak = Some(self.ratio_peak.map_or(ratio, |peak| peak.max(ratio)));
            self.slow = if ratio < scale.slow { self.slow + 1 } else { 0 };
        }
    }

    /// Whether it required a gradient at this call, or between this one and the one before.
    fn need(&mut self, step: i64, observation: &Observation) -> Need {
        let norm = match observation.glimpse {
            GradientSample::NonZero(norm) => norm,
            _ => None,
        };
        let before = match norm {
            Some(norm) => self.gradient_norm.replace(norm),
            None => None,
        };
        let is_new = std::iter::zip(before, norm).any(|(before, now)| before != now);
        self.required_now = observation.required.or(self.required_now);
        let need = match observation.required {
            None => Need::Unknown,
            Some(true) => Need::Yes,
            Some(false) if is_new => Need::Between,
            Some(false) => Need::No,
        };
        match need {
            Need::No => {
                self.unrequired_since.get_or_insert(step);
            }
            _ => self.unrequired_since = None,
        }
        need
    }

    /// Takes how many moves of the model ago some variable began that had been at rest: it has
    /// taken over where this one stops at that step.
    pub(crate) fn hand_over(&mut self, awakening: Option<u64>) {
        if self.still == 0 {
            self.is_handed_over = false;
        } else if self.moves.since() == 1 && awakening.is_some_and(|ago| ago <= 1) {
            self.is_handed_over = true;
        }
    }

    /// Keeps count of what lasts.
    fn follow(&mut self, step: i64, observation: &Observation, entry: &Entry, moved: bool) {
        match observation.follows {
            Some(true) => self.following += 1,
            Some(false) => self.following = 0,
            None => {}
        }
        self.follow_looks += u32::from(observation.follows.is_some());
        self.is_copy |= observation.is_copy == Some(true);
        if moved {
            (self.looks_at_rest, self.visits_at_rest) = (0, 0);
        } else if observation.glimpse != GradientSample::Unseen {
            self.looks_at_rest += 1;
            self.visits_at_rest +=
                u32::from(matches!(observation.glimpse, GradientSample::NonZero(_)));
        }
        if let Some(change) = observation.seen.and_then(|seen| seen.change) {
            self.elements += change.deltas.count as f64;
            self.changed += change.changed as f64;
            self.one_ulp += change.one_ulp as f64;
        }
        match observation.has_equal_rows {
            Some(true) if moved => self.equal_rows += 1,
            Some(true) | None => {}
            Some(false) => self.equal_rows = 0,
        }
        match entry.is_large {
            true => {
                self.large_since.get_or_insert(step);
            }
            false => self.large_since = None,
        }
        if self.steps <= EARLY {
            self.early_jumps += (self.huge & 1) as u32;
        }
        if self.first_ratio.is_none() {
            self.first_ratio = entry.log_ratio.map(f64::exp);
        }
    }

    /// Whether it required a gradient over the window, or at the newest call before anything was
    /// compared.
    pub(crate) fn required(&self) -> Required {
        match (self.sums.steps, self.required_now) {
            (0, Some(true)) => Required::Always,
            (0, Some(false)) => Required::Never,
            _ => self.sums.required(),
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
            GradientSample::NonZero(norm) => norm.and_then(positive),
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
            need: Need::Unknown,
            log_gradient: gradient,
            norm,
            delta: delta_norm,
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
        let known = |entry: &&Entry| entry.norm > 0.0 && entry.norm.is_finite();
        let first = self.entries.iter().find(known)?.norm;
        let last = self.entries.iter().rev().find(known)?.norm;
        Some(last / first)
    }

    /// It had gradients while it stood still, at most of the looks.
    pub(crate) fn has_gradient_at_rest(&self) -> bool {
        const FEWEST: u32 = 2;
        self.visits_at_rest >= FEWEST && 2 * self.visits_at_rest >= self.looks_at_rest
    }

    /// Nothing has been seen of it for longer than there were pauses before: what is known of it is
    /// old.
    pub(crate) fn is_out_of_sight(&self, least: u64) -> bool {
        self.seen.since() >= self.seen.patience(least)
    }

    /// Since the first step, few elements have changed at a step, and those mostly by the smallest
    /// step there is.
    pub(crate) fn has_flickered(&self, one_ulp: f64) -> bool {
        const FEW: f64 = 0.02;
        self.changed > 0.0
            && self.changed < FEW * self.elements
            && self.one_ulp >= one_ulp * self.changed
    }

    /// Takes how many elements have changed over some steps, beside how many each of them has
    /// changed.
    fn take_spread(&mut self, since: ChangedSince) {
        let Some(a_step) = self.sums.changed_of_all() else {
            return;
        };
        // Those that any of the steps would have changed, had each drawn its own.
        let most = 1.0 - (1.0 - a_step.clamp(0.0, 1.0)).powf(f64::from(since.steps));
        self.spreads.add((most > 0.0).then(|| since.share / most));
    }

    /// The elements that some steps have changed together, as a part of what they would have
    /// changed had each drawn its own. Near 1 in a short view of weights that are kept in a longer
    /// type, of which no step is lost: each element has its turn. Where updates are lost, those
    /// elements change at each step that are near enough to zero, and the others never.
    pub(crate) fn spread(&self) -> Option<f64> {
        self.spreads.value()
    }

    /// Of few rows that the oldest step of the window changed, more and more have come to be
    /// changed, and each as a whole: where updates are next to nothing, single elements flicker, in
    /// other rows from step to step.
    pub(crate) fn has_more_rows(&self) -> bool {
        const FEW: f64 = 0.25;
        const MORE: f64 = 1.5;
        let oldest = self.entries.front().and_then(|entry| entry.rows);
        let newest = self.entries.back().and_then(|entry| entry.rows);
        const WHOLE: f64 = 0.5;
        let both = std::iter::zip(oldest, newest).next();
        let is_whole = self.sums.changed().is_some_and(|changed| changed > WHOLE);
        is_whole && both.is_some_and(|(oldest, newest)| oldest < FEW && newest > MORE * oldest)
    }

    /// Over the window, the share of its way that has led towards zero; `None` where it did not
    /// move or was not measured.
    pub(crate) fn shrinking(&self) -> Option<f64> {
        let (first, last) = (self.entries.front()?, self.entries.back()?);
        let way: f64 = self.entries.iter().skip(1).map(|entry| entry.delta).sum();
        (way > 0.0 && way.is_finite()).then(|| (first.norm - last.norm) / way)
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
