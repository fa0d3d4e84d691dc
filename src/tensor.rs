//! The only file that looks into tch memory: what a tensor is, and how its elements get into a host buffer.
//!
//! tch's accessors panic on tensors they cannot show (undefined, sparse, MKL-DNN). Here each tensor is classified once;
//! only dense CPU tensors are read through their pointer, after checks that make it sound, and everything else goes
//! through libtorch's own `copy_`, which knows negated views, other devices and any stride.

use std::collections::HashSet;
use std::ops::Range;
use std::ptr;
use std::sync::{MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use tch::nn::{VarStore, Variables};
use tch::{CModule, Device, Kind};

use crate::error::{Error, Result};
use crate::named_tensors::{NamedTensors, Role, Visitor};
use crate::types::DType;
use crate::values::{Access, Facts, Way, gather};

pub(crate) use tch::Tensor;

/// Classifies a tensor. `name` is the tag or variable that errors speak of.
pub(crate) fn inspect(name: &str, tensor: &Tensor) -> Result<Facts> {
    let unsupported = |reason: String| Error::UnsupportedTensor {
        name: name.into(),
        reason: reason.into(),
    };
    if !tensor.defined() {
        return Err(unsupported(
            "is undefined; create it before logging, or leave it out with select()".into(),
        ));
    }
    let (dtype, plain) = match tensor.f_kind() {
        Ok(kind) => element_type(kind).ok_or_else(|| {
            unsupported(format!(
                "is complex ({kind:?}); log its .real() and .imag() instead"
            ))
        })?,
        // An unsigned type that tch has no name for: libtorch converts it.
        Err(_) => (DType::F64, false),
    };
    let shape = shape(tensor).ok_or_else(|| {
        unsupported("is a nested tensor, which has no shape; log its parts one by one".into())
    })?;
    let contiguous = contiguity(tensor);
    let dense = plain && !tensor.is_sparse() && !tensor.is_mkldnn() && contiguous.is_some();
    let access = if !dense {
        Access::Convert
    } else if tensor.device() != Device::Cpu {
        Access::Remote
    } else if contiguous == Some(true) && shape.len() <= DIMENSIONS && !is_negated(tensor) {
        Access::Memory
    } else {
        Access::Copy
    };
    let facts = Facts {
        dtype,
        shape,
        access,
    };
    // A view of few bytes can have any number of elements.
    if isize::try_from(facts.bytes()).is_err() {
        let reason = format!("has shape {:?}, too large to be copied", facts.shape);
        return Err(unsupported(reason));
    }
    Ok(facts)
}

/// The buffer's type for a kind, and whether elements have that type already. `None` for complex kinds.
fn element_type(kind: Kind) -> Option<(DType, bool)> {
    Some(match kind {
        Kind::Bool => (DType::Bool, true),
        Kind::Uint8 => (DType::U8, true),
        Kind::Int8 => (DType::I8, true),
        Kind::Int16 => (DType::I16, true),
        Kind::Int => (DType::I32, true),
        Kind::Int64 => (DType::I64, true),
        Kind::Half => (DType::F16, true),
        Kind::BFloat16 => (DType::BF16, true),
        Kind::Float => (DType::F32, true),
        Kind::Double => (DType::F64, true),
        Kind::ComplexHalf | Kind::ComplexFloat | Kind::ComplexDouble => return None,
        // Quantised and 8-bit floats.
        _ => (DType::F32, false),
    })
}

fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::Bool => Kind::Bool,
        DType::U8 => Kind::Uint8,
        DType::I8 => Kind::Int8,
        DType::I16 => Kind::Int16,
        DType::I32 => Kind::Int,
        DType::I64 => Kind::Int64,
        DType::F16 => Kind::Half,
        DType::BF16 => Kind::BFloat16,
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
    }
}

