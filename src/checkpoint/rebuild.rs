//! Tensors from the calls that PyTorch's pickles describe (`torch._utils._rebuild_tensor_v2` and
//! its relatives). The calls are read, not made.

use crate::checkpoint::npz::{column_major, numpy_type};
use crate::checkpoint::pickle::{Graph, Node, NodeId};
use crate::checkpoint::section::FileSection;
use crate::checkpoint::stored_tensor::{MOST_DIMENSIONS, StoredTensor};
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

/// The longest key of a storage: those of PyTorch are numbers.
pub(super) const LONGEST_KEY: usize = 1024;

/// Entries that the metadata of a tensor may have; those of PyTorch have two.
const MOST_METADATA: usize = 16;

/// Reads nodes as tensors.
pub(super) struct Rebuilder<'a> {
    pub(super) graph: &'a Graph,
    pub(super) storages: &'a dyn Storages,
}

/// How a node describes a tensor, before any of it is checked.
enum TensorDescription<'a> {
    Strided {
        /// A storage, an offset, sizes, strides and what the call has besides.
        arguments: &'a [NodeId],
        dtype: Option<NodeId>,
        metadata: Option<NodeId>,
        /// Why its elements cannot be read, whatever their place.
        refused: Option<&'static str>,
    },
    /// The state of an array of numpy: version, shape, type, order and elements.
    Array(&'a [NodeId; 5]),
    Unreadable(&'static str),
}

/// A storage as a tensor names it.
struct StorageReference {
    section: FileSection,
    /// `None` for an untyped one, whose tensor says its type.
    kind: Option<StoredType>,
}

impl<'a> Rebuilder<'a> {
    /// Whether a node is a tensor, readable or not. Takes no memory.
    pub(super) fn is_tensor(&self, id: NodeId) -> bool {
        self.description(id).is_some()
    }

    /// The tensor of a node; `None` when it is something else.
    pub(super) fn tensor(&self, id: NodeId) -> Option<Rebuilt> {
        Some(match self.description(id)? {
            TensorDescription::Strided {
                arguments,
                dtype,
                metadata,
                refused,
            } => self.strided(arguments, dtype, metadata, refused),
            TensorDescription::Array(state) => self.array(state),
            TensorDescription::Unreadable(reason) => unreadable(reason),
        })
    }

    /// Follows the calls that wrap a tensor, one after the other: a file can make circles of them.
    fn description(&self, id: NodeId) -> Option<TensorDescription<'a>> {
        let graph = self.graph;
        let mut id = id;
        for _ in 0..MOST_WRAPPED {
            let Node::Object(object) = graph.get(id) else {
                return None;
            };
            let (_, mut function) = graph.as_global(object.callable)?;
            if function == "_reconstruct" {
                let state = graph.as_sequence(object.state?)?;
                return state.first_chunk().map(TensorDescription::Array);
            }
            let mut arguments = graph.as_sequence(object.arguments)?;
            if function == "_rebuild_from_type_v2" {
                // The function, the class, the function's arguments.
                (_, function) = graph.as_global(*arguments.first()?)?;
                arguments = graph.as_sequence(*arguments.get(2)?)?;
            }
            match function {
                "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
                | "restore_type_tag"
                | "_rebuild_device_tensor_from_numpy" => id = *arguments.first()?,
                function => return described(function, arguments),
            }
        }
        None
    }

    fn strided(
        &self,
        arguments: &[NodeId],
        dtype: Option<NodeId>,
        metadata: Option<NodeId>,
        refused: Option<&str>,
    ) -> Rebuilt {
        let [storage, offset, sizes, strides, ..] = arguments else {
            return unreadable("is described incompletely");
        };
        let shape = match self.sizes(*sizes, "a shape") {
            Ok(shape) => shape,
            Err(reason) => return unreadable(&reason),
        };
        let checked = match refused {
            Some(reason) => Err(reason.to_owned()),
            None => self.check_metadata(metadata),
        };
        let stored = checked.and_then(|()| self.stored(*storage, *offset, &shape, *strides, dtype));
        Rebuilt { shape, stored }
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
        let strides = self.sizes(strides, "strides")?;
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
            Node::Text(key) if key.len() > LONGEST_KEY => {
                return Err(format!("has a storage whose key has {} bytes", key.len()));
            }
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

    /// An array of numpy: `_reconstruct(ndarray, (0,), b'b')` with a state.
    fn array(&self, state: &[NodeId; 5]) -> Rebuilt {
        let [_, shape, dtype, is_fortran, bytes] = state;
        let shape = match self.sizes(*shape, "a shape") {
            Ok(shape) => shape,
            Err(reason) => return unreadable(&reason),
        };
        let is_fortran = self.graph.as_int(*is_fortran) == Some(1);
        let stored = self.array_elements(&shape, *dtype, is_fortran, *bytes);
        Rebuilt { shape, stored }
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
        let letters = letters.filter(|letters| letters.len() <= LONGEST_KEY);
        let letters = letters.unwrap_or_default();
        let state = dtype.state.and_then(|state| self.graph.as_sequence(state));
        let order = state.and_then(|state| self.graph.as_text(*state.get(1)?));
        let order = order.filter(|order| order.len() == 1).unwrap_or("<");
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

    /// Refuses a view that is conjugated or negated when it is used.
    fn check_metadata(&self, metadata: Option<NodeId>) -> Result<(), String> {
        let entries = match metadata.map(|metadata| self.graph.get(metadata)) {
            Some(Node::Dict(entries)) => entries,
            Some(Node::Object(object)) => &object.entries,
            _ => return Ok(()),
        };
        if entries.len() > MOST_METADATA {
            return Err(format!("has metadata of {} entries", entries.len()));
        }
        let is_set = |(key, value): &(NodeId, NodeId)| {
            matches!(self.graph.as_text(*key), Some("conj" | "neg"))
                && self.graph.as_int(*value) != Some(0)
        };
        match entries.iter().any(is_set) {
            true => Err("is a conjugate or negative view; save a copy (resolve_conj)".to_owned()),
            false => Ok(()),
        }
    }

    fn size(&self, id: NodeId) -> Option<u64> {
        u64::try_from(self.graph.as_int(id)?).ok()
    }

    /// Sizes or strides, whichever `what` says.
    fn sizes(&self, id: NodeId, what: &str) -> Result<Vec<u64>, String> {
        let none = || format!("has {what} that cannot be read");
        let parts = self.graph.as_sequence(id).ok_or_else(none)?;
        if parts.len() > MOST_DIMENSIONS {
            return Err(format!("has {what} of {} dimensions", parts.len()));
        }
        let sizes = parts.iter().map(|part| self.size(*part));
        sizes.collect::<Option<_>>().ok_or_else(none)
    }
}

/// The tensor that a call makes; `None` for a call that makes something else.
fn described<'a>(function: &str, arguments: &'a [NodeId]) -> Option<TensorDescription<'a>> {
    let strided = |dtype: Option<usize>, metadata: Option<usize>| {
        let argument = |place: Option<usize>| arguments.get(place?).copied();
        Some(TensorDescription::Strided {
            arguments,
            dtype: argument(dtype),
            metadata: argument(metadata),
            refused: None,
        })
    };
    let reason = match function {
        "_rebuild_tensor" => return strided(None, None),
        "_rebuild_tensor_v2" => return strided(None, Some(6)),
        "_rebuild_tensor_v3" => return strided(Some(6), Some(7)),
        "_rebuild_qtensor" => {
            // Equal integers are other weights once their scale is another one.
            return Some(TensorDescription::Strided {
                arguments,
                dtype: None,
                metadata: None,
                refused: Some("is quantised; save its dequantize(), or int_repr() and the scale"),
            });
        }
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => {
            "is sparse; save it dense (to_dense)"
        }
        "_rebuild_nested_tensor" => "is nested; save its parts",
        "_rebuild_meta_tensor_no_storage" => "is on the meta device and has no elements",
        "_rebuild_wrapper_subclass" => "is of a class that only its program knows",
        _ => return None,
    };
    Some(TensorDescription::Unreadable(reason))
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
