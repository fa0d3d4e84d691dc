//! The program `tch-tensorboard`: what it prints, how it exits, and that nothing in a file makes it do anything else.
#![cfg(feature = "cli")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tch_tensorboard::{Logger, proto};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"))
}

fn run(args: &[&str], logdir: &Path) -> (i32, String, String) {
    let output = program().args(args).arg(logdir).output().unwrap();
    shown(&output)
}

fn shown(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    // A signal or a panic has no code of ours.
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

/// Two runs: `a` with scalars and a histogram, `b/c` with one scalar.
fn logs() -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let a = Logger::create(temp.path().join("a")).unwrap();
    for step in 0..5 {
        a.log_scalar("loss/train", 1.0 / f64::from(step + 1), step)
            .unwrap();
    }
    a.log_scalar("odd", f64::NAN, 7).unwrap();
    a.log_histogram("h", &[1.0, 1.0, 2.0], 3).unwrap();
    a.close().unwrap();
    let c = Logger::create(temp.path().join("b/c")).unwrap();
    c.log_scalar("loss/train", 0.1_f32, 9).unwrap();
    c.close().unwrap();
    temp
}

fn file_of(run: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .find(|path| path.to_string_lossy().contains("tfevents"))
        .unwrap()
}

#[test]
fn inspect_lists_runs_and_tags() {
    let logs = logs();
    let (code, out, err) = run(&["inspect"], logs.path());
    assert_eq!((code, err.as_str()), (0, ""));
    let row = |tag: &str| -> Vec<&str> {
        let line = out
            .lines()
            .find(|line| line.trim_start().starts_with(tag))
            .unwrap();
        line.split_whitespace().collect()
    };
    assert!(
        out.contains("a: 1 file") && out.contains("b/c: 1 file"),
        "{out}"
    );
    assert_eq!(
        row("loss/train"),
        ["loss/train", "scalar", "5", "0", "..", "4", "0.2"]
    );
    assert_eq!(row("h "), ["h", "histogram", "1", "3", "..", "3"]);
    let (code, out, _) = run(
        &["inspect", "--json", "--run", "b*", "--tag", "loss/*"],
        logs.path(),
    );
    assert_eq!(code, 0);
    let run: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((&run["run"], &run["files"]), (&"b/c".into(), &1.into()));
    assert_eq!(run["tags"][0]["last"], 0.1);
    assert_eq!(run["tags"].as_array().unwrap().len(), 1);
}

#[test]
fn export_gives_every_point_as_it_is() {
    let logs = logs();
    let (code, out, _) = run(&["export", "--tag", "loss/*"], logs.path());
    assert_eq!(code, 0);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["run", "tag", "step", "wall_time", "value"]);
    assert_eq!(rows.len(), 7);
    assert_eq!((rows[3][2], rows[3][4]), ("2", "0.33333334"));
    assert_eq!((rows[6][0], rows[6][2], rows[6][4]), ("b/c", "9", "0.1"));

    let (_, out, _) = run(&["export", "--kind", "histogram"], logs.path());
    let rows: Vec<&str> = out.lines().skip(1).collect();
    let counts = rows
        .iter()
        .map(|row| row.rsplit(',').next().unwrap().parse::<f64>().unwrap());
    assert_eq!(counts.sum::<f64>(), 3.0, "{out}");

    let (_, out, _) = run(&["export", "--format", "jsonl"], logs.path());
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let odd = lines.iter().find(|line| line["tag"] == "odd").unwrap();
    assert_eq!(
        (&odd["value"], &odd["kind"]),
        (&"NaN".into(), &"scalar".into())
    );
    assert!(lines.iter().any(|line| line["kind"] == "histogram"));
}

#[test]
fn export_writes_only_the_file_it_is_told_and_none_that_exists() {
    let logs = logs();
    let file = logs.path().join("out.csv");
    let output = file.to_str().unwrap();
    let (code, out, _) = run(&["export", "--output", output], logs.path());
    assert_eq!((code, out.as_str()), (0, ""));
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(written.lines().count(), 8);
    let (code, _, err) = run(
        &["export", "--output", output, "--kind", "text"],
        logs.path(),
    );
    assert!(code == 2 && err.contains("out.csv"), "{err}");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn verify_finds_all_damage_and_tells_by_its_status() {
    let logs = logs();
    let (code, out, err) = run(&["verify"], logs.path());
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("2 files") && out.contains("0 faults"), "{out}");
    assert_eq!(run(&["verify", "--quiet"], logs.path()).1, "");

    let file = file_of(&logs.path().join("a"));
    let whole = fs::read(&file).unwrap();
    let mut torn = whole.clone();
    torn.pop();
    fs::write(&file, &torn).unwrap();
    let (code, out, _) = run(&["verify"], logs.path());
    assert!(code == 0 && out.contains("1 half-written"), "{out}");
    let (code, out, _) = run(&["verify", "--strict"], logs.path());
    assert!(code == 1 && out.contains("1 faults"), "{out}");

    // A length, and a content behind it.
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let (code, out, _) = run(&["verify"], logs.path());
    assert!(code == 1 && out.contains("2 faults"), "{out}");
    assert!(
        out.contains(file.file_name().unwrap().to_str().unwrap()),
        "{out}"
    );
    let (code, out, err) = run(&["inspect"], logs.path());
    assert!(
        code == 1 && out.contains("2 faults") && err.contains("damaged"),
        "{out}{err}"
    );
    assert_eq!(run(&["export"], logs.path()).0, 1);
}

