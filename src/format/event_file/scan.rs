//! One pass over the bytes of an event that neither keeps nor copies what they hold: several times
//! faster than decoding.
//!
//! One table of fields gives three answers: whether decoding must succeed, how much memory the
//! decoded event takes, and, through a [`FieldVisitor`], what the fields hold. The table has what
//! makes up nearly all of a file; whatever else a record holds is left to decoding.

use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::proto::{summary, tensor_shape_proto};

/// Memory that any record may take, in bytes.
const ANY: u64 = 64 << 20;
/// Bytes of memory that a record may take for each of its bytes, above that. Scalars of one-letter
/// tags, the smallest things that are worth writing, take ten bytes and become about 250.
const PER_BYTE: u64 = 16;
/// No byte becomes more than this many: an empty summary value has two.
const MOST_PER_BYTE: u64 = size_of::<summary::Value>() as u64;

/// Bytes of memory that a record may take when it is decoded.
///
/// Two bytes of a file can announce an empty summary value that takes hundreds of bytes of memory,
/// so a file of moderate size could ask for more memory than the machine has, which ends the
/// process.
pub(crate) fn max_decoded_len(record: &[u8]) -> u64 {
    ANY + PER_BYTE * record.len() as u64
}

/// The messages that make up nearly all of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageType {
    Event,
    Summary,
    Value,
    Metadata,
    PluginData,
    Tensor,
    Shape,
    Dim,
    Histogram,
}

/// How a field is written.
#[derive(Clone, Copy)]
enum Form {
    Varint,
    Fixed32,
    Fixed64,
    Text,
    Bytes,
    /// Numbers of this many bytes each.
    Packed(u8),
    Message(MessageType),
}

/// A row of the table.
#[derive(Clone, Copy)]
struct Field {
    form: Form,
    /// What may occur once has a slot; the members of a oneof share one. 0 for repeated fields.
    slot: u8,
    /// Bytes of memory that each occurrence of a repeated field takes.
    memory: u16,
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

impl Field {
    const fn once(slot: u8, form: Form) -> Field {
        Field {
            form,
            slot,
            memory: 0,
        }
    }

    const fn repeated(memory: usize, form: Form) -> Field {
        assert!(memory <= u16::MAX as usize);
        Field {
            form,
            slot: 0,
            memory: memory as u16,
        }
    }

    const fn message(slot: u8, message: MessageType) -> Field {
        Field::once(slot, Form::Message(message))
    }
}

impl MessageType {
    const ALL: [MessageType; 9] = [
        MessageType::Event,
        MessageType::Summary,
        MessageType::Value,
        MessageType::Metadata,
        MessageType::PluginData,
        MessageType::Tensor,
        MessageType::Shape,
        MessageType::Dim,
        MessageType::Histogram,
    ];

    /// The field of a number (1 to 15) and a wire type. Numbers are those of `proto/`.
    const fn field(self, number: u8, wire_type: u8) -> Option<Field> {
        use MessageType::*;
        Some(match (self, number, wire_type) {
            (Event, 1, FIXED64) => Field::once(1, Form::Fixed64),
            (Event, 2, VARINT) => Field::once(2, Form::Varint),
            (Event, 3, LEN) => Field::once(5, Form::Text),
            (Event, 4, LEN) => Field::once(5, Form::Bytes),
            (Event, 5, LEN) => Field::message(5, Summary),
            (Summary, 1, LEN) => Field::repeated(size_of::<summary::Value>(), Form::Message(Value)),
            (Value, 1, LEN) => Field::once(1, Form::Text),
            (Value, 2, FIXED32) => Field::once(2, Form::Fixed32),
            (Value, 5, LEN) => Field::message(2, Histogram),
            (Value, 8, LEN) => Field::message(2, Tensor),
            (Value, 9, LEN) => Field::message(9, Metadata),
            (Metadata, 1, LEN) => Field::message(1, PluginData),
            (Metadata, 2 | 3, LEN) => Field::once(number, Form::Text),
            (Metadata, 4, VARINT) => Field::once(4, Form::Varint),
            (PluginData, 1, LEN) => Field::once(1, Form::Text),
            (PluginData, 2, LEN) => Field::once(2, Form::Bytes),
            (Tensor, 1, VARINT) => Field::once(1, Form::Varint),
            (Tensor, 2, LEN) => Field::message(2, Shape),
            (Tensor, 4, LEN) => Field::once(4, Form::Bytes),
            (Tensor, 5, LEN) => Field::once(5, Form::Packed(4)),
            (Tensor, 6, LEN) => Field::once(6, Form::Packed(8)),
            (Tensor, 8, LEN) => Field::repeated(size_of::<Vec<u8>>(), Form::Bytes),
            (Shape, 2, LEN) => {
                Field::repeated(size_of::<tensor_shape_proto::Dim>(), Form::Message(Dim))
            }
            (Dim, 1, VARINT) => Field::once(1, Form::Varint),
            (Dim, 2, LEN) => Field::once(2, Form::Text),
            (Histogram, 1..=5, FIXED64) => Field::once(number, Form::Fixed64),
            (Histogram, 6 | 7, LEN) => Field::once(number, Form::Packed(8)),
            _ => return None,
        })
    }

