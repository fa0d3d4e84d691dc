//! Many threads and processes at once, a writer that is behind, and logging after a fork: nothing
//! that a call accepted is lost, what is given up is counted, and nobody waits for ever.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;

use common::histograms::read_histograms;
use common::{read_scalars, read_tag};
use tch_tensorboard::{Error, EventReader, Logger, OnFull, Stats, WeightReport};
use tempfile::TempDir;

const THREADS: usize = 64;

/// The compiler's word: all of these may be shared and sent.
#[allow(dead_code)]
fn may_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Logger>();
    shared::<Error>();
    shared::<Stats>();
    shared::<WeightReport>();
    shared::<EventReader>();
    fn survives_panics<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    survives_panics::<Logger>();
}

fn logger() -> (TempDir, Logger) {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    (dir, logger)
}

#[test]
fn what_64_threads_log_is_all_there() {
    const STEPS: i64 = 200;
    let (_dir, logger) = logger();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for number in 0..THREADS {
            let (logger, barrier) = (logger.clone(), &barrier);
            scope.spawn(move || {
                let model = logger.scoped(&format!("m{number}")).unwrap();
                let val = logger.subrun("val").unwrap();
                barrier.wait();
                for step in 0..STEPS {
                    let value = (number as i64 * STEPS + step) as f64;
                    logger
                        .log_scalar(&format!("own/{number}"), value, step)
                        .unwrap();
                    logger
                        .log_scalars(&[("all", value), ("all2", value)], step)
                        .unwrap();
                    val.log_scalar(&format!("own/{number}"), value, step)
                        .unwrap();
                    if step % 10 == 0 {
                        logger
                            .log_histogram(&format!("h/{number}"), &[value, 0.5], step)
                            .unwrap();
                        model.log_weights(&[("w", [value, 1.0])], step).unwrap();
                    }
                }
            });
        }
    });
    logger.close().unwrap();
    let stats = logger.stats();
    assert_eq!(stats.dropped, 0);
    let calls = STEPS as u64 * 3 + 2 * (STEPS as u64 / 10);
    assert_eq!(stats.queued, THREADS as u64 * calls);
    let scalars = read_scalars(logger.logdir());
    let val = read_scalars(logger.logdir().join("val"));
    for number in 0..THREADS {
        let expected: Vec<(i64, f32)> = (0..STEPS)
            .map(|step| (step, (number as i64 * STEPS + step) as f32))
            .collect();
        let tag = format!("own/{number}");
        // In order, too: each thread's calls stay in the order it made them.
        assert_eq!(scalars[&tag], expected);
        assert_eq!(val[&tag], expected);
        assert_eq!(
            read_histograms(logger.logdir(), &format!("h/{number}")).len(),
            20
        );
        let means = &scalars[&format!("weight_mean/m{number}/w")];
        let steps: Vec<i64> = means.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, (0..20).map(|step| step * 10).collect::<Vec<_>>());
    }
    assert_eq!(scalars["all"].len(), THREADS * STEPS as usize);
    assert_eq!(scalars["all"], scalars["all2"]);
}

