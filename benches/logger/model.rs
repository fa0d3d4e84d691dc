//! Models to log: real lists of shapes, filled with values that look trained, and moved a little at
//! each step.

use tch::nn::{Init, VarStore};
use tch::{Device, Kind, Tensor};

/// What [`Model::new`] can make, by the name that tables show.
pub(crate) const NAMES: [&str; 4] = ["resnet18", "gpt2-small", "cnn", "300x64"];

/// Relative size of a step, as of Adam with a rate of 1e-4 on weights of 0.02.
const STEP: f64 = 1e-4;
/// Steps in one direction before the sign of all changes turns, so that long runs stay where they
/// began.
const TURN: u64 = 16;

/// Variables in a store, and by how much each is moved: their gradients, which each call of
/// `log_weights` looks at, too.
pub(crate) struct Model {
    pub(crate) store: VarStore,
    pub(crate) name: String,
    changes: Vec<(Tensor, Tensor)>,
    steps: u64,
}

impl Model {
    /// A model of one of [`NAMES`], or `MxN` for M tensors of N elements.
    pub(crate) fn new(name: &str) -> Option<Model> {
        let shapes = match name {
            "resnet18" => resnet18(),
            "gpt2-small" => gpt2_small(),
            "cnn" => cnn(),
            _ => {
                let (tensors, elements) = sizes(name)?;
                equal(tensors, elements)
            }
        };
        Some(Model::of(name, &shapes))
    }

    /// A model of any shapes: weights of matrices around 0, of norm layers around 1.
    pub(crate) fn of(name: &str, shapes: &[(String, Vec<i64>)]) -> Model {
        tch::manual_seed(1);
        let store = VarStore::new(Device::Cpu);
        let mut changes = Vec::new();
        for (name, shape) in shapes {
            let mut path = store.root();
            let mut parts: Vec<&str> = name.split('.').collect();
            let last = parts.pop().unwrap_or_default();
            for part in parts {
                path = path / part;
            }
            let norm_layer = shape.len() == 1 && last == "weight";
            let mut tensor = path.var(last, shape, Init::Const(if norm_layer { 1.0 } else { 0.0 }));
            let options = (Kind::Float, Device::Cpu);
            let _no_grad = tch::no_grad_guard();
            let _ = tensor.g_add_(&(Tensor::randn(shape.as_slice(), options) * 0.02));
            let change = Tensor::randn(shape.as_slice(), options) * STEP;
            changes.push((tensor, change));
        }
        for (tensor, change) in &mut changes {
            *change = left_as_gradient(tensor, change);
        }
        Model {
            store,
            name: name.into(),
            changes,
            steps: 0,
        }
    }

    /// The tensors, in the order of their shapes.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.changes.iter().map(|(tensor, _)| tensor)
    }

    pub(crate) fn elements(&self) -> usize {
        self.tensors().map(Tensor::numel).sum()
    }

    pub(crate) fn bytes(&self) -> usize {
        4 * self.elements()
    }

    /// Changes every element in place, as an optimizer does.
    pub(crate) fn step(&mut self) {
        let _no_grad = tch::no_grad_guard();
        let back = (self.steps / TURN) % 2 == 1;
        self.steps += 1;
        for (tensor, change) in &mut self.changes {
            let _ = if back {
                tensor.g_sub_(change)
            } else {
                tensor.g_add_(change)
            };
        }
    }

    /// Writes weights and changes as `w/<variable>` and `d/<variable>`, for another program to make
    /// the same steps.
    #[allow(dead_code)]
    pub(crate) fn write_safetensors(&self, path: &std::path::Path) -> Result<(), tch::TchError> {
        let names = self.store.variables();
        let mut tensors = Vec::new();
        for (name, variable) in &names {
            let Some((_, change)) = self
                .changes
                .iter()
                .find(|(tensor, _)| tensor.data_ptr() == variable.data_ptr())
            else {
                continue;
            };
            tensors.push((format!("w/{name}"), variable.detach()));
            tensors.push((format!("d/{name}"), change.shallow_clone()));
        }
        Tensor::write_safetensors(&tensors, path)
    }
}

