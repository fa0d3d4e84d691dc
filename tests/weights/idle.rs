//! Calls between which nothing moved: gradient accumulation, the other model's turn, a rate of
//! zero.

use tch_tensorboard::{Cadence, WeightOptions};

use crate::run::Run;

/// Idle calls in a row after which standing still is itself worth a point.
const PATIENCE: i64 = 20;

fn weights(moves: i64) -> Vec<f32> {
    vec![1.0 + moves as f32, 2.0, 3.0 - moves as f32]
}

#[test]
fn calls_between_which_nothing_moved_write_nothing() {
    let run = Run::of_every_call();
    for step in 0..16_i64 {
        run.log_weights(&("w", weights(step / 4)), step).unwrap();
    }
    let written = run.finish();
    assert_eq!(written.steps("weight_std/w"), [0, 4, 8, 12]);
    assert_eq!(written.steps("weight_deltas/w"), [4, 8, 12]);
    for step in [4, 8, 12] {
        assert_eq!(written.at("weight_delta_max_abs/w", step), 1.0);
    }
}

#[test]
fn standing_still_is_written_in_the_end() {
    let run = Run::of_every_call();
    for step in 0..40_i64 {
        run.log_weights(&("w", weights(0)), step).unwrap();
    }
    let written = run.finish();
    let expected: Vec<i64> = std::iter::once(0).chain(PATIENCE..40).collect();
    assert_eq!(written.steps("weight_std/w"), expected);
    for step in PATIENCE..40 {
        assert_eq!(written.at("weight_update_ratio_log10/w", step), -8.0);
        assert_eq!(written.at("weight_changed_fraction/w", step), 0.0);
    }
}

#[test]
fn standing_still_is_written_between_distant_points_too() {
    for stride in [10, 100] {
        let run = Run::with(
            WeightOptions::new()
                .scalars(Cadence::Every(stride))
                .histograms(Cadence::Every(0)),
        );
        let stride = stride as i64;
        for step in 0..=5 * stride {
            run.log_weights(&("w", weights(0)), step).unwrap();
        }
        let written = run.finish();
        // Steps are counted again from the first call that is taken as one.
        let expected: Vec<i64> = (0..5)
            .map(|point| point * stride)
            .map(|step| if step == 0 { 0 } else { PATIENCE - 1 + step })
            .filter(|&step| step <= 5 * stride)
            .collect();
        let written_steps = written.steps("weight_std/w");
        let (points, last) = written_steps.split_at(expected.len());
        assert_eq!(points, expected, "every {stride}");
        // The end of the run may add the newest copy.
        assert!(last.len() <= 1, "{last:?}");
        let newest = expected[expected.len() - 1];
        assert_eq!(written.at("weight_update_ratio_log10/w", newest), -8.0);
    }
}

#[test]
fn a_model_that_wakes_up_is_written_at_once() {
    let run = Run::of_every_call();
    for step in 0..30_i64 {
        let moves = i64::from(step >= 10) + i64::from(step >= 12);
        run.log_weights(&("w", weights(moves)), step).unwrap();
    }
    assert_eq!(run.finish().steps("weight_std/w"), [0, 10, 12]);
}

#[cfg(feature = "tch")]
mod with_optimizers {
    use tch::nn::{OptimizerConfig, Sgd};

    use super::*;
    use crate::model::{Net, cpu_store, nudge, snapshot, tensor};
    use crate::reference::{assert_close, deltas, norm, wide};

    #[test]
    fn accumulation_counts_optimizer_steps_only() {
        let vs = cpu_store();
        let net = Net::new(&vs.root(), 10);
        let mut optimizer = Sgd::default().build(&vs, 0.1).unwrap();
        let run = Run::with(
            WeightOptions::new()
                .scalars(Cadence::Every(3))
                .histograms(Cadence::EveryCall),
        );
        let mut seen = vec![snapshot(&vs)];
        run.log_weights(&vs, 0).unwrap();
        for micro in 1..=28_i64 {
            let (x, y) = Net::batch(micro as u32);
            net.loss(&x, &y).backward();
            if micro % 4 == 0 {
                optimizer.step();
                optimizer.zero_grad();
                seen.push(snapshot(&vs));
            }
            run.log_weights(&vs, micro).unwrap();
        }
        let written = run.finish();
        // Optimizer steps 0 to 7, at every fourth micro step; scalars at 0, 3, 6 and the last.
        assert_eq!(written.steps("weight_std/c2.weight"), [0, 12, 24, 28]);
        assert_eq!(
            written.steps("weights/c2.weight"),
            [0, 4, 8, 12, 16, 20, 24, 28]
        );
        for (step, moves) in [(12, 3), (24, 6), (28, 7)] {
            for name in Net::names() {
                let (now, before) = (&seen[moves][name], &seen[moves - 1][name]);
                let ratio = norm(&deltas(now, before)) / norm(&wide(before));
                let tag = format!("weight_update_ratio/{name}");
                assert_close(&tag, written.at(&tag, step), ratio);
            }
        }
    }

