//! `.safetensors`: a header in JSON, then the elements.

use std::sync::Arc;

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::checkpoint::checkpoint_tensor::CheckpointTensor;
use crate::checkpoint::contents::Contents;
use crate::checkpoint::section::FileSection;
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::stored_type::StoredType;
use crate::checkpoint::watched_file::WatchedFile;
use crate::error::Result;

/// The longest header that is read: that of two hundred thousand tensors. The format allows 100 MB.
const LONGEST_HEADER: u64 = 32 << 20;

/// Whether the first bytes of a file are those of this format.
pub(super) fn is_it(head: &[u8]) -> bool {
    matches!(head.split_at_checked(8), Some((_, header)) if header.starts_with(b"{"))
}

/// # Errors
/// A header that is none, and offsets that overlap, leave holes, or do not fit shape or file.
pub(super) fn read(file: &Arc<WatchedFile>) -> Result<Contents> {
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length + 8 > file.len() {
        let reason = format!("has a header of {length} bytes; it was cut short or is damaged");
        return Err(file.damaged(reason));
    }
    let mut header = vec![0; length as usize];
    file.read_at(8, &mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| file.damaged(format!("has a header that cannot be read: {error}")))?;
    let data = FileSection::whole(file.clone())
        .part(8 + length, file.len() - 8 - length)
        .ok_or_else(|| file.damaged("is shorter than its header"))?;
    if metadata.data_len() as u64 != data.len {
        let (promised, found) = (metadata.data_len(), data.len);
        let reason = format!(
            "holds {found} bytes of elements where its header promises {promised}; it was cut \
                short or is damaged"
        );
        return Err(file.damaged(reason));
    }
    let mut contents = Contents::default();
    for (name, info) in metadata.tensors() {
        let (start, end) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let shape: Vec<u64> = info.shape.iter().map(|&size| size as u64).collect();
        let stored = stored_type(info.dtype).and_then(|kind| {
            let section = data
                .part(start, end - start)
                .ok_or("lies outside of the file")?;
            StoredTensor::new(section, kind, 0, shape.clone(), None)
        });
        let tensor = match stored {
            Ok(stored) => CheckpointTensor::new(name, stored),
            Err(reason) => CheckpointTensor::unreadable(name, shape, &reason),
        };
        contents.tensors.push(tensor);
    }
    if let Some(texts) = metadata.metadata() {
        let step = |key: &&str| texts.get(*key)?.parse().ok();
        contents.step = crate::checkpoint::state_dict::STEP_KEYS
            .iter()
            .find_map(step);
    }
    Ok(contents)
}

fn stored_type(dtype: Dtype) -> std::result::Result<StoredType, String> {
    Ok(match dtype {
        Dtype::BOOL => StoredType::Bool,
        Dtype::F4 => StoredType::F4,
        Dtype::F6_E2M3 => StoredType::F6E2M3,
        Dtype::F6_E3M2 => StoredType::F6E3M2,
        Dtype::U8 => StoredType::U8,
        Dtype::I8 => StoredType::I8,
        Dtype::F8_E5M2 => StoredType::F8E5M2,
        Dtype::F8_E4M3 => StoredType::F8E4M3,
        Dtype::F8_E8M0 => StoredType::F8E8M0,
        Dtype::F8_E4M3FNUZ => StoredType::F8E4M3Fnuz,
        Dtype::F8_E5M2FNUZ => StoredType::F8E5M2Fnuz,
        Dtype::I16 => StoredType::I16,
        Dtype::U16 => StoredType::U16,
        Dtype::F16 => StoredType::F16,
        Dtype::BF16 => StoredType::BF16,
        Dtype::I32 => StoredType::I32,
        Dtype::U32 => StoredType::U32,
        Dtype::F32 => StoredType::F32,
        Dtype::C64 => StoredType::C64,
        Dtype::F64 => StoredType::F64,
        Dtype::I64 => StoredType::I64,
        Dtype::U64 => StoredType::U64,
        other => return Err(format!("is of type {other}, which is not known here")),
    })
}
