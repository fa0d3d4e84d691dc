//! Trainable, frozen and buffer, as tch's stores know them.

use tch::nn::{self, ModuleT, OptimizerConfig, Sgd};
use tch::{Kind, Tensor};
use tch_tensorboard::{Logger, Role};

use crate::model::{add_variable, cpu_store, nudge, tensor, variable};
use crate::run::{Run, every_call};

fn role(logger: &Logger, name: &str) -> Role {
    let report = logger.weight_report().unwrap();
    report
        .parameter(name)
        .unwrap_or_else(|| panic!("{name} in\n{report}"))
        .role
}

#[test]
fn a_frozen_store_is_reported_and_resumes_when_unfrozen() {
    let mut vs = cpu_store();
    let mut w = variable(&vs.root(), "w", &[4], 1);
    let run = Run::with(every_call());
    for step in 0..9_i64 {
        match step {
            3 => vs.freeze(),
            6 => vs.unfreeze(),
            _ => {}
        }
        if !(3..6).contains(&step) {
            nudge(&mut w, 0.5);
        }
        run.log_weights(&vs, step).unwrap();
        let expected = if (3..6).contains(&step) {
            Role::Frozen
        } else {
            Role::Trainable
        };
        assert_eq!(role(&run, "w"), expected, "{step}");
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/w"), [0, 1, 2, 6, 7, 8]);
    assert_eq!(written.steps("weight_deltas/w"), [1, 2, 7, 8]);
    assert_eq!(written.at("weight_delta_max_abs/w", 7), 0.5);
    // What training did before the rest still counts.
    let drift = |step| written.at("weight_drift/w", step);
    assert!(
        drift(8) > drift(6) && drift(6) > drift(2),
        "{} {} {}",
        drift(2),
        drift(6),
        drift(8)
    );
}

#[test]
fn one_frozen_layer_writes_nothing_until_it_moves() {
    let vs = cpu_store();
    let mut trained = variable(&vs.root(), "trained", &[4], 1);
    let mut frozen = variable(&vs.root(), "frozen", &[4], 2).set_requires_grad(false);
    let run = Run::with(every_call());
    for step in 0..8_i64 {
        nudge(&mut trained, 0.5);
        if step >= 4 {
            // A weight tied to another, an average of weights: moving without a gradient.
            nudge(&mut frozen, 0.25);
        }
        run.log_weights(&vs, step).unwrap();
        assert_eq!(role(&run, "frozen"), Role::Frozen);
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/frozen"), [5, 6, 7]);
    assert_eq!(written.steps("weight_deltas/frozen"), [6, 7]);
    assert_eq!(written.at("weight_delta_max_abs/frozen", 7), 0.25);
    assert_eq!(
        written.steps("weight_deltas/trained"),
        [1, 2, 3, 4, 5, 6, 7]
    );
}

#[test]
fn a_large_frozen_layer_that_trains_is_found_and_logged_in_full() {
    let mut vs = cpu_store();
    let mut w = variable(&vs.root(), "w", &[300, 300], 1);
    vs.freeze();
    let run = Run::with(every_call());
    for step in 0..4_i64 {
        nudge(&mut w, 0.5);
        run.log_weights(&vs, step).unwrap();
        run.flush().unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/w"), [2, 3]);
    let rows = written.histogram("weight_deltas/w", 3);
    assert_eq!(rows.iter().map(|row| row[2]).sum::<f64>(), 90_000.0);
}

/// A batch norm's running statistics are in the store, and no optimizer trains them.
#[test]
fn buffers_are_left_out_unless_asked_for() {
    for asked in [false, true] {
        let vs = cpu_store();
        let norm = nn::batch_norm1d(vs.root() / "bn", 3, Default::default());
        let run = Run::with(every_call().non_trainable(asked));
        for step in 0..3_i64 {
            let x = tensor(&[8, 3], 50 + step as u32) + step as f64;
            // The forward pass alone moves the statistics.
            let _ = norm.forward_t(&x, true);
            run.log_weights(&vs, step).unwrap();
        }
        if asked {
            assert_eq!(role(&run, "bn.running_mean"), Role::Buffer);
        }
        assert_eq!(role(&run, "bn.weight"), Role::Trainable);
        let written = run.finish();
        assert_eq!(written.has("weight_std/bn.running_mean"), asked);
        assert_eq!(written.has("weights/bn.running_var"), asked);
        assert!(written.has("weight_std/bn.weight"));
        if asked {
            assert_eq!(written.steps("weight_deltas/bn.running_mean"), [1, 2]);
        }
    }
}

#[test]
fn a_variable_with_a_gradient_but_no_optimizer_is_logged() {
    let vs = cpu_store();
    add_variable(&vs.root(), "listed", &[3], 1);
    let outside = vs
        .root()
        .add("outside", tensor(&[3], 2), false)
        .set_requires_grad(true);
    let mut optimizer = Sgd::default().build(&vs, 0.5).unwrap();
    let run = Run::with(every_call());
    for step in 0..3_i64 {
        let listed = vs.variables().remove("listed").unwrap();
        optimizer.backward_step(&(&listed * &outside).sum(Kind::Float));
        run.log_weights(&vs, step).unwrap();
    }
    assert_eq!(role(&run, "outside"), Role::Trainable);
    let written = run.finish();
    assert_eq!(written.steps("weight_std/outside"), [0, 1, 2]);
    assert_eq!(written.at("weight_update_ratio_log10/outside", 2), -8.0);
    assert!(written.at("weight_update_ratio_log10/listed", 2) > -8.0);
}

#[test]
fn empty_and_shared_variables_have_their_roles() {
    let vs = cpu_store();
    let w = variable(&vs.root(), "w", &[4], 1);
    // One storage under two names, and one without elements.
    let _tied = vs.root().add("tied", w.shallow_clone(), true);
    let _empty = vs.root().add(
        "empty",
        Tensor::zeros([0, 3], (Kind::Float, vs.device())),
        true,
    );
    let _nothing = vs.root().add(
        "nothing",
        Tensor::zeros([0], (Kind::Float, vs.device())),
        false,
    );
    let run = Run::with(every_call());
    run.log_weights(&vs, 0).unwrap();
    for name in ["w", "tied", "empty"] {
        assert_eq!(role(&run, name), Role::Trainable, "{name}");
    }
    assert!(run.weight_report().unwrap().parameter("nothing").is_none());
}
