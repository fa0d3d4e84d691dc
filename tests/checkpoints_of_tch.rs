//! What tch writes, read without it: `VarStore::save` to `.ot` and `.safetensors`, and
//! `Tensor::write_npz`.

use std::path::Path;

use tch::{Device, Kind, Tensor, nn};
use tch_tensorboard::{Checkpoint, CheckpointFormat};

fn store() -> nn::VarStore {
    tch::manual_seed(5);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let _ = nn::conv2d(&root / "conv", 3, 4, 3, nn::ConvConfig::default());
    let _ = nn::batch_norm1d(&root / "block" / "norm", 6, nn::BatchNormConfig::default());
    let _ = nn::linear(root / "head", 6, 2, nn::LinearConfig::default());
    vs
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor
        .detach()
        .contiguous()
        .to_kind(Kind::Double)
        .flatten(0, -1);
    Vec::<f64>::try_from(&flat).unwrap()
}

fn assert_holds(path: &Path, vs: &nn::VarStore) -> CheckpointFormat {
    let checkpoint = Checkpoint::open(path).unwrap();
    let variables = vs.variables();
    assert_eq!(checkpoint.tensors().len(), variables.len());
    for (name, tensor) in &variables {
        let found = checkpoint.tensor(name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {}", path.display()));
        let shape: Vec<u64> = tensor.size().iter().map(|&size| size as u64).collect();
        assert_eq!(found.shape(), shape, "{name}");
        assert_eq!(checkpoint.values(name).unwrap(), numbers(tensor), "{name}");
    }
    checkpoint.format()
}

#[test]
fn what_a_store_saves_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let vs = store();
    for (file, format) in [
        ("store.ot", CheckpointFormat::TorchScript),
        ("store.safetensors", CheckpointFormat::Safetensors),
    ] {
        let path = dir.path().join(file);
        vs.save(&path).unwrap();
        assert_eq!(assert_holds(&path, &vs), format);
    }
}

#[test]
fn a_store_in_half_precision_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut vs = store();
    for (kind, file) in [
        (Kind::Half, "half.ot"),
        (Kind::BFloat16, "bfloat16.ot"),
        (Kind::Double, "double.safetensors"),
    ] {
        vs.set_kind(kind);
        let path = dir.path().join(file);
        vs.save(&path).unwrap();
        assert_holds(&path, &vs);
    }
}

#[test]
fn arrays_of_tch_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arrays.npz");
    let tensors = [
        (
            "a",
            Tensor::arange(12, (Kind::Float, Device::Cpu)).view([3, 4]),
        ),
        ("b", Tensor::from_slice(&[1_i64, -2])),
        (
            "c",
            Tensor::arange(6, (Kind::Double, Device::Cpu))
                .view([2, 3])
                .tr(),
        ),
    ];
    Tensor::write_npz(&tensors, &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    for (name, tensor) in &tensors {
        assert_eq!(checkpoint.values(name).unwrap(), numbers(tensor), "{name}");
    }
}
