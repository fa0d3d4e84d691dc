//! What users may well write, and the compiler takes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tch::nn::VarStore;
use tch::{CModule, Device, Tensor};
use tch_tensorboard::{LayerOptions, Logger, NamedTensors, Pattern, Result, SubStore};
use tch_tensorboard::{Scalar, WeightOptions};

fn sources(logger: &Logger, vs: &VarStore, module: &CModule, tensor: &Tensor) -> Result<()> {
    let (shared, counted) = (
        Arc::new(VarStore::new(Device::Cpu)),
        Rc::new(VarStore::new(Device::Cpu)),
    );
    logger.log_weights(vs, 0)?;
    logger.log_weights(&vs, 0)?;
    logger.log_weights(&shared, 0)?;
    logger.log_weights(&counted, 0)?;
    logger.log_weights(&*shared, 0)?;
    logger.log_weights(&Box::new(SubStore::new(vs, "encoder")), 0)?;
    logger.log_weights(&(vs, &*shared), 0)?;
    logger.log_weights(&(vs, shared.clone()), 0)?;
    logger.log_weights(&(shared.clone(), counted.clone()), 0)?;
    logger.log_weights(&(vs, SubStore::new(vs, "encoder")), 0)?;
    logger.log_weights(&(module, vs), 0)?;
    logger.log_weights(&(("a", tensor), module), 0)?;
    logger.log_weights(&(vs, module, ("a", tensor)), 0)?;
    logger.log_weights(&("a", tensor), 0)?;
    logger.log_weights(&(String::from("a"), Arc::new(tensor.shallow_clone())), 0)?;
    logger.log_weights(&(Cow::Borrowed("a"), [0.5, 1.0]), 0)?;
    logger.log_weights(&[vs, &*shared], 0)?;
    logger.log_weights(&[vs as &dyn NamedTensors, module], 0)?;
    logger.log_weights(&BTreeMap::from([("a", tensor)]), 0)?;
    logger.log_gradients(&shared, 0)
}

fn values(logger: &Logger, tensor: &Tensor, numbers: &[f32]) -> Result<()> {
    logger.log_scalar("a", tensor, 0)?;
    logger.log_scalar("b", Arc::new(tensor.shallow_clone()), 0)?;
    logger.log_scalar("c", &0.5, 0)?;
    logger.log_scalars(&[("d", Scalar::from(&Rc::new(tensor.shallow_clone())))], 0)?;
    logger.log_histogram("e", numbers, 0)?;
    logger.log_histogram("f", &Rc::<[f32]>::from(numbers), 0)?;
    logger.log_histogram("g", &Box::<[f32]>::from(numbers), 0)?;
    for (step, loss) in BTreeMap::from([(1_usize, 0.5)]).iter() {
        logger.log_scalar("h", loss, step)?;
    }
    Ok(())
}

fn patterns(names: &[String]) -> WeightOptions {
    WeightOptions::new()
        .select("conv*")
        .select(names)
        .select(names.iter().map(String::as_str))
        .exclude(Pattern::regex("^h"))
        .for_matching(["a", "b"], LayerOptions::new())
        .group("c", String::from("c"))
}

fn main() {
    let _ = (sources, values, patterns);
}
