//! A delta is that of one step, or it is not written.

use std::collections::HashMap;

use tch_tensorboard::{Cadence, NamedTensors, OnFull, Result, Role, Visitor, WeightOptions};

use crate::reference::{assert_close, assert_counts, deltas, norm, wide};
use crate::run::{Run, Stall, Written, every_call};

/// Each step changes these by another amount, and no two elements alike.
fn weights(step: i64) -> Vec<f32> {
    let moved = (step * step) as f32 / 1024.0;
    (0..6)
        .map(|index| 3.0 - index as f32 + moved * (index + 1) as f32)
        .collect()
}

const OF_CHANGES: [&str; 6] = [
    "weight_delta_mean",
    "weight_delta_std",
    "weight_delta_max_abs",
    "weight_update_ratio_log10",
    "weight_update_ratio",
    "weight_changed_fraction",
];

/// The scalars at `step` are those of `weights(step) - weights(step - 1)`.
#[track_caller]
fn assert_one_step(written: &Written, name: &str, step: i64) {
    let (now, before) = (weights(step), weights(step - 1));
    let changes = deltas(&now, &before);
    let ratio = norm(&changes) / norm(&wide(&before));
    let at = |kind: &str| written.at(&format!("{kind}/{name}"), step);
    assert_close("update ratio", at("weight_update_ratio"), ratio);
    let most = changes.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert_close("largest change", at("weight_delta_max_abs"), most);
    let tag = format!("weight_delta_samples/{name}/");
    let samples = written.tags();
    let samples: Vec<&String> = samples
        .iter()
        .filter(|known| known.starts_with(&tag))
        .collect();
    assert_eq!(samples.len(), 4);
    for sample in samples {
        let element: usize = sample[tag.len()..].parse().unwrap();
        assert_close(sample, written.at(sample, step), changes[element]);
    }
}

#[track_caller]
fn assert_no_change_at(written: &Written, name: &str, step: i64) {
    let tags = written.tags_of_step(step);
    assert!(
        tags.contains(&format!("weight_std/{name}")),
        "{name} has no point at {step}: {tags:?}"
    );
    for kind in OF_CHANGES.iter().chain(&["weight_deltas"]) {
        assert!(
            !tags.contains(&format!("{kind}/{name}")),
            "{kind} at {step}"
        );
    }
    let sample = format!("weight_delta_samples/{name}/");
    assert!(!tags.iter().any(|tag| tag.starts_with(&sample)), "{tags:?}");
}

#[test]
fn sparse_points_still_show_the_change_of_one_step() {
    for stride in [2, 7, 8, 9, 100] {
        let options = WeightOptions::new()
            .scalars(Cadence::Every(stride))
            .histograms(Cadence::Every(stride));
        let run = Run::with(options);
        let stride = stride as i64;
        for step in 0..=3 * stride {
            run.log_weights(&("w", weights(step)), step).unwrap();
        }
        let written = run.finish();
        let due = [0, stride, 2 * stride, 3 * stride];
        assert_eq!(written.steps("weight_std/w"), due);
        for &step in &due[1..] {
            assert_one_step(&written, "w", step);
            let changes = deltas(&weights(step), &weights(step - 1));
            assert_counts(
                "deltas",
                &written.histogram("weight_deltas/w", step),
                &changes,
            );
        }
    }
}

#[test]
fn a_large_stride_costs_two_copies_a_point() {
    let options = WeightOptions::new()
        .scalars(Cadence::Every(100))
        .histograms(Cadence::Every(200));
    let run = Run::with(options);
    for step in 0..=600_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    // Call 0, then for each of the six due calls the one before and itself.
    assert_eq!(run.stats().queued, 13);
}

#[test]
fn no_delta_spans_snapshots_that_were_dropped() {
    let (run, stall) = Stall::run(OnFull::Drop, every_call());
    let dropped = run.stats().dropped;
    for step in 0..20_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    // Sixteen buffers of this small model wait for the worker that stands still.
    assert_eq!(run.stats().dropped - dropped, 4);
    stall.release();
    let _ = run.flush();
    for step in 20..22_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    let _ = run.close();
    let written = Written::read(run.logdir());
    let expected: Vec<i64> = (0..16).chain(20..22).collect();
    assert_eq!(written.steps("weight_std/w"), expected);
    for step in (1..16).chain([21]) {
        assert_one_step(&written, "w", step);
    }
    assert_no_change_at(&written, "w", 20);
}

