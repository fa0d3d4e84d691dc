//! Where libtorch keeps named tensors: stores, parts of stores, TorchScript modules, and stores in
//! odd states.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use tch::nn::{Init, OptimizerConfig, Sgd, VarStore};
use tch::{CModule, Device, Kind, Tensor, TrainableCModule};
use tch_tensorboard::{DType, Error, NamedTensors, Role, SubStore};

use crate::model::{Net, add_variable, cpu_store, nudge, snapshot, tensor, to_vec, variable};
use crate::reference::{assert_close, assert_counts, deltas, norm, wide};
use crate::run::{Run, Written, every_call};

/// Logs a source twice with every variable of the store moved in between; the names with a delta,
/// in the report's order.
fn names<S: NamedTensors + ?Sized>(stores: &[&VarStore], source: &S) -> Vec<String> {
    let run = Run::with(every_call());
    run.log_weights(source, 0).unwrap();
    for mut tensor in stores
        .iter()
        .flat_map(|store| store.variables().into_values())
    {
        nudge(&mut tensor, 0.5);
    }
    run.log_weights(source, 1).unwrap();
    let report = run.weight_report().unwrap();
    let written = run.finish();
    let names = report
        .parameters
        .iter()
        .map(|parameter| parameter.name.clone());
    let names: Vec<String> = names.collect();
    for name in &names {
        let tag = format!("weight_delta_max_abs/{name}");
        let change = written.at(&tag, 1);
        assert!((change - 0.5).abs() < 1e-6, "{tag}: {change}");
    }
    names
}

#[test]
fn a_store_lists_its_variables_in_natural_order() {
    let vs = cpu_store();
    let _net = Net::new(&vs.root(), 0);
    assert_eq!(names(&[&vs], &vs), Net::names());
}

#[test]
fn a_part_of_a_store_ends_at_dots() {
    let vs = cpu_store();
    for (index, name) in ["encoder", "encoder2", "decoder"].into_iter().enumerate() {
        let path = vs.root() / name;
        add_variable(&path, "weight", &[2, 2], index as u32);
        add_variable(&(&path / "inner"), "bias", &[2], index as u32);
    }
    let encoder = ["encoder.inner.bias", "encoder.weight"];
    assert_eq!(names(&[&vs], &SubStore::new(&vs, "encoder")), encoder);
    assert_eq!(names(&[&vs], &SubStore::new(&vs, "encoder.")), encoder);
    assert_eq!(
        names(&[&vs], &SubStore::new(&vs, "encoder.inner")),
        ["encoder.inner.bias"]
    );
    assert_eq!(names(&[&vs], &SubStore::new(&vs, "")).len(), 6);
    let parts = [
        SubStore::new(&vs, "decoder"),
        SubStore::new(&vs, "encoder.inner"),
    ];
    assert_eq!(
        names(&[&vs], &parts),
        ["decoder.inner.bias", "decoder.weight", "encoder.inner.bias"]
    );
}

#[test]
fn several_stores_are_one_source_unless_their_names_clash() {
    let (first, second) = (cpu_store(), cpu_store());
    add_variable(&first.root(), "a", &[3], 1);
    add_variable(&second.root(), "b", &[3], 2);
    assert_eq!(names(&[&first, &second], &[&first, &second]), ["a", "b"]);
    let boxed: Vec<Box<dyn NamedTensors + '_>> = vec![
        Box::new(&first),
        Box::new(SubStore::new(&second, "")),
        Box::new(("c", tensor(&[2], 3))),
    ];
    let run = Run::new();
    run.log_weights(&boxed, 0).unwrap();
    assert_eq!(run.weight_report().unwrap().parameters.len(), 3);

    add_variable(&second.root(), "a", &[3], 3);
    let run = Run::new();
    let error = run.log_weights(&[&first, &second], 0).unwrap_err();
    assert!(
        matches!(&error, Error::DuplicateVariable { name } if **name == *"a"),
        "{error:?}"
    );
    assert!(error.to_string().contains("scoped("), "{error}");
    run.scoped("first").unwrap().log_weights(&first, 0).unwrap();
    run.scoped("second")
        .unwrap()
        .log_weights(&second, 0)
        .unwrap();
    let written = run.finish();
    assert!(written.has("weight_std/first/a") && written.has("weight_std/second/a"));
}

#[test]
fn pairs_and_maps_of_tensors() {
    let vs = cpu_store();
    let a = variable(&vs.root(), "a", &[3], 1);
    let b = variable(&vs.root(), "b", &[3], 2);
    assert_eq!(names(&[&vs], &("x", &a)), ["x"]);
    assert_eq!(names(&[&vs], &[("y10", &a), ("y2", &b)]), ["y2", "y10"]);
    let owned = [("p", a.shallow_clone()), ("q", b.shallow_clone())];
    assert_eq!(names(&[&vs], owned.as_slice()), ["p", "q"]);
    assert_eq!(names(&[&vs], &HashMap::from(owned)), ["p", "q"]);
    assert_eq!(names(&[&vs], &vs.variables()), ["a", "b"]);
}

