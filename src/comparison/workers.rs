//! Work on many things by several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::error::Result;

/// What `work` returns for each item, in the order of the items. Each thread has a room of its own,
/// which `start` makes. The caller's thread works, too.
///
/// # Errors
/// One of those that `start` and `work` return, after which no item is begun.
pub(super) fn each<T: Sync, S, R: Send>(
    threads: usize,
    items: &[T],
    start: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let next = AtomicUsize::new(0);
    let has_failed = AtomicBool::new(false);
    let found = Mutex::new(Vec::with_capacity(items.len()));
    let attempt = || -> Result<()> {
        let mut room = start()?;
        while !has_failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else {
                break;
            };
            let result = work(&mut room, item)?;
            let mut found = found
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            found.push((number, result));
        }
        Ok(())
    };
    let attempt = || {
        let done = attempt();
        if done.is_err() {
            has_failed.store(true, Ordering::Relaxed);
        }
        done
    };
    std::thread::scope(|scope| {
        // One fewer than asked for: this thread works, too. Where the system has no room for
        // another one, those that there are do its share.
        let others: Vec<_> = (1..threads.min(items.len()))
            .filter_map(|_| {
                std::thread::Builder::new()
                    .spawn_scoped(scope, attempt)
                    .ok()
            })
            .collect();
        let own = attempt();
        others
            .into_iter()
            .fold(own, |done, other| match other.join() {
                Ok(other) => done.and(other),
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })?;
    let mut found = found
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_whoever_made_them() {
        let items: Vec<u64> = (0..1000).collect();
        let rooms = AtomicUsize::new(0);
        let start = || Ok(rooms.fetch_add(1, Ordering::Relaxed));
        let doubled = each(4, &items, start, |_, item| Ok(item * 2)).unwrap();
        assert_eq!(
            doubled,
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!((1..=4).contains(&rooms.load(Ordering::Relaxed)));
        let none = each(4, &[0_u64; 0], || Ok(()), |(), item| Ok(*item));
        assert_eq!(none.unwrap(), [0; 0]);
    }

    #[test]
    fn an_error_of_one_thread_is_that_of_all() {
        let items: Vec<u64> = (0..1000).collect();
        let error = || crate::Error::InvalidTag {
            tag: "w".into(),
            reason: "cannot be read".into(),
        };
        let work = |(): &mut (), item: &u64| {
            if *item == 700 {
                Err(error())
            } else {
                Ok(*item)
            }
        };
        assert!(each(3, &items, || Ok(()), work).is_err());
        let start = || -> Result<()> { Err(error()) };
        assert!(each(3, &items, start, |(), item| Ok(*item)).is_err());
    }
}
