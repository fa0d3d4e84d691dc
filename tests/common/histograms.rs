//! Histograms read back, and checked against counting by hand.

use std::path::Path;

use tch_tensorboard::proto::{DataType, summary::value::Value};

use super::read_tag;

/// Rows `[left, right, count]` of every histogram of a tag, with their steps.
pub fn read_histograms(path: impl AsRef<Path>, tag: &str) -> Vec<(i64, Vec<[f64; 3]>)> {
    read_tag(path, tag)
        .into_iter()
        .map(|(step, value)| {
            let Value::Tensor(tensor) = value else {
                panic!("{tag} holds no histogram: {value:?}");
            };
            assert_eq!(tensor.dtype(), DataType::DtDouble, "{tag}");
            let shape = tensor.tensor_shape.unwrap();
            let sizes: Vec<i64> = shape.dim.iter().map(|dim| dim.size).collect();
            let numbers: Vec<f64> = tensor
                .tensor_content
                .chunks_exact(8)
                .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
                .collect();
            assert_eq!(sizes, [numbers.len() as i64 / 3, 3], "{tag}");
            (step, numbers.as_chunks::<3>().0.to_vec())
        })
        .collect()
}

/// The only histogram of a tag.
pub fn read_histogram(path: impl AsRef<Path>, tag: &str) -> Vec<[f64; 3]> {
    let mut histograms = read_histograms(path, tag);
    assert_eq!(histograms.len(), 1, "{tag}");
    histograms.remove(0).1
}

/// Panics unless the rows are what TensorBoard needs and count the finite ones of `values` exactly:
/// a row counts `left <= x < right`, one of zero width `x == left`, the last one its right edge,
/// too.
pub fn check_rows(what: &str, rows: &[[f64; 3]], values: &[f64]) {
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    if finite.is_empty() {
        assert!(rows.is_empty(), "{what}: {rows:?} without a finite value");
        return;
    }
    let (min, max) = finite
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), &x| {
            (min.min(x), max.max(x))
        });
    assert!(
        rows.iter().flatten().all(|number| number.is_finite()),
        "{what}: {rows:?}"
    );
    assert!(rows.len() <= 64, "{what}: {} rows", rows.len());
    assert_eq!(
        (rows[0][0], rows[rows.len() - 1][1]),
        (min, max),
        "{what}: range"
    );
    for pair in rows.windows(2) {
        assert!(pair[0][1] <= pair[1][0], "{what}: rows overlap: {pair:?}");
    }
    for (index, &[left, right, count]) in rows.iter().enumerate() {
        let last = index + 1 == rows.len();
        let inside = |x: f64| match (left == right, last) {
            (true, _) => x == left,
            (false, true) => left <= x && x <= right,
            (false, false) => left <= x && x < right,
        };
        // Only the next row may begin at an atom: then it begins just behind it.
        let expected = finite.iter().filter(|&&x| inside(x)).count();
        assert_eq!(count, expected as f64, "{what}: row {index} of {rows:?}");
    }
    let total: f64 = rows.iter().map(|row| row[2]).sum();
    assert_eq!(total, finite.len() as f64, "{what}: total");
}

/// Count, mean and population standard deviation of the finite values, and their norm, in the
/// plainest way.
pub fn naive_moments(values: &[f64]) -> (f64, f64, f64) {
    let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
    let count = finite.len() as f64;
    let mean = finite.iter().sum::<f64>() / count;
    let variance = finite.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
    let norm = finite.iter().map(|x| x * x).sum::<f64>().sqrt();
    (mean, variance.sqrt(), norm)
}

/// Panics unless `found` is `expected` to a relative error of 1e-6 (scalars are stored as f32,
/// which allows 6e-8).
pub fn check_close(what: &str, found: f32, expected: f64) {
    let error = (f64::from(found) - expected).abs();
    assert!(
        error <= 1e-6 * expected.abs().max(f64::from(f32::MIN_POSITIVE)),
        "{what}: {found} for {expected}"
    );
}
