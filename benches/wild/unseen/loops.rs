//! Training loops: the order of the calls, rates, what happens after the step.

use anyhow::Result;
use tch::nn::{self, Module, OptimizerConfig, RNN};
use tch::{Kind, Tensor};
use tch_tensorboard::Logger;

use super::data::{batch, clusters, curve, mlp, store, tokens, track};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::{log, see_gradients};

pub static PROGRAMS: [Program; 12] = [
    Program {
        name: "zero_grad_between_backward_and_step",
        source: "Tony-Y/pytorch_warmup#12",
        about: "Called backward, then zero_grad, then step, and a warm-up scheduler after it.",
        train: cleared,
        expect: &[Expect {
            variables: "*",
            verdicts: &["not_updated", "no_gradient"],
            causes: &["gradient_cleared"],
            remarks: &[],
        }],
        model: ModelExpect::Fault,
        note: "Gradients are cleared before the step, so that nothing ever moves. Whoever looks \
               after the step sees no gradient either: `no_gradient` is fair, a cause has to \
               name the clearing.",
    },
    Program {
        name: "scheduler_step_instead_of_optimizer_step",
        source: "pyro-ppl/pyro#1242",
        about: "Called the step of the rate scheduler and believed that it steps the optimizer.",
        train: only_scheduler,
        expect: &[Expect {
            variables: "*",
            verdicts: &["not_updated"],
            causes: &["step_not_called"],
            remarks: &[],
        }],
        model: ModelExpect::Fault,
        note: "Each variable has a gradient, no element changes, and `step` is never called.",
    },
    Program {
        name: "initial_weights_loaded_each_round",
        source: "baal-org/baal#110",
        about: "Loaded the initial weights at the end of each round of the loop.",
        train: reset_each_round,
        expect: &[Expect {
            variables: "*",
            verdicts: &["not_updated"],
            causes: &["overwritten"],
            remarks: &[],
        }],
        model: ModelExpect::Fault,
        note: "The step moves the weights, and the load puts them back before they are logged.",
    },
    Program {
        name: "rate_set_to_zero",
        source: "apache/mxnet#14917",
        about: "Set the learning rate to 0.0 after 200 steps and went on.",
        train: rate_zero,
        expect: &[Expect {
            variables: "*",
            verdicts: &["not_updated"],
            causes: &["learning_rate_zero"],
            remarks: &[],
        }],
        model: ModelExpect::Fault,
        note: "For the last 200 steps there is a gradient and no element changes: the rate is 0.",
    },
    Program {
        name: "warm_up_from_zero",
        source: "EleutherAI/gpt-neox#1373",
        about: "Saw that the first step changes nothing, because a linear warm-up begins at 0.",
        train: warm_up,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "One step at rate 0 is how warm-up begins; all the others move.",
    },
    Program {
        name: "accumulation_over_eight",
        source: "timoschick/pet#36",
        about: "Accumulated gradients over 8 batches and logged after each batch.",
        train: accumulate,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "Seven of eight iterations change nothing, on purpose.",
    },
    Program {
        name: "no_optimizer_at_all",
        source: "pytorch/pytorch#1271",
        about: "Missed optimizer.step() in the word language model: it updates by hand.",
        train: by_hand,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "Plain gradient descent written out, with clipping: all weights learn.",
    },
    Program {
        name: "half_a_tensor_frozen",
        source: "LaurentMazare/tch-rs#551",
        about: "Froze some rows of a weight by putting them back after each step.",
        train: part_frozen,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "The other rows learn, so the variable learns; that a part rests is wanted.",
    },
    Program {
        name: "optimizer_built_before_the_model",
        source: "LaurentMazare/tch-rs#106",
        about: "Built the optimizer on an empty VarStore, and the layers after it.",
        train: optimizer_first,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "Today's tch adds the missing variables at the next step: all of them learn.",
    },
    Program {
        name: "rate_decays_to_zero",
        source: "pytorch/torchtitan#1010",
        about: "Warmed up, then let the rate fall linearly to 0.0 at the last step.",
        train: decay_to_zero,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "A planned decay: updates shrink for all variables alike.",
    },
    Program {
        name: "gradual_unfreezing",
        source: "ultralytics/yolov5#9677",
        about: "Trained the head first and unfroze one more layer every 80 steps.",
        train: unfreeze,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "Each layer rests while it is frozen, and learns from its turn on.",
    },
    Program {
        name: "resumed_from_a_checkpoint",
        source: "pytorch/examples: imagenet/main.py",
        about: "Saved a checkpoint and went on from it with a new model and a new optimizer.",
        train: resumed,
        expect: &[LEARNING],
        model: ModelExpect::Healthy,
        note: "The loaded weights are those of the checkpoint; training goes on as before.",
    },
];

const LEARNING: Expect = Expect {
    variables: "*",
    verdicts: &["learning"],
    causes: &[],
    remarks: &[],
};