#[test]
fn threads_that_ask_for_the_same_sub_run_get_one() {
    for _ in 0..20 {
        let (_dir, logger) = logger();
        let barrier = Barrier::new(8);
        let directories: BTreeSet<PathBuf> = thread::scope(|scope| {
            let ask = || {
                barrier.wait();
                let val = logger.subrun("val").unwrap();
                val.log_scalar("loss", 1.0, 0).unwrap();
                val.logdir().to_owned()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(directories, BTreeSet::from([logger.logdir().join("val")]));
        logger.close().unwrap();
        assert_eq!(read_scalars(logger.logdir().join("val"))["loss"].len(), 8);
    }
}

/// One thread closes while the others go on. Each of their calls is written, or refused, or counted
/// as dropped.
#[test]
fn closing_while_others_log_loses_nothing_silently() {
    for round in 0..20 {
        let (_dir, logger) = logger();
        let accepted = AtomicU64::new(0);
        let barrier = Barrier::new(9);
        thread::scope(|scope| {
            for number in 0..8 {
                let (logger, accepted, barrier) = (logger.clone(), &accepted, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for step in 0.. {
                        let result = match number % 2 {
                            0 => logger.log_scalar("scalar", 1.0, step),
                            _ => logger.log_histogram("histogram", &[1.0], step),
                        };
                        match result {
                            Ok(()) => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                            Err(Error::Closed { .. }) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            barrier.wait();
            thread::sleep(Duration::from_millis(round));
            logger.close().unwrap();
        });
        let stats = logger.stats();
        assert_eq!(stats.written, stats.queued, "{stats:?}");
        assert_eq!(
            stats.queued + stats.dropped,
            accepted.into_inner(),
            "{stats:?}"
        );
        let scalars = read_tag(logger.logdir(), "scalar").len();
        let histograms = read_tag(logger.logdir(), "histogram").len();
        assert_eq!((scalars + histograms) as u64, stats.written);
    }
}

#[test]
fn threads_that_drop_their_clones_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    let run = logger.logdir().to_owned();
    let threads: Vec<_> = (0..8_i64)
        .map(|number| {
            let logger = logger.clone();
            thread::spawn(move || {
                for step in 0..100 * number {
                    logger.log_scalar(&format!("t{number}"), 1.0, step).unwrap();
                }
            })
        })
        .collect();
    // The thread that is last writes the rest.
    drop(logger);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let scalars = read_scalars(run);
    for number in 1..8_i64 {
        assert_eq!(scalars[&format!("t{number}")].len() as i64, 100 * number);
    }
}

// ---- a writer that is behind

/// A logger whose writer stands still, inside `on_error`, until the sender is used.
fn stalled(on_full: OnFull) -> (TempDir, Logger, Sender<()>) {
    let dir = tempfile::tempdir().unwrap();
    let (entered, inside) = channel();
    let (release, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let logger = Logger::builder(dir.path().join("run"))
        .on_full(on_full)
        .on_error(move |_| {
            let _ = entered.send(());
            let _ = gate.lock().unwrap().recv();
        })
        .create()
        .unwrap();
    logger.log_histogram("clash", &[1.0], 0).unwrap();
    logger.flush().unwrap();
    // The same tag for two things is what the callback is told.
    logger.log_scalar("clash", 1.0, 0).unwrap();
    inside.recv().unwrap();
    (dir, logger, release)
}

/// What a stalled logger counts before the test begins: the histogram and the scalar, which is
/// dropped as an event.
fn since_stalled(stats: Stats) -> (u64, u64) {
    (stats.queued - 2, stats.dropped - 1)
}

fn weights(step: i64) -> [(&'static str, [f64; 2]); 1] {
    [("w", [step as f64, 1.0])]
}

/// Snapshots of a model this small that may wait: see the pool of buffers.
const BUFFERS: u64 = 16;

#[test]
fn drop_gives_snapshots_up_counts_them_and_writes_no_delta_over_the_gap() {
    let (_dir, logger, release) = stalled(OnFull::Drop);
    for step in 0..30 {
        logger.log_weights(&weights(step), step).unwrap();
    }
    let (queued, dropped) = since_stalled(logger.stats());
    assert_eq!((queued, dropped), (BUFFERS, 30 - BUFFERS));
    assert!(logger.stats().waited.is_zero());
    release.send(()).unwrap();
    let _ = logger.flush();
    for step in 30..33 {
        logger.log_weights(&weights(step), step).unwrap();
        logger.flush().unwrap();
    }
    drop(release);
    let _ = logger.close();
    let scalars = read_scalars(logger.logdir());
    let steps = |tag: &str| {
        scalars[tag]
            .iter()
            .map(|(step, _)| *step)
            .collect::<Vec<_>>()
    };
    let kept = queued as i64;
    let expected: Vec<i64> = (0..kept).chain(30..33).collect();
    assert_eq!(steps("weight_mean/w"), expected);
    // Each delta is that of one step: none for the first snapshot, none for the one after the gap.
    let expected: Vec<i64> = (1..kept).chain(31..33).collect();
    assert_eq!(steps("weight_delta_mean/w"), expected);
    assert!(
        scalars["weight_delta_max_abs/w"]
            .iter()
            .all(|(_, change)| *change == 1.0)
    );
}

#[test]
fn drop_gives_histograms_and_scalars_up_and_counts_them() {
    let (_dir, logger, release) = stalled(OnFull::Drop);
    // 80 MB, of which 64 may wait.
    let large = vec![1.0_f32; 1 << 20];
    for step in 0..20 {
        logger.log_histogram("large", &large, step).unwrap();
    }
    let (large_queued, large_dropped) = since_stalled(logger.stats());
    assert_eq!(large_queued + large_dropped, 20);
    assert!(large_dropped > 0, "{large_dropped}");
    for step in 0..100_000_i64 {
        logger.log_scalar("many", 1.0, step).unwrap();
    }
    let (queued, dropped) = since_stalled(logger.stats());
    assert_eq!(queued + dropped, 100_020);
    assert!(queued > 60_000 && dropped > 30_000, "{queued} {dropped}");
    drop(release);
    let _ = logger.close();
    let stats = logger.stats();
    assert_eq!(
        read_tag(logger.logdir(), "large").len() as u64,
        large_queued
    );
    assert_eq!(
        read_tag(logger.logdir(), "many").len() as u64,
        queued - large_queued
    );
    // One more for the histogram before; the scalar of the clash became no event.
    assert_eq!(stats.written, queued + 1);
}

#[test]
fn block_waits_for_the_writer_and_counts_the_time() {
    let (_dir, logger, release) = stalled(OnFull::Block);
    thread::scope(|scope| {
        let training = scope.spawn(|| {
            for step in 0..30 {
                logger.log_weights(&weights(step), step).unwrap();
            }
        });
        // As many as there are buffers for, and then no more.
        while since_stalled(logger.stats()).0 < BUFFERS {
            thread::yield_now();
        }
        // Time for the next call to begin waiting, which nothing shows from outside.
        thread::sleep(Duration::from_millis(300));
        assert!(!training.is_finished());
        assert_eq!(since_stalled(logger.stats()), (BUFFERS, 0));
        drop(release);
        training.join().unwrap();
    });
    let _ = logger.close();
    let stats = logger.stats();
    assert!(
        !stats.waited.is_zero() && stats.waited <= stats.held,
        "{stats:?}"
    );
    assert_eq!(since_stalled(stats), (30, 0));
    let means = &read_scalars(logger.logdir())["weight_mean/w"];
    assert_eq!(means.len(), 30);
}

#[test]
fn closing_while_calls_wait_counts_each_of_them() {
    let (_dir, logger, release) = stalled(OnFull::Block);
    thread::scope(|scope| {
        for number in 0..3 {
            let logger = logger.scoped(&format!("m{number}")).unwrap();
            scope.spawn(move || {
                for step in 0..60 {
                    if logger.log_weights(&weights(step), step).is_err() {
                        break;
                    }
                }
            });
        }
        while since_stalled(logger.stats()).0 < 3 * BUFFERS {
            thread::yield_now();
        }
        drop(release);
        let _ = logger.close();
    });
    let stats = logger.stats();
    // Of each snapshot taken there is a point.
    let scalars = read_scalars(logger.logdir());
    let points: usize = (0..3)
        .map(|number| scalars[&format!("weight_mean/m{number}/w")].len())
        .sum();
    assert_eq!(points as u64, since_stalled(stats).0);
}

/// Training that is ahead of the writer for good: what else is logged must not wait for the end of
/// that.
#[test]
fn scalars_reach_the_file_while_the_writer_is_behind() {
    let (_dir, logger) = logger();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let keep_busy = || {
            let values: Vec<f32> = (0..1 << 20).map(|i| i as f32).collect();
            let mut step = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                logger.log_histogram("busy", &values, step).unwrap();
                step += 1;
            }
        };
        scope.spawn(keep_busy);
        // The writer is behind from the first wait on.
        while logger.stats().waited.is_zero() {
            thread::yield_now();
        }
        logger.log_scalar("loss", 1.0, 0).unwrap();
        let in_file = || read_partial(&logger).iter().any(|tag| tag == "loss");
        // Two minutes at most; without the writer's attention it would never come.
        let seen = (0..2400).any(|_| {
            thread::sleep(Duration::from_millis(50));
            in_file()
        });
        stop.store(true, Ordering::Relaxed);
        assert!(seen, "the scalar waited for the end of the histograms");
    });
    logger.close().unwrap();
}

/// The tags in the file as far as it has come.
fn read_partial(logger: &Logger) -> Vec<String> {
    use tch_tensorboard::proto::event::What;
    let file = common::event_files(logger.logdir()).remove(0);
    let events = EventReader::open(file).unwrap().filter_map(Result::ok);
    let tags = events.filter_map(|event| match event.what {
        Some(What::Summary(summary)) => Some(summary.value.into_iter().map(|value| value.tag)),
        _ => None,
    });
    tags.flatten().collect()
}

// ---- processes

const DIR: &str = "TCH_TENSORBOARD_THREADS_DIR";

fn child(test: &str, dir: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(DIR, dir);
    command
}

#[test]
fn processes_that_start_at_once_get_each_a_directory() {
    const PROCESSES: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("cnn");
    let mut children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            let mut command = child("create_in_child", &run);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    // All have started and wait for their standard input to close.
    let mut outputs: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().unwrap()).lines())
        .collect();
    for lines in &mut outputs {
        assert!(lines.any(|line| line.unwrap().ends_with("ready")));
    }
    children
        .iter_mut()
        .for_each(|child| drop(child.stdin.take()));
    for (mut child, lines) in children.into_iter().zip(outputs) {
        lines.for_each(|line| drop(line.unwrap()));
        assert!(child.wait().unwrap().success());
    }
    let mut writers = BTreeSet::new();
    for number in 1..=PROCESSES {
        let name = if number == 1 {
            "cnn".into()
        } else {
            format!("cnn_{number}")
        };
        let scalars = read_scalars(dir.path().join(&name));
        let points = &scalars["process"];
        assert_eq!(points.len(), 100, "{name}");
        // All from one process.
        assert!(
            points.iter().all(|(_, process)| *process == points[0].1),
            "{name}"
        );
        writers.insert(points[0].1.to_bits());
    }
    assert_eq!(writers.len(), PROCESSES);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), PROCESSES);
}

#[test]
#[ignore = "run by processes_that_start_at_once_get_each_a_directory"]
fn create_in_child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    println!("ready");
    let mut nothing = String::new();
    std::io::stdin().read_line(&mut nothing).unwrap();
    let logger = Logger::create(dir).unwrap();
    for step in 0..100 {
        logger
            .log_scalar("process", std::process::id(), step)
            .unwrap();
    }
    logger.close().unwrap();
}

