//! Tensors from the calls that PyTorch's pickles describe (`torch._utils._rebuild_tensor_v2` and
//! its relatives). The calls are read, not made.

use crate::checkpoint::npz::{column_major, numpy_type};
use crate::checkpoint::pickle::{Graph, Node, NodeId, Object};
use crate::checkpoint::section::FileSection;
use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::stored_type::StoredType;

/// Where storages lie, by their keys.
pub(super) trait Storages {
    /// # Errors
    /// The reason, without a name.
    fn find(&self, key: &str) -> Result<FileSection, String>;

    /// The pickle, for arrays whose elements stand inside of it.
    fn pickle(&self) -> &FileSection;

    /// Whether elements are big-endian.
    fn is_big_endian(&self) -> bool {
        false
    }
}

/// A tensor that a node describes.
pub(super) struct Rebuilt {
    pub(super) shape: Vec<u64>,
    /// Or why it cannot be read.
    pub(super) stored: Result<StoredTensor, String>,
}

/// How deep calls that wrap a tensor (a parameter, a subclass) are followed.
const MOST_WRAPPED: usize = 8;

/// Reads nodes as tensors.
pub(super) struct Rebuilder<'a> {
    pub(super) graph: &'a Graph,
    pub(super) storages: &'a dyn Storages,
}

/// A storage as a tensor names it.
struct StorageReference {
    section: FileSection,
    /// `None` for an untyped one, whose tensor says its type.
    kind: Option<StoredType>,
}

impl Rebuilder<'_> {
    /// The tensor of a node; `None` when it is something else.
    pub(super) fn tensor(&self, id: NodeId) -> Option<Rebuilt> {
        let mut id = id;
        for _ in 0..MOST_WRAPPED {
            let Node::Object(object) = self.graph.get(id) else {
                return None;
            };
            let arguments = self.graph.as_sequence(object.arguments)?;
            let (_, name) = self.graph.as_global(object.callable)?;
            match name {
                "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
                | "restore_type_tag"
                | "_rebuild_device_tensor_from_numpy" => id = *arguments.first()?,
                // The function, the class, the function's arguments.
                "_rebuild_from_type_v2" => {
                    let (_, function) = self.graph.as_global(*arguments.first()?)?;
                    return self.called(function, self.graph.as_sequence(*arguments.get(2)?)?);
                }
                "_reconstruct" => return self.array(object),
                name => return self.called(name, arguments),
            }
        }
        None
    }

    fn called(&self, function: &str, arguments: &[NodeId]) -> Option<Rebuilt> {
        let (dtype, metadata) = match function {
            "_rebuild_tensor" | "_rebuild_qtensor" => (None, None),
            "_rebuild_tensor_v2" => (None, arguments.get(6)),
            "_rebuild_tensor_v3" => (arguments.get(6), arguments.get(7)),
            "_rebuild_parameter" | "_rebuild_parameter_with_state" => {
                return self.tensor(*arguments.first()?);
            }
            "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => {
                return Some(unreadable("is sparse; save it dense (to_dense)"));
            }
            "_rebuild_nested_tensor" => {
                return Some(unreadable("is nested; save its parts"));
            }
            "_rebuild_meta_tensor_no_storage" => {
                return Some(unreadable("is on the meta device and has no elements"));
            }
            "_rebuild_wrapper_subclass" => {
                return Some(unreadable("is of a class that only its program knows"));
            }
            _ => return None,
        };
        let [storage, offset, sizes, strides, ..] = arguments else {
            return Some(unreadable("is described incompletely"));
        };
        let shape = match self.sizes(*sizes) {
            Some(shape) => shape,
            None => return Some(unreadable("has a shape that is none")),
        };
        let stored = self.stored(*storage, *offset, &shape, *strides, dtype.copied());
        let stored = match self.is_lazily_changed(metadata.copied()) {
            true => Err("is a conjugate or negative view; save a copy (resolve_conj)".to_owned()),
            false => stored,
        };
        Some(Rebuilt { shape, stored })
    }

    fn stored(
        &self,
        storage: NodeId,
        offset: NodeId,
        shape: &[u64],
        strides: NodeId,
        dtype: Option<NodeId>,
    ) -> Result<StoredTensor, String> {
        let storage = self.storage(storage)?;
        let dtype = match dtype {
            Some(dtype) => {
                let (_, name) = self
                    .graph
                    .as_global(dtype)
                    .ok_or("has a type that is none")?;
                Some(dtype_by_name(name).ok_or_else(|| format!("is of type torch.{name}"))?)
            }
            None => None,
        };
        let kind = dtype
            .or(storage.kind)
            .ok_or("has an untyped storage and no type")?;
        let start = self.size(offset).ok_or("has an offset that is none")?;
        let strides = self.sizes(strides).ok_or("has strides that are none")?;
        let mut shape = shape.to_vec();
        let mut strides = Some(strides);
        if kind == StoredType::F4 {
            // Each of torch's elements holds two.
            let last = shape.last_mut().ok_or("is a packed scalar")?;
            *last = last.saturating_mul(2);
            strides = None;
        }
        let stored = StoredTensor::new(storage.section, kind, start, shape, strides);
        stored.map(|stored| StoredTensor {
            is_big_endian: self.storages.is_big_endian(),
            ..stored
        })
    }

    /// The storage behind a persistent id, `('storage', class, key, device, size)`, or behind
    /// `TypedStorage`, which wraps one.
    fn storage(&self, id: NodeId) -> Result<StorageReference, String> {
        let Node::Persistent(id) = self.graph.get(id) else {
            return Err("depends on a storage that only its program can make".to_owned());
        };
        let parts = self.graph.as_sequence(*id).unwrap_or_default();
        let [_, class, key, _, numel, ..] = parts else {
            return Err("has a storage that is described incompletely".to_owned());
        };
        let (_, class) = self
            .graph
            .as_global(*class)
            .ok_or("has a storage without a class")?;
        let kind = storage_type(class)?;
        let key = match self.graph.get(*key) {
            Node::Text(key) => key.to_string(),
            Node::Int(key) => key.to_string(),
            _ => return Err("has a storage without a key".to_owned()),
        };
        let mut section = self.storages.find(&key)?;
        let numel = self.size(*numel).ok_or("has a storage of no size")?;
        let bits = kind.map_or(8, StoredType::bits);
        let bytes = (u128::from(numel) * u128::from(bits)).div_ceil(8);
        if bytes > u128::from(section.len) {
            return Err(format!(
                "needs {bytes} bytes of storage {key}, which has {}: the file was cut short or is \
                    damaged",
                section.len
            ));
        }
        // A view of a storage, of PyTorch before 1.0: its key, offset and size.
        if let Some(view) = parts.get(5).and_then(|view| self.graph.as_sequence(*view)) {
            let [_, offset, size] = view else {
                return Err("has a view of a storage that is none".to_owned());
            };
            let bytes = |numel: NodeId| self.size(numel)?.checked_mul(bits / 8);
            let part = bytes(*offset).zip(bytes(*size));
            let part = part.and_then(|(offset, size)| section.part(offset, size));
            section = part.ok_or("has a view that reaches beyond its storage")?;
        }
        Ok(StorageReference { section, kind })
    }

    /// An array of numpy: `_reconstruct(ndarray, (0,), b'b')` with a state of version, shape, type,
    /// order and elements.
    fn array(&self, object: &Object) -> Option<Rebuilt> {
        let state = self.graph.as_sequence(object.state?)?;
        let [_, shape, dtype, is_fortran, bytes] = state else {
            return None;
        };
        let shape = self.sizes(*shape)?;
        let is_fortran = self.graph.as_int(*is_fortran) == Some(1);
        let stored = self.array_elements(&shape, *dtype, is_fortran, *bytes);
        Some(Rebuilt { shape, stored })
    }

    fn array_elements(
        &self,
        shape: &[u64],
        dtype: NodeId,
        is_fortran: bool,
        bytes: NodeId,
    ) -> Result<StoredTensor, String> {
        let Node::Object(dtype) = self.graph.get(dtype) else {
            return Err("is an array of a type that cannot be read".to_owned());
        };
        let letters = self.graph.as_sequence(dtype.arguments);
        let letters = letters.and_then(|arguments| self.graph.as_text(*arguments.first()?));
        let letters = letters.unwrap_or_default();
        let state = dtype.state.and_then(|state| self.graph.as_sequence(state));
        let order = state.and_then(|state| self.graph.as_text(*state.get(1)?));
        let order = order.unwrap_or("<");
        let (kind, is_big_endian) = numpy_type(&format!("{order}{letters}"))
            .ok_or_else(|| format!("is an array of numpy's type {letters:?}"))?;
        let Node::Bytes(span) = self.graph.get(bytes) else {
            return Err("is an array written as text (pickle protocol 2 or older)".to_owned());
        };
        let pickle = self.storages.pickle();
        let section = pickle
            .part(span.offset, span.len)
            .ok_or("is an array in a compressed pickle")?;
        let strides = is_fortran.then(|| column_major(shape));
        let stored = StoredTensor::new(section, kind, 0, shape.to_vec(), strides)?;
        Ok(StoredTensor {
            is_big_endian,
            ..stored
        })
    }

    /// Whether a view is conjugated or negated when it is used.
    fn is_lazily_changed(&self, metadata: Option<NodeId>) -> bool {
        let Some(metadata) = metadata else {
            return false;
        };
        ["conj", "neg"].iter().any(|bit| {
            let value = self.graph.entry(metadata, bit);
            value.is_some_and(|value| self.graph.as_int(value) != Some(0))
        })
    }

    fn size(&self, id: NodeId) -> Option<u64> {
        u64::try_from(self.graph.as_int(id)?).ok()
    }

    fn sizes(&self, id: NodeId) -> Option<Vec<u64>> {
        let parts = self.graph.as_sequence(id)?;
        parts.iter().map(|part| self.size(*part)).collect()
    }
}

