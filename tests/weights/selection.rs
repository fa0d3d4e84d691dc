//! Which variables, statistics and single weights are written.

use tch_tensorboard::{
    Cadence, Error, LayerOptions, NamedTensors, Pattern, Result, Role, Statistic, Visitor,
    WeightOptions,
};

use crate::reference::{assert_close, reference, wide};
use crate::run::{Run, Written, every_call};

fn values(index: i64, step: i64) -> Vec<f32> {
    (0..9)
        .map(|k| (k - 4) as f32 * 0.5 + (index + 1) as f32 * (step * step) as f32 / 64.0)
        .collect()
}

const NAMES: [&str; 4] = ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"];

fn logged(options: WeightOptions) -> Written {
    let run = Run::with(options);
    for step in 0..3_i64 {
        let variables: Vec<(&str, Vec<f32>)> = std::iter::zip(NAMES, 0..)
            .map(|(name, index)| (name, values(index, step)))
            .collect();
        run.log_weights(&variables, step).unwrap();
    }
    run.finish()
}

fn with_std(written: &Written) -> Vec<&'static str> {
    let mut names = NAMES.to_vec();
    names.retain(|name| written.has(&format!("weight_std/{name}")));
    names
}

#[test]
fn select_includes_and_excludes_by_glob_and_regex() {
    let chosen = logged(every_call().select(["*.weight", "fc.*"]).exclude(["conv*"]));
    assert_eq!(with_std(&chosen), ["fc.weight", "fc.bias"]);
    let chosen = logged(every_call().select([Pattern::regex("^conv")]));
    assert_eq!(with_std(&chosen), ["conv1.weight", "conv1.bias"]);
    let chosen = logged(every_call().exclude([Pattern::regex(r"\.bias$")]));
    assert_eq!(with_std(&chosen), ["conv1.weight", "fc.weight"]);
}

#[test]
fn what_is_left_out_is_in_no_aggregate_and_no_report() {
    let run = Run::with(every_call().select(["small"]));
    let variables = [("small", vec![1.0_f32, 2.0]), ("large", vec![1e6, -1e6])];
    run.log_weights(&variables, 0).unwrap();
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameters.len(), 1);
    let written = run.finish();
    assert_close("norm", written.at("model/weight_norm", 0), 5.0_f64.sqrt());
}

#[test]
fn statistics_and_samples_can_be_chosen_for_all_and_by_layer() {
    let written = logged(
        every_call()
            .statistics([Statistic::WeightStd])
            .samples(0)
            .for_matching("fc.*", LayerOptions::new().samples(9))
            .for_matching(
                "*.weight",
                LayerOptions::new().statistics([Statistic::WeightMean, Statistic::WeightDrift]),
            ),
    );
    let of = |name: &str| -> Vec<String> {
        let tags = written.tags().into_iter();
        tags.filter(|tag| tag.contains(name) && !tag.contains("samples"))
            .collect()
    };
    assert_eq!(
        of("conv1.bias"),
        [
            "weight_deltas/conv1.bias",
            "weight_std/conv1.bias",
            "weights/conv1.bias"
        ]
    );
    assert!(written.has("weight_mean/conv1.weight") && written.has("weight_drift/fc.weight"));
    assert!(!written.has("weight_std/fc.weight"));
    let samples = |name: &str| {
        let prefix = format!("weight_samples/{name}/");
        written
            .tags()
            .iter()
            .filter(|tag| tag.starts_with(&prefix))
            .count()
    };
    assert_eq!((samples("conv1.weight"), samples("fc.bias")), (0, 9));
}

#[test]
fn the_seed_chooses_the_samples_and_the_name_keeps_them() {
    let samples = |seed: u64| {
        let run = Run::with(every_call().seed(seed));
        let values: Vec<f32> = (0..10_000).map(|k| k as f32).collect();
        run.log_weights(&[("a", values.clone()), ("b", values)], 0)
            .unwrap();
        let mut tags = run.finish().tags();
        tags.retain(|tag| tag.starts_with("weight_samples/"));
        tags
    };
    assert_eq!(samples(0), samples(0));
    assert_ne!(samples(0), samples(1));
    assert_eq!(samples(0).len(), 8);
}

