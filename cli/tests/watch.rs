//! `report --watch` beside a run that is being written.
#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use tch_tensorboard::{Cadence, Logger, LoggerBuilder, Overhead, WeightOptions};

const EVERY: &str = "--watch=0.1";

fn program(args: &[&str], logdir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tch-tensorboard"));
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    command.args(args).arg(logdir);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Ends a program that does not end, so that a test fails instead of waiting for ever.
fn guarded(child: Child) -> Child {
    let pid = Pid::from_child(&child);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(60));
        let _ = kill_process(pid, Signal::KILL);
    });
    child
}

fn interrupt(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::INT).unwrap();
}

/// The exit status, and what was said on standard error.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut err = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code(), err)
}

/// A run that grows when it is told to.
struct Training {
    logger: Logger,
    step: i64,
}

impl Training {
    fn begin(run: &Path) -> Training {
        Training {
            logger: Training::builder(run).create().unwrap(),
            step: 0,
        }
    }

    /// Each step is in the log, whatever the clock says.
    fn builder(run: &Path) -> LoggerBuilder {
        Logger::builder(run)
            .max_file_bytes(64 << 10)
            .weights(WeightOptions::new().scalars(Cadence::EveryCall))
            .overhead(Overhead::Unlimited)
    }

    /// So many further steps, at which the second variable rests or not.
    fn go_on(&mut self, steps: i64, rests: bool) {
        for _ in 0..steps {
            let weight = |seed: f32, step: i64| -> Vec<f32> {
                let element = |index: i64| (index as f32 + seed).sin() + 1e-3 * (step as f32).cos();
                (0..40).map(element).collect()
            };
            let second = if rests { -1 } else { self.step };
            let weights = [
                ("fc1.weight", weight(1.0, self.step)),
                ("fc2.weight", weight(2.0, second)),
            ];
            self.logger.log_weights(&weights[..], self.step).unwrap();
            self.step += 1;
        }
        self.logger.flush().unwrap();
    }
}

/// Reads lines until one is as it is expected to be; each is a whole JSON object.
fn line_with(lines: &mut BufReader<ChildStdout>, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it has ended");
        let value: Value = serde_json::from_str(&line).unwrap();
        if is_it(&value) {
            return value;
        }
    }
}

/// What `report` says of the run `a` as it is now.
fn whole(logdir: &Path) -> Value {
    let args = ["report", "--json", "--recompute", "--run=a"];
    let whole = program(&args, logdir).output().unwrap();
    serde_json::from_slice(&whole.stdout).unwrap()
}

fn step_of(line: &Value) -> i64 {
    line["models"][0]["step"].as_i64().unwrap_or(-1)
}

