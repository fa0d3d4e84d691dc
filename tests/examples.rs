//! Runs the examples as programs, as a user does, and checks what they print and write.
//!
//! Cargo builds the examples for `cargo test`; a single `cargo test --test examples` does not, so
//! build them before it with `cargo build --examples`.

use std::collections::{BTreeMap, BTreeSet};
use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tch_tensorboard::proto::{event::What, summary::value::Value};
use tch_tensorboard::{EventReader, LogDir, Run};

#[path = "../examples/digits/idx.rs"]
#[allow(unreachable_pub, reason = "a module of several programs")]
mod idx;

/// The program of an example: it lies in `examples` beside the `deps` of this test's own program.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let program = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    assert!(
        program.exists(),
        "no {}: run cargo build --examples first",
        program.display()
    );
    let mut command = Command::new(program);
    // No clock decides what is observed.
    command.env("TCH_TENSORBOARD_OVERHEAD", "unlimited");
    command.env_remove("RUST_BACKTRACE");
    command
}

/// What a program that must succeed printed.
fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    out
}

/// What a program that must refuse its arguments said; a panic is no refusal.
fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let err = text(&stderr);
    assert!(
        matches!(status.code(), Some(1 | 2)),
        "{command:?}: {status}\n{err}"
    );
    assert!(!err.contains("panicked"), "{err}");
    err
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The event files directly in `dir`.
fn event_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().contains(".tfevents."))
        .collect()
}

/// What a run holds: for each tag its steps, and the value where it is a scalar.
struct Written(BTreeMap<String, BTreeMap<i64, Option<f32>>>);

impl Written {
    fn read(dir: &Path) -> Written {
        let mut tags: BTreeMap<String, BTreeMap<i64, Option<f32>>> = BTreeMap::new();
        let files = event_files(dir);
        assert_eq!(
            files.len(),
            1,
            "event files in {}: {files:?}",
            dir.display()
        );
        for event in EventReader::open(&files[0]).unwrap() {
            let event = event.unwrap();
            let Some(What::Summary(summary)) = event.what else {
                continue;
            };
            for value in summary.value {
                let scalar = match &value.value {
                    Some(Value::SimpleValue(number)) => Some(*number),
                    Some(Value::Tensor(tensor)) => tensor.float_val.first().copied(),
                    _ => None,
                };
                let twice = tags
                    .entry(value.tag.clone())
                    .or_default()
                    .insert(event.step, scalar);
                assert!(
                    twice.is_none(),
                    "{} twice at step {}",
                    value.tag,
                    event.step
                );
            }
        }
        Written(tags)
    }

    fn steps(&self, tag: &str) -> Vec<i64> {
        let points = self
            .0
            .get(tag)
            .unwrap_or_else(|| panic!("no {tag} in {:?}", self.tags()));
        points.keys().copied().collect()
    }

    fn scalar(&self, tag: &str, step: i64) -> f64 {
        let value = self.0.get(tag).and_then(|points| *points.get(&step)?);
        f64::from(
            value.unwrap_or_else(|| panic!("no scalar {tag} at step {step} in {:?}", self.tags())),
        )
    }

    fn tags(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

#[test]
fn scalars_writes_two_runs_and_read_back_prints_them() {
    let dir = tempfile::tempdir().unwrap();
    let out = stdout(example("scalars").arg(dir.path()));
    let (slow, fast) = (dir.path().join("rate_0.02"), dir.path().join("rate_0.1"));
    for run in [&slow, &fast] {
        assert!(out.contains(&run.display().to_string()), "{out}");
        let written = Written::read(run);
        assert_eq!(
            written.tags(),
            ["learning_rate", "loss/train", "loss/validation"]
        );
        assert_eq!(written.steps("loss/train"), (0..500).collect::<Vec<_>>());
        assert_eq!(
            written.steps("loss/validation"),
            (0..500).step_by(25).collect::<Vec<_>>()
        );
    }
    let (slow_run, fast_run) = (Written::read(&slow), Written::read(&fast));
    assert_eq!(fast_run.scalar("learning_rate", 475) as f32, 0.1);
    // As its header says: the larger rate falls faster and settles higher.
    assert!(fast_run.scalar("loss/train", 20) < slow_run.scalar("loss/train", 20));
    assert!(fast_run.scalar("loss/train", 499) > slow_run.scalar("loss/train", 499));

    let list = stdout(example("read_back").arg(&event_files(&fast)[0]));
    assert_eq!(list.lines().count(), 500 + 2 * 20);
    let first: Vec<&str> = list.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first[..2], ["0", "loss/train"]);
    assert_eq!(
        first[2].parse::<f32>().unwrap(),
        fast_run.scalar("loss/train", 0) as f32
    );
}

#[test]
fn read_back_ends_at_a_record_that_is_only_half_there_and_tells_of_damage() {
    let dir = tempfile::tempdir().unwrap();
    stdout(example("scalars").arg(dir.path()));
    let mut bytes = fs::read(&event_files(&dir.path().join("rate_0.1"))[0]).unwrap();
    let copy = dir.path().join("copy.tfevents.1");
    fs::write(&copy, &bytes[..bytes.len() - 5]).unwrap();
    assert!(stdout(example("read_back").arg(&copy)).lines().count() >= 500);

    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&copy, &bytes).unwrap();
    let err = refusal(example("read_back").arg(&copy));
    assert!(
        err.contains("copy.tfevents.1") && err.contains("checksum"),
        "{err}"
    );
}

