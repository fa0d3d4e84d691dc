//! `export`: points as CSV or JSON lines.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use tch_tensorboard::proto::custom_scalar::{Category, Chart, chart::Content};
use tch_tensorboard::{HParam, Point, PointValue, ReadError, Run};

use crate::args::{Export, Format, Kind};
use crate::media::Media;
use crate::output::{Failure, Number, Status, escaped};
use crate::progress::{Progress, bytes};
use crate::selection::Selection;

pub(crate) fn run(args: &Export) -> Result<Status, Failure> {
    let kinds = kinds(args)?;
    let selection = Selection::new(&args.logdir, &args.select)?;
    let mut copy = Copy {
        status: selection.status(),
        media: media(args)?,
        writer: Writer::new(args, &kinds, open_output(args)?)?,
        progress: Progress::new(selection.runs().map(bytes).sum()),
        selection: &selection,
        kinds,
    };
    for run in selection.runs() {
        match copy.kinds[..] {
            [Kind::Scalar] => copy.scalars(run)?,
            _ => copy.points(run)?,
        }
    }
    let Copy {
        writer,
        progress,
        status,
        ..
    } = copy;
    writer.finish()?;
    drop(progress);
    Ok(status.max(selection.tag_status()))
}

/// Points on their way.
struct Copy<'a> {
    selection: &'a Selection,
    kinds: Vec<Kind>,
    media: Option<Media>,
    writer: Writer,
    progress: Progress,
    status: Status,
}

impl Copy<'_> {
    fn points(&mut self, run: &Run) -> Result<(), Failure> {
        let mut points = run.events().resync(true).points();
        while let Some(point) = points.next() {
            match point {
                Ok(point) if self.wants(&point) => {
                    let place = Place::of(run, &point.tag, point.step, point.wall_time);
                    let files = match &self.media {
                        Some(media) => media.write(place, &point.value)?,
                        None => Vec::new(),
                    };
                    self.writer.write(place, &point.value, files)?;
                }
                Ok(_) => {}
                Err(error) => self.complain(error),
            }
            self.progress.follow(points.events());
        }
        Ok(())
    }

    /// As `points`, when only scalars are asked for: nothing else need be decoded.
    fn scalars(&mut self, run: &Run) -> Result<(), Failure> {
        let mut points = run.events().resync(true).point_infos();
        while let Some(point) = points.next_info() {
            match point {
                Ok(point) => {
                    if let Some(number) = point.scalar
                        && self.selection.has_tag(point.tag)
                    {
                        let place = Place::of(run, point.tag, point.step, point.wall_time);
                        self.writer.write_scalar(place, number)?;
                    }
                }
                Err(error) => self.complain(error),
            }
            self.progress.follow(points.events());
        }
        Ok(())
    }

    fn wants(&self, point: &Point) -> bool {
        let mut kinds = self.kinds.iter();
        (self.kinds.is_empty() || kinds.any(|kind| kind.name() == point.value.kind()))
            && self.selection.has_tag(&point.tag)
    }

    fn complain(&mut self, error: ReadError) {
        self.status = self.status.max(Status::of(&error));
        self.progress.complain(error);
    }
}

/// The kinds asked for; none for all.
fn kinds(args: &Export) -> Result<Vec<Kind>, Failure> {
    match (args.format, &args.kind[..]) {
        (Format::Csv, []) => Ok(vec![Kind::Scalar]),
        (Format::Csv, [Kind::Scalar | Kind::Histogram | Kind::Text | Kind::PrCurve])
        | (Format::Jsonl, _) => Ok(args.kind.clone()),
        (Format::Csv, _) => Err(Failure::Argument(
            "CSV has one of --kind scalar, histogram, text or pr-curve; --format jsonl has all \
             kinds"
                .to_owned(),
        )),
    }
}

/// Where images and sounds go.
fn media(args: &Export) -> Result<Option<Media>, Failure> {
    match (&args.media, args.format) {
        (None, _) => Ok(None),
        (Some(_), Format::Csv) => Err(Failure::Argument(
            "CSV has neither images nor sounds; --media needs --format jsonl".to_owned(),
        )),
        (Some(path), Format::Jsonl) => Media::create(path).map(Some),
    }
}

