//! Logs that version 0.1 has written, which every later version reads as it did.
//!
//! `tests/data/v0_1/faults` is a run of twelve steps in which most variables have a fault,
//! `healthy` one of two scopes and a sub-run. Fixed are what is parsed from the files (types,
//! shapes, roles, points) and the verdicts that the runs have recorded; verdicts that are
//! recomputed may become better.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch_tensorboard::{
    Cause, DType, LogDir, LoggedReport, ParameterReport, PointValue, Role, Run, Verdict,
};

fn logs() -> LogDir {
    LogDir::open(folder()).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v0_1")
}

fn run(name: &str) -> Run {
    let logs = logs();
    logs.run(name)
        .unwrap_or_else(|| panic!("no {name}"))
        .clone()
}

fn report(name: &str) -> LoggedReport {
    run(name).weight_report().unwrap()
}

/// The steps of each tag, and what its points are.
fn points(name: &str) -> BTreeMap<String, (&'static str, Vec<i64>)> {
    let mut tags: BTreeMap<String, (&'static str, Vec<i64>)> = BTreeMap::new();
    for point in run(name).events().points() {
        let point = point.unwrap();
        let kind = point.value.kind();
        let (known, steps) = tags.entry(point.tag).or_insert((kind, Vec::new()));
        assert_eq!(*known, kind);
        steps.push(point.step);
    }
    tags
}

fn values(name: &str, tag: &str) -> Vec<PointValue> {
    let points = run(name).events().points().map(|point| point.unwrap());
    points
        .filter(|point| point.tag == tag)
        .map(|point| point.value)
        .collect()
}

fn scalars(name: &str, tag: &str) -> Vec<f64> {
    let scalar = |value| match value {
        PointValue::Scalar(number) => number,
        other => panic!("{tag}: {other:?}"),
    };
    values(name, tag).into_iter().map(scalar).collect()
}

#[test]
fn runs_and_their_files_are_found() {
    let logs = logs();
    let names: Vec<&str> = logs.runs().iter().map(Run::name).collect();
    assert_eq!(names, ["faults", "healthy", "healthy/val"]);
    assert!(logs.unreadable().is_empty());
    for run in logs.runs() {
        assert_eq!(run.files().unwrap().len(), 1);
        assert_eq!(run.path(), folder().join(run.name()));
    }
}

/// Scope, name, type, shape and role of a variable.
type Facts<'a> = (&'a str, &'a str, Option<DType>, &'a [i64], Role);

fn facts(one: &ParameterReport) -> Facts<'_> {
    (&one.scope, &one.name, one.dtype, &one.shape, one.role)
}

#[test]
fn descriptions_say_what_each_variable_is() {
    let found = report("faults");
    let found: Vec<_> = found.report.parameters.iter().map(facts).collect();
    let float = Some(DType::F32);
    let expected: [Facts<'_>; 7] = [
        ("", "broken", float, &[2, 3], Role::Trainable),
        ("", "detached", float, &[3, 2], Role::Trainable),
        ("", "fc.bias", float, &[4], Role::Trainable),
        ("", "fc.weight", float, &[4, 3], Role::Trainable),
        ("", "half", Some(DType::BF16), &[6], Role::Trainable),
        ("", "hidden", float, &[3, 3], Role::Trainable),
        ("", "norm.mean", float, &[4], Role::Buffer),
    ];
    assert_eq!(found, expected);
    let found = report("healthy");
    let found: Vec<_> = found.report.parameters.iter().map(facts).collect();
    let double = Some(DType::F64);
    let expected: [Facts<'_>; 4] = [
        ("", "fc.weight", float, &[4, 3], Role::Trainable),
        ("critic", "fc.weight", float, &[4, 3], Role::Trainable),
        ("critic", "scale", double, &[], Role::Trainable),
        ("critic", "wide", double, &[2, 2, 2], Role::Trainable),
    ];
    assert_eq!(found, expected);
}

#[test]
fn points_keep_their_kinds_and_steps() {
    let all: Vec<i64> = (0..12).collect();
    let tags = points("faults");
    assert_eq!(tags["loss/train"], ("scalar", all.clone()));
    assert_eq!(tags["weight_std/fc.weight"], ("scalar", all.clone()));
    assert_eq!(
        tags["weight_delta_std/fc.weight"],
        ("scalar", all[1..].to_vec())
    );
    assert_eq!(tags["weights/fc.weight"], ("histogram", vec![0, 4, 8, 11]));
    assert_eq!(
        tags["weight_deltas/fc.weight"],
        ("histogram", vec![4, 8, 11])
    );
    assert_eq!(tags["weight_gradient_norm/fc.weight"], ("scalar", all));
    assert_eq!(
        tags["weight_nonfinite/broken"],
        ("scalar", (7..12).collect())
    );
    assert_eq!(tags["weight_report"].0, "text");
    assert_eq!(tags["custom_scalars__config__"].0, "layout");
    // What is frozen and does not move writes nothing.
    assert!(!tags.keys().any(|tag| tag.ends_with("/frozen")));
    let tags = points("healthy/val");
    assert_eq!(
        tags.into_iter().collect::<Vec<_>>(),
        [("loss/train".to_owned(), ("scalar", vec![3, 7]))]
    );
}

