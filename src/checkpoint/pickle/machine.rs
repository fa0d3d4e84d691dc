//! The stack machine of pickles.

use std::collections::HashMap;

use crate::checkpoint::pickle::node::{Graph, Node, NodeId, Object};
use crate::checkpoint::pickle::stream::PickleStream;
use crate::error::Result;

/// Memory for what a pickle describes. A checkpoint of ten thousand tensors with the state of an
/// optimizer takes 60 MB.
const BUDGET: usize = 256 << 20;

/// The longest text that is read.
const LONGEST_TEXT: u64 = 16 << 20;

/// Reads one pickle; returns its nodes and the one that it is about.
///
/// # Errors
/// An opcode that does not exist, one without what it needs, an end in the middle, and more objects
/// than the budget has room for.
pub(in crate::checkpoint) fn read(stream: &mut PickleStream) -> Result<(Graph, NodeId)> {
    let mut machine = Machine {
        graph: Graph::new(BUDGET),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let opcode = stream.byte()?;
        if opcode == b'.' {
            let root = machine.pop();
            let root = root.ok_or_else(|| stream.damaged("a pickle without a value"))?;
            return Ok((machine.graph, root));
        }
        match machine.step(opcode, stream)? {
            Stepped::Done => {}
            Stepped::Missing => {
                let what = format!("opcode {opcode:#04x} without what it needs");
                return Err(stream.damaged(&what));
            }
            Stepped::Full => {
                return Err(stream.damaged("it describes more objects than a checkpoint can hold,"));
            }
            Stepped::Unknown => {
                return Err(stream.damaged(&format!("{opcode:#04x} is no opcode,")));
            }
        }
    }
}

struct Machine {
    graph: Graph,
    stack: Vec<NodeId>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, NodeId>,
}

/// How an opcode went.
enum Stepped {
    Done,
    /// The stack or the memo does not hold what it needs.
    Missing,
    /// No memory is left for it.
    Full,
    Unknown,
}

impl From<Option<()>> for Stepped {
    fn from(done: Option<()>) -> Stepped {
        match done {
            Some(()) => Stepped::Done,
            None => Stepped::Missing,
        }
    }
}

impl Machine {
    fn step(&mut self, opcode: u8, stream: &mut PickleStream) -> Result<Stepped> {
        let node = match opcode {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Int(i64::from(stream.byte()?)),
            b'M' => Node::Int(i64::from(u16::from_le_bytes(stream.array()?))),
            b'J' => Node::Int(i64::from(i32::from_le_bytes(stream.array()?))),
            b'G' => Node::Float(f64::from_be_bytes(stream.array()?)),
            b'I' | b'L' => number(&stream.line()?),
            b'F' => Node::Float(stream.line()?.trim().parse().unwrap_or(f64::NAN)),
            0x8a => {
                let len = u64::from(stream.byte()?);
                long(&stream.take(len)?)
            }
            0x8b => {
                let len = u32::from_le_bytes(stream.array()?);
                match len {
                    0..=8 => long(&stream.take(u64::from(len))?),
                    _ => stream.skip(u64::from(len)).map(|_| Node::Opaque)?,
                }
            }
            b'S' => return Ok(self.push_text(unquoted(&stream.line()?))),
            b'V' => return Ok(self.push_text(unescaped(&stream.line()?))),
            b'U' | 0x8c => {
                let len = u64::from(stream.byte()?);
                return self.text(len, stream);
            }
            b'T' | b'X' => {
                let len = u64::from(u32::from_le_bytes(stream.array()?));
                return self.text(len, stream);
            }
            0x8d => {
                let len = u64::from_le_bytes(stream.array()?);
                return self.text(len, stream);
            }
            b'C' => {
                let len = u64::from(stream.byte()?);
                Node::Bytes(stream.skip(len)?)
            }
            b'B' => {
                let len = u64::from(u32::from_le_bytes(stream.array()?));
                Node::Bytes(stream.skip(len)?)
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(stream.array()?);
                Node::Bytes(stream.skip(len)?)
            }
            b']' | 0x8f => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b')' => Node::Tuple(Box::default()),
            b'c' => {
                let (module, name) = (stream.line()?, stream.line()?);
                Node::Global(Box::new((module.into(), name.into())))
            }
            b'P' => {
                let line = stream.line()?;
                let pushed = self.push_text(line);
                return Ok(match pushed {
                    Stepped::Done => self.persistent(),
                    pushed => pushed,
                });
            }
            // Extensions and out-of-band buffers: whoever wrote them has the rest.
            0x82 => stream.array::<1>().map(|_| Node::Opaque)?,
            0x83 => stream.array::<2>().map(|_| Node::Opaque)?,
            0x84 => stream.array::<4>().map(|_| Node::Opaque)?,
            0x97 => Node::Opaque,
            _ => return self.rearrange(opcode, stream),
        };
        Ok(self.push(node))
    }