/// Beside those in the directory of --media, the only file that is written is the one the user
/// names, and never one that exists.
fn open_output(args: &Export) -> Result<Box<dyn Write>, Failure> {
    match &args.output {
        None => Ok(Box::new(io::stdout().lock())),
        Some(path) => match File::create_new(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(Failure::Create {
                path: path.clone(),
                source,
            }),
        },
    }
}

enum Writer {
    Csv(Box<csv::Writer<Box<dyn Write>>>, Cells),
    JsonLines(BufWriter<Box<dyn Write>>),
}

/// How text is written to a cell of CSV.
#[derive(Clone, Copy)]
pub(crate) enum Cells {
    /// So that no spreadsheet program takes it for a formula.
    Safe,
    Raw,
}

impl Cells {
    /// A name: on one line.
    pub(crate) fn name(self, name: &str) -> Cow<'_, str> {
        match self {
            Cells::Safe => apostrophe(name, escaped(name, |_| false)),
            Cells::Raw => Cow::Borrowed(name),
        }
    }

    /// A text, which may have lines and tabs.
    fn text(self, text: &str) -> Cow<'_, str> {
        let is_layout = |letter| matches!(letter, '\n' | '\r' | '\t');
        match self {
            Cells::Safe => apostrophe(text, escaped(text, is_layout)),
            Cells::Raw => Cow::Borrowed(text),
        }
    }

    /// What each line begins with.
    fn place<'a>(self, place: Place<'a>) -> (Cow<'a, str>, Cow<'a, str>, i64, Number) {
        let Place {
            step, wall_time, ..
        } = place;
        (self.name(place.run), self.name(place.tag), step, wall_time)
    }
}

/// Puts an apostrophe in front of a cell whose `text` could be a formula: signs and white space are
/// those of OWASP's advice on CSV injection. The apostrophe itself makes it clear which apostrophe
/// was put in front.
fn apostrophe<'a>(text: &str, cell: Cow<'a, str>) -> Cow<'a, str> {
    const SIGNS: [char; 9] = [
        '=', '+', '-', '@', '\'', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ];
    // A byte order mark is no white space, but spreadsheet programs drop it.
    let is_blank = |letter: char| letter.is_whitespace() || letter == '\u{feff}';
    match text.starts_with(SIGNS) || text.starts_with(is_blank) {
        true => Cow::Owned(format!("'{cell}")),
        false => cell,
    }
}

/// Where a value belongs: what each line begins with.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Place<'a> {
    pub(crate) run: &'a str,
    pub(crate) tag: &'a str,
    pub(crate) step: i64,
    pub(crate) wall_time: Number,
}

impl<'a> Place<'a> {
    fn of(run: &'a Run, tag: &'a str, step: i64, wall_time: f64) -> Place<'a> {
        Place {
            run: run.name(),
            tag,
            step,
            wall_time: Number(wall_time),
        }
    }
}

/// One JSON line.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    kind: &'static str,
    value: Value<'a>,
}

/// A value as JSON has it.
#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Number(Number),
    Rows(Vec<[Number; 3]>),
    Texts(&'a [String]),
    Images {
        width: u32,
        height: u32,
        bytes: Vec<usize>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        files: Vec<String>,
    },
    Blobs {
        bytes: Vec<usize>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        files: Vec<String>,
    },
    HParams(BTreeMap<&'a str, HParamValue<'a>>),
    HParamsEnd {
        status: &'static str,
    },
    PrCurve(Vec<CurvePoint>),
    Mesh {
        shape: [usize; 3],
        values: Vec<Number>,
    },
    Layout(Vec<CategoryValue<'a>>),
    Tensor {
        dtype: String,
        shape: Vec<i64>,
    },
    Nothing,
}

#[derive(Serialize)]
#[serde(untagged)]
enum HParamValue<'a> {
    Number(Number),
    Text(&'a str),
    Bool(bool),
}

/// A threshold of a PR curve.
#[derive(Serialize)]
struct CurvePoint {
    threshold: Number,
    true_positives: Number,
    false_positives: Number,
    true_negatives: Number,
    false_negatives: Number,
    precision: Number,
    recall: Number,
}

impl CurvePoint {
    /// All of it, in the order of the fields.
    fn numbers(&self) -> [Number; 7] {
        [
            self.threshold,
            self.true_positives,
            self.false_positives,
            self.true_negatives,
            self.false_negatives,
            self.precision,
            self.recall,
        ]
    }
}

fn curve_points(columns: &[[f64; 6]]) -> Vec<CurvePoint> {
    let last = columns.len().saturating_sub(1).max(1) as f64;
    let point = |(place, column): (usize, &[f64; 6])| {
        let [tp, fp, tn, fns, precision, recall] = column.map(Number);
        CurvePoint {
            threshold: Number(place as f64 / last),
            true_positives: tp,
            false_positives: fp,
            true_negatives: tn,
            false_negatives: fns,
            precision,
            recall,
        }
    };
    columns.iter().enumerate().map(point).collect()
}

/// A category of a layout.
#[derive(Serialize)]
struct CategoryValue<'a> {
    title: &'a str,
    closed: bool,
    charts: Vec<ChartValue<'a>>,
}

