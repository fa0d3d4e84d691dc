//! PR curves, sounds and meshes.

use prost::Message;
use tch_tensorboard::proto::{
    AudioPluginData, DataClass, DataType, MeshPluginData, PrCurvePluginData, event::What, summary,
};
use tch_tensorboard::{Audio, Error, Mesh, PrCurve};

use crate::common::read_events;
use crate::{Board, content, kind, shape};

fn doubles(bytes: &[u8]) -> Vec<f64> {
    let (numbers, _) = bytes.as_chunks::<8>();
    numbers
        .iter()
        .map(|bytes| f64::from_le_bytes(*bytes))
        .collect()
}

#[test]
fn a_pr_curve_has_six_rows_and_says_how_many_thresholds() {
    let board = Board::new();
    let (labels, scores) = ([true, false, true, true], [0.9_f32, 0.8, 0.3, 1.0]);
    let curve = || PrCurve::new(&labels, &scores).thresholds(11);
    for step in 0..3 {
        board.logger.log_pr_curve("pr", curve(), step).unwrap();
    }
    let values = board.read("pr");
    assert_eq!(values.len(), 3);
    assert!(values[1].1.metadata.is_none(), "once in a file");
    let metadata = values[0].1.metadata.as_ref().unwrap();
    assert_eq!(kind(metadata), ("pr_curves", DataClass::Tensor));
    let said = PrCurvePluginData::decode(content(metadata)).unwrap();
    assert_eq!((said.version, said.num_thresholds), (0, 11));
    let Some(summary::value::Value::Tensor(tensor)) = &values[2].1.value else {
        panic!("a tensor");
    };
    assert_eq!(
        (shape(tensor), tensor.dtype()),
        (vec![6, 11], DataType::DtDouble)
    );
    let rows = doubles(&tensor.tensor_content);
    assert_eq!(
        (rows[0], rows[11], rows[22], rows[33]),
        (3.0, 1.0, 0.0, 0.0)
    );
    assert_eq!((rows[10], rows[44], rows[54]), (1.0, 0.75, 1.0));
}

#[test]
fn counts_are_exact_beyond_the_range_of_f32() {
    let board = Board::new();
    let large = [(1 << 24) + 1, (1 << 53) - 1];
    let curve = PrCurve::from_counts(&large, &[1, 0], &[0, 1], &[0, 1]);
    board.logger.log_pr_curve("raw", curve, 0).unwrap();
    let rows = doubles(&board.only("raw").0.tensor_content);
    assert_eq!(rows[..2], large.map(|count| count as f64));
}

#[test]
fn each_class_has_a_tag_and_their_memory_is_given_back() {
    let board = Board::new();
    let scores: Vec<f32> = (0..3000).map(|n| (n % 7) as f32 / 6.0).collect();
    let labels: Vec<i64> = (0..1000).map(|n| n % 3).collect();
    for step in 0..50 {
        let curves = PrCurve::new(&labels, &scores);
        let names = ["cat", "dog", "bird"];
        board
            .logger
            .log_pr_curves("pr", curves, &names, step)
            .unwrap();
    }
    for class in ["pr/cat", "pr/dog", "pr/bird"] {
        assert_eq!(board.read(class).len(), 50);
    }
    assert_eq!(board.reported(), [""; 0]);
}

#[test]
fn mistakes_in_a_call_are_errors_and_those_in_the_data_are_reported() {
    let board = Board::new();
    let few = PrCurve::new(&[1_u8, 0], &[0.5_f32]);
    let error = board.logger.log_pr_curve("pr", few, 0).unwrap_err();
    assert!(matches!(error, Error::InvalidValue { .. }), "{error}");
    let logits = PrCurve::new(&[1_u8], &[17.0_f32]);
    board.logger.log_pr_curve("pr", logits, 0).unwrap();
    let reported = board.reported().remove(0);
    assert!(
        reported.contains("PR curve \"pr\": has a score of 17"),
        "{reported}"
    );
    assert!(board.read("pr").is_empty());
    // The budget has been given back in both cases.
    let fine = PrCurve::new(&[1_u8], &[0.5_f32]);
    board.logger.log_pr_curve("pr", fine, 1).unwrap();
    assert_eq!(board.read("pr").len(), 1);
}

