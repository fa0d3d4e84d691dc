//! What is written by default depends on how many variables a model has.

use std::collections::BTreeSet;

use tch_tensorboard::{Cadence, LayerOptions, WeightOptions};

use crate::reference::{assert_close, reference};
use crate::run::{Run, Written, every_call};

fn values(index: usize, step: i64) -> Vec<f32> {
    (0..3)
        .map(|k| (index % 7 + k) as f32 + 0.25 * (step * (index as i64 + 1)) as f32)
        .collect()
}

/// Blocks of a weight and a bias, and one variable apart.
fn name(index: usize) -> String {
    match index {
        0 => "head".to_owned(),
        index if index % 2 == 1 => format!("h.{}.weight", index / 2),
        index => format!("h.{}.bias", index / 2 - 1),
    }
}

fn logged(count: usize, options: WeightOptions) -> Written {
    let run = Run::with(options);
    for step in 0..2_i64 {
        let variables: Vec<(String, Vec<f32>)> = (0..count)
            .map(|index| (name(index), values(index, step)))
            .collect();
        run.log_weights(&variables, step).unwrap();
    }
    run.finish()
}

/// The kinds of tags that one variable has at the second call.
fn kinds(written: &Written, name: &str) -> BTreeSet<String> {
    let rest = format!("/{name}");
    let tags = written.tags_of_step(1).into_iter();
    let kinds = tags.filter_map(|tag| tag.strip_suffix(&rest).map(str::to_owned));
    kinds.collect()
}

fn lines(written: &Written) -> usize {
    let tags = written.tags();
    tags.iter()
        .filter(|tag| tag.starts_with("weight_samples/"))
        .count()
}

const TELLING: [&str; 6] = [
    "weight_changed_fraction",
    "weight_delta_max_abs",
    "weight_deltas",
    "weight_std",
    "weight_update_ratio_log10",
    "weights",
];

#[test]
fn up_to_32_variables_everything_is_written() {
    let written = logged(32, every_call());
    for index in 0..32 {
        // Ten statistics and two histograms; the bands are for fewer variables.
        assert_eq!(kinds(&written, &name(index)).len(), 12, "{}", name(index));
    }
    assert_eq!(lines(&written), 32 * 3, "three elements each, all of them");
    assert!(!written.has("model/h.*.weight/weight_std"));
}

#[test]
fn bands_are_for_up_to_16_variables() {
    let with_band = |count| logged(count, every_call()).has("weight_mean_plus_std/head");
    assert!(with_band(16) && !with_band(17));
}

#[test]
fn from_33_on_the_telling_statistics_are_written() {
    for count in [33, 64, 65, 1000] {
        let written = logged(count, every_call());
        for index in [0, 1, count / 2, count - 1] {
            assert_eq!(
                kinds(&written, &name(index)),
                TELLING.map(str::to_owned).into(),
                "{} of {count}",
                name(index)
            );
        }
        assert_eq!(lines(&written), count.min(64), "{count}");
        for role in ["h.*.weight", "h.*.bias"] {
            assert!(
                written.has(&format!("model/{role}/update_ratio_log10")),
                "{role}"
            );
        }
        // A role of one variable would repeat it.
        assert!(!written.has("model/head/update_ratio_log10"));
        assert!(!written.has("weights/h.*.weight"));
    }
}

#[test]
fn roles_are_their_variables_as_if_they_were_one() {
    let written = logged(41, every_call());
    let weights: Vec<usize> = (0..41).filter(|index| index % 2 == 1).collect();
    let all = |step: i64| -> Vec<f64> {
        let values = weights.iter().flat_map(|&index| values(index, step));
        values.map(f64::from).collect()
    };
    let at = |statistic: &str| written.at(&format!("model/h.*.weight/{statistic}"), 1);
    assert_close("std", at("weight_std"), reference(&all(1)).std);
    assert_close("norm", at("weight_norm"), reference(&all(1)).norm);
    let changes: Vec<f64> = std::iter::zip(all(1), all(0))
        .map(|(now, before)| now - before)
        .collect();
    let ratio = reference(&changes).norm / reference(&all(0)).norm;
    assert_close("ratio", at("update_ratio_log10"), ratio.log10());
}

