//! A call that logs something beside scalars.

use std::time::Instant;

use crate::error::Result;
use crate::logger::{Logger, check_tag};
use crate::model::types::{Step, WallTime};
use crate::run::entry::RunEntry;
use crate::run::health::Health;
use crate::summary::{Payload, TaggedPayload};

/// A call that logs something, after its checks.
pub(super) struct PayloadCall<'a> {
    logger: &'a Logger,
    tag: &'a str,
    step: i64,
    since: Instant,
    wall_time: WallTime,
}

impl Logger {
    /// The same of a call that is about the run as a whole rather than a step.
    pub(super) fn begin_of_run<'a>(&'a self, tag: &'a str) -> Result<PayloadCall<'a>> {
        self.begin(tag, self.run.resumed_at.unwrap_or_default())
    }

    /// The checks of a call that logs something, before anything is copied.
    pub(super) fn begin<'a>(&'a self, tag: &'a str, step: impl Step) -> Result<PayloadCall<'a>> {
        let (since, wall_time) = (Instant::now(), self.now());
        self.core.check_open(&self.run)?;
        self.core.check_process(&self.run)?;
        check_tag(tag)?;
        let step = self.run.check_step(tag, step)?;
        Ok(PayloadCall {
            logger: self,
            tag,
            step,
            since,
            wall_time,
        })
    }
}

impl<'a> PayloadCall<'a> {
    /// Makes the payload once `bytes`, what it occupies, are granted, and hands it to the worker.
    pub(super) fn send<P: Payload + 'static>(
        self,
        bytes: usize,
        make: impl FnOnce() -> Result<P>,
    ) -> Result<()> {
        let place = self.place();
        let tag = self.tag;
        self.send_entry(bytes, || Ok(place.payload(tag, make()?).into()))
    }

    /// The same of something that is made already.
    pub(super) fn send_whole(self, entry: RunEntry) -> Result<bool> {
        self.offer(entry.bytes(), || Ok(entry))
    }

    /// The same of anything that the worker takes.
    pub(super) fn send_entry(
        self,
        bytes: usize,
        make: impl FnOnce() -> Result<RunEntry>,
    ) -> Result<()> {
        self.offer(bytes, make).map(drop)
    }

    /// The same, and whether it was accepted: [`OnFull::Drop`](crate::OnFull::Drop) gives up what
    /// there is no room for.
    pub(super) fn offer(
        self,
        bytes: usize,
        make: impl FnOnce() -> Result<RunEntry>,
    ) -> Result<bool> {
        let Logger { core, run, .. } = self.logger;
        let health = &core.shared.health;
        let (granted, mut waited) = core.shared.budget.take(bytes, core.on_full());
        let is_accepted = match granted {
            Some(granted) => {
                let entry = make()?;
                debug_assert_eq!(entry.bytes(), bytes, "what was taken is what is given back");
                granted.hand_over();
                let (is_accepted, waited_more) = core.send_entry(run, entry);
                waited += waited_more;
                is_accepted
            }
            None => {
                Health::count(&health.dropped, 1);
                false
            }
        };
        health.held(self.since.elapsed(), waited);
        Ok(is_accepted)
    }

    /// Where in the run the call's values go.
    pub(super) fn place(&self) -> PayloadPlace<'a> {
        PayloadPlace {
            logger: self.logger,
            step: self.step,
            wall_time: self.wall_time,
        }
    }
}

/// Where in a run the values of a call go.
#[derive(Clone, Copy)]
pub(super) struct PayloadPlace<'a> {
    logger: &'a Logger,
    step: i64,
    wall_time: WallTime,
}

impl PayloadPlace<'_> {
    pub(super) fn step(self) -> i64 {
        self.step
    }

    pub(super) fn wall_time(self) -> WallTime {
        self.wall_time
    }

    /// What is said of the run as a whole, under a tag that has no scope.
    pub(super) fn of_the_run<P: Payload + 'static>(self, tag: &str, payload: P) -> TaggedPayload {
        TaggedPayload {
            step: 0,
            wall_time: self.wall_time,
            tag: tag.into(),
            description: "".into(),
            payload: Box::new(payload),
        }
    }

    /// A value of a tag that has the scope already.
    pub(super) fn whole_tag<P: Payload + 'static>(self, tag: &str, payload: P) -> TaggedPayload {
        TaggedPayload {
            step: self.step,
            ..self.of_the_run(tag, payload)
        }
    }

    /// A value of a tag of this logger's scope.
    pub(super) fn payload<P: Payload + 'static>(self, tag: &str, payload: P) -> TaggedPayload {
        TaggedPayload {
            step: self.step,
            wall_time: self.wall_time,
            tag: self.logger.full_tag(tag),
            description: "".into(),
            payload: Box::new(payload),
        }
    }
}
