//! How far the picture in TensorBoard is from the data: the 30 bins it redraws and the nine
//! percentiles it interpolates.

use crate::kernel::elements::Elements;
use crate::kernel::tensor::Kernel;

/// SplitMix64, and the distributions made from it.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// In the open interval (0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
    fn laplace(&mut self) -> f64 {
        let u = self.uniform() - 0.5;
        -u.signum() * (1.0 - 2.0 * u.abs()).ln()
    }
    /// Student's t for any degrees of freedom, by Bailey's polar method (1994).
    fn student_t(&mut self, freedom: f64) -> f64 {
        loop {
            let (u, v) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let w = u * u + v * v;
            if w <= 1.0 {
                return u * (freedom * (w.powf(-2.0 / freedom) - 1.0) / w).sqrt();
            }
        }
    }
}

/// The 30 bins as TensorBoard computes them
/// (`tensorboard/webapp/widgets/histogram/histogram_util.ts`), in its arithmetic.
fn drawn(rows: &[[f64; 3]], left: f64, right: f64) -> Vec<f64> {
    let step = (right - left) / 30.0;
    let (mut bins, mut row, mut carried) = (vec![0.0; 30], 0, 0.0);
    for (index, bin) in bins.iter_mut().enumerate() {
        let bin_left = left + index as f64 * step;
        let bin_right = bin_left + step;
        *bin += std::mem::take(&mut carried);
        while let Some(&[x, row_right, count]) = rows.get(row) {
            let width = row_right - x;
            let row_right = x + width;
            if x <= bin_right && row_right >= bin_left {
                if width > 0.0 {
                    *bin += count * (row_right.min(bin_right) - x.max(bin_left)) / width;
                } else if index < 29 && row_right >= bin_right {
                    carried += count;
                } else {
                    *bin += count;
                }
            }
            if row_right > bin_right {
                break;
            }
            row += 1;
        }
    }
    bins
}

/// The same 30 bins, counted from the data.
fn counted(data: &[f64], left: f64, right: f64) -> Vec<f64> {
    let step = (right - left) / 30.0;
    let mut bins = vec![0.0; 30];
    for &x in data {
        // The right edges are those TensorBoard computes; an element that rounding puts behind the
        // last one is in the last bin.
        let bin_right = |index: usize| left + index as f64 * step + step;
        let mut index = (((x - left) / step) as usize).min(29);
        while index > 0 && x < bin_right(index - 1) {
            index -= 1;
        }
        while index < 29 && x >= bin_right(index) {
            index += 1;
        }
        bins[index] += 1.0;
    }
    bins
}

const BASIS_POINTS: [f64; 9] = [
    0.0, 668.0, 1587.0, 3085.0, 5000.0, 6915.0, 8413.0, 9332.0, 10000.0,
];

/// The percentiles as TensorBoard computes them (`tensorboard/plugins/distribution/compressor.py`).
fn percentiles(rows: &[[f64; 3]]) -> [f64; 9] {
    let total: f64 = rows.iter().map(|row| row[2]).sum();
    let (min, max) = (rows[0][0], rows[rows.len() - 1][1]);
    BASIS_POINTS.map(|point| {
        let mut before = 0.0;
        for (index, row) in rows.iter().enumerate() {
            let cumulative = before + row[2] * 10000.0 / total;
            if cumulative > point && row[2] > 0.0 {
                let left = if before == 0.0 {
                    min
                } else {
                    rows[index - 1][1]
                };
                return left + (point - before) * (row[1] - left) / (cumulative - before);
            }
            before = cumulative;
        }
        max
    })
}

