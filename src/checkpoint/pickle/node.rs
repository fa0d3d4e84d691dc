//! What a pickle describes: a graph of values, names and calls that were not made.

use std::borrow::Cow;
use std::collections::HashMap;

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::checkpoint) struct NodeId(u32);

/// Bytes within the pickle's section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::checkpoint) struct Span {
    pub(in crate::checkpoint) offset: u64,
    pub(in crate::checkpoint) len: u64,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::checkpoint) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    /// Left where they lie.
    Bytes(Span),
    /// A list, a set or a frozen set.
    List(Vec<NodeId>),
    Tuple(Box<[NodeId]>),
    Dict(Vec<(NodeId, NodeId)>),
    /// A class or a function by its name; never looked up.
    Global(Box<(Box<str>, Box<str>)>),
    /// What a call would have returned.
    Object(Box<Object>),
    /// What the program that loads it would have to supply: a storage of a tensor.
    Persistent(NodeId),
    /// A number too large, an extension, an out-of-band buffer.
    Opaque,
}

/// Keys and values, where they lie or collected from pairs.
pub(in crate::checkpoint) type Entries<'a> = Cow<'a, [(NodeId, NodeId)]>;

/// A call that was not made, and what was done with its result.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::checkpoint) struct Object {
    pub(in crate::checkpoint) callable: NodeId,
    pub(in crate::checkpoint) arguments: NodeId,
    /// The argument of `__setstate__`.
    pub(in crate::checkpoint) state: Option<NodeId>,
    pub(in crate::checkpoint) items: Vec<NodeId>,
    pub(in crate::checkpoint) entries: Vec<(NodeId, NodeId)>,
}

/// The nodes of a pickle.
#[derive(Debug, Default)]
pub(in crate::checkpoint) struct Graph {
    nodes: Vec<Node>,
    /// Texts that were seen, so that a name repeated a thousand times is kept once.
    interned: HashMap<Box<str>, NodeId>,
    /// Bytes of memory that may still be taken.
    budget: usize,
}

impl Graph {
    pub(super) fn new(budget: usize) -> Graph {
        Graph {
            budget,
            ..Graph::default()
        }
    }

    /// `None` when the budget is spent.
    pub(super) fn spend(&mut self, bytes: usize) -> Option<()> {
        self.budget = self.budget.checked_sub(bytes)?;
        Some(())
    }

    /// Adds a node; `None` when the budget is spent.
    pub(super) fn add(&mut self, node: Node) -> Option<NodeId> {
        // Vectors double: room for what they may take.
        let contents = match &node {
            Node::Text(text) => 2 * text.len() + 64,
            Node::Tuple(parts) => size_of_val::<[NodeId]>(parts),
            Node::List(parts) => 2 * size_of_val::<[NodeId]>(parts),
            Node::Dict(parts) => 2 * size_of_val::<[(NodeId, NodeId)]>(parts),
            Node::Global(names) => names.0.len() + names.1.len() + 64,
            Node::Object(_) => size_of::<Object>() + 16,
            _ => 0,
        };
        self.spend(contents + 2 * size_of::<Node>())?;
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(node);
        Some(id)
    }

    /// Adds a text, or finds the same one.
    pub(super) fn text(&mut self, text: String) -> Option<NodeId> {
        if let Some(&known) = self.interned.get(text.as_str()) {
            return Some(known);
        }
        let id = self.add(Node::Text(text.as_str().into()))?;
        self.spend(text.len() + 64)?;
        self.interned.insert(text.into(), id);
        Some(id)
    }

    pub(in crate::checkpoint) fn get(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Opaque)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)
    }

    /// What the persistent ids of the pickle are made of.
    pub(in crate::checkpoint) fn persistent(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    pub(in crate::checkpoint) fn as_text(&self, id: NodeId) -> Option<&str> {
        match self.get(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(in crate::checkpoint) fn as_int(&self, id: NodeId) -> Option<i64> {
        match self.get(id) {
            Node::Int(int) => Some(*int),
            Node::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The members of a tuple or a list.
    pub(in crate::checkpoint) fn as_sequence(&self, id: NodeId) -> Option<&[NodeId]> {
        match self.get(id) {
            Node::Tuple(parts) => Some(parts),
            Node::List(parts) => Some(parts),
            // torch.Size and named tuples: a call with the members as arguments.
            Node::Object(object) if object.items.is_empty() => match self.get(object.arguments) {
                Node::Tuple(parts) => match &**parts {
                    [only] if matches!(self.get(*only), Node::Tuple(_) | Node::List(_)) => {
                        self.as_sequence(*only)
                    }
                    _ => None,
                },
                _ => None,
            },
            Node::Object(object) => Some(&object.items),
            _ => None,
        }
    }

    /// The module and the name of a global.
    pub(in crate::checkpoint) fn as_global(&self, id: NodeId) -> Option<(&str, &str)> {
        match self.get(id) {
            Node::Global(names) => Some((&names.0, &names.1)),
            _ => None,
        }
    }

    /// The entries of a dictionary, or of an object that is one (`OrderedDict`, which Python 2 made
    /// from a list of pairs).
    pub(in crate::checkpoint) fn as_entries(&self, id: NodeId) -> Option<Entries<'_>> {
        match self.get(id) {
            Node::Dict(entries) => Some(entries.into()),
            Node::Object(object) if !object.entries.is_empty() => Some((&object.entries).into()),
            Node::Object(object) => {
                let (_, class) = self.as_global(object.callable)?;
                let [pairs] = self.as_sequence(object.arguments)? else {
                    return None;
                };
                let (Node::List(pairs), "OrderedDict" | "dict") = (self.get(*pairs), class) else {
                    return None;
                };
                let pair = |pair: &NodeId| match self.as_sequence(*pair)? {
                    [key, value] => Some((*key, *value)),
                    _ => None,
                };
                pairs.iter().map(pair).collect()
            }
            _ => None,
        }
    }

    /// The value of a dictionary's entry; the last one of several.
    pub(in crate::checkpoint) fn entry(&self, dict: NodeId, key: &str) -> Option<NodeId> {
        let entries = self.as_entries(dict)?;
        let mut newest_first = entries.iter().rev();
        let found = newest_first.find(|(name, _)| self.as_text(*name) == Some(key));
        found.map(|(_, value)| *value)
    }
}
