//! A clock that jumps while a run is written, and a writer thread that is a hundred times slower
//! than training.
//!
//! Both are done by a `clock_gettime` of this program's own, which the standard library finds
//! before that of the system: it shifts the time of day, and holds the writer thread, which looks
//! at the clock after each piece of work, for a multiple of the processor time that this took.
#![cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]

mod common;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::{event_files, read_events, read_scalars};
use tch_tensorboard::{Error, Logger, LoggerBuilder, OnFull, Overhead};

const NANOS: i64 = 1_000_000_000;

/// Seconds that the time of day is ahead of the truth.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// How many times slower the writer is; 0 leaves it alone.
static SLOWNESS: AtomicI64 = AtomicI64::new(0);
/// For how long the writer was held, in nanoseconds.
static HELD: AtomicI64 = AtomicI64::new(0);
/// The two are the same for all of the process.
static ONE_TEST: Mutex<()> = Mutex::new(());

thread_local! {
    /// Processor time of this thread when it last looked at the clock.
    static SEEN: Cell<i64> = const { Cell::new(0) };
}

/// In place of the one of the C library.
///
/// # Safety
/// That of the function it stands in for: `time` points to a place for the answer.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the system checks what it is given.
    let done = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if done == 0 && clock == libc::CLOCK_REALTIME {
        // SAFETY: the system has just written there.
        unsafe { (*time).tv_sec += AHEAD.load(Relaxed) };
    }
    if clock == libc::CLOCK_MONOTONIC && SLOWNESS.load(Relaxed) > 0 && is_writer() {
        hold();
    }
    done as c_int
}

fn is_writer() -> bool {
    let mut name = [0 as c_char; 16];
    // SAFETY: a name has 16 bytes at most, and ends with a zero.
    let name = unsafe {
        libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr());
        CStr::from_ptr(name.as_ptr())
    };
    name == c"tch-tensorboard"
}

/// Keeps this thread from working for as many times as long as it has worked since the last call.
fn hold() {
    let worked = processor_time() - SEEN.get();
    let nanos = worked * (SLOWNESS.load(Relaxed) - 1);
    let rest = libc::timespec {
        tv_sec: nanos / NANOS,
        tv_nsec: nanos % NANOS,
    };
    // SAFETY: a time of its own, and nothing is asked back.
    unsafe { libc::nanosleep(&rest, std::ptr::null_mut()) };
    HELD.fetch_add(nanos, Relaxed);
    SEEN.set(processor_time());
}

fn processor_time() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let clock = libc::CLOCK_THREAD_CPUTIME_ID;
    // SAFETY: a place for the answer.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &mut time) };
    time.tv_sec * NANOS + time.tv_nsec
}

/// Keeps other tests from running, and takes back what this one has set.
struct Alone(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Alone {
    fn new() -> Alone {
        Alone(ONE_TEST.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        AHEAD.store(0, Relaxed);
        SLOWNESS.store(0, Relaxed);
    }
}

type Told = Arc<Mutex<Vec<Error>>>;

fn listening(builder: LoggerBuilder) -> (Logger, Told) {
    let told = Told::default();
    let kept = told.clone();
    let builder = builder.on_error(move |error| kept.lock().unwrap().push(error.clone()));
    (builder.create().unwrap(), told)
}

fn steps(run: &Path, tag: &str) -> Vec<i64> {
    let scalars = read_scalars(run);
    scalars[tag].iter().map(|(step, _)| *step).collect()
}

/// An hour back, years ahead, before 1970, beyond what ten digits hold, and to where it was.
const JUMPS: [i64; 6] = [0, -3600, 300_000_000, -4_000_000_000, 9_000_000_000, 0];

#[test]
fn a_clock_that_jumps_while_training_goes_on_loses_nothing() {
    const STEPS: i64 = 400;
    let _alone = Alone::new();
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    // Two sessions, so that the last leg of the one is ahead of all of the other.
    let mut step = 0;
    for session in 0..2 {
        let builder = Logger::builder(&run).overhead(Overhead::Unlimited);
        let builder = builder.max_file_bytes(1 << 16);
        let (logger, told) = listening(builder.resume());
        for ahead in &JUMPS[session..JUMPS.len() - 1 + session] {
            AHEAD.store(*ahead, Relaxed);
            for _ in 0..STEPS {
                logger.log_scalar("loss", step as f64, step).unwrap();
                let weights = [step as f32, 1.0, 2.0];
                logger.log_weights(&[("w", &weights)], step).unwrap();
                step += 1;
            }
            logger.flush().unwrap();
        }
        logger.close().unwrap();
        let stats = logger.stats();
        assert_eq!((stats.dropped, stats.errors), (0, 0));
        assert!(told.lock().unwrap().is_empty());
    }
    assert!(
        event_files(&run).len() > 10,
        "no file was followed by another"
    );
    // The files in the order of their names: no step before another one, none missing.
    assert_eq!(steps(&run, "loss"), (0..step).collect::<Vec<_>>());
    // These are thinned out as the run grows.
    let kept = steps(&run, "weight_mean/w");
    assert!(
        kept.len() > 1000 && kept.is_sorted_by(|a, b| a < b),
        "{kept:?}"
    );
    let times: Vec<f64> = read_events(&run)
        .iter()
        .map(|event| event.wall_time)
        .collect();
    assert!(times.iter().all(|time| time.is_finite()));
    let jumps = times
        .windows(2)
        .filter(|pair| (pair[0] - pair[1]).abs() > 3000.0);
    assert!(jumps.count() >= 9, "the clock did not jump");
}

/// The clock changes at any moment, also between two records of one write and between a file's name
/// and its content.
#[test]
fn a_clock_that_jumps_while_a_write_is_under_way_loses_nothing() {
    const STEPS: i64 = 3000;
    const HOUR: i64 = 3600;
    let _alone = Alone::new();
    let dir = tempfile::tempdir().unwrap();
    let builder = Logger::builder(dir.path().join("run"))
        .max_file_bytes(1 << 16)
        .flush_interval(Duration::from_millis(1));
    let (logger, told) = listening(builder);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Relaxed) {
                for ahead in [HOUR, 0, -HOUR, 0] {
                    AHEAD.store(ahead, Relaxed);
                    thread::sleep(Duration::from_micros(200));
                }
            }
        });
        for step in 0..STEPS {
            logger.log_scalar("loss", step as f64, step).unwrap();
            logger.log_histogram("values", &[1.0, 2.0], step).unwrap();
            if step % 50 == 0 {
                logger.flush().unwrap();
            }
        }
        logger.close().unwrap();
        ends.store(true, Relaxed);
    });
    assert!(told.lock().unwrap().is_empty(), "{told:?}");
    let stats = logger.stats();
    assert_eq!((stats.dropped, stats.errors), (0, 0), "{stats:?}");
    assert!(event_files(logger.logdir()).len() > 5);
    // The files in the order of their names.
    assert_eq!(
        steps(logger.logdir(), "loss"),
        (0..STEPS).collect::<Vec<_>>()
    );
    let times: Vec<f64> = read_events(logger.logdir())
        .iter()
        .map(|event| event.wall_time)
        .collect();
    let jumps = times
        .windows(2)
        .filter(|pair| (pair[0] - pair[1]).abs() > 3000.0);
    assert!(jumps.count() > 10, "the clock did not jump");
}

