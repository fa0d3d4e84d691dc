//! The pass over a source that makes a plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::capture::plan::{Followed, Plan, SourceVariable, Tie};
use crate::capture::planned::{Order, Planned, SourceSlot};
use crate::error::{Error, Result};
use crate::model::subject::Subject;
use crate::model::variable_info::{Role, VariableInfo};
use crate::options::Selection;
use crate::source::element_source::{ElementLayout, ElementSource, Peek};
use crate::source::named_tensors::{Membership, StoreIdentity, VariableSink};

/// Collects what a source has.
pub(crate) struct Planner<'a> {
    subject: Subject,
    selection: &'a Selection,
    followed: &'a Followed,
    sample_limit: Option<usize>,
    found: Vec<SourceVariable>,
    layouts: HashMap<Arc<str>, ElementLayout>,
    order: Vec<(Arc<str>, SourceSlot)>,
    stores: Vec<StoreIdentity>,
    /// The names of what lies in the same memory.
    storages: HashMap<(usize, usize), Vec<Arc<str>>>,
    /// Of the variables that cannot be logged, why.
    unsupported: Vec<Error>,
    error: Option<Error>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        subject: Subject,
        selection: &'a Selection,
        followed: &'a Followed,
        sample_limit: Option<usize>,
    ) -> Planner<'a> {
        Planner {
            subject,
            selection,
            followed,
            sample_limit,
            found: Vec::new(),
            layouts: HashMap::new(),
            order: Vec::new(),
            stores: Vec::new(),
            storages: HashMap::new(),
            unsupported: Vec::new(),
            error: None,
        }
    }

    /// The plan for what was seen.
    ///
    /// # Errors
    /// A name twice, or nothing but tensors that cannot be logged.
    pub(crate) fn finish(mut self) -> Result<Planned> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if let ([], Some(unsupported)) = (self.found.as_slice(), self.unsupported.first()) {
            return Err(unsupported.clone());
        }
        tie(&mut self.found, self.storages);
        let mut plan = Plan::new(self.found, self.selection, self.followed, self.sample_limit);
        plan.notes.extend(left_out(&self.unsupported));
        let place = plan
            .variables
            .iter()
            .enumerate()
            .map(|(place, variable)| (variable.name.clone(), place));
        let places: HashMap<Arc<str>, usize> = place.collect();
        let mut order = self.order;
        for (name, slot) in &mut order {
            if let (SourceSlot::Copied(place), Some(&actual)) = (slot, places.get(name)) {
                *place = actual;
            }
        }
        let places = order
            .iter()
            .enumerate()
            .map(|(place, (name, _))| (name.clone(), place));
        let index: HashMap<Arc<str>, usize> = places.collect();
        if index.len() < order.len() {
            let mut seen = HashSet::new();
            let twice = order.iter().find(|(name, _)| !seen.insert(name.clone()));
            let name = twice.map_or("", |(name, _)| name).into();
            return Err(Error::DuplicateVariable { name });
        }
        let in_turn = plan
            .variables
            .iter()
            .map(|variable| self.followed.is_in_turn(&variable.name))
            .collect();
        let mut known = self.layouts;
        let layouts = plan
            .variables
            .iter()
            .filter_map(|variable| known.remove(&variable.name))
            .collect();
        Ok(Planned {
            plan: Arc::new(plan),
            layouts,
            order: Order::new(&order),
            index,
            stores: self.stores,
            in_turn,
        })
    }

    fn add(
        &mut self,
        name: &str,
        source: &dyn ElementSource,
        membership: Membership,
    ) -> Result<()> {
        let is_in_turn = membership.role == Role::Frozen && self.followed.is_in_turn(name);
        let role = if is_in_turn {
            Role::Trainable
        } else {
            membership.role
        };
        if name.is_empty() {
            let reason = "a variable needs a name, which its tags end in";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason: reason.into(),
            });
        }
        let name: Arc<str> = name.into();
        let is_beside = role == Role::Buffer && !self.selection.options.non_trainable;
        // What cannot be watched is not worth a note.
        let left = !self.selection.selects(&name)
            || (is_beside
                && (self.subject == Subject::Gradients || source.inspect(&name).is_err()));
        if left {
            self.order.push((name, SourceSlot::Left(role)));
            return Ok(());
        }
        let layout = match self.layout(&name, source) {
            Ok(Some(layout)) => layout,
            Ok(None) => {
                self.order.push((name, SourceSlot::NoGradient));
                return Ok(());
            }
            // One such parameter is no reason to log nothing of the others.
            Err(unsupported) => {
                self.unsupported.push(unsupported);
                self.order.push((name, SourceSlot::Unsupported));
                return Ok(());
            }
        };
        self.order
            .push((name.clone(), SourceSlot::Copied(self.found.len())));
        self.found.push(SourceVariable {
            name: name.clone(),
            info: VariableInfo {
                dtype: layout.dtype,
                shape: layout.shape.clone(),
                role,
                is_member: membership.is_member,
            },
            is_beside,
            tie: None,
        });
        // A slice that is shown under two names is not a variable under two names.
        if source.requires_grad().is_some()
            && !is_beside
            && let Peek::Bytes(bytes) = source.peek(&layout)
            && !bytes.is_empty()
        {
            let storage = (bytes.as_ptr() as usize, bytes.len());
            self.storages.entry(storage).or_default().push(name.clone());
        }
        self.layouts.insert(name, layout);
        Ok(())
    }

    /// Of what is copied; `None` for a gradient that there is not.
    fn layout(&self, name: &str, source: &dyn ElementSource) -> Result<Option<ElementLayout>> {
        if self.subject == Subject::Weights {
            return source.inspect(name).map(Some);
        }
        let mut layout = Ok(None);
        source.with_gradient(&mut |gradient| {
            layout = gradient.map(|gradient| gradient.inspect(name)).transpose();
        });
        layout
    }
}

/// Says of variables that lie in the same memory that they are one.
fn tie(found: &mut [SourceVariable], storages: HashMap<(usize, usize), Vec<Arc<str>>>) {
    let mut ties: HashMap<Arc<str>, Tie> = HashMap::new();
    for (_, mut names) in storages.into_iter().filter(|(_, names)| names.len() > 1) {
        names.sort_by(|a, b| alphanumeric_sort::compare_str(a, b));
        for (place, name) in names.iter().enumerate() {
            let other = names.get(usize::from(place == 0));
            ties.extend(other.map(|other| {
                let tie = Tie {
                    with: other.clone(),
                    is_second: place > 0,
                };
                (name.clone(), tie)
            }));
        }
    }
    for found in found {
        found.tie = ties.remove(&found.name);
    }
}

/// The variables that are left out named in a note.
const NAMED: usize = 3;

/// A note on variables that cannot be logged; `None` when there are none.
fn left_out(unsupported: &[Error]) -> Option<String> {
    let named: Vec<String> = unsupported
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    let more = match unsupported.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    (!named.is_empty()).then(|| format!("left out: {}{more}", named.join("; ")))
}

impl VariableSink for Planner<'_> {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, membership: Option<Membership>) {
        if self.error.is_none() {
            // A store gives roles whenever it is asked anew, as a planner does.
            let membership = membership.unwrap_or(Membership {
                role: Role::Trainable,
                is_member: None,
            });
            self.error = self.add(name, source, membership).err();
        }
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.stores.push(store);
        false
    }
}
