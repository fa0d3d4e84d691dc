//! Logs scalars of two runs that compare: `cargo run --example scalars`, then `tensorboard --logdir
//! runs`.
//!
//! On screen: the two directories. In TensorBoard, under *Scalars* or *Time series*: three charts
//! (`learning_rate`, `loss/train`, `loss/validation`) with one line for each run. The run with the
//! larger rate falls faster and settles higher. Needs no libtorch: `--no-default-features` builds
//! it too.

use std::path::PathBuf;

use tch_tensorboard::Logger;

fn main() -> anyhow::Result<()> {
    let root = PathBuf::from(std::env::args().nth(1).unwrap_or("runs/scalars".to_owned()));
    for rate in [0.02, 0.1] {
        let logger = Logger::create(root.join(format!("rate_{rate}")))?;
        for step in 0..500 {
            // What gradient descent does to a quadratic loss with noisy gradients.
            let noise = (step as f64 * 12.9898).sin() * rate;
            let loss = (1.0 - rate).powi(step) + rate + 0.3 * noise;
            logger.log_scalar("loss/train", loss, step)?;
            // Values that belong together go into one event.
            if step % 25 == 0 {
                logger.log_scalars(
                    &[("loss/validation", 1.1 * loss), ("learning_rate", rate)],
                    step,
                )?;
            }
        }
        println!("written to {}", logger.logdir().display());
        logger.close()?;
    }
    println!("look at it with: tensorboard --logdir {}", root.display());
    Ok(())
}
