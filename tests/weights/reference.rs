//! The statistics computed anew, one number at a time in `f64`, from the definitions in the
//! documentation.
#![cfg_attr(
    not(feature = "tch"),
    allow(dead_code, reason = "tests with libtorch use the rest")
)]

/// What is written of a set of numbers.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    pub mean: f64,
    pub std: f64,
    pub norm: f64,
    pub max_abs: f64,
}

pub fn reference(values: &[f64]) -> Reference {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Reference {
        mean,
        std: (squares / count).sqrt(),
        norm: norm(values),
        max_abs: values.iter().fold(0.0, |most, value| value.abs().max(most)),
    }
}

pub fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// w(t) - w(t-1), subtracted in `f32` as documented.
pub fn deltas(now: &[f32], before: &[f32]) -> Vec<f64> {
    assert_eq!(now.len(), before.len());
    let pairs = std::iter::zip(now, before);
    pairs.map(|(now, before)| f64::from(now - before)).collect()
}

pub fn changed_fraction(now: &[f32], before: &[f32]) -> f64 {
    let pairs = std::iter::zip(now, before);
    let changed = pairs.filter(|(now, before)| now.to_bits() != before.to_bits());
    changed.count() as f64 / now.len() as f64
}

/// Equal to a millionth, which is more than a scalar's storage as `f32` loses.
#[track_caller]
pub fn assert_close(what: &str, written: f32, expected: f64) {
    let error = (f64::from(written) - expected).abs();
    assert!(
        error <= 1e-6 * expected.abs() + 1e-30,
        "{what}: {written} where {expected} was expected"
    );
}

/// The rows count exactly these values, by the rule in the documentation of `Histogram`.
#[track_caller]
pub fn assert_counts(what: &str, rows: &[[f64; 3]], values: &[f64]) {
    let last = rows.len().saturating_sub(1);
    for (index, &[left, right, count]) in rows.iter().enumerate() {
        let inside = |value: f64| match left == right {
            true => value == left,
            false => left <= value && (value < right || (index == last && value == right)),
        };
        let expected = values.iter().filter(|&&value| inside(value)).count();
        assert_eq!(
            count, expected as f64,
            "{what}: row {index} from {left} to {right}"
        );
    }
    let total: f64 = rows.iter().map(|row| row[2]).sum();
    assert_eq!(total, values.len() as f64, "{what}: {rows:?}");
    assert!(
        rows.windows(2).all(|pair| pair[0][1] <= pair[1][0]),
        "{what}: {rows:?} overlap"
    );
}
