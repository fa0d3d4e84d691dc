//! One training run, logged with `log_weights` alone, and what was found in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use tch::nn::{Adam, Optimizer, OptimizerConfig, Sgd, VarStore};
use tch::{Device, IndexOp, Kind, Tensor};
use tch_tensorboard::{Cadence, Finding, Logger, Overhead, Verdict, WeightOptions};

use crate::digits::Dataset;
use crate::nets::{Net, Tweak, Words};
use crate::scenario::{MIDDLE, STEPS, rate, steps};
use crate::witness::Witness;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Images a step.
const BATCH: i64 = 32;

/// What was found, and what the report of the end says.
pub(crate) struct Seen {
    pub(crate) findings: Vec<Finding>,
    pub(crate) verdicts: BTreeMap<String, Verdict>,
    /// The variables that are learning and have a remark, with its name.
    pub(crate) remarks: BTreeSet<(String, &'static str)>,
    pub(crate) report: String,
    /// What the tensors say against the label.
    pub(crate) objection: Option<String>,
    /// Variables whose gradient was exactly zero for a whole window.
    pub(crate) dead: BTreeSet<String>,
}

/// All training images and their labels.
pub(crate) struct Digits {
    images: Tensor,
    labels: Tensor,
}

impl Digits {
    pub(crate) fn load() -> Result<Digits> {
        let train = Dataset::embedded()?.train;
        let images = Tensor::from_slice(&train.images.pixels).to_kind(Kind::Float) / 255.0;
        let labels: Vec<i64> = train.labels.iter().map(|&label| i64::from(label)).collect();
        Ok(Digits {
            images: images.reshape([-1, 1, 8, 8]),
            labels: Tensor::from_slice(&labels),
        })
    }

    /// Images of the first `most`, with replacement.
    fn batch(&self, size: i64, most: i64) -> (Tensor, Tensor) {
        let all = self.labels.size()[0].min(most);
        let chosen = Tensor::randint(all, [size], (Kind::Int64, Device::Cpu));
        (
            self.images.index_select(0, &chosen),
            self.labels.index_select(0, &chosen),
        )
    }

    fn first(&self, count: i64) -> (Tensor, Tensor) {
        (
            self.images.narrow(0, 0, count),
            self.labels.narrow(0, 0, count),
        )
    }
}

pub(crate) fn build_optimizer(
    name: &str,
    store: &VarStore,
    rate: f64,
    decay: f64,
) -> Result<Optimizer> {
    Ok(match name {
        "sgd" => Sgd {
            wd: decay,
            ..Sgd::default()
        }
        .build(store, rate)?,
        "momentum" => Sgd {
            momentum: 0.9,
            wd: decay,
            ..Sgd::default()
        }
        .build(store, rate)?,
        _ => Adam {
            wd: decay,
            ..Adam::default()
        }
        .build(store, rate)?,
    })
}

/// Whether loggers keep to the default limit of costs.
pub(crate) static IS_LIMITED: AtomicBool = AtomicBool::new(false);

/// A logger that sees each step and writes next to nothing; where costs are limited, one with all
/// other options as they are by default.
pub(crate) fn logger(dir: &std::path::Path, thinned: bool) -> Result<Logger> {
    let builder = Logger::builder(dir.join("run"));
    if IS_LIMITED.load(Ordering::Relaxed) && !thinned {
        return Ok(builder.overhead(Overhead::AtMost(0.02)).create()?);
    }
    let scalars = if thinned {
        Cadence::Every(10)
    } else {
        Cadence::EveryCall
    };
    let weights = WeightOptions::new()
        .scalars(scalars)
        .histograms(Cadence::Every(1_000_000))
        .statistics([])
        .samples(0);
    let builder = builder.overhead(Overhead::Unlimited);
    Ok(builder.weights(weights).create()?)
}

pub(crate) fn seen(logger: &Logger) -> Result<Seen> {
    let report = logger.weight_report()?;
    let findings = logger.take_findings();
    logger.close()?;
    let learning = report.parameters.iter();
    let learning = learning.filter(|one| one.verdict == Verdict::Learning);
    let remarks = learning.flat_map(|one| {
        let names = one.remarks().iter().map(|remark| remark.name());
        names.map(|name| (one.name.clone(), name))
    });
    let verdicts = report.parameters.iter().map(|one| {
        let scope = if one.scope.is_empty() { "" } else { "/" };
        (format!("{}{scope}{}", one.scope, one.name), one.verdict)
    });
    Ok(Seen {
        findings,
        verdicts: verdicts.collect(),
        remarks: remarks.collect(),
        report: report.to_string(),
        objection: None,
        dead: BTreeSet::new(),
    })
}

/// A network, where its variables lie, and its optimizer.
pub(crate) struct Model {
    pub(crate) store: VarStore,
    pub(crate) other: VarStore,
    pub(crate) net: Net,
    pub(crate) optimizer: Optimizer,
    pub(crate) rate: f64,
}

impl Model {
    /// `apart` names a layer that lies in another store or in group 1 of the same.
    pub(crate) fn new(
        kind: &'static str,
        optimizer: &str,
        decay: f64,
        apart: Option<(&str, bool)>,
    ) -> Result<Model> {
        let (store, other) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
        let net = Net::build(kind, |layer| match apart {
            Some((target, true)) if target == layer => other.root(),
            Some((target, false)) if target == layer => store.root().set_group(1),
            _ => store.root(),
        });
        let rate = rate(kind, optimizer);
        Ok(Model {
            optimizer: build_optimizer(optimizer, &store, rate, decay)?,
            store,
            other,
            net,
            rate,
        })
    }