/// A chart of a layout: patterns of tags, or tags of values and the edges around them.
#[derive(Serialize)]
struct ChartValue<'a> {
    title: &'a str,
    lines: &'a [String],
    bands: Vec<[&'a str; 3]>,
}

impl<'a> CategoryValue<'a> {
    fn of(category: &'a Category) -> CategoryValue<'a> {
        let chart = |chart: &'a Chart| {
            let (lines, bands) = match &chart.content {
                Some(Content::Multiline(lines)) => (&lines.tag[..], Vec::new()),
                Some(Content::Margin(margin)) => {
                    let series = margin.series.iter();
                    let tags = series.map(|of| [&*of.value, &*of.lower, &*of.upper]);
                    (&[][..], tags.collect())
                }
                None => (&[][..], Vec::new()),
            };
            ChartValue {
                title: &chart.title,
                lines,
                bands,
            }
        };
        CategoryValue {
            title: &category.title,
            closed: category.closed,
            charts: category.chart.iter().map(chart).collect(),
        }
    }
}

impl<'a> Value<'a> {
    /// `files` are those that images and sounds were written to.
    fn of(value: &'a PointValue, files: Vec<String>) -> Value<'a> {
        match value {
            PointValue::Scalar(number) => Value::Number(Number(*number)),
            PointValue::Histogram(rows) => {
                Value::Rows(rows.iter().map(|row| row.map(Number)).collect())
            }
            PointValue::Text(cells) => Value::Texts(cells),
            PointValue::Images {
                width,
                height,
                encoded,
            } => Value::Images {
                width: *width,
                height: *height,
                bytes: sizes(encoded),
                files,
            },
            PointValue::Audio(clips) => Value::Blobs {
                bytes: sizes(clips),
                files,
            },
            PointValue::Graph(graph) => Value::Blobs {
                bytes: vec![graph.len()],
                files,
            },
            PointValue::HParams(params) => Value::HParams(
                params
                    .iter()
                    .filter_map(|(name, value)| Some((name.as_str(), hparam(value)?)))
                    .collect(),
            ),
            PointValue::HParamsEnd(status) => Value::HParamsEnd {
                status: status.as_str_name(),
            },
            PointValue::PrCurve(columns) => Value::PrCurve(curve_points(columns)),
            PointValue::Mesh { shape, values } => Value::Mesh {
                shape: *shape,
                values: values.iter().copied().map(Number).collect(),
            },
            PointValue::Layout(layout) => {
                Value::Layout(layout.category.iter().map(CategoryValue::of).collect())
            }
            PointValue::Tensor(tensor) => Value::Tensor {
                dtype: tensor.dtype().as_str_name().to_owned(),
                shape: tensor
                    .tensor_shape
                    .iter()
                    .flat_map(|shape| &shape.dim)
                    .map(|dim| dim.size)
                    .collect(),
            },
            _ => Value::Nothing,
        }
    }
}

fn sizes(blobs: &[Vec<u8>]) -> Vec<usize> {
    blobs.iter().map(Vec::len).collect()
}

fn hparam(value: &HParam) -> Option<HParamValue<'_>> {
    match value {
        HParam::Number(number) => Some(HParamValue::Number(Number(*number))),
        HParam::Text(text) => Some(HParamValue::Text(text)),
        HParam::Bool(truth) => Some(HParamValue::Bool(*truth)),
        _ => None,
    }
}