    /// The opcodes that take something off the stack, and those about the memo.
    fn rearrange(&mut self, opcode: u8, stream: &mut PickleStream) -> Result<Stepped> {
        Ok(match opcode {
            // The protocol and the length of a frame: nothing depends on them.
            0x80 => stream.byte().map(|_| Stepped::Done)?,
            0x95 => stream.array::<8>().map(|_| Stepped::Done)?,
            0x98 => Stepped::Done,
            b'(' => self.mark(),
            b'0' => self.pop_or_mark().into(),
            b'1' => self.above_mark().map(drop).into(),
            b'2' => match self.stack.last().copied() {
                Some(top) => self.push_id(top),
                None => Stepped::Missing,
            },
            b'q' => self.remember(u64::from(stream.byte()?)),
            b'r' => self.remember(u64::from(u32::from_le_bytes(stream.array()?))),
            b'p' => match stream.line()?.trim().parse() {
                Ok(number) => self.remember(number),
                Err(_) => Stepped::Missing,
            },
            0x94 => self.remember(self.memo.len() as u64),
            b'h' => self.recall(u64::from(stream.byte()?)),
            b'j' => self.recall(u64::from(u32::from_le_bytes(stream.array()?))),
            b'g' => match stream.line()?.trim().parse() {
                Ok(number) => self.recall(number),
                Err(_) => Stepped::Missing,
            },
            b't' => self.collect(|parts| Node::Tuple(parts.into())),
            b'l' | 0x91 => self.collect(Node::List),
            b'd' => self.collect(|parts| Node::Dict(pairs(&parts))),
            0x85 => self.tuple(1),
            0x86 => self.tuple(2),
            0x87 => self.tuple(3),
            b'a' => match self.pop() {
                Some(item) => self.extend(vec![item]),
                None => Stepped::Missing,
            },
            b'e' | 0x90 => match self.above_mark() {
                Some(items) => self.extend(items),
                None => Stepped::Missing,
            },
            b's' => match self.pop().zip(self.pop()) {
                Some((value, key)) => self.set(vec![(key, value)]),
                None => Stepped::Missing,
            },
            b'u' => match self.above_mark() {
                Some(parts) => self.set(pairs(&parts)),
                None => Stepped::Missing,
            },
            b'Q' => self.persistent(),
            0x93 => self.stack_global(),
            b'R' | 0x81 => match self.pop().zip(self.pop()) {
                Some((arguments, callable)) => self.call(callable, arguments),
                None => Stepped::Missing,
            },
            0x92 => match (self.pop(), self.pop(), self.pop()) {
                (Some(_), Some(arguments), Some(callable)) => self.call(callable, arguments),
                _ => Stepped::Missing,
            },
            b'i' => {
                let names = (stream.line()?.into(), stream.line()?.into());
                self.instance(Node::Global(Box::new(names)))
            }
            b'o' => self.instance_of_first(),
            b'b' => self.build(),
            _ => Stepped::Unknown,
        })
    }

