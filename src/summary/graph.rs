//! The Graphs dashboard: the modules of a model as boxes, and graphs that others made.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use prost::Message;

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::proto::attr_value::{ListValue, Value};
use crate::proto::{AttrValue, DataType, GraphDef, NodeDef, VersionDef};
use crate::source::element_source::{ElementLayout, ElementSource};
use crate::source::named_tensors::{Membership, Role, StoreIdentity, VariableSink};
use crate::summary::tensor_shape;

/// What errors call it.
const KIND: &str = "graph";

/// Nodes at most: the page lays out each.
const NODES: usize = 100_000;

/// The version of graphs that PyTorch's writer gives.
const PRODUCER: i32 = 22;

/// The node of the model as a whole.
const ROOT: &str = "model";

/// Checks a graph that somebody else made.
///
/// # Errors
/// [`Error::InvalidValue`] when TensorBoard could not read it.
pub(crate) fn check(graph: &[u8]) -> Result<()> {
    let reason = match GraphDef::decode(graph) {
        Err(error) => format!("is no serialized GraphDef: {error}"),
        Ok(graph) if graph.node.is_empty() => "has no nodes".to_owned(),
        Ok(graph) if graph.node.iter().any(|node| node.name.is_empty()) => {
            "has a node without a name".to_owned()
        }
        Ok(_) => return Ok(()),
    };
    Err(Error::value(KIND, "", reason))
}

/// A variable of a model.
struct GraphVariable {
    /// Its modules and itself, from the outside inwards.
    path: Vec<String>,
    layout: ElementLayout,
    role: Option<Role>,
}

/// Receives the variables of a model, and shows its modules.
#[derive(Default)]
pub(crate) struct GraphSink {
    /// By their own names.
    variables: BTreeMap<String, GraphVariable>,
}

impl GraphSink {
    /// The modules as a serialized graph. A module is a box that holds its variables, with shapes
    /// and types, and the modules below; an edge leads from a part to what it is a part of.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] when there is nothing to show, or too much.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        if self.variables.is_empty() {
            return Err(Error::value(KIND, "", "the model has no variables to show"));
        }
        let node = nodes(&self.variables).ok_or_else(|| {
            let reason = format!("has more than {NODES} nodes, which TensorBoard's page takes");
            Error::value(KIND, "", reason)
        })?;
        let graph = GraphDef {
            node,
            versions: Some(VersionDef { producer: PRODUCER }),
        };
        Ok(graph.encode_to_vec())
    }
}

impl VariableSink for GraphSink {
    fn variable(&mut self, name: &str, source: &dyn ElementSource, membership: Option<Membership>) {
        // One that cannot be read is left out here as in `log_weights`.
        let Ok(layout) = source.inspect(name) else {
            return;
        };
        let path: Vec<String> = name
            .split(['.', '/'])
            .filter(|part| !part.is_empty())
            .map(node_name)
            .collect();
        if !path.is_empty() {
            let role = membership.map(|membership| membership.role);
            let variable = GraphVariable { path, layout, role };
            self.variables.insert(name.to_owned(), variable);
        }
    }

    fn knows_store(&mut self, _: StoreIdentity) -> bool {
        false
    }
}

/// A part of a name, without the signs that mean something in a graph or break the page.
fn node_name(part: &str) -> String {
    let is_special = |letter: char| matches!(letter, ':' | '^' | '\'' | '"') || letter.is_control();
    part.chars()
        .map(|letter| if is_special(letter) { '_' } else { letter })
        .collect()
}

impl GraphVariable {
    fn node(&self, name: String) -> NodeDef {
        let op = match self.role {
            Some(Role::Frozen) => "FrozenParameter",
            Some(Role::Buffer) => "Buffer",
            Some(Role::Trainable) | None => "Parameter",
        };
        let shape = self.layout.shape.iter();
        let shape: Vec<usize> = shape.map(|&size| size.try_into().unwrap_or(0)).collect();
        let shape = tensor_shape(&shape);
        let shapes = ListValue {
            shape: vec![shape.clone()],
            ..Default::default()
        };
        let attributes = [
            ("_output_shapes", Value::List(shapes)),
            ("dtype", Value::Type(data_type(self.layout.dtype).into())),
            ("elements", Value::I(signed(self.layout.elements()))),
            ("shape", Value::Shape(shape)),
        ];
        node(name, op, Vec::new(), attributes)
    }
}

