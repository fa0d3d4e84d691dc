//! Several models in one run, and runs below a run.

use tch_tensorboard::Error;

use crate::run::{Run, Written};

fn weights(step: i64) -> Vec<f32> {
    vec![1.0 + step as f32, -2.0, 0.5 * step as f32]
}

#[test]
fn a_scope_stands_behind_the_statistic() {
    let run = Run::of_every_call();
    let (g, d) = (run.scoped("G").unwrap(), run.scoped("D").unwrap());
    for step in 0..3_i64 {
        g.log_weights(&("conv1.weight", weights(step)), step)
            .unwrap();
        d.log_weights(&("conv1.weight", weights(10 * step)), step)
            .unwrap();
        g.log_scalar("loss", step, step).unwrap();
    }
    let written = run.finish();
    for tag in [
        "weight_std/G/conv1.weight",
        "weights/G/conv1.weight",
        "weight_deltas/G/conv1.weight",
        "weight_samples/G/conv1.weight/0",
        "weight_mean_plus_std/G/conv1.weight",
        "model/G/update_ratio_log10",
        "G/loss",
    ] {
        assert!(written.has(tag), "{tag} in {:?}", written.tags());
    }
    assert_eq!(written.at("weight_delta_max_abs/G/conv1.weight", 2), 1.0);
    assert_eq!(written.at("weight_delta_max_abs/D/conv1.weight", 2), 10.0);
    let unscoped = written
        .tags()
        .into_iter()
        .find(|tag| !tag.contains("/G/") && !tag.contains("/D/") && !tag.starts_with("G/"));
    assert_eq!(unscoped, None);
}

#[test]
fn scopes_nest_and_the_same_name_is_the_same_scope() {
    let run = Run::of_every_call();
    let inner = run.scoped("G").unwrap().scoped("ema").unwrap();
    inner.log_weights(&("w", weights(0)), 0).unwrap();
    let again = run.scoped("G/ema").unwrap();
    again.log_weights(&("w", weights(1)), 1).unwrap();
    let error = again.log_weights(&("w", weights(1)), 1).unwrap_err();
    assert!(error.to_string().contains("G/ema"), "{error}");
    let written = run.finish();
    assert_eq!(written.steps("weight_std/G/ema/w"), [0, 1]);
    assert_eq!(written.steps("weight_deltas/G/ema/w"), [1]);
    assert!(written.has("model/G/ema/weight_std"));
}

#[test]
fn a_scope_needs_a_usable_name() {
    let run = Run::new();
    for name in ["", "/G", "G/"] {
        assert!(
            matches!(run.scoped(name), Err(Error::InvalidTag { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn the_same_step_twice_says_what_to_do() {
    let run = Run::of_every_call();
    run.log_weights(&("a", weights(0)), 7).unwrap();
    for step in [7, 6, -1] {
        let error = run.log_weights(&("b", weights(0)), step).unwrap_err();
        assert!(matches!(error, Error::InvalidStep { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("scoped(") && text.contains("log_weights"),
            "{text}"
        );
        assert!(text.contains(&format!("step {step} ")), "{text}");
    }
    // Gradients of the same model have steps of their own, and the run goes on.
    run.log_weights(&("a", weights(1)), 8).unwrap();
    assert_eq!(run.finish().steps("weight_std/a"), [7, 8]);
}

#[test]
fn a_call_that_failed_may_be_made_again() {
    let run = Run::of_every_call();
    let twice = [("w", weights(0)), ("w", weights(0))];
    let error = run.log_weights(&twice, 0).unwrap_err();
    assert!(
        matches!(error, Error::DuplicateVariable { .. }),
        "{error:?}"
    );
    run.log_weights(&("w", weights(0)), 0).unwrap();
    run.log_weights(&("w", weights(1)), 1).unwrap();
    run.log_weights(&twice, 2).unwrap_err();
    run.log_weights(&("w", weights(3)), 2).unwrap();
    let written = run.finish();
    assert_eq!(written.steps("weight_std/w"), [0, 1, 2]);
    assert_eq!(written.at("weight_delta_max_abs/w", 2), 2.0);
}

#[test]
fn a_step_beyond_i64_is_refused() {
    let run = Run::new();
    let error = run.log_weights(&("w", weights(0)), u64::MAX).unwrap_err();
    assert!(
        error.to_string().contains("18446744073709551615"),
        "{error}"
    );
    run.log_weights(&("w", weights(0)), i64::MAX).unwrap();
    assert_eq!(run.finish().steps("weight_std/w"), [i64::MAX]);
}

#[test]
fn a_sub_run_writes_the_same_tags_below() {
    let run = Run::of_every_call();
    let val = run.subrun("val").unwrap();
    assert_eq!(val.logdir(), run.logdir().join("val"));
    for step in 0..3_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
        // Steps and history are apart from those of the run above.
        val.log_weights(&("w", weights(100 * step)), step).unwrap();
    }
    val.flush().unwrap();
    let below = Written::read(val.logdir());
    let above = run.finish();
    assert_eq!(above.at("weight_delta_max_abs/w", 2), 1.0);
    assert_eq!(below.at("weight_delta_max_abs/w", 2), 100.0);
    assert_eq!(above.steps("weight_std/w"), below.steps("weight_std/w"));
    assert!(below.has("custom_scalars__config__") && above.has("custom_scalars__config__"));
}

#[test]
fn the_report_covers_every_scope() {
    let run = Run::new();
    let scopes = ["G", "D"].map(|name| run.scoped(name).unwrap());
    for step in 0..2_i64 {
        for scope in &scopes {
            scope.log_weights(&("w", weights(step)), step).unwrap();
        }
    }
    let report = run.weight_report().unwrap();
    let mut found: Vec<(&str, &str, i64)> = report
        .parameters
        .iter()
        .map(|parameter| (&*parameter.scope, &*parameter.name, parameter.step))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("D", "w", 1), ("G", "w", 1)]);
}

#[test]
fn clones_and_threads_share_a_scope() {
    let run = Run::of_every_call();
    run.log_weights(&("w", weights(0)), 0).unwrap();
    let clone = (*run).clone();
    let second = std::thread::spawn(move || clone.log_weights(&("w", weights(1)), 1));
    second.join().unwrap().unwrap();
    assert_eq!(run.finish().steps("weight_deltas/w"), [1]);
}
