//! The faults that the example can put into a training run. Each is a mistake that happens, in as
//! few lines as it takes.

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use tch::Tensor;
use tch::nn::{Optimizer, VarStore};

use crate::digits::Cnn;

/// What reaches `conv1` of its gradient when it vanishes. Six saturated sigmoids leave about as
/// much.
const VANISHED: f64 = 1e-6;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// Nothing is wrong
    None,
    /// The learning rate is 0
    LrZero,
    /// conv1 requires no gradient, on purpose: no fault
    Frozen,
    /// The output of conv1 is detached from the graph
    Detached,
    /// conv2 is in the model, but its store does not hand it to the optimizer
    MissingFromOptimizer,
    /// The bias of fc1 is so low that none of its ReLUs fires
    DeadRelu,
    /// Weights in bf16 and small steps
    Bf16Rounding,
    /// The learning rate is 1000 times the usual
    LrHuge,
    /// A NaN gets into fc1.weight in the middle of training
    Nan,
    /// All weights and biases begin at zero
    AllZero,
    /// The initial weights of conv2 are 100 times the usual
    BadInit,
    /// A millionth of its gradient reaches conv1
    Vanishing,
    /// The learning rate of conv2 is cut to a 10 000th in the middle of training
    Stalled,
}

impl Fault {
    /// As it is spelt on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What is wrong with the model before the optimizer is built.
    pub(crate) fn put_into(self, vs: &mut VarStore, model: &Cnn) -> Result<()> {
        match self {
            Fault::Frozen => {
                for tensor in [Some(&model.conv1.ws), model.conv1.bs.as_ref()] {
                    tensor.map(|tensor| tensor.set_requires_grad(false));
                }
            }
            Fault::MissingFromOptimizer | Fault::Stalled => self.set_conv2_apart(vs, model)?,
            Fault::DeadRelu => edit(model.fc1.bs.as_ref(), |bias| bias.f_fill_(-1e3))?,
            Fault::Bf16Rounding => vs.bfloat16(),
            Fault::AllZero => {
                for variable in vs.trainable_variables() {
                    edit(Some(&variable), Tensor::f_zero_)?;
                }
            }
            Fault::BadInit => edit(Some(&model.conv2.ws), |weight| weight.f_mul_scalar_(100.0))?,
            _ => {}
        }
        Ok(())
    }

    /// A store lists the variables that its optimizers get, each with the group that has its
    /// learning rate.
    fn set_conv2_apart(self, vs: &VarStore, model: &Cnn) -> Result<()> {
        let mut variables = vs
            .variables_
            .lock()
            .map_err(|_| anyhow!("a thread panicked while it held the store"))?;
        let list = &mut variables.trainable_variables;
        let conv2 = [Some(&model.conv2.ws), model.conv2.bs.as_ref()];
        let is_conv2 = |tensor: &Tensor| {
            conv2
                .iter()
                .flatten()
                .any(|own| own.data_ptr() == tensor.data_ptr())
        };
        match self {
            Fault::Stalled => list
                .iter_mut()
                .filter(|variable| is_conv2(&variable.tensor))
                .for_each(|variable| variable.group = 1),
            _ => list.retain(|variable| !is_conv2(&variable.tensor)),
        }
        Ok(())
    }

    /// The learning rate, where `usual` is a good one.
    pub(crate) fn rate(self, usual: f64) -> f64 {
        match self {
            Fault::LrZero => 0.0,
            Fault::Bf16Rounding => usual / 10.0,
            Fault::LrHuge => usual * 1000.0,
            _ => usual,
        }
    }

    /// What goes wrong in the middle of training.
    pub(crate) fn strike(self, model: &Cnn, optimizer: &mut Optimizer, rate: f64) -> Result<()> {
        match self {
            Fault::Nan => edit(Some(&model.fc1.ws), |weight| {
                weight.f_view([-1])?.f_narrow(0, 0, 1)?.f_fill_(f64::NAN)
            })?,
            Fault::Stalled => optimizer.set_lr_group(1, rate * 1e-4),
            _ => {}
        }
        Ok(())
    }

    /// What becomes of the output of `conv1` on its way to `conv2`.
    pub(crate) fn link(self, maps: Tensor) -> Tensor {
        match self {
            Fault::Detached => maps.detach(),
            // The same values, and a millionth of the gradient.
            Fault::Vanishing => &maps * VANISHED + (&maps * (1.0 - VANISHED)).detach(),
            _ => maps,
        }
    }
}

/// Changes a variable in place, unseen by autograd.
fn edit(
    variable: Option<&Tensor>,
    change: impl FnOnce(&mut Tensor) -> Result<Tensor, tch::TchError>,
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    if let Some(variable) = variable {
        let _ = change(&mut variable.shallow_clone())?;
    }
    Ok(())
}