    /// The fields by their keys, number and wire type in one byte.
    const fn fields(self) -> [Option<Field>; 128] {
        let mut fields = [None; 128];
        let mut key = 0;
        while key < 128 {
            fields[key as usize] = self.field(key >> 3, key & 7);
            key += 1;
        }
        fields
    }
}

/// The table laid out by message and key: looking a field up is one load.
static FIELDS: [[Option<Field>; 128]; 9] = {
    let mut fields = [[None; 128]; 9];
    let mut index = 0;
    while index < fields.len() {
        fields[MessageType::ALL[index] as usize] = MessageType::ALL[index].fields();
        index += 1;
    }
    fields
};

/// What a field holds.
#[derive(Clone, Copy)]
pub(crate) enum FieldContent<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    /// Valid UTF-8.
    Text(&'a [u8]),
    /// Bytes, or packed numbers, which are whole.
    Bytes(&'a [u8]),
}

/// Receives the fields of an event in the order in which they are written.
pub(crate) trait FieldVisitor<'a> {
    /// A field of the table that is no message. False when the visitor has no use for the event.
    fn field(&mut self, message: MessageType, number: u8, content: FieldContent<'a>) -> bool;

    /// All fields of a message were given.
    fn end(&mut self, message: MessageType);
}

/// For whoever asks for the rest of a [`EventScan`] only.
impl FieldVisitor<'_> for () {
    #[inline]
    fn field(&mut self, _: MessageType, _: u8, _: FieldContent<'_>) -> bool {
        true
    }

    #[inline]
    fn end(&mut self, _: MessageType) {}
}

/// What one pass over an event gives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventScan {
    /// The time of the event, 0 when it has none.
    pub(crate) wall_time: f64,
    /// Decoding the event must succeed: each of its fields is known and well formed. When false,
    /// only decoding shows whether this is an event, and the other members do not count.
    pub(crate) is_valid: bool,
    /// A field that occurs once came again, so that decoding merges or replaces what it holds.
    pub(crate) has_duplicates: bool,
    /// Estimate of the bytes of memory that the decoded event takes: exact enough near and above
    /// the limit of [`max_decoded_len`]. It counts also when `is_valid` is false.
    pub(crate) decoded_len: u64,
}

impl EventScan {
    /// True for a record that is so short that its parts cannot come near the limit.
    pub(crate) fn is_small(record: &[u8]) -> bool {
        (record.len() as u64).saturating_mul(MOST_PER_BYTE) <= ANY
    }

    /// Scans an event without looking at what its fields hold.
    pub(crate) fn of(event: &[u8]) -> EventScan {
        EventScan::with(event, &mut ())
    }

    /// Scans an event and hands its fields to a visitor, as far as they are in the table. What the
    /// visitor got counts only when the scan is valid.
    #[inline]
    pub(crate) fn with<'a, V: FieldVisitor<'a>>(event: &'a [u8], visitor: &mut V) -> EventScan {
        let len = event.len() as u64;
        let counts_memory = !EventScan::is_small(event);
        let scanner = Scanner::run(event, visitor, counts_memory);
        let decoded_len = match counts_memory {
            // Packed integers take one byte and become eight.
            true => scanner.parts.saturating_add(len.saturating_mul(8)),
            false => len,
        };
        EventScan {
            wall_time: scanner.wall_time,
            is_valid: scanner.is_valid,
            has_duplicates: scanner.has_duplicates,
            decoded_len,
        }
    }

