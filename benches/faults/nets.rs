//! Small networks on the digits, each a list of named variables and a function of them, so that a
//! fault can be put anywhere.

use std::collections::BTreeMap;

use tch::nn::init::DEFAULT_KAIMING_UNIFORM;
use tch::nn::{Init, Path, VarStore};
use tch::{Kind, Tensor};

/// What [`Net::build`] can make and every optimizer is tried on.
pub(crate) const NAMES: [&str; 4] = ["cnn", "mlp", "lstm", "transformer"];

/// A variable: its layer, its name there, shape, and how it begins.
type Entry = (String, &'static str, Vec<i64>, Start);

#[derive(Clone, Copy)]
enum Start {
    /// tch's default for matrices and kernels: He's, uniform up to sqrt(6 / fan-in).
    He,
    /// tch's default for biases of linear layers: uniform up to 1 / sqrt(fan-in), here given.
    Uniform(i64),
    Normal(f64),
    Const(f64),
    /// Not trained: a running statistic.
    Buffer(f64),
}

/// What a fault or a healthy variant changes in the forward pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tweak {
    /// The first layer's output leaves the graph.
    pub(crate) detach_first: bool,
    /// The gradient that reaches the first layer is multiplied by this; 0 stands for 1. A trunk of
    /// saturated units between it and the loss does so.
    pub(crate) gradient_scale: f64,
    pub(crate) dropout: bool,
    /// The first layer's output is normalised over the batch.
    pub(crate) batch_norm: bool,
    /// Sigmoid layers between the first layer and the loss.
    pub(crate) saturated: bool,
}

pub(crate) struct Net {
    kind: &'static str,
    variables: BTreeMap<String, Tensor>,
}

