//! Each verdict by one variable's life beside a model that trains.

use proptest::prelude::*;

use super::*;
use crate::kernel::stats::{Change, Moments};
use crate::model::types::DType;
use crate::report::cause::Cause;
use crate::report::facts::Facts;
use crate::report::gradient_state::GradientState;
use crate::report::gradient_trail::{Patience, Pause};
use crate::report::history::{Idle, Observation, Scale, Seen};
use crate::report::patient::Patient;
use crate::report::thresholds::Thresholds;
use crate::source::gradient_sampler::GradientSample;
use crate::source::named_tensors::Role;

/// A matrix that moves by `ratio` of its norm at each step, unless a test says otherwise.
#[derive(Debug, Clone, Copy)]
struct Life {
    glimpse: GradientSample,
    std: f64,
    ratio: f64,
    changed: u64,
    one_ulp: u64,
    rows: u64,
    cosine: f64,
    nan: u64,
    required: Option<bool>,
}

const HEALTHY: Life = Life {
    glimpse: GradientSample::NonZero(Some(1.0)),
    std: 0.1,
    ratio: 1e-3,
    changed: ELEMENTS,
    one_ulp: 0,
    rows: 100,
    cosine: 0.0,
    nan: 0,
    required: Some(true),
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
            changed_since: None,
        }),
        moved: Some(life.changed > 0),
        required: life.required,
        ..Observation::default()
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

/// A model that trains beside the variable, with gradients a thousandth of the weights: four
/// others, of which it knows.
fn context() -> Context {
    Context {
        has_moved: true,
        patience: 20,
        reasoned_patience: 20,
        turn: 1,
        trained: 5,
        movers: 5,
        with_gradient: 5,
        looked: 5,
        relative_gradient: Some(1e-1_f64.ln()),
        largest_gradient: Some(0.0),
        collapse: Some(0.0),
        ratio: Some(1e-3_f64.ln()),
        ..Context::default()
    }
}

/// A model in which nothing moves and no other variable has a gradient.
fn still_context(calls: u64) -> Context {
    Context {
        still: calls,
        has_moved: false,
        turn: 0,
        movers: 0,
        with_gradient: 0,
        relative_gradient: None,
        largest_gradient: None,
        ratio: None,
        ..context()
    }
}

/// How much of the model moves beside it.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Moves,
    Rests,
}

fn patient(facts: &Facts, lives: &[(usize, Life)], beside: Beside) -> Patient {
    let thresholds = Thresholds::default();
    let mut patient = Patient::new("w".into(), facts.clone());
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
                slow: thresholds.hardly_moving,
                model_moved: beside == Beside::Moves,
                idle: Idle::default(),
            };
            patient.push(step, &observation(*life), scale);
            step += 1;
        }
    }
    let patience = Patience {
        least: 20,
        most: 200,
        turn: 1,
    };
    let pause = Pause {
        is_still: beside == Beside::Rests,
        is_long: false,
    };
    patient.stand(patience, pause);
    patient
}

/// The others are as the context counts them, the variable itself is what it is.
fn judged(patient: &Patient, context: &Context) -> Verdict {
    let mut context = *context;
    let own = patient.standpoint();
    let without = |count: usize, is: bool| count.saturating_sub(usize::from(!is));
    context.trained = without(context.trained, own.is_trained);
    context.movers = without(context.movers, own.is_mover);
    context.with_gradient = without(context.with_gradient, own.has_gradient);
    context.looked = without(context.looked, own.is_looked_at);
    decide(&patient.case(&context, &Thresholds::default()))
}

fn verdict(facts: &Facts, context: &Context, lives: &[(usize, Life)]) -> Verdict {
    let beside = match context.still {
        0 => Beside::Moves,
        _ => Beside::Rests,
    };
    judged(&patient(facts, lives, beside), context)
}

fn alone(life: Life) -> Verdict {
    verdict(&facts(), &context(), &[(40, life)])
}

fn still(glimpse: GradientSample) -> Life {
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
    let seen = still(GradientSample::NonZero(Some(1.0)));
    assert_eq!(
        verdict(&facts(), &context(), &[(19, seen)]),
        Verdict::Undecided
    );
}

