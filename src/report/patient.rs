//! One variable under diagnosis: what it is, its history, and the verdict that has been reached.

use std::sync::Arc;

use crate::kernel::Analysis;
use crate::report::case::Standpoint;
use crate::report::evidence_table::{Outcome, Required};
use crate::report::facts::Facts;
use crate::report::gradient_state::GradientState;
use crate::report::gradient_trail::{Patience, Pause};
use crate::report::history::{History, Observation, Scale};
use crate::report::remarks::remarks;
use crate::report::rules::{Case, Context, decide, rule};
use crate::report::thresholds::Thresholds;
use crate::report::verdict::{Evidence, Verdict};
use crate::source::named_tensors::Role;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Patient {
    pub(crate) name: Arc<str>,
    pub(crate) facts: Facts,
    pub(crate) history: History,
    pub(crate) verdict: Verdict,
    pub(crate) since: Option<i64>,
    /// What the rules say of late where that is not the verdict, since when, and how often in a
    /// row.
    candidate: (Verdict, i64, u32),
    /// What its gradient comes to.
    pub(crate) gradient: GradientState,
    /// The matrix of its layer, or itself, began as a copy of a trained one; has a gradient.
    pub(crate) is_copy: bool,
    pub(crate) is_beside_gradient: bool,
    /// For each output unit the last compared step that changed it and not all; empty below two
    /// dimensions, and before any change was taken.
    units: Vec<u64>,
    /// The last compared step that changed all.
    all_units: u64,
}

impl Patient {
    /// The same variable, in another role perhaps.
    pub(crate) fn renew(self, facts: Facts) -> Patient {
        Patient { facts, ..self }
    }

    pub(crate) fn new(name: Arc<str>, facts: Facts) -> Patient {
        Patient {
            name,
            facts,
            history: History::default(),
            verdict: Verdict::Undecided,
            since: None,
            candidate: (Verdict::Undecided, 0, 0),
            gradient: GradientState::Unseen,
            is_copy: false,
            is_beside_gradient: false,
            units: Vec::new(),
            all_units: 0,
        }
    }

    pub(crate) fn is_decided(&self) -> bool {
        self.verdict != Verdict::Undecided
    }

    pub(crate) fn forget(&mut self) {
        let name = self.name.clone();
        *self = Patient::new(name, self.facts.clone());
    }

    /// Takes a step.
    pub(crate) fn push(&mut self, step: i64, observation: &Observation, scale: Scale) {
        let window = scale.window as u64;
        self.history.push(step, observation, scale);
        self.history.is_table |= self.history.has_more_rows();
        self.history.is_sparse = self.is_sparse(window);
    }

    /// It requires a gradient, as far as anybody knows.
    pub(crate) fn is_trained(&self) -> bool {
        self.facts.role != Role::Buffer && self.history.required() != Required::Never
    }

    /// Says what its gradient comes to, and what it counts as among the others.
    pub(crate) fn stand(&mut self, patience: Patience, model: Pause) -> Standpoint {
        let history = &self.history;
        let pause = Pause {
            is_still: model.is_still || history.still >= patience.least,
            ..model
        };
        let is_trained = self.is_trained();
        self.gradient = if !is_trained {
            GradientState::NotRequired
        } else if history.sums.nonfinite >= 3 {
            // A scaled loss overflows now and then, and that step is left out.
            GradientState::NonFinite
        } else {
            history.trail.state(patience, pause)
        };
        self.standpoint()
    }

    pub(crate) fn standpoint(&self) -> Standpoint {
        Standpoint {
            is_trained: self.is_trained(),
            is_unknown: self.history.required() == Required::Unknown,
            is_mover: self.history.sums.moves > 0,
            has_gradient: self.gradient == GradientState::NonZero,
            is_looked_at: self.history.trail.looks() > 0,
        }
    }