impl Net {
    /// `path` gives the place of a layer's variables, so that one may lie in another store or
    /// group.
    pub(crate) fn build<'a>(kind: &'static str, path: impl Fn(&str) -> Path<'a>) -> Net {
        let mut variables = BTreeMap::new();
        for (layer, name, shape, start) in entries(kind) {
            let place = layer
                .split('.')
                .fold(path(&layer), |path, part| path / part);
            let tensor = match start {
                Start::Uniform(fan_in) => {
                    let bound = 1.0 / (fan_in as f64).sqrt();
                    place.var(
                        name,
                        &shape,
                        Init::Uniform {
                            lo: -bound,
                            up: bound,
                        },
                    )
                }
                Start::He => place.var(name, &shape, DEFAULT_KAIMING_UNIFORM),
                Start::Normal(stdev) => place.var(name, &shape, Init::Randn { mean: 0.0, stdev }),
                Start::Const(value) => place.var(name, &shape, Init::Const(value)),
                Start::Buffer(value) => {
                    let kind = (Kind::Float, place.device());
                    place.add(name, Tensor::full(&shape, value, kind), false)
                }
            };
            variables.insert(format!("{layer}.{name}"), tensor);
        }
        Net { kind, variables }
    }

    /// Layers that a fault can be put into, the first one first.
    pub(crate) fn layers(kind: &str) -> &'static [&'static str] {
        match kind {
            "cnn" => &["conv1", "conv2", "fc1"],
            "mlp" => &["fc1", "fc2", "fc3"],
            "lstm" => &["embed", "lstm", "fc"],
            _ => &["embed", "h.0.attn", "h.1.ff1"],
        }
    }

    /// A layer whose units are followed by a ReLU alone.
    pub(crate) fn relu_layer(kind: &str) -> &'static str {
        match kind {
            "cnn" => "conv1",
            "mlp" => "fc1",
            "lstm" => "embed",
            _ => "h.0.ff1",
        }
    }

    pub(crate) fn variables(&self) -> &BTreeMap<String, Tensor> {
        &self.variables
    }

    fn get(&self, name: &str) -> &Tensor {
        // The list of entries and the functions below are written together.
        &self.variables[name]
    }

    fn linear(&self, layer: &str, x: &Tensor) -> Tensor {
        let weight = self.get(&format!("{layer}.weight"));
        x.linear(weight, Some(self.get(&format!("{layer}.bias"))))
    }

    fn norm(&self, layer: &str, x: &Tensor) -> Tensor {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let width = x.size().last().copied().unwrap_or(1);
        x.layer_norm(
            [width],
            Some(self.get(&weight)),
            Some(self.get(&bias)),
            1e-5,
            false,
        )
    }

    /// Logits for images of 8x8, `[n, 1, 8, 8]`.
    pub(crate) fn logits(&self, images: &Tensor, tweak: Tweak) -> Tensor {
        match self.kind {
            "cnn" => self.cnn(images, tweak),
            "mlp" => self.mlp(images, tweak),
            "lstm" => self.lstm(images, tweak),
            "transformer" => self.transformer(images, tweak),
            "residual" => self.residual(images),
            "adapter" => self.adapter(images),
            "tied" => self.tied(images),
            "normed" => self.normed(images),
            other => unreachable!("{other} is not built"),
        }
    }

    fn conv(&self, layer: &str, x: &Tensor) -> Tensor {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let (weight, bias) = (self.get(&weight), Some(self.get(&bias)));
        x.conv2d(weight, bias, [1, 1], [1, 1], [1, 1], 1)
    }

    fn cnn(&self, images: &Tensor, tweak: Tweak) -> Tensor {
        let x = tweak.after_first(self.conv("conv1", images)).relu();
        let x = self
            .conv("conv2", &x)
            .relu()
            .max_pool2d_default(2)
            .flatten(1, -1);
        let x = tweak.drop(self.linear("fc1", &x).relu());
        self.linear("fc2", &x)
    }

    /// Batch norm as tch's layers have it, running statistics in the store and a bias before each
    /// that does nothing.
    fn normed(&self, images: &Tensor) -> Tensor {
        let norm = |layer: &str, x: &Tensor| {
            let part = |name: &str| Some(self.get(&format!("{layer}.{name}")));
            let (weight, bias) = (part("weight"), part("bias"));
            let (mean, var) = (part("running_mean"), part("running_var"));
            x.batch_norm(weight, bias, mean, var, true, 0.1, 1e-5, false)
        };
        let x = norm("bn1", &self.conv("conv1", images)).relu();
        let x = norm("bn2", &self.conv("conv2", &x)).relu();
        self.linear("fc", &x.max_pool2d_default(2).flatten(1, -1))
    }

    fn mlp(&self, images: &Tensor, tweak: Tweak) -> Tensor {
        let x = images.flatten(1, -1);
        let mut x = tweak.drop(tweak.after_first(self.linear("fc1", &x)).relu());
        if tweak.saturated {
            // Each passes on at most a quarter of the gradient.
            x = (0..8).fold(x, |x, _| x.sigmoid());
        }
        let x = tweak.drop(self.linear("fc2", &x).relu());
        let x = self.linear("fc3", &x).relu();
        self.linear("fc4", &x)
    }

    fn lstm(&self, images: &Tensor, tweak: Tweak) -> Tensor {
        let rows = images.squeeze_dim(1);
        let x = tweak.after_first(self.linear("embed", &rows)).relu();
        let (n, width) = (images.size()[0], 32);
        let options = (x.kind(), x.device());
        let (mut h, mut c) = (
            Tensor::zeros([n, width], options),
            Tensor::zeros([n, width], options),
        );
        for row in 0..8 {
            let gates = x
                .select(1, row)
                .linear(self.get("lstm.weight_ih"), Some(self.get("lstm.bias")))
                + h.linear::<Tensor>(self.get("lstm.weight_hh"), None);
            let parts = gates.chunk(4, 1);
            c = parts[1].sigmoid() * c + parts[0].sigmoid() * parts[2].tanh();
            h = parts[3].sigmoid() * c.tanh();
        }
        self.linear("head", &self.linear("fc", &tweak.drop(h)).tanh())
    }

    fn transformer(&self, images: &Tensor, tweak: Tweak) -> Tensor {
        let rows = images.squeeze_dim(1);
        let mut x = tweak.after_first(self.linear("embed", &rows)) + self.get("position.weight");
        for block in ["h.0", "h.1"] {
            x = &x
                + self.attention(
                    &format!("{block}.attn"),
                    &self.norm(&format!("{block}.ln1"), &x),
                );
            let inner = self.linear(
                &format!("{block}.ff1"),
                &self.norm(&format!("{block}.ln2"), &x),
            );
            x = &x + tweak.drop(self.linear(&format!("{block}.ff2"), &inner.relu()));
        }
        let pooled = self
            .norm("ln", &x)
            .mean_dim([1_i64].as_slice(), false, None::<Kind>);
        self.linear("head", &pooled)
    }

    fn attention(&self, layer: &str, x: &Tensor) -> Tensor {
        let (heads, width) = (2, 32);
        let split = |x: &Tensor| x.reshape([-1, 8, heads, width / heads]).transpose(1, 2);
        let qkv = self.linear(layer, x).chunk(3, -1);
        let (q, k, v) = (split(&qkv[0]), split(&qkv[1]), split(&qkv[2]));
        let scores = q.matmul(&k.transpose(-2, -1)) / ((width / heads) as f64).sqrt();
        let mixed = scores.softmax(-1, None::<Kind>).matmul(&v);
        mixed.transpose(1, 2).reshape([-1, 8, width])
    }

    /// Sixteen residual branches, the last layer of each beginning at zero.
    fn residual(&self, images: &Tensor) -> Tensor {
        let mut x = self.linear("embed", &images.flatten(1, -1)).relu();
        for block in 0..8 {
            let inner = self.linear(&format!("h.{block}.up"), &x).relu();
            x = &x + self.linear(&format!("h.{block}.down"), &inner);
        }
        self.linear("head", &x)
    }

    /// A frozen base with a low-rank addition whose second factor begins at zero.
    fn adapter(&self, images: &Tensor) -> Tensor {
        let x = images.flatten(1, -1);
        let add = |layer: &str, x: &Tensor| {
            let down = x.linear::<Tensor>(self.get(&format!("{layer}.lora_a")), None);
            self.linear(layer, x)
                + down.linear::<Tensor>(self.get(&format!("{layer}.lora_b")), None)
        };
        let x = add("fc1", &x).relu();
        add("fc2", &x)
    }

    /// An autoencoder whose decoder is the encoder turned round, and a head.
    fn tied(&self, images: &Tensor) -> Tensor {
        let x = images.flatten(1, -1);
        let code = self.linear("encoder", &x).relu();
        let back = code.matmul(self.get("encoder.weight")) + self.get("decoder.bias");
        self.linear("head", &(back.relu()))
    }
}