/// The sizes of the dimensions; `None` for a nested tensor, at which `Tensor::size` panics.
fn shape(tensor: &Tensor) -> Option<Vec<i64>> {
    let mut shape = vec![0; tensor.dim()];
    // SAFETY: the handle is valid, and `shape` has room for the number of dimensions that was just asked for.
    #[allow(unsafe_code)]
    unsafe {
        torch_sys::at_shape(tensor.as_ptr().cast_mut(), shape.as_mut_ptr());
    }
    (!take_torch_error(tensor)).then_some(shape)
}

/// Whether the elements lie one after the other; `None` for the sparse layouts that have no such notion, some of which
/// `Tensor::is_sparse` misses and `Tensor::is_contiguous` panics on.
fn contiguity(tensor: &Tensor) -> Option<bool> {
    // SAFETY: the handle is valid for the life of `tensor`; the call reads metadata and answers -1 where it fails.
    #[allow(unsafe_code)]
    let answer = unsafe { torch_sys::at_is_contiguous(tensor.as_ptr().cast_mut()) };
    if answer < 0 {
        take_torch_error(tensor);
        return None;
    }
    Some(answer != 0)
}

/// True for a view whose elements are those in memory with the other sign (`z.conj().imag()`), and where nobody knows.
fn is_negated(tensor: &Tensor) -> bool {
    tensor.f_is_neg().unwrap_or(true)
}

/// libtorch's binding keeps the last error until somebody asks: the next fallible call would report it as its own. True
/// when there was one.
fn take_torch_error(tensor: &Tensor) -> bool {
    tensor.f_is_leaf().is_err()
}

/// Dimensions up to which memory is read directly: they are compared at each call without an allocation.
const DIMENSIONS: usize = 16;

/// The memory of a tensor that is still what `facts` says: dense, contiguous, on the CPU, of this type and shape. `None`
/// when it is not (any more), and the caller has to classify it again.
pub(crate) fn memory<'a>(tensor: &'a Tensor, facts: &Facts) -> Option<&'a [u8]> {
    let handle = tensor.as_ptr().cast_mut();
    let mut shape = [0_i64; DIMENSIONS];
    if !tensor.defined() || facts.shape.len() > DIMENSIONS {
        return None;
    }
    if tensor.dim() != facts.shape.len() || tensor.f_kind().ok()? != kind_of(facts.dtype) {
        return None;
    }
    // SAFETY: the handle is valid, and `shape` has room for the number of dimensions that was just asked for.
    #[allow(unsafe_code)]
    unsafe {
        torch_sys::at_shape(handle, shape.as_mut_ptr());
    }
    if shape.get(..facts.shape.len())? != facts.shape.as_slice() {
        // A nested tensor has none.
        take_torch_error(tensor);
        return None;
    }
    if contiguity(tensor) != Some(true) || tensor.device() != Device::Cpu || is_negated(tensor) {
        return None;
    }
    let bytes = facts.bytes();
    if bytes == 0 {
        return Some(&[]);
    }
    // SAFETY: the handle is valid; where there is no memory to point at the answer is null and an error is kept.
    #[allow(unsafe_code)]
    let start = unsafe { torch_sys::at_data_ptr(handle) };
    if start.is_null() {
        take_torch_error(tensor);
        return None;
    }
    // SAFETY: `tensor` keeps its storage alive; being contiguous on the CPU with this type and shape, its elements are
    // these bytes from the data pointer on. Nothing writes them during the call unless another thread trains at the same
    // time, which libtorch itself does not allow for a tensor that is read; a torn read could only give a wrong number,
    // since every bit pattern of these bytes is valid.
    #[allow(unsafe_code)]
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>().cast_const(), bytes) })
}

/// libtorch gives each of its threads at least half of this to copy.
const WORTH_THREADS: usize = 256 << 10;

