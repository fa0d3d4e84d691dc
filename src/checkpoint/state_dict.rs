//! From the graph of a pickle to named tensors: which part is the model, and what its tensors are
//! called.

use std::collections::{HashMap, HashSet};

use crate::checkpoint::checkpoint_tensor::CheckpointTensor;
use crate::checkpoint::contents::Contents;
use crate::checkpoint::pickle::{Graph, Node, NodeId};
use crate::checkpoint::rebuild::{Rebuilder, Storages};

/// What trainers call the model's part of a checkpoint, more likely ones first.
const MODEL_KEYS: [&str; 13] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "generator",
    "params",
    "params_ema",
    "weights",
    "ema",
    "state",
];

/// What trainers call the step, more exact ones first.
pub(super) const STEP_KEYS: [&str; 11] = [
    "global_step",
    "step",
    "steps",
    "iteration",
    "iter",
    "iter_num",
    "current_iter",
    "num_updates",
    "global_steps",
    "it",
    "epoch",
];

/// Parts that are left out and named, one by one.
const MOST_NOTES: usize = 20;

/// Parts inside parts.
const DEEPEST: usize = 100;
/// Values looked at: a list that holds one list ten times, which holds another ten times, is small
/// in a file.
const MOST_VISITS: usize = 4_000_000;
/// Entries of a dictionary that are compared with a key at the price of one visit.
const ENTRIES_A_VISIT: usize = 16;
const MOST_TENSORS: usize = 1 << 18;
/// Memory for names, shapes and reasons of tensors: 500 bytes for each of [`MOST_TENSORS`]. A key
/// of megabytes that holds a thousand tensors is small in a file, and part of each of their names.
const MOST_NAMED: usize = 128 << 20;

/// The tensors of the part that is the model, or of the part of this name.
///
/// # Errors
/// The reason.
pub(super) fn read(
    graph: &Graph,
    root: NodeId,
    storages: &dyn Storages,
    part: Option<&str>,
) -> Result<Contents, String> {
    let mut collector = Collector {
        rebuilder: Rebuilder { graph, storages },
        visits: 0,
        tensors: 0,
        named: Some(Named::default()),
        path: Vec::new(),
        under_way: HashSet::new(),
        barren: HashSet::new(),
    };
    let mut contents = Contents {
        step: step(graph, root),
        ..Contents::default()
    };
    let root = match part {
        Some(part) => at_path(graph, root, part)?,
        None => collector.model(root, &mut contents.notes)?,
    };
    collector.collect(root, 0)?;
    let named = collector.named.unwrap_or_default();
    contents.tensors = unique(named.tensors);
    Ok(contents)
}

/// The value at a path of keys joined by dots.
fn at_path(graph: &Graph, root: NodeId, part: &str) -> Result<NodeId, String> {
    part.split('.').try_fold(root, |at, key| {
        graph.entry(at, key).ok_or_else(|| {
            let entries = graph.as_entries(at).unwrap_or_default();
            let names = entries.iter().filter_map(|(key, _)| graph.as_text(*key));
            let names: Vec<String> = names.take(20).map(clipped).collect();
            format!("has no part {key:?} in {part:?}; there are {names:?}")
        })
    })
}

fn step(graph: &Graph, root: NodeId) -> Option<i64> {
    let value = |key: &&str| graph.as_int(graph.entry(root, key)?);
    STEP_KEYS.iter().find_map(value)
}

/// Two tensors may get one name from keys with dots: all but the first one get a number.
fn unique(tensors: Vec<CheckpointTensor>) -> Vec<CheckpointTensor> {
    let names: HashSet<&str> = tensors.iter().map(CheckpointTensor::name).collect();
    if names.len() == tensors.len() {
        return tensors;
    }
    let mut taken: HashSet<Box<str>> = names.into_iter().map(Box::from).collect();
    let mut counts: HashMap<Box<str>, u32> = HashMap::with_capacity(taken.len());
    let numbered = tensors.into_iter().map(|tensor| {
        let count = counts.entry(tensor.name().into()).or_insert(0);
        *count += 1;
        if *count == 1 {
            return tensor;
        }
        let mut name = format!("{} ({count})", tensor.name());
        while !taken.insert(name.as_str().into()) {
            *count += 1;
            name = format!("{} ({count})", tensor.name());
        }
        tensor.renamed(name)
    });
    numbered.collect()
}

/// The beginning of a text from a file, for a message.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 64;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn counted(tensors: usize) -> String {
    let plural = if tensors == 1 { "" } else { "s" };
    format!("{tensors} tensor{plural}")
}

/// A step from a value to one of its parts. Texts are equal when their nodes are: the graph keeps
/// each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PathPart {
    Text(NodeId),
    Number(i64),
}

/// The tensors so far.
#[derive(Default)]
struct Named {
    tensors: Vec<CheckpointTensor>,
    /// What they take, in bytes.
    spent: usize,
}