impl Tweak {
    fn after_first(self, x: Tensor) -> Tensor {
        let x = match self.gradient_scale {
            0.0 => x,
            scale => &x * scale + (&x * (1.0 - scale)).detach(),
        };
        let x = if self.detach_first { x.detach() } else { x };
        if self.batch_norm {
            x.batch_norm(
                None::<Tensor>,
                None::<Tensor>,
                None::<Tensor>,
                None::<Tensor>,
                true,
                0.1,
                1e-5,
                false,
            )
        } else {
            x
        }
    }

    fn drop(self, x: Tensor) -> Tensor {
        if self.dropout {
            x.dropout(0.25, true)
        } else {
            x
        }
    }
}

fn linear(layer: &str, inputs: i64, outputs: i64) -> [Entry; 2] {
    [
        (layer.into(), "weight", vec![outputs, inputs], Start::He),
        (layer.into(), "bias", vec![outputs], Start::Uniform(inputs)),
    ]
}

fn conv(layer: &str, inputs: i64, outputs: i64) -> [Entry; 2] {
    [
        (
            layer.into(),
            "weight",
            vec![outputs, inputs, 3, 3],
            Start::He,
        ),
        (layer.into(), "bias", vec![outputs], Start::Const(0.0)),
    ]
}

fn norm(layer: &str, width: i64) -> [Entry; 2] {
    [
        (layer.into(), "weight", vec![width], Start::Const(1.0)),
        (layer.into(), "bias", vec![width], Start::Const(0.0)),
    ]
}

