//! Writes the same values as `tests/parity/parity.py` does with `torch.utils.tensorboard`, every
//! kind under the same tag, for the comparison of both.
//!
//!     parity LOGDIR GRAPH        GRAPH: the serialized graph that the other one wrote

use std::error::Error;
use std::fs;
use std::path::Path;

use tch_tensorboard::{
    Audio, ChartCategory, CustomChart, Embedding, HParams, Image, Logger, Mesh, PrCurve,
};

/// The same numbers as in `parity.py`: a multiple of a thousandth each, as PyTorch divides them.
fn number(seed: u32, place: u32) -> f32 {
    let thousandths = (place * 7919 + seed * 104_729) % 1000;
    thousandths as f32 / 1000.0
}

fn numbers(seed: u32, count: u32) -> Vec<f32> {
    (0..count).map(|place| number(seed, place)).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(logdir), Some(graph)) = (args.next(), args.next()) else {
        return Err("usage: parity LOGDIR GRAPH".into());
    };
    let logdir = Path::new(&logdir);
    let logger = Logger::create(logdir.join("run"))?;
    scalars(&logger)?;
    pictures(&logger)?;
    logger.log_text("text", "| a | b |\n| --- | --- |\n| **1** | 2 |", 0)?;
    logger.log_graph_def(&fs::read(graph)?)?;
    logger.log_histogram("histogram", &numbers(9, 500), 0)?;
    let clip: Vec<f32> = numbers(4, 4000).iter().map(|x| 2.4 * x - 1.2).collect();
    logger.log_audio("audio", Audio::mono(&clip, 8000), 0)?;
    curves(&logger)?;
    let vertices = numbers(6, 30);
    let colors: Vec<u8> = (0..30).map(|n| (n * 8) as u8).collect();
    let faces: Vec<i32> = (0..24).map(|n| n % 10).collect();
    let mesh = Mesh::new(&vertices).faces(&faces).colors(&colors);
    let mesh = mesh.config_json(r#"{"camera": {"cls": "PerspectiveCamera", "fov": 75}}"#);
    logger.log_mesh("mesh", mesh, 0)?;
    embedding(&logger)?;
    logger.close()?;
    let trial = Logger::create(logdir.join("trial"))?;
    let params = HParams::new()
        .with("rate", 0.125)
        .with("layers", 3)
        .with("optimizer", "adam");
    trial.log_hparams(params.with("augment", true))?;
    trial.log_scalars(&[("hparam/accuracy", 0.875), ("hparam/loss", 0.25)], 7)?;
    Ok(trial.close()?)
}

fn scalars(logger: &Logger) -> Result<(), Box<dyn Error>> {
    logger.log_layout(&[ChartCategory::new(
        "Own",
        [
            CustomChart::lines("Lines", ["scalar", "scalars/one"]),
            CustomChart::band("Band", "scalar", "scalars/one", "scalars/two"),
        ],
    )])?;
    for step in 0..20_u32 {
        logger.log_scalar("scalar", number(1, step), step)?;
        let values = [("one", number(2, step)), ("two", number(3, step))];
        logger.log_scalars_chart("scalars", &values, step)?;
    }
    Ok(())
}

fn pictures(logger: &Logger) -> Result<(), Box<dyn Error>> {
    // Channel after channel, as the tensor of the other one lies.
    let planes = numbers(5, 3 * 8 * 12);
    let pixel = |n: usize| [0, 96, 192].map(|plane| planes[plane + n]);
    let pixels: Vec<f32> = (0..96).flat_map(pixel).collect();
    logger.log_image("image", Image::from_pixels(&pixels, 12, 8, 3), 0)?;
    let batch = numbers(7, 10 * 4 * 5);
    let images = batch
        .chunks_exact(20)
        .map(|pixels| Image::from_pixels(pixels, 5, 4, 1));
    logger.log_images("images", images.clone(), 0)?;
    logger.log_video("video", images, 4.0, 0)?;
    let draw = |rgb: &mut [u8]| {
        for (place, level) in rgb.iter_mut().enumerate() {
            *level = (place % 251) as u8;
        }
    };
    Ok(logger.log_figure("figure", 10, 6, draw, 0)?)
}

fn curves(logger: &Logger) -> Result<(), Box<dyn Error>> {
    let scores = numbers(8, 1000);
    let labels: Vec<bool> = (0..1000).map(|n| n % 3 == 0).collect();
    logger.log_pr_curve("curve", PrCurve::new(&labels, &scores).thresholds(100), 0)?;
    let (tp, fp) = ([75_u64, 64, 21, 5, 0], [150_u64, 105, 18, 0, 0]);
    let (tn, fns) = ([0_u64, 45, 132, 150, 150], [0_u64, 11, 54, 70, 75]);
    logger.log_pr_curve("raw_curve", PrCurve::from_counts(&tp, &fp, &tn, &fns), 0)?;
    // Beyond what the other one can write.
    let large = [(1_u64 << 24) + 1, 1 << 24, 3, 1];
    let curve = PrCurve::from_counts(&large, &large, &large, &large);
    Ok(logger.log_pr_curve("large_curve", curve, 0)?)
}

fn embedding(logger: &Logger) -> Result<(), Box<dyn Error>> {
    let vectors = numbers(10, 5 * 4);
    let rows = (0..5).map(|n| [format!("name {n}"), format!("{}", n % 2)]);
    let planes = numbers(11, 5 * 3 * 2 * 2);
    let pictures: Vec<Vec<f32>> = planes
        .chunks_exact(12)
        .map(|planes| {
            (0..4)
                .flat_map(|n| [planes[n], planes[4 + n], planes[8 + n]])
                .collect()
        })
        .collect();
    let pictures = pictures
        .iter()
        .map(|pixels| Image::from_pixels(pixels, 2, 2, 3));
    let embedding = Embedding::new(&vectors, 4)
        .label_table(["name", "class"], rows)
        .pictures(pictures);
    Ok(logger.log_embedding("embedding", embedding, 3)?)
}
