//! What `log_weights` writes of models of several sizes, under the choices of `WeightOptions`.

use half::{bf16, f16};
use tch_tensorboard::{Cadence, LayerOptions, Pattern, Role, Statistic, WeightOptions};

use crate::data::{Model, Numbers, Roles};
use crate::net::{Net, scenario};

fn every_call() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall)
}

/// Logs so many steps of a model with these options.
fn train(net: &mut Net, options: WeightOptions, model: &mut Model, steps: i64) {
    let log = net.create(options);
    for step in 0..steps {
        model.step(0.01);
        log.weights(model, step);
    }
    net.close(log);
}

#[test]
fn small_model() {
    scenario("small_model", |net| {
        let log = net.create(WeightOptions::new());
        let mut model = Model::small(10);
        for step in 0..75_i64 {
            log.scalar("loss/train", 1.0 / (step + 1) as f64, step);
            model.step(0.01);
            log.weights(&model, step);
        }
        net.close(log);
    });
}

/// Without waiting for the writer thread, as training does.
#[test]
fn free_running() {
    scenario("free_running", |net| {
        net.runs_free();
        let log = net.create(every_call());
        let mut model = Model::small(11);
        for step in 0..300_i64 {
            model.step(0.003);
            log.logger.log_scalar("loss", 0.5, step).unwrap();
            log.logger.log_weights(&model, step).unwrap();
        }
        net.close(log);
    });
}

/// The first size at which variables have four statistics each.
#[test]
fn medium_model() {
    scenario("medium_model", |net| {
        let name = |index: usize| (format!("h.{index}.weight"), 20 + index);
        let mut model = Model::new((0..33).map(name), 12);
        train(net, WeightOptions::new(), &mut model, 6);
    });
}

/// The first size at which variables are written by role.
#[test]
fn large_model() {
    scenario("large_model", |net| {
        let name = |index: usize| match index % 3 {
            0 => (format!("h.{index}.attn.weight"), 8),
            1 => (format!("h.{index}.mlp.weight"), 12),
            _ => (format!("h.{index}.mlp.bias"), 3),
        };
        let mut model = Model::new((0..1001).map(name), 13);
        let layer = LayerOptions::new().samples(2);
        let options = every_call()
            .for_matching("h.7.*", layer)
            .group("begin", Pattern::regex("^h\\.[0-9]\\."));
        train(net, options, &mut model, 5);
    });
}

/// Blocks are merged, snapshots stream past the caches, and several threads analyse.
#[test]
fn large_tensor() {
    scenario("large_tensor", |net| {
        let mut model = Model::new([("wide.weight", 300_001), ("wide.bias", 70)], 14);
        let log = net.open(net.builder().threads(2).weights(every_call()));
        for step in 0..5_i64 {
            // Far from zero, so that the way moments are summed counts.
            if step == 2 {
                model
                    .get("wide.weight")
                    .iter_mut()
                    .for_each(|value| *value += 1000.0);
            }
            model.step(0.01);
            log.weights(&model, step);
        }
        net.close(log);
    });
}

#[test]
fn selection() {
    scenario("selection", |net| {
        let shapes = [
            "enc.0.weight",
            "enc.0.bias",
            "enc.1.weight",
            "dec.weight",
            "dec.bias",
            "head",
        ];
        let mut model = Model::new(shapes.map(|name| (name, 40)), 15);
        let rare = LayerOptions::new()
            .scalars(Cadence::Every(4))
            .histograms(Cadence::Every(6));
        let few = LayerOptions::new()
            .samples(0)
            .statistics([Statistic::WeightNorm, Statistic::WeightDrift]);
        let options = every_call()
            .select([
                Pattern::glob("enc.*"),
                Pattern::regex("^dec"),
                Pattern::glob("none.*"),
            ])
            .exclude(["*.bias"])
            .for_matching("enc.*", rare)
            .for_matching("enc.1.*", few)
            .for_matching("dec.*", LayerOptions::new().samples(9))
            .for_matching("lost", LayerOptions::new());
        train(net, options, &mut model, 15);
    });
}

#[test]
fn groups() {
    scenario("groups", |net| {
        let name = |index: usize| match index % 2 {
            0 => (format!("h.{index}.attn.weight"), 30),
            _ => (format!("h.{index}.mlp.weight"), 30),
        };
        let mut model = Model::new((0..34).map(name), 16);
        let options = every_call()
            .group("attention", "h.*.attn.*")
            .group("first/two", Pattern::regex("^h\\.[01]\\."))
            .group("first/two", "h.2.*")
            .group("nobody", "x.*")
            .statistics([Statistic::WeightStd])
            .samples(0);
        train(net, options, &mut model, 4);
    });
}