struct Collector<'a> {
    rebuilder: Rebuilder<'a>,
    visits: usize,
    /// Found since it was set to zero.
    tensors: usize,
    /// `None` while they are only counted.
    named: Option<Named>,
    /// From the value that names begin at to the current one. Names are made for tensors alone.
    path: Vec<PathPart>,
    /// The values that the current one is a part of: settings refer to each other in circles.
    under_way: HashSet<NodeId>,
    /// Values without tensors, which need not be looked at again.
    barren: HashSet<NodeId>,
}

/// A part of a trainer's checkpoint.
struct ModelPart<'a> {
    name: &'a str,
    value: NodeId,
    tensors: usize,
}

impl<'a> Collector<'a> {
    /// The part that is the model: the value of a key that trainers use, or the only part that has
    /// tensors, or all.
    fn model(&mut self, root: NodeId, notes: &mut Vec<String>) -> Result<NodeId, String> {
        let (mut root, mut path) = (root, String::new());
        for _ in 0..4 {
            let (parts, own) = self.parts(root)?;
            let known = MODEL_KEYS
                .iter()
                .find_map(|key| parts.iter().find(|part| part.name == *key));
            let chosen = match (known, &*parts) {
                (Some(known), _) => known,
                (None, [only]) if own == 0 => only,
                _ => break,
            };
            path = match &*path {
                "" => clipped(chosen.name),
                path => format!("{path}.{}", clipped(chosen.name)),
            };
            let beside = format!("{path:?}, which is taken for the model");
            if own > 0 {
                let own = counted(own);
                notes.push(format!("left out: {own} of its own, beside {beside}"));
            }
            let others = || parts.iter().filter(|part| part.name != chosen.name);
            for part in others().take(MOST_NOTES) {
                let (tensors, name) = (counted(part.tensors), clipped(part.name));
                notes.push(format!(
                    "left out: {tensors} under {name:?}, beside {beside}"
                ));
            }
            let rest = others().count().saturating_sub(MOST_NOTES);
            if rest > 0 {
                notes.push(format!("left out: {rest} more parts beside {beside}"));
            }
            root = chosen.value;
        }
        Ok(root)
    }

    /// The entries of a dictionary that have tensors below them, and how many are tensors
    /// themselves.
    fn parts(&mut self, root: NodeId) -> Result<(Vec<ModelPart<'a>>, usize), String> {
        let (mut parts, mut own) = (Vec::new(), 0);
        let graph = self.rebuilder.graph;
        let entries = graph.as_entries(root).unwrap_or_default();
        for (part, value) in self.last_of_each(&entries) {
            if self.rebuilder.is_tensor(value) {
                own += 1;
                continue;
            }
            let PathPart::Text(name) = part else {
                continue;
            };
            let tensors = self.count(value)?;
            if tensors > 0 {
                let name = graph.as_text(name).unwrap_or_default();
                parts.push(ModelPart {
                    name,
                    value,
                    tensors,
                });
            }
        }
        Ok((parts, own))
    }

    /// Tensors below a value.
    fn count(&mut self, root: NodeId) -> Result<usize, String> {
        let named = self.named.take();
        self.tensors = 0;
        let collected = self.collect(root, 0);
        self.named = named;
        let counted = std::mem::take(&mut self.tensors);
        collected.map(|()| counted)
    }

