//! From numbers to the words of the table: what was seen of a variable over a span as long as its
//! rhythm asks for.

use crate::report::case::{Case, Context, Standpoint};
use crate::report::evidence_table::{
    Company, Course, Moved, OtherGradients, Outcome, Required, Rest, Signs, row,
};
use crate::report::facts::Facts;
use crate::report::gradient_state::GradientState;
use crate::report::gradient_trail::Patience;
use crate::report::history::History;
use crate::report::thresholds::Thresholds;
use crate::report::verdict::Verdict;
use crate::source::named_tensors::Role;

/// Moves of a frozen variable, within the window, that are taken for an edit by hand or a copy now
/// and then.
const EDITS: u32 = 2;

/// Moves that show how a variable moves, where a window of calls holds fewer than a window of
/// moves.
const MOVES: u64 = 3;

/// Looks in a row that must have found a variable following another.
const FOLLOWING: u32 = 2;

/// Share of the way that has led towards zero where nothing but decay moves a variable: all of it
/// under plain descent, 0.8 of it for normal weights under Adam, whose steps are all alike.
const SHRINKING: f64 = 0.6;

impl<'a> Case<'a> {
    /// Signs, row and outcome follow from the rest.
    pub(crate) fn new(
        (facts, history): (&'a Facts, &'a History),
        (context, thresholds): (&'a Context, &'a Thresholds),
        standpoint: Standpoint,
        current: Verdict,
        (gradient, is_copy, is_beside_gradient): (GradientState, bool, bool),
    ) -> Case<'a> {
        let mut case = Case {
            facts,
            history,
            context,
            thresholds,
            standpoint,
            current,
            is_copy,
            is_beside_gradient,
            gradient,
            signs: Signs::NOTHING,
            row: row(&Signs::NOTHING),
            outcome: Outcome::Undecided,
        };
        case.signs = signs(&case);
        case.row = row(&case.signs);
        case.outcome = case.row.outcome;
        case
    }
}

/// The words for a case.
pub(crate) fn signs(case: &Case<'_>) -> Signs {
    let required = required(case);
    let gradient = case.gradient;
    let moved = moved(case, required);
    Signs {
        moved,
        course: course(case, moved),
        gradient,
        required,
        rest: rest(case),
        others: others(case),
        company: company(case, moved),
        listed: case.facts.listed(),
    }
}

/// Whether it requires a gradient. Buffers never do.
pub(crate) fn required(case: &Case<'_>) -> Required {
    match case.facts.role {
        Role::Buffer => Required::Never,
        _ => case.history.required(),
    }
}

/// How long a gradient that is gone is waited for.
pub(crate) fn gradient_patience(thresholds: &Thresholds, turn: u64) -> Patience {
    Patience {
        least: thresholds.window.into(),
        most: thresholds.patience.into(),
        turn,
    }
}

fn moved(case: &Case<'_>, required: Required) -> Moved {
    let (history, sums) = (case.history, &case.history.sums);
    let over_window = || match sums.moves == sums.steps {
        true => Moved::Every,
        false => Moved::Some,
    };
    // A tensor without elements has nothing that could move.
    let is_empty = case.facts.shape.contains(&0);
    if is_empty || history.steps == 0 || history.is_out_of_sight(case.window()) {
        return Moved::Unknown;
    }
    if required == Required::Never {
        return match sums.moves {
            0..=EDITS => Moved::Never,
            _ => over_window(),
        };
    }
    // A gradient that was there before the rest and is gone says that it waits for its turn.
    let waits = case.gradient == GradientState::NonZero && !history.has_gradient_at_rest();
    if case.is_still() && !waits {
        Moved::Never
    } else if case.is_resting() {
        Moved::Unknown
    } else if history.moves.events() > 0 && (history.steps >= case.window() || is_slow(case)) {
        over_window()
    } else {
        Moved::Unknown
    }
}

/// Its model moves seldom, with calls of rest between, and has done so again and again.
fn is_slow(case: &Case<'_>) -> bool {
    let context = case.context;
    let is_seldom = context.calls >= case.window() && context.calls >= 2 * context.steps;
    is_seldom && case.history.moves.events() >= MOVES
}

fn course(case: &Case<'_>, moved: Moved) -> Course {
    let asks = matches!(moved, Moved::Some | Moved::Every)
        && matches!(
            case.gradient,
            GradientState::Zero | GradientState::Undefined
        );
    match case.history.shrinking().filter(|_| asks) {
        None => Course::Unknown,
        Some(share) if share > SHRINKING => Course::Shrinks,
        Some(_) => Course::Free,
    }
}

fn rest(case: &Case<'_>) -> Rest {
    let context = case.context;
    if context.trained <= case.own(|own| own.is_trained) {
        Rest::Alone
    } else if case.is_left_behind()
        || (context.movers > case.own(|own| own.is_mover) && context.still < case.window())
    {
        Rest::Moves
    } else {
        Rest::Still
    }
}

fn others(case: &Case<'_>) -> OtherGradients {
    let context = case.context;
    if context.with_gradient > case.own(|own| own.has_gradient) {
        OtherGradients::Some
    } else if context.looked > case.own(|own| own.is_looked_at) {
        OtherGradients::None
    } else {
        OtherGradients::Unknown
    }
}

fn company(case: &Case<'_>, moved: Moved) -> Company {
    let context = case.context;
    // What stands still and began elsewhere is no copy that waits.
    let has_twin = match moved {
        Moved::Some | Moved::Every => context.has_twin,
        Moved::Unknown | Moved::Never => context.has_copy,
    };
    let trained = context.trained - case.own(|own| own.is_trained).min(context.trained);
    let unknown = context.unknown - case.own(|own| own.is_unknown).min(context.unknown);
    if case.facts.role == Role::Buffer {
        Company::Untrained
    } else if case.history.following >= FOLLOWING || case.is_copy || has_twin {
        Company::Twin
    } else if trained == 0 {
        Company::Untrained
    } else if trained == unknown
        || (case.history.follow_looks <= FOLLOWING && case.history.steps < case.window())
    {
        Company::Unknown
    } else {
        Company::Trained
    }
}
