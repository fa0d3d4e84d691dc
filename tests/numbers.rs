//! Numbers that are written against plain double-precision arithmetic over the same elements, and
//! the ends of every type.

mod common;

use std::collections::BTreeMap;

use common::histograms::{check_close, check_rows, naive_moments, read_histogram, read_histograms};
use common::read_scalars;
use half::{bf16, f16};
use tch_tensorboard::{Logger, Statistic, Values, WeightOptions};
use tempfile::TempDir;

fn logger() -> (TempDir, Logger) {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    (dir, logger)
}

/// Even numbers below 1, always the same ones (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

fn normals(count: usize, mean: f64, std: f64) -> Vec<f64> {
    let mut random = Random(42);
    (0..count).map(|_| mean + std * random.normal()).collect()
}

// ---------------------------------------------------------------------------------------
// scalars

#[test]
fn scalars_of_every_number_type() {
    let (_dir, logger) = logger();
    macro_rules! log {
        ($($tag:literal: $value:expr),* $(,)?) => {
            $(logger.log_scalar($tag, $value, 0).unwrap();)*
        };
    }
    log! {
        "bool": true, "u8": 255_u8, "u16": 65_535_u16, "u32": u32::MAX, "u64": u64::MAX,
        "usize": 1_usize << 40,
        "i8": i8::MIN, "i16": i16::MIN, "i32": i32::MIN, "i64": i64::MIN, "isize": -7_isize,
        "f16": f16::from_f32(0.1), "bf16": bf16::from_f32(0.1), "f32": 0.1_f32, "f64": 0.1_f64,
        "reference": &0.25_f64, "2^24 + 1": 16_777_217_i32,
    }
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    let expected: [(&str, f32); 17] = [
        ("bool", 1.0),
        ("u8", 255.0),
        ("u16", 65_535.0),
        ("u32", 4_294_967_296.0),
        ("u64", 18_446_744_073_709_551_616.0),
        ("usize", 1_099_511_627_776.0),
        ("i8", -128.0),
        ("i16", -32_768.0),
        ("i32", -2_147_483_648.0),
        ("i64", -9_223_372_036_854_775_808.0),
        ("isize", -7.0),
        ("f16", 0.099_975_586),
        ("bf16", 0.100_097_656),
        ("f32", 0.1),
        ("f64", 0.1),
        ("reference", 0.25),
        ("2^24 + 1", 16_777_216.0),
    ];
    assert_eq!(scalars.len(), expected.len());
    for (tag, value) in expected {
        assert_eq!(scalars[tag][0].1.to_bits(), value.to_bits(), "{tag}");
    }
}

/// Rounded to the nearest f32, ties to even; beyond its range infinite, which charts mark instead
/// of drawing.
#[test]
fn scalars_at_the_ends_of_f32() {
    let (_dir, logger) = logger();
    let numbers = [
        (0.0, 0.0_f32),
        (-0.0, -0.0),
        (f64::from(f32::MAX), f32::MAX),
        (f64::from(f32::MIN_POSITIVE), f32::MIN_POSITIVE),
        (f64::from(f32::from_bits(1)), f32::from_bits(1)),
        (1e-46, 0.0),
        (-1e-60, -0.0),
        (1e39, f32::INFINITY),
        (-f64::MAX, f32::NEG_INFINITY),
        (f64::INFINITY, f32::INFINITY),
        (f64::NEG_INFINITY, f32::NEG_INFINITY),
        (1.0 + f64::EPSILON, 1.0),
        (1.000_000_059_604_644_8, 1.0),
        (1.000_000_1, 1.000_000_1),
    ];
    for (step, (number, _)) in numbers.iter().enumerate() {
        logger.log_scalar("x", *number, step).unwrap();
    }
    logger.log_scalar("nan", f64::NAN, 0).unwrap();
    logger.log_scalar("nan", -f32::NAN, 1).unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    for (step, (number, expected)) in numbers.iter().enumerate() {
        let (found_step, found) = scalars["x"][step];
        assert_eq!(
            (found_step, found.to_bits()),
            (step as i64, expected.to_bits()),
            "{number}"
        );
    }
    assert!(scalars["nan"].iter().all(|(_, value)| value.is_nan()));
    assert_eq!(scalars["nan"].len(), 2);
}

