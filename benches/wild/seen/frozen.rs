//! Layers that were frozen, or were meant to be.

use anyhow::Result;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Tensor, no_grad};
use tch_tensorboard::Logger;

use super::data::{self, Blobs};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "frozen_backbone_batch_norm",
        source: "pytorch/pytorch#86590",
        about: "Froze all parameters of a pretrained backbone, left its batch norm in training \
               mode, trained a new head.",
        train: frozen_backbone_batch_norm,
        expect: &[
            Expect::new("backbone.fc.*", &["frozen"]),
            Expect::new("backbone.bn.weight", &["frozen"]).noting(&["running_statistics_move"]),
            Expect::new("backbone.bn.bias", &["frozen"]),
            Expect::new("head.*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "What the user froze rests, so there is no fault; that the running statistics still \
               move is what he had not expected, so it has to be remarked, beside a variable of \
               that batch norm.",
    },
    Program {
        name: "freeze_after_momentum",
        source: "facebookresearch/fairseq#4702",
        about: "Set requires_grad to false for fc1 in a run that goes on with momentum and weight \
               decay, and zeroes gradients.",
        train: freeze_after_momentum,
        expect: &[
            Expect::new("fc1.weight", &["moving_while_frozen"]),
            Expect::new("fc1.bias", &["moving_while_frozen"]),
            Expect::new("fc2.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The gradient buffers of fc1 stay, filled with zeros, so the optimizer goes on to \
               apply momentum and decay.",
    },
    Program {
        name: "biases_frozen",
        source: "LaurentMazare/tch-rs#551",
        about: "Called set_requires_grad(false) on the biases of the convolutions only.",
        train: biases_frozen,
        expect: &[
            Expect::new("conv*.bias", &["frozen"]),
            Expect::new("*.weight", &["learning"]),
            Expect::new("out.bias", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "Works as intended.",
    },
    Program {
        name: "half_a_tensor_undone",
        source: "LaurentMazare/tch-rs#551",
        about: "Wrote half of a tensor's rows back after each step, as only whole tensors can be \
               frozen.",
        train: half_a_tensor_undone,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "The other half learns; that half of the elements rest is intended, and no fault of \
               the tensor.",
    },
    Program {
        name: "unfrozen_in_mid_run",
        source: "luxonis/luxonis-train#234",
        about: "Trained the head alone for 100 steps, then released the frozen backbone too.",
        train: unfrozen_in_mid_run,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "At the end both learn. While it was frozen the backbone rested, which is no fault \
               either.",
    },
    Program {
        name: "rate_multiplier_zero",
        source: "open-mmlab/mmdetection#8210",
        about: "Gave the backbone's parameter group a rate of 0 to freeze it.",
        train: rate_multiplier_zero,
        expect: &[
            Expect::new("backbone.*", &["not_updated"]).because(&["learning_rate_zero"]),
            Expect::new("head.*", &["learning"]),
        ],
        model: ModelExpect::Any,
        note: "Gradients arrive and no bit changes, as the rate is 0. The user wants it so, but \
               nothing outside can know.",
    },
];

fn frozen_backbone_batch_norm(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let backbone = &vs.root() / "backbone";
    let fc = nn::linear(&backbone / "fc", 16, 32, Default::default());
    let bn = nn::batch_norm1d(&backbone / "bn", 32, Default::default());
    let head = nn::linear(&vs.root() / "head", 32, 4, Default::default());
    data::freeze(&vs, "backbone");
    let mut opt = nn::Sgd::default().build(&vs, 0.1)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let features = bn.forward_t(&x.apply(&fc), true).relu();
        let loss = features.apply(&head).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn freeze_after_momentum(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    let mut opt = nn::sgd(0.9, 0., 5e-3, false).build(&vs, 0.02)?;
    for step in 0..220 {
        if step == 40 {
            data::freeze(&vs, "fc1");
        }
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        for mut variable in vs.trainable_variables() {
            variable.zero_grad();
        }
        loss.backward();
        opt.step();
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn biases_frozen(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(600, 64, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let conv1 = nn::conv2d(&root / "conv1", 1, 6, 3, Default::default());
    let conv2 = nn::conv2d(&root / "conv2", 6, 8, 3, Default::default());
    let out = nn::linear(&root / "out", 8 * 4 * 4, 4, Default::default());
    for conv in [&conv1, &conv2] {
        let _ = conv.bs.as_ref().map(|bias| bias.set_requires_grad(false));
    }
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..150 {
        let (x, y) = blobs.batch(16);
        let maps = x.view([-1, 1, 8, 8]).apply(&conv1).relu();
        let maps = maps.apply(&conv2).relu().flatten(1, -1);
        let loss = maps.apply(&out).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn half_a_tensor_undone(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let fc1 = nn::linear(&root / "fc1", 16, 32, Default::default());
    let fc2 = nn::linear(&root / "fc2", 32, 4, Default::default());
    let kept = fc1.ws.narrow(0, 0, 16).detach().copy();
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let loss = x
            .apply(&fc1)
            .relu()
            .apply(&fc2)
            .cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        no_grad(|| fc1.ws.narrow(0, 0, 16).copy_(&kept));
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn unfrozen_in_mid_run(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let backbone = data::mlp(&(&root / "backbone"), &[16, 32, 24]);
    let head = nn::linear(&root / "head", 24, 4, Default::default());
    data::freeze(&vs, "backbone");
    let mut opt = nn::Adam::default().build(&vs, 2e-3)?;
    for step in 0..300 {
        if step == 100 {
            for (_, tensor) in vs.variables() {
                let _ = tensor.set_requires_grad(true);
            }
        }
        let (x, y) = blobs.batch(32);
        let loss = x
            .apply(&backbone)
            .relu()
            .apply(&head)
            .cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn rate_multiplier_zero(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let backbone = data::mlp(&(&root / "backbone").set_group(1), &[16, 32, 24]);
    let head = nn::linear(&root / "head", 24, 4, Default::default());
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    opt.set_lr_group(1, 0.0);
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let logits: Tensor = x.apply(&backbone).relu().apply(&head);
        let loss = logits.cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
