//! The statistics kernel beside a plain copy and beside one pass for each number.
//!
//! `cargo bench -p tch-tensorboard-benches --no-default-features --bench kernel`. Throughput counts
//! elements, each with its previous state. The kernel is no public interface, so its sources are
//! compiled into the bench.
#![allow(dead_code, unreachable_pub, unused_imports)]

#[path = "../src/kernel/mod.rs"]
mod kernel;
#[path = "../src/model/mod.rs"]
mod model;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use kernel::histogram::{Curve, FineHistogram};
use kernel::{Elements, Kernel};

fn main() {
    divan::main();
}

const SIZES: [usize; 6] = [64, 256, 1024, 16 << 10, 1 << 20, 16 << 20];

/// Weights of a layer and of the same layer one step of training later.
fn layer(len: usize) -> (Vec<f32>, Vec<f32>) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 + 0.5) / (1u64 << 24) as f32
    };
    let mut normal =
        move || (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos();
    let previous: Vec<f32> = (0..len).map(|_| 0.02 * normal()).collect();
    let current = previous
        .iter()
        .map(|weight| weight - 1e-4 * normal())
        .collect();
    (current, previous)
}

fn both_histograms(bencher: Bencher, current: &[f32], previous: &[f32]) {
    let mut kernel = Kernel::new();
    let elements = ItemsCount::new(current.len());
    bencher.counter(elements).bench_local(|| {
        kernel.analyse(
            Elements::F32(black_box(current)),
            Some(Elements::F32(black_box(previous))),
            1,
            true,
        )
    });
}

#[divan::bench(args = SIZES)]
fn weights_deltas_histograms(bencher: Bencher, len: usize) {
    let (current, previous) = layer(len);
    both_histograms(bencher, &current, &previous);
}

/// A call's work on the model of the `cnn` example, without cutting rows or writing: what its
/// writer cannot do without.
#[divan::bench]
fn demo_cnn(bencher: Bencher) {
    let tensors = [144, 16, 4608, 32, 65_536, 128, 1280, 10].map(layer);
    let elements: usize = tensors.iter().map(|(current, _)| current.len()).sum();
    let mut kernel = Kernel::new();
    bencher.counter(ItemsCount::new(elements)).bench_local(|| {
        for (current, previous) in &tensors {
            let (current, previous) = (black_box(current), black_box(previous));
            let previous = Some(Elements::F32(previous));
            black_box(kernel.analyse(Elements::F32(current), previous, 1, true));
        }
    });
}

#[divan::bench(args = SIZES)]
fn weights_deltas_moments(bencher: Bencher, len: usize) {
    let (current, previous) = layer(len);
    let mut kernel = Kernel::new();
    bencher.counter(ItemsCount::new(len)).bench_local(|| {
        kernel.analyse(
            Elements::F32(black_box(&current)),
            Some(Elements::F32(black_box(&previous))),
            1,
            false,
        )
    });
}

#[divan::bench(args = SIZES)]
fn weights_histogram(bencher: Bencher, len: usize) {
    let (current, _) = layer(len);
    let mut kernel = Kernel::new();
    bencher
        .counter(ItemsCount::new(len))
        .bench_local(|| kernel.analyse(Elements::F32(black_box(&current)), None, 1, true));
}

/// Weights near 1 need further passes.
#[divan::bench(args = SIZES)]
fn norm_layer_refined(bencher: Bencher, len: usize) {
    let (mut current, mut previous) = layer(len);
    current
        .iter_mut()
        .chain(&mut previous)
        .for_each(|weight| *weight = 1.0 + *weight * 0.005);
    both_histograms(bencher, &current, &previous);
}

/// Most rows of an embedding rest, so that nearly all changes fall into one bucket.
#[divan::bench(args = SIZES)]
fn one_row_in_twenty_moves(bencher: Bencher, len: usize) {
    let (mut current, previous) = layer(len);
    for (row, (now, before)) in current.chunks_mut(64).zip(previous.chunks(64)).enumerate() {
        if row % 20 > 0 {
            now.copy_from_slice(before);
        }
    }
    both_histograms(bencher, &current, &previous);
}

#[divan::bench(args = SIZES)]
fn bf16(bencher: Bencher, len: usize) {
    let (current, previous) = layer(len);
    let round = |weights: &[f32]| {
        weights
            .iter()
            .map(|&weight| half::bf16::from_f32(weight))
            .collect::<Vec<_>>()
    };
    let (current, previous) = (round(&current), round(&previous));
    let mut kernel = Kernel::new();
    bencher.counter(ItemsCount::new(len)).bench_local(|| {
        kernel.analyse(
            Elements::BF16(black_box(&current)),
            Some(Elements::BF16(black_box(&previous))),
            1,
            true,
        )
    });
}

#[divan::bench(args = SIZES)]
fn f64(bencher: Bencher, len: usize) {
    let (current, previous) = layer(len);
    let widen = |weights: &[f32]| {
        weights
            .iter()
            .map(|&weight| f64::from(weight))
            .collect::<Vec<_>>()
    };
    let (current, previous) = (widen(&current), widen(&previous));
    let mut kernel = Kernel::new();
    bencher.counter(ItemsCount::new(len)).bench_local(|| {
        kernel.analyse(
            Elements::F64(black_box(&current)),
            Some(Elements::F64(black_box(&previous))),
            1,
            true,
        )
    });
}

/// Of many histograms in turn, as in training: one alone would be known to the processor's branch
/// prediction.
#[divan::bench(args = [1024, 16 << 10, 256 << 10])]
fn coarsen_to_64_rows(bencher: Bencher, len: usize) {
    const HISTOGRAMS: usize = 64;
    let (all, _) = layer(HISTOGRAMS * len);
    let mut kernel = Kernel::new();
    let all: Vec<FineHistogram> = all
        .chunks(len)
        .filter_map(|values| {
            let analysis = kernel.analyse(Elements::F32(values), None, 1, true);
            analysis.weight_histogram
        })
        .collect();
    let (mut curve, mut turns) = (Curve::default(), all.iter().cycle());
    bencher.bench_local(|| {
        let fine = turns.next().unwrap();
        black_box(fine).to_histogram_by(64, &mut curve)
    });
}

#[divan::bench(args = SIZES)]
fn yardstick_copy(bencher: Bencher, len: usize) {
    let (current, mut target) = layer(len);
    bencher
        .counter(ItemsCount::new(len))
        .bench_local(|| black_box(&mut target).copy_from_slice(black_box(&current)));
}

/// One pass for each number of weights and of deltas, no histogram.
#[divan::bench(args = SIZES)]
fn yardstick_separate_passes(bencher: Bencher, len: usize) {
    fn one_by_one(values: &[f32]) -> [f64; 4] {
        let count = values.len() as f64;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let squares = values
            .iter()
            .map(|&value| (f64::from(value) - mean).powi(2))
            .sum::<f64>();
        let min = values.iter().copied().fold(f32::INFINITY, f32::min);
        let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        [mean, (squares / count).sqrt(), min.into(), max.into()]
    }
    let (current, previous) = layer(len);
    bencher.counter(ItemsCount::new(len)).bench_local(|| {
        let (current, previous) = (black_box(&current), black_box(&previous));
        let deltas: Vec<f32> = current
            .iter()
            .zip(previous)
            .map(|(now, before)| now - before)
            .collect();
        let changed = current
            .iter()
            .zip(previous)
            .filter(|(now, before)| now.to_bits() != before.to_bits())
            .count();
        (one_by_one(current), one_by_one(&deltas), changed)
    });
}
