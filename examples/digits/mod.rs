//! Handwritten digits and a small CNN to learn them: what the `cnn` example trains on.
#![allow(unreachable_pub, reason = "a module of several programs")]

mod batches;
mod idx;
mod model;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use batches::{Batch, Batches};
pub use idx::{IdxError, Images, parse_images, parse_labels};
pub use model::{Cnn, Score, evaluate};

/// The model halves the image at least once and looks at 3x3 pixels.
const SMALLEST_SIDE: usize = 4;

/// Images and the digit on each.
#[derive(Debug, Clone)]
pub struct Split {
    pub images: Images,
    pub labels: Vec<u8>,
}

/// A set to train on and one to test on, of the same image size.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub train: Split,
    pub test: Split,
    /// One more than the largest label of the training set.
    pub classes: usize,
}

/// Why there is no data to train on; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("no {name} in {}; expected are the four files of MNIST, unpacked: \
             {{train,t10k}}-images-idx3-ubyte and {{train,t10k}}-labels-idx1-ubyte", dir.display())]
    Missing { dir: PathBuf, name: String },
    #[error("{name} in {} is packed; only plain IDX is read, so unpack it first (gunzip)",
        dir.display())]
    Packed { dir: PathBuf, name: String },
    #[error("cannot use {}", path.display())]
    Idx { path: PathBuf, source: IdxError },
    #[error("{}: {reason}", path.display())]
    Mismatch { path: PathBuf, reason: String },
}

impl Dataset {
    /// The 1797 digits embedded in this program (see `examples/data/digits/README.md`).
    pub fn embedded() -> Result<Dataset, DataError> {
        macro_rules! file {
            ($name:literal) => {
                (
                    PathBuf::from($name),
                    include_bytes!(concat!("../data/digits/", $name)).as_slice(),
                )
            };
        }
        Dataset::build(
            Split::parse(
                file!("train-images-idx3-ubyte"),
                file!("train-labels-idx1-ubyte"),
            )?,
            Split::parse(
                file!("t10k-images-idx3-ubyte"),
                file!("t10k-labels-idx1-ubyte"),
            )?,
        )
    }

    /// The four IDX files of MNIST, Fashion-MNIST or any set like them, in `dir`.
    pub fn open(dir: &Path) -> Result<Dataset, DataError> {
        Dataset::build(Split::open(dir, "train")?, Split::open(dir, "t10k")?)
    }

    fn build(
        (train, train_files): (Split, Files),
        (test, test_files): (Split, Files),
    ) -> Result<Dataset, DataError> {
        let mismatch = |path: &Path, reason| {
            Err(DataError::Mismatch {
                path: path.to_owned(),
                reason,
            })
        };
        let size = (train.images.rows, train.images.cols);
        if size.0.min(size.1) < SMALLEST_SIDE {
            let reason = format!(
                "images of {}x{} are too small for this model: {SMALLEST_SIDE}x{SMALLEST_SIDE} is \
                 the least",
                size.0, size.1
            );
            return mismatch(&train_files.images, reason);
        }
        if size != (test.images.rows, test.images.cols) {
            let reason = format!(
                "{}x{} pixels, and {}x{} in {}",
                test.images.rows,
                test.images.cols,
                size.0,
                size.1,
                train_files.images.display()
            );
            return mismatch(&test_files.images, reason);
        }
        let classes = train
            .labels
            .iter()
            .max()
            .map_or(0, |largest| usize::from(*largest) + 1);
        if let Some(label) = test
            .labels
            .iter()
            .find(|label| usize::from(**label) >= classes)
        {
            let reason = format!(
                "label {label} does not occur in {}",
                train_files.labels.display()
            );
            return mismatch(&test_files.labels, reason);
        }
        Ok(Dataset {
            train,
            test,
            classes,
        })
    }
}

/// Where a split came from, for messages.
struct Files {
    images: PathBuf,
    labels: PathBuf,
}

impl Split {
    fn open(dir: &Path, part: &str) -> Result<(Split, Files), DataError> {
        let images = find(dir, &format!("{part}-images"), "idx3-ubyte")?;
        let labels = find(dir, &format!("{part}-labels"), "idx1-ubyte")?;
        let read = |path: &Path| {
            fs::read(path).map_err(|source| DataError::Read {
                path: path.to_owned(),
                source,
            })
        };
        let (image_bytes, label_bytes) = (read(&images)?, read(&labels)?);
        Split::parse((images, &image_bytes), (labels, &label_bytes))
    }

    fn parse(
        images: (PathBuf, &[u8]),
        labels: (PathBuf, &[u8]),
    ) -> Result<(Split, Files), DataError> {
        let files = Files {
            images: images.0,
            labels: labels.0,
        };
        let split = Split {
            images: parse_images(images.1).map_err(|source| DataError::Idx {
                path: files.images.clone(),
                source,
            })?,
            labels: parse_labels(labels.1).map_err(|source| DataError::Idx {
                path: files.labels.clone(),
                source,
            })?,
        };
        let (count, labelled) = (split.images.count, split.labels.len());
        if count != labelled {
            let reason = format!(
                "{labelled} labels for the {count} images of {}",
                files.images.display()
            );
            return Err(DataError::Mismatch {
                path: files.labels,
                reason,
            });
        }
        if count == 0 {
            return Err(DataError::Mismatch {
                path: files.images,
                reason: "no images at all".to_owned(),
            });
        }
        Ok((split, files))
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.count
    }
}

/// MNIST is found under both spellings: `train-images-idx3-ubyte` and `train-images.idx3-ubyte`.
fn find(dir: &Path, stem: &str, kind: &str) -> Result<PathBuf, DataError> {
    let names = [format!("{stem}-{kind}"), format!("{stem}.{kind}")];
    if let Some(path) = names
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.exists())
    {
        return Ok(path);
    }
    let packed = names
        .iter()
        .map(|name| format!("{name}.gz"))
        .find(|name| dir.join(name).exists());
    let dir = dir.to_owned();
    Err(match packed {
        Some(name) => DataError::Packed { dir, name },
        None => DataError::Missing {
            dir,
            name: format!("{stem}-{kind}"),
        },
    })
}