/// Threads that libtorch computes with.
pub(crate) fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Copies all elements, in row-major order of the tensor's shape, to `target`, which holds exactly that many bytes.
/// `Ok(false)` when the tensor is not what `facts` says any more: nothing useful was written.
pub(crate) fn copy(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    way: Way,
    target: &mut [u8],
) -> Result<bool> {
    if facts.access == Access::Memory {
        let Some(bytes) = memory(tensor, facts) else {
            return Ok(false);
        };
        if bytes.len() != target.len() {
            return Ok(false);
        }
        if way == Way::Threads && bytes.len() >= WORTH_THREADS {
            copy_by_torch(name, tensor, facts, (0, 1), target)?;
        } else {
            target.copy_from_slice(bytes);
        }
        return Ok(true);
    }
    if inspect(name, tensor)? != *facts {
        return Ok(false);
    }
    copy_by_torch(name, tensor, facts, (0, 1), target)?;
    Ok(true)
}

/// Copies every `stride`-th element (row-major) from `start` on to `target`, which holds exactly as many as there are.
pub(crate) fn copy_strided(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    steps: (usize, usize),
    target: &mut [u8],
) -> Result<bool> {
    if facts.access == Access::Memory {
        let Some(bytes) = memory(tensor, facts) else {
            return Ok(false);
        };
        gather(bytes, facts.dtype.size(), steps, target);
        return Ok(true);
    }
    if inspect(name, tensor)? != *facts {
        return Ok(false);
    }
    copy_by_torch(name, tensor, facts, steps, target)?;
    Ok(true)
}

/// Copies with libtorch's `copy_`, which resolves strides, devices and negation.
fn copy_by_torch(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    steps: (usize, usize),
    target: &mut [u8],
) -> Result<()> {
    let failed = |error: tch::TchError| not_copied(name, &error);
    // Without it, the target would join the graph of a tensor that requires a gradient.
    let _guard = tch::no_grad_guard();
    let mut source = tensor.f_detach().map_err(failed)?;
    if facts.access == Access::Convert {
        source = convert(&source, facts.dtype).map_err(failed)?;
    }
    if steps != (0, 1) {
        source = chosen(&source, steps).map_err(failed)?;
    }
    copy_into(name, &source, &source.size(), facts.dtype, target)
}

/// Every `stride`-th element from `start` on, by their row-major numbers: flattening a strided view to slice it would copy
/// all of it.
fn chosen(
    source: &Tensor,
    (start, stride): (usize, usize),
) -> std::result::Result<Tensor, tch::TchError> {
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let (end, options) = (number(source.numel()), (Kind::Int64, source.device()));
    let numbers = Tensor::f_arange_start_step(number(start), end, number(stride), options)?;
    source.f_take(&numbers)
}

/// Device memory that fetching may use.
const STAGING_BYTES: usize = 64 << 20;

/// A tensor on another device, to be fetched together with its neighbours.
pub(crate) struct Remote {
    name: Box<str>,
    /// Without its graph.
    tensor: Tensor,
    dtype: DType,
    /// Where its elements go in the buffer.
    bytes: Range<usize>,
}

/// Notes a tensor that lies on another device; `Ok(None)` when it is not what `facts` says any more.
pub(crate) fn remote(
    name: &str,
    tensor: &Tensor,
    facts: &Facts,
    steps: (usize, usize),
    bytes: Range<usize>,
) -> Result<Option<Remote>> {
    if inspect(name, tensor)? != *facts {
        return Ok(None);
    }
    let _guard = tch::no_grad_guard();
    let flat = tensor.f_detach().and_then(|tensor| tensor.f_reshape([-1]));
    let tensor = flat
        .and_then(|flat| strided(flat, steps))
        .map_err(|error| not_copied(name, &error))?;
    Ok(Some(Remote {
        name: name.into(),
        tensor,
        dtype: facts.dtype,
        bytes,
    }))
}

