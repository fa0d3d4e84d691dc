//! Values that look odd: not finite, masked, sparse, tied, or not those of a network at all.

use anyhow::Result;
use tch::nn::{self, EmbeddingConfig, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use tch_tensorboard::Logger;

use super::data::{self, BARE, Blobs, FLOAT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::{self, log};

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "root_of_silence",
        source: "mpariente/pytorch_stoi#7",
        about: "Took the square root of an energy in the loss, which is zero for a silent sample.",
        train: root_of_silence,
        expect: &[Expect::new("*", &["non_finite"])],
        model: ModelExpect::Fault,
        note: "The slope of the root at zero is infinite, times zero is NaN: from step 100 on \
               each weight is NaN.",
    },
    Program {
        name: "embedding_with_adam",
        source: "pytorch/pytorch#18404",
        about: "Saw rows of an embedding change at steps whose batch did not have their words.",
        train: embedding_with_adam,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Adam's running means go on to move rows whose gradient is zero now.",
    },
    Program {
        name: "sparse_embedding",
        source: "pytorch/pytorch#31651",
        about: "Trained an embedding with sparse gradients: only rows of the batch move.",
        train: sparse_embedding,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "A few of 2000 rows move at each step, as intended.",
    },
    Program {
        name: "pruning_mask",
        source: "jacobgil/pytorch-pruning#41",
        about: "Fine-tuned a pruned network and set the pruned weights to zero again after each \
               step.",
        train: pruning_mask,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Seven of ten weights are zero and stay so on purpose, the others learn.",
    },
    Program {
        name: "style_transfer",
        source: "yunjey/pytorch-tutorial#228",
        about: "Gave the image to the optimizer instead of the network's parameters.",
        train: style_transfer,
        expect: &[
            Expect::new("target", &["learning"]),
            Expect::new("vgg/*", &["frozen"]),
        ],
        model: ModelExpect::Healthy,
        note: "In style transfer the image is the variable, and the network is frozen.",
    },
    Program {
        name: "tied_embeddings",
        source: "codertimo/BERT-pytorch#40",
        about: "Used the input embedding as the output layer too, and logged it under both names.",
        train: tied_embeddings,
        expect: &[
            Expect::new("embedding.weight", &["learning"]).noting(&["tied"]),
            Expect::new("output.weight", &["learning"]).noting(&["tied"]),
        ],
        model: ModelExpect::Healthy,
        note: "One tensor with two names; that they are tied is worth a remark beside both.",
    },
    Program {
        name: "two_decoders_in_turn",
        source: "deepfakes/faceswap-model#31",
        about: "Trained a shared encoder with one of two decoders in turn.",
        train: two_decoders_in_turn,
        expect: &[Expect::new("*", &["learning"])],
        model: ModelExpect::Healthy,
        note: "Each decoder rests, without a gradient, at every second step.",
    },
];

