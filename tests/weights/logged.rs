//! The report recomputed from logs of every shape: scopes, roles, resumed runs, damage, other
//! writers. Without libtorch.

use std::fs;
use std::path::Path;

use prost::Message;
use tch_tensorboard::proto::{
    Event, HistogramProto, SessionLog, Summary, event::What, session_log::SessionStatus, summary,
};
use tch_tensorboard::{
    Cadence, LogDir, LoggedReport, Logger, ReportReader, Role, Statistic, Verdict, WeightOptions,
};

use crate::common::{event_files, recompute};
use crate::run::{Run, every_call};

/// Weights that move a little at each step, the same at each call.
fn moving(elements: usize, seed: i64, step: i64) -> Vec<f32> {
    let element = |index: usize| {
        let phase = (index as f32 + 1.0) * (seed as f32 + 1.7);
        phase.sin() + 0.001 * (phase + step as f32).cos()
    };
    (0..elements).map(element).collect()
}

fn read(directory: &Path) -> LoggedReport {
    let log = LogDir::open(directory).unwrap();
    recompute(&log.runs()[0])
}

fn verdicts(logged: &LoggedReport) -> Vec<(&str, &str, &str)> {
    let parameters = logged.report.parameters.iter();
    parameters
        .map(|one| (&*one.scope, &*one.name, one.verdict.name()))
        .collect()
}

#[test]
fn two_models_of_one_run_are_judged_apart() {
    let run = Run::with(every_call());
    let (g, d) = (run.scoped("G"), run.scoped("D/x"));
    let (g, d) = (g.unwrap(), d.unwrap());
    let still = vec![1.0_f32; 8];
    for step in 0..40 {
        let weights = [("a/w", moving(8, 1, step)), ("b", still.clone())];
        g.log_weights(&weights[..], step).unwrap();
        let weights = [("a/w", moving(8, 2, step)), ("b", moving(8, 3, step))];
        d.log_weights(&weights[..], step).unwrap();
        run.log_scalar("model/loss", 1.0, step).unwrap();
        run.log_histogram("activations", &moving(8, 1, 0), step)
            .unwrap();
    }
    run.close().unwrap();
    let logged = read(run.logdir());
    let expected = [
        ("G", "a/w", "learning"),
        ("G", "b", "not_updated"),
        ("D/x", "a/w", "learning"),
        ("D/x", "b", "learning"),
    ];
    assert_eq!(verdicts(&logged), expected, "{}", logged.report);
    let live = run.weight_report().unwrap();
    assert_eq!(logged.report.findings, live.findings);
    assert_eq!(logged.recorded, []);
}

// Tables show scope and name.
#[test]
fn patterns_match_names_as_the_table_shows_them_and_without_the_scope() {
    let run = Run::with(every_call());
    for scope in ["G", "D"] {
        let scoped = run.scoped(scope).unwrap();
        for step in 0..40 {
            let weights = [("a", moving(8, 1, step)), ("b", vec![1.0; 8])];
            scoped.log_weights(&weights[..], step).unwrap();
        }
    }
    run.close().unwrap();
    let log = LogDir::open(run.logdir()).unwrap();
    let read = |select: &[&str], exclude: &[&str], frozen: &[&str]| {
        let options = WeightOptions::new();
        let options = options.select(select.iter().copied());
        let options = options.exclude(exclude.iter().copied());
        let reader = ReportReader::new(&log.runs()[0]).options(options);
        let mut reader = reader.unwrap().frozen(frozen.iter().copied()).unwrap();
        while reader.read_event().is_some() {}
        let logged = reader.finish();
        let names: Vec<String> = logged.variables.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["D/a", "D/b", "G/a", "G/b"], "{select:?}");
        let parameters = logged.report.parameters.into_iter();
        let found = parameters.map(|one| (format!("{}/{}", one.scope, one.name), one.verdict));
        found.collect::<Vec<(String, Verdict)>>()
    };
    let names = |found: Vec<(String, Verdict)>| -> Vec<String> {
        found.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(read(&["G/*"], &[], &[])), ["G/a", "G/b"]);
    assert_eq!(names(read(&["a"], &[], &[])), ["G/a", "D/a"]);
    assert_eq!(names(read(&[], &["G/*", "b"], &[])), ["D/a"]);
    assert_eq!(names(read(&["G"], &[], &[])), [""; 0]);
    let found = read(&[], &[], &["D/b"]);
    let verdict = |name: &str| found.iter().find(|(found, _)| found == name).unwrap().1;
    assert_eq!(verdict("D/b"), Verdict::Frozen);
    assert_eq!(verdict("G/b").name(), "not_updated");
}