#[test]
fn read_back_names_what_is_missing() {
    assert!(refusal(&mut example("read_back")).contains("usage: read_back EVENT_FILE"));
    assert!(refusal(example("read_back").arg("no/such/file")).contains("no/such/file"));
}

#[test]
fn histograms_writes_one_for_each_step() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let out = stdout(example("histograms").arg(&run));
    assert!(out.contains(&run.display().to_string()), "{out}");
    let written = Written::read(&run);
    assert_eq!(
        written.tags(),
        ["activations/dying", "activations/narrowing"]
    );
    for tag in written.tags() {
        assert_eq!(written.steps(tag), (0..50).collect::<Vec<_>>());
    }
    let list = stdout(example("read_back").arg(&event_files(&run)[0]));
    assert!(list.lines().all(|line| line.contains(", 3]")), "{list}");
}

#[test]
fn the_gallery_fills_every_dashboard() {
    let dir = tempfile::tempdir().unwrap();
    let out = stdout(example("gallery").arg(dir.path()));
    assert!(out.trim_end().ends_with("net"), "{out}");
    let log = LogDir::open(dir.path()).unwrap();
    let runs: Vec<&str> = log.runs().iter().map(Run::name).collect();
    assert_eq!(runs.len(), 5, "{runs:?}");
    let points = log.runs().iter().flat_map(|run| run.events().points());
    let kinds: BTreeSet<&str> = points.map(|point| point.unwrap().value.kind()).collect();
    let wanted = [
        "audio",
        "graph",
        "histogram",
        "hparams",
        "hparams_end",
        "images",
        "layout",
        "mesh",
        "pr_curve",
        "scalar",
        "text",
    ];
    for kind in wanted {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
    let projector = dir.path().join("net/projector_config.pbtxt");
    assert!(
        fs::read_to_string(projector)
            .unwrap()
            .contains("hidden:00060")
    );
}

#[test]
fn idx_files_that_are_none_are_told_apart() {
    use idx::{IdxError, parse_images, parse_labels};
    let images = [
        0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6,
    ];
    let parsed = parse_images(&images).unwrap();
    assert_eq!((parsed.count, parsed.rows, parsed.cols), (2, 1, 3));
    assert_eq!(parsed.pixels, [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        parse_labels(&[0, 0, 8, 1, 0, 0, 0, 2, 7, 9]),
        Ok(vec![7, 9])
    );

    // Each shorter or longer file is an error, and never a panic.
    for len in 0..16 {
        assert_eq!(parse_images(&images[..len]), Err(IdxError::Header), "{len}");
    }
    for len in 16..images.len() {
        let length = IdxError::Length {
            shape: vec![2, 1, 3],
            expected: 6,
            found: len - 16,
        };
        assert_eq!(parse_images(&images[..len]), Err(length), "{len}");
    }
    let longer = [&images[..], &[7]].concat();
    assert!(matches!(
        parse_images(&longer),
        Err(IdxError::Length { found: 7, .. })
    ));
    let huge = [&[0, 0, 8, 3][..], &[0xff; 12]].concat();
    let expected = 0xffff_ffff_u128.pow(3);
    let length = IdxError::Length {
        shape: vec![0xffff_ffff; 3],
        expected,
        found: 0,
    };
    assert_eq!(parse_images(&huge), Err(length));

    let dimensions = IdxError::Dimensions {
        what: "labels",
        expected: 1,
        found: 3,
    };
    assert_eq!(parse_labels(&images), Err(dimensions));
    assert_eq!(
        parse_labels(&[0, 0, 0x0d, 1, 0, 0, 0, 0]),
        Err(IdxError::ElementType(0x0d))
    );
    assert_eq!(parse_labels(&[0x1f, 0x8b, 8, 0]), Err(IdxError::Gzip));
    assert_eq!(
        parse_labels(b"<html>"),
        Err(IdxError::Magic(b"<htm".to_vec()))
    );
}

#[cfg(feature = "tch")]
mod with_tch {
    use super::*;

    const VARIABLES: [&str; 8] = [
        "conv1.weight",
        "conv1.bias",
        "conv2.weight",
        "conv2.bias",
        "fc1.weight",
        "fc1.bias",
        "fc2.weight",
        "fc2.bias",
    ];

    fn cnn() -> Command {
        let mut command = example("cnn");
        command.args(["--device", "cpu", "--no-progress"]);
        command
    }

    /// The line that tells the result, which does not depend on the time it took.
    fn result(out: &str) -> &str {
        out.lines()
            .find(|line| line.starts_with("test accuracy"))
            .unwrap_or_else(|| panic!("no result in {out}"))
    }

    #[test]
    fn weights_reports_each_variable() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let out = stdout(example("weights").arg(&run));
        let written = Written::read(&run);
        assert!(written.scalar("loss", 399) < 0.1 * written.scalar("loss", 0));
        for name in [
            "hidden.weight",
            "hidden.bias",
            "output.weight",
            "output.bias",
        ] {
            assert!(out.contains(name), "{name} is not in the report:\n{out}");
            assert_eq!(
                written.steps(&format!("weight_norm/{name}"))[..3],
                [0, 1, 2]
            );
            assert_eq!(
                written.steps(&format!("weight_deltas/{name}"))[..3],
                [1, 2, 3]
            );
        }
    }

    #[test]
    fn cnn_tells_all_its_options() {
        let help = stdout(example("cnn").arg("--help"));
        for option in [
            "--epochs",
            "--batch-size",
            "--learning-rate",
            "--optimizer",
            "--seed",
            "--logdir",
            "--scalars",
            "--histograms",
            "--data",
            "--max-steps",
            "--device",
            "--threads",
            "--dump-weights",
            "--no-progress",
            "--no-log",
        ] {
            assert!(
                help.contains(&format!("  {option}")),
                "{option} is not in:\n{help}"
            );
        }
        for default in [
            "[default: 20]",
            "[default: runs/cnn]",
            "[default: adam]",
            "[default: auto]",
        ] {
            assert!(help.contains(default), "{default} is not in:\n{help}");
        }
    }

    #[test]
    fn cnn_logs_everything_and_tells_where() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("cnn");
        let out = stdout(cnn().args(["--max-steps", "3", "--logdir"]).arg(&run));
        for told in [
            "3 steps",
            "tensorboard --logdir",
            "pinnedCards",
            &run.display().to_string(),
        ] {
            assert!(out.contains(told), "{told} is not in:\n{out}");
        }
        let points = LogDir::open(&run).unwrap();
        let points = points.runs().iter().flat_map(|run| run.events().points());
        let kinds: BTreeSet<&str> = points.map(|point| point.unwrap().value.kind()).collect();
        for kind in [
            "hparams",
            "hparams_end",
            "text",
            "graph",
            "images",
            "pr_curve",
        ] {
            assert!(kinds.contains(kind), "{kind}: {kinds:?}");
        }
        let training = Written::read(&run);
        assert_eq!(training.steps("loss"), [1, 2, 3]);
        assert_eq!(training.steps("accuracy"), [3]);
        assert!((training.scalar("learning_rate", 1) - 0.002).abs() < 1e-9);
        for name in VARIABLES {
            assert!(out.contains(name), "{name} is not in the report:\n{out}");
            // A bias of a convolution begins all zero: its first update has nothing to be a ratio
            // of.
            let ratios: &[i64] = match name.ends_with(".bias") && name.starts_with("conv") {
                true => &[2, 3],
                false => &[1, 2, 3],
            };
            for (statistic, steps) in [
                ("weights", [0, 1, 2, 3].as_slice()),
                ("weight_norm", &[0, 1, 2, 3]),
                ("weight_deltas", &[1, 2, 3]),
                ("weight_update_ratio_log10", ratios),
                ("weight_gradients", &[1, 2, 3]),
                ("weight_gradient_norm", &[1, 2, 3]),
            ] {
                assert_eq!(
                    training.steps(&format!("{statistic}/{name}")),
                    steps,
                    "{statistic}/{name}"
                );
            }
        }
        let sampled = training
            .tags()
            .iter()
            .filter(|tag| tag.starts_with("weight_samples/conv1.weight/"))
            .count();
        assert_eq!(sampled, 4);

        let validation = Written::read(&run.join("val"));
        let curves = (0..10).map(|digit| format!("digit/{digit}"));
        let mut tags: Vec<String> = curves.collect();
        tags.extend(["accuracy", "confusion", "loss", "samples"].map(str::to_owned));
        tags.sort();
        assert_eq!(validation.tags(), tags);
        assert_eq!(validation.steps("digit/9"), [3]);
        assert_eq!(validation.steps("accuracy"), [3]);
        let shown = format!("{:.2} %", 100.0 * validation.scalar("accuracy", 3));
        assert!(result(&out).contains(&shown), "{shown} is not in: {out}");
    }

    /// What the report says of each variable: its last column.
    fn verdicts(out: &str) -> BTreeMap<&str, &str> {
        out.lines()
            .filter_map(|line| {
                let name = line.split_whitespace().next()?;
                let verdict = line.rsplit("  ").next()?;
                VARIABLES.contains(&name).then_some((name, verdict))
            })
            .collect()
    }

    #[test]
    fn diagnose_tells_a_run_that_learns_from_one_whose_conv2_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = example("diagnose");
        let out = stdout(command.args(["--steps", "60", "--logdir"]).arg(dir.path()));
        let (healthy, faulty) = out
            .split_once("== fault: missing-from-optimizer")
            .unwrap_or_else(|| panic!("no second run in:\n{out}"));
        assert_eq!(verdicts(healthy).len(), VARIABLES.len());
        for (name, verdict) in verdicts(healthy) {
            assert!(verdict.starts_with("learning"), "{name}: {verdict}");
        }
        assert!(!healthy.contains("\nstep "), "a finding:\n{healthy}");
        for (name, verdict) in verdicts(faulty) {
            match name {
                "conv2.weight" | "conv2.bias" => {
                    assert_eq!(verdict, "not updated: not in the optimizer");
                }
                _ => assert!(verdict.starts_with("learning"), "{name}: {verdict}"),
            }
        }
        let told = |line: &&str| line.contains(": not updated: not in the optimizer since step 1:");
        let findings = faulty
            .lines()
            .filter(|line| line.starts_with("step ") || line.starts_with("after"));
        assert_eq!(findings.filter(told).count(), 2, "{faulty}");

        let mut losses = Vec::new();
        for run in ["healthy", "missing-conv2"] {
            let written = Written::read(&dir.path().join(run));
            let last: f64 = (51..=60).map(|step| written.scalar("loss", step)).sum();
            losses.push((written.scalar("loss", 1), last / 10.0));
        }
        for (first, last) in losses {
            assert!(last < 0.7 * first, "the loss went from {first} to {last}");
        }
    }

    /// Frozen on purpose is no fault; a NaN is one, and the run goes on.
    #[test]
    fn diagnose_names_the_fault_it_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for (fault, variable, expected) in [
            ("none", "conv1.weight", "learning"),
            ("frozen", "conv1.weight", "frozen"),
            ("lr-zero", "fc2.weight", "not updated: learning rate 0"),
            ("detached", "conv1.weight", "detached"),
            ("dead-relu", "fc1.weight", "dead gradient"),
            ("nan", "fc1.weight", "non finite"),
            ("all-zero", "conv2.weight", "all zero"),
        ] {
            let mut command = example("diagnose");
            command.args(["--steps", "40", "--fault", fault, "--logdir"]);
            let out = stdout(command.arg(dir.path().join(fault)));
            let verdict = verdicts(&out)[variable];
            assert!(verdict.starts_with(expected), "{fault}: {verdict}\n{out}");
        }
        let err = refusal(example("diagnose").args(["--fault", "cosmic-rays"]));
        assert!(err.contains("missing-from-optimizer"), "{err}");
    }

    /// The check against an independent reading of the same weights: written to files, read again,
    /// computed by libtorch.
    #[test]
    fn what_cnn_logs_is_true_of_the_weights_it_dumps() {
        let dir = tempfile::tempdir().unwrap();
        let (run, dump) = (dir.path().join("cnn"), dir.path().join("dump"));
        stdout(
            cnn()
                .args(["--max-steps", "3", "--logdir"])
                .arg(&run)
                .arg("--dump-weights")
                .arg(&dump),
        );
        let steps: Vec<BTreeMap<String, tch::Tensor>> = (0..4)
            .map(|step| {
                tch::Tensor::read_safetensors(dump.join(format!("step_{step:06}.safetensors")))
                    .unwrap()
            })
            .map(|variables| variables.into_iter().collect())
            .collect();
        let written = Written::read(&run);
        for (before, (now, step)) in steps.iter().zip(steps[1..].iter().zip(1..)) {
            assert_eq!(now.len(), VARIABLES.len());
            for name in VARIABLES {
                let weights = now[name].to_kind(tch::Kind::Double);
                let delta = &weights - before[name].to_kind(tch::Kind::Double);
                for (statistic, expected) in [
                    ("weight_mean", weights.mean(None)),
                    ("weight_std", weights.std(false)),
                    ("weight_norm", weights.norm()),
                    ("weight_delta_mean", delta.mean(None)),
                    ("weight_delta_std", delta.std(false)),
                    ("weight_delta_max_abs", delta.abs().max()),
                ] {
                    let tag = format!("{statistic}/{name}");
                    let (logged, expected) =
                        (written.scalar(&tag, step), expected.double_value(&[]));
                    // Scalars are stored in 24 bits of mantissa; a mean may cancel nearly to
                    // nothing.
                    let tolerance = 1e-6 * expected.abs() + 1e-9;
                    assert!(
                        (logged - expected).abs() <= tolerance,
                        "{tag} at {step}: {logged}, not {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn logging_does_not_change_the_training() {
        let dir = tempfile::tempdir().unwrap();
        let train = |name: &str, more: &[&str]| {
            let mut command = cnn();
            command
                .args(["--max-steps", "20", "--logdir"])
                .arg(dir.path().join("cnn"));
            stdout(
                command
                    .arg("--dump-weights")
                    .arg(dir.path().join(name))
                    .args(more),
            )
        };
        let (logged, plain) = (train("logged", &[]), train("plain", &["--no-log"]));
        assert_eq!(result(&logged), result(&plain));
        assert!(!plain.contains("tensorboard --logdir"), "{plain}");
        let last =
            |name: &str| fs::read(dir.path().join(name).join("step_000020.safetensors")).unwrap();
        assert!(last("logged") == last("plain"), "the weights differ");
        assert!(!dir.path().join("cnn_2").exists(), "--no-log made a run");
        let other_seed = train("other_seed", &["--no-log", "--seed", "2"]);
        assert_ne!(result(&other_seed), result(&plain));
    }

    #[test]
    fn a_second_run_gets_a_directory_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("cnn");
        let mut both = Vec::new();
        for _ in 0..2 {
            both.push(stdout(
                cnn().args(["--max-steps", "2", "--logdir"]).arg(&run),
            ));
        }
        assert!(
            both[1].contains(&dir.path().join("cnn_2").display().to_string()),
            "{}",
            both[1]
        );
        assert_eq!(event_files(&run).len(), 1);
        assert_eq!(
            Written::read(&dir.path().join("cnn_2")).steps("loss"),
            [1, 2]
        );
        assert_eq!(
            Written::read(&dir.path().join("cnn_2/val")).steps("loss"),
            [2]
        );
    }

    #[test]
    fn the_cadences_thin_out_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("cnn");
        let cadence = ["--scalars", "2", "--histograms", "0", "--max-steps", "4"];
        stdout(cnn().args(cadence).arg("--logdir").arg(&run));
        let written = Written::read(&run);
        assert_eq!(written.steps("weight_norm/fc1.weight"), [0, 2, 4]);
        assert_eq!(written.steps("weight_delta_max_abs/fc1.weight"), [2, 4]);
        assert_eq!(written.steps("loss"), [1, 2, 3, 4]);
        assert!(
            !written.tags().contains(&"weights/fc1.weight"),
            "{:?}",
            written.tags()
        );
    }

    #[test]
    fn cnn_learns_the_digits() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("cnn");
        stdout(cnn().arg("--logdir").arg(&run));
        let validation = Written::read(&run.join("val"));
        assert_eq!(validation.steps("accuracy").len(), 20);
        let accuracy = validation.scalar("accuracy", 900);
        assert!(accuracy >= 0.98, "{accuracy}");
    }

    /// Images of 20x16 with three classes: another size, another number of classes, and the other
    /// spelling of names.
    fn write_other_data(dir: &Path) {
        for (part, count) in [("train", 12u8), ("t10k", 6)] {
            let mut images = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 20, 0, 0, 0, 16];
            images.extend((0..usize::from(count) * 20 * 16).map(|i| (i * 31) as u8));
            fs::write(dir.join(format!("{part}-images.idx3-ubyte")), images).unwrap();
            let mut labels = vec![0, 0, 8, 1, 0, 0, 0, count];
            labels.extend((0..count).map(|i| i % 3));
            fs::write(dir.join(format!("{part}-labels.idx1-ubyte")), labels).unwrap();
        }
    }

    #[test]
    fn cnn_adapts_to_other_data() {
        let dir = tempfile::tempdir().unwrap();
        write_other_data(dir.path());
        let dump = dir.path().join("dump");
        let mut command = cnn();
        command
            .args(["--epochs", "2", "--batch-size", "5", "--no-log", "--data"])
            .arg(dir.path());
        let out = stdout(command.arg("--dump-weights").arg(&dump));
        // Three batches (5, 5 and 2 images) in each epoch.
        assert!(out.contains("of 6)") && out.contains("6 steps"), "{out}");
        let variables =
            tch::Tensor::read_safetensors(dump.join("step_000006.safetensors")).unwrap();
        let shape = |name: &str| {
            variables
                .iter()
                .find(|(found, _)| found == name)
                .unwrap()
                .1
                .size()
        };
        assert_eq!(
            (shape("fc1.weight"), shape("fc2.weight")),
            (vec![128, 32 * 5 * 4], vec![3, 128])
        );
    }

    #[test]
    fn cnn_says_what_is_wrong_with_data() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || {
            refusal(
                cnn()
                    .args(["--no-log", "--max-steps", "1", "--data"])
                    .arg(dir.path()),
            )
        };
        let names = |err: String, words: &[&str]| {
            assert!(
                err.contains("--data") && words.iter().all(|word| err.contains(word)),
                "{words:?}: {err}"
            );
        };
        names(
            refused(),
            &["train-images-idx3-ubyte", &dir.path().display().to_string()],
        );

        let packed = dir.path().join("train-images-idx3-ubyte.gz");
        fs::write(&packed, [0x1f, 0x8b, 8, 0]).unwrap();
        names(refused(), &["train-images-idx3-ubyte.gz", "gunzip"]);
        fs::rename(&packed, packed.with_extension("")).unwrap();
        write_other_data(dir.path());
        names(refused(), &["train-images-idx3-ubyte:", "gunzip"]);
        fs::remove_file(packed.with_extension("")).unwrap();

        let test_labels = dir.path().join("t10k-labels.idx1-ubyte");
        fs::write(&test_labels, [0, 0, 8, 1, 0, 0, 0, 6, 0, 1, 2, 3, 0, 1]).unwrap();
        names(refused(), &["t10k-labels.idx1-ubyte", "label 3"]);
        fs::write(&test_labels, [0, 0, 8, 1, 0, 0, 0, 2, 0, 1]).unwrap();
        names(
            refused(),
            &["t10k-labels.idx1-ubyte", "2 labels for the 6 images"],
        );
        let test_images = dir.path().join("t10k-images.idx3-ubyte");
        fs::write(
            &test_images,
            [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 9, 9],
        )
        .unwrap();
        names(
            refused(),
            &["t10k-images.idx3-ubyte", "1x1 pixels, and 20x16"],
        );
        fs::write(&test_images, [0, 0, 8, 3, 0, 0]).unwrap();
        names(refused(), &["t10k-images.idx3-ubyte", "header"]);
        fs::write(
            dir.path().join("train-images.idx3-ubyte"),
            [0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9],
        )
        .unwrap();
        fs::write(
            dir.path().join("train-labels.idx1-ubyte"),
            [0, 0, 8, 1, 0, 0, 0, 0],
        )
        .unwrap();
        names(refused(), &["train-images.idx3-ubyte", "no images"]);
    }

    #[test]
    fn cnn_refuses_arguments_that_make_no_sense() {
        for (arguments, word) in [
            (["--epochs", "0"], "--epochs"),
            (["--batch-size", "0"], "--batch-size"),
            (["--max-steps", "0"], "--max-steps"),
            (["--threads", "0"], "--threads"),
            (["--learning-rate", "nan"], "--learning-rate"),
            (["--learning-rate", "-1"], "--learning-rate"),
            (["--scalars", "often"], "every-call"),
            (["--optimizer", "lbfgs"], "momentum"),
        ] {
            let err = refusal(cnn().arg("--no-log").args(arguments));
            assert!(err.contains(word), "{arguments:?}: {err}");
        }
    }
}
