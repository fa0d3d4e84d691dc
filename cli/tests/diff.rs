//! `diff`: what it prints of checkpoints that this file writes, how it exits, and what it logs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tch_tensorboard::{LogDir, PointValue};

fn run(args: &[&str], paths: [&Path; 2]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"))
        .arg("diff")
        .args(paths)
        .args(args)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Writes float32 tensors as `.safetensors`.
fn save(path: &Path, tensors: &[(&str, &[u64], Vec<f32>)]) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({
            "dtype": "F32", "shape": shape, "data_offsets": [start, data.len()],
        });
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

fn ramp(count: usize, scale: f32) -> Vec<f32> {
    (0..count)
        .map(|index| (index as f32 * 0.7).sin() * scale)
        .collect()
}

struct Fixture {
    _dir: tempfile::TempDir,
    a: PathBuf,
    b: PathBuf,
}

impl Fixture {
    fn paths(&self) -> [&Path; 2] {
        [&self.a, &self.b]
    }
}

/// A backbone that stays, a head that moves, a norm that decays.
fn tuned() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        dir.path().join("a.safetensors"),
        dir.path().join("b.safetensors"),
    );
    let mut moved = ramp(60, 1.0);
    moved.iter_mut().step_by(2).for_each(|value| *value += 0.25);
    let decayed: Vec<f32> = ramp(10, 2.0).iter().map(|value| value * 0.9).collect();
    let tensors = |head: Vec<f32>, norm: Vec<f32>| {
        vec![
            ("backbone.weight", &[4, 5][..], ramp(20, 0.5)),
            ("head.weight", &[6, 10][..], head),
            ("norm.weight", &[10][..], norm),
        ]
    };
    save(&a, &tensors(ramp(60, 1.0), ramp(10, 2.0)));
    save(&b, &tensors(moved, decayed));
    Fixture { _dir: dir, a, b }
}

fn rows(out: &str) -> Vec<Value> {
    let contents: Value = serde_json::from_str(out).unwrap();
    contents["tensors"].as_array().unwrap().clone()
}

#[test]
fn the_summary_comes_first_and_the_largest_change_on_top() {
    let fixture = tuned();
    let (code, out, err) = run(&[], fixture.paths());
    assert_eq!((code, err.as_str()), (0, ""));
    let at = |text: &str| {
        out.find(text)
            .unwrap_or_else(|| panic!("no {text:?} in {out}"))
    };
    assert!(at("Of 3 tensors: 1 changed, 1 scaled, 1 identical.") < at("tensor  "));
    assert!(at("\nhead.weight") < at("\nnorm.weight") && at("\nnorm.weight") < at("\nbackbone"));
    assert!(out.contains("A times 0.9"), "{out}");
}

#[test]
fn numbers_are_those_of_the_elements() {
    let fixture = tuned();
    let (_, out, _) = run(&["--json"], fixture.paths());
    let rows = rows(&out);
    let head = rows
        .iter()
        .find(|row| row["tensor"] == "head.weight")
        .unwrap();
    assert_eq!(
        (&head["changed"], &head["elements"]),
        (&30.into(), &60.into())
    );
    assert_eq!(head["changed_fraction"], 0.5);
    let norm = ramp(60, 1.0)
        .iter()
        .map(|value| f64::from(*value).powi(2))
        .sum::<f64>()
        .sqrt();
    let change = (30.0 * 0.25_f64.powi(2)).sqrt();
    for (key, expected) in [
        ("norm_a", norm),
        ("norm_change", change),
        ("relative_change", change / norm),
        ("largest_change", 0.25),
    ] {
        let found = head[key].as_f64().unwrap();
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{key}: {found} {expected}"
        );
    }
}

#[test]
fn equal_checkpoints_are_said_to_be_so() {
    let fixture = tuned();
    let (code, out, _) = run(&["--expect-identical", "*"], [&fixture.a, &fixture.a]);
    assert_eq!(code, 0);
    assert!(out.contains("All 3 tensors are identical."), "{out}");
}

#[test]
fn expectations_decide_the_exit_status() {
    let fixture = tuned();
    for (args, code, complaint) in [
        (
            &[
                "--expect-identical",
                "backbone.*",
                "--expect-changed",
                "head.*",
            ][..],
            0,
            "",
        ),
        (
            &["--expect-identical", "*"],
            3,
            "head.weight is changed, norm.weight is scaled",
        ),
        (
            &["--expect-changed", "backbone.*"],
            3,
            "backbone.weight is identical",
        ),
        (&["--expect-changed", "hed.*"], 3, "no tensor matches"),
        (&["--fail-on", "zero,scaled"], 3, "norm.weight is scaled"),
        (&["--fail-on", "zero"], 0, ""),
        (&["--fail-on", "shrunk"], 2, "no verdict is called shrunk"),
        (&["--tensor", "nothing*"], 2, "no tensor of"),
    ] {
        let (found, _, err) = run(args, fixture.paths());
        assert_eq!(found, code, "{args:?}: {err}");
        assert!(err.contains(complaint), "{args:?}: {err}");
    }
}

#[test]
fn a_pattern_that_matches_no_tensor_is_named_with_the_nearest_names() {
    let fixture = tuned();
    for option in ["--tensor", "--exclude"] {
        // The other pattern matches, so there is something to compare.
        let args = ["--tensor", "head.*", option, "hed.*"];
        let (code, out, err) = run(&args, fixture.paths());
        assert!(code == 2 && out.contains("head.weight"), "{out}{err}");
        let said = format!("{option} \"hed.*\" matches no tensor; ");
        assert!(err.contains(&said) && err.contains("head.weight"), "{err}");
    }
    let (code, _, err) = run(&["--tensor", "hed.*"], fixture.paths());
    assert!(code == 2 && err.contains("head.weight"), "{err}");
}

