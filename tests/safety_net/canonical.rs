//! Event files to lines: framing and meaning are decoded here, so that the crate's own reader is
//! not what is trusted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use tch_tensorboard::proto::custom_scalar::{Layout, chart::Content};
use tch_tensorboard::proto::session_log::SessionStatus;
use tch_tensorboard::proto::summary::{Value, value};
use tch_tensorboard::proto::{DataType, Event, SummaryMetadata, TensorProto, event::What};

/// The private record of a run, which `tests/private_record.rs` is about.
const PRIVATE: &str = "tch_tensorboard";
const LAYOUT: &str = "custom_scalars__config__";
const REPORT: &str = "weight_report";

/// Lines by tag and class.
#[derive(Debug, Default)]
pub struct Lines {
    pub of: BTreeMap<(String, String), Vec<String>>,
    /// The scenario does not wait for the writer thread: a second report of one step comes after
    /// it, and the end of the session behind that.
    pub is_free_running: bool,
}

impl Lines {
    pub fn add(&mut self, tag: &str, class: &str, line: String) {
        let key = (tag.to_owned(), class.to_owned());
        self.of.entry(key).or_default().push(line);
    }

    /// The lines of a run. `run` is what its tags begin with.
    pub fn take_run(&mut self, run: &str, dir: &Path) {
        let decoded = |file: PathBuf| {
            let events = decode(&file);
            (file, events)
        };
        let files: Vec<(PathBuf, Vec<Event>)> = event_files(dir).into_iter().map(decoded).collect();
        // Where files follow each other by their size, what the clock adds decides which points are
        // described again.
        let mut later = files.iter().skip(1);
        let rotates = later.any(|(_, events)| !is_start(events));
        let mut session = Session {
            rotates,
            ..Session::default()
        };
        for (index, (file, events)) in files.into_iter().enumerate() {
            let begins = index == 0 || is_start(&events);
            if begins && index > 0 {
                session.end(self, run);
            }
            session.begin_file(begins);
            for event in events {
                session.take(self, run, &file, event);
            }
        }
        session.end(self, run);
    }
}

/// The event files in a directory, in the order of their names.
pub fn event_files(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut files: Vec<PathBuf> = listed
        .filter(|path| path.is_file() && name(path).contains("tfevents"))
        .collect();
    files.sort();
    files
}

/// All events of a file; panics where one is damaged.
fn decode(file: &Path) -> Vec<Event> {
    let bytes = fs::read(file).unwrap();
    let mut rest = &bytes[..];
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (header, body) = rest.split_at(12);
        let length = u64::from_le_bytes(header[..8].try_into().unwrap());
        assert_eq!(header[8..], masked_crc(&header[..8]), "{}", file.display());
        let (payload, footer) = body.split_at(usize::try_from(length).unwrap());
        assert_eq!(footer[..4], masked_crc(payload), "{}", file.display());
        events.push(Event::decode(payload).unwrap());
        rest = &footer[4..];
    }
    let version = Some(What::FileVersion("brain.Event:2".into()));
    assert_eq!(events.first().map(|event| &event.what), Some(&version));
    events.remove(0);
    events
}

fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes).rotate_right(15);
    crc.wrapping_add(0xa282_ead8).to_le_bytes()
}

fn is_start(events: &[Event]) -> bool {
    let first = events.first().and_then(|event| event.what.as_ref());
    matches!(first, Some(What::SessionLog(session)) if session.status == 1)
}

/// One session of a run: its files from one start to the next.
#[derive(Default)]
struct Session {
    /// From 1 on.
    number: usize,
    /// Plugin and description of each tag that this file, and the session, has described.
    in_file: HashMap<String, String>,
    in_session: HashMap<String, String>,
    /// Some file follows another by its size.
    rotates: bool,
    texts: BTreeSet<(String, String)>,
    /// Tags of each event, by step.
    events: Vec<(i64, Vec<String>)>,
    /// Only the newest counts: how many came before is the clock's choice.
    layout: Option<Value>,
    report: Option<Value>,
}

impl Session {
    fn begin_file(&mut self, is_new: bool) {
        self.in_file.clear();
        self.number += usize::from(is_new);
    }

