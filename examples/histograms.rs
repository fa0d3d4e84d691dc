//! Logs histograms of plain slices: `cargo run --example histograms`, then `tensorboard --logdir
//! runs`.
//!
//! On screen: the directory. In TensorBoard, under *Histograms*: `activations/narrowing`, a bell
//! that becomes narrower while it moves to the right, and `activations/dying`, whose values below
//! zero are cut off, so that more and more of them stand in a spike at 0; under *Distributions* the
//! same as bands. Needs no libtorch: `--no-default-features` builds it too.

use tch_tensorboard::Logger;

const VALUES: usize = 10_000;

fn main() -> anyhow::Result<()> {
    let logdir = std::env::args()
        .nth(1)
        .unwrap_or("runs/histograms".to_owned());
    let logger = Logger::create(logdir)?;
    for step in 0..50 {
        let progress = step as f32 / 50.0;
        let narrowing = bell(2.0 * progress, 1.0 - 0.8 * progress);
        logger.log_histogram("activations/narrowing", &narrowing, step)?;
        let dying: Vec<f32> = bell(1.0 - 3.0 * progress, 1.0)
            .iter()
            .map(|x| x.max(0.0))
            .collect();
        logger.log_histogram("activations/dying", &dying, step)?;
    }
    println!("written to {}", logger.logdir().display());
    logger.close()?;
    println!(
        "look at it with: tensorboard --logdir {}",
        logger.logdir().display()
    );
    Ok(())
}

/// Quantiles of a logistic distribution, which looks much like a normal one.
fn bell(mean: f32, scale: f32) -> Vec<f32> {
    let quantile = |i| (i as f32 + 0.5) / VALUES as f32;
    (0..VALUES)
        .map(quantile)
        .map(|p| mean + 0.5 * scale * (p / (1.0 - p)).ln())
        .collect()
}
