//! Host memory for snapshots: aligned for every element type, and pooled so that a training step
//! allocates nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::model::types::OnFull;
use crate::platform::aligned::AlignedBytes;
use crate::platform::gate::Gate;
use crate::source::gradient_sampler::Look;

/// The bytes of one snapshot.
#[derive(Default)]
pub(crate) struct Buffer {
    memory: AlignedBytes,
    /// Which snapshot it holds; 0 for none.
    pub(crate) stamp: u64,
    /// What was seen beside the values when it was taken, beside the plan's variables.
    pub(crate) looks: Vec<Look>,
}

impl Buffer {
    /// `None` when the system has no room for it.
    pub(crate) fn try_with_bytes(bytes: usize) -> Option<Buffer> {
        Some(Buffer {
            memory: AlignedBytes::try_zeroed(bytes)?,
            ..Buffer::default()
        })
    }

    /// True when the system has room for a buffer of this size. Nothing is touched.
    pub(crate) fn has_room(bytes: usize) -> bool {
        AlignedBytes::has_room(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.as_slice()
    }

    /// The bytes and the looks, to be filled together.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u8], &mut Vec<Look>) {
        (self.memory.as_mut_slice(), &mut self.looks)
    }
}

/// So many buffers of a large model exist at most: the previous snapshot, the one being analysed,
/// the one being filled.
const BUFFERS: usize = 3;

/// Those of a small model may be more, as many as fit into this: the worker may have to wait for a
/// core, a few milliseconds each time, and training must not.
const FURTHER_BYTES: usize = 4 << 20;
const FURTHER_BUFFERS: usize = 13;

fn most_buffers(bytes: usize) -> usize {
    BUFFERS + (FURTHER_BYTES / bytes.max(1)).min(FURTHER_BUFFERS)
}

/// True for snapshots so small that there are buffers enough while the worker looks away for some
/// milliseconds.
pub(crate) fn are_plenty(bytes: usize) -> bool {
    most_buffers(bytes) >= 2 * BUFFERS
}

/// Returns of a buffer, in a row, that found another one idle, after which the idle one is given
/// back to the system.
const IDLE_RETURNS: u32 = 32;

/// The buffers of one model. They bound memory and, with it, how far training can run ahead of the
/// worker.
#[derive(Default)]
pub(crate) struct Pool {
    shelf: Gate<Shelf>,
}

#[derive(Default)]
struct Shelf {
    free: Vec<Arc<Buffer>>,
    /// The newest snapshot, which the next one is compared with.
    kept: Option<Arc<Buffer>>,
    /// Buffers that exist, free or not.
    total: usize,
    idle_returns: u32,
    /// There was no memory for more.
    limit: Option<Limit>,
    /// What comes back is freed.
    is_closed: bool,
}

/// So many buffers of a size, and no more, could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    bytes: usize,
    buffers: usize,
}

/// Why there is no buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The worker is behind under [`OnFull::Drop`], or gone.
    Full,
    /// The system has no room for another one. If some exist, the next call waits for one of them.
    NoMemory {
        /// Buffers that exist.
        existing: usize,
    },
}

impl Shelf {
    /// `Some(None)` when another buffer may be allocated, which is counted already.
    fn take(&mut self, bytes: usize) -> Option<Option<Arc<Buffer>>> {
        if self.is_starved(bytes) {
            // The only one serves as it is: comparing it with the next one would take a second.
            self.free.extend(self.kept.take());
        }
        let unshared = |buffer: &Arc<Buffer>| Arc::strong_count(buffer) == 1;
        while let Some(place) = self.free.iter().rposition(unshared) {
            let mut buffer = self.free.swap_remove(place);
            if let Some(own) = Arc::get_mut(&mut buffer).filter(|own| own.memory.fits(bytes)) {
                own.stamp = 0;
                return Some(Some(buffer));
            }
            // The model has another size now, of which there may be fewer.
            self.total -= 1;
        }
        let is_allowed = self.total < self.most(bytes);
        self.total += usize::from(is_allowed);
        is_allowed.then_some(None)
    }

    fn most(&self, bytes: usize) -> usize {
        let limit = self.limit.filter(|limit| limit.bytes == bytes);
        limit.map_or(most_buffers(bytes), |limit| limit.buffers)
    }

    fn is_starved(&self, bytes: usize) -> bool {
        self.most(bytes) == 1
    }
}

impl Pool {
    /// A buffer of at least `bytes` that nobody else holds, and how long the call waited for it.
    pub(crate) fn take(
        &self,
        bytes: usize,
        on_full: OnFull,
    ) -> (Result<Arc<Buffer>, Refusal>, Duration) {
        let (taken, waited) = self.shelf.enter(on_full, |shelf| shelf.take(bytes));
        let taken = match taken {
            Some(Some(buffer)) => Ok(buffer),
            Some(None) => self.allocate(bytes),
            None => Err(Refusal::Full),
        };
        (taken, waited)
    }

