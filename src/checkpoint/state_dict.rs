//! From the graph of a pickle to named tensors: which part is the model, and what its tensors are
//! called.

use std::collections::{BTreeMap, HashSet};

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

/// Parts inside parts.
const DEEPEST: usize = 100;
/// Values looked at: a list that holds one list ten times, which holds another ten times, is small
/// in a file.
const MOST_VISITS: usize = 4_000_000;
const MOST_TENSORS: usize = 1 << 18;

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
        found: Vec::new(),
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
    collector.collect(root, "", 0)?;
    contents.tensors = unique(collector.found);
    Ok(contents)
}

/// The value at a path of keys joined by dots.
fn at_path(graph: &Graph, root: NodeId, part: &str) -> Result<NodeId, String> {
    part.split('.').try_fold(root, |at, key| {
        graph.entry(at, key).ok_or_else(|| {
            let entries = graph.as_entries(at).unwrap_or_default();
            let names = entries.iter().filter_map(|(key, _)| graph.as_text(*key));
            let names: Vec<&str> = names.take(20).collect();
            format!("has no part {key:?} in {part:?}; there are {names:?}")
        })
    })
}

fn step(graph: &Graph, root: NodeId) -> Option<i64> {
    let value = |key: &&str| graph.as_int(graph.entry(root, key)?);
    STEP_KEYS.iter().find_map(value)
}

/// Two tensors may get one name from keys with dots: the second one's says so.
fn unique(found: Vec<CheckpointTensor>) -> Vec<CheckpointTensor> {
    let mut by_name: BTreeMap<String, CheckpointTensor> = BTreeMap::new();
    for tensor in found {
        let mut name = tensor.name().to_owned();
        while by_name.contains_key(&name) {
            name.push_str(" (again)");
        }
        by_name.insert(name.clone(), tensor.renamed(name));
    }
    by_name.into_values().collect()
}

struct Collector<'a> {
    rebuilder: Rebuilder<'a>,
    visits: usize,
    found: Vec<CheckpointTensor>,
    /// The values that the current one is a part of: settings refer to each other in circles.
    under_way: HashSet<NodeId>,
    /// Values without tensors, which need not be looked at again.
    barren: HashSet<NodeId>,
}

