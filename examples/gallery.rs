//! Fills every dashboard of TensorBoard from one program, without libtorch and without Python.
//!
//!     cargo run --no-default-features --example gallery -- runs/gallery
//!     tensorboard --logdir runs/gallery
//!
//! The run `net` trains a small perceptron on two spirals by hand, with its weights logged; `sweep`
//! has a run for each trial of a search.

use std::f32::consts::TAU;
use std::fmt::Write;
use std::path::PathBuf;

use tch_tensorboard::{
    Audio, ChartCategory, CustomChart, Embedding, HParams, Image, Logger, Mesh, PrCurve, Result,
    Scalar, TextTable,
};

const POINTS: usize = 200;
const HIDDEN: usize = 16;
const STEPS: i64 = 60;

fn main() -> Result<()> {
    let logdir: PathBuf = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "runs/gallery".into())
        .into();
    let logger = Logger::create(logdir.join("net"))?;
    charts(&logger)?;
    texts(&logger)?;
    train(&logger)?;
    sounds(&logger)?;
    shapes(&logger)?;
    pictures(&logger)?;
    println!("{}", logger.logdir().display());
    logger.close()?;
    sweep(&logdir)
}

/// Charts of our own; those that `log_weights` makes follow them.
fn charts(logger: &Logger) -> Result<()> {
    logger.describe_tag(
        "loss/train",
        "Training loss",
        "Mean squared error of *all* points.",
    )?;
    let band = CustomChart::band("Loss", "band/mean", "band/low", "band/high");
    let losses = CustomChart::lines("Loss and accuracy", ["loss/train", "accuracy"]);
    logger.log_layout(&[ChartCategory::new("Progress", [band, losses])])
}

fn texts(logger: &Logger) -> Result<()> {
    let table = TextTable::new(["setting", "value"])
        .row(["points", &POINTS.to_string()])
        .row(["hidden units", &HIDDEN.to_string()]);
    logger.log_text("settings", &table.to_string(), 0)?;
    let note = "# Gallery\nA **perceptron** on two spirals, by `examples/gallery.rs`.";
    logger.log_text("about", note, 0)
}

/// A perceptron of one hidden layer with plain gradient descent.
struct Net {
    hidden: Vec<f32>,
    hidden_bias: Vec<f32>,
    out: Vec<f32>,
    out_bias: Vec<f32>,
}

impl Net {
    fn new() -> Net {
        let wave = |scale: f32| move |n: usize| scale * ((n * n + 3 * n) as f32 * 0.7).sin();
        Net {
            hidden: (0..2 * HIDDEN).map(wave(2.0)).collect(),
            hidden_bias: (0..HIDDEN).map(wave(1.0)).collect(),
            out: (0..HIDDEN).map(wave(0.3)).collect(),
            out_bias: vec![0.0],
        }
    }

    /// What it says of a point, from 0 to 1, and the hidden units.
    fn score(&self, [x, y]: [f32; 2]) -> (f32, Vec<f32>) {
        let weights = self.hidden.chunks_exact(2).zip(&self.hidden_bias);
        let hidden: Vec<f32> = weights
            .map(|(w, b)| (w[0] * x + w[1] * y + b).tanh())
            .collect();
        let sum: f32 = self.out.iter().zip(&hidden).map(|(w, h)| w * h).sum();
        (1.0 / (1.0 + (-sum - self.out_bias[0]).exp()), hidden)
    }

    fn step(&mut self, points: &[([f32; 2], bool)], rate: f32) {
        for &(point, label) in points {
            let (score, hidden) = self.score(point);
            let error = rate * (score - f32::from(u8::from(label)));
            for (unit, &value) in hidden.iter().enumerate() {
                let back = error * self.out[unit] * (1.0 - value * value);
                self.out[unit] -= error * value;
                self.hidden[2 * unit] -= back * point[0];
                self.hidden[2 * unit + 1] -= back * point[1];
                self.hidden_bias[unit] -= back;
            }
            self.out_bias[0] -= error;
        }
    }
}

/// Two spirals, one of each class, and some points whose class is wrong.
fn spirals() -> Vec<([f32; 2], bool)> {
    let point = |n: usize| {
        let (turn, label) = (n as f32 / POINTS as f32, n.is_multiple_of(2));
        let angle = 1.2 * TAU * turn + if label { 0.0 } else { TAU / 2.0 };
        let is_wrong = n % 7 == 3;
        (
            [2.0 * turn * angle.cos(), 2.0 * turn * angle.sin()],
            label != is_wrong,
        )
    };
    (0..POINTS).map(point).collect()
}