#[test]
fn what_stands_still_is_told_apart_by_its_gradient() {
    let cases = [
        (GradientSample::Undefined, Verdict::Detached),
        (GradientSample::Zero, Verdict::DeadGradient),
        (GradientSample::PerhapsZero, Verdict::DeadGradient),
    ];
    for (glimpse, expected) in cases {
        assert_eq!(alone(still(glimpse)), expected, "{glimpse:?}");
    }
    let candidates = |verdict| match verdict {
        Verdict::NotUpdated { cause } => cause.candidates().to_vec(),
        other => panic!("{other:?}"),
    };
    let seen = alone(still(GradientSample::NonZero(Some(1.0))));
    let expected = [
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::StepNotCalled,
        Cause::Overwritten,
        Cause::Rounding,
    ];
    assert_eq!(candidates(seen), expected);
    // Nobody has a gradient to show.
    let blind = Context {
        with_gradient: 0,
        ..context()
    };
    let unseen = verdict(&facts(), &blind, &[(40, still(GradientSample::Undefined))]);
    assert!(candidates(unseen).contains(&Cause::NoGradient));
    assert!(candidates(unseen).contains(&Cause::GradientCleared));
}

#[test]
fn a_whole_model_at_rest_is_told_apart_by_its_gradients() {
    let of = |glimpse, calls| {
        verdict(
            &facts(),
            &still_context(calls),
            &[(calls as usize, still(glimpse))],
        )
    };
    assert_eq!(of(GradientSample::Undefined, 20), Verdict::NoGradient);
    assert_eq!(of(GradientSample::Zero, 20), Verdict::ZeroGradient);
    assert_eq!(of(GradientSample::Undefined, 19), Verdict::Undecided);
    // A gradient that is there may be accumulated.
    let seen = GradientSample::NonZero(Some(1.0));
    assert_eq!(of(seen, 199), Verdict::Undecided);
    assert!(matches!(of(seen, 200), Verdict::NotUpdated { .. }));
    // Unless the rate is known.
    let mut known = still_context(20);
    known.learning_rate = Some(0.0);
    let cause = Cause::LearningRateZero;
    assert_eq!(
        verdict(&facts(), &known, &[(20, still(seen))]),
        Verdict::NotUpdated { cause }
    );
}

#[test]
fn a_rhythm_is_waited_for() {
    let mut context = still_context(200);
    (context.has_moved, context.patience) = (true, 256);
    (context.still, context.reasoned_patience) = (100, 128);
    let seen = still(GradientSample::NonZero(Some(1.0)));
    let lives = [(1, HEALTHY), (200, seen)];
    assert_eq!(verdict(&facts(), &context, &lives), Verdict::Learning);
    context.still = 200;
    assert_eq!(verdict(&facts(), &context, &lives), Verdict::Undecided);
    context.still = 256;
    assert!(verdict(&facts(), &context, &lives).is_fault());
}

#[test]
fn weight_decay_moves_towards_zero_and_nowhere_else() {
    let facts = facts();
    let shrinking = (0..40).map(|step| {
        let life = Life {
            std: 0.1 * 0.99_f64.powi(step),
            ratio: 0.01,
            glimpse: GradientSample::Zero,
            ..HEALTHY
        };
        (1, life)
    });
    let lives: Vec<(usize, Life)> = shrinking.collect();
    assert_eq!(verdict(&facts, &context(), &lives), Verdict::DecayOnly);
}

#[test]
fn what_is_held_at_its_bounds_is_pinned() {
    let mut patient = patient(
        &facts(),
        &[(40, still(GradientSample::NonZero(Some(1.0))))],
        Beside::Moves,
    );
    // Three of ten at 0.01, the others at -0.01.
    patient.history.newest = Some(Moments {
        count: 1000,
        min: -0.01,
        max: 0.01,
        mean: -0.004,
        m2: 1000.0 * 0.006 * 0.014,
        ..Moments::default()
    });
    let cause = Cause::PinnedAtBound;
    assert_eq!(judged(&patient, &context()), Verdict::NotUpdated { cause });
}

