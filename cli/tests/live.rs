//! Logs that change while they are read: they grow, go on in new files, lose files, and vanish.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use tch_tensorboard::Logger;

/// Exit statuses that `--help` promises: all is well, and something could not be done.
const FINE: i32 = 0;
const COULD_NOT: i32 = 2;

/// The exit status, standard output and standard error of a command.
fn run(words: &[&str], logdir: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"));
    let output = command.args(words).arg(logdir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // A signal has no code, and a panic another one.
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn files(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.to_string_lossy().contains("tfevents"))
        .collect();
    files.sort();
    files
}

/// Steps of the tag `loss` in exported CSV.
fn steps(csv: &str) -> Vec<i64> {
    let rows = csv.lines().filter(|line| line.contains(",loss,"));
    rows.map(|line| line.split(',').nth(2).unwrap().parse().unwrap())
        .collect()
}

/// Logs until told to stop, a weight and a loss each step, into small files.
fn write(path: &Path, stop: &AtomicBool, written: &AtomicI64) {
    let builder = Logger::builder(path).max_file_bytes(64 << 10);
    let logger = builder
        .flush_interval(Duration::from_millis(5))
        .create()
        .unwrap();
    let mut weight = [1.0_f32, -2.0, 0.5, 0.25];
    for step in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        weight.iter_mut().for_each(|weight| *weight *= 0.999);
        logger
            .log_weights(&("fc.weight", &weight[..]), step)
            .unwrap();
        logger
            .log_scalar("loss", 1.0 / (step + 1) as f64, step)
            .unwrap();
        if step % 100 == 0 {
            logger.flush().unwrap();
            written.store(step, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_micros(100));
    }
    logger.close().unwrap();
}

#[test]
fn a_run_that_grows_and_goes_on_in_new_files_is_read_up_to_its_end() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("a");
    let (stop, written) = (AtomicBool::new(false), AtomicI64::new(-1));
    thread::scope(|scope| {
        let writer = scope.spawn(|| write(&path, &stop, &written));
        while written.load(Ordering::Relaxed) < 0 && !writer.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        let (mut rounds, mut last) = (0, 0);
        while rounds < 5 || (files(&path).len() < 4 && !writer.is_finished()) {
            let acknowledged = written.load(Ordering::Relaxed);
            let (code, csv, err) = run(&["export", "--tag", "loss"], temp.path());
            assert_eq!(code, FINE, "{err}");
            let steps = steps(&csv);
            // All that was acknowledged, in order, nothing twice and nothing left out.
            assert!(
                steps.len() as i64 > acknowledged,
                "{} of {acknowledged}",
                steps.len()
            );
            assert!(steps.iter().copied().eq(0..steps.len() as i64));
            assert!(steps.len() >= last);
            last = steps.len();
            for words in [
                &["inspect"][..],
                &["inspect", "--json"],
                &["verify"],
                &["report"],
            ] {
                let (code, out, err) = run(words, temp.path());
                assert_eq!(code, FINE, "{words:?}: {out}{err}");
                assert!(!out.is_empty(), "{words:?}: {err}");
            }
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    assert!(files(&path).len() >= 4, "no new file was begun");
    let (code, out, err) = run(&["verify", "--strict"], temp.path());
    assert_eq!((code, err.as_str()), (FINE, ""), "{out}");
}

/// Two runs of several files.
fn two_runs(root: &Path) {
    for name in ["a", "b"] {
        let logger = Logger::builder(root.join(name))
            .max_file_bytes(64 << 10)
            .create()
            .unwrap();
        for step in 0..6000 {
            logger.log_scalar("loss", f64::from(step), step).unwrap();
        }
        logger.close().unwrap();
    }
    assert!(files(&root.join("a")).len() > 2);
}

const COMMANDS: [&[&str]; 5] = [
    &["export"],
    &["inspect"],
    &["inspect", "--json"],
    &["verify"],
    &["report"],
];

#[test]
fn files_and_runs_that_vanish_are_said_and_break_nothing() {
    let temp = tempfile::tempdir().unwrap();
    for (round, words) in COMMANDS.iter().cycle().take(3 * COMMANDS.len()).enumerate() {
        let root = temp.path().join(round.to_string());
        two_runs(&root);
        let (code, out, err) = thread::scope(|scope| {
            let reader = scope.spawn(|| run(words, &root));
            // At another moment each time, a file first and then all of the run.
            thread::sleep(Duration::from_millis(2 * round as u64));
            let _ = fs::remove_file(&files(&root.join("a"))[1]);
            let _ = fs::remove_dir_all(root.join("a"));
            reader.join().unwrap()
        });
        // `report` has nothing to say of scalars alone.
        assert!(
            matches!(code, FINE | COULD_NOT),
            "{words:?}: {code} {out}{err}"
        );
        assert!(
            !err.contains("panicked") && !err.contains("damaged"),
            "{words:?}: {err}"
        );
        if code == COULD_NOT {
            assert!(!err.is_empty(), "{words:?}: {out}");
        }
        if words[0] == "export" {
            let b: Vec<&str> = out.lines().filter(|line| line.starts_with("b,")).collect();
            assert_eq!(b.len(), 6000, "the other run is whole");
        }
    }
}

#[test]
fn a_run_that_is_gone_is_said() {
    let temp = tempfile::tempdir().unwrap();
    for words in COMMANDS {
        let (code, out, err) = run(words, &temp.path().join("gone"));
        assert_eq!((code, out.as_str()), (COULD_NOT, ""), "{words:?}");
        assert!(
            err.contains("cannot open") && err.contains("gone"),
            "{words:?}: {err}"
        );
    }
}

#[test]
fn a_file_without_one_whole_record_is_no_event_file() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("notes.tfevents.txt");
    fs::write(&file, "this is a text that happens to have such a name").unwrap();
    let expected = "is no event file: its 47 bytes hold no whole record";
    for words in [&["inspect"][..], &["verify"]] {
        let (code, out, err) = run(words, temp.path());
        assert_eq!(code, 1, "{words:?}: {out}{err}");
        assert!(
            out.contains(expected) || err.contains(expected),
            "{words:?}: {out}{err}"
        );
    }
    // The first header of a file that is being written.
    fs::write(&file, [24, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let (code, out, err) = run(&["verify"], temp.path());
    assert_eq!(code, FINE, "{out}{err}");
    assert!(out.contains("no whole record yet"), "{out}{err}");
}