    #[test]
    fn idle_calls_at_the_end_leave_the_last_step_whole() {
        let vs = cpu_store();
        let mut w = vs.root().var_copy("w", &tensor(&[4, 4], 1));
        let run = Run::with(
            WeightOptions::new()
                .scalars(Cadence::Every(5))
                .histograms(Cadence::Every(5)),
        );
        for step in 0..12_i64 {
            if step % 4 == 0 {
                nudge(&mut w, 0.25);
            }
            run.log_weights(&vs, step).unwrap();
        }
        let written = run.finish();
        assert_eq!(written.steps("weight_std/w"), [0, 8]);
        assert_eq!(written.steps("weights/w"), [0, 8]);
        assert_eq!(written.steps("weight_deltas/w"), [8]);
        let samples = written.tags();
        assert_eq!(
            samples
                .iter()
                .filter(|tag| tag.starts_with("weight_delta_samples/"))
                .count(),
            4
        );
    }

    #[test]
    fn a_learning_rate_of_zero_shows_after_some_calls() {
        let vs = cpu_store();
        let net = Net::new(&vs.root(), 20);
        let mut optimizer = Sgd::default().build(&vs, 0.0).unwrap();
        let run = Run::of_every_call();
        for step in 0..30_i64 {
            let (x, y) = Net::batch(step as u32);
            optimizer.backward_step(&net.loss(&x, &y));
            run.log_weights(&vs, step).unwrap();
        }
        let written = run.finish();
        let expected: Vec<i64> = std::iter::once(0).chain(PATIENCE..30).collect();
        assert_eq!(written.steps("weight_std/c10.weight"), expected);
        assert_eq!(
            written.at("weight_update_ratio_log10/c10.weight", PATIENCE),
            -8.0
        );
    }

    #[test]
    fn an_optimizer_that_is_never_stepped_shows_after_as_many_calls() {
        let vs = cpu_store();
        let _net = Net::new(&vs.root(), 30);
        let run = Run::of_every_call();
        for step in 0..30_i64 {
            run.log_weights(&vs, step).unwrap();
        }
        let written = run.finish();
        let expected: Vec<i64> = std::iter::once(0).chain(PATIENCE..30).collect();
        assert_eq!(written.steps("weight_std/c10.weight"), expected);
    }

    #[test]
    fn models_that_take_turns_write_at_their_own_turns() {
        let stores = [cpu_store(), cpu_store()];
        let nets = [
            Net::new(&stores[0].root(), 40),
            Net::new(&stores[1].root(), 50),
        ];
        let mut optimizers =
            [0, 1].map(|index| Sgd::default().build(&stores[index], 0.05).unwrap());
        let run = Run::of_every_call();
        let scopes = [run.scoped("G").unwrap(), run.scoped("D").unwrap()];
        for step in 0..12_i64 {
            // One turn of the generator, then three of the other.
            let turn = usize::from(step % 4 != 0);
            let (x, y) = Net::batch(step as u32);
            optimizers[turn].backward_step(&nets[turn].loss(&x, &y));
            for (scope, store) in std::iter::zip(&scopes, &stores) {
                scope.log_weights(store, step).unwrap();
            }
        }
        let written = run.finish();
        assert_eq!(written.steps("weight_std/G/c2.weight"), [0, 4, 8]);
        // The first call writes the weights whether they moved or not.
        assert_eq!(
            written.steps("weight_std/D/c2.weight"),
            [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]
        );
        assert_eq!(written.steps("weight_deltas/G/c2.weight"), [4, 8]);
    }

    #[test]
    fn tensors_made_anew_at_each_call_are_no_idle_calls() {
        // Their memory is often that of the call before, and libtorch's write counter starts at the
        // same number.
        let mut w = tensor(&[1000], 60);
        let run = Run::of_every_call();
        for step in 0..10_i64 {
            nudge(&mut w, 0.01);
            run.log_weights(&("effective", &w * 2.0), step).unwrap();
        }
        let steps: Vec<i64> = (0..10).collect();
        assert_eq!(run.finish().steps("weight_std/effective"), steps);
    }

    /// What lies on another device, or strided, cannot be compared in place.
    #[test]
    fn tensors_that_have_to_be_copied_first_are_told_apart_too() {
        let vs = cpu_store();
        let mut strided = vs.root().add("strided", tensor(&[6, 4], 80).tr(), true);
        let mut steady = vs.root().var_copy("steady", &tensor(&[5], 81));
        let run = Run::of_every_call();
        for step in 0..28_i64 {
            if step % 3 == 0 {
                nudge(&mut strided, 0.5);
            }
            run.log_weights(&vs, step).unwrap();
        }
        let sparse = Run::with(
            WeightOptions::new()
                .scalars(Cadence::Every(9))
                .histograms(Cadence::Every(0)),
        );
        for step in 0..28_i64 {
            nudge(&mut strided, step as f64);
            nudge(&mut steady, 0.5);
            sparse.log_weights(&vs, step).unwrap();
        }
        let written = run.finish();
        assert_eq!(
            written.steps("weight_std/strided"),
            [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
        );
        let written = sparse.finish();
        assert_eq!(written.steps("weight_std/strided"), [0, 9, 18, 27]);
        for step in [9, 18, 27] {
            let change = written.at("weight_delta_max_abs/strided", step);
            assert!((change - step as f32).abs() < 1e-4, "{change} at {step}");
        }
    }
}
