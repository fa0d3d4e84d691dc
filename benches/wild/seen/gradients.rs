//! Gradients that do not arrive, or arrive as exact zeros.

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor, no_grad};
use tch_tensorboard::Logger;

use super::data::{self, Blobs, FLOAT};
use crate::suite::{Expect, ModelExpect, Program};
use crate::witness::{self, log};

pub const PROGRAMS: &[Program] = &[
    Program {
        name: "argmax_between_modules",
        source: "pytorch/pytorch#1339",
        about: "Passed the argmax of one module to a second one and wanted to train both.",
        train: argmax_between_modules,
        expect: &[
            Expect::new("first.*", &["detached"]),
            Expect::new("second.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "argmax has no gradient, so the first module's gradients stay undefined.",
    },
    Program {
        name: "policy_detached",
        source: "alexhernandezgarcia/gflownet#251",
        about: "Detached the logits where they were to be cloned; of the trajectory balance loss \
               only log Z was trained.",
        train: policy_detached,
        expect: &[
            Expect::new("policy.*", &["detached"]),
            Expect::new("log_z", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "One scalar gets gradients and moves, the whole network none.",
    },
    Program {
        name: "unused_layer",
        source: "layumi/Person_reID_baseline_pytorch#90",
        about: "Kept the fc layer of the pretrained network in the optimizer, which forward does \
               not use any more.",
        train: unused_layer,
        expect: &[
            Expect::new("fc.*", &["detached"]),
            Expect::new("base.*", &["learning"]),
            Expect::new("classifier.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "Its gradient is never defined, so not even weight decay moves it. Harmless here, \
               but worth a finding.",
    },
    Program {
        name: "relu_on_the_output",
        source: "chelsea0x3b/dfdx#486",
        about: "Put a ReLU on the output layer of a regression whose targets are negative.",
        train: relu_on_the_output,
        expect: &[Expect::new("*", &["zero_gradient", "dead_gradient"])],
        model: ModelExpect::Fault,
        note: "Soon all outputs are clipped, and each gradient of the model is exactly zero.",
    },
    Program {
        name: "some_dead_units",
        source: "keras-team/keras#7057",
        about: "Half of the ReLU units never fire, by unlucky biases; the rest of the network \
               learns.",
        train: some_dead_units,
        expect: &[
            Expect::new("fc1.weight", &["learning"]).noting(&["dead_units"]),
            Expect::new("fc1.bias", &["learning"]),
            Expect::new("fc2.*", &["learning"]),
        ],
        model: ModelExpect::Healthy,
        note: "The layer learns by its living units; the dead ones are worth a remark.",
    },
    Program {
        name: "auxiliary_weight_zero",
        source: "jasonkyuyim/multiflow#3",
        about: "Set the weight of the auxiliary loss to 0 and left its head in the model.",
        train: auxiliary_weight_zero,
        expect: &[
            Expect::new("auxiliary.*", &["dead_gradient"]),
            Expect::new("trunk.*", &["learning"]),
            Expect::new("head.*", &["learning"]),
        ],
        model: ModelExpect::Any,
        note: "The head's gradient is defined and exactly zero. Intended here, a mistake \
               elsewhere: nothing outside can know.",
    },
    Program {
        name: "frozen_by_zero_gradients",
        source: "ahrefs/ocannl#673",
        about: "Stopped the gradient before a backbone whose parameters the optimizer still \
               decays.",
        train: frozen_by_zero_gradients,
        expect: &[
            Expect::new("backbone.*", &["decay_only"]),
            Expect::new("head.*", &["learning"]),
        ],
        model: ModelExpect::Fault,
        note: "Gradient buffers hold zeros, and weight decay shrinks what was meant to be frozen, \
               at each step.",
    },
    Program {
        name: "copy_of_the_image",
        source: "utkuozbulak/pytorch-cnn-visualizations#19",
        about: "Optimized an image, and looked at a copy that was made before the loop.",
        train: copy_of_the_image,
        expect: &[Expect::new("image", &["no_gradient", "detached"])],
        model: ModelExpect::Fault,
        note: "What is logged is no leaf and never changes; the true image does.",
    },
    Program {
        name: "unscaled_inputs",
        source: "BrainJS/brain.js#98",
        about: "Fed inputs of some hundreds to a network of sigmoids; it answers the same whatever \
               the input.",
        train: unscaled_inputs,
        expect: &[Expect::new("fc1.*", &["dead_gradient", "vanishing"])],
        model: ModelExpect::Fault,
        note: "The hidden units are saturated: their slope is zero in single precision, or nearly.",
    },
];

fn argmax_between_modules(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 6);
    let vs = nn::VarStore::new(Device::Cpu);
    let first = data::mlp(&(&vs.root() / "first"), &[16, 32, 12]);
    let second = &vs.root() / "second";
    let embedding = nn::embedding(&second / "embedding", 12, 16, Default::default());
    let out = nn::linear(&second / "out", 16, 6, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 2e-3)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(64);
        let word = x.apply(&first).argmax(1, false);
        let loss = word
            .apply(&embedding)
            .apply(&out)
            .cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn policy_detached(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let policy = data::mlp(&(&vs.root() / "policy"), &[8, 32, 4]);
    let log_z = vs.root().zeros("log_z", &[1]);
    let mut opt = nn::Adam::default().build(&vs, 1e-2)?;
    for step in 0..200 {
        let state = Tensor::randn([32, 8], FLOAT);
        let logits = state.apply(&policy).detach().copy();
        let logp = logits.log_softmax(-1, Kind::Float);
        let action = logp.exp().multinomial(1, true);
        let log_reward = action.to_kind(Kind::Float) * 0.5 + 3.0;
        let loss = (&log_z + logp.gather(1, &action, false) - log_reward)
            .square()
            .mean(Kind::Float);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn unused_layer(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 6);
    let vs = nn::VarStore::new(Device::Cpu);
    let base = data::mlp(&(&vs.root() / "base"), &[16, 32, 32]);
    let _fc = nn::linear(&vs.root() / "fc", 32, 40, Default::default());
    let classifier = nn::linear(&vs.root() / "classifier", 32, 6, Default::default());
    let mut opt = nn::sgd(0.9, 0., 5e-4, true).build(&vs, 0.02)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let loss = x
            .apply(&base)
            .relu()
            .apply(&classifier)
            .cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn relu_on_the_output(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[6, 24, 24, 3]).add_fn(|x| x.relu());
    let mut opt = nn::Sgd::default().build(&vs, 0.3)?;
    for step in 0..300 {
        let x = Tensor::rand([32, 6], FLOAT);
        let y = Tensor::randn([32, 3], FLOAT) * 0.1 - 1.0;
        let loss = data::squares(&x.apply(&model), &y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn some_dead_units(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = data::mlp(&vs.root(), &[16, 32, 4]);
    let bias = vs.variables()["fc1.bias"].shallow_clone();
    let _ = no_grad(|| bias.narrow(0, 0, 16).fill_(-40.0));
    let mut opt = nn::Sgd::default().build(&vs, 0.05)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let loss = x.apply(&model).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn auxiliary_weight_zero(logger: &Logger) -> Result<()> {
    let auxiliary_weight = 0.0;
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let trunk = data::mlp(&(&vs.root() / "trunk"), &[16, 32, 32]);
    let head = nn::linear(&vs.root() / "head", 32, 4, Default::default());
    let auxiliary = nn::linear(&vs.root() / "auxiliary", 32, 16, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let features = x.apply(&trunk).relu();
        let rebuilt = data::squares(&features.apply(&auxiliary), &x);
        let loss = features.apply(&head).cross_entropy_for_logits(&y) + rebuilt * auxiliary_weight;
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn frozen_by_zero_gradients(logger: &Logger) -> Result<()> {
    let blobs = Blobs::new(1000, 16, 4);
    let vs = nn::VarStore::new(Device::Cpu);
    let backbone = data::mlp(&(&vs.root() / "backbone"), &[16, 32, 32]);
    let head = nn::linear(&vs.root() / "head", 32, 4, Default::default());
    let mut opt = nn::adamw(0.9, 0.999, 0.1).build(&vs, 2e-3)?;
    for step in 0..200 {
        let (x, y) = blobs.batch(32);
        let features = x.apply(&backbone).relu();
        let stopped = features.detach() + &features * 0.0;
        let loss = stopped.apply(&head).cross_entropy_for_logits(&y);
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}

fn copy_of_the_image(logger: &Logger) -> Result<()> {
    let net = nn::VarStore::new(Device::Cpu);
    let filter = nn::conv2d(&net.root() / "conv", 3, 8, 3, Default::default());
    let vs = nn::VarStore::new(Device::Cpu);
    let processed = vs.root().uniform("image", &[1, 3, 16, 16], 0.4, 0.6);
    let created = processed.copy();
    let mut opt = nn::adam(0.9, 0.999, 1e-6).build(&vs, 0.1)?;
    for step in 0..60 {
        let loss = -processed
            .apply(&filter)
            .relu()
            .select(1, 5)
            .mean(Kind::Float);
        opt.backward_step(&loss);
        logger.log_scalar("loss", &loss, step)?;
        logger.log_weights(&("image", &created), step)?;
        witness::see_loss("", &loss);
        witness::see_tensor("image", &created);
    }
    Ok(())
}

fn unscaled_inputs(logger: &Logger) -> Result<()> {
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let fc1 = nn::linear(&root / "fc1", 6, 8, Default::default());
    let fc2 = nn::linear(&root / "fc2", 8, 3, Default::default());
    let x = Tensor::rand([256, 6], FLOAT) * 400.0 + 300.0;
    let y = (&x.narrow(1, 0, 3) - 300.0) / 400.0;
    let mut opt = nn::Sgd::default().build(&vs, 0.3)?;
    for step in 0..250 {
        let rows = data::rows(256, 16);
        let answer = x
            .index_select(0, &rows)
            .apply(&fc1)
            .sigmoid()
            .apply(&fc2)
            .sigmoid();
        let loss = data::squares(&answer, &y.index_select(0, &rows));
        opt.backward_step(&loss);
        log(logger, "", &vs, &loss, step)?;
    }
    Ok(())
}
