//! The codes of the private record: what types, roles, verdicts, causes and trends are called
//! there, for good. Texts for people may be reworded, these may not.

use crate::model::types::DType;
use crate::proto::tch_tensorboard::RemarkRecord;
use crate::report::rules::LISTS;
use crate::report::{Cause, Remark, Trend, Verdict};
use crate::source::named_tensors::Role;

const DTYPES: [(DType, &str); 10] = [
    (DType::Bool, "bool"),
    (DType::U8, "u8"),
    (DType::I8, "i8"),
    (DType::I16, "i16"),
    (DType::I32, "i32"),
    (DType::I64, "i64"),
    (DType::F16, "f16"),
    (DType::BF16, "bf16"),
    (DType::F32, "f32"),
    (DType::F64, "f64"),
];

const ROLES: [(Role, &str); 3] = [
    (Role::Trainable, "trainable"),
    (Role::Frozen, "frozen"),
    (Role::Buffer, "buffer"),
];

fn code<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> &'static str {
    let row = table.iter().find(|(known, _)| known == value);
    debug_assert!(row.is_some(), "each value has a code");
    row.map_or("", |(_, code)| code)
}

fn of_code<T: Copy>(table: &[(T, &'static str)], code: &str) -> Option<T> {
    let row = table.iter().find(|(_, known)| *known == code);
    row.map(|(value, _)| *value)
}

pub(crate) fn dtype_code(dtype: DType) -> &'static str {
    code(&DTYPES, &dtype)
}

/// `None` for a type of a newer version.
pub(crate) fn dtype_of(code: &str) -> Option<DType> {
    of_code(&DTYPES, code)
}

pub(crate) fn role_code(role: Role) -> &'static str {
    code(&ROLES, &role)
}

/// `None` for a role of a newer version.
pub(crate) fn role_of(code: &str) -> Option<Role> {
    of_code(&ROLES, code)
}

pub(crate) fn trend_code(trend: Trend) -> &'static str {
    match trend {
        Trend::Converging => "converging",
        Trend::Steady => "steady",
        Trend::Unstable => "unstable",
        Trend::Stagnant => "stagnant",
    }
}

/// `None` for a trend of a newer version, and for none.
pub(crate) fn trend_of(code: &str) -> Option<Trend> {
    let all = [
        Trend::Converging,
        Trend::Steady,
        Trend::Unstable,
        Trend::Stagnant,
    ];
    all.into_iter().find(|&trend| trend_code(trend) == code)
}

/// A number of a remark that is not known.
const UNKNOWN: f64 = -1.0;

/// The record of a remark: its name and its fields.
pub(crate) fn remark_record(remark: &Remark) -> RemarkRecord {
    let numbers = match remark {
        Remark::Tied { .. } | Remark::RunningStatisticsMove | Remark::GradientNotSeen => Vec::new(),
        Remark::NotMovedYet { calls } => vec![*calls as f64],
        Remark::HardlyMoving {
            update_ratio,
            factor,
        } => [update_ratio, factor]
            .map(|number| number.unwrap_or(UNKNOWN))
            .to_vec(),
        Remark::LargeUpdates { update_ratio } => vec![*update_ratio],
        Remark::PoorInit { scale } => vec![*scale],
        Remark::ScaleDrift { from, to } => vec![*from, *to],
        Remark::DeadUnits { share } => vec![*share],
        Remark::Converged { gradient_fall } => vec![*gradient_fall],
    };
    let with = match remark {
        Remark::Tied { with } => with.clone(),
        _ => String::new(),
    };
    RemarkRecord {
        name: remark.name().to_owned(),
        with,
        numbers,
    }
}

/// `None` for a remark of a newer version.
pub(crate) fn remark_of(record: &RemarkRecord) -> Option<Remark> {
    let number = |index: usize| record.numbers.get(index).copied();
    let known = |index: usize| number(index).filter(|&number| number != UNKNOWN);
    let first = number(0);
    Some(match record.name.as_str() {
        "tied" => Remark::Tied {
            with: record.with.clone(),
        },
        "not_moved_yet" => Remark::NotMovedYet {
            calls: first? as u64,
        },
        "hardly_moving" => Remark::HardlyMoving {
            update_ratio: known(0),
            factor: known(1),
        },
        "large_updates" => Remark::LargeUpdates {
            update_ratio: first?,
        },
        "poor_init" => Remark::PoorInit { scale: first? },
        "scale_drift" => Remark::ScaleDrift {
            from: first?,
            to: number(1)?,
        },
        "dead_units" => Remark::DeadUnits { share: first? },
        "running_statistics_move" => Remark::RunningStatisticsMove,
        "converged" => Remark::Converged {
            gradient_fall: first?,
        },
        "gradient_not_seen" => Remark::GradientNotSeen,
        _ => return None,
    })
}

/// The codes of the causes that a verdict names: none for most.
pub(crate) fn cause_codes(verdict: Verdict) -> Vec<&'static str> {
    match verdict {
        Verdict::NotUpdated { cause } => cause.candidates().iter().map(|one| one.name()).collect(),
        _ => Vec::new(),
    }
}

