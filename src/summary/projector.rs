//! The Projector, which reads files beside the events: vectors and labels as tables, pictures as a
//! sprite, and a list of all of them.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::kernel::Elements;
use crate::model::types::DType;
use crate::source::copied::CopiedValues;
use crate::source::element_source::ElementLayout;
use crate::source::image::{CopiedPixels, Image, InspectedPixels};
use crate::source::values::{ValueSource, Values};
use crate::summary::images::{Grid, Sheet, sheets};

/// What errors call it.
const KIND: &str = "embedding";

/// The list of a run's embeddings, in the form that TensorBoard reads.
pub(crate) const CONFIG: &str = "projector_config.pbtxt";

/// The folder of all other files.
const FOLDER: &str = "projector";

/// Vectors that TensorBoard shows at most.
const MOST_VECTORS: usize = 100_000;

/// Numbers of a vector: the page projects to two or three.
const DIMS: RangeInclusive<usize> = 2..=65_536;

/// Numbers of an embedding at most: the page loads each as text, about ten bytes, and so many take
/// 670 MB.
const MOST_NUMBERS: usize = 1 << 26;

/// Pixels of a side of a sprite at most: what the page's graphics take.
const MOST_SIDE: usize = 8192;

/// Many vectors with labels and pictures or without: what
/// [`Logger::log_embedding`](crate::Logger::log_embedding) takes.
///
/// ```
/// use tch_tensorboard::Embedding;
///
/// let vectors = [0.0_f32, 0.1, 0.9, /* next */ 1.0, 0.4, 0.2];
/// let words = Embedding::new(&vectors, 3).labels(["cat", "dog"]);
/// # let _ = words;
/// ```
pub struct Embedding<'a> {
    vectors: ValueSource<'a>,
    dims: usize,
    columns: Vec<String>,
    rows: Option<Vec<Vec<String>>>,
    sprite: Vec<Image<'a>>,
}

impl<'a> Embedding<'a> {
    /// Vectors of `dims` numbers each, one after the other: a tensor of shape `[n, dims]`, or a
    /// slice of `n * dims` numbers.
    pub fn new<V: Values + ?Sized>(vectors: &'a V, dims: usize) -> Embedding<'a> {
        Embedding {
            vectors: vectors.source(),
            dims,
            columns: Vec::new(),
            rows: None,
            sprite: Vec::new(),
        }
    }

    /// A label for each vector.
    #[must_use]
    pub fn labels<T: Into<String>>(self, labels: impl IntoIterator<Item = T>) -> Embedding<'a> {
        let rows = labels.into_iter().map(|label| [label]);
        self.label_table(["label"], rows)
    }

    /// Several labels for each vector: the headings, and a row for each. The page colours and
    /// searches by any of them.
    #[must_use]
    pub fn label_table<C: Into<String>, R: IntoIterator<Item = T>, T: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = C>,
        rows: impl IntoIterator<Item = R>,
    ) -> Embedding<'a> {
        let row = |row: R| row.into_iter().map(Into::into).collect();
        self.columns = columns.into_iter().map(Into::into).collect();
        self.rows = Some(rows.into_iter().map(row).collect());
        self
    }

    /// A picture for each vector, shown in place of its point: batches, single images, or both, all
    /// of one size.
    #[must_use]
    pub fn pictures(mut self, images: impl IntoIterator<Item = Image<'a>>) -> Embedding<'a> {
        self.sprite = images.into_iter().collect();
        self
    }

    /// Looks at shapes and lengths, without copying anything.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] for what cannot be shown, those of [`Image::inspect_pixels`], and
    /// [`Error::UnsupportedTensor`] for what cannot be read.
    pub(crate) fn inspect(self, tag: &str) -> Result<InspectedEmbedding<'a>> {
        let invalid = |reason: String| Error::value(KIND, tag, reason);
        let layout = self.vectors.elements().inspect(tag)?;
        let count = count(&layout, self.dims).map_err(invalid)?;
        if let Some(rows) = &self.rows {
            check_rows(&self.columns, rows, count).map_err(invalid)?;
        }
        let sprite = self
            .sprite
            .into_iter()
            .map(|image| image.inspect_pixels(tag));
        let sprite: Vec<InspectedPixels<'a>> = sprite.collect::<Result<_>>()?;
        if !sprite.is_empty() {
            check_sprite(&sprite, count).map_err(invalid)?;
        }
        Ok(InspectedEmbedding {
            vectors: self.vectors,
            layout,
            dims: self.dims,
            columns: self.columns,
            rows: self.rows,
            sprite,
        })
    }
}

impl std::fmt::Debug for Embedding<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("Embedding");
        shown
            .field("dims", &self.dims)
            .field("columns", &self.columns);
        shown.finish_non_exhaustive()
    }
}

