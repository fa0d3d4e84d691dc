//! Visits of a model for a call that shows it once.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::logger::Logger;
use crate::run::health::Health;
use crate::source::named_tensors::{NamedTensors, StoreWait, VariableSink, Visitor};

impl Logger {
    /// Shows the variables of a source to `sink`. False when another thread keeps a store locked
    /// for longer than the user's `store_timeout`: that is reported, and the call counted as
    /// dropped.
    ///
    /// # Errors
    /// What else the source returns.
    pub(super) fn visit<S: NamedTensors + ?Sized>(
        &self,
        source: &S,
        sink: &mut dyn VariableSink,
    ) -> Result<bool> {
        let health = &self.core.shared.health;
        let mut wait = StoreWait {
            patience: self.core.selection.options.store_timeout,
            ..StoreWait::default()
        };
        let visited = source.visit(&mut Visitor::new(sink, &mut wait));
        health.held(Duration::ZERO, wait.waited);
        match visited {
            Err(locked @ Error::StoreLocked { .. }) => {
                Health::count(&health.dropped, 1);
                health.warn(&locked);
                Ok(false)
            }
            visited => visited.map(|()| true),
        }
    }
}
