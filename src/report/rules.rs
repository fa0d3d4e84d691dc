//! One function a rule: whether a verdict holds for a variable now. None looks at anything but its [`Case`].

use crate::kernel::stats::Moments;
use crate::model::types::DType;
use crate::model::variable_info::{VariableInfo, initial_norm};
use crate::report::history::History;
use crate::report::thresholds::Thresholds;
use crate::report::verdict::{CAUSES, Cause, Verdict};
use crate::source::named_tensors::Role;

/// What a variable is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    /// Whether its store hands it to optimizers; `None` where there is no store.
    pub(crate) is_member: Option<bool>,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    /// Its name is one that embeddings have.
    pub(crate) looks_embedded: bool,
}

/// The whole model over the window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Context {
    /// Steps in a row, the newest included and those left out as idle too, at which nothing moved.
    pub(crate) still: u64,
    /// Steps of the window at which some variable moved.
    pub(crate) moves: u32,
    /// Some variable has had a gradient that is not zero.
    pub(crate) has_gradients: bool,
    /// Natural logarithm of the upper quartile, over the matrices, of norm(gradient) / norm(weights).
    pub(crate) relative_gradient: Option<f64>,
    /// Natural logarithm of the largest gradient norm.
    pub(crate) largest_gradient: Option<f64>,
    /// Median over the variables of how far the size of their changes has fallen from its peak (logarithm, at most 0).
    pub(crate) collapse: Option<f64>,
    pub(crate) learning_rate: Option<f64>,
}

/// All that a rule may look at.
pub(crate) struct Case<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) history: &'a History,
    pub(crate) context: &'a Context,
    pub(crate) thresholds: &'a Thresholds,
}

