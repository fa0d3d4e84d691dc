//! Host memory for snapshots: aligned for every element type, and pooled so that a training step allocates nothing.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};

use crate::model::types::OnFull;
use crate::platform::huge_pages;
use crate::platform::sync::{Condvar, Mutex, MutexGuard};
use crate::source::gradient_sampler::GradientSample;

/// One cache line: vectors of it are aligned for every element type and for wide loads.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes aligned to a cache line.
#[derive(Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    /// Which snapshot it holds; 0 for none.
    pub(crate) stamp: u64,
    /// What was seen of the gradients when it was taken, beside the plan's variables.
    pub(crate) gradient_samples: Vec<GradientSample>,
}

impl Buffer {
    /// Alignment of the first byte.
    pub(crate) const ALIGNMENT: usize = 64;

    /// `None` when the system has no room for it. Its pages are there, so that the copies into it are all alike.
    pub(crate) fn try_with_bytes(bytes: usize) -> Option<Buffer> {
        let mut lines = Buffer::reserve(bytes)?;
        huge_pages::ask_for(lines.spare_capacity_mut());
        lines.resize(Buffer::lines(bytes), Line::zeroed());
        Some(Buffer {
            lines,
            ..Buffer::default()
        })
    }

    /// True when the system has room for a buffer of this size. Nothing is touched.
    pub(crate) fn has_room(bytes: usize) -> bool {
        Buffer::reserve(bytes).is_some()
    }

    fn reserve(bytes: usize) -> Option<Vec<Line>> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(Buffer::lines(bytes)).ok()?;
        Some(lines)
    }

    fn lines(bytes: usize) -> usize {
        bytes.div_ceil(Buffer::ALIGNMENT)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }

    /// The bytes and the gradient samples, to be filled together.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u8], &mut Vec<GradientSample>) {
        (
            bytemuck::cast_slice_mut(&mut self.lines),
            &mut self.gradient_samples,
        )
    }

    fn fits(&self, bytes: usize) -> bool {
        self.lines.len() == Buffer::lines(bytes)
    }
}

/// So many buffers of a large model exist at most: the previous snapshot, the one being analysed, the one being filled.
const BUFFERS: usize = 3;

/// Those of a small model may be more, as many as fit into this: the worker may have to wait for a core, a few milliseconds
/// each time, and training must not.
const FURTHER_BYTES: usize = 4 << 20;
const FURTHER_BUFFERS: usize = 13;

fn most_buffers(bytes: usize) -> usize {
    BUFFERS + (FURTHER_BYTES / bytes.max(1)).min(FURTHER_BUFFERS)
}

/// True for snapshots so small that there are buffers enough while the worker looks away for some milliseconds.
pub(crate) fn are_plenty(bytes: usize) -> bool {
    most_buffers(bytes) >= 2 * BUFFERS
}

/// Returns of a buffer, in a row, that found another one idle, after which the idle one is given back to the system.
const IDLE_RETURNS: u32 = 32;

/// The buffers of one model. They bound memory and, with it, how far training can run ahead of the worker.
#[derive(Default)]
pub(crate) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    free: Vec<Arc<Buffer>>,
    /// Buffers that exist, free or not.
    total: usize,
    idle_returns: u32,
    closed: bool,
}

impl Pool {
    /// A buffer of at least `bytes` that nobody else holds, and how long the call waited for it. `None` when the worker is
    /// behind under [`OnFull::Drop`], or gone.
    pub(crate) fn take(&self, bytes: usize, on_full: OnFull) -> (Option<Arc<Buffer>>, Duration) {
        let mut state = self.lock();
        let mut waited = Duration::ZERO;
        loop {
            if state.closed {
                return (None, waited);
            }
            let unshared = |buffer: &Arc<Buffer>| Arc::strong_count(buffer) == 1;
            if let Some(place) = state.free.iter().rposition(unshared) {
                let mut buffer = state.free.swap_remove(place);
                if let Some(own) = Arc::get_mut(&mut buffer).filter(|own| own.fits(bytes)) {
                    own.stamp = 0;
                    return (Some(buffer), waited);
                }
                // The model has another size now, of which there may be fewer.
                state.total -= 1;
                continue;
            }
            if state.total < most_buffers(bytes) {
                state.total += 1;
                drop(state);
                return (self.allocate(bytes), waited);
            }
            if on_full == OnFull::Drop {
                return (None, waited);
            }
            let since = Instant::now();
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            waited += since.elapsed();
        }
    }

    /// A buffer that is counted already; not any more when the system has no room for it.
    fn allocate(&self, bytes: usize) -> Option<Arc<Buffer>> {
        let buffer = Buffer::try_with_bytes(bytes).map(Arc::new);
        if buffer.is_none() {
            self.lock().total -= 1;
        }
        buffer
    }