    /// Bytes of memory that the repeated parts of an event of any length take.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn parts(event: &[u8]) -> u64 {
        Scanner::run(event, &mut (), true).parts
    }
}

struct Scanner<'v, V> {
    visitor: &'v mut V,
    /// Memory is counted to the end, also of an event that is not valid.
    counts_memory: bool,
    /// Memory that the repeated parts take.
    parts: u64,
    wall_time: f64,
    is_valid: bool,
    has_duplicates: bool,
}

impl<'v, V> Scanner<'v, V> {
    #[inline]
    fn run<'a>(event: &'a [u8], visitor: &'v mut V, counts_memory: bool) -> Scanner<'v, V>
    where
        V: FieldVisitor<'a>,
    {
        let mut scanner = Scanner {
            visitor,
            counts_memory,
            parts: 0,
            wall_time: 0.0,
            is_valid: true,
            has_duplicates: false,
        };
        scanner.message(MessageType::Event, event);
        scanner
    }

    /// `None` when the scan has ended.
    fn message<'a>(&mut self, message: MessageType, mut bytes: &'a [u8]) -> Option<()>
    where
        V: FieldVisitor<'a>,
    {
        let fields = FIELDS.get(message as usize)?;
        let mut slots = 0_u16;
        while !bytes.is_empty() {
            bytes = match self.field(message, fields, bytes, &mut slots) {
                Some(rest) => rest,
                None => {
                    self.is_valid = false;
                    self.skip(bytes)?
                }
            };
        }
        self.visitor.end(message);
        Some(())
    }

    /// What follows the first field of a message, if that is known and well formed.
    #[inline]
    fn field<'a>(
        &mut self,
        message: MessageType,
        fields: &[Option<Field>; 128],
        bytes: &'a [u8],
        slots: &mut u16,
    ) -> Option<&'a [u8]>
    where
        V: FieldVisitor<'a>,
    {
        let (&key, bytes) = bytes.split_first()?;
        let number = key >> 3;
        let field = (*fields.get(usize::from(key))?)?;
        // Repeated fields have no bit.
        let bit = (1_u16 << (field.slot & 15)) & !1;
        self.has_duplicates |= *slots & bit != 0;
        *slots |= bit;
        self.parts += u64::from(field.memory);
        let (content, rest) = match field.form {
            Form::Varint => {
                let (number, rest) = varint(bytes)?;
                (FieldContent::Varint(number), rest)
            }
            Form::Fixed32 => {
                let (bytes, rest) = bytes.split_first_chunk()?;
                (FieldContent::Fixed32(u32::from_le_bytes(*bytes)), rest)
            }
            Form::Fixed64 => {
                let (bytes, rest) = bytes.split_first_chunk()?;
                let bits = u64::from_le_bytes(*bytes);
                if matches!((message, number), (MessageType::Event, 1)) {
                    self.wall_time = f64::from_bits(bits);
                }
                (FieldContent::Fixed64(bits), rest)
            }
            Form::Text => {
                let (bytes, rest) = delimited(bytes)?;
                let is_valid = bytes.is_ascii() || str::from_utf8(bytes).is_ok();
                (is_valid.then_some(FieldContent::Text(bytes))?, rest)
            }
            Form::Bytes => {
                let (bytes, rest) = delimited(bytes)?;
                (FieldContent::Bytes(bytes), rest)
            }
            Form::Packed(size) => {
                let (bytes, rest) = delimited(bytes)?;
                let is_whole = bytes.len().is_multiple_of(usize::from(size));
                (is_whole.then_some(FieldContent::Bytes(bytes))?, rest)
            }
            Form::Message(message) => {
                let (bytes, rest) = delimited(bytes)?;
                // Only with `counts_memory` does the scan go on behind what is not valid.
                self.message(message, bytes)
                    .or(self.counts_memory.then_some(()))?;
                return Some(rest);
            }
        };
        self.visitor.field(message, number, content).then_some(rest)
    }

    /// What follows a field that is not in the table; `None` when the scan ends, because nobody
    /// asks for the memory or this is no message.
    #[cold]
    fn skip<'a>(&self, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        if !self.counts_memory {
            return None;
        }
        let (number, wire_type) = decode_key(&mut bytes).ok()?;
        skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
        Some(bytes)
    }
}

/// The content of a field that begins with its length, and what follows it.
#[inline]
fn delimited(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = varint(bytes)?;
    rest.split_at_checked(len.try_into().ok()?)
}

