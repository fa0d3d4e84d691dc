//! All that a rule may look at: a variable, and the model that it belongs to.

use crate::report::evidence_table::{Outcome, Rest, Row, Signs};
use crate::report::facts::Facts;
use crate::report::gradient_state::GradientState;
use crate::report::history::History;
use crate::report::thresholds::Thresholds;
use crate::report::verdict::Verdict;

/// The whole model over the window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    /// Calls in a row, the newest included and those left out as idle too, at which nothing moved.
    pub(crate) still: u64,
    /// Calls so far, and those that counted as steps.
    pub(crate) calls: u64,
    pub(crate) steps: u64,
    /// It has moved since the first call.
    pub(crate) has_moved: bool,
    /// More calls without a move than its rhythm explains.
    pub(crate) patience: u64,
    /// The same where the reason is seen: gradients of exactly zero.
    pub(crate) reasoned_patience: u64,
    /// The longest interval of any variable of it, in moves of the model or looks at the gradient.
    pub(crate) turn: u64,
    /// Variables that are trained, as far as anybody knows, and of these:
    pub(crate) trained: usize,
    /// those of which nobody knows,
    pub(crate) unknown: usize,
    /// those that moved over the window,
    pub(crate) movers: usize,
    /// those with a gradient that is not zero,
    pub(crate) with_gradient: usize,
    /// those whose gradient was looked at.
    pub(crate) looked: usize,
    /// Every trained matrix is nothing but zeros.
    pub(crate) is_all_zero: bool,
    /// Some matrix has been changed by its own size, or the gradient of one has died or is not
    /// finite.
    pub(crate) is_hurt: bool,
    /// Another scope of the run has a model of the same variables whose gradients were seen.
    pub(crate) has_twin: bool,
    /// And this one began as its copy.
    pub(crate) has_copy: bool,
    /// Another scope of the run has gradients.
    pub(crate) has_gradients_elsewhere: bool,
    /// Natural logarithm of the upper quartile, over the matrices, of norm(gradient) /
    /// norm(weights).
    pub(crate) relative_gradient: Option<f64>,
    /// The largest of these.
    pub(crate) largest_relative_gradient: Option<f64>,
    /// Natural logarithm of the largest gradient norm.
    pub(crate) largest_gradient: Option<f64>,
    /// Median over the variables of how far the size of their changes has fallen from its peak
    /// (logarithm, at most 0).
    pub(crate) collapse: Option<f64>,
    /// Natural logarithm of the upper quartile of the matrices' update ratios.
    pub(crate) ratio: Option<f64>,
    /// Median over the matrices of their first scale, the standard deviation times the root of the
    /// fan-in.
    pub(crate) first_scale: Option<f64>,
    /// What moves at all is rounded away.
    pub(crate) is_rounded: bool,
    /// Its matrices are short views of weights kept in a longer type.
    pub(crate) is_view: bool,
    pub(crate) learning_rate: Option<f64>,
}

/// What a variable counts as among those of its model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standpoint {
    /// It is trained, as far as anybody knows.
    pub(crate) is_trained: bool,
    /// And nobody knows.
    pub(crate) is_unknown: bool,
    pub(crate) is_mover: bool,
    pub(crate) has_gradient: bool,
    pub(crate) is_looked_at: bool,
}

impl Standpoint {
    pub(crate) fn count(self, context: &mut Context) {
        if self.is_trained {
            context.trained += 1;
            context.unknown += usize::from(self.is_unknown);
            context.movers += usize::from(self.is_mover);
            context.with_gradient += usize::from(self.has_gradient);
            context.looked += usize::from(self.is_looked_at);
        }
    }
}

/// All that a rule may look at.
pub(crate) struct Case<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) history: &'a History,
    pub(crate) context: &'a Context,
    pub(crate) thresholds: &'a Thresholds,
    pub(crate) standpoint: Standpoint,
    /// What has been said so far.
    pub(crate) current: Verdict,
    /// Its layer began as a copy of a trained one.
    pub(crate) is_copy: bool,
    /// The weights of its layer have a gradient.
    pub(crate) is_beside_gradient: bool,
    /// What was seen of its gradient.
    pub(crate) gradient: GradientState,
    pub(crate) signs: Signs,
    /// The row of the table, and where it leads.
    pub(crate) row: &'static Row,
    pub(crate) outcome: Outcome,
}

impl<'a> Case<'a> {
    pub(crate) fn window(&self) -> u64 {
        self.thresholds.window.into()
    }

    /// 1 where the variable itself is among those that were counted.
    pub(crate) fn own(&self, is: impl Fn(Standpoint) -> bool) -> usize {
        usize::from(self.standpoint.is_trained && is(self.standpoint))
    }

