//! Everything that a small model writes, against tensors that the test read itself.

use std::collections::{BTreeMap, BTreeSet};

use tch::nn::{Adam, OptimizerConfig};
use tch_tensorboard::proto::{DataClass, event::What};

use crate::model::{Net, cpu_store, snapshot};
use crate::reference::{
    assert_close, assert_counts, changed_fraction, deltas, norm, reference, wide,
};
use crate::run::{Run, Written, is_private};

const STEPS: usize = 6;

type Weights = BTreeMap<String, Vec<f32>>;

/// A few real optimizer steps: the weights that each call saw, and what was written.
fn trained() -> (Vec<Weights>, Written) {
    let vs = cpu_store();
    let net = Net::new(&vs.root(), 0);
    let mut optimizer = Adam::default().build(&vs, 1e-3).unwrap();
    let run = Run::new();
    let mut seen = Vec::new();
    for step in 0..STEPS {
        let (x, y) = Net::batch(step as u32);
        optimizer.backward_step(&net.loss(&x, &y));
        run.log_weights(&vs, step).unwrap();
        seen.push(snapshot(&vs));
    }
    (seen, run.finish())
}

const OF_WEIGHTS: [&str; 6] = [
    "weight_mean",
    "weight_std",
    "weight_norm",
    "weight_drift",
    "weight_mean_minus_std",
    "weight_mean_plus_std",
];
const OF_CHANGES: [&str; 6] = [
    "weight_delta_mean",
    "weight_delta_std",
    "weight_delta_max_abs",
    "weight_update_ratio_log10",
    "weight_update_ratio",
    "weight_changed_fraction",
];
const MODEL: [&str; 3] = ["weight_std", "weight_norm", "drift"];
const MODEL_CHANGES: [&str; 9] = [
    "update_ratio_log10",
    "update_ratio_log10_min",
    "update_ratio_log10_p10",
    "update_ratio_log10_median",
    "update_ratio_log10_p90",
    "update_ratio_log10_max",
    "changed_fraction",
    "changed_fraction_min",
    "delta_max_abs",
];

/// All tags but the samples, whose element numbers are the crate's choice.
fn expected_tags(first_call: bool) -> BTreeSet<String> {
    let mut tags = BTreeSet::new();
    for name in Net::names() {
        let with = |kind: &str| format!("{kind}/{name}");
        tags.insert(with("weights"));
        tags.extend(OF_WEIGHTS.map(with));
        if !first_call {
            tags.insert(with("weight_deltas"));
            tags.extend(OF_CHANGES.map(with));
        }
    }
    tags.extend(MODEL.map(|kind| format!("model/{kind}")));
    if !first_call {
        tags.extend(MODEL_CHANGES.map(|kind| format!("model/{kind}")));
    }
    tags
}

fn without_samples(tags: BTreeSet<String>) -> BTreeSet<String> {
    let is_sample = |tag: &String| {
        tag.starts_with("weight_samples/") || tag.starts_with("weight_delta_samples/")
    };
    tags.into_iter().filter(|tag| !is_sample(tag)).collect()
}

#[test]
fn the_tags_of_a_small_model_are_exactly_those_documented() {
    let (_, written) = trained();
    let first = without_samples(written.tags_of_step(0));
    assert_eq!(first, expected_tags(true), "the first call has no delta");
    for step in 1..STEPS as i64 {
        assert_eq!(
            without_samples(written.tags_of_step(step)),
            expected_tags(false),
            "{step}"
        );
    }
}

#[test]
fn each_scalar_equals_an_independent_computation() {
    let (seen, written) = trained();
    for step in 0..STEPS {
        for (name, now) in &seen[step] {
            let check = |kind: &str, expected: f64| {
                let tag = format!("{kind}/{name}");
                assert_close(&tag, written.at(&tag, step as i64), expected);
            };
            let weights = reference(&wide(now));
            check("weight_mean", weights.mean);
            check("weight_std", weights.std);
            check("weight_norm", weights.norm);
            check("weight_mean_minus_std", weights.mean - weights.std);
            check("weight_mean_plus_std", weights.mean + weights.std);
            let first = &seen[0][name];
            let drift: Vec<f64> = std::iter::zip(wide(now), wide(first))
                .map(|(now, first)| now - first)
                .collect();
            check("weight_drift", norm(&drift) / norm(&wide(first)));
            if step == 0 {
                continue;
            }
            let before = &seen[step - 1][name];
            let changes = reference(&deltas(now, before));
            let ratio = changes.norm / norm(&wide(before));
            check("weight_delta_mean", changes.mean);
            check("weight_delta_std", changes.std);
            check("weight_delta_max_abs", changes.max_abs);
            check("weight_update_ratio", ratio);
            check("weight_update_ratio_log10", ratio.log10());
            check("weight_changed_fraction", changed_fraction(now, before));
        }
    }
}