/// See tests/data/make_torchscript.py.
fn torchscript() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/torchscript.pt")
}

#[test]
fn a_torchscript_module_is_logged_under_its_own_names() {
    let module = CModule::load(torchscript()).unwrap();
    let run = Run::with(every_call());
    run.log_weights(&module, 0).unwrap();
    for (_, mut parameter) in module.named_parameters().unwrap() {
        if parameter.requires_grad() {
            nudge(&mut parameter, 0.5);
        }
    }
    run.log_weights(&module, 1).unwrap();
    let report = run.weight_report().unwrap();
    let roles: Vec<(&str, Role)> = report
        .parameters
        .iter()
        .map(|parameter| (&*parameter.name, parameter.role))
        .collect();
    let expected = [
        ("c2.bias", Role::Trainable),
        ("c2.weight", Role::Trainable),
        ("c10.bias", Role::Frozen),
        ("c10.weight", Role::Trainable),
    ];
    assert_eq!(roles, expected);
    let written = run.finish();
    assert_eq!(written.steps("weight_deltas/c10.weight"), [1]);
    assert!(!written.has("weight_std/c10.bias"));
}

#[test]
fn a_trainable_torchscript_module_is_logged_through_its_store() {
    let vs = cpu_store();
    let module = TrainableCModule::load(torchscript(), vs.root()).unwrap();
    let mut optimizer = Sgd::default().build(&vs, 0.1).unwrap();
    let run = Run::with(every_call());
    let mut seen = Vec::new();
    for step in 0..3_i64 {
        let loss = module
            .forward_ts(&[tensor(&[4, 3], 7)])
            .unwrap()
            .square()
            .mean(Kind::Float);
        optimizer.backward_step(&loss);
        run.log_weights(&vs, step).unwrap();
        seen.push(snapshot(&vs));
    }
    let written = run.finish();
    let (now, before) = (&seen[2]["c2_weight"], &seen[1]["c2_weight"]);
    let ratio = norm(&deltas(now, before)) / norm(&wide(before));
    assert_close(
        "ratio",
        written.at("weight_update_ratio/c2_weight", 2),
        ratio,
    );
}

#[test]
fn a_store_that_a_panic_poisoned_is_still_logged() {
    let vs = cpu_store();
    let mut w = variable(&vs.root(), "w", &[3], 1);
    let run = Run::with(every_call());
    run.log_weights(&vs, 0).unwrap();
    let poisoned = std::thread::scope(|scope| {
        let panicking = scope.spawn(|| {
            let _held = vs.variables_.lock().unwrap();
            panic!("on purpose, while the store is locked");
        });
        panicking.join().is_err()
    });
    assert!(poisoned && vs.variables_.is_poisoned());
    nudge(&mut w, 1.0);
    run.log_weights(&vs, 1).unwrap();
    run.log_gradients(&vs, 1).unwrap();
    assert_eq!(run.finish().steps("weight_deltas/w"), [1]);
}

#[test]
fn a_live_entry_leaves_calls_out_and_is_no_deadlock() {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let vs = cpu_store();
        let root = vs.root();
        add_variable(&root, "w", &[3], 1);
        let run = Run::with(every_call().store_timeout(Duration::from_millis(20)));
        let entry = root.entry("w");
        run.log_weights(&vs, 0).unwrap();
        run.log_weights(&SubStore::new(&vs, "w"), 1).unwrap();
        run.log_gradients(&vs, 1).unwrap();
        let dropped = run.stats().dropped;
        drop(entry.or_zeros(&[3]));
        run.log_weights(&vs, 2).unwrap();
        // What was left out is lost, and the end of the run says so.
        let _ = run.flush();
        let points = Written::read(run.logdir()).steps("weight_std/w");
        tell.send((dropped, points)).unwrap();
    });
    // Long enough for the slowest machine: a deadlock would never answer.
    let (dropped, points) = told
        .recv_timeout(Duration::from_secs(120))
        .expect("a deadlock");
    assert_eq!((dropped, points), (3, vec![2]));
}

