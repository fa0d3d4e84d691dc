//! How much memory a record will take, told before it is decoded.
//!
//! Two bytes of a file can announce an empty summary value that takes hundreds of bytes of memory, so a file of moderate size
//! could ask for more memory than the machine has, which ends the process.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::proto::{summary::Value, tensor_shape_proto::Dim};

/// Memory that any record may take.
const ANY: u64 = 64 << 20;
/// Memory that a record may take for each of its bytes, above that. Scalars of one-letter tags, the smallest things that
/// are worth writing, take ten bytes and become about 250.
const PER_BYTE: u64 = 16;
/// No byte becomes more than this many: an empty summary value has two.
const MOST_PER_BYTE: u64 = size_of::<Value>() as u64;

/// True when a record takes no more memory than it may.
pub(crate) fn fits_memory(payload: &[u8]) -> bool {
    decoded_len(payload) <= max_decoded_len(payload)
}

/// Bytes of memory that a record may take.
pub(crate) fn max_decoded_len(payload: &[u8]) -> u64 {
    ANY + PER_BYTE * payload.len() as u64
}

/// About the bytes of memory that a record will take, from below for records far from the limit.
pub(crate) fn decoded_len(payload: &[u8]) -> u64 {
    let len = payload.len() as u64;
    match len.saturating_mul(MOST_PER_BYTE) <= ANY {
        true => len,
        // Packed integers take one byte and become eight.
        false => parts(Part::Event, payload).saturating_add(len.saturating_mul(8)),
    }
}

/// Messages of which a record can hold any number.
#[derive(Clone, Copy)]
enum Part {
    Event,
    Summary,
    Value,
    Tensor,
    Shape,
    Leaf,
}

impl Part {
    /// What a field holds, and the memory each occurrence of it takes. Field numbers are those of `proto/`.
    fn field(self, number: u32) -> Option<(Part, usize)> {
        match (self, number) {
            (Part::Event, 5) => Some((Part::Summary, 0)),
            (Part::Summary, 1) => Some((Part::Value, size_of::<Value>())),
            (Part::Value, 8) => Some((Part::Tensor, 0)),
            (Part::Tensor, 2) => Some((Part::Shape, 0)),
            (Part::Tensor, 8) => Some((Part::Leaf, size_of::<Vec<u8>>())),
            (Part::Shape, 2) => Some((Part::Leaf, size_of::<Dim>())),
            _ => None,
        }
    }
}

/// Memory that the repeated parts of a message take. What is not well formed is left to the decoder to refuse.
fn parts(part: Part, mut message: &[u8]) -> u64 {
    let mut sum: u64 = 0;
    while message.has_remaining() {
        let Ok((number, wire_type)) = decode_key(&mut message) else {
            break;
        };
        let field = part
            .field(number)
            .filter(|_| wire_type == WireType::LengthDelimited);
        let Some((inner, size)) = field else {
            match skip_field(wire_type, number, &mut message, DecodeContext::default()) {
                Ok(()) => continue,
                Err(_) => break,
            }
        };
        let len = decode_varint(&mut message).ok();
        let Some(len) = len.and_then(|len| usize::try_from(len).ok()) else {
            break;
        };
        let Some((content, rest)) = message.split_at_checked(len) else {
            break;
        };
        sum = sum.saturating_add(size as u64);
        if !matches!(inner, Part::Leaf) {
            sum = sum.saturating_add(parts(inner, content));
        }
        message = rest;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record;
    use crate::proto::{self, Event, Summary, TensorProto, event::What};
    use crate::{EventReader, ReadError};
    use prost::Message;
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
}
