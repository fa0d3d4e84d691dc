//! numpy's `.npy`, and archives of them, `.npz`.

use crate::checkpoint::archive::Archive;
use crate::checkpoint::checkpoint_tensor::CheckpointTensor;
use crate::checkpoint::contents::Contents;
use crate::checkpoint::section::FileSection;
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::stored_type::StoredType;
use crate::error::Result;

const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest header that is read.
const LONGEST_HEADER: u64 = 64 << 10;

/// Whether the first bytes of a file are those of an `.npy`.
pub(super) fn is_npy(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Whether an archive is an `.npz`.
pub(super) fn is_npz(archive: &Archive) -> bool {
    archive
        .entries
        .iter()
        .any(|entry| entry.name.ends_with(".npy"))
}

/// The arrays of an archive, by their names without `.npy`; anything else in it is left alone.
pub(super) fn read(archive: &Archive) -> Result<Contents> {
    let mut contents = Contents::default();
    for entry in &archive.entries {
        if let Some(name) = entry.name.strip_suffix(".npy") {
            read_array(name, &entry.section, &mut contents)?;
        }
    }
    Ok(contents)
}

/// One array of an `.npy`.
pub(super) fn read_array(name: &str, section: &FileSection, contents: &mut Contents) -> Result<()> {
    let wrong = |reason: &str| {
        section
            .file
            .damaged(format!("has an array {name:?} {reason}"))
    };
    let mut cursor = section.cursor();
    let mut head = [0; 8];
    cursor.read_at(0, &mut head)?;
    if !head.starts_with(MAGIC) {
        return Err(wrong("that does not begin as an .npy does"));
    }
    let (at, length) = match head[6] {
        1 => {
            let mut length = [0; 2];
            cursor.read_at(8, &mut length)?;
            (10, u64::from(u16::from_le_bytes(length)))
        }
        _ => {
            let mut length = [0; 4];
            cursor.read_at(8, &mut length)?;
            (12, u64::from(u32::from_le_bytes(length)))
        }
    };
    if length > LONGEST_HEADER {
        return Err(wrong("with a header that is too long"));
    }
    let mut header = vec![0; length as usize];
    cursor.read_at(at, &mut header)?;
    let header = String::from_utf8_lossy(&header);
    let header = NpyHeader::parse(&header).ok_or_else(|| wrong("whose header cannot be read"))?;
    let data = at + length;
    let tensor = match numpy_type(&header.descr) {
        Some((kind, is_big_endian)) => {
            if header.descr.ends_with("V2") {
                let note = format!("{name}: numpy has no bfloat16; two bytes are taken for one");
                contents.notes.push(note);
            }
            // The elements begin behind the header: a whole number of them for all that numpy
            // writes, which pads headers to 64 bytes.
            let size = kind.bits() / 8;
            if data % size != 0 && section.part(data, 0).is_none() {
                return Err(wrong(
                    "whose elements are not aligned in a compressed entry",
                ));
            }
            let (section, start) = match section.part(data, section.len.saturating_sub(data)) {
                Some(part) => (part, 0),
                None => (section.clone(), data / size),
            };
            let strides = header.is_fortran.then(|| column_major(&header.shape));
            let stored = StoredTensor::new(section, kind, start, header.shape.clone(), strides);
            let mut stored = stored.map_err(|reason| wrong(&format!("that {reason}")))?;
            stored.is_big_endian = is_big_endian;
            CheckpointTensor::new(name, stored)
        }
        None => {
            let reason = match header.descr.contains('O') {
                true => "is an array of pickled objects".to_owned(),
                false => format!("is of numpy's type {}", header.descr),
            };
            CheckpointTensor::unreadable(name, header.shape, &reason)
        }
    };
    contents.tensors.push(tensor);
    Ok(())
}

/// Strides of an array whose first index moves fastest; saturated for a shape without elements.
pub(super) fn column_major(shape: &[u64]) -> Vec<u64> {
    let mut stride = 1_u64;
    let strides = shape.iter().map(|&size| {
        let this = stride;
        stride = stride.saturating_mul(size);
        this
    });
    strides.collect()
}

/// A type by numpy's letters, such as `<f4`, and whether it is big-endian.
pub(super) fn numpy_type(descr: &str) -> Option<(StoredType, bool)> {
    let (order, letters) = descr.split_at_checked(1)?;
    let (order, letters) = match order {
        "<" | ">" | "|" | "=" => (order, letters),
        _ => ("<", descr),
    };
    let kind = match letters {
        "b1" | "?" => StoredType::Bool,
        "u1" => StoredType::U8,
        "u2" => StoredType::U16,
        "u4" => StoredType::U32,
        "u8" => StoredType::U64,
        "i1" => StoredType::I8,
        "i2" => StoredType::I16,
        "i4" => StoredType::I32,
        "i8" => StoredType::I64,
        "f2" => StoredType::F16,
        "f4" => StoredType::F32,
        "f8" => StoredType::F64,
        "c8" => StoredType::C64,
        "c16" => StoredType::C128,
        "V2" | "bfloat16" => StoredType::BF16,
        _ => return None,
    };
    Some((kind, order == ">"))
}

/// The header of an `.npy`, a dictionary as Python prints it.
struct NpyHeader {
    descr: String,
    is_fortran: bool,
    shape: Vec<u64>,
}

impl NpyHeader {
    fn parse(text: &str) -> Option<NpyHeader> {
        let value = |key: &str| -> Option<&str> {
            let (_, rest) = text.split_once(&format!("'{key}'"))?;
            Some(rest.trim_start().strip_prefix(':')?.trim_start())
        };
        let descr = value("descr")?;
        let descr = match descr.strip_prefix('\'') {
            Some(rest) => rest.split_once('\'')?.0.to_owned(),
            // Fields of a structured array.
            None => "of fields".to_owned(),
        };
        let is_fortran = value("fortran_order")?.starts_with("True");
        let (shape, _) = value("shape")?.strip_prefix('(')?.split_once(')')?;
        let sizes = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty());
        // Python 2 wrote 3L.
        let sizes = sizes.map(|size| size.trim_end_matches('L').parse().ok());
        Some(NpyHeader {
            descr,
            is_fortran,
            shape: sizes.collect::<Option<_>>()?,
        })
    }
}