/// Fetches all of them: neighbours in the buffer are joined on their device, up to [`STAGING_BYTES`], and sent in one piece.
pub(crate) fn fetch_remotes(mut remotes: Vec<Remote>, target: &mut [u8]) -> Result<()> {
    let _guard = tch::no_grad_guard();
    remotes.sort_by_key(|remote| remote.bytes.start);
    let mut rest = remotes.as_slice();
    while let Some((first, _)) = rest.split_first() {
        let (piece, after) = rest.split_at(piece_len(rest));
        rest = after;
        let end = piece.last().map_or(first.bytes.end, |last| last.bytes.end);
        let Some(place) = target.get_mut(first.bytes.start..end) else {
            continue;
        };
        let failed = |error: tch::TchError| not_copied(&first.name, &error);
        let whole = match piece {
            [one] => one.tensor.shallow_clone(),
            several => {
                let tensors: Vec<&Tensor> = several.iter().map(|remote| &remote.tensor).collect();
                Tensor::f_cat(&tensors, 0).map_err(failed)?
            }
        };
        copy_into(&first.name, &whole, &whole.size(), first.dtype, place)?;
    }
    Ok(())
}

/// How many of the first tensors travel as one: neighbours of one type and device that fit through staging.
fn piece_len(remotes: &[Remote]) -> usize {
    let [first, others @ ..] = remotes else {
        return 0;
    };
    let joins = |(last, next): &(&Remote, &Remote)| {
        last.bytes.end == next.bytes.start
            && first.dtype == next.dtype
            && first.tensor.device() == next.tensor.device()
            && next.bytes.end - first.bytes.start <= STAGING_BYTES
    };
    1 + std::iter::zip(remotes, others).take_while(joins).count()
}

fn strided(
    flat: Tensor,
    (start, stride): (usize, usize),
) -> std::result::Result<Tensor, tch::TchError> {
    if (start, stride) == (0, 1) {
        return Ok(flat);
    }
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    flat.f_slice(0, number(start), None, number(stride))
}

fn not_copied(name: &str, error: &tch::TchError) -> Error {
    let reason = format!("libtorch could not copy it: {}", first_line(error)).into();
    Error::UnsupportedTensor {
        name: name.into(),
        reason,
    }
}

/// `copy_` into the memory of `target`, which has to be as long as a tensor of this shape.
fn copy_into(
    name: &str,
    source: &Tensor,
    shape: &[i64],
    dtype: DType,
    target: &mut [u8],
) -> Result<()> {
    let elements: i64 = shape.iter().product();
    let bytes = usize::try_from(elements)
        .unwrap_or(0)
        .saturating_mul(dtype.size());
    if bytes != target.len() {
        let reason = format!("has {bytes} bytes where {} were expected", target.len()).into();
        return Err(Error::UnsupportedTensor {
            name: name.into(),
            reason,
        });
    }
    if bytes == 0 {
        return Ok(());
    }
    let mut strides = vec![1_i64; shape.len()];
    for index in (1..shape.len()).rev() {
        strides[index - 1] = strides[index] * shape[index].max(1);
    }
    let kind = kind_of(dtype);
    // SAFETY: `target` is exclusively borrowed for the life of `view`, aligned for the type (offsets in a buffer are
    // multiples of the element's size) and, as checked above, exactly as long as the shape says.
    #[allow(unsafe_code)]
    let view =
        unsafe { Tensor::f_from_blob(target.as_mut_ptr(), shape, &strides, kind, Device::Cpu) };
    view.and_then(|mut view| view.f_copy_(source))
        .map_err(|error| not_copied(name, &error))
}

/// A dense tensor of the buffer's type.
fn convert(source: &Tensor, dtype: DType) -> std::result::Result<Tensor, tch::TchError> {
    let kind = kind_of(dtype);
    if matches!(
        source.f_kind(),
        Ok(Kind::QInt8 | Kind::QUInt8 | Kind::QInt32)
    ) {
        return source.f_dequantize()?.f_to_kind(kind);
    }
    let dense = if source.is_mkldnn() || source.is_sparse() || contiguity(source).is_none() {
        source.f_to_dense(None, false)?
    } else {
        source.f_detach()?
    };
    dense.f_to_kind(kind)
}

