//! The kernel against its naive twin, and fine histograms against counting the data.

use crate::kernel::display::Random;
use crate::kernel::elements::Elements;
use crate::kernel::histogram::{FineHistogram, Histogram};
use crate::kernel::naive;
use crate::kernel::pass::Scratch;
use crate::kernel::simd::Simd;
use crate::kernel::sums::{BLOCK, LANES};
use crate::kernel::tensor::{Kernel, segments};
use crate::model::stats::{Change, Moments};
use crate::model::types::DType;
use proptest::prelude::*;

/// A tensor of some type with its previous state, as bytes: floats from few bits, so that every
/// kind of value is common.
fn bytes(dtype: DType, len: usize, seed: u64) -> (Vec<u64>, Vec<u64>) {
    let mut random = Random(seed);
    // Buffers of u64 are aligned for every type.
    let words = (len * dtype.size()).div_ceil(8) + 1;
    let mut current = vec![0; words];
    let mut previous = vec![0; words];
    let size = dtype.size();
    let (now, before) = (
        bytemuck::cast_slice_mut::<u64, u8>(&mut current),
        bytemuck::cast_slice_mut(&mut previous),
    );
    for index in 0..len {
        let bits = element_bits(dtype, &mut random);
        let old = match random.next() % 8 {
            0..3 => bits,
            3..5 => bits.wrapping_add(1),
            5 => bits.wrapping_sub(1),
            _ => element_bits(dtype, &mut random),
        };
        let old = if dtype == DType::Bool { old & 1 } else { old };
        now[index * size..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
        before[index * size..][..size].copy_from_slice(&old.to_le_bytes()[..size]);
    }
    (current, previous)
}

fn element_bits(dtype: DType, random: &mut Random) -> u64 {
    let value = match random.next() % 24 {
        0 => 0.0,
        1 => -0.0,
        2 => f64::NAN,
        3 => f64::INFINITY,
        4 => f64::NEG_INFINITY,
        // Few bits set: subnormals and neighbours of round numbers.
        5 | 6 => return random.next() & random.next() & random.next() & 0x8003_8003_8003_8003,
        7 => 1.0,
        _ => random.normal(),
    };
    match dtype {
        DType::Bool => random.next() & 1,
        DType::F16 => half::f16::from_f64(value).to_bits().into(),
        DType::BF16 => half::bf16::from_f64(value).to_bits().into(),
        DType::F32 => (value as f32).to_bits().into(),
        DType::F64 => value.to_bits(),
        DType::I64 => (random.next() as i64 >> (random.next() % 64)) as u64,
        _ => random.next(),
    }
}

fn close(ours: f64, theirs: f64, scale: f64) -> bool {
    // Below the normal numbers a rounding is no small share any more: a few of the least steps.
    let tolerance = (1e-6 * scale).max(f64::from_bits(4));
    ours == theirs || (ours - theirs).abs() <= tolerance || (ours.is_nan() && theirs.is_nan())
}

#[track_caller]
fn assert_same(ours: &Moments, naive: &Moments, what: &str) {
    let counts = |m: &Moments| (m.count, m.nan, m.pos_inf, m.neg_inf, m.zeros);
    assert_eq!(counts(ours), counts(naive), "{what}");
    assert_eq!((ours.min, ours.max), (naive.min, naive.max), "{what}");
    if naive.m2.is_finite() {
        // Below the smallest normal number a mean has no digits to be compared.
        let scale = naive.std().unwrap_or(0.0).max(naive.mean.abs());
        let scale = scale.max(f64::MIN_POSITIVE);
        assert!(
            close(ours.mean, naive.mean, scale),
            "{what}: mean {} {}",
            ours.mean,
            naive.mean
        );
        // Below 1e-290 squares lose digits, however they are summed.
        let m2_scale = naive.m2.max(1e-290);
        assert!(
            close(ours.m2, naive.m2, m2_scale),
            "{what}: m2 {:e} {:e}",
            ours.m2,
            naive.m2
        );
        assert!(
            close(ours.norm(), naive.norm(), naive.norm().max(1e-145)),
            "{what}: norm"
        );
    } else {
        assert_eq!(ours.m2, f64::INFINITY, "{what}");
        assert!(ours.mean.is_finite(), "{what}");
    }
}

/// Every row counts exactly what lies in it, and the rows have the shape TensorBoard needs.
#[track_caller]
fn assert_exact(histogram: &Histogram, values: &[f64], max_rows: usize, what: &str) {
    let mut finite: Vec<f64> = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    finite.sort_by(f64::total_cmp);
    let rows = histogram.rows();
    assert_eq!(histogram.total(), finite.len() as u64, "{what}");
    assert!(rows.len() <= max_rows, "{what}: {} rows", rows.len());
    assert_eq!(rows.is_empty(), finite.is_empty(), "{what}");
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return;
    };
    assert_eq!(
        (first[0], last[1]),
        (finite[0], finite[finite.len() - 1]),
        "{what}"
    );
    assert!(first[2] > 0.0 && last[2] > 0.0, "{what}: empty outer row");
    for (index, &[left, right, count]) in rows.iter().enumerate() {
        assert!(
            left.is_finite() && right.is_finite() && left <= right,
            "{what}: row {index} {left} {right}"
        );
        let closed = left == right || index == rows.len() - 1;
        let below =
            |edge: f64, with: bool| finite.partition_point(|&x| x < edge || (with && x == edge));
        let counted = below(right, closed) - below(left, false);
        assert_eq!(
            count,
            counted as f64,
            "{what}: row {index} [{left:e}, {right:e}] of {}",
            rows.len()
        );
    }
    for pair in rows.windows(2) {
        assert!(pair[0][1] <= pair[1][0], "{what}: rows overlap {pair:?}");
    }
}

