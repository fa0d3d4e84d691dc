//! What is said of a tag: kinds that clash, descriptions, wall times.

use std::time::{Duration, UNIX_EPOCH};

use tch_tensorboard::proto::DataClass;
use tch_tensorboard::{Audio, Logger, PrCurve, Scalar};

use crate::common::{event_files, read_events, read_values};
use crate::{Board, kind};

#[test]
fn a_tag_of_two_kinds_is_reported_with_both() {
    let board = Board::new();
    board.logger.log_scalar("x", 1.0, 0).unwrap();
    board
        .logger
        .log_audio("x", Audio::mono(&[0.0_f32], 8000), 1)
        .unwrap();
    let reported = board.reported();
    let wanted = "tag \"x\": holds scalars already and takes no audio; give these another tag";
    assert_eq!(reported, [wanted]);
}

#[test]
fn a_tag_of_any_dashboard_has_a_title_and_a_description_in_each_file() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::builder(dir.path().join("run"));
    let logger = logger.max_file_bytes(65_536).create().unwrap();
    let scoped = logger.scoped("G").unwrap();
    scoped
        .describe_tag("loss", "Loss", "*Mean* over the batch.")
        .unwrap();
    scoped.describe_tag("pr", "", "All classes.").unwrap();
    let (labels, scores) = ([1_u8, 0], [0.5_f32, 0.1]);
    for step in 0..20 {
        scoped.log_scalar("loss", 0.5, step).unwrap();
        let curve = PrCurve::new(&labels, &scores).thresholds(1000);
        scoped.log_pr_curve("pr", curve, step).unwrap();
    }
    logger.close().unwrap();
    let files = event_files(logger.logdir());
    assert!(files.len() > 2, "{}", files.len());
    for file in files {
        let values = read_values(&file);
        let first = |tag: &str| {
            let value = values.iter().find(|(_, value)| value.tag == tag);
            value.map(|(_, value)| value.metadata.clone().unwrap())
        };
        if let Some(loss) = first("G/loss") {
            assert_eq!(kind(&loss), ("scalars", DataClass::Scalar));
            let said = (&*loss.display_name, &*loss.summary_description);
            assert_eq!(said, ("Loss", "*Mean* over the batch."));
        }
        let curve = first("G/pr").expect("a curve in each file");
        assert_eq!(curve.summary_description, "All classes.");
        assert!(!curve.plugin_data.unwrap().content.is_empty());
    }
}

#[test]
fn calls_have_the_wall_time_that_was_asked_for() {
    let board = Board::new();
    let then = board
        .logger
        .at_time(UNIX_EPOCH + Duration::from_millis(1_500));
    then.log_scalar("loss", 1.0, 0).unwrap();
    then.scoped("G").unwrap().log_text("note", "x", 0).unwrap();
    board.logger.log_scalar("loss", 1.0, 1).unwrap();
    board.logger.flush().unwrap();
    let events = read_events(board.logger.logdir());
    let times: Vec<f64> = events.iter().skip(1).map(|event| event.wall_time).collect();
    assert_eq!(times[..2], [1.5, 1.5]);
    assert!(times[2] > 1e9);
}

#[test]
fn a_list_of_scalars_mixes_their_types() {
    let board = Board::new();
    let loss = 0.5_f32;
    let values = [
        ("loss", Scalar::from(&loss)),
        ("epoch", 3_u64.into()),
        ("warm", true.into()),
    ];
    board.logger.log_scalars(&values, 0).unwrap();
    board.logger.flush().unwrap();
    let read = crate::common::read_scalars(board.logger.logdir());
    let found: Vec<(&str, f32)> = read
        .iter()
        .map(|(tag, of)| (tag.as_str(), of[0].1))
        .collect();
    assert_eq!(found, [("epoch", 3.0), ("loss", 0.5), ("warm", 1.0)]);
}
