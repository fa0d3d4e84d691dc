//! The passes over a source's tensors: planning, copying, and looking whether anything moved.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::capture::Subject;
use crate::capture::plan::{Followed, Found, Plan, Tie, Variable};
use crate::error::{Error, Result};
use crate::options::Selection;
use crate::source::named_tensors::{Role, Sink, Standing, StoreIdentity};
use crate::source::values::{Access, Facts, Glance, Look, Source, Way, equals};
use crate::tensor::{Glimpser, Remote, fetch_remotes};

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
    order: Order,
    /// Places in `order`.
    index: HashMap<Arc<str>, usize>,
    stores: Vec<StoreIdentity>,
    /// Beside the plan's variables: whether it is trained and frozen in turn, so that a role says nothing.
    in_turn: Vec<bool>,
}

/// The variables in the order of the source, which seldom changes.
///
/// The names lie one behind the other in memory that is the caller's alone. Those of the plan lie beside counters that the
/// worker writes to whenever it hands a name on, so that comparing them would wait for its core once a variable.
struct Order {
    names: String,
    /// Where each name ends, and what becomes of its variable.
    slots: Vec<(usize, Slot)>,
}

impl Order {
    fn new(variables: &[(Arc<str>, Slot)]) -> Order {
        let mut names = String::new();
        let slots = variables.iter().map(|(name, slot)| {
            names.push_str(name);
            (names.len(), *slot)
        });
        Order {
            slots: slots.collect(),
            names,
        }
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn slot(&self, place: usize) -> Option<Slot> {
        self.slots.get(place).map(|&(_, slot)| slot)
    }

    fn name(&self, place: usize) -> Option<&str> {
        let start = match place.checked_sub(1) {
            Some(before) => self.slots.get(before)?.0,
            None => 0,
        };
        self.names.get(start..self.slots.get(place)?.0)
    }
}

/// Collects what a source has.
pub(crate) struct Planner<'a> {
    subject: Subject,
    selection: &'a Selection,
    followed: &'a Followed,
    found: Vec<Found>,
    facts: HashMap<Arc<str>, Facts>,
    order: Vec<(Arc<str>, Slot)>,
    stores: Vec<StoreIdentity>,
    /// The names of what lies in the same memory.
    storages: HashMap<(usize, usize), Vec<Arc<str>>>,
    error: Option<Error>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        subject: Subject,
        selection: &'a Selection,
        followed: &'a Followed,
    ) -> Planner<'a> {
        Planner {
            subject,
            selection,
            followed,
            found: Vec::new(),
            facts: HashMap::new(),
            order: Vec::new(),
            stores: Vec::new(),
            storages: HashMap::new(),
            error: None,
        }
    }

    /// The plan for what was seen.
    ///
    /// # Errors
    /// A name twice, or a tensor that cannot be logged.
    pub(crate) fn finish(mut self, followed: &Followed) -> Result<Planned> {
        if let Some(error) = self.error {
            return Err(error);
        }
        tie(&mut self.found, self.storages);
        let plan = Plan::new(self.found, self.selection, followed);
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
            .map(|variable| followed.is_in_turn(&variable.name))
            .collect();
        let mut known = self.facts;
        let facts = plan
            .variables
            .iter()
            .filter_map(|variable| known.remove(&variable.name))
            .collect();
        Ok(Planned {
            plan: Arc::new(plan),
            facts,
            order: Order::new(&order),
            index,
            stores: self.stores,
            in_turn,
        })
    }

    fn add(&mut self, name: &str, source: &Source<'_>, standing: Standing) -> Result<()> {
        let is_in_turn = standing.role == Role::Frozen && self.followed.is_in_turn(name);
        let standing = Standing {
            role: if is_in_turn {
                Role::Trainable
            } else {
                standing.role
            },
            ..standing
        };
        let role = standing.role;
        if name.is_empty() {
            let reason = "a variable needs a name, which its tags end in";
            return Err(Error::InvalidTag {
                tag: name.into(),
                reason,
            });
        }
        let name: Arc<str> = name.into();
        let is_beside = role == Role::Buffer && !self.selection.options.non_trainable;
        // What cannot be watched is not worth an error.
        let left = !self.selection.selects(&name)
            || (is_beside
                && (self.subject == Subject::Gradients || source.inspect(&name).is_err()));
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
            standing,
            is_beside,
            tie: None,
        });
        // A slice that is shown under two names is not a variable under two names.
        if let Source::Tensor(_) = source
            && let Glance::Bytes(bytes) = source.glance(&facts)
            && !bytes.is_empty()
            && !is_beside
        {
            let storage = (bytes.as_ptr() as usize, bytes.len());
            self.storages.entry(storage).or_default().push(name.clone());
        }
        self.facts.insert(name, facts);
        Ok(())
    }
}

