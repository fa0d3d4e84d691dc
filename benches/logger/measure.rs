//! Clocks, memory, and the three figures that stand for many runs.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Minimum, median and maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Summary {
    pub(crate) fn of(samples: &[f64]) -> Summary {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.as_slice() {
            [] => f64::NAN,
            all if all.len() % 2 == 1 => all[middle],
            all => (all[middle - 1] + all[middle]) / 2.0,
        };
        let (first, last) = (sorted.first(), sorted.last());
        Summary {
            min: *first.unwrap_or(&f64::NAN),
            median,
            max: *last.unwrap_or(&f64::NAN),
        }
    }

    pub(crate) fn scaled(self, by: f64) -> Summary {
        Summary {
            min: self.min * by,
            median: self.median * by,
            max: self.max * by,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} / {} / {}",
            digits(self.min),
            digits(self.median),
            digits(self.max)
        )
    }
}

/// Three significant digits without an exponent.
pub(crate) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Seconds that `work` takes.
pub(crate) fn seconds(work: impl FnOnce()) -> f64 {
    let since = Instant::now();
    work();
    since.elapsed().as_secs_f64()
}

/// Seconds of CPU that `work` takes on this thread.
pub(crate) fn thread_cpu(work: impl FnOnce()) -> f64 {
    cpu(ClockId::ThreadCPUTime, work)
}

/// Seconds of CPU that `work` takes on all threads, also those that end meanwhile.
#[allow(dead_code, reason = "used by benches/pictures")]
pub(crate) fn process_cpu(work: impl FnOnce()) -> f64 {
    cpu(ClockId::ProcessCPUTime, work)
}

/// Seconds of CPU that the logger's own threads spend while `work` runs. libtorch's are left out:
/// they spin when idle.
pub(crate) fn worker_cpu(work: impl FnOnce()) -> f64 {
    let since = workers();
    work();
    // The worker goes to sleep after it has answered.
    std::thread::sleep(Duration::from_millis(2));
    workers() - since
}

/// Seconds that the threads named after this crate have been on a CPU.
fn workers() -> f64 {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let nanos = tasks.filter_map(|task| {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).ok();
        let is_ours = read("comm")?.starts_with("tch-tensorboard");
        is_ours.then(|| read("schedstat")?.split(' ').next()?.parse::<f64>().ok())?
    });
    nanos.sum::<f64>() * 1e-9
}

fn cpu(clock: ClockId, work: impl FnOnce()) -> f64 {
    let now = || {
        let time = clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let since = now();
    work();
    now() - since
}

/// Bytes of this process in memory: the most since [`reset_peak`], and now.
pub(crate) fn resident() -> (f64, f64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| {
            rest.trim_matches([':', ' ', '\t'])
                .trim_end_matches(" kB")
                .parse::<f64>()
                .ok()
        });
        kib.unwrap_or(f64::NAN) * 1024.0
    };
    (field("VmHWM"), field("VmRSS"))
}

/// Lets the peak count from here.
pub(crate) fn reset_peak() {
    if let Err(error) = fs::write("/proc/self/clear_refs", "5") {
        eprintln!("the peak of memory could not be reset: {error}");
    }
}

/// The CPU's name as the system tells it.
pub(crate) fn cpu_name() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info
            .lines()
            .find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?")
            .to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} (family {}, model {}), {cores} cores",
        field("model name"),
        field("cpu family"),
        field("model")
    )
}