// ---------------------------------------------------------------------------------------
// moments

fn check_moments(what: &str, scalars: &BTreeMap<String, Vec<(i64, f32)>>, values: &[f64]) {
    let (mean, std, norm) = naive_moments(values);
    for (tag, expected) in [
        ("weight_mean", mean),
        ("weight_std", std),
        ("weight_norm", norm),
    ] {
        check_close(
            &format!("{what}: {tag}"),
            scalars[&format!("{tag}/w")][0].1,
            expected,
        );
    }
}

#[test]
fn moments_of_many_elements_and_of_a_mean_far_from_zero() {
    let cases = [
        ("ten million around zero", 10_000_000, 0.0, 0.02),
        ("mean 10000 times the spread", 1_000_003, 1e4, 1.0),
        (
            "negative mean 10000 times a small spread",
            99_999,
            -3.0,
            3e-4,
        ),
        ("one block and one element", 2049, 5.0, 1.0),
        ("large", 5000, 1e30, 1e29),
        ("small", 5000, 0.0, 1e-30),
    ];
    for (what, count, mean, std) in cases {
        let doubles = normals(count, mean, std);
        let floats: Vec<f32> = doubles.iter().map(|&x| x as f32).collect();
        let (_dir, logger) = logger();
        logger.log_weights(&[("w", &floats)], 0).unwrap();
        let scope = logger.scoped("doubles").unwrap();
        scope.log_weights(&[("w", &doubles)], 0).unwrap();
        logger.close().unwrap();
        let mut scalars = read_scalars(logger.logdir());
        let widened: Vec<f64> = floats.iter().map(|&x| f64::from(x)).collect();
        check_moments(what, &scalars, &widened);
        for tag in ["weight_mean", "weight_std", "weight_norm"] {
            let doubles = scalars.remove(&format!("{tag}/doubles/w")).unwrap();
            scalars.insert(format!("{tag}/w"), doubles);
        }
        check_moments(&format!("{what}, doubles"), &scalars, &doubles);
        check_rows(
            what,
            &read_histogram(logger.logdir(), "weights/w"),
            &widened,
        );
    }
}

