//! What callers and worker share beside the channel.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ptr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use crate::capture::budget::Budget;
use crate::capture::costs::Costs;
use crate::report::{Finding, WeightReport};
use crate::run::Opened;
use crate::run::health::Health;
use crate::worker::queue::Queue;

/// What callers and worker share beside the queue.
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    /// Further run directories with their numbers. They are no commands: what is logged to a run
    /// overtakes those.
    pub(crate) opened: Mutex<Vec<(u32, Opened)>>,
    /// For payloads that wait.
    pub(crate) budget: Budget,
    pub(crate) health: Health,
    pub(crate) costs: Arc<Costs>,
    /// Calls that are handing over a command right now.
    pub(crate) calls: AtomicUsize,
    /// The newest report that was made without anybody waiting.
    pub(crate) report: Mutex<Option<Arc<WeightReport>>>,
    /// New findings that nobody has taken.
    pub(crate) findings: Mutex<VecDeque<Finding>>,
    /// The tags that tell most of each run, as they were at the end.
    pub(crate) telling: Mutex<BTreeMap<u32, Vec<String>>>,
}

thread_local! {
    /// What the worker on this thread serves; null on every other thread.
    static SERVED: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

impl Shared {
    /// Called once, on the worker's own thread.
    pub(crate) fn enter_worker_thread(self: &Arc<Self>) {
        SERVED.set(Arc::as_ptr(self));
    }

    /// True on the thread of this very worker, which runs `on_error`: nothing must wait for the
    /// worker there.
    pub(crate) fn is_worker_thread(&self) -> bool {
        SERVED.get() == ptr::from_ref(self)
    }
}
