//! Which calls get points.

use tch_tensorboard::{Cadence, LayerOptions, WeightOptions};

use crate::run::{Run, Written};

/// Weights that each call changes.
fn weights(call: i64) -> Vec<f32> {
    (0..5)
        .map(|index| (index + 1) as f32 + call as f32 / 4096.0)
        .collect()
}

fn logged(options: WeightOptions, calls: i64) -> Written {
    let run = Run::with(options);
    for call in 0..calls {
        run.log_weights(&("w", weights(call)), call).unwrap();
    }
    run.finish()
}

#[test]
fn every_call_writes_every_call() {
    let options = WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall);
    let written = logged(options, 600);
    let all: Vec<i64> = (0..600).collect();
    assert_eq!(written.steps("weight_std/w"), all);
    assert_eq!(written.steps("weights/w"), all);
}

#[test]
fn every_nth_call_is_written_from_the_first_on_and_the_last_at_the_end() {
    let options = WeightOptions::new()
        .scalars(Cadence::Every(3))
        .histograms(Cadence::Every(4));
    let written = logged(options, 12);
    assert_eq!(written.steps("weight_std/w"), [0, 3, 6, 9, 11]);
    assert_eq!(written.steps("weights/w"), [0, 4, 8, 11]);
    assert_eq!(written.steps("weight_deltas/w"), [4, 8, 11]);
    assert_eq!(written.steps("model/weight_std"), [0, 3, 6, 9, 11]);
}

#[test]
fn every_zero_never_writes_not_even_at_the_end() {
    let options = WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::Every(0));
    let written = logged(options, 5);
    assert_eq!(written.steps("weight_std/w"), [0, 1, 2, 3, 4]);
    assert!(!written.has("weights/w") && !written.has("weight_deltas/w"));
}

#[test]
fn a_run_that_writes_nothing_still_has_a_report() {
    let options = WeightOptions::new()
        .scalars(Cadence::Every(0))
        .histograms(Cadence::Every(0));
    let run = Run::with(options);
    for call in 0..5_i64 {
        run.log_weights(&("w", weights(call)), call).unwrap();
    }
    let report = run.weight_report().unwrap();
    let w = report
        .parameter("w")
        .expect("the report covers every variable");
    assert!(w.update_ratio.is_some_and(|ratio| ratio > 0.0), "{w:?}");
    assert!(run.finish().tags().is_empty());
}

#[test]
fn auto_thins_out_as_documented() {
    let written = logged(WeightOptions::new(), 1303);
    let scalars: Vec<i64> = (0..500)
        .chain((500..1000).step_by(2))
        .chain((1000..1303).step_by(4))
        .chain([1302])
        .collect();
    assert_eq!(written.steps("weight_std/w"), scalars);
    let histograms: Vec<i64> = (0..50)
        .chain((50..100).step_by(2))
        .chain((100..200).step_by(4))
        .chain((200..400).step_by(8))
        .chain((400..800).step_by(16))
        .chain((800..1303).step_by(32))
        .chain([1302])
        .collect();
    assert_eq!(written.steps("weights/w"), histograms);
    assert_eq!(written.steps("weight_deltas/w"), histograms[1..]);
}

#[test]
fn expected_steps_bound_the_points_and_spread_them() {
    let calls = 6000;
    let written = logged(WeightOptions::new().expected_steps(calls as u64), calls);
    for (tag, most) in [("weight_std/w", 1000), ("weights/w", 100)] {
        let steps = written.steps(tag);
        assert!(
            (most * 3 / 4..=most + 2).contains(&steps.len()),
            "{tag}: {}",
            steps.len()
        );
        assert_eq!((steps[0], steps[steps.len() - 1]), (0, calls - 1), "{tag}");
        assert_eq!(steps[1], 1, "{tag}: dense at first");
        let gaps = steps.windows(2).map(|pair| pair[1] - pair[0]);
        let widest = gaps.max().unwrap();
        assert!(
            widest <= 3 * calls / most as i64,
            "{tag}: a gap of {widest}"
        );
    }
}

#[test]
fn layers_follow_their_own_cadence() {
    let options = WeightOptions::new()
        .scalars(Cadence::Every(6))
        .histograms(Cadence::Every(0))
        .for_matching(
            "head*",
            LayerOptions::new()
                .scalars(Cadence::Every(2))
                .histograms(Cadence::Every(5)),
        )
        .for_matching("quiet", LayerOptions::new().scalars(Cadence::Every(0)));
    let run = Run::with(options);
    for call in 0..12_i64 {
        let variables = ["head.weight", "body.weight", "quiet"].map(|name| (name, weights(call)));
        run.log_weights(&variables, call).unwrap();
    }
    let written = run.finish();
    assert_eq!(
        written.steps("weight_std/head.weight"),
        [0, 2, 4, 6, 8, 10, 11]
    );
    assert_eq!(written.steps("weights/head.weight"), [0, 5, 10, 11]);
    assert_eq!(written.steps("weight_std/body.weight"), [0, 6, 11]);
    assert!(!written.has("weights/body.weight"));
    assert!(!written.has("weight_std/quiet"));
    assert_eq!(written.steps("model/weight_std"), [0, 6, 11]);
}

#[test]
fn steps_need_not_be_consecutive() {
    let options = WeightOptions::new().scalars(Cadence::Every(2));
    let run = Run::with(options);
    for (call, step) in [10_u64, 20, 21, 500, 501].into_iter().enumerate() {
        run.log_weights(&("w", weights(call as i64)), step).unwrap();
    }
    assert_eq!(run.finish().steps("weight_std/w"), [10, 21, 501]);
}
