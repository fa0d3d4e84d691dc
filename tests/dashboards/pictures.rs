//! Drawings and videos.

use tch_tensorboard::proto::DataClass;
use tch_tensorboard::{Error, Image};

use crate::{Board, kind, shape};

fn decoder(file: &[u8]) -> png::Reader<std::io::Cursor<&[u8]>> {
    png::Decoder::new(std::io::Cursor::new(file))
        .read_info()
        .unwrap()
}

#[test]
fn a_figure_is_what_the_closure_drew_on_white() {
    let board = Board::new();
    let draw = |rgb: &mut [u8]| rgb[3..6].copy_from_slice(&[1, 2, 3]);
    board.logger.log_figure("figure", 2, 2, draw, 5).unwrap();
    let (tensor, metadata) = board.only("figure");
    assert_eq!(kind(&metadata), ("images", DataClass::BlobSequence));
    assert_eq!(
        (shape(&tensor), &tensor.string_val[..2]),
        (vec![3], &[b"2".to_vec(), b"2".to_vec()][..])
    );
    let mut pixels = [0; 12];
    decoder(&tensor.string_val[2])
        .next_frame(&mut pixels)
        .unwrap();
    assert_eq!(
        pixels,
        [255, 255, 255, 1, 2, 3, 255, 255, 255, 255, 255, 255]
    );
}

#[test]
fn an_error_of_the_closure_is_that_of_the_call() {
    let board = Board::new();
    let fail = |_: &mut [u8]| Err("no font");
    let error = board
        .logger
        .log_figure("figure", 9, 9, fail, 0)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "figure \"figure\": was not drawn: no font"
    );
    let draw = |_: &mut [u8]| ();
    let empty = board.logger.log_figure("figure", 0, 9, draw, 0);
    assert!(matches!(empty, Err(Error::InvalidValue { .. })));
    let large = board.logger.log_figure("figure", usize::MAX, 9, draw, 0);
    assert!(matches!(large, Err(Error::InvalidValue { .. })));
    let fine = |_: &mut [u8]| Ok::<(), String>(());
    board.logger.log_figure("figure", 9, 9, fine, 0).unwrap();
    assert_eq!(board.read("figure").len(), 1);
}

#[test]
fn a_video_has_all_frames_and_their_rate() {
    let board = Board::new();
    let frames: Vec<[f32; 6]> = (0..5).map(|n| [n as f32 / 5.0; 6]).collect();
    let images = frames
        .iter()
        .map(|frame| Image::from_pixels(frame, 2, 1, 3));
    board.logger.log_video("video", images, 12.5, 0).unwrap();
    let (tensor, metadata) = board.only("video");
    assert_eq!(kind(&metadata), ("images", DataClass::BlobSequence));
    let mut reader = decoder(&tensor.string_val[2]);
    assert_eq!(reader.info().animation_control.unwrap().num_frames, 5);
    for frame in frames {
        let mut pixels = [0; 6];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [(frame[0] * 255.0) as u8; 6]);
        let control = reader.info().frame_control.unwrap();
        assert_eq!((control.delay_num, control.delay_den), (60, 750));
    }
    let none = board.logger.log_video("video", [], 25.0, 1);
    assert!(matches!(none, Err(Error::InvalidValue { .. })));
}
