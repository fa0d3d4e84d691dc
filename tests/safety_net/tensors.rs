//! What needs tensors: gradients, stores and their roles, shapes of two and more dimensions, and
//! the verdicts that hang on them.
//!
//! Weights are copied in, and gradients are those of a sum of products, which are the factors
//! themselves: no number depends on how libtorch computes.

use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tch_tensorboard::{Cadence, SubStore, WeightOptions};

use crate::data::Numbers;
use crate::net::{Net, scenario};

fn every_call() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall)
        .samples(1)
}

/// How a variable behaves, step by step.
struct Life {
    name: &'static str,
    shape: &'static [i64],
    /// The first weights are multiples of this.
    scale: f32,
    /// The change of each element at a step, in random directions.
    change: fn(i64) -> f32,
    /// Elements of the gradient, in random directions; `None` where the loss does not reach the
    /// variable.
    gradient: fn(i64) -> Option<f32>,
}

const HEALTHY: Life = Life {
    name: "",
    shape: &[12, 10],
    scale: 0.3,
    change: |_| 0.001,
    gradient: |_| Some(0.01),
};

/// A store whose variables live as they are told.
struct Lives {
    store: VarStore,
    tensors: Vec<Tensor>,
    values: Vec<Vec<f32>>,
    lives: Vec<Life>,
    numbers: Numbers,
}

impl Lives {
    fn new(lives: Vec<Life>, seed: u64) -> Lives {
        let (store, mut numbers) = (VarStore::new(Device::Cpu), Numbers::new(seed));
        let mut values = Vec::new();
        let mut tensors = Vec::new();
        for life in &lives {
            let count = life.shape.iter().product::<i64>() as usize;
            let first: Vec<f32> = (0..count).map(|_| life.scale * numbers.next()).collect();
            let tensor = Tensor::from_slice(&first).view(life.shape);
            tensors.push(store.root().var_copy(life.name, &tensor));
            values.push(first);
        }
        Lives {
            store,
            tensors,
            values,
            lives,
            numbers,
        }
    }

    fn backward(&mut self, step: i64) {
        let _ = self.tensors.iter_mut().map(Tensor::zero_grad).count();
        for (tensor, life) in std::iter::zip(&mut self.tensors, &self.lives) {
            let count = life.shape.iter().product::<i64>() as usize;
            let Some(size) = (life.gradient)(step) else {
                continue;
            };
            let factors: Vec<f32> = (0..count).map(|_| size * self.numbers.next()).collect();
            let factors = Tensor::from_slice(&factors).view(life.shape);
            (&*tensor * factors).sum(Kind::Float).backward();
        }
    }

    fn update(&mut self, step: i64) {
        let _guard = tch::no_grad_guard();
        let all = std::iter::zip(&mut self.values, &mut self.tensors);
        for ((values, tensor), life) in std::iter::zip(all, &self.lives) {
            let size = (life.change)(step);
            for value in &mut *values {
                *value += size * self.numbers.next();
            }
            if size != 0.0 {
                tensor.copy_(&Tensor::from_slice(values).view(life.shape));
            }
        }
    }

    /// Logs so many steps: gradients beside weights where `exact`.
    fn train(&mut self, net: &mut Net, steps: i64, exact: bool) {
        let log = net.create(every_call());
        for step in 0..steps {
            self.backward(step);
            self.update(step);
            if exact {
                log.logger.log_gradients(&self.store, step).unwrap();
                log.flush();
            }
            log.weights(&self.store, step);
        }
        net.close(log);
    }
}

#[test]
fn tensor_gradients() {
    scenario("tensor_gradients", |net| {
        let named = |name, shape| Life {
            name,
            shape,
            ..HEALTHY
        };
        let lives = vec![
            named("conv_weight", &[3, 2, 3, 3]),
            named("conv_bias", &[3]),
            Life {
                gradient: |step| (step > 4).then_some(2.0),
                ..named("late_weight", &[7, 5])
            },
            Life {
                gradient: |step| Some(if step == 6 { f32::INFINITY } else { 0.5 }),
                ..named("odd_weight", &[4, 4])
            },
        ];
        Lives::new(lives, 80).train(net, 12, true);
    });
}