#[test]
fn a_store_without_variables_is_no_mistake() {
    let vs = cpu_store();
    let run = Run::with(every_call());
    for step in 0..3_i64 {
        run.log_weights(&vs, step).unwrap();
        run.log_gradients(&vs, step).unwrap();
    }
    // Layers may be added while training runs.
    let mut late = variable(&vs.root(), "late", &[3], 1);
    for step in 3..6_i64 {
        nudge(&mut late, 0.5);
        run.log_weights(&vs, step).unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/late"), [3, 4, 5]);
    assert_eq!(written.steps("weight_deltas/late"), [4, 5]);
}

#[test]
fn another_kind_is_a_new_baseline_for_the_variables_that_changed_it() {
    let mut vs = cpu_store();
    let root = vs.root();
    let mut cast = variable(&root, "cast", &[40], 1);
    let mut count = root.add("count", Tensor::from_slice(&[1_i64, 2, 3]), false);
    let run = Run::with(every_call().non_trainable(true));
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for step in 0..8_i64 {
        match step {
            2 => vs.half(),
            4 => vs.bfloat16(),
            6 => vs.float(),
            _ => {}
        }
        nudge(&mut cast, 0.25);
        let _ = count.g_add_scalar_(1_i64);
        run.log_weights(&vs, step).unwrap();
        seen.push(to_vec(&cast));
    }
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameter("cast").unwrap().dtype, Some(DType::F32));
    let written = run.finish();
    assert_eq!(written.steps("weight_std/cast"), [0, 1, 2, 3, 4, 5, 6, 7]);
    // None at 2, 4 and 6, where the kind changed.
    assert_eq!(written.steps("weight_deltas/cast"), [1, 3, 5, 7]);
    assert_eq!(written.steps("weight_delta_max_abs/cast"), [1, 3, 5, 7]);
    assert_eq!(written.steps("weight_deltas/count"), [1, 2, 3, 4, 5, 6, 7]);
    for step in [1, 3, 5, 7] {
        let changes = deltas(&seen[step], &seen[step - 1]);
        let tag = "weight_deltas/cast";
        assert_counts(tag, &written.histogram(tag, step as i64), &changes);
        let tag = "weights/cast";
        assert_counts(
            tag,
            &written.histogram(tag, step as i64),
            &wide(&seen[step]),
        );
    }
}

#[test]
fn replaced_storage_of_the_same_kind_is_a_step_like_any_other() {
    let vs = cpu_store();
    let mut w = variable(&vs.root(), "w", &[6], 1);
    let run = Run::with(every_call());
    run.log_weights(&vs, 0).unwrap();
    let other = tensor(&[6], 9);
    let before = to_vec(&w);
    w.set_data(&other);
    run.log_weights(&vs, 1).unwrap();
    let changes = deltas(&to_vec(&other), &before);
    let written = run.finish();
    assert_counts("w", &written.histogram("weight_deltas/w", 1), &changes);
}

#[test]
fn loading_a_checkpoint_takes_a_new_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let mut vs = cpu_store();
    let mut w = variable(&vs.root(), "w", &[6], 1);
    let file = dir.path().join("w.ot");
    vs.save(&file).unwrap();
    let run = Run::with(every_call());
    for step in 0..2_i64 {
        nudge(&mut w, 1.0);
        run.log_weights(&vs, step).unwrap();
    }
    vs.load(&file).unwrap();
    run.new_baseline();
    run.log_weights(&vs, 2).unwrap();
    nudge(&mut w, 0.25);
    run.log_weights(&vs, 3).unwrap();
    let written = run.finish();
    assert_eq!(written.steps("weight_deltas/w"), [1, 3]);
    assert!((written.at("weight_delta_max_abs/w", 3) - 0.25).abs() < 1e-6);
    let drift = 0.25 * 6_f64.sqrt() / norm(&wide(&to_vec(&(&w - 0.25))));
    let error = f64::from(written.at("weight_drift/w", 3)) / drift - 1.0;
    assert!(error.abs() < 1e-5, "{error}");
}

#[test]
fn many_variables_of_a_real_store_keep_their_places() {
    let vs = cpu_store();
    let mut tensors: Vec<Tensor> = (0..200)
        .map(|index| {
            vs.root()
                .var(&format!("h_{index}"), &[3], Init::Const(f64::from(index)))
        })
        .collect();
    let run = Run::with(every_call());
    let mut written: Option<Written> = None;
    for step in 0..3_i64 {
        for (index, tensor) in tensors.iter_mut().enumerate() {
            nudge(tensor, index as f64 + 1.0);
        }
        run.log_weights(&vs, step).unwrap();
        if step == 2 {
            written = Some(run.so_far());
        }
    }
    let written = written.unwrap();
    for index in 0..200 {
        let tag = format!("weight_delta_max_abs/h_{index}");
        assert_eq!(written.at(&tag, 2), (index + 1) as f32, "{tag}");
    }
    assert_eq!(vs.device(), Device::Cpu);
}
