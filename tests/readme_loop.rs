//! The loop of the README, word for word and with its `?`, on disks that fail: it goes on to its
//! last step, whatever the disk does, and says at the end what happened.
#![cfg(all(unix, feature = "tch"))]

mod common;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{event_files, read_scalars};
use tch::nn::{self, Module, OptimizerConfig};
use tch::{Device, Tensor};
use tch_tensorboard::Logger;

const DIR: &str = "TCH_TENSORBOARD_README_DIR";
/// So many that they take longer than the writer waits before it writes.
const STEPS: usize = 1000;

#[rustfmt::skip]
fn train(batches: &[(Tensor, Tensor)]) -> Result<(), Box<dyn std::error::Error>> {
    let vs = nn::VarStore::new(Device::cuda_if_available());
    let model = nn::linear(vs.root() / "fc", 64, 10, Default::default());
    let mut opt = nn::Adam::default().build(&vs, 1e-3)?;
    let logger = Logger::create("runs/mlp")?; // runs/mlp, or runs/mlp_2 if that is taken
    for (step, (x, y)) in batches.iter().enumerate() {
        let loss = model.forward(x).cross_entropy_for_logits(y);
        opt.backward_step(&loss);
        logger.log_scalar("loss/train", &loss, step)?; // a number, or a one-element tensor
        logger.log_weights(&vs, step)?; // weights and weight deltas of every variable
    }
    println!("{}", logger.weight_report()?); // a table: one verdict for each variable
    logger.close()?; // or let it drop
    Ok(())
}

#[test]
fn the_loop_is_that_of_the_readme() {
    let this = include_str!("readme_loop.rs");
    let begin = this.find("fn train(").unwrap();
    let end = begin + this[begin..].find("\n}\n").unwrap();
    assert!(include_str!("../README.md").contains(&this[begin..end]));
}

/// Runs the loop in a process of its own and gives back its directory and what it said.
fn train_in_child(test: &str) -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir.path())
        .env("OMP_NUM_THREADS", "1")
        // No clock decides which weights are written.
        .env("TCH_TENSORBOARD_OVERHEAD", "unlimited")
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}\n{told}");
    assert!(said.contains("1 passed"), "{test} was not run");
    (dir, said, told)
}

/// The loop has come to its end, and one line has told of the fault.
fn assert_went_on(said: &str, told: &str, words: &[&str]) {
    assert!(
        said.contains("fc.weight"),
        "the report was not printed: {said}"
    );
    let lines: Vec<&str> = told
        .lines()
        .filter(|line| line.starts_with("tch-tensorboard: "))
        .collect();
    let of_fault: Vec<&&str> = lines
        .iter()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .collect();
    assert_eq!(of_fault.len(), 1, "{words:?} in {told}");
    // The fault itself, and what was dropped, if any.
    assert!(lines.len() <= 2, "{told}");
}

fn batches() -> Vec<(Tensor, Tensor)> {
    tch::manual_seed(1);
    (0..STEPS)
        .map(|_| {
            let x = Tensor::randn([8, 64], (tch::Kind::Float, Device::Cpu));
            let y = Tensor::randint(10, [8], (tch::Kind::Int64, Device::Cpu));
            (x, y)
        })
        .collect()
}

/// Trains while another thread brings the fault about once the file has grown.
fn train_through(fault: impl FnOnce(&Path) + Send + 'static) -> Result<(), String> {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return Ok(());
    };
    let run = dir.join("runs/mlp");
    let batches = batches();
    let trouble = std::thread::spawn(move || {
        let grown = |run: &Path| {
            let files = fs::read_dir(run).ok()?;
            files
                .filter_map(|file| fs::metadata(file.ok()?.path()).ok())
                .map(|file| file.len())
                .max()
                .filter(|bytes| *bytes > 20_000)
        };
        while grown(&run).is_none() {
            std::thread::yield_now();
        }
        fault(&run);
    });
    let result = train(&batches).map_err(|error| error.to_string());
    trouble.join().unwrap();
    result
}

#[test]
fn a_full_disk() {
    let (dir, said, told) = train_in_child("train_on_a_full_disk");
    assert_went_on(&said, &told, &["cannot write", "runs/mlp", "tfevents"]);
    let scalars = read_partial(&dir.path().join("runs/mlp"));
    assert!((1..STEPS).contains(&scalars), "{scalars}");
}

fn read_partial(run: &Path) -> usize {
    let file = event_files(run).remove(0);
    let events = tch_tensorboard::EventReader::open(file).unwrap();
    events.take_while(Result::is_ok).count()
}

#[test]
#[ignore = "run by a_full_disk"]
fn train_on_a_full_disk() {
    // SAFETY: plain system calls on a structure that is whole; the signal is only switched off.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit), 0);
        limit.rlim_cur = 100_000;
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    if std::env::var_os(DIR).is_some() {
        let error = train(&batches()).unwrap_err().to_string();
        assert!(error.contains("could not be written"), "{error}");
    }
}

#[test]
fn a_deleted_run() {
    let (dir, said, told) = train_in_child("train_while_the_run_is_deleted");
    assert_went_on(&said, &told, &["deleted", "lost", "runs/mlp", "tfevents"]);
    assert!(!dir.path().join("runs/mlp").exists());
}

#[test]
#[ignore = "run by a_deleted_run"]
fn train_while_the_run_is_deleted() {
    let result = train_through(|run| fs::remove_dir_all(run).unwrap());
    assert_eq!(result.is_err(), std::env::var_os(DIR).is_some());
}

#[test]
fn a_removed_file() {
    let (dir, said, told) = train_in_child("train_while_the_file_is_removed");
    assert_went_on(&said, &told, &["deleted", "goes on in", "runs/mlp"]);
    let scalars = read_scalars(dir.path().join("runs/mlp"));
    assert_goes_to_the_end(&scalars["loss/train"]);
    // Ever fewer of the weights are written, and the last ones.
    let (last, _) = scalars["weight_mean/fc.weight"].last().unwrap();
    assert_eq!(*last, STEPS as i64 - 1);
}

/// A tail of the run without a gap.
fn assert_goes_to_the_end(points: &[(i64, f32)]) {
    let steps: Vec<i64> = points.iter().map(|(step, _)| *step).collect();
    let expected: Vec<i64> = (steps[0]..STEPS as i64).collect();
    assert_eq!(steps, expected);
}

#[test]
#[ignore = "run by a_removed_file"]
fn train_while_the_file_is_removed() {
    let result = train_through(|run| fs::remove_file(event_files(run).remove(0)).unwrap());
    assert_eq!(result.is_err(), std::env::var_os(DIR).is_some());
}

#[test]
fn a_file_cut_to_nothing() {
    let (dir, said, told) = train_in_child("train_while_the_file_is_cut");
    assert_went_on(&said, &told, &["cut short", "goes on in", "runs/mlp"]);
    let files = event_files(&dir.path().join("runs/mlp"));
    assert_goes_to_the_end(&read_scalars(&files[1])["loss/train"]);
}

#[test]
#[ignore = "run by a_file_cut_to_nothing"]
fn train_while_the_file_is_cut() {
    let result = train_through(|run| {
        let file = event_files(run).remove(0);
        let cut = OpenOptions::new().write(true).truncate(true).open(file);
        cut.unwrap();
    });
    assert_eq!(result.is_err(), std::env::var_os(DIR).is_some());
}
