//! Mistakes in a call: each is an error at once that names the path, tag or variable and says what
//! to do, or is written as it is and read back. Nothing panics.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use common::histograms::{check_rows, read_histogram, read_histograms};
use common::{event_files, read_events, read_scalars, read_tag};
use tch_tensorboard::proto::event::What;
use tch_tensorboard::{
    Error, Existing, LayerOptions, Logger, NamedTensors, OnFull, Pattern, Result, Role, Visitor,
    WeightOptions,
};
use tempfile::TempDir;

fn logger() -> (TempDir, Logger) {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    (dir, logger)
}

/// A logger whose failures are kept.
fn watched_logger() -> (TempDir, Logger, Arc<Mutex<Vec<String>>>) {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = told.clone();
    let logger = Logger::builder(dir.path().join("run"))
        .on_error(move |error| kept.lock().unwrap().push(error.to_string()))
        .create()
        .unwrap();
    (dir, logger, told)
}

/// The message of an error, which has to contain all words.
fn message<T>(result: Result<T>, words: &[&str]) -> String {
    let text = match result {
        Ok(_) => panic!("accepted, without a word of {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(text.contains(word), "{text:?} lacks {word:?}");
    }
    text
}

// ---------------------------------------------------------------------------------------
// directories

#[test]
fn an_empty_path() {
    message(Logger::create(""), &["logdir", "empty", "runs/"]);
}

#[test]
fn a_file_where_the_directory_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes.txt");
    fs::write(&file, "mine").unwrap();
    let path = file.display().to_string();
    for existing in [Existing::Number, Existing::Append, Existing::Fail] {
        let create = |logdir: &Path| Logger::builder(logdir).existing(existing).create();
        message(
            create(&file),
            &["create", &path, "is a file", "another directory"],
        );
        let below = file.join("cnn/1");
        let shown = below.display().to_string();
        message(create(&below), &["create", &shown, &path, "is a file"]);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_path_that_no_system_accepts() {
    message(Logger::create("runs/a\0b"), &["create", "runs/a"]);
    let long = "x".repeat(5000);
    let dir = tempfile::tempdir().unwrap();
    message(Logger::create(dir.path().join(&long)), &["create", "xxx"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn a_directory_that_may_not_be_written_to() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let locked = dir.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // Some users may write everywhere.
    if fs::write(locked.join("probe"), "").is_err() {
        let path = locked.join("run").display().to_string();
        message(
            Logger::create(locked.join("run")),
            &["create", &path, "ermission"],
        );
        let path = locked.display().to_string();
        message(Logger::create(&locked), &[&path, "ermission"]);
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn names_of_scopes_and_sub_runs() {
    let (_dir, logger) = logger();
    for name in ["", "/G", "G/", "/"] {
        let text = message(logger.scoped(name).map(drop), &["scope", "'/'"]);
        assert!(text.contains(&format!("{name:?}")), "{text}");
    }
    for name in ["", "..", "../x", "a/../../x", "/abs", "."] {
        let text = message(logger.subrun(name).map(drop), &["sub-run", "below"]);
        assert!(text.contains(&format!("{name:?}")), "{text}");
    }
    message(logger.subrun("a\0b").map(drop), &["create", "a\0b"]);
    fs::write(logger.logdir().join("taken"), "").unwrap();
    message(
        logger.subrun("taken").map(drop),
        &["create", "taken", "is a file"],
    );
    // Nothing outside the run was touched, and the logger goes on.
    assert_eq!(
        fs::read_dir(logger.logdir().parent().unwrap())
            .unwrap()
            .count(),
        1
    );
    logger
        .subrun("val")
        .unwrap()
        .scoped("G")
        .unwrap()
        .log_scalar("loss", 1.0, 0)
        .unwrap();
    logger.close().unwrap();
    assert_eq!(
        read_scalars(logger.logdir().join("val"))["G/loss"],
        [(0, 1.0)]
    );
}

// ---------------------------------------------------------------------------------------
// tags and steps

#[test]
fn an_empty_tag() {
    let (_dir, logger) = logger();
    message(
        logger.log_scalar("", 1.0, 0),
        &["tag \"\"", "empty", "loss/train"],
    );
    message(logger.log_histogram("", &[1.0], 0), &["tag \"\"", "empty"]);
    message(
        logger.log_scalars(&[("a", 1.0), ("", 2.0)], 0),
        &["tag \"\"", "empty"],
    );
    logger.close().unwrap();
    // None of the list was logged.
    assert!(read_scalars(logger.logdir()).is_empty());
    assert_eq!(logger.stats().queued, 0);
}

#[test]
fn odd_tags_are_kept_as_they_are() {
    let (_dir, logger) = logger();
    let long = "long/".repeat(20_000);
    let tags = [
        "/leading",
        "trailing/",
        "//",
        "a\0b",
        "two\nlines",
        "tab\t",
        " ",
        "λ/损失/🦀",
        "\u{202e}rtl",
        "50%",
        "a b",
        "\\",
        "\"quoted\"",
        "<b>",
        ".",
        "..",
        &long,
    ];
    for (step, tag) in tags.iter().enumerate() {
        logger.log_scalar(tag, step as f64, step).unwrap();
        logger
            .log_histogram(&format!("{tag}#"), &[step as f64], step)
            .unwrap();
    }
    // The tag needs quotes, control characters and the like written as JSON and as part of an
    // address.
    let url = logger.board_url("http://localhost:6006/");
    assert!(
        url.is_ascii() && !url.contains(char::is_whitespace),
        "{url}"
    );
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    assert_eq!(scalars.len(), tags.len());
    for (step, tag) in tags.iter().enumerate() {
        assert_eq!(scalars[*tag], [(step as i64, step as f32)], "{tag:?}");
        let rows = read_histogram(logger.logdir(), &format!("{tag}#"));
        check_rows(tag, &rows, &[step as f64]);
    }
}

#[test]
fn steps_beyond_what_tensorboard_counts() {
    let (_dir, logger) = logger();
    let words = ["18446744073709551615", "loss", "i64"];
    message(logger.log_scalar("loss", 1.0, u64::MAX), &words);
    message(logger.log_scalar("loss", 1.0, usize::MAX), &words);
    message(logger.log_histogram("loss", &[1.0], u64::MAX), &words);
    message(
        logger.log_weights(&[("w", [1.0])], u64::MAX),
        &["18446744073709551615", "log_weights"],
    );
    for step in [i64::MIN, -1, 0, i64::MAX] {
        logger.log_scalar("loss", 1.0, step).unwrap();
        logger.log_histogram("values", &[1.0], step).unwrap();
    }
    logger.log_scalar("i32", 1.0, -5_i32).unwrap();
    logger.log_scalar("u64", 1.0, i64::MAX as u64).unwrap();
    logger.log_scalar("u32", 1.0, u32::MAX).unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    let steps: Vec<i64> = scalars["loss"].iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [i64::MIN, -1, 0, i64::MAX]);
    assert_eq!(scalars["i32"], [(-5, 1.0)]);
    assert_eq!(scalars["u64"], [(i64::MAX, 1.0)]);
    assert_eq!(scalars["u32"], [(4_294_967_295, 1.0)]);
    assert_eq!(read_histograms(logger.logdir(), "values").len(), 4);
}

#[test]
fn steps_of_weights_that_do_not_increase() {
    let (_dir, logger) = logger();
    let weights = |value: f64| [("w", [value])];
    logger.log_weights(&weights(1.0), -3).unwrap();
    for step in [-3, -4] {
        let words = ["log_weights", "-3", "upwards", "scoped"];
        message(logger.log_weights(&weights(2.0), step), &words);
    }
    let scope = logger.scoped("G").unwrap();
    scope.log_weights(&weights(3.0), -3).unwrap();
    message(scope.log_weights(&weights(3.0), -3), &["scope G", "-3"]);
    logger.log_weights(&weights(4.0), -2).unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    assert_eq!(scalars["weight_mean/w"], [(-3, 1.0), (-2, 4.0)]);
    assert_eq!(scalars["weight_mean/G/w"], [(-3, 3.0)]);
}

#[test]
fn a_tag_used_for_two_things_is_told_once_and_counted_each_time() {
    let (_dir, logger, told) = watched_logger();
    for step in 0..5 {
        logger.log_scalar("loss", f64::from(step), step).unwrap();
        logger.log_histogram("values", &[1.0], step).unwrap();
        logger.flush().ok();
        logger.log_histogram("loss", &[1.0], step).unwrap();
        logger
            .log_scalars(&[("values", 1.0), ("other", 2.0)], step)
            .unwrap();
    }
    message(logger.close(), &["loss", "scalars already", "another tag"]);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[1].contains("values") && told[1].contains("histograms already"),
        "{told:?}"
    );
    assert_eq!(logger.stats().dropped, 10);
    // What came first stays whole, and so does the rest of the event.
    let scalars = read_scalars(logger.logdir());
    assert_eq!(scalars["loss"].len(), 5);
    assert_eq!(scalars["other"].len(), 5);
    assert_eq!(read_histograms(logger.logdir(), "values").len(), 5);
    assert!(!scalars.contains_key("values"));
}

#[test]
fn a_flush_returns_what_went_wrong_since_the_last_one() {
    let (_dir, logger, _) = watched_logger();
    logger.log_scalar("loss", 1.0, 0).unwrap();
    logger.flush().unwrap();
    logger.log_histogram("loss", &[1.0], 0).unwrap();
    message(logger.flush(), &["loss", "scalars already"]);
    logger.flush().unwrap();
    message(logger.close(), &["loss"]);
    message(logger.close(), &["loss"]);
}

#[test]
fn the_same_tag_twice_in_one_event() {
    let (_dir, logger) = logger();
    logger
        .log_scalars(&[("a", 1.0), ("b", 2.0), ("a", 3.0)], 7)
        .unwrap();
    logger.close().unwrap();
    // Both are in the file, in order: TensorBoard shows the last one.
    let values = read_scalars(logger.logdir());
    assert_eq!(values["a"], [(7, 1.0), (7, 3.0)]);
    let events = read_events(logger.logdir());
    assert_eq!(
        events
            .iter()
            .filter(|event| matches!(event.what, Some(What::Summary(_))))
            .count(),
        1
    );
}

#[test]
fn an_empty_list_of_scalars_is_nothing() {
    let (_dir, logger) = logger();
    logger.log_scalars::<f64>(&[], 0).unwrap();
    logger.close().unwrap();
    assert_eq!((logger.stats().queued, logger.stats().dropped), (0, 0));
    assert_eq!(read_events(logger.logdir()).len(), 1);
}

#[test]
fn empty_values_are_an_empty_histogram() {
    let (_dir, logger) = logger();
    logger
        .log_histogram("values", &Vec::<f32>::new(), 0)
        .unwrap();
    logger
        .log_histogram("values", &[f32::NAN, f32::INFINITY], 1)
        .unwrap();
    logger.close().unwrap();
    let histograms = read_histograms(logger.logdir(), "values");
    assert_eq!(histograms, [(0, vec![]), (1, vec![])]);
}

// ---------------------------------------------------------------------------------------
// variables

#[test]
fn names_of_variables() {
    let (_dir, logger) = logger();
    let twice = [("a.weight", [1.0]), ("b", [2.0]), ("a.weight", [3.0])];
    message(
        logger.log_weights(&twice, 0),
        &["a.weight", "twice", "scoped"],
    );
    message(logger.log_weights(&[("", [1.0])], 0), &["variable", "name"]);
    // Odd ones are kept.
    let odd = [
        ("/", [1.0]),
        ("a b", [2.0]),
        ("λ\n", [3.0]),
        ("weights/x", [4.0]),
    ];
    logger.log_weights(&odd, 0).unwrap();
    logger
        .log_weights(&Vec::<(&str, [f64; 1])>::new(), 1)
        .unwrap();
    logger.close().unwrap();
    let scalars = read_scalars(logger.logdir());
    for (name, [value]) in odd {
        assert_eq!(scalars[&format!("weight_mean/{name}")], [(0, value as f32)]);
    }
}

/// Panics, or fails, while its tensors are visited.
struct Broken {
    panics: bool,
}

impl NamedTensors for Broken {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable("w", &[1.0, 2.0], Role::Trainable);
        assert!(!self.panics, "in the user's visit");
        Ok(())
    }
}

/// A panic in a user's code keeps nothing: not a buffer, not the step.
#[test]
fn a_source_that_panics_does_not_stop_the_logger() {
    let (_dir, logger) = logger();
    logger.log_weights(&Broken { panics: false }, 0).unwrap();
    for _ in 0..10 {
        let broken = || logger.log_weights(&Broken { panics: true }, 1);
        assert!(std::panic::catch_unwind(broken).is_err());
    }
    logger.log_weights(&[("w", [2.0, 3.0])], 1).unwrap();
    logger.log_weights(&[("w", [3.0, 4.0])], 2).unwrap();
    logger.close().unwrap();
    let means = &read_scalars(logger.logdir())["weight_mean/w"];
    assert_eq!(*means, [(0, 1.5), (1, 2.5), (2, 3.5)]);
}

// ---------------------------------------------------------------------------------------
// options

#[test]
fn options_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let create = |options: WeightOptions| {
        Logger::builder(dir.path().join("run"))
            .weights(options)
            .create()
    };
    for rows in [0, 7, 1001, usize::MAX] {
        let options = WeightOptions::new().histogram_rows(rows);
        message(
            create(options),
            &["histogram_rows", &rows.to_string(), "8..=1000"],
        );
    }
    for threads in [0, 65, usize::MAX] {
        let builder = Logger::builder(dir.path().join("run")).threads(threads);
        message(
            builder.create(),
            &["threads", &threads.to_string(), "1..=64"],
        );
    }
    message(
        create(WeightOptions::new().sample_limit(0)),
        &["sample_limit", "0"],
    );
    message(
        create(WeightOptions::new().select(["[a"]).exclude(["*"])),
        &["select", "[a", "glob"],
    );
    let regex = WeightOptions::new().select([Pattern::regex("(")]);
    message(create(regex), &["select", "(", "regular expression"]);
    let layer = WeightOptions::new().for_matching("{", LayerOptions::new());
    message(create(layer), &["for_matching", "{"]);
    message(
        create(WeightOptions::new().group("", "*")),
        &["group", "empty"],
    );
    message(
        create(WeightOptions::new().group("a/", "*")),
        &["group", "a/"],
    );
    // No directory was taken for any of them.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_run_that_exists() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let first = Logger::create(&run).unwrap();
    let fail = Logger::builder(&run).existing(Existing::Fail).create();
    message(
        fail,
        &[
            &run.display().to_string(),
            "holds a run already",
            "Existing::Number",
        ],
    );
    let second = Logger::create(&run).unwrap();
    assert_eq!(second.logdir(), dir.path().join("run_2"));
    let third = Logger::builder(&run)
        .existing(Existing::Append)
        .create()
        .unwrap();
    assert_eq!(third.logdir(), run);
    assert_eq!(event_files(&run).len(), 2);
    drop((first, second, third));
}

// ---------------------------------------------------------------------------------------
// closed

#[test]
fn a_closed_logger_names_its_directory() {
    let (_dir, logger) = logger();
    let scope = logger.scoped("G").unwrap();
    let val = logger.subrun("val").unwrap();
    logger.log_weights(&[("w", [1.0])], 0).unwrap();
    logger.close().unwrap();
    let path = logger.logdir().display().to_string();
    let words = ["closed", path.as_str(), "Logger::create"];
    message(logger.log_scalar("a", 1.0, 0), &words);
    message(logger.log_scalars(&[("a", 1.0)], 0), &words);
    message(logger.log_histogram("a", &[1.0], 0), &words);
    message(logger.log_weights(&[("w", [1.0])], 1), &words);
    message(logger.log_gradients(&[("w", [1.0])], 1), &words);
    message(logger.flush(), &words);
    message(logger.subrun("x").map(drop), &words);
    message(scope.log_scalar("a", 1.0, 0), &words);
    message(val.log_scalar("a", 1.0, 0), &["closed", "val"]);
    // What needs no writer still works.
    logger.close().unwrap();
    logger.set_learning_rate(0.1);
    logger.new_baseline();
    assert_eq!(logger.weight_report().unwrap().parameters.len(), 1);
    assert!(logger.try_weight_report().is_some());
    assert!(logger.board_url("http://x").starts_with("http://x/"));
    assert!(!path.is_empty() && !logger.logdir().join("x").exists());
}

// ---------------------------------------------------------------------------------------
// on_error

/// Makes the writer call `on_error`.
fn clash(logger: &Logger, tag: &str) {
    logger.log_scalar(tag, 1.0, 0).unwrap();
    let _ = logger.flush();
    logger.log_histogram(tag, &[1.0], 0).unwrap();
    let _ = logger.flush();
}

#[test]
fn a_callback_that_panics_is_contained() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::builder(dir.path().join("run"))
        .on_error(|error| panic!("in the user's on_error: {error}"))
        .create()
        .unwrap();
    clash(&logger, "a");
    clash(&logger, "b");
    logger.log_scalar("after", 1.0, 1).unwrap();
    message(logger.close(), &["\"a\""]);
    assert_eq!(read_scalars(logger.logdir())["after"], [(1, 1.0)]);
    assert_eq!(logger.stats().errors, 2);
}

/// A callback may log. What would wait for the thread that it runs on is an error there, and
/// nothing hangs.
#[test]
fn a_callback_that_calls_the_logger() {
    for on_full in [OnFull::Block, OnFull::Drop] {
        let dir = tempfile::tempdir().unwrap();
        let slot: Arc<Mutex<Option<Logger>>> = Arc::default();
        let (sender, seen) = channel();
        let own = slot.clone();
        let callback = move |_: &Error| {
            let guard = own.lock().unwrap();
            let Some(logger) = guard.as_ref() else { return };
            logger.log_scalar("from/callback", 1.0, 1).unwrap();
            // More than fit into the queues: the rest is given up, not waited for.
            for step in 0..70_000 {
                logger.log_scalar("from/many", 1.0, step).unwrap();
            }
            for step in 0..2000 {
                logger
                    .log_histogram("from/histogram", &[1.0], step)
                    .unwrap();
            }
            logger.new_baseline();
            logger.set_learning_rate(0.5);
            let _ = (
                logger.stats(),
                logger.try_weight_report(),
                logger.board_url("http://x"),
            );
            logger
                .scoped("G")
                .unwrap()
                .log_scalar("loss", 1.0, 1)
                .unwrap();
            let results = [
                logger.flush(),
                logger.close(),
                logger.log_weights(&[("w", [1.0])], 0),
                logger.log_gradients(&[("w", [1.0])], 0),
                logger.subrun("val").map(drop),
            ];
            sender.send(results).unwrap();
        };
        let logger = Logger::builder(dir.path().join("run"))
            .on_full(on_full)
            .on_error(callback)
            .create()
            .unwrap();
        *slot.lock().unwrap() = Some(logger.clone());
        clash(&logger, "a");
        let path = logger.logdir().display().to_string();
        for (call, result) in ["flush", "close", "log_weights", "log_gradients", "subrun"]
            .into_iter()
            .zip(seen.recv().unwrap())
        {
            message(result, &[call, &path, "on_error", "another thread"]);
        }
        slot.lock().unwrap().take();
        message(logger.close(), &["\"a\""]);
        let scalars = read_scalars(logger.logdir());
        assert_eq!(scalars["from/callback"], [(1, 1.0)]);
        // All that was taken is there, and what was not is counted; so is the histogram of the
        // clash.
        let stats = logger.stats();
        let many = scalars["from/many"].len() + scalars.get("G/loss").map_or(0, Vec::len);
        let histograms = read_tag(logger.logdir(), "from/histogram").len();
        let written = (many + histograms) as u64;
        assert_eq!(written + stats.dropped, 72_001 + 1);
        assert!(stats.dropped > 1);
    }
}

/// The last clone goes on the writer thread itself, which then ends by itself.
#[test]
fn a_callback_that_drops_the_last_clone() {
    let dir = tempfile::tempdir().unwrap();
    let slot: Arc<Mutex<Option<Logger>>> = Arc::default();
    let (own, (sender, dropped)) = (slot.clone(), channel());
    let callback = move |_: &Error| {
        drop(own.lock().unwrap().take());
        let _ = sender.send(());
    };
    let logger = Logger::builder(dir.path().join("run"))
        .on_error(callback)
        .create()
        .unwrap();
    let run: PathBuf = logger.logdir().to_owned();
    logger.log_scalar("a", 1.0, 0).unwrap();
    logger.flush().unwrap();
    let mut slot = slot.lock().unwrap();
    logger.log_histogram("a", &[1.0], 0).unwrap();
    logger.log_scalar("b", 2.0, 0).unwrap();
    *slot = Some(logger);
    drop(slot);
    dropped.recv().unwrap();
    // The callback is gone with the thread: then all is written.
    assert!(dropped.recv().is_err());
    assert_eq!(read_scalars(run)["b"], [(0, 2.0)]);
}
