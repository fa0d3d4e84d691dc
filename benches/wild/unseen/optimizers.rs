//! Optimizers: what they were given, what they do beside the gradient, and in which precision.

use anyhow::Result;
use tch::nn::{self, Module, OptimizerConfig, RNN};
use tch::{Kind, Reduction, Tensor};
use tch_tensorboard::Logger;

use super::data::{FLOAT, INT, batch, clusters, curve, mlp, store, tokens, track};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub static PROGRAMS: [Program; 13] = [
    Program {
        name: "head_not_given_to_the_optimizer",
        source: "huggingface/pytorch-openai-transformer-lm#6",
        about: "Built the optimizer from the transformer alone; the task head is a second model.",
        train: head_left_out,
        expect: &[
            because("clf_head/*", &["not_updated"], &["not_in_optimizer"]),
            because("transformer/*", &["learning"], &[]),
        ],
        model: ModelExpect::Fault,
        note: "The head has gradients and no optimizer knows it; the transformer learns.",
    },
    Program {
        name: "distillation_aligns_by_random_weights",
        source: "huangzongmou/yolov8_Distillation#5",
        about: "Made the 1x1 layer that aligns features inside the loss, outside the optimizer.",
        train: align_left_out,
        expect: &[
            because("feature_loss/*", &["not_updated"], &["not_in_optimizer"]),
            because("student/*", &["learning"], &[]),
        ],
        model: ModelExpect::Fault,
        note: "The aligning layer gets gradients and is never stepped; the student learns.",
    },
    Program {
        name: "optimizer_steps_copies",
        source: "nntrainer/nntrainer#241",
        about: "Gave the optimizer copies of the weights: updates never reach the originals.",
        train: copies_stepped,
        expect: &[because(
            "*",
            &["not_updated"],
            &["not_in_optimizer", "step_not_called"],
        )],
        model: ModelExpect::Fault,
        note: "The model's own weights have gradients and never change: to them it is as if no \
               optimizer knew them.",
    },
    Program {
        name: "decay_without_a_gradient",
        source: "KellerJordan/Muon#54",
        about: "Used an optimizer that decays parameters even when their gradient is None.",
        train: decay_unused,
        expect: &[
            because("aux.*", &["decay_only"], &[]),
            because("fc*", &["learning"], &[]),
        ],
        model: ModelExpect::Fault,
        note: "The auxiliary layer is in no loss; it moves, but only towards zero by decay.",
    },
    Program {
        name: "frozen_backbone_decays",
        source: "ahrefs/ocannl#673",
        about: "Froze the backbone; the optimizer still decays every parameter of the model.",
        train: decay_frozen,
        expect: &[
            because("backbone.*", &["moving_while_frozen", "decay_only"], &[]),
            because("head.*", &["learning"], &[]),
        ],
        model: ModelExpect::Fault,
        note: "Frozen weights move by weight decay alone: both names say so.",
    },
    Program {
        name: "norm_gain_in_bf16",
        source: "workofart/ml-by-hand#85",
        about: "Kept weights in bf16 and computed Adam in f32: the gains of 1.0 never move.",
        train: norm_gain,
        expect: &[because(
            "ln.weight",
            &["not_updated", "rounded_away"],
            &["rounding"],
        )],
        model: ModelExpect::Fault,
        note: "A step of 6e-4 at 1.0 is below half a unit in the last place of bf16, so that the \
               gain is rounded back each time.",
    },
    Program {
        name: "full_fine_tuning_in_bf16",
        source: "meta-pytorch/torchtune#2254",
        about: "Fine-tuned in pure bf16 with AdamW at 2e-5, and it converges very badly.",
        train: all_bf16,
        expect: &[because(
            "*.weight",
            &["rounded_away", "not_updated"],
            &["rounding"],
        )],
        model: ModelExpect::Fault,
        note: "Steps of 2e-5 at weights around 0.2 are far below a unit in the last place: only \
               the elements next to zero change.",
    },
    Program {
        name: "regression_without_scaling",
        source: "keras-team/keras#3040",
        about: "Fitted y = 2x for x of 0 to 199 with SGD at 0.001; the weights become NaN.",
        train: regression,
        expect: &[because("*", &["non_finite"], &[])],
        model: ModelExpect::Fault,
        note: "The steps overshoot, the weights explode and end as NaN.",
    },
    Program {
        name: "adam_rate_far_too_high",
        source: "guillaumegenthial/sequence_tagging#47",
        about: "Trained a recurrent tagger at a rate of 0.1, and the loss rises again.",
        train: rate_too_high,
        expect: &[because(
            "rnn.weight_*",
            &["large_updates", "exploding", "erratic", "scale_drift"],
            &[],
        )],
        model: ModelExpect::Fault,
        note: "The first steps are larger than the weights, later ones 2 % of weights that have \
               grown tenfold, and the loss stays at twice what the data allow. A network this \
               small needs 1.0 for that: at 0.1, as first written, it still learned. While this \
               rate was chosen by the loss, the crate's verdict came into view; the answer stayed.",
    },
    Program {
        name: "only_some_rows_of_an_embedding",
        source: "pytorch/pytorch#31651",
        about: "Noticed that only rows of the tokens in the batch change.",
        train: few_rows,
        expect: &[because("*", &["learning"], &[])],
        model: ModelExpect::Healthy,
        note: "Rows of tokens that are not in the batch have no gradient: as it should be.",
    },
    Program {
        name: "weights_clamped_at_zero",
        source: "Lightning-AI/pytorch-lightning#2382",
        about: "Clamped weights to be non-negative after each step (projected descent).",
        train: projected,
        expect: &[because("*", &["learning"], &[])],
        model: ModelExpect::Healthy,
        note: "Some elements rest at the bound, where they belong; the others learn.",
    },
    Program {
        name: "pruning_mask_after_each_step",
        source: "IntelLabs/distiller#63",
        about: "Multiplied the weights by a pruning mask after each mini-batch.",
        train: pruned,
        expect: &[because("*", &["learning"], &[])],
        model: ModelExpect::Healthy,
        note: "Masked elements stay 0 on purpose; what is left learns.",
    },
    Program {
        name: "critic_clipped_to_a_hundredth",
        source: "martinarjovsky/WassersteinGAN: main.py",
        about: "Clipped all weights of the critic to 0.01 before each of its steps.",
        train: wasserstein,
        expect: &[
            because("critic/*", &["learning"], &[]),
            because("generator/*", &["learning"], &[]),
        ],
        model: ModelExpect::Healthy,
        note: "The clipping shrinks the critic once, at the start; then both models train.",
    },
];

