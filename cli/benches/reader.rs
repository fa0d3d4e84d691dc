//! How fast the program reads: megabytes of event files a second, by subcommand and kind of log.
//!
//! `cargo bench -p tch-tensorboard-cli --bench reader -- [DIR]`, or `make bench-reader`. The logs
//! are made in DIR once, in `target/reader` unless named. Each command runs three times, the
//! fastest counts; its output goes nowhere.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use prost::Message;
use tch_tensorboard::Logger;
use tch_tensorboard::proto::{
    DataType, Event, Summary, SummaryMetadata, TensorProto, TensorShapeProto, event::What, summary,
    summary_metadata::PluginData,
};

/// About the size of each log.
const BYTES: u64 = 250 << 20;
const RUNS: usize = 3;

/// A name, what it is, and how its files are made.
type Log = (&'static str, &'static str, fn(&Path) -> io::Result<()>);

const LOGS: [Log; 5] = [
    (
        "scalars",
        "one scalar a record, 4 tags, as torch writes them",
        |dir| records(dir, 4, scalar),
    ),
    ("many_tags", "the same with 10 000 tags", |dir| {
        records(dir, 10_000, scalar)
    }),
    (
        "new_style",
        "one scalar a record, a tensor and its metadata",
        |dir| records(dir, 4, new_style),
    ),
    ("weights", "histograms and scalars by this crate", weights),
    ("images", "images of 100 kB", |dir| records(dir, 4, image)),
];

const COMMANDS: [&[&str]; 5] = [
    &["verify"],
    &["inspect"],
    &["inspect", "--tag", "*/1"],
    &["export"],
    &["export", "--format", "jsonl"],
];

fn main() -> io::Result<()> {
    let dir = std::env::args().skip(1).find(|word| word != "--bench");
    let dir = dir.map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/reader"),
        PathBuf::from,
    );
    println!(
        "| log | bytes | {} |",
        COMMANDS.map(|words| words.join(" ")).join(" | ")
    );
    println!("| --- | --- {}|", "| --- ".repeat(COMMANDS.len()));
    for (name, what, make) in LOGS {
        let log = dir.join(name);
        if !log.exists() {
            make(&log)?;
        }
        let bytes = bytes(&log)?;
        print!("| {what} | {:.0} MB ", bytes as f64 / 1e6);
        for words in COMMANDS {
            let seconds = fastest(words, &log)?;
            print!("| {:.0} ", bytes as f64 / 1e6 / seconds);
            io::stdout().flush()?;
        }
        println!("|");
    }
    Ok(())
}

/// Seconds that a command takes.
fn fastest(words: &[&str], log: &Path) -> io::Result<f64> {
    let mut fastest = f64::INFINITY;
    for _ in 0..RUNS {
        let since = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"));
        let status = command
            .args(words)
            .arg(log)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("{words:?}: {status}")));
        }
        fastest = fastest.min(since.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

fn bytes(log: &Path) -> io::Result<u64> {
    let files = fs::read_dir(log)?.map(|entry| Ok(entry?.metadata()?.len()));
    files.sum()
}

/// A file of events of one value each, of so many tags in turn.
fn records(dir: &Path, tags: u64, value: fn(String, u64) -> summary::Value) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut out = BufWriter::new(File::create(dir.join("events.out.tfevents.0"))?);
    let mut written = 0;
    for index in 0.. {
        let tag = match tags {
            ..10 => format!("loss/tr/{}", index % tags),
            _ => format!("layer/{}", index % tags),
        };
        let event = Event {
            wall_time: 1.7e9 + index as f64 / 1e3,
            step: (index / tags) as i64,
            what: Some(What::Summary(Summary {
                value: vec![value(tag, index)],
            })),
            ..Default::default()
        };
        let payload = event.encode_to_vec();
        let len = (payload.len() as u64).to_le_bytes();
        for part in [&len[..], &masked_crc(&len), &payload, &masked_crc(&payload)] {
            out.write_all(part)?;
        }
        written += payload.len() as u64 + 16;
        if written >= BYTES {
            break;
        }
    }
    out.flush()
}

fn masked_crc(data: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(data).rotate_right(15);
    crc.wrapping_add(0xa282_ead8).to_le_bytes()
}

fn scalar(tag: String, index: u64) -> summary::Value {
    summary::Value {
        tag,
        value: Some(summary::value::Value::SimpleValue(1.0 / (index + 1) as f32)),
        ..Default::default()
    }
}

fn new_style(tag: String, index: u64) -> summary::Value {
    summary::Value {
        tag,
        metadata: Some(SummaryMetadata {
            plugin_data: Some(PluginData {
                plugin_name: "scalars".to_owned(),
                ..Default::default()
            }),
            display_name: String::new(),
            summary_description: String::new(),
            data_class: 1,
        }),
        value: Some(summary::value::Value::Tensor(TensorProto {
            dtype: DataType::DtFloat.into(),
            tensor_shape: Some(TensorShapeProto::default()),
            float_val: vec![1.0 / (index + 1) as f32],
            ..Default::default()
        })),
    }
}

fn image(tag: String, index: u64) -> summary::Value {
    summary::Value {
        tag,
        value: Some(summary::value::Value::Image(summary::Image {
            height: 100,
            width: 100,
            colorspace: 3,
            encoded_image_string: vec![index as u8; 100_000],
        })),
        ..Default::default()
    }
}

/// As `log_weights` writes them, without libtorch: 20 variables, a histogram and six scalars each.
fn weights(dir: &Path) -> io::Result<()> {
    let logger = Logger::create(dir).map_err(io::Error::other)?;
    let values: Vec<f32> = (0..5_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7 - 0.8)
        .collect();
    for step in 0.. {
        for variable in 0..20 {
            let offset = (step as usize * 7 + variable) % 1000;
            let tag = format!("weights/layers.{variable}.weight");
            let logged = logger.log_histogram(&tag, &values[offset..offset + 4000], step);
            logged.map_err(io::Error::other)?;
            for statistic in 0..6 {
                let tag = format!("weight_statistic_{statistic}/layers.{variable}.weight");
                let logged = logger.log_scalar(&tag, values[offset + statistic], step);
                logged.map_err(io::Error::other)?;
            }
        }
        if logger.stats().bytes >= BYTES {
            break;
        }
    }
    logger.close().map_err(io::Error::other)
}