    fn take(&mut self, lines: &mut Lines, run: &str, file: &Path, event: Event) {
        assert!(event.wall_time.is_finite() && event.wall_time > 1e9);
        assert_eq!(event.source_metadata, None);
        let summary = match event.what {
            Some(What::Summary(summary)) => summary,
            Some(What::SessionLog(session)) => {
                let number = self.number;
                let hidden = lines.is_free_running && session.status() == SessionStatus::Stop;
                let step = if hidden { 0 } else { event.step };
                let line = format!("{number} {step} {} {session:?}", session.status);
                lines.add(&format!("{run}(session)"), "net", line);
                return;
            }
            other => panic!("{}: an event of {other:?}", file.display()),
        };
        let mut tags = Vec::new();
        for value in summary.value {
            let known = self.in_file.contains_key(&value.tag);
            assert!(
                known || value.metadata.is_some(),
                "{}: the first value of {:?} has no metadata",
                file.display(),
                value.tag
            );
            if let Some(metadata) = &value.metadata {
                self.in_file.insert(value.tag.clone(), plugin(metadata));
            }
            let plugin = self.in_file[&value.tag].split(' ').next();
            match (value.tag.as_str(), plugin) {
                // What the other lines say, for programs; when it is written is the clock's choice.
                (_, Some(PRIVATE)) => {}
                (LAYOUT, Some("custom_scalars")) => self.layout = Some(value),
                (REPORT, Some("text")) => self.report = Some(value),
                (_, Some("images")) => self.images(lines, run, event.step, &value),
                _ => {
                    tags.push(value.tag.clone());
                    self.value(lines, run, event.step, value);
                }
            }
        }
        if !tags.is_empty() {
            self.events.push((event.step, tags));
        }
    }

    /// Pixels rather than files: how well they are packed is the business of another library.
    fn images(&mut self, lines: &mut Lines, run: &str, step: i64, value: &Value) {
        let Some(value::Value::Tensor(tensor)) = &value.value else {
            panic!("{}: {:?}", value.tag, value.value);
        };
        assert_eq!(tensor.dtype(), DataType::DtString);
        let [width, height, files @ ..] = &tensor.string_val[..] else {
            panic!("{}: neither width nor height", value.tag);
        };
        let said = [width, height].map(|text| String::from_utf8(text.clone()).unwrap());
        let dims = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
        let dims: Vec<i64> = dims.map(|dim| dim.size).collect();
        let metadata = value.metadata.as_ref().filter(|_| !self.rotates);
        let text = metadata.map(|metadata| &metadata.summary_description);
        let plugin = &self.in_file[&value.tag];
        let files: Vec<String> = files.iter().map(|file| pixels(file)).collect();
        let number = self.number;
        let line = format!("{number} {step} {text:?} {plugin} {dims:?} {said:?} {files:?}");
        lines.add(&format!("{run}{}", value.tag), "images", line);
    }

    fn value(&mut self, lines: &mut Lines, run: &str, step: i64, value: Value) {
        let tag = value.tag;
        let is_described = value.metadata.is_some() && !self.rotates;
        if let Some(metadata) = &value.metadata {
            let text = &metadata.summary_description;
            if self.in_session.get(&tag) != Some(text) {
                self.in_session.insert(tag.clone(), text.clone());
                let family = tag.split('/').next().unwrap_or_default();
                let line = format!("{} {tag} at {step}: {text:?}", self.number);
                self.texts.insert((format!("{run}{family}/*"), line));
            }
        }
        let number = self.number;
        let plugin = &self.in_file[&tag];
        let class = plugin.split(' ').next().unwrap_or_default().to_owned();
        let described = if is_described { "described " } else { "" };
        let value = value_text(value.value.as_ref());
        let line = format!("{number} {step} {described}{plugin} {value}");
        lines.add(&format!("{run}{tag}"), &class, line);
    }