    pub(crate) fn matrices(&self) -> Vec<String> {
        let variables = self.net.variables().iter();
        variables
            .filter(|(_, tensor)| tensor.dim() >= 2)
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(crate) fn loss(&self, digits: &Digits, tweak: Tweak) -> Tensor {
        self.loss_of(digits.batch(BATCH, i64::MAX), tweak)
    }

    fn loss_of(&self, (images, labels): (Tensor, Tensor), tweak: Tweak) -> Tensor {
        let kind = self
            .net
            .variables()
            .values()
            .next()
            .map_or(Kind::Float, Tensor::kind);
        let logits = self.net.logits(&images.to_kind(kind), tweak);
        logits
            .to_kind(Kind::Float)
            .cross_entropy_for_logits(&labels)
    }

    fn log(&self, logger: &Logger, step: i64) -> Result<()> {
        let sources = [&self.store, &self.other];
        let all = if self.other.is_empty() {
            &sources[..1]
        } else {
            &sources[..]
        };
        Ok(logger.log_weights(all, step)?)
    }
}

/// Changes a variable in place.
fn edit(tensor: &Tensor, change: impl FnOnce(&mut Tensor)) {
    tch::no_grad(|| change(&mut tensor.shallow_clone()));
}

/// What a fault is put into: a model, the variables of one layer of it, and how it is trained.
struct Patient<'a> {
    model: Model,
    /// All variables, and the names of the layer's.
    variables: BTreeMap<String, Tensor>,
    names: Vec<String>,
    target: &'a str,
    tweak: Tweak,
    rate: f64,
}

impl<'a> Patient<'a> {
    fn new(kind: &'static str, optimizer: &str, fault: &str, target: &'a str) -> Result<Self> {
        let apart = match fault {
            "other-store" => Some((target, true)),
            "stalled" => Some((target, false)),
            _ => None,
        };
        let model = Model::new(kind, optimizer, 0.0, apart)?;
        let own = model.net.variables().iter();
        let mut variables: BTreeMap<String, Tensor> = own
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        if fault == "unused" {
            let spare = model.store.root() / target;
            let start = tch::nn::Init::Uniform { lo: -0.2, up: 0.2 };
            let weight = spare.var("weight", &[32, 32], start);
            variables.insert(format!("{target}.weight"), weight);
            variables.insert(format!("{target}.bias"), spare.var("bias", &[32], start));
        }
        let layer = |name: &&String| name.rsplit_once('.').is_some_and(|(one, _)| one == target);
        Ok(Patient {
            names: variables.keys().filter(layer).cloned().collect(),
            rate: model.rate,
            tweak: Tweak::default(),
            model,
            variables,
            target,
        })
    }

