//! What the weights begin with.

use anyhow::Result;
use tch::nn::{self, LinearConfig, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::Logger;

use super::data::{self, BARE, Blobs, FLOAT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "lora",
        source: "microsoft/LoRA#59",
        about: "Fine-tuned a frozen layer by LoRA, whose matrix B begins with zeros, and asked how \
               B can ever learn.",
        train: lora,
        expect: &[
            Expect::new("lora_?", &["learning"]),
            Expect::new("base.*", &["frozen"]),
        ],
        model: ModelExpect::Healthy,
        note: "B gets a gradient through A at once, and A one as soon as B has left zero.",
    },
    Program {
        name: "lora_both_zero",
        source: "circle-hit/SAPT#11",
        about: "Initialized both matrices of LoRA with zeros.",
        train: lora_both_zero,
        expect: &[
            Expect::new("lora_?", &["all_zero", "zero_gradient"]),
            Expect::new("base.*", &["frozen"]),
        ],
        model: ModelExpect::Fault,
        note: "Each one's gradient has the other as a factor: both stay zero for ever.",
    },
    Program {
        name: "zero_gate_behind_relu",
        source: "lucidrains/deep-cross-attention#2",
        about: "Initialized a layer without bias with zeros and put a ReLU behind it.",
        train: zero_gate_behind_relu,
        expect: &[
            Expect::new("gate.weight", &["all_zero", "dead_gradient"]),
            Expect::new("block*", &["learning"]),
            Expect::new("out.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The ReLU's slope at zero is zero: nothing ever moves the gate; the network learns \
               around it.",
    },
    Program {
        name: "constant_start",
        source: "nndl/nndl-discussion#14",
        about: "Initialized all weights of a layer with the same constant.",
        train: constant_start,
        expect: &[Expect::new("fc1.weight", &["identical_units"])],
        model: ModelExpect::Fault,
        note: "All hidden units compute the same and get the same gradient: the layer is one unit.",
    },
    Program {
        name: "linear_model_from_zero",
        source: "jthickstun/pytorch_musicnet#4",
        about: "Initialized a linear model with zeros.",
        train: linear_model_from_zero,
        expect: &[Expect::new("linear.weight", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Without a hidden layer there is no symmetry to break: zeros are a good start.",
    },
    Program {
        name: "norm_weights_in_bf16",
        source: "vllm-project/speculators#765",
        about: "Trained all in bf16: the weights of the norms stayed exactly 1, those of linear \
               layers moved.",
        train: norm_weights_in_bf16,
        expect: &[
            Expect::new("*norm.weight", &["not_updated", "rounded_away"]).because(&["rounding"]),
            Expect::new("*proj.weight", &["learning", "rounded_away"]),
        ],
        model: ModelExpect::Fault,
        note: "A step of 1e-4 is less than half of the distance from 1 to its neighbours in bf16 \
               (1/256 and 1/128).",
    },
];

/// A frozen layer with a bypass of rank 4, trained towards another layer.
fn bypass(logger: &Logger, first: nn::Init) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let base = nn::linear(&vs.root() / "base", 32, 32, Default::default());
    data::freeze(&vs, "base");
    let lora_a = vs.root().var("lora_a", &[4, 32], first);
    let lora_b = vs.root().zeros("lora_b", &[32, 4]);
    let shift = Tensor::randn([32, 2], FLOAT).matmul(&Tensor::randn([2, 32], FLOAT)) * 0.1;
    let mut opt = nn::AdamW::default().build(&vs, 2e-3)?;
    for step in 0..250 {
        let x = Tensor::randn([64, 32], FLOAT);
        let wanted = x.apply(&base) + x.matmul(&shift);
        let tuned = x.apply(&base) + x.matmul(&lora_a.tr()).matmul(&lora_b.tr()) * 2.0;
        let loss = data::squares(&tuned, &wanted);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn lora(logger: &Logger) -> Result<()> {
    bypass(logger, nn::init::DEFAULT_KAIMING_UNIFORM)
}

fn lora_both_zero(logger: &Logger) -> Result<()> {
    bypass(logger, nn::Init::Const(0.0))
}

fn zero_gate_behind_relu(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 24, 6);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let zero = LinearConfig {
        ws_init: nn::Init::Const(0.0),
        ..BARE
    };
    let gate = nn::linear(&root / "gate", 24, 2, zero);
    let block1 = nn::linear(&root / "block1", 24, 24, Default::default());
    let block2 = nn::linear(&root / "block2", 24, 24, Default::default());
    let out = nn::linear(&root / "out", 24, 6, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let rms = x
            .square()
            .mean_dim([1].as_slice(), true, Kind::Float)
            .sqrt();
        let share = (&x / rms).apply(&gate).relu();
        let first = &x + x.apply(&block1).relu();
        let second = &first + first.apply(&block2).relu();
        let mixed = second + share.narrow(1, 0, 1) * &x + share.narrow(1, 1, 1) * &first;
        let loss = mixed.apply(&out).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn constant_start(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 12, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let same = LinearConfig {
        ws_init: nn::Init::Const(0.1),
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    let fc1 = nn::linear(&root / "fc1", 12, 24, same);
    let fc2 = nn::linear(&root / "fc2", 24, 4, same);
    let mut opt = nn::Sgd::default().build(&vs, 0.05)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(64);
        let loss = x
            .apply(&fc1)
            .tanh()
            .apply(&fc2)
            .cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn linear_model_from_zero(logger: &Logger) -> Result<()> {
    let x = Tensor::randn([800, 64], FLOAT).abs();
    let notes = (x.matmul(&Tensor::randn([64, 16], FLOAT)))
        .gt(0.0)
        .to_kind(Kind::Float);
    let vs = nn::VarStore::new(Device::Cpu);
    let zero = LinearConfig {
        ws_init: nn::Init::Const(0.0),
        ..BARE
    };
    let linear = nn::linear(&vs.root() / "linear", 64, 16, zero);
    let mut opt = nn::sgd(0.9, 0., 0., false).build(&vs, 0.01)?;
    for step in 0..250 {
        let rows = data::rows(800, 50);
        let heard = x.index_select(0, &rows).apply(&linear);
        let loss = data::squares(&heard, &notes.index_select(0, &rows));
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn norm_weights_in_bf16(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 64, 8);
    let mut vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let norms = [1, 2].map(|layer| (&root / format!("layer{layer}_norm")).ones("weight", &[64]));
    let first = nn::linear(&root / "layer1_proj", 64, 64, BARE);
    let second = nn::linear(&root / "layer2_proj", 64, 8, BARE);
    vs.bfloat16();
    let rms_norm = |x: &Tensor, weight: &Tensor| {
        let size = x.square().mean_dim([-1].as_slice(), true, Kind::BFloat16);
        x * (size + 1e-6).rsqrt() * weight
    };
    let mut opt = nn::AdamW::default().build(&vs, 1e-4)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let x = x.to_kind(Kind::BFloat16);
        let hidden = rms_norm(&x, &norms[0]).apply(&first).silu() + x;
        let logits = rms_norm(&hidden, &norms[1]).apply(&second);
        let loss = logits.to_kind(Kind::Float).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