/// Largest distance of a percentile's rank from the rank asked for, as a share of the data, beyond
/// one element.
fn rank_error(rows: &[[f64; 3]], sorted: &[f64]) -> f64 {
    let count = sorted.len() as f64;
    let errors = percentiles(rows)
        .into_iter()
        .zip(BASIS_POINTS)
        .map(|(value, point)| {
            // An f32 is met when its neighbours are missed.
            let grain = value.abs() * f64::from(f32::EPSILON) / 2.0;
            let below = sorted.partition_point(|&x| x < value - grain) as f64 / count;
            let upto = sorted.partition_point(|&x| x <= value + grain) as f64 / count;
            let wanted = point / 10000.0;
            (below - wanted).max(wanted - upto).max(0.0)
        });
    (errors.fold(0.0, f64::max) - 1.0 / count).max(0.0)
}

/// Total variation distance between the picture and the truth, for the data's own range and for
/// wider ones that other steps of the card can cause.
fn display_errors(rows: &[[f64; 3]], data: &[f64]) -> Vec<f64> {
    let (min, max) = (data[0], data[data.len() - 1]);
    let mut errors = Vec::new();
    for scale in [1.0, 1.1, 1.37, 3.0] {
        // At three times the range an unshifted extreme would stand exactly on an edge between
        // bins.
        let shifts: &[f64] = if scale == 1.0 {
            &[0.0]
        } else if scale == 3.0 {
            &[0.07, 0.31, 0.83]
        } else {
            &[0.0, 0.31, 1.0]
        };
        for shift in shifts {
            let more = (max - min) * (scale - 1.0);
            let (mut left, mut right) = (min - more * shift, max + more * (1.0 - shift));
            if left == right {
                (left, right) = (left / 1.1 - 1.0, right * 1.1 + 1.0);
            }
            let pairs = drawn(rows, left, right)
                .into_iter()
                .zip(counted(data, left, right));
            errors.push(
                pairs
                    .map(|(drawn, counted)| (drawn - counted).abs())
                    .sum::<f64>()
                    / 2.0
                    / data.len() as f64,
            );
        }
    }
    errors
}

/// What a distribution is held to: every figure, or only those the data leaves open.
#[derive(PartialEq)]
enum Bar {
    All,
    /// Few values, and more than rows: a row must spread what stands on points.
    Reported,
}

type Draw = Box<dyn Fn(&mut Random) -> f64>;

