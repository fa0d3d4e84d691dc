//! What reaches the loss and what does not: indices, rebuilt tensors, layers nobody calls,
//! gradients of exactly zero.

use anyhow::Result;
use tch::nn::{self, Module, OptimizerConfig};
use tch::{Kind, Reduction, Tensor};
use tch_tensorboard::Logger;

use super::data::{FLOAT, batch, clusters, curve, mlp, pictures, plain, store, track};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub static PROGRAMS: [Program; 8] = [
    Program {
        name: "argmax_between_two_modules",
        source: "pytorch/pytorch#1339",
        about: "Passed the argmax of one module's output to a second module.",
        train: argmax_between,
        expect: &[
            expect("first.*", &["detached"]),
            expect("second.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "Indices carry no gradient: the first module never gets one, the second learns.",
    },
    Program {
        name: "log_probabilities_rebuilt",
        source: "Quantum-Cheese/DeepReinforcementLearning_Pytorch#1",
        about: "Collected log probabilities as numbers and made a new tensor for the actor's loss.",
        train: log_probs_rebuilt,
        expect: &[
            expect("actor/*", &["no_gradient", "detached"]),
            expect("critic/*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The actor's part of the summed loss is a constant: only the critic has gradients.",
    },
    Program {
        name: "projection_nobody_calls",
        source: "Project-MONAI/GenerativeModels#402",
        about: "Built an attention block whose output projection is not called in forward.",
        train: unused_projection,
        expect: &[
            expect("attention.proj_attn.*", &["detached"]),
            expect("attention.to_*", &["learning"]),
            expect("head.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The projection is no part of the loss: no gradient, while all others have one.",
    },
    Program {
        name: "checkpointing_cuts_lora",
        source: "cloneofsimo/lora#26",
        about: "Trained adapters inside a checkpointed block whose inputs require no gradient.",
        train: checkpoint_cuts,
        expect: &[
            expect("block1.lora_up.weight", &["detached", "all_zero"]),
            expect("block1.lora_down.weight", &["detached"]),
            expect("block2.lora_*", &["learning"]),
            expect("*.base.weight", &["frozen"]),
        ],
        model: ModelExpect::Fault,
        note: "The block runs without a graph, so that its adapters get no gradient and the upper \
               ones stay zero; the adapters of the block behind it learn.",
    },
    Program {
        name: "softmax_over_one_output",
        source: "FluxML/Flux.jl#1546",
        about: "Put a softmax behind the only output of the network; the loss stays the same.",
        train: softmax_of_one,
        expect: &[expect("*", &["zero_gradient"])],
        model: ModelExpect::Fault,
        note: "The softmax of one number is 1 whatever the weights: all gradients are exactly 0.",
    },
    Program {
        name: "sign_without_an_estimator",
        source: "layog/Accurate-Binary-Convolution-Network#6",
        about: "Binarized filters with sign() and no straight-through estimator.",
        train: sign_filters,
        expect: &[
            expect("conv*.filters", &["dead_gradient"]),
            expect("conv*.shift", &["dead_gradient"]),
            expect("fc.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The derivative of sign is 0: filters and shifts get exact zeros, the last layer \
               learns on constant features.",
    },
    Program {
        name: "rectifier_at_the_output",
        source: "jvargasmu/population_estimation#68",
        about: "Ended the network with a rectifier; some initial weights predict only zeros.",
        train: relu_output,
        expect: &[expect("*", &["zero_gradient"])],
        model: ModelExpect::Fault,
        note: "Behind the rectifier every output is below zero: no variable gets any gradient.",
    },
    Program {
        name: "rectified_weight_turned_negative",
        source: "pytorch/pytorch#97452",
        about: "Kept a weight non-negative by relu(w) in forward; it turned negative once.",
        train: relu_weight,
        expect: &[
            expect("gain", &["dead_gradient"]),
            expect("branch.*", &["dead_gradient"]),
            expect("trunk.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "Below zero relu(w) is constant: w stays there for ever, and what it scales, too, \
               gets a gradient of exactly 0.",
    },
];

const fn expect(variables: &'static str, verdicts: &'static [&'static str]) -> Expect {
    Expect {
        variables,
        verdicts,
        causes: &[],
        remarks: &[],
    }
}

fn argmax_between(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let first = mlp(&(&root / "first"), &[8, 24, 10]);
    let second = mlp(&(&root / "second"), &[10, 24, 3]);
    let mut opt = nn::Adam::default().build(&vs, 2e-3)?;
    let (x, y) = clusters(512, 8, 3);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let words = first.forward(&bx).argmax(-1, false);
        let logits = second.forward(&words.one_hot(10).to_kind(Kind::Float));
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn log_probs_rebuilt(logger: &Logger) -> Result<()> {
    let (actor_vs, critic_vs) = (store(), store());
    let actor = mlp(&actor_vs.root(), &[4, 32, 2]);
    let critic = mlp(&critic_vs.root(), &[4, 32, 1]);
    let mut actor_opt = nn::Adam::default().build(&actor_vs, 1e-3)?;
    let mut critic_opt = nn::Adam::default().build(&critic_vs, 3e-3)?;
    let (actor_log, critic_log) = (logger.scoped("actor")?, logger.scoped("critic")?);
    for step in 0..200 {
        let states = Tensor::randn([32, 4], FLOAT);
        let policy = actor.forward(&states).log_softmax(-1, Kind::Float);
        let actions = policy.exp().multinomial(1, true);
        let memory = Vec::<f32>::try_from(policy.gather(1, &actions, false).view([-1]).detach())?;
        let rewards = (states.narrow(1, 0, 1).gt(0.0).to_kind(Kind::Int64)).eq_tensor(&actions);
        let advantage = rewards.to_kind(Kind::Float) - critic.forward(&states);
        let log_probs = Tensor::from_slice(&memory).view([-1, 1]); // torch.tensor([...])
        let actor_loss = -(log_probs * advantage.detach()).mean(Kind::Float);
        let critic_loss = advantage.square().mean(Kind::Float);
        let loss = &actor_loss + &critic_loss;
        actor_opt.zero_grad();
        critic_opt.zero_grad();
        loss.backward();
        actor_opt.step();
        critic_opt.step();
        log(&actor_log, "actor", &actor_vs, &actor_loss, step)?;
        log(&critic_log, "critic", &critic_vs, &critic_loss, step)?;
    }
    Ok(())
}

fn unused_projection(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let path = &root / "attention";
    let to_q = plain(&path / "to_q", 16, 16);
    let to_k = plain(&path / "to_k", 16, 16);
    let to_v = plain(&path / "to_v", 16, 16);
    let _projection = nn::linear(&path / "proj_attn", 16, 16, Default::default());
    let head = nn::linear(&root / "head", 16, 4, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (x, y) = clusters(256, 6 * 16, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 16);
        let bx = bx.view([16, 6, 16]);
        let scores = to_q.forward(&bx).matmul(&to_k.forward(&bx).transpose(1, 2)) / 4.0;
        let mixed = scores.softmax(-1, Kind::Float).matmul(&to_v.forward(&bx));
        let pooled = (mixed + &bx).mean_dim([1].as_slice(), false, Kind::Float);
        let loss = head.forward(&pooled).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

/// A frozen linear layer and its adapter of rank 4.
struct Adapted {
    base: nn::Linear,
    down: nn::Linear,
    up: nn::Linear,
}

impl Adapted {
    fn new(path: nn::Path, size: i64) -> Adapted {
        let zeros = nn::LinearConfig {
            ws_init: nn::Init::Const(0.0),
            bs_init: None,
            bias: false,
        };
        Adapted {
            base: plain(&path / "base", size, size),
            down: plain(&path / "lora_down", size, 4),
            up: nn::linear(&path / "lora_up", 4, size, zeros),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        (self.base.forward(x) + self.up.forward(&self.down.forward(x))).tanh()
    }
}

fn checkpoint_cuts(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let block1 = Adapted::new(&root / "block1", 16);
    let block2 = Adapted::new(&root / "block2", 16);
    let out = plain(&root / "out" / "base", 16, 4);
    track(&vs, "block1.base", false);
    track(&vs, "block2.base", false);
    track(&vs, "out.base", false);
    let mut opt = nn::AdamW::default().build(&vs, 2e-3)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        // A re-entrant checkpoint records no graph when none of its inputs requires a gradient.
        let hidden = tch::no_grad(|| block1.forward(&bx));
        let logits = out.forward(&block2.forward(&hidden));
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn softmax_of_one(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let first = nn::linear(&root / "linear1", 2, 2, Default::default());
    let second = nn::linear(&root / "linear2", 2, 1, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let x = Tensor::rand([1000, 2], FLOAT);
    let y = x.prod_dim_int(1, true, Kind::Float);
    for step in 0..150 {
        let (bx, by) = batch(&x, &y, 50);
        let output = second.forward(&first.forward(&bx).sigmoid());
        let loss = output
            .softmax(-1, Kind::Float)
            .mse_loss(&by, Reduction::Mean);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn sign_filters(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let normal = nn::Init::Randn {
        mean: 0.0,
        stdev: 0.1,
    };
    let filters1 = (&root / "conv1").var("filters", &[8, 1, 3, 3], normal);
    let shift1 = (&root / "conv1").var("shift", &[1], nn::Init::Const(0.2));
    let filters2 = (&root / "conv2").var("filters", &[8, 8, 3, 3], normal);
    let shift2 = (&root / "conv2").var("shift", &[1], nn::Init::Const(-0.2));
    let fc = nn::linear(&root / "fc", 8 * 16, 4, Default::default());
    let binary = |filters: &Tensor, shift: &Tensor| {
        (filters - filters.mean(Kind::Float) + shift * filters.std(true)).sign()
    };
    let conv = |x: &Tensor, filters: &Tensor| {
        x.conv2d(filters, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1) / 8.0
    };
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (x, y) = pictures(256, 4);
    for step in 0..150 {
        let (bx, by) = batch(&x, &y, 32);
        let hidden = conv(&bx, &binary(&filters1, &shift1)).relu();
        let hidden = conv(&hidden, &binary(&filters2, &shift2)).relu();
        let loss = fc
            .forward(&hidden.view([32, -1]))
            .cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn relu_output(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let net = mlp(&(&root / "net"), &[8, 32, 32]);
    let small = nn::LinearConfig {
        ws_init: nn::Init::Uniform { lo: -0.02, up: 0.0 },
        bs_init: Some(nn::Init::Const(-0.01)),
        bias: true,
    };
    let out = nn::linear(&root / "out", 32, 1, small);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (x, y) = curve(512, 8);
    let y = y.exp();
    for step in 0..150 {
        let (bx, by) = batch(&x, &y, 64);
        let scale = out.forward(&net.forward(&bx).relu()).relu();
        let loss = scale.l1_loss(&by, Reduction::Mean);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn relu_weight(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let gain = root.var("gain", &[1], nn::Init::Const(0.05));
    let branch = nn::linear(&root / "branch", 6, 1, Default::default());
    let trunk = mlp(&(&root / "trunk"), &[6, 32, 1]);
    let mut opt = nn::Sgd::default().build(&vs, 0.02)?;
    let x = Tensor::randn([512, 6], FLOAT);
    let noise = Tensor::randn([512, 1], FLOAT) * 0.1;
    let y = tch::no_grad(|| branch.forward(&x) * -1.5 + x.narrow(1, 0, 1).square() + noise);
    for step in 0..250 {
        let (bx, by) = batch(&x, &y, 32);
        let output = gain.relu() * branch.forward(&bx) + trunk.forward(&bx);
        let loss = output.mse_loss(&by, Reduction::Mean);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
