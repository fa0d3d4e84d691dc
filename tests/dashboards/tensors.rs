//! Tensors of any layout and type are what slices of the same numbers are.

use prost::Message;
use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::proto::{GraphDef, attr_value::Value, event::What};
use tch_tensorboard::{
    Audio, Embedding, Error, Image, ImageLayout, Mesh, PrCurve, Scalar, SubStore,
};

use crate::common::{read_events, read_scalars};
use crate::{Board, shape};

fn float() -> (Kind, Device) {
    (Kind::Float, Device::Cpu)
}

#[test]
fn a_curve_of_tensors_is_that_of_their_elements() {
    let board = Board::new();
    let scores = Tensor::rand([50, 3], float()).set_requires_grad(true);
    let softmax = scores.softmax(-1, Kind::Float);
    let labels = Tensor::arange(50, (Kind::Int64, Device::Cpu)).remainder(3);
    let names = ["a", "b", "c"];
    let curves = PrCurve::new(&labels, &softmax).thresholds(21);
    board
        .logger
        .log_pr_curves("tensors", curves, &names, 0)
        .unwrap();
    let numbers: Vec<f32> = Vec::try_from(softmax.detach().reshape([-1])).unwrap();
    let classes: Vec<i64> = Vec::try_from(&labels).unwrap();
    let curves = PrCurve::new(&classes, &numbers).thresholds(21);
    board
        .logger
        .log_pr_curves("slices", curves, &names, 0)
        .unwrap();
    // Column after column in memory.
    let turned = softmax.detach().tr().contiguous().tr();
    let curves = PrCurve::new(&labels, &turned).thresholds(21);
    board
        .logger
        .log_pr_curves("turned", curves, &names, 0)
        .unwrap();
    for name in names {
        let rows = |tag: &str| board.only(&format!("{tag}/{name}")).0;
        assert_eq!(shape(&rows("tensors")), [6, 21]);
        assert_eq!(rows("tensors"), rows("slices"));
        assert_eq!(rows("turned"), rows("slices"));
    }
    let complex = Tensor::zeros([50], (Kind::ComplexFloat, Device::Cpu));
    let refused = board
        .logger
        .log_pr_curve("x", PrCurve::new(&labels, &complex), 0);
    assert!(matches!(refused, Err(Error::UnsupportedTensor { .. })));
}

#[test]
fn sounds_meshes_and_vectors_of_tensors_are_those_of_slices() {
    let board = Board::new();
    let both = Tensor::rand([2, 100], float()) * 2.0 - 1.0;
    let (left, right) = (both.get(0), both.get(1));
    board
        .logger
        .log_audio("tensor", Audio::stereo(&left, &right, 8000), 0)
        .unwrap();
    let [l, r] = [&left, &right].map(|side| Vec::<f32>::try_from(side).unwrap());
    board
        .logger
        .log_audio("slice", Audio::stereo(&l, &r, 8000), 0)
        .unwrap();
    assert_eq!(board.only("tensor").0, board.only("slice").0);

    let batch = Tensor::rand([2, 5, 3], float());
    let faces = Tensor::from_slice(&[0_i64, 1, 2, 2, 3, 4])
        .reshape([1, 2, 3])
        .repeat([2, 1, 1]);
    board
        .logger
        .log_mesh("batch", Mesh::new(&batch).faces(&faces), 0)
        .unwrap();
    assert_eq!(shape(&board.only("batch_VERTEX").0), [2, 5, 3]);
    assert_eq!(shape(&board.only("batch_FACE").0), [2, 2, 3]);
    let one = board
        .logger
        .log_mesh("x", Mesh::new(&batch).faces(&faces.get(0)), 0);
    assert!(matches!(one, Err(Error::InvalidValue { .. })));

    let vectors = Tensor::rand([4, 6], float());
    let digits = Tensor::rand([4, 1, 3, 3], float());
    let pictures = [Image::from_tensor(&digits, ImageLayout::Nchw)];
    let embedding = Embedding::new(&vectors, 6)
        .labels(["a", "b", "c", "d"])
        .pictures(pictures);
    board.logger.log_embedding("digits", embedding, 0).unwrap();
    board.logger.flush().unwrap();
    let file = board.logger.logdir().join("projector/digits/0/vectors.tsv");
    let text = std::fs::read_to_string(file).unwrap();
    let read: Vec<f32> = text
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    assert_eq!(read, Vec::<f32>::try_from(vectors.reshape([-1])).unwrap());
    let wrong = Embedding::new(&vectors, 5);
    assert!(board.logger.log_embedding("digits", wrong, 1).is_err());
}

