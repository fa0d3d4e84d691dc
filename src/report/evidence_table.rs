//! What was seen of a variable, in few words, and what follows from it: one row for each kind of
//! case. The rules that look at sizes come after it.
//!
//! "Not observed" is a value of every kind of evidence. A row that leads to *learning* names each
//! of its values: nothing is taken for learning because no row speaks against it.

use crate::report::gradient_state::GradientState;

/// Whether its values changed, over a span as long as its own rhythm and that of its model ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Moved {
    /// Too few steps to say.
    Unknown,
    Never,
    Some,
    Every,
}

/// Where its changes lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Course {
    Unknown,
    /// Towards zero and nowhere else.
    Shrinks,
    Free,
}

/// Whether it requires a gradient, over the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Required {
    /// Its values are no tensor.
    Unknown,
    Never,
    /// At some calls, or between calls that saw it frozen.
    InTurn,
    Always,
}

/// The other variables of its model that are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rest {
    /// There are none.
    Alone,
    Still,
    Moves,
}

/// Their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OtherGradients {
    Unknown,
    /// None of them has one that is not zero.
    None,
    Some,
}

/// Whom it could follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Company {
    Unknown,
    /// No variable of its model requires a gradient.
    Untrained,
    /// It moves towards a trained variable of the same shape, or began as its copy.
    Twin,
    /// Others are trained, and it follows none of them.
    Trained,
}

/// Whether its store hands it to optimizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Listed {
    Unknown,
    No,
    Yes,
}

/// One variable's evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Signs {
    pub(crate) moved: Moved,
    pub(crate) course: Course,
    pub(crate) gradient: GradientState,
    pub(crate) required: Required,
    pub(crate) rest: Rest,
    pub(crate) others: OtherGradients,
    pub(crate) company: Company,
    pub(crate) listed: Listed,
}

impl Signs {
    /// Of a variable of which nothing is known.
    pub(crate) const NOTHING: Signs = Signs {
        moved: Moved::Unknown,
        course: Course::Unknown,
        gradient: GradientState::Unseen,
        required: Required::Unknown,
        rest: Rest::Alone,
        others: OtherGradients::Unknown,
        company: Company::Unknown,
        listed: Listed::Unknown,
    };
}

/// What a row leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Undecided,
    NonFinite,
    Frozen,
    MovedWithoutGradient,
    MovingWhileFrozen,
    NoGradient,
    Detached,
    ZeroGradient,
    DeadGradient,
    DecayOnly,
    NotUpdated,
    /// Unless a rule about sizes objects.
    Learning,
}

/// Values of one kind that a row takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Of<T: 'static> {
    Any,
    These(&'static [T]),
}

impl<T: PartialEq> Of<T> {
    fn takes(&self, value: &T) -> bool {
        match self {
            Of::Any => true,
            Of::These(values) => values.contains(value),
        }
    }
}

/// A kind of case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    moved: Of<Moved>,
    course: Of<Course>,
    gradient: Of<GradientState>,
    required: Of<Required>,
    rest: Of<Rest>,
    others: Of<OtherGradients>,
    company: Of<Company>,
    listed: Of<Listed>,
    pub(crate) outcome: Outcome,
}

const ANY: Row = Row {
    name: "",
    moved: Of::Any,
    course: Of::Any,
    gradient: Of::Any,
    required: Of::Any,
    rest: Of::Any,
    others: Of::Any,
    company: Of::Any,
    listed: Of::Any,
    outcome: Outcome::Undecided,
};

const MOVES: Of<Moved> = Of::These(&[Moved::Some, Moved::Every]);
const NEVER_MOVED: Of<Moved> = Of::These(&[Moved::Never]);
const REQUIRED: Of<Required> = Of::These(&[Required::Unknown, Required::InTurn, Required::Always]);
const NOT_REQUIRED: Of<Required> = Of::These(&[Required::Never]);
const NO_OTHER_GRADIENT: Of<OtherGradients> =
    Of::These(&[OtherGradients::Unknown, OtherGradients::None]);
