//! An event in outline: the tags of its values, and as much of each as tells its kind and the number of a scalar.
//!
//! Taken from the bytes of a record without decoding it, in memory that is used again: decoding takes an allocation or more a
//! value. Only what nearly all records are made of is understood. Whatever else there is, a field that comes twice included,
//! is left to decoding, so that the two never disagree.

use crate::format::event_file::glance::varint;
use crate::proto::DataType;
use crate::read::plugin::{Plugin, Plugins};
use crate::read::value::{element_len, packed};
use crate::read::{Point, PointValue};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    pub(crate) wall_time: f64,
    pub(crate) step: i64,
    values: Vec<Sketch>,
    /// The tags of the values, one behind the other.
    tags: String,
}

/// A value in outline.
#[derive(Debug)]
struct Sketch {
    /// Where its tag ends in `tags`.
    tag_end: usize,
    /// The plugin that its metadata names.
    named: Option<Plugin>,
    has_metadata: bool,
    content: Content,
    kind: Kind,
}

/// What a value holds, as far as that matters. A tensor may be a scalar or a histogram: its plugin decides.
#[derive(Debug, Clone, Copy)]
enum Content {
    Nothing,
    Number(f32),
    Histogram { is_sound: bool },
    Tensor { number: Option<f64>, is_rows: bool },
}

/// The kind of a point, as `PointValue::kind` spells it, and its number when it is a scalar.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) scalar: Option<f64>,
}

impl Outline {
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.tags.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The tag and the kind of a value.
    pub(crate) fn get(&self, index: usize) -> Option<(&str, Kind)> {
        let value = self.values.get(index)?;
        let before = index
            .checked_sub(1)
            .and_then(|index| self.values.get(index));
        let start = before.map_or(0, |before| before.tag_end);
        Some((self.tags.get(start..value.tag_end)?, value.kind))
    }

    pub(crate) fn is_of_scalars(&self) -> bool {
        self.values.iter().all(|value| value.kind.scalar.is_some())
    }

    /// The points of an outline of scalars.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> {
        (0..self.len()).filter_map(|index| {
            let (tag, kind) = self.get(index)?;
            Some(Point {
                tag: tag.to_owned(),
                step: self.step,
                wall_time: self.wall_time,
                value: PointValue::Scalar(kind.scalar?),
            })
        })
    }

    /// Takes in an event, and the plugins that it names. False when only decoding can tell what is in it; the outline is
    /// empty then.
    pub(crate) fn read(&mut self, event: &[u8], plugins: &mut Plugins) -> bool {
        self.clear();
        // First whether the event is one at all: if it is not, its plugins do not count.
        let is_read = self.event(event).and_then(|()| self.resolve(plugins));
        if is_read.is_none() {
            self.clear();
        }
        is_read.is_some()
    }

    fn event(&mut self, mut event: &[u8]) -> Option<()> {
        (self.wall_time, self.step) = (0.0, 0);
        let mut seen = Seen::default();
        while !event.is_empty() {
            let (number, field) = split_field(&mut event)?;
            seen.first(number)?;
            match (number, field) {
                (1, Field::Fixed64(bits)) => self.wall_time = f64::from_bits(bits),
                (2, Field::Varint(step)) => self.step = step as i64,
                (5, Field::Bytes(summary)) => self.summary(summary)?,
                _ => return None,
            }
        }
        Some(())
    }

    /// Tells the kinds of the values by the plugins of their tags.
    fn resolve(&mut self, plugins: &mut Plugins) -> Option<()> {
        let mut start = 0;
        for value in &mut self.values {
            let plugin = match value.depends_on_plugin() {
                true => plugins.of(self.tags.get(start..value.tag_end)?, value.named),
                false => None,
            };
            value.kind = value.kind_for(plugin)?;
            start = value.tag_end;
        }
        Some(())
    }

    fn summary(&mut self, mut summary: &[u8]) -> Option<()> {
        while !summary.is_empty() {
            let (1, Field::Bytes(value)) = split_field(&mut summary)? else {
                return None;
            };
            self.value(value)?;
        }
        Some(())
    }

    fn value(&mut self, mut value: &[u8]) -> Option<()> {
        let mut seen = Seen::default();
        let (mut named, mut has_metadata, mut content) = (None, false, Content::Nothing);
        while !value.is_empty() {
            let (number, field) = split_field(&mut value)?;
            // The members of the oneof exclude each other.
            seen.first(if number == 5 || number == 8 {
                2
            } else {
                number
            })?;
            match (number, field) {
                (1, Field::Bytes(tag)) => self.tags.push_str(str::from_utf8(tag).ok()?),
                (2, Field::Fixed32(bits)) => content = Content::Number(f32::from_bits(bits)),
                (5, Field::Bytes(message)) => content = histogram(message)?,
                (8, Field::Bytes(message)) => content = tensor(message)?,
                (9, Field::Bytes(message)) => (named, has_metadata) = (metadata(message)?, true),
                _ => return None,
            }
        }
        self.values.push(Sketch {
            tag_end: self.tags.len(),
            named,
            has_metadata,
            content,
            kind: Kind::default(),
        });
        Some(())
    }
}

