//! What pictures cost.
//!
//! `pictures map` prints, as Markdown, what `weight_map` takes of the writer's CPU time, with and
//! without it in turn, and the bytes of its pictures. `pictures serve DIR` is the Rust side of
//! `make bench-pictures`: for each line read from standard input it logs an image of 224 x 224 x 3
//! numbers and answers with the nanoseconds that the caller was held. `pictures once TENSORS
//! ELEMENTS CALLS on|off` is one run of `map`, for a profiler.

#[path = "../logger/measure.rs"]
#[allow(dead_code, reason = "shared with benches/logger")]
mod measure;

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Instant;

use measure::{Summary, digits, process_cpu, thread_cpu};
use tch_tensorboard::{Image, LogDir, Logger, NamedTensors, PointValue, Visitor, WeightOptions};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Width and height of the image.
const SIDE: usize = 224;
const CHANNELS: usize = 3;

/// Tensors of so many elements, and how often they are logged.
const MODELS: [(usize, usize, i64); 6] = [
    (8, 256, 1000),
    (8, 10_000, 1000),
    (8, 100_000, 1000),
    (62, 256, 1000),
    (62, 8192, 1000),
    (300, 64, 1000),
];
const ROUNDS: usize = 5;

fn main() -> Result {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["map"] => map(),
        ["serve", dir] => serve(Path::new(dir)),
        ["once", tensors, elements, calls, map] => {
            let dir = tempfile::tempdir()?;
            let cpu = run(
                &dir.path().join("run"),
                (tensors.parse()?, elements.parse()?, calls.parse()?),
                *map == "on",
            )?;
            println!("{} ms of the writer", digits(cpu * 1e3));
            Ok(())
        }
        [] => {
            println!("run `make bench-pictures`; this program is its Rust side");
            Ok(())
        }
        _ => Err("usage: pictures map | serve DIR | once TENSORS ELEMENTS CALLS on|off".into()),
    }
}

fn serve(dir: &Path) -> Result {
    let logger = Logger::create(dir.join("ours"))?;
    let mut out = io::stdout().lock();
    let mut pixels = vec![0.5_f32; SIDE * SIDE * CHANNELS];
    for (step, line) in io::stdin().lock().lines().enumerate() {
        line?;
        let seed = step as f32 * 0.37;
        for (place, pixel) in pixels.iter_mut().enumerate() {
            *pixel = (place as f32 * 0.618 + seed).fract();
        }
        let nanos = log(&logger, &pixels, step)?;
        // As after a step of training: the writer has had the time to encode it.
        logger.flush()?;
        writeln!(out, "{nanos}")?;
        out.flush()?;
    }
    logger.close()?;
    Ok(())
}

/// The call takes a tensor, as `add_image` does.
#[cfg(feature = "tch")]
fn log(logger: &Logger, pixels: &[f32], step: usize) -> Result<u128> {
    let side = i64::try_from(SIDE)?;
    let shape = [i64::try_from(CHANNELS)?, side, side];
    let tensor = tch::Tensor::from_slice(pixels).reshape(shape);
    let since = Instant::now();
    let image = Image::from_tensor(&tensor, tch_tensorboard::ImageLayout::Chw);
    logger.log_image("image", image, step)?;
    Ok(since.elapsed().as_nanos())
}

#[cfg(not(feature = "tch"))]
fn log(logger: &Logger, pixels: &[f32], step: usize) -> Result<u128> {
    let since = Instant::now();
    let image = Image::from_pixels(pixels, SIDE, SIDE, CHANNELS);
    logger.log_image("image", image, step)?;
    Ok(since.elapsed().as_nanos())
}

