//! One tensor of a checkpoint.

use std::sync::Arc;

use crate::checkpoint::stored_tensor::StoredTensor;
use crate::checkpoint::stored_type::StoredType;
use crate::error::{Error, Result};
use crate::model::variable_info::Role;

/// A tensor of a [`Checkpoint`](crate::Checkpoint): its name, type and shape, and where its
/// elements lie.
#[derive(Debug, Clone)]
pub struct CheckpointTensor {
    name: Box<str>,
    shape: Vec<u64>,
    /// Or why it cannot be read.
    stored: std::result::Result<StoredTensor, Box<str>>,
    pub(super) alias_of: Option<Arc<str>>,
}

impl CheckpointTensor {
    pub(super) fn new(name: impl Into<Box<str>>, stored: StoredTensor) -> CheckpointTensor {
        CheckpointTensor {
            name: name.into(),
            shape: stored.shape.clone(),
            stored: Ok(stored),
            alias_of: None,
        }
    }

    /// One that is there and cannot be read: an error for whoever asks for its elements.
    pub(super) fn unreadable(
        name: impl Into<Box<str>>,
        shape: Vec<u64>,
        reason: &str,
    ) -> CheckpointTensor {
        CheckpointTensor {
            name: name.into(),
            shape,
            stored: Err(reason.into()),
            alias_of: None,
        }
    }

    pub(super) fn renamed(self, name: impl Into<Box<str>>) -> CheckpointTensor {
        CheckpointTensor {
            name: name.into(),
            ..self
        }
    }

    /// The name in the state dict.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sizes of its dimensions.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The type of its elements; `None` for a tensor that cannot be read.
    pub fn stored_type(&self) -> Option<StoredType> {
        self.stored.as_ref().ok().map(|stored| stored.kind)
    }

    /// Elements: the product of the shape.
    pub fn elements(&self) -> u64 {
        crate::checkpoint::stored_tensor::elements(&self.shape).unwrap_or(u64::MAX)
    }

    /// The first tensor, by name, that has the very same elements in the file: tied weights.
    pub fn alias_of(&self) -> Option<&str> {
        self.alias_of.as_deref()
    }

    /// Why its elements cannot be read: it is sparse, of an unknown type, or depends on a class
    /// that only its program has.
    pub fn unreadable_reason(&self) -> Option<&str> {
        self.stored.as_ref().err().map(|reason| &**reason)
    }

    /// What it is to training, as far as name and type show: integers and the running statistics of
    /// normalisation layers are buffers.
    pub(crate) fn role(&self) -> Role {
        let last = self.name.rsplit('.').next().unwrap_or_default();
        let is_statistic = matches!(last, "running_mean" | "running_var");
        match self.stored_type() {
            Some(kind) if kind.is_float() && !is_statistic => Role::Trainable,
            _ => Role::Buffer,
        }
    }

    /// # Errors
    /// [`Error::UnsupportedTensor`].
    pub(crate) fn stored(&self) -> Result<&StoredTensor> {
        self.stored
            .as_ref()
            .map_err(|reason| Error::UnsupportedTensor {
                name: self.name.clone(),
                reason: reason.clone(),
            })
    }

    /// `None` for one that cannot be read or has no elements.
    pub(crate) fn place(&self) -> Option<ElementPlace<'_>> {
        let stored = self.stored.as_ref().ok()?;
        (stored.elements() > 0).then_some(())?;
        Some(ElementPlace {
            file: Arc::as_ptr(&stored.section.file) as usize,
            offset: stored.section.offset,
            start: stored.start,
            shape: &stored.shape,
            strides: stored.strides.as_deref(),
            kind: stored.kind,
        })
    }
}

/// Where elements lie: two tensors that have the same are one.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct ElementPlace<'a> {
    file: usize,
    offset: u64,
    start: u64,
    shape: &'a [u64],
    strides: Option<&'a [u64]>,
    kind: StoredType,
}