fn cleared(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 32, 4]);
    let mut opt = nn::AdamW::default().build(&vs, 1e-5)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..150 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        loss.backward();
        see_gradients("", &vs);
        opt.zero_grad();
        opt.step();
        opt.set_lr(1e-3 * (step as f64 / 50.0).min(1.0));
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn only_scheduler(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[6, 24, 24, 1]);
    let mut opt = nn::Adam::default().build(&vs, 1e-2)?;
    let (x, y) = curve(256, 6);
    for step in 0..300 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).mse_loss(&by, tch::Reduction::Mean);
        opt.zero_grad();
        loss.backward();
        opt.set_lr(1e-2 * 0.99_f64.powi(step as i32)); // scheduler.step()
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn reset_each_round(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 32, 4]);
    let initial: Vec<Tensor> = vs
        .trainable_variables()
        .iter()
        .map(|one| one.detach().copy())
        .collect();
    let mut opt = nn::Sgd::default().build(&vs, 0.05)?;
    let (x, y) = clusters(1280, 16, 4);
    for round in 0..300 {
        let labelled = 16 + 4 * round;
        let (bx, by) = batch(&x.narrow(0, 0, labelled), &y.narrow(0, 0, labelled), 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        let _uncertain = tch::no_grad(|| net.forward(&x).softmax(-1, Kind::Float).amax(1, false));
        tch::no_grad(|| {
            for (variable, first) in vs.trainable_variables().iter_mut().zip(&initial) {
                variable.copy_(first); // model.load_state_dict(init_weights)
            }
        });
        log(logger, "", &vs, &loss, round)?;
    }
    Ok(())
}

fn rate_zero(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 48, 4]);
    let mut opt = nn::sgd(0.9, 0.0, 0.0, false).build(&vs, 0.02)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..400 {
        if step == 200 {
            opt.set_lr(0.0);
        }
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn warm_up(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 32, 32, 4]);
    let mut opt = nn::AdamW::default().build(&vs, 0.0)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..250 {
        opt.set_lr(1e-3 * (step as f64 / 30.0).min(1.0));
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn accumulate(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 32, 4]);
    let mut opt = nn::AdamW::default().build(&vs, 2e-3)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..396 {
        let (bx, by) = batch(&x, &y, 8);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        (&loss / 8.0).backward();
        if (step + 1) % 8 == 0 {
            opt.step();
            opt.zero_grad();
        }
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn by_hand(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let uniform = nn::Init::Uniform { lo: -0.1, up: 0.1 };
    let config = nn::EmbeddingConfig {
        ws_init: uniform,
        ..Default::default()
    };
    let encoder = nn::embedding(&root / "encoder", 20, 16, config);
    let lstm = nn::lstm(&root / "rnn", 16, 32, Default::default());
    let config = nn::LinearConfig {
        ws_init: uniform,
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    let decoder = nn::linear(&root / "decoder", 32, 20, config);
    let rate = 4.0;
    let mut state = lstm.zero_state(8);
    for step in 0..250 {
        let text = tokens(8, 12, 20);
        let (inputs, targets) = (text.narrow(1, 0, 12), text.narrow(1, 1, 12));
        let (h, c) = (state.h().detach(), state.c().detach());
        let (output, next) = lstm.seq_init(&encoder.forward(&inputs), &nn::LSTMState((h, c)));
        state = next;
        let logits = decoder.forward(&output).view([-1, 20]);
        let loss = logits.cross_entropy_for_logits(&targets.reshape([-1]));
        for variable in vs.trainable_variables().iter_mut() {
            variable.zero_grad();
        }
        loss.backward();
        tch::no_grad(|| {
            let variables = vs.trainable_variables();
            let squares = variables
                .iter()
                .map(|one| one.grad().square().sum(Kind::Double));
            let norm = squares.map(|one| one.double_value(&[])).sum::<f64>().sqrt();
            let scale = (0.25 / (norm + 1e-6)).min(1.0);
            for mut variable in variables {
                let change = variable.grad() * (-rate * scale);
                let _ = variable.g_add_(&change);
            }
        });
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn part_frozen(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let first = nn::linear(&root / "fc1", 16, 32, Default::default());
    let second = nn::linear(&root / "fc2", 32, 4, Default::default());
    let kept = first.ws.narrow(0, 0, 16).detach().copy();
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..250 {
        let (bx, by) = batch(&x, &y, 32);
        let logits = second.forward(&first.forward(&bx).relu());
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        tch::no_grad(|| first.ws.narrow(0, 0, 16).copy_(&kept));
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn optimizer_first(logger: &Logger) -> Result<()> {
    let vs = store();
    let mut opt = nn::Adam::default().build(&vs, 2e-3)?;
    let net = mlp(&vs.root(), &[6, 32, 32, 1]);
    let (x, y) = curve(512, 6);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).mse_loss(&by, tch::Reduction::Mean);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn decay_to_zero(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 48, 48, 4]);
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let (x, y) = clusters(512, 16, 4);
    let (steps, warm) = (300, 20);
    for step in 0..steps {
        let up = (step + 1) as f64 / warm as f64;
        let down = (steps - 1 - step) as f64 / (steps - 1 - warm) as f64;
        opt.set_lr(3e-3 * up.min(down).min(1.0));
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn unfreeze(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 32, 32, 32, 4]);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for name in ["fc1", "fc2", "fc3"] {
        track(&vs, name, false);
    }
    let (x, y) = clusters(512, 16, 4);
    for step in 0..320 {
        match step {
            80 => track(&vs, "fc3", true),
            160 => track(&vs, "fc2", true),
            240 => track(&vs, "fc1", true),
            _ => {}
        }
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn resumed(logger: &Logger) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("checkpoint.ot");
    let (x, y) = clusters(512, 16, 4);
    for part in 0..2 {
        let mut vs = store();
        let net = mlp(&vs.root(), &[16, 32, 32, 4]);
        if part == 1 {
            vs.load(&file)?;
        }
        let mut opt = nn::sgd(0.9, 0.0, 1e-4, false).build(&vs, 0.02)?;
        for step in part * 120..(part + 1) * 120 {
            let (bx, by) = batch(&x, &y, 32);
            let loss = net.forward(&bx).cross_entropy_for_logits(&by);
            opt.backward_step(&loss);
            log(logger, "", &vs, &loss, step)?;
        }
        vs.save(&file)?;
    }
    Ok(())
}