    pub(crate) fn case<'a>(&'a self, context: &'a Context, thresholds: &'a Thresholds) -> Case<'a> {
        Case::new(
            (&self.facts, &self.history),
            (context, thresholds),
            self.standpoint(),
            self.verdict,
            (self.gradient, self.is_copy, self.is_beside_gradient),
        )
    }

    /// Applies the rules. True when the verdict has changed.
    pub(crate) fn judge(&mut self, step: i64, context: &Context, thresholds: &Thresholds) -> bool {
        let verdict = decide(&self.case(context, thresholds));
        let before = self.verdict;
        self.hear(verdict, step, thresholds);
        self.verdict != before
    }

    /// A rule for a fault holds that is not confirmed yet.
    pub(crate) fn is_suspected(&self) -> bool {
        self.candidate.2 > 0 && self.candidate.0.is_fault()
    }

    /// Takes what the rules say now, which becomes the verdict once it is sure.
    fn hear(&mut self, verdict: Verdict, step: i64, thresholds: &Thresholds) {
        if verdict == self.verdict {
            self.candidate.2 = 0;
            return;
        }
        // On the way out of a fault it does not matter to which health.
        let is_other = self.candidate.0 != verdict
            && (self.candidate.0.is_fault() || verdict.is_fault() || !self.verdict.is_fault());
        if self.candidate.2 == 0 || is_other {
            self.candidate = (verdict, step, 0);
        }
        (self.candidate.0, self.candidate.2) = (verdict, self.candidate.2 + 1);
        let is_same_kind = rule(self.verdict).kind == rule(verdict).kind;
        let needed = match (self.verdict.is_fault(), verdict.is_fault()) {
            // Not a number does not come and go.
            _ if verdict == Verdict::NonFinite => 1,
            // One cause that shows in several ways has one name.
            (true, true) if is_same_kind => thresholds.window,
            (_, true) => thresholds.confirm,
            // What moves again contradicts that nothing moves.
            (true, false) if self.says_still() && self.history.moves.since() == 0 => {
                thresholds.confirm
            }
            // Coming back from a fault takes longer than getting into it, or a report would
            // flicker.
            (true, false) => thresholds.window / 2,
            (false, false) => 1,
        };
        if self.candidate.2 >= needed {
            (self.verdict, self.since) = (verdict, Some(self.first_step(verdict)));
            self.candidate.2 = 0;
        }
    }

    /// Whether the verdict says that nothing moves.
    fn says_still(&self) -> bool {
        matches!(
            self.verdict,
            Verdict::NotUpdated { .. }
                | Verdict::AllZero
                | Verdict::NoGradient
                | Verdict::Detached
                | Verdict::ZeroGradient
        )
    }

    /// The first step at which what the verdict says was there.
    fn first_step(&self, verdict: Verdict) -> i64 {
        let (history, seen) = (&self.history, self.candidate.1);
        let still = history.still_since;
        let first = match verdict {
            Verdict::NotUpdated { .. }
            | Verdict::AllZero
            | Verdict::NoGradient
            | Verdict::Detached => still,
            Verdict::ZeroGradient | Verdict::DeadGradient | Verdict::DecayOnly => {
                still.or(history.trail.since())
            }
            Verdict::Frozen => history.unrequired_since,
            Verdict::LargeUpdates => history.large_since,
            Verdict::IdenticalUnits => history.first_step,
            _ => None,
        };
        // What has been so from the beginning was so before anybody could be sure.
        first.map_or(seen, |first| first.min(seen))
    }

    pub(crate) fn reason(&self, context: &Context, thresholds: &Thresholds) -> String {
        (rule(self.verdict).reason)(&self.case(context, thresholds))
    }

    /// What the table makes of it now.
    pub(crate) fn outcome(&self, context: &Context, thresholds: &Thresholds) -> Outcome {
        self.case(context, thresholds).outcome
    }

    pub(crate) fn evidence(&self, context: &Context, thresholds: &Thresholds) -> Evidence {
        let window = thresholds.window.into();
        let (history, sums) = (&self.history, &self.history.sums);
        let known = sums.steps > 0 && history.newest.is_some();
        let newest = history.newest.as_ref().filter(|newest| newest.count > 0);
        let still_units = self.still_units(window);
        let case = self.case(context, thresholds);
        Evidence {
            steps: history.steps,
            moves: sums.moves,
            changed_fraction: sums.changed_of_all().filter(|_| known),
            one_ulp_fraction: sums.one_ulp(),
            update_ratio: sums.log_ratio().map(f64::exp),
            update_ratio_peak: history.ratio_peak,
            cosine: sums.cosine().map(|(cosine, _)| cosine),
            gradient: self.gradient,
            gradient_norm: sums.log_gradient().map(f64::exp),
            path: history.path,
            initial_scale: history.first.and_then(|first| self.facts.scale(&first)),
            scale: history.newest.and_then(|newest| self.facts.scale(&newest)),
            zero_fraction: newest.map(|newest| newest.zeros as f64 / newest.count as f64),
            still_units,
            row: case.row.name,
            remarks: remarks(&case, self.verdict, still_units),
        }
    }

    /// Takes which output units the newest step changes, before it is observed.
    pub(crate) fn units_changed(&mut self, analysis: &Analysis) {
        let Some(change) = analysis.change else {
            return;
        };
        let now = self.history.steps + 1;
        if self.units.is_empty() {
            self.units = vec![0; self.facts.units()];
        }
        match &analysis.rows_changed {
            None if change.changed_rows > 0 => self.all_units = now,
            None => {}
            Some(bits) => {
                for (unit, last) in self.units.iter_mut().enumerate() {
                    let word = bits.get(unit / 64).copied().unwrap_or_default();
                    if word >> (unit % 64) & 1 == 1 {
                        *last = now;
                    }
                }
            }
        }
    }

    /// See [`History::is_sparse`]. Units that never fire leave rows untouched, too, but always the
    /// same ones.
    fn is_sparse(&self, window: u64) -> bool {
        // A table has more rows than columns.
        let [rows, columns] = self.facts.shape.as_slice() else {
            return false;
        };
        if rows <= columns {
            return false;
        }
        let a_step = self.history.sums.rows();
        // Momentum keeps each row moving that was ever touched: more from step to step, until all
        // are.
        if self.history.is_table {
            return true;
        }
        let Some(a_step) = a_step.filter(|share| *share < 0.5) else {
            return false;
        };
        let seen = window.min(self.history.steps);
        let still = self.share_still_for(seen);
        still.map_or(a_step < 0.25, |still| 1.0 - still > 2.0 * a_step)
    }

    fn still_units(&self, window: u64) -> Option<f64> {
        let full = self.history.steps >= window;
        self.share_still_for(window).filter(|_| full)
    }

    /// Share of the units that the newest steps, so many of them, left as they were; `None` where
    /// they are not distinguished.
    fn share_still_for(&self, steps: u64) -> Option<f64> {
        let now = self.history.steps;
        if self.units.is_empty() {
            return None;
        }
        let rests = |last: &&u64| (**last).max(self.all_units) + steps <= now;
        let still = self.units.iter().filter(rests).count();
        Some(still as f64 / self.units.len() as f64)
    }
}
