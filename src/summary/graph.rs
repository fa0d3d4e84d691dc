//! The Graphs dashboard: the modules of a model as boxes, and graphs that others made.

use std::collections::BTreeMap;

use prost::Message;

use crate::error::{Error, Result};
use crate::model::types::DType;
use crate::proto::attr_value::{ListValue, Value};
use crate::proto::{AttrValue, DataType, GraphDef, NodeDef, VersionDef};
use crate::source::element_source::{ElementLayout, ElementSource};
use crate::source::named_tensors::{
    Membership, NamedTensors, Role, StoreIdentity, StoreWait, VariableSink, Visitor,
};
use crate::summary::tensor_shape;

/// What errors call it.
const KIND: &str = "graph";

/// Nodes at most: the page lays out each.
const NODES: usize = 100_000;

/// The version of graphs that PyTorch's writer gives.
const PRODUCER: i32 = 22;

/// The node of the model as a whole.
const ROOT: &str = "model";

/// The modules of a model as a serialized graph. A module is a box that holds its variables, with
/// shapes and types, and the modules below; an edge leads from a part to what it is a part of.
///
/// # Errors
/// What [`NamedTensors::visit`] returns; [`Error::InvalidValue`] when there is nothing to show, or
/// too much.
pub(crate) fn of_model<S: NamedTensors + ?Sized>(model: &S) -> Result<Vec<u8>> {
    let (mut found, mut wait) = (FoundVariables::default(), StoreWait::default());
    model.visit(&mut Visitor::new(&mut found, &mut wait))?;
    if found.variables.is_empty() {
        return Err(Error::value(KIND, "", "the model has no variables to show"));
    }
    let mut modules = Modules::default();
    for variable in found.variables.values() {
        modules.add(variable);
    }
    let node = modules.nodes(found.variables.values());
    if node.len() > NODES {
        let reason = format!(
            "has {} nodes; TensorBoard's page takes {NODES} at most",
            node.len()
        );
        return Err(Error::value(KIND, "", reason));
    }
    let graph = GraphDef {
        node,
        versions: Some(VersionDef { producer: PRODUCER }),
    };
    Ok(graph.encode_to_vec())
}

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

#[derive(Default)]
struct FoundVariables {
    variables: BTreeMap<String, GraphVariable>,
}

impl VariableSink for FoundVariables {
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
    fn name(&self) -> String {
        self.path.join("/")
    }

    fn node(&self) -> NodeDef {
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
        node(self.name(), op, Vec::new(), attributes)
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

/// The modules by their paths, the model's being empty.
#[derive(Default)]
struct Modules(BTreeMap<Vec<String>, ModuleSums>);

/// What lies in a module and below.
#[derive(Default)]
struct ModuleSums {
    parts: Vec<String>,
    parameters: usize,
    trainable: usize,
    buffers: usize,
}

impl Modules {
    fn add(&mut self, variable: &GraphVariable) {
        let count = variable.layout.elements();
        for depth in 0..variable.path.len() {
            let (module, rest) = variable.path.split_at(depth);
            let sums = self.0.entry(module.to_vec()).or_default();
            match variable.role {
                Some(Role::Buffer) => sums.buffers += count,
                Some(Role::Frozen) => sums.parameters += count,
                Some(Role::Trainable) | None => {
                    sums.parameters += count;
                    sums.trainable += count;
                }
            }
            let part = variable.path.get(..=depth).unwrap_or_default();
            let part = match rest.len() {
                1 => part.join("/"),
                _ => module_node(part),
            };
            if !sums.parts.contains(&part) {
                sums.parts.push(part);
            }
        }
    }

    fn nodes<'a>(self, variables: impl Iterator<Item = &'a GraphVariable>) -> Vec<NodeDef> {
        let modules = self.0.into_iter().map(|(path, sums)| {
            let counts = [
                ("buffer_elements", Value::I(signed(sums.buffers))),
                ("parameters", Value::I(signed(sums.parameters))),
                ("trainable_parameters", Value::I(signed(sums.trainable))),
            ];
            node(module_node(&path), "Module", sums.parts, counts)
        });
        variables.map(GraphVariable::node).chain(modules).collect()
    }
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
    fn what_is_no_graph_is_an_error() {
        assert!(of_model::<[(&str, [f32; 1])]>(&[]).is_err());
        for bytes in [&b""[..], b"\xff", &GraphDef::default().encode_to_vec()] {
            assert!(check(bytes).is_err());
        }
        assert!(check(&of_model(&("w", [1.0_f32])).unwrap()).is_ok());
    }
}
