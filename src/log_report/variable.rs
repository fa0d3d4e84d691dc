//! One variable, or a role that stands for several, as its log tells of it: observations for the
//! rules, step by step.

use std::sync::Arc;

use crate::kernel::stats::{Change, Moments};
use crate::log_report::sighting::Sighting;
use crate::model::statistic::Statistic;
use crate::model::types::DType;
use crate::model::variable_info::{Role, VariableInfo};
use crate::report::facts::Facts;
use crate::report::history::{Observation, Seen};
use crate::source::gradient_sampler::GradientSample;

/// What stands behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A variable that this crate has logged.
    Variable,
    /// All variables of a role, in a model of thousands.
    Role,
    /// Histograms of another writer: only their points can be compared, not the steps between.
    Foreign,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct LoggedVariable {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// As its description says.
    pub(crate) traits: Option<VariableInfo>,
    /// It is judged. Not so what only has gradients in the log, and what only has scalars under
    /// `model/`: an aggregate beside its variables.
    pub(crate) is_member: bool,
    /// The newest step of its values.
    pub(crate) seen_at: Option<i64>,
    /// The user says that it is not meant to move.
    is_frozen: bool,
    /// Of the step that is being read.
    pub(crate) sighting: Sighting,
    /// Some step told which share of the elements changed.
    pub(crate) knows_changed: bool,
    count: Option<f64>,
    mean: Option<f64>,
    norm: Option<f64>,
    fingerprint: Option<u64>,
    pub(crate) newest: Newest,
}

/// The numbers of the newest step that had any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Newest {
    pub(crate) mean: Option<f64>,
    pub(crate) std: Option<f64>,
    pub(crate) norm: Option<f64>,
    pub(crate) update_ratio: Option<f64>,
    pub(crate) changed_fraction: Option<f64>,
    pub(crate) drift: Option<f64>,
    pub(crate) nonfinite: u64,
    pub(crate) zero_fraction: Option<f64>,
}

impl LoggedVariable {
    pub(crate) fn new(name: &str, kind: Kind, is_frozen: bool) -> LoggedVariable {
        LoggedVariable {
            name: name.into(),
            kind,
            traits: None,
            is_member: kind == Kind::Foreign,
            seen_at: None,
            is_frozen,
            sighting: Sighting::default(),
            knows_changed: false,
            count: None,
            mean: None,
            norm: None,
            fingerprint: None,
            newest: Newest::default(),
        }
    }

    /// What the rules are told of it. What the log does not tell is chosen so that they stay
    /// silent: a flat tensor of f32 that is meant to be trained.
    pub(crate) fn facts(&self) -> Facts {
        let unknown = || VariableInfo {
            dtype: DType::F32,
            shape: self.flat_shape(),
            role: Role::Trainable,
            is_member: None,
        };
        let mut traits = self.traits.clone().unwrap_or_else(unknown);
        if self.is_frozen {
            traits.role = Role::Frozen;
        }
        let facts = Facts::new(&self.name, traits);
        match self.traits {
            Some(_) => facts,
            // A number that grows with what the log tells would be another variable each time.
            None => Facts {
                shape: vec![1],
                ..facts
            },
        }
    }

    /// The sizes, or the number of elements where the log does not tell them.
    pub(crate) fn shape(&self) -> Vec<i64> {
        match &self.traits {
            Some(traits) => traits.shape.clone(),
            None => self.flat_shape(),
        }
    }

    fn flat_shape(&self) -> Vec<i64> {
        // As a float of any size is taken: at the ends.
        vec![self.count.unwrap_or(0.0) as i64]
    }

    /// The weights were replaced or the run began again: the next step has nothing to be compared
    /// with.
    pub(crate) fn forget(&mut self) {
        (self.norm, self.fingerprint, self.seen_at) = (None, None, None);
    }

    /// What the step that was read says, but for a gradient that is missing.
    pub(crate) fn observe(&mut self) -> Observation {
        let sighting = std::mem::take(&mut self.sighting);
        // The user's word that it is frozen outweighs gradients that somebody logged of it.
        let glimpse = match self.is_frozen {
            true => GradientSample::Unseen,
            false => sighting.glimpse(),
        };
        if !sighting.has_weights {
            return Observation {
                glimpse,
                ..Observation::default()
            };
        }
        let moments = self.moments(&sighting);
        let fingerprint = sighting.weights.map(|seen| seen.fingerprint);
        let moved = match self.kind {
            Kind::Foreign => self
                .fingerprint
                .zip(fingerprint)
                .map(|(then, now)| then != now),
            Kind::Variable | Kind::Role => sighting.moved(),
        };
        let norm_before = self.norm.or_else(|| Some(moments.norm()));
        let change = moved
            .filter(|_| self.kind != Kind::Foreign)
            .map(|moved| change(&sighting, moved, &moments, norm_before));
        let seen = Seen {
            moments,
            change,
            update_ratio: sighting.update_ratio(),
            cosine: None,
            changed_since: None,
        };
        self.knows_changed |= sighting.changed_fraction().is_some();
        self.fingerprint = fingerprint.or(self.fingerprint);
        self.norm = moments.std().map(|_| moments.norm());
        self.remember(&sighting, &seen);
        Observation {
            glimpse,
            required: self.required(),
            seen: Some(seen),
            moved,
            ..Observation::default()
        }
    }