    /// A buffer that is counted already; not any more when the system has no room for it.
    fn allocate(&self, bytes: usize) -> Result<Arc<Buffer>, Refusal> {
        if let Some(buffer) = Buffer::try_with_bytes(bytes) {
            return Ok(Arc::new(buffer));
        }
        self.shelf.with(|shelf| {
            shelf.total -= 1;
            let existing = shelf.total;
            shelf.limit = (existing > 0).then_some(Limit {
                bytes,
                buffers: existing,
            });
            Err(Refusal::NoMemory { existing })
        })
    }

    /// True when the system has room for a single buffer of this size: none is left to compare
    /// with.
    pub(crate) fn is_starved(&self, bytes: usize) -> bool {
        self.shelf.with(|shelf| shelf.is_starved(bytes))
    }

    /// Keeps the newest snapshot to compare the next one with. Where it is the only buffer that can
    /// be had, the next call takes it.
    pub(crate) fn keep(&self, buffer: Arc<Buffer>) {
        let (before, is_limited) = self
            .shelf
            .with(|shelf| (shelf.kept.replace(buffer), shelf.limit.is_some()));
        if let Some(before) = before {
            self.put(before);
        } else if is_limited {
            self.shelf.wake_one();
        }
    }

    /// The kept snapshot, unless it was given away.
    pub(crate) fn take_kept(&self, stamp: u64) -> Option<Arc<Buffer>> {
        let is_it = |kept: &mut Arc<Buffer>| kept.stamp == stamp;
        self.shelf.with(|shelf| shelf.kept.take_if(is_it))
    }

    /// Gives a buffer back. One that nobody has needed for a while is freed, so that a run at rest
    /// holds two.
    pub(crate) fn put(&self, buffer: Arc<Buffer>) {
        // A buffer that is not kept is freed after the lock is.
        let _surplus = self.shelf.with(|shelf| {
            shelf.idle_returns = match shelf.free.is_empty() {
                true => 0,
                false => shelf.idle_returns + 1,
            };
            if shelf.idle_returns >= IDLE_RETURNS || shelf.is_closed {
                shelf.idle_returns = 0;
                shelf.total -= 1;
                return Some(buffer);
            }
            shelf.free.push(buffer);
            None
        });
        self.shelf.wake_one();
    }

    /// The free buffer that still holds a snapshot, if no call has used it since.
    pub(crate) fn take_stamped(&self, stamp: u64) -> Option<Arc<Buffer>> {
        self.shelf.with(|shelf| {
            let place = shelf.free.iter().position(|buffer| buffer.stamp == stamp)?;
            Some(shelf.free.swap_remove(place))
        })
    }

    /// Wakes every waiting caller; there will be no more buffers. Those at rest are freed.
    pub(crate) fn close(&self) {
        self.shelf.close();
        // Freed when the lock is.
        let _freed = self.shelf.with(|shelf| {
            shelf.is_closed = true;
            shelf.total -= shelf.free.len() + usize::from(shelf.kept.is_some());
            (std::mem::take(&mut shelf.free), shelf.kept.take())
        });
    }
}

/// A buffer that goes back to its pool unless it is kept, also when the source of the tensors
/// panics: a buffer that got lost would be waited for in vain.
pub(super) struct Lent {
    pool: Arc<Pool>,
    pub(super) buffer: Arc<Buffer>,
    is_kept: bool,
}

impl Lent {
    /// Of a buffer that was taken from this pool.
    pub(super) fn new(pool: Arc<Pool>, buffer: Arc<Buffer>) -> Lent {
        Lent {
            pool,
            buffer,
            is_kept: false,
        }
    }

    pub(super) fn keep(mut self) -> Arc<Buffer> {
        self.is_kept = true;
        self.buffer.clone()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_kept {
            self.pool.put(self.buffer.clone());
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

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
        assert!(pool.take(bytes, OnFull::Drop).0.is_err());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.take(bytes, OnFull::Block).0.is_ok());
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
        assert!(pool.take(LARGE, OnFull::Drop).0.is_err());
        drop(read);
        assert!(pool.take(LARGE, OnFull::Drop).0.is_ok());
    }

