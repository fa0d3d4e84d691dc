//! Networks that follow others, and teachers.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use tch_tensorboard::Logger;

use super::data::{self, Blobs, FLOAT, INT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::{self, log};

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "momentum_encoder",
        source: "facebookresearch/moco#14",
        about: "Contrasted an encoder with a frozen copy that follows it as a moving average, \
               logged both.",
        train: momentum_encoder,
        expect: &[
            Expect::new("encoder_q/*", &["learning"]),
            Expect::new("encoder_k/*", &["moved_without_gradient"]),
        ],
        model: ModelExpect::Healthy,
        note: "The key encoder requires no gradient and moves at each step, by hand and on \
               purpose.",
    },
    Program {
        name: "dqn_hard_update",
        source: "oreilly-japan/deep-learning-from-scratch-4#4",
        about: "Copied the Q-network into the target network every 20 steps.",
        train: dqn_hard_update,
        expect: &[
            Expect::new("q/*", &["learning"]),
            Expect::new("target/*", &["moved_without_gradient"]),
        ],
        model: ModelExpect::Healthy,
        note: "The target has no gradient, rests for 19 steps and moves in the twentieth: a copy \
               by hand.",
    },
    Program {
        name: "teacher_requires_gradients",
        source: "haitongli/knowledge-distillation-pytorch#25",
        about: "Distilled from a teacher in eval mode whose parameters still require gradients; \
               its outputs were detached.",
        train: teacher_requires_gradients,
        expect: &[
            Expect::new("teacher/*", &["no_gradient", "detached"]),
            Expect::new("student/*", &["learning"]),
        ],
        model: ModelExpect::Any,
        note: "The teacher rests as it should, but by its flags it looks like a model that no \
               loss reaches.",
    },
    Program {
        name: "align_layer_forgotten",
        source: "huangzongmou/yolov8_Distillation#5",
        about: "Aligned features of student and teacher by a 1x1 convolution in the loss that is \
               in no optimizer.",
        train: align_layer_forgotten,
        expect: &[
            Expect::new("loss/*", &["not_updated"]).because(&["not_in_optimizer"]),
            Expect::new("student/*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The layer gets gradients and keeps its random values, so that the student is bent \
               to these.",
    },
];

fn momentum_encoder(logger: &Logger) -> Result<()> {
    let (log_q, log_k) = (logger.scoped("encoder_q")?, logger.scoped("encoder_k")?);
    let blobs = Blobs::new(1000, 16, 10);
    let vs_q = nn::VarStore::new(Device::Cpu);
    let mut vs_k = nn::VarStore::new(Device::Cpu);
    let encoder_q = data::mlp(&vs_q.root(), &[16, 32, 8]);
    let encoder_k = data::mlp(&vs_k.root(), &[16, 32, 8]);
    vs_k.copy(&vs_q)?;
    vs_k.freeze();
    let unit = |x: Tensor| &x / x.norm_scalaropt_dim(2, [1], true);
    let mut opt = nn::sgd(0.9, 0., 1e-4, false).build(&vs_q, 0.03)?;
    for step in 0..250 {
        let (x, _) = blobs.batch(64);
        let noisy = || &x + Tensor::randn([64, 16], FLOAT) * 0.2;
        let query = unit(noisy().apply(&encoder_q));
        let key = no_grad(|| {
            let weights = vs_q.variables();
            for (name, mut weight) in vs_k.variables() {
                let _ = weight.g_mul_scalar_(0.99);
                let _ = weight.g_add_(&(&weights[&name] * 0.01));
            }
            unit(noisy().apply(&encoder_k))
        });
        let logits = query.matmul(&key.tr()) / 0.2;
        let loss = logits.cross_entropy_for_logits(&Tensor::arange(64, INT));
        opt.backward_step(&loss);
        log(&log_q, "encoder_q", &vs_q, &loss, step)?;
        log_k.log_weights(&vs_k, step)?;
        witness::see("encoder_k", &vs_k);
    }
    Ok(())
}

fn dqn_hard_update(logger: &Logger) -> Result<()> {
    let (log_q, log_target) = (logger.scoped("q")?, logger.scoped("target")?);
    let vs = nn::VarStore::new(Device::Cpu);
    let mut vs_target = nn::VarStore::new(Device::Cpu);
    let q = data::mlp(&vs.root(), &[4, 32, 32, 2]);
    let target = data::mlp(&vs_target.root(), &[4, 32, 32, 2]);
    vs_target.copy(&vs)?;
    let push = Tensor::randn([2, 4], FLOAT) * 0.3;
    let mut opt = nn::Adam::default().build(&vs, 5e-4)?;
    for step in 0..300 {
        let state = Tensor::randn([64, 4], FLOAT);
        let action = Tensor::randint(2, [64], INT);
        let next = &state * 0.9 + push.index_select(0, &action);
        let reward = -next.square().sum_dim_intlist(1, false, Kind::Float) * 0.1;
        let value = no_grad(|| reward + next.apply(&target).amax(1, false) * 0.9);
        let chosen = state
            .apply(&q)
            .gather(1, &action.unsqueeze(1), false)
            .squeeze_dim(1);
        let loss = chosen.smooth_l1_loss(&value, tch::Reduction::Mean, 1.0);
        opt.backward_step(&loss);
        if step % 20 == 19 {
            vs_target.copy(&vs)?;
        }
        log(&log_q, "q", &vs, &loss, step)?;
        log_target.log_weights(&vs_target, step)?;
        witness::see("target", &vs_target);
    }
    Ok(())
}

fn teacher_requires_gradients(logger: &Logger) -> Result<()> {
    let (log_student, log_teacher) = (logger.scoped("student")?, logger.scoped("teacher")?);
    let blobs = Blobs::new(1000, 16, 4);
    let vs_teacher = nn::VarStore::new(Device::Cpu);
    let teacher = data::mlp(&vs_teacher.root(), &[16, 64, 4]);
    let vs = nn::VarStore::new(Device::Cpu);
    let student = data::mlp(&vs.root(), &[16, 16, 4]);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let soft = (x.apply(&teacher).detach() / 3.0).softmax(-1, Kind::Float);
        let logits = x.apply(&student);
        let near =
            (&logits / 3.0)
                .log_softmax(-1, Kind::Float)
                .kl_div(&soft, tch::Reduction::Sum, false)
                / 32.0;
        let loss = logits.cross_entropy_for_logits(&y) + near;
        opt.backward_step(&loss);
        log(&log_student, "student", &vs, &loss, step)?;
        log_teacher.log_weights(&vs_teacher, step)?;
        witness::see("teacher", &vs_teacher);
    }
    Ok(())
}