    fn targets(&self) -> impl Iterator<Item = &Tensor> {
        self.names
            .iter()
            .filter_map(|name| self.variables.get(name))
    }

    fn edit_weights(&self, change: impl Fn(&mut Tensor)) {
        let weights = self.targets().filter(|tensor| tensor.dim() >= 2);
        weights.for_each(|weight| edit(weight, &change));
    }

    /// What is wrong from the first step on.
    fn inject(&mut self, fault: &str, optimizer: &str, seed: u64) -> Result<()> {
        match fault {
            "lr-zero" => self.rate = 0.0,
            "lr-huge" => self.rate *= 1000.0,
            "detached" => self.tweak.detach_first = true,
            "vanishing" => self.tweak.gradient_scale = 1e-6,
            "saturated" => self.tweak.saturated = true,
            "frozen" => self
                .targets()
                .for_each(|tensor| drop(tensor.set_requires_grad(false))),
            "hidden" => self.hide(optimizer)?,
            "dead-relu" => {
                if let Some(bias) = self.variables.get(&format!("{}.bias", self.target)) {
                    edit(bias, |bias| drop(bias.fill_(-1e3)));
                }
            }
            "bf16-rounding" => {
                self.model.store.bfloat16();
                self.rate /= 10.0;
            }
            "all-zero" => {
                for (name, tensor) in &self.variables {
                    if !name.contains("ln") || name.ends_with("bias") {
                        edit(tensor, |tensor| drop(tensor.zero_()));
                    }
                }
            }
            "bad-init" => {
                let factor = if seed.is_multiple_of(2) { 100.0 } else { 1e-3 };
                self.edit_weights(|weight| drop(weight.g_mul_scalar_(factor)));
            }
            _ => {}
        }
        self.model.optimizer.set_lr(self.rate);
        Ok(())
    }

    /// Takes the layer out of the list that an optimizer reads when it is built.
    fn hide(&mut self, optimizer: &str) -> Result<()> {
        let hidden: Vec<_> = self.targets().map(Tensor::data_ptr).collect();
        let store = &self.model.store;
        let mut variables = store.variables_.lock().map_err(|_| "a poisoned store")?;
        variables
            .trainable_variables
            .retain(|one| !hidden.contains(&one.tensor.data_ptr()));
        drop(variables);
        self.model.optimizer = build_optimizer(optimizer, store, self.rate, 0.0)?;
        Ok(())
    }