#[test]
fn a_file_that_is_none_is_named() {
    let fixture = tuned();
    let gone = fixture.a.with_file_name("gone.safetensors");
    let (code, _, err) = run(&[], [&fixture.a, &gone]);
    assert!(
        code == 2 && err.contains("gone.safetensors"),
        "{code} {err}"
    );
}

#[test]
fn tables_have_a_line_a_tensor() {
    let fixture = tuned();
    let (_, out, _) = run(&["--csv", "--sort", "name"], fixture.paths());
    let mut csv = csv::Reader::from_reader(out.as_bytes());
    let names: Vec<String> = csv
        .records()
        .map(|row| row.unwrap()[0].to_owned())
        .collect();
    assert_eq!(names, ["backbone.weight", "head.weight", "norm.weight"]);
    let (_, out, _) = run(&["--markdown"], fixture.paths());
    assert_eq!(
        out.lines().filter(|line| line.starts_with("| `")).count(),
        3,
        "{out}"
    );
}

#[test]
fn layers_of_large_models_are_folded() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        dir.path().join("a.safetensors"),
        dir.path().join("b.safetensors"),
    );
    let names: Vec<String> = (0..120)
        .map(|layer| format!("layers.{layer}.weight"))
        .collect();
    let tensors = |scale: f32| -> Vec<(&str, &[u64], Vec<f32>)> {
        names
            .iter()
            .map(|name| (name.as_str(), &[8][..], ramp(8, scale)))
            .collect()
    };
    save(&a, &tensors(1.0));
    save(&b, &tensors(0.5));
    let (_, out, _) = run(&[], [&a, &b]);
    assert!(out.contains("layers.{0..119}.weight x120"), "{out}");
    let (_, all, _) = run(&["--all"], [&a, &b]);
    assert!(
        all.contains("layers.119.weight") && !all.contains("x120"),
        "{all}"
    );
}

#[test]
fn a_run_of_tensorboard_has_both_and_what_changed() {
    let fixture = tuned();
    let runs = fixture.a.with_file_name("runs");
    let logdir = runs.join("diff");
    let (code, _, err) = run(&["--logdir", logdir.to_str().unwrap()], fixture.paths());
    assert_eq!(code, 0, "{err}");
    let log = LogDir::open(&runs).unwrap();
    let points: Vec<_> = log.runs()[0]
        .events()
        .points()
        .map(Result::unwrap)
        .collect();
    let find = |tag: &str, step: i64| {
        let found = points
            .iter()
            .find(|point| point.tag == tag && point.step == step);
        found
            .unwrap_or_else(|| panic!("no {tag} at {step}"))
            .value
            .clone()
    };
    for (tag, step, count) in [
        ("weights/head.weight", 0, 60.0),
        ("weights/head.weight", 1, 60.0),
        ("checkpoint_change/head.weight", 1, 60.0),
        ("checkpoint_change/backbone.weight", 1, 20.0),
    ] {
        let PointValue::Histogram(rows) = find(tag, step) else {
            panic!("{tag} is no histogram");
        };
        let sum: f64 = rows.iter().map(|row| row[2]).sum();
        assert_eq!(sum, count, "{tag} {step}");
    }
    let PointValue::Scalar(fraction) = find("checkpoint_changed_fraction/head.weight", 1) else {
        panic!("no scalar");
    };
    assert_eq!(fraction, 0.5);
    assert!(matches!(
        find("checkpoint_change_map", 1),
        PointValue::Images { .. }
    ));
    assert!(matches!(find("checkpoint_changes", 1), PointValue::Text(_)));
}

#[test]
fn a_name_of_one_side_is_enough_to_choose_a_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        dir.path().join("a.safetensors"),
        dir.path().join("b.safetensors"),
    );
    save(
        &a,
        &[("fc", &[8], ramp(8, 1.0)), ("head", &[9], ramp(9, 1.0))],
    );
    save(
        &b,
        &[
            ("module.fc", &[8], ramp(8, 2.0)),
            ("module.head", &[9], ramp(9, 1.0)),
        ],
    );
    for glob in ["fc", "module.fc"] {
        let (code, out, err) = run(&["--json", "--tensor", glob], [&a, &b]);
        assert_eq!(code, 0, "{err}");
        let rows = rows(&out);
        assert_eq!(rows.len(), 1, "{out}");
        assert_eq!(
            (&rows[0]["tensor"], &rows[0]["verdict"]),
            (&"fc".into(), &"scaled".into())
        );
    }
    let (_, out, _) = run(&["--json", "--exclude", "module.fc"], [&a, &b]);
    let rows = rows(&out);
    assert_eq!(
        (rows.len(), &rows[0]["tensor"]),
        (1, &"head".into()),
        "{out}"
    );
}

#[test]
fn another_shape_alone_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (
        dir.path().join("a.safetensors"),
        dir.path().join("b.safetensors"),
    );
    let mut moved = ramp(12, 1.0);
    moved[3] += 1.0;
    save(
        &a,
        &[
            ("same", &[3, 4], ramp(12, 1.0)),
            ("moved", &[3, 4], ramp(12, 1.0)),
        ],
    );
    save(
        &b,
        &[("same", &[2, 6], ramp(12, 1.0)), ("moved", &[2, 6], moved)],
    );
    let (code, _, err) = run(&["--expect-changed", "moved"], [&a, &b]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(&["--expect-changed", "same"], [&a, &b]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("same is reshaped"), "{err}");
}
