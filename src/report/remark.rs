//! What is worth a word beside a verdict, and is no fault.

use std::fmt;

use crate::report::number::{significant, whole_percent};

/// Something that is worth knowing of a variable beside its verdict: a number out of the ordinary
/// without a sign of harm, or what could not be seen. No fault.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "remark", rename_all = "snake_case"))]
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Remark {
    /// Its elements are those of another variable of the model, under a second name.
    Tied {
        /// The other name.
        with: String,
    },
    /// It has not moved since the first call, and gradients or their absence do not say why:
    /// gradients are accumulated over many calls, or `step` is not called. A fault after
    /// [`Thresholds::patience`](crate::Thresholds::patience) calls.
    NotMovedYet {
        /// Calls so far.
        calls: u64,
    },
    /// Its updates have been next to nothing for a hundred steps.
    HardlyMoving {
        /// Geometric mean of the update ratio over the window; `None` where nothing moved at all.
        update_ratio: Option<f64>,
        /// So many times the learning rate would give an update ratio of 1e-4.
        factor: Option<f64>,
    },
    /// Its updates are large for its size.
    LargeUpdates {
        /// Geometric mean of the update ratio over the window.
        update_ratio: f64,
    },
    /// Its first spread is not what Xavier or He give for its fan-in. Tables, images and other
    /// variables that are no layer are meant to be so.
    PoorInit {
        /// Standard deviation of the first weights times the square root of the fan-in.
        scale: f64,
    },
    /// Its spread has changed much since the first step.
    ScaleDrift {
        /// Standard deviation then, times the square root of the fan-in.
        from: f64,
        /// The same now.
        to: f64,
    },
    /// Some of its output units have not changed over the window.
    DeadUnits {
        /// Their share.
        share: f64,
    },
    /// It is frozen, and running statistics beside it move: batch norm was left in training mode.
    RunningStatisticsMove,
    /// It has come to rest, its gradient with it.
    Converged {
        /// Its gradient against the highest that it had.
        gradient_fall: f64,
    },
    /// It moves, and no gradient was seen: gradients are cleared before the call, or the values are
    /// no tensors.
    GradientNotSeen,
}

impl Remark {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 10] = [
        "tied",
        "not_moved_yet",
        "hardly_moving",
        "large_updates",
        "poor_init",
        "scale_drift",
        "dead_units",
        "running_statistics_move",
        "converged",
        "gradient_not_seen",
    ];

    /// The name in snake case.
    pub fn name(&self) -> &'static str {
        match self {
            Remark::Tied { .. } => "tied",
            Remark::NotMovedYet { .. } => "not_moved_yet",
            Remark::HardlyMoving { .. } => "hardly_moving",
            Remark::LargeUpdates { .. } => "large_updates",
            Remark::PoorInit { .. } => "poor_init",
            Remark::ScaleDrift { .. } => "scale_drift",
            Remark::DeadUnits { .. } => "dead_units",
            Remark::RunningStatisticsMove => "running_statistics_move",
            Remark::Converged { .. } => "converged",
            Remark::GradientNotSeen => "gradient_not_seen",
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Tied { with } => write!(formatter, "tied with {with}: one storage, two names"),
            Remark::NotMovedYet { calls } => write!(
                formatter,
                "has not moved in {calls} calls yet: gradients are accumulated, or step is not \
                 called"
            ),
            Remark::HardlyMoving {
                update_ratio: Some(ratio),
                factor,
            } => {
                write!(formatter, "hardly moving: update ratio {ratio:.1e}")?;
                match factor {
                    Some(factor) => write!(
                        formatter,
                        "; {} times the learning rate would give 1e-4",
                        significant(*factor)
                    ),
                    None => Ok(()),
                }
            }
            Remark::HardlyMoving { .. } => formatter
                .write_str("hardly moving: its gradient is next to nothing beside the others'"),
            Remark::LargeUpdates { update_ratio } => {
                write!(formatter, "large updates: update ratio {update_ratio:.1e}")
            }
            Remark::PoorInit { scale } => write!(
                formatter,
                "first standard deviation {} / sqrt(fan-in); He is 1.4, Xavier 1",
                significant(*scale)
            ),
            Remark::ScaleDrift { from, to } => write!(
                formatter,
                "standard deviation from {} to {} / sqrt(fan-in)",
                significant(*from),
                significant(*to)
            ),
            Remark::DeadUnits { share } => {
                write!(formatter, "{} of its units still", whole_percent(*share))
            }
            Remark::RunningStatisticsMove => formatter.write_str(
                "frozen, and its running statistics move: the layer is in training mode",
            ),
            Remark::Converged { gradient_fall } => write!(
                formatter,
                "at rest: its gradient has fallen to {gradient_fall:.1e} of its highest"
            ),
            Remark::GradientNotSeen => formatter.write_str(
                "moves, and no gradient was seen: call log_weights before gradients are cleared",
            ),
        }
    }
}