    /// Gives a buffer back. One that nobody has needed for a while is freed, so that a run at rest holds two.
    pub(crate) fn put(&self, buffer: Arc<Buffer>) {
        let mut state = self.lock();
        state.idle_returns = if state.free.is_empty() {
            0
        } else {
            state.idle_returns + 1
        };
        if state.idle_returns >= IDLE_RETURNS {
            state.idle_returns = 0;
            state.total -= 1;
        } else {
            state.free.push(buffer);
        }
        drop(state);
        self.returned.notify_one();
    }

    /// The free buffer that still holds a snapshot, if no call has used it since.
    pub(crate) fn take_stamped(&self, stamp: u64) -> Option<Arc<Buffer>> {
        let mut state = self.lock();
        let place = state.free.iter().position(|buffer| buffer.stamp == stamp)?;
        Some(state.free.swap_remove(place))
    }

    /// Wakes every waiting caller; there will be no more buffers.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain counters: a panic elsewhere while it was locked cannot have left it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of values that may wait for the worker beside snapshots.
const BUDGET: usize = 64 << 20;

/// Bounds the memory of values that wait, whatever their number. A single value may exceed it when nothing else waits.
#[derive(Default)]
pub(crate) struct Budget {
    state: Mutex<Spent>,
    returned: Condvar,
}

#[derive(Default)]
struct Spent {
    bytes: usize,
    closed: bool,
}

impl Budget {
    /// True when `bytes` may be used, and how long the call waited for it.
    pub(crate) fn take(&self, bytes: usize, on_full: OnFull) -> (bool, Duration) {
        let mut state = self.lock();
        let mut waited = Duration::ZERO;
        while !state.closed && state.bytes > 0 && state.bytes.saturating_add(bytes) > BUDGET {
            if on_full == OnFull::Drop {
                return (false, waited);
            }
            let since = Instant::now();
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            waited += since.elapsed();
        }
        state.bytes = state.bytes.saturating_add(bytes);
        (!state.closed, waited)
    }

    /// Gives back what was taken.
    pub(crate) fn put(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.returned.notify_all();
    }

    /// Wakes every waiting caller; nothing is granted any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_large_enough() {
        for bytes in [0, 1, 63, 64, 65, 1000] {
            let mut buffer = Buffer::try_with_bytes(bytes).expect("room");
            assert!(buffer.bytes().len() >= bytes);
            assert_eq!(buffer.bytes_mut().as_ptr() as usize % Buffer::ALIGNMENT, 0);
        }
    }

    /// Of a model so large that there are three buffers of it.
    const LARGE: usize = FURTHER_BYTES + 1;

    #[test]
    fn a_full_pool_drops_or_blocks() {
        for (bytes, most) in [
            (LARGE, 3),
            (FURTHER_BYTES, 4),
            (FURTHER_BYTES / 5, 8),
            (10, 16),
        ] {
            full_pool_drops_or_blocks(bytes, most);
        }
    }