#[cfg(unix)]
#[test]
fn a_forked_process_does_not_hang_and_disturbs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = child("fork_in_child", dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let scalars = read_scalars(dir.path().join("run"));
    assert_eq!(scalars["loss"], [(0, 1.0), (1, 2.0)]);
    assert_eq!(scalars.len(), 1, "{scalars:?}");
    // A logger of the child's own.
    assert_eq!(read_scalars(dir.path().join("run_2"))["loss"], [(0, 3.0)]);
}

#[cfg(unix)]
#[test]
#[ignore = "run by a_forked_process_does_not_hang_and_disturbs_nothing"]
fn fork_in_child() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let logger = Logger::create(dir.join("run")).unwrap();
    logger.log_scalar("loss", 1.0, 0).unwrap();
    logger.flush().unwrap();
    // SAFETY: the child calls the logger, the allocator (which glibc keeps usable) and `_exit`.
    let process = unsafe { libc::fork() };
    if process == 0 {
        // A child that hangs is ended by the alarm, which the parent sees.
        // SAFETY: plain system calls.
        unsafe {
            libc::alarm(60);
            let right = std::panic::catch_unwind(|| use_after_fork(&logger, &dir)).is_ok();
            libc::_exit(i32::from(!right));
        }
    }
    let mut status = -1;
    // SAFETY: `status` outlives the call.
    assert_eq!(unsafe { libc::waitpid(process, &mut status, 0) }, process);
    assert_eq!(status, 0, "the forked process hung or panicked");
    logger.log_scalar("loss", 2.0, 1).unwrap();
    logger.close().unwrap();
}