#[test]
fn what_came_to_be_one_value_is_clamped_or_overwritten() {
    let mut patient = patient(
        &facts(),
        &[
            (40, HEALTHY),
            (40, still(GradientSample::NonZero(Some(1.0)))),
        ],
        Beside::Moves,
    );
    patient.history.newest = Some(Moments {
        count: 1000,
        min: 0.01,
        max: 0.01,
        mean: 0.01,
        ..Moments::default()
    });
    let Verdict::NotUpdated { cause } = judged(&patient, &context()) else {
        panic!("{:?}", judged(&patient, &context()));
    };
    assert_eq!(
        cause.candidates(),
        [Cause::PinnedAtBound, Cause::Overwritten]
    );
    assert!(cause.advice().contains("fill_"), "{}", cause.advice());
}

#[test]
fn units_that_stay_alike_are_named() {
    let mut patient = patient(&facts(), &[(40, HEALTHY)], Beside::Moves);
    patient.history.equal_rows = 40;
    assert_eq!(judged(&patient, &context()), Verdict::IdenticalUnits);
}

#[test]
fn a_variable_that_moves_is_neither_detached_nor_surely_dead() {
    let moving = |glimpse| alone(Life { glimpse, ..HEALTHY });
    assert_eq!(moving(GradientSample::Undefined), Verdict::Learning);
    // Momentum and weight decay move what has no gradient left.
    assert_eq!(moving(GradientSample::Zero), Verdict::DeadGradient);
    // But where not all of a gradient was seen, it is somewhere else.
    assert_eq!(moving(GradientSample::PerhapsZero), Verdict::Learning);
}

#[test]
fn turns_are_waited_for() {
    // One step in six is its own.
    let turn = [(5, still(GradientSample::Undefined)), (1, HEALTHY)];
    let lives: Vec<(usize, Life)> = turn.repeat(10);
    assert_eq!(verdict(&facts(), &context(), &lives), Verdict::Learning);
    // Another layer has taken over.
    let mut patient = patient(&facts(), &lives, Beside::Moves);
    patient.history.is_handed_over = true;
    assert_eq!(judged(&patient, &context()), Verdict::Learning);
}

#[test]
fn hints_decide_a_cause() {
    let seen = still(GradientSample::NonZero(Some(1.0)));
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
    let seen = still(GradientSample::NonZero(Some(1e-8)));
    // It does not move either.
    let found = verdict(&facts, &context(), &[(40, seen)]);
    assert_eq!(found, Verdict::Undecided);
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

// Both change a few rows at first, and then more: a table row by row, lost updates element by
// element.
#[test]
fn flickering_rows_are_no_table() {
    let mut facts = facts();
    facts.shape = vec![200, 50];
    let at = |rows: u64, changed: u64| {
        let life = Life {
            rows,
            changed,
            glimpse: GradientSample::NonZero(Some(1e-5)),
            ..HEALTHY
        };
        (1, life)
    };
    let table: Vec<(usize, Life)> = (0..40)
        .map(|step| at(10 + step, 100 * (10 + step)))
        .collect();
    let found = patient(&facts, &table, Beside::Moves);
    assert!(found.history.is_sparse);
    assert_eq!(judged(&found, &context()), Verdict::Learning);
    let flicker: Vec<(usize, Life)> = (0..40).map(|step| at(10 + step, 10 + step)).collect();
    let found = patient(&facts, &flicker, Beside::Moves);
    assert!(!found.history.is_table);
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
    // A number alone is no harm.
    assert_eq!(with(0.3, 0.0), Verdict::Learning);
    assert_eq!(with(0.3, -0.5), Verdict::LargeUpdates);
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
    let dead = still(GradientSample::Zero);
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
        glimpse: GradientSample::NonZero(Some(1e-4)),
        ..slow
    };
    let lives = [(60, HEALTHY), (30, done)];
    assert_ne!(verdict(&facts(), &context(), &lives), Verdict::Stalled);
}

