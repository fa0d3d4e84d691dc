//! Prints what is in an event file: `cargo run --example read_back --
//! runs/scalars/rate_0.1/events.out.tfevents.…`.
//!
//! On screen: one line for each value, as `step tag value`. Both checksums of each record are
//! checked. The last record of a file that is still being written may be there only in part; that
//! is no fault, and ends the list. Needs no libtorch: `--no-default-features` builds it too.

use std::io::{self, Write};

use anyhow::Context;
use tch_tensorboard::EventReader;
use tch_tensorboard::proto::{TensorProto, event::What, summary::value::Value};

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: read_back EVENT_FILE")?;
    let mut out = io::stdout().lock();
    for event in EventReader::open(path)? {
        let event = match event {
            Err(error) if error.is_truncated() => break,
            event => event?,
        };
        let Some(What::Summary(summary)) = event.what else {
            continue;
        };
        for value in summary.value {
            let shown = match &value.value {
                Some(Value::SimpleValue(number)) => number.to_string(),
                Some(Value::Tensor(tensor)) => show(tensor),
                _ => "(an image, sound or histogram of the old format)".to_owned(),
            };
            writeln!(out, "{:>8}  {}  {shown}", event.step, value.tag)?;
        }
    }
    Ok(())
}

/// A scalar or a text as it is, anything larger by its shape: a histogram is `[buckets, 3]`.
fn show(tensor: &TensorProto) -> String {
    match (tensor.float_val.as_slice(), tensor.string_val.as_slice()) {
        ([number], _) => number.to_string(),
        (_, [text]) => String::from_utf8_lossy(text).into_owned(),
        _ => {
            let shape = tensor
                .tensor_shape
                .iter()
                .flat_map(|shape| &shape.dim)
                .map(|dim| dim.size);
            format!("tensor of shape {:?}", shape.collect::<Vec<_>>())
        }
    }
}
