//! The verdicts that slices can come to: they have one dimension and no gradients.

use half::bf16;
use tch_tensorboard::{Cadence, NamedTensors, Role, WeightOptions};

use crate::data::{Numbers, Roles};
use crate::net::scenario;

fn every_call() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall)
        .samples(1)
}

#[test]
fn verdicts() {
    scenario("verdicts", |net| {
        let log = net.create(every_call());
        let mut numbers = Numbers::new(60);
        let mut model = Roles(vec![
            ("learns", numbers.vec(30), Role::Trainable),
            ("rests", numbers.vec(30), Role::Trainable),
            ("stops", numbers.vec(30), Role::Trainable),
            ("breaks", numbers.vec(30), Role::Trainable),
            ("rounded", vec![1.0; 200], Role::Trainable),
            ("frozen", numbers.vec(30), Role::Frozen),
            ("average", numbers.vec(30), Role::Frozen),
            ("mean", numbers.vec(30), Role::Buffer),
        ]);
        let mut rounded = vec![bf16::from_f32(1.0); 200];
        for step in 0..70_i64 {
            if step == 60 {
                model.0.push(("new", numbers.vec(30), Role::Trainable));
            }
            for (name, values, _) in &mut model.0 {
                let moves = match *name {
                    "rests" | "frozen" | "rounded" => false,
                    "stops" => step < 25,
                    _ => true,
                };
                if moves {
                    values
                        .iter_mut()
                        .for_each(|value| *value += 0.01 * numbers.next());
                }
                if *name == "breaks" && step == 30 {
                    values[0] = f32::NAN;
                }
                if *name == "rounded" {
                    // By one unit in the last place, here and there.
                    let place = step as usize * 7 % 200;
                    values[place] = f32::from_bits(values[place].to_bits() + 1);
                }
            }
            let place = step as usize * 11 % 200;
            rounded[place] = bf16::from_bits(rounded[place].to_bits() + 1);
            let brain = ("rounded.bf16", &rounded);
            let sources: [&dyn NamedTensors; 2] = [&model, &brain];
            log.weights(&sources[..], step);
        }
        net.close(log);
    });
}

/// Nothing moves any more in a whole model: with a rate, with a rate of zero, and without one.
#[test]
fn verdicts_model() {
    scenario("verdicts_model", |net| {
        let log = net.create(every_call());
        let scopes = ["unknown", "zero", "known"].map(|name| log.scoped(name));
        let rates = [None, Some(0.0), Some(0.001)];
        let mut numbers = Numbers::new(61);
        let mut values = [numbers.vec(30), numbers.vec(20)];
        for step in 0..60_i64 {
            if step < 10 {
                values
                    .iter_mut()
                    .flatten()
                    .for_each(|value| *value += 0.01 * numbers.next());
            }
            for (scope, rate) in std::iter::zip(&scopes, rates) {
                rate.iter()
                    .for_each(|&rate| scope.logger.set_learning_rate(rate));
                scope.weights(&[("a", &values[0]), ("b", &values[1])], step);
            }
        }
        drop(scopes);
        net.close(log);
    });
}
