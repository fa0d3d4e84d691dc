//! What a histogram in a log says of the tensor behind it, whoever wrote it.

use std::hash::{DefaultHasher, Hasher};

use crate::proto::{HistogramProto, summary};
use crate::read::PointValue;
use crate::read::plugin::Plugin;

/// Count, spread and extremes of the finite elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    /// Sum of squared distances from the mean.
    pub(crate) m2: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Elements that are zero, where rows tell.
    pub(crate) zeros: Option<f64>,
    /// Of all that the histogram says: a tensor that did not change gives the same again.
    pub(crate) fingerprint: u64,
}

impl Distribution {
    /// `None` for other values, empty histograms, and those that are no histogram of finite
    /// numbers.
    pub(crate) fn of(value: summary::Value, plugin: &str) -> Option<Distribution> {
        if let Some(summary::value::Value::Histo(histogram)) = &value.value {
            return Distribution::of_sums(histogram);
        }
        match PointValue::of(value, Plugin::named(plugin)) {
            PointValue::Histogram(rows) => Distribution::of_rows(&rows),
            _ => None,
        }
    }

    /// The older form has the sums, so moments are exact.
    fn of_sums(histogram: &HistogramProto) -> Option<Distribution> {
        let HistogramProto {
            min,
            max,
            num,
            sum,
            sum_squares,
            ..
        } = *histogram;
        let numbers = [min, max, num, sum, sum_squares];
        if !numbers.iter().all(|number| number.is_finite()) || num < 1.0 {
            return None;
        }
        let mean = sum / num;
        let all = numbers.iter().chain(&histogram.bucket_limit);
        Some(Distribution {
            count: num,
            mean,
            // What rounding leaves of a constant is no spread.
            m2: (sum_squares - sum * mean).max(0.0),
            min,
            max,
            zeros: (min == 0.0 && max == 0.0).then_some(num),
            fingerprint: fingerprint(all.chain(&histogram.bucket)),
        })
    }

    /// Of the newer form each row counts at its middle; rows of no width are exact.
    fn of_rows(rows: &[[f64; 3]]) -> Option<Distribution> {
        let (Some([min, ..]), Some([_, max, _])) = (rows.first(), rows.last()) else {
            return None;
        };
        let usable = |[left, right, count]: &[f64; 3]| {
            left.is_finite() && right.is_finite() && count.is_finite() && *count >= 0.0
        };
        let count: f64 = rows.iter().map(|[.., count]| count).sum();
        if !rows.iter().all(usable) || count < 1.0 {
            return None;
        }
        let middle = |[left, right, _]: &[f64; 3]| left / 2.0 + right / 2.0;
        let mean = rows
            .iter()
            .map(|row| middle(row) * (row[2] / count))
            .sum::<f64>();
        let apart = |row: &[f64; 3]| {
            let (apart, width) = (middle(row) - mean, row[1] - row[0]);
            row[2] * (apart * apart + width * width / 12.0)
        };
        let zero = |[left, right, _]: &&[f64; 3]| *left == 0.0 && *right == 0.0;
        Some(Distribution {
            count,
            mean,
            m2: rows.iter().map(apart).sum(),
            min: *min,
            max: *max,
            zeros: Some(rows.iter().filter(zero).map(|[.., count]| count).sum()),
            fingerprint: fingerprint(rows.as_flattened().iter()),
        })
    }

    pub(crate) fn std(&self) -> f64 {
        (self.m2 / self.count).sqrt()
    }

    pub(crate) fn norm(&self) -> f64 {
        (self.m2 + self.count * self.mean * self.mean).sqrt()
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.min == 0.0 && self.max == 0.0
    }
}

fn fingerprint<'a>(numbers: impl Iterator<Item = &'a f64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    numbers.for_each(|number| hasher.write_u64(number.to_bits()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::summary::value::Value as Field;

    fn sums(values: &[f64]) -> HistogramProto {
        HistogramProto {
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            num: values.len() as f64,
            sum: values.iter().sum(),
            sum_squares: values.iter().map(|value| value * value).sum(),
            bucket_limit: vec![10.0],
            bucket: vec![values.len() as f64],
        }
    }

    fn of(histogram: HistogramProto) -> Option<Distribution> {
        let value = summary::Value {
            value: Some(Field::Histo(histogram)),
            ..Default::default()
        };
        Distribution::of(value, "")
    }

    #[test]
    fn sums_give_exact_moments() {
        let seen = of(sums(&[1.0, 2.0, 4.0, 0.0, -3.0])).unwrap();
        assert!((seen.mean - 0.8).abs() < 1e-15 && (seen.std() - 5.36_f64.sqrt()).abs() < 1e-14);
        assert!((seen.norm() - 30_f64.sqrt()).abs() < 1e-14);
        assert!(!seen.is_zero() && of(sums(&[0.0; 3])).unwrap().is_zero());
        assert!(of(sums(&[0.1; 1000])).unwrap().std() < 1e-7);
    }

    #[test]
    fn what_is_no_histogram_of_numbers_says_nothing() {
        assert_eq!(of(HistogramProto::default()), None);
        let mut odd = sums(&[1.0]);
        odd.sum_squares = f64::NAN;
        assert_eq!(of(odd), None);
        for rows in [
            &[][..],
            &[[0.0, 1.0, 0.0]],
            &[[0.0, f64::INFINITY, 3.0]],
            &[[0.0, 1.0, -3.0], [1.0, 2.0, 9.0]],
        ] {
            assert_eq!(Distribution::of_rows(rows), None, "{rows:?}");
        }
    }

    #[test]
    fn rows_give_what_their_width_allows() {
        let seen = Distribution::of_rows(&[[0.0, 0.0, 3.0], [1.0, 1.0, 1.0]]).unwrap();
        assert_eq!((seen.count, seen.mean, seen.zeros), (4.0, 0.25, Some(3.0)));
        assert!((seen.m2 - 0.75).abs() < 1e-15);
        let even = Distribution::of_rows(&[[0.0, 1.0, 50.0], [1.0, 2.0, 50.0]]).unwrap();
        assert!((even.std() - 2.0 / 12_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_change_of_one_element_is_another_fingerprint() {
        let before = of(sums(&[1.0, 2.0, 3.0])).unwrap().fingerprint;
        assert_eq!(of(sums(&[1.0, 2.0, 3.0])).unwrap().fingerprint, before);
        let now = of(sums(&[1.0, 2.0 + f64::from(f32::EPSILON), 3.0])).unwrap();
        assert_ne!(now.fingerprint, before);
    }
}