fn train(logger: &Logger) -> Result<()> {
    let (points, mut net) = (spirals(), Net::new());
    let labels: Vec<bool> = points.iter().map(|(_, label)| *label).collect();
    for step in 0..STEPS {
        let scores: Vec<f32> = points
            .iter()
            .map(|(point, _)| net.score(*point).0)
            .collect();
        let error = |(score, label): (&f32, &bool)| (score - f32::from(u8::from(*label))).powi(2);
        let loss = scores.iter().zip(&labels).map(error).sum::<f32>() / POINTS as f32;
        let right = scores
            .iter()
            .zip(&labels)
            .filter(|(score, label)| (**score > 0.5) == **label);
        let accuracy = right.count() as f32 / POINTS as f32;
        logger.log_scalars(
            &[
                ("loss/train", Scalar::from(&loss)),
                ("accuracy", accuracy.into()),
                ("band/mean", loss.into()),
                ("band/low", (0.8 * loss).into()),
                ("band/high", (1.2 * loss).into()),
            ],
            step,
        )?;
        let halves = [
            ("early", scores[..POINTS / 2].iter()),
            ("late", scores[POINTS / 2..].iter()),
        ];
        let means = halves.map(|(name, part)| (name, part.sum::<f32>() * 2.0 / POINTS as f32));
        logger.log_scalars_chart("mean score", &means, step)?;
        if step % 10 == 9 {
            logger.log_histogram("scores", &scores, step)?;
            logger.log_pr_curve("spiral", PrCurve::new(&labels, &scores), step)?;
            logger.log_image(
                "decision",
                Image::from_pixels(&plane(&net, 64), 64, 64, 1),
                step,
            )?;
        }
        net.step(&points, 0.1);
        let model = [
            ("hidden.weight", &net.hidden),
            ("hidden.bias", &net.hidden_bias),
            ("out.weight", &net.out),
            ("out.bias", &net.out_bias),
        ];
        logger.log_weights(&model, step)?;
        if step == 0 {
            logger.log_graph(&model)?;
        }
    }
    embedding(logger, &net, &points)
}

/// What the network says of a square of the plane.
fn plane(net: &Net, side: usize) -> Vec<f32> {
    let at = |n: usize| 4.0 * n as f32 / side as f32 - 2.0;
    let pixels = (0..side * side).map(|n| net.score([at(n % side), at(n / side)]).0);
    pixels.collect()
}

/// The hidden units of each point, with its class and its place, and a picture of the place.
fn embedding(logger: &Logger, net: &Net, points: &[([f32; 2], bool)]) -> Result<()> {
    let hidden: Vec<f32> = points
        .iter()
        .flat_map(|(point, _)| net.score(*point).1)
        .collect();
    let rows = points.iter().map(|([x, y], label)| {
        let class = if *label { "one" } else { "other" };
        [class.to_owned(), format!("{x:.2}, {y:.2}")]
    });
    let pixels: Vec<Vec<u8>> = points
        .iter()
        .map(|(point, label)| dot(*point, *label))
        .collect();
    let pictures = pixels
        .iter()
        .map(|pixels| Image::from_pixels(pixels, 16, 16, 3));
    let embedding = Embedding::new(&hidden, HIDDEN)
        .label_table(["class", "place"], rows)
        .pictures(pictures);
    logger.log_embedding("hidden", embedding, STEPS)
}

/// A dot in a square of 16 pixels.
fn dot([x, y]: [f32; 2], label: bool) -> Vec<u8> {
    let place = |at: f32| ((at + 2.0) * 3.75) as usize;
    let color = if label {
        [230, 100, 20]
    } else {
        [20, 100, 230]
    };
    let pixel = |n: usize| {
        let near = |at: usize, of: f32| at.abs_diff(place(of)) <= 1;
        match near(n % 16, x) && near(n / 16, y) {
            true => color,
            false => [235, 235, 235],
        }
    };
    (0..256).flat_map(pixel).collect()
}

fn sounds(logger: &Logger) -> Result<()> {
    let rate = 8000;
    let tone = |hertz: f32| -> Vec<f32> {
        let at = |n: u32| 0.4 * (TAU * hertz * n as f32 / rate as f32).sin();
        (0..rate).map(at).collect()
    };
    logger.log_audio("a440", Audio::mono(&tone(440.0), rate), 0)?;
    let (left, right) = (tone(262.0), tone(330.0));
    logger.log_audio("third", Audio::stereo(&left, &right, rate), 0)
}

