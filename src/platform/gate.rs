//! Shared state with a limit: a caller that finds no room waits, or gives up, as [`OnFull`] says.

use std::ops::{Deref, DerefMut};
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

/// The state of a gate that has room, for as long as this is held.
pub(crate) struct Entered<'a, T>(MutexGuard<'a, Gated<T>>);

impl<T> Deref for Entered<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.inner
    }
}

impl<T> DerefMut for Entered<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.inner
    }
}

impl<T> Gate<T> {
    /// What `take` returns as soon as it returns something, and how long the call waited for that.
    /// `None` when there is no room under [`OnFull::Drop`], or the gate is closed.
    #[inline]
    pub(crate) fn enter<R>(
        &self,
        on_full: OnFull,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> (Option<R>, Duration) {
        let mut taken = None;
        let (_, waited) = self.wait_until(on_full, |state| {
            taken = take(state);
            taken.is_some()
        });
        (taken, waited)
    }

    /// The state once it has room, and how long the call waited for that. `None` as in
    /// [`enter`](Gate::enter).
    #[inline]
    pub(crate) fn wait_until(
        &self,
        on_full: OnFull,
        mut has_room: impl FnMut(&mut T) -> bool,
    ) -> (Option<Entered<'_, T>>, Duration) {
        let mut state = self.lock();
        if !state.is_closed && has_room(&mut state.inner) {
            return (Some(Entered(state)), Duration::ZERO);
        }
        self.wait(state, on_full, has_room)
    }

    /// Waits for room after there was none.
    #[cold]
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, Gated<T>>,
        on_full: OnFull,
        mut has_room: impl FnMut(&mut T) -> bool,
    ) -> (Option<Entered<'a, T>>, Duration) {
        let mut waited = Duration::ZERO;
        while !state.is_closed && on_full == OnFull::Block {
            let since = Instant::now();
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            waited += since.elapsed();
            if !state.is_closed && has_room(&mut state.inner) {
                return (Some(Entered(state)), waited);
            }
        }
        (None, waited)
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

    #[inline]
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
