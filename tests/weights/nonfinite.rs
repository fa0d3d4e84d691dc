//! NaN and infinities are counted, and left out of everything else.

use crate::reference::{assert_close, assert_counts, reference};
use crate::run::Run;

#[test]
fn they_are_counted_only_while_there_are_any() {
    let run = Run::of_every_call();
    let clean = vec![1.0_f32, 2.0, 4.0, -1.0];
    let mut spoilt: Vec<f32> = clean.iter().map(|value| value * 1.5).collect();
    spoilt.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    let all = |extra: [f32; 3]| [clean.clone(), extra.to_vec()].concat();
    run.log_weights(&("w", all([0.0; 3])), 0).unwrap();
    run.log_weights(&("w", &spoilt), 1).unwrap();
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameter("w").unwrap().nonfinite, 3);
    run.log_weights(&("w", all([0.5; 3])), 2).unwrap();
    let written = run.finish();
    assert_eq!(written.scalar("weight_nonfinite/w"), [(1, 3.0)]);
    assert_eq!(written.scalar("model/nonfinite"), [(1, 3.0)]);
    let finite = [1.5, 3.0, 6.0, -1.5];
    let expected = reference(&finite);
    assert_close("mean", written.at("weight_mean/w", 1), expected.mean);
    assert_close("std", written.at("weight_std/w", 1), expected.std);
    assert_close("norm", written.at("weight_norm/w", 1), expected.norm);
    assert_close("model", written.at("model/weight_norm", 1), expected.norm);
    let changes = [0.5, 1.0, 2.0, -0.5];
    assert_close(
        "delta",
        written.at("weight_delta_mean/w", 1),
        reference(&changes).mean,
    );
    assert_close("largest", written.at("weight_delta_max_abs/w", 1), 2.0);
    // The bits of all seven changed.
    assert_eq!(written.at("weight_changed_fraction/w", 1), 1.0);
    assert_counts("weights", &written.histogram("weights/w", 1), &finite);
    assert_counts("deltas", &written.histogram("weight_deltas/w", 1), &changes);
}

#[test]
fn a_variable_of_nothing_but_nan_claims_nothing() {
    let run = Run::of_every_call();
    run.log_weights(&("w", vec![1.0_f32; 5]), 0).unwrap();
    for step in 1..3_i64 {
        // Another NaN each time: the bits move.
        let nan = f32::from_bits(f32::NAN.to_bits() + step as u32);
        run.log_weights(&("w", vec![nan; 5]), step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let w = report.parameter("w").unwrap();
    assert_eq!(
        (w.nonfinite, w.mean, w.std, w.norm, w.update_ratio),
        (5, None, None, None, None)
    );
    let written = run.finish();
    assert_eq!(written.scalar("weight_nonfinite/w"), [(1, 5.0), (2, 5.0)]);
    for tag in [
        "weight_mean/w",
        "weight_std/w",
        "weight_norm/w",
        "weight_mean_plus_std/w",
        "weight_drift/w",
        "model/weight_norm",
        "model/weight_std",
    ] {
        assert_eq!(written.steps(tag), [0], "{tag}");
    }
    for tag in [
        "weight_delta_mean/w",
        "weight_update_ratio/w",
        // -8 would say that nothing moved.
        "weight_update_ratio_log10/w",
        "model/update_ratio_log10",
        "model/update_ratio_log10_min",
    ] {
        assert!(!written.has(tag), "{tag}: {:?}", written.scalar(tag));
    }
    assert_eq!(written.at("weight_changed_fraction/w", 2), 1.0);
    let rows = written.histogram("weights/w", 1);
    assert!(rows.iter().all(|row| row[2] == 0.0), "{rows:?}");
}

#[test]
fn a_variable_that_was_all_zero_has_no_ratio_and_no_drift() {
    let run = Run::of_every_call();
    for step in 0..3_i64 {
        run.log_weights(&("bias", vec![step as f32; 4]), step)
            .unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_update_ratio/bias"), [2]);
    assert_eq!(written.steps("weight_update_ratio_log10/bias"), [2]);
    assert!(!written.has("weight_drift/bias"));
    assert_eq!(
        written.scalar("weight_delta_mean/bias"),
        [(1, 1.0), (2, 1.0)]
    );
}

#[test]
fn empty_and_single_element_variables_are_fine() {
    let run = Run::of_every_call();
    for step in 0..3_i64 {
        let variables = [("empty", vec![]), ("one", vec![1.0_f32 + step as f32])];
        run.log_weights(&variables, step).unwrap();
    }
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameters.len(), 2);
    let written = run.finish();
    assert_eq!(
        written.scalar("weight_std/one"),
        [(0, 0.0), (1, 0.0), (2, 0.0)]
    );
    assert_eq!(
        written.scalar("weight_delta_samples/one/0"),
        [(1, 1.0), (2, 1.0)]
    );
    assert!(!written.has("weight_std/empty") && !written.has("weight_changed_fraction/empty"));
    assert_eq!(
        written.histogram("weights/empty", 0),
        Vec::<[f64; 3]>::new()
    );
}