    /// The table has nothing against it, or too few steps to say.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.outcome, Outcome::Learning | Outcome::Undecided)
    }

    /// Enough steps for a rule about sizes: a window behind the warm-up, when it has been
    /// confirmed.
    pub(crate) fn is_warm(&self) -> bool {
        let confirm = u64::from(self.thresholds.confirm);
        self.history.steps + confirm > self.window() + u64::from(self.thresholds.warm_up)
    }

    pub(crate) fn is_matrix(&self) -> bool {
        self.facts.rank() >= 2
    }

    /// Most rows of an embedding are not touched by a step.
    pub(crate) fn is_embedding(&self) -> bool {
        self.history.is_sparse
    }

    /// It has stood still for longer than its rhythm and that of its model explain.
    pub(crate) fn is_still(&self) -> bool {
        self.history.still > 0 && (self.is_left_behind() || self.is_model_still())
    }

    /// It has rested for longer than it mostly does, and not yet so long that this says anything.
    pub(crate) fn is_resting(&self) -> bool {
        let moves = &self.history.moves;
        let usual = moves.reasoned_patience(self.window());
        self.history.still > 0
            && (moves.since() >= usual.max(2 * self.context.turn)
                || self.context.still >= self.context.reasoned_patience)
    }

    /// Others have moved so often meanwhile that it is not its turn that it waits for.
    pub(crate) fn is_left_behind(&self) -> bool {
        let moves = &self.history.moves;
        let mut needed = moves
            .random_patience(self.window())
            .max(4 * self.context.turn);
        // Another variable took over at the very step at which it stopped: they train in turn.
        if moves.events() > 0 && self.history.is_handed_over {
            needed = needed.max(self.thresholds.patience.into());
        }
        moves.since() >= needed
    }

    /// Nothing in the whole model has moved for longer than its rhythm explains. Before its first
    /// move nobody knows the rhythm: where a reason is seen, a window is enough, else gradients may
    /// be accumulated over many calls.
    pub(crate) fn is_model_still(&self) -> bool {
        let has_reason = self.context.learning_rate == Some(0.0)
            || matches!(
                self.gradient,
                GradientState::Undefined | GradientState::Zero
            )
            || self.facts.is_member == Some(false);
        let needed = match (self.context.has_moved, has_reason) {
            (true, _) if self.gradient == GradientState::Zero => self.context.reasoned_patience,
            (true, _) => self.context.patience,
            (false, true) => self.window(),
            (false, false) => self.thresholds.patience.into(),
        };
        self.context.still >= needed
    }

    /// All of its model rests with it.
    pub(crate) fn is_still_everywhere(&self) -> bool {
        self.signs.rest != Rest::Moves
    }

    pub(crate) fn norm(&self) -> f64 {
        self.history.newest.map_or(0.0, |newest| newest.norm())
    }

    /// Natural logarithm of norm(gradient) / norm(weights).
    pub(crate) fn relative_gradient(&self) -> Option<f64> {
        relative_gradient(self.history)
    }

    /// The logarithm of how far its changes have shrunk from their highest.
    pub(crate) fn collapse(&self) -> Option<f64> {
        collapse(self.history)
    }

    /// It has moved, and its gradient has since fallen by orders of magnitude: it has arrived.
    pub(crate) fn is_at_rest(&self) -> bool {
        const FALL: f64 = 1e-4;
        let fallen = self.history.trail.fall().is_some_and(|fall| fall < FALL);
        fallen && self.history.moves.events() >= self.window()
    }

    /// A bias whose gradient is zero but for rounding: one before a normalisation, or of an
    /// attention's keys. Nothing depends on it.
    pub(crate) fn is_redundant(&self) -> bool {
        const NEGLIGIBLE: f64 = -13.8; // ln(1e-6): f32 keeps seven digits of a sum.
        if !self.is_matrix() && self.is_beside_gradient && self.gradient == GradientState::Zero {
            return true;
        }
        let gradient = self.history.sums.log_gradient();
        let largest = self.context.largest_gradient;
        !self.is_matrix()
            && std::iter::zip(gradient, largest).any(|(own, largest)| own < largest + NEGLIGIBLE)
    }

    /// So little of the gradient arrives that standing still and rounding are its consequences.
    pub(crate) fn is_vanished(&self) -> bool {
        let limit = self.thresholds.vanishing_gradient.ln();
        let both = self.relative_gradient().zip(self.context.relative_gradient);
        both.is_some_and(|(own, others)| own < others + limit)
    }

    /// Whether a step of plain descent would be lost to rounding; `None` when the rate or the
    /// gradient is not known.
    pub(crate) fn is_step_lost(&self) -> Option<bool> {
        let gradient = self.history.sums.log_gradient()?.exp();
        Some(self.context.learning_rate? * gradient < self.norm() * self.facts.half_ulp())
    }

    /// The gradient in a line of evidence.
    pub(crate) fn gradient_text(&self) -> String {
        match (self.history.sums.log_gradient(), self.gradient) {
            (Some(norm), _) => format!("gradient norm {:.1e}", norm.exp()),
            (None, GradientState::NonZero) => "gradient not zero".into(),
            (None, GradientState::Zero) => "each gradient exactly zero".into(),
            (None, GradientState::Undefined) => "no gradient at any call".into(),
            (None, _) => "gradient not seen".into(),
        }
    }

    pub(crate) fn ratio_text(&self) -> String {
        let ratio = self.history.sums.log_ratio();
        ratio.map_or_else(|| "-".into(), |ratio| format!("{:.1e}", ratio.exp()))
    }

    /// Steps, or calls, for which it has stood still.
    pub(crate) fn still_calls(&self) -> u64 {
        match self.is_still_everywhere() {
            true => self.history.still.max(self.context.still),
            false => self.history.still,
        }
    }
}

/// See [`Case::relative_gradient`].
pub(crate) fn relative_gradient(history: &History) -> Option<f64> {
    let norm = history.newest?.norm();
    let gradient = history.sums.log_gradient()?;
    (norm > 0.0 && norm.is_finite()).then(|| gradient - norm.ln())
}

/// See [`Context::collapse`]; `None` before there is a peak.
pub(crate) fn collapse(history: &History) -> Option<f64> {
    let peak = history.peak?.log_delta;
    let now = history.sums.log_delta().unwrap_or(f64::NEG_INFINITY);
    Some((now - peak).min(0.0))
}
