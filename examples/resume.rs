//! A run that outlives its process: stop it at any moment, start it again, and it goes on behind
//! its last checkpoint.
//!
//!     cargo run --example resume -- runs/resume        until step 200
//!     cargo run --example resume -- runs/resume 73     ends at once, as if killed, after 73 steps
use std::fs;
use std::path::Path;

use tch_tensorboard::Logger;

const STEPS: i64 = 200;
const CHECKPOINT_EVERY: i64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let logdir = arguments.next().unwrap_or("runs/resume".into());
    let killed_after: Option<i64> = arguments.next().map(|steps| steps.parse()).transpose()?;

    // What a checkpoint holds: the step it was saved behind, and the weights.
    let checkpoint = Path::new(&logdir).join("checkpoint");
    let mut weights = vec![1.0_f64, -2.0, 0.5];
    let mut first = 0;
    if let Ok(saved) = fs::read_to_string(&checkpoint) {
        let mut words = saved.split_whitespace();
        first = words.next().unwrap_or_default().parse::<i64>()? + 1;
        weights = words.map(str::parse).collect::<Result<_, _>>()?;
    }
    // A new run, or behind the checkpoint: points of later steps are logged again, and replace
    // those of the killed process.
    let logger = Logger::builder(&logdir).resume_from(first).create()?;
    println!("going on at step {first}");
    for step in first..STEPS {
        weights.iter_mut().for_each(|weight| *weight *= 0.99); // the optimizer's part
        logger.log_scalar(
            "loss/train",
            weights.iter().map(|w| w * w).sum::<f64>(),
            step,
        )?;
        logger.log_weights(&("fc.weight", &weights), step)?;
        if step % CHECKPOINT_EVERY == 0 {
            // All that the checkpoint stands for is in the files before it is.
            logger.flush()?;
            let words: Vec<String> = weights.iter().map(f64::to_string).collect();
            let part = checkpoint.with_extension("part");
            fs::write(&part, format!("{step} {}", words.join(" ")))?;
            fs::rename(&part, &checkpoint)?;
        }
        if killed_after.is_some_and(|steps| step + 1 == first + steps) {
            logger.flush()?; // for the sake of the show: some points are taken back when it goes on
            std::process::exit(1);
        }
    }
    logger.close()?;
    Ok(())
}