/// A torus, and a cloud of points.
fn shapes(logger: &Logger) -> Result<()> {
    const AROUND: usize = 48;
    const ACROSS: usize = 24;
    let angles = |n: usize| {
        let around = TAU * (n / ACROSS) as f32 / AROUND as f32;
        (around, TAU * (n % ACROSS) as f32 / ACROSS as f32)
    };
    let vertex = |n: usize| {
        let (around, across) = angles(n);
        let from_axis = 2.0 + 0.7 * across.cos();
        [
            from_axis * around.cos(),
            from_axis * around.sin(),
            0.7 * across.sin(),
        ]
    };
    let color = |n: usize| {
        let (around, across) = angles(n);
        let level = |angle: f32| (127.0 * (1.0 + angle.sin())) as u8;
        [level(around), level(across), 160]
    };
    let face = |n: usize| {
        let at = |around: usize, across: usize| {
            ((n / ACROSS + around) % AROUND * ACROSS + (n % ACROSS + across) % ACROSS) as i32
        };
        [at(0, 0), at(1, 0), at(1, 1), at(0, 0), at(1, 1), at(0, 1)]
    };
    let vertices: Vec<f32> = (0..AROUND * ACROSS).flat_map(vertex).collect();
    let colors: Vec<u8> = (0..AROUND * ACROSS).flat_map(color).collect();
    let faces: Vec<i32> = (0..AROUND * ACROSS).flat_map(face).collect();
    logger.log_mesh(
        "torus",
        Mesh::new(&vertices).faces(&faces).colors(&colors),
        0,
    )?;
    logger.log_mesh("cloud", Mesh::new(&vertices).colors(&colors), 0)
}

fn pictures(logger: &Logger) -> Result<()> {
    let filters: Vec<Vec<f32>> = (0..16)
        .map(|n| {
            (0..64)
                .map(|at| 0.5 + 0.5 * ((at * (n + 1)) as f32 * 0.2).sin())
                .collect()
        })
        .collect();
    let filters = filters
        .iter()
        .map(|filter| Image::from_pixels(filter, 8, 8, 1));
    logger.log_images("filters", filters, 0)?;
    let frame = |time: usize| -> Vec<u8> {
        let level = |n: usize| {
            let (x, y) = ((n % 48) as f32 - 24.0, (n / 48) as f32 - 24.0);
            let wave = (0.5 * (x * x + y * y).sqrt() - TAU * time as f32 / 12.0).cos();
            (127.0 * (1.0 + wave)) as u8
        };
        (0..48 * 48).map(level).collect()
    };
    let frames: Vec<Vec<u8>> = (0..12).map(frame).collect();
    let frames = frames
        .iter()
        .map(|frame| Image::from_pixels(frame, 48, 48, 1));
    logger.log_video("ripple", frames, 12.0, 0)?;
    let (width, height) = (240, 120);
    logger.log_figure(
        "sine",
        width,
        height,
        |rgb| draw_sine(rgb, width, height),
        0,
    )
}

/// Any library that draws into a buffer of pixels fits here, in a function that may return an
/// error. With `plotters` 0.3.7 and its features `bitmap_backend` and `line_series`:
///
/// ```text
/// let area = BitMapBackend::with_buffer(rgb, (width as u32, height as u32)).into_drawing_area();
/// let mut chart = ChartBuilder::on(&area).build_cartesian_2d(0.0..6.3, -1.0..1.0)?;
/// let sine = (0..63).map(|n| f64::from(n) / 10.0).map(|x| (x, x.sin()));
/// chart.draw_series(LineSeries::new(sine, &RED))?;
/// Ok(area.present()?)
/// ```
fn draw_sine(rgb: &mut [u8], width: usize, height: usize) {
    for x in 0..width {
        let level = (TAU * 2.0 * x as f32 / width as f32).sin();
        let y = ((1.0 - 0.9 * level) * 0.5 * (height - 1) as f32) as usize;
        for y in [y, y.saturating_sub(1)] {
            let pixel = (y * width + x) * 3;
            rgb[pixel..pixel + 3].copy_from_slice(&[200, 30, 30]);
        }
    }
}

/// Trials with hyperparameters, some of which have one more.
fn sweep(logdir: &std::path::Path) -> Result<()> {
    for (trial, rate) in [0.001_f64, 0.01, 0.1, 1.0].into_iter().enumerate() {
        let mut name = String::from("sweep/rate_");
        let _ = write!(name, "{rate}");
        let logger = Logger::create(logdir.join(name))?;
        let mut params = HParams::new()
            .with("rate", rate)
            .with("optimizer", if trial % 2 == 0 { "sgd" } else { "adam" })
            .with("augment", trial > 1);
        if trial == 3 {
            params = params.with("warmup", 100);
        }
        logger.log_hparams(params)?;
        for step in 0..20 {
            let accuracy = 1.0 - (-f64::from(step) * rate.sqrt()).exp() * 0.9;
            logger.log_scalar("hparam/accuracy", accuracy, step)?;
        }
        logger.close()?;
    }
    Ok(())
}
