//! Small synthetic data and models that several programs share.

use tch::nn::{self, LinearConfig};
use tch::{Device, Kind, Tensor};

pub const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
pub const INT: (Kind, Device) = (Kind::Int64, Device::Cpu);

/// Points around one centre a class, and their classes.
pub struct Blobs {
    points: Tensor,
    classes: Tensor,
}

impl Blobs {
    pub fn new(count: i64, features: i64, classes: i64) -> Blobs {
        let centres = Tensor::randn([classes, features], FLOAT) * 1.5;
        let labels = Tensor::randint(classes, [count], INT);
        let points = centres.index_select(0, &labels) + Tensor::randn([count, features], FLOAT);
        Blobs {
            points,
            classes: labels,
        }
    }

    /// A random batch.
    pub fn batch(&self, size: i64) -> (Tensor, Tensor) {
        let index = Tensor::randint(self.classes.size()[0], [size], INT);
        let points = self.points.index_select(0, &index);
        (points, self.classes.index_select(0, &index))
    }
}

/// A linear layer without a bias.
pub const BARE: LinearConfig = LinearConfig {
    ws_init: nn::init::DEFAULT_KAIMING_UNIFORM,
    bs_init: None,
    bias: false,
};

/// fc1, fc2, … with ReLU between them.
pub fn mlp(root: &nn::Path, sizes: &[i64]) -> nn::Sequential {
    mlp_ending(root, sizes, Default::default())
}

/// The same with a choice for the last layer.
pub fn mlp_ending(root: &nn::Path, sizes: &[i64], last: LinearConfig) -> nn::Sequential {
    let mut layers = nn::seq();
    for (index, pair) in sizes.windows(2).enumerate() {
        if index > 0 {
            layers = layers.add_fn(|x| x.relu());
        }
        let path = root / format!("fc{}", index + 1);
        let config = match index + 2 == sizes.len() {
            true => last,
            false => Default::default(),
        };
        layers = layers.add(nn::linear(path, pair[0], pair[1], config));
    }
    layers
}

/// A smooth function of the inputs as a target for regression.
pub fn regression(count: i64, features: i64, outputs: i64) -> (Tensor, Tensor) {
    let x = Tensor::randn([count, features], FLOAT);
    let mix = Tensor::randn([features, outputs], FLOAT) / (features as f64).sqrt();
    let y = x.matmul(&mix).sin();
    (x, y)
}

/// Rows at random.
pub fn rows(count: i64, size: i64) -> Tensor {
    Tensor::randint(count, [size], INT)
}

/// Excludes all variables of a store that begin so from training.
pub fn freeze(vs: &nn::VarStore, prefix: &str) {
    for (name, tensor) in vs.variables() {
        if name.starts_with(prefix) && tensor.is_floating_point() {
            let _ = tensor.set_requires_grad(false);
        }
    }
}

/// The mean of squared differences. `mse_loss` gives a target that it broadcasts a gradient that is
/// too large.
pub fn squares(a: &Tensor, b: &Tensor) -> Tensor {
    (a - b).square().mean(Kind::Float)
}