/// The verdict of a code and the codes of its causes. `None` for one of a newer version.
pub(crate) fn verdict_of(code: &str, causes: &[impl AsRef<str>]) -> Option<Verdict> {
    let plain = plain().find(|verdict| verdict.name() == code);
    if plain.is_some() {
        return plain;
    }
    let cause = cause_of(causes)?;
    let verdict = Verdict::NotUpdated { cause };
    (verdict.name() == code).then_some(verdict)
}

/// Lists of causes that version 0.1 gave.
const LISTS_OF_0_1: [&[Cause]; 5] = [
    &[
        Cause::LearningRateZero,
        Cause::StepNotCalled,
        Cause::NotInOptimizer,
        Cause::Rounding,
    ],
    &[Cause::StepNotCalled, Cause::NotInOptimizer],
    &[
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::Rounding,
    ],
    &[Cause::NotInOptimizer, Cause::LearningRateZero],
    &[
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::NoGradient,
    ],
];

/// The verdicts but for [`Verdict::NotUpdated`], whose causes have codes of their own.
fn plain() -> impl Iterator<Item = Verdict> {
    Verdict::all().filter(|verdict| !matches!(verdict, Verdict::NotUpdated { .. }))
}

/// Of several causes, the smallest list that has all of them: lists differ between versions, and
/// one that has more says less, but nothing wrong.
fn cause_of(codes: &[impl AsRef<str>]) -> Option<Cause> {
    let single = |code: &str| Cause::PLAIN.into_iter().find(|cause| cause.name() == code);
    let wanted: Vec<Cause> = codes
        .iter()
        .map(|code| single(code.as_ref()))
        .collect::<Option<_>>()?;
    if let [cause] = wanted[..] {
        return Some(cause);
    }
    let has_all = |list: &&&[Cause]| wanted.iter().all(|cause| list.contains(cause));
    let lists = LISTS.iter().chain(&LISTS_OF_0_1).filter(has_all);
    let smallest = lists.min_by_key(|list| list.len());
    smallest
        .filter(|_| !wanted.is_empty())
        .map(|list| Cause::OneOf(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_read_back() {
        let remarks = [
            Remark::Tied { with: "a".into() },
            Remark::NotMovedYet { calls: 21 },
            Remark::HardlyMoving {
                update_ratio: Some(1e-7),
                factor: None,
            },
            Remark::LargeUpdates { update_ratio: 0.5 },
            Remark::PoorInit { scale: 9.0 },
            Remark::ScaleDrift { from: 1.0, to: 9.0 },
            Remark::DeadUnits { share: 0.5 },
            Remark::RunningStatisticsMove,
            Remark::Converged {
                gradient_fall: 1e-9,
            },
            Remark::GradientNotSeen,
        ];
        for remark in remarks {
            assert!(Remark::NAMES.contains(&remark.name()), "{remark:?}");
            #[cfg(feature = "serde")]
            assert_eq!(
                serde_json::to_value(&remark).unwrap()["remark"],
                remark.name()
            );
            assert_eq!(remark_of(&remark_record(&remark)), Some(remark));
        }
        assert_eq!(remark_of(&RemarkRecord::default()), None);
    }

    #[test]
    fn codes_are_read_back() {
        for dtype in DType::ALL {
            assert_eq!(dtype_of(dtype_code(dtype)), Some(dtype));
        }
        for role in [Role::Trainable, Role::Frozen, Role::Buffer] {
            assert_eq!(role_of(role_code(role)), Some(role));
        }
        let lists = LISTS.into_iter().map(Cause::OneOf);
        let causes = Cause::PLAIN.into_iter().chain(lists);
        let verdicts = causes.map(|cause| Verdict::NotUpdated { cause });
        for verdict in plain().chain(verdicts) {
            let causes = cause_codes(verdict);
            assert_eq!(verdict_of(verdict.name(), &causes), Some(verdict));
        }
    }

    #[test]
    fn codes_of_a_newer_version_are_unknown() {
        assert_eq!(dtype_of("f8"), None);
        assert_eq!(role_of("shared"), None);
        let none: [&str; 0] = [];
        assert_eq!(verdict_of("bored", &none), None);
        assert_eq!(verdict_of("not_updated", &none), None);
        assert_eq!(verdict_of("not_updated", &["bad_luck"]), None);
        assert_eq!(verdict_of("bored", &["rounding"]), None);
    }

    #[test]
    fn a_list_that_no_rule_gives_becomes_one_that_has_all_of_it() {
        let codes = ["rounding", "not_in_optimizer"];
        let Some(Verdict::NotUpdated { cause }) = verdict_of("not_updated", &codes) else {
            panic!("a verdict");
        };
        let names: Vec<&str> = cause.candidates().iter().map(|one| one.name()).collect();
        assert!(codes.iter().all(|code| names.contains(code)), "{names:?}");
    }
}