#[test]
fn values_keep_their_bits() {
    let losses: Vec<f64> = (1..=12)
        .map(|step| f64::from(1.0_f32 / step as f32))
        .collect();
    assert_eq!(scalars("faults", "loss/train"), losses);
    // All weights of 0.5 at first, and 1/64 more at each step.
    let means = scalars("faults", "weight_mean/fc.weight");
    let expected: Vec<f64> = (1..=12).map(|step| 0.5 + f64::from(step) / 64.0).collect();
    assert_eq!(means, expected);
    assert_eq!(scalars("faults", "weight_nonfinite/broken"), [1.0; 5]);
    assert_eq!(
        scalars("faults", "weight_changed_fraction/fc.bias"),
        [0.0; 11]
    );
    let rows = values("faults", "weights/fc.weight");
    let PointValue::Histogram(rows) = &rows[0] else {
        panic!("{rows:?}");
    };
    assert_eq!(rows.iter().map(|row| row[2]).sum::<f64>(), 12.0);
}

/// A recorded verdict is given wherever the recomputed one says otherwise, and either of them is a
/// fault. So each is there in one of the two ways, and those that need gradients or the optimizer's
/// list are known from the record only.
fn assert_recorded(name: &str, expected: &[(&str, Verdict)]) {
    let found = report(name);
    for (variable, verdict) in expected {
        let mut recorded = found.recorded.iter();
        if let Some(recorded) = recorded.find(|recorded| recorded.variable == *variable) {
            assert_eq!(recorded.verdict, *verdict, "{variable}");
            continue;
        }
        let full = |one: &&ParameterReport| match one.scope.as_str() {
            "" => one.name == *variable,
            scope => format!("{scope}/{}", one.name) == *variable,
        };
        let judged = found.report.parameters.iter().find(full);
        let judged = judged
            .unwrap_or_else(|| panic!("nothing of {variable}"))
            .verdict;
        let agrees = judged.name() == verdict.name();
        assert!(
            agrees || !(judged.is_fault() || verdict.is_fault()),
            "{variable}: {judged}"
        );
    }
    let known = |variable: &str| expected.iter().any(|(name, _)| *name == variable);
    let mut others = found.recorded.clone();
    others.retain(|recorded| !known(&recorded.variable));
    assert!(others.is_empty(), "{others:?}");
}

const UNTOLD: Verdict = Verdict::NotUpdated {
    cause: Cause::OneOf(&[
        Cause::NotInOptimizer,
        Cause::LearningRateZero,
        Cause::Rounding,
    ]),
};

#[test]
fn recorded_verdicts_are_read() {
    let hidden = Verdict::NotUpdated {
        cause: Cause::NotInOptimizer,
    };
    assert_recorded(
        "faults",
        &[
            ("broken", Verdict::NonFinite),
            ("detached", Verdict::Detached),
            ("fc.bias", UNTOLD),
            ("fc.weight", Verdict::Learning),
            ("half", Verdict::Learning),
            ("hidden", hidden),
            ("norm.mean", Verdict::Learning),
        ],
    );
    assert_recorded(
        "healthy",
        &[
            ("fc.weight", Verdict::Learning),
            ("critic/fc.weight", Verdict::Learning),
            ("critic/scale", Verdict::Learning),
            ("critic/wide", Verdict::Learning),
        ],
    );
}

/// No log of weights shows that a loss does not reach a variable: this one is the record's alone.
#[test]
fn what_only_the_run_has_seen_is_given_as_recorded() {
    let found = report("faults");
    let detached = found
        .recorded
        .iter()
        .find(|recorded| recorded.variable == "detached");
    let detached = detached.expect("the record speaks of it");
    assert_eq!(detached.verdict, Verdict::Detached);
    assert!(detached.step >= 11, "{}", detached.step);
    assert!(found.faults().any(|fault| fault == Verdict::Detached));
}

/// Not a test: wrote the files, when the crate was of version 0.1. Needs a folder, which must not
/// be there yet, so that the files are never overwritten by what a later version writes:
///
/// `GOLDEN_LOGS=target/v0_1 cargo test --test golden_v0_1 -- --ignored`
#[cfg(feature = "tch")]
mod generator {
    use std::fs;
    use std::path::Path;

    use tch::nn::VarStore;
    use tch::{Device, Kind, Tensor};
    use tch_tensorboard::{Cadence, Logger, Statistic, Thresholds, WeightOptions};

