//! How far the numbers of a sample lie from those of the whole, under `sample_limit`.

use tch_tensorboard::{LayerOptions, WeightOptions};

use crate::run::{Run, every_call};

const ELEMENTS: usize = 300_000;
const LIMIT: usize = 10_000;

/// Standard normal numbers by the polar method (Marsaglia), the same each time.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
    };
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let (x, y) = (uniform(), uniform());
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            values.push((x * (-2.0 * square.ln() / square).sqrt()) as f32);
        }
    }
    values
}

/// Mean, standard deviation and norm.
fn exact(values: &[f32]) -> (f64, f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    (mean, (squares / count - mean * mean).sqrt(), squares.sqrt())
}

#[test]
fn estimates_lie_within_five_standard_errors() {
    for seed in 1..=8 {
        let options = WeightOptions::new().sample_limit(LIMIT).seed(seed);
        let run = Run::with(options);
        let before: Vec<f32> = normal(ELEMENTS, seed)
            .iter()
            .map(|x| 0.3 + 0.1 * x)
            .collect();
        let steps = normal(ELEMENTS, 100 + seed);
        let chance = normal(ELEMENTS, 200 + seed);
        // Half of the elements change.
        let after: Vec<f32> = std::iter::zip(&before, std::iter::zip(&steps, &chance))
            .map(|(w, (d, chance))| if *chance > 0.0 { w + 1e-3 * d } else { *w })
            .collect();
        run.log_weights(&("w", &before), 0).unwrap();
        run.log_weights(&("w", &after), 1).unwrap();
        let report = run.weight_report().unwrap();
        let found = report.parameter("w").unwrap();
        let (mean, std, norm) = exact(&after);
        let deltas: Vec<f32> = std::iter::zip(&after, &before)
            .map(|(now, then)| now - then)
            .collect();
        let (_, _, delta_norm) = exact(&deltas);
        let (_, _, norm_before) = exact(&before);
        // Of a mean std / sqrt(n), of a standard deviation std / sqrt(2 n), of a share sqrt(p (1 -
        // p) / n); the sum of squares of half of the elements spreads by sqrt((2 * 3 - 1) / n), and
        // its root by half of that.
        let n = LIMIT as f64;
        let close = |what: &str, found: Option<f64>, truth: f64, error: f64| {
            let found = found.unwrap();
            assert!(
                (found - truth).abs() < 5.0 * error,
                "{what}, seed {seed}: {found} is not {truth} +- {error}"
            );
        };
        close("mean", found.mean, mean, std / n.sqrt());
        close("std", found.std, std, std / (2.0 * n).sqrt());
        close("norm", found.norm, norm, norm * (std / mean) / n.sqrt());
        close("changed", found.changed_fraction, 0.5, (0.25 / n).sqrt());
        let ratio = delta_norm / norm_before;
        close(
            "update ratio",
            found.update_ratio,
            ratio,
            ratio * (5.0 / n).sqrt() / 2.0,
        );
    }
}

#[test]
fn the_limit_bounds_what_all_tensors_copy() {
    let options = every_call()
        .sample_limit(LIMIT)
        .for_matching("w0", LayerOptions::new().samples(2));
    let run = Run::with(options);
    let values = normal(ELEMENTS, 1);
    let variables: Vec<(String, &[f32])> = (0..4)
        .map(|index| (format!("w{index}"), &values[..]))
        .collect();
    for step in 0..3 {
        run.log_weights(&variables, step).unwrap();
    }
    let written = run.finish();
    for (_, value) in &written.values {
        if value.tag.starts_with("weights/") {
            let text = format!("{:?}", value.metadata);
            assert!(
                !text.contains("Estimated") || text.contains(&format!("of {ELEMENTS} elements")),
                "{text}"
            );
        }
    }
    let described = written
        .values
        .iter()
        .filter_map(|(_, value)| value.metadata.as_ref());
    let estimated =
        described.filter(|metadata| metadata.summary_description.contains("Estimated from"));
    assert!(estimated.count() > 8);
}

#[test]
fn a_role_counts_its_members_by_their_size() {
    let options = every_call().sample_limit(5_000);
    let run = Run::with(options);
    let (large, small) = (vec![10.0_f32; 20_000], [0.5_f32; 10]);
    let mut variables: Vec<(String, &[f32])> = (0..1000)
        .map(|layer| (format!("layers.{layer}.weight"), &small[..]))
        .collect();
    variables.push(("layers.1000.weight".into(), &large));
    run.log_weights(&variables, 0).unwrap();
    let written = run.finish();
    let roles: Vec<String> = written
        .tags()
        .into_iter()
        .filter(|tag| tag.contains("weights") && tag.contains('*'))
        .collect();
    let [role] = roles.as_slice() else {
        panic!("{roles:?} of {:?}", written.tags());
    };
    let rows = written.histogram(role, 0);
    let above: f64 = rows
        .iter()
        .filter(|row| row[0] > 5.0)
        .map(|row| row[2])
        .sum();
    let below: f64 = rows
        .iter()
        .filter(|row| row[0] < 5.0)
        .map(|row| row[2])
        .sum();
    assert!((above - 20_000.0).abs() < 1.0, "{above}");
    assert!((below - 10_000.0).abs() < 1000.0, "{below}");
}
