//! What logging costs, in units of one plain copy of the same tensors.
//!
//! ```sh
//! cargo bench --bench logger                          # everything; some minutes
//! cargo bench --bench logger -- caller cpu resnet18   # these sections for this model
//! cargo bench --bench logger -- caller 8x400000       # for 8 tensors of 400000 elements
//! ```
//!
//! Prints Markdown. Times are minimum / median / maximum over the calls of a run. Each call and its
//! yardstick are taken in turn in one run, under the same load, so that the ratio stands on a
//! machine that is not quiet, too.

mod measure;
mod model;
mod yardstick;

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use measure::{Summary, digits, resident, seconds, thread_cpu, worker_cpu};
use model::Model;
use tch_tensorboard::{Cadence, Logger, WeightOptions};
use yardstick::Yardstick;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Calls before the first one that counts: the first makes plan, tables and buffers.
const WARM_UP: u64 = 6;
/// Rounds over all sizes, of which the least median counts.
const GROWTH_ROUNDS: u32 = 3;
/// Copies that stand for a training step between two calls.
const STEP_OF_COPIES: usize = 8;

fn main() -> Result {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    if let [section, name] = words.as_slice()
        && section == "memory-of"
    {
        return memory_of(name);
    }
    let sections = ["caller", "cpu", "growth", "memory", "bytes", "scalars"];
    let asked = |known: &[&str]| {
        known
            .iter()
            .any(|known| words.iter().any(|word| word == known))
    };
    let is_model = |word: &str| model::NAMES.contains(&word) || model::sizes(word).is_some();
    if let Some(word) = words
        .iter()
        .find(|word| !sections.contains(&word.as_str()) && !is_model(word))
    {
        return Err(format!(
            "{word:?} is neither a section ({}) nor a model ({}, or MxN for M tensors of N \
             elements)",
            sections.join(", "),
            model::NAMES.join(", ")
        )
        .into());
    }
    let mut names: Vec<&str> = words.iter().map(String::as_str).collect();
    names.retain(|name| is_model(name));
    if names.is_empty() {
        names = model::NAMES.to_vec();
    }
    let all = !asked(&sections);
    println!(
        "CPU: {}; libtorch threads: {}",
        measure::cpu_name(),
        tch::get_num_threads()
    );
    let chosen = |section: &str| all || words.iter().any(|word| word == section);
    if chosen("caller") {
        caller(&names)?;
    }
    if chosen("cpu") {
        cpu(&names)?;
    }
    if chosen("growth") {
        growth()?;
    }
    if chosen("memory") {
        memory(&names)?;
    }
    if chosen("bytes") {
        bytes(&names)?;
    }
    if chosen("scalars") {
        scalars()?;
    }
    Ok(())
}

fn model_of(name: &str) -> Result<Model> {
    Model::new(name).ok_or_else(|| format!("no model is called {name:?}").into())
}

/// A logger that writes everything at each call.
fn logger(dir: &Path) -> Result<Logger> {
    let weights = WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall);
    Ok(Logger::builder(dir.join("run")).weights(weights).create()?)
}

/// What happens between two calls, beside the optimizer's step.
#[derive(Clone, Copy)]
enum Between {
    /// Single-threaded copies of the model.
    Copies(usize),
    /// As many of them as fill a time.
    Busy(Duration),
}

impl Between {
    fn work(self, yardstick: &mut Yardstick) {
        match self {
            Between::Copies(copies) => (0..copies).for_each(|_| yardstick.memcpy()),
            Between::Busy(time) => {
                let since = Instant::now();
                while since.elapsed() < time {
                    yardstick.memcpy();
                }
            }
        }
    }

    fn name(self) -> String {
        match self {
            Between::Copies(0) => "nothing".into(),
            Between::Copies(copies) => format!("{copies} copies"),
            Between::Busy(time) => format!("{} ms busy", time.as_millis()),
        }
    }
}

/// Time that `log_weights` holds its caller.
fn caller(names: &[&str]) -> Result {
    println!("\n### Caller's time of `log_weights`, µs\n");
    println!(
        "| model | between calls | log_weights | of it waiting, mean | memcpy | copy_ | medians: \
         log / better copy | minima |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for name in names {
        let mut model = model_of(name)?;
        let calls = if model.elements() > 50_000_000 {
            24
        } else if model.elements() > 1_000_000 {
            100
        } else {
            1000
        };
        for between in [
            Between::Copies(STEP_OF_COPIES),
            Between::Busy(Duration::from_millis(10)),
            Between::Copies(0),
        ] {
            if matches!(between, Between::Busy(_)) && model.elements() > 1_000_000 {
                continue;
            }
            caller_row(&mut model, between, calls)?;
        }
    }
    Ok(())
}