#[test]
fn above_1000_roles_stand_for_their_variables() {
    let written = logged(1001, every_call());
    let own: Vec<String> = (0..1001)
        .map(name)
        .filter(|name| !kinds(&written, name).is_empty())
        .collect();
    // Only a role of its own, whose name has no number, shares its tags.
    assert_eq!(own, ["head"]);
    assert_eq!(
        kinds(&written, "h.*.weight"),
        ["weight_deltas", "weights"].map(str::to_owned).into()
    );
    assert!(written.has("model/h.*.bias/update_ratio_log10"));
    assert!(written.has("model/update_ratio_log10_median"));
    assert_eq!(lines(&written), 0);
    let rows = written.histogram("weights/h.*.weight", 1);
    let total: f64 = rows.iter().map(|row| row[2]).sum();
    assert_eq!(total, 500.0 * 3.0);
    // Descriptions aside, a huge model stays small.
    assert!(written.tags().len() < 100, "{}", written.tags().len());
}

#[test]
fn a_role_is_whole_whatever_the_cadence_of_its_members() {
    let seldom = LayerOptions::new().histograms(Cadence::Every(0));
    let written = logged(1001, every_call().for_matching("h.1*", seldom));
    let rows = written.histogram("weights/h.*.weight", 1);
    assert_eq!(rows.iter().map(|row| row[2]).sum::<f64>(), 500.0 * 3.0);
    assert!(!written.has("weights/h.1.weight"));
}

/// The last step's role histogram is made when the run ends; some members had theirs at the step
/// itself.
#[test]
fn the_last_role_is_whole_whatever_was_written_before() {
    let often = LayerOptions::new().histograms(Cadence::EveryCall);
    let options = every_call()
        .histograms(Cadence::Every(8))
        .for_matching("h.1*", often);
    let written = logged(1001, options);
    let rows = written.histogram("weights/h.*.weight", 1);
    let total: f64 = rows.iter().map(|row| row[2]).sum();
    assert_eq!(total, 500.0 * 3.0);
}

#[test]
fn above_1000_what_is_pointed_at_is_written_one_by_one() {
    let options = every_call().for_matching("h.7.*", LayerOptions::new().samples(2));
    let written = logged(1001, options);
    let telling: BTreeSet<String> = TELLING.map(str::to_owned).into();
    assert_eq!(kinds(&written, "h.7.weight"), telling);
    assert_eq!(kinds(&written, "h.7.bias"), telling);
    assert!(kinds(&written, "h.8.weight").is_empty());
    assert_eq!(lines(&written), 4);

    let written = logged(1001, every_call().select(["h.7.weight", "*"]));
    assert_eq!(kinds(&written, "h.7.weight"), telling);
    assert!(kinds(&written, "h.7.bias").is_empty());
}

#[test]
fn a_selection_counts_only_what_it_selects() {
    let written = logged(1001, every_call().select(["h.1?.*"]));
    assert_eq!(kinds(&written, "h.10.weight").len(), 12);
    assert_eq!(kinds(&written, "h.19.bias").len(), 12);
}

#[test]
fn a_nan_is_told_of_whatever_the_size() {
    let run = Run::with(every_call());
    for step in 0..2_i64 {
        let variables: Vec<(String, Vec<f32>)> = (0..1001)
            .map(|index| {
                let mut values = values(index, step);
                if index == 501 && step == 1 {
                    values[1] = f32::NAN;
                }
                (name(index), values)
            })
            .collect();
        run.log_weights(&variables, step).unwrap();
    }
    let written = run.finish();
    assert_eq!(written.scalar("weight_nonfinite/h.250.weight"), [(1, 1.0)]);
    assert_eq!(written.scalar("model/nonfinite"), [(1, 1.0)]);
}
