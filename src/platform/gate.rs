//! Shared state with a limit: a caller that finds no room waits, or gives up, as [`OnFull`] says.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::model::types::OnFull;
use crate::platform::sync::{Condvar, Mutex, MutexGuard};

/// See the module.
#[derive(Default)]
pub(crate) struct Gate<T> {
    state: Mutex<Gated<T>>,
    room: Condvar,
}

#[derive(Default)]
struct Gated<T> {
    inner: T,
    is_closed: bool,
}

impl<T> Gate<T> {
    /// What `take` returns as soon as it returns something, and how long the call waited for that.
    /// `None` when there is no room under [`OnFull::Drop`], or the gate is closed.
    pub(crate) fn enter<R>(
        &self,
        on_full: OnFull,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> (Option<R>, Duration) {
        let mut state = self.lock();
        let mut waited = Duration::ZERO;
        loop {
            if state.is_closed {
                return (None, waited);
            }
            let taken = take(&mut state.inner);
            if taken.is_some() || on_full == OnFull::Drop {
                return (taken, waited);
            }
            let since = Instant::now();
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            waited += since.elapsed();
        }
    }

    /// Reads or changes the state, of a closed gate too, without waiting for room.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.lock().inner)
    }

    /// Wakes one caller that waits for room.
    pub(crate) fn wake_one(&self) {
        self.room.notify_one();
    }

    /// Wakes each caller that waits for room.
    pub(crate) fn wake_all(&self) {
        self.room.notify_all();
    }

    /// Nothing is granted any more; callers that wait return.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.wake_all();
    }

    fn lock(&self) -> MutexGuard<'_, Gated<T>> {
        // What a panic can leave half changed (a queue out of memory) is harmless for each state
        // behind a gate.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn one(room: &mut u32) -> Option<()> {
        *room = room.checked_sub(1)?;
        Some(())
    }

    #[test]
    fn a_full_gate_refuses_or_waits_and_a_closed_one_refuses() {
        let gate = Gate::default();
        gate.with(|room| *room = 1);
        assert!(gate.enter(OnFull::Block, one).0.is_some());
        assert!(gate.enter(OnFull::Drop, one).0.is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.enter(OnFull::Block, one).0);
            gate.with(|room| *room = 1);
            gate.wake_one();
            assert!(waiter.join().expect("the waiter does not panic").is_some());
            let waiter = scope.spawn(|| gate.enter(OnFull::Block, one).0);
            gate.close();
            assert!(waiter.join().expect("the waiter does not panic").is_none());
        });
        gate.with(|room| *room = 1);
        assert!(gate.enter(OnFull::Block, one).0.is_none());
    }
}
