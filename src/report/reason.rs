//! The evidence for a verdict in a line.

use crate::report::rules::Case;
use crate::report::verdict::Verdict;

/// Why the verdict holds, in numbers; empty where there is nothing to say.
pub(crate) fn reason(verdict: Verdict, case: &Case<'_>) -> String {
    let (history, sums) = (case.history, &case.history.sums);
    let window = sums.steps;
    let gradient = || match sums.log_gradient() {
        Some(norm) => format!("gradient norm {:.1e}", norm.exp()),
        None if sums.nonzero > 0 => "gradient not zero".into(),
        None => "gradient not seen".into(),
    };
    let ratio = || {
        sums.log_ratio()
            .map_or_else(|| "-".into(), |ratio| format!("{:.1e}", ratio.exp()))
    };
    let percent = |share: Option<f64>| {
        share.map_or_else(|| "-".into(), |share| format!("{:.1} %", 100.0 * share))
    };
    match verdict {
        Verdict::NonFinite => match history.newest {
            Some(newest) if newest.nonfinite() > 0 => {
                format!(
                    "{} of {} elements are NaN or infinite",
                    newest.nonfinite(),
                    newest.count
                )
            }
            _ => format!(
                "the gradient was not finite at {} of {window} steps",
                sums.nonfinite
            ),
        },
        Verdict::MovingWhileFrozen => {
            format!(
                "it changed at {} of {window} steps and requires no gradient",
                sums.moves
            )
        }
        Verdict::Detached => format!("no gradient and no change in {} steps", history.still),
        Verdict::AllZero => format!(
            "all elements are zero and none has changed in {} steps",
            history.still
        ),
        Verdict::DeadGradient => match sums.moves {
            0 => format!(
                "the gradient is exactly zero, and nothing has changed in {} steps",
                history.still
            ),
            moves => format!(
                "the gradient is exactly zero; momentum or weight decay still moved it at {moves} of {window} steps"
            ),
        },
        Verdict::Stalled => {
            let fall = crate::report::rules::collapse(history).map_or(0.0, f64::exp);
            format!(
                "its changes have shrunk to {fall:.1e} of their highest, the other variables' to {:.2}, and its gradient has not \
                 ({})",
                case.context.collapse.map_or(1.0, f64::exp),
                gradient()
            )
        }
        Verdict::NotUpdated { .. } => {
            let steps = history.still.max(case.context.still);
            format!(
                "{}, and no element has changed in {steps} steps",
                gradient()
            )
        }
        Verdict::RoundedAway if sums.moves == 0 => {
            format!(
                "{}, and the rate times it is below half a unit in the last place of the weights",
                gradient()
            )
        }
        Verdict::RoundedAway => format!(
            "only {} of the elements change, and {} of these by one unit in the last place",
            percent(sums.changed()),
            percent(sums.one_ulp())
        ),
        Verdict::Exploding => match history.jumps {
            0 => format!(
                "its norm is {:.1} times the first",
                std::iter::zip(history.newest, history.first)
                    .map(|(now, first)| now.norm() / first.norm())
                    .next()
                    .unwrap_or(f64::NAN)
            ),
            1 => "one step was nearly as large as the variable itself".into(),
            jumps => format!("{jumps} steps were nearly as large as the variable itself"),
        },
        Verdict::LargeUpdates => format!("update ratio {} over {window} steps", ratio()),
        Verdict::Erratic => format!(
            "mean cosine of successive changes {:.2} at an update ratio of {}",
            sums.cosine().map_or(f64::NAN, |(cosine, _)| cosine),
            ratio()
        ),
        Verdict::Vanishing => {
            let share = std::iter::zip(case.relative_gradient(), case.context.relative_gradient)
                .map(|(own, others)| (own - others).exp())
                .next();
            format!(
                "norm(gradient) / norm(weights) is {:.1e} of that of the other layers",
                share.unwrap_or(f64::NAN)
            )
        }
        Verdict::PoorInit => {
            let scale = history.first.and_then(|first| case.facts.scale(&first));
            format!(
                "its first standard deviation was {:.1e} / sqrt(fan-in); He is 1.4, Xavier 1",
                scale.unwrap_or(f64::NAN)
            )
        }
        Verdict::ScaleDrift => {
            let scale = |moments| case.facts.scale(&moments).unwrap_or(f64::NAN);
            format!(
                "its standard deviation went from {:.2} to {:.2} / sqrt(fan-in)",
                history.first.map_or(f64::NAN, scale),
                history.newest.map_or(f64::NAN, scale)
            )
        }
        Verdict::Frozen | Verdict::Learning | Verdict::Undecided => String::new(),
    }
}