/// As many values as make the writer's work far longer than that of the caller.
const VALUES: usize = 20_000;

fn train(logger: &Logger, steps: i64) {
    for step in 0..steps {
        let weights: Vec<f32> = (0..VALUES).map(|i| (i as i64 + step) as f32).collect();
        logger.log_weights(&[("w", &weights)], step).unwrap();
        logger.log_scalar("loss", 1.0, step).unwrap();
        // The rest of a training step, in which a writer of the usual speed is done.
        thread::sleep(Duration::from_millis(1));
    }
}

/// A logger whose writer is slow from here on.
fn slowed(dir: &Path, on_full: OnFull) -> (Logger, Told) {
    let builder = Logger::builder(dir.join("run")).overhead(Overhead::Unlimited);
    let (logger, told) = listening(builder.on_full(on_full));
    logger.flush().unwrap();
    HELD.store(0, Relaxed);
    SLOWNESS.store(100, Relaxed);
    (logger, told)
}

#[test]
fn a_writer_that_is_slow_by_100x_holds_training_and_loses_nothing() {
    const STEPS: i64 = 60;
    let _alone = Alone::new();
    let dir = tempfile::tempdir().unwrap();
    let (logger, told) = slowed(dir.path(), OnFull::Block);
    train(&logger, STEPS);
    logger.close().unwrap();
    assert!(HELD.load(Relaxed) > 0, "the writer was not slow");
    let stats = logger.stats();
    assert!(!stats.waited.is_zero());
    assert_eq!((stats.dropped, stats.errors), (0, 0));
    assert!(told.lock().unwrap().is_empty());
    let all: Vec<i64> = (0..STEPS).collect();
    for tag in ["loss", "weight_mean/w"] {
        assert_eq!(steps(logger.logdir(), tag), all, "{tag}");
    }
    assert_eq!(steps(logger.logdir(), "weight_delta_mean/w"), all[1..]);
}

#[test]
fn a_writer_that_is_slow_by_100x_drops_what_it_counts_when_told_so() {
    const STEPS: i64 = 300;
    let _alone = Alone::new();
    let dir = tempfile::tempdir().unwrap();
    let (logger, _) = slowed(dir.path(), OnFull::Drop);
    train(&logger, STEPS);
    let stats = logger.stats();
    assert!(stats.waited.is_zero() && stats.dropped > 0, "{stats:?}");
    assert_eq!(stats.queued + stats.dropped, 2 * STEPS as u64);
    // The end of the run is no business of this test's patience.
    SLOWNESS.store(0, Relaxed);
    let _ = logger.close();
    assert!(HELD.load(Relaxed) > 0, "the writer was not slow");
    let stats = logger.stats();
    assert_eq!(
        steps(logger.logdir(), "loss"),
        (0..STEPS).collect::<Vec<_>>()
    );
    let kept = steps(logger.logdir(), "weight_mean/w");
    assert_eq!(
        kept.len() as u64,
        2 * STEPS as u64 - stats.dropped - STEPS as u64
    );
    assert!(kept.is_sorted());
    // No delta over a gap.
    let successors = kept.windows(2).filter(|pair| pair[1] == pair[0] + 1);
    let successors: Vec<i64> = successors.map(|pair| pair[1]).collect();
    assert_eq!(steps(logger.logdir(), "weight_delta_mean/w"), successors);
}