/// How many vectors there are.
fn count(layout: &ElementLayout, dims: usize) -> Result<usize, String> {
    if !DIMS.contains(&dims) {
        let (least, most) = DIMS.into_inner();
        return Err(format!(
            "has vectors of {dims} numbers; take {least} to {most}"
        ));
    }
    let is_fitting = match layout.shape[..] {
        [_] => layout.elements().is_multiple_of(dims),
        [_, last] => usize::try_from(last) == Ok(dims),
        _ => false,
    };
    if !is_fitting {
        return Err(format!(
            "has shape {:?}, which is no list of vectors of {dims} numbers",
            layout.shape
        ));
    }
    match layout.elements() / dims {
        0 => Err("has no vectors; log it when there are some".into()),
        count if count > MOST_VECTORS => Err(format!(
            "has {count} vectors; TensorBoard shows {MOST_VECTORS}: log a sample"
        )),
        count if layout.elements() > MOST_NUMBERS => Err(format!(
            "has {count} vectors of {dims} numbers, together more than {MOST_NUMBERS}; log a \
             sample or fewer dimensions"
        )),
        count => Ok(count),
    }
}

fn check_rows(columns: &[String], rows: &[Vec<String>], count: usize) -> Result<(), String> {
    if rows.len() != count {
        return Err(format!(
            "has {count} vectors and {} labels; give one for each",
            rows.len()
        ));
    }
    if columns.is_empty() {
        return Err("has labels without a column; name them".into());
    }
    match rows.iter().find(|row| row.len() != columns.len()) {
        Some(row) => Err(format!(
            "has {} columns and a row of {} labels; give one for each",
            columns.len(),
            row.len()
        )),
        None => Ok(()),
    }
}

fn check_sprite(images: &[InspectedPixels<'_>], count: usize) -> Result<(), String> {
    let found = images.iter().map(|image| image.size.images);
    let found = found.fold(0, usize::saturating_add);
    if found != count {
        return Err(format!(
            "has {count} vectors and {found} pictures; give one for each"
        ));
    }
    let mut sizes = images
        .iter()
        .map(|image| (image.size.width, image.size.height));
    let first = sizes.next().unwrap_or_default();
    if let Some(other) = sizes.find(|size| *size != first) {
        return Err(format!(
            "has pictures of {first:?} and of {other:?} pixels; make them equally large"
        ));
    }
    let side = sprite_side(count).saturating_mul(first.0.max(first.1));
    match side > MOST_SIDE {
        true => Err(format!(
            "has pictures that take {side} pixels side by side; the page takes {MOST_SIDE}: make \
             them smaller"
        )),
        false => Ok(()),
    }
}

/// Pictures in a row, and rows, of a sprite.
fn sprite_side(count: usize) -> usize {
    let side = count.isqrt();
    side + usize::from(side * side < count)
}

/// An embedding that can be logged.
pub(crate) struct InspectedEmbedding<'a> {
    vectors: ValueSource<'a>,
    layout: ElementLayout,
    dims: usize,
    columns: Vec<String>,
    rows: Option<Vec<Vec<String>>>,
    sprite: Vec<InspectedPixels<'a>>,
}

impl InspectedEmbedding<'_> {
    /// Bytes that a copy takes.
    pub(crate) fn bytes(&self) -> usize {
        let sprite = self.sprite.iter().map(InspectedPixels::bytes);
        let labels = self.rows.iter().flatten().flatten().map(String::len);
        let parts = sprite.chain(labels);
        parts.fold(self.layout.bytes(), usize::saturating_add)
    }

    /// # Errors
    /// See [`CopiedValues::of`].
    pub(crate) fn copy(self, tag: &str, step: i64) -> Result<EmbeddingFiles> {
        let bytes = self.bytes();
        let vectors = CopiedValues::of(tag, self.vectors.elements(), &self.layout)?;
        let sprite = self.sprite.iter().map(|image| image.copy(tag));
        Ok(EmbeddingFiles {
            sprite: sprite.collect::<Result<_>>()?,
            tag: tag.to_owned(),
            step,
            vectors,
            dims: self.dims,
            columns: self.columns,
            rows: self.rows,
            bytes,
        })
    }
}

/// An embedding that waits for the worker.
pub(crate) struct EmbeddingFiles {
    tag: String,
    step: i64,
    vectors: CopiedValues,
    dims: usize,
    columns: Vec<String>,
    rows: Option<Vec<Vec<String>>>,
    sprite: Vec<CopiedPixels>,
    bytes: usize,
}

/// The files of an embedding, and what the list says of them.
pub(crate) struct EncodedEmbedding {
    /// Below the run.
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) entry: String,
}

