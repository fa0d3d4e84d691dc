//! What can be wrong, where, and what must be said of it; and what can be unusual and is right.

use crate::nets::Net;

pub(crate) const OPTIMIZERS: [&str; 3] = ["sgd", "momentum", "adam"];

/// A learning rate that trains a network well with an optimizer: the loss of 150 steps was compared
/// for rates of 0.4 to 5 times as much.
pub(crate) fn rate(net: &str, optimizer: &str) -> f64 {
    match (net, optimizer) {
        ("lstm", "sgd") => 0.2,
        ("lstm", "momentum") => 0.05,
        ("lstm", "adam") => 5e-3,
        ("transformer", "sgd") => 0.05,
        (_, "sgd") => 0.1,
        (_, "momentum") => 0.02,
        _ => 2e-3,
    }
}

/// Steps of a run, and the step at which a fault that comes in the middle begins.
pub(crate) const STEPS: i64 = 150;
pub(crate) const MIDDLE: i64 = 70;

/// Steps of a run with a fault. A model that never moves, with gradients and an unknown rate, may
/// accumulate them over many calls: it is a fault after 200.
pub(crate) fn steps(fault: &str) -> i64 {
    match fault {
        "lr-zero" => 2 * STEPS,
        _ => STEPS,
    }
}

/// The faults, each injected as its line says.
pub(crate) const FAULTS: [(&str, &str); 16] = [
    ("lr-zero", "set_lr(0) before the first step"),
    (
        "frozen",
        "requires_grad of one layer switched off before the first step, on purpose: no alarm",
    ),
    ("detached", "the first layer's output is detached"),
    (
        "unused",
        "one more layer lies in the store, and nothing uses it",
    ),
    (
        "hidden",
        "one layer's variables are taken from the list that its store hands to optimizers",
    ),
    (
        "other-store",
        "one layer lies in a second store that no optimizer was built from",
    ),
    (
        "dead-relu",
        "the bias of a layer before a ReLU is set to -1000",
    ),
    (
        "bf16-rounding",
        "weights in bf16, rates a tenth of the usual",
    ),
    ("lr-huge", "the rate times 1000 from the first step"),
    ("nan", "one NaN put into one layer's weight in the middle"),
    (
        "nan-input",
        "all pixels of one batch are NaN, in the middle",
    ),
    (
        "all-zero",
        "all variables but norm scales set to zero before the first step",
    ),
    (
        "bad-init",
        "one layer's weight times 100 (even seeds) or 0.001 before the first step",
    ),
    (
        "vanishing",
        "the gradient that reaches the first layer is multiplied by 1e-6",
    ),
    (
        "stalled",
        "one layer's group gets its rate times 1e-4 from the middle on",
    ),
    (
        "saturated",
        "mlp only: eight more sigmoid layers between the first layer and the loss",
    ),
];

/// Runs that are unusual and healthy.
pub(crate) const HEALTHY: [&str; 26] = [
    "plain",
    "dropout",
    "batch-norm",
    "weight-decay",
    "cosine",
    "warm-up",
    "clipping",
    "accumulation",
    "cleared",
    "checkpoint",
    "replaced",
    "fine-tuning",
    "sparse-embedding",
    "tied",
    "residual",
    "adapter",
    "gan-scopes",
    "gan-one-store",
    "many-idle",
    "hinted",
    "thinned",
    "norm-layers",
    "small-batch",
    "full-batch",
    "long",
    "converged",
];

/// What a report of a faulty run must say.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    /// Names of verdicts, any of which is right.
    pub(crate) verdicts: &'static [&'static str],
    /// A remark that is as right where nothing has come of the fault: the variable is learning.
    pub(crate) remark: Option<&'static str>,
    /// Variables that must be named; empty: any, or the model.
    pub(crate) must: Vec<String>,
    /// Where findings may be. `None`: anywhere.
    pub(crate) may: Option<Vec<String>>,
    /// Verdicts other than the right ones that the fault brings about there.
    pub(crate) also: &'static [&'static str],
    /// The step from which it can be seen.
    pub(crate) since: i64,
    /// A cause that must be among the candidates, and the only one when `sure`.
    pub(crate) cause: Option<(&'static str, bool)>,
}