#[test]
fn a_report_on_the_way_is_that_of_what_is_read_and_changes_nothing() {
    let run = Run::with(every_call());
    let log = |steps: std::ops::Range<i64>| {
        for step in steps {
            let weights = [("a", moving(8, 1, step)), ("b", moving(8, 2, step.min(30)))];
            run.log_weights(&weights[..], step).unwrap();
        }
        run.flush().unwrap();
    };
    log(0..40);
    let directory = LogDir::open(run.logdir()).unwrap();
    let mut reader = ReportReader::new(&directory.runs()[0]).recompute(true);
    while reader.read_event().is_some() {}
    for steps in [40..60, 60..80] {
        let so_far = reader.report();
        assert_eq!(so_far, read(run.logdir()));
        assert_eq!(so_far, reader.report());
        log(steps);
        while reader.read_event().is_some() {}
        assert_ne!(so_far, reader.report());
    }
    assert_eq!(reader.finish(), read(run.logdir()));
    run.close().unwrap();
}

// Four statistics instead of ten, and none of the norms.
#[test]
fn a_medium_model_needs_no_more_than_it_writes() {
    let run = Run::with(WeightOptions::new());
    for step in 0..60 {
        let weights: Vec<(String, Vec<f32>)> = (0..40)
            .map(|index| {
                let at = if index == 7 { 0 } else { step };
                (format!("h.{index}.w"), moving(20, index, at))
            })
            .collect();
        run.log_weights(&weights, step).unwrap();
    }
    run.close().unwrap();
    let (live, logged) = (run.weight_report().unwrap(), read(run.logdir()));
    assert_eq!(logged.report.parameters.len(), 40);
    for (one, expected) in std::iter::zip(&logged.report.parameters, &live.parameters) {
        assert_eq!(
            (&one.name, one.verdict, one.since),
            (&expected.name, expected.verdict, expected.since)
        );
        assert_eq!(one.shape, [20]);
        let ratio = |report: &tch_tensorboard::ParameterReport| report.evidence.update_ratio;
        match (ratio(one), ratio(expected)) {
            (Some(a), Some(b)) => assert!((a / b - 1.0).abs() < 1e-4, "{a} {b}"),
            (a, b) => assert_eq!(a, b),
        }
    }
    assert_eq!(logged.report.findings, live.findings);
}

#[test]
fn roles_stand_for_the_variables_of_a_huge_model() {
    let run = Run::with(every_call());
    for step in 0..30 {
        let weights: Vec<(String, Vec<f32>)> = (0..1001)
            .map(|index| match index % 2 {
                0 => (format!("h.{index}.w"), moving(3, index, step)),
                _ => (format!("h.{index}.b"), moving(3, index, 0)),
            })
            .collect();
        run.log_weights(&weights, step).unwrap();
    }
    run.close().unwrap();
    let logged = read(run.logdir());
    let expected = [("", "h.*.b", "not_updated"), ("", "h.*.w", "learning")];
    assert_eq!(verdicts(&logged), expected, "{}", logged.report);
    let notes = logged.report.notes.join("\n");
    assert!(notes.contains("2 rows are roles"), "{notes}");
    // The run knows which ones.
    assert_eq!(logged.recorded.len(), 500);
}