#[test]
fn samples() {
    scenario("samples", |net| {
        let options = every_call().samples(6).seed(5).statistics([]);
        let mut model = Model::new(
            (0..10).map(|index| (format!("layer{index}"), 3 + 5 * index)),
            17,
        );
        train(net, options, &mut model, 6);
    });
}

#[test]
fn sample_limit() {
    scenario("sample_limit", |net| {
        let shapes = [("a", 64), ("b", 300), ("c", 2000), ("d", 20_000)];
        let mut model = Model::new(shapes, 18);
        train(net, every_call().sample_limit(1000), &mut model, 8);
    });
}

/// Points of several strides, and the last call made up for.
#[test]
fn cadences() {
    scenario("cadences", |net| {
        let options = WeightOptions::new()
            .scalars(Cadence::Every(3))
            .histograms(Cadence::Every(7))
            .for_matching(
                "conv1.weight",
                LayerOptions::new().histograms(Cadence::EveryCall),
            )
            .for_matching("conv1.bias", LayerOptions::new().scalars(Cadence::Every(0)));
        train(net, options, &mut Model::small(19), 24);
    });
}

/// Points so far apart that the calls between them are not copied.
#[test]
fn sparse_points() {
    scenario("sparse_points", |net| {
        let log = net.create(
            WeightOptions::new()
                .scalars(Cadence::Every(16))
                .histograms(Cadence::Every(32)),
        );
        let mut model = Model::new([("w", 90), ("b", 5)], 20);
        for step in 0..150_i64 {
            if !(60..80).contains(&step) && step % 5 != 4 {
                model.step(0.01);
            }
            log.weights(&model, step);
        }
        net.close(log);
    });
}

#[test]
fn expected_steps() {
    scenario("expected_steps", |net| {
        let options = WeightOptions::new().expected_steps(1500);
        train(net, options, &mut Model::new([("w", 5)], 21), 1700);
    });
}

/// Calls at which nothing moves.
#[test]
fn idle() {
    scenario("idle", |net| {
        let log = net.create(every_call());
        let mut model = Model::small(22);
        for step in 0..100_i64 {
            // Accumulation over three calls, then a rest longer than twenty.
            if step % 3 == 0 && !(40..75).contains(&step) {
                model.step(0.01);
            }
            log.weights(&model, step);
        }
        net.close(log);
    });
}

/// Variables that come, go, and change their shape or type.
#[test]
fn mid_run() {
    scenario("mid_run", |net| {
        let log = net.create(every_call());
        let mut model = Model::small(23);
        let mut numbers = Numbers::new(24);
        for step in 0..48_i64 {
            match step {
                8 => model.variables.push(("late".into(), numbers.vec(30))),
                16 => drop(model.variables.remove(1)),
                24 => *model.get("late") = numbers.vec(44),
                32 => model.variables.reverse(),
                40 => log.logger.new_baseline(),
                _ => {}
            }
            model.step(0.01);
            log.logger.set_learning_rate(0.125 / (step + 1) as f64);
            if step < 44 {
                log.weights(&model, step);
            } else {
                let wide = |(name, values): &(String, Vec<f32>)| {
                    (
                        name.clone(),
                        values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>(),
                    )
                };
                let wide: Vec<_> = model.variables.iter().map(wide).collect();
                log.weights(&wide, step);
            }
        }
        net.close(log);
    });
}

/// Trainable, frozen and buffer; what is frozen moves from step 12 on.
fn with_roles(net: &mut Net, options: WeightOptions) {
    let log = net.create(options);
    let mut numbers = Numbers::new(25);
    let mut model = Roles(vec![
        ("fc.weight", numbers.vec(20), Role::Trainable),
        ("norm.running_mean", numbers.vec(6), Role::Buffer),
        ("embedding", numbers.vec(40), Role::Frozen),
        ("large", numbers.vec(5000), Role::Frozen),
        ("turns", numbers.vec(7), Role::Trainable),
    ]);
    for step in 0..50_i64 {
        for (name, values, role) in &mut model.0 {
            if *name == "turns" {
                *role = if (10..20).contains(&step) {
                    Role::Frozen
                } else {
                    Role::Trainable
                };
            }
            let moves = match *role {
                Role::Frozen => *name == "embedding" && step >= 12,
                _ => true,
            };
            if moves {
                values
                    .iter_mut()
                    .for_each(|value| *value += 0.01 * numbers.next());
            }
        }
        log.weights(&model, step);
    }
    net.close(log);
}

