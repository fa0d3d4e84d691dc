//! Two models and more: target networks, averages, players, teachers.

use anyhow::Result;
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch::{Kind, Reduction, Tensor};
use tch_tensorboard::Logger;

use super::data::{FLOAT, INT, batch, clusters, mlp, plain, store, track};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub static PROGRAMS: [Program; 7] = [
    Program {
        name: "target_network_every_fifty_steps",
        source: "vwxyzjn/cleanrl: cleanrl/dqn.py",
        about: "Copied the Q network to a target network every 50 steps.",
        train: hard_target,
        expect: &[
            expect("target_network/*", &["moved_without_gradient"]),
            expect("q_network/*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "The target rests between copies and never has a gradient: that is its task.",
    },
    Program {
        name: "soft_targets_of_actor_and_critic",
        source: "LaurentMazare/tch-rs: examples/reinforcement-learning/ddpg.rs",
        about: "Tracked actor and critic by targets that follow by half a percent.",
        train: soft_targets,
        expect: &[
            expect("actor_target/*", &["moved_without_gradient"]),
            expect("critic_target/*", &["moved_without_gradient"]),
            expect("actor/*", &["learning"]),
            expect("critic/*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "Targets follow by hand and get no gradient; actor and critic learn.",
    },
    Program {
        name: "target_never_copied",
        source: "shakedzy/tic_tac_toe#1",
        about: "Copied the network to the target when a counter says so, which it never does.",
        train: target_stays,
        expect: &[
            expect("q_target/*", &["no_gradient", "detached", "undecided"]),
            expect("q_network/*", &["learning"]),
        ],
        model: ModelExpect::Any,
        note: "The target is not frozen, gets no gradient, and nothing ever moves it.",
    },
    Program {
        name: "momentum_encoder",
        source: "facebookresearch/moco: moco/builder.py",
        about: "Kept a frozen key encoder beside the query encoder, moved by momentum.",
        train: momentum_encoder,
        expect: &[
            expect("encoder_k.*", &["moved_without_gradient"]),
            expect("encoder_q.*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "The key encoder requires no gradient and follows by hand; the queue is a buffer.",
    },
    Program {
        name: "players_frozen_in_turn",
        source: "LaurentMazare/tch-rs: examples/gan/main.rs",
        about: "Froze the generator while the discriminator trains, and the other way round.",
        train: frozen_in_turn,
        expect: &[
            expect("generator/*.weight", &["learning"]),
            expect("discriminator/*.weight", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "At the end of an iteration the discriminator is frozen and has moved within it: \
               both players learn.",
    },
    Program {
        name: "average_with_the_wrong_sign",
        source: "ostris/ai-toolkit#1034",
        about: "Added the gap between average and weights instead of subtracting it.",
        train: wrong_sign,
        expect: &[
            expect("ema/*", &["exploding", "scale_drift", "large_updates"]),
            expect("model/*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The gap grows by 1 % a step without end, while the model trains as usual.",
    },
    Program {
        name: "discriminator_gets_the_generators_gradient",
        source: "devnag/pytorch-generative-adversarial-networks#14",
        about: "Feared that the generator's step trains the discriminator: nothing is detached.",
        train: shared_gradients,
        expect: &[expect("G/*", &["learning"]), expect("D/*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Gradients reach both models in both steps, each optimizer steps its own.",
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

/// A walk on a line: states [n, 4], actions, rewards, next states, and whether it ends.
struct Walk {
    states: Tensor,
    actions: Tensor,
    rewards: Tensor,
    next: Tensor,
}

impl Walk {
    /// Random transitions: the action pushes the first number up or down; being near zero pays.
    fn random(count: i64) -> Walk {
        let states = Tensor::randn([count, 4], FLOAT);
        let actions = Tensor::randint(2, [count, 1], INT);
        let push = actions.to_kind(Kind::Float) - 0.5;
        let next = Tensor::cat(
            &[
                states.narrow(1, 0, 1) + push,
                states.narrow(1, 1, 3) * 0.9 + Tensor::randn([count, 3], FLOAT) * 0.1,
            ],
            1,
        );
        let rewards = (next.narrow(1, 0, 1).square() * -1.0).exp();
        Walk {
            states,
            actions,
            rewards,
            next,
        }
    }
}

/// The loss of Q learning on random transitions.
fn q_loss(network: &nn::Sequential, target: &nn::Sequential, walk: &Walk) -> Tensor {
    let wanted = tch::no_grad(|| {
        let best = target.forward(&walk.next).amax([1].as_slice(), true);
        &walk.rewards + best * 0.9
    });
    let values = network
        .forward(&walk.states)
        .gather(1, &walk.actions, false);
    values.mse_loss(&wanted, Reduction::Mean)
}

/// Moves `target` towards `source` by the share `tau`.
fn follow(target: &nn::VarStore, source: &nn::VarStore, tau: f64) {
    tch::no_grad(|| {
        let sources = source.trainable_variables();
        for (mut one, other) in target.trainable_variables().into_iter().zip(sources) {
            one.copy_(&(other * tau + &one * (1.0 - tau)));
        }
    })
}

fn hard_target(logger: &Logger) -> Result<()> {
    let (vs, mut target_vs) = (store(), store());
    let network = mlp(&vs.root(), &[4, 48, 32, 2]);
    let target = mlp(&target_vs.root(), &[4, 48, 32, 2]);
    target_vs.copy(&vs)?;
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (log_q, log_t) = (
        logger.scoped("q_network")?,
        logger.scoped("target_network")?,
    );
    for step in 0..300 {
        let loss = q_loss(&network, &target, &Walk::random(64));
        opt.backward_step(&loss);
        if step % 50 == 0 {
            follow(&target_vs, &vs, 1.0);
        }
        log(&log_q, "q_network", &vs, &loss, step)?;
        log(&log_t, "target_network", &target_vs, &loss, step)?;
    }
    Ok(())
}

fn target_stays(logger: &Logger) -> Result<()> {
    let (vs, mut target_vs) = (store(), store());
    let network = mlp(&vs.root(), &[4, 48, 32, 2]);
    let target = mlp(&target_vs.root(), &[4, 48, 32, 2]);
    target_vs.copy(&vs)?;
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (log_q, log_t) = (logger.scoped("q_network")?, logger.scoped("q_target")?);
    let mut counter = 0;
    for step in 0..200 {
        counter = (counter + 1) % 50; // begins again before the copy below is due
        let loss = q_loss(&network, &target, &Walk::random(64));
        opt.backward_step(&loss);
        if counter >= 50 {
            follow(&target_vs, &vs, 1.0);
        }
        log(&log_q, "q_network", &vs, &loss, step)?;
        log(&log_t, "q_target", &target_vs, &loss, step)?;
    }
    Ok(())
}

fn soft_targets(logger: &Logger) -> Result<()> {
    let names = ["actor", "actor_target", "critic", "critic_target"];
    let mut stores = [store(), store(), store(), store()];
    let actor = mlp(&stores[0].root(), &[4, 48, 32, 1]);
    let actor_target = mlp(&stores[1].root(), &[4, 48, 32, 1]);
    let critic = mlp(&stores[2].root(), &[5, 48, 32, 1]);
    let critic_target = mlp(&stores[3].root(), &[5, 48, 32, 1]);
    for at in [0, 2] {
        let (sources, targets) = stores.split_at_mut(at + 1);
        targets[0].copy(&sources[at])?;
    }
    let mut actor_opt = nn::Adam::default().build(&stores[0], 1e-4)?;
    let mut critic_opt = nn::Adam::default().build(&stores[2], 1e-3)?;
    let mut logs = Vec::new();
    for name in names {
        logs.push(logger.scoped(name)?);
    }
    let value = |net: &nn::Sequential, states: &Tensor, actions: &Tensor| {
        net.forward(&Tensor::cat(&[actions, states], 1))
    };
    for step in 0..250 {
        let states = Tensor::randn([64, 4], FLOAT);
        let actions =
            tch::no_grad(|| actor.forward(&states).tanh() + Tensor::randn([64, 1], FLOAT) * 0.1);
        let next = &states * 0.95 + &actions * 0.3;
        let rewards = -next.narrow(1, 0, 1).square() - actions.square() * 0.01;
        let next_actions = actor_target.forward(&next).tanh();
        let wanted = rewards + (value(&critic_target, &next, &next_actions) * 0.99).detach();
        let critic_loss = (wanted - value(&critic, &states, &actions))
            .square()
            .mean(Kind::Float);
        critic_opt.zero_grad();
        critic_loss.backward();
        critic_opt.step();
        let chosen = actor.forward(&states).tanh();
        let actor_loss = -value(&critic, &states, &chosen).mean(Kind::Float);
        actor_opt.zero_grad();
        actor_loss.backward();
        actor_opt.step();
        follow(&stores[3], &stores[2], 0.005);
        follow(&stores[1], &stores[0], 0.005);
        for (at, one) in logs.iter().enumerate() {
            let loss = if at < 2 { &actor_loss } else { &critic_loss };
            log(one, names[at], &stores[at], loss, step)?;
        }
    }
    Ok(())
}

fn momentum_encoder(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let query = mlp(&(&root / "encoder_q"), &[16, 48, 16]);
    let key = mlp(&(&root / "encoder_k"), &[16, 48, 16]);
    let unit = |x: &Tensor| x / x.norm_scalaropt_dim(2.0, [1].as_slice(), true);
    let mut queue = root.add("queue", unit(&Tensor::randn([256, 16], FLOAT)), false);
    let mut pointer = root.add("queue_ptr", Tensor::zeros([1], INT), false);
    let variables = vs.variables();
    let pairs: Vec<(Tensor, Tensor)> = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
        .iter()
        .map(|name| {
            let of = |encoder: &str| variables[&format!("{encoder}.{name}")].shallow_clone();
            (of("encoder_k"), of("encoder_q"))
        })
        .collect();
    let mut opt = nn::sgd(0.9, 0.0, 1e-4, false).build(&vs, 0.03)?;
    tch::no_grad(|| pairs.iter().for_each(|(k, q)| k.shallow_clone().copy_(q)));
    track(&vs, "encoder_k", false);
    let (x, y) = clusters(512, 16, 16);
    for step in 0..250 {
        let (bx, _) = batch(&x, &y, 32);
        let view = || &bx + Tensor::randn([32, 16], FLOAT) * 0.2;
        let q = unit(&query.forward(&view()));
        let k = tch::no_grad(|| {
            for (k, q) in &pairs {
                k.shallow_clone().copy_(&(k * 0.99 + q * 0.01));
            }
            unit(&key.forward(&view()))
        });
        let same = (&q * &k).sum_dim_intlist([1].as_slice(), true, Kind::Float);
        let others = q.matmul(&queue.detach().copy().transpose(0, 1));
        let logits = Tensor::cat(&[same, others], 1) / 0.2;
        let loss = logits.cross_entropy_for_logits(&Tensor::zeros([32], INT));
        opt.backward_step(&loss);
        tch::no_grad(|| {
            let at = pointer.int64_value(&[0]);
            queue.narrow(0, at, 32).copy_(&k);
            pointer.copy_(&Tensor::from_slice(&[(at + 32) % 256]));
        });
        let _ = &mut queue;
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn frozen_in_turn(logger: &Logger) -> Result<()> {
    let (mut generator_vs, mut discriminator_vs) = (store(), store());
    let root = generator_vs.root();
    let generator = nn::seq_t()
        .add(plain(&root / "fc1", 8, 64))
        .add(nn::batch_norm1d(&root / "bn1", 64, Default::default()))
        .add_fn(Tensor::relu)
        .add(plain(&root / "fc2", 64, 64))
        .add(nn::batch_norm1d(&root / "bn2", 64, Default::default()))
        .add_fn(Tensor::relu)
        .add(plain(&root / "fc3", 64, 16))
        .add_fn(Tensor::tanh);
    let root = discriminator_vs.root();
    let discriminator = nn::seq_t()
        .add(plain(&root / "fc1", 16, 64))
        .add_fn(Tensor::leaky_relu)
        .add(plain(&root / "fc2", 64, 64))
        .add_fn(Tensor::leaky_relu)
        .add(plain(&root / "fc3", 64, 1));
    let adam = nn::Adam::default().beta1(0.5);
    let mut generator_opt = adam.build(&generator_vs, 1e-4)?;
    let mut discriminator_opt = adam.build(&discriminator_vs, 1e-4)?;
    let log_g = logger.scoped("generator")?;
    let log_d = logger.scoped("discriminator")?;
    let (x, y) = clusters(512, 16, 4);
    let x = (x / 3.0).tanh();
    let latent = || Tensor::rand([32, 8], FLOAT) * 2.0 - 1.0;
    let square = |a: &Tensor, b: Tensor| (a - b).square().mean(Kind::Float);
    for step in 0..250 {
        discriminator_vs.unfreeze();
        generator_vs.freeze();
        let (real, _) = batch(&x, &y, 32);
        let on_real = discriminator.forward_t(&real, true);
        let fake = generator.forward_t(&latent(), true).copy().detach();
        let on_fake = discriminator.forward_t(&fake, true);
        let discriminator_loss = square(&on_real, on_fake.mean(Kind::Float) + 1.0)
            + square(&on_fake, on_real.mean(Kind::Float) - 1.0);
        discriminator_opt.backward_step(&discriminator_loss);
        discriminator_vs.freeze();
        generator_vs.unfreeze();
        let (real, _) = batch(&x, &y, 32);
        let on_real = discriminator.forward_t(&real, true);
        let on_fake = discriminator.forward_t(&generator.forward_t(&latent(), true), true);
        let generator_loss = square(&on_real, on_fake.mean(Kind::Float) - 1.0)
            + square(&on_fake, on_real.mean(Kind::Float) + 1.0);
        generator_opt.backward_step(&generator_loss);
        log(&log_g, "generator", &generator_vs, &generator_loss, step)?;
        log(
            &log_d,
            "discriminator",
            &discriminator_vs,
            &discriminator_loss,
            step,
        )?;
    }
    Ok(())
}

fn wrong_sign(logger: &Logger) -> Result<()> {
    let (vs, mut ema_vs) = (store(), store());
    let net = mlp(&vs.root(), &[16, 32, 4]);
    let _average = mlp(&ema_vs.root(), &[16, 32, 4]);
    ema_vs.copy(&vs)?;
    ema_vs.freeze();
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let (log_m, log_e) = (logger.scoped("model")?, logger.scoped("ema")?);
    let (x, y) = clusters(512, 16, 4);
    for step in 0..400 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        tch::no_grad(|| {
            let weights = vs.trainable_variables();
            for (mut shadow, weight) in ema_vs.trainable_variables().into_iter().zip(weights) {
                let gap = &shadow - weight;
                shadow += gap * 0.01;
            }
        });
        log(&log_m, "model", &vs, &loss, step)?;
        log(&log_e, "ema", &ema_vs, &loss, step)?;
    }
    Ok(())
}

fn shared_gradients(logger: &Logger) -> Result<()> {
    let (g_vs, d_vs) = (store(), store());
    let g = mlp(&g_vs.root(), &[4, 32, 32, 2]);
    let d = mlp(&d_vs.root(), &[2, 32, 32, 1]);
    let mut g_opt = nn::Adam::default().beta1(0.5).build(&g_vs, 5e-4)?;
    let mut d_opt = nn::Adam::default().beta1(0.5).build(&d_vs, 5e-4)?;
    let (log_g, log_d) = (logger.scoped("G")?, logger.scoped("D")?);
    let judge = |x: &Tensor, real: f64| {
        let logits = d.forward(x);
        let wanted = Tensor::full_like(&logits, real);
        logits.binary_cross_entropy_with_logits::<Tensor>(&wanted, None, None, Reduction::Mean)
    };
    for step in 0..250 {
        let real = Tensor::randn([64, 2], FLOAT) * 0.5 + 1.0;
        let fake = g.forward(&Tensor::randn([64, 4], FLOAT));
        let d_loss = judge(&real, 1.0) + judge(&fake, 0.0);
        d_opt.backward_step(&d_loss);
        let fake = g.forward(&Tensor::randn([64, 4], FLOAT));
        let g_loss = judge(&fake, 1.0);
        g_opt.backward_step(&g_loss);
        log(&log_g, "G", &g_vs, &g_loss, step)?;
        log(&log_d, "D", &d_vs, &d_loss, step)?;
    }
    Ok(())
}