fn distributions() -> Vec<(&'static str, usize, Bar, Draw)> {
    const MANY: usize = 200_000;
    fn of(draw: impl Fn(&mut Random) -> f64 + 'static) -> Draw {
        Box::new(draw)
    }
    vec![
        ("normal", MANY, Bar::All, of(|r| 0.02 * r.normal())),
        (
            "normal, 10 000",
            10_000,
            Bar::All,
            of(|r| 0.02 * r.normal()),
        ),
        (
            "normal, 1000",
            1000,
            Bar::Reported,
            of(|r| 0.02 * r.normal()),
        ),
        ("normal, 100", 100, Bar::Reported, of(|r| 0.02 * r.normal())),
        ("normal, 64", 64, Bar::All, of(|r| 0.02 * r.normal())),
        ("normal, 10", 10, Bar::All, of(|r| 0.02 * r.normal())),
        (
            "uniform",
            MANY,
            Bar::All,
            of(|r| 0.1 * (2.0 * r.uniform() - 1.0)),
        ),
        (
            "uniform 1 +- 0.3",
            MANY,
            Bar::All,
            of(|r| 1.0 + 0.3 * (2.0 * r.uniform() - 1.0)),
        ),
        (
            "normal 1 +- 0.05",
            MANY,
            Bar::All,
            of(|r| 1.0 + 0.05 * r.normal()),
        ),
        ("Laplace", MANY, Bar::All, of(|r| 0.01 * r.laplace())),
        (
            "Student t, 3",
            MANY,
            Bar::All,
            of(|r| 0.01 * r.student_t(3.0)),
        ),
        (
            "Student t, 1.5",
            MANY,
            Bar::All,
            of(|r| 0.01 * r.student_t(1.5)),
        ),
        (
            "bimodal, gap",
            MANY,
            Bar::All,
            of(|r| if r.uniform() < 0.4 { -1.0 } else { 2.0 } + 0.1 * r.normal()),
        ),
        (
            "95 % zeros",
            MANY,
            Bar::All,
            of(|r| {
                if r.uniform() < 0.95 {
                    0.0
                } else {
                    0.02 * r.normal()
                }
            }),
        ),
        ("deltas of 1e-9", MANY, Bar::All, of(|r| 1e-9 * r.normal())),
        (
            "outlier, 1000 sigma",
            MANY,
            Bar::All,
            of(|r| {
                if r.next() % 200_000 == 7 {
                    20.0
                } else {
                    0.02 * r.normal()
                }
            }),
        ),
        ("log-normal", MANY, Bar::All, of(|r| r.normal().exp())),
        (
            "scales 1e-4 and 1",
            MANY,
            Bar::All,
            of(|r| if r.uniform() < 0.7 { 1e-4 } else { 1.0 } * r.normal()),
        ),
        (
            "norm layer 1 +- 1e-4",
            MANY,
            Bar::All,
            of(|r| 1.0 + 1e-4 * r.normal()),
        ),
        (
            "norm layer, 768",
            768,
            Bar::Reported,
            of(|r| 1.0 + 1e-4 * r.normal()),
        ),
        (
            "clipped +- 0.01",
            MANY,
            Bar::All,
            of(|r| (0.02 * r.normal()).clamp(-0.01, 0.01)),
        ),
        (
            "sign steps +- 1e-3",
            MANY,
            Bar::All,
            of(|r| if r.uniform() < 0.5 { 1e-3 } else { -1e-3 } * (1.0 + 1e-6 * r.normal())),
        ),
        (
            "half ones, half normal",
            MANY,
            Bar::All,
            of(|r| {
                if r.uniform() < 0.5 {
                    1.0
                } else {
                    1.0 + 0.1 * r.normal()
                }
            }),
        ),
        ("constant", MANY, Bar::All, of(|_| 0.3)),
        ("constant 0", MANY, Bar::All, of(|_| 0.0)),
        (
            "integers 0..16",
            MANY,
            Bar::Reported,
            of(|r| (r.uniform() * 16.0).floor()),
        ),
        (
            "bf16 normal",
            MANY,
            Bar::Reported,
            of(|r| half::bf16::from_f64(0.02 * r.normal()).to_f64()),
        ),
    ]
}

/// The rows that TensorBoard's Python loader makes of what `torch.utils.tensorboard` writes by
/// default: counts between 1549 edges, a tenth apart from 1e-12 to 1e20 on both sides of zero, from
/// the first bucket that holds any to the last.
fn rows_of_torch(sorted: &[f64]) -> Vec<[f64; 3]> {
    let mut positive = vec![1e-12];
    while positive[positive.len() - 1] * 1.1 < 1e20 {
        positive.push(positive[positive.len() - 1] * 1.1);
    }
    let negative = positive.iter().rev().map(|edge| -edge);
    let edges: Vec<f64> = negative
        .chain([0.0])
        .chain(positive.iter().copied())
        .collect();
    assert_eq!(edges.len(), 1549);
    let below = |edge: f64| sorted.partition_point(|&x| x < edge);
    let mut rows: Vec<[f64; 3]> = edges
        .windows(2)
        .map(|pair| [pair[0], pair[1], (below(pair[1]) - below(pair[0])) as f64])
        .skip_while(|row| row[2] == 0.0)
        .collect();
    let last = rows.iter().rposition(|row| row[2] > 0.0).unwrap();
    rows.truncate(last + 1);
    rows[last][1] = sorted[sorted.len() - 1];
    rows
}

/// How far a picture is from the data, in percent.
struct Errors {
    mean: f64,
    worst: f64,
    rank: f64,
}

