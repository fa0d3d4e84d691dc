//! What the crate tensorboard-rs writes is read back as it was given.

#[path = "../../../tests/common/mod.rs"]
mod common;

use common::{event_files, read_events, read_scalars, read_tag};
use std::collections::{BTreeMap, HashMap};
use tch_tensorboard::proto::{HistogramProto, event::What, summary::value::Value};
use tensorboard_rs::summary_writer::SummaryWriter;

#[test]
fn scalars_and_histograms_of_tensorboard_rs() {
    let dir = tempfile::tempdir().unwrap();
    let histogram = HistogramProto {
        min: -1.0,
        max: 2.0,
        num: 6.0,
        sum: 3.5,
        sum_squares: 7.25,
        bucket_limit: vec![0.0, 1.0, 2.0],
        bucket: vec![1.0, 3.0, 2.0],
    };
    let tags = ["loss/train", "ünïcode tag", ""];
    let mut given: BTreeMap<String, Vec<(i64, f32)>> = BTreeMap::new();
    let mut writer = SummaryWriter::new(dir.path());
    for (i, value) in [0.5, -0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY]
        .into_iter()
        .enumerate()
    {
        let step = 1000 * i;
        for tag in tags {
            writer.add_scalar(tag, value, step);
            given
                .entry(tag.into())
                .or_default()
                .push((step as i64, value));
        }
        let h = &histogram;
        writer.add_histogram_raw(
            "weights",
            h.min,
            h.max,
            h.num,
            h.sum,
            h.sum_squares,
            &h.bucket_limit,
            &h.bucket,
            step,
        );
    }
    // Dropping joins its thread, which also writes what is left.
    drop(writer);

    assert_eq!(read_scalars(dir.path()), given);
    let expected: Vec<_> = (0..5)
        .map(|i| (1000 * i, Value::Histo(histogram.clone())))
        .collect();
    assert_eq!(read_tag(dir.path(), "weights"), expected);
    let first = read_events(dir.path()).remove(0);
    assert_eq!(first.what, Some(What::FileVersion("brain.Event:2".into())));
}

/// It puts each line of `add_scalars` into a directory of its own, as torch does.
#[test]
fn grouped_scalars_of_tensorboard_rs() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SummaryWriter::new(dir.path());
    writer.add_scalars(
        "loss",
        &HashMap::from([("train".into(), 0.25), ("val".into(), 0.75)]),
        3,
    );
    drop(writer);
    for (line, value) in [("train", 0.25), ("val", 0.75)] {
        let below = dir.path().join("loss").join(line);
        assert_eq!(event_files(&below).len(), 1);
        assert_eq!(
            read_scalars(&below),
            BTreeMap::from([("loss".into(), vec![(3, value)])])
        );
    }
}
