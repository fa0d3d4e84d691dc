//! What `log_weights` reads: anything that can name its tensors.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
pub(crate) use crate::model::variable_info::Role;
use crate::source::element_source::ElementSource;
use crate::source::values::Values;

#[cfg_attr(
    feature = "tch",
    doc = "A source of named tensors: a [`tch::nn::VarStore`], a part of one \
        ([`SubStore`](struct.SubStore.html)), a
[`tch::CModule`], a pair `(name, values)`, a map, or a slice, array, vector or tuple of any of
these, such as `(&vs_a, &vs_b)` (the last of a pair is one of tch's). References, `Box`, `Rc` and
`Arc` of a source are sources. A `TrainableCModule` is logged through the `VarStore` that it was
loaded into."
)]
#[cfg_attr(
    not(feature = "tch"),
    doc = "A source of named tensors: a pair `(name, values)`, a map, or a slice, array, vector \
        or tuple of three or more of any of these. References, `Box`, `Rc` and `Arc` of a source
are sources. With the
feature `tch` also a `VarStore`, a part of one, and a `CModule`."
)]
///
/// Implement it for a model of your own by calling [`Visitor::variable`] for each tensor:
///
/// ```
/// use tch_tensorboard::{NamedTensors, Result, Role, Visitor};
///
/// struct Perceptron {
///     weight: Vec<f32>,
///     bias: Vec<f32>,
/// }
///
/// impl NamedTensors for Perceptron {
///     fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
///         visitor.variable("perceptron.weight", &self.weight, Role::Trainable);
///         visitor.variable("perceptron.bias", &self.bias, Role::Trainable);
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name its tensors: pass the VarStore, as in \
        `logger.log_weights(&vs, step)`",
    label = "neither a VarStore nor another source of named tensors",
    note = "a part of a store is `SubStore::new(&vs, \"encoder\")` in place of a `Path`, and \
        tensors of your own are pairs `(\"name\", &tensor)` or a map of them",
    note = "for a model that keeps its tensors itself, implement `NamedTensors`"
)]
pub trait NamedTensors {
    /// Shows each tensor once to the visitor, in any order; the same order at each call is fastest.
    /// Values are copied in the call: nothing is kept of them. May be called more than once a step.
    ///
    /// # Errors
    /// What keeps the source from being read (a store that another thread holds).
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()>;
}

/// Receives the tensors of a [`NamedTensors`].
pub struct Visitor<'a> {
    sink: &'a mut dyn VariableSink,
    #[cfg_attr(not(feature = "tch"), expect(dead_code, reason = "stores are tch's"))]
    store_wait: &'a mut StoreWait,
}

/// How long a store that another thread holds may be waited for, and how long that was.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(not(feature = "tch"), expect(dead_code, reason = "stores are tch's"))]
pub(crate) struct StoreWait {
    pub(crate) patience: Duration,
    pub(crate) waited: Duration,
}

/// The part in training that a source reports for a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) role: Role,
    /// Whether its store gives it to optimizers; `None` where there is no store.
    pub(crate) is_member: Option<bool>,
}

/// What receives the tensors behind a [`Visitor`].
pub(crate) trait VariableSink {
    /// `membership` is `None` for a variable of a known store: see [`VariableSink::knows_store`].
    fn variable(&mut self, name: &str, source: &dyn ElementSource, membership: Option<Membership>);

    /// True when the roles of the store of this identity and size are known, so that the source
    /// need not find out again.
    #[cfg_attr(not(feature = "tch"), expect(dead_code, reason = "stores are tch's"))]
    fn knows_store(&mut self, store: StoreIdentity) -> bool;
}

/// A variable store as it was: its address, how many variables it names, how many it gives to
/// optimizers.
pub(crate) type StoreIdentity = (usize, usize, usize);