#[test]
fn a_mistake_in_the_data_of_many_classes_is_reported_once_and_counted() {
    let board = Board::new();
    let names: Vec<String> = (0..50).map(|class| format!("c{class}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let logits = [17.0_f32; 100];
    let curves = PrCurve::new(&[3_i64, 4], &logits);
    board.logger.log_pr_curves("pr", curves, &names, 0).unwrap();
    let reported = board.reported();
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].contains("has a score of 17"), "{reported:?}");
    assert_eq!(board.logger.stats().dropped, 1);
    let scores = [0.5_f32; 100];
    let curves = PrCurve::new(&[3_i64, 50], &scores);
    board.logger.log_pr_curves("pr", curves, &names, 0).unwrap();
    let reported = board.reported();
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported[1].contains("from 0 to 49"), "{reported:?}");
    assert!(board.read("pr/c3").is_empty());
}

#[test]
fn a_mesh_is_written_as_a_whole_or_not_at_all() {
    let board = Board::new();
    let points = [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.5];
    let mesh = |place: i32| {
        let mesh = Mesh::new(&points);
        board.logger.log_mesh("m", mesh.faces(&[0, 1, place]), 0)
    };
    mesh(3).unwrap();
    assert!(board.reported()[0].contains("vertex 3 of 3"));
    assert!(board.read("m_VERTEX").is_empty());
    assert_eq!(board.logger.stats().dropped, 1);
    board.logger.log_scalar("m_FACE", 1.0, 0).unwrap();
    mesh(2).unwrap();
    assert!(board.reported()[1].contains("m_FACE"));
    assert!(board.read("m_VERTEX").is_empty());
    let faces = [0, 1, 2];
    let whole = Mesh::new(&points).faces(&faces);
    board.logger.log_mesh("other", whole, 0).unwrap();
    assert_eq!(board.read("other_VERTEX").len(), 1);
    let events = read_events(board.logger.logdir());
    let last = events.last().and_then(|event| event.what.as_ref());
    let Some(What::Summary(summary)) = last else {
        panic!("{last:?}");
    };
    assert_eq!(summary.value.len(), 2, "one event");
}

#[test]
fn a_clip_is_a_list_of_one_wav_file() {
    let board = Board::new();
    let (left, right) = ([0.0_f32, 1.0], [-1.0_f64, 0.5]);
    board
        .logger
        .log_audio("clip", Audio::stereo(&left, &right, 8000), 3)
        .unwrap();
    let (tensor, metadata) = board.only("clip");
    assert_eq!(kind(&metadata), ("audio", DataClass::BlobSequence));
    let said = AudioPluginData::decode(content(&metadata)).unwrap();
    assert_eq!((said.version, said.encoding), (0, 11));
    assert_eq!(shape(&tensor), [1]);
    let file = &tensor.string_val[0];
    assert_eq!((&file[..4], file.len()), (&b"RIFF"[..], 44 + 8));
    let (samples, _) = file[44..].as_chunks::<2>();
    let samples: Vec<i16> = samples
        .iter()
        .map(|bytes| i16::from_le_bytes(*bytes))
        .collect();
    assert_eq!(samples, [0, -32767, 32767, 16383]);
}

#[test]
fn a_mesh_has_a_tag_for_each_part_at_one_step() {
    let board = Board::new();
    let scoped = board.logger.scoped("G").unwrap();
    let points = [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.5];
    let colors = [255_u8, 0, 0, 0, 255, 0, 0, 0, 255];
    let mesh = Mesh::new(&points).faces(&[0_i32, 1, 2]).colors(&colors);
    let mesh = mesh.config_json(r#"{"camera": {"cls": "PerspectiveCamera"}}"#);
    scoped.log_mesh("m", mesh, 7).unwrap();
    for (part, dtype, bytes) in [
        ("VERTEX", DataType::DtFloat, 36),
        ("FACE", DataType::DtInt32, 12),
        ("COLOR", DataType::DtUint8, 9),
    ] {
        let tag = format!("G/m_{part}");
        assert_eq!(board.read(&tag)[0].0, 7);
        let (tensor, metadata) = board.only(&tag);
        assert_eq!(kind(&metadata), ("mesh", DataClass::Tensor));
        assert_eq!(
            (tensor.dtype(), tensor.tensor_content.len()),
            (dtype, bytes)
        );
        let said = MeshPluginData::decode(content(&metadata)).unwrap();
        assert_eq!((said.name.as_str(), said.components), ("G/m", 14));
        assert_eq!(said.content_type().as_str_name(), part);
        assert_eq!(
            said.shape.iter().map(|&n| i64::from(n)).collect::<Vec<_>>(),
            shape(&tensor)
        );
        assert!(said.json_config.contains("PerspectiveCamera"));
    }
}
