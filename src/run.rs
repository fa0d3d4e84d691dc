//! One run: its event file, which tags have been described in it, and the layout of its dashboard.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::dashboard::{self, ScopeBoard};
use crate::error::{APPEND, Error};
use crate::event_file::EventWriter;
use crate::health::Health;
use crate::histogram::Histogram;
use crate::proto::custom_scalar::Category;
use crate::proto::summary::Value;
use crate::proto::{Event, Summary, event::What};
use crate::summary;
use crate::types::WallTime;
use crate::weights::watch::Points;

/// A file is written to as soon as this much waits for it, or its worker has nothing else to do.
const WRITE_AT: usize = 1 << 20;

/// The least time between two layouts.
const LAYOUT_INTERVAL: Duration = Duration::from_secs(2);

/// The tag of the weight report under Text.
const REPORT: &str = "weight_report";
const REPORT_DESCRIPTION: &str =
    "What each variable has come to, and what to do. Written when a verdict changes.";

/// How long a failing disk is left alone before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Groups of the user's scalars that get a chart in the layout.
const USER_GROUPS: usize = 24;

/// What a tag stands for. It can only be one: with both, one loader drops the other kind and one answers with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    Histogram,
    Text,
}

/// The layout as it was last written, and what the next one hangs on.
#[derive(Default)]
struct Layout {
    written: Vec<Category>,
    /// Tags or models have come since.
    is_old: bool,
    at: Option<Instant>,
    /// The step of the newest points, and that of the newest layout.
    newest_step: i64,
    step: Option<i64>,
}

/// See the module.
pub(crate) struct Run {
    writer: EventWriter,
    /// Tags whose metadata stands in the file, and what they are.
    described: HashMap<Box<str>, Kind>,
    /// Tags whose use for two things has been told.
    clashes: HashSet<Box<str>>,
    /// The user's scalar tags, in the order of their first value.
    user_tags: Vec<Box<str>>,
    user_groups: Vec<Box<str>>,
    boards: BTreeMap<u32, ScopeBoard>,
    /// Values of the last scalars, kept for their memory: there are millions of them.
    spare: Vec<Value>,
    layout: Layout,
    /// The step of the newest report.
    reported: Option<i64>,
    /// Events refused since that was last reported.
    refused: u64,
    bytes_counted: u64,
    events_counted: u64,
    failing_since: Option<Instant>,
    /// The file is gone, which has been told.
    is_deleted: bool,
}

impl Run {
    pub(crate) fn new(writer: EventWriter) -> Run {
        Run {
            writer,
            described: HashMap::new(),
            clashes: HashSet::new(),
            user_tags: Vec::new(),
            user_groups: Vec::new(),
            boards: BTreeMap::new(),
            spare: Vec::new(),
            layout: Layout::default(),
            reported: None,
            refused: 0,
            bytes_counted: 0,
            events_counted: 0,
            failing_since: None,
            is_deleted: false,
        }
    }

    /// Adds one event of the user's own scalars.
    pub(crate) fn user_scalars<'a>(
        &mut self,
        health: &Health,
        wall_time: WallTime,
        step: i64,
        scalars: impl Iterator<Item = (&'a str, f64)>,
    ) {
        let mut values = std::mem::take(&mut self.spare);
        let mut used = 0;
        for (tag, number) in scalars {
            let Some(first) = self.describe(health, tag, Kind::Scalar) else {
                continue;
            };
            if first {
                self.meet(tag);
            }
            let description = first.then_some("");
            match values.get_mut(used) {
                Some(value) => summary::scalars::refill(value, tag, number, description),
                None => values.push(summary::scalars::value(tag, number, description)),
            }
            used += 1;
        }
        values.truncate(used);
        self.spare = self.append(health, wall_time, step, values);
    }

    /// Adds a histogram of the user's own.
    pub(crate) fn user_histogram(
        &mut self,
        health: &Health,
        wall_time: WallTime,
        step: i64,
        tag: &str,
        histogram: &Histogram,
    ) {
        let Some(first) = self.describe(health, tag, Kind::Histogram) else {
            return;
        };
        let value = summary::histograms::value(tag, histogram, first.then_some(""));
        self.append(health, wall_time, step, vec![value]);
    }

