//! The passes over a source's tensors: planning, copying, and looking at libtorch's write counters.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::named_tensors::{Role, Sink, StoreIdentity};
use crate::options::Selection;
use crate::tensor::{Remote, fetch_remotes};
use crate::values::{Access, Facts, Source};
use crate::weights::capture::Subject;
use crate::weights::plan::{Found, Plan};

/// What becomes of a variable that a source shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Not selected, or a buffer.
    Left(Role),
    /// It had no gradient.
    NoGradient,
    /// The index in the plan.
    Copied(usize),
}

/// A plan, and how a source's variables map to it.
pub(crate) struct Planned {
    pub(crate) plan: Arc<Plan>,
    /// Beside the plan's variables: how each is read.
    facts: Vec<Facts>,
    /// In the order of the source, which seldom changes.
    order: Vec<(Arc<str>, Slot)>,
    index: HashMap<Arc<str>, Slot>,
    stores: Vec<StoreIdentity>,
}

/// Collects what a source has.
pub(crate) struct Planner<'a> {
    subject: Subject,
    selection: &'a Selection,
    found: Vec<Found>,
    facts: HashMap<Arc<str>, Facts>,
    order: Vec<(Arc<str>, Slot)>,
    stores: Vec<StoreIdentity>,
    error: Option<Error>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(subject: Subject, selection: &'a Selection) -> Planner<'a> {
        Planner {
            subject,
            selection,
            found: Vec::new(),
            facts: HashMap::new(),
            order: Vec::new(),
            stores: Vec::new(),
            error: None,
        }
    }

    /// The plan for what was seen.
    ///
    /// # Errors
    /// A name twice, or a tensor that cannot be logged.
    pub(crate) fn finish(self, moved: &HashSet<Arc<str>>) -> Result<Planned> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let plan = Plan::new(self.found, self.selection, moved);
        let place = plan
            .variables
            .iter()
            .enumerate()
            .map(|(place, variable)| (variable.name.clone(), place));
        let places: HashMap<Arc<str>, usize> = place.collect();
        let mut order = self.order;
        for (name, slot) in &mut order {
            if let (Slot::Copied(place), Some(&actual)) = (slot, places.get(name)) {
                *place = actual;
            }
        }
        let index: HashMap<Arc<str>, Slot> = order.iter().cloned().collect();
        if index.len() < order.len() {
            let mut seen = HashSet::new();
            let twice = order.iter().find(|(name, _)| !seen.insert(name.clone()));
            let name = twice.map_or("", |(name, _)| name).into();
            return Err(Error::DuplicateVariable { name });
        }
        let mut known = self.facts;
        let facts = plan
            .variables
            .iter()
            .filter_map(|variable| known.remove(&variable.name))
            .collect();
        Ok(Planned {
            plan: Arc::new(plan),
            facts,
            order,
            index,
            stores: self.stores,
        })
    }

    fn add(&mut self, name: &str, source: &Source<'_>, role: Role) -> Result<()> {
        let name: Arc<str> = name.into();
        let left = !self.selection.selects(&name)
            || (role == Role::Buffer && !self.selection.options.non_trainable);
        if left {
            self.order.push((name, Slot::Left(role)));
            return Ok(());
        }
        let facts = match self.subject {
            Subject::Weights => source.inspect(&name)?,
            Subject::Gradients => match source.gradient() {
                Some(gradient) => Source::Tensor(&gradient).inspect(&name)?,
                None => {
                    self.order.push((name, Slot::NoGradient));
                    return Ok(());
                }
            },
        };
        self.order
            .push((name.clone(), Slot::Copied(self.found.len())));
        self.found.push(Found {
            name: name.clone(),
            dtype: facts.dtype,
            shape: facts.shape.clone(),
            role,
        });
        self.facts.insert(name, facts);
        Ok(())
    }
}

impl Sink for Planner<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, role: Option<Role>) {
        if self.error.is_none() {
            // A store gives roles whenever it is asked anew, as a planner does.
            self.error = self
                .add(name, &source, role.unwrap_or(Role::Trainable))
                .err();
        }
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.stores.push(store);
        false
    }
}