#[test]
fn gradients_are_compared_with_those_of_other_layers() {
    let small = Life {
        glimpse: GradientSample::NonZero(Some(1e-5)),
        ..HEALTHY
    };
    assert_eq!(alone(small), Verdict::Vanishing);
    let growing = Life {
        glimpse: GradientSample::NonZero(Some(5e-5)),
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
    // Numbers alone are no harm.
    assert_eq!(of(1e-4, 1e-4), Verdict::Learning);
    assert_eq!(of(2.0, 2.0), Verdict::Learning);
    let mut hurt = context();
    hurt.is_hurt = true;
    let wide = |std| [(40, Life { std, ..HEALTHY })];
    assert_eq!(verdict(&facts(), &hurt, &wide(2.0)), Verdict::PoorInit);
    assert_eq!(verdict(&facts(), &hurt, &wide(1e-4)), Verdict::PoorInit);
    // That it dies of a step of its own size is what has come of it.
    let dead = still(GradientSample::Zero);
    let mut patient = patient(&facts(), &[(10, HEALTHY), (60, dead)], Beside::Moves);
    patient.history.jumps = 1;
    for before in [Verdict::PoorInit, Verdict::Exploding] {
        patient.verdict = before;
        assert_eq!(judged(&patient, &hurt), before);
    }
    assert_eq!(of(0.1, 0.001), Verdict::ScaleDrift);
    assert_eq!(of(0.1, 0.2), Verdict::Learning);
    let mut embedding = facts();
    embedding.looks_embedded = true;
    let wide = Life {
        std: 1.0,
        ..HEALTHY
    };
    let found = verdict(&embedding, &hurt, &[(40, wide)]);
    assert_eq!(found, Verdict::Learning);
}

#[test]
fn not_a_number_comes_first() {
    let nan = Life {
        nan: 1,
        ..still(GradientSample::Zero)
    };
    assert_eq!(alone(nan), Verdict::NonFinite);
    let once = Life {
        glimpse: GradientSample::NonFinite,
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
    let frozen = |life| Life {
        glimpse: GradientSample::Unseen,
        required: Some(false),
        ..life
    };
    let still = frozen(still(GradientSample::Unseen));
    assert_eq!(verdict(&facts, &context(), &[(40, still)]), Verdict::Frozen);
    let moving = [(40, frozen(HEALTHY))];
    assert_eq!(
        verdict(&facts, &context(), &moving),
        Verdict::MovingWhileFrozen
    );
    // A model without gradients, or a copy of what is trained, moves on purpose.
    let untrained = Context {
        trained: 0,
        ..context()
    };
    let copy = Verdict::MovedWithoutGradient;
    assert_eq!(verdict(&facts, &untrained, &moving), copy);
    let mut patient = patient(&facts, &moving, Beside::Moves);
    patient.history.following = 2;
    assert_eq!(judged(&patient, &context()), copy);
}

// A tensor that was given as a pair says itself that it requires no gradient.
#[test]
fn what_never_required_a_gradient_is_frozen_whatever_its_role() {
    let life = Life {
        required: Some(false),
        ..still(GradientSample::Unseen)
    };
    assert_eq!(
        verdict(&facts(), &context(), &[(40, life)]),
        Verdict::Frozen
    );
}

// Frozen while it is logged, and yet its gradient is another each time.
#[test]
fn what_is_unfrozen_between_calls_learns() {
    let lives: Vec<(usize, Life)> = (0..40)
        .map(|step| {
            let life = Life {
                required: Some(false),
                glimpse: GradientSample::NonZero(Some(1.0 + f64::from(step))),
                ..HEALTHY
            };
            (1, life)
        })
        .collect();
    assert_eq!(verdict(&facts(), &context(), &lives), Verdict::Learning);
    // One that was left behind moves nothing.
    let stale = Life {
        required: Some(false),
        ..HEALTHY
    };
    let found = verdict(&facts(), &context(), &[(40, stale)]);
    assert_eq!(found, Verdict::MovingWhileFrozen);
}

#[test]
fn zeros_without_a_gradient_stay() {
    let zero = |glimpse| Life {
        std: 0.0,
        ..still(glimpse)
    };
    assert_eq!(alone(zero(GradientSample::Zero)), Verdict::AllZero);
    // With one, the optimizer is to blame.
    assert!(matches!(
        alone(zero(GradientSample::NonZero(Some(1.0)))),
        Verdict::NotUpdated { .. }
    ));
}

fn any_glimpse() -> impl Strategy<Value = GradientSample> {
    prop_oneof![
        Just(GradientSample::Unseen),
        Just(GradientSample::Undefined),
        Just(GradientSample::Zero),
        Just(GradientSample::PerhapsZero),
        Just(GradientSample::NonFinite),
        (1e-9..1e3_f64).prop_map(|norm| GradientSample::NonZero(Some(norm))),
    ]
}

fn any_life() -> impl Strategy<Value = Life> {
    (
        any_glimpse(),
        prop_oneof![Just(0.0), 1e-5..10.0_f64],
        1e-12..2.0_f64,
        prop_oneof![Just(0), 1..=ELEMENTS],
        prop::option::of(any::<bool>()),
        -1.0..1.0_f64,
        prop_oneof![9 => Just(0_u64), 1 => Just(1)],
    )
        .prop_map(
            |(glimpse, std, ratio, changed, required, cosine, nan)| Life {
                glimpse,
                std,
                ratio: if changed == 0 { 0.0 } else { ratio },
                changed,
                one_ulp: changed / 2,
                rows: 100,
                cosine,
                nan,
                required,
            },
        )
}

fn any_context() -> impl Strategy<Value = Context> {
    let counts = (0..6_usize, 0..6_usize, 0..6_usize, 0..6_usize);
    let numbers = (
        prop::option::of(-20.0..0.0_f64),
        prop::option::of(0.0..1.0_f64),
    );
    (
        counts,
        prop_oneof![Just(0_u64), 0..300_u64],
        any::<[bool; 4]>(),
        numbers,
    )
        .prop_map(
            |((trained, movers, with_gradient, looked), still, flags, (log, rate))| {
                let [has_moved, is_hurt, has_twin, is_all_zero] = flags;
                Context {
                    still,
                    has_moved,
                    patience: 20,
                    reasoned_patience: 20,
                    turn: 1,
                    trained: trained + 1,
                    movers: movers.min(trained) + 1,
                    with_gradient: with_gradient.min(looked).min(trained) + 1,
                    looked: looked.min(trained) + 1,
                    is_hurt,
                    has_twin,
                    is_all_zero,
                    relative_gradient: log,
                    largest_gradient: log,
                    collapse: log,
                    ratio: log,
                    learning_rate: rate,
                    ..Context::default()
                }
            },
        )
}

proptest! {
    // Learning is shown: something changed, and not every gradient that was seen was zero.
    #[test]
    fn learning_is_never_assumed(
        lives in prop::collection::vec((1..30_usize, any_life()), 1..6),
        context in any_context(),
    ) {
        let beside = if context.still > 0 { Beside::Rests } else { Beside::Moves };
        let patient = patient(&facts(), &lives, beside);
        let found = judged(&patient, &context);
        let history = &patient.history;
        let zero = lives.iter().all(|(_, life)| life.glimpse == GradientSample::Zero);
        if found == Verdict::Learning {
            prop_assert!(lives.iter().any(|(_, life)| life.changed > 0));
            prop_assert!(!zero);
            prop_assert!(patient.is_trained());
        }
        // A fault names a fact that a healthy variable cannot show.
        let all_zero = history.newest.is_some_and(|newest| newest.zeros == newest.count);
        let contradicts = match found {
            Verdict::NonFinite => {
                history.newest.is_some_and(|newest| newest.nonfinite() > 0)
                    || history.sums.nonfinite >= 3
            }
            Verdict::MovingWhileFrozen => !patient.is_trained() && history.sums.moves > 2,
            Verdict::NoGradient | Verdict::Detached => {
                history.still > 0 && patient.gradient == GradientState::Undefined
            }
            Verdict::AllZero => all_zero && history.still > 0,
            Verdict::ZeroGradient | Verdict::DeadGradient => {
                patient.gradient == GradientState::Zero
            }
            Verdict::DecayOnly => {
                let shrinks = history.shrinking().is_some_and(|share| share > 0.5);
                shrinks && match patient.gradient {
                    GradientState::Zero => true,
                    GradientState::Undefined => context.with_gradient > 0,
                    _ => false,
                }
            }
            Verdict::NotUpdated { .. } => history.still > 0,
            Verdict::RoundedAway => history.sums.changed().is_none_or(|changed| changed <= 0.5),
            _ => true,
        };
        prop_assert!(contradicts, "{found} {history:?}");
    }
}

#[test]
fn each_verdict_has_one_rule_with_a_name_of_its_own() {
    let names: std::collections::HashSet<&str> = Verdict::all().map(Verdict::name).collect();
    assert_eq!(names.len(), RULES.len());
    for verdict in Verdict::all().filter(|one| !matches!(one, Verdict::NotUpdated { .. })) {
        assert_eq!(
            verdict.is_fault(),
            !verdict.advice().is_empty(),
            "{verdict}"
        );
    }
}