impl Collector<'_> {
    /// The part that is the model: the value of a key that trainers use, or the only part that has
    /// tensors, or all.
    fn model(&mut self, root: NodeId, notes: &mut Vec<String>) -> Result<NodeId, String> {
        let (mut root, mut path) = (root, String::new());
        for _ in 0..4 {
            let Some(entries) = self.rebuilder.graph.as_entries(root) else {
                break;
            };
            let mut parts = Vec::new();
            let mut has_own = false;
            for (key, value) in &entries {
                let Some(name) = self.rebuilder.graph.as_text(*key) else {
                    continue;
                };
                if self.rebuilder.tensor(*value).is_some() {
                    has_own = true;
                } else {
                    let tensors = self.count(*value)?;
                    if tensors > 0 {
                        parts.push((name.to_owned(), *value, tensors));
                    }
                }
            }
            let known = MODEL_KEYS.iter().find_map(|key| {
                let is_it = |part: &&(String, NodeId, usize)| part.0 == *key;
                parts.iter().find(is_it)
            });
            let chosen = match (&known, &*parts) {
                (Some(known), _) => known,
                (None, [only]) if !has_own => only,
                _ => break,
            };
            path = format!("{path}{}.", chosen.0);
            for (name, _, tensors) in parts.iter().filter(|part| part.0 != chosen.0) {
                notes.push(format!(
                    "left out: {tensors} tensors under {name:?}, beside {:?}, which is taken for \
                        the model",
                    path.trim_end_matches('.')
                ));
            }
            root = chosen.1;
        }
        Ok(root)
    }

    /// Tensors below a value.
    fn count(&mut self, root: NodeId) -> Result<usize, String> {
        let found = std::mem::take(&mut self.found);
        let collected = self.collect(root, "", 0);
        let counted = std::mem::replace(&mut self.found, found).len();
        collected.map(|()| counted)
    }

    fn collect(&mut self, id: NodeId, prefix: &str, depth: usize) -> Result<(), String> {
        self.visits += 1;
        if self.visits > MOST_VISITS || self.found.len() > MOST_TENSORS {
            return Err("describes more values than a checkpoint can hold".to_owned());
        }
        if depth > DEEPEST || self.barren.contains(&id) || !self.under_way.insert(id) {
            return Ok(());
        }
        let before = self.found.len();
        self.collect_parts(id, prefix, depth)?;
        self.under_way.remove(&id);
        if self.found.len() == before {
            self.barren.insert(id);
        }
        Ok(())
    }

    fn collect_parts(&mut self, id: NodeId, prefix: &str, depth: usize) -> Result<(), String> {
        if let Some(tensor) = self.rebuilder.tensor(id) {
            let name = prefix.to_owned();
            self.found.push(match tensor.stored {
                Ok(stored) => CheckpointTensor::new(name, stored),
                Err(reason) => CheckpointTensor::unreadable(name, tensor.shape, &reason),
            });
            return Ok(());
        }
        let graph = self.rebuilder.graph;
        if let Some(entries) = graph.as_entries(id) {
            return self.collect_entries(&entries, prefix, depth);
        }
        match graph.get(id) {
            Node::List(parts) => self.collect_sequence(parts, prefix, depth),
            Node::Tuple(parts) => self.collect_sequence(parts, prefix, depth),
            Node::Object(object) => {
                self.collect_sequence(&object.items, prefix, depth)?;
                match object.state {
                    Some(state) => self.collect_state(state, prefix, depth),
                    // What TorchScript wraps its lists and dictionaries into.
                    None => {
                        let name = graph.as_global(object.callable);
                        let arguments = graph.as_sequence(object.arguments).unwrap_or_default();
                        match (name, arguments) {
                            (Some((_, "restore_type_tag")), [inner, ..]) => {
                                self.collect(*inner, prefix, depth + 1)
                            }
                            _ => Ok(()),
                        }
                    }
                }
            }
            _ => Ok(()),
        }
    }

    /// The attributes of an object; of a module its parameters, buffers and modules.
    fn collect_state(&mut self, state: NodeId, prefix: &str, depth: usize) -> Result<(), String> {
        let graph = self.rebuilder.graph;
        // Of a class with slots a pair of dictionaries.
        if let Node::Tuple(parts) = graph.get(state) {
            for part in parts {
                self.collect(*part, prefix, depth + 1)?;
            }
            return Ok(());
        }
        let inner = ["_parameters", "_buffers", "_modules"].map(|key| graph.entry(state, key));
        if inner.iter().all(Option::is_none) {
            return self.collect(state, prefix, depth + 1);
        }
        for part in inner.into_iter().flatten() {
            self.collect(part, prefix, depth + 1)?;
        }
        Ok(())
    }

    fn collect_entries(
        &mut self,
        entries: &[(NodeId, NodeId)],
        prefix: &str,
        depth: usize,
    ) -> Result<(), String> {
        let graph = self.rebuilder.graph;
        for (key, value) in entries {
            let key = match graph.get(*key) {
                Node::Text(key) => key.to_string(),
                Node::Int(key) => key.to_string(),
                _ => continue,
            };
            self.collect(*value, &joined(prefix, &key), depth + 1)?;
        }
        Ok(())
    }

    fn collect_sequence(
        &mut self,
        parts: &[NodeId],
        prefix: &str,
        depth: usize,
    ) -> Result<(), String> {
        for (index, part) in parts.iter().enumerate() {
            // Most lists hold settings and losses: no name is made for these.
            let graph = self.rebuilder.graph;
            if matches!(
                graph.get(*part),
                Node::Object(_) | Node::List(_) | Node::Tuple(_) | Node::Dict(_)
            ) {
                self.collect(*part, &joined(prefix, &index.to_string()), depth + 1)?;
            } else {
                self.visits += 1;
            }
        }
        Ok(())
    }
}

fn joined(prefix: &str, key: &str) -> String {
    match prefix {
        "" => key.to_owned(),
        prefix => format!("{prefix}.{key}"),
    }
}
