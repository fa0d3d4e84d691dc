//! Learning rates that are, or become, very small.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::Logger;

use super::data::{self, Blobs, FLOAT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "warmup_then_cosine",
        source: "EleutherAI/gpt-neox#1373",
        about: "Warmed up from a rate of 0, so that the models of steps 0 and 1 are the same, and \
               ended with a cosine to 0.",
        train: warmup_then_cosine,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "The usual schedule: the first step does nothing, and the last steps nearly nothing.",
    },
    Program {
        name: "gamma_of_zero",
        source: "LINCellularNeuroscience/VAME#26",
        about: "Switched the scheduler off, by which the code multiplied the rate by 0 after 100 \
               epochs.",
        train: gamma_of_zero,
        expect: &[Expect::new("*", &["not_updated"]).because(&["learning_rate_zero"])],
        model: ModelExpect::Fault,
        note: "Learns for 100 steps, then gradients are there and no bit changes for the rest of \
               the run.",
    },
    Program {
        name: "layer_decay_each_step",
        source: "jaehyunnn/ViTPose_pytorch#20",
        about: "Applied the layer-wise decay of rates at each step instead of once.",
        train: layer_decay_each_step,
        expect: &[
            Expect::new("fc[123].*", &["stalled", "not_updated"])
                .because(&["learning_rate_zero", "rounding"]),
            Expect::new("fc4.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The rates of the lower layers fall exponentially to nothing, that of the head has \
               the factor 1.",
    },
    Program {
        name: "rate_of_one_millionth",
        source: "huggingface/open-r1#295",
        about: "Trained by policy gradients with a rate of 1e-6, printed a weight and saw no \
               change.",
        train: rate_of_one_millionth,
        expect: &[Expect::new("*.weight", &["learning"]).noting(&["hardly_moving"])],
        model: ModelExpect::Healthy,
        note: "Each element changes at each step, too little for a print of four digits: no \
               fault, but worth a remark.",
    },
];

fn warmup_then_cosine(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 6);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 32, 6]);
    let mut opt = nn::AdamW::default().build(&vs, 2e-3)?;
    for step in 0..300 {
        let rate = match step {
            0..30 => f64::from(step) / 30.0,
            _ => 0.5 + 0.5 * (std::f64::consts::PI * f64::from(step - 30) / 270.0).cos(),
        };
        opt.set_lr(2e-3 * rate);
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step.into())?;
    }
    Ok(())
}

fn gamma_of_zero(logger: &Logger) -> Result<()> {
    let (x, y) = data::regression(512, 12, 12);
    let vs = nn::VarStore::new(Device::Cpu);
    let encoder = data::mlp(&(&vs.root() / "encoder"), &[12, 24, 4]);
    let decoder = data::mlp(&(&vs.root() / "decoder"), &[4, 24, 12]);
    let (mut rate, gamma) = (1e-3, 0.0);
    let mut opt = nn::Adam::default().build(&vs, rate)?;
    for epoch in 0..260 {
        if epoch == 100 {
            rate *= gamma;
            opt.set_lr(rate);
        }
        let rows = data::rows(512, 64);
        let decoded = x.index_select(0, &rows).apply(&encoder).apply(&decoder);
        let loss = data::squares(&decoded, &y.index_select(0, &rows));
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, epoch)?;
    }
    Ok(())
}

fn layer_decay_each_step(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 6);
    let vs = nn::VarStore::new(Device::Cpu);
    let sizes = [16, 32, 32, 32, 6];
    let mut model = nn::seq();
    for (layer, pair) in sizes.windows(2).enumerate() {
        let path = (&vs.root() / format!("fc{}", layer + 1)).set_group(layer);
        model = model.add(nn::linear(path, pair[0], pair[1], Default::default()));
        if layer < 3 {
            model = model.add_fn(|x| x.relu());
        }
    }
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let mut rates = [1e-3; 4];
    for step in 0..250 {
        for (layer, rate) in rates.iter_mut().enumerate() {
            *rate *= 0.75_f64.powi(3 - layer as i32);
            opt.set_lr_group(layer, *rate);
        }
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn rate_of_one_millionth(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let policy = data::mlp(&vs.root(), &[16, 32, 8]);
    let best = Tensor::randn([16, 8], FLOAT);
    let mut opt = nn::AdamW::default().build(&vs, 1e-6)?;
    for step in 0..200 {
        let state = Tensor::randn([64, 16], FLOAT);
        let logp = state.apply(&policy).log_softmax(-1, Kind::Float);
        let action = logp.exp().multinomial(1, true);
        let reward = state.matmul(&best).gather(1, &action, false);
        let advantage = (&reward - reward.mean(Kind::Float)) / (reward.std(true) + 1e-4);
        let loss = -(logp.gather(1, &action, false) * advantage).mean(Kind::Float);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
