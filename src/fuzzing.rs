//! What `fuzz/` feeds with arbitrary bytes: each function panics when a promise is broken. The
//! corpus runs as a unit test, too.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::Path;

use prost::Message;
use regex::Regex;

use crate::format::event_file::EventReader;
use crate::format::event_file::scan::EventScan;
use crate::format::record::{OVERHEAD, RecordError, RecordReader, encode_with};
use crate::kernel::{Elements, Kernel};
use crate::log_report::Judge;
use crate::model::types::DType;
use crate::platform::aligned::AlignedBytes;
use crate::proto::{
    Event,
    custom_scalar::{Chart, chart::Content},
    event::What,
    summary,
    tensor_shape_proto::Dim,
};
use crate::read::outline::Outline;
use crate::read::plugin::{Plugin, Plugins};
use crate::read::{PointValue, take_apart};
use crate::summary::custom_scalars;

/// A source that gives a few bytes at a time.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let most = room.len().min(self.1);
        self.0.read(&mut room[..most])
    }
}

/// The record reader: any bytes end, whole or piece by piece with the same result; written records
/// come back; around one damaged byte, all others do.
pub fn records(data: &[u8]) {
    let Some((&control, bytes)) = data.split_first() else {
        return;
    };
    let pace = usize::from(control) + 1;
    for resync in [false, true] {
        let whole = read(bytes, resync);
        assert_eq!(
            whole,
            read(Slow(bytes, pace), resync),
            "read piece by piece"
        );
    }
    let payloads: Vec<&[u8]> = bytes.chunks(pace).collect();
    let mut file = Vec::new();
    let mut ends = Vec::new();
    for payload in &payloads {
        encode_with(&mut file, |out| out.extend_from_slice(payload));
        ends.push(file.len());
    }
    assert_eq!(read(&file[..], false).0, payloads, "written and read");
    // A payload of eight bytes that spell the length of the next record, its checksum, and the
    // header of that record make up a record, too: the format cannot tell. No event looks like
    // that.
    if payloads
        .iter()
        .any(|payload| payload.len() == size_of::<u64>())
    {
        return;
    }
    // Somewhere, told by the data.
    let at = bytes.iter().fold(0, |sum: usize, &byte| {
        sum.wrapping_mul(31) + usize::from(byte)
    });
    let Some(at) = at.checked_rem(file.len()) else {
        return;
    };
    file[at] ^= 1 << (control % 8);
    let mut expected = payloads;
    expected.remove(ends.partition_point(|&end| end <= at));
    let (seen, faults) = read(&file[..], true);
    assert!(!faults.is_empty(), "damaged at {at}");
    // Between them may stand a record that lay within the damaged one.
    let mut seen = seen.iter();
    for payload in expected {
        assert!(seen.any(|found| found == payload), "damaged at {at}");
    }
}

/// Payloads and errors. Checks that reading moves on, and that no byte is reported twice.
fn read(source: impl Read, resync: bool) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut reader = RecordReader::at(source, 0);
    reader.set_resync(resync);
    let (mut payloads, mut errors, mut told) = (Vec::new(), Vec::new(), 0);
    loop {
        let before = reader.offset();
        match reader.next_record() {
            Ok(None) => return (payloads, errors),
            Ok(Some(payload)) => {
                payloads.push(payload.to_vec());
                assert!(reader.offset() >= before + OVERHEAD as u64);
            }
            Err(error) => {
                if let RecordError::Skipped { offset, len, .. } = &error {
                    assert!(*offset >= told && *len > 0, "{error}");
                    told = offset + len;
                }
                errors.push(error.to_string());
            }
        }
    }
}