/// The gradient of a variable after a backward pass that makes it equal to `gradient`.
fn left_as_gradient(variable: &Tensor, gradient: &Tensor) -> Tensor {
    (variable * gradient).sum(Kind::Float).backward();
    variable.grad()
}

/// The numbers of a name like `300x64`.
pub(crate) fn sizes(name: &str) -> Option<(usize, i64)> {
    let (tensors, elements) = name.split_once('x')?;
    Some((tensors.parse().ok()?, elements.parse().ok()?))
}

/// `count` tensors of `elements` elements.
pub(crate) fn equal(count: usize, elements: i64) -> Vec<(String, Vec<i64>)> {
    (0..count)
        .map(|index| (format!("h.{index}.kernel"), vec![elements]))
        .collect()
}

struct Shapes(Vec<(String, Vec<i64>)>);

impl Shapes {
    fn add(&mut self, layer: &str, weight: &[i64]) {
        self.0.push((format!("{layer}.weight"), weight.into()));
    }

    fn with_bias(&mut self, layer: &str, weight: &[i64], bias: i64) {
        self.add(layer, weight);
        self.0.push((format!("{layer}.bias"), vec![bias]));
    }
}

/// 62 tensors, 11.7 M parameters (He et al., 2015; names of torchvision).
fn resnet18() -> Vec<(String, Vec<i64>)> {
    let mut shapes = Shapes(Vec::new());
    shapes.add("conv1", &[64, 3, 7, 7]);
    shapes.with_bias("bn1", &[64], 64);
    let mut inputs = 64;
    for (layer, outputs) in [(1, 64), (2, 128), (3, 256), (4, 512)] {
        for block in 0..2 {
            let at = |part: &str| format!("layer{layer}.{block}.{part}");
            shapes.add(&at("conv1"), &[outputs, inputs, 3, 3]);
            shapes.with_bias(&at("bn1"), &[outputs], outputs);
            shapes.add(&at("conv2"), &[outputs, outputs, 3, 3]);
            shapes.with_bias(&at("bn2"), &[outputs], outputs);
            if inputs != outputs {
                shapes.add(&at("downsample.0"), &[outputs, inputs, 1, 1]);
                shapes.with_bias(&at("downsample.1"), &[outputs], outputs);
            }
            inputs = outputs;
        }
    }
    shapes.with_bias("fc", &[1000, 512], 1000);
    shapes.0
}

/// 148 tensors, 124 M parameters (Radford et al., 2019; names of the released model).
fn gpt2_small() -> Vec<(String, Vec<i64>)> {
    let mut shapes = Shapes(Vec::new());
    shapes.add("wte", &[50257, 768]);
    shapes.add("wpe", &[1024, 768]);
    for block in 0..12 {
        let at = |part: &str| format!("h.{block}.{part}");
        shapes.with_bias(&at("ln_1"), &[768], 768);
        shapes.with_bias(&at("attn.c_attn"), &[768, 2304], 2304);
        shapes.with_bias(&at("attn.c_proj"), &[768, 768], 768);
        shapes.with_bias(&at("ln_2"), &[768], 768);
        shapes.with_bias(&at("mlp.c_fc"), &[768, 3072], 3072);
        shapes.with_bias(&at("mlp.c_proj"), &[3072, 768], 768);
    }
    shapes.with_bias("ln_f", &[768], 768);
    shapes.0
}

/// 8 tensors, 71,754 parameters: the model of the `cnn` example.
fn cnn() -> Vec<(String, Vec<i64>)> {
    let mut shapes = Shapes(Vec::new());
    shapes.with_bias("conv1", &[16, 1, 3, 3], 16);
    shapes.with_bias("conv2", &[32, 16, 3, 3], 32);
    shapes.with_bias("fc1", &[128, 512], 128);
    shapes.with_bias("fc2", &[10, 128], 10);
    shapes.0
}
