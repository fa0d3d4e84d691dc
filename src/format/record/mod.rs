//! TFRecord framing: bytes and checksums, nothing of what they mean.
//!
//! A record is the length of the payload (`u64`, little-endian), the masked checksum of these eight
//! bytes, the payload, and the masked checksum of the payload. A file is records one after the
//! other, with nothing before, between or after.

mod long_record;
mod reader;
mod window;

pub(crate) use reader::{RecordError, RecordReader};

/// Bytes in front of a payload.
const HEADER_LEN: usize = 12;
/// Bytes behind a payload.
const FOOTER_LEN: usize = 4;
/// Bytes that framing adds to a payload.
pub(crate) const OVERHEAD: usize = HEADER_LEN + FOOTER_LEN;

/// The longest record a reader accepts by default, and the longest a writer should make:
/// protobuf's own limit.
pub(crate) const MAX_RECORD_LEN: u64 = i32::MAX as u64;

/// CRC-32C (Castagnoli), masked as TFRecord asks: rotated and shifted, so that a checksum over data
/// that holds checksums stays meaningful.
pub(crate) fn masked_crc(data: &[u8]) -> u32 {
    masked(crc32c::crc32c(data))
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Appends `payload` to `out` as one record.
#[cfg(test)]
pub(crate) fn encode(payload: &[u8], out: &mut Vec<u8>) {
    encode_with(out, |out| out.extend_from_slice(payload));
}

/// Appends one record to `out`, whose payload is what `fill` appends: a message is serialized where
/// it will lie.
///
/// `fill` must only append.
pub(crate) fn encode_with(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    fill(out);
    let Some((header, payload)) = out
        .get_mut(start..)
        .and_then(|record| record.split_first_chunk_mut::<HEADER_LEN>())
    else {
        debug_assert!(false, "fill shortened the buffer");
        return;
    };
    *header = header_of(payload.len() as u64);
    let footer = masked_crc(payload).to_le_bytes();
    out.extend_from_slice(&footer);
}

/// The payload of one whole record that was framed here, and so needs no check.
pub(crate) fn payload(record: &[u8]) -> Option<&[u8]> {
    record.get(HEADER_LEN..record.len().checked_sub(FOOTER_LEN)?)
}

fn header_of(len: u64) -> [u8; HEADER_LEN] {
    let len = len.to_le_bytes();
    let crc = masked_crc(&len).to_le_bytes();
    let mut header = [0; HEADER_LEN];
    let (head, tail) = header.split_at_mut(len.len());
    head.copy_from_slice(&len);
    tail.copy_from_slice(&crc);
    header
}

/// The length that a header announces, right or wrong.
fn announced_len(header: &[u8]) -> Option<u64> {
    let (len, _) = header.split_first_chunk::<8>()?;
    Some(u64::from_le_bytes(*len))
}

/// The length that a header announces, if its checksum is right.
fn checked_len(header: &[u8]) -> Option<u64> {
    let (len, rest) = header.split_first_chunk::<8>()?;
    let (crc, _) = rest.split_first_chunk::<4>()?;
    (masked_crc(len) == u32::from_le_bytes(*crc)).then(|| u64::from_le_bytes(*len))
}

/// The payload of what follows a header, if its checksum is right.
fn checked_payload(body: &[u8]) -> Option<&[u8]> {
    let (payload, crc) = body.split_last_chunk::<FOOTER_LEN>()?;
    (masked_crc(payload) == u32::from_le_bytes(*crc)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    // crc32c values of RFC 3720, section B.4, and of the usual check string; masked ones computed
    // from the definition.
    #[test]
    fn checksums_match_published_vectors() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
        assert_eq!(masked_crc(b""), 0xa282_ead8);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x0fd7_fffa);
    }

    // Event{wall_time: 1.0, file_version: "brain.Event:2"}, framed by TensorBoard's own writer.
    const VERSION_PAYLOAD: &str = "09000000000000f03f1a0d627261696e2e4576656e743a32";
    const VERSION_RECORD: &str =
        "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a";
    const EMPTY_RECORD: &str = "000000000000000029039807d8ea82a2";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn records_match_golden_bytes_whatever_lies_before_them() {
        for (payload, record) in [(VERSION_PAYLOAD, VERSION_RECORD), ("", EMPTY_RECORD)] {
            let mut out = b"before".to_vec();
            encode(&bytes(payload), &mut out);
            assert_eq!(out, [&b"before"[..], &bytes(record)].concat());
        }
    }
}