    fn pop(&mut self) -> Option<NodeId> {
        // Not below the last mark.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() > floor {
            self.stack.pop()
        } else {
            None
        }
    }

    fn pop_or_mark(&mut self) -> Option<()> {
        match self.pop() {
            Some(_) => Some(()),
            None => self.marks.pop().map(drop),
        }
    }

    fn mark(&mut self) -> Stepped {
        if self.graph.spend(2 * size_of::<usize>()).is_none() {
            return Stepped::Full;
        }
        self.marks.push(self.stack.len());
        Stepped::Done
    }

    fn above_mark(&mut self) -> Option<Vec<NodeId>> {
        let mark = self.marks.pop()?;
        Some(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn push_id(&mut self, id: NodeId) -> Stepped {
        if self.graph.spend(2 * size_of::<NodeId>()).is_none() {
            return Stepped::Full;
        }
        self.stack.push(id);
        Stepped::Done
    }

    fn push(&mut self, node: Node) -> Stepped {
        match self.graph.add(node) {
            Some(id) => self.push_id(id),
            None => Stepped::Full,
        }
    }

    fn push_text(&mut self, text: String) -> Stepped {
        match self.graph.text(text) {
            Some(id) => self.push_id(id),
            None => Stepped::Full,
        }
    }

    fn text(&mut self, len: u64, stream: &mut PickleStream) -> Result<Stepped> {
        // Longer ones are nobody's name.
        if len > LONGEST_TEXT {
            return stream.skip(len).map(|span| self.push(Node::Bytes(span)));
        }
        if self.graph.spend(len as usize).is_none() {
            return Ok(Stepped::Full);
        }
        let bytes = stream.take(len)?;
        Ok(self.push_text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn remember(&mut self, number: u64) -> Stepped {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&top) if self.stack.len() > floor => {
                if self.graph.spend(48).is_none() {
                    return Stepped::Full;
                }
                self.memo.insert(number, top);
                Stepped::Done
            }
            _ => Stepped::Missing,
        }
    }

    fn recall(&mut self, number: u64) -> Stepped {
        match self.memo.get(&number).copied() {
            Some(id) => self.push_id(id),
            None => Stepped::Missing,
        }
    }

    fn collect(&mut self, node: impl FnOnce(Vec<NodeId>) -> Node) -> Stepped {
        match self.above_mark() {
            Some(parts) => self.push(node(parts)),
            None => Stepped::Missing,
        }
    }

    fn tuple(&mut self, len: usize) -> Stepped {
        let mut parts = Vec::with_capacity(len);
        for _ in 0..len {
            match self.pop() {
                Some(part) => parts.push(part),
                None => return Stepped::Missing,
            }
        }
        parts.reverse();
        self.push(Node::Tuple(parts.into()))
    }

    /// Adds items to what is on top of the stack.
    fn extend(&mut self, items: Vec<NodeId>) -> Stepped {
        let Some(&top) = self.stack.last() else {
            return Stepped::Missing;
        };
        if self
            .graph
            .spend(3 * size_of_val::<[NodeId]>(&items))
            .is_none()
        {
            return Stepped::Full;
        }
        match self.graph.get_mut(top) {
            Some(Node::List(list)) => list.extend(items),
            Some(Node::Object(object)) => object.items.extend(items),
            Some(Node::Opaque) => {}
            _ => return Stepped::Missing,
        }
        Stepped::Done
    }

    /// Adds entries to what is on top of the stack.
    fn set(&mut self, entries: Vec<(NodeId, NodeId)>) -> Stepped {
        let Some(&top) = self.stack.last() else {
            return Stepped::Missing;
        };
        let bytes = 3 * size_of_val::<[(NodeId, NodeId)]>(&entries);
        if self.graph.spend(bytes).is_none() {
            return Stepped::Full;
        }
        match self.graph.get_mut(top) {
            Some(Node::Dict(dict)) => dict.extend(entries),
            Some(Node::Object(object)) => object.entries.extend(entries),
            Some(Node::Opaque) => {}
            _ => return Stepped::Missing,
        }
        Stepped::Done
    }

    fn persistent(&mut self) -> Stepped {
        match self.pop() {
            Some(id) => self.push(Node::Persistent(id)),
            None => Stepped::Missing,
        }
    }

    fn stack_global(&mut self) -> Stepped {
        let names = self.pop().zip(self.pop());
        let text = |id| self.graph.as_text(id).map(Box::from);
        let names = names.and_then(|(name, module)| text(module).zip(text(name)));
        match names {
            Some(names) => self.push(Node::Global(Box::new(names))),
            None => Stepped::Missing,
        }
    }

    fn call(&mut self, callable: NodeId, arguments: NodeId) -> Stepped {
        self.push(Node::Object(Box::new(Object {
            callable,
            arguments,
            state: None,
            items: Vec::new(),
            entries: Vec::new(),
        })))
    }

    /// An instance of a class with what lies above the mark.
    fn instance(&mut self, class: Node) -> Stepped {
        let Some(parts) = self.above_mark() else {
            return Stepped::Missing;
        };
        let arguments = self.graph.add(Node::Tuple(parts.into()));
        match self.graph.add(class).zip(arguments) {
            Some((class, arguments)) => self.call(class, arguments),
            None => Stepped::Full,
        }
    }

    fn instance_of_first(&mut self) -> Stepped {
        let parts = self.above_mark();
        let Some((&class, arguments)) = parts.as_deref().and_then(<[NodeId]>::split_first) else {
            return Stepped::Missing;
        };
        match self.graph.add(Node::Tuple(arguments.into())) {
            Some(arguments) => self.call(class, arguments),
            None => Stepped::Full,
        }
    }

    fn build(&mut self) -> Stepped {
        let (Some(state), Some(&top)) = (self.pop(), self.stack.last()) else {
            return Stepped::Missing;
        };
        if let Some(Node::Object(object)) = self.graph.get_mut(top) {
            object.state = Some(state);
        }
        Stepped::Done
    }
}

fn pairs(parts: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let (pairs, _) = parts.as_chunks::<2>();
    pairs.iter().map(|&[key, value]| (key, value)).collect()
}

/// Little-endian two's complement.
fn long(bytes: &[u8]) -> Node {
    let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut wide = [if is_negative { 0xff } else { 0 }; 8];
    match wide.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        }
        None => Node::Opaque,
    }
}

/// A number in text; of protocol 0 also the truth values.
fn number(line: &str) -> Node {
    match line.trim() {
        "00" => Node::Bool(false),
        "01" => Node::Bool(true),
        text => {
            let text = text.strip_suffix('L').unwrap_or(text);
            text.parse().map_or(Node::Opaque, Node::Int)
        }
    }
}

/// A string of protocol 0: quoted as Python's `repr` does; escapes other than of quotes and
/// backslashes are left.
fn unquoted(line: &str) -> String {
    let line = line.trim();
    let inner = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
    let inner = inner('\'').or_else(|| inner('"')).unwrap_or(line);
    inner
        .replace("\\\\", "\\")
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// A text of protocol 0, in which `\uXXXX` encodes what no line can hold.
fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\\u") {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        let code = after
            .get(2..6)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(letter) => {
                text.push(letter);
                rest = after.get(6..).unwrap_or_default();
            }
            None => {
                text.push_str("\\u");
                rest = after.get(2..).unwrap_or_default();
            }
        }
    }
    text.push_str(rest);
    text
}