/// Says of variables that lie in the same memory that they are one.
fn tie(found: &mut [Found], storages: HashMap<(usize, usize), Vec<Arc<str>>>) {
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

impl Sink for Planner<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, standing: Option<Standing>) {
        if self.error.is_none() {
            // A store gives roles whenever it is asked anew, as a planner does.
            let standing = standing.unwrap_or(Standing {
                role: Role::Trainable,
                is_member: None,
            });
            self.error = self.add(name, &source, standing).err();
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
    /// Beside the plan's order, from the first variable on that came out of it: which ones were seen.
    marked: Option<Vec<bool>>,
    stores: usize,
    /// Made of where the stores lie.
    owners: usize,
    /// The source is not what the plan says.
    stale: bool,
}

impl<'a> Walk<'a> {
    fn new(subject: Subject, planned: &'a Planned) -> Walk<'a> {
        Walk {
            subject,
            planned,
            seen: 0,
            marked: None,
            stores: 0,
            owners: 0,
            stale: false,
        }
    }

    /// The place in the plan, `None` for a variable that is left out or when the plan is stale.
    fn place(
        &mut self,
        name: &str,
        source: &Source<'_>,
        standing: Option<Standing>,
    ) -> Option<usize> {
        if self.stale {
            return None;
        }
        let slot = self.slot(name);
        self.seen += 1;
        let planned = match slot {
            Some(Slot::Copied(place)) => self
                .planned
                .plan
                .variables
                .get(place)
                .filter(|_| self.planned.in_turn.get(place) != Some(&true))
                .map(|variable| variable.standing.role),
            Some(Slot::Left(role)) => Some(role),
            Some(Slot::NoGradient) => None,
            None => {
                self.stale = true;
                return None;
            }
        };
        if let Some(planned) = planned {
            self.stale = !keeps_role(planned, source, standing.map(|standing| standing.role));
        }
        if slot == Some(Slot::NoGradient) {
            self.stale = source.gradient().is_some();
        }
        match slot {
            Some(Slot::Copied(place)) if !self.stale => Some(place),
            _ => None,
        }
    }

    /// What the plan has for a variable; `None` for one that it does not know or that was seen in this walk already.
    fn slot(&mut self, name: &str) -> Option<Slot> {
        let order = &self.planned.order;
        if self.marked.is_none() {
            match order.name(self.seen) {
                Some(expected) if expected == name => return order.slot(self.seen),
                _ => self.marked = Some((0..order.len()).map(|place| place < self.seen).collect()),
            }
        }
        let place = *self.planned.index.get(name)?;
        let mark = self.marked.as_mut()?.get_mut(place)?;
        let is_new = !std::mem::replace(mark, true);
        order.slot(place).filter(|_| is_new)
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        let known = self.planned.stores.get(self.stores) == Some(&store);
        self.stores += 1;
        self.owners = self.owners.rotate_left(7) ^ store.0;
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

impl Planned {
    /// Whether a variable of the plan says nothing of steps.
    fn is_beside(&self, place: usize) -> bool {
        let variable = self.plan.variables.get(place);
        variable.is_some_and(|variable| variable.is_beside)
    }

    /// How a variable of the plan is read, and where its elements lie in a buffer.
    fn variable(&self, place: usize) -> Option<(&Variable, &Facts)> {
        self.plan.variables.get(place).zip(self.facts.get(place))
    }
}

/// Compares the tensors with the newest copy of them, up to the first difference.
///
/// libtorch's own write counters cannot tell: its SGD, among others, writes through an alias that counts for itself.
pub(crate) struct Comparer<'a> {
    walk: Walk<'a>,
    copy: &'a [u8],
    /// Some variable differs, or cannot be seen without copying it.
    ended: bool,
}

impl<'a> Comparer<'a> {
    pub(crate) fn new(subject: Subject, planned: &'a Planned, copy: &'a [u8]) -> Comparer<'a> {
        Comparer {
            walk: Walk::new(subject, planned),
            copy,
            ended: false,
        }
    }

    /// True when every variable was seen to be as it was.
    pub(crate) fn finish(self) -> bool {
        !self.ended && self.walk.is_complete()
    }

    fn is_same(&self, place: usize, source: &Source<'_>) -> bool {
        let Some((variable, facts)) = self.walk.planned.variable(place) else {
            return false;
        };
        match (source.glance(facts), self.copy.get(variable.bytes())) {
            (Glance::Bytes(bytes), Some(copy)) => {
                equals(bytes, facts.dtype.size(), variable.extent.steps(), copy)
            }
            _ => false,
        }
    }
}

impl Sink for Comparer<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, standing: Option<Standing>) {
        if self.ended {
            return;
        }
        match self.walk.place(name, &source, standing) {
            Some(place) if self.walk.planned.is_beside(place) => {}
            Some(place) => self.ended = !self.is_same(place, &source),
            None => self.ended = self.walk.stale,
        }
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}

/// Elements of each variable that a fingerprint is made of.
const PRINTED_ELEMENTS: usize = 16;

/// Makes one number of a few elements of each variable: it costs next to nothing and changes when a model trains.
pub(crate) struct Fingerprint<'a> {
    walk: Walk<'a>,
    /// `None` when some variable cannot be seen without copying it.
    print: Option<u64>,
}