#[test]
fn a_program_gets_a_line_each_time_a_run_has_grown() {
    let temp = tempfile::tempdir().unwrap();
    let mut training = Training::begin(&temp.path().join("a"));
    training.go_on(10, false);
    // Without --json, too: this is no terminal.
    let mut child = program(&["report", EVERY, "--recompute"], temp.path());
    let mut child = guarded(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let first = line_with(&mut lines, |_| true);
    assert_eq!((&first["run"], step_of(&first)), (&"a".into(), 9));
    training.go_on(50, false);
    let line = line_with(&mut lines, |line| step_of(line) == 59);
    assert_eq!(line["faulty"], false);
    training.go_on(100, true);
    let line = line_with(&mut lines, |line| step_of(line) == 159);
    assert_eq!(line["faulty"], true, "{line}");
    assert_eq!(line["variables"][1]["verdict"], "not_updated");
    // A run that begins later, and files that come later.
    let mut second = Training::begin(&temp.path().join("b"));
    second.go_on(30, false);
    line_with(&mut lines, |line| line["run"] == "b" && step_of(line) == 29);
    training.go_on(2000, false);
    let files = std::fs::read_dir(temp.path().join("a")).unwrap();
    let is_log = |name: &str| name.contains("tfevents");
    let files = files.filter(|file| is_log(&file.as_ref().unwrap().path().to_string_lossy()));
    assert!(files.count() > 2, "no new file was begun");
    // What it comes to is what `report` says of the whole.
    let whole = whole(temp.path());
    assert_eq!(step_of(&whole), training.step - 1);
    line_with(&mut lines, |line| *line == whole);

    interrupt(&child);
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let mut rest = rest.lines().map(|line| serde_json::from_str(line).unwrap());
    assert!(
        rest.all(|line: Value| line != Value::Null),
        "whole lines only"
    );
    let (code, err) = ended(child);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn a_session_that_takes_back_steps_is_read_as_by_a_report_of_the_whole() {
    let temp = tempfile::tempdir().unwrap();
    let run = temp.path().join("a");
    let mut training = Training::begin(&run);
    training.go_on(60, false);
    training.logger.close().unwrap();
    let mut child = program(&["report", EVERY, "--recompute"], temp.path());
    let mut child = guarded(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    line_with(&mut lines, |line| step_of(line) == 59);
    let builder = Training::builder(&run).resume_from(30);
    let mut training = Training {
        logger: builder.create().unwrap(),
        step: 30,
    };
    training.go_on(50, false);
    let whole = whole(temp.path());
    assert_eq!(step_of(&whole), 79);
    line_with(&mut lines, |line| *line == whole);
    interrupt(&child);
    assert_eq!(ended(child), (Some(0), String::new()));
}

#[test]
fn it_waits_for_a_run_and_ends_with_the_status_of_its_report() {
    let temp = tempfile::tempdir().unwrap();
    let logdir = temp.path().join("runs");
    let mut child = program(&["report", EVERY, "--json", "--variable", "fc2.*"], &logdir);
    let mut child = guarded(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("no weights in") {
        assert_ne!(err.read_line(&mut said).unwrap(), 0, "{said}");
    }
    assert!(
        said.contains("cannot open") && said.contains("waiting"),
        "{said}"
    );
    let mut training = Training::begin(&logdir.join("a"));
    training.go_on(60, true);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let line = line_with(&mut lines, |line| line["faulty"] == true);
    assert_eq!(line["variables"].as_array().unwrap().len(), 1);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

// As `tch-tensorboard report --watch --json runs | head -1`, after the end of training.
#[test]
fn it_ends_when_nobody_reads_any_more_though_nothing_grows() {
    let temp = tempfile::tempdir().unwrap();
    Training::begin(&temp.path().join("a")).go_on(30, false);
    let mut child = program(&["report", EVERY, "--json"], temp.path());
    let mut child = guarded(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    line_with(&mut lines, |_| true);
    drop(lines);
    let (code, err) = ended(child);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn a_misspelt_variable_is_said_once_and_ends_with_status_2() {
    let temp = tempfile::tempdir().unwrap();
    let mut training = Training::begin(&temp.path().join("a"));
    training.go_on(30, false);
    let args = ["report", EVERY, "--variable=fc1.*", "--variable=fc3.*"];
    let mut child = program(&args, temp.path());
    let mut child = guarded(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    line_with(&mut lines, |_| true);
    training.go_on(30, false);
    line_with(&mut lines, |line| step_of(line) == 59);
    interrupt(&child);
    let (code, err) = ended(child);
    assert_eq!(code, Some(2), "{err}");
    assert_eq!(err.matches("matches no variable").count(), 1, "{err}");
}

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    screen: File,
    seen: String,
}

impl Terminal {
    fn new(mut command: Command, rows: u16, columns: u16) -> Terminal {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let path = name.to_str().unwrap();
        let side = File::options().read(true).write(true).open(path).unwrap();
        let child = guarded(command.stdout(side).spawn().unwrap());
        // The command holds the other side of the terminal.
        drop(command);
        Terminal {
            child,
            screen: terminal.into(),
            seen: String::new(),
        }
    }

    /// False when the program has closed its side.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = self.screen.read(&mut bytes).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }

    /// The screen as it is drawn last, once it has this text.
    fn picture_with(&mut self, text: &str) -> String {
        loop {
            assert!(self.read(), "it has ended: {}", self.seen);
            let drawn = self.seen.rsplit(CLEAR).next().unwrap();
            if drawn.contains(text) && drawn.contains("Ctrl-C ends") {
                return drawn.to_owned();
            }
        }
    }
}

const CLEAR: &str = "\u{1b}[H\u{1b}[J";
const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

#[test]
fn a_terminal_shows_the_newest_report_and_keeps_the_last() {
    let temp = tempfile::tempdir().unwrap();
    let mut training = Training::begin(&temp.path().join("a"));
    training.go_on(40, false);
    let command = program(&["report", EVERY, "--recompute"], temp.path());
    let mut terminal = Terminal::new(command, 24, 100);
    let picture = terminal.picture_with("a, step 39: ok");
    assert!(terminal.seen.starts_with(ENTER), "{picture}");
    training.go_on(60, true);
    let picture = terminal.picture_with("step 99: ");
    assert!(picture.contains("\u{1b}[1;31mFAULT\u{1b}[0m"), "{picture}");
    assert!(!picture.contains("step 39"), "{picture}");
    assert!(picture.ends_with("\nevery 0.1 s; Ctrl-C ends"), "{picture}");

    interrupt(&terminal.child);
    while terminal.read() {}
    let (_, kept) = terminal.seen.split_once(LEAVE).unwrap();
    assert!(
        kept.contains("step 99: ") && kept.ends_with("\r\n"),
        "{kept}"
    );
    assert!(!kept.contains("Ctrl-C"), "{kept}");
    assert_eq!(ended(terminal.child), (Some(3), String::new()));
}

#[test]
fn a_small_terminal_shows_the_first_lines_and_how_many_are_missing() {
    let temp = tempfile::tempdir().unwrap();
    for index in 0..12 {
        let mut training = Training::begin(&temp.path().join(format!("run{index}")));
        training.go_on(100, index == 3);
    }
    let mut command = program(&["report", EVERY], temp.path());
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::new(command, 20, 50);
    let picture = terminal.picture_with("12 runs with weights: 1 has faults");
    assert!(!picture.contains('\u{1b}'), "{picture}");
    // Long lines take more than one row.
    let rows = picture
        .split("\r\n")
        .map(|line| line.chars().count().div_ceil(50).max(1));
    assert!(rows.sum::<usize>() <= 20, "{picture}");
    let (_, last) = picture.rsplit_once("\r\n").unwrap();
    assert!(last.contains("more lines below"), "{last}");
    // Names in the order in which people count.
    let (nine, ten) = (picture.find("run9"), picture.find("run10"));
    assert!(nine.unwrap() < ten.unwrap(), "{picture}");
    interrupt(&terminal.child);
    while terminal.read() {}
    let (_, kept) = terminal.seen.split_once(LEAVE).unwrap();
    assert_eq!(kept.matches("variable  ").count(), 12, "{kept}");
    assert_eq!(ended(terminal.child), (Some(3), String::new()));
}