impl EmbeddingFiles {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// # Errors
    /// [`Error::InvalidValue`] for numbers that are not finite, with which the page shows nothing.
    pub(crate) fn encode(self) -> Result<EncodedEmbedding> {
        let folder = format!("{FOLDER}/{}/{}", file_name(&self.tag), self.step);
        let mut files = Vec::new();
        let mut entry = String::from("embeddings {\n");
        let mut add = |entry: &mut String, field: &str, name: &str, bytes: Vec<u8>| {
            let path = format!("{folder}/{name}");
            field_of(entry, field, &path);
            files.push((PathBuf::from(path), bytes));
        };
        // TensorBoard drops a first step of `:0` from names, and keeps vectors by their name.
        field_of(
            &mut entry,
            "tensor_name",
            &format!("{}:{:05}", self.tag, self.step),
        );
        let vectors = vectors(&self.tag, &self.vectors, self.dims)?;
        add(&mut entry, "tensor_path", "vectors.tsv", vectors);
        if let Some(rows) = &self.rows {
            let labels = labels(&self.columns, rows);
            add(&mut entry, "metadata_path", "labels.tsv", labels);
        }
        let sheets: Vec<Sheet> = self.sprite.into_iter().flat_map(sheets).collect();
        if let Some((width, height, file)) = sprite(sheets) {
            entry.push_str("  sprite {\n  ");
            add(&mut entry, "image_path", "sprite.png", file);
            for size in [width, height] {
                let _ = writeln!(entry, "    single_image_dim: {size}");
            }
            entry.push_str("  }\n");
        }
        entry.push_str("}\n");
        Ok(EncodedEmbedding { files, entry })
    }
}

/// A line of the list.
fn field_of(entry: &mut String, field: &str, text: &str) {
    let _ = write!(entry, "  {field}: \"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                entry.push('\\');
                entry.push(char::from(byte));
            }
            b' '..=b'~' => entry.push(char::from(byte)),
            other => {
                let _ = write!(entry, "\\{other:03o}");
            }
        }
    }
    entry.push_str("\"\n");
}

/// A tag as one part of a path, which leads nowhere else.
fn file_name(tag: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    const MOST: usize = 200;
    let mut name = percent_encoding::utf8_percent_encode(tag, KEPT).to_string();
    if name.len() > MOST {
        // Long names that begin alike stay apart.
        let digest = crc32c::crc32c(tag.as_bytes());
        name.truncate(MOST);
        let _ = write!(name, "_{digest:08x}");
    }
    // A sign that means an escape in an address is none in a path.
    name.replace('%', "~")
}

/// What a number takes as text, with the sign behind it, about.
const TEXT_BYTES: usize = 10;

/// A line for each vector, its numbers between tabs. The shorter binary form is recognised only
/// where it is not UTF-8 by chance.
fn vectors(tag: &str, values: &CopiedValues, dims: usize) -> Result<Vec<u8>> {
    let is_wide = values.dtype() == DType::F64;
    let elements = Elements::from_bytes(values.dtype(), values.as_bytes());
    debug_assert!(elements.is_some(), "the copy is aligned and whole");
    let count = elements.map_or(0, |elements| elements.len());
    let mut text = String::new();
    if text.try_reserve(count * TEXT_BYTES).is_err() {
        let reason = format!("has {count} numbers, more than there is memory for as text");
        return Err(Error::value(KIND, tag, reason));
    }
    let numbers = (0..count).map(|place| elements.map_or(f64::NAN, |all| all.get(place)));
    for (place, number) in numbers.enumerate() {
        if !number.is_finite() {
            let reason = format!(
                "has a number of {number} in vector {}, with which the page shows nothing",
                place / dims
            );
            return Err(Error::value(KIND, tag, reason));
        }
        if place > 0 {
            text.push(if place % dims == 0 { '\n' } else { '\t' });
        }
        let _ = match is_wide {
            true => write!(text, "{number:?}"),
            false => write!(text, "{:?}", number as f32),
        };
    }
    text.push('\n');
    Ok(text.into_bytes())
}

/// A line for each row, headings first where there are several: a single column has none.
fn labels(columns: &[String], rows: &[Vec<String>]) -> Vec<u8> {
    let header = (columns.len() > 1).then(|| columns.to_vec());
    let mut text = String::new();
    for row in header.iter().chain(rows) {
        for (place, cell) in row.iter().enumerate() {
            if place > 0 {
                text.push('\t');
            }
            let is_layout = |letter: char| matches!(letter, '\t' | '\n' | '\r');
            text.extend(
                cell.chars()
                    .map(|letter| if is_layout(letter) { ' ' } else { letter }),
            );
        }
        text.push('\n');
    }
    text.into_bytes()
}