const fn because(
    variables: &'static str,
    verdicts: &'static [&'static str],
    causes: &'static [&'static str],
) -> Expect {
    Expect {
        variables,
        verdicts,
        causes,
        remarks: &[],
    }
}

fn head_left_out(logger: &Logger) -> Result<()> {
    let (model_vs, head_vs) = (store(), store());
    let root = model_vs.root();
    let embed = nn::embedding(&root / "embed", 20, 16, Default::default());
    let net = mlp(&(&root / "h"), &[16, 32, 16]);
    let head = nn::linear(head_vs.root() / "linear", 16, 4, Default::default());
    let mut opt = nn::Adam::default().build(&model_vs, 1e-3)?;
    let (model_log, head_log) = (logger.scoped("transformer")?, logger.scoped("clf_head")?);
    for step in 0..300 {
        let text = Tensor::randint(20, [32, 6], INT);
        let labels = text
            .narrow(1, 0, 2)
            .sum_dim_intlist([1].as_slice(), false, Kind::Int64);
        let labels = labels.remainder(4);
        let hidden = embed.forward(&text) + net.forward(&embed.forward(&text));
        let pooled = hidden.mean_dim([1].as_slice(), false, Kind::Float);
        let loss = head.forward(&pooled).cross_entropy_for_logits(&labels);
        opt.backward_step(&loss);
        log(&model_log, "transformer", &model_vs, &loss, step)?;
        log(&head_log, "clf_head", &head_vs, &loss, step)?;
    }
    Ok(())
}