impl<'a> Visitor<'a> {
    pub(crate) fn new(
        sink: &'a mut dyn VariableSink,
        store_wait: &'a mut StoreWait,
    ) -> Visitor<'a> {
        Visitor { sink, store_wait }
    }

    /// Shows one tensor. Names must be unique within one call; they are kept as they are and sorted
    /// naturally.
    pub fn variable<V: Values + ?Sized>(&mut self, name: &str, values: &V, role: Role) {
        let membership = Membership {
            role,
            is_member: None,
        };
        let source = values.source();
        self.sink
            .variable(name, source.elements(), Some(membership));
    }

    /// Shows the elements of a source of this crate's own.
    #[cfg(feature = "checkpoint")]
    pub(crate) fn elements(&mut self, name: &str, source: &dyn ElementSource, role: Role) {
        let membership = Membership {
            role,
            is_member: None,
        };
        self.sink.variable(name, source, Some(membership));
    }

    #[cfg(feature = "tch")]
    pub(crate) fn store_variable(
        &mut self,
        name: &str,
        source: &dyn ElementSource,
        membership: Option<Membership>,
    ) {
        self.sink.variable(name, source, membership);
    }

    #[cfg(feature = "tch")]
    pub(crate) fn store_wait(&mut self) -> &mut StoreWait {
        self.store_wait
    }

    #[cfg(feature = "tch")]
    pub(crate) fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.sink.knows_store(store)
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<S: NamedTensors + ?Sized> NamedTensors for $pointer {
            fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
                (**self).visit(visitor)
            }
        }
    )*};
}
pointers!(&S, &mut S, Box<S>, Rc<S>, Arc<S>);

macro_rules! tuples {
    ($(($($source:ident),*))*) => {$(
        impl<$($source: NamedTensors),*> NamedTensors for ($($source,)*) {
            fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
                #[allow(non_snake_case, reason = "a variable for each type")]
                let ($($source,)*) = self;
                $($source.visit(visitor)?;)*
                Ok(())
            }
        }
    )*};
}
// A pair may be a name with its values: see the stores of tch for other pairs.
tuples!((A, B, C)(A, B, C, D)(A, B, C, D, E));

/// Logged in full, whether it requires a gradient or not: it was pointed at.
// Else the compiler asks for `AsRef<str>` wherever a pair is wrong.
#[diagnostic::do_not_recommend]
impl<N: AsRef<str>, V: Values> NamedTensors for (N, V) {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable(self.0.as_ref(), &self.1, Role::Trainable);
        Ok(())
    }
}

impl<S: NamedTensors> NamedTensors for [S] {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.iter().try_for_each(|source| source.visit(visitor))
    }
}

impl<S: NamedTensors> NamedTensors for Vec<S> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.as_slice().visit(visitor)
    }
}

impl<S: NamedTensors, const N: usize> NamedTensors for [S; N] {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.as_slice().visit(visitor)
    }
}

impl<N: AsRef<str>, V: Values, H: BuildHasher> NamedTensors for HashMap<N, V, H> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.iter()
            .for_each(|(name, values)| visitor.variable(name.as_ref(), values, Role::Trainable));
        Ok(())
    }
}

impl<N: AsRef<str>, V: Values> NamedTensors for BTreeMap<N, V> {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        self.iter()
            .for_each(|(name, values)| visitor.variable(name.as_ref(), values, Role::Trainable));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Names(Vec<String>);

    impl VariableSink for Names {
        fn variable(&mut self, name: &str, _: &dyn ElementSource, _: Option<Membership>) {
            self.0.push(name.to_owned());
        }
        fn knows_store(&mut self, _: StoreIdentity) -> bool {
            false
        }
    }

    fn names<S: NamedTensors + ?Sized>(source: &S) -> Vec<String> {
        let mut names = Names::default();
        let mut wait = StoreWait::default();
        let visited = source.visit(&mut Visitor::new(&mut names, &mut wait));
        visited.expect("nothing is locked");
        names.0
    }

    #[test]
    fn tuples_and_pointers_show_what_they_hold_in_order() {
        let shared: Rc<(&str, Vec<f32>)> = Rc::new(("b", vec![1.0]));
        let mut changing = [("c", Arc::new([2.0_f64]))];
        let mixed = (("a", &[0_u8]), shared.clone(), &mut changing, shared);
        assert_eq!(names(&mixed), ["a", "b", "c", "b"]);
        let sources: Arc<[Box<dyn NamedTensors>]> =
            [Box::new(("d", [true])) as Box<dyn NamedTensors>].into();
        assert_eq!(names(&sources), ["d"]);
    }
}