#[track_caller]
fn check(kernel: &mut Kernel, current: Elements<'_>, previous: Elements<'_>, rows: usize) {
    let what = format!(
        "{} elements, {rows} rows: {:.300}",
        current.len(),
        format!("{current:?}")
    );
    let found = kernel.analyse(current, Some(previous), rows, true);
    let (weights, change) = naive::analyse(current, Some(previous), rows);
    assert_same(&found.weights, &weights, &what);
    let (ours, naive) = (found.change.unwrap(), change.unwrap());
    assert_same(&ours.deltas, &naive.deltas, &what);
    let counts = |c: &Change| (c.changed, c.one_ulp, c.rows, c.changed_rows);
    assert_eq!(counts(&ours), counts(&naive), "{what}");

    let values: Vec<f64> = (0..current.len()).map(|i| current.get(i)).collect();
    let deltas = naive::deltas(current, previous);
    for max_rows in [1, 2, 7, 64] {
        assert_exact(
            &found
                .weight_histogram
                .as_ref()
                .unwrap()
                .to_histogram(max_rows),
            &values,
            max_rows,
            &what,
        );
        assert_exact(
            &found
                .delta_histogram
                .as_ref()
                .unwrap()
                .to_histogram(max_rows),
            &deltas,
            max_rows,
            &what,
        );
    }
    for simd in Simd::available() {
        let mut other = Kernel::with(simd);
        assert_eq!(
            format!("{:?}", other.analyse(current, Some(previous), rows, true)),
            format!("{found:?}"),
            "{what}, {simd:?}"
        );
    }
    let plain = kernel.analyse(current, None, rows, false);
    assert_eq!(
        format!("{:?}", plain.weights),
        format!("{:?}", found.weights)
    );
    assert!(
        plain.weight_histogram.is_none()
            && plain.change.is_none()
            && plain.delta_histogram.is_none()
    );
}

fn view(dtype: DType, buffer: &[u64], skip: usize, len: usize) -> Elements<'_> {
    let bytes = bytemuck::cast_slice::<u64, u8>(buffer);
    Elements::from_bytes(
        dtype,
        &bytes[skip * dtype.size()..(skip + len) * dtype.size()],
    )
    .unwrap()
}

#[test]
fn every_type_at_every_short_length_equals_the_naive_twin() {
    let mut kernel = Kernel::new();
    for dtype in DType::ALL {
        for len in 0..=4 * LANES + 5 {
            let (current, previous) = bytes(dtype, len, len as u64);
            check(
                &mut kernel,
                view(dtype, &current, 0, len),
                view(dtype, &previous, 0, len),
                1,
            );
        }
    }
}