impl<'a> Fingerprint<'a> {
    pub(crate) fn new(subject: Subject, planned: &'a Planned) -> Fingerprint<'a> {
        Fingerprint {
            walk: Walk::new(subject, planned),
            print: Some(0),
        }
    }

    pub(crate) fn finish(self) -> Option<u64> {
        self.print.filter(|_| self.walk.is_complete())
    }

    fn of(&self, place: usize, source: &Source<'_>) -> Option<u64> {
        let (_, facts) = self.walk.planned.variable(place)?;
        let Glance::Bytes(bytes) = source.glance(facts) else {
            return None;
        };
        let size = facts.dtype.size();
        let stride = (bytes.len() / size).div_ceil(PRINTED_ELEMENTS).max(1);
        // Odd factors mix as in FNV-1a; the place makes two variables that swap their elements differ.
        let mix = |print: u64, word: u64| {
            (print ^ word)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29)
        };
        let word = |element: &[u8]| {
            element
                .iter()
                .fold(0, |word: u64, &byte| word << 8 | u64::from(byte))
        };
        let elements = bytes.chunks_exact(size).step_by(stride).map(word);
        Some(elements.fold(mix(0, place as u64), mix))
    }
}

impl Sink for Fingerprint<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, standing: Option<Standing>) {
        let Some(place) = self.walk.place(name, &source, standing) else {
            return;
        };
        if self.walk.planned.is_beside(place) {
            return;
        }
        // A sum does not mind the order in which a map shows its variables.
        self.print = self
            .print
            .zip(self.of(place, &source))
            .map(|(sum, print)| sum.wrapping_add(print));
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}

/// Gradients that one call looks at, in turn: looking at those of hundreds of small variables would take longer than copying
/// them, and a verdict looks back over many calls.
const GLIMPSES: usize = 64;

/// Copies every planned variable to its place in the buffer.
pub(crate) struct Copier<'a> {
    walk: Walk<'a>,
    target: &'a mut [u8],
    way: Way,
    /// Beside the plan's variables.
    looks: &'a mut Vec<Look>,
    /// The first variable whose gradient is looked at.
    glimpse_from: usize,
    glimpser: Glimpser,
    /// What lies on another device is fetched at the end, in few pieces.
    remotes: Vec<Remote>,
    error: Option<Error>,
}

impl<'a> Copier<'a> {
    /// `call` counts the copies.
    pub(crate) fn new(
        subject: Subject,
        planned: &'a Planned,
        way: Way,
        call: u64,
        (target, looks): (&'a mut [u8], &'a mut Vec<Look>),
    ) -> Copier<'a> {
        looks.clear();
        let variables = planned.plan.variables.len();
        if subject == Subject::Weights {
            looks.resize(variables, Look::default());
        }
        Copier {
            walk: Walk::new(subject, planned),
            target,
            way,
            looks,
            glimpse_from: (call as usize).wrapping_mul(GLIMPSES) % variables.max(1),
            glimpser: Glimpser::new(call),
            remotes: Vec::new(),
            error: None,
        }
    }

    /// Tells the stores apart that were copied from.
    pub(crate) fn owners(&self) -> usize {
        self.walk.owners
    }

    /// False when the plan is stale and the buffer worthless.
    ///
    /// # Errors
    /// A tensor that libtorch cannot copy.
    pub(crate) fn finish(self) -> Result<bool> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.walk.is_complete() {
            return Ok(false);
        }
        fetch_remotes(self.remotes, self.target)?;
        self.glimpser.finish(self.looks);
        Ok(true)
    }

    /// Looks whether a gradient is required, and at the gradient when it is the variable's turn: also at one of a variable that
    /// requires none, since a new one shows that it did in between.
    fn look(&mut self, place: usize, source: &Source<'_>) {
        let Source::Tensor(tensor) = source else {
            return;
        };
        let variables = self.looks.len();
        let turn = (place + variables).saturating_sub(self.glimpse_from) % variables.max(1);
        let Some((variable, facts)) = self.walk.planned.variable(place) else {
            return;
        };
        let Some(look) = self.looks.get_mut(place) else {
            return;
        };
        look.required = source.requires_grad();
        if turn < GLIMPSES && variable.standing.role != Role::Buffer {
            look.glimpse = self.glimpser.look(place, tensor, facts);
        }
    }

    fn copy(&mut self, place: usize, source: &Source<'_>) -> Result<()> {
        let planned = self.walk.planned;
        let Some((variable, facts)) = planned.variable(place) else {
            return Ok(());
        };
        let Some(target) = self.target.get_mut(variable.bytes()) else {
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
            self.walk.stale |= !source.copy(name, facts, steps, self.way, target)?;
        }
        Ok(())
    }
}

impl Sink for Copier<'_> {
    fn variable(&mut self, name: &str, source: Source<'_>, standing: Option<Standing>) {
        if self.error.is_some() {
            return;
        }
        let Some(place) = self.walk.place(name, &source, standing) else {
            return;
        };
        // To move what is no error would wait for the bytes that were just stored.
        if let Err(error) = self.copy(place, &source) {
            self.error = Some(error);
        }
        if self.walk.subject == Subject::Weights {
            self.look(place, &source);
        }
    }

    fn knows_store(&mut self, store: StoreIdentity) -> bool {
        self.walk.knows_store(store)
    }
}
