//! One small net under plain descent, logged at each step.

use tch::nn::{Optimizer, OptimizerConfig, Sgd, VarStore};
use tch_tensorboard::{Verdict, WeightOptions, WeightReport};

use crate::model::{Net, cpu_store};
use crate::run::{Run, every_call};

/// A net under training.
pub struct Training {
    pub run: Run,
    pub vs: VarStore,
    pub net: Net,
    pub optimizer: Optimizer,
    pub step: i64,
}

impl Training {
    pub fn new() -> Training {
        Training::with(every_call())
    }

    pub fn with(options: WeightOptions) -> Training {
        let vs = cpu_store();
        let net = Net::new(&vs.root(), 0);
        Training {
            run: Run::with(options),
            optimizer: Sgd::default().build(&vs, 0.05).unwrap(),
            net,
            vs,
            step: 0,
        }
    }

    pub fn backward(&mut self) {
        let (x, y) = Net::batch(self.step as u32);
        self.optimizer.zero_grad();
        self.net.loss(&x, &y).backward();
    }

    pub fn log(&mut self) {
        self.run.log_weights(&self.vs, self.step).unwrap();
        self.step += 1;
    }

    pub fn train(&mut self, steps: i64) {
        for _ in 0..steps {
            self.backward();
            self.optimizer.step();
            self.log();
        }
    }

    pub fn report(&self) -> WeightReport {
        self.run.weight_report().unwrap()
    }

    pub fn verdict(&self, name: &str) -> Verdict {
        self.report().parameter(name).unwrap().verdict
    }
}