fn align_layer_forgotten(logger: &Logger) -> Result<()> {
    let (log_student, log_loss) = (logger.scoped("student")?, logger.scoped("loss")?);
    let blobs = Blobs::new(600, 64, 4);
    let frozen = nn::VarStore::new(Device::Cpu);
    let teacher = nn::conv2d(&frozen.root() / "conv", 1, 12, 3, Default::default());
    let vs = nn::VarStore::new(Device::Cpu);
    let student = nn::conv2d(&vs.root() / "conv", 1, 6, 3, Default::default());
    let head = nn::linear(&vs.root() / "head", 6 * 36, 4, Default::default());
    let vs_loss = nn::VarStore::new(Device::Cpu);
    let align = nn::conv2d(&vs_loss.root() / "align", 6, 12, 1, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..300 {
        let (x, y) = blobs.batch(16);
        let x = x.view([-1, 1, 8, 8]);
        let wanted = no_grad(|| x.apply(&teacher).relu());
        let maps = x.apply(&student).relu();
        let loss = maps
            .flatten(1, -1)
            .apply(&head)
            .cross_entropy_for_logits(&y)
            + data::squares(&maps.apply(&align), &wanted);
        opt.backward_step(&loss);
        log(&log_student, "student", &vs, &loss, step)?;
        log_loss.log_weights(&vs_loss, step)?;
        witness::see("loss", &vs_loss);
    }
    Ok(())
}