#[test]
fn a_new_baseline_has_no_delta_and_drift_counts_from_it() {
    let run = Run::of_every_call();
    for step in 0..6_i64 {
        if step == 3 {
            run.new_baseline();
        }
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    let written = run.finish();
    assert_no_change_at(&written, "w", 3);
    for step in [1, 2, 4, 5] {
        assert_one_step(&written, "w", step);
    }
    assert_eq!(written.at("weight_drift/w", 3), 0.0);
    let (now, from) = (wide(&weights(5)), wide(&weights(3)));
    let moved: Vec<f64> = std::iter::zip(&now, &from)
        .map(|(now, from)| now - from)
        .collect();
    let drift = norm(&moved) / norm(&from);
    assert_close("drift", written.at("weight_drift/w", 5), drift);
}

#[test]
fn a_new_baseline_between_distant_points_is_that_of_its_own_call() {
    let run = Run::with(
        WeightOptions::new()
            .scalars(Cadence::Every(50))
            .histograms(Cadence::Every(0)),
    );
    for step in 0..=100_i64 {
        if step == 70 {
            run.new_baseline();
        }
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/w"), [0, 50, 100]);
    assert_one_step(&written, "w", 100);
    let (now, from) = (wide(&weights(100)), wide(&weights(70)));
    let moved: Vec<f64> = std::iter::zip(&now, &from)
        .map(|(now, from)| now - from)
        .collect();
    let drift = norm(&moved) / norm(&from);
    assert_close("drift", written.at("weight_drift/w", 100), drift);
}

#[test]
fn a_new_baseline_is_no_idle_call_even_when_nothing_moved() {
    let run = Run::of_every_call();
    for step in 0..4_i64 {
        if step == 2 {
            run.new_baseline();
        }
        run.log_weights(&("w", weights(step.min(1))), step).unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/w"), [0, 1, 2]);
    assert_eq!(written.at("weight_drift/w", 2), 0.0);
}

#[test]
fn a_variable_of_another_shape_starts_anew_and_the_others_go_on() {
    let run = Run::of_every_call();
    for step in 0..6_i64 {
        let mut grown = weights(step);
        if step >= 3 {
            grown.push(1.0);
        }
        run.log_weights(&[("grown", grown), ("same", weights(step))], step)
            .unwrap();
    }
    let written = run.finish();
    assert_no_change_at(&written, "grown", 3);
    assert_eq!(written.at("weight_drift/grown", 3), 0.0);
    for step in [1, 2, 3, 4, 5] {
        assert_one_step(&written, "same", step);
    }
    let changes = [deltas(&weights(4), &weights(3)), vec![0.0]].concat();
    let most = changes.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert_close("grown", written.at("weight_delta_max_abs/grown", 4), most);
    assert_counts(
        "grown",
        &written.histogram("weight_deltas/grown", 4),
        &changes,
    );
}

#[test]
fn a_variable_of_another_type_starts_anew_and_the_others_go_on() {
    enum Either {
        Single(&'static str, Vec<f32>),
        Double(&'static str, Vec<f64>),
    }
    impl NamedTensors for Either {
        fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
            match self {
                Either::Single(name, values) => visitor.variable(name, values, Role::Trainable),
                Either::Double(name, values) => visitor.variable(name, values, Role::Trainable),
            }
            Ok(())
        }
    }
    let run = Run::of_every_call();
    for step in 0..6_i64 {
        let cast = match step {
            0..3 => Either::Single("cast", weights(step)),
            _ => Either::Double("cast", wide(&weights(step))),
        };
        let same = Either::Single("same", weights(step));
        run.log_weights(&[cast, same], step).unwrap();
    }
    let written = run.finish();
    assert_no_change_at(&written, "cast", 3);
    for step in [1, 2, 4, 5] {
        assert_one_step(&written, "cast", step);
    }
    for step in 1..6 {
        assert_one_step(&written, "same", step);
    }
}

#[test]
fn variables_may_come_and_go() {
    let run = Run::of_every_call();
    for step in 0..7_i64 {
        let mut variables = vec![("stays", weights(step))];
        if (1..3).contains(&step) || step >= 5 {
            variables.insert(0, ("comes", weights(step)));
        }
        run.log_weights(&variables, step).unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/stays"), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(written.steps("weight_std/comes"), [1, 2, 5, 6]);
    for step in 1..7 {
        assert_one_step(&written, "stays", step);
    }
    for step in [1, 5] {
        assert_no_change_at(&written, "comes", step);
    }
    for step in [2, 6] {
        assert_one_step(&written, "comes", step);
    }
}

#[test]
fn the_order_of_a_source_does_not_matter() {
    let run = Run::of_every_call();
    for step in 0..8_i64 {
        // Each map has an order of its own.
        let variables: HashMap<String, Vec<f32>> = (0..20)
            .map(|index| {
                let mut values = weights(step);
                values
                    .iter_mut()
                    .for_each(|value| *value *= (index + 1) as f32);
                (format!("h.{index}"), values)
            })
            .collect();
        run.log_weights(&variables, step).unwrap();
    }
    let written = run.finish();
    for step in 1..8 {
        let ratio =
            norm(&deltas(&weights(step), &weights(step - 1))) / norm(&wide(&weights(step - 1)));
        for index in 0..20 {
            let tag = format!("weight_update_ratio/h.{index}");
            let error = f64::from(written.at(&tag, step)) / ratio - 1.0;
            // Rounding after the multiplication by another factor.
            assert!(error.abs() < 1e-3, "{tag} at {step}: {error}");
        }
    }
}

#[test]
fn changes_that_a_glance_misses_do_not_add_up() {
    // Of so many elements only a few are looked at between distant points, and this one is not
    // among them.
    let embedding = |step: i64| -> Vec<f32> {
        let mut values = vec![1.0; 10_000];
        values[1] = (step * step) as f32;
        values
    };
    let run = Run::with(
        WeightOptions::new()
            .scalars(Cadence::Every(50))
            .histograms(Cadence::Every(0)),
    );
    for step in 0..400_i64 {
        run.log_weights(&("embedding", embedding(step)), step)
            .unwrap();
    }
    let written = run.finish();
    let points = written.scalar("weight_delta_max_abs/embedding");
    assert!((3..=8).contains(&points.len()), "{points:?}");
    for &(step, change) in points {
        assert_eq!(change, (2 * step - 1) as f32, "at {step}");
    }
}