/// libtorch's message without its C++ backtrace.
fn first_line(error: &tch::TchError) -> String {
    let text = match error {
        tch::TchError::Torch(text) => text.clone(),
        other => other.to_string(),
    };
    let end = text
        .find("Exception raised")
        .or_else(|| text.find('\n'))
        .unwrap_or(text.len());
    text.get(..end)
        .unwrap_or(&text)
        .trim()
        .trim_end_matches('(')
        .trim()
        .to_owned()
}

/// True for a tensor that gradients are tracked for.
pub(crate) fn requires_grad(tensor: &Tensor) -> bool {
    tensor.defined() && tensor.requires_grad()
}

/// The gradient left by the last backward pass, if there is one. Asking a tensor that is no leaf would warn.
pub(crate) fn gradient(tensor: &Tensor) -> Option<Tensor> {
    if !requires_grad(tensor) || !tensor.f_is_leaf().ok()? {
        return None;
    }
    tensor.f_grad().ok().filter(Tensor::defined)
}

/// A tensor of one element, read at once when it lies on the CPU.
pub(crate) enum Fetched {
    Now(f64),
    /// A copy on its device, to be read by [`read_scalar`].
    Later(Tensor),
}

/// Takes a scalar without waiting for an accelerator.
pub(crate) fn fetch_scalar(tag: &str, tensor: &Tensor) -> Result<Fetched> {
    let facts = inspect(tag, tensor)?;
    if facts.elements() != 1 {
        let reason = format!(
            "has shape {:?}; a scalar has one element: log its mean, or log_histogram",
            facts.shape
        );
        return Err(Error::UnsupportedTensor {
            name: tag.into(),
            reason: reason.into(),
        });
    }
    if facts.access != Access::Remote {
        return read_scalar(tag, tensor).map(Fetched::Now);
    }
    let _guard = tch::no_grad_guard();
    let copy = tensor.f_detach().and_then(|tensor| {
        let mut copy = tensor.f_empty_like()?;
        copy.f_copy_(&tensor)?;
        Ok(copy)
    });
    copy.map(Fetched::Later)
        .map_err(|error| not_copied(tag, &error))
}

/// Reads a tensor of one element, waiting for its device.
pub(crate) fn read_scalar(tag: &str, tensor: &Tensor) -> Result<f64> {
    let facts = inspect(tag, tensor)?;
    let value = match facts.access {
        Access::Convert => {
            convert(tensor, DType::F64).and_then(|tensor| tensor.f_double_value(&zeros(&facts)))
        }
        _ => tensor.f_double_value(&zeros(&facts)),
    };
    value.map_err(|error| Error::UnsupportedTensor {
        name: tag.into(),
        reason: format!("libtorch could not read it: {}", first_line(&error)).into(),
    })
}

/// The index of the only element.
fn zeros(facts: &Facts) -> Vec<i64> {
    vec![0; facts.shape.len()]
}

/// How long a store held by another thread is waited for. Within one thread (a live `Path::entry`) waiting is in vain.
const STORE_PATIENCE: Duration = Duration::from_millis(200);

/// Locks a store. A panic in user code that poisoned it does not matter: its variables are whole, and the run's last
/// weights are worth having.
fn lock(store: &VarStore) -> Result<MutexGuard<'_, Variables>> {
    let since = Instant::now();
    loop {
        match store.variables_.try_lock() {
            Ok(variables) => return Ok(variables),
            Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if since.elapsed() < STORE_PATIENCE => {
                std::thread::yield_now()
            }
            Err(TryLockError::WouldBlock) => {
                let reason =
                    "the store is locked; drop the Path::entry that is still alive before logging"
                        .into();
                return Err(Error::UnsupportedTensor {
                    name: "VarStore".into(),
                    reason,
                });
            }
        }
    }
}