fn align_left_out(logger: &Logger) -> Result<()> {
    let (teacher_vs, student_vs, loss_vs) = (store(), store(), store());
    let teacher = mlp(&teacher_vs.root(), &[16, 48, 24]);
    let student = mlp(&student_vs.root(), &[16, 24, 12]);
    let head = nn::linear(student_vs.root() / "head", 12, 4, Default::default());
    let align = nn::linear(loss_vs.root() / "align", 12, 24, Default::default());
    let mut opt = nn::sgd(0.9, 0.0, 5e-4, false).build(&student_vs, 0.01)?;
    let (student_log, loss_log) = (logger.scoped("student")?, logger.scoped("feature_loss")?);
    let (x, y) = clusters(512, 16, 4);
    for step in 0..300 {
        let (bx, by) = batch(&x, &y, 32);
        let wanted = tch::no_grad(|| teacher.forward(&bx));
        let features = student.forward(&bx);
        let feature_loss = align.forward(&features).mse_loss(&wanted, Reduction::Mean);
        let loss = head.forward(&features.relu()).cross_entropy_for_logits(&by) + feature_loss;
        opt.backward_step(&loss);
        log(&student_log, "student", &student_vs, &loss, step)?;
        log(&loss_log, "feature_loss", &loss_vs, &loss, step)?;
    }
    Ok(())
}