/// Rules in the order in which they decide.
const RULES: [fn(&Case<'_>) -> Option<Verdict>; 14] = [
    non_finite,
    frozen,
    detached,
    all_zero,
    dead_gradient,
    stalled,
    vanishing,
    not_updated,
    rounded_away,
    poor_init,
    exploding,
    large_updates,
    erratic,
    scale_drift,
];

/// The verdict of the first rule that holds.
pub(crate) fn decide(case: &Case<'_>) -> Verdict {
    let verdict = RULES.iter().find_map(|rule| rule(case));
    verdict.unwrap_or(if case.history.steps < case.window() {
        Verdict::Undecided
    } else {
        Verdict::Learning
    })
}

impl Facts {
    pub(crate) fn new(name: &str, traits: VariableInfo) -> Facts {
        // Names that embeddings have in the models people publish.
        const EMBEDDINGS: [&str; 5] = ["emb", "wte", "wpe", "token", "position"];
        let name = name.to_lowercase();
        Facts {
            role: traits.role,
            is_member: traits.is_member,
            dtype: traits.dtype,
            shape: traits.shape,
            looks_embedded: EMBEDDINGS.iter().any(|part| name.contains(part)),
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Output units that are told apart: slices along the first dimension of a matrix.
    pub(crate) fn units(&self) -> usize {
        const MOST: usize = 1 << 16;
        let units = self.shape.first().filter(|_| self.rank() >= 2);
        let units = units.and_then(|&units| usize::try_from(units).ok());
        units.filter(|&units| units <= MOST).unwrap_or(0)
    }

    /// Inputs of one output unit, with PyTorch's order of dimensions; `None` below two.
    pub(crate) fn fan_in(&self) -> Option<f64> {
        let inner = self.shape.get(1..).filter(|inner| !inner.is_empty())?;
        Some(inner.iter().map(|&size| size as f64).product())
    }

    /// The norm of a fresh matrix of this shape with He's spread, sqrt(2 / fan-in) an element; 0 below two dimensions.
    pub(crate) fn reference_norm(&self) -> f64 {
        initial_norm(&self.shape)
    }

    /// Standard deviation in units of 1 / sqrt(fan-in).
    pub(crate) fn scale(&self, moments: &Moments) -> Option<f64> {
        Some(moments.std()? * self.fan_in()?.sqrt())
    }
}

impl Case<'_> {
    fn window(&self) -> u64 {
        self.thresholds.window.into()
    }

    /// Enough steps for a rule about sizes: a window behind the warm-up, when it has been confirmed.
    fn is_warm(&self) -> bool {
        let confirm = u64::from(self.thresholds.confirm);
        self.history.steps + confirm > self.window() + u64::from(self.thresholds.warm_up)
    }

    fn is_matrix(&self) -> bool {
        self.facts.rank() >= 2
    }

    /// Most rows of an embedding are not touched by a step.
    fn is_embedding(&self) -> bool {
        self.history.is_sparse
    }

    /// No bit has changed over the window, in which others moved twice, or nothing at all did.
    pub(crate) fn is_still(&self) -> bool {
        let alone = self.history.still >= self.window() && self.context.moves >= 2;
        alone || (self.history.still > 0 && self.is_model_still())
    }

    /// Nothing in the whole model has moved over the window.
    pub(crate) fn is_model_still(&self) -> bool {
        self.context.still >= self.window()
    }

    fn norm(&self) -> f64 {
        self.history.newest.map_or(0.0, |newest| newest.norm())
    }

    /// Natural logarithm of norm(gradient) / norm(weights).
    pub(crate) fn relative_gradient(&self) -> Option<f64> {
        relative_gradient(self.history)
    }

    /// The logarithm of how far its changes have shrunk from their highest.
    fn collapse(&self) -> Option<f64> {
        collapse(self.history)
    }

    /// Largest relative distance of a number of this type from the next, halved: what a smaller step cannot cross.
    fn half_ulp(&self) -> f64 {
        match self.facts.dtype {
            DType::F64 => f64::EPSILON / 2.0,
            DType::F32 => f64::from(f32::EPSILON) / 2.0,
            DType::F16 => f64::from(half::f16::EPSILON) / 2.0,
            DType::BF16 => f64::from(half::bf16::EPSILON) / 2.0,
            _ => 0.5,
        }
    }

    /// Whether a step of plain descent would be lost to rounding; `None` when the rate or the gradient is not known.
    fn is_step_lost(&self) -> Option<bool> {
        let gradient = self.history.sums.log_gradient()?.exp();
        Some(self.context.learning_rate? * gradient < self.norm() * self.half_ulp())
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

fn non_finite(case: &Case<'_>) -> Option<Verdict> {
    let weights = case
        .history
        .newest
        .is_some_and(|newest| newest.nonfinite() > 0);
    // A scaled loss overflows now and then, and that step is left out: a gradient must be so again and again.
    let gradient = case.history.sums.nonfinite >= 3;
    (weights || gradient).then_some(Verdict::NonFinite)
}

fn frozen(case: &Case<'_>) -> Option<Verdict> {
    if case.facts.role == Role::Trainable {
        return None;
    }
    Some(match case.history.sums.moves {
        0..3 => Verdict::Frozen,
        _ if case.facts.role == Role::Buffer => Verdict::Learning,
        _ => Verdict::MovingWhileFrozen,
    })
}

fn detached(case: &Case<'_>) -> Option<Verdict> {
    let sums = &case.history.sums;
    let never = sums.undefined >= 2 && sums.undefined == sums.looks();
    (never && case.context.has_gradients && case.is_still()).then_some(Verdict::Detached)
}

fn all_zero(case: &Case<'_>) -> Option<Verdict> {
    let newest = case.history.newest?;
    let is_zero = newest.count > 0 && newest.zeros == newest.count;
    let settled = case.history.still >= case.window() || case.is_model_still();
    // Without a gradient to look at, standing still at zero says enough.
    let no_gradient = case.history.sums.nonzero == 0;
    (case.is_matrix() && is_zero && settled && no_gradient).then_some(Verdict::AllZero)
}

fn dead_gradient(case: &Case<'_>) -> Option<Verdict> {
    let sums = &case.history.sums;
    let full = case.history.steps >= case.window();
    let zero = sums.zero + sums.perhaps_zero;
    let never = sums.nonzero == 0 && sums.nonfinite == 0 && zero >= 2 && zero > sums.undefined;
    // Where not all elements were looked at, a variable that moves has a gradient somewhere.
    let certain = sums.perhaps_zero == 0 || case.is_still();
    if !(full && never && certain && case.context.has_gradients) {
        return None;
    }
    // Units that a step of their own size has pushed out of reach.
    let jumped = case.history.jumps > 0 && case.is_matrix();
    Some(if jumped {
        Verdict::Exploding
    } else {
        Verdict::DeadGradient
    })
}

fn stalled(case: &Case<'_>) -> Option<Verdict> {
    let (history, thresholds) = (case.history, case.thresholds);
    let peak = history.peak?;
    // A short type stops by rounding as well: that it moved before decides nothing.
    if history.sums.moves == 0 && matches!(case.facts.dtype, DType::F16 | DType::BF16) {
        return None;
    }
    let gradient = history.sums.log_gradient()? - peak.log_gradient?;
    let holds = case.is_warm()
        && !case.is_embedding()
        && case.collapse()? < thresholds.stalled_collapse.ln()
        && case.context.collapse? > thresholds.stalled_others.ln()
        && gradient > thresholds.stalled_others.ln();
    holds.then_some(Verdict::Stalled)
}

fn not_updated(case: &Case<'_>) -> Option<Verdict> {
    let has_gradient = case.history.sums.nonzero > 0;
    if !case.is_still() || (case.context.has_gradients && !has_gradient) {
        return None;
    }
    if is_redundant(case) || is_vanished(case) {
        return None;
    }
    let lost = case.is_step_lost();
    let cause = match (case.facts.is_member, case.context.learning_rate) {
        (Some(false), _) => Cause::NotInOptimizer,
        (_, Some(0.0)) => Cause::LearningRateZero,
        _ if lost == Some(true) => return Some(Verdict::RoundedAway),
        _ => Cause::OneOf(candidates(
            case.is_model_still(),
            has_gradient,
            lost.is_none(),
            case.context.learning_rate.is_none(),
        )),
    };
    Some(Verdict::NotUpdated { cause })
}

/// What remains possible. The hint is one rate for all: a group's own may still be zero.
fn candidates(
    everywhere: bool,
    has_gradient: bool,
    may_be_lost: bool,
    unknown_rate: bool,
) -> &'static [Cause] {
    let [unknown_everywhere, known_everywhere, lost, own, unseen] = CAUSES;
    match (everywhere, has_gradient, may_be_lost) {
        (true, _, true) if unknown_rate => unknown_everywhere,
        (true, _, _) => known_everywhere,
        (false, true, true) => lost,
        (false, true, false) => own,
        (false, false, _) => unseen,
    }
}

/// A bias whose gradient is zero but for rounding: one before a normalisation, or of an attention's keys. Nothing depends
/// on it.
fn is_redundant(case: &Case<'_>) -> bool {
    const NEGLIGIBLE: f64 = -13.8; // ln(1e-6): f32 keeps seven digits of a sum.
    let gradient = case.history.sums.log_gradient();
    let largest = case.context.largest_gradient;
    !case.is_matrix()
        && std::iter::zip(gradient, largest).any(|(own, largest)| own < largest + NEGLIGIBLE)
}

fn rounded_away(case: &Case<'_>) -> Option<Verdict> {
    let (sums, thresholds) = (&case.history.sums, case.thresholds);
    // The last steps of a schedule are tiny for all variables alike.
    let scheduled = case
        .context
        .collapse
        .is_some_and(|collapse| collapse < thresholds.stalled_others.ln());
    let holds = case.history.steps >= case.window()
        && !scheduled
        && !is_redundant(case)
        && !is_vanished(case)
        && sums.changed()? <= thresholds.rounded_changed_fraction
        && sums.one_ulp()? >= thresholds.one_ulp_fraction;
    holds.then_some(Verdict::RoundedAway)
}

fn exploding(case: &Case<'_>) -> Option<Verdict> {
    if !case.is_matrix() {
        return None;
    }
    let jumps = (case.history.huge & 0b1_1111).count_ones() >= 3;
    let first = case.history.first?.norm().max(case.facts.reference_norm());
    let growth = case.thresholds.exploding_growth;
    let grows = case.norm() > growth * first && case.history.growth()? > 1.5;
    (jumps || grows).then_some(Verdict::Exploding)
}

fn large_updates(case: &Case<'_>) -> Option<Verdict> {
    let sums = &case.history.sums;
    let always = sums.large == sums.steps && sums.steps >= case.thresholds.window;
    (always && case.is_matrix() && !case.is_embedding() && case.is_warm())
        .then_some(Verdict::LargeUpdates)
}

fn erratic(case: &Case<'_>) -> Option<Verdict> {
    let (sums, thresholds) = (&case.history.sums, case.thresholds);
    let (cosine, count) = sums.cosine()?;
    let holds = case.is_matrix()
        && case.is_warm()
        && count * 4 >= thresholds.window * 3
        && cosine < thresholds.erratic_cosine
        && sums.log_ratio()? > thresholds.erratic_update_ratio.ln();
    holds.then_some(Verdict::Erratic)
}

fn vanishing(case: &Case<'_>) -> Option<Verdict> {
    let holds = case.is_matrix()
        && !case.is_embedding()
        && case.is_warm()
        && is_vanished(case)
        // What begins at zero opens up the layers behind it.
        && case.history.gradient_growth()? < 2.0;
    holds.then_some(Verdict::Vanishing)
}

/// So little of the gradient arrives that standing still and rounding are its consequences.
fn is_vanished(case: &Case<'_>) -> bool {
    let limit = case.thresholds.vanishing_gradient.ln();
    let both = case.relative_gradient().zip(case.context.relative_gradient);
    both.is_some_and(|(own, others)| own < others + limit)
}

fn poor_init(case: &Case<'_>) -> Option<Verdict> {
    let thresholds = case.thresholds;
    let first = case.history.first?;
    let scale = case.facts.scale(&first)?;
    // Weights that begin at zero are small after the first step: only what was seen before it tells.
    let too_small = scale > 0.0 && scale < thresholds.init_scale_min && case.history.is_fresh;
    // Embeddings begin with a spread of one whatever their width.
    let is_table = case.facts.looks_embedded && (0.5..2.0).contains(&first.std()?);
    // And after a step as large as the variable, its spread is that of the step.
    let began_so = case.history.is_fresh || case.history.jumps == 0;
    let too_large = scale > thresholds.init_scale_max && !is_table && began_so;
    let warm = case.history.is_fresh || case.history.steps >= u64::from(thresholds.warm_up);
    ((too_small || too_large) && warm && !case.is_embedding()).then_some(Verdict::PoorInit)
}

fn scale_drift(case: &Case<'_>) -> Option<Verdict> {
    // In units of 1 / sqrt(fan-in): what begins near zero and grows into this band is on its way.
    const LOW: f64 = 0.02;
    const HIGH: f64 = 5.0;
    let first = case.facts.scale(&case.history.first?)?;
    let now = case.facts.scale(&case.history.newest?)?;
    let drift = case.thresholds.scale_drift;
    let grown = now > first * drift && now > HIGH;
    let shrunk = now < first / drift && now < LOW;
    (first > 0.0 && (grown || shrunk) && case.is_warm() && !case.is_embedding())
        .then_some(Verdict::ScaleDrift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::stats::Change;
    use crate::report::history::{Observation, Scale, Seen};
    use crate::source::values::Glimpse;

    /// A matrix that moves by `ratio` of its norm at each step, unless a test says otherwise.
    #[derive(Clone, Copy)]
    struct Life {
        glimpse: Glimpse,
        std: f64,
        ratio: f64,
        changed: u64,
        one_ulp: u64,
        rows: u64,
        cosine: f64,
        nan: u64,
    }

    const HEALTHY: Life = Life {
        glimpse: Glimpse::NonZero(Some(1.0)),
        std: 0.1,
        ratio: 1e-3,
        changed: ELEMENTS,
        one_ulp: 0,
        rows: 100,
        cosine: 0.0,
        nan: 0,
    };
    const ELEMENTS: u64 = 10_000;

    fn moments(std: f64, nan: u64) -> Moments {
        Moments {
            count: ELEMENTS,
            nan,
            zeros: if std == 0.0 { ELEMENTS } else { 0 },
            min: -3.0 * std,
            max: 3.0 * std,
            m2: std * std * ELEMENTS as f64,
            ..Moments::default()
        }
    }

    fn observation(life: Life) -> Observation {
        let change = Change {
            deltas: moments(life.ratio * life.std, 0),
            changed: life.changed,
            one_ulp: life.one_ulp,
            rows: 100,
            changed_rows: if life.changed == 0 { 0 } else { life.rows },
        };
        Observation {
            glimpse: life.glimpse,
            seen: Some(Seen {
                moments: moments(life.std, life.nan),
                change: Some(change),
                update_ratio: (life.std > 0.0).then_some(life.ratio),
                cosine: Some(life.cosine),
            }),
            moved: Some(life.changed > 0),
        }
    }

    fn facts() -> Facts {
        Facts {
            role: Role::Trainable,
            is_member: Some(true),
            dtype: DType::F32,
            shape: vec![100, 100],
            looks_embedded: false,
        }
    }

    /// A model that trains beside the variable, with gradients a thousandth of the weights.
    fn context() -> Context {
        Context {
            moves: 20,
            has_gradients: true,
            relative_gradient: Some(1e-1_f64.ln()),
            largest_gradient: Some(0.0),
            collapse: Some(0.0),
            ..Context::default()
        }
    }

    fn history(facts: &Facts, lives: &[(usize, Life)]) -> History {
        let thresholds = Thresholds::default();
        let mut history = History::default();
        let mut step = 0;
        for (steps, life) in lives {
            for _ in 0..*steps {
                let scale = Scale {
                    window: thresholds.window as usize,
                    warm_up: thresholds.warm_up.into(),
                    large: thresholds.large_update_ratio,
                    huge: thresholds.exploding_update_ratio,
                    is_fresh: true,
                    reference_norm: facts.reference_norm(),
                };
                history.push(step, &observation(*life), scale);
                step += 1;
            }
        }
        history
    }

    fn verdict(facts: &Facts, context: &Context, lives: &[(usize, Life)]) -> Verdict {
        decide(&Case {
            facts,
            history: &history(facts, lives),
            context,
            thresholds: &Thresholds::default(),
        })
    }

    fn alone(life: Life) -> Verdict {
        verdict(&facts(), &context(), &[(40, life)])
    }

    fn still(glimpse: Glimpse) -> Life {
        Life {
            glimpse,
            changed: 0,
            ratio: 0.0,
            ..HEALTHY
        }
    }

    #[test]
    fn health_and_patience() {
        assert_eq!(alone(HEALTHY), Verdict::Learning);
        assert_eq!(
            verdict(&facts(), &context(), &[(19, HEALTHY)]),
            Verdict::Undecided
        );
        let seen = still(Glimpse::NonZero(Some(1.0)));
        assert_eq!(
            verdict(&facts(), &context(), &[(19, seen)]),
            Verdict::Undecided
        );
    }

    #[test]
    fn what_stands_still_is_told_apart_by_its_gradient() {
        let cases = [
            (Glimpse::Undefined, Verdict::Detached),
            (Glimpse::Zero, Verdict::DeadGradient),
            (Glimpse::PerhapsZero, Verdict::DeadGradient),
        ];
        for (glimpse, expected) in cases {
            assert_eq!(alone(still(glimpse)), expected, "{glimpse:?}");
        }
        let candidates = |verdict| match verdict {
            Verdict::NotUpdated { cause } => cause.candidates().to_vec(),
            other => panic!("{other:?}"),
        };
        let seen = alone(still(Glimpse::NonZero(Some(1.0))));
        let expected = [
            Cause::NotInOptimizer,
            Cause::LearningRateZero,
            Cause::Rounding,
        ];
        assert_eq!(candidates(seen), expected);
        // Nobody has a gradient to show.
        let blind = Context {
            has_gradients: false,
            ..context()
        };
        let unseen = verdict(&facts(), &blind, &[(40, still(Glimpse::Undefined))]);
        assert!(candidates(unseen).contains(&Cause::NoGradient));
    }

    #[test]
    fn a_variable_that_moves_is_neither_detached_nor_surely_dead() {
        let moving = |glimpse| alone(Life { glimpse, ..HEALTHY });
        assert_eq!(moving(Glimpse::Undefined), Verdict::Learning);
        // Momentum and weight decay move what has no gradient left.
        assert_eq!(moving(Glimpse::Zero), Verdict::DeadGradient);
        // But where not all of a gradient was seen, it is somewhere else.
        assert_eq!(moving(Glimpse::PerhapsZero), Verdict::Learning);
    }

    #[test]
    fn turns_are_waited_for() {
        let mut context = context();
        context.moves = 1;
        let seen = still(Glimpse::NonZero(Some(1.0)));
        assert_eq!(
            verdict(&facts(), &context, &[(40, seen)]),
            Verdict::Learning
        );
    }

    #[test]
    fn hints_decide_a_cause() {
        let seen = still(Glimpse::NonZero(Some(1.0)));
        let mut facts = facts();
        let mut context = context();
        context.learning_rate = Some(0.0);
        let cause = |verdict| match verdict {
            Verdict::NotUpdated { cause } => Some(cause),
            _ => None,
        };
        let found = verdict(&facts, &context, &[(40, seen)]);
        assert_eq!(cause(found), Some(Cause::LearningRateZero));
        facts.is_member = Some(false);
        let found = verdict(&facts, &context, &[(40, seen)]);
        assert_eq!(cause(found), Some(Cause::NotInOptimizer));
        facts.is_member = Some(true);
        // 1e-9 times a gradient of norm 1 cannot move weights of norm 10.
        context.learning_rate = Some(1e-9);
        let found = verdict(&facts, &context, &[(40, seen)]);
        assert_eq!(found, Verdict::RoundedAway);
        context.learning_rate = Some(1e-3);
        let found = verdict(&facts, &context, &[(40, seen)]);
        assert!(
            !cause(found)
                .unwrap()
                .candidates()
                .contains(&Cause::Rounding)
        );
    }

    #[test]
    fn a_bias_that_nothing_depends_on_is_no_fault() {
        let mut facts = facts();
        facts.shape = vec![10_000];
        let seen = still(Glimpse::NonZero(Some(1e-8)));
        assert_eq!(
            verdict(&facts, &context(), &[(40, seen)]),
            Verdict::Learning
        );
    }

    #[test]
    fn rounding_shows_in_the_last_place() {
        let lost = Life {
            changed: ELEMENTS * 4 / 10,
            one_ulp: ELEMENTS * 3 / 10,
            ..HEALTHY
        };
        assert_eq!(alone(lost), Verdict::RoundedAway);
        // A table of which each step takes a few rows changes few elements, too.
        let rows = Life {
            changed: ELEMENTS * 4 / 100,
            one_ulp: ELEMENTS / 1000,
            rows: 5,
            ..HEALTHY
        };
        assert_eq!(alone(rows), Verdict::Learning);
        // The end of a schedule is as small for all.
        let mut scheduled = context();
        scheduled.collapse = Some(1e-3_f64.ln());
        assert_eq!(
            verdict(&facts(), &scheduled, &[(40, lost)]),
            Verdict::Learning
        );
    }

    #[test]
    fn sizes_and_directions() {
        let with = |ratio, cosine| {
            alone(Life {
                ratio,
                cosine,
                ..HEALTHY
            })
        };
        assert_eq!(with(2.0, 0.0), Verdict::Exploding);
        assert_eq!(with(0.3, 0.0), Verdict::LargeUpdates);
        assert_eq!(with(0.099, -0.9), Verdict::Erratic);
        assert_eq!(with(0.04, -0.9), Verdict::Learning);
        assert_eq!(with(0.001, -0.9), Verdict::Learning);
        assert_eq!(with(0.05, 0.9), Verdict::Learning);
        let grown = Life {
            std: 5.0,
            ..HEALTHY
        };
        let found = verdict(&facts(), &context(), &[(30, HEALTHY), (10, grown)]);
        assert_eq!(found, Verdict::Exploding);
    }

    #[test]
    fn a_jump_that_kills_is_an_explosion() {
        let jump = Life {
            ratio: 3.0,
            ..HEALTHY
        };
        let dead = still(Glimpse::Zero);
        let found = verdict(&facts(), &context(), &[(1, jump), (30, dead)]);
        assert_eq!(found, Verdict::Exploding);
    }

    #[test]
    fn collapse_against_the_past_while_others_go_on() {
        let slow = Life {
            ratio: 1e-7,
            ..HEALTHY
        };
        let lives = [(60, HEALTHY), (30, slow)];
        assert_eq!(verdict(&facts(), &context(), &lives), Verdict::Stalled);
        // All slow down: a schedule.
        let mut scheduled = context();
        scheduled.collapse = Some(1e-4_f64.ln());
        assert_eq!(verdict(&facts(), &scheduled, &lives), Verdict::Learning);
        // Its gradient has gone, too: it is done.
        let done = Life {
            glimpse: Glimpse::NonZero(Some(1e-4)),
            ..slow
        };
        let lives = [(60, HEALTHY), (30, done)];
        assert_ne!(verdict(&facts(), &context(), &lives), Verdict::Stalled);
    }

    #[test]
    fn gradients_are_compared_with_those_of_other_layers() {
        let small = Life {
            glimpse: Glimpse::NonZero(Some(1e-5)),
            ..HEALTHY
        };
        assert_eq!(alone(small), Verdict::Vanishing);
        let growing = Life {
            glimpse: Glimpse::NonZero(Some(5e-5)),
            ..HEALTHY
        };
        let lives = [(30, small), (10, growing)];
        assert_eq!(verdict(&facts(), &context(), &lives), Verdict::Learning);
    }

    #[test]
    fn spreads_are_compared_with_the_fan_in() {
        let of = |first, then| {
            let life = |std| Life { std, ..HEALTHY };
            verdict(&facts(), &context(), &[(1, life(first)), (39, life(then))])
        };
        assert_eq!(of(1e-4, 1e-4), Verdict::PoorInit);
        assert_eq!(of(2.0, 2.0), Verdict::PoorInit);
        assert_eq!(of(0.1, 0.001), Verdict::ScaleDrift);
        assert_eq!(of(0.1, 0.2), Verdict::Learning);
        let mut embedding = facts();
        embedding.looks_embedded = true;
        let wide = Life {
            std: 1.0,
            ..HEALTHY
        };
        let found = verdict(&embedding, &context(), &[(40, wide)]);
        assert_eq!(found, Verdict::Learning);
    }

    #[test]
    fn not_a_number_comes_first() {
        let nan = Life {
            nan: 1,
            ..still(Glimpse::Zero)
        };
        assert_eq!(alone(nan), Verdict::NonFinite);
        let once = Life {
            glimpse: Glimpse::NonFinite,
            ..HEALTHY
        };
        let lives = [(39, HEALTHY), (1, once)];
        assert_eq!(verdict(&facts(), &context(), &lives), Verdict::Learning);
        assert_eq!(alone(once), Verdict::NonFinite);
    }

    #[test]
    fn frozen_is_frozen() {
        let mut facts = facts();
        facts.role = Role::Frozen;
        let still = still(Glimpse::Unseen);
        assert_eq!(verdict(&facts, &context(), &[(40, still)]), Verdict::Frozen);
        assert_eq!(
            verdict(&facts, &context(), &[(40, HEALTHY)]),
            Verdict::MovingWhileFrozen
        );
    }

    #[test]
    fn zeros_without_a_gradient_stay() {
        let zero = |glimpse| Life {
            std: 0.0,
            ..still(glimpse)
        };
        assert_eq!(alone(zero(Glimpse::Zero)), Verdict::AllZero);
        // With one, the optimizer is to blame.
        assert!(matches!(
            alone(zero(Glimpse::NonZero(Some(1.0)))),
            Verdict::NotUpdated { .. }
        ));
    }
}