/// A number of up to nine bytes, and what follows. Ten bytes have their own rules for overflow.
#[inline]
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes.split_first()? {
        (&byte, rest) if byte < 0x80 => Some((byte.into(), rest)),
        _ => long_varint(bytes),
    }
}

fn long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().take(9).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record;
    use crate::proto::summary::Value;
    use crate::proto::{self, Event, Summary, TensorProto, event::What};
    use crate::{EventReader, ReadError};
    use proptest::prelude::*;
    use prost::Message as _;
    use proto::summary::value;

    fn event(values: Vec<Value>) -> Vec<u8> {
        Event {
            what: Some(What::Summary(Summary { value: values })),
            ..Default::default()
        }
        .encode_to_vec()
    }

    fn tensor(tensor: TensorProto) -> Value {
        Value {
            value: Some(value::Value::Tensor(tensor)),
            ..Default::default()
        }
    }

    #[test]
    fn a_record_of_empty_parts_is_refused_and_costs_only_itself() {
        // Empty values, and values that hold an empty tensor.
        let tensors = vec![tensor(TensorProto::default()); 500_000];
        let bombs = [event(vec![Value::default(); 500_000]), event(tensors)];
        for bomb in bombs {
            let mut file = Vec::new();
            record::encode(&bomb, &mut file);
            record::encode(&event(Vec::new()), &mut file);
            let mut reader = EventReader::new(&file[..]);
            let error = reader.next().unwrap().unwrap_err();
            assert!(
                matches!(error, ReadError::TooManyParts { offset: 0, .. }),
                "{error}"
            );
            assert!(error.can_continue());
            let checked = EventReader::new(&file[..]).check_next().unwrap();
            assert!(matches!(checked, Err(ReadError::TooManyParts { .. })));
            assert!(reader.next().unwrap().is_ok());
        }
    }

    #[test]
    fn large_records_that_writers_make_are_read() {
        let scalars = (0..50_000).map(|i| Value {
            tag: format!("a/{i}"),
            value: Some(value::Value::SimpleValue(1.0)),
            ..Default::default()
        });
        let events = [
            event(scalars.collect()),
            event(vec![tensor(TensorProto {
                tensor_content: vec![1; 20 << 20],
                ..Default::default()
            })]),
            event(vec![tensor(TensorProto {
                string_val: vec![vec![1; 100]; 100_000],
                ..Default::default()
            })]),
        ];
        for event in events {
            let mut file = Vec::new();
            record::encode(&event, &mut file);
            let read = EventReader::new(&file[..]).next().unwrap().unwrap();
            assert_eq!(read.encode_to_vec(), event);
        }
    }

    #[test]
    fn most_of_what_writers_make_needs_no_decoding() {
        for name in ["torch", "tensorboardx"] {
            let path = format!("{}/tests/data/{name}.tfevents", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read(path).unwrap();
            let mut reader = crate::format::record::RecordReader::new(&file[..]);
            let (mut all, mut seen) = (0, 0);
            while let Some(payload) = reader.next_record().unwrap() {
                let event = Event::decode(payload).unwrap();
                let scan = EventScan::of(payload);
                let time = scan.is_valid.then_some(scan.wall_time);
                assert!(time.is_none_or(|time| time == event.wall_time));
                (all, seen) = (all + 1, seen + usize::from(time.is_some()));
            }
            // But for the first event of torch, with its writer's name, and the images.
            assert!(seen + 2 >= all, "{seen} of {all} in {name}");
        }
    }

    proptest! {
        #[test]
        fn what_looks_well_can_be_decoded(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut file = include_bytes!("../../../tests/data/torch.tfevents").to_vec();
            let at = at.index(file.len());
            file[at] = byte;
            let mut start = 0;
            while let Some(header) = file.get(start..).and_then(|rest| rest.first_chunk::<8>()) {
                let len = u64::from_le_bytes(*header) as usize;
                let payload = file.get(start + 12..).and_then(|rest| rest.get(..len));
                let Some(payload) = payload else { break };
                let scan = EventScan::of(payload);
                if scan.is_valid {
                    let time = scan.wall_time;
                    let event = Event::decode(payload).unwrap();
                    prop_assert_eq!(event.wall_time.to_bits(), time.to_bits());
                }
                start += len + 16;
            }
        }
    }
}
