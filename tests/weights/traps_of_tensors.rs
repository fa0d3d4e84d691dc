//! The same of libtorch's tensors and stores.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tch::nn::{Init, VarStore};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::{Error, WeightOptions};

use crate::reference::assert_close;
use crate::run::{Run, every_call};
use crate::traps::reported;

fn store() -> (VarStore, Tensor) {
    let store = VarStore::new(Device::Cpu);
    let w = store.root().var("w", &[2], Init::Const(1.0));
    (store, w)
}

fn add_one(w: &mut Tensor) {
    tch::no_grad(|| {
        let _ = w.f_add_scalar_(1.0).unwrap();
    });
}

#[test]
fn a_store_that_another_thread_holds_is_waited_for() {
    let (store, mut w) = store();
    let run = Run::of_every_call();
    run.log_weights(&store, 0).unwrap();
    add_one(&mut w);
    thread::scope(|scope| {
        let (held, is_held) = channel();
        let variables = &store.variables_;
        scope.spawn(move || {
            let guard = variables.lock().unwrap();
            held.send(()).unwrap();
            thread::sleep(Duration::from_millis(50));
            drop(guard);
        });
        is_held.recv().unwrap();
        run.log_weights(&store, 1).unwrap();
    });
    let stats = run.stats();
    assert_eq!((stats.dropped, stats.errors), (0, 0));
    assert!(!stats.waited.is_zero());
    let written = run.finish();
    assert_eq!(written.scalar("weight_delta_mean/w"), [(1, 1.0)]);
}

#[test]
fn a_store_that_stays_locked_costs_calls_and_no_error() {
    let (store, mut w) = store();
    let (errors, report) = reported();
    let options = every_call().store_timeout(Duration::ZERO);
    let run = Run::build(|builder| builder.weights(options).on_error(report));
    run.log_weights(&store, 0).unwrap();
    let guard = store.variables_.lock().unwrap();
    for step in 1..4_i64 {
        run.log_weights(&store, step).unwrap();
    }
    drop(guard);
    for step in 4..6_i64 {
        add_one(&mut w);
        run.log_weights(&store, step).unwrap();
    }
    assert_eq!(run.stats().dropped, 3);
    run.flush().unwrap();
    let written = run.finish();
    assert_eq!(written.steps("weight_mean/w"), [0, 4, 5]);
    // None over the gap.
    assert_eq!(written.scalar("weight_delta_mean/w"), [(5, 1.0)]);
    let errors = errors.lock().unwrap();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("locked") && errors[0].contains("entry"));
}

#[test]
fn one_complex_or_undefined_parameter_is_left_out_and_the_rest_is_logged() {
    let run = Run::of_every_call();
    let floats = Tensor::from_slice(&[3.0_f32, 4.0]);
    let complex = Tensor::complex(&floats, &floats);
    let none = Tensor::new();
    for step in 0..2_i64 {
        let model = [("a", &complex), ("b", &none), ("c", &floats)];
        run.log_weights(&model, step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let notes: Vec<&String> = report.notes.iter().collect();
    let named = |note: &&&String| note.contains("\"a\"") && note.contains("\"b\"");
    assert_eq!(notes.iter().filter(named).count(), 1, "{notes:?}");
    // It is logged as soon as it can be.
    let model = [("a", &floats), ("b", &none), ("c", &floats)];
    run.log_weights(&model, 2).unwrap();
    match run.log_weights(&("a", &complex), 3) {
        Err(Error::UnsupportedTensor { name, .. }) => assert_eq!(&*name, "a"),
        other => panic!("{other:?}"),
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_norm/c"), [0, 1, 2]);
    assert_eq!(written.steps("weight_norm/a"), [2]);
}

#[test]
fn a_parameter_that_becomes_complex_is_left_out_from_then_on() {
    let run = Run::of_every_call();
    let floats = Tensor::from_slice(&[3.0_f32, 4.0]);
    let strided = Tensor::ones([2, 3], (Kind::Float, Device::Cpu)).tr();
    let complex = Tensor::complex(&floats, &floats);
    run.log_weights(&[("a", &floats), ("b", &strided)], 0)
        .unwrap();
    run.log_weights(&[("a", &complex), ("b", &strided)], 1)
        .unwrap();
    run.log_weights(&[("a", &floats), ("b", &complex)], 2)
        .unwrap();
    let written = run.finish();
    assert_eq!(written.steps("weight_norm/a"), [0, 2]);
    assert_eq!(written.steps("weight_norm/b"), [0, 1]);
}

#[test]
fn an_adapter_that_begins_next_to_zero_drifts_against_a_fresh_one() {
    let run = Run::with(WeightOptions::new());
    for step in 0..3_i64 {
        let up = Tensor::full([8, 4], 1e-6 + step as f64 / 8.0, (Kind::Float, Device::Cpu));
        run.log_weights(&("up", &up), step).unwrap();
    }
    let written = run.finish();
    // The norm of a fresh matrix of 8 rows is 4: sqrt(2 * 8).
    let norm = |step: f64| 32_f64.sqrt() * step / 8.0;
    for step in 0..3 {
        let drift = norm(step as f64) / 4.0;
        assert_close("drift", written.at("weight_drift/up", step), drift);
    }
}