#[test]
fn whatever_statistics_were_chosen_tell_what_they_can() {
    for (statistics, expected) in [
        (vec![], "not_updated"),
        (vec![Statistic::WeightUpdateRatioLog10], "not_updated"),
        (vec![Statistic::WeightDeltaMaxAbs], "not_updated"),
        (vec![Statistic::WeightNorm], "not_updated"),
    ] {
        let options = every_call().statistics(statistics.clone());
        let run = Run::with(options);
        for step in 0..40 {
            let weights = [("moves", moving(8, 1, step)), ("rests", moving(8, 1, 0))];
            run.log_weights(&weights[..], step).unwrap();
        }
        run.close().unwrap();
        let logged = read(run.logdir());
        let found = verdicts(&logged);
        let wanted = [("", "moves", "learning"), ("", "rests", expected)];
        assert_eq!(found, wanted, "{statistics:?}: {}", logged.report);
    }
    // Nothing says whether anything moved.
    let options = every_call().histograms(Cadence::Every(0));
    let run = Run::with(options.statistics([Statistic::WeightNorm]));
    for step in 0..40 {
        run.log_weights(&("w", &moving(8, 1, step)), step).unwrap();
    }
    run.close().unwrap();
    let logged = read(run.logdir());
    assert_eq!(verdicts(&logged), [("", "w", "undecided")]);
    let notes = logged.report.notes.join("\n");
    assert!(notes.contains("1 variables are undecided"), "{notes}");
}

#[test]
fn steps_that_a_resumed_run_took_back_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let weights = |step: i64| [("w", moving(8, 1, step)), ("v", moving(8, 2, step))];
    let logger = Logger::builder(&path)
        .weights(every_call())
        .create()
        .unwrap();
    for step in 0..50 {
        let mut weights = weights(step);
        if step >= 40 {
            weights[0].1[3] = f32::NAN;
        }
        logger.log_weights(&weights[..], step).unwrap();
    }
    logger.close().unwrap();
    assert_eq!(
        read(&path).report.parameter("w").unwrap().verdict,
        Verdict::NonFinite
    );
    let builder = Logger::builder(&path).weights(every_call());
    let logger = builder.resume_from(35).create().unwrap();
    for step in 35..60 {
        logger.log_weights(&weights(step)[..], step).unwrap();
    }
    logger.close().unwrap();
    let logged = read(&path);
    let w = logged.report.parameter("w").unwrap();
    assert_eq!(
        (w.verdict, w.step),
        (Verdict::Learning, 59),
        "{}",
        logged.report
    );
    // 34 of the first session, 24 of the second.
    assert_eq!(w.evidence.steps, 58);
    assert!(
        !logged
            .report
            .notes
            .iter()
            .any(|note| note.contains("go back"))
    );
}

#[test]
fn a_half_written_end_is_no_error_and_damage_is_one() {
    let run = Run::with(every_call());
    for step in 0..40 {
        let weights = [("moves", moving(8, 1, step)), ("rests", moving(8, 1, 0))];
        run.log_weights(&weights[..], step).unwrap();
    }
    run.close().unwrap();
    let file = event_files(run.logdir()).remove(0);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() * 9 / 10]).unwrap();
    let logged = read(run.logdir());
    let expected = [("", "moves", "learning"), ("", "rests", "not_updated")];
    assert_eq!(verdicts(&logged), expected);
    let mut damaged = whole;
    // In the scalars of a step about the middle, rather than in what the run says of itself.
    let middle = damaged.len() / 2;
    let tag = b"weight_std/moves";
    let behind = damaged[middle..]
        .windows(tag.len())
        .position(|at| at == tag);
    damaged[middle + behind.unwrap()] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let log = LogDir::open(run.logdir()).unwrap();
    assert!(log.runs()[0].weight_report().is_err());
    let mut reader = ReportReader::new(&log.runs()[0]).resync(true);
    let mut errors = 0;
    while let Some(read) = reader.read_event() {
        errors += usize::from(read.is_err());
    }
    assert_eq!(errors, 1);
    assert_eq!(verdicts(&reader.finish()), expected);
}