fn root_of_silence(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let encode = nn::linear(&root / "encode", 32, 24, BARE);
    let decode = nn::linear(&root / "decode", 24, 32, BARE);
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..180 {
        let clean = Tensor::randn([16, 32], FLOAT);
        if step == 100 {
            let _ = clean.narrow(0, 0, 1).fill_(0.0);
        }
        let heard = clean.apply(&encode).relu().apply(&decode);
        let energy = |x: &Tensor| x.square().sum_dim_intlist(1, false, Kind::Float).sqrt();
        let match_ = (&heard * &clean).sum_dim_intlist(1, false, Kind::Float);
        let loss = -(match_ / (energy(&heard) * energy(&clean) + 1e-8)).mean(Kind::Float);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

/// Words of which low numbers are far more frequent, eight a sentence; each word belongs to one of
/// three classes.
fn sentences(words: i64, count: i64) -> (Tensor, Tensor) {
    let class = data::rows(3, count);
    let rare = Tensor::rand([count, 8], FLOAT).pow_tensor_scalar(3) * (words / 3);
    let text = rare.to_kind(Kind::Int64) * 3 + class.unsqueeze(1);
    (text, class)
}

fn embedding_with_adam(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let embedding = nn::embedding(&root / "embedding", 300, 16, Default::default());
    let hidden = nn::linear(&root / "hidden", 8 * 16, 32, Default::default());
    let out = nn::linear(&root / "out", 32, 3, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..250 {
        let (text, class) = sentences(300, 16);
        let features = text.apply(&embedding).flatten(1, -1).apply(&hidden).relu();
        let loss = features.apply(&out).cross_entropy_for_logits(&class);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn sparse_embedding(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let config = EmbeddingConfig {
        sparse: true,
        ..Default::default()
    };
    let embedding = nn::embedding(&root / "embedding", 2000, 16, config);
    let out = nn::linear(&root / "out", 16, 3, Default::default());
    let mut opt = nn::Sgd::default().build(&vs, 0.5)?;
    for step in 0..200 {
        let (text, class) = sentences(2000, 16);
        let bag = text
            .apply(&embedding)
            .mean_dim([1].as_slice(), false, Kind::Float);
        let loss = bag.apply(&out).cross_entropy_for_logits(&class);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn pruning_mask(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 6);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 48, 48, 6]);
    let weights = vs
        .trainable_variables()
        .into_iter()
        .filter(|one| one.dim() == 2);
    let pruned: Vec<(Tensor, Tensor)> = weights
        .map(|weight| {
            let size = weight.detach().abs();
            let mask =
                size.gt_tensor(&size.flatten(0, -1).quantile_scalar(0.7, 0, false, "linear"));
            (weight, mask.to_kind(Kind::Float))
        })
        .collect();
    let mut opt = nn::sgd(0.9, 0., 5e-4, false).build(&vs, 0.01)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        for (weight, mask) in &pruned {
            let _ = no_grad(|| weight.shallow_clone().g_mul_(mask));
        }
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn style_transfer(logger: &Logger) -> Result<()> {
    let log_vgg = logger.scoped("vgg")?;
    let mut vgg = nn::VarStore::new(Device::Cpu);
    let conv1 = nn::conv2d(&vgg.root() / "conv1", 3, 8, 3, Default::default());
    let conv2 = nn::conv2d(&vgg.root() / "conv2", 8, 8, 3, Default::default());
    vgg.freeze();
    let features = |image: &Tensor| {
        let first = image.apply(&conv1).relu();
        let second = first.apply(&conv2).relu();
        (first, second)
    };
    let gram = |maps: &Tensor| {
        let flat = maps.squeeze_dim(0).flatten(1, -1);
        flat.matmul(&flat.tr()) / flat.numel() as f64
    };
    let content = features(&Tensor::rand([1, 3, 20, 20], FLOAT)).1;
    let style = features(&Tensor::rand([1, 3, 20, 20], FLOAT).pow_tensor_scalar(3));
    let vs = nn::VarStore::new(Device::Cpu);
    let target = vs.root().uniform("target", &[1, 3, 20, 20], 0.0, 1.0);
    let mut opt = nn::adam(0.5, 0.999, 0.).build(&vs, 3e-3)?;
    for step in 0..200 {
        let (first, second) = features(&target);
        let loss = data::squares(&second, &content)
            + data::squares(&gram(&first), &gram(&style.0)) * 100.0
            + data::squares(&gram(&second), &gram(&style.1)) * 100.0;
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
        log_vgg.log_weights(&vgg, step)?;
        witness::see("vgg", &vgg);
    }
    Ok(())
}

fn tied_embeddings(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let shared = root.randn("shared", &[60, 24], 0.0, 0.2);
    let hidden = nn::linear(&root / "hidden", 24, 24, Default::default());
    let follows = Tensor::randperm(60, (Kind::Int64, Device::Cpu));
    let mut opt = nn::AdamW::default().build(&vs, 3e-3)?;
    for step in 0..250 {
        let word = data::rows(60, 64);
        let state = shared.index_select(0, &word).apply(&hidden).gelu("none");
        let logits = state.matmul(&shared.tr());
        let loss = logits.cross_entropy_for_logits(&follows.index_select(0, &word));
        opt.backward_step(&loss);
        let bias = hidden
            .bs
            .as_ref()
            .map(Tensor::shallow_clone)
            .unwrap_or_default();
        let named = [
            ("embedding.weight", &shared),
            ("hidden.weight", &hidden.ws),
            ("hidden.bias", &bias),
            ("output.weight", &shared),
        ];
        logger.log_scalar("loss", &loss, step)?;
        logger.log_weights(&named, step)?;
        witness::see_loss("", &loss);
        for (name, tensor) in named {
            witness::see_tensor(name, tensor);
        }
    }
    Ok(())
}

fn two_decoders_in_turn(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let encoder = data::mlp(&(&vs.root() / "encoder"), &[24, 32, 8]);
    let decoders =
        ["decoder_a", "decoder_b"].map(|name| data::mlp(&(&vs.root() / name), &[8, 32, 24]));
    let mixes = [(); 2].map(|()| Tensor::randn([6, 24], FLOAT) * 0.5);
    let mut opt = nn::adam(0.5, 0.999, 0.).build(&vs, 1e-3)?;
    for step in 0..300 {
        let face = usize::from(step % 2 == 1);
        let image = Tensor::randn([64, 6], FLOAT).matmul(&mixes[face]);
        let warped = &image + Tensor::randn([64, 24], FLOAT) * 0.1;
        let rebuilt = warped.apply(&encoder).relu().apply(&decoders[face]);
        let loss = (rebuilt - image).abs().mean(Kind::Float);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
