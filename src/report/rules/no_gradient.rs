//! The rule for `no_gradient`.

use crate::report::evidence_table::Outcome;
use crate::report::rules::{Case, Rule, RuleKind, of_row};
use crate::report::verdict::Verdict;

pub(super) const RULE: Rule = Rule {
    verdict: Verdict::NoGradient,
    name: "no_gradient",
    is_fault: true,
    kind: RuleKind::Gradient,
    decide: |case| of_row(case, Outcome::NoGradient, Verdict::NoGradient),
    reason,
    advice: "use its output in the loss, log the store that is trained, look for detach(), \
             no_grad and copies, and for zero_grad between backward and step",
};

fn reason(case: &Case<'_>) -> String {
    let elsewhere = match case.context.has_gradients_elsewhere {
        true => ", while another scope of the run has gradients",
        false => "",
    };
    format!(
        "no variable of it had a gradient or changed in {} calls{elsewhere}",
        case.still_calls()
    )
}