fn map() -> Result {
    println!(
        "| tensors x elements, calls | writer's CPU without, ms | with, ms | the map, % | pictures \
         | largest, bytes | all, bytes |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for model in MODELS {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        let mut sizes = Vec::new();
        for _ in 0..ROUNDS {
            for (is_on, times) in [(false, &mut without), (true, &mut with)] {
                let dir = tempfile::tempdir()?;
                let path = dir.path().join("run");
                times.push(run(&path, model, is_on)? * 1e3);
                if is_on {
                    sizes = pictures(&path)?;
                }
            }
        }
        let (without, with) = (Summary::of(&without), Summary::of(&with));
        let (tensors, elements, calls) = model;
        println!(
            "| {tensors} x {elements}, {calls} | {without} | {with} | {} | {} | {} | {} |",
            digits((with.median / without.median - 1.0) * 100.0),
            sizes.len(),
            sizes.iter().max().unwrap_or(&0),
            sizes.iter().sum::<usize>(),
        );
    }
    Ok(())
}

/// Bytes of each picture of a run.
fn pictures(run: &Path) -> Result<Vec<usize>> {
    let mut sizes = Vec::new();
    for run in LogDir::open(run)?.runs() {
        for point in run.events().points() {
            let point = point?;
            if let (true, PointValue::Images { encoded, .. }) =
                (point.tag.starts_with("weight_map"), &point.value)
            {
                sizes.extend(encoded.iter().map(Vec::len));
            }
        }
    }
    Ok(sizes)
}

/// Logs a model that learns, but for one variable that rests and one that breaks, and returns the
/// CPU seconds of all threads but this one.
fn run(dir: &Path, (tensors, elements, calls): (usize, usize, i64), map: bool) -> Result<f64> {
    let mut model = Learner::new(tensors, elements);
    let logger = Logger::builder(dir)
        .weights(WeightOptions::new().weight_map(map))
        .create()?;
    let mut result = Ok(());
    let mut own = 0.0;
    let all = process_cpu(|| {
        own = thread_cpu(|| result = train(&logger, &mut model, calls));
    });
    result?;
    Ok(all - own)
}

fn train(logger: &Logger, model: &mut Learner, calls: i64) -> tch_tensorboard::Result<()> {
    for step in 0..calls {
        model.step(step as f32 / calls as f32);
        logger.log_scalar("loss", 1.0 / (step + 1) as f64, step)?;
        logger.log_weights(model, step)?;
    }
    logger.close()
}

struct Learner {
    variables: Vec<(String, Vec<f32>)>,
    noise: u64,
}

impl NamedTensors for Learner {
    fn visit(&self, visitor: &mut Visitor<'_>) -> tch_tensorboard::Result<()> {
        for (name, values) in &self.variables {
            (name.as_str(), values).visit(visitor)?;
        }
        Ok(())
    }
}

impl Learner {
    fn new(tensors: usize, elements: usize) -> Learner {
        let parts = [
            "attn.qkv.weight",
            "attn.qkv.bias",
            "mlp.fc.weight",
            "ln_1.weight",
        ];
        let names = (0..tensors).map(|n| format!("h.{}.{}", n / 4, parts[n % 4]));
        let mut learner = Learner {
            variables: Vec::new(),
            noise: 1,
        };
        for name in names {
            let values = (0..elements).map(|_| learner.random()).collect();
            learner.variables.push((name, values));
        }
        learner
    }

    /// From -0.5 to 0.5.
    fn random(&mut self) -> f32 {
        self.noise = self
            .noise
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.noise >> 40) as f32 / (1 << 24) as f32 - 0.5
    }

    fn step(&mut self, share: f32) {
        let mut variables = std::mem::take(&mut self.variables);
        for (place, (_, values)) in variables.iter_mut().enumerate() {
            let rate = 10_f32.powf(-1.5 - 1.5 * share - (place % 4) as f32 * 0.6);
            match place {
                6 => continue,
                3 if share == 0.75 => values[0] = f32::NAN,
                _ => {}
            }
            for value in values {
                let pull = if *value > 0.0 { 0.9 } else { 1.0 };
                *value += rate * self.random() * pull;
            }
        }
        self.variables = variables;
    }
}