impl Writer {
    fn new(args: &Export, kinds: &[Kind], out: Box<dyn Write>) -> Result<Writer, Failure> {
        if args.format == Format::Jsonl {
            return Ok(Writer::JsonLines(BufWriter::new(out)));
        }
        let mut csv = csv::Writer::from_writer(out);
        let cells = if args.raw { Cells::Raw } else { Cells::Safe };
        let values: &[&str] = match kinds {
            [Kind::Histogram] => &["left", "right", "count"],
            [Kind::Text] => &["cell", "text"],
            [Kind::PrCurve] => &[
                "threshold",
                "true_positives",
                "false_positives",
                "true_negatives",
                "false_negatives",
                "precision",
                "recall",
            ],
            _ => &["value"],
        };
        csv.write_record(["run", "tag", "step", "wall_time"].iter().chain(values))?;
        Ok(Writer::Csv(Box::new(csv), cells))
    }

    fn write(
        &mut self,
        place: Place,
        value: &PointValue,
        files: Vec<String>,
    ) -> Result<(), Failure> {
        match (self, value) {
            (writer, PointValue::Scalar(number)) => writer.write_scalar(place, *number)?,
            (Writer::JsonLines(out), value) => {
                let (kind, value) = (value.kind(), Value::of(value, files));
                write_line(out, &Line { place, kind, value })?;
            }
            (Writer::Csv(csv, cells), PointValue::Histogram(rows)) => {
                for row in rows {
                    csv.serialize((cells.place(place), row.map(Number)))?;
                }
            }
            (Writer::Csv(csv, cells), PointValue::PrCurve(columns)) => {
                for point in curve_points(columns) {
                    csv.serialize((cells.place(place), point.numbers()))?;
                }
            }
            (Writer::Csv(csv, cells), PointValue::Text(texts)) => {
                for (cell, text) in texts.iter().enumerate() {
                    csv.serialize((cells.place(place), cell, cells.text(text)))?;
                }
            }
            (Writer::Csv(..), _) => {}
        }
        Ok(())
    }

    fn write_scalar(&mut self, place: Place, number: f64) -> Result<(), Failure> {
        let (kind, value) = ("scalar", Value::Number(Number(number)));
        match self {
            Writer::JsonLines(out) => write_line(out, &Line { place, kind, value }),
            Writer::Csv(csv, cells) => Ok(csv.serialize((cells.place(place), Number(number)))?),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Writer::Csv(mut csv, _) => csv.flush()?,
            Writer::JsonLines(mut out) => out.flush()?,
        }
        Ok(())
    }
}

fn write_line(out: &mut impl Write, line: &Line) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, line)?;
    Ok(out.write_all(b"\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_and_each_can_be_told_back() {
        for text in [
            "=1+1",
            "+a",
            "-a",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "\u{ff1d}1",
            "'",
            "'=1",
            "''",
            "loss",
            "",
            "a=1",
            "\u{fc}",
            " =1",
            "\u{a0}=1",
            "\u{2003}=1",
            "\u{3000}=1",
            "\u{feff}=1",
        ] {
            let cell = Cells::Safe.text(text);
            let is_signed = cell.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{feff}']);
            assert!(
                !is_signed && !cell.starts_with(char::is_whitespace),
                "{cell:?}"
            );
            assert_eq!(cell.strip_prefix('\'').unwrap_or(&cell), text);
            assert_eq!(Cells::Raw.text(text), text);
        }
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let tag = "loss\u{1b}[2J\u{7}\n=1";
        assert_eq!(Cells::Safe.name(tag), "loss\\u{1b}[2J\\u{7}\\n=1");
        assert_eq!(Cells::Safe.name("\n"), "'\\n");
        assert_eq!(Cells::Safe.text("a\tb\r\nc\u{1b}"), "a\tb\r\nc\\u{1b}");
        assert_eq!(Cells::Raw.name(tag), tag);
        assert_eq!(Cells::Raw.text(tag), tag);
    }
}
