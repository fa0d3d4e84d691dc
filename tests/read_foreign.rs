//! Event files that other programs wrote are read back with the values that went in. The programs,
//! with their versions, are `tests/data/make_torch.py`, `make_torch_hparams.py`,
//! `make_tensorboardx.py` and `make_tensorflow.py` there, and `write_the_fixture` in
//! `tensorboard_rs.rs`.

mod common;

use common::{read_events, read_scalars, read_tag, read_values};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch_tensorboard::proto::hparams::Status;
use tch_tensorboard::proto::{DataType, Event, event::What, summary::value::Value};
use tch_tensorboard::{EventReader, HParam, LogDir, Point, PointValue};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

const FILES: [&str; 2] = ["torch.tfevents", "tensorboardx.tfevents"];

#[test]
fn the_first_event_tells_the_version() {
    for file in FILES {
        let first = read_events(data(file)).remove(0);
        assert_eq!(
            first.what,
            Some(What::FileVersion("brain.Event:2".into())),
            "{file}"
        );
        assert!(first.wall_time > 1.7e9);
    }
    let first = read_events(data("torch.tfevents")).remove(0);
    let writer = first.source_metadata.unwrap().writer;
    assert_eq!(writer, "tensorboard.summary.writer.event_file_writer");
}

// Both write `loss/train` as simple_value; torch writes `loss/val` as a tensor.
#[test]
fn scalars_of_both_forms() {
    let expected = |top: f64| -> Vec<(i64, f32)> {
        (0..5)
            .map(|step| (step, (top / (step + 1) as f64) as f32))
            .collect()
    };
    for file in FILES {
        let scalars = read_scalars(data(file));
        assert_eq!(
            scalars.keys().collect::<Vec<_>>(),
            ["loss/train", "loss/val"],
            "{file}"
        );
        assert_eq!(scalars["loss/train"], expected(1.0), "{file}");
        assert_eq!(scalars["loss/val"], expected(2.0), "{file}");
        let times: Vec<(i64, f64)> = scalar_events(file).map(|e| (e.step, e.wall_time)).collect();
        let expected: Vec<(i64, f64)> = (0..5).map(|step| (step, 1000.0 + step as f64)).collect();
        assert_eq!(times, expected, "{file}");
    }
}

fn scalar_events(file: &str) -> impl Iterator<Item = Event> {
    let is_train = |event: &Event| match &event.what {
        Some(What::Summary(summary)) => summary.value[0].tag == "loss/train",
        _ => false,
    };
    read_events(data(file)).into_iter().filter(is_train)
}

#[test]
fn metadata() {
    let values = read_values(data("torch.tfevents"));
    let val = values
        .iter()
        .find(|(_, value)| value.tag == "loss/val")
        .unwrap();
    let metadata = val.1.metadata.as_ref().unwrap();
    assert_eq!(
        metadata.plugin_data.as_ref().unwrap().plugin_name,
        "scalars"
    );
    let values = read_values(data("tensorboardx.tfevents"));
    let val = values
        .iter()
        .find(|(_, value)| value.tag == "loss/val")
        .unwrap();
    assert_eq!(
        val.1.metadata.as_ref().unwrap().summary_description,
        "on unseen data"
    );
}

// torch slices its 1549 fixed limits to those around 1 + k/16, k from 0 to 11, and puts an empty
// bucket in front.
#[test]
fn a_histogram_of_torch() {
    let values = read_tag(data("torch.tfevents"), "weights");
    let [(3, Value::Histo(histogram))] = &values[..] else {
        panic!("{values:?}")
    };
    assert_eq!((histogram.min, histogram.max), (1.0, 1.6875));
    assert_eq!(
        (histogram.num, histogram.sum, histogram.sum_squares),
        (12.0, 16.125, 22.2265625)
    );
    assert_eq!(histogram.bucket.len(), histogram.bucket_limit.len());
    let mut left = f64::NEG_INFINITY;
    for (limit, count) in histogram.bucket_limit.iter().zip(&histogram.bucket) {
        let inside = (0..12)
            .map(|k| 1.0 + f64::from(k) / 16.0)
            .filter(|v| left <= *v && v < limit);
        assert_eq!(*count, inside.count() as f64, "{left}..{limit}");
        left = *limit;
    }
}

#[test]
fn a_histogram_of_tensorboardx() {
    let values = read_tag(data("tensorboardx.tfevents"), "weights");
    let [(3, Value::Histo(histogram))] = &values[..] else {
        panic!("{values:?}")
    };
    assert_eq!((histogram.min, histogram.max), (-1.0, 1.75));
    assert_eq!(
        (histogram.num, histogram.sum, histogram.sum_squares),
        (12.0, 4.5, 10.625)
    );
    assert_eq!(histogram.bucket_limit, [-1.0, -0.3125, 0.375, 1.0625, 1.75]);
    assert_eq!(histogram.bucket, [0.0, 3.0, 3.0, 3.0, 3.0]);
}

