//! A look at an event that neither keeps nor copies what it holds: several times faster than decoding it.

/// The time of an event that can surely be decoded; `None` when only decoding it can tell.
pub(crate) fn wall_time(event: &[u8]) -> Option<f64> {
    let mut time = 0.0;
    well_formed(Message::Event, event, &mut time).then_some(time)
}

/// The messages that make up nearly all of a file.
#[derive(Clone, Copy)]
enum Message {
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

/// What stands behind a key.
enum Field {
    Time,
    Fixed64,
    Fixed32,
    Varint,
    Text,
    Bytes,
    /// Numbers of so many bytes each.
    Packed(usize),
    Of(Message),
}

impl Message {
    /// The field behind a key: number and wire type, in one byte up to number 15. Those that are rare are left to decoding.
    fn field(self, key: u8) -> Option<Field> {
        const VARINT: u8 = 0;
        const FIXED64: u8 = 1;
        const LEN: u8 = 2;
        const FIXED32: u8 = 5;
        Some(match (self, key >> 3, key & 7) {
            (Message::Event, 1, FIXED64) => Field::Time,
            (Message::Event, 2, VARINT) => Field::Varint,
            (Message::Event, 3, LEN) => Field::Text,
            (Message::Event, 4, LEN) => Field::Bytes,
            (Message::Event, 5, LEN) => Field::Of(Message::Summary),
            (Message::Summary, 1, LEN) => Field::Of(Message::Value),
            (Message::Value, 1, LEN) => Field::Text,
            (Message::Value, 2, FIXED32) => Field::Fixed32,
            (Message::Value, 5, LEN) => Field::Of(Message::Histogram),
            (Message::Value, 8, LEN) => Field::Of(Message::Tensor),
            (Message::Value, 9, LEN) => Field::Of(Message::Metadata),
            (Message::Metadata, 1, LEN) => Field::Of(Message::PluginData),
            (Message::Metadata, 2 | 3, LEN) => Field::Text,
            (Message::Metadata, 4, VARINT) => Field::Varint,
            (Message::PluginData, 1, LEN) => Field::Text,
            (Message::PluginData, 2, LEN) => Field::Bytes,
            (Message::Tensor, 1, VARINT) => Field::Varint,
            (Message::Tensor, 2, LEN) => Field::Of(Message::Shape),
            (Message::Tensor, 4 | 8, LEN) => Field::Bytes,
            (Message::Tensor, 5, LEN) => Field::Packed(4),
            (Message::Tensor, 6, LEN) => Field::Packed(8),
            (Message::Shape, 2, LEN) => Field::Of(Message::Dim),
            (Message::Dim, 1, VARINT) => Field::Varint,
            (Message::Dim, 2, LEN) => Field::Text,
            (Message::Histogram, 1..=5, FIXED64) => Field::Fixed64,
            (Message::Histogram, 6 | 7, LEN) => Field::Packed(8),
            _ => return None,
        })
    }
}

/// True when every field is known and of the right form. `time` takes that of the event.
fn well_formed(message: Message, mut bytes: &[u8], time: &mut f64) -> bool {
    while let Some((&key, rest)) = bytes.split_first() {
        match message
            .field(key)
            .and_then(|field| after(field, rest, time))
        {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    true
}

/// What follows a field, if that is well formed.
fn after<'a>(field: Field, bytes: &'a [u8], time: &mut f64) -> Option<&'a [u8]> {
    match field {
        Field::Time => {
            let (bits, rest) = bytes.split_first_chunk()?;
            *time = f64::from_le_bytes(*bits);
            return Some(rest);
        }
        Field::Fixed64 => return Some(bytes.split_first_chunk::<8>()?.1),
        Field::Fixed32 => return Some(bytes.split_first_chunk::<4>()?.1),
        Field::Varint => return Some(varint(bytes)?.1),
        _ => {}
    }
    let (len, rest) = varint(bytes)?;
    let (content, rest) = rest.split_at_checked(len.try_into().ok()?)?;
    let right = match field {
        Field::Text => content.is_ascii() || str::from_utf8(content).is_ok(),
        Field::Packed(size) => content.len().is_multiple_of(size),
        Field::Of(message) => well_formed(message, content, time),
        _ => true,
    };
    right.then_some(rest)
}

/// A number of up to nine bytes, and what follows. Ten bytes have their own rules for overflow.
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
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
    use crate::proto::Event;
    use proptest::prelude::*;
    use prost::Message as _;

    #[test]
    fn most_of_what_writers_make_needs_no_decoding() {
        for name in ["torch", "tensorboardx"] {
            let path = format!("{}/tests/data/{name}.tfevents", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read(path).unwrap();
            let mut reader = crate::format::record::RecordReader::new(&file[..]);
            let (mut all, mut seen) = (0, 0);
            while let Some(payload) = reader.next_record().unwrap() {
                let event = Event::decode(payload).unwrap();
                let time = wall_time(payload);
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
                let Some(payload) = file.get(start + 12..).and_then(|rest| rest.get(..len)) else { break };
                if let Some(time) = wall_time(payload) {
                    prop_assert_eq!(Event::decode(payload).unwrap().wall_time.to_bits(), time.to_bits());
                }
                start += len + 16;
            }
        }
    }
}