fn unreadable(reason: &str) -> Rebuilt {
    Rebuilt {
        shape: Vec::new(),
        stored: Err(reason.to_owned()),
    }
}

/// The element type of a storage's class; `None` for untyped ones.
pub(super) fn storage_type(class: &str) -> Result<Option<StoredType>, String> {
    Ok(Some(match class {
        "UntypedStorage" => return Ok(None),
        "BoolStorage" => StoredType::Bool,
        "ByteStorage" | "QUInt8Storage" => StoredType::U8,
        "CharStorage" | "QInt8Storage" => StoredType::I8,
        "ShortStorage" => StoredType::I16,
        "IntStorage" | "QInt32Storage" => StoredType::I32,
        "LongStorage" => StoredType::I64,
        "HalfStorage" => StoredType::F16,
        "BFloat16Storage" => StoredType::BF16,
        "FloatStorage" => StoredType::F32,
        "DoubleStorage" => StoredType::F64,
        "ComplexFloatStorage" => StoredType::C64,
        "ComplexDoubleStorage" => StoredType::C128,
        other => {
            return Err(format!(
                "has a storage of class {other}, which is not known here"
            ));
        }
    }))
}

fn dtype_by_name(name: &str) -> Option<StoredType> {
    let name = match name {
        "half" => "float16",
        "float" => "float32",
        "double" => "float64",
        "float4_e2m1fn_x2" => "float4_e2m1fn",
        name => name,
    };
    StoredType::ALL.into_iter().find(|kind| kind.name() == name)
}