#[test]
fn a_group_is_its_variables_as_if_they_were_one() {
    let written = logged(
        every_call()
            .group("biases", "*.bias")
            .group("everything", "*"),
    );
    for (group, members) in [("biases", vec![1, 3]), ("everything", vec![0, 1, 2, 3])] {
        let all = |step: i64| -> Vec<f64> {
            members
                .iter()
                .flat_map(|&index| wide(&values(index, step)))
                .collect()
        };
        for step in 0..3_i64 {
            let at = |statistic: &str| written.at(&format!("model/{group}/{statistic}"), step);
            let now = reference(&all(step));
            assert_close("std", at("weight_std"), now.std);
            assert_close("norm", at("weight_norm"), now.norm);
            if step == 0 {
                continue;
            }
            let changes: Vec<f64> = std::iter::zip(all(step), all(step - 1))
                .map(|(now, before)| now - before)
                .collect();
            let changes = reference(&changes);
            let ratio = changes.norm / reference(&all(step - 1)).norm;
            assert_close("ratio", at("update_ratio_log10"), ratio.log10());
            assert_close("largest", at("delta_max_abs"), changes.max_abs);
            assert_close("changed", at("changed_fraction"), 1.0);
        }
    }
    assert!(!written.has("model/biases/update_ratio_log10_min"));
}

#[test]
fn histogram_rows_bound_the_rows() {
    for rows in [8, 64, 200] {
        let run = Run::with(every_call().histogram_rows(rows));
        let values: Vec<f32> = (0..5000).map(|k| ((k as f32) * 0.7).sin() * 3.0).collect();
        run.log_weights(&("w", values), 0).unwrap();
        let count = run.finish().histogram("weights/w", 0).len();
        // Rows that would not show in TensorBoard's 30 bins are saved.
        assert!(
            (rows.min(64) / 2..=rows).contains(&count),
            "{count} of {rows}"
        );
    }
}

/// A model of the user's own, with each role.
struct Model {
    step: i64,
    frozen_step: i64,
}

impl NamedTensors for Model {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable("trained", &values(0, self.step), Role::Trainable);
        visitor.variable("frozen", &values(1, self.frozen_step), Role::Frozen);
        visitor.variable("running_mean", &values(2, self.step), Role::Buffer);
        Ok(())
    }
}

#[test]
fn frozen_variables_are_reported_and_write_nothing_while_they_rest() {
    let run = Run::with(every_call());
    for step in 0..4 {
        let model = Model {
            step,
            frozen_step: 0,
        };
        run.log_weights(&model, step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let frozen = report.parameter("frozen").expect("the report covers it");
    assert_eq!(frozen.role, Role::Frozen);
    assert!(report.parameter("running_mean").is_none());
    let written = run.finish();
    assert!(written.has("weight_std/trained"));
    let others = written
        .tags()
        .into_iter()
        .find(|tag| tag.contains("frozen") || tag.contains("running"));
    assert_eq!(others, None);
}

#[test]
fn a_frozen_variable_that_moves_is_written_from_the_next_call_on() {
    let run = Run::with(every_call());
    for step in 0..8 {
        let model = Model {
            step,
            frozen_step: (step - 3).max(0),
        };
        run.log_weights(&model, step).unwrap();
        // The worker has to have seen it.
        run.flush().unwrap();
    }
    let written = run.finish();
    // It moved before call 4, which the copies of 3 and 4 show.
    assert_eq!(written.steps("weight_std/frozen"), [5, 6, 7]);
    assert_eq!(written.steps("weight_deltas/frozen"), [6, 7]);
    assert_eq!(written.steps("weights/trained"), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(
        written.steps("weight_deltas/trained"),
        [1, 2, 3, 4, 5, 6, 7]
    );
    let most = |step| written.at("weight_delta_max_abs/frozen", step);
    assert_close("frozen", most(6), 2.0 * (9.0 - 4.0) / 64.0);
}

#[test]
fn buffers_are_written_when_asked_for() {
    let run = Run::with(every_call().non_trainable(true));
    for step in 0..2 {
        run.log_weights(
            &Model {
                step,
                frozen_step: 0,
            },
            step,
        )
        .unwrap();
    }
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameter("running_mean").unwrap().role, Role::Buffer);
    let written = run.finish();
    assert_eq!(written.steps("weight_std/running_mean"), [0, 1]);
    assert!(!written.has("weight_std/frozen"));
    // The model is what training moves: its extremes would tell of buffers only.
    for statistic in ["update_ratio_log10", "update_ratio_log10_max"] {
        assert_eq!(
            written.at(&format!("model/{statistic}"), 1),
            written.at("weight_update_ratio_log10/trained", 1),
            "{statistic}"
        );
    }
}

#[test]
fn mistakes_in_options_are_seen_when_the_logger_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || tch_tensorboard::Logger::builder(dir.path().join("run"));
    let options = WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .group("a/", "*");
    let error = builder().weights(options).create().unwrap_err();
    assert!(matches!(error, Error::InvalidOption { .. }), "{error:?}");
    assert!(
        !dir.path().join("run").exists(),
        "a mistake leaves no directory behind"
    );
}
