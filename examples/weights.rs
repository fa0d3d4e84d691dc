//! Watches the weights of a tiny tch model: `cargo run --example weights`, then `tensorboard
//! --logdir runs`.
//!
//! On screen: the loss, and a table of the four variables: norm, update ratio, changed share,
//! drift, verdict. In TensorBoard: `loss`, histograms of weights and weight deltas, and scalars
//! under tags that begin with `weight` and `model`. Look at `weight_update_ratio_log10` first:
//! about -3 is healthy.

use tch::nn::{self, Module, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_tensorboard::Logger;

fn main() -> anyhow::Result<()> {
    let logdir = std::env::args().nth(1).unwrap_or("runs/weights".to_owned());
    tch::manual_seed(0);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = nn::seq()
        .add(nn::linear(vs.root() / "hidden", 1, 32, Default::default()))
        .add_fn(|x| x.tanh())
        .add(nn::linear(vs.root() / "output", 32, 1, Default::default()));
    let mut optimizer = nn::Adam::default().build(&vs, 1e-2)?;

    let logger = Logger::create(logdir)?;
    logger.set_learning_rate(1e-2); // tch tells no one the rate
    let x = Tensor::linspace(-3, 3, 256, (Kind::Float, Device::Cpu)).unsqueeze(1);
    let y = x.sin();
    for step in 0..400 {
        let loss = model.forward(&x).mse_loss(&y, tch::Reduction::Mean);
        optimizer.backward_step(&loss);
        logger.log_scalar("loss", &loss, step)?;
        logger.log_weights(&vs, step)?;
    }
    println!(
        "last loss {:.6}",
        model
            .forward(&x)
            .mse_loss(&y, tch::Reduction::Mean)
            .double_value(&[])
    );
    println!("{}", logger.weight_report()?);
    println!(
        "written to {0}; look at it with: tensorboard --logdir {0}",
        logger.logdir().display()
    );
    logger.close()?;
    Ok(())
}