/// Follows a source through a plan: finds each variable's place and notices when the plan does not fit any more.
struct Walk<'a> {
    subject: Subject,
    planned: &'a Planned,
    /// Variables seen.
    seen: usize,
    stores: usize,
    /// The source is not what the plan says.
    stale: bool,
    /// Sum of libtorch's write counters, `None` when some tensor has none.
    version: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(subject: Subject, planned: &'a Planned) -> Walk<'a> {
        Walk {
            subject,
            planned,
            seen: 0,
            stores: 0,
            stale: false,
            version: Some(0),
        }
    }

    /// The place in the plan, `None` for a variable that is left out or when the plan is stale.
    fn place(&mut self, name: &str, source: &Source<'_>, role: Option<Role>) -> Option<usize> {
        if self.stale {
            return None;
        }
        let slot = match self.planned.order.get(self.seen) {
            Some((expected, slot)) if **expected == *name => Some(*slot),
            _ => self.planned.index.get(name).copied(),
        };
        self.seen += 1;
        let planned = match slot {
            Some(Slot::Copied(place)) => self
                .planned
                .plan
                .variables
                .get(place)
                .map(|variable| variable.role),
            Some(Slot::Left(role)) => Some(role),
            Some(Slot::NoGradient) => None,
            None => {
                self.stale = true;
                return None;
            }
        };
        if let Some(planned) = planned {
            self.stale = !keeps_role(planned, source, role);
        }
        if slot == Some(Slot::NoGradient) {
            self.stale = source.gradient().is_some();
        }
        match slot {
            Some(Slot::Copied(place)) if !self.stale => Some(place),
            _ => None,
        }
    }

    fn add_version(&mut self, version: Option<u64>) {
        // A plain sum: counters only go up, and the order of a map does not matter.
        self.version = self
            .version
            .zip(version)
            .map(|(sum, version)| sum.wrapping_add(version));
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        let known = self.planned.stores.get(self.stores) == Some(&store);
        self.stores += 1;
        known
    }

    fn is_complete(&self) -> bool {
        !self.stale && self.seen == self.planned.order.len()
    }
}

/// True when the variable has the role it was planned with. A store that is known gives no role: then the switch that
/// `freeze` and `unfreeze` turn is looked at.
fn keeps_role(planned: Role, source: &Source<'_>, role: Option<Role>) -> bool {
    match role {
        Some(role) => role == planned,
        None => source
            .requires_grad()
            .is_none_or(|tracked| tracked == (planned == Role::Trainable)),
    }
}

/// Sums libtorch's write counters without copying anything.
pub(crate) struct Versions<'a> {
    walk: Walk<'a>,
}

impl<'a> Versions<'a> {
    pub(crate) fn new(subject: Subject, planned: &'a Planned) -> Versions<'a> {
        Versions {
            walk: Walk::new(subject, planned),
        }
    }

    /// `None` when the plan is stale or a tensor keeps no counter: then every call is taken as a step.
    pub(crate) fn finish(self) -> Option<u64> {
        if self.walk.is_complete() {
            self.walk.version
        } else {
            None
        }
    }
}

impl Sink for Versions<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, role: Option<Role>) {
        let Some(place) = self.walk.place(name, &source, role) else {
            return;
        };
        let version = self.walk.planned.version(place, &source);
        self.walk.add_version(version);
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}

impl Planned {
    fn version(&self, place: usize, source: &Source<'_>) -> Option<u64> {
        source.version(self.facts.get(place)?)
    }
}

/// Copies every planned variable to its place in the buffer.
pub(crate) struct Copier<'a> {
    walk: Walk<'a>,
    target: &'a mut [u8],
    /// What lies on another device is fetched at the end, in few pieces.
    remotes: Vec<Remote>,
    error: Option<Error>,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(subject: Subject, planned: &'a Planned, target: &'a mut [u8]) -> Copier<'a> {
        Copier {
            walk: Walk::new(subject, planned),
            target,
            remotes: Vec::new(),
            error: None,
        }
    }

    /// The sum of write counters, or `None` when the plan is stale and the buffer is worthless.
    ///
    /// # Errors
    /// A tensor that libtorch cannot copy.
    pub(crate) fn finish(self) -> Result<Option<Option<u64>>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.walk.is_complete() {
            return Ok(None);
        }
        fetch_remotes(self.remotes, self.target)?;
        Ok(Some(self.walk.version))
    }

    fn copy(&mut self, place: usize, source: &Source<'_>) -> Result<()> {
        let planned = self.walk.planned;
        let Some(variable) = planned.plan.variables.get(place) else {
            return Ok(());
        };
        let (Some(facts), Some(target)) = (
            planned.facts.get(place),
            self.target.get_mut(variable.bytes()),
        ) else {
            self.walk.stale = true;
            return Ok(());
        };
        let gradient = match self.walk.subject {
            Subject::Weights => None,
            Subject::Gradients => Some(source.gradient()),
        };
        let source = match &gradient {
            None => source,
            Some(Some(gradient)) => &Source::Tensor(gradient),
            Some(None) => {
                self.walk.stale = true;
                return Ok(());
            }
        };
        let (name, steps) = (&*variable.name, variable.extent.steps());
        if facts.access == Access::Remote {
            let remote = source.remote(name, facts, steps, variable.bytes())?;
            self.walk.stale |= remote.is_none();
            self.remotes.extend(remote);
        } else {
            self.walk.stale |= !source.copy(name, facts, steps, target)?;
        }
        Ok(())
    }
}

impl Sink for Copier<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, role: Option<Role>) {
        if self.error.is_some() {
            return;
        }
        let Some(place) = self.walk.place(name, &source, role) else {
            return;
        };
        self.error = self.copy(place, &source).err();
        let version = self.walk.planned.version(place, &source);
        self.walk.add_version(version);
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}