fn entries(kind: &str) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    match kind {
        "cnn" => {
            all.extend(conv("conv1", 1, 8));
            all.extend(conv("conv2", 8, 16));
            all.extend(linear("fc1", 256, 64));
            all.extend(linear("fc2", 64, 10));
        }
        "mlp" => {
            all.extend(linear("fc1", 64, 64));
            all.extend(linear("fc2", 64, 64));
            all.extend(linear("fc3", 64, 32));
            all.extend(linear("fc4", 32, 10));
        }
        "lstm" => {
            all.extend(linear("embed", 8, 16));
            all.push(("lstm".into(), "weight_ih", vec![128, 16], Start::He));
            all.push(("lstm".into(), "weight_hh", vec![128, 32], Start::He));
            all.push(("lstm".into(), "bias", vec![128], Start::Const(0.0)));
            all.extend(linear("fc", 32, 32));
            all.extend(linear("head", 32, 10));
        }
        "transformer" => {
            all.extend(linear("embed", 8, 32));
            all.push(("position".into(), "weight", vec![8, 32], Start::Normal(0.1)));
            for block in ["h.0", "h.1"] {
                all.extend(norm(&format!("{block}.ln1"), 32));
                all.extend(linear(&format!("{block}.attn"), 32, 96));
                all.extend(norm(&format!("{block}.ln2"), 32));
                all.extend(linear(&format!("{block}.ff1"), 32, 64));
                all.extend(linear(&format!("{block}.ff2"), 64, 32));
            }
            all.extend(norm("ln", 32));
            all.extend(linear("head", 32, 10));
        }
        "residual" => {
            all.extend(linear("embed", 64, 32));
            for block in 0..8 {
                all.extend(linear(&format!("h.{block}.up"), 32, 32));
                let down = format!("h.{block}.down");
                all.push((down.clone(), "weight", vec![32, 32], Start::Const(0.0)));
                all.push((down, "bias", vec![32], Start::Const(0.0)));
            }
            all.extend(linear("head", 32, 10));
        }
        "normed" => {
            for (number, inputs, outputs) in [(1, 1, 8), (2, 8, 16)] {
                all.extend(conv(&format!("conv{number}"), inputs, outputs));
                let layer = format!("bn{number}");
                all.extend(norm(&layer, outputs));
                all.push((
                    layer.clone(),
                    "running_mean",
                    vec![outputs],
                    Start::Buffer(0.0),
                ));
                all.push((layer, "running_var", vec![outputs], Start::Buffer(1.0)));
            }
            all.extend(linear("fc", 256, 10));
        }
        "adapter" => {
            for (layer, inputs, outputs) in [("fc1", 64, 64), ("fc2", 64, 10)] {
                all.extend(linear(layer, inputs, outputs));
                all.push((layer.into(), "lora_a", vec![4, inputs], Start::He));
                all.push((layer.into(), "lora_b", vec![outputs, 4], Start::Const(0.0)));
            }
        }
        _ => {
            all.extend(linear("encoder", 64, 32));
            all.push(("decoder".into(), "bias", vec![64], Start::Const(0.0)));
            all.extend(linear("head", 64, 10));
        }
    }
    all
}

/// Words of a vocabulary of which each batch touches a few: an embedding table and a head.
pub(crate) struct Words {
    table: Tensor,
    head: [Tensor; 2],
}

impl Words {
    pub(crate) const VOCABULARY: i64 = 2000;

    pub(crate) fn build(store: &VarStore) -> Words {
        let root = store.root();
        let (emb, head) = (&root / "emb", &root / "head");
        Words {
            table: emb.var(
                "weight",
                &[Words::VOCABULARY, 32],
                Init::Randn {
                    mean: 0.0,
                    stdev: 1.0,
                },
            ),
            head: [
                head.var(
                    "weight",
                    &[10, 32],
                    Init::Uniform {
                        lo: -0.18,
                        up: 0.18,
                    },
                ),
                head.var("bias", &[10], Init::Const(0.0)),
            ],
        }
    }

    /// Logits for `[n, length]` words.
    pub(crate) fn logits(&self, words: &Tensor) -> Tensor {
        let bag = Tensor::embedding(&self.table, words, -1, false, false).mean_dim(
            [1_i64].as_slice(),
            false,
            None::<Kind>,
        );
        bag.linear(&self.head[0], Some(&self.head[1]))
    }
}
