//! Checkpoints that PyTorch and numpy have written: every tensor as they see it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tch_tensorboard::{Checkpoint, CheckpointDiff, CheckpointFormat, LogDir, Logger, PointValue};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints")
}

fn expected() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(data().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn equal(one: f64, other: f64) -> bool {
    one == other || (one.is_nan() && other.is_nan())
}

#[test]
fn every_tensor_has_the_elements_that_its_writer_sees() {
    let mut compared = 0;
    for (file, expected) in expected() {
        let checkpoint = Checkpoint::open(data().join(&file)).unwrap();
        let tensors = expected["tensors"].as_object().unwrap();
        let names: Vec<&str> = checkpoint
            .tensors()
            .iter()
            .map(|tensor| tensor.name())
            .collect();
        assert_eq!(names.len(), tensors.len(), "{file}: {names:?}");
        assert_eq!(checkpoint.step(), expected["step"].as_i64(), "{file}");
        for (name, expected) in tensors {
            let tensor = checkpoint
                .tensor(name)
                .unwrap_or_else(|| panic!("{file} has no {name}, but {names:?}"));
            assert_eq!(tensor.unreadable_reason(), None, "{file} {name}");
            assert_eq!(
                tensor.stored_type().unwrap().name(),
                expected["type"],
                "{file} {name}"
            );
            let shape: Vec<u64> = serde_json::from_value(expected["shape"].clone()).unwrap();
            assert_eq!(tensor.shape(), shape, "{file} {name}");
            let values = checkpoint.values(name).unwrap();
            let wanted = expected["values"].as_str().unwrap().split_whitespace();
            let wanted: Vec<f64> = wanted.map(|value| value.parse().unwrap()).collect();
            assert_eq!(values.len(), wanted.len(), "{file} {name}");
            for (at, (value, wanted)) in values.iter().zip(&wanted).enumerate() {
                assert!(
                    equal(*value, *wanted),
                    "{file} {name} {at}: {value} {wanted}"
                );
            }
            compared += values.len();
        }
    }
    assert!(compared > 4000, "{compared}");
}

#[test]
fn formats_are_recognised_by_what_is_inside() {
    for (file, format) in [
        ("layouts.pt", CheckpointFormat::TorchArchive),
        ("layouts_legacy.pt", CheckpointFormat::TorchStream),
        ("script.pt", CheckpointFormat::TorchScript),
        ("arrays.npz", CheckpointFormat::Numpy),
        ("single.npy", CheckpointFormat::Numpy),
        ("sharded", CheckpointFormat::Safetensors),
    ] {
        assert_eq!(
            Checkpoint::open(data().join(file)).unwrap().format(),
            format,
            "{file}"
        );
    }
}

#[test]
fn tied_tensors_say_whose_elements_they_have() {
    for file in ["layouts.pt", "layouts_legacy.pt"] {
        let checkpoint = Checkpoint::open(data().join(file)).unwrap();
        let alias = |name: &str| {
            checkpoint
                .tensor(name)
                .unwrap()
                .alias_of()
                .map(str::to_owned)
        };
        assert_eq!(alias("tied.a"), None);
        assert_eq!(alias("tied.b").as_deref(), Some("tied.a"));
        assert_eq!(alias("tied.view"), None);
        // Without the first one, the second one is tied to nothing.
        let mut checkpoint = checkpoint.clone();
        checkpoint.retain(|tensor| tensor.name() != "tied.a");
        assert_eq!(checkpoint.tensor("tied.b").unwrap().alias_of(), None);
    }
}

#[test]
fn the_models_part_is_taken_and_others_can_be_asked_for() {
    for file in ["trainer.ckpt", "trainer_legacy.ckpt"] {
        let path = data().join(file);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let notes = checkpoint.notes().join("\n");
        assert!(notes.contains("12 tensors under \"optimizer\""), "{notes}");
        let optimizer = Checkpoint::open_part(&path, "optimizer").unwrap();
        assert_eq!(optimizer.tensors().len(), 12);
        assert!(optimizer.tensor("state.0.exp_avg").is_some());
        let error = Checkpoint::open_part(&path, "optimiser")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("optimizer") && error.contains(file),
            "{error}"
        );
    }
}

