//! Images and sounds as files of their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tch_tensorboard::PointValue;

use crate::export::Place;
use crate::output::Failure;

/// Names that are tried for a file, from the one that should be free on: a run that was resumed may
/// have written a step twice, and two tags may have one folder where letters have no case.
const SAME_STEP: u32 = 10_000;

/// The directory that they are written to.
pub(crate) struct Media {
    root: PathBuf,
    /// Points by folder and step.
    points: RefCell<HashMap<(String, i64), u32>>,
}

impl Media {
    /// Makes the directory, which must not exist.
    pub(crate) fn create(root: &Path) -> Result<Media, Failure> {
        fs::create_dir(root).map_err(|source| failure(root, source))?;
        Ok(Media {
            root: root.to_owned(),
            points: RefCell::default(),
        })
    }

    /// Writes what a point has of images or sounds, and returns the names of the files below the
    /// directory.
    pub(crate) fn write(&self, place: Place, value: &PointValue) -> Result<Vec<String>, Failure> {
        let files = match value {
            PointValue::Images { encoded, .. } => encoded,
            PointValue::Audio(clips) => clips,
            _ => return Ok(Vec::new()),
        };
        let folder = format!("{}/{}", file_name(place.run), file_name(place.tag));
        let path = self.root.join(&folder);
        fs::create_dir_all(&path).map_err(|source| failure(&path, source))?;
        let copy = self.copy(&folder, place.step);
        let mut names = Vec::with_capacity(files.len());
        for (sample, bytes) in files.iter().enumerate() {
            let stem = match sample {
                0 => place.step.to_string(),
                sample => format!("{}_{sample}", place.step),
            };
            let name = create(&path, (&stem, copy), bytes)?;
            names.push(format!("{folder}/{name}"));
        }
        Ok(names)
    }

    /// How many points of this step were written to this folder before.
    fn copy(&self, folder: &str, step: i64) -> u32 {
        let mut points = self.points.borrow_mut();
        let count = points.entry((folder.to_owned(), step)).or_insert(0);
        let copy = *count;
        *count = count.saturating_add(1);
        copy
    }
}

/// Writes a new file, and returns its name. The first that is tried is that of this copy.
fn create(folder: &Path, (stem, first): (&str, u32), bytes: &[u8]) -> Result<String, Failure> {
    let extension = extension(bytes);
    for copy in first..first.saturating_add(SAME_STEP) {
        let name = match copy {
            0 => format!("{stem}.{extension}"),
            copy => format!("{stem}-{copy}.{extension}"),
        };
        let path = folder.join(&name);
        match File::create_new(&path) {
            Ok(mut file) => {
                file.write_all(bytes)
                    .map_err(|source| failure(&path, source))?;
                return Ok(name);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failure(&path, source)),
        }
    }
    let path = folder.join(stem);
    Err(failure(&path, ErrorKind::AlreadyExists.into()))
}

fn failure(path: &Path, source: std::io::Error) -> Failure {
    Failure::Create {
        path: path.to_owned(),
        source,
    }
}

/// By what a file begins with.
fn extension(bytes: &[u8]) -> &'static str {
    // A RIFF file: its kind comes after its length.
    let riff = bytes.strip_prefix(b"RIFF").and_then(|rest| rest.get(4..8));
    match (bytes, riff) {
        (_, Some(b"WAVE")) => "wav",
        (_, Some(b"WEBP")) => "webp",
        ([0x89, b'P', b'N', b'G', ..], _) => "png",
        ([0xff, 0xd8, 0xff, ..], _) => "jpg",
        ([b'G', b'I', b'F', b'8', ..], _) => "gif",
        ([b'B', b'M', ..], _) => "bmp",
        _ => "bin",
    }
}

/// Letters of a part of a path at most; file systems allow 255 bytes.
const NAME: usize = 200;

/// A name from a file as one part of a path, which leads nowhere else: all but plain letters is
/// written as `%` and two hex digits, as in an address.
fn file_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (place, byte) in name.bytes().enumerate() {
        let letter = char::from(byte);
        let is_plain = letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
        match is_plain || (letter == '.' && place > 0) {
            true => escaped.push(letter),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    if escaped.len() > NAME {
        // Long names that begin alike stay apart.
        let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        escaped.truncate(NAME);
        escaped.push_str(&format!("~{digest:016x}"));
    }
    match escaped.is_empty() {
        true => "%".to_owned(),
        false => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Number;

    #[test]
    fn names_lead_nowhere_else_and_stay_apart() {
        for (name, wanted) in [
            ("weight_map", "weight_map"),
            ("val/loss.2", "val%2Floss.2"),
            ("../../etc/passwd", "%2E./../etc/passwd"),
            ("..", "%2E."),
            (".", "%2E"),
            ("", "%"),
            ("%2E", "%252E"),
            ("c:\\x\0", "c%3A%5Cx%00"),
            ("\u{fc}", "%C3%BC"),
        ] {
            let wanted = wanted.replace('/', "%2F");
            assert_eq!(file_name(name), wanted);
        }
        let long = |end: &str| file_name(&("x/".repeat(400) + end));
        assert!(long("a").len() <= 255 && long("a") != long("b"));
    }

    #[test]
    fn a_step_that_comes_twice_gets_two_files() {
        let temp = tempfile::tempdir().unwrap();
        let first = create(temp.path(), ("7", 0), b"GIF89a").unwrap();
        let second = create(temp.path(), ("7", 0), b"GIF87a").unwrap();
        assert_eq!((&*first, &*second), ("7.gif", "7-1.gif"));
        assert_eq!(fs::read(temp.path().join(second)).unwrap(), b"GIF87a");
        assert_eq!(create(temp.path(), ("7", 0), b"").unwrap(), "7.bin");
        let sound = create(temp.path(), ("8", 0), b"RIFF\x04\0\0\0WAVE");
        assert_eq!(sound.unwrap(), "8.wav");
    }

    #[test]
    fn any_number_of_points_of_one_step_have_files() {
        let temp = tempfile::tempdir().unwrap();
        let media = Media::create(&temp.path().join("media")).unwrap();
        let value = PointValue::Audio(vec![b"RIFF\x04\0\0\0WAVE".to_vec()]);
        let write = |step: i64| {
            let place = Place {
                run: "run",
                tag: "tag",
                step,
                wall_time: Number(0.0),
            };
            media.write(place, &value).unwrap().remove(0)
        };
        assert_eq!(write(3), "run/tag/3.wav");
        for copy in 0..=SAME_STEP {
            let name = write(7);
            if copy == SAME_STEP {
                assert_eq!(name, format!("run/tag/7-{SAME_STEP}.wav"));
            }
        }
        // Back again.
        assert_eq!(write(3), "run/tag/3-1.wav");
        assert_eq!(write(3), "run/tag/3-2.wav");
    }
}
