//! Two networks against each other.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use tch_tensorboard::Logger;

use super::data::{self, BARE, FLOAT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "gan_frozen_in_turn",
        source: "LaurentMazare/tch-rs: examples/gan/main.rs",
        about: "Trained a GAN as tch's example does: each turn freezes the other store; logged \
               both at the end of the turn.",
        train: gan_frozen_in_turn,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "The discriminator is always frozen when it is logged, and has moved each time: it \
               was unfrozen in between.",
    },
    Program {
        name: "wgan_clipping",
        source: "martinarjovsky/WassersteinGAN#50",
        about: "Clipped the critic's weights to ±0.01 before each of its steps, and froze it for \
               the generator's.",
        train: wgan_clipping,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "That many weights lie at the bound is what weight clipping does. The generator \
               learns through the critic.",
    },
    Program {
        name: "discriminator_never_steps",
        source: "zhaoyuzhi/deepfillv2#6",
        about: "Forgot step() of the discriminator's optimizer; the loss of the generator still \
               fell.",
        train: discriminator_never_steps,
        expect: &[
            Expect::new("discriminator/*", &["not_updated"]).because(&["step_not_called"]),
            Expect::new("generator/*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "backward runs, so gradients are there; no step is made.",
    },
    Program {
        name: "second_discriminator_forgotten",
        source: "line/open-universe#5",
        about: "Listed the parameters of one discriminator twice in the optimizer, and those of \
               the other not at all.",
        train: second_discriminator_forgotten,
        expect: &[
            Expect::new("mpd/*", &["not_updated"]).because(&["not_in_optimizer"]),
            Expect::new("mrd/*", &["learning"]),
            Expect::new("generator/*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The second one gets gradients in both losses and is in no optimizer.",
    },
];

/// Points on a circle, with noise.
fn circle(count: i64) -> Tensor {
    let angle = Tensor::rand([count], FLOAT) * std::f64::consts::TAU;
    Tensor::stack(&[angle.cos(), angle.sin()], 1) + Tensor::randn([count, 2], FLOAT) * 0.05
}

fn noise(count: i64) -> Tensor {
    Tensor::rand([count, 8], FLOAT) * 2.0 - 1.0
}

fn gan_frozen_in_turn(logger: &Logger) -> Result<()> {
    let (log_g, log_d) = (logger.scoped("generator")?, logger.scoped("discriminator")?);
    let mut vs_g = nn::VarStore::new(Device::Cpu);
    let mut vs_d = nn::VarStore::new(Device::Cpu);
    let generator = data::mlp(&vs_g.root(), &[8, 32, 32, 2]);
    let discriminator = data::mlp_ending(&vs_d.root(), &[2, 32, 32, 1], BARE);
    let mut opt_g = nn::adam(0.5, 0.999, 0.).build(&vs_g, 1e-3)?;
    let mut opt_d = nn::adam(0.5, 0.999, 0.).build(&vs_d, 1e-3)?;
    for step in 0..300 {
        vs_d.unfreeze();
        vs_g.freeze();
        let real = circle(64).apply(&discriminator);
        let fake = noise(64).apply(&generator).detach().apply(&discriminator);
        let loss_d = data::squares(&real, &(fake.mean(Kind::Float) + 1))
            + data::squares(&fake, &(real.mean(Kind::Float) - 1));
        opt_d.backward_step(&loss_d);
        vs_d.freeze();
        vs_g.unfreeze();
        let real = circle(64).apply(&discriminator);
        let fake = noise(64).apply(&generator).apply(&discriminator);
        let loss_g = data::squares(&real, &(fake.mean(Kind::Float) - 1))
            + data::squares(&fake, &(real.mean(Kind::Float) + 1));
        opt_g.backward_step(&loss_g);
        log(&log_g, "generator", &vs_g, &loss_g, step)?;
        log(&log_d, "discriminator", &vs_d, &loss_d, step)?;
    }
    Ok(())
}

fn wgan_clipping(logger: &Logger) -> Result<()> {
    let (log_g, log_d) = (logger.scoped("generator")?, logger.scoped("critic")?);
    let vs_g = nn::VarStore::new(Device::Cpu);
    let mut vs_d = nn::VarStore::new(Device::Cpu);
    let generator = data::mlp(&vs_g.root(), &[8, 32, 2]);
    let critic = data::mlp_ending(&vs_d.root(), &[2, 32, 1], BARE);
    let config = nn::rms_prop(0.99, 1e-8, 0., 0., false);
    let mut opt_g = config.build(&vs_g, 5e-5)?;
    let mut opt_d = config.build(&vs_d, 5e-5)?;
    for step in 0..300 {
        vs_d.unfreeze();
        let mut loss_d = Tensor::zeros([], FLOAT);
        for _ in 0..5 {
            for mut weight in vs_d.trainable_variables() {
                let _ = no_grad(|| weight.clamp_(-0.01, 0.01));
            }
            let fake = no_grad(|| noise(64).apply(&generator));
            loss_d =
                fake.apply(&critic).mean(Kind::Float) - circle(64).apply(&critic).mean(Kind::Float);
            opt_d.backward_step(&loss_d);
        }
        vs_d.freeze();
        let loss_g = -noise(64).apply(&generator).apply(&critic).mean(Kind::Float);
        opt_g.backward_step(&loss_g);
        log(&log_g, "generator", &vs_g, &loss_g, step)?;
        log(&log_d, "critic", &vs_d, &loss_d, step)?;
    }
    Ok(())
}

/// The usual loss of a discriminator: `real` is 1 or 0.
fn judged(logits: &Tensor, real: f64) -> Tensor {
    let target = logits.full_like(real);
    let none = None::<&Tensor>;
    logits.binary_cross_entropy_with_logits(&target, none, none, tch::Reduction::Mean)
}

fn discriminator_never_steps(logger: &Logger) -> Result<()> {
    let (log_g, log_d) = (logger.scoped("generator")?, logger.scoped("discriminator")?);
    let vs_g = nn::VarStore::new(Device::Cpu);
    let vs_d = nn::VarStore::new(Device::Cpu);
    let generator = data::mlp(&vs_g.root(), &[2, 32, 2]);
    let discriminator = data::mlp(&vs_d.root(), &[2, 32, 1]);
    let mut opt_g = nn::Adam::default().build(&vs_g, 1e-3)?;
    let mut opt_d = nn::Adam::default().build(&vs_d, 1e-3)?;
    for step in 0..300 {
        let whole = circle(64);
        let damaged = &whole * Tensor::rand([64, 2], FLOAT).gt(0.3).to_kind(Kind::Float);
        let repaired = damaged.apply(&generator);
        opt_d.zero_grad();
        let loss_d = judged(&whole.apply(&discriminator), 1.0)
            + judged(&repaired.detach().apply(&discriminator), 0.0);
        loss_d.backward();
        let loss_g =
            data::squares(&repaired, &whole) + judged(&repaired.apply(&discriminator), 1.0) * 0.05;
        opt_g.backward_step(&loss_g);
        log(&log_g, "generator", &vs_g, &loss_g, step)?;
        log(&log_d, "discriminator", &vs_d, &loss_d, step)?;
    }
    Ok(())
}

fn second_discriminator_forgotten(logger: &Logger) -> Result<()> {
    let log_g = logger.scoped("generator")?;
    let (log_r, log_p) = (logger.scoped("mrd")?, logger.scoped("mpd")?);
    let [vs_g, vs_r, vs_p] = [(); 3].map(|()| nn::VarStore::new(Device::Cpu));
    let generator = data::mlp(&vs_g.root(), &[8, 32, 2]);
    let mrd = data::mlp(&vs_r.root(), &[2, 32, 1]);
    let mpd = data::mlp(&vs_p.root(), &[2, 24, 1]);
    let mut opt_g = nn::Adam::default().build(&vs_g, 5e-4)?;
    let mut opt_d = nn::Adam::default().build(&vs_r, 5e-4)?;
    for step in 0..300 {
        let (real, fake) = (circle(64), noise(64).apply(&generator));
        let against = |net: &nn::Sequential| {
            judged(&real.apply(net), 1.0) + judged(&fake.detach().apply(net), 0.0)
        };
        let loss_d = against(&mrd) + against(&mpd);
        opt_d.backward_step(&loss_d);
        let loss_g = judged(&fake.apply(&mrd), 1.0) + judged(&fake.apply(&mpd), 1.0);
        opt_g.backward_step(&loss_g);
        log(&log_g, "generator", &vs_g, &loss_g, step)?;
        log(&log_r, "mrd", &vs_r, &loss_d, step)?;
        log(&log_p, "mpd", &vs_p, &loss_d, step)?;
    }
    Ok(())
}