#[test]
fn a_checkpoint_can_be_logged() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let checkpoint = Checkpoint::open(data().join("types.pt")).unwrap();
    logger.log_weights(&checkpoint, 5).unwrap();
    logger.close().unwrap();
    let log = LogDir::open(dir.path()).unwrap();
    let mut norms = BTreeMap::new();
    for point in log.runs()[0].events().points().map(Result::unwrap) {
        if let (Some(name), PointValue::Scalar(value)) =
            (point.tag.strip_prefix("weight_norm/"), &point.value)
        {
            norms.insert(name.to_owned(), *value);
        }
    }
    let values = checkpoint.values("float8_e4m3fn").unwrap();
    let finite = values.iter().filter(|value| value.is_finite());
    let norm = finite.map(|value| value * value).sum::<f64>().sqrt();
    let logged = norms["float8_e4m3fn"];
    assert!((logged / norm - 1.0).abs() < 1e-6, "{logged} {norm}");
}

#[test]
fn drift_counts_from_a_baseline() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(data().join("sharded")).unwrap();
    let errors = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = errors.clone();
    let logger = Logger::builder(dir.path().join("run"))
        .on_error(move |error| told.lock().unwrap().push(error.to_string()))
        .create()
        .unwrap();
    logger.baseline(&checkpoint).unwrap();
    // Twice the pre-trained weights, and a head that these do not have.
    let doubled = |name: &str| -> Vec<f64> {
        checkpoint
            .values(name)
            .unwrap()
            .iter()
            .map(|value| value * 2.0)
            .collect()
    };
    let model = [("plain", doubled("plain")), ("head", vec![1.0, 2.0])];
    logger.log_weights(&model, 0).unwrap();
    let report = logger.weight_report().unwrap();
    let drift = |name: &str| report.parameter(name).unwrap().drift;
    assert!(
        (drift("plain").unwrap() - 1.0).abs() < 1e-9,
        "{:?}",
        drift("plain")
    );
    assert_eq!(drift("head"), Some(0.0));
    let late = logger.baseline(&checkpoint).unwrap_err().to_string();
    assert!(late.contains("before log_weights"), "{late}");
    logger.close().unwrap();
    let errors = errors.lock().unwrap();
    assert!(
        errors.len() == 1 && errors[0].contains("first call: head"),
        "{errors:?}"
    );
}

#[test]
fn a_comparison_is_logged_as_other_calls_are() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(data().join("sharded")).unwrap();
    let diff = CheckpointDiff::new(&checkpoint, &checkpoint).histograms(true);
    let comparison = diff.run().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let scoped = logger.scoped("G").unwrap();
    scoped.log_comparison(&comparison, 0, 10).unwrap();
    scoped.log_compared_weights(&comparison, 0, 10).unwrap();
    let held = logger.stats().held;
    assert!(held > std::time::Duration::ZERO, "its time counts");
    logger.close().unwrap();
    let log = LogDir::open(dir.path()).unwrap();
    let points = log.runs()[0].events().points().map(Result::unwrap);
    let mut kinds: BTreeMap<String, Vec<(i64, &str)>> = BTreeMap::new();
    for point in points {
        let kind = (point.step, point.value.kind());
        kinds.entry(point.tag.to_string()).or_default().push(kind);
    }
    assert_eq!(kinds["checkpoint_change/G/plain"], [(10, "histogram")]);
    let fraction = &kinds["checkpoint_changed_fraction/G/plain"];
    assert_eq!(fraction[..], [(10, "scalar")]);
    let weights = &kinds["weights/G/plain"];
    assert_eq!(weights[..], [(0, "histogram"), (10, "histogram")]);
}