/// Width and height of a picture, and all of them in a square, row by row. `None` for no pictures.
fn sprite(sheets: Vec<Sheet>) -> Option<(usize, usize, Vec<u8>)> {
    let size = sheets.first().map(|first| (first.width, first.height))?;
    let grid = Grid::square(sprite_side(sheets.len()), size);
    Some((size.0, size.1, grid.arranged(sheets).encode()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::png::tests::decode;

    fn reason(embedding: Embedding<'_>) -> String {
        match embedding.inspect("e") {
            Err(error) => error.to_string(),
            Ok(_) => "is fine".into(),
        }
    }

    #[test]
    fn what_cannot_be_shown_is_an_error_that_names_the_tag() {
        let (six, none, pixels) = ([0.5_f32; 6], [0.5_f32; 0], [0_u8; 2]);
        let many = vec![0_u8; 2 * (MOST_VECTORS + 1)];
        let wide = vec![false; MOST_NUMBERS + 65_536];
        let new = || Embedding::new(&six, 3);
        let picture = || Image::from_pixels(&pixels, 2, 1, 1);
        assert_eq!(
            reason(new().labels(["a", "b"]).pictures([picture(), picture()])),
            "is fine"
        );
        for (embedding, wanted) in [
            (Embedding::new(&six, 4), "no list of vectors of 4 numbers"),
            (Embedding::new(&six, 1), "vectors of 1 numbers; take 2 to"),
            (Embedding::new(&none, 3), "has no vectors"),
            (Embedding::new(&many, 2), "log a sample"),
            (Embedding::new(&wide, 65_536), "fewer dimensions"),
            (new().labels(["a"]), "2 vectors and 1 labels"),
            (
                new()
                    .label_table(["x", "y"], [["1", "2"], ["3", "4"]])
                    .labels([""; 3]),
                "3 labels",
            ),
            (
                new().label_table(["x", "y"], [["1"], ["2"]]),
                "2 columns and a row of 1 labels",
            ),
            (new().pictures([picture()]), "2 vectors and 1 pictures"),
        ] {
            let reason = reason(embedding);
            assert!(reason.starts_with("embedding \"e\": "), "{reason}");
            assert!(reason.contains(wanted), "{reason}");
        }
        let wild = [0.0_f32, f32::NAN];
        let wild = Embedding::new(&wild, 2)
            .inspect("e")
            .unwrap()
            .copy("e", 0)
            .unwrap();
        let error = wild.encode().err().unwrap().to_string();
        assert!(error.contains("number of NaN in vector 0"), "{error}");
    }

    #[test]
    fn files_hold_what_was_given() {
        let vectors = [0.1_f32, 1e-30, -2.5, 3.0];
        let rows = [["a\tb", "1"], ["\u{fc}", "2"]];
        let pixels = [[1_u8, 2], [3, 4]];
        let pictures = pixels
            .each_ref()
            .map(|pixels| Image::from_pixels(pixels, 2, 1, 1));
        let embedding = Embedding::new(&vectors, 2).label_table(["name", "n"], rows);
        let embedding = embedding.pictures(pictures).inspect("a/b \"c\"").unwrap();
        let EncodedEmbedding { files, entry } =
            embedding.copy("a/b \"c\"", 7).unwrap().encode().unwrap();
        let name = "projector/a~2Fb~20~22c~22/7";
        let paths: Vec<String> = files
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        let wanted =
            ["vectors.tsv", "labels.tsv", "sprite.png"].map(|file| format!("{name}/{file}"));
        assert_eq!(paths, wanted);
        assert_eq!(files[0].1, b"0.1\t1e-30\n-2.5\t3.0\n");
        assert_eq!(files[1].1, "name\tn\na b\t1\n\u{fc}\t2\n".as_bytes());
        let (width, height, pixels) = decode(&files[2].1);
        let grey: Vec<u8> = pixels.iter().map(|pixel| pixel[0]).collect();
        assert_eq!((width, height, grey), (4, 2, vec![1, 2, 3, 4, 0, 0, 0, 0]));
        assert!(
            entry.contains(r#"tensor_name: "a/b \"c\":00007""#),
            "{entry}"
        );
        assert!(
            entry.contains("single_image_dim: 2\n    single_image_dim: 1\n"),
            "{entry}"
        );
    }

    #[test]
    fn names_of_files_lead_nowhere_else() {
        assert_eq!(file_name("../x"), "~2E~2E~2Fx");
        assert!(file_name(&"x/".repeat(500)).len() < 255);
        assert_ne!(file_name(&"x".repeat(500)), file_name(&"x".repeat(501)));
    }
}