/// Why a cell is not tried; `None` when it is.
pub(crate) fn not_applicable(fault: &str, net: &str) -> Option<&'static str> {
    match (fault, net) {
        ("saturated", "cnn" | "lstm" | "transformer") => Some("the trunk is the MLP's"),
        _ => None,
    }
}

/// The layer that a fault is put into.
pub(crate) fn target(fault: &str, net: &'static str, seed: u64) -> &'static str {
    let layers = Net::layers(net);
    match fault {
        "detached" | "vanishing" | "saturated" => layers[0],
        "unused" => "spare",
        "dead-relu" => Net::relu_layer(net),
        _ => layers[seed as usize % layers.len()],
    }
}

/// What comes of steps or weights that are far too large: dead units, vanishing and swinging
/// gradients, rounding.
const OUT_OF_HAND: &[&str] = &[
    "dead_gradient",
    "exploding",
    "large_updates",
    "erratic",
    "non_finite",
    "scale_drift",
    "vanishing",
    "stalled",
    "rounded_away",
];

/// `names` are the variables of the target layer, `matrices` all variables of two dimensions and
/// more.
pub(crate) fn label(
    fault: &str,
    net: &str,
    hinted: bool,
    names: &[String],
    matrices: &[String],
) -> Label {
    let named = |verdicts| Label {
        verdicts,
        remark: None,
        must: names.to_vec(),
        may: Some(names.to_vec()),
        also: &[],
        since: 0,
        cause: None,
    };
    let weights: Vec<String> = matrices
        .iter()
        .filter(|name| names.contains(name))
        .cloned()
        .collect();
    match fault {
        "lr-zero" => Label {
            must: Vec::new(),
            may: None,
            cause: Some(("learning rate 0", hinted)),
            ..named(&["not_updated"])
        },
        "frozen" => Label {
            may: Some(Vec::new()),
            ..named(&["frozen"])
        },
        "detached" | "unused" => named(&["detached"]),
        "hidden" => Label {
            cause: Some(("not in the optimizer", true)),
            ..named(&["not_updated"])
        },
        "other-store" => Label {
            cause: Some(("not in the optimizer", false)),
            ..named(&["not_updated"])
        },
        "dead-relu" => {
            let behind = match net {
                "cnn" => "conv2.weight",
                "mlp" => "fc2.weight",
                "lstm" => "lstm.weight_ih",
                _ => "h.0.ff2.weight",
            };
            let must = names.iter().cloned().chain([behind.to_owned()]);
            let must: Vec<String> = must.collect();
            // What stands before the dead units and leads nowhere else.
            let before: &[&str] = match net {
                "transformer" => &["h.0.ln2.weight", "h.0.ln2.bias"],
                _ => &[],
            };
            let before = before.iter().map(|name| (*name).to_owned());
            Label {
                may: Some(must.iter().cloned().chain(before).collect()),
                must,
                ..named(&["dead_gradient"])
            }
        }
        "bf16-rounding" => Label {
            must: Vec::new(),
            may: None,
            // Where no bit changes at all, rounding is one of the candidates.
            also: &["not_updated"],
            ..named(&["rounded_away"])
        },
        "lr-huge" => Label {
            must: Vec::new(),
            may: None,
            also: OUT_OF_HAND,
            ..named(&["exploding", "large_updates", "erratic", "non_finite"])
        },
        "nan" | "nan-input" => Label {
            must: weights,
            may: None,
            since: MIDDLE,
            ..named(&["non_finite"])
        },
        "all-zero" => Label {
            must: matrices.to_vec(),
            may: None,
            also: &["dead_gradient"],
            ..named(&["all_zero"])
        },
        // A number alone is a remark: a layer that begins a thousand times too small recovers.
        "bad-init" => Label {
            remark: Some("poor_init"),
            must: weights,
            may: None,
            also: OUT_OF_HAND,
            ..named(&["poor_init"])
        },
        "vanishing" | "saturated" => Label {
            must: weights,
            // With plain descent, steps of that size are below the smallest that the weights can
            // make.
            also: &["rounded_away", "not_updated"],
            ..named(&["vanishing"])
        },
        _ => Label {
            must: weights,
            since: MIDDLE,
            ..named(&["stalled"])
        },
    }
}
