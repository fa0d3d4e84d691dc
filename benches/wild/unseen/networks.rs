//! Kinds of networks: first weights, parameters that cannot matter, layers used in turn, noisy
//! losses.

use anyhow::Result;
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch::{Kind, Reduction, Tensor};
use tch_tensorboard::Logger;

use super::data::{FLOAT, batch, clusters, mlp, pictures, store, tokens};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub static PROGRAMS: [Program; 8] = [
    Program {
        name: "bias_of_attention_keys",
        source: "microsoft/unilm#510",
        about: "Asked why keys need no bias: the softmax cancels whatever it is.",
        train: key_bias,
        expect: &[expect("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "The gradient of the key's bias is rounding noise around zero and harmless: many \
               transformers have such a bias, and the model learns as well with it.",
    },
    Program {
        name: "bias_in_front_of_batch_norm",
        source: "yjxiong/caffe#98",
        about: "Wondered that the bias of convolutions in front of batch norm hardly changes.",
        train: bias_before_norm,
        expect: &[expect("*.weight", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Batch norm subtracts the bias again, so that its gradient is rounding noise: a \
               parameter too many, and no fault in training.",
    },
    Program {
        name: "softmax_regression_from_zero",
        source: "LaurentMazare/tch-rs: examples/mnist/mnist_linear.rs",
        about: "Began a single linear layer with zeros and updated it by hand at rate 1.",
        train: from_zero,
        expect: &[expect("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "One layer has no symmetry to break: zeros are a fair start.",
    },
    Program {
        name: "seven_sigmoid_layers",
        source: "microsoft/CNTK#476",
        about: "Added a seventh hidden layer of sigmoids, and the training error stays.",
        train: deep_sigmoid,
        expect: &[expect("fc1.weight", &["vanishing", "rounded_away"])],
        model: ModelExpect::Fault,
        note: "Each sigmoid passes on at most a quarter of the gradient: the first layer gets \
               less than a ten-thousandth of the last one's.",
    },
    Program {
        name: "all_weights_one_constant",
        source: "nndl/nndl-discussion#14",
        about: "Initialised all weights with one constant.",
        train: constants,
        expect: &[expect("fc1.weight", &["identical_units"])],
        model: ModelExpect::Fault,
        note: "All hidden units compute the same, get the same gradient, and stay the same: the \
               network is as wide as one unit.",
    },
    Program {
        name: "layers_used_by_turns",
        source: "openai/jukebox#252",
        about: "Used some layers in even batches and others in odd ones.",
        train: by_turns,
        expect: &[expect("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Each branch has no gradient in every other step, and learns in the others.",
    },
    Program {
        name: "variational_autoencoder",
        source: "LaurentMazare/tch-rs: examples/vae/main.rs",
        about: "Trained a variational autoencoder with the summed loss.",
        train: vae,
        expect: &[expect("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Gradients are in the hundreds, because the loss is a sum: Adam does not mind.",
    },
    Program {
        name: "policy_gradient",
        source: "LaurentMazare/tch-rs: examples/reinforcement-learning/policy_gradient.rs",
        about: "Trained a policy by the rewards to go of whole episodes, without a baseline.",
        train: policy_gradient,
        expect: &[expect("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "The gradient is very noisy, and the reward rises all the same.",
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

fn key_bias(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let config = nn::EmbeddingConfig {
        ws_init: nn::Init::Randn {
            mean: 0.0,
            stdev: 0.1,
        },
        ..Default::default()
    };
    let embed = nn::embedding(&root / "embed", 16, 32, config);
    let place = (&root / "position").var("weight", &[8, 32], config.ws_init);
    let path = &root / "attention";
    let linear = |name: &str| nn::linear(&path / name, 32, 32, Default::default());
    let (query, key, value) = (linear("query"), linear("key"), linear("value"));
    let project = linear("project");
    let ln1 = nn::layer_norm(&root / "ln1", vec![32], Default::default());
    let ln2 = nn::layer_norm(&root / "ln2", vec![32], Default::default());
    let mlp = mlp(&(&root / "mlp"), &[32, 64, 32]);
    let head = nn::linear(&root / "head", 32, 16, Default::default());
    let heads = |x: Tensor| x.view([16, 8, 2, 16]).transpose(1, 2);
    let mask = Tensor::ones([8, 8], FLOAT).tril(0).eq(0.0);
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    for step in 0..250 {
        let text = tokens(16, 8, 16);
        let (inputs, targets) = (text.narrow(1, 0, 8), text.narrow(1, 1, 8));
        let x = embed.forward(&inputs) + &place;
        let n = ln1.forward(&x);
        let q = heads(query.forward(&n));
        let k = heads(key.forward(&n));
        let scores = (q.matmul(&k.transpose(-2, -1)) / 4.0).masked_fill(&mask, f64::NEG_INFINITY);
        let mixed = scores
            .softmax(-1, Kind::Float)
            .matmul(&heads(value.forward(&n)));
        let mixed = mixed.transpose(1, 2).reshape([16, 8, 32]);
        let x = x + project.forward(&mixed);
        let x = &x + mlp.forward(&ln2.forward(&x));
        let logits = head.forward(&x).view([-1, 16]);
        let loss = logits.cross_entropy_for_logits(&targets.reshape([-1]));
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn bias_before_norm(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let config = nn::ConvConfig {
        padding: 1,
        ..Default::default()
    };
    let conv1 = nn::conv2d(&root / "conv1", 1, 8, 3, config);
    let bn1 = nn::batch_norm2d(&root / "bn1", 8, Default::default());
    let conv2 = nn::conv2d(&root / "conv2", 8, 16, 3, config);
    let bn2 = nn::batch_norm2d(&root / "bn2", 16, Default::default());
    let fc = nn::linear(&root / "fc", 16, 4, Default::default());
    let mut opt = nn::sgd(0.9, 0.0, 5e-4, false).build(&vs, 0.01)?;
    let (x, y) = pictures(512, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let hidden = bn1.forward_t(&conv1.forward(&bx), true).relu();
        let hidden = bn2.forward_t(&conv2.forward(&hidden), true).relu();
        let pooled = hidden.mean_dim([2, 3].as_slice(), false, Kind::Float);
        let loss = fc.forward(&pooled).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn from_zero(logger: &Logger) -> Result<()> {
    let vs = store();
    let mut ws = vs.root().zeros("ws", &[64, 10]);
    let mut bs = vs.root().zeros("bs", &[10]);
    let (x, y) = clusters(600, 64, 10);
    let x = (x / 8.0).sigmoid();
    for step in 0..200 {
        let logits = x.mm(&ws) + &bs;
        let loss = logits.log_softmax(-1, Kind::Float).nll_loss(&y);
        ws.zero_grad();
        bs.zero_grad();
        loss.backward();
        tch::no_grad(|| {
            ws += ws.grad() * (-1);
            bs += bs.grad() * (-1);
        });
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn deep_sigmoid(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let config = nn::LinearConfig {
        ws_init: nn::Init::Randn {
            mean: 0.0,
            stdev: 0.1,
        },
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    let mut net = nn::seq();
    for at in 1..=7 {
        let inputs = if at == 1 { 16 } else { 64 };
        net = net.add(nn::linear(&root / format!("fc{at}"), inputs, 64, config));
        net = net.add_fn(Tensor::sigmoid);
    }
    let net = net.add(nn::linear(&root / "out", 64, 4, config));
    let mut opt = nn::Sgd::default().build(&vs, 0.1)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..250 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn constants(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let config = nn::LinearConfig {
        ws_init: nn::Init::Const(0.1),
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    let first = nn::linear(&root / "fc1", 16, 32, config);
    let second = nn::linear(&root / "fc2", 32, 4, config);
    let mut opt = nn::Sgd::default().build(&vs, 0.05)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let logits = second.forward(&first.forward(&bx).sigmoid());
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn by_turns(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let shared = mlp(&(&root / "shared"), &[16, 32]);
    let even = mlp(&(&root / "even"), &[32, 32, 4]);
    let odd = mlp(&(&root / "odd"), &[32, 32, 4]);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let sets = [clusters(512, 16, 4), clusters(512, 16, 4)];
    for step in 0..300 {
        let (x, y) = &sets[step as usize % 2];
        let branch = if step % 2 == 0 { &even } else { &odd };
        let (bx, by) = batch(x, y, 32);
        let logits = branch.forward(&shared.forward(&bx).relu());
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn vae(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let linear = |name: &str, inputs: i64, outputs: i64| {
        nn::linear(&root / name, inputs, outputs, Default::default())
    };
    let (fc1, fc21, fc22) = (
        linear("fc1", 64, 48),
        linear("fc21", 48, 6),
        linear("fc22", 48, 6),
    );
    let (fc3, fc4) = (linear("fc3", 6, 48), linear("fc4", 48, 64));
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (x, y) = clusters(1024, 64, 6);
    let x = (x * 1.5).sigmoid();
    for step in 0..300 {
        let (bx, _) = batch(&x, &y, 64);
        let hidden = fc1.forward(&bx).relu();
        let (mu, logvar) = (fc21.forward(&hidden), fc22.forward(&hidden));
        let z = &mu + (&logvar * 0.5).exp() * mu.randn_like();
        let again = fc4.forward(&fc3.forward(&z).relu()).sigmoid();
        let entropy = again.binary_cross_entropy::<Tensor>(&bx, None, Reduction::Sum);
        let kld = (logvar.exp() + mu.square() - &logvar - 1.0).sum(Kind::Float) * 0.5;
        let loss = entropy + kld;
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn policy_gradient(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let net = nn::seq()
        .add(nn::linear(&root / "lin1", 4, 32, Default::default()))
        .add_fn(Tensor::tanh)
        .add(nn::linear(&root / "lin2", 32, 2, Default::default()));
    let mut opt = nn::Adam::default().build(&vs, 1e-2)?;
    for step in 0..120 {
        // Eight carts at once: push left or right, stay near the middle for 20 moves.
        let mut states = Tensor::randn([8, 4], FLOAT) * 0.5;
        let (mut seen, mut taken, mut rewards) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..20 {
            let policy = tch::no_grad(|| net.forward(&states).softmax(-1, Kind::Float));
            let action = policy.multinomial(1, true);
            let push = action.to_kind(Kind::Float) * 0.6 - 0.3;
            let speed = states.narrow(1, 1, 1) * 0.9 + push;
            let place = states.narrow(1, 0, 1) + &speed * 0.5;
            let rest = states.narrow(1, 2, 2) * 0.9 + Tensor::randn([8, 2], FLOAT) * 0.1;
            seen.push(states);
            taken.push(action);
            rewards.push(place.abs().lt(1.0).to_kind(Kind::Float));
            states = Tensor::cat(&[place, speed, rest], 1);
        }
        let mut to_go = Tensor::zeros([8, 1], FLOAT);
        for reward in rewards.iter_mut().rev() {
            to_go += &*reward;
            *reward = to_go.copy();
        }
        let log_policy = net
            .forward(&Tensor::cat(&seen, 0))
            .log_softmax(-1, Kind::Float);
        let chosen = log_policy.gather(1, &Tensor::cat(&taken, 0), false);
        let loss = -(Tensor::cat(&rewards, 0) * chosen).mean(Kind::Float);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
