//! `log_image` and `log_images`: what a reader of the log gets is what was logged, or there is an
//! error that names the tag.

mod common;

use common::read_tag;
use tch_tensorboard::proto::summary::value::Value;
use tch_tensorboard::{Error, Image, LogDir, Logger, PointValue};
use tempfile::TempDir;

fn logger() -> (TempDir, Logger) {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    (dir, logger)
}

/// Width, height and the file of each picture of a tag, by the crate's reader.
fn read(logger: &Logger, tag: &str) -> Vec<(u32, u32, Vec<u8>)> {
    logger.flush().unwrap();
    let logs = LogDir::open(logger.logdir()).unwrap();
    let points = logs.runs()[0].events().points().map(Result::unwrap);
    points
        .filter(|point| point.tag == tag)
        .map(|point| match point.value {
            PointValue::Images {
                width,
                height,
                mut encoded,
            } => {
                assert_eq!(encoded.len(), 1);
                (width, height, encoded.remove(0))
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

fn pixels(file: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(file))
        .read_info()
        .unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut data).unwrap();
    data
}

#[test]
fn pixels_are_read_back() {
    let (_dir, logger) = logger();
    let bytes: Vec<u8> = (0..60).collect();
    let shares: Vec<f32> = bytes
        .iter()
        .map(|&byte| f32::from(byte) / 255.0 + 1e-4)
        .collect();
    for (step, channels) in [1, 3, 4].into_iter().enumerate() {
        let width = 60 / 5 / channels;
        let image = Image::from_pixels(&bytes, width, 5, channels);
        logger.log_image("bytes", image, step).unwrap();
        let image = Image::from_pixels(&shares, width, 5, channels);
        logger.log_image("shares", image, step).unwrap();
    }
    for tag in ["bytes", "shares"] {
        let read = read(&logger, tag);
        let sizes: Vec<(u32, u32)> = read.iter().map(|read| (read.0, read.1)).collect();
        assert_eq!(sizes, [(12, 5), (4, 5), (3, 5)]);
        assert!(read.iter().all(|(.., file)| pixels(file) == bytes), "{tag}");
    }
    let form = read_tag(logger.logdir(), "bytes");
    let Value::Tensor(tensor) = &form[0].1 else {
        panic!("a tensor");
    };
    let dims: Vec<i64> = tensor
        .tensor_shape
        .iter()
        .flat_map(|s| &s.dim)
        .map(|d| d.size)
        .collect();
    assert_eq!((tensor.string_val.len(), dims), (3, vec![3]));
}

#[test]
fn a_file_is_stored_as_it_is_and_a_grid_is_one_picture() {
    let (_dir, logger) = logger();
    let gray = [7_u8; 6];
    logger
        .log_image("image", Image::from_pixels(&gray, 3, 2, 1), 0)
        .unwrap();
    let file = read(&logger, "image").remove(0).2;
    logger
        .log_image("file", Image::from_encoded(&file), 0)
        .unwrap();
    assert_eq!(read(&logger, "file"), [(3, 2, file)]);
    let nine = [gray; 9];
    let images = nine.iter().map(|gray| Image::from_pixels(gray, 3, 2, 1));
    logger.log_images("grid", images, 0).unwrap();
    let (width, height, grid) = read(&logger, "grid").remove(0);
    assert_eq!((width, height), (24, 4));
    let lit = pixels(&grid).iter().filter(|&&level| level == 7).count();
    assert_eq!(lit, 9 * 6);
}

#[test]
fn what_cannot_be_shown_is_an_error_that_names_the_tag() {
    let (_dir, logger) = logger();
    let (bytes, none) = ([0_u8; 12], [0_u8; 0]);
    let of = |width, height, channels| Image::from_pixels(&bytes, width, height, channels);
    let errors = [
        logger.log_image("tag", of(3, 3, 1), 0),
        logger.log_image("tag", of(3, 2, 2), 0),
        logger.log_image("tag", Image::from_pixels(&none, 0, 0, 1), 0),
        logger.log_image("tag", Image::from_encoded(&bytes), 0),
        logger.log_images("tag", [of(2, 2, 3), of(2, 2, 1)], 0),
        logger.log_images("tag", [], 0),
        logger.log_images("tag", [Image::from_encoded(b"\x89PNG\r\n\x1a\n")], 0),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::InvalidImage { tag, .. } if &**tag == "tag"));
        assert!(error.to_string().starts_with("image \"tag\": "), "{error}");
    }
    // A file of which the header says more than TensorBoard shows.
    let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    huge.extend(20_000_u32.to_be_bytes());
    huge.extend(20_000_u32.to_be_bytes());
    let error = logger
        .log_image("tag", Image::from_encoded(&huge), 0)
        .unwrap_err();
    assert!(
        error.to_string().contains("TensorBoard shows at most"),
        "{error}"
    );
    assert!(logger.log_image("", of(12, 1, 1), 0).is_err());
    logger.log_image("tag", of(12, 1, 1), 0).unwrap();
    assert_eq!(read(&logger, "tag").len(), 1);
    logger.close().unwrap();
    assert!(matches!(
        logger.log_image("tag", of(12, 1, 1), 1),
        Err(Error::Closed { .. })
    ));
}