#[test]
fn a_batch_of_time_is_a_video() {
    let board = Board::new();
    let video = Tensor::rand([6, 3, 8, 10], float());
    let frames = [Image::from_tensor(&video, ImageLayout::Nchw)];
    board.logger.log_video("video", frames, 10.0, 0).unwrap();
    let file = board.only("video").0.string_val.remove(2);
    let mut reader = png::Decoder::new(std::io::Cursor::new(&file))
        .read_info()
        .unwrap();
    assert_eq!(reader.info().animation_control.unwrap().num_frames, 6);
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let first = video.get(0).permute([1, 2, 0]).reshape([-1]);
    let first: Vec<f32> = Vec::try_from(first).unwrap();
    let wanted: Vec<u8> = first.iter().map(|level| (level * 255.0) as u8).collect();
    assert_eq!(pixels, wanted);
}

#[test]
fn a_store_is_a_graph_of_its_modules() {
    let board = Board::new();
    let mut vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let conv = nn::conv2d(&root / "conv1", 1, 4, 3, Default::default());
    nn::batch_norm2d(&root / "bn", 4, Default::default());
    nn::linear(&root / "head" / "fc", 8, 2, Default::default());
    drop(conv.forward(&Tensor::zeros([1, 1, 5, 5], float())));
    board.logger.log_graph(&vs).unwrap();
    vs.freeze();
    let frozen = board.logger.subrun("frozen").unwrap();
    frozen.log_graph(&SubStore::new(&vs, "head")).unwrap();
    board.logger.flush().unwrap();
    let graph = |run: &std::path::Path| {
        let graph = read_events(run)
            .into_iter()
            .find_map(|event| match event.what {
                Some(What::GraphDef(graph)) => Some(GraphDef::decode(&graph[..]).unwrap()),
                _ => None,
            });
        graph.expect("a graph")
    };
    let whole = graph(board.logger.logdir());
    let op = |graph: &GraphDef, name: &str| {
        graph
            .node
            .iter()
            .find(|node| node.name == name)
            .expect(name)
            .op
            .clone()
    };
    assert_eq!(op(&whole, "conv1/weight"), "Parameter");
    assert_eq!(op(&whole, "bn/running_mean"), "Buffer");
    let model = whole.node.iter().find(|node| node.name == "model").unwrap();
    let trainable = vs
        .trainable_variables()
        .iter()
        .map(Tensor::numel)
        .sum::<usize>();
    assert_eq!(trainable, 40 + 8 + 18);
    assert_eq!(model.attr["parameters"].value, Some(Value::I(66)));
    assert_eq!(model.attr["buffer_elements"].value, Some(Value::I(8)));
    assert_eq!(
        op(&graph(frozen.logdir()), "head/fc/weight"),
        "FrozenParameter"
    );
}

#[test]
fn tensors_and_numbers_are_one_list() {
    let board = Board::new();
    let loss = Tensor::from(0.25_f32);
    let values = [("loss", Scalar::from(&loss)), ("rate", 0.5.into())];
    board.logger.log_scalars(&values, 0).unwrap();
    board.logger.log_scalars_chart("chart", &values, 1).unwrap();
    board.logger.flush().unwrap();
    let read = read_scalars(board.logger.logdir());
    assert_eq!((read["loss"][0], read["rate"][0]), ((0, 0.25), (0, 0.5)));
    assert_eq!(
        (read["chart/loss"][0], read["chart/rate"][0]),
        ((1, 0.25), (1, 0.5))
    );
}