    fn full_pool_drops_or_blocks(bytes: usize, most: usize) {
        let pool = Pool::default();
        let held: Vec<Arc<Buffer>> = (0..most)
            .map(|_| pool.take(bytes, OnFull::Drop).0.expect("below the limit"))
            .collect();
        assert!(pool.take(bytes, OnFull::Drop).0.is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.take(bytes, OnFull::Block).0.is_some());
            for buffer in held {
                pool.put(buffer);
            }
            assert!(waiter.join().expect("the waiter does not panic"));
        });
    }

    #[test]
    fn a_buffer_that_somebody_reads_is_not_handed_out() {
        let pool = Pool::default();
        let read = pool.take(LARGE, OnFull::Drop).0.expect("below the limit");
        pool.put(read.clone());
        for _ in 1..BUFFERS {
            let other = pool.take(LARGE, OnFull::Drop).0.expect("below the limit");
            assert!(!Arc::ptr_eq(&other, &read));
            std::mem::forget(other);
        }
        assert!(pool.take(LARGE, OnFull::Drop).0.is_none());
        drop(read);
        assert!(pool.take(LARGE, OnFull::Drop).0.is_some());
    }

    #[test]
    fn closing_wakes_a_waiting_caller() {
        let pool = Pool::default();
        let _held: Vec<_> = (0..BUFFERS)
            .map(|_| pool.take(LARGE, OnFull::Block))
            .collect();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.take(LARGE, OnFull::Block).0.is_none());
            pool.close();
            assert!(waiter.join().expect("the waiter does not panic"));
        });
    }

    #[test]
    fn a_third_buffer_is_freed_when_it_stays_idle() {
        let pool = Pool::default();
        let three: Vec<_> = (0..BUFFERS)
            .filter_map(|_| pool.take(LARGE, OnFull::Block).0)
            .collect();
        three.into_iter().for_each(|buffer| pool.put(buffer));
        for _ in 0..2 * IDLE_RETURNS {
            let (buffer, _) = pool.take(LARGE, OnFull::Block);
            pool.put(buffer.expect("a free buffer"));
        }
        assert!(pool.lock().total < BUFFERS);
    }

    #[test]
    fn a_model_that_grows_gives_up_the_buffers_it_may_not_have_any_more() {
        let pool = Pool::default();
        let small: Vec<_> = (0..16)
            .filter_map(|_| pool.take(10, OnFull::Drop).0)
            .collect();
        small.into_iter().for_each(|buffer| pool.put(buffer));
        let large: Vec<_> = (0..4)
            .filter_map(|_| pool.take(LARGE, OnFull::Drop).0)
            .collect();
        assert_eq!((large.len(), pool.lock().total), (BUFFERS, BUFFERS));
    }

    #[test]
    fn a_buffer_follows_the_size_asked_for() {
        let pool = Pool::default();
        pool.put(pool.take(10, OnFull::Block).0.expect("a buffer"));
        assert!(
            pool.take(10_000, OnFull::Block)
                .0
                .expect("a buffer")
                .bytes()
                .len()
                >= 10_000
        );
    }

    #[test]
    fn a_budget_bounds_what_waits_but_lets_one_large_value_through() {
        let budget = Budget::default();
        assert!(budget.take(2 * BUDGET, OnFull::Drop).0);
        assert!(!budget.take(1, OnFull::Drop).0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.take(1, OnFull::Block).0);
            budget.put(2 * BUDGET);
            assert!(waiter.join().expect("the waiter does not panic"));
        });
        budget.close();
        assert!(!budget.take(1, OnFull::Block).0);
    }

    #[test]
    fn memory_that_is_not_there_is_no_buffer_and_does_not_count() {
        let pool = Pool::default();
        for _ in 0..=BUFFERS {
            assert!(pool.take(usize::MAX / 2, OnFull::Block).0.is_none());
        }
        pool.put(pool.take(10, OnFull::Block).0.expect("a buffer"));
        assert!(pool.take(usize::MAX / 2, OnFull::Block).0.is_none());
        assert_eq!(pool.lock().total, 0);
    }
}

/// Run by `make shuttle`: see `scalar_queue.rs`.
#[cfg(all(test, shuttle))]
mod schedules {
    use super::*;
    use shuttle::{check_pct, check_random, thread};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Of a model so large that there are three buffers of it.
    const LARGE: usize = FURTHER_BYTES + 1;

    /// Callers take and return more often than there are buffers: each gets one in the end, and never more than
    /// there may be.
    fn everybody_gets_a_buffer() {
        let pool = Arc::new(Pool::default());
        let out = Arc::new(AtomicUsize::new(0));
        let callers: Vec<_> = (0..BUFFERS + 2)
            .map(|_| {
                let (pool, out) = (pool.clone(), out.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        let buffer = pool
                            .take(LARGE, OnFull::Block)
                            .0
                            .expect("a pool that is not closed");
                        assert!(out.fetch_add(1, Ordering::SeqCst) < BUFFERS);
                        thread::yield_now();
                        out.fetch_sub(1, Ordering::SeqCst);
                        pool.put(buffer);
                    }
                })
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
        assert!(pool.lock().free.len() <= BUFFERS);
    }

    /// Closing lets waiting callers go without a buffer.
    fn closing_lets_all_go() {
        let pool = Arc::new(Pool::default());
        let callers: Vec<_> = (0..BUFFERS + 2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || drop(pool.take(LARGE, OnFull::Block)))
            })
            .collect();
        pool.close();
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
    }

    /// What waits stays below the bound, and everybody is let through in the end.
    fn a_budget_holds() {
        let budget = Arc::new(Budget::default());
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let budget = budget.clone();
                thread::spawn(move || {
                    assert!(budget.take(BUDGET / 2, OnFull::Block).0);
                    assert!(budget.lock().bytes <= BUDGET);
                    budget.put(BUDGET / 2);
                })
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
        assert_eq!(budget.lock().bytes, 0);
    }

    #[test]
    fn pools_under_many_schedules() {
        check_random(everybody_gets_a_buffer, 5000);
        check_pct(everybody_gets_a_buffer, 5000, 3);
        check_random(closing_lets_all_go, 5000);
        check_random(a_budget_holds, 5000);
    }
}
