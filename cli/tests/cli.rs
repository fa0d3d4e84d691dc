//! The program `tch-tensorboard`: what it prints, how it exits, and that nothing in a file makes it
//! do anything else.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

mod trained;

use tch_tensorboard::{
    Audio, HParams, Image, LogDir, Logger, Mesh, Point, PointValue, PrCurve, Verdict, proto,
};
use trained::train;

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

// Tags in turn, out of turn, for the first time late, and of several kinds; also those of other
// writers.
#[test]
fn inspect_counts_what_the_points_say() {
    let logs = logs();
    let logger = Logger::create(logs.path().join("mixed")).unwrap();
    for step in 0..300_i64 {
        for tag in 0..step % 7 {
            let value = (step * tag) as f64;
            logger
                .log_scalar(&format!("t/{}", tag * step % 11), value, step * 10 + tag)
                .unwrap();
        }
        if step % 50 == 3 {
            logger.log_histogram("h", &[step as f32], step).unwrap();
        }
    }
    logger.close().unwrap();
    for name in ["torch", "tensorboardx", "tensorflow"] {
        let to = logs.path().join(name);
        fs::create_dir(&to).unwrap();
        let name = format!("{name}.tfevents");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
    let (code, out, _) = run(&["inspect", "--json"], logs.path());
    assert_eq!(code, 0);
    let shown: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let log = LogDir::open(logs.path()).unwrap();
    assert_eq!(shown.len(), log.runs().len());
    for (run, shown) in log.runs().iter().zip(&shown) {
        let points: Vec<Point> = run.events().points().map(Result::unwrap).collect();
        let tags = shown["tags"].as_array().unwrap();
        let mut names: Vec<&str> = points.iter().map(|point| point.tag.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(tags.len(), names.len(), "{run}");
        for tag in tags {
            let points: Vec<&Point> = points
                .iter()
                .filter(|point| tag["tag"] == point.tag.as_str())
                .collect();
            let steps = || points.iter().map(|point| point.step);
            assert_eq!(tag["points"], points.len(), "{tag}");
            assert_eq!(tag["kind"], points[0].value.kind(), "{tag}");
            assert_eq!(tag["first_step"], steps().min().unwrap(), "{tag}");
            assert_eq!(tag["last_step"], steps().max().unwrap(), "{tag}");
            if let PointValue::Scalar(last) = points[points.len() - 1].value {
                let same = tag["last"] == "NaN"
                    || tag["last"].as_f64().map(|x| x as f32) == Some(last as f32);
                assert!(same, "{tag}");
            }
        }
    }
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

// A tag of a file from anywhere must not run when its CSV is opened in a spreadsheet program.
#[test]
fn export_makes_no_formulas_of_names() {
    let temp = tempfile::tempdir().unwrap();
    let logger = Logger::create(temp.path().join("=run")).unwrap();
    let tag = "=HYPERLINK(\"x\",1)";
    logger.log_scalar(tag, -1.0, 1).unwrap();
    logger.log_scalar("loss", -1.0, 1).unwrap();
    logger.close().unwrap();
    let cells = |args: &[&str]| -> Vec<Vec<String>> {
        let (code, out, _) = run(args, temp.path());
        assert_eq!(code, 0);
        let mut csv = csv::Reader::from_reader(out.as_bytes());
        let cells = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
        csv.records().map(|row| cells(row.unwrap())).collect()
    };
    let safe = cells(&["export"]);
    assert_eq!(
        (&safe[0][0], &safe[0][1]),
        (&"'=run".to_owned(), &format!("'{tag}"))
    );
    assert_eq!(
        (&safe[1][1], &safe[1][4]),
        (&"loss".to_owned(), &"-1.0".to_owned())
    );
    let raw = cells(&["export", "--raw"]);
    assert_eq!(
        (&raw[0][0], &raw[0][1]),
        (&"=run".to_owned(), &tag.to_owned())
    );
    let (_, out, _) = run(&["export", "--format", "jsonl"], temp.path());
    let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&line["run"], &line["tag"]), (&"=run".into(), &tag.into()));
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
    assert!(code == 1 && out.contains("1 fault,"), "{out}");

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
fn images_are_written_to_files_that_the_lines_name() {
    let logs = tempfile::tempdir().unwrap();
    let logger = Logger::create(logs.path().join("a")).unwrap();
    let pixels: Vec<u8> = (0..24).collect();
    for tag in ["digits/0", "../up"] {
        let image = Image::from_pixels(&pixels, 4, 2, 3);
        logger.log_image(tag, image, 5).unwrap();
    }
    logger.close().unwrap();
    let (_, inspected, _) = run(&["inspect"], logs.path());
    assert!(inspected.contains("digits/0  images"), "{inspected}");
    let temp = tempfile::tempdir().unwrap();
    let media = temp.path().join("media");
    let path = media.to_str().unwrap();
    let args = ["export", "--format", "jsonl", "--media", path];
    let (code, out, err) = run(&args, logs.path());
    assert_eq!(code, 0, "{err}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    assert_eq!(lines.len(), 2);
    for (file, line) in std::iter::zip(["a/digits%2F0/5.png", "a/%2E.%2Fup/5.png"], &lines) {
        assert_eq!(line["value"]["files"], serde_json::json!([file]));
        let bytes = fs::read(media.join(file)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        assert_eq!(line["value"]["bytes"][0], bytes.len());
    }
    assert_eq!(run(&args, logs.path()).0, 2, "nothing is overwritten");
    let other = temp.path().join("other");
    let args = ["export", "--media", other.to_str().unwrap()];
    let (code, _, err) = run(&args, logs.path());
    assert!(code == 2 && err.contains("--format jsonl"), "{err}");
}

#[test]
fn every_dashboard_has_a_kind_and_a_value() {
    let logs = tempfile::tempdir().unwrap();
    let logger = Logger::create(logs.path().join("a")).unwrap();
    logger
        .log_hparams(HParams::new().with("rate", 0.5))
        .unwrap();
    logger.log_scalars_chart("loss", &[("x", 1.0)], 0).unwrap();
    let curve = PrCurve::new(&[1_u8, 0], &[0.9_f32, 0.2]).thresholds(3);
    logger.log_pr_curve("pr", curve, 0).unwrap();
    let corners = [0.0_f32, 0.5, 1.0];
    logger.log_mesh("m", Mesh::new(&corners), 0).unwrap();
    let clip = Audio::mono(&corners, 8000);
    logger.log_audio("clip", clip, 0).unwrap();
    logger.log_graph(&("w", corners)).unwrap();
    logger.close().unwrap();
    let (_, inspected, _) = run(&["inspect"], logs.path());
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.to_owned()))
    };
    let kinds: Vec<(String, String)> = inspected.lines().filter_map(row).collect();
    for (tag, kind) in [
        ("__run_graph__", "graph"),
        ("_hparams_/session_end_info", "hparams_end"),
        ("_hparams_/session_start_info", "hparams"),
        ("clip", "audio"),
        ("custom_scalars__config__", "layout"),
        ("loss/x", "scalar"),
        ("m_VERTEX", "mesh"),
        ("pr", "pr_curve"),
    ] {
        let is_it = |row: &(String, String)| (row.0.as_str(), row.1.as_str()) == (tag, kind);
        assert!(kinds.iter().any(is_it), "{tag}: {inspected}");
    }
    let (code, out, err) = run(&["export", "--format", "jsonl"], logs.path());
    assert_eq!(code, 0, "{err}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<serde_json::Value> = lines.collect();
    let value = |kind: &str| {
        let line = lines.iter().find(|line| line["kind"] == kind);
        &line.expect(kind)["value"]
    };
    assert_eq!(value("hparams_end")["status"], "STATUS_SUCCESS");
    assert_eq!(value("pr_curve")[1]["threshold"], 0.5);
    assert_eq!(value("pr_curve")[1]["false_positives"], 0.0);
    assert_eq!(value("mesh")["values"], serde_json::json!(corners));
    assert_eq!(value("layout")[0]["charts"][0]["lines"][0], "loss(/.*)?$");
    let (code, out, _) = run(&["export", "--kind", "pr-curve"], logs.path());
    assert_eq!((code, out.lines().count()), (0, 4), "{out}");
}

#[test]
fn what_cannot_be_done_is_told_on_standard_error() {
    let temp = tempfile::tempdir().unwrap();
    for args in [
        &["inspect"][..],
        &["verify"],
        &["export"],
        &["export", "--kind", "images"],
        &["report"],
        &["report", "--json"],
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
        &["report", "--run", "b*"],
        &["report", "--run", "nobody"],
        &["report", "--window", "3"],
        &["report", "--variable", "[z"],
        &["report", "--frozen", "[z"],
        &["report", "--fail-on", "learning"],
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
        &["report", "--help"],
    ] {
        let (code, out, _) = shown(&program().args(args).output().unwrap());
        assert!(
            code == 0 && out.contains("Exit status:") && out.contains("  3  report"),
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

#[test]
fn report_is_the_one_of_the_run_and_its_status_tells_of_faults() {
    let temp = tempfile::tempdir().unwrap();
    let healthy = train(&temp.path().join("healthy"), "", 60, 60);
    healthy.close().unwrap();
    let (code, out, err) = run(&["report"], temp.path());
    assert_eq!((code, err.as_str()), (0, ""));
    let live = healthy.weight_report().unwrap().to_string();
    assert!(
        out.starts_with(&format!("healthy, step 59: ok\n{live}\n")),
        "{out}{live}"
    );
    let (_, out, _) = run(&["report", "--recompute"], temp.path());
    assert!(out.contains("note: a log holds no gradients"), "{out}");

    let faulty = train(&temp.path().join("faulty"), "", 60, 20);
    faulty.close().unwrap();
    Logger::create(temp.path().join("losses")).unwrap();
    let (code, out, err) = run(&["report"], temp.path());
    assert_eq!((code, err.as_str()), (3, ""));
    let live = faulty.weight_report().unwrap().to_string();
    let expected = format!("faulty, step 59: FAULT\n{live}\n");
    assert!(out.contains(&expected), "{out}\n{expected}");
    assert!(out.contains("fc2.weight: not updated"), "{out}");
    assert!(out.contains("since step 21"), "{out}");
    assert!(out.contains("\nNo weights in losses"), "{out}");
    assert_eq!(run(&["report", "--run", "h*"], temp.path()).0, 0);
    assert_eq!(run(&["report", "--variable", "fc1.*"], temp.path()).0, 0);
    assert_eq!(run(&["report", "--exclude", "fc2.*"], temp.path()).0, 0);
    let frozen = ["report", "--frozen", "fc2.*", "--run"];
    let of = |name: &str| run(&[&frozen[..], &[name]].concat(), temp.path());
    assert_eq!(of("faulty").0, 0);
    let (code, out, _) = of("healthy");
    assert!(code == 3 && out.contains("moving while frozen"), "{out}");
    assert_eq!(
        run(&["report", "--fail-on", "non_finite"], temp.path()).0,
        0
    );
    let these = [
        "report",
        "--fail-on",
        "non-finite",
        "--fail-on",
        "not-updated",
    ];
    assert_eq!(run(&these, temp.path()).0, 3);
    // What is no fault fails only where it was named, with what was found of it.
    for (name, expected) in [
        ("undecided", 0),
        ("hardly_moving", 0),
        ("gradient-not-seen", 3),
    ] {
        let these = ["report", "--run", "healthy", "--fail-on", name];
        let (code, out, err) = run(&these, temp.path());
        assert_eq!(code, expected, "{name}: {out}{err}");
    }
    for fault in Verdict::all().filter(|verdict| verdict.is_fault()) {
        let code = run(&["report", "--fail-on", fault.name()], temp.path()).0;
        assert!(code == 0 || code == 3, "{fault}: {code}");
    }
    // The run recorded why; the points alone have more causes.
    let reasons = |more: &[&str]| {
        run(
            &[&["report", "--run", "faulty"], more].concat(),
            temp.path(),
        )
        .1
    };
    assert_ne!(reasons(&[]), reasons(&["--recompute"]));
    // Forty points without a move are fewer than these, but the run itself has judged.
    let (code, out, _) = run(&["report", "--window", "50", "--run", "f*"], temp.path());
    assert!(
        code == 3 && out.contains("2 variables: 2 learning"),
        "{out}"
    );
    assert!(out.contains("says: fc2.weight: not updated"), "{out}");
}

#[test]
fn report_has_forms_for_programs_and_for_pages() {
    let temp = tempfile::tempdir().unwrap();
    train(&temp.path().join("a"), "", 60, 20).close().unwrap();
    Logger::create(temp.path().join("losses")).unwrap();
    let (code, out, _) = run(&["report", "--json"], temp.path());
    assert_eq!((code, out.lines().count()), (3, 1), "{out}");
    let found: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(
        (&found["run"], &found["faulty"]),
        (&"a".into(), &true.into())
    );
    let [first, second] = found["variables"].as_array().unwrap().as_slice() else {
        panic!("{out}")
    };
    let of = |variable: &serde_json::Value| {
        let text = |key: &str| variable[key].as_str().unwrap().to_owned();
        (text("variable"), text("verdict"), text("role"))
    };
    let names = |name: &str, verdict: &str| (name.into(), verdict.into(), "trainable".into());
    assert_eq!(of(first), names("fc1.weight", "learning"));
    assert_eq!(of(second), names("fc2.weight", "not_updated"));
    assert_eq!(
        (&second["since"], &second["fault"]),
        (&21.into(), &true.into())
    );
    assert_eq!(
        (&second["shape"][0], &second["compared"]),
        (&40.into(), &59.into())
    );
    assert_eq!(found["notes"].as_array().map(Vec::len), Some(0));
    let (_, out, _) = run(&["report", "--json", "--recompute"], temp.path());
    let found: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert!(
        found["notes"][0]
            .as_str()
            .unwrap()
            .contains("log_gradients")
    );
    let (code, out, _) = run(&["report", "--markdown"], temp.path());
    assert!(code == 3 && out.starts_with("## `a`\n"), "{out}");
    assert!(out.contains("| **fc2.weight** | 40 |"), "{out}");
}

#[test]
fn report_reads_what_is_whole_of_a_damaged_log() {
    let temp = tempfile::tempdir().unwrap();
    for (name, still_from, status) in [("healthy", 200, 1), ("faulty", 20, 3)] {
        let path = temp.path().join(name);
        train(&path, "", 200, still_from).close().unwrap();
        let file = file_of(&path);
        let mut damaged = fs::read(&file).unwrap();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(&file, &damaged).unwrap();
        let (code, out, err) = run(&["report"], &path);
        assert_eq!(code, status, "{out}{err}");
        assert!(
            err.contains("damaged") && out.contains("fc1.weight"),
            "{out}{err}"
        );
    }
}

#[test]
fn report_of_histograms_that_others_wrote() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    for writer in ["torch", "tensorboardx"] {
        // Nine epochs of a perceptron whose second layer is not in the optimizer.
        let file = data.join(format!("{writer}_weights.tfevents"));
        let (code, out, err) = run(&["report", "--window", "6"], &file);
        assert_eq!((code, err.as_str()), (3, ""), "{out}");
        let verdict = |name: &str| {
            let line = out
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            line.unwrap().split_whitespace().nth(6).unwrap().to_owned()
        };
        for name in ["fc1.weight", "fc1.bias"] {
            assert_eq!(verdict(name), "learning", "{out}");
        }
        for name in ["fc2.weight", "fc2.bias"] {
            assert_eq!(verdict(name), "not", "{out}");
        }
        assert!(out.contains("note: histograms of another writer"), "{out}");
        // Too few for the window of a log of each step.
        let (code, out, _) = run(&["report"], &file);
        assert!(code == 0 && out.contains("4 undecided"), "{out}");
        let (code, _, _) = run(&["report", "--window", "6", "--frozen", "fc2.*"], &file);
        assert_eq!(code, 0);
    }
}
