//! Fine-tuning: adapters, layers that begin at zero, frozen backbones, tied weights.

use anyhow::Result;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch_tensorboard::Logger;

use super::data::{FLOAT, batch, clusters, mlp, pictures, plain, store, tokens, track};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::log;

pub static PROGRAMS: [Program; 5] = [
    Program {
        name: "adapter_begins_at_zero",
        source: "huggingface/peft#793",
        about: "Looked at lora_B after little training and found zeros.",
        train: adapters,
        expect: &[
            expect("*lora_*", &["learning"]),
            expect("*base.*", &["frozen"]),
        ],
        model: ModelExpect::Healthy,
        note: "lora_B begins at zero and lora_A has a zero gradient in the first step; both learn.",
    },
    Program {
        name: "two_zero_layers_in_a_row",
        source: "yz93/LAVT-RIS#25",
        about: "Initialised both layers of a gate with zeros.",
        train: two_zeros,
        expect: &[
            expect("gate.*", &["all_zero", "dead_gradient"]),
            expect("main.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "Each layer's gradient is a product with the other's zeros: nothing can move them.",
    },
    Program {
        name: "zero_convolutions",
        source: "lllyasviel/ControlNet#51",
        about: "Joined a trainable copy to a locked model by layers that begin at zero.",
        train: zero_convolutions,
        expect: &[
            expect("locked.*", &["frozen"]),
            expect("copy.*", &["learning"]),
            expect("zero_*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "The input of a zero layer is not zero, so that it moves with the first step, and \
               the copy with the second.",
    },
    Program {
        name: "statistics_of_a_frozen_backbone",
        source: "Lightning-AI/pytorch-lightning#15063",
        about: "Froze the backbone for fine-tuning and left it in training mode.",
        train: frozen_statistics,
        expect: &[
            expect("backbone.conv.*", &["frozen"]),
            Expect {
                variables: "backbone.bn.weight",
                verdicts: &["frozen"],
                causes: &[],
                remarks: &["running_statistics_move"],
            },
            expect("head.*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "All parameters of the backbone rest; its running mean and variance follow the new \
               data, which deserves a remark and is no fault of the weights.",
    },
    Program {
        name: "output_tied_to_the_embedding",
        source: "karpathy/nanoGPT: model.py",
        about: "Used the embedding's weight as that of the output layer.",
        train: tied,
        expect: &[
            Expect {
                variables: "{wte,lm_head}.weight",
                verdicts: &["learning"],
                causes: &[],
                remarks: &["tied"],
            },
            expect("h.*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "One tensor under two names: both learn, and to say that they are tied helps.",
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

const ZEROS: nn::LinearConfig = nn::LinearConfig {
    ws_init: nn::Init::Const(0.0),
    bs_init: None,
    bias: false,
};

fn adapters(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let layer = |name: &str, inputs: i64, outputs: i64| {
        let path = &root / name;
        let base = nn::linear(&path / "base", inputs, outputs, Default::default());
        let a = plain(&path / "lora_A", inputs, 4);
        let b = nn::linear(&path / "lora_B", 4, outputs, ZEROS);
        move |x: &Tensor| base.forward(x) + b.forward(&a.forward(x)) * 2.0
    };
    let first = layer("fc1", 16, 48);
    let second = layer("fc2", 48, 48);
    let third = layer("fc3", 48, 4);
    for name in ["fc1.base", "fc2.base", "fc3.base"] {
        track(&vs, name, false);
    }
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..250 {
        let (bx, by) = batch(&x, &y, 32);
        let logits = third(&second(&first(&bx).relu()).relu());
        let loss = logits.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn two_zeros(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let main = mlp(&(&root / "main"), &[16, 32, 16]);
    let a_1 = nn::linear(&root / "gate" / "a_1", 16, 16, ZEROS);
    let a_2 = nn::linear(&root / "gate" / "a_2", 16, 16, ZEROS);
    let out = nn::linear(&root / "main" / "out", 16, 4, Default::default());
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let (x, y) = clusters(512, 16, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let residual = main.forward(&bx);
        let gate = a_2.forward(&a_1.forward(&residual).relu()).tanh();
        let loss = out.forward(&(&bx + gate * &residual + &residual));
        let loss = loss.cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn zero_convolutions(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let locked = mlp(&(&root / "locked"), &[16, 32, 16]);
    let copy = mlp(&(&root / "copy"), &[16, 32, 16]);
    let config = nn::LinearConfig {
        bs_init: Some(nn::Init::Const(0.0)),
        bias: true,
        ..ZEROS
    };
    let zero_in = nn::linear(&root / "zero_in", 8, 16, config);
    let zero_out = nn::linear(&root / "zero_out", 16, 16, config);
    let variables = vs.variables();
    tch::no_grad(|| {
        for (name, tensor) in &variables {
            if let Some(rest) = name.strip_prefix("copy.") {
                let from = &variables[&format!("locked.{rest}")];
                tensor.shallow_clone().copy_(from);
            }
        }
    });
    track(&vs, "locked", false);
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    let wanted = Tensor::randn([8, 16], FLOAT) / 3.0;
    for step in 0..250 {
        let x = Tensor::randn([32, 16], FLOAT);
        let condition = Tensor::randn([32, 8], FLOAT);
        let y = tch::no_grad(|| {
            let clean = locked.forward(&x) + condition.matmul(&wanted).tanh();
            clean + Tensor::randn([32, 16], FLOAT) * 0.1
        });
        let hidden = copy.forward(&(&x + zero_in.forward(&condition)));
        let output = locked.forward(&x) + zero_out.forward(&hidden);
        let loss = output.mse_loss(&y, tch::Reduction::Mean);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn frozen_statistics(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let path = &root / "backbone";
    let config = nn::ConvConfig {
        padding: 1,
        bias: false,
        ..Default::default()
    };
    let conv = nn::conv2d(&path / "conv", 1, 8, 3, config);
    let bn = nn::batch_norm2d(&path / "bn", 8, Default::default());
    let head = nn::linear(&root / "head", 8 * 16, 4, Default::default());
    track(&vs, "backbone", false);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let (x, y) = pictures(512, 4);
    for step in 0..200 {
        let (bx, by) = batch(&x, &y, 32);
        let features = bn
            .forward_t(&conv.forward(&bx), true)
            .relu()
            .max_pool2d_default(2);
        let loss = head
            .forward(&features.view([32, -1]))
            .cross_entropy_for_logits(&by);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn tied(logger: &Logger) -> Result<()> {
    let vs = store();
    let root = vs.root();
    let config = nn::EmbeddingConfig {
        ws_init: nn::Init::Randn {
            mean: 0.0,
            stdev: 0.02,
        },
        ..Default::default()
    };
    let wte = nn::embedding(&root / "wte", 24, 32, config);
    let block = mlp(&(&root / "h"), &[32, 64, 32]);
    // The optimizer has it already: the second name only stands for the same tensor.
    let head = (&root / "lm_head").add("weight", wte.ws.shallow_clone(), false);
    let mut opt = nn::AdamW::default().build(&vs, 1e-3)?;
    for step in 0..250 {
        let text = tokens(16, 8, 24);
        let (inputs, targets) = (text.narrow(1, 0, 8), text.narrow(1, 1, 8));
        let x = wte.forward(&inputs);
        let normed = x.layer_norm(32, None::<Tensor>, None::<Tensor>, 1e-5, false);
        let x = &x + block.forward(&normed);
        let x = x.layer_norm(32, None::<Tensor>, None::<Tensor>, 1e-5, false);
        let logits = x.matmul(&head.transpose(0, 1)).view([-1, 24]);
        let loss = logits.cross_entropy_for_logits(&targets.reshape([-1]));
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
