//! Training does not notice that it is watched.

use tch::nn::{Adam, OptimizerConfig, Sgd, VarStore};
use tch::{Kind, Tensor};
use tch_tensorboard::SubStore;

use crate::model::{Net, cpu_store, snapshot, tensor, to_vec, variable};
use crate::run::{Run, every_call};

fn train(sgd: bool, run: Option<&Run>) -> (VarStore, Vec<u32>) {
    let vs = cpu_store();
    let net = Net::new(&vs.root(), 3);
    let mut optimizer = if sgd {
        Sgd {
            momentum: 0.9,
            ..Sgd::default()
        }
        .build(&vs, 0.1)
        .unwrap()
    } else {
        Adam::default().build(&vs, 1e-2).unwrap()
    };
    let mut losses = Vec::new();
    for step in 0..20_i64 {
        let (x, y) = Net::batch(step as u32);
        let loss = net.loss(&x, &y);
        optimizer.zero_grad();
        loss.backward();
        if let Some(run) = run {
            run.log_gradients(&vs, step).unwrap();
        }
        optimizer.step();
        if let Some(run) = run {
            run.log_scalar("loss", &loss, step).unwrap();
            run.log_weights(&vs, step).unwrap();
        }
        losses.push((loss.double_value(&[]) as f32).to_bits());
    }
    (vs, losses)
}

#[test]
fn training_is_the_same_to_the_bit() {
    for sgd in [true, false] {
        let run = Run::with(every_call());
        let (watched, watched_losses) = train(sgd, Some(&run));
        let (alone, losses) = train(sgd, None);
        assert_eq!(watched_losses, losses);
        assert_ne!(losses[0], losses[19], "it did train");
        let bits = |vs: &VarStore| {
            let values = snapshot(vs).into_values().flatten();
            values.map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(bits(&watched), bits(&alone));
    }
}

#[test]
fn logging_leaves_variables_and_grad_mode_as_they_were() {
    let vs = cpu_store();
    let w = variable(&vs.root(), "w", &[3, 4], 1);
    // Not contiguous: libtorch copies it, which must not join its graph.
    let strided = vs.root().add("strided", tensor(&[4, 6], 2).tr(), true);
    assert!(!strided.is_contiguous());
    let frozen = variable(&vs.root(), "frozen", &[3], 4).set_requires_grad(false);
    let run = Run::with(every_call());
    for step in 0..3_i64 {
        run.log_weights(&vs, step).unwrap();
        run.log_weights(&SubStore::new(&vs, "none"), step)
            .unwrap_err();
        let product = &strided * 2.0;
        assert!(product.requires_grad(), "gradients are still tracked");
        run.log_histogram("product", &product, step).unwrap();
    }
    for tensor in [&w, &strided] {
        assert!(tensor.requires_grad() && tensor.f_is_leaf().unwrap());
        assert!(!tensor.grad().defined());
    }
    assert!(!frozen.requires_grad());
    // A backward pass visits what the model did, and nothing of ours.
    strided.sum(Kind::Float).backward();
    assert_eq!(to_vec(&strided.grad()), [1.0; 24]);
    assert!(!w.grad().defined());
}

#[test]
fn logging_inside_no_grad_works() {
    let vs = cpu_store();
    let mut w = variable(&vs.root(), "w", &[3], 1);
    let run = Run::with(every_call());
    tch::no_grad(|| {
        for step in 0..3_i64 {
            let _ = w.g_add_scalar_(0.5);
            run.log_weights(&vs, step).unwrap();
        }
    });
    assert!(w.requires_grad());
    assert_eq!(run.finish().steps("weight_deltas/w"), [1, 2]);
}

#[test]
fn nothing_keeps_a_model_alive() {
    let run = Run::with(every_call());
    let storage = tensor(&[1000], 1);
    {
        let vs = cpu_store();
        let _w = vs.root().add("w", storage.shallow_clone(), true);
        run.log_weights(&vs, 0).unwrap();
    }
    // A new model under the same names goes on in the same scope.
    let vs = cpu_store();
    let _w: Tensor = vs.root().add("w", &storage + 1.0, true);
    run.log_weights(&vs, 1).unwrap();
    let written = run.finish();
    assert_eq!(written.steps("weight_deltas/w"), [1]);
    let change = written.at("weight_delta_max_abs/w", 1);
    assert!((change - 1.0).abs() < 1e-6, "{change}");
}