#[test]
fn any_part_of_a_log_gives_a_report() {
    let run = Run::with(WeightOptions::new());
    for step in 0..25 {
        let weights = [("moves", moving(8, 1, step)), ("rests", moving(8, 1, 0))];
        run.log_weights(&weights[..], step).unwrap();
    }
    run.close().unwrap();
    let file = event_files(run.logdir()).remove(0);
    let whole = fs::read(&file).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part.tfevents");
    // From anywhere on: the descriptions stand at the start, and are lost.
    for start in (0..whole.len()).step_by(977) {
        fs::write(&part, &whole[start..]).unwrap();
        let log = LogDir::open(&part).unwrap();
        let mut reader = ReportReader::new(&log.runs()[0]).resync(true);
        while reader.read_event().is_some() {}
        for one in reader.finish().report.parameters {
            let rests = matches!(one.verdict, Verdict::NotUpdated { .. });
            let fine = one.verdict == Verdict::Undecided
                || (one.name == "rests" && rests)
                || (one.name == "moves" && one.verdict == Verdict::Learning);
            assert!(fine, "{start}: {} {}", one.name, one.verdict);
        }
    }
}

/// A histogram as torch and tensorboardX write it.
fn histogram(tag: &str, values: &[f32]) -> summary::Value {
    let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
    let histogram = HistogramProto {
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        num: values.len() as f64,
        sum: values.iter().sum(),
        sum_squares: values.iter().map(|value| value * value).sum(),
        bucket_limit: vec![f64::MAX],
        bucket: vec![values.len() as f64],
    };
    summary::Value {
        tag: tag.into(),
        value: Some(summary::value::Value::Histo(histogram)),
        ..Default::default()
    }
}

