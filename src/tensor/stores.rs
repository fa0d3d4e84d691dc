//! Models as sources of named tensors: variable stores and TorchScript modules.

use std::collections::HashSet;
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use tch::nn::{VarStore, Variables};
use tch::{CModule, Tensor};

use crate::error::{Error, Result};
use crate::model::variable_info::Role;
use crate::source::named_tensors::{Membership, NamedTensors, StoreWait, Visitor};
use crate::tensor::copying::first_line;
use crate::tensor::layout::{contiguity, requires_grad, start};

/// How long a waiting caller sleeps between two looks at a locked store.
const NAP: Duration = Duration::from_micros(200);

/// Locks a store. Another thread may hold it for seconds, to save a checkpoint; within one thread
/// (a live `Path::entry`) waiting is in vain, which cannot be told apart. A panic in user code that
/// poisoned it does not matter: its variables are whole, and the run's last weights are worth
/// having.
///
/// # Errors
/// [`Error::StoreLocked`] when it is not to be had within the patience.
fn lock<'a>(store: &'a VarStore, wait: &mut StoreWait) -> Result<MutexGuard<'a, Variables>> {
    let since = Instant::now();
    let guard = loop {
        match store.variables_.try_lock() {
            Ok(variables) => break variables,
            Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if since.elapsed() < wait.patience => {
                std::thread::sleep(NAP);
            }
            Err(TryLockError::WouldBlock) => {
                let waited = since.elapsed();
                wait.waited += waited;
                return Err(Error::StoreLocked { waited });
            }
        }
    };
    wait.waited += since.elapsed();
    Ok(guard)
}

/// Which of a store's variables its optimizers train. Handles differ from clone to clone, so a
/// tensor is known by its memory, or by libtorch's own comparison where it has none.
struct Members<'a> {
    by_memory: HashSet<*const u8>,
    others: Vec<&'a Tensor>,
}

impl<'a> Members<'a> {
    fn of(variables: &'a Variables) -> Members<'a> {
        let mut members = Members {
            by_memory: HashSet::new(),
            others: Vec::new(),
        };
        for variable in &variables.trainable_variables {
            match address(&variable.tensor) {
                Some(address) => {
                    members.by_memory.insert(address);
                }
                None => members.others.push(&variable.tensor),
            }
        }
        members
    }

    fn contains(&self, tensor: &Tensor) -> bool {
        match address(tensor) {
            Some(address) => self.by_memory.contains(&address),
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
    start(tensor)
}

/// The variables of a store whose names begin with a prefix; see [`SubStore::new`].
#[derive(Debug, Clone)]
pub struct SubStore<'a> {
    store: &'a VarStore,
    /// Empty, or ending in a dot.
    prefix: String,
}

impl<'a> SubStore<'a> {
    /// The variables below a path of a store: `SubStore::new(&vs, "encoder")` holds
    /// `encoder.conv1.weight` but not `encoder2.weight`. tch keeps the store of a `Path` to itself,
    /// so the store is named too. Names stay whole.
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
    let variables = lock(store, visitor.store_wait())?;
    let identity = (
        ptr::from_ref::<Variables>(&*variables) as usize,
        variables.named_variables.len(),
        variables.trainable_variables.len(),
    );
    let members = if visitor.knows_store(identity) {
        None
    } else {
        Some(Members::of(&variables))
    };
    for (name, tensor) in &variables.named_variables {
        // Beginning with nothing is asked of glibc, which looks at the address of the nothing: with
        // AVX-512, 100 ns.
        if prefix.is_empty() || name.starts_with(prefix) {
            let membership = members.as_ref().map(|members| {
                let is_member = members.contains(tensor);
                let role = match (requires_grad(tensor), is_member) {
                    (true, _) => Role::Trainable,
                    (false, true) => Role::Frozen,
                    (false, false) => Role::Buffer,
                };
                Membership {
                    role,
                    is_member: Some(is_member),
                }
            });
            visitor.store_variable(name, tensor, membership);
        }
    }
    Ok(())
}

macro_rules! pairs {
    ($($second:ty),*) => {$(
        impl<A: NamedTensors> NamedTensors for (A, $second) {
            fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
                self.0.visit(visitor)?;
                self.1.visit(visitor)
            }
        }
    )*};
}
// For each type by itself: `(name, values)` is a pair, too, and these are certainly no values.
pairs!(
    &VarStore,
    Rc<VarStore>,
    Arc<VarStore>,
    SubStore<'_>,
    &SubStore<'_>,
    &CModule
);

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