    fn end(&mut self, lines: &mut Lines, run: &str) {
        self.events.sort();
        for (step, tags) in std::mem::take(&mut self.events) {
            let line = format!("{} {step} {}", self.number, tags.join(" "));
            lines.add(&format!("{run}(events)"), "net", line);
        }
        if let Some(value) = self.layout.take() {
            let metadata = plugin(value.metadata.as_ref().expect("each layout has it"));
            let layout = Layout::decode(string(&value).as_slice()).expect("a layout");
            let (tags, titles) = layout_lines(&layout);
            let tag = format!("{run}{LAYOUT}");
            lines.add(
                &tag,
                "custom_scalars",
                format!("{} {metadata}", self.number),
            );
            tags.into_iter()
                .for_each(|line| lines.add(&tag, "custom_scalars", line));
            titles
                .into_iter()
                .for_each(|line| lines.add(&tag, "text", line));
        }
        if let Some(value) = self.report.take() {
            let text = String::from_utf8(string(&value)).expect("UTF-8");
            lines.add(
                &format!("{run}{REPORT}"),
                "text",
                format!("{} {text}", self.number),
            );
        }
        for (tag, text) in std::mem::take(&mut self.texts) {
            lines.add(&tag, "text", text);
        }
        self.in_session.clear();
    }
}

/// Plugin name first, then all else of metadata but the description.
fn plugin(metadata: &SummaryMetadata) -> String {
    let plugin = metadata.plugin_data.clone().unwrap_or_default();
    let (content, class) = (&plugin.content, metadata.data_class);
    let name = if plugin.plugin_name.is_empty() {
        "-"
    } else {
        &plugin.plugin_name
    };
    format!(
        "{name} {content:?} class={class} display={:?}",
        metadata.display_name
    )
}

/// The bits of a value, spelt so that a difference can be read.
fn value_text(value: Option<&value::Value>) -> String {
    match value {
        Some(value::Value::SimpleValue(number)) => format!("simple {}", single(*number)),
        Some(value::Value::Tensor(tensor)) => tensor_text(tensor),
        other => format!("{other:?}"),
    }
}

fn tensor_text(tensor: &TensorProto) -> String {
    let dims = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
    let dims: Vec<i64> = dims.map(|dim| dim.size).collect();
    let mut text = format!("{:?} {dims:?}", tensor.dtype());
    let content = &tensor.tensor_content;
    if tensor.dtype() == DataType::DtDouble {
        let (numbers, rest) = content.as_chunks::<8>();
        assert!(rest.is_empty());
        numbers.iter().for_each(|bytes| {
            let _ = write!(text, " {}", double(f64::from_le_bytes(*bytes)));
        });
    } else if !content.is_empty() {
        let _ = write!(text, " content {content:?}");
    }
    tensor.float_val.iter().for_each(|number| {
        let _ = write!(text, " {}", single(*number));
    });
    let others = TensorProto {
        tensor_content: Vec::new(),
        float_val: Vec::new(),
        tensor_shape: None,
        ..tensor.clone()
    };
    let plain = TensorProto {
        dtype: tensor.dtype,
        ..TensorProto::default()
    };
    if others != plain {
        let _ = write!(text, " and {others:?}");
    }
    text
}

/// Size and colours of a PNG.
fn pixels(file: &[u8]) -> String {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let digest = crc32c::crc32c(&data);
    format!(
        "{} x {} {:?} {digest:08x}",
        info.width, info.height, info.color_type
    )
}

/// Rust's shortest decimals give the bits back, but for NaN.
fn single(number: f32) -> String {
    match number.is_nan() {
        true => format!("NaN {:08x}", number.to_bits()),
        false => format!("{number:?}"),
    }
}

fn double(number: f64) -> String {
    match number.is_nan() {
        true => format!("NaN {:016x}", number.to_bits()),
        false => format!("{number:?}"),
    }
}

/// The one string of a text or a layout.
fn string(value: &Value) -> Vec<u8> {
    match &value.value {
        Some(value::Value::Tensor(tensor)) if tensor.string_val.len() == 1 => {
            assert_eq!(tensor.dtype(), DataType::DtString);
            tensor.string_val[0].to_vec()
        }
        other => panic!("{}: {other:?}", value.tag),
    }
}

/// What charts draw, and what their titles say.
fn layout_lines(layout: &Layout) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut titles) = (vec![format!("version {}", layout.version)], Vec::new());
    for category in &layout.category {
        tags.push(format!("category closed={}", category.closed));
        titles.push(category.title.clone());
        for chart in &category.chart {
            titles.push(format!("- {}", chart.title));
            tags.push(match &chart.content {
                Some(Content::Multiline(lines)) => format!("lines {:?}", lines.tag),
                Some(Content::Margin(band)) => format!("band {:?}", band.series),
                None => "nothing".into(),
            });
        }
    }
    (tags, titles)
}