impl Sketch {
    /// False when the kind is the same whatever plugin the tag has.
    fn depends_on_plugin(&self) -> bool {
        self.has_metadata || matches!(self.content, Content::Tensor { .. })
    }

    /// What it is when its tag belongs to this plugin; `None` when only decoding can tell.
    fn kind_for(&self, plugin: Option<Plugin>) -> Option<Kind> {
        let kind = |name| Some(Kind { name, scalar: None });
        let scalar = |number| {
            let scalar = Some(number);
            Some(Kind {
                name: "scalar",
                scalar,
            })
        };
        if self.has_metadata && plugin == Some(Plugin::HParams) {
            return None;
        }
        match (self.content, plugin) {
            (Content::Nothing, _) => kind("unknown"),
            (Content::Number(number), _) => scalar(number.into()),
            (Content::Histogram { is_sound: true }, _) => kind("histogram"),
            (Content::Histogram { is_sound: false }, _) => kind("unknown"),
            (Content::Tensor { number, .. }, Some(Plugin::Scalars)) => {
                number.map_or(kind("tensor"), scalar)
            }
            (Content::Tensor { is_rows, .. }, Some(Plugin::Histograms)) => {
                kind(if is_rows { "histogram" } else { "tensor" })
            }
            (Content::Tensor { .. }, Some(Plugin::Text | Plugin::Images | Plugin::Audio)) => None,
            (Content::Tensor { .. }, _) => kind("tensor"),
        }
    }
}

fn metadata(mut message: &[u8]) -> Option<Option<Plugin>> {
    let mut seen = Seen::default();
    let mut named = None;
    while !message.is_empty() {
        let (number, field) = split_field(&mut message)?;
        seen.first(number)?;
        match (number, field) {
            (1, Field::Bytes(message)) => named = plugin_data(message)?,
            (2 | 3, Field::Bytes(text)) => drop(str::from_utf8(text).ok()?),
            (4, Field::Varint(_)) => {}
            _ => return None,
        }
    }
    Some(named)
}

fn plugin_data(mut message: &[u8]) -> Option<Option<Plugin>> {
    let mut seen = Seen::default();
    let mut named = None;
    while !message.is_empty() {
        let (number, field) = split_field(&mut message)?;
        seen.first(number)?;
        match (number, field) {
            (1, Field::Bytes(name)) => named = Plugin::named(str::from_utf8(name).ok()?),
            (2, Field::Bytes(_)) => {}
            _ => return None,
        }
    }
    Some(named)
}

/// A histogram of the older form. It is sound when each count has a limit.
fn histogram(mut message: &[u8]) -> Option<Content> {
    let mut seen = Seen::default();
    let (mut limits, mut counts) = (0, 0);
    while !message.is_empty() {
        let (number, field) = split_field(&mut message)?;
        seen.first(number)?;
        match (number, field) {
            (1..=5, Field::Fixed64(_)) => {}
            (6, Field::Bytes(packed)) => limits = whole(packed, 8)?.len(),
            (7, Field::Bytes(packed)) => counts = whole(packed, 8)?.len(),
            _ => return None,
        }
    }
    let is_sound = limits == counts;
    Some(Content::Histogram { is_sound })
}

fn tensor(mut message: &[u8]) -> Option<Content> {
    let mut seen = Seen::default();
    let mut dtype = DataType::default();
    let (mut shape, mut content): (Shape, &[u8]) = (Shape::default(), &[]);
    let (mut floats, mut doubles): (&[u8], &[u8]) = (&[], &[]);
    while !message.is_empty() {
        let (number, field) = split_field(&mut message)?;
        seen.first(number)?;
        match (number, field) {
            (1, Field::Varint(number)) => {
                dtype = DataType::try_from(number as i32).unwrap_or_default();
            }
            (2, Field::Bytes(message)) => shape = Shape::read(message)?,
            (4, Field::Bytes(bytes)) => content = bytes,
            (5, Field::Bytes(packed)) => floats = whole(packed, 4)?,
            (6, Field::Bytes(packed)) => doubles = whole(packed, 8)?,
            _ => return None,
        }
    }
    // As `numbers` of `value.rs` takes them. Integers in fields of their own are left to decoding above.
    let bytes = match (dtype, content) {
        (_, [_, ..]) => content,
        (DataType::DtFloat, _) => floats,
        (DataType::DtDouble, _) => doubles,
        _ => &[],
    };
    let count = element_len(dtype)
        .filter(|len| bytes.len().is_multiple_of(*len))
        .map(|len| bytes.len() / len);
    let number = match count {
        Some(1) => packed(dtype, bytes).and_then(|numbers| numbers.first().copied()),
        _ => None,
    };
    let is_rows = shape.is_rows_of_three() && count.is_some_and(|count| count.is_multiple_of(3));
    Some(Content::Tensor { number, is_rows })
}

