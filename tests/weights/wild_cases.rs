//! What the report says of programs that people have written: each made after a public report, with
//! the right answer.

use tch::nn::{self, Adam, Module, Optimizer, OptimizerConfig, Sgd, VarStore};
use tch::{Kind, Tensor, no_grad};
use tch_tensorboard::{Cause, Logger, Role, Verdict, WeightReport};

use crate::model::cpu_store;
use crate::run::{Run, every_call};

/// 32 inputs of 16 numbers and their classes: which of the first four is the largest.
fn batch() -> (Tensor, Tensor) {
    let x = Tensor::randn([32, 16], (Kind::Float, tch::Device::Cpu));
    let y = x.narrow(1, 0, 4).argmax(1, false);
    (x, y)
}

fn two_layers(path: &nn::Path<'_>, sizes: [i64; 3]) -> nn::Sequential {
    let [inputs, hidden, outputs] = sizes;
    nn::seq()
        .add(nn::linear(path / "a", inputs, hidden, Default::default()))
        .add_fn(Tensor::relu)
        .add(nn::linear(path / "b", hidden, outputs, Default::default()))
}

fn classifier(path: &nn::Path<'_>) -> nn::Sequential {
    two_layers(path, [16, 32, 4])
}

fn loss(model: &impl Module) -> Tensor {
    let (x, y) = batch();
    model.forward(&x).cross_entropy_for_logits(&y)
}

fn adam(store: &VarStore, rate: f64) -> Optimizer {
    Adam::default().build(store, rate).unwrap()
}

/// Trains so many steps, with what a test makes of one, and logs after each.
fn train(run: &Logger, store: &VarStore, steps: i64, mut step: impl FnMut(i64)) {
    for at in 0..steps {
        step(at);
        run.log_weights(store, at).unwrap();
    }
}

fn names(report: &WeightReport) -> Vec<(&str, &str)> {
    let parameters = report.parameters.iter();
    parameters
        .map(|one| (&*one.name, one.verdict.name()))
        .collect()
}

fn assert_all(report: &WeightReport, verdict: Verdict) {
    for one in &report.parameters {
        assert_eq!(one.verdict, verdict, "{report}");
    }
    assert!(!report.parameters.is_empty());
}

/// One finding, about the model.
fn assert_general(run: &Logger, verdict: Verdict) {
    let report = run.weight_report().unwrap();
    assert_all(&report, verdict);
    let found = run.take_findings();
    for findings in [&report.findings, &found] {
        let [finding] = findings.as_slice() else {
            panic!("{report}");
        };
        assert_eq!((finding.verdict, &finding.variable), (verdict, &None));
    }
}

fn assert_no_fault(run: &Logger) -> WeightReport {
    let report = run.weight_report().unwrap();
    assert!(report.findings.is_empty(), "{report}");
    let found = run.take_findings();
    assert!(found.is_empty(), "{found:?}\n{report}");
    report
}

// As in tch-rs' own example: each is frozen while the other trains, and both are logged at the end.
#[test]
fn two_networks_that_are_frozen_in_turn_learn() {
    tch::manual_seed(1);
    let (mut g, mut d) = (cpu_store(), cpu_store());
    let generator = classifier(&g.root());
    let discriminator = two_layers(&d.root(), [4, 32, 1]);
    let (mut g_optimizer, mut d_optimizer) = (adam(&g, 1e-3), adam(&d, 1e-3));
    let run = Run::with(every_call());
    let (g_scope, d_scope) = (run.scoped("G").unwrap(), run.scoped("D").unwrap());
    for step in 0..80 {
        d.unfreeze();
        g.freeze();
        let real = Tensor::randn([32, 4], (Kind::Float, d.device())) * 0.5 + 1.0;
        let fake = generator.forward(&batch().0).detach();
        let loss = (discriminator.forward(&real) - 1.0)
            .square()
            .mean(Kind::Float)
            + discriminator.forward(&fake).square().mean(Kind::Float);
        d_optimizer.backward_step(&loss);
        d.freeze();
        g.unfreeze();
        let fooled = discriminator.forward(&generator.forward(&batch().0));
        g_optimizer.backward_step(&(fooled - 1.0).square().mean(Kind::Float));
        g_scope.log_weights(&g, step).unwrap();
        d_scope.log_weights(&d, step).unwrap();
    }
    let report = assert_no_fault(&run);
    assert_all(&report, Verdict::Learning);
    // What is trained between calls that see it frozen is a trained variable.
    assert!(
        report
            .parameters
            .iter()
            .all(|one| one.role == Role::Trainable)
    );
}