/// Which of a store's variables its optimizers train. Handles differ from clone to clone, so a tensor is known by its
/// memory, or by libtorch's own comparison where it has none.
struct Membership<'a> {
    by_memory: HashSet<*const u8>,
    others: Vec<&'a Tensor>,
}

impl<'a> Membership<'a> {
    fn of(variables: &'a Variables) -> Membership<'a> {
        let mut membership = Membership {
            by_memory: HashSet::new(),
            others: Vec::new(),
        };
        for variable in &variables.trainable_variables {
            match address(&variable.tensor) {
                Some(start) => {
                    membership.by_memory.insert(start);
                }
                None => membership.others.push(&variable.tensor),
            }
        }
        membership
    }

    fn contains(&self, tensor: &Tensor) -> bool {
        match address(tensor) {
            Some(start) => self.by_memory.contains(&start),
            None => self
                .others
                .iter()
                .any(|other| other.f_is_set_to(tensor).unwrap_or(false)),
        }
    }
}

fn address(tensor: &Tensor) -> Option<*const u8> {
    if !tensor.defined()
        || tensor.is_mkldnn()
        || tensor.is_sparse()
        || contiguity(tensor) != Some(true)
    {
        return None;
    }
    // SAFETY: the handle is valid; where there is no memory to point at the answer is null and an error is kept.
    #[allow(unsafe_code)]
    let start = unsafe { torch_sys::at_data_ptr(tensor.as_ptr().cast_mut()) };
    if start.is_null() {
        take_torch_error(tensor);
    }
    (!start.is_null()).then_some(start.cast::<u8>().cast_const())
}

/// The variables of a store whose names begin with a prefix; see [`SubStore::new`].
#[derive(Debug, Clone)]
pub struct SubStore<'a> {
    store: &'a VarStore,
    /// Empty, or ending in a dot.
    prefix: String,
}

impl<'a> SubStore<'a> {
    /// The variables below a path of a store: `SubStore::new(&vs, "encoder")` holds `encoder.conv1.weight` but not
    /// `encoder2.weight`. tch keeps the store of a `Path` to itself, so the store is named too. Names stay whole.
    pub fn new(store: &'a VarStore, path: &str) -> SubStore<'a> {
        let prefix = if path.is_empty() || path.ends_with('.') {
            path.to_owned()
        } else {
            format!("{path}.")
        };
        SubStore { store, prefix }
    }
}

impl NamedTensors for VarStore {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visit_store(self, "", visitor)
    }
}

impl NamedTensors for SubStore<'_> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visit_store(self.store, &self.prefix, visitor)
    }
}

fn visit_store(store: &VarStore, prefix: &str, visitor: &mut Visitor<'_>) -> Result<()> {
    let variables = lock(store)?;
    let identity = (
        ptr::from_ref::<Variables>(&*variables) as usize,
        variables.named_variables.len(),
        variables.trainable_variables.len(),
    );
    let membership = if visitor.knows_store(identity) {
        None
    } else {
        Some(Membership::of(&variables))
    };
    for (name, tensor) in &variables.named_variables {
        if name.starts_with(prefix) {
            let role = membership.as_ref().map(|members| {
                match (requires_grad(tensor), members.contains(tensor)) {
                    (true, _) => Role::Trainable,
                    (false, true) => Role::Frozen,
                    (false, false) => Role::Buffer,
                }
            });
            visitor.store_variable(name, tensor, role);
        }
    }
    Ok(())
}