fn caller_row(model: &mut Model, between: Between, calls: u64) -> Result {
    let dir = tempfile::tempdir()?;
    let logger = logger(dir.path())?;
    let mut yardstick = Yardstick::of(model);
    let [mut logged, mut plain, mut torch] = [const { Vec::new() }; 3];
    let mut waited = Duration::ZERO;
    for call in 0..WARM_UP + calls {
        match between {
            Between::Copies(copies) => {
                Between::Copies(copies.saturating_sub(2)).work(&mut yardstick)
            }
            busy => busy.work(&mut yardstick),
        }
        // As in training: what the optimizer has just read and written is what is logged.
        model.step();
        // The yardstick is one of the copies, near the end of the step and under the same load as
        // the call. After `copy_` libtorch's threads spin for a while; such calls are made, and not
        // counted.
        let (is_plain, warm) = (call % 4 != 0, call >= WARM_UP);
        let time = seconds(|| {
            if is_plain {
                yardstick.memcpy()
            } else {
                yardstick.copy_()
            }
        });
        if !matches!(between, Between::Copies(0)) {
            yardstick.memcpy();
        }
        let before = logger.stats().waited;
        let mut result = Ok(());
        let held = seconds(|| result = logger.log_weights(&model.store, call));
        result?;
        if warm {
            if is_plain {
                plain.push(time);
                logged.push(held);
                waited += logger.stats().waited - before;
            } else {
                torch.push(time);
            }
        }
    }
    logger.close()?;
    let times = logged.len();
    let [logged, plain, torch] =
        [logged, plain, torch].map(|times| Summary::of(&times).scaled(1e6));
    println!(
        "| {} | {} | {logged} | {} | {plain} | {torch} | {} | {} |",
        model.name,
        between.name(),
        digits(waited.as_secs_f64() * 1e6 / times as f64),
        digits(logged.median / plain.median.min(torch.median)),
        digits(logged.min / plain.min.min(torch.min)),
    );
    Ok(())
}

/// CPU time of all threads for one step, the caller's copy included.
fn cpu(names: &[&str]) -> Result {
    println!("\n### CPU time of all threads a step, ms\n");
    println!(
        "| model | log_weights and all that follows | one single-threaded copy | medians: ratio | \
         minima |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for name in names {
        let mut model = model_of(name)?;
        let steps = if model.elements() > 50_000_000 {
            12
        } else {
            40
        };
        let (logged, plain) = cpu_of(&mut model, steps)?;
        println!(
            "| {name} | {logged} | {plain} | {} | {} |",
            digits(logged.median / plain.median),
            digits(logged.min / plain.min)
        );
    }
    Ok(())
}

fn cpu_of(model: &mut Model, steps: u64) -> Result<(Summary, Summary)> {
    let dir = tempfile::tempdir()?;
    let logger = logger(dir.path())?;
    let mut yardstick = Yardstick::of(model);
    let [mut logged, mut plain] = [const { Vec::new() }; 2];
    for step in 0..WARM_UP + steps {
        model.step();
        let mut result = Ok(());
        let mut caller = 0.0;
        let worker = worker_cpu(|| {
            caller = thread_cpu(|| {
                result = logger
                    .log_weights(&model.store, step)
                    .and_then(|()| logger.flush());
            });
        });
        result?;
        let time = caller + worker;
        if step >= WARM_UP {
            logged.push(time);
            plain.push(thread_cpu(|| yardstick.memcpy()));
        }
    }
    logger.close()?;
    let [logged, plain] = [logged, plain].map(|times| Summary::of(&times).scaled(1e3));
    Ok((logged, plain))
}

/// CPU time from 10 thousand to 100 million parameters in eight tensors.
fn growth() -> Result {
    println!("\n### CPU time of all threads a step as eight tensors grow\n");
    println!("| parameters | ms a step | ns a parameter | against the line | copies |");
    println!("| --- | --- | --- | --- | --- |");
    let sizes = [
        1_250, 4_000, 12_500, 40_000, 125_000, 400_000, 1_250_000, 4_000_000, 12_500_000,
    ];
    let mut rows = sizes.map(|elements| (8.0 * f64::from(elements), f64::INFINITY, f64::INFINITY));
    // A machine that is slow for some seconds is so for one size only.
    for _ in 0..GROWTH_ROUNDS {
        for (elements, row) in sizes.into_iter().zip(&mut rows) {
            let mut model = Model::of("growing", &model::equal(8, i64::from(elements)));
            let steps = if elements > 1_000_000 { 12 } else { 60 };
            let (logged, plain) = cpu_of(&mut model, steps)?;
            (row.1, row.2) = (row.1.min(logged.median), row.2.min(plain.median));
        }
    }
    let (slope, fixed) = line(
        &rows
            .iter()
            .map(|&(count, logged, _)| (count, logged))
            .collect::<Vec<_>>(),
    );
    for (count, logged, plain) in rows {
        println!(
            "| {count} | {} | {} | {} % | {} |",
            digits(logged),
            digits(logged * 1e6 / count),
            digits(100.0 * (logged / (fixed + slope * count) - 1.0)),
            digits(logged / plain)
        );
    }
    println!(
        "\nLine: {} µs + {} ns a parameter (least squares of relative errors).",
        digits(fixed * 1e3),
        digits(slope * 1e6)
    );
    Ok(())
}