#[test]
fn a_tensor_that_never_required_a_gradient_is_frozen() {
    let store = cpu_store();
    let model = classifier(&store.root());
    let forgotten = Tensor::randn([16, 16], (Kind::Float, store.device())) * 0.25;
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    for step in 0..60 {
        let (x, y) = batch();
        let logits = model.forward(&x.matmul(&forgotten));
        optimizer.backward_step(&logits.cross_entropy_for_logits(&y));
        let mut all: Vec<(String, Tensor)> = store.variables().into_iter().collect();
        all.push(("forgotten".into(), forgotten.shallow_clone()));
        run.log_weights(&all, step).unwrap();
    }
    let report = assert_no_fault(&run);
    assert_eq!(
        report.parameter("forgotten").unwrap().verdict,
        Verdict::Frozen
    );
    assert_eq!(
        report.parameter("a.weight").unwrap().verdict,
        Verdict::Learning
    );
}

#[test]
fn a_softmax_over_one_class_has_a_gradient_of_zero() {
    let store = cpu_store();
    let model = two_layers(&store.root(), [16, 32, 1]);
    let mut optimizer = Sgd::default().build(&store, 0.1).unwrap();
    let run = Run::with(every_call());
    let classes = Tensor::zeros([32], (Kind::Int64, store.device()));
    train(&run, &store, 60, |_| {
        let logits = model.forward(&batch().0);
        optimizer.backward_step(&logits.cross_entropy_for_logits(&classes));
    });
    assert_general(&run, Verdict::ZeroGradient);
}

#[test]
fn tables_and_images_are_meant_to_be_wide() {
    let store = cpu_store();
    let table = nn::embedding(store.root() / "enc", 5000, 256, Default::default());
    let head = nn::linear(store.root() / "out", 256, 4, Default::default());
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    train(&run, &store, 80, |_| {
        let rows = Tensor::randint(5000, [32], (Kind::Int64, store.device()));
        let logits = head.forward(&table.forward(&rows));
        optimizer.backward_step(&logits.cross_entropy_for_logits(&rows.remainder(4)));
    });
    assert_all(&assert_no_fault(&run), Verdict::Learning);

    let store = cpu_store();
    let float = (Kind::Float, store.device());
    let image = store
        .root()
        .var_copy("img", &Tensor::rand([1, 3, 64, 64], float));
    let wanted = Tensor::rand([1, 3, 64, 64], float);
    let mut optimizer = adam(&store, 1e-2);
    let run = Run::with(every_call());
    train(&run, &store, 80, |_| {
        optimizer.backward_step(&image.mse_loss(&wanted, tch::Reduction::Mean));
    });
    let report = assert_no_fault(&run);
    assert_all(&report, Verdict::Learning);
    // The number is there, as a number.
    assert_eq!(report.parameters[0].remarks()[0].name(), "poor_init");
}

#[test]
fn a_store_that_no_loss_depends_on_has_no_gradient() {
    let (logged, trained) = (cpu_store(), cpu_store());
    let model = classifier(&trained.root());
    let _a = logged.root().kaiming_uniform("lora_A", &[4, 16]);
    let _b = logged.root().zeros("lora_B", &[32, 4]);
    let mut optimizer = adam(&trained, 1e-3);
    let run = Run::with(every_call());
    train(&run, &logged, 60, |_| {
        optimizer.backward_step(&loss(&model))
    });
    assert_general(&run, Verdict::NoGradient);
}

#[test]
fn weight_decay_alone_is_no_learning() {
    let store = cpu_store();
    let model = classifier(&store.root());
    let decay = Sgd {
        wd: 0.1,
        ..Sgd::default()
    };
    let mut optimizer = decay.build(&store, 1e-2).unwrap();
    let run = Run::with(every_call());
    train(&run, &store, 80, |_| {
        optimizer.backward_step(&(loss(&model) * 0.0));
    });
    assert_general(&run, Verdict::DecayOnly);
    assert!(run.weight_report().unwrap().notes.is_empty());
}

