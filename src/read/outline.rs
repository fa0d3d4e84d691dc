//! An event in outline: the tags of its values, and as much of each as decides its kind and the
//! number of a scalar.
//!
//! Taken from one scan of the bytes of a record, into memory that is used again: decoding takes an
//! allocation or more a value. Only what nearly all records are made of is understood. Whatever
//! else there is, a field that comes twice included, is left to decoding, so that the two never
//! disagree.

use crate::format::event_file::scan::{
    EventScan, FieldContent, FieldVisitor, MessageType, max_decoded_len,
};
use crate::proto::DataType;
use crate::proto::tensor_elements::{element_len, packed};
use crate::read::plugin::{Plugin, Plugins};
use crate::read::point::Point;
use crate::read::value::PointValue;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    pub(crate) wall_time: f64,
    pub(crate) step: i64,
    values: Vec<OutlineValue>,
    /// The tags of the values, one behind the other.
    tags: String,
}

/// A value in outline.
#[derive(Debug, Default)]
struct OutlineValue {
    /// Where its tag ends in `tags`.
    tag_end: usize,
    /// The plugin that its metadata names.
    named: Option<Plugin>,
    has_metadata: bool,
    data: OutlineData,
    kind: PointKind,
}

/// What a value holds, as far as that matters. A tensor may be a scalar or a histogram: its plugin
/// decides.
#[derive(Debug, Default, Clone, Copy)]
enum OutlineData {
    #[default]
    Nothing,
    Number(f32),
    Histogram {
        is_sound: bool,
    },
    Tensor {
        number: Option<f64>,
        is_rows: bool,
    },
}

/// The kind of a point, as `PointValue::kind` spells it, and its number when it is a scalar.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct PointKind {
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
    pub(crate) fn get(&self, index: usize) -> Option<(&str, PointKind)> {
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

    /// Takes in an event, and the plugins that it names. False when only decoding can tell what is
    /// in it, or that it takes too much memory; the outline is empty then.
    pub(crate) fn read(&mut self, event: &[u8], plugins: &mut Plugins) -> bool {
        self.clear();
        (self.wall_time, self.step) = (0.0, 0);
        let scan = EventScan::with(event, &mut OutlineBuilder::new(self));
        let fits = scan.decoded_len <= max_decoded_len(event);
        // First whether the event is one at all: if it is not, its plugins do not count.
        let is_read = scan.is_valid && !scan.has_duplicates && fits;
        if is_read && self.resolve(plugins).is_some() {
            return true;
        }
        self.clear();
        false
    }

    /// Sets the kinds of the values by the plugins of their tags.
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
}

impl OutlineValue {
    /// False when the kind is the same whatever plugin the tag has.
    fn depends_on_plugin(&self) -> bool {
        self.has_metadata || matches!(self.data, OutlineData::Tensor { .. })
    }

    /// What it is when its tag belongs to this plugin; `None` when only decoding can tell.
    fn kind_for(&self, plugin: Option<Plugin>) -> Option<PointKind> {
        let kind = |name| Some(PointKind { name, scalar: None });
        let scalar = |number| {
            let scalar = Some(number);
            Some(PointKind {
                name: "scalar",
                scalar,
            })
        };
        if self.has_metadata && plugin == Some(Plugin::HParams) {
            return None;
        }
        match (self.data, plugin) {
            (OutlineData::Nothing, _) => kind("unknown"),
            (OutlineData::Number(number), _) => scalar(number.into()),
            (OutlineData::Histogram { is_sound: true }, _) => kind("histogram"),
            (OutlineData::Histogram { is_sound: false }, _) => kind("unknown"),
            (OutlineData::Tensor { number, .. }, Some(Plugin::Scalars)) => {
                number.map_or(kind("tensor"), scalar)
            }
            (OutlineData::Tensor { is_rows, .. }, Some(Plugin::Histograms)) => {
                kind(if is_rows { "histogram" } else { "tensor" })
            }
            (OutlineData::Tensor { .. }, Some(plugin)) if is_taken_apart(plugin) => None,
            (OutlineData::Tensor { .. }, _) => kind("tensor"),
        }
    }
}

/// Whether only decoding can tell what a tensor of this plugin is.
fn is_taken_apart(plugin: Plugin) -> bool {
    use Plugin::*;
    matches!(
        plugin,
        Text | Images | Audio | PrCurves | Mesh | CustomScalars
    )
}

/// Makes an outline of the fields of an event. A message begins with the state that the end of the
/// one before it left, which is that of no field.
struct OutlineBuilder<'o, 'a> {
    outline: &'o mut Outline,
    value: OutlineValue,
    histogram: HistogramFields,
    tensor: TensorFields<'a>,
    dim_size: i64,
}

/// Counts of the limits and buckets of a histogram of the older form.
#[derive(Default)]
struct HistogramFields {
    limits: usize,
    buckets: usize,
}

#[derive(Default)]
struct TensorFields<'a> {
    dtype: DataType,
    rank: usize,
    last_dim: i64,
    content: &'a [u8],
    floats: &'a [u8],
    doubles: &'a [u8],
}

