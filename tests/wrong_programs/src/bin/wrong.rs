//! Mistakes of users. Each line with a mistake ends in what the compiler must print for it,
//! whatever else it prints.

use tch::Tensor;
use tch::nn::{Linear, VarStore};
use tch_tensorboard::{LayerOptions, Logger, Result, WeightOptions};

struct Model {
    _layer: Linear,
}

fn sources(logger: &Logger, vs: &VarStore, model: &Model, tensor: &Tensor) -> Result<()> {
    logger.log_weights(model, 0)?; //~ pass the VarStore, as in `logger.log_weights(&vs, step)`
    logger.log_weights(&model._layer, 0)?; //~ pass the VarStore
    logger.log_weights(&vs.root(), 0)?; //~ `SubStore::new(&vs, "encoder")` in place of a `Path`
    logger.log_weights(&vs.trainable_variables(), 0)?; //~ pairs `("name", &tensor)`
    logger.log_weights(&(vs, model), 0)?; //~ pass the VarStore
    logger.log_weights(tensor, 0)?; //~ pass the VarStore
    logger.log_gradients(model, 0)?; //~ pass the VarStore
    logger.log_gradients(&vs.root(), 0)?; //~ `SubStore::new(&vs, "encoder")`
    logger.log_graph(model)?; //~ pass the VarStore
    Ok(())
}

fn values(logger: &Logger, tensor: Option<Tensor>) -> Result<()> {
    logger.log_scalar("a", "0.5", 0)?; //~ `str` is not one number: pass a number, or a tensor
    logger.log_scalar("b", tensor, 0)?; //~ is not one number
    logger.log_scalar("c", vec![1.0, 2.0], 0)?; //~ are logged by `log_scalars` or `log_histogram`
    logger.log_histogram("d", &0.5_f32, 0)?; //~ one number is logged by `log_scalar`
    logger.log_histogram("e", &["a"], 0)?; //~ pass a tensor or a slice of numbers
    Ok(())
}

fn steps(logger: &Logger, vs: &VarStore, epoch: f64) -> Result<()> {
    logger.log_weights(vs, epoch)?; //~ `f64` is not a step: TensorBoard counts steps in integers
    logger.log_scalar("a", 0.5, 1.0)?; //~ u32, u64 or usize, such as `epoch as i64`
    logger.log_scalar("b", 0.5, Some(1))?; //~ is not a step
    Ok(())
}

fn patterns() -> [WeightOptions; 4] {
    [
        WeightOptions::new().select(7), //~ `"conv*"`, several as `["conv*", "fc*"]`
        WeightOptions::new().exclude(["a", "b"].map(str::len)), //~ no pattern for names
        WeightOptions::new().for_matching('c', LayerOptions::new()), //~ no pattern for names
        WeightOptions::new().group("convs", ()), //~ no pattern for names
    ]
}

fn drawings(logger: &Logger) -> Result<()> {
    logger.log_figure("a", 8, 8, |pixels| pixels.len(), 0) //~ end it with `;` or `Ok(())`
}

fn main() {
    let _ = (sources, values, steps, patterns, drawings);
}