fn record(step: i64, what: What) -> Vec<u8> {
    let event = Event {
        step,
        wall_time: 1.0,
        what: Some(what),
        ..Default::default()
    };
    let payload = event.encode_to_vec();
    let masked = |data: &[u8]| {
        let crc = crc32c::crc32c(data).rotate_right(15);
        crc.wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let len = (payload.len() as u64).to_le_bytes();
    [&len[..], &masked(&len), &payload, &masked(&payload)].concat()
}

fn values(step: i64, value: Vec<summary::Value>) -> Vec<u8> {
    record(step, What::Summary(Summary { value }))
}

fn start(step: i64) -> Vec<u8> {
    let mut session = SessionLog::default();
    session.set_status(SessionStatus::Start);
    record(step, What::SessionLog(session))
}

fn foreign(files: &[Vec<u8>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (index, file) in files.iter().enumerate() {
        fs::write(dir.path().join(format!("{index}.tfevents")), file).unwrap();
    }
    dir
}

#[test]
fn histograms_of_others_tell_what_moves() {
    let mut file = Vec::new();
    for step in 0..30 {
        for (tag, values_of) in [
            ("fc1.weight", moving(50, 1, step)),
            ("fc1.weight.grad", moving(50, 4, step)),
            ("fc2.weight", moving(50, 2, 0)),
            ("grads/fc2.weight", vec![0.0; 50]),
            ("weights/fc3", moving(50, 3, 0)),
        ] {
            file.extend(values(10 * step, vec![histogram(tag, &values_of)]));
        }
    }
    let dir = foreign(&[file]);
    let logged = read(dir.path());
    let expected = [
        ("", "fc1.weight", "learning"),
        ("", "fc2.weight", "dead_gradient"),
        ("", "weights/fc3", "learning"),
    ];
    let mut found = verdicts(&logged);
    // Without a gradient where others have one, nothing is sure.
    assert!(["learning", "not_updated"].contains(&found[2].2));
    found[2].2 = "learning";
    assert_eq!(found, expected, "{}", logged.report);
    let fc1 = logged.report.parameter("fc1.weight").unwrap();
    assert_eq!((fc1.shape.as_slice(), fc1.dtype), (&[50_i64][..], None));
    assert_eq!((fc1.update_ratio, fc1.changed_fraction), (None, None));
    let expected: f64 = moving(50, 1, 29).iter().map(|&w| f64::from(w * w)).sum();
    assert!((fc1.norm.unwrap() - expected.sqrt()).abs() < 1e-5);
    let notes = logged.report.notes.join("\n");
    assert!(notes.contains("another writer"), "{notes}");

    let log = LogDir::open(dir.path()).unwrap();
    let reader = ReportReader::new(&log.runs()[0]);
    let mut reader = reader.frozen(["fc2.*", "weights/*"]).unwrap();
    while reader.read_event().is_some() {}
    let logged = reader.finish();
    let fc2 = logged.report.parameter("fc2.weight").unwrap();
    assert_eq!((fc2.verdict, fc2.role), (Verdict::Frozen, Role::Frozen));
    assert_eq!(logged.faults().count(), 0);
}

#[test]
fn histograms_of_others_begin_again_and_go_on() {
    let file = |steps: std::ops::Range<i64>, still: bool| -> Vec<u8> {
        let of = |step: i64| {
            let at = if still { 0 } else { step };
            let both = vec![
                histogram("a", &moving(50, 1, at)),
                histogram("b", &moving(50, 2, step)),
            ];
            values(step, both)
        };
        steps.flat_map(of).collect()
    };
    // The second run in one directory says nothing of the first.
    let dir = foreign(&[file(0..60, true), file(0..40, false)]);
    let logged = read(dir.path());
    let learning = [("", "a", "learning"), ("", "b", "learning")];
    assert_eq!(verdicts(&logged), learning, "{}", logged.report);
    let notes = logged.report.notes.join("\n");
    assert!(notes.contains("steps go back from 59 to 0"), "{notes}");
    // It says that it goes on from step 30: what came later has not been.
    let second = [start(30), file(30..70, true)].concat();
    let dir = foreign(&[file(0..60, false), second]);
    let logged = read(dir.path());
    let a = logged.report.parameter("a").unwrap();
    assert!(
        matches!(a.verdict, Verdict::NotUpdated { .. }),
        "{}",
        logged.report
    );
    assert_eq!(a.evidence.steps, 69);
}

// A tag that claims a tensor of any size must cost no memory, and odd numbers no sense.
#[test]
fn what_a_file_claims_is_not_believed() {
    let scalar = |tag: &str, number: f32, description: &str| summary::Value {
        tag: tag.into(),
        metadata: Some(tch_tensorboard::proto::SummaryMetadata {
            summary_description: description.into(),
            ..Default::default()
        }),
        value: Some(summary::value::Value::SimpleValue(number)),
    };
    let shapes = [
        "9223372036854775807x9223372036854775807",
        "65536x1",
        "0x0",
        "0",
        "scalar",
    ];
    let mut file = Vec::new();
    for step in 0..40_i64 {
        let mut all = Vec::new();
        for (index, shape) in shapes.iter().enumerate() {
            let description = format!("x Variable: f32 {shape}, trainable.");
            for (first, number) in [
                ("weight_std", 1e38),
                ("weight_mean", -1e38),
                ("weight_norm", f32::INFINITY),
                ("weight_update_ratio", f32::NAN),
                ("weight_changed_fraction", 7.0),
                ("weight_delta_std", f32::MAX),
                ("weight_delta_mean", f32::MIN),
                ("weight_nonfinite", if step == 39 { 1e30 } else { -3.0 }),
                ("weight_gradient_norm", f32::MAX),
            ] {
                all.push(scalar(&format!("{first}/w{index}"), number, &description));
            }
        }
        file.extend(values(step, all));
    }
    let dir = foreign(&[file]);
    let logged = read(dir.path());
    assert_eq!(logged.report.parameters.len(), shapes.len());
    assert!(!logged.report.to_string().is_empty() && !logged.report.to_markdown().is_empty());
}

#[test]
fn a_log_without_weights_gives_an_empty_report() {
    let run = Run::new();
    for step in 0..30 {
        run.log_scalar("loss", 1.0, step).unwrap();
    }
    run.close().unwrap();
    assert_eq!(read(run.logdir()), LoggedReport::default());
}