#[derive(Default)]
struct Shape {
    rank: usize,
    last: i64,
}

impl Shape {
    fn read(mut message: &[u8]) -> Option<Shape> {
        let mut shape = Shape::default();
        while !message.is_empty() {
            let (2, Field::Bytes(mut dim)) = split_field(&mut message)? else {
                return None;
            };
            let mut size = 0;
            if !dim.is_empty() {
                let (1, Field::Varint(number)) = split_field(&mut dim)? else {
                    return None;
                };
                size = number as i64;
            }
            if !dim.is_empty() {
                return None;
            }
            shape = Shape {
                rank: shape.rank + 1,
                last: size,
            };
        }
        Some(shape)
    }

    fn is_rows_of_three(&self) -> bool {
        self.rank == 2 && self.last == 3
    }
}

/// Numbers of so many bytes each, if they are whole.
fn whole(packed: &[u8], len: usize) -> Option<&[u8]> {
    packed.len().is_multiple_of(len).then_some(packed)
}

/// The numbers of the fields that a message has had so far.
#[derive(Default)]
struct Seen(u16);

impl Seen {
    /// `None` when the field comes a second time: then decoding merges, replaces or refuses.
    fn first(&mut self, number: u8) -> Option<()> {
        let bit = 1 << number;
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        is_first.then_some(())
    }
}