const OTHER_GRADIENTS: Of<OtherGradients> = Of::These(&[OtherGradients::Some]);
const EACH_COURSE: Of<Course> = Of::These(&[Course::Unknown, Course::Shrinks, Course::Free]);
const EACH_REST: Of<Rest> = Of::These(&[Rest::Alone, Rest::Still, Rest::Moves]);
const EACH_OTHER: Of<OtherGradients> = Of::These(&[
    OtherGradients::Unknown,
    OtherGradients::None,
    OtherGradients::Some,
]);
const EACH_COMPANY: Of<Company> = Of::These(&[
    Company::Unknown,
    Company::Untrained,
    Company::Twin,
    Company::Trained,
]);
const NO_TWIN: Of<Company> = Of::These(&[Company::Unknown, Company::Untrained, Company::Trained]);
const EACH_LISTED: Of<Listed> = Of::These(&[Listed::Unknown, Listed::No, Listed::Yes]);

const fn of_gradient(state: &'static [GradientState]) -> Of<GradientState> {
    Of::These(state)
}

/// The table. Each case has one row.
pub(crate) const ROWS: [Row; 28] = [
    Row {
        name: "a gradient without being asked for one",
        gradient: of_gradient(&[
            GradientState::Unseen,
            GradientState::Undefined,
            GradientState::Zero,
            GradientState::NonZero,
            GradientState::NonFinite,
        ]),
        required: NOT_REQUIRED,
        ..ANY
    },
    Row {
        name: "no gradient asked for, although one is required",
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: REQUIRED,
        ..ANY
    },
    Row {
        name: "gradient not finite",
        gradient: of_gradient(&[GradientState::NonFinite]),
        required: REQUIRED,
        outcome: Outcome::NonFinite,
        ..ANY
    },
    Row {
        name: "too few steps, frozen",
        moved: Of::These(&[Moved::Unknown]),
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: NOT_REQUIRED,
        ..ANY
    },
    Row {
        name: "too few steps",
        moved: Of::These(&[Moved::Unknown]),
        gradient: of_gradient(&[
            GradientState::Unseen,
            GradientState::Undefined,
            GradientState::Zero,
            GradientState::NonZero,
        ]),
        required: REQUIRED,
        ..ANY
    },
    Row {
        name: "frozen",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: NOT_REQUIRED,
        outcome: Outcome::Frozen,
        ..ANY
    },
    Row {
        name: "a model without gradients moves",
        moved: MOVES,
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: NOT_REQUIRED,
        company: Of::These(&[Company::Untrained]),
        outcome: Outcome::MovedWithoutGradient,
        ..ANY
    },
    Row {
        name: "a frozen copy follows",
        moved: MOVES,
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: NOT_REQUIRED,
        company: Of::These(&[Company::Twin]),
        outcome: Outcome::MovedWithoutGradient,
        ..ANY
    },
    Row {
        name: "moves while frozen",
        moved: MOVES,
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: NOT_REQUIRED,
        company: Of::These(&[Company::Trained]),
        outcome: Outcome::MovingWhileFrozen,
        ..ANY
    },
    Row {
        name: "moves while frozen, among unknown ones",
        moved: MOVES,
        gradient: of_gradient(&[GradientState::NotRequired]),
        required: NOT_REQUIRED,
        company: Of::These(&[Company::Unknown]),
        ..ANY
    },
    // A target network is copied every so many thousand steps.
    Row {
        name: "a copy waits",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        company: Of::These(&[Company::Twin]),
        ..ANY
    },
    Row {
        name: "no gradient, others have one",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        company: NO_TWIN,
        others: OTHER_GRADIENTS,
        outcome: Outcome::Detached,
        ..ANY
    },
    Row {
        name: "no gradient in the whole model",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        rest: Of::These(&[Rest::Alone, Rest::Still]),
        company: NO_TWIN,
        others: NO_OTHER_GRADIENT,
        outcome: Outcome::NoGradient,
        ..ANY
    },
    Row {
        name: "left behind, and no gradient seen of any",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        rest: Of::These(&[Rest::Moves]),
        company: NO_TWIN,
        others: NO_OTHER_GRADIENT,
        outcome: Outcome::NotUpdated,
        ..ANY
    },
    Row {
        name: "gradient zero, that of others is not",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Zero]),
        required: REQUIRED,
        others: OTHER_GRADIENTS,
        outcome: Outcome::DeadGradient,
        ..ANY
    },
    Row {
        name: "gradient zero in the whole model",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Zero]),
        required: REQUIRED,
        others: NO_OTHER_GRADIENT,
        outcome: Outcome::ZeroGradient,
        ..ANY
    },
    Row {
        name: "hidden from optimizers",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::NonZero]),
        required: REQUIRED,
        listed: Of::These(&[Listed::No]),
        outcome: Outcome::NotUpdated,
        ..ANY
    },
    Row {
        name: "a gradient, and no change",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::NonZero]),
        required: REQUIRED,
        listed: Of::These(&[Listed::Unknown, Listed::Yes]),
        outcome: Outcome::NotUpdated,
        ..ANY
    },
    Row {
        name: "no change, gradient not seen",
        moved: NEVER_MOVED,
        gradient: of_gradient(&[GradientState::Unseen]),
        required: REQUIRED,
        outcome: Outcome::NotUpdated,
        ..ANY
    },
    Row {
        name: "moves by weight decay",
        moved: MOVES,
        course: Of::These(&[Course::Shrinks]),
        gradient: of_gradient(&[GradientState::Zero]),
        required: REQUIRED,
        outcome: Outcome::DecayOnly,
        ..ANY
    },
    Row {
        name: "moves by weight decay, others have a gradient",
        moved: MOVES,
        course: Of::These(&[Course::Shrinks]),
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        others: OTHER_GRADIENTS,
        company: NO_TWIN,
        outcome: Outcome::DecayOnly,
        ..ANY
    },
    Row {
        name: "moves with a gradient of zero, others have one",
        moved: MOVES,
        course: Of::These(&[Course::Unknown, Course::Free]),
        gradient: of_gradient(&[GradientState::Zero]),
        required: REQUIRED,
        others: OTHER_GRADIENTS,
        outcome: Outcome::DeadGradient,
        ..ANY
    },
    Row {
        name: "moves, and each gradient is zero",
        moved: MOVES,
        course: Of::These(&[Course::Unknown, Course::Free]),
        gradient: of_gradient(&[GradientState::Zero]),
        required: REQUIRED,
        others: NO_OTHER_GRADIENT,
        outcome: Outcome::ZeroGradient,
        ..ANY
    },
    Row {
        name: "a copy that requires a gradient follows",
        moved: MOVES,
        gradient: of_gradient(&[GradientState::Unseen, GradientState::Undefined]),
        required: REQUIRED,
        company: Of::These(&[Company::Twin]),
        outcome: Outcome::MovedWithoutGradient,
        ..ANY
    },
    Row {
        name: "moves by its gradient",
        moved: MOVES,
        course: EACH_COURSE,
        gradient: of_gradient(&[GradientState::NonZero]),
        required: REQUIRED,
        rest: EACH_REST,
        others: EACH_OTHER,
        company: EACH_COMPANY,
        listed: EACH_LISTED,
        outcome: Outcome::Learning,
    },
    // Cleared before the call: a gradient that is not there moves nothing.
    Row {
        name: "moves towards zero, and no gradient is there of any",
        moved: MOVES,
        course: Of::These(&[Course::Shrinks]),
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        rest: EACH_REST,
        others: NO_OTHER_GRADIENT,
        company: NO_TWIN,
        listed: EACH_LISTED,
        outcome: Outcome::Learning,
    },
    Row {
        name: "moves, and its gradient is gone",
        moved: MOVES,
        course: Of::These(&[Course::Unknown, Course::Free]),
        gradient: of_gradient(&[GradientState::Undefined]),
        required: REQUIRED,
        rest: EACH_REST,
        others: EACH_OTHER,
        company: NO_TWIN,
        listed: EACH_LISTED,
        outcome: Outcome::Learning,
    },
    // No tensor, a log, or a layout that cannot be looked into.
    Row {
        name: "moves, and its gradient was not looked at",
        moved: MOVES,
        course: EACH_COURSE,
        gradient: of_gradient(&[GradientState::Unseen]),
        required: REQUIRED,
        rest: EACH_REST,
        others: EACH_OTHER,
        company: NO_TWIN,
        listed: EACH_LISTED,
        outcome: Outcome::Learning,
    },
];