#[test]
fn every_type_across_blocks_equals_the_naive_twin() {
    let mut kernel = Kernel::new();
    for dtype in DType::ALL {
        for len in [64, 65, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17] {
            let (current, previous) = bytes(dtype, len, 99);
            check(
                &mut kernel,
                view(dtype, &current, 0, len),
                view(dtype, &previous, 0, len),
                1,
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_slice_equals_the_naive_twin(
        kind in 0..DType::ALL.len(),
        len in 0usize..700,
        skip in 0usize..19,
        rows in 1usize..9,
        seed: u64,
    ) {
        let (dtype, len) = (DType::ALL[kind], len / rows * rows);
        let (current, previous) = bytes(dtype, skip + len, seed);
        let (current, previous) =
            (view(dtype, &current, skip, len), view(dtype, &previous, skip, len));
        check(&mut Kernel::new(), current, previous, rows);
    }

    #[test]
    fn any_bits_give_an_exact_histogram(
        words in proptest::collection::vec(any::<u64>(), 0..300),
        and: u64,
    ) {
        let words: Vec<u64> = words.iter().map(|word| word & and).collect();
        let mut kernel = Kernel::new();
        for dtype in [DType::F32, DType::F64, DType::F16, DType::I64] {
            let elements = Elements::from_bytes(dtype, bytemuck::cast_slice(&words)).unwrap();
            check(&mut kernel, elements, elements, 1);
        }
    }

    #[test]
    fn merged_histograms_stay_exact(
        lens in proptest::collection::vec(1usize..400, 1..5),
        seed: u64,
    ) {
        let mut kernel = Kernel::new();
        let (mut merged, mut all) = (FineHistogram::default(), Vec::new());
        for (index, &len) in lens.iter().enumerate() {
            let kinds = [DType::F32, DType::F64, DType::BF16, DType::I8];
            let dtype = kinds[(seed as usize + index) % 4];
            let (current, _) = bytes(dtype, len, seed ^ index as u64);
            let elements = view(dtype, &current, 0, len);
            all.extend((0..len).map(|i| elements.get(i)));
            merged.merge(&kernel.analyse(elements, None, 1, true).weight_histogram.unwrap());
        }
        let finite = all.iter().filter(|value| value.is_finite()).count();
        prop_assert_eq!(merged.total(), finite as u64);
        assert_exact(&merged.to_histogram(64), &all, 64, "merged");
    }

    #[test]
    fn segments_merge_to_the_whole(len in 1usize..500, segment in 1usize..200, seed: u64) {
        let (current, previous) = bytes(DType::F32, len, seed);
        let (Elements::F32(now), Elements::F32(before)) =
            (view(DType::F32, &current, 0, len), view(DType::F32, &previous, 0, len))
        else {
            unreachable!()
        };
        let mut scratch = Scratch::default();
        let parts = segments(&mut scratch, Simd::detect(), now, Some(before), true, segment);
        let (weights, change) = naive::analyse(Elements::F32(now), Some(Elements::F32(before)), 1);
        let (ours, change) = (parts.change.unwrap(), change.unwrap());
        assert_same(&parts.weights, &weights, "segments");
        assert_same(&ours.deltas, &change.deltas, "segments");
        prop_assert_eq!((ours.changed, ours.one_ulp), (change.changed, change.one_ulp));
        let values: Vec<f64> = now.iter().copied().map(f64::from).collect();
        assert_exact(&parts.weight_histogram.unwrap().to_histogram(64), &values, 64, "segments");
    }
}

#[test]
fn spread_is_right_far_from_zero_and_over_ten_million_elements() {
    let mut random = Random(1);
    let table: Vec<f32> = (0..1 << 16)
        .map(|_| (1.0 + 1e-4 * random.normal()) as f32)
        .collect();
    let values: Vec<f32> = (0..10_000_000)
        .map(|i: usize| table[(i * 40_503) & 0xffff])
        .collect();
    let found = Kernel::new()
        .analyse(Elements::F32(&values), None, 1, false)
        .weights;
    let naive = naive::moments(&values.iter().copied().map(f64::from).collect::<Vec<_>>());
    assert!((found.mean - naive.mean).abs() / naive.mean < 1e-12);
    // Sums of four squares are rounded to f32, at random.
    assert!((found.std().unwrap() / naive.std().unwrap() - 1.0).abs() < 1e-8);
    assert!((found.norm() / naive.norm() - 1.0).abs() < 1e-12);
}

#[test]
fn one_wild_element_spoils_nothing_but_its_own_block() {
    let mut random = Random(2);
    let mut values: Vec<f64> = (0..100_000).map(|_| 1e-3 * random.normal()).collect();
    for (wild, at) in [(1e9, 0), (-1e9, BLOCK), (1e9, 99_999)] {
        values[at] = wild;
        let (found, naive) = (
            Kernel::new().analyse(Elements::F64(&values), None, 1, true),
            naive::moments(&values),
        );
        assert!((found.weights.std().unwrap() / naive.std().unwrap() - 1.0).abs() < 1e-9);
        assert!((found.weights.mean - naive.mean).abs() <= 1e-12 * naive.std().unwrap());
        assert_exact(
            &found.weight_histogram.unwrap().to_histogram(64),
            &values,
            64,
            "wild",
        );
    }
}

#[test]
fn non_finite_elements_hide_nothing() {
    let mut values = vec![f32::NAN; 5000];
    values.extend([1.0, -2.0, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0]);
    let previous = vec![0.5f32; values.len()];
    let found = Kernel::new().analyse(
        Elements::F32(&values),
        Some(Elements::F32(&previous)),
        1,
        true,
    );
    let weights = found.weights;
    assert_eq!(
        (
            weights.nan,
            weights.pos_inf,
            weights.neg_inf,
            weights.finite()
        ),
        (5000, 1, 1, 4)
    );
    assert_eq!(
        (weights.min, weights.max, weights.mean, weights.zeros),
        (-2.0, 1.0, -0.25, 2)
    );
    let deltas = found.change.unwrap().deltas;
    assert_eq!(
        (deltas.nan, deltas.pos_inf, deltas.neg_inf, deltas.finite()),
        (5000, 1, 1, 4)
    );
    assert_eq!((deltas.min, deltas.max), (-2.5, 0.5));
    let histogram = found.weight_histogram.unwrap().to_histogram(64);
    assert_eq!(
        (histogram.total(), histogram.rows()[0]),
        (4, [-2.0, -2.0, 1.0])
    );
}

#[test]
fn a_tensor_without_elements_or_without_finite_ones_has_an_empty_histogram() {
    for values in [vec![], vec![f32::NAN; 3], vec![f32::INFINITY; 3000]] {
        let elements = Elements::F32(&values);
        let found = Kernel::new().analyse(elements, Some(elements), 0, true);
        assert!(
            found
                .weight_histogram
                .unwrap()
                .to_histogram(64)
                .rows()
                .is_empty()
        );
        assert!(
            found
                .delta_histogram
                .unwrap()
                .to_histogram(64)
                .rows()
                .is_empty()
        );
        assert_eq!(
            (found.weights.finite(), found.change.unwrap().changed_rows),
            (0, 0)
        );
    }
}

#[test]
fn another_type_or_length_before_is_no_previous_state() {
    let (now, short, other) = ([1.0f32; 8], [1.0f32; 7], [1i32; 8]);
    for previous in [Elements::F32(&short), Elements::I32(&other)] {
        let found = Kernel::new().analyse(Elements::F32(&now), Some(previous), 1, true);
        assert!(found.change.is_none() && found.delta_histogram.is_none());
    }
}

#[test]
fn bytes_that_are_no_elements_are_refused() {
    let buffer = [0u64; 4];
    let bytes = bytemuck::cast_slice::<u64, u8>(&buffer);
    assert_eq!(Elements::from_bytes(DType::F32, bytes).unwrap().len(), 8);
    assert!(
        Elements::from_bytes(DType::F32, &bytes[1..5]).is_none(),
        "misaligned"
    );
    assert!(
        Elements::from_bytes(DType::F32, &bytes[..6]).is_none(),
        "one and a half elements"
    );
    assert!(
        Elements::from_bytes(DType::I64, &bytes[..0])
            .unwrap()
            .get(0)
            .is_nan()
    );
}

#[test]
fn changed_rows_are_rows_of_the_first_dimension() {
    let previous = vec![1.0f32; 12 * 100];
    let mut current = previous.clone();
    for index in [0, 99, 300, 1199] {
        current[index] = 2.0;
    }
    current[500] = -1.0 * -1.0;
    let change = |rows| {
        Kernel::new()
            .analyse(
                Elements::F32(&current),
                Some(Elements::F32(&previous)),
                rows,
                false,
            )
            .change
    };
    let counts = |rows| {
        change(rows)
            .map(|change| (change.changed, change.rows, change.changed_rows))
            .unwrap()
    };
    assert_eq!(counts(12), (4, 12, 3));
    assert_eq!(counts(1), (4, 1, 1));
    assert_eq!(counts(1200), (4, 1200, 4));
}

#[test]
fn steps_of_one_ulp_are_told_apart_in_every_float_type() {
    let values: Vec<f32> = vec![1.0, -1.0, 0.1, 3e38, 1e-40, 0.0, 2.0, 5.0];
    let mut next: Vec<f32> = values.iter().map(|value| value.next_up()).collect();
    next[6] = 2.0;
    next[7] = 5.001;
    let change = Kernel::new()
        .analyse(Elements::F32(&next), Some(Elements::F32(&values)), 1, false)
        .change
        .unwrap();
    assert_eq!((change.changed, change.one_ulp), (7, 6));
    let halves = [half::bf16::from_f32(1.0), half::bf16::from_f32(1.0)];
    let moved = [
        half::bf16::from_bits(halves[0].to_bits() - 1),
        half::bf16::from_f32(1.5),
    ];
    let change = Kernel::new()
        .analyse(
            Elements::BF16(&moved),
            Some(Elements::BF16(&halves)),
            1,
            false,
        )
        .change
        .unwrap();
    assert_eq!((change.changed, change.one_ulp), (2, 1));
}

#[test]
fn the_smallest_subnormals_are_next_to_both_zeros() {
    macro_rules! check {
        ($variant:ident, $kind:ty) => {
            let least = <$kind>::from_bits(1);
            let now = [least, -least, least, -least];
            let zero = <$kind>::from_bits(0);
            let before = [zero, zero, -zero, -zero];
            let (now, before) = (Elements::$variant(&now), Elements::$variant(&before));
            let change = Kernel::new()
                .analyse(now, Some(before), 1, false)
                .change
                .unwrap();
            assert_eq!((change.changed, change.one_ulp), (4, 4), stringify!($kind));
        };
    }
    check!(F16, half::f16);
    check!(BF16, half::bf16);
    check!(F32, f32);
    check!(F64, f64);
}

#[test]
fn point_masses_are_rows_of_zero_width() {
    let mut random = Random(3);
    let values: Vec<f32> = (0..20_000)
        .map(|i| [0.0, 1.0, 0.3 * random.normal() as f32, -0.25][i % 4])
        .collect();
    let histogram = Kernel::new()
        .analyse(Elements::F32(&values), None, 1, true)
        .weight_histogram
        .unwrap()
        .to_histogram(64);
    for atom in [0.0, 1.0, -0.25] {
        assert!(
            histogram.rows().contains(&[atom, atom, 5000.0]),
            "{atom}: {:?}",
            histogram.rows()
        );
    }
}

#[test]
fn small_tensors_show_each_value() {
    let values: Vec<f32> = (0..64).map(|i| (i * i % 61) as f32 * 0.25).collect();
    let histogram = Kernel::new()
        .analyse(Elements::F32(&values), None, 1, true)
        .weight_histogram
        .unwrap()
        .to_histogram(64);
    let mut distinct = values.clone();
    distinct.sort_by(f32::total_cmp);
    distinct.dedup();
    let shown: Vec<f64> = histogram
        .rows()
        .iter()
        .filter(|row| row[2] > 0.0)
        .map(|row| row[1])
        .collect();
    assert_eq!(
        shown,
        distinct.iter().copied().map(f64::from).collect::<Vec<_>>()
    );
}

#[test]
fn what_no_picture_tells_apart_is_one_leaf() {
    let mut random = Random(4);
    for (center, spread) in [(0.0, 1.0), (1.0, 1e-4), (1.0, 0.05), (-3.0, 1e-5)] {
        let data: Vec<f32> = (0..200_000)
            .map(|_| (center + spread * random.normal()) as f32)
            .collect();
        let found = Kernel::new().analyse(Elements::F32(&data), None, 1, true);
        let histogram = found.weight_histogram.unwrap();
        assert_eq!(histogram.total(), 200_000);
        assert!(
            histogram.leaves() < 700,
            "{center} +- {spread}: {} leaves",
            histogram.leaves()
        );
    }
}

#[test]
fn scratch_is_clean_between_calls() {
    // The same kernel over tensors of every shape gives what a new one gives.
    let mut kernel = Kernel::new();
    for round in 0..3 {
        for (index, dtype) in DType::ALL.into_iter().enumerate() {
            let len = [10, 300, 5000][(round + index) % 3];
            let (current, previous) = bytes(dtype, len, round as u64);
            let (now, before) = (
                view(dtype, &current, 0, len),
                view(dtype, &previous, 0, len),
            );
            let (used, new) = (
                kernel.analyse(now, Some(before), 1, true),
                Kernel::new().analyse(now, Some(before), 1, true),
            );
            assert_eq!(format!("{used:?}"), format!("{new:?}"));
        }
    }
}
