//! Small synthetic data and models that several programs use.

use tch::nn;
use tch::{Device, Kind, Tensor};

pub const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
pub const INT: (Kind, Device) = (Kind::Int64, Device::Cpu);

/// An empty store.
pub fn store() -> nn::VarStore {
    nn::VarStore::new(Device::Cpu)
}

/// Gaussian clusters that overlap: points of shape [count, dim], and the class of each.
pub fn clusters(count: i64, dim: i64, classes: i64) -> (Tensor, Tensor) {
    let centres = Tensor::randn([classes, dim], FLOAT);
    let labels = Tensor::randint(classes, [count], INT);
    let points = centres.index_select(0, &labels) + Tensor::randn([count, dim], FLOAT);
    (points, labels)
}

/// A noisy function of the points: inputs [count, dim], outputs [count, 1].
pub fn curve(count: i64, dim: i64) -> (Tensor, Tensor) {
    let inputs = Tensor::randn([count, dim], FLOAT);
    let direction = Tensor::randn([dim, 1], FLOAT) / (dim as f64).sqrt();
    let outputs = (inputs.matmul(&direction) * 2.0).sin() + inputs.narrow(1, 0, 1) * 0.5;
    (inputs, outputs + Tensor::randn([count, 1], FLOAT) * 0.1)
}

/// Pictures [count, 1, 8, 8] of a few noisy patterns, and the class of each.
pub fn pictures(count: i64, classes: i64) -> (Tensor, Tensor) {
    let (points, labels) = clusters(count, 64, classes);
    (points.view([count, 1, 8, 8]), labels)
}

/// Random rows of a data set.
pub fn batch(inputs: &Tensor, outputs: &Tensor, size: i64) -> (Tensor, Tensor) {
    let rows = Tensor::randint(inputs.size()[0], [size], INT);
    (
        inputs.index_select(0, &rows),
        outputs.index_select(0, &rows),
    )
}

/// Token sequences [rows, length + 1] in which one of two tokens follows each.
pub fn tokens(rows: i64, length: i64, vocabulary: i64) -> Tensor {
    let mut columns = vec![Tensor::randint(vocabulary, [rows], INT)];
    for at in 0..length as usize {
        let coin = Tensor::randint(2, [rows], INT);
        columns.push((&columns[at] * 3 + 1 + coin).remainder(vocabulary));
    }
    Tensor::stack(&columns, 1)
}

/// Linear layers `fc1`, `fc2`, ... with rectifiers between them.
pub fn mlp(path: &nn::Path, sizes: &[i64]) -> nn::Sequential {
    let mut layers = nn::seq();
    for (at, pair) in sizes.windows(2).enumerate() {
        if at > 0 {
            layers = layers.add_fn(Tensor::relu);
        }
        let name = format!("fc{}", at + 1);
        layers = layers.add(nn::linear(
            path / name,
            pair[0],
            pair[1],
            Default::default(),
        ));
    }
    layers
}

/// A linear layer without a bias.
pub fn plain(path: nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let config = nn::LinearConfig {
        bias: false,
        ..Default::default()
    };
    nn::linear(path, inputs, outputs, config)
}

/// Sets whether gradients are tracked for the variables whose names begin so.
pub fn track(vs: &nn::VarStore, prefix: &str, on: bool) {
    for (name, tensor) in vs.variables() {
        if name.starts_with(prefix) && !name.contains("running_") {
            let _ = tensor.set_requires_grad(on);
        }
    }
}