#[test]
fn a_layer_that_is_frozen_in_mid_run_is_frozen_since() {
    let store = cpu_store();
    let model = classifier(&store.root());
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    train(&run, &store, 100, |step| {
        if step == 40 {
            for (name, tensor) in store.variables() {
                let _ = tensor.set_requires_grad(!name.starts_with('a'));
            }
            optimizer.zero_grad();
        }
        optimizer.backward_step(&loss(&model));
    });
    let report = assert_no_fault(&run);
    let frozen = report.parameter("a.weight").unwrap();
    assert_eq!((frozen.verdict, frozen.since), (Verdict::Frozen, Some(40)));
    assert_eq!(
        report.parameter("b.weight").unwrap().verdict,
        Verdict::Learning
    );
}

#[test]
fn many_micro_batches_a_step_are_waited_for() {
    let store = cpu_store();
    let model = classifier(&store.root());
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    for step in 0..640 {
        (loss(&model) / 64.0).backward();
        let is_last = step % 64 == 63;
        if is_last {
            optimizer.step();
        }
        run.log_weights(&store, step).unwrap();
        if is_last {
            optimizer.zero_grad();
        }
    }
    assert_all(&assert_no_fault(&run), Verdict::Learning);
}

/// Moves each variable a little towards its namesake.
fn track(copies: &[(Tensor, Tensor)], share: f64) {
    no_grad(|| {
        for (copy, source) in copies {
            let mixed = copy * (1.0 - share) + source * share;
            copy.shallow_clone().copy_(&mixed);
        }
    });
}

fn pairs(copy: &VarStore, source: &VarStore) -> Vec<(Tensor, Tensor)> {
    let mut sources = source.variables();
    let variables = copy.variables().into_iter();
    variables
        .map(|(name, tensor)| (tensor, sources.remove(&name).unwrap()))
        .collect()
}

// Frozen or not, and copied at once or step by step.
#[test]
fn a_target_network_that_follows_is_no_fault() {
    for (is_frozen, share) in [(true, 0.005), (false, 0.005), (false, 1.0)] {
        let (online, mut target) = (cpu_store(), cpu_store());
        let model = classifier(&online.root());
        let _ = classifier(&target.root());
        target.copy(&online).unwrap();
        if is_frozen {
            target.freeze();
        }
        let mut optimizer = adam(&online, 1e-3);
        let run = Run::with(every_call());
        let (a, b) = (run.scoped("online").unwrap(), run.scoped("target").unwrap());
        let copies = pairs(&target, &online);
        for step in 0..150 {
            optimizer.backward_step(&loss(&model));
            if share < 1.0 || step % 50 == 49 {
                track(&copies, share);
            }
            a.log_weights(&online, step).unwrap();
            b.log_weights(&target, step).unwrap();
        }
        let report = assert_no_fault(&run);
        for one in &report.parameters {
            let expected = match &*one.scope {
                "online" => Verdict::Learning,
                _ => Verdict::MovedWithoutGradient,
            };
            assert_eq!(one.verdict, expected, "{report}");
        }
    }
}

// In the same store as the encoder that it follows.
#[test]
fn a_momentum_encoder_beside_its_twin_is_no_fault() {
    for is_frozen in [true, false] {
        let store = cpu_store();
        let query = classifier(&(store.root() / "query"));
        let _ = classifier(&(store.root() / "key"));
        let variables = store.variables();
        let copies: Vec<(Tensor, Tensor)> = variables
            .iter()
            .filter_map(|(name, tensor)| {
                let source = variables.get(&format!("query.{}", name.strip_prefix("key.")?))?;
                let key = tensor.set_requires_grad(!is_frozen);
                Some((key, source.shallow_clone()))
            })
            .collect();
        track(&copies, 1.0);
        let mut optimizer = adam(&store, 1e-3);
        let run = Run::with(every_call());
        train(&run, &store, 120, |_| {
            optimizer.backward_step(&loss(&query));
            track(&copies, 0.01);
        });
        let report = assert_no_fault(&run);
        for (name, verdict) in names(&report) {
            let expected = match name.starts_with("key") {
                true => "moved_without_gradient",
                false => "learning",
            };
            assert_eq!(verdict, expected, "{name}\n{report}");
        }
    }
}