    /// Whether it requires a gradient, as far as its role tells.
    fn required(&self) -> Option<bool> {
        let role = self.traits.as_ref().map(|traits| traits.role);
        match (self.is_frozen, role) {
            (true, _) => Some(false),
            (false, None) => None,
            (false, Some(role)) => Some(role == Role::Trainable),
        }
    }

    /// Of what was written, and what is known from before: a mean changes slowly, a number of
    /// elements not at all.
    fn moments(&mut self, sighting: &Sighting) -> Moments {
        let seen = sighting.weights;
        let std = sighting
            .statistic(Statistic::WeightStd)
            .or(seen.map(|seen| seen.std()));
        let written = sighting
            .statistic(Statistic::WeightMean)
            .or(seen.map(|seen| seen.mean));
        let norm = sighting.statistic(Statistic::WeightNorm);
        self.mean = written.or(self.mean);
        self.count = self.elements(sighting, std, norm).or(self.count);
        let count = self
            .count
            .unwrap_or(0.0)
            .max(sighting.nonfinite.unwrap_or(0.0));
        let nonfinite = match (sighting.nonfinite, seen) {
            (Some(nonfinite), _) => nonfinite,
            // Histograms are of finite elements.
            (None, Some(seen)) if self.traits.is_some() => (count - seen.count).max(0.0),
            _ => 0.0,
        };
        let finite = count - nonfinite;
        let mean = self.mean.unwrap_or(0.0);
        let m2 = match (std, norm) {
            (Some(std), _) => std * std * finite,
            (None, Some(norm)) => (norm * norm - mean * mean * finite).max(0.0),
            (None, None) => 0.0,
        };
        let is_known = std.is_some() || norm.is_some();
        let is_zero = norm == Some(0.0) || (std == Some(0.0) && self.mean == Some(0.0));
        let zeros = match seen.and_then(|seen| seen.zeros) {
            _ if is_zero => finite,
            Some(zeros) => zeros.min(finite),
            None => 0.0,
        };
        Moments {
            // Without a spread nothing is known of finite elements.
            count: if is_known { count } else { nonfinite } as u64,
            nan: nonfinite as u64,
            zeros: zeros as u64,
            min: seen.map_or(f64::INFINITY, |seen| seen.min),
            max: seen.map_or(f64::NEG_INFINITY, |seen| seen.max),
            mean: if is_known { mean } else { 0.0 },
            m2,
            ..Moments::default()
        }
    }

    /// How many elements there are, as far as this step or the description tells.
    fn elements(&self, sighting: &Sighting, std: Option<f64>, norm: Option<f64>) -> Option<f64> {
        if let Some(traits) = &self.traits {
            let elements: f64 = traits.shape.iter().map(|&size| size as f64).product();
            // A file may claim any size.
            return Some(elements.min(9e15));
        }
        if let Some(seen) = sighting.weights {
            return Some(seen.count + sighting.nonfinite.unwrap_or(0.0));
        }
        // norm^2 = n (std^2 + mean^2), from numbers of seven digits.
        let (std, norm, mean) = (std?, norm?, sighting.statistic(Statistic::WeightMean)?);
        let square = std * std + mean * mean;
        (square > 0.0).then(|| (norm * norm / square).round())
    }

    fn remember(&mut self, sighting: &Sighting, seen: &Seen) {
        let moments = &seen.moments;
        let is_exact =
            sighting.statistic(Statistic::WeightMean).is_some() || sighting.weights.is_some();
        let norm = moments.std().filter(|_| is_exact).map(|_| moments.norm());
        let zeros = moments.zeros as f64 / moments.count as f64;
        self.newest = Newest {
            mean: moments.std().filter(|_| is_exact).map(|_| moments.mean),
            std: moments.std(),
            norm: sighting.statistic(Statistic::WeightNorm).or(norm),
            update_ratio: seen.update_ratio,
            changed_fraction: sighting.changed_fraction(),
            drift: sighting.statistic(Statistic::WeightDrift),
            nonfinite: moments.nonfinite(),
            zero_fraction: (moments.zeros > 0 || sighting.weights.is_some()).then_some(zeros),
        };
    }
}

/// What a step changed. Rows and steps of one unit in the last place are in no log: see
/// [`Change::rows`].
fn change(sighting: &Sighting, moved: bool, moments: &Moments, norm_before: Option<f64>) -> Change {
    let elements = moments.count as f64;
    let (mean, m2) = sighting.deltas(elements, norm_before).unwrap_or_default();
    let changed = match sighting.changed_fraction() {
        Some(fraction) => (fraction * elements).round() as u64,
        None if moved => moments.count,
        None => 0,
    };
    Change {
        deltas: Moments {
            count: moments.count,
            mean,
            m2,
            ..Moments::default()
        },
        changed: changed.clamp(u64::from(moved), moments.count.max(1)),
        one_ulp: 0,
        rows: 0,
        changed_rows: 0,
    }
}

/// Whether the gradient of a variable was looked at: where others of its model have one at that
/// step, one that is not there is none.
pub(crate) fn missing(glimpse: GradientSample, others_have_one: bool) -> GradientSample {
    match glimpse {
        GradientSample::Unseen if others_have_one => GradientSample::Undefined,
        glimpse => glimpse,
    }
}
