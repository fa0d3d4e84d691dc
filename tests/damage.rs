//! Files of ours, cut and damaged: what is whole is read, and what is not is reported where it is.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::event_files;
use tch_tensorboard::proto::Event;
use tch_tensorboard::{EventReader, Logger, ReadError};

/// An event file of a short run.
fn run() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    for step in 0..5 {
        logger
            .log_scalars(&[("loss", 1.0), ("accuracy", 0.5)], step)
            .unwrap();
        logger
            .log_weights(&[("w", [f64::from(step), 1.0])], step)
            .unwrap();
    }
    logger.log_histogram("last", &[1.0, 2.0], 5).unwrap();
    logger.close().unwrap();
    let file = event_files(logger.logdir()).remove(0);
    (dir, file)
}

/// Where each record begins, and the end of the file.
fn offsets(file: &Path) -> Vec<u64> {
    let mut reader = EventReader::open(file).unwrap();
    let mut offsets = vec![0];
    while let Some(event) = reader.next() {
        event.unwrap();
        offsets.push(reader.offset());
    }
    offsets
}

fn events(bytes: &[u8]) -> (Vec<Event>, Vec<ReadError>) {
    let (mut whole, mut errors) = (Vec::new(), Vec::new());
    for event in EventReader::new(bytes) {
        match event {
            Ok(event) => whole.push(event),
            Err(error) => errors.push(error),
        }
    }
    (whole, errors)
}

#[test]
fn a_file_cut_anywhere_in_its_last_record_gives_all_before_and_goes_on_when_it_grows() {
    let (dir, file) = run();
    let bytes = fs::read(&file).unwrap();
    let offsets = offsets(&file);
    let (&end, &start) = (offsets.last().unwrap(), &offsets[offsets.len() - 2]);
    assert_eq!(end, bytes.len() as u64);
    let (all, _) = events(&bytes);
    for cut in start..end {
        let path = dir.path().join("cut");
        fs::write(&path, &bytes[..cut as usize]).unwrap();
        let mut reader = EventReader::open(&path).unwrap();
        let before: Vec<Event> = reader.by_ref().map_while(Result::ok).collect();
        assert_eq!(before, all[..all.len() - 1], "cut at {cut}");
        assert_eq!(reader.offset(), start);
        // The cut was reported by the call that ended the loop above, unless nothing of the record
        // was there.
        let (_, errors) = events(&bytes[..cut as usize]);
        match errors.as_slice() {
            [] => assert_eq!(cut, start),
            [error] => {
                assert!(error.is_truncated() && error.can_continue());
                assert!(matches!(error, ReadError::Truncated { offset, .. } if *offset == start));
                assert!(error.to_string().contains(&start.to_string()), "{error}");
            }
            more => panic!("{more:?}"),
        }
        let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_all(&bytes[cut as usize..]).unwrap();
        let rest: Vec<Event> = reader.map(|event| event.unwrap()).collect();
        assert_eq!(rest, all[all.len() - 1..], "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_is_found_where_it_is() {
    let (_dir, file) = run();
    let bytes = fs::read(&file).unwrap();
    let offsets = offsets(&file);
    let (all, none) = events(&bytes);
    assert!(none.is_empty());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let record = offsets.partition_point(|&offset| offset <= at as u64) - 1;
        let start = offsets[record];
        let (whole, errors) = events(&damaged);
        let error = errors
            .first()
            .unwrap_or_else(|| panic!("bit at {at} was not noticed"));
        assert!(
            error.to_string().contains(&format!("byte {start}")),
            "{error} for {at}"
        );
        if at as u64 - start < 12 {
            assert!(matches!(error, ReadError::LengthChecksum { offset, .. } if *offset == start));
            assert!(!error.can_continue());
            assert_eq!(whole, all[..record]);
        } else {
            assert!(matches!(error, ReadError::DataChecksum { offset, .. } if *offset == start));
            assert!(error.can_continue());
            let others: Vec<Event> = all
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != record)
                .map(|(_, event)| event.clone())
                .collect();
            assert_eq!(whole, others);
        }
    }
}

#[test]
fn errors_name_the_file() {
    let (dir, file) = run();
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    let damaged = dir.path().join("events.tfevents.damaged");
    fs::write(&damaged, &bytes).unwrap();
    let error = EventReader::open(&damaged)
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err();
    assert_eq!(error.path(), Some(damaged.as_path()));
    assert!(error.to_string().contains("tfevents.damaged"), "{error}");
    let missing = dir.path().join("nothing");
    let error = EventReader::open(&missing).unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    // A directory, and a file that is none of ours.
    if let Ok(mut reader) = EventReader::open(dir.path()) {
        assert!(reader.next().unwrap().is_err());
    }
    fs::write(&missing, "This is a text, and no event file at all.\n").unwrap();
    let error = EventReader::open(&missing)
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, ReadError::LengthChecksum { offset: 0, .. }),
        "{error}"
    );
}