#[test]
fn what_cannot_be_done_is_told_on_standard_error() {
    let temp = tempfile::tempdir().unwrap();
    for args in [
        &["inspect"][..],
        &["verify"],
        &["export"],
        &["export", "--kind", "images"],
        &["what"],
    ] {
        for path in [temp.path().to_owned(), temp.path().join("missing")] {
            let (code, out, err) = run(args, &path);
            assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
            assert!(!err.is_empty() && !err.contains("panicked"), "{err}");
        }
    }
    let logs = logs();
    for args in [
        &["inspect", "--run", "nobody"][..],
        &["inspect", "--run", "[z"],
        &["export", "--kind", "images"],
    ] {
        let (code, _, err) = run(args, logs.path());
        assert!(code == 2 && !err.contains("panicked"), "{err}");
    }
}

#[test]
fn help_tells_the_exit_codes() {
    for args in [
        &["--help"][..],
        &["inspect", "--help"],
        &["verify", "--help"],
        &["export", "--help"],
    ] {
        let (code, out, _) = shown(&program().args(args).output().unwrap());
        assert!(
            code == 0 && out.contains("Exit status:") && out.contains("  2  "),
            "{out}"
        );
    }
}

// As `tch-tensorboard export runs | head -1`: more than a pipe holds, and nobody to read it.
#[test]
fn a_closed_pipe_is_no_panic_and_hides_no_damage() {
    let logs = logs();
    let logger = Logger::create(logs.path().join("long")).unwrap();
    for step in 0..20_000 {
        logger
            .log_scalar("a/rather/long/tag/for/a/scalar", f64::from(step), step)
            .unwrap();
    }
    logger.close().unwrap();
    let closed = |args: &[&str]| {
        let mut command = program();
        command.args(args).arg(logs.path());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        shown(&child.wait_with_output().unwrap())
    };
    let (code, _, err) = closed(&["export"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let file = file_of(&logs.path().join("a"));
    let mut options = fs::OpenOptions::new();
    let mut damaged = options.append(true).open(file).unwrap();
    damaged.write_all(&[0; 100]).unwrap();
    let (code, _, err) = closed(&["verify"]);
    assert_eq!((code, err.as_str()), (1, ""));
}

#[test]
fn names_in_a_file_do_not_reach_the_terminal_raw() {
    let temp = tempfile::tempdir().unwrap();
    let logger = Logger::create(temp.path().join("run")).unwrap();
    logger.close().unwrap();
    let mut event = proto::Event {
        wall_time: 1.0,
        ..Default::default()
    };
    event.what = Some(proto::event::What::Summary(proto::Summary {
        value: vec![proto::summary::Value {
            tag: "../../x\u{1b}]0;owned\u{7}".to_owned(),
            value: Some(proto::summary::value::Value::SimpleValue(1.0)),
            ..Default::default()
        }],
    }));
    // Framed by hand: no logger writes such a tag.
    let payload = prost::Message::encode_to_vec(&event);
    let masked = |data: &[u8]| {
        crc32c::crc32c(data)
            .rotate_right(15)
            .wrapping_add(0xa282_ead8)
            .to_le_bytes()
    };
    let len = (payload.len() as u64).to_le_bytes();
    let record = [&len[..], &masked(&len), &payload, &masked(&payload)].concat();
    fs::write(temp.path().join("run/z.tfevents"), record).unwrap();
    let (code, out, _) = run(&["inspect"], temp.path());
    assert_eq!(code, 0);
    assert!(
        out.contains("../../x\\u{1b}]0;owned\\u{7}") && !out.contains('\u{1b}'),
        "{out}"
    );
    let (_, out, _) = run(&["export", "--format", "jsonl"], temp.path());
    assert!(!out.contains('\u{1b}') && !out.contains('\u{7}'), "{out}");
    assert_eq!(
        fs::read_dir(temp.path()).unwrap().count(),
        1,
        "nothing was written beside the run"
    );
}