#[cfg(unix)]
fn use_after_fork(logger: &Logger, dir: &std::path::Path) {
    // More than any queue holds: at once an error, and not one that comes too late.
    let first = (0..70_000_i64).find_map(|step| logger.log_scalar("forked", 1.0, step).err());
    let text = first.unwrap().to_string();
    assert!(
        text.contains("forked") && text.contains("make a new one"),
        "{text}"
    );
    for step in 0..2000_i64 {
        logger.log_histogram("forked", &[1.0], step).unwrap_err();
        logger.log_weights(&[("w", [1.0])], step).unwrap_err();
    }
    logger.flush().unwrap_err();
    logger.subrun("val").unwrap_err();
    let text = logger.close().unwrap_err().to_string();
    assert!(text.contains("forked"), "{text}");
    logger.weight_report().unwrap_err();
    logger.board_url("http://x");
    drop(logger.clone());
    let own = Logger::create(dir.join("run")).unwrap();
    own.log_scalar("loss", 3.0, 0).unwrap();
    own.close().unwrap();
}

/// The first kind of a tag wins, so the order decides which call is refused: that of the calls of
/// one thread, however the writer thread happens to look at them.
#[test]
fn what_one_thread_logs_first_is_first() {
    for round in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let refused = Mutex::new(Vec::new());
        let refused = std::sync::Arc::new(refused);
        let told = refused.clone();
        let logger = Logger::builder(dir.path().join("run"))
            .on_error(move |error| told.lock().unwrap().push(error.to_string()))
            .create()
            .unwrap();
        for step in 0..3 {
            logger.log_scalar("scalars", 1.0, step).unwrap();
        }
        logger.log_histogram("scalars", &[1.0, 2.0], 3).unwrap();
        logger.log_histogram("histograms", &[1.0, 2.0], 0).unwrap();
        for step in 1..4 {
            logger.log_scalar("histograms", 1.0, step).unwrap();
        }
        logger.log_text("texts", "a text", 0).unwrap();
        logger.log_scalar("texts", 1.0, 1).unwrap();
        logger.close().unwrap_err();
        let refused = refused.lock().unwrap();
        let scalars = read_scalars(logger.logdir());
        let steps: Vec<i64> = scalars["scalars"].iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [0, 1, 2], "round {round}: {refused:?}");
        assert_eq!(scalars.len(), 1, "round {round}: {refused:?}");
        assert_eq!(read_tag(logger.logdir(), "histograms").len(), 1);
        assert_eq!(read_tag(logger.logdir(), "texts").len(), 1);
        assert_eq!(refused.len(), 3, "round {round}: {refused:?}");
        for (error, held) in refused.iter().zip(["scalars", "histograms", "texts"]) {
            assert!(error.contains(&format!("holds {held} already")), "{error}");
        }
    }
}