    fn short_window() -> Thresholds {
        let mut thresholds = Thresholds::default();
        (thresholds.window, thresholds.warm_up, thresholds.confirm) = (4, 2, 2);
        thresholds
    }

    fn filled(shape: &[i64], value: f64) -> Tensor {
        Tensor::full(shape, value, (Kind::Float, Device::Cpu))
    }

    fn add(tensor: &Tensor, by: f64) {
        tch::no_grad(|| drop(tensor.shallow_clone().g_add_scalar_(by)));
    }

    fn faults(dir: &Path) {
        let store = VarStore::new(Device::Cpu);
        let root = store.root();
        let weight = (&root / "fc").var_copy("weight", &filled(&[4, 3], 0.5));
        let bias = (&root / "fc").var_copy("bias", &filled(&[4], 0.25));
        let broken = root.var_copy("broken", &filled(&[2, 3], 0.5));
        let _detached = root.var_copy("detached", &filled(&[3, 2], 0.5));
        let half = root.add("half", filled(&[6], 1.0).to_kind(Kind::BFloat16), true);
        let hidden = root.add("hidden", filled(&[3, 3], 0.5), false);
        let hidden = hidden.set_requires_grad(true);
        let mean = (&root / "norm").add("mean", filled(&[4], 0.0), false);
        let frozen = root.var_copy("frozen", &filled(&[2, 2], 0.5));
        let _frozen = frozen.set_requires_grad(false);
        let options = WeightOptions::new()
            .thresholds(short_window())
            .histograms(Cadence::Every(4))
            .histogram_rows(16)
            .non_trainable(true)
            .samples(1);
        let logger = Logger::builder(dir).weights(options).create().unwrap();
        for step in 0..12_i64 {
            let parts = [&weight, &bias, &broken, &hidden];
            parts
                .iter()
                .for_each(|part| (*part * 0.1).sum(Kind::Float).backward());
            (&half * 0.5).sum(Kind::Float).backward();
            [&weight, &broken, &mean]
                .iter()
                .for_each(|moves| add(moves, 1.0 / 64.0));
            add(&half, 1.0 / 8.0);
            if step == 7 {
                add(&broken.get(1).get(2), f64::NAN);
            }
            logger
                .log_scalar("loss/train", 1.0 / (step + 1) as f32, step)
                .unwrap();
            logger.log_gradients(&store, step).unwrap();
            logger.log_weights(&store, step).unwrap();
            logger.flush().unwrap();
        }
        println!("{}", logger.weight_report().unwrap());
        logger.close().unwrap();
    }

    fn healthy(dir: &Path) {
        let options = WeightOptions::new()
            .thresholds(short_window())
            .histogram_rows(16)
            .statistics([Statistic::WeightStd, Statistic::WeightUpdateRatioLog10])
            .samples(0);
        let logger = Logger::builder(dir).weights(options).create().unwrap();
        let (critic, val) = (
            logger.scoped("critic").unwrap(),
            logger.subrun("val").unwrap(),
        );
        let weight = [0.5, 0.25].map(|value| filled(&[4, 3], value));
        let wide = filled(&[2, 2, 2], 0.5).to_kind(Kind::Double);
        let scale = Tensor::from(1.0_f64);
        for step in 0..8_i64 {
            weight
                .iter()
                .chain([&wide, &scale])
                .for_each(|moves| add(moves, 1.0 / 512.0));
            logger
                .log_weights(&[("fc.weight", &weight[0])], step)
                .unwrap();
            let others = [
                ("fc.weight", &weight[1]),
                ("wide", &wide),
                ("scale", &scale),
            ];
            critic.log_weights(&others, step).unwrap();
            if step % 4 == 3 {
                val.log_scalar("loss/train", 0.5, step).unwrap();
            }
            logger.flush().unwrap();
        }
        println!("{}", logger.weight_report().unwrap());
        logger.close().unwrap();
    }

    /// Names of event files hold the time, the machine and the process.
    fn rename(dir: &Path) {
        let files = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let name = |path: &std::path::PathBuf| path.to_string_lossy().contains("tfevents");
        let files: Vec<_> = files.filter(|path| path.is_file() && name(path)).collect();
        let [file] = &files[..] else {
            panic!("{files:?}");
        };
        fs::rename(file, dir.join("events.out.tfevents.0000000000.v0_1")).unwrap();
    }

    #[test]
    #[ignore = "wrote the files once"]
    fn write_golden_logs() {
        let Some(folder) = std::env::var_os("GOLDEN_LOGS") else {
            panic!("GOLDEN_LOGS names the folder to be made");
        };
        let folder = Path::new(&folder);
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        fs::create_dir(folder).unwrap();
        faults(&folder.join("faults"));
        healthy(&folder.join("healthy"));
        ["faults", "healthy", "healthy/val"]
            .iter()
            .for_each(|run| rename(&folder.join(run)));
    }
}