impl Row {
    fn takes(&self, signs: &Signs) -> bool {
        self.moved.takes(&signs.moved)
            && self.gradient.takes(&signs.gradient)
            && self.required.takes(&signs.required)
            && self.course.takes(&signs.course)
            && self.rest.takes(&signs.rest)
            && self.others.takes(&signs.others)
            && self.company.takes(&signs.company)
            && self.listed.takes(&signs.listed)
    }
}

/// The row of the evidence. Each has one; the first leads nowhere.
pub(crate) fn row(signs: &Signs) -> &'static Row {
    let [first, ..] = &ROWS;
    let taken = ROWS.iter().find(|row| row.takes(signs));
    debug_assert!(taken.is_some(), "no row for {signs:?}");
    taken.unwrap_or(first)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::fmt::Write;

    /// The table in Markdown, as the documentation of [`Verdict`](crate::Verdict) prints it.
    fn markdown() -> String {
        fn cell<T: std::fmt::Debug>(of: &Of<T>) -> String {
            let Of::These(values) = of else {
                return String::new();
            };
            let words = values.iter().map(|value| words(&format!("{value:?}")));
            words.collect::<Vec<_>>().join(", ")
        }
        let mut text = String::from(
            "| case | moved | course | gradient | required | rest of the model | other gradients \
             | company | in the store's list | leads to \
             |\n|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &ROWS {
            let cells = [
                row.name.to_owned(),
                cell(&row.moved),
                cell(&row.course),
                cell(&row.gradient),
                cell(&row.required),
                cell(&row.rest),
                cell(&row.others),
                cell(&row.company),
                cell(&row.listed),
                words(&format!("{:?}", row.outcome)),
            ];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        text
    }

    /// `NotRequired` as `not required`.
    fn words(name: &str) -> String {
        let mut text = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !text.is_empty() {
                text.push(' ');
            }
            text.extend(letter.to_lowercase());
        }
        text
    }

    const MOVED: [Moved; 4] = [Moved::Unknown, Moved::Never, Moved::Some, Moved::Every];
    const COURSES: [Course; 3] = [Course::Unknown, Course::Shrinks, Course::Free];
    const GRADIENTS: [GradientState; 6] = [
        GradientState::NotRequired,
        GradientState::Unseen,
        GradientState::Undefined,
        GradientState::Zero,
        GradientState::NonZero,
        GradientState::NonFinite,
    ];
    const REQUIREMENTS: [Required; 4] = [
        Required::Unknown,
        Required::Never,
        Required::InTurn,
        Required::Always,
    ];
    const RESTS: [Rest; 3] = [Rest::Alone, Rest::Still, Rest::Moves];
    const OTHERS: [OtherGradients; 3] = [
        OtherGradients::Unknown,
        OtherGradients::None,
        OtherGradients::Some,
    ];
    const COMPANIES: [Company; 4] = [
        Company::Unknown,
        Company::Untrained,
        Company::Twin,
        Company::Trained,
    ];
    const LISTS: [Listed; 3] = [Listed::Unknown, Listed::No, Listed::Yes];

    /// All evidence there can be.
    pub(crate) fn expansion() -> Vec<Signs> {
        let mut all = Vec::new();
        for moved in MOVED {
            for course in COURSES {
                for gradient in GRADIENTS {
                    for required in REQUIREMENTS {
                        for rest in RESTS {
                            for others in OTHERS {
                                for company in COMPANIES {
                                    all.extend(LISTS.map(|listed| Signs {
                                        moved,
                                        course,
                                        gradient,
                                        required,
                                        rest,
                                        others,
                                        company,
                                        listed,
                                    }));
                                }
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// A layer among trained ones whose gradient was seen.
    const HEALTHY: Signs = Signs {
        moved: Moved::Every,
        course: Course::Free,
        gradient: GradientState::NonZero,
        required: Required::Always,
        rest: Rest::Moves,
        others: OtherGradients::Some,
        company: Company::Trained,
        listed: Listed::Yes,
    };
    const STILL: Signs = Signs {
        moved: Moved::Never,
        ..HEALTHY
    };
    const FROZEN: Signs = Signs {
        gradient: GradientState::NotRequired,
        required: Required::Never,
        ..STILL
    };

    /// One example of each row at least, with its name.
    fn examples() -> Vec<(&'static str, Signs, Outcome)> {
        let still = |gradient, others, rest| Signs {
            gradient,
            others,
            rest,
            ..STILL
        };
        let moves = |gradient| Signs {
            gradient,
            ..HEALTHY
        };
        let follows = |company| Signs {
            moved: Moved::Some,
            company,
            ..FROZEN
        };
        use GradientState::{NonFinite, NonZero, NotRequired, Undefined, Unseen, Zero};
        vec![
            (
                "a gradient without being asked for one",
                Signs {
                    gradient: Zero,
                    ..FROZEN
                },
                Outcome::Undecided,
            ),
            (
                "no gradient asked for, although one is required",
                moves(NotRequired),
                Outcome::Undecided,
            ),
            ("gradient not finite", moves(NonFinite), Outcome::NonFinite),
            (
                "too few steps, frozen",
                Signs {
                    moved: Moved::Unknown,
                    ..FROZEN
                },
                Outcome::Undecided,
            ),
            (
                "too few steps",
                Signs {
                    moved: Moved::Unknown,
                    ..HEALTHY
                },
                Outcome::Undecided,
            ),
            ("frozen", FROZEN, Outcome::Frozen),
            (
                "a model without gradients moves",
                follows(Company::Untrained),
                Outcome::MovedWithoutGradient,
            ),
            (
                "a frozen copy follows",
                follows(Company::Twin),
                Outcome::MovedWithoutGradient,
            ),
            (
                "moves while frozen",
                follows(Company::Trained),
                Outcome::MovingWhileFrozen,
            ),
            (
                "moves while frozen, among unknown ones",
                follows(Company::Unknown),
                Outcome::Undecided,
            ),
            (
                "a copy waits",
                Signs {
                    company: Company::Twin,
                    ..still(Undefined, OtherGradients::Some, Rest::Moves)
                },
                Outcome::Undecided,
            ),
            (
                "no gradient, others have one",
                still(Undefined, OtherGradients::Some, Rest::Moves),
                Outcome::Detached,
            ),
            (
                "no gradient in the whole model",
                still(Undefined, OtherGradients::None, Rest::Still),
                Outcome::NoGradient,
            ),
            (
                "left behind, and no gradient seen of any",
                still(Undefined, OtherGradients::None, Rest::Moves),
                Outcome::NotUpdated,
            ),
            (
                "gradient zero, that of others is not",
                still(Zero, OtherGradients::Some, Rest::Moves),
                Outcome::DeadGradient,
            ),
            (
                "gradient zero in the whole model",
                still(Zero, OtherGradients::None, Rest::Still),
                Outcome::ZeroGradient,
            ),
            (
                "hidden from optimizers",
                Signs {
                    listed: Listed::No,
                    ..STILL
                },
                Outcome::NotUpdated,
            ),
            ("a gradient, and no change", STILL, Outcome::NotUpdated),
            (
                "no change, gradient not seen",
                still(Unseen, OtherGradients::Unknown, Rest::Moves),
                Outcome::NotUpdated,
            ),
            (
                "moves by weight decay",
                Signs {
                    course: Course::Shrinks,
                    ..moves(Zero)
                },
                Outcome::DecayOnly,
            ),
            (
                "moves by weight decay, others have a gradient",
                Signs {
                    course: Course::Shrinks,
                    ..moves(Undefined)
                },
                Outcome::DecayOnly,
            ),
            (
                "moves with a gradient of zero, others have one",
                moves(Zero),
                Outcome::DeadGradient,
            ),
            (
                "moves, and each gradient is zero",
                Signs {
                    others: OtherGradients::None,
                    ..moves(Zero)
                },
                Outcome::ZeroGradient,
            ),
            (
                "a copy that requires a gradient follows",
                Signs {
                    company: Company::Twin,
                    ..moves(Undefined)
                },
                Outcome::MovedWithoutGradient,
            ),
            ("moves by its gradient", moves(NonZero), Outcome::Learning),
            (
                "moves towards zero, and no gradient is there of any",
                Signs {
                    course: Course::Shrinks,
                    others: OtherGradients::None,
                    ..moves(Undefined)
                },
                Outcome::Learning,
            ),
            (
                "moves, and its gradient is gone",
                moves(Undefined),
                Outcome::Learning,
            ),
            (
                "moves, and its gradient was not looked at",
                moves(Unseen),
                Outcome::Learning,
            ),
        ]
    }

    fn outcome(signs: &Signs) -> Outcome {
        row(signs).outcome
    }

    fn outcome_in(rows: &[Row], signs: &Signs) -> Option<Outcome> {
        let taken = rows.iter().find(|row| row.takes(signs));
        taken.map(|row| row.outcome)
    }

    /// The examples of which these rows say something else.
    fn missed(rows: &[Row]) -> Vec<&'static str> {
        let wrong = |(_, signs, expected): &(&str, Signs, Outcome)| {
            outcome_in(rows, signs) != Some(*expected)
        };
        let all = examples().into_iter().filter(wrong);
        all.map(|(name, ..)| name).collect()
    }

    #[test]
    fn each_case_has_one_row_and_each_row_a_case() {
        let mut cases: HashMap<&str, usize> = HashMap::new();
        for signs in expansion() {
            let rows: Vec<&str> = ROWS
                .iter()
                .filter(|row| row.takes(&signs))
                .map(|row| row.name)
                .collect();
            let [row] = rows.as_slice() else {
                panic!("{signs:?}: {rows:?}");
            };
            *cases.entry(row).or_default() += 1;
        }
        // The expansion, so that a change of the table shows how far it reaches.
        let listed: Vec<(&str, usize)> = ROWS
            .iter()
            .map(|row| (row.name, cases.get(row.name).copied().unwrap_or_default()))
            .collect();
        assert_eq!(listed.iter().map(|(_, count)| count).sum::<usize>(), 31_104);
        let expected = EXPANSION.lines().filter_map(|line| {
            let (count, name) = line.trim().split_once(' ')?;
            Some((name, count.parse::<usize>().ok()?))
        });
        assert_eq!(listed, expected.collect::<Vec<_>>());
    }

    const EXPANSION: &str = "
        6480 a gradient without being asked for one
        3888 no gradient asked for, although one is required
        3888 gradient not finite
        324 too few steps, frozen
        3888 too few steps
        324 frozen
        162 a model without gradients moves
        162 a frozen copy follows
        162 moves while frozen
        162 moves while frozen, among unknown ones
        243 a copy waits
        243 no gradient, others have one
        324 no gradient in the whole model
        162 left behind, and no gradient seen of any
        324 gradient zero, that of others is not
        648 gradient zero in the whole model
        324 hidden from optimizers
        648 a gradient, and no change
        972 no change, gradient not seen
        648 moves by weight decay
        162 moves by weight decay, others have a gradient
        432 moves with a gradient of zero, others have one
        864 moves, and each gradient is zero
        972 a copy that requires a gradient follows
        1944 moves by its gradient
        324 moves towards zero, and no gradient is there of any
        972 moves, and its gradient is gone
        1458 moves, and its gradient was not looked at";

    #[test]
    fn learning_is_shown() {
        for row in ROWS.iter().filter(|row| row.outcome == Outcome::Learning) {
            let named = matches!(row.moved, Of::These(_))
                && matches!(row.course, Of::These(_))
                && matches!(row.gradient, Of::These(_))
                && matches!(row.required, Of::These(_))
                && matches!(row.rest, Of::These(_))
                && matches!(row.others, Of::These(_))
                && matches!(row.company, Of::These(_))
                && matches!(row.listed, Of::These(_));
            assert!(named, "{}: a wildcard leads to learning", row.name);
        }
        for signs in expansion() {
            if outcome(&signs) == Outcome::Learning {
                let moved = matches!(signs.moved, Moved::Some | Moved::Every);
                assert!(moved, "{signs:?}");
                assert_ne!(signs.gradient, GradientState::Zero);
                assert_ne!(signs.required, Required::Never);
            }
        }
    }

    // What is named as a fault cannot be seen of a variable that is healthy.
    #[test]
    fn a_fault_names_what_health_cannot_show() {
        for signs in expansion() {
            let still = signs.moved == Moved::Never;
            let contradicts = match outcome(&signs) {
                Outcome::NonFinite => signs.gradient == GradientState::NonFinite,
                Outcome::MovingWhileFrozen => signs.required == Required::Never && !still,
                Outcome::NoGradient => still && signs.gradient == GradientState::Undefined,
                Outcome::Detached => {
                    still
                        && signs.gradient == GradientState::Undefined
                        && signs.others == OtherGradients::Some
                }
                Outcome::ZeroGradient | Outcome::DeadGradient => {
                    signs.gradient == GradientState::Zero
                }
                Outcome::DecayOnly => {
                    signs.course == Course::Shrinks
                        && match signs.gradient {
                            GradientState::Zero => true,
                            GradientState::Undefined => signs.others == OtherGradients::Some,
                            _ => false,
                        }
                }
                Outcome::NotUpdated => still && signs.required != Required::Never,
                Outcome::Undecided
                | Outcome::Frozen
                | Outcome::MovedWithoutGradient
                | Outcome::Learning => true,
            };
            assert!(contradicts, "{signs:?} {:?}", outcome(&signs));
        }
    }

    #[test]
    fn each_row_has_its_example() {
        assert_eq!(missed(&ROWS), Vec::<&str>::new());
        let of_row = |name: &str| {
            let all = examples();
            let named = all.iter().find(|(example, ..)| *example == name);
            let (_, signs, _) = named.unwrap_or_else(|| panic!("no example of {name}"));
            ROWS.iter().find(|row| row.takes(signs)).map(|row| row.name)
        };
        for row in &ROWS {
            assert_eq!(of_row(row.name), Some(row.name));
        }
    }

    // Mutation: a row that says something else, or is not there, is noticed by its example, by
    // name.
    #[test]
    fn each_row_matters() {
        for place in 0..ROWS.len() {
            let name = ROWS[place].name;
            let mut gone = ROWS.to_vec();
            gone.remove(place);
            assert!(missed(&gone).contains(&name), "{name} is not missed");
            let mut other = ROWS;
            other[place].outcome = match other[place].outcome {
                Outcome::Learning => Outcome::Undecided,
                _ => Outcome::Learning,
            };
            assert!(missed(&other).contains(&name), "{name} may say anything");
        }
    }

    #[test]
    fn the_documentation_prints_the_table() {
        const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/report/evidence_table.md");
        let table = markdown();
        if std::env::var_os("UPDATE_TABLE").is_some() {
            std::fs::write(PATH, &table).unwrap();
        }
        let printed = std::fs::read_to_string(PATH).unwrap();
        assert!(
            printed == table,
            "evidence_table.md is not the table: UPDATE_TABLE=1 cargo test writes it anew"
        );
    }
}