/// Events of several scalars stay whole on either side of a payload.
#[test]
fn payloads_keep_their_place_among_scalars() {
    let (_dir, logger) = logger();
    for step in 0..2000_i64 {
        let values = [("a", step as f64), ("b", -step as f64)];
        logger.log_scalars(&values, step).unwrap();
        logger.log_text("text", &step.to_string(), step).unwrap();
    }
    logger.close().unwrap();
    let values = common::read_values(logger.logdir());
    let place: Vec<(i64, &str)> = values.iter().map(|(step, v)| (*step, &*v.tag)).collect();
    let expected = (0..2000).flat_map(|step| ["a", "b", "text"].map(|tag| (step, tag)));
    assert!(place.iter().copied().eq(expected));
    assert_eq!(logger.stats().queued, 4000);
    assert_eq!(logger.stats().dropped, 0);
}

/// The writer thread meets a run before what is logged to it, though the two come by different
/// ways.
#[test]
fn the_first_values_of_a_sub_run_are_written() {
    for round in 0..50 {
        let (_dir, logger) = logger();
        logger.log_histogram("values", &[1.0, 2.0], 0).unwrap();
        let val = logger.subrun("val").unwrap();
        val.log_scalar("loss", 1.0, 0).unwrap();
        val.log_text("note", "a text", 0).unwrap();
        logger.close().unwrap();
        let values = common::read_values(val.logdir());
        assert_eq!(values.len(), 2, "round {round}");
    }
}