    #[test]
    fn closing_wakes_a_waiting_caller() {
        let pool = Pool::default();
        let _held: Vec<_> = (0..BUFFERS)
            .map(|_| pool.take(LARGE, OnFull::Block))
            .collect();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.take(LARGE, OnFull::Block).0.is_err());
            pool.close();
            assert!(waiter.join().expect("the waiter does not panic"));
        });
    }

    #[test]
    fn a_third_buffer_is_freed_when_it_stays_idle() {
        let pool = Pool::default();
        let three: Vec<_> = (0..BUFFERS)
            .filter_map(|_| pool.take(LARGE, OnFull::Block).0.ok())
            .collect();
        three.into_iter().for_each(|buffer| pool.put(buffer));
        for _ in 0..2 * IDLE_RETURNS {
            let (buffer, _) = pool.take(LARGE, OnFull::Block);
            pool.put(buffer.expect("a free buffer"));
        }
        assert!(pool.shelf.with(|shelf| shelf.total) < BUFFERS);
    }

    #[test]
    fn a_model_that_grows_gives_up_the_buffers_it_may_not_have_any_more() {
        let pool = Pool::default();
        let small: Vec<_> = (0..16)
            .filter_map(|_| pool.take(10, OnFull::Drop).0.ok())
            .collect();
        small.into_iter().for_each(|buffer| pool.put(buffer));
        let large: Vec<_> = (0..4)
            .filter_map(|_| pool.take(LARGE, OnFull::Drop).0.ok())
            .collect();
        assert_eq!(
            (large.len(), pool.shelf.with(|shelf| shelf.total)),
            (BUFFERS, BUFFERS)
        );
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
    fn memory_that_is_not_there_is_no_buffer_and_does_not_count() {
        let pool = Pool::default();
        for _ in 0..=BUFFERS {
            let (refused, _) = pool.take(usize::MAX / 2, OnFull::Block);
            assert_eq!(refused.err(), Some(Refusal::NoMemory { existing: 0 }));
        }
        pool.put(pool.take(10, OnFull::Block).0.expect("a buffer"));
        assert!(pool.take(usize::MAX / 2, OnFull::Block).0.is_err());
        assert_eq!(pool.shelf.with(|shelf| shelf.total), 0);
    }

    /// As if the system had refused another buffer.
    fn limit(pool: &Pool, buffers: usize) {
        let limit = Limit {
            bytes: LARGE,
            buffers,
        };
        pool.shelf.with(|shelf| shelf.limit = Some(limit));
    }

    #[test]
    fn where_there_is_no_memory_for_another_buffer_the_others_are_waited_for() {
        let pool = Pool::default();
        let held: Vec<_> = (0..2)
            .map(|_| pool.take(LARGE, OnFull::Block).0.expect("a buffer"))
            .collect();
        limit(&pool, 2);
        assert_eq!(pool.take(LARGE, OnFull::Drop).0.err(), Some(Refusal::Full));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| pool.take(LARGE, OnFull::Block).0.is_ok());
            held.into_iter().for_each(|buffer| pool.put(buffer));
            assert!(waiter.join().expect("the waiter does not panic"));
        });
    }

    #[test]
    fn the_only_buffer_is_not_kept_from_the_next_call() {
        let pool = Pool::default();
        let mut only = pool.take(LARGE, OnFull::Block).0.expect("a buffer");
        Arc::get_mut(&mut only).expect("nobody else's").stamp = 7;
        pool.keep(only);
        assert!(!pool.is_starved(LARGE));
        limit(&pool, 1);
        assert!(pool.is_starved(LARGE));
        let again = pool.take(LARGE, OnFull::Drop).0;
        assert!(again.is_ok() && pool.take_kept(7).is_none());
        assert_eq!(pool.take(LARGE, OnFull::Drop).0.err(), Some(Refusal::Full));
    }

    #[test]
    fn a_closed_pool_holds_no_memory() {
        let pool = Pool::default();
        let [one, kept, out] =
            std::array::from_fn(|_| pool.take(LARGE, OnFull::Block).0.expect("a buffer"));
        pool.put(one);
        pool.keep(kept);
        pool.close();
        pool.put(out);
        let left = |shelf: &mut Shelf| (shelf.total, shelf.free.len(), shelf.kept.is_some());
        assert_eq!(pool.shelf.with(left), (0, 0, false));
    }
}

/// Run by `make shuttle`: see `worker/queue.rs`.
#[cfg(all(test, shuttle))]
mod schedules {
    use super::*;
    use shuttle::{check_pct, check_random, thread};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Of a model so large that there are three buffers of it.
    const LARGE: usize = FURTHER_BYTES + 1;

    /// Callers take and return more often than there are buffers: each gets one in the end, and
    /// never more than there may be.
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
        assert!(pool.shelf.with(|shelf| shelf.free.len()) <= BUFFERS);
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

    #[test]
    fn pools_under_many_schedules() {
        check_random(everybody_gets_a_buffer, 5000);
        check_pct(everybody_gets_a_buffer, 5000, 3);
        check_random(closing_lets_all_go, 5000);
    }
}