    /// What goes wrong in the middle.
    fn strike(&mut self, fault: &str, images: &mut Tensor) {
        match fault {
            "stalled" => self.model.optimizer.set_lr_group(1, self.rate * 1e-4),
            "nan" => self.edit_weights(|weight| {
                drop(weight.view([-1]).i(0).fill_(f64::NAN));
            }),
            "nan-input" => *images *= f64::NAN,
            _ => {}
        }
    }
}

/// Trains with a fault in a layer. Returns what was seen, the layer's variables and all matrices.
pub(crate) fn faulty(
    digits: &Digits,
    kind: &'static str,
    optimizer: &str,
    seed: u64,
    (fault, target): (&str, &str),
    hinted: bool,
) -> Result<(Seen, Vec<String>, Vec<String>)> {
    tch::manual_seed(seed as i64 + 11_000);
    let mut patient = Patient::new(kind, optimizer, fault, target)?;
    patient.inject(fault, optimizer, seed)?;
    let dir = tempfile::tempdir()?;
    let logger = logger(dir.path(), false)?;
    if hinted {
        logger.set_learning_rate(patient.rate);
    }
    // Users log before the first step, as the demo does, or after it. What a layer begins with is
    // seen before alone.
    if seed % 4 < 2 || fault == "bad-init" {
        patient.model.log(&logger, -1)?;
    }
    let mut witness = Witness::new(&patient.variables);
    for step in 0..steps(fault) {
        let (mut images, labels) = digits.batch(BATCH, i64::MAX);
        if step == MIDDLE {
            patient.strike(fault, &mut images);
        }
        let model = &mut patient.model;
        let loss = model.loss_of((images, labels), patient.tweak);
        model.optimizer.zero_grad();
        loss.backward();
        model.optimizer.step();
        model.log(&logger, step)?;
        witness.look(step, loss.double_value(&[]));
    }
    let seen = Seen {
        objection: witness.objection(fault, &patient.names),
        dead: witness.dead(),
        ..seen(&logger)?
    };
    let matrices = patient.model.matrices();
    Ok((seen, patient.names, matrices))
}

/// Trains as users do, in some way that could be taken for a fault.
pub(crate) fn healthy(
    digits: &Digits,
    kind: &'static str,
    optimizer: &str,
    seed: u64,
    variant: &str,
) -> Result<Seen> {
    tch::manual_seed(seed as i64 + 12_000);
    match variant {
        "sparse-embedding" => return words(optimizer),
        "gan-scopes" | "gan-one-store" => return gan(digits, optimizer, variant == "gan-scopes"),
        _ => {}
    }
    let tweak = Tweak {
        dropout: variant == "dropout",
        batch_norm: variant == "batch-norm",
        ..Tweak::default()
    };
    let dir = tempfile::tempdir()?;
    let checkpoint = dir.path().join("model.safetensors");
    let mut model = prepared(digits, kind, optimizer, variant, &checkpoint)?;
    let rate = model.rate;
    let logger = logger(dir.path(), variant == "thinned")?;
    let draw = || match variant {
        "small-batch" => digits.batch(4, i64::MAX),
        "full-batch" => digits.first(256),
        "converged" => digits.batch(BATCH, 64),
        _ => digits.batch(BATCH, i64::MAX),
    };
    let steps = match variant {
        "long" | "converged" => 4 * STEPS,
        _ => STEPS,
    };
    let mut witness = Witness::new(model.net.variables());
    let mut call = 0;
    let mut log = |model: &Model| -> Result<()> {
        call += 1;
        model.log(&logger, call)
    };
    // Users log before the first step, or after it.
    if seed.is_multiple_of(2) {
        log(&model)?;
    }
    for step in 0..steps {
        let now = scheduled(variant, rate, step);
        model.optimizer.set_lr(now);
        if variant == "hinted" {
            logger.set_learning_rate(now);
        }
        if step == MIDDLE && variant == "replaced" {
            model.store.load(&checkpoint)?;
            logger.new_baseline();
        }
        model.optimizer.zero_grad();
        let loss = if variant == "accumulation" {
            for _ in 0..3 {
                (model.loss_of(draw(), tweak) / 4.0).backward();
                log(&model)?;
            }
            model.loss_of(draw(), tweak)
        } else {
            model.loss_of(draw(), tweak)
        };
        let parts = if variant == "accumulation" { 4.0 } else { 1.0 };
        (&loss / parts).backward();
        if variant == "clipping" {
            model.optimizer.clip_grad_norm(1.0);
        }
        model.optimizer.step();
        witness.look(step, loss.double_value(&[]));
        if variant == "cleared" {
            model.optimizer.zero_grad();
        }
        log(&model)?;
        if variant == "many-idle" {
            (0..4).try_for_each(|_| log(&model))?;
        }
    }
    Ok(Seen {
        objection: witness.objection(variant, &[]),
        ..seen(&logger)?
    })
}

/// The model to train: new, or with what an earlier training left in the checkpoint.
fn prepared(
    digits: &Digits,
    kind: &'static str,
    optimizer: &str,
    variant: &str,
    checkpoint: &std::path::Path,
) -> Result<Model> {
    let decay = if variant == "weight-decay" { 1e-3 } else { 0.0 };
    let mut model = Model::new(kind, optimizer, decay, None)?;
    if kind == "adapter" {
        for name in ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"] {
            drop(model.net.variables()[name].set_requires_grad(false));
        }
    }
    if !matches!(variant, "checkpoint" | "replaced" | "fine-tuning") {
        return Ok(model);
    }
    for _ in 0..STEPS {
        let loss = model.loss(digits, Tweak::default());
        model.optimizer.backward_step(&loss);
    }
    model.store.save(checkpoint)?;
    model = Model::new(kind, optimizer, decay, None)?;
    if variant != "replaced" {
        model.store.load(checkpoint)?;
    }
    if variant == "fine-tuning" {
        model.rate = 1e-6;
        model.optimizer = build_optimizer("adam", &model.store, model.rate, 0.0)?;
    }
    Ok(model)
}

