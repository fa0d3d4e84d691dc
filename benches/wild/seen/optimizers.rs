//! Optimizers that do not know a layer, are not called, or are called in an order that looks wrong.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use tch_tensorboard::Logger;

use super::data::{self, Blobs, FLOAT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::{self, log};

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "built_before_the_model",
        source: "LaurentMazare/tch-rs#106",
        about: "Built the optimizer of an empty store, and the model after it.",
        train: built_before_the_model,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Was a trap in 2019; tch now adds variables of the store at each step, so all of \
               them learn.",
    },
    Program {
        name: "center_loss_forgotten",
        source: "KaiyangZhou/pytorch-center-loss#22",
        about: "Left the centres, which are parameters of the loss, out of the optimizer.",
        train: center_loss_forgotten,
        expect: &[
            Expect::new("criterion/*", &["not_updated"]).because(&["not_in_optimizer"]),
            Expect::new("fc*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "The centres get gradients from the loss and never move.",
    },
    Program {
        name: "accumulation_of_one",
        source: "eriklindernoren/PyTorch-YOLOv3#325",
        about: "Steps if batches % accumulations is not 0, and set accumulations to 1.",
        train: accumulation_of_one,
        expect: &[Expect::new("*", &["not_updated"]).because(&["step_not_called"])],
        model: ModelExpect::Fault,
        note: "Nothing modulo 1 is ever different from 0: no step is made, gradients add up.",
    },
    Program {
        name: "accumulation_of_eight",
        source: "rasbt/LLMs-from-scratch#299",
        about: "Accumulated gradients over 8 batches, stepped and cleared, and logged after each \
               batch.",
        train: accumulation_of_eight,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Seven calls of eight see no movement, and the eighth sees no gradient: that is \
               accumulation.",
    },
    Program {
        name: "layers_replaced",
        source: "microsoft/nni#4521",
        about: "Replaced layers by pruned, smaller ones after the optimizer was built, and \
               fine-tuned.",
        train: layers_replaced,
        expect: &[Expect::new("*", &["not_updated"]).because(&["not_in_optimizer"])],
        model: ModelExpect::Fault,
        note: "The optimizer holds the tensors of the old layers; those of the new ones get \
               gradients only.",
    },
    Program {
        name: "updated_by_hand",
        source: "spro/practical-pytorch#21",
        about: "Subtracted rate times gradient from each parameter of an RNN, without an \
               optimizer.",
        train: updated_by_hand,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Plain gradient descent, whoever does the subtraction.",
    },
    Program {
        name: "cleared_before_logging",
        source: "pytorch/tutorials#2693",
        about: "Cleared gradients right after the step, as the quickstart tutorial does, then \
               logged.",
        train: cleared_before_logging,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "No gradient is ever there when the weights are logged. They move as trained \
               weights do, and nothing speaks for a copy by hand: another store that they would \
               follow is not there.",
    },
    Program {
        name: "restored_by_test",
        source: "deepinv/deepinv#406",
        about: "Tested after each epoch with a trainer that loads the pretrained weights first, \
               and so discards the training.",
        train: restored_by_test,
        expect: &[Expect::new("*", &["not_updated"]).because(&["overwritten"])],
        model: ModelExpect::Fault,
        note: "An epoch of one batch: the optimizer steps, the test puts the old weights back, \
               then they are logged.",
    },
    Program {
        name: "scaler_skips_each_step",
        source: "NVIDIA/apex#715",
        about: "Trained in mixed precision; the loss scaler skipped each step and halved the scale \
               without end.",
        train: scaler_skips_each_step,
        expect: &[Expect::new("*", &["not_updated", "non_finite"]).because(&["step_not_called"])],
        model: ModelExpect::Fault,
        note: "A value in the data is not finite, so each gradient is NaN and no step is made; \
               the weights stay finite.",
    },
];

fn built_before_the_model(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn center_loss_forgotten(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let features = data::mlp(&vs.root(), &[16, 32, 2]);
    let classify = nn::linear(&vs.root() / "fc_out", 2, 4, Default::default());
    let criterion = nn::VarStore::new(Device::Cpu);
    let centers = criterion.root().randn_standard("centers", &[4, 2]);
    let log_criterion = logger.scoped("criterion")?;
    let mut opt = nn::sgd(0.9, 0., 5e-4, false).build(&vs, 0.02)?;
    for step in 0..250 {
        let (x, y) = blobs.batch(32);
        let point = x.apply(&features);
        let near = data::squares(&point, &centers.index_select(0, &y));
        let loss = point.relu().apply(&classify).cross_entropy_for_logits(&y) + near * 0.5;
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
        log_criterion.log_weights(&criterion, step)?;
        witness::see("criterion", &criterion);
    }
    Ok(())
}

fn accumulation_of_one(logger: &Logger) -> Result<()> {
    let accumulations = 1;
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for done in 0..300_i64 {
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        loss.backward();
        if done.rem_euclid(accumulations) != 0 {
            opt.step();
            opt.zero_grad();
        }
        log(logger, "", &vs, &loss, done)?;
    }
    Ok(())
}

fn accumulation_of_eight(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    let mut opt = nn::AdamW::default().build(&vs, 5e-3)?;
    for batch in 0..400 {
        let (x, y) = blobs.batch(4);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        (&loss / 8.0).backward();
        if (batch + 1) % 8 == 0 {
            opt.step();
            opt.zero_grad();
        }
        log(logger, "", &vs, &loss, batch)?;
    }
    Ok(())
}

fn layers_replaced(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let big = nn::VarStore::new(Device::Cpu);
    let first = nn::linear(&big.root() / "fc1", 16, 64, Default::default());
    let second = nn::linear(&big.root() / "fc2", 64, 4, Default::default());
    let mut opt = nn::sgd(0.9, 0., 5e-4, false).build(&big, 0.01)?;
    for _ in 0..20 {
        let (x, y) = blobs.batch(32);
        opt.backward_step(
            &x.apply(&first)
                .relu()
                .apply(&second)
                .cross_entropy_for_logits(&y),
        );
    }
    let vs = nn::VarStore::new(Device::Cpu);
    let strong = first
        .ws
        .square()
        .sum_dim_intlist(1, false, Kind::Float)
        .topk(32, 0, true, true)
        .1;
    let small1 = nn::linear(&vs.root() / "fc1", 16, 32, Default::default());
    let small2 = nn::linear(&vs.root() / "fc2", 32, 4, Default::default());
    no_grad(|| {
        small1
            .ws
            .shallow_clone()
            .copy_(&first.ws.index_select(0, &strong));
        small2
            .ws
            .shallow_clone()
            .copy_(&second.ws.index_select(1, &strong));
    });
    for step in 0..300 {
        let (x, y) = blobs.batch(32);
        let loss = x
            .apply(&small1)
            .relu()
            .apply(&small2)
            .cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn updated_by_hand(logger: &Logger) -> Result<()> {
    const LETTERS: i64 = 12;
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let hidden = nn::linear(&root / "i2h", LETTERS + 24, 24, Default::default());
    let output = nn::linear(&root / "i2o", LETTERS + 24, 3, Default::default());
    for step in 0..300 {
        let class = step % 3;
        let mut state = Tensor::zeros([1, 24], FLOAT);
        let mut logits = Tensor::zeros([1, 3], FLOAT);
        for _ in 0..5 {
            let letter = data::rows(LETTERS / 2, 1) + class * 3;
            let both = Tensor::cat(&[letter.one_hot(LETTERS).to_kind(Kind::Float), state], 1);
            logits = both.apply(&output);
            state = both.apply(&hidden).tanh();
        }
        let loss = logits.cross_entropy_for_logits(&Tensor::from_slice(&[class]));
        for mut weight in vs.trainable_variables() {
            weight.zero_grad();
        }
        loss.backward();
        for mut weight in vs.trainable_variables() {
            let update = weight.grad() * 0.02;
            let _ = no_grad(|| weight.g_sub_(&update));
        }
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn cleared_before_logging(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 32, 4]);
    let mut opt = nn::Sgd::default().build(&vs, 0.05)?;
    for step in 0..250 {
        let (x, y) = blobs.batch(64);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        loss.backward();
        opt.step();
        witness::see_gradients("", &vs);
        opt.zero_grad();
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn restored_by_test(logger: &Logger) -> Result<()> {
    let (x, y) = data::regression(128, 16, 4);
    let mut vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    let mut pretrained = nn::VarStore::new(Device::Cpu);
    let _ = data::mlp(&pretrained.root(), &[16, 32, 4]);
    pretrained.copy(&vs)?;
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for epoch in 0..300 {
        let rows = data::rows(128, 64);
        let loss = data::squares(
            &x.index_select(0, &rows).apply(&model),
            &y.index_select(0, &rows),
        );
        opt.backward_step(&loss);
        vs.copy(&pretrained)?;
        let _tested = no_grad(|| data::squares(&x.apply(&model), &y));
        log(logger, "", &vs, &loss, epoch)?;
    }
    Ok(())
}

fn scaler_skips_each_step(logger: &Logger) -> Result<()> {
    let (x, y) = data::regression(256, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let mut scale = 65536.0;
    let _ = x.narrow(0, 0, 1).fill_(f64::INFINITY);
    for step in 0..120 {
        let rest = data::rows(255, 31) + 1;
        let rows = Tensor::cat(&[Tensor::from_slice(&[0_i64]), rest], 0);
        let loss = data::squares(
            &x.index_select(0, &rows).apply(&model),
            &y.index_select(0, &rows),
        );
        opt.zero_grad();
        (&loss * scale).backward();
        let finite = |weight: &Tensor| weight.grad().isfinite().all().int64_value(&[]) == 1;
        match vs.trainable_variables().iter().all(finite) {
            true => opt.step(),
            false => scale /= 2.0,
        }
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