/// Slope and intercept of the line with the least relative errors.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let [mut s, mut sx, mut sy, mut sxx, mut sxy] = [0.0; 5];
    for &(x, y) in points {
        let weight = 1.0 / (y * y);
        s += weight;
        sx += weight * x;
        sy += weight * y;
        sxx += weight * x * x;
        sxy += weight * x * y;
    }
    let slope = (s * sxy - sx * sy) / (s * sxx - sx * sx);
    (slope, (sy - slope * sx) / s)
}

/// Memory above the model, each model in a process of its own.
fn memory(names: &[&str]) -> Result {
    println!("\n### Host memory above the model\n");
    println!("| model | MB of weights | peak MB above | copies | at rest MB above | copies |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for name in names {
        let status = Command::new(std::env::current_exe()?)
            .args(["memory-of", name])
            .status()?;
        if !status.success() {
            return Err(format!("measuring the memory for {name} failed: {status}").into());
        }
    }
    Ok(())
}

fn memory_of(name: &str) -> Result {
    let mut model = model_of(name)?;
    model.step();
    let dir = tempfile::tempdir()?;
    let (_, before) = resident();
    measure::reset_peak();
    let logger = logger(dir.path())?;
    for call in 0..60_u64 {
        model.step();
        logger.log_weights(&model.store, call)?;
    }
    let (peak, _) = resident();
    for call in 60..140_u64 {
        model.step();
        logger.log_weights(&model.store, call)?;
        logger.flush()?;
    }
    let (_, rest) = resident();
    let copy = model.bytes() as f64;
    let [above, resting] = [peak - before, rest - before];
    println!(
        "| {name} | {} | {} | {} | {} | {} |",
        digits(copy / 1e6),
        digits(above / 1e6),
        digits(above / copy),
        digits(resting / 1e6),
        digits(resting / copy)
    );
    logger.close()?;
    Ok(())
}

/// What a step adds to the file.
fn bytes(names: &[&str]) -> Result {
    println!("\n### Bytes a step, everything at each call\n");
    println!("| model | first step | later steps |");
    println!("| --- | --- | --- |");
    for name in names {
        let mut model = model_of(name)?;
        let dir = tempfile::tempdir()?;
        let logger = logger(dir.path())?;
        let mut sizes = Vec::new();
        for step in 0..8_u64 {
            model.step();
            let before = logger.stats().bytes;
            logger.log_weights(&model.store, step)?;
            logger.flush()?;
            sizes.push((logger.stats().bytes - before) as f64);
        }
        println!(
            "| {name} | {} | {} |",
            sizes[0],
            Summary::of(&sizes[2..]).median
        );
        logger.close()?;
    }
    Ok(())
}

/// `log_scalar`: time on the caller, and how fast the writer empties the queue into a file.
fn scalars() -> Result {
    const BATCH: u64 = 1000;
    println!("\n### Scalars\n");
    let dir = tempfile::tempdir()?;
    let logger = Logger::create(dir.path().join("run"))?;
    let mut held = Vec::new();
    let mut step = 0_u64;
    for batch in 0..300 {
        let mut result = Ok(());
        let time = seconds(|| {
            for _ in 0..BATCH {
                step += 1;
                if let Err(error) = logger.log_scalar("loss/train", 1.0 / step as f64, step) {
                    result = Err(error);
                }
            }
        });
        result?;
        if batch >= 20 {
            held.push(time / BATCH as f64 * 1e9);
        }
        std::thread::sleep(Duration::from_millis(3));
    }
    logger.close()?;
    println!(
        "- held by `log_scalar`, mean of {BATCH} calls, 3 ms between them: {} ns",
        Summary::of(&held)
    );
    let mut rates = Vec::new();
    for _ in 0..5 {
        let dir = tempfile::tempdir()?;
        let logger = Logger::create(dir.path().join("run"))?;
        const ALL: u64 = 4_000_000;
        let mut result = Ok(());
        let time = seconds(|| {
            for step in 0..ALL {
                if let Err(error) = logger.log_scalar("loss/train", 0.5, step) {
                    result = Err(error);
                }
            }
            result = std::mem::replace(&mut result, Ok(())).and_then(|()| logger.flush());
        });
        result?;
        let stats = logger.stats();
        rates.push(ALL as f64 / time / 1e6);
        if stats.dropped > 0 || stats.errors > 0 {
            return Err(format!("scalars were lost: {stats:?}").into());
        }
        logger.close()?;
    }
    println!(
        "- drained into a file while one thread logs without pause: {} million a second",
        Summary::of(&rates)
    );
    Ok(())
}