fn node<const N: usize>(
    name: String,
    op: &str,
    input: Vec<String>,
    attributes: [(&str, Value); N],
) -> NodeDef {
    let attributes = attributes.into_iter().map(|(name, value)| {
        let value = AttrValue { value: Some(value) };
        (name.to_owned(), value)
    });
    NodeDef {
        name,
        op: op.to_owned(),
        input,
        attr: attributes.collect(),
        ..Default::default()
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn data_type(dtype: DType) -> DataType {
    match dtype {
        DType::Bool => DataType::DtBool,
        DType::U8 => DataType::DtUint8,
        DType::I8 => DataType::DtInt8,
        DType::I16 => DataType::DtInt16,
        DType::I32 => DataType::DtInt32,
        DType::I64 => DataType::DtInt64,
        DType::F16 => DataType::DtHalf,
        DType::BF16 => DataType::DtBfloat16,
        DType::F32 => DataType::DtFloat,
        DType::F64 => DataType::DtDouble,
    }
}

/// Names of nodes. One that is taken gets a `_` at its end: `fc.module` is a variable, and
/// `fc/module` would be the node of its module.
#[derive(Default)]
struct NodeNames(HashSet<String>);

impl NodeNames {
    fn take(&mut self, mut name: String) -> String {
        while !self.0.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

/// What lies in a module and below.
#[derive(Default)]
struct ModuleSums {
    /// Of its node.
    name: String,
    parts: BTreeSet<String>,
    parameters: usize,
    trainable: usize,
    buffers: usize,
}

impl ModuleSums {
    fn add(&mut self, variable: &GraphVariable, part: String) {
        let count = variable.layout.elements();
        match variable.role {
            Some(Role::Buffer) => self.buffers += count,
            Some(Role::Frozen) => self.parameters += count,
            Some(Role::Trainable) | None => {
                self.parameters += count;
                self.trainable += count;
            }
        }
        self.parts.insert(part);
    }

    fn node(self) -> NodeDef {
        let counts = [
            ("buffer_elements", Value::I(signed(self.buffers))),
            ("parameters", Value::I(signed(self.parameters))),
            ("trainable_parameters", Value::I(signed(self.trainable))),
        ];
        node(
            self.name,
            "Module",
            self.parts.into_iter().collect(),
            counts,
        )
    }
}

/// The nodes of variables and of their modules; `None` when they are too many.
fn nodes(variables: &BTreeMap<String, GraphVariable>) -> Option<Vec<NodeDef>> {
    let mut modules = modules_of(variables)?;
    let mut names = NodeNames::default();
    let variables = variables.values();
    let named = variables.map(|variable| (names.take(variable.path.join("/")), variable));
    let named: Vec<(String, &GraphVariable)> = named.collect();
    for (path, module) in &mut modules {
        module.name = names.take(module_node(path));
    }
    for (name, variable) in &named {
        // From the inside outwards: each module is a part of the next one.
        let mut part = name.clone();
        for depth in (0..variable.path.len()).rev() {
            let path = variable.path.get(..depth).unwrap_or_default();
            if let Some(module) = modules.get_mut(path) {
                module.add(variable, std::mem::replace(&mut part, module.name.clone()));
            }
        }
    }
    let variables = named
        .into_iter()
        .map(|(name, variable)| variable.node(name));
    let modules = modules.into_values().map(ModuleSums::node);
    Some(variables.chain(modules).collect())
}

/// The modules by their paths, the model's being empty; `None` when there are too many nodes.
fn modules_of(
    variables: &BTreeMap<String, GraphVariable>,
) -> Option<BTreeMap<&[String], ModuleSums>> {
    let mut modules = BTreeMap::new();
    for variable in variables.values() {
        for depth in 0..variable.path.len() {
            modules.entry(variable.path.get(..depth)?).or_default();
        }
        if variables.len() + modules.len() > NODES {
            return None;
        }
    }
    Some(modules)
}

/// The node of a module, inside its box.
fn module_node(path: &[String]) -> String {
    match path {
        [] => ROOT.to_owned(),
        path => format!("{}/{}", path.join("/"), "module"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::named_tensors::{NamedTensors, StoreWait, Visitor};

    fn of_model<S: NamedTensors + ?Sized>(model: &S) -> Result<Vec<u8>> {
        let (mut found, mut wait) = (GraphSink::default(), StoreWait::default());
        model.visit(&mut Visitor::new(&mut found, &mut wait))?;
        found.encode()
    }

    fn graph(names: &[&str]) -> GraphDef {
        let model: Vec<(String, [f32; 6])> = names
            .iter()
            .map(|name| (name.to_string(), [0.0; 6]))
            .collect();
        GraphDef::decode(&of_model(&model).unwrap()[..]).unwrap()
    }

    fn find<'a>(graph: &'a GraphDef, name: &str) -> &'a NodeDef {
        graph
            .node
            .iter()
            .find(|node| node.name == name)
            .expect(name)
    }

    #[test]
    fn modules_hold_their_variables_and_count_them() {
        let graph = graph(&["conv.0.weight", "conv.0.bias", "fc.weight", "scale"]);
        let names: Vec<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(graph.node.len(), 4 + 4, "{names:?}");
        let conv = find(&graph, "conv/0/module");
        assert_eq!(conv.input, ["conv/0/bias", "conv/0/weight"]);
        let count = |node: &NodeDef| node.attr["parameters"].value.clone();
        assert_eq!(count(conv), Some(Value::I(12)));
        let model = find(&graph, "model");
        assert_eq!(model.input, ["conv/module", "fc/module", "scale"]);
        assert_eq!(count(model), Some(Value::I(24)));
        let weight = find(&graph, "fc/weight");
        assert_eq!(weight.op, "Parameter");
        let Some(Value::Shape(shape)) = &weight.attr["shape"].value else {
            panic!("a shape");
        };
        assert_eq!(shape.dim[0].size, 6);
    }

    #[test]
    fn names_never_mean_an_output_or_break_the_page() {
        let graph = graph(&["a:0.w'\n", "..x"]);
        assert!(graph.node.iter().any(|node| node.name == "a_0/w__"));
        assert!(graph.node.iter().any(|node| node.name == "x"));
    }

    #[test]
    fn no_two_nodes_have_one_name_and_edges_lead_to_the_right_one() {
        let graph = graph(&["a.b", "a/b", "fc.module", "fc.weight", "model"]);
        let names: BTreeSet<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names.len(), graph.node.len(), "{names:?}");
        assert_eq!(find(&graph, "model").op, "Parameter");
        let root = find(&graph, "model_");
        assert_eq!(root.input, ["a/module", "fc/module_", "model"]);
        assert_eq!(find(&graph, "a/module").input, ["a/b", "a/b_"]);
        let fc = find(&graph, "fc/module_");
        assert_eq!(fc.input, ["fc/module", "fc/weight"]);
    }

    #[test]
    fn a_model_of_too_many_nodes_is_an_error_however_flat_or_deep() {
        let flat: Vec<String> = (0..NODES).map(|n| format!("v{n}")).collect();
        let deep: Vec<String> = (0..NODES / 2).map(|n| format!("m{n}.v")).collect();
        for names in [flat, deep] {
            let count = names.len();
            let model: Vec<(String, [f32; 1])> =
                names.into_iter().map(|name| (name, [0.0])).collect();
            let error = of_model(&model).unwrap_err().to_string();
            assert!(error.contains("more than 100000 nodes"), "{error}");
            let fits = of_model(&model[..count - 1]);
            assert!(fits.is_ok(), "{count}");
        }
    }

    #[test]
    fn what_is_no_graph_is_an_error() {
        assert!(of_model::<[(&str, [f32; 1])]>(&[]).is_err());
        for bytes in [&b""[..], b"\xff", &GraphDef::default().encode_to_vec()] {
            assert!(check(bytes).is_err());
        }
        assert!(check(&of_model(&("w", [1.0_f32])).unwrap()).is_ok());
    }
}
