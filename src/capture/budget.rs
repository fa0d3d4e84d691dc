//! The memory of values that wait for the worker beside snapshots.

use std::time::Duration;

use crate::model::types::OnFull;
use crate::platform::gate::Gate;

/// Bytes of a budget, which go back to it unless they are handed over: also when making the value
/// panics. Bytes that got lost would be waited for in vain.
#[must_use]
pub(crate) struct Granted<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Granted<'_> {
    /// Leaves it to the worker to give them back.
    pub(crate) fn hand_over(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.put(self.bytes);
        }
    }
}

/// Bytes of values that may wait for the worker beside snapshots.
const BUDGET: usize = 64 << 20;

/// Bounds the memory of values that wait, whatever their number. A single value may exceed it when
/// nothing else waits.
#[derive(Default)]
pub(crate) struct Budget {
    spent: Gate<usize>,
}

impl Budget {
    /// `bytes` that may be used, or `None`, and how long the call waited for them.
    pub(crate) fn take(&self, bytes: usize, on_full: OnFull) -> (Option<Granted<'_>>, Duration) {
        let (granted, waited) = self.spent.enter(on_full, |spent| {
            let after = spent.saturating_add(bytes);
            (*spent == 0 || after <= BUDGET).then(|| *spent = after)
        });
        let granted = granted.map(|()| Granted {
            budget: self,
            bytes,
        });
        (granted, waited)
    }

    /// Gives back what was taken.
    pub(crate) fn put(&self, bytes: usize) {
        self.spent
            .with(|spent| *spent = spent.saturating_sub(bytes));
        self.spent.wake_all();
    }

    /// Wakes every waiting caller; nothing is granted any more.
    pub(crate) fn close(&self) {
        self.spent.close();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_budget_bounds_what_waits_but_lets_one_large_value_through() {
        let budget = Budget::default();
        let take = |bytes, on_full| budget.take(bytes, on_full).0.map(Granted::hand_over);
        assert!(take(2 * BUDGET, OnFull::Drop).is_some());
        assert!(take(1, OnFull::Drop).is_none());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| take(1, OnFull::Block).is_some());
            budget.put(2 * BUDGET);
            assert!(waiter.join().expect("the waiter does not panic"));
        });
        budget.close();
        assert!(take(1, OnFull::Block).is_none());
    }

    #[test]
    fn what_was_granted_goes_back_unless_it_is_handed_over() {
        let budget = Budget::default();
        let panicked = std::panic::catch_unwind(|| {
            let _granted = budget.take(BUDGET, OnFull::Drop);
            std::panic::resume_unwind(Box::new("while the value is made"));
        });
        assert!(panicked.is_err());
        assert!(budget.take(BUDGET, OnFull::Drop).0.is_some());
    }
}

/// Run by `make shuttle`.
#[cfg(all(test, shuttle))]
mod schedules {
    use super::*;
    use shuttle::{check_random, thread};
    use std::sync::Arc;

    /// What waits stays below the bound, and everybody is let through in the end.
    fn a_budget_holds() {
        let budget = Arc::new(Budget::default());
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let budget = budget.clone();
                thread::spawn(move || {
                    let granted = budget.take(BUDGET / 2, OnFull::Block).0;
                    assert!(granted.is_some());
                    assert!(budget.spent.with(|spent| *spent) <= BUDGET);
                })
            })
            .collect();
        callers
            .into_iter()
            .for_each(|caller| caller.join().unwrap());
        assert_eq!(budget.spent.with(|spent| *spent), 0);
    }

    #[test]
    fn a_budget_under_many_schedules() {
        check_random(a_budget_holds, 5000);
    }
}