// By TensorBoard's own `histogram_pb`: four buckets of equal width, as rows of left edge, right
// edge and count.
#[test]
fn a_histogram_of_the_newer_form() {
    let values = read_tag(data("torch.tfevents"), "weights_v2");
    let [(3, Value::Tensor(tensor))] = &values[..] else {
        panic!("{values:?}")
    };
    assert_eq!(tensor.dtype(), DataType::DtDouble);
    let shape = tensor.tensor_shape.as_ref().unwrap();
    assert_eq!(
        shape.dim.iter().map(|dim| dim.size).collect::<Vec<_>>(),
        [4, 3]
    );
    let (cells, rest) = tensor.tensor_content.as_chunks::<8>();
    assert!(rest.is_empty());
    let cells: Vec<f64> = cells
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect();
    let width = 0.6875 / 4.0;
    let rows = (0..4).flat_map(|i| {
        [
            1.0 + width * f64::from(i),
            1.0 + width * f64::from(i + 1),
            3.0,
        ]
    });
    assert_eq!(cells, rows.collect::<Vec<_>>());
}

#[test]
fn text() {
    for file in FILES {
        let values = read_tag(data(file), "note/text_summary");
        let [(4, Value::Tensor(tensor))] = &values[..] else {
            panic!("{values:?}")
        };
        assert_eq!(tensor.dtype(), DataType::DtString);
        assert_eq!(tensor.string_val, ["**bold** naïve".as_bytes()], "{file}");
    }
}