// One layer among trained ones that follows nobody.
#[test]
fn a_frozen_layer_that_old_gradients_move_is_a_fault() {
    let store = cpu_store();
    let model = classifier(&store.root());
    let other = nn::linear(store.root() / "c", 16, 16, Default::default());
    let mut optimizer = Sgd::default().build(&store, 1e-2).unwrap();
    let run = Run::with(every_call());
    train(&run, &store, 90, |step| {
        for (name, tensor) in store.variables() {
            if step == 30 && name.starts_with('a') {
                let _ = tensor.set_requires_grad(false);
            }
            let mut gradient = tensor.grad();
            if gradient.defined() && (step < 30 || !name.starts_with('a')) {
                let _ = gradient.zero_();
            }
        }
        let (x, y) = batch();
        let logits = model.forward(&other.forward(&x));
        logits.cross_entropy_for_logits(&y).backward();
        optimizer.step();
    });
    let report = run.weight_report().unwrap();
    for name in ["a.weight", "a.bias"] {
        let found = report.parameter(name).unwrap().verdict;
        assert_eq!(found, Verdict::MovingWhileFrozen, "{report}");
    }
}

#[test]
fn a_generator_trained_on_detached_fakes_has_no_gradient() {
    let (g, d) = (cpu_store(), cpu_store());
    let generator = classifier(&g.root());
    let discriminator = two_layers(&d.root(), [4, 32, 1]);
    let (mut g_optimizer, mut d_optimizer) = (adam(&g, 1e-3), adam(&d, 1e-3));
    let run = Run::with(every_call());
    let (g_scope, d_scope) = (run.scoped("G").unwrap(), run.scoped("D").unwrap());
    for step in 0..60 {
        let fake = generator.forward(&batch().0).detach();
        d_optimizer.backward_step(&discriminator.forward(&fake).square().mean(Kind::Float));
        g_optimizer.zero_grad();
        (discriminator.forward(&fake) - 1.0)
            .square()
            .mean(Kind::Float)
            .backward();
        g_optimizer.step();
        g_scope.log_weights(&g, step).unwrap();
        d_scope.log_weights(&d, step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let [finding] = report.findings.as_slice() else {
        panic!("{report}");
    };
    assert_eq!(
        (&*finding.scope, finding.verdict),
        ("G", Verdict::NoGradient)
    );
    assert!(finding.reason.contains("another scope"), "{finding}");
}

#[test]
fn heads_in_turn_are_no_fault() {
    tch::manual_seed(3);
    let store = cpu_store();
    let trunk = nn::linear(store.root() / "trunk", 16, 32, Default::default());
    let heads: Vec<nn::Linear> = (0..10)
        .map(|index| {
            nn::linear(
                store.root() / format!("h{index}"),
                32,
                4,
                Default::default(),
            )
        })
        .collect();
    let mut optimizer = Sgd::default().build(&store, 0.1).unwrap();
    let run = Run::with(every_call());
    train(&run, &store, 300, |_| {
        let chosen = Tensor::randint(10, [1], (Kind::Int64, store.device())).int64_value(&[0]);
        let (x, y) = batch();
        let logits = heads[chosen as usize].forward(&trunk.forward(&x).relu());
        optimizer.backward_step(&logits.cross_entropy_for_logits(&y));
    });
    assert_no_fault(&run);
    // A task that comes once in thirty steps.
    for first in [0, 15] {
        let store = cpu_store();
        let trunk = nn::linear(store.root() / "trunk", 16, 32, Default::default());
        let [usual, rare] = ["usual", "rare"]
            .map(|name| nn::linear(store.root() / name, 32, 4, Default::default()));
        let mut optimizer = adam(&store, 1e-3);
        let run = Run::with(every_call());
        train(&run, &store, 200, |step| {
            let head = if step % 30 == first { &rare } else { &usual };
            let (x, y) = batch();
            let logits = head.forward(&trunk.forward(&x).relu());
            optimizer.backward_step(&logits.cross_entropy_for_logits(&y));
        });
        assert_no_fault(&run);
    }
}

fn causes(verdict: Verdict) -> Vec<Cause> {
    match verdict {
        Verdict::NotUpdated { cause } => cause.candidates().to_vec(),
        other => panic!("{other}"),
    }
}

#[test]
fn the_true_cause_is_among_the_candidates() {
    // The second optimizer is never stepped.
    let (first, second) = (cpu_store(), cpu_store());
    let trunk = nn::linear(first.root() / "trunk", 16, 32, Default::default());
    let head = nn::linear(second.root() / "head", 32, 4, Default::default());
    let (mut optimizer, _idle) = (adam(&first, 1e-3), adam(&second, 1e-3));
    let run = Run::with(every_call());
    for step in 0..40 {
        let (x, y) = batch();
        let logits = head.forward(&trunk.forward(&x).relu());
        optimizer.backward_step(&logits.cross_entropy_for_logits(&y));
        run.log_weights(&[&first, &second][..], step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let found = causes(report.parameter("head.weight").unwrap().verdict);
    assert!(found.contains(&Cause::StepNotCalled), "{found:?}");

    // Something writes the old values back.
    let store = cpu_store();
    let model = classifier(&store.root());
    let old = store.variables()["a.weight"].detach().copy();
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    train(&run, &store, 40, |_| {
        optimizer.backward_step(&loss(&model));
        no_grad(|| store.variables()["a.weight"].shallow_clone().copy_(&old));
    });
    let report = run.weight_report().unwrap();
    let found = causes(report.parameter("a.weight").unwrap().verdict);
    assert!(found.contains(&Cause::Overwritten), "{found:?}");

    // Held at its bounds.
    let store = cpu_store();
    let model = classifier(&store.root());
    let sign = store.variables()["a.weight"].detach().sign();
    let mut optimizer = Sgd::default().build(&store, 1e-3).unwrap();
    let run = Run::with(every_call());
    train(&run, &store, 60, |_| {
        let weight = store.variables()["a.weight"].shallow_clone();
        let pull = (&weight * &sign).sum(Kind::Float) * -1.0;
        optimizer.backward_step(&(loss(&model) + pull));
        no_grad(|| {
            let _ = weight.shallow_clone().clamp_(-0.01, 0.01);
        });
    });
    let report = run.weight_report().unwrap();
    let found = causes(report.parameter("a.weight").unwrap().verdict);
    assert_eq!(found, [Cause::PinnedAtBound], "{report}");
}

#[test]
fn a_constant_layer_has_identical_units() {
    let store = cpu_store();
    let model = classifier(&store.root());
    no_grad(|| {
        for tensor in store.variables().values() {
            let _ = tensor.shallow_clone().fill_(0.1);
        }
    });
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    train(&run, &store, 60, |_| optimizer.backward_step(&loss(&model)));
    let report = run.weight_report().unwrap();
    let found = report.parameter("a.weight").unwrap().verdict;
    assert_eq!(found, Verdict::IdenticalUnits, "{report}");
}

// A mask turns zeros into negative zeros and back: no change of value.
#[test]
fn a_pruned_layer_learns() {
    let store = cpu_store();
    let model = classifier(&store.root());
    let mask = Tensor::rand([32, 16], (Kind::Float, store.device()))
        .gt(0.8)
        .to_kind(Kind::Float);
    let mut optimizer = Sgd::default().build(&store, 0.1).unwrap();
    let run = Run::with(every_call());
    train(&run, &store, 60, |_| {
        optimizer.backward_step(&loss(&model));
        let weight = store.variables()["a.weight"].shallow_clone();
        no_grad(|| weight.shallow_clone().copy_(&(&weight * &mask)));
    });
    assert_all(&assert_no_fault(&run), Verdict::Learning);
}

#[test]
fn a_run_that_has_converged_is_done() {
    let store = cpu_store();
    let model = nn::linear(store.root() / "w", 16, 1, Default::default());
    let float = (Kind::Float, store.device());
    let (x, truth) = (
        Tensor::randn([256, 16], float),
        Tensor::randn([16, 1], float),
    );
    let y = x.matmul(&truth);
    let mut optimizer = Sgd::default().build(&store, 0.1).unwrap();
    let run = Run::with(every_call());
    train(&run, &store, 1000, |_| {
        let error = (model.forward(&x) - &y).square().mean(Kind::Float);
        optimizer.backward_step(&error);
    });
    assert_no_fault(&run);
}

#[test]
fn adam_at_hundreds_of_times_the_rate_is_exploding() {
    tch::manual_seed(5);
    let store = cpu_store();
    let model = two_layers(&store.root(), [16, 128, 4]);
    let mut optimizer = adam(&store, 0.5);
    let run = Run::with(every_call());
    train(&run, &store, 60, |_| optimizer.backward_step(&loss(&model)));
    let report = run.weight_report().unwrap();
    let found = report.parameter("a.weight").unwrap().verdict;
    assert_eq!(found, Verdict::Exploding, "{report}");
}

#[test]
fn a_layer_left_in_training_mode_is_remarked_on() {
    use tch::nn::ModuleT;
    let store = cpu_store();
    let root = store.root();
    let norm = nn::batch_norm1d(&root / "bn", 16, Default::default());
    let head = nn::linear(&root / "head", 16, 4, Default::default());
    for (name, tensor) in store.variables() {
        let _ = tensor.set_requires_grad(!name.starts_with("bn"));
    }
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    train(&run, &store, 40, |_| {
        let (x, y) = batch();
        let logits = head.forward(&norm.forward_t(&x, true));
        optimizer.backward_step(&logits.cross_entropy_for_logits(&y));
    });
    let report = assert_no_fault(&run);
    let weight = report.parameter("bn.weight").unwrap();
    assert_eq!(weight.verdict, Verdict::Frozen);
    assert_eq!(weight.remarks()[0].name(), "running_statistics_move");
    assert!(report.parameter("bn.running_mean").is_none());
}

#[test]
fn two_names_of_one_storage_are_tied() {
    let store = cpu_store();
    let table = store.root().randn("emb", &[50, 16], 0.0, 0.1);
    let _tied = store.root().add("head", table.shallow_clone(), true);
    let run = Run::with(every_call());
    run.log_weights(&store, 0).unwrap();
    let report = run.weight_report().unwrap();
    for (name, other) in [("emb", "head"), ("head", "emb")] {
        let remarks = report.parameter(name).unwrap().remarks();
        let tied = remarks.iter().find(|one| one.name() == "tied").unwrap();
        assert!(tied.to_string().contains(other), "{tied}");
    }
}

#[test]
fn another_store_in_turn_is_said_and_is_no_explosion() {
    for outputs in [4, 8] {
        let (one, other) = (cpu_store(), cpu_store());
        let _ = two_layers(&one.root(), [16, 32, 4]);
        let _ = two_layers(&other.root(), [16, 32, outputs]);
        let run = Run::with(every_call());
        for step in 0..40 {
            let store = if step % 2 == 0 { &one } else { &other };
            for tensor in store.variables().values() {
                no_grad(|| {
                    let _ = tensor.shallow_clone().g_add_scalar_(1e-3);
                });
            }
            run.log_weights(store, step).unwrap();
        }
        let report = assert_no_fault(&run);
        assert!(report.to_string().contains("scoped("), "{report}");
    }
}

#[test]
fn what_is_over_is_said_to_be_over() {
    let store = cpu_store();
    let root = store.root();
    let first = nn::linear(&root / "a", 16, 32, Default::default());
    let last = nn::linear(&root / "b", 32, 4, Default::default());
    let mut optimizer = adam(&store, 1e-3);
    let run = Run::with(every_call());
    let mut taken = Vec::new();
    train(&run, &store, 150, |step| {
        let (x, y) = batch();
        let hidden = first.forward(&x).relu();
        let hidden = if step < 60 { hidden.detach() } else { hidden };
        let logits = last.forward(&hidden);
        optimizer.backward_step(&logits.cross_entropy_for_logits(&y));
        if step == 59 {
            run.flush().unwrap();
            taken = run.take_findings();
        }
    });
    assert_eq!(taken.len(), 2);
    assert!(taken.iter().all(|one| one.over_since.is_none()));
    assert!(run.weight_report().unwrap().findings.is_empty());
    let after = run.take_findings();
    assert_eq!(after.len(), 2, "{after:?}");
    for (before, after) in std::iter::zip(&taken, &after) {
        assert_eq!(after.first_step, before.first_step);
        assert!(after.over_since.is_some() && after.to_string().contains("over since step"));
    }
}
