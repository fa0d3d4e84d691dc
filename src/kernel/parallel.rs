//! Many tensors on a bounded number of threads.

use std::time::Duration;

use crate::kernel::analysis::Analysis;
use crate::kernel::elements::Elements;
use crate::kernel::tensor::Kernel;

/// Below this many elements in all, starting threads costs more than it saves.
const WORTH_THREADS: usize = 1 << 20;

/// One tensor to analyse; see [`Kernel::analyse`].
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    /// `None` for a tensor that is not to be analysed.
    pub(crate) current: Option<Elements<'a>>,
    pub(crate) previous: Option<Elements<'a>>,
    pub(crate) rows: usize,
    pub(crate) histograms: bool,
}

impl Task<'_> {
    fn elements(&self) -> usize {
        self.current.map_or(0, |current| current.len())
    }

    fn run(&self, kernel: &mut Kernel) -> Option<Analysis> {
        Some(kernel.analyse(self.current?, self.previous, self.rows, self.histograms))
    }
}

/// A kernel for each thread.
pub(crate) struct Kernels {
    each: Vec<Kernel>,
    /// The CPU time of a thread, if anybody asks.
    clock: fn() -> Duration,
    /// What threads beside the caller's have computed since it was asked for.
    spent: Duration,
}

impl Kernels {
    /// At least one.
    pub(crate) fn new(threads: usize) -> Kernels {
        Kernels {
            each: (0..threads.max(1)).map(|_| Kernel::new()).collect(),
            clock: || Duration::ZERO,
            spent: Duration::ZERO,
        }
    }

    /// Measures with this clock what each thread computes.
    pub(crate) fn with_clock(self, clock: fn() -> Duration) -> Kernels {
        Kernels { clock, ..self }
    }

    /// What threads beside the caller's have computed since this was last asked.
    pub(crate) fn take_spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// The analyses, in the order of the tasks.
    pub(crate) fn analyse(&mut self, tasks: &[Task<'_>]) -> Vec<Option<Analysis>> {
        let all: usize = tasks.iter().map(Task::elements).sum();
        match self.each.as_mut_slice() {
            [] => Vec::new(),
            [first, others @ ..] if others.is_empty() || all < WORTH_THREADS => {
                tasks.iter().map(|task| task.run(first)).collect()
            }
            each => {
                let (analyses, spent) = on_threads(each, tasks, self.clock);
                self.spent += spent;
                analyses
            }
        }
    }
}

/// Gives each kernel about as many elements: the largest tensors first, each to the one with the
/// least so far. Returns, too, what threads beside the caller's have computed.
fn on_threads(
    kernels: &mut [Kernel],
    tasks: &[Task<'_>],
    clock: fn() -> Duration,
) -> (Vec<Option<Analysis>>, Duration) {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(tasks.get(index).map_or(0, Task::elements)));
    let mut shares: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); kernels.len()];
    for index in order {
        if let (Some(share), Some(task)) = (
            shares.iter_mut().min_by_key(|share| share.0),
            tasks.get(index),
        ) {
            share.0 += task.elements();
            share.1.push(index);
        }
    }
    let run = |kernel: &mut Kernel, share: &[usize]| -> Vec<(usize, Option<Analysis>)> {
        let tasks = share
            .iter()
            .filter_map(|&index| Some((index, tasks.get(index)?)));
        tasks
            .map(|(index, task)| (index, task.run(kernel)))
            .collect()
    };
    let run_beside = |kernel: &mut Kernel, share: &[usize]| {
        let since = clock();
        let done = run(kernel, share);
        (done, clock().saturating_sub(since))
    };
    let mut analyses: Vec<Option<Analysis>> = vec![None; tasks.len()];
    let mut spent = Duration::ZERO;
    std::thread::scope(|scope| {
        let mut pairs = std::iter::zip(kernels, &shares);
        let own = pairs.next();
        let (mut others, mut left_over) = (Vec::new(), Vec::new());
        for (kernel, (_, share)) in pairs {
            let thread = std::thread::Builder::new();
            match thread.spawn_scoped(scope, || run_beside(kernel, share)) {
                Ok(other) => others.push(other),
                // The system has no room for another thread: this one does its share.
                Err(_) => left_over.push(share),
            }
        }
        let mut put = |done: Vec<(usize, Option<Analysis>)>| {
            for (index, analysis) in done {
                if let Some(place) = analyses.get_mut(index) {
                    *place = analysis;
                }
            }
        };
        if let Some((kernel, (_, share))) = own {
            put(run(kernel, share));
            left_over
                .into_iter()
                .for_each(|share| put(run(kernel, share)));
        }
        for other in others {
            match other.join() {
                Ok((done, by_it)) => {
                    put(done);
                    spent += by_it;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    (analyses, spent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_give_what_one_gives_in_the_same_order() {
        let sizes = [3, 700_000, 0, 500_000, 100, 64];
        let values: Vec<Vec<f32>> = sizes
            .iter()
            .map(|&size| (0..size).map(|index| (index as f32 * 0.37).sin()).collect())
            .collect();
        let before: Vec<Vec<f32>> = values
            .iter()
            .map(|values| values.iter().map(|value| value * 0.999).collect())
            .collect();
        let mut tasks: Vec<Task<'_>> = std::iter::zip(&values, &before)
            .map(|(values, before)| Task {
                current: Some(Elements::F32(values)),
                previous: Some(Elements::F32(before)),
                rows: 1,
                histograms: true,
            })
            .collect();
        tasks.push(Task {
            current: None,
            previous: None,
            rows: 1,
            histograms: false,
        });
        let one = Kernels::new(1).analyse(&tasks);
        assert_eq!(one.len(), tasks.len());
        assert!(one[6].is_none() && one[1].is_some());
        for threads in [2, 3, 16] {
            assert_eq!(Kernels::new(threads).analyse(&tasks), one, "{threads}");
        }
    }
}