#[test]
fn roles() {
    scenario("roles", |net| with_roles(net, every_call()));
}

#[test]
fn roles_all() {
    scenario("roles_all", |net| {
        with_roles(
            net,
            every_call().non_trainable(true).group("norm", "norm.*"),
        );
    });
}

#[test]
fn number_types() {
    scenario("number_types", |net| {
        let log = net.create(every_call());
        let mut numbers = Numbers::new(26);
        let mut values = numbers.vec(64);
        for step in 0..25_i64 {
            values
                .iter_mut()
                .for_each(|value| *value += 0.02 * numbers.next());
            fn mapped<T>(values: &[f32], map: impl Fn(f32) -> T) -> Vec<T> {
                values.iter().map(|&value| map(value)).collect()
            }
            let v = &values;
            let halves = [
                ("f16", mapped(v, f16::from_f32)),
                ("f16.b", mapped(v, |v| f16::from_f32(v * 1e-7))),
            ];
            let brains = [("bf16", mapped(v, bf16::from_f32))];
            let doubles = [("f64", mapped(v, |v| f64::from(v) * 1e200))];
            let bytes = [("i8", mapped(v, |v| (v * 100.0) as i8))];
            let shorts = [("i16", mapped(v, |v| (v * 30_000.0) as i16))];
            let ints = [("i32", mapped(v, |v| (v * 2e9) as i32))];
            let longs = [("i64", mapped(v, |v| (f64::from(v) * 9e18) as i64))];
            let unsigned = [("u8", mapped(v, |v| (v.abs() * 255.0) as u8))];
            let wide = [("u64", mapped(v, |v| (f64::from(v.abs()) * 1e19) as u64))];
            let flags = [("bool", mapped(v, |v| v > 0.0))];
            let all: [&dyn tch_tensorboard::NamedTensors; 10] = [
                &halves, &brains, &doubles, &bytes, &shorts, &ints, &longs, &unsigned, &wide,
                &flags,
            ];
            log.weights(&all[..], step);
        }
        net.close(log);
    });
}

#[test]
fn nonfinite() {
    scenario("nonfinite", |net| {
        let log = net.create(every_call());
        let mut model = Model::small(27);
        model.variables.push(("lost".into(), vec![f32::NAN; 9]));
        for step in 0..40_i64 {
            model.step(0.01);
            match step {
                5 => model.get("conv1.weight")[3] = f32::INFINITY,
                6 => model.get("conv1.weight")[3] = f32::NEG_INFINITY,
                9 => model.get("conv1.weight")[3] = 0.25,
                12 => model.get("fc2.weight")[7] = f32::NAN,
                _ => {}
            }
            log.weights(&model, step);
        }
        net.close(log);
    });
}

/// Zeros, negative zeros, weights that begin at zero, and no elements at all.
#[test]
fn zeros() {
    scenario("zeros", |net| {
        let log = net.create(every_call());
        let mut model = Model::new([("opens", 30), ("w", 30)], 28);
        model.get("opens").fill(0.0);
        model.variables.push(("zero".into(), vec![0.0; 12]));
        model.variables.push(("negative".into(), vec![-0.0; 12]));
        model.variables.push(("empty".into(), Vec::new()));
        model.variables.push(("one".into(), vec![0.5]));
        let mut numbers = Numbers::new(29);
        for step in 0..30_i64 {
            for name in ["w", "one"] {
                model
                    .get(name)
                    .iter_mut()
                    .for_each(|value| *value += 0.01 * numbers.next());
            }
            if step > 2 {
                model
                    .get("opens")
                    .iter_mut()
                    .for_each(|value| *value += 0.01 * numbers.next());
            }
            model.get("negative")[0] = if step % 2 == 0 { 0.0 } else { -0.0 };
            log.weights(&model, step);
        }
        net.close(log);
    });
}

/// Names that tags, patterns and Markdown could take for something else.
#[test]
fn names() {
    scenario("names", |net| {
        let shapes = [
            "a/b/c",
            "weight_mean",
            "x*y_[z]|w",
            "<b>&amp;",
            "\u{e4}\u{1f9e0}",
            "back\\slash",
            "10",
            "9",
            "model/findings",
            "with space",
            "line\nbreak",
        ];
        let mut model = Model::new(shapes.map(|name| (name, 10)), 30);
        let log = net.create(every_call().samples(1).statistics([Statistic::WeightStd]));
        let scoped = log.scoped("a/b");
        for step in 0..24_i64 {
            model.step(0.01);
            model.get("10").fill(1.0);
            log.weights(&model, step);
            scoped.weights(&model, step);
        }
        drop(scoped);
        net.close(log);
    });
}
