//! Messages of the caller's own.

use tch_tensorboard::proto::summary::{self, value::Value as Field};
use tch_tensorboard::proto::{
    DataClass, DataType, Event, Summary, SummaryMetadata, TensorProto, TensorShapeProto,
    event::What, summary_metadata::PluginData,
};
use tch_tensorboard::{Error, LogDir, Logger};

use crate::common::read_values;
use crate::{Board, content, kind};

fn value(tag: &str, value: Field, plugin: Option<&str>) -> summary::Value {
    let metadata = plugin.map(|name| SummaryMetadata {
        plugin_data: Some(PluginData {
            plugin_name: name.into(),
            ..Default::default()
        }),
        display_name: "Mine".into(),
        ..Default::default()
    });
    summary::Value {
        tag: tag.into(),
        metadata,
        value: Some(value),
    }
}

fn text() -> Field {
    Field::Tensor(TensorProto {
        dtype: DataType::DtString.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        string_val: vec![b"words".to_vec()],
        ..Default::default()
    })
}

fn log(board: &Board, value: summary::Value, step: i64) -> Result<(), Error> {
    board
        .logger
        .log_summary(Summary { value: vec![value] }, step)
}

#[test]
fn metadata_are_completed_and_kept() {
    let board = Board::new();
    log(&board, value("note", text(), Some("text")), 0).unwrap();
    log(&board, value("note", text(), None), 1).unwrap();
    log(&board, value("loss", Field::SimpleValue(0.5), None), 1).unwrap();
    let clip = summary::Audio {
        encoded_audio_string: b"RIFF".to_vec(),
        ..Default::default()
    };
    log(&board, value("clip", Field::Audio(clip), None), 1).unwrap();
    let first = |tag: &str| board.read(tag)[0].1.metadata.clone().unwrap();
    assert_eq!(kind(&first("note")), ("text", DataClass::Tensor));
    assert_eq!(first("note").display_name, "Mine");
    assert_eq!(board.read("note").len(), 2);
    assert_eq!(kind(&first("loss")), ("scalars", DataClass::Scalar));
    // Without it the fast loader serves bytes that no browser plays.
    assert_eq!(
        (kind(&first("clip")).0, content(&first("clip"))),
        ("audio", &[0x10, 0x0b][..])
    );
}

#[test]
fn traps_are_errors_and_clashes_are_reported() {
    let board = Board::new();
    let double = Field::Tensor(TensorProto {
        dtype: DataType::DtDouble.into(),
        tensor_shape: Some(TensorShapeProto::default()),
        double_val: vec![1.0],
        ..Default::default()
    });
    let error = log(&board, value("x", double, Some("scalars")), 0).unwrap_err();
    assert!(
        error.to_string().contains("one DT_FLOAT of rank 0"),
        "{error}"
    );
    board.logger.log_scalar("x", 1.0, 0).unwrap();
    log(&board, value("x", text(), Some("text")), 1).unwrap();
    log(&board, value("unnamed", text(), None), 1).unwrap();
    let reported = board.reported();
    assert!(
        reported[0].contains("holds scalars already and takes no texts"),
        "{reported:?}"
    );
    assert!(
        reported[1].contains("\"unnamed\": is a tensor that no value"),
        "{reported:?}"
    );
    assert_eq!((board.read("x").len(), board.read("unnamed").len()), (1, 0));
}

#[test]
fn a_log_is_copied_event_by_event() {
    let dir = tempfile::tempdir().unwrap();
    let old = Logger::create(dir.path().join("old")).unwrap();
    let mut weight = vec![1.0_f32, -2.0, 0.5];
    for step in 0..5 {
        weight.iter_mut().for_each(|w| *w *= 0.9);
        old.log_scalar("loss", 1.0, step).unwrap();
        old.log_weights(&("w", &weight), step).unwrap();
    }
    old.close().unwrap();
    let copy = Logger::create(dir.path().join("copy")).unwrap();
    for event in LogDir::open(old.logdir()).unwrap().runs()[0].events() {
        let event = event.unwrap();
        if matches!(event.what, Some(What::Summary(_))) {
            copy.log_event(event).unwrap();
        }
    }
    copy.close().unwrap();
    let of = |logger: &Logger| read_values(logger.logdir());
    let (old, new) = (of(&old), of(&copy));
    assert!(old.len() > 20);
    assert_eq!(old, new);
}

#[test]
fn what_only_the_crate_writes_is_refused() {
    let board = Board::new();
    let event = |what| Event {
        what: Some(what),
        wall_time: 1.0,
        ..Default::default()
    };
    let refused = board.logger.log_event(event(What::FileVersion("x".into())));
    assert!(matches!(refused, Err(Error::InvalidValue { .. })));
    let late = Event {
        wall_time: f64::INFINITY,
        ..event(What::MetaGraphDef(Vec::new()))
    };
    assert!(board.logger.log_event(late).is_err());
}