impl<'o, 'a> OutlineBuilder<'o, 'a> {
    fn new(outline: &'o mut Outline) -> OutlineBuilder<'o, 'a> {
        OutlineBuilder {
            outline,
            value: OutlineValue::default(),
            histogram: HistogramFields::default(),
            tensor: TensorFields::default(),
            dim_size: 0,
        }
    }
}

impl<'a> FieldVisitor<'a> for OutlineBuilder<'_, 'a> {
    #[inline]
    fn field(&mut self, message: MessageType, number: u8, content: FieldContent<'a>) -> bool {
        match (message, number, content) {
            (MessageType::Event, 1, FieldContent::Fixed64(bits)) => {
                self.outline.wall_time = f64::from_bits(bits);
            }
            (MessageType::Event, 2, FieldContent::Varint(step)) => self.outline.step = step as i64,
            // Versions and graphs are left to decoding.
            (MessageType::Event, _, _) => return false,
            (MessageType::Value, 1, FieldContent::Text(tag)) => match str::from_utf8(tag) {
                Ok(tag) => self.outline.tags.push_str(tag),
                Err(_) => return false,
            },
            (MessageType::Value, 2, FieldContent::Fixed32(bits)) => {
                self.value.data = OutlineData::Number(f32::from_bits(bits));
            }
            (MessageType::PluginData, 1, FieldContent::Text(name)) => {
                self.value.named = str::from_utf8(name).ok().and_then(Plugin::named);
            }
            (MessageType::Histogram, 6, FieldContent::Bytes(packed)) => {
                self.histogram.limits = packed.len();
            }
            (MessageType::Histogram, 7, FieldContent::Bytes(packed)) => {
                self.histogram.buckets = packed.len();
            }
            (MessageType::Tensor, 1, FieldContent::Varint(number)) => {
                self.tensor.dtype = DataType::try_from(number as i32).unwrap_or_default();
            }
            (MessageType::Tensor, 4, FieldContent::Bytes(bytes)) => self.tensor.content = bytes,
            (MessageType::Tensor, 5, FieldContent::Bytes(packed)) => self.tensor.floats = packed,
            (MessageType::Tensor, 6, FieldContent::Bytes(packed)) => self.tensor.doubles = packed,
            // Strings are left to decoding.
            (MessageType::Tensor, _, _) => return false,
            (MessageType::Dim, 1, FieldContent::Varint(size)) => self.dim_size = size as i64,
            _ => {}
        }
        true
    }

    #[inline]
    fn end(&mut self, message: MessageType) {
        match message {
            MessageType::Value => {
                let value = std::mem::take(&mut self.value);
                let tag_end = self.outline.tags.len();
                self.outline.values.push(OutlineValue { tag_end, ..value });
            }
            MessageType::Metadata => self.value.has_metadata = true,
            MessageType::Histogram => {
                let HistogramFields { limits, buckets } = std::mem::take(&mut self.histogram);
                let is_sound = limits == buckets;
                self.value.data = OutlineData::Histogram { is_sound };
            }
            MessageType::Tensor => self.value.data = std::mem::take(&mut self.tensor).data(),
            MessageType::Dim => {
                self.tensor.rank += 1;
                self.tensor.last_dim = std::mem::take(&mut self.dim_size);
            }
            MessageType::Event
            | MessageType::Summary
            | MessageType::PluginData
            | MessageType::Shape => {}
        }
    }
}

impl TensorFields<'_> {
    /// As `numbers` of `value.rs` takes them. Integers in fields of their own are left to decoding.
    fn data(self) -> OutlineData {
        let bytes = match (self.dtype, self.content) {
            (_, [_, ..]) => self.content,
            (DataType::DtFloat, _) => self.floats,
            (DataType::DtDouble, _) => self.doubles,
            _ => &[],
        };
        let count = element_len(self.dtype)
            .filter(|len| bytes.len().is_multiple_of(*len))
            .map(|len| bytes.len() / len);
        let number = match count {
            Some(1) => packed(self.dtype, bytes).and_then(|numbers| numbers.first().copied()),
            _ => None,
        };
        let is_rows = self.rank == 2
            && self.last_dim == 3
            && count.is_some_and(|count| count.is_multiple_of(3));
        OutlineData::Tensor { number, is_rows }
    }
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

    /// Fixtures, and how many of their events are left to decoding: the first, texts, images,
    /// sounds, hyperparameters.
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
        fn also_when_fields_come_twice(
            first in values(), second in values(), tensors in (numbers(), numbers())
        ) {
            let [first, second] = [first, second].map(|value| value.encode_to_vec());
            // One that names the plugin, so that what a tensor is depends on what it holds.
            let mut named = scalar_metadata();
            named.extend(field(8, &[tensors.0.encode_to_vec(), tensors.1.encode_to_vec()]));
            for value in [vec![first.clone(), second], vec![first.clone(), first], vec![named]] {
                outlines([&field(5, &[field(1, &value)])[..]]);
            }
        }

        #[test]
        fn also_when_bytes_are_damaged(
            mut events in vec(events(), 1..4), at in any::<Index>(), byte in any::<u8>()
        ) {
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
