//! What several integration tests share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod histograms;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tch_tensorboard::EventReader;
use tch_tensorboard::proto::{Event, TensorProto, event::What, summary};

/// The event files directly in a run directory, in the order in which TensorBoard reads them.
#[allow(dead_code, reason = "each test program uses its own part")]
/// The report judged from the points alone, as for the log of another writer.
pub fn recompute(run: &tch_tensorboard::Run) -> tch_tensorboard::LoggedReport {
    let mut reader = tch_tensorboard::ReportReader::new(run).recompute(true);
    while let Some(read) = reader.read_event() {
        if let Err(error) = read {
            assert!(error.is_truncated(), "{error}");
        }
    }
    reader.finish()
}

pub fn event_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .contains("tfevents")
        })
        .collect();
    files.sort();
    files
}

/// All events of an event file, or of all event files of a run directory. Panics when one is
/// damaged.
pub fn read_events(path: impl AsRef<Path>) -> Vec<Event> {
    let path = path.as_ref();
    let files = if path.is_dir() {
        event_files(path)
    } else {
        vec![path.to_owned()]
    };
    let events = files
        .iter()
        .flat_map(|file| EventReader::open(file).unwrap());
    events.map(|event| event.unwrap()).collect()
}

/// The tag of the private record, which has tests of its own: it says again what the others say.
pub const PRIVATE: &str = "tch_tensorboard";

/// Every value of every summary with its step, in the order of the file, but for the private
/// record.
pub fn read_values(path: impl AsRef<Path>) -> Vec<(i64, summary::Value)> {
    let mut values = Vec::new();
    for event in read_events(path) {
        if let Some(What::Summary(summary)) = event.what {
            let values_of = summary.value.into_iter();
            let shown = values_of.filter(|value| !value.tag.starts_with(PRIVATE));
            values.extend(shown.map(|value| (event.step, value)));
        }
    }
    values
}

/// The values of one tag with their steps.
pub fn read_tag(path: impl AsRef<Path>, tag: &str) -> Vec<(i64, summary::value::Value)> {
    let mut values = read_values(path);
    values.retain(|(_, value)| value.tag == tag);
    values
        .into_iter()
        .map(|(step, value)| (step, value.value.unwrap()))
        .collect()
}

/// The scalars of an event file or a run directory by tag, those of the older form and those of
/// rank-0 float tensors with one element: what TensorBoard's fast loader shows as scalars.
pub fn read_scalars(path: impl AsRef<Path>) -> BTreeMap<String, Vec<(i64, f32)>> {
    let mut scalars: BTreeMap<String, Vec<(i64, f32)>> = BTreeMap::new();
    for (step, value) in read_values(path) {
        let scalar = match value.value {
            Some(summary::value::Value::SimpleValue(scalar)) => Some(scalar),
            Some(summary::value::Value::Tensor(tensor)) => scalar_of(&tensor),
            _ => None,
        };
        if let Some(scalar) = scalar {
            scalars.entry(value.tag).or_default().push((step, scalar));
        }
    }
    scalars
}

fn scalar_of(tensor: &TensorProto) -> Option<f32> {
    let rank = tensor
        .tensor_shape
        .as_ref()
        .map_or(0, |shape| shape.dim.len());
    if tensor.dtype() != tch_tensorboard::proto::DataType::DtFloat || rank != 0 {
        return None;
    }
    match (&tensor.float_val[..], &tensor.tensor_content[..]) {
        ([scalar], []) => Some(*scalar),
        ([], bytes) => Some(f32::from_le_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}