/// What stands behind a key.
enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Takes the first field off a message: its number, up to 15, and what it holds.
#[inline]
fn split_field<'a>(message: &mut &'a [u8]) -> Option<(u8, Field<'a>)> {
    let (&key, rest) = message.split_first()?;
    if key >= 0x80 {
        return None;
    }
    let (field, rest) = match key & 7 {
        0 => {
            let (number, rest) = varint(rest)?;
            (Field::Varint(number), rest)
        }
        1 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Field::Fixed64(u64::from_le_bytes(*bytes)), rest)
        }
        2 => {
            let (len, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(len.try_into().ok()?)?;
            (Field::Bytes(bytes), rest)
        }
        5 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Field::Fixed32(u32::from_le_bytes(*bytes)), rest)
        }
        _ => return None,
    };
    *message = rest;
    Some((key >> 3, field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::RecordReader;
    use crate::fuzzing::outlines;
    use crate::proto::summary::value;
    use crate::proto::summary_metadata::PluginData;
    use crate::proto::tensor_shape_proto::Dim;
    use crate::proto::{
        Event, HistogramProto, Summary, SummaryMetadata, TensorProto, TensorShapeProto,
        event::What, summary,
    };
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use prost::Message;

    fn payloads(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut records = RecordReader::new(&mut file);
        std::iter::from_fn(|| records.next_record().unwrap().map(<[u8]>::to_vec)).collect()
    }

    /// Fixtures, and how many of their events are left to decoding: the first, texts, images, sounds, hyperparameters.
    const WRITERS: [(&str, usize); 5] = [
        ("torch", 3),
        ("torch_hparams", 4),
        ("tensorboardx", 3),
        ("tensorflow", 5),
        ("tensorboard_rs", 2),
    ];

    fn fixture(name: &str) -> Vec<Vec<u8>> {
        let path = format!("{}/tests/data/{name}.tfevents", env!("CARGO_MANIFEST_DIR"));
        payloads(&std::fs::read(path).unwrap())
    }

    #[test]
    fn what_writers_make_is_told_without_decoding() {
        for (name, decoded) in WRITERS {
            let events = fixture(name);
            let told = outlines(events.iter().map(Vec::as_slice));
            assert_eq!(told, events.len() - decoded, "{name}");
        }
    }

    fn numbers() -> impl Strategy<Value = TensorProto> {
        use DataType::*;
        let dtypes = vec![DtFloat, DtDouble, DtHalf, DtInt32, DtString, DtInvalid];
        let shapes = vec![vec![], vec![1], vec![2, 3], vec![1, 3], vec![3], vec![3, 1]];
        let dim = |size| Dim {
            size,
            ..Default::default()
        };
        let shape = select(shapes).prop_map(move |sizes| TensorShapeProto {
            dim: sizes.into_iter().map(dim).collect(),
            unknown_rank: false,
        });
        (
            select(dtypes),
            proptest::option::of(shape),
            vec(any::<u8>(), 0..9),
            vec(any::<f32>(), 0..7),
            vec(any::<f64>(), 0..7),
            vec(any::<i32>(), 0..2),
            0..3_u8,
        )
            .prop_map(
                |(dtype, shape, content, floats, doubles, ints, form)| TensorProto {
                    dtype: dtype.into(),
                    tensor_shape: shape,
                    tensor_content: if form == 0 { content } else { Vec::new() },
                    float_val: if form < 2 { floats } else { Vec::new() },
                    double_val: if form > 0 { doubles } else { Vec::new() },
                    int_val: if form == 2 { ints } else { Vec::new() },
                    ..Default::default()
                },
            )
    }

    fn values() -> impl Strategy<Value = summary::Value> {
        let histogram = (vec(any::<f64>(), 0..4), vec(any::<f64>(), 0..4));
        let histogram = histogram.prop_map(|(bucket_limit, bucket)| HistogramProto {
            bucket_limit,
            bucket,
            ..Default::default()
        });
        let content = prop_oneof![
            any::<f32>().prop_map(value::Value::SimpleValue),
            histogram.prop_map(value::Value::Histo),
            numbers().prop_map(value::Value::Tensor),
            vec(any::<u8>(), 0..4).prop_map(|bytes| value::Value::Image(summary::Image {
                encoded_image_string: bytes,
                ..Default::default()
            })),
        ];
        let plugins = vec!["", "scalars", "histograms", "text", "hparams", "mine"];
        let metadata = (select(plugins), "(\u{1a}\u{0})?[a-z]{0,3}").prop_map(|(name, text)| {
            SummaryMetadata {
                plugin_data: Some(PluginData {
                    plugin_name: name.to_owned(),
                    content: text.clone().into(),
                }),
                display_name: text.clone(),
                summary_description: text,
                data_class: 1,
            }
        });
        (
            select(vec!["", "a", "b", "loss/\u{fc}"]),
            proptest::option::of(content),
            proptest::option::of(metadata),
        )
            .prop_map(|(tag, value, metadata)| summary::Value {
                tag: tag.to_owned(),
                metadata,
                value,
            })
    }

    /// The beginning of a value of the plugin for scalars.
    fn scalar_metadata() -> Vec<u8> {
        let metadata = crate::summary::metadata(Plugin::Scalars, "");
        field(9, &[metadata.encode_to_vec()])
    }

    /// The event of a few values.
    fn event(wall_time: f64, step: i64, value: Vec<summary::Value>) -> Vec<u8> {
        let event = Event {
            wall_time,
            step,
            what: Some(What::Summary(Summary { value })),
            ..Default::default()
        };
        event.encode_to_vec()
    }

    fn events() -> impl Strategy<Value = Vec<u8>> {
        let steps = prop_oneof![9 => 0..i64::from(u32::MAX), 1 => any::<i64>()];
        (any::<f64>(), steps, vec(values(), 0..4))
            .prop_map(|(wall_time, step, values)| event(wall_time, step, values))
    }

    /// A field that holds these bytes one behind the other.
    fn field(number: u32, contents: &[Vec<u8>]) -> Vec<u8> {
        let mut field = Vec::new();
        prost::encoding::bytes::encode(number, &contents.concat(), &mut field);
        field
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn an_outline_tells_what_decoding_tells(events in vec(events(), 1..6)) {
            outlines(events.iter().map(Vec::as_slice));
        }

        #[test]
        fn also_when_fields_come_twice(first in values(), second in values(), tensors in (numbers(), numbers())) {
            let [first, second] = [first, second].map(|value| value.encode_to_vec());
            // One that names the plugin, so that what a tensor is depends on what it holds.
            let mut named = scalar_metadata();
            named.extend(field(8, &[tensors.0.encode_to_vec(), tensors.1.encode_to_vec()]));
            for value in [vec![first.clone(), second], vec![first.clone(), first], vec![named]] {
                outlines([&field(5, &[field(1, &value)])[..]]);
            }
        }

        #[test]
        fn also_when_bytes_are_damaged(mut events in vec(events(), 1..4), at in any::<Index>(), byte in any::<u8>()) {
            let at = at.index(events[0].len().max(1));
            if let Some(damaged) = events[0].get_mut(at) {
                *damaged = byte;
            }
            outlines(events.iter().map(Vec::as_slice));
        }

        #[test]
        fn also_when_a_file_of_a_writer_is_damaged(
            name in select(&WRITERS), at in any::<(Index, Index)>(), byte in any::<u8>()
        ) {
            let mut events = fixture(name.0);
            let event = at.0.index(events.len());
            let event = &mut events[event];
            let at = at.1.index(event.len());
            event[at] = byte;
            outlines(events.iter().map(Vec::as_slice));
        }
    }
}