    /// Adds what a model's snapshot came to: one event of scalars and one of histograms.
    pub(crate) fn points(&mut self, health: &Health, points: &Points) {
        let mut scalars = Vec::with_capacity(points.scalars.len());
        for point in &points.scalars {
            if let Some(first) = self.describe(health, &point.tag, Kind::Scalar) {
                let description = first.then(|| point.description.to_string());
                scalars.push(summary::scalars::value(
                    &point.tag,
                    point.value,
                    description.as_deref(),
                ));
            }
        }
        let mut histograms = Vec::with_capacity(points.histograms.len());
        for point in &points.histograms {
            if let Some(first) = self.describe(health, &point.tag, Kind::Histogram) {
                let description = first.then(|| point.description.to_string());
                histograms.push(summary::histograms::value(
                    &point.tag,
                    &point.histogram,
                    description.as_deref(),
                ));
            }
        }
        self.append(health, points.wall_time, points.step, scalars);
        self.append(health, points.wall_time, points.step, histograms);
        self.layout.newest_step = points.step;
    }

    /// True the first time a tag is used in this file, `None` when it stands for something else already: that is told once
    /// for each tag, and counted each time.
    fn describe(&mut self, health: &Health, tag: &str, kind: Kind) -> Option<bool> {
        match self.described.get(tag) {
            Some(&known) if known == kind => Some(false),
            Some(known) => {
                let reason = match known {
                    Kind::Scalar => "holds scalars already; give the other values another tag",
                    Kind::Histogram => {
                        "holds histograms already; give the other values another tag"
                    }
                    Kind::Text => "holds texts already; give the other values another tag",
                };
                Health::count(&health.dropped, 1);
                if self.clashes.insert(tag.into()) {
                    health.fail(Error::InvalidTag {
                        tag: tag.into(),
                        reason,
                    });
                }
                None
            }
            None => {
                self.described.insert(tag.into(), kind);
                self.layout.is_old = true;
                Some(true)
            }
        }
    }

    /// What a refused event would have described is not described: without its metadata a histogram would stay unseen
    /// for good.
    fn forget(&mut self, event: &Event) {
        let Some(What::Summary(summary)) = &event.what else {
            return;
        };
        for value in summary
            .value
            .iter()
            .filter(|value| value.metadata.is_some())
        {
            self.described.remove(&*value.tag);
            self.user_tags.retain(|tag| **tag != *value.tag);
        }
    }

    fn meet(&mut self, tag: &str) {
        self.user_tags.push(tag.into());
        let group = tag.split('/').next().unwrap_or(tag);
        if self.user_groups.len() < USER_GROUPS
            && !self.user_groups.iter().any(|known| **known == *group)
        {
            self.user_groups.push(group.into());
        }
    }

    /// Takes what a watched model has to show; the layout follows when it differs.
    pub(crate) fn show(&mut self, watch: u32, board: ScopeBoard) {
        if self.boards.get(&watch) != Some(&board) {
            self.boards.insert(watch, board);
            self.layout.is_old = true;
        }
    }

    /// Writes the layout when it is out of date: seldom, unless `now`. The first stands at step 0, so that a purge of
    /// later steps leaves it; later ones go upwards, since the fast loader keeps one point of a step. Both loaders show
    /// the newest.
    pub(crate) fn refresh_layout(&mut self, health: &Health, now: bool) {
        let due = now
            || self
                .layout
                .at
                .is_none_or(|at| at.elapsed() >= LAYOUT_INTERVAL);
        if !self.layout.is_old || !due || self.boards.is_empty() {
            return;
        }
        self.layout.is_old = false;
        let boards: Vec<ScopeBoard> = self.boards.values().cloned().collect();
        let written = |tag: &str| self.described.contains_key(tag);
        let layout = dashboard::layout(&self.user_groups, &boards, &written);
        if layout.is_empty() || layout == self.layout.written {
            return;
        }
        let step = self.layout.step.map_or(0, |step| {
            self.layout.newest_step.max(step.saturating_add(1))
        });
        let value = summary::custom_scalars::value(layout.clone());
        if !self.event(health, &summary_event(WallTime::now(), step, vec![value])) {
            self.layout.is_old = true;
            return;
        }
        (self.layout.written, self.layout.step, self.layout.at) =
            (layout, Some(step), Some(Instant::now()));
    }