/// Each verdict on a matrix, by the gradients that are looked at in passing.
#[test]
fn tensor_verdicts() {
    scenario("tensor_verdicts", |net| {
        let named = |name| Life { name, ..HEALTHY };
        let lives = vec![
            named("learning"),
            named("learning_too"),
            Life {
                gradient: |_| None,
                change: |_| 0.0,
                ..named("detached")
            },
            Life {
                scale: 0.0,
                gradient: |_| Some(0.0),
                change: |_| 0.0,
                ..named("all_zero")
            },
            Life {
                gradient: |_| Some(0.0),
                change: |_| 0.0,
                ..named("dead_gradient")
            },
            Life {
                change: |step| if step < 30 { 0.001 } else { 1e-7 },
                ..named("stalled")
            },
            Life {
                gradient: |_| Some(1e-8),
                change: |_| 1e-6,
                ..named("vanishing")
            },
            Life {
                change: |_| 0.0,
                ..named("not_updated")
            },
            Life {
                scale: 40.0,
                change: |_| 0.02,
                ..named("poor_init_large")
            },
            Life {
                scale: 0.0005,
                change: |_| 0.000_001,
                ..named("poor_init_small")
            },
            Life {
                change: |_| 1.0,
                ..named("exploding")
            },
            Life {
                change: |_| 0.1,
                ..named("large_updates")
            },
            Life {
                change: |step| if step % 2 == 0 { 0.0 } else { 0.001 },
                ..named("every_second")
            },
            Life {
                gradient: |step| Some(if step > 40 { f32::NAN } else { 0.01 }),
                ..named("non_finite")
            },
        ];
        let mut lives = Lives::new(lives, 81);
        let log = net.create(every_call());
        // Before the first backward pass: what the weights are from the start.
        log.weights(&lives.store, 0);
        let swings = Tensor::from_slice(&lives.numbers.vec(120)).view([12, 10]) * 0.25;
        let swings = lives.store.root().var_copy("erratic", &swings);
        let shrinks = Tensor::from_slice(&lives.numbers.vec(120)).view([12, 10]) * 0.25;
        let mut shrinks = lives.store.root().var_copy("scale_drift", &shrinks);
        for step in 1..=90_i64 {
            lives.backward(step);
            lives.update(step);
            tch::no_grad(|| {
                // There and back again, and ever smaller: no rounding that a processor could do in
                // another way.
                let by = if step % 2 == 0 { 5.0 } else { -5.0 };
                let _ = swings.shallow_clone().g_add_scalar_(by / 128.0);
                if step % 8 == 0 {
                    let _ = shrinks.g_mul_scalar_(0.5);
                }
            });
            log.weights(&lives.store, step);
        }
        net.close(log);
    });
}

/// What a store knows: trainable, frozen, hidden from optimizers, buffers; and its parts.
#[test]
fn tensor_roles() {
    scenario("tensor_roles", |net| {
        let mut numbers = Numbers::new(82);
        let mut store = VarStore::new(Device::Cpu);
        let root = store.root();
        let mut tensor = |shape: &[i64]| {
            let count = shape.iter().product::<i64>() as usize;
            Tensor::from_slice(&numbers.vec(count)).view(shape)
        };
        let mut weight = (&root / "fc").var_copy("weight", &tensor(&[6, 4]));
        let mut frozen = (&root / "fc").var_copy("frozen", &tensor(&[5, 5]));
        frozen = frozen.set_requires_grad(false);
        let hidden = (&root / "fc").add("hidden", tensor(&[8]), false);
        let hidden = hidden.set_requires_grad(true);
        let mut buffer = (&root / "norm").add("mean", tensor(&[8]), false);
        let scalar = (&root / "norm").var_copy("scalar", &Tensor::from(0.5_f32));
        (&hidden * 1.0).sum(Kind::Float).backward();
        (&weight * 1.0).sum(Kind::Float).backward();
        (&scalar * 1.0).backward();
        let log = net.create(every_call().non_trainable(true));
        let part = log.scoped("part");
        for step in 0..60_i64 {
            match step {
                40 => store.freeze(),
                50 => store.unfreeze(),
                _ => {}
            }
            tch::no_grad(|| {
                let by = 1.0 / 64.0;
                if !(40..50).contains(&step) {
                    let _ = weight.g_add_scalar_(by);
                }
                let _ = buffer.g_add_scalar_(by);
                if step >= 20 {
                    let _ = frozen.g_add_scalar_(by);
                }
            });
            log.weights(&store, step);
            part.weights(&SubStore::new(&store, "norm"), step);
        }
        drop(part);
        net.close(log);
    });
}

/// Tensors as scalars, as histograms and as weights: of all types, strided, and on their own.
#[test]
fn tensor_sources() {
    scenario("tensor_sources", |net| {
        let mut numbers = Numbers::new(83);
        let log = net.create(every_call());
        for step in 0..6_i64 {
            let tensor = Tensor::from_slice(&numbers.vec(240)).view([4, 6, 10]);
            let loss = tensor.flatten(0, -1).get(3);
            log.logger.log_scalar("loss", &loss, step).unwrap();
            let slice = tensor.transpose(0, 2).slice(1, 0, 6, 2);
            log.logger.log_histogram("strided", &slice, step).unwrap();
            log.flush();
            let kinds = [
                Kind::Half,
                Kind::BFloat16,
                Kind::Double,
                Kind::Int,
                Kind::Bool,
            ];
            let scaled = &tensor * 64.0;
            let named = |kind: &Kind| (format!("{kind:?}"), scaled.to_kind(*kind));
            let mut weights: Vec<(String, Tensor)> = kinds.iter().map(named).collect();
            weights.push(("transposed".into(), tensor.transpose(0, 1)));
            weights.push(("empty".into(), tensor.slice(0, 0, 0, 1)));
            log.weights(&weights, step);
        }
        net.close(log);
    });
}
