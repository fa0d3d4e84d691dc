//! Graphs of models, and of others.

use prost::Message;
use tch_tensorboard::proto::{GraphDef, attr_value::Value, event::What};
use tch_tensorboard::{Error, LogDir, NamedTensors, PointValue, Result, Role, Visitor};

use crate::Board;
use crate::common::read_events;

struct Net;

impl NamedTensors for Net {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable("conv1.weight", &[0.0_f32; 9], Role::Trainable);
        visitor.variable("bn.running_mean", &[0.0_f64; 4], Role::Buffer);
        visitor.variable("head.weight", &[0.0_f32; 20], Role::Frozen);
        Ok(())
    }
}

fn graphs(board: &Board) -> Vec<GraphDef> {
    board.logger.flush().unwrap();
    let events = read_events(board.logger.logdir()).into_iter();
    let graphs = events.filter_map(|event| match event.what {
        Some(What::GraphDef(graph)) => {
            assert_eq!(event.step, 0);
            assert!(event.wall_time > 1e9);
            Some(GraphDef::decode(&graph[..]).unwrap())
        }
        _ => None,
    });
    graphs.collect()
}

#[test]
fn a_model_is_a_tree_of_modules_with_counts() {
    let board = Board::new();
    board.logger.log_graph(&Net).unwrap();
    let graph = graphs(&board).remove(0);
    let node = |name: &str| {
        graph
            .node
            .iter()
            .find(|node| node.name == name)
            .expect(name)
    };
    let ops = ["conv1/weight", "bn/running_mean", "head/weight"].map(|name| &*node(name).op);
    assert_eq!(ops, ["Parameter", "Buffer", "FrozenParameter"]);
    let count = |name: &str| node("model").attr[name].value.clone();
    assert_eq!(count("parameters"), Some(Value::I(29)));
    assert_eq!(count("trainable_parameters"), Some(Value::I(9)));
    assert_eq!(count("buffer_elements"), Some(Value::I(4)));
    for input in graph.node.iter().flat_map(|node| &node.input) {
        node(input);
    }
    let log = LogDir::open(board.logger.logdir()).unwrap();
    let points = log.runs()[0].events().points().map(Result::unwrap);
    let kinds: Vec<&str> = points.map(|point| point.value.kind()).collect();
    assert_eq!(kinds, ["graph"]);
}

#[test]
fn a_run_has_one_graph_and_a_foreign_one_is_stored_as_it_is() {
    let board = Board::new();
    let foreign = GraphDef {
        node: vec![Default::default()],
        ..Default::default()
    };
    let refused = board.logger.log_graph_def(&foreign.encode_to_vec());
    assert!(
        matches!(refused, Err(Error::InvalidValue { .. })),
        "a node has no name"
    );
    let mut foreign = foreign;
    foreign.node[0].name = "x".into();
    board
        .logger
        .log_graph_def(&foreign.encode_to_vec())
        .unwrap();
    let second = board.logger.log_graph(&Net).unwrap_err();
    assert!(second.to_string().contains("has a graph"), "{second}");
    assert_eq!(graphs(&board), [foreign]);
    board
        .logger
        .subrun("other")
        .unwrap()
        .log_graph(&Net)
        .unwrap();
    let nothing: [(&str, [f32; 1]); 0] = [];
    assert!(
        board
            .logger
            .subrun("empty")
            .unwrap()
            .log_graph(&nothing)
            .is_err()
    );
    let log = LogDir::open(board.logger.logdir()).unwrap();
    let point = log.runs()[0].events().points().next().unwrap().unwrap();
    assert!(matches!(point.value, PointValue::Graph(_)));
}