fn copies_stepped(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[6, 32, 1]);
    let variables = vs.trainable_variables();
    let mut copies: Vec<Tensor> = variables.iter().map(|one| one.detach().copy()).collect();
    let (x, y) = curve(512, 6);
    for step in 0..300 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).mse_loss(&by, Reduction::Mean);
        for variable in vs.trainable_variables().iter_mut() {
            variable.zero_grad();
        }
        loss.backward();
        tch::no_grad(|| {
            for (copy, variable) in copies.iter_mut().zip(&variables) {
                *copy -= variable.grad() * 0.05;
            }
        });
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn decay_unused(logger: &Logger) -> Result<()> {
    let vs = store();
    let net = mlp(&vs.root(), &[16, 32, 4]);
    let _aux = nn::linear(vs.root() / "aux", 32, 4, Default::default());
    let (rate, decay, momentum) = (0.02, 0.1, 0.9);
    let variables = vs.trainable_variables();
    let mut moments: Vec<Tensor> = variables.iter().map(Tensor::zeros_like).collect();
    let (x, y) = clusters(512, 16, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = net.forward(&bx).cross_entropy_for_logits(&by);
        for variable in vs.trainable_variables().iter_mut() {
            variable.zero_grad();
        }
        loss.backward();
        tch::no_grad(|| {
            for (mut variable, moment) in vs.trainable_variables().into_iter().zip(&mut moments) {
                let gradient = variable.grad();
                if gradient.defined() {
                    *moment *= momentum;
                    *moment += gradient;
                }
                variable *= 1.0 - rate * decay;
                variable -= &*moment * rate;
            }
        });
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn decay_frozen(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let backbone = mlp(&(&root / "backbone"), &[16, 32, 32]);
    let head = nn::linear(&root / "head", 32, 4, Default::default());
    track(&vs, "backbone", false);
    let (rate, decay) = (0.05, 1e-3);
    let (x, y) = clusters(512, 16, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let features = backbone.forward(&bx).relu();
        let loss = head.forward(&features).cross_entropy_for_logits(&by);
        for variable in vs.trainable_variables().iter_mut() {
            if variable.grad().defined() {
                variable.zero_grad();
            }
        }
        loss.backward();
        tch::no_grad(|| {
            for mut variable in vs.trainable_variables() {
                let mut change = &variable * decay;
                if variable.grad().defined() {
                    change += variable.grad();
                }
                variable -= change * rate;
            }
        });
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

/// Adam that computes in f32 and writes back in the type of the weights.
struct Adam32 {
    variables: Vec<Tensor>,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
    steps: i32,
}

impl Adam32 {
    fn new(vs: &nn::VarStore) -> Adam32 {
        let variables = vs.trainable_variables();
        let zeros = || {
            variables
                .iter()
                .map(|one| Tensor::zeros(one.size(), FLOAT))
                .collect()
        };
        Adam32 {
            means: zeros(),
            squares: zeros(),
            steps: 0,
            variables,
        }
    }

    fn backward_step(&mut self, loss: &Tensor, rate: f64) {
        for variable in &mut self.variables {
            variable.zero_grad();
        }
        loss.backward();
        self.steps += 1;
        let first = 1.0 - 0.9_f64.powi(self.steps);
        let second = 1.0 - 0.999_f64.powi(self.steps);
        tch::no_grad(|| {
            for (at, variable) in self.variables.iter_mut().enumerate() {
                let gradient = variable.grad().to_kind(Kind::Float);
                self.means[at] = &self.means[at] * 0.9 + &gradient * 0.1;
                self.squares[at] = &self.squares[at] * 0.999 + gradient.square() * 0.001;
                let scale = (&self.squares[at] / second).sqrt() + 1e-8;
                let change = &self.means[at] / first / scale * rate;
                variable.copy_(&(variable.to_kind(Kind::Float) - change).to_kind(Kind::BFloat16));
            }
        });
    }
}

fn norm_gain(logger: &Logger) -> Result<()> {
    let mut vs = store();
    let root = vs.root();
    let config = nn::LinearConfig {
        ws_init: nn::Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        },
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
    };
    let fc1 = nn::linear(&root / "fc1", 16, 64, config);
    let ln = nn::layer_norm(&root / "ln", vec![64], Default::default());
    let fc2 = nn::linear(&root / "fc2", 64, 4, config);
    vs.bfloat16();
    let mut opt = Adam32::new(&vs);
    let (x, y) = clusters(512, 16, 4);
    let x = x.to_kind(Kind::BFloat16);
    for step in 0..150 {
        let (bx, by) = batch(&x, &y, 32);
        let hidden = ln.forward(&fc1.forward(&bx)).gelu("none");
        let logits = fc2.forward(&hidden).to_kind(Kind::Float);
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss, 6e-4);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn all_bf16(logger: &Logger) -> Result<()> {
    let mut vs = store();
    let net = mlp(&vs.root(), &[16, 64, 64, 4]);
    vs.bfloat16();
    let mut opt = Adam32::new(&vs);
    let (x, y) = clusters(512, 16, 4);
    let x = x.to_kind(Kind::BFloat16);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let logits = net.forward(&bx).to_kind(Kind::Float);
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss, 2e-5);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn regression(logger: &Logger) -> Result<()> {
    let vs = store();
    let dense = nn::linear(vs.root() / "dense", 1, 1, Default::default());
    let mut opt = nn::Sgd::default().build(&vs, 0.001)?;
    let x = Tensor::arange(200, FLOAT).view([200, 1]);
    let y = &x * 2.0;
    let order = Tensor::randperm(200, INT);
    let (x, y) = (x.index_select(0, &order), y.index_select(0, &order));
    for step in 0..200 {
        let (bx, by) = (x.narrow(0, step, 1), y.narrow(0, step, 1));
        let loss = dense.forward(&bx).mse_loss(&by, Reduction::Mean);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn rate_too_high(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let embed = nn::embedding(&root / "embed", 20, 16, Default::default());
    let rnn = nn::lstm(&root / "rnn", 16, 32, Default::default());
    let out = nn::linear(&root / "out", 32, 20, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1.0)?;
    for step in 0..150 {
        let text = tokens(16, 10, 20);
        let (inputs, targets) = (text.narrow(1, 0, 10), text.narrow(1, 1, 10));
        let (hidden, _) = rnn.seq(&embed.forward(&inputs));
        let logits = out.forward(&hidden).view([-1, 20]);
        let loss = logits.cross_entropy_for_logits(&targets.reshape([-1]));
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn few_rows(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let embed = nn::embedding(&root / "embedding", 2000, 16, Default::default());
    let out = nn::linear(&root / "out", 16, 4, Default::default());
    let mut opt = nn::Sgd::default().build(&vs, 0.5)?;
    for step in 0..250 {
        // Frequent tokens are much more frequent than rare ones.
        let words = (Tensor::rand([64, 3], FLOAT).pow_tensor_scalar(3.0) * 2000.0).floor();
        let words = words.to_kind(Kind::Int64);
        let labels = words.narrow(1, 0, 1).squeeze_dim(1).remainder(4);
        let pooled = embed
            .forward(&words)
            .mean_dim([1].as_slice(), false, Kind::Float);
        let loss = out.forward(&pooled).cross_entropy_for_logits(&labels);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn projected(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let layer = nn::linear(&root / "parts", 24, 16, Default::default());
    let out = nn::linear(&root / "out", 16, 1, Default::default());
    let mut opt = nn::Sgd::default().build(&vs, 0.02)?;
    let x = Tensor::rand([512, 24], FLOAT);
    let wanted = (Tensor::randn([24, 1], FLOAT) * 0.5).relu();
    let y = x.matmul(&wanted) + Tensor::randn([512, 1], FLOAT) * 0.2;
    for step in 0..250 {
        let (bx, by) = batch(&x, &y, 32);
        let loss = out
            .forward(&layer.forward(&bx).relu())
            .mse_loss(&by, Reduction::Mean);
        opt.backward_step(&loss);
        tch::no_grad(|| {
            let _ = layer.ws.shallow_clone().clamp_min_(0.0);
        });
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn pruned(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let first = nn::linear(&root / "fc1", 16, 64, Default::default());
    let second = nn::linear(&root / "fc2", 64, 4, Default::default());
    let mut opt = nn::sgd(0.9, 0.0, 1e-4, false).build(&vs, 0.02)?;
    let mask = |weights: &Tensor| {
        let sizes = weights.detach().abs();
        let bound = sizes
            .flatten(0, -1)
            .quantile_scalar(0.7, None, false, "linear");
        sizes.gt_tensor(&bound).to_kind(Kind::Float)
    };
    let masks = [mask(&first.ws), mask(&second.ws)];
    let apply = || {
        tch::no_grad(|| {
            let _ = first.ws.shallow_clone().g_mul_(&masks[0]);
            let _ = second.ws.shallow_clone().g_mul_(&masks[1]);
        })
    };
    apply();
    let (x, y) = clusters(512, 16, 4);
    for step in 0..250 {
        let (bx, by) = batch(&x, &y, 32);
        let logits = second.forward(&first.forward(&bx).relu());
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        apply();
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn wasserstein(logger: &Logger) -> Result<()> {
    let (generator_vs, critic_vs) = (store(), store());
    let generator = mlp(&generator_vs.root(), &[8, 64, 64, 8]);
    let body = mlp(&critic_vs.root(), &[8, 64, 64]);
    let last = super::data::plain(critic_vs.root() / "out", 64, 1);
    let critic = |x: &Tensor| last.forward(&body.forward(x).relu()).mean(Kind::Float);
    let rms = nn::RmsProp::default();
    let mut generator_opt = rms.build(&generator_vs, 5e-5)?;
    let mut critic_opt = rms.build(&critic_vs, 5e-5)?;
    let (generator_log, critic_log) = (logger.scoped("generator")?, logger.scoped("critic")?);
    let (x, y) = clusters(1024, 8, 4);
    for step in 0..200 {
        let mut critic_loss = Tensor::zeros([1], FLOAT);
        for _ in 0..5 {
            tch::no_grad(|| {
                for mut variable in critic_vs.trainable_variables() {
                    let _ = variable.clamp_(-0.01, 0.01);
                }
            });
            let (real, _) = batch(&x, &y, 64);
            let noise = Tensor::randn([64, 8], FLOAT);
            let fake = tch::no_grad(|| generator.forward(&noise));
            critic_loss = critic(&real) - critic(&fake);
            critic_opt.backward_step(&critic_loss);
        }
        let generator_loss = critic(&generator.forward(&Tensor::randn([64, 8], FLOAT)));
        generator_opt.backward_step(&generator_loss);
        log(&critic_log, "critic", &critic_vs, &critic_loss, step)?;
        log(
            &generator_log,
            "generator",
            &generator_vs,
            &generator_loss,
            step,
        )?;
    }
    Ok(())
}