/// The rate of a step.
fn scheduled(variant: &str, rate: f64, step: i64) -> f64 {
    let progress = (step + 1) as f64 / STEPS as f64;
    match variant {
        "cosine" => rate * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0,
        "warm-up" => rate * (progress * 3.0).min(1.0),
        _ => rate,
    }
}

/// Classes of words: each batch touches a hundredth of the table.
fn words(optimizer: &str) -> Result<Seen> {
    let store = VarStore::new(Device::Cpu);
    let net = Words::build(&store);
    let mut trained = build_optimizer(optimizer, &store, rate("words", optimizer), 0.0)?;
    let dir = tempfile::tempdir()?;
    let logger = logger(dir.path(), false)?;
    for step in 0..STEPS {
        let words = Tensor::randint(Words::VOCABULARY, [8, 4], (Kind::Int64, Device::Cpu));
        let labels = words.i((.., 0)).remainder(10);
        trained.backward_step(&net.logits(&words).cross_entropy_for_logits(&labels));
        logger.log_weights(&store, step)?;
    }
    seen(&logger)
}

/// A generator and a discriminator that step in turn, as two scopes or as one source.
fn gan(digits: &Digits, optimizer: &str, scopes: bool) -> Result<Seen> {
    use tch::nn::{self, Module};
    let (g_store, d_store) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    let layer =
        |path: nn::Path<'_>, inputs, outputs| nn::linear(path, inputs, outputs, Default::default());
    let generator = nn::seq()
        .add(layer(&g_store.root() / "g1", 16, 64))
        .add_fn(|x| x.leaky_relu())
        .add(layer(&g_store.root() / "g2", 64, 64))
        .add_fn(Tensor::sigmoid);
    let discriminator = nn::seq()
        .add(layer(&d_store.root() / "d1", 64, 64))
        .add_fn(|x| x.leaky_relu())
        .add(layer(&d_store.root() / "d2", 64, 1));
    let rate = rate("gan", optimizer);
    let mut g_optimizer = build_optimizer(optimizer, &g_store, rate, 0.0)?;
    let mut d_optimizer = build_optimizer(optimizer, &d_store, rate, 0.0)?;
    let dir = tempfile::tempdir()?;
    let logger = logger(dir.path(), false)?;
    let (g_scope, d_scope) = (logger.scoped("G")?, logger.scoped("D")?);
    for step in 0..STEPS {
        let noise = Tensor::randn([BATCH, 16], (Kind::Float, Device::Cpu));
        let fake = generator.forward(&noise);
        if step % 2 == 0 {
            let real = discriminator.forward(&digits.batch(BATCH, i64::MAX).0.flatten(1, -1));
            let fake = discriminator.forward(&fake.detach());
            let loss = (real.sigmoid().clamp(1e-6, 1.0).log().neg()
                + (fake.sigmoid().neg() + 1.0).clamp(1e-6, 1.0).log().neg())
            .mean(Kind::Float);
            d_optimizer.backward_step(&loss);
        } else {
            let loss = discriminator
                .forward(&fake)
                .sigmoid()
                .clamp(1e-6, 1.0)
                .log()
                .neg()
                .mean(Kind::Float);
            g_optimizer.backward_step(&loss);
        }
        if scopes {
            g_scope.log_weights(&g_store, step)?;
            d_scope.log_weights(&d_store, step)?;
        } else {
            logger.log_weights(&[&g_store, &d_store][..], step)?;
        }
    }
    seen(&logger)
}
