//! Small tch models whose weights do not hang on libtorch's global random numbers, which parallel
//! tests share.

use std::collections::BTreeMap;

use tch::nn::{Path, VarStore};
use tch::{Device, Kind, Tensor};

/// Numbers without a pattern that a test could hit by chance, the same at each run.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn tensor(shape: &[i64], seed: u32) -> Tensor {
    let count = shape.iter().product::<i64>() as usize;
    Tensor::from_slice(&numbers(count, seed)).view(shape)
}

/// A variable with weights of its own.
pub fn variable(path: &Path<'_>, name: &str, shape: &[i64], seed: u32) -> Tensor {
    path.var_copy(name, &(tensor(shape, seed) * 0.3))
}

/// The same, for a test that does not touch it any more.
pub fn add_variable(path: &Path<'_>, name: &str, shape: &[i64], seed: u32) {
    drop(variable(path, name, shape, seed));
}

/// A convolution and a linear layer, named so that natural and alphabetical order differ.
pub struct Net {
    conv: [Tensor; 2],
    linear: [Tensor; 2],
}

impl Net {
    pub fn new(root: &Path<'_>, seed: u32) -> Net {
        let (conv, linear) = (root / "c2", root / "c10");
        Net {
            conv: [
                variable(&conv, "weight", &[3, 1, 3, 3], seed + 1),
                variable(&conv, "bias", &[3], seed + 2),
            ],
            linear: [
                variable(&linear, "weight", &[5, 48], seed + 3),
                variable(&linear, "bias", &[5], seed + 4),
            ],
        }
    }

    pub fn names() -> [&'static str; 4] {
        ["c2.bias", "c2.weight", "c10.bias", "c10.weight"]
    }

    pub fn loss(&self, x: &Tensor, y: &Tensor) -> Tensor {
        let [weight, bias] = &self.conv;
        let x = x
            .conv2d(weight, Some(bias), [1, 1], [0, 0], [1, 1], 1)
            .relu()
            .flatten(1, -1);
        let [weight, bias] = &self.linear;
        x.linear(weight, Some(bias)).cross_entropy_for_logits(y)
    }

    /// A batch for step `seed`.
    pub fn batch(seed: u32) -> (Tensor, Tensor) {
        let x = tensor(&[8, 1, 6, 6], 1000 + seed);
        let y = (tensor(&[8], 2000 + seed) * 2.5 + 2.5).to_kind(Kind::Int64);
        (x, y.clamp(0, 4))
    }
}

pub fn cpu_store() -> VarStore {
    VarStore::new(Device::Cpu)
}

pub fn to_vec(tensor: &Tensor) -> Vec<f32> {
    Vec::<f32>::try_from(tensor.detach().to_kind(Kind::Float).flatten(0, -1)).unwrap()
}

/// All variables of a store as plain numbers.
pub fn snapshot(vs: &VarStore) -> BTreeMap<String, Vec<f32>> {
    let variables = vs.variables();
    let named = variables
        .iter()
        .map(|(name, tensor)| (name.clone(), to_vec(tensor)));
    named.collect()
}

/// Adds to a variable in place, as an optimizer does.
pub fn nudge(tensor: &mut Tensor, by: f64) {
    let _guard = tch::no_grad_guard();
    let _ = tensor.g_add_scalar_(by);
}