impl Errors {
    fn of(rows: &[[f64; 3]], sorted: &[f64]) -> Errors {
        let errors = display_errors(rows, sorted);
        Errors {
            mean: 100.0 * errors.iter().sum::<f64>() / errors.len() as f64,
            worst: 100.0 * errors.iter().copied().fold(0.0, f64::max),
            rank: 100.0 * rank_error(rows, sorted),
        }
    }
}

/// Prints a line and tells whether the bars are kept: 1 % in the mean, 3 % at worst, 1 % in rank,
/// at most 64 rows.
fn is_drawn_well(kernel: &mut Kernel, name: &str, data: &[f32]) -> bool {
    let histogram = kernel
        .analyse(Elements::F32(data), None, 1, true)
        .weight_histogram
        .unwrap()
        .to_histogram(64);
    let mut sorted: Vec<f64> = data.iter().copied().map(f64::from).collect();
    sorted.sort_by(f64::total_cmp);
    let theirs = rows_of_torch(&sorted);
    let line = |rows: &[[f64; 3]]| {
        let Errors { mean, worst, rank } = Errors::of(rows, &sorted);
        format!("{:>4} {mean:>7.3} {worst:>7.3} {rank:>7.3}", rows.len())
    };
    let count = data.len();
    println!(
        "| {name:<24} | {count:>6} | {} | {} |",
        line(histogram.rows()),
        line(&theirs)
    );
    let Errors { mean, worst, rank } = Errors::of(histogram.rows(), &sorted);
    assert!(histogram.rows().len() <= 64, "{name}");
    mean <= 1.0 && worst <= 3.0 && rank <= 1.0
}

const HEAD: &str =
    "rows, then errors in %: 30 bins (mean, worst) and percentiles; ours | torch.utils.tensorboard";

#[test]
fn tensorboard_draws_what_the_data_is() {
    let mut kernel = Kernel::new();
    let mut failures = Vec::new();
    println!("{HEAD}");
    for (name, count, bar, draw) in distributions() {
        let mut random = Random(0x5eed);
        let data: Vec<f32> = (0..count).map(|_| draw(&mut random) as f32).collect();
        if !is_drawn_well(&mut kernel, name, &data) && bar == Bar::All {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "drawn badly: {failures:?}");
}

/// Weights of the trained demo, and what its last step changed: see
/// `tests/data/make_cnn_weights.py`.
#[test]
fn tensorboard_draws_what_a_trained_model_is() {
    let mut kernel = Kernel::new();
    println!("{HEAD}");
    for layer in ["conv2", "fc1"] {
        let file = format!("{}/tests/data/cnn_{layer}.f32", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let values = bytes.as_chunks::<4>().0.iter();
        let values: Vec<f32> = values.map(|&word| f32::from_le_bytes(word)).collect();
        let (before, now) = values.split_at(values.len() / 2);
        let deltas: Vec<f32> = now
            .iter()
            .zip(before)
            .map(|(now, before)| now - before)
            .collect();
        for (what, data) in [("weights", now), ("deltas", deltas.as_slice())] {
            let name = format!("{layer} {what}");
            assert!(is_drawn_well(&mut kernel, &name, data), "{name}");
        }
    }
}

#[test]
fn the_largest_element_of_a_small_tensor_is_drawn() {
    // TensorBoard computes the right edge of its last bin with rounding: a row of zero width there
    // is lost for every fifth of these tensors.
    let (mut kernel, mut random) = (Kernel::new(), Random(7));
    for _ in 0..2000 {
        let len = 2 + random.next() as usize % 12;
        let data: Vec<f32> = (0..len).map(|_| random.normal() as f32).collect();
        let histogram = kernel
            .analyse(Elements::F32(&data), None, 1, true)
            .weight_histogram
            .unwrap()
            .to_histogram(64);
        let rows = histogram.rows();
        let drawn: f64 = drawn(rows, rows[0][0], rows[rows.len() - 1][1])
            .iter()
            .sum();
        assert!(
            (drawn - len as f64).abs() < 1e-3,
            "{drawn} of {len} elements drawn: {rows:?}"
        );
    }
}
