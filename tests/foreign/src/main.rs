//! Trains a small model on made-up data and logs it as the README says.
//!
//! `foreign RUN STEPS [mlp|cnn|tiny] [libtorch threads]`; with `TCH_TENSORBOARD=off` nothing is
//! logged. Prints the report, and in a last line what was spent: seconds on the clock, CPU seconds
//! of the process and of the writer thread behind the first 20 steps, seconds on the clock in
//! `log_weights`, CPU seconds that the logger itself has counted, and how many steps were not
//! observed.

use std::time::{Duration, Instant};

use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::Logger;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let word = |place: usize| words.get(place).map(String::as_str);
    let run = word(1).ok_or("which run?")?;
    let steps: i64 = word(2).unwrap_or("120").parse()?;
    let kind = word(3).unwrap_or("mlp");
    if let Some(threads) = word(4) {
        tch::set_num_threads(threads.parse()?);
    }
    tch::manual_seed(1);
    let vs = nn::VarStore::new(Device::Cpu);
    let (model, sizes, batch) = model(&vs.root(), kind);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let x = Tensor::randn(
        [&[batch], sizes.as_slice()].concat(),
        (Kind::Float, Device::Cpu),
    );
    let y = Tensor::randint(10, [batch], (Kind::Int64, Device::Cpu));
    let logger = match std::env::var("TCH_TENSORBOARD").as_deref() {
        Ok("off") => None,
        _ => Some(Logger::create(run)?),
    };
    let (mut began, mut called, mut spent) = (None, Duration::ZERO, Duration::ZERO);
    for step in 0..steps {
        if step == steps.min(20) {
            began = Some(Spent::now());
            spent = logger
                .as_ref()
                .map(|logger| logger.stats().spent)
                .unwrap_or_default();
            called = Duration::ZERO;
        }
        let loss = model.forward_t(&x, true).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        if let Some(logger) = &logger {
            logger.log_scalar("loss/train", &loss, step)?;
            let since = Instant::now();
            logger.log_weights(&vs, step)?;
            called += since.elapsed();
        }
    }
    let (began, mut now) = (began.ok_or("too few steps")?, Spent::now());
    let mut unobserved = 0;
    if let Some(logger) = logger {
        println!("{}", logger.weight_report()?);
        now = Spent::now();
        unobserved = logger.stats().unobserved;
        spent = logger.stats().spent - spent;
        logger.close()?;
    }
    println!(
        "spent: {:.4} {:.4} {:.4} {:.4} {:.4} {unobserved}",
        (now.clock - began.clock).as_secs_f64(),
        (now.process - began.process).as_secs_f64(),
        (now.writer - began.writer).as_secs_f64(),
        called.as_secs_f64(),
        spent.as_secs_f64()
    );
    Ok(())
}

fn model(root: &nn::Path, kind: &str) -> (nn::SequentialT, Vec<i64>, i64) {
    let linear = |name: &str, from, to| nn::linear(root / name, from, to, Default::default());
    let conv = |name: &str, from, to| nn::conv2d(root / name, from, to, 3, Default::default());
    let mlp = |hidden: i64| {
        nn::seq_t()
            .add(linear("fc1", 784, 4 * hidden))
            .add_fn(|x| x.relu())
            .add(linear("fc2", 4 * hidden, hidden))
            .add_fn(|x| x.relu())
            .add(linear("fc3", hidden, 10))
    };
    match kind {
        "tiny" => (mlp(8), vec![784], 32),
        "cnn" => {
            let net = nn::seq_t()
                .add(conv("conv1", 1, 16))
                .add_fn(|x| x.relu())
                .add(conv("conv2", 16, 32))
                .add_fn(|x| x.relu().flatten(1, -1))
                .add(linear("fc1", 32 * 4 * 4, 64))
                .add_fn(|x| x.relu())
                .add(linear("fc2", 64, 10));
            (net, vec![1, 8, 8], 64)
        }
        _ => (mlp(256), vec![784], 128),
    }
}

/// Clocks so far.
struct Spent {
    clock: Instant,
    process: Duration,
    writer: Duration,
}

impl Spent {
    fn now() -> Spent {
        let (mut process, mut writer) = (Duration::ZERO, Duration::ZERO);
        for task in std::fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            let computed = computed(&task.path().join("schedstat"));
            process += computed;
            if name.trim() == "tch-tensorboard" {
                writer += computed;
            }
        }
        Spent {
            clock: Instant::now(),
            process,
            writer,
        }
    }
}

/// The first number of a `schedstat`: nanoseconds on a core.
fn computed(path: &std::path::Path) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}
