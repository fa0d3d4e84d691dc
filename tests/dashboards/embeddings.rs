//! The projector's files.

use std::fs;

use tch_tensorboard::{Embedding, Image, Logger};

use crate::Board;

fn text(board: &Board, path: &str) -> String {
    board.logger.flush().unwrap();
    fs::read_to_string(board.logger.logdir().join(path)).expect(path)
}

#[test]
fn each_step_has_files_of_its_own_and_an_entry_in_the_list() {
    let board = Board::new();
    let scoped = board.logger.scoped("G").unwrap();
    let vectors = [0.5_f32, -1.0, 2.0, 3.25];
    let pixels = [[0_u8; 4], [255; 4]];
    for step in [3, 4] {
        let pictures = pixels
            .iter()
            .map(|pixels| Image::from_pixels(pixels, 2, 2, 1));
        let words = Embedding::new(&vectors, 2)
            .labels(["cat", "dog"])
            .pictures(pictures);
        scoped.log_embedding("words", words, step).unwrap();
    }
    let list = text(&board, "projector_config.pbtxt");
    assert_eq!(list.matches("embeddings {").count(), 2, "{list}");
    for step in [3, 4] {
        let folder = format!("projector/G~2Fwords/{step}");
        assert!(
            list.contains(&format!("tensor_name: \"G/words:0000{step}\"")),
            "{list}"
        );
        assert!(
            list.contains(&format!("tensor_path: \"{folder}/vectors.tsv\"")),
            "{list}"
        );
        assert_eq!(
            text(&board, &format!("{folder}/vectors.tsv")),
            "0.5\t-1.0\n2.0\t3.25\n"
        );
        assert_eq!(text(&board, &format!("{folder}/labels.tsv")), "cat\ndog\n");
        let sprite = fs::read(board.logger.logdir().join(format!("{folder}/sprite.png"))).unwrap();
        assert_eq!(sprite[1..4], *b"PNG");
    }
    let left: Vec<_> = fs::read_dir(board.logger.logdir()).unwrap().collect();
    assert!(!left.iter().any(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|end| end == "new")
    }));
}

#[test]
fn the_same_step_again_takes_the_place_of_the_one_before() {
    let board = Board::new();
    let vectors = [0.5_f32, -1.0, 2.0, 3.25];
    let new = || Embedding::new(&vectors, 2);
    board.logger.log_embedding("e", new(), 0).unwrap();
    let named = new().labels(["cat", "dog"]);
    board.logger.log_embedding("e", named, 0).unwrap();
    let list = text(&board, "projector_config.pbtxt");
    assert_eq!(list.matches("tensor_name").count(), 1, "{list}");
    assert!(list.contains("labels.tsv"), "{list}");
}

#[test]
fn the_list_of_an_earlier_session_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let vectors = [0.5_f32, -1.0];
    for step in 0..2 {
        let logger = Logger::builder(&run).resume().create().unwrap();
        logger.log_scalar("loss", 1.0, step).unwrap();
        logger
            .log_embedding("e", Embedding::new(&vectors, 2), step)
            .unwrap();
        logger.close().unwrap();
    }
    let list = fs::read_to_string(run.join("projector_config.pbtxt")).unwrap();
    assert_eq!(list.matches("embeddings {").count(), 2, "{list}");
}

#[test]
fn what_cannot_be_written_is_reported_and_ends_nothing() {
    let board = Board::new();
    board.logger.flush().unwrap();
    // A file where the folder should be.
    fs::write(board.logger.logdir().join("projector"), b"").unwrap();
    let vectors = [0.5_f32, -1.0];
    board
        .logger
        .log_embedding("e", Embedding::new(&vectors, 2), 0)
        .unwrap();
    let reported = board.reported();
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].contains("vectors.tsv"), "{reported:?}");
    assert!(
        !board
            .logger
            .logdir()
            .join("projector_config.pbtxt")
            .exists()
    );
    board.logger.log_scalar("loss", 1.0, 0).unwrap();
    assert_eq!(board.read("loss").len(), 1);
}
