//! `history`: a series of checkpoints against the same weights logged live.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tch_tensorboard::{Cadence, LogDir, Logger, PointValue, WeightOptions};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"));
    command.arg("history");
    command
}

const ELEMENTS: usize = 3000;

/// A model at a step: one tensor learns, one is frozen.
fn model(step: usize) -> Vec<(&'static str, Vec<f32>)> {
    let learns = (0..ELEMENTS).map(|index| {
        let x = index as f32;
        (x * 0.37).sin() + step as f32 * 1e-3 * (x * 0.11).cos()
    });
    let frozen = (0..500).map(|index| (index as f32 * 0.21).sin());
    vec![
        ("fc.weight", learns.collect()),
        ("frozen.weight", frozen.collect()),
    ]
}

fn save(path: &Path, tensors: &[(&str, Vec<f32>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({
            "dtype": "F32", "shape": [values.len()], "data_offsets": [start, data.len()],
        });
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    // As trainers do that care: under another name first.
    let partial = path.with_extension("partial");
    std::fs::write(&partial, file).unwrap();
    std::fs::rename(partial, path).unwrap();
}

type Points = BTreeMap<(String, i64), PointValue>;

fn points(logdir: &Path) -> Points {
    let log = LogDir::open(logdir).unwrap();
    let points = log.runs()[0].events().points().map(Result::unwrap);
    points
        .map(|point| ((point.tag, point.step), point.value))
        .collect()
}

fn checkpoints(folder: &Path, steps: usize) -> Vec<PathBuf> {
    let path = |step| folder.join(format!("checkpoint-{step}.safetensors"));
    (0..steps)
        .map(|step| {
            save(&path(step), &model(step));
            path(step)
        })
        .collect()
}

fn scalar(points: &Points, tag: &str, step: i64) -> f64 {
    match points.get(&(tag.to_owned(), step)) {
        Some(PointValue::Scalar(value)) => *value,
        other => panic!("{tag} at {step}: {other:?}"),
    }
}

fn histogram(points: &Points, tag: &str, step: i64) -> Vec<[f64; 3]> {
    match points.get(&(tag.to_owned(), step)) {
        Some(PointValue::Histogram(rows)) => rows.clone(),
        other => panic!("{tag} at {step}: {other:?}"),
    }
}

#[test]
fn checkpoints_of_consecutive_steps_say_what_live_logging_says() {
    let dir = tempfile::tempdir().unwrap();
    const STEPS: usize = 4;
    let paths = checkpoints(dir.path(), STEPS);
    let output = program()
        .args(&paths)
        .arg("--logdir")
        .arg(dir.path().join("history/run"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("step 3: 1 changed, 1 identical"), "{text}");
    assert!(
        text.contains("frozen: identical in all 3 intervals"),
        "{text}"
    );
    let every = || {
        WeightOptions::new()
            .scalars(Cadence::EveryCall)
            .histograms(Cadence::EveryCall)
    };
    let live = Logger::builder(dir.path().join("live/run"))
        .weights(every())
        .create()
        .unwrap();
    for step in 0..STEPS {
        live.log_weights(&model(step), step).unwrap();
    }
    live.close().unwrap();
    let (found, live) = (
        points(&dir.path().join("history")),
        points(&dir.path().join("live")),
    );
    let mut compared = 0;
    // Live logging writes no points of a tensor that does not move.
    for ((tag, step), value) in &live {
        let is_of_weights = tag.starts_with("weights/")
            || [
                "weight_mean/",
                "weight_std/",
                "weight_norm/",
                "weight_nonfinite/",
            ]
            .iter()
            .any(|first| tag.starts_with(first));
        if is_of_weights && tag.contains("fc.weight") {
            assert_eq!(
                found.get(&(tag.clone(), *step)),
                Some(value),
                "{tag} at {step}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 4 * STEPS, "{compared}");
    for step in 1..STEPS as i64 {
        let ratio = scalar(&found, "checkpoint_change_ratio/fc.weight", step);
        let norm = scalar(&live, "weight_norm/fc.weight", step - 1);
        let changes = histogram(&found, "checkpoint_change/fc.weight", step);
        assert_eq!(changes, histogram(&live, "weight_deltas/fc.weight", step));
        let (now, before) = (&model(step as usize)[0].1, &model(step as usize - 1)[0].1);
        let change: f64 = now
            .iter()
            .zip(before)
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        assert!(
            (ratio / (change.sqrt() / norm) - 1.0).abs() < 1e-6,
            "{ratio}"
        );
        assert!(scalar(&found, "checkpoint_drift/fc.weight", step) > 0.0);
        assert_eq!(scalar(&found, "checkpoint_drift/frozen.weight", step), 0.0);
        let drift = scalar(&found, "model/drift", step);
        let live = scalar(&live, "model/drift", step);
        assert!((drift / live - 1.0).abs() < 1e-6, "{drift} {live}");
        // No delta of one step is claimed.
        assert!(!found.contains_key(&("weight_deltas/fc.weight".to_owned(), step)));
    }
}

#[test]
fn a_long_interval_is_in_the_description() {
    let dir = tempfile::tempdir().unwrap();
    let paths = checkpoints(dir.path(), 2);
    let status = program()
        .args(&paths)
        .args(["--steps", "1000,3500", "--logdir"])
        .arg(dir.path().join("runs/run"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let run = std::fs::read_dir(dir.path().join("runs/run")).unwrap();
    let file = run
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("tfevents"))
        .unwrap();
    let bytes = std::fs::read(file).unwrap();
    let text = b"since the checkpoint 2500 steps earlier";
    assert!(bytes.windows(text.len()).any(|window| window == text));
}

#[test]
fn weights_that_are_no_numbers_are_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let paths = checkpoints(dir.path(), 2);
    let mut broken = model(2);
    broken[0].1[7] = f32::NAN;
    let path = dir.path().join("checkpoint-9.safetensors");
    save(&path, &broken);
    let output = program()
        .args(&paths)
        .arg(path)
        .arg("--logdir")
        .arg(dir.path().join("run"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("NaN or infinite since step 9"), "{text}");
}

#[test]
fn a_folder_is_followed_while_training_writes_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checkpoints");
    std::fs::create_dir(&folder).unwrap();
    checkpoints(&folder, 2);
    // The beginning of a file, whose rest never comes.
    let whole = std::fs::read(folder.join("checkpoint-1.safetensors")).unwrap();
    std::fs::write(
        folder.join("checkpoint-7.safetensors"),
        &whole[..whole.len() / 2],
    )
    .unwrap();
    let logdir = dir.path().join("runs/run");
    let child = program()
        .arg("--follow")
        .arg(&folder)
        .args(["--until-idle", "6", "--logdir"])
        .arg(&logdir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once the first ones are there, another one comes.
    let since = Instant::now();
    while !logdir.exists() && since.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    save(&folder.join("checkpoint-2.safetensors"), &model(2));
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("step 2: 1 changed, 1 identical"), "{text}");
    assert!(!text.contains("step 7"), "{text}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("checkpoint-7.safetensors cannot be read yet"),
        "{complaint}"
    );
}

/// Starts to follow a folder, for its lines.
fn follow(folder: &Path, logdir: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = program()
        .arg("--follow")
        .arg(folder)
        .args(["--until-idle", "6", "--logdir"])
        .arg(logdir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(Result::unwrap))
}

#[test]
fn a_trainer_may_remove_and_rewrite_its_old_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checkpoints");
    std::fs::create_dir(&folder).unwrap();
    let path = |step: usize| folder.join(format!("checkpoint-{step}.safetensors"));
    let paths = checkpoints(&folder, 2);
    let (child, mut lines) = follow(&folder, &dir.path().join("run"));
    let mut wait_for = |text: &str| {
        let found = lines.find(|line| line.starts_with(text));
        found.unwrap_or_else(|| panic!("no {text}"))
    };
    assert_eq!(wait_for("step 1:"), "step 1: 1 changed, 1 identical");
    // The base is removed, and so is the one before.
    paths
        .iter()
        .for_each(|path| std::fs::remove_file(path).unwrap());
    save(&path(2), &model(2));
    assert_eq!(wait_for("step 2:"), "step 2: 1 changed, 1 identical");
    // Written to, in place: there is nothing left to compare with.
    let mut bytes = std::fs::read(path(2)).unwrap();
    bytes.push(0);
    std::fs::write(path(2), bytes).unwrap();
    save(&path(3), &model(3));
    let line = wait_for("step 3:");
    assert!(line.contains("step 2 was written to"), "{line}");
    save(&path(4), &model(4));
    assert_eq!(wait_for("step 4:"), "step 4: 1 changed, 1 identical");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Drift went on from the base, whose file is open.
    let points = points(&dir.path().join("run"));
    let drift: Vec<f64> = (1..=4)
        .map(|step| scalar(&points, "checkpoint_drift/fc.weight", step))
        .collect();
    assert!(drift.windows(2).all(|pair| pair[0] < pair[1]), "{drift:?}");
}

#[test]
fn a_shard_is_not_taken_for_a_checkpoint_while_its_folder_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checkpoints");
    let sharded = folder.join("checkpoint-5");
    std::fs::create_dir_all(&sharded).unwrap();
    let whole = checkpoints(&folder, 1).remove(0);
    std::fs::copy(&whole, sharded.join("model-00001-of-00002.safetensors")).unwrap();
    std::fs::copy(&whole, folder.join("step-9-00001-of-00002.safetensors")).unwrap();
    let (child, lines) = follow(&folder, &dir.path().join("run"));
    let lines: Vec<String> = lines.filter(|line| line.starts_with("step ")).collect();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lines, ["step 0: 2 tensors"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("shard of 2"), "{complaint}");
}

#[test]
fn what_was_no_number_from_the_start_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let broken = |step: usize| {
        let mut broken = model(0);
        broken[1].1[3] = f32::NAN;
        broken.push(("bar|`quote", vec![step as f32; 4]));
        let path = dir.path().join(format!("checkpoint-{step}.safetensors"));
        save(&path, &broken);
        path
    };
    let paths = [broken(4), broken(8)];
    for paths in [&paths[..], &paths[..1]] {
        let run = dir.path().join(format!("run-{}", paths.len()));
        let output = program().args(paths).arg("--logdir").arg(&run).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("NaN or infinite since step 4"), "{text}");
        // A bar would end a cell of the table.
        let points = points(&run);
        let table = points
            .iter()
            .find(|((tag, _), _)| tag == "checkpoint_history");
        let Some((_, PointValue::Text(texts))) = table else {
            panic!("{table:?}");
        };
        assert!(format!("{texts:?}").contains("bar\\\\|'quote"), "{texts:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let paths = checkpoints(dir.path(), 2);
    let mut child = program()
        .args(&paths)
        .arg("--logdir")
        .arg(dir.path().join("run"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!complaint.contains("panicked"), "{complaint}");
    assert_ne!(output.status.code(), Some(101), "{complaint}");
}
