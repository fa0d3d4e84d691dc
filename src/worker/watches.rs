//! The models that the worker watches, by the numbers that callers know them by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::analysis::watch::Watch;
use crate::capture::Subject;
use crate::capture::buffer::Pool;
use crate::report::diagnosis::Elsewhere;

/// The weights or the gradients of one scope of a run.
pub(crate) struct Watched {
    pub(crate) run: u32,
    pub(crate) watch: Watch,
    pub(crate) pool: Arc<Pool>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Watches {
    all: BTreeMap<u32, Watched>,
    /// The weights of each run and scope.
    weights: HashMap<(u32, Arc<str>), u32>,
}

impl Watches {
    pub(crate) fn insert(&mut self, number: u32, watched: Watched) {
        if watched.watch.subject() == Subject::Weights {
            let key = (watched.run, watched.watch.scope().clone());
            self.weights.insert(key, number);
        }
        self.all.insert(number, watched);
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Watched> {
        self.all.get_mut(&number)
    }

    /// The weights beside the gradients of this number.
    pub(crate) fn weights_beside(&mut self, gradients: u32) -> Option<&mut Watched> {
        let watched = self.all.get(&gradients)?;
        if watched.watch.subject() != Subject::Gradients {
            return None;
        }
        let key = (watched.run, watched.watch.scope().clone());
        self.all.get_mut(self.weights.get(&key)?)
    }

    /// What the other scopes of a watch's run are like.
    pub(crate) fn elsewhere(&self, number: u32) -> Elsewhere {
        let Some(own) = self.all.get(&number) else {
            return Elsewhere::default();
        };
        let signature = own.watch.identity().map(|(_, signature)| signature);
        let first = own.watch.first_elements();
        let others = self
            .all
            .iter()
            .filter(|(other, watched)| **other != number && watched.run == own.run);
        let mut elsewhere = Elsewhere::default();
        for (_, other) in others {
            let Some((has_gradients, identity)) = other.watch.identity() else {
                continue;
            };
            let is_twin = has_gradients && Some(identity) == signature;
            elsewhere.has_gradients |= has_gradients;
            elsewhere.has_twin |= is_twin;
            elsewhere.has_copy |= is_twin && are_near(first, other.watch.first_elements());
        }
        elsewhere
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Watched> {
        self.all.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Watched)> {
        self.all
            .iter_mut()
            .map(|(number, watched)| (*number, watched))
    }

    /// Those of weights, of one run or of all.
    pub(crate) fn weights(&self, only: Option<u32>) -> impl Iterator<Item = &Watched> {
        let is_meant = move |watched: &&Watched| {
            only.is_none_or(|only| only == watched.run)
                && watched.watch.subject() == Subject::Weights
        };
        self.all.values().filter(is_meant)
    }
}
/// Whether a few elements of a model began next to those of another.
fn are_near(one: &[f64], other: &[f64]) -> bool {
    const NEAR: f64 = 0.5;
    let apart = std::iter::zip(one, other).map(|(one, other)| (one - other) * (one - other));
    let size: f64 = one.iter().map(|one| one * one).sum();
    size > 0.0 && one.len() == other.len() && apart.sum::<f64>() < NEAR * NEAR * size
}