/// Every statistic of two steps against its definition.
#[test]
fn changes_from_step_to_step() {
    let before: Vec<f32> = normals(3000, 0.1, 0.5).iter().map(|&x| x as f32).collect();
    let mut random = Random(7);
    let after: Vec<f32> = before
        .iter()
        .map(|&w| {
            if random.uniform() < 0.3 {
                w
            } else {
                w + 1e-3 * random.normal() as f32
            }
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let options = WeightOptions::new().statistics(Statistic::ALL.iter().copied());
    let logger = Logger::builder(dir.path().join("run"))
        .weights(options)
        .create()
        .unwrap();
    logger.log_weights(&[("w", &before)], 0).unwrap();
    logger.log_weights(&[("w", &after)], 1).unwrap();
    logger.close().unwrap();
    // In the model's own precision, as the deltas of an optimizer are.
    let deltas: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(&before, &after)| f64::from(after - before))
        .collect();
    let (delta_mean, delta_std, delta_norm) = naive_moments(&deltas);
    let widened: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
    let (_, _, norm) = naive_moments(&widened);
    let exact: f64 = before
        .iter()
        .zip(&after)
        .map(|(&before, &after)| (f64::from(after) - f64::from(before)).powi(2))
        .sum();
    let changed = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .count();
    let ratio = delta_norm / norm;
    let largest = deltas
        .iter()
        .fold(0.0_f64, |largest, delta| largest.max(delta.abs()));
    let scalars = read_scalars(logger.logdir());
    for (tag, expected) in [
        ("weight_delta_mean", delta_mean),
        ("weight_delta_std", delta_std),
        ("weight_delta_max_abs", largest),
        ("weight_update_ratio", ratio),
        ("weight_update_ratio_log10", ratio.log10()),
        ("weight_changed_fraction", changed as f64 / 3000.0),
        ("weight_drift", exact.sqrt() / norm),
    ] {
        let points = &scalars[&format!("{tag}/w")];
        assert_eq!(points.last().unwrap().0, 1, "{tag}");
        check_close(tag, points.last().unwrap().1, expected);
    }
    check_rows(
        "deltas",
        &read_histogram(logger.logdir(), "weight_deltas/w"),
        &deltas,
    );
}

/// What is not finite is counted, and hides nothing of the rest.
#[test]
fn elements_that_are_not_finite() {
    let (_dir, logger) = logger();
    let mut values = normals(10_000, 1.0, 2.0);
    for (index, special) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
        .into_iter()
        .enumerate()
    {
        (0..=index).for_each(|offset| values[index * 2500 + offset] = special);
    }
    let floats: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    let widened: Vec<f64> = floats.iter().map(|&x| f64::from(x)).collect();
    let nothing = [f32::NAN; 70];
    logger.log_weights(&[("w", &floats)], 0).unwrap();
    logger
        .scoped("nothing")
        .unwrap()
        .log_weights(&[("w", &nothing)], 0)
        .unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    check_moments("finite part", &scalars, &widened);
    assert_eq!(scalars["weight_nonfinite/w"], [(0, 6.0)]);
    check_rows(
        "finite part",
        &read_histogram(logger.logdir(), "weights/w"),
        &widened,
    );
    assert_eq!(scalars["weight_nonfinite/nothing/w"], [(0, 70.0)]);
    assert!(!scalars.contains_key("weight_mean/nothing/w"));
    assert!(read_histogram(logger.logdir(), "weights/nothing/w").is_empty());
}

#[test]
fn the_ends_of_floats() {
    let tiny = f32::from_bits(1);
    let subnormals: Vec<f32> = (0..1000).map(|i| f32::from_bits(i * 7)).collect();
    let mut ends = vec![
        f32::MAX,
        f32::MIN,
        tiny,
        -tiny,
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
    ];
    ends.extend(vec![1.0; 100]);
    let (_dir, logger) = logger();
    logger.log_weights(&[("w", &subnormals)], 0).unwrap();
    logger
        .scoped("ends")
        .unwrap()
        .log_weights(&[("w", &ends)], 0)
        .unwrap();
    let doubles = [
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        0.0,
        -0.0,
    ];
    logger.log_histogram("f64", &doubles, 0).unwrap();
    let many: Vec<f64> = doubles.iter().copied().cycle().take(6000).collect();
    logger.log_histogram("many f64", &many, 0).unwrap();
    logger.close().unwrap();
    let widen = |floats: &[f32]| floats.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let rows = |tag: &str| read_histogram(logger.logdir(), tag);
    check_rows("subnormals", &rows("weights/w"), &widen(&subnormals));
    check_rows("ends", &rows("weights/ends/w"), &widen(&ends));
    check_rows("f64", &rows("f64"), &doubles);
    check_rows("many f64", &rows("many f64"), &many);
    // An f32 norm of subnormals is itself one: compared in absolute terms.
    let scalars = read_scalars(logger.logdir());
    let (mean, std, _) = naive_moments(&widen(&subnormals));
    assert!((f64::from(scalars["weight_mean/w"][0].1) - mean).abs() <= f64::from(tiny));
    assert!((f64::from(scalars["weight_std/w"][0].1) - std).abs() <= f64::from(tiny));
}

// ---------------------------------------------------------------------------------------
// histograms

/// Rows of slices of every type against counting.
#[test]
fn histograms_of_every_number_type() {
    let (_dir, logger) = logger();
    let mut expected: Vec<(String, Vec<f64>)> = Vec::new();
    let mut log = |name: &str, values: &dyn Fn(&Logger, &str), doubles: Vec<f64>| {
        values(&logger, name);
        expected.push((name.into(), doubles));
    };
    fn put<V: Values + ?Sized>(logger: &Logger, tag: &str, values: &V) {
        logger.log_histogram(tag, values, 0).unwrap();
    }
    let base = normals(20_000, 3.0, 40.0);
    macro_rules! log_as {
        ($($kind:ident: $back:expr),* $(,)?) => {$({
            let values: Vec<$kind> = base.iter().map(|&x| x as $kind).collect();
            let doubles = values.iter().map(|&x| $back(x)).collect();
            log(stringify!($kind), &|logger, tag| put(logger, tag, &values), doubles);
        })*};
    }
    log_as! {
        u8: f64::from, i8: f64::from, u16: f64::from, i16: f64::from, u32: f64::from,
        i32: f64::from, u64: |x| x as f64, i64: |x| x as f64, usize: |x| x as f64,
        isize: |x| x as f64, f32: f64::from, f64: |x| x,
    }
    let halves: Vec<f16> = base.iter().map(|&x| f16::from_f64(x)).collect();
    let doubles = halves.iter().map(|&x| f64::from(x)).collect();
    log("f16", &|logger, tag| put(logger, tag, &halves), doubles);
    let brains: Vec<bf16> = base.iter().map(|&x| bf16::from_f64(x)).collect();
    let doubles = brains.iter().map(|&x| f64::from(x)).collect();
    log("bf16", &|logger, tag| put(logger, tag, &brains), doubles);
    let bools: Vec<bool> = base.iter().map(|&x| x > 0.0).collect();
    let doubles = bools.iter().map(|&x| f64::from(u8::from(x))).collect();
    log("bool", &|logger, tag| put(logger, tag, &bools), doubles);
    let longs = [i64::MIN, -1, 0, 1, i64::MAX];
    let doubles = longs.iter().map(|&x| x as f64).collect();
    log("i64 ends", &|logger, tag| put(logger, tag, &longs), doubles);
    let unsigned = [0_u64, 1, u64::MAX];
    let doubles = unsigned.iter().map(|&x| x as f64).collect();
    log(
        "u64 ends",
        &|logger, tag| put(logger, tag, unsigned.as_slice()),
        doubles,
    );
    logger.close().unwrap();
    for (name, doubles) in &expected {
        check_rows(name, &read_histogram(logger.logdir(), name), doubles);
    }
}

/// Shapes that are hard to show in few rows.
#[test]
fn histograms_of_odd_distributions() {
    let mut random = Random(3);
    let uniform: Vec<f64> = (0..50_000).map(|_| random.uniform()).collect();
    let heavy: Vec<f64> = (0..50_000)
        .map(|_| random.normal() / random.uniform())
        .collect();
    let mut spike = uniform.clone();
    spike[..40_000].fill(0.25);
    let cases: Vec<(&str, Vec<f64>)> = vec![
        ("one", vec![7.0]),
        ("two equal", vec![7.0; 2]),
        ("constant", vec![-3.5; 10_000]),
        ("zeros of both signs", [0.0, -0.0].repeat(5000)),
        ("two values", [1.0, 2.0].repeat(5000)),
        ("64 values", (0..64).map(f64::from).collect()),
        ("65 values", (0..65).map(f64::from).collect()),
        (
            "exact zeros and a bell",
            normals(10_000, 0.0, 1.0)
                .into_iter()
                .map(|x| x.max(0.0))
                .collect(),
        ),
        ("uniform", uniform),
        ("heavy tails", heavy),
        ("spike", spike),
        (
            "wild outlier",
            (0..10_000)
                .map(|i| if i == 0 { 1e30 } else { f64::from(i) })
                .collect(),
        ),
        ("wide", (0..600).map(|i| 10_f64.powi(i - 300)).collect()),
        (
            "neighbours",
            (0..1000)
                .map(|i| f64::from_bits(1_f64.to_bits() + i))
                .collect(),
        ),
    ];
    let (_dir, logger) = logger();
    for (step, (_, values)) in cases.iter().enumerate() {
        logger.log_histogram("x", values, step).unwrap();
    }
    logger.close().unwrap();
    for (step, rows) in read_histograms(logger.logdir(), "x") {
        let (name, values) = &cases[step as usize];
        check_rows(name, &rows, values);
    }
}
