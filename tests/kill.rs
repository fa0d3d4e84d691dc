//! Processes that are killed: whatever the moment, what `flush` had acknowledged is in the files,
//! and the run can be gone on with.
#![cfg(unix)]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::event_files;
use tch_tensorboard::proto::{event::What, session_log::SessionStatus};
use tch_tensorboard::{Cadence, EventReader, Logger, WeightOptions};

const DIR: &str = "TCH_TENSORBOARD_KILL_DIR";
const HANDLED: &str = "TCH_TENSORBOARD_KILL_HANDLED";

/// Runs of which each is killed and gone on with many times.
const RUNS: u64 = 10;
const KILLS: u64 = 24;

/// Numbers that look random and are the same each time: Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn child(test: &str, run: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, run)
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// What a child has said: the step it began at, and the newest one that a flush had acknowledged.
#[derive(Debug, Default)]
struct Said {
    began: Option<i64>,
    flushed: Option<i64>,
}

impl Said {
    /// A line that the kill has cut says nothing.
    fn take(&mut self, line: &str) {
        let number = |prefix| {
            let rest = line.split_once(prefix)?.1;
            rest.strip_suffix('\n')?.parse().ok()
        };
        self.began = number("began ").or(self.began);
        self.flushed = number("flushed ").or(self.flushed);
    }
}

/// Reads what the child says until it has said `lines` more lines or ended.
fn listen(output: &mut impl BufRead, said: &mut Said, lines: usize) {
    for _ in 0..lines {
        let mut line = String::new();
        if output.read_line(&mut line).unwrap() == 0 {
            break;
        }
        said.take(&line);
    }
}

/// The steps at which all of a call's records are readable.
struct Readable {
    loss: BTreeSet<i64>,
    values: BTreeSet<i64>,
    weights: BTreeSet<i64>,
    torn: usize,
    stopped: bool,
}

fn read(run: &Path) -> Readable {
    let mut found = Readable {
        loss: BTreeSet::new(),
        values: BTreeSet::new(),
        weights: BTreeSet::new(),
        torn: 0,
        stopped: false,
    };
    for file in event_files(run) {
        for event in EventReader::open(&file).unwrap() {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    // A kill may tear the last record, and nothing else.
                    assert!(error.is_truncated(), "{error}");
                    found.torn += 1;
                    continue;
                }
            };
            found.stopped = match &event.what {
                Some(What::SessionLog(session)) => session.status() == SessionStatus::Stop,
                _ => false,
            };
            let Some(What::Summary(summary)) = event.what else {
                continue;
            };
            for value in summary.value {
                match value.tag.as_str() {
                    "loss" => found.loss.insert(event.step),
                    "values" => found.values.insert(event.step),
                    "weight_mean/w" => found.weights.insert(event.step),
                    _ => false,
                };
            }
        }
    }
    found
}

fn assert_readable(found: &Readable, acknowledged: &BTreeSet<i64>) {
    for (tag, steps) in [
        ("loss", &found.loss),
        ("values", &found.values),
        ("weights", &found.weights),
    ] {
        let lost: Vec<_> = acknowledged.difference(steps).collect();
        assert!(lost.is_empty(), "{tag}: {lost:?} were flushed and are lost");
    }
}

#[test]
fn nothing_that_was_flushed_is_lost_by_240_kills() {
    let (mut kills, mut torn, mut steps) = (0, 0, 0);
    for seed in 0..RUNS {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let mut random = Random(seed);
        let mut acknowledged = BTreeSet::new();
        for _ in 0..KILLS {
            let mut process = child("log_until_killed", &run);
            let mut output = BufReader::new(process.stdout.take().unwrap());
            let mut said = Said::default();
            // Some are killed while they start, claim, read the run or begin the file; the others
            // somewhere in between.
            let lines = random.below(40) as usize;
            listen(&mut output, &mut said, lines);
            let until = Instant::now() + Duration::from_micros(random.below(3000));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            process.kill().unwrap();
            assert_eq!(process.wait().unwrap().signal(), Some(libc::SIGKILL));
            kills += 1;
            listen(&mut output, &mut said, usize::MAX);
            if let (Some(began), Some(flushed)) = (said.began, said.flushed) {
                acknowledged.extend(began..=flushed);
            }
            if run.exists() {
                assert_readable(&read(&run), &acknowledged);
            }
        }
        torn += read(&run).torn;
        steps += acknowledged.len();
        // And it can be ended in order.
        let logger = Logger::builder(&run).resume().create().unwrap();
        logger.close().unwrap();
        assert_readable(&read(&run), &acknowledged);
    }
    println!("{kills} kills, {steps} steps acknowledged, {torn} torn tails");
    assert!(steps > 1000, "{steps}: the children hardly got to work");
}