#[test]
fn images() {
    for file in FILES {
        let values = read_tag(data(file), "red");
        let [(4, Value::Image(image))] = &values[..] else {
            panic!("{values:?}")
        };
        assert_eq!(
            (image.height, image.width, image.colorspace),
            (2, 4, 3),
            "{file}"
        );
        assert!(image.encoded_image_string.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert!(image.encoded_image_string.ends_with(b"IEND\xaeB`\x82"));
    }
}

/// A real file cut anywhere gives its whole events, and then at most the news that one is not
/// complete.
#[test]
fn a_cut_file_gives_all_that_is_whole() {
    for file in FILES {
        let bytes = std::fs::read(data(file)).unwrap();
        let events = read_events(data(file));
        for cut in 0..bytes.len() {
            let mut reader = EventReader::new(&bytes[..cut]);
            let mut whole = 0;
            for event in &mut reader {
                match event {
                    Ok(event) => {
                        assert_eq!(event, events[whole]);
                        whole += 1;
                    }
                    Err(error) => assert!(error.is_truncated(), "{error}"),
                }
            }
            assert!(whole < events.len() && reader.offset() <= cut as u64);
        }
    }
}

/// The points of a file, through `LogDir`.
fn points(file: &str) -> Vec<Point> {
    let log = LogDir::open(data(file)).unwrap();
    let points = log.runs()[0].events().points();
    points.map(Result::unwrap).collect()
}

/// The only value of a tag.
fn value(points: &[Point], tag: &str) -> PointValue {
    let mut found = points.iter().filter(|point| point.tag == tag);
    let point = found.next().unwrap_or_else(|| panic!("{tag}: not there"));
    assert!(found.next().is_none(), "{tag}");
    point.value.clone()
}

// By tests/data/make_tensorflow.py: every value is a tensor, told apart by its plugin.
#[test]
fn a_file_of_tensorflow() {
    let points = points("tensorflow.tfevents");
    let losses: Vec<(i64, PointValue)> = points
        .iter()
        .filter(|point| point.tag == "loss/train")
        .map(|point| (point.step, point.value.clone()))
        .collect();
    let expected =
        (0..5).map(|step| (step, PointValue::Scalar(f64::from(1.0 / (step + 1) as f32))));
    assert_eq!(losses, expected.collect::<Vec<_>>());
    let PointValue::Histogram(rows) = value(&points, "weights") else {
        panic!("no histogram")
    };
    assert_eq!(rows.iter().map(|row| row[2]).collect::<Vec<_>>(), [3.0; 4]);
    assert_eq!((rows[0][0], rows[3][1]), (1.0, 1.6875));
    assert_eq!(
        value(&points, "note"),
        PointValue::Text(vec!["**bold** naïve".to_owned()])
    );
    let PointValue::Images {
        width: 4,
        height: 2,
        encoded,
    } = value(&points, "red")
    else {
        panic!("no image")
    };
    assert_eq!(encoded.len(), 2);
    assert!(encoded.iter().all(|image| image.starts_with(b"\x89PNG")));
    let PointValue::Audio(clips) = value(&points, "tone") else {
        panic!("no sound")
    };
    assert!(clips.len() == 1 && clips[0].starts_with(b"RIFF"));
    let params = [
        ("augment", HParam::Bool(true)),
        ("optimizer", HParam::Text("adam".to_owned())),
        ("rate", HParam::Number(0.125)),
    ];
    let params = params.map(|(name, value)| (name.to_owned(), value));
    let tag = "_hparams_/session_start_info";
    assert_eq!(value(&points, tag), PointValue::HParams(params.into()));
}

// By `write_the_fixture` in tests/tensorboard_rs.rs. It writes no times of its own, and no
// metadata.
#[test]
fn a_file_of_tensorboard_rs() {
    let points = points("tensorboard_rs.tfevents");
    let losses: Vec<(i64, PointValue)> = points
        .iter()
        .filter(|point| point.tag == "loss/train")
        .map(|point| (point.step, point.value.clone()))
        .collect();
    let expected =
        (0..5).map(|step| (step, PointValue::Scalar(f64::from(1.0 / (step + 1) as f32))));
    assert_eq!(losses, expected.collect::<Vec<_>>());
    assert!(points.iter().all(|point| point.wall_time > 1.7e9));
    let rows = [
        [-1.0, -1.0, 1.0],
        [-1.0, -0.3125, 2.0],
        [-0.3125, 0.375, 3.0],
        [0.375, 1.0625, 3.0],
        [1.0625, 1.75, 3.0],
    ];
    assert_eq!(
        value(&points, "weights"),
        PointValue::Histogram(rows.to_vec())
    );
    let PointValue::Images {
        width: 4,
        height: 2,
        encoded,
    } = value(&points, "red")
    else {
        panic!("no image")
    };
    assert!(encoded.len() == 1 && encoded[0].starts_with(b"\x89PNG"));
    assert_eq!(points.len(), 7);
}

// By tests/data/make_torch_hparams.py. Python's True is a number there; the experiment's
// description is a value without content.
#[test]
fn hyperparameters_of_torch() {
    let points = points("torch_hparams.tfevents");
    let params = [
        ("augment", HParam::Number(1.0)),
        ("layers", HParam::Number(3.0)),
        ("optimizer", HParam::Text("adam".to_owned())),
        ("rate", HParam::Number(0.125)),
    ];
    let params = params.map(|(name, value)| (name.to_owned(), value));
    let tag = "_hparams_/session_start_info";
    assert_eq!(value(&points, tag), PointValue::HParams(params.into()));
    let experiment = value(&points, "_hparams_/experiment");
    assert_eq!(experiment, PointValue::Unknown);
    let end = value(&points, "_hparams_/session_end_info");
    assert_eq!(end, PointValue::HParamsEnd(Status::Success));
    for (tag, metric) in [("hparam/accuracy", 0.875), ("hparam/loss", 0.25)] {
        assert_eq!(value(&points, tag), PointValue::Scalar(metric), "{tag}");
    }
    assert!(points.iter().all(|point| point.step == 7));
    assert_eq!(points.len(), 5);
}

// Whoever asks only what there is learns the same as who reads all of it.
#[test]
fn point_infos_are_those_of_the_points() {
    for file in [
        "torch",
        "torch_hparams",
        "tensorboardx",
        "tensorflow",
        "tensorboard_rs",
    ] {
        let file = format!("{file}.tfevents");
        let log = LogDir::open(data(&file)).unwrap();
        let mut infos = log.runs()[0].events().point_infos();
        for point in points(&file) {
            let info = infos.next_info().unwrap().unwrap();
            let scalar = match point.value {
                PointValue::Scalar(number) => Some(number),
                _ => None,
            };
            assert_eq!((info.tag, info.step), (point.tag.as_str(), point.step));
            assert_eq!((info.kind, info.scalar), (point.value.kind(), scalar));
            assert_eq!(info.wall_time, point.wall_time);
        }
        assert!(infos.next_info().is_none(), "{file}");
    }
}

// The same values from writers of either form.
#[test]
fn one_view_of_all_writers() {
    for file in FILES {
        let points = points(file);
        let kinds: BTreeMap<&str, &str> = points
            .iter()
            .map(|point| (point.tag.as_str(), point.value.kind()))
            .collect();
        assert_eq!(kinds["loss/train"], "scalar", "{file}");
        assert_eq!(kinds["loss/val"], "scalar", "{file}");
        assert_eq!(kinds["weights"], "histogram", "{file}");
        assert_eq!(
            value(&points, "note/text_summary"),
            PointValue::Text(vec!["**bold** naïve".to_owned()])
        );
        let PointValue::Images {
            width: 4,
            height: 2,
            ..
        } = value(&points, "red")
        else {
            panic!("{file}: no image")
        };
        let PointValue::Histogram(rows) = value(&points, "weights") else {
            panic!("{file}: no histogram")
        };
        // Without the empty bucket in front, and with the extremes of the data as outer edges.
        assert_eq!(rows.iter().map(|row| row[2]).sum::<f64>(), 12.0, "{file}");
        let extremes = if file == "torch.tfevents" {
            (1.0, 1.6875)
        } else {
            (-1.0, 1.75)
        };
        assert_eq!((rows[0][0], rows[rows.len() - 1][1]), extremes, "{file}");
    }
    let PointValue::Histogram(rows) = value(&points("torch.tfevents"), "weights_v2") else {
        panic!("no histogram")
    };
    assert_eq!(rows.len(), 4);
}