/// Event files and single events: any bytes are read to their end, every value is told as
/// something, and a report comes of it.
pub fn events(data: &[u8]) {
    let scan = EventScan::of(data);
    let parts = EventScan::parts(data);
    match Event::decode(data) {
        Ok(event) => {
            if scan.is_valid {
                assert_eq!(event.wall_time.to_bits(), scan.wall_time.to_bits());
            }
            // A field that replaces another one has cost memory, too.
            assert!(parts >= decoded_parts(&event), "{parts}");
            if scan.is_valid && !scan.has_duplicates {
                assert_eq!(parts, decoded_parts(&event));
            }
        }
        Err(error) => assert!(!scan.is_valid, "{error}"),
    }
    outlines([data]);
    let mut framed = Vec::new();
    encode_with(&mut framed, |out| out.extend_from_slice(data));
    for source in [data, &framed] {
        for resync in [false, true] {
            let mut judge = Judge::new();
            for event in EventReader::new(source).resync(resync).flatten() {
                let bytes = event.encode_to_vec();
                judge.take(event.clone());
                let Some(What::Summary(summary)) = event.what else {
                    continue;
                };
                assert!(bytes.len() >= summary.encoded_len());
                for value in summary.value {
                    for plugin in [
                        "",
                        "scalars",
                        "histograms",
                        "text",
                        "images",
                        "audio",
                        "hparams",
                    ] {
                        let told = PointValue::of(value.clone(), Plugin::named(plugin));
                        assert!(!told.kind().is_empty());
                    }
                }
            }
            let found = judge.finish(Path::new(""));
            assert!(!found.report.to_string().is_empty());
        }
    }
}

/// Bytes of memory that the repeated parts of an event take, apart from numbers.
fn decoded_parts(event: &Event) -> u64 {
    let Some(What::Summary(summary)) = &event.what else {
        return 0;
    };
    let tensor = |value: &summary::Value| match &value.value {
        Some(summary::value::Value::Tensor(tensor)) => {
            let dims = tensor
                .tensor_shape
                .as_ref()
                .map_or(0, |shape| shape.dim.len());
            size_of::<Dim>() * dims + size_of::<Vec<u8>>() * tensor.string_val.len()
        }
        _ => 0,
    };
    let tensors: usize = summary.value.iter().map(tensor).sum();
    (size_of::<summary::Value>() * summary.value.len() + tensors) as u64
}

/// The events of a run in outline tell what decoding tells, or nothing. Gives how many they told.
pub(crate) fn outlines<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let (mut outline, mut told) = (Outline::default(), 0);
    let (mut known, mut expected) = (Plugins::default(), Plugins::default());
    for payload in payloads {
        let is_read = outline.read(payload, &mut known);
        let Ok(event) = Event::decode(payload) else {
            assert!(!is_read, "{payload:?} is no event");
            continue;
        };
        let mut points = VecDeque::new();
        take_apart(event.clone(), &mut expected, &mut points);
        if !is_read {
            take_apart(event, &mut known, &mut VecDeque::new());
            continue;
        }
        told += 1;
        assert_eq!(outline.len(), points.len());
        for (index, point) in points.iter().enumerate() {
            let (tag, kind) = outline.get(index).expect("as many");
            let scalar = match point.value {
                PointValue::Scalar(number) => Some(number.to_bits()),
                _ => None,
            };
            assert_eq!((tag, outline.step), (point.tag.as_str(), point.step));
            assert_eq!(outline.wall_time.to_bits(), point.wall_time.to_bits());
            assert_eq!(kind.name, point.value.kind(), "{point:?}");
            assert_eq!(kind.scalar.map(f64::to_bits), scalar, "{point:?}");
        }
    }
    assert_eq!(known, expected);
    told
}

/// Tags in the patterns of a layout: they match the tag, and no longer one.
pub fn tags(data: &[u8]) {
    let Ok(tag) = str::from_utf8(data) else {
        return;
    };
    let pattern = |chart: Chart| match chart.content {
        Some(Content::Multiline(mut lines)) => lines.tag.remove(0),
        other => panic!("{other:?}"),
    };
    // TensorBoard anchors at the start only.
    let compiled = |pattern: &str| Regex::new(&format!("^(?:{pattern})"));
    let line = pattern(custom_scalars::lines("title", [tag]));
    // Long ones exceed what the engine compiles, not what it parses.
    let Ok(line) = compiled(&line) else {
        assert!(tag.len() > 1000, "{line}");
        return;
    };
    assert!(line.is_match(tag));
    for longer in [format!("{tag}x"), format!("{tag}/x")] {
        assert!(!line.is_match(&longer), "{longer:?}");
    }
    if let Ok(group) = compiled(&pattern(custom_scalars::group("title", tag))) {
        assert!(group.is_match(tag) && group.is_match(&format!("{tag}/loss")));
        assert!(!group.is_match(&format!("{tag}x")));
    }
}