impl NamedTensors for CModule {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        let parameters = self
            .named_parameters()
            .map_err(|error| Error::UnsupportedTensor {
                name: "CModule".into(),
                reason: format!("its parameters could not be listed: {}", first_line(&error))
                    .into(),
            })?;
        for (name, tensor) in &parameters {
            let role = if requires_grad(tensor) {
                Role::Trainable
            } else {
                Role::Frozen
            };
            visitor.variable(name, tensor, role);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fetching does not care which device it fetches from: on the CPU it is the same path.
    fn remotes(tensors: &[Tensor], gap_after: Option<usize>) -> (Vec<Remote>, usize) {
        let (mut list, mut end) = (Vec::new(), 0_usize);
        for (index, tensor) in tensors.iter().enumerate() {
            let facts = inspect("w", tensor).unwrap();
            let start = end.next_multiple_of(facts.dtype.size());
            end = start + facts.bytes();
            list.push(
                remote("w", tensor, &facts, (0, 1), start..end)
                    .unwrap()
                    .unwrap(),
            );
            if gap_after == Some(index) {
                end += 64;
            }
        }
        (list, end)
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes
            .chunks_exact(4)
            .map(|float| f32::from_ne_bytes(float.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn neighbours_travel_together_and_arrive_in_place() {
        let tensors = [
            Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0])
                .reshape([2, 2])
                .tr(),
            Tensor::from_slice(&[5.0_f32]).set_requires_grad(true),
            Tensor::zeros([0, 3], (Kind::Float, Device::Cpu)),
            Tensor::from_slice(&[6.0_f32, 7.0]),
        ];
        for gap_after in [None, Some(0), Some(1), Some(3)] {
            let (list, end) = remotes(&tensors, gap_after);
            assert_eq!(piece_len(&list), gap_after.map_or(4, |gap| gap + 1).min(4));
            let places: Vec<Range<usize>> =
                list.iter().map(|remote| remote.bytes.clone()).collect();
            let mut buffer = vec![0_u64; end.div_ceil(8)];
            let target: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
            fetch_remotes(list, target).unwrap();
            let values: Vec<Vec<f32>> = places
                .into_iter()
                .map(|place| floats(&target[place]))
                .collect();
            assert_eq!(
                values,
                [vec![1.0, 3.0, 2.0, 4.0], vec![5.0], vec![], vec![6.0, 7.0]]
            );
        }
    }

    #[test]
    fn types_and_the_size_of_staging_end_a_piece() {
        let float = Tensor::zeros([4], (Kind::Float, Device::Cpu));
        let half = Tensor::zeros([4], (Kind::Half, Device::Cpu));
        let (list, _) = remotes(
            &[float.shallow_clone(), float.shallow_clone(), half, float],
            None,
        );
        assert_eq!(piece_len(&list), 2);
        assert_eq!(piece_len(&list[2..]), 1);
        let large = Tensor::zeros([STAGING_BYTES as i64 / 8 + 1], (Kind::Float, Device::Cpu));
        let (list, _) = remotes(&[large.shallow_clone(), large], None);
        assert_eq!(piece_len(&list), 1);
        assert_eq!(piece_len(&[]), 0);
    }

    #[test]
    fn a_sample_of_a_remote_tensor_is_taken_on_its_device() {
        let tensor = Tensor::arange(10, (Kind::Float, Device::Cpu)).reshape([2, 5]);
        let facts = inspect("w", &tensor).unwrap();
        let remote = remote("w", &tensor, &facts, (1, 4), 0..12)
            .unwrap()
            .unwrap();
        let mut buffer = [0_u64; 2];
        let target: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
        fetch_remotes(vec![remote], target).unwrap();
        assert_eq!(floats(&target[..12]), [1.0, 5.0, 9.0]);
    }

    #[test]
    fn a_failed_look_leaves_no_error_behind() {
        let sparse = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 2.0])
            .reshape([2, 2])
            .f_to_sparse_csr(None)
            .unwrap();
        assert_eq!(contiguity(&sparse), None);
        assert_eq!(inspect("w", &sparse).unwrap().access, Access::Convert);
        // The binding would hand a stale error to the next fallible call.
        assert!(Tensor::from_slice(&[1.0_f32]).f_neg().is_ok());
    }
}