    fn collect(&mut self, id: NodeId, depth: usize) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MOST_VISITS || self.tensors > MOST_TENSORS {
            return Err("describes more values than a checkpoint can hold".to_owned());
        }
        if depth > DEEPEST || self.barren.contains(&id) || !self.under_way.insert(id) {
            return Ok(());
        }
        let before = self.tensors;
        self.collect_parts(id, depth)?;
        self.under_way.remove(&id);
        if self.tensors == before {
            self.barren.insert(id);
        }
        Ok(())
    }

    fn collect_parts(&mut self, id: NodeId, depth: usize) -> Result<(), String> {
        if self.rebuilder.is_tensor(id) {
            self.tensors += 1;
            return self.add(id);
        }
        let graph = self.rebuilder.graph;
        if let Some(entries) = graph.as_entries(id) {
            for (part, value) in self.last_of_each(&entries) {
                self.collect_part(part, value, depth)?;
            }
            return Ok(());
        }
        match graph.get(id) {
            Node::List(parts) => self.collect_sequence(parts, depth),
            Node::Tuple(parts) => self.collect_sequence(parts, depth),
            Node::Object(object) => {
                self.collect_sequence(&object.items, depth)?;
                match object.state {
                    Some(state) => self.collect_state(state, depth),
                    // What TorchScript wraps its lists and dictionaries into.
                    None => {
                        let name = graph.as_global(object.callable);
                        let arguments = graph.as_sequence(object.arguments).unwrap_or_default();
                        match (name, arguments) {
                            (Some((_, "restore_type_tag")), [inner, ..]) => {
                                self.collect(*inner, depth + 1)
                            }
                            _ => Ok(()),
                        }
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// Adds a tensor by the path to it, unless tensors are only counted.
    fn add(&mut self, id: NodeId) -> Result<(), String> {
        if self.named.is_none() {
            return Ok(());
        }
        let bytes = self.path.iter().map(|part| match part {
            PathPart::Text(text) => self.text(*text).len() + 1,
            PathPart::Number(_) => 20,
        });
        // A name is in the tensor and in two maps.
        self.spend(size_of::<CheckpointTensor>() + 3 * bytes.sum::<usize>())?;
        let name = self.name();
        let Some(tensor) = self.rebuilder.tensor(id) else {
            return Ok(());
        };
        // The shape is in a tensor twice, its strides once.
        let reason = tensor.stored.as_ref().err().map_or(0, String::len);
        self.spend(3 * size_of_val::<[u64]>(&tensor.shape) + reason)?;
        if let Some(named) = &mut self.named {
            named.tensors.push(match tensor.stored {
                Ok(stored) => CheckpointTensor::new(name, stored),
                Err(reason) => CheckpointTensor::unreadable(name, tensor.shape, &reason),
            });
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        let Some(named) = &mut self.named else {
            return Ok(());
        };
        named.spent = named.spent.saturating_add(bytes);
        if named.spent > MOST_NAMED {
            return Err("has names of tensors that take more than 128 MB in all".to_owned());
        }
        Ok(())
    }

    fn text(&self, text: NodeId) -> &'a str {
        self.rebuilder.graph.as_text(text).unwrap_or_default()
    }

    /// The path to the current value, joined by dots.
    fn name(&self) -> String {
        let mut name = String::new();
        for part in &self.path {
            if !name.is_empty() {
                name.push('.');
            }
            match part {
                PathPart::Text(text) => name.push_str(self.text(*text)),
                PathPart::Number(number) => name.push_str(&number.to_string()),
            }
        }
        name
    }

    /// The attributes of an object; of a module its parameters, buffers and modules.
    fn collect_state(&mut self, state: NodeId, depth: usize) -> Result<(), String> {
        if self.barren.contains(&state) {
            return Ok(());
        }
        let graph = self.rebuilder.graph;
        // Of a class with slots a pair of dictionaries.
        if let Node::Tuple(parts) = graph.get(state) {
            for part in parts {
                self.collect(*part, depth + 1)?;
            }
            return Ok(());
        }
        let entries = graph.as_entries(state).unwrap_or_default();
        self.visits += entries.len() / ENTRIES_A_VISIT;
        let mut inner = [None; 3];
        for (key, value) in entries.iter() {
            let name = graph.as_text(*key).unwrap_or_default();
            let names = ["_parameters", "_buffers", "_modules"];
            for (inner, _) in std::iter::zip(&mut inner, names).filter(|(_, own)| *own == name) {
                *inner = Some(*value);
            }
        }
        if inner.iter().all(Option::is_none) {
            return self.collect(state, depth + 1);
        }
        for part in inner.into_iter().flatten() {
            self.collect(part, depth + 1)?;
        }
        Ok(())
    }

    fn collect_part(&mut self, part: PathPart, value: NodeId, depth: usize) -> Result<(), String> {
        self.path.push(part);
        let collected = self.collect(value, depth + 1);
        self.path.pop();
        collected
    }

    fn collect_sequence(&mut self, parts: &[NodeId], depth: usize) -> Result<(), String> {
        for (index, part) in (0..).zip(parts) {
            if self.may_hold_tensors(*part) {
                self.collect_part(PathPart::Number(index), *part, depth)?;
            } else {
                self.visits += 1;
            }
        }
        Ok(())
    }

    /// The entries of a dictionary that may lead to tensors, by keys that make names. Of equal keys
    /// the last one holds, as in Python.
    fn last_of_each(&mut self, entries: &[(NodeId, NodeId)]) -> Vec<(PathPart, NodeId)> {
        let graph = self.rebuilder.graph;
        let part = |key: NodeId| match graph.get(key) {
            Node::Text(_) => Some(PathPart::Text(key)),
            Node::Int(number) => Some(PathPart::Number(*number)),
            _ => None,
        };
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for &(key, value) in entries.iter().rev() {
            match part(key).filter(|part| seen.insert(*part)) {
                Some(part) if self.may_hold_tensors(value) => found.push((part, value)),
                _ => self.visits += 1,
            }
        }
        found.reverse();
        found
    }

    /// Most values are settings and losses.
    fn may_hold_tensors(&self, id: NodeId) -> bool {
        matches!(
            self.rebuilder.graph.get(id),
            Node::Object(_) | Node::List(_) | Node::Tuple(_) | Node::Dict(_)
        )
    }
}