/// Histograms of any values: rows are finite, sorted and few, and count each value exactly once.
pub fn histogram(data: &[u8]) {
    let [kind, rows, bytes @ ..] = data else {
        return;
    };
    let kinds = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::BF16,
        DType::I8,
        DType::I32,
        DType::I64,
        DType::U8,
    ];
    let dtype = kinds[usize::from(*kind) % kinds.len()];
    let max_rows = usize::from(*rows).max(2);
    let whole = bytes.len() / dtype.size() * dtype.size();
    let Some(mut buffer) = AlignedBytes::try_zeroed(whole) else {
        return;
    };
    buffer.as_mut_slice()[..whole].copy_from_slice(&bytes[..whole]);
    let Some(elements) = Elements::from_bytes(dtype, &buffer.as_slice()[..whole]) else {
        panic!("an aligned buffer of whole elements");
    };
    let analysis = Kernel::new().analyse(elements, None, 1, true);
    let histogram = analysis
        .weight_histogram
        .unwrap_or_default()
        .to_histogram(max_rows);
    let mut values: Vec<f64> = (0..elements.len())
        .map(|index| elements.get(index))
        .collect();
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    check_rows(histogram.rows(), &values, max_rows);
}

fn check_rows(rows: &[[f64; 3]], values: &[f64], max_rows: usize) {
    let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
        assert!(rows.is_empty());
        return;
    };
    assert!(rows.len() <= max_rows, "{} rows", rows.len());
    assert!(
        rows.iter().flatten().all(|number| number.is_finite()),
        "{rows:?}"
    );
    assert_eq!(
        (rows[0][0], rows[rows.len() - 1][1]),
        (min, max),
        "{rows:?}"
    );
    assert!(
        rows.windows(2).all(|pair| pair[0][1] <= pair[1][0]),
        "{rows:?}"
    );
    let below = |edge: f64| values.partition_point(|&value| value < edge);
    let up_to = |edge: f64| values.partition_point(|&value| value <= edge);
    for (index, &[left, right, count]) in rows.iter().enumerate() {
        let closed = left == right || index + 1 == rows.len();
        let end = if closed { up_to(right) } else { below(right) };
        assert_eq!(count, (end - below(left)) as f64, "row {index} of {rows:?}");
    }
    assert_eq!(
        rows.iter().map(|row| row[2]).sum::<f64>(),
        values.len() as f64
    );
}

/// Elements that are read of each tensor of an arbitrary checkpoint.
#[cfg(feature = "checkpoint")]
const MOST_ELEMENTS: u64 = 1 << 16;

/// Checkpoints: any bytes are opened or refused, and what is opened is read to its end, twice with
/// the same result.
#[cfg(feature = "checkpoint")]
pub fn checkpoint(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("checkpoint-{}", std::process::id()));
    if std::fs::write(&path, data).is_err() {
        return;
    }
    if let Ok(checkpoint) = crate::Checkpoint::open(&path) {
        for tensor in checkpoint.tensors() {
            if tensor.elements() > MOST_ELEMENTS {
                continue;
            }
            let numbers = || checkpoint.values(tensor.name()).ok();
            let bits = |numbers: Option<Vec<f64>>| -> Option<Vec<u64>> {
                Some(numbers?.into_iter().map(f64::to_bits).collect())
            };
            let once = bits(numbers());
            assert_eq!(once, bits(numbers()));
            if let (Some(once), Some(kind)) = (once, tensor.stored_type()) {
                assert_eq!(once.len() as u64, tensor.elements() * kind.parts());
            }
        }
    }
    let _ = std::fs::remove_file(&path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    // Findings stay in the corpus: what was mended stays so.
    #[test]
    fn the_corpus_breaks_no_promise() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        type Target = fn(&[u8]);
        let targets: &[(&str, Target)] = &[
            ("records", records),
            ("events", events),
            ("tags", tags),
            ("histogram", histogram),
            #[cfg(feature = "checkpoint")]
            ("checkpoint", checkpoint),
        ];
        for (name, target) in targets {
            let mut files = 0;
            for file in fs::read_dir(corpus.join(name)).unwrap() {
                target(&fs::read(file.unwrap().path()).unwrap());
                files += 1;
            }
            assert!(files > 0, "no corpus for {name}");
        }
    }
}