    /// Writes the weight report as Markdown, at the step of the newest points or behind that of the report before.
    pub(crate) fn report(&mut self, health: &Health, markdown: &str) {
        let Some(first) = self.describe(health, REPORT, Kind::Text) else {
            return;
        };
        let next = self.reported.map_or(0, |step| step.saturating_add(1));
        let step = self.layout.newest_step.max(next);
        let value = summary::text::value(REPORT, markdown, first.then_some(REPORT_DESCRIPTION));
        if self.event(health, &summary_event(WallTime::now(), step, vec![value])) {
            self.reported = Some(step);
        }
    }

    /// Where the event file lies.
    pub(crate) fn directory(&self) -> &Path {
        self.writer.path().parent().unwrap_or(Path::new(""))
    }

    /// The tags that tell most.
    pub(crate) fn telling(&self, most: usize) -> Vec<String> {
        let boards: Vec<ScopeBoard> = self.boards.values().cloned().collect();
        dashboard::telling(
            &self.user_tags,
            &boards,
            &|tag| self.described.contains_key(tag),
            most,
        )
    }

    /// Adds an event of values, and gives them back for their memory.
    fn append(
        &mut self,
        health: &Health,
        wall_time: WallTime,
        step: i64,
        values: Vec<Value>,
    ) -> Vec<Value> {
        if values.is_empty() {
            return values;
        }
        let event = summary_event(wall_time, step, values);
        self.event(health, &event);
        match event.what {
            Some(What::Summary(summary)) => summary.value,
            _ => Vec::new(),
        }
    }

    /// Adds any event; false when it was refused.
    fn event(&mut self, health: &Health, event: &Event) -> bool {
        let taken = self.writer.append(event);
        if !taken {
            self.refused += 1;
            Health::count(&health.dropped, 1);
            self.forget(event);
        }
        if self.writer.pending() >= WRITE_AT
            && self
                .failing_since
                .is_none_or(|since| since.elapsed() > RETRY_AFTER)
        {
            self.write(health);
        }
        taken
    }

    /// Hands all that waits to the system. A failure is told once, until writing has succeeded again.
    pub(crate) fn write(&mut self, health: &Health) {
        let result = self.writer.flush();
        let bytes = self.writer.bytes_written();
        health
            .bytes
            .fetch_add(bytes - self.bytes_counted, Ordering::Relaxed);
        self.bytes_counted = bytes;
        let events = self.writer.events_written() - self.events_counted;
        self.events_counted += events;
        if events > 0 && self.is_gone(health) {
            Health::count(&health.dropped, events);
        } else {
            Health::count(&health.written, events);
        }
        match result {
            Ok(()) => {
                self.failing_since = None;
                self.tell_dropped(health);
            }
            Err(source) => {
                let error = Error::io(APPEND, self.writer.path(), source);
                if self.failing_since.replace(Instant::now()).is_none() {
                    health.fail(error);
                } else {
                    health.fail_again(error);
                }
            }
        }
    }

    /// Counts what never reached the file as dropped: there is no next try.
    pub(crate) fn give_up(&mut self, health: &Health) {
        let events = self.writer.pending_events();
        Health::count(&health.dropped, events);
        self.refused += events;
        self.tell_dropped(health);
    }

    fn tell_dropped(&mut self, health: &Health) {
        let events = std::mem::take(&mut self.refused);
        if events > 0 {
            health.fail(Error::Dropped {
                path: self.writer.path().into(),
                events,
            });
        }
    }

    /// True when the file was deleted, which a system like Linux tells no writer. It is not made anew: whoever deleted the
    /// run may have begun another one in its place.
    fn is_gone(&mut self, health: &Health) -> bool {
        if !self.is_deleted && self.writer.is_deleted() {
            self.is_deleted = true;
            let reason = "it was deleted while it was being written, and what is logged from here on is lost; make a new \
                          logger";
            let source = io::Error::new(io::ErrorKind::NotFound, reason);
            health.fail(Error::io("go on writing", self.writer.path(), source));
        }
        self.is_deleted
    }

    /// True when something waits and the disk may be asked again.
    pub(crate) fn wants_write(&self) -> bool {
        self.writer.pending() > 0
            && self
                .failing_since
                .is_none_or(|since| since.elapsed() > RETRY_AFTER)
    }
}

fn summary_event(wall_time: WallTime, step: i64, values: Vec<Value>) -> Event {
    Event {
        wall_time: wall_time.secs(),
        step,
        what: Some(What::Summary(Summary { value: values })),
        ..Default::default()
    }
}
