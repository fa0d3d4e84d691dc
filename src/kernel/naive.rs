//! The same statistics the obvious way: `f64`, two passes, one element at a time.

use crate::kernel::elements::Elements;
use crate::model::stats::{Change, Moments};

pub(crate) fn analyse(
    current: Elements<'_>,
    previous: Option<Elements<'_>>,
    rows: usize,
) -> (Moments, Option<Change>) {
    let weights: Vec<f64> = (0..current.len()).map(|i| current.get(i)).collect();
    let change = previous.map(|previous| {
        let images = |elements: Elements<'_>| {
            (0..elements.len())
                .map(|i| image(elements, i))
                .collect::<Vec<_>>()
        };
        let (now, before) = (images(current), images(previous));
        let row = (now.len() / rows.max(1)).max(1);
        let differing = |pair: &(&[i128], &[i128])| pair.0 != pair.1;
        Change {
            deltas: moments(&deltas(current, previous)),
            changed: now
                .iter()
                .zip(&before)
                .filter(|(now, before)| now != before)
                .count() as u64,
            one_ulp: now
                .iter()
                .zip(&before)
                .filter(|(now, before)| (*now - *before).abs() == 1)
                .count() as u64,
            rows: rows as u64,
            changed_rows: now
                .chunks(row)
                .zip(before.chunks(row))
                .filter(differing)
                .count() as u64,
        }
    });
    (moments(&weights), change)
}

pub(crate) fn deltas(current: Elements<'_>, previous: Elements<'_>) -> Vec<f64> {
    let in_f32 = matches!(
        current,
        Elements::F16(_) | Elements::BF16(_) | Elements::F32(_)
    );
    let one = |i| match (current.get(i), previous.get(i)) {
        (now, before) if in_f32 => f64::from(now as f32 - before as f32),
        (now, before) => now - before,
    };
    (0..current.len()).map(one).collect()
}

pub(crate) fn moments(values: &[f64]) -> Moments {
    let finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    let mean = if finite.is_empty() {
        0.0
    } else {
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    Moments {
        count: values.len() as u64,
        nan: values.iter().filter(|value| value.is_nan()).count() as u64,
        pos_inf: values
            .iter()
            .filter(|&&value| value == f64::INFINITY)
            .count() as u64,
        neg_inf: values
            .iter()
            .filter(|&&value| value == f64::NEG_INFINITY)
            .count() as u64,
        zeros: values.iter().filter(|&&value| value == 0.0).count() as u64,
        min: finite.iter().copied().fold(f64::INFINITY, f64::min),
        max: finite.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        mean,
        m2: finite
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum(),
    }
}

/// The element's place in the order of its own type: neighbours differ by one, and both zeros are
/// one.
fn image(elements: Elements<'_>, i: usize) -> i128 {
    let float = |bits: u64, width: u32| {
        let sign = 1u64 << (width - 1);
        if bits & sign == 0 {
            i128::from(bits)
        } else {
            -i128::from(bits - sign)
        }
    };
    match elements {
        Elements::F16(slice) => float(slice[i].to_bits().into(), 16),
        Elements::BF16(slice) => float(slice[i].to_bits().into(), 16),
        Elements::F32(slice) => float(slice[i].to_bits().into(), 32),
        Elements::F64(slice) => float(slice[i].to_bits(), 64),
        Elements::I64(slice) => slice[i].into(),
        integers => integers.get(i) as i128,
    }
}