/// One line in one write: a kill does not hold part of it back in a buffer.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

static ENDS: AtomicBool = AtomicBool::new(false);

#[test]
#[ignore = "run by the others, which kill it"]
fn log_until_killed() {
    let Some(run) = child_dir() else { return };
    extern "C" fn end(_: libc::c_int) {
        ENDS.store(true, Ordering::SeqCst);
    }
    let is_handled = std::env::var_os(HANDLED).is_some();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // What ignores a signal (nohup, a shell's background) hands that down to its children.
        let action = if is_handled {
            end as *const () as libc::sighandler_t
        } else {
            libc::SIG_DFL
        };
        // SAFETY: the handler does no more than store to an atomic.
        unsafe { libc::signal(signal, action) };
    }
    // Files of a few dozen steps, so that many kills fall between two of them.
    let each = WeightOptions::new().scalars(Cadence::EveryCall);
    let builder = Logger::builder(run)
        .weights(each)
        .resume()
        .max_file_bytes(1 << 16)
        .flush_interval(Duration::from_millis(1));
    let logger = builder.create().unwrap();
    let first = logger.resumed_at().unwrap_or(0);
    say(&format!("began {first}\n"));
    let values: Vec<f64> = (0..100).map(f64::from).collect();
    for step in first.. {
        if ENDS.load(Ordering::SeqCst) {
            break;
        }
        logger.log_scalar("loss", step as f64, step).unwrap();
        logger.log_histogram("values", &values, step).unwrap();
        logger
            .log_weights(&[("w", [step as f64, 1.0])], step)
            .unwrap();
        if step % 3 == 0 {
            logger.flush().unwrap();
            say(&format!("flushed {step}\n"));
        }
    }
    logger.close().unwrap();
    say("closed\n");
}

/// How long a process is stopped, in seconds; `TCH_TENSORBOARD_STOP_SECS=60` for the minute of the
/// documentation.
const STOP_SECS: u64 = 2;

/// Stopped by a batch system or a debugger, with the clock going on.
#[test]
fn a_stopped_process_goes_on_where_it_was() {
    let secs = std::env::var("TCH_TENSORBOARD_STOP_SECS");
    let secs = secs.map_or(STOP_SECS, |secs| secs.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let mut process = child("log_until_killed", &run);
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut said = Said::default();
    listen(&mut output, &mut said, 30);
    let signal = |signal| {
        // SAFETY: a plain system call; the child has not been waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(process.id() as i32, signal) }, 0);
    };
    signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(secs));
    let before = said.flushed.unwrap();
    assert_readable(&read(&run), &(0..=before).collect());
    signal(libc::SIGCONT);
    listen(&mut output, &mut said, 300);
    process.kill().unwrap();
    process.wait().unwrap();
    listen(&mut output, &mut said, usize::MAX);
    let flushed = said.flushed.unwrap();
    assert!(flushed > before + 100, "{flushed} after {before}");
    assert_readable(&read(&run), &(0..=flushed).collect());
}

#[test]
fn signals_without_a_handler_lose_nothing_that_was_flushed() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let mut process = child("log_until_killed", &run);
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut said = Said::default();
        listen(&mut output, &mut said, 30);
        // SAFETY: a plain system call; the child has not been waited for, so its number is its own.
        assert_eq!(unsafe { libc::kill(process.id() as i32, signal) }, 0);
        assert_eq!(process.wait().unwrap().signal(), Some(signal));
        listen(&mut output, &mut said, usize::MAX);
        let acknowledged = (0..=said.flushed.unwrap()).collect();
        let found = read(&run);
        assert_readable(&found, &acknowledged);
        assert!(!found.stopped);
    }
}

#[test]
fn signals_that_are_handled_lose_nothing_at_all() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "log_until_killed", "--ignored", "--nocapture"])
            .env(DIR, &run)
            .env(HANDLED, "1")
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        listen(&mut output, &mut Said::default(), 30);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(process.id() as i32, signal) }, 0);
        // To the end: a child whose reader is gone fails.
        let lines = output.lines().map(Result::unwrap);
        let closed = lines.filter(|line| line == "closed").count() == 1;
        assert!(process.wait().unwrap().success() && closed);
        let found = read(&run);
        let newest = *found.loss.last().unwrap();
        assert_readable(&found, &(0..=newest).collect());
        assert!(found.stopped && found.torn == 0);
    }
}