#[test]
fn the_models_scalars_are_those_of_all_variables_together() {
    let (seen, written) = trained();
    let all = |weights: &Weights| wide(&weights.values().flatten().copied().collect::<Vec<_>>());
    for step in 0..STEPS {
        let check = |kind: &str, expected: f64| {
            let tag = format!("model/{kind}");
            assert_close(&tag, written.at(&tag, step as i64), expected);
        };
        let now = reference(&all(&seen[step]));
        check("weight_std", now.std);
        check("weight_norm", now.norm);
        if step == 0 {
            continue;
        }
        let before = &seen[step - 1];
        let pairs = || seen[step].iter().map(|(name, now)| (now, &before[name]));
        let changes: Vec<f64> = pairs()
            .flat_map(|(now, before)| deltas(now, before))
            .collect();
        let changes = reference(&changes);
        let ratio = (changes.norm / norm(&all(before))).log10();
        check("update_ratio_log10", ratio);
        check("delta_max_abs", changes.max_abs);
        let mut ratios: Vec<f64> = pairs()
            .map(|(now, before)| norm(&deltas(now, before)) / norm(&wide(before)))
            .map(f64::log10)
            .collect();
        ratios.sort_by(f64::total_cmp);
        check("update_ratio_log10_min", ratios[0]);
        check("update_ratio_log10_max", ratios[3]);
        check("update_ratio_log10_median", (ratios[1] + ratios[2]) / 2.0);
        // numpy.percentile: at 0.1 * 3 and 0.9 * 3 of the way through the four.
        check(
            "update_ratio_log10_p10",
            ratios[0] + 0.3 * (ratios[1] - ratios[0]),
        );
        check(
            "update_ratio_log10_p90",
            ratios[2] + 0.7 * (ratios[3] - ratios[2]),
        );
        let together = |weights: &Weights| weights.values().flatten().copied().collect::<Vec<_>>();
        let changed = changed_fraction(&together(&seen[step]), &together(before));
        check("changed_fraction", changed);
        let shares: Vec<f64> = pairs()
            .map(|(now, before)| changed_fraction(now, before))
            .collect();
        check(
            "changed_fraction_min",
            shares.iter().copied().fold(1.0, f64::min),
        );
    }
}

#[test]
fn histograms_count_every_weight_and_every_change() {
    let (seen, written) = trained();
    for step in 0..STEPS {
        for (name, now) in &seen[step] {
            let tag = format!("weights/{name}");
            assert_counts(&tag, &written.histogram(&tag, step as i64), &wide(now));
            let tag = format!("weight_deltas/{name}");
            if step > 0 {
                let changes = deltas(now, &seen[step - 1][name]);
                assert_counts(&tag, &written.histogram(&tag, step as i64), &changes);
            }
        }
    }
}

#[test]
fn samples_are_four_fixed_elements_and_their_changes() {
    let (seen, written) = trained();
    for name in Net::names() {
        let elements = |kind: &str| -> Vec<usize> {
            let prefix = format!("{kind}/{name}/");
            let tags = written.tags();
            let numbers = tags.iter().filter_map(|tag| tag.strip_prefix(&prefix));
            numbers.map(|number| number.parse().unwrap()).collect()
        };
        let chosen = elements("weight_samples");
        assert_eq!(chosen.len(), seen[0][name].len().min(4), "{name}");
        assert_eq!(chosen, elements("weight_delta_samples"), "{name}");
        for element in chosen {
            for step in 0..STEPS {
                let now = seen[step][name][element];
                let tag = format!("weight_samples/{name}/{element}");
                assert_eq!(written.at(&tag, step as i64), now, "{tag}");
                if step > 0 {
                    let tag = format!("weight_delta_samples/{name}/{element}");
                    let change = f64::from(now) - f64::from(seen[step - 1][name][element]);
                    assert_close(&tag, written.at(&tag, step as i64), change);
                }
            }
        }
    }
}

#[test]
fn the_first_value_of_a_tag_carries_plugin_class_and_description() {
    let (_, written) = trained();
    let mut met = BTreeSet::new();
    for (step, value) in &written.values {
        let tag = value.tag.as_str();
        let is_other = ["custom_scalars__config__", "weight_report"].contains(&tag);
        if is_other || is_private(value) {
            continue;
        }
        if !met.insert(tag) {
            assert_eq!(value.metadata, None, "{tag} at {step} repeats its metadata");
            continue;
        }
        let metadata = value.metadata.as_ref().expect(tag);
        let histogram = tag.starts_with("weights/") || tag.starts_with("weight_deltas/");
        let (plugin, class) = match (histogram, tag) {
            (true, _) => ("histograms", DataClass::Tensor),
            (false, "weight_map") => ("images", DataClass::BlobSequence),
            (false, _) => ("scalars", DataClass::Scalar),
        };
        let data = metadata.plugin_data.as_ref().expect(tag);
        assert_eq!(data.plugin_name, plugin, "{tag}");
        assert_eq!(metadata.data_class(), class, "{tag}");
        assert!(
            metadata.summary_description.len() > 10 && !metadata.summary_description.contains('\n'),
            "{tag}: {:?}",
            metadata.summary_description
        );
    }
}

#[test]
fn a_call_makes_one_event_of_scalars_and_one_of_histograms() {
    let (_, written) = trained();
    for step in 0..STEPS as i64 {
        let (mut scalars, mut histograms) = (Vec::new(), Vec::new());
        for event in written.events.iter().filter(|event| event.step == step) {
            let Some(What::Summary(summary)) = &event.what else {
                continue;
            };
            let starts = |prefix: &str| summary.value.iter().any(|v| v.tag.starts_with(prefix));
            if starts("weight_mean/") {
                scalars.push(event.wall_time);
            }
            if starts("weights/") {
                histograms.push(event.wall_time);
                let all = |v: &tch_tensorboard::proto::summary::Value| {
                    v.tag.starts_with("weights/") || v.tag.starts_with("weight_deltas/")
                };
                assert!(summary.value.iter().all(all));
            }
        }
        assert_eq!((scalars.len(), histograms.len()), (1, 1), "{step}");
        assert_eq!(scalars, histograms, "{step}: one wall time");
    }
}
