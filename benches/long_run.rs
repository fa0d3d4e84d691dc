//! A long run of a transformer with the default options: 300 tensors, 100 000 calls of
//! `log_weights`, with tensors so small that it takes a minute or two. The file's size depends on
//! tags and points, hardly on how many elements a tensor has.
//!
//! `cargo bench --bench long_run -- DIR [CALLS]`, then `benches/board_load.py DIR`; or `make
//! bench-long-run` for both.

#[path = "logger/model.rs"]
#[allow(dead_code)] // shared with the other benches
mod model;

use std::time::Instant;

use tch_tensorboard::{Logger, Overhead};

/// Elements of a matrix and of a vector: more than the 64 that a histogram shows one by one.
const MATRIX: [i64; 2] = [16, 24];
const VECTOR: [i64; 1] = [96];
const CALLS: u64 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let Some(directory) = words.first() else {
        println!("usage: long_run DIR [CALLS]");
        return Ok(());
    };
    let calls = words.get(1).map_or(Ok(CALLS), |calls| calls.parse())?;
    // libtorch's threads would cost more than these tensors.
    tch::set_num_threads(1);
    let mut model = model::Model::of("transformer", &transformer());
    let logger = Logger::builder(directory);
    let logger = logger.overhead(Overhead::Unlimited).create()?;
    let since = Instant::now();
    for call in 0..calls {
        model.step();
        logger.log_weights(&model.store, call)?;
        logger.log_scalar("loss/train", 1.0 / (call + 1) as f64, call)?;
    }
    logger.close()?;
    println!(
        "{} tensors, {calls} calls in {:.1} s: {} bytes in {}",
        model.tensors().count(),
        since.elapsed().as_secs_f64(),
        logger.stats().bytes,
        logger.logdir().display()
    );
    Ok(())
}

/// 25 blocks of 12 tensors, named as in GPT-2.
fn transformer() -> Vec<(String, Vec<i64>)> {
    let mut shapes = Vec::new();
    for block in 0..25 {
        for layer in [
            "ln_1",
            "attn.c_attn",
            "attn.c_proj",
            "ln_2",
            "mlp.c_fc",
            "mlp.c_proj",
        ] {
            let weight = if layer.starts_with("ln") {
                VECTOR.to_vec()
            } else {
                MATRIX.to_vec()
            };
            shapes.push((format!("h.{block}.{layer}.weight"), weight));
            shapes.push((format!("h.{block}.{layer}.bias"), VECTOR.to_vec()));
        }
    }
    shapes
}
