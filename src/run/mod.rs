//! One run: its event files, which tags have been described in them, and the layout of its dashboard.

pub(crate) mod health;
pub(crate) mod point_messages;
pub(crate) mod run_history;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::mem;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::analysis::dashboard::{self, ScopeBoard};
use crate::analysis::description::Description;
use crate::analysis::points::Points;
use crate::analysis::tag_parts::WEIGHT_REPORT;
use crate::error::{Error, Result};
use crate::kernel::histogram::Histogram;
use crate::model::types::{SyncPolicy, WallTime};
use crate::proto::custom_scalar::Category;
use crate::proto::session_log::SessionStatus;
use crate::proto::summary::Value;
use crate::proto::{Event, Summary, event::What};
use crate::run::health::Health;
use crate::run::point_messages::{Needs, Point, PointMessages};
use crate::run::run_history::{Kind, RunHistory};
use crate::sink::logdir::Claim;
use crate::sink::{EventWriter, Fault, Loss, session_event};
use crate::summary;

/// A file is written to as soon as this much waits for it, or its worker has nothing else to do.
const WRITE_AT: usize = 1 << 20;

/// The least time between two layouts.
const LAYOUT_INTERVAL: Duration = Duration::from_secs(2);

const REPORT_DESCRIPTION: &str =
    "What each variable has come to, and what to do. Written when a verdict changes.";

/// How long a failing disk is left alone before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Groups of the user's scalars that get a chart in the layout.
const USER_GROUPS: usize = 24;

/// How a run's files are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileOptions {
    /// A file that has grown to this is followed by another one.
    pub(crate) max_bytes: Option<u64>,
    pub(crate) sync: SyncPolicy,
}

/// A run that was taken and whose first file was made.
pub(crate) struct Opened {
    claim: Claim,
    writer: EventWriter,
    history: RunHistory,
    files: FileOptions,
}

impl Opened {
    /// Begins the first file of a run, or a further one behind what `history` tells of.
    ///
    /// With a step the file says that the session goes on from there. TensorBoard's Python loader takes the first start
    /// in a run for its beginning, so a run that has none yet gets that one too.
    ///
    /// # Errors
    /// [`Error::Io`]; the claim is given back.
    pub(crate) fn new(
        claim: Claim,
        history: RunHistory,
        resumed_at: Option<i64>,
        files: FileOptions,
    ) -> Result<Opened> {
        let mut writer = match EventWriter::create(claim.directory(), None, files.sync) {
            Ok(writer) => writer,
            Err(error) => {
                claim.release();
                return Err(error);
            }
        };
        if let Some(step) = resumed_at.filter(|_| history.is_begun) {
            let starts = if history.has_start { 1 } else { 2 };
            for _ in 0..starts {
                // Never refused: they are short, and nothing else waits.
                let _ = writer.append_own(&session_event(SessionStatus::Start, step));
            }
            writer.flush().map_err(|error| {
                writer.forget_pending();
                Error::io("write the first record of", writer.path(), error)
            })?;
        }
        Ok(Opened {
            claim,
            writer,
            history,
            files,
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.claim.directory()
    }
}

/// A tag that this run has used.
#[derive(Debug)]
struct Tag {
    kind: Kind,
    /// The number of the file in which its metadata stands, and of the one in which it was met. Metadata stands in each
    /// file with the tag's first value: a reader may begin anywhere.
    described_in: u32,
    met_in: u32,
    description: Option<Description>,
}

/// What describing a tag came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    /// Its metadata stands in this file.
    Before,
    /// The run knows it, this file does not.
    InThisFile,
    /// Nobody knows it.
    InThisRun,
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
    claim: Claim,
    writer: EventWriter,
    files: FileOptions,
    /// Files of this session so far.
    file: u32,
    tags: HashMap<Box<str>, Tag>,
    /// Tags whose use for two things has been told.
    clashes: HashSet<Box<str>>,
    /// The user's scalar tags, in the order of their first value.
    user_tags: Vec<Box<str>>,
    user_groups: Vec<Box<str>>,
    boards: BTreeMap<u32, ScopeBoard>,
    /// Values of the last scalars, kept for their memory: there are millions of them.
    spare: Vec<Value>,
    /// The scalars and histograms of each watched model's last points.
    kept: HashMap<u32, (PointMessages, PointMessages)>,
    /// Another one begins when tags that were described are not any more: with a file, and with an event refused.
    era: u64,
    layout: Layout,
    /// The step of the newest report.
    reported: Option<i64>,
    /// The newest step of all.
    newest_step: Option<i64>,
    /// Events refused since that was last reported.
    refused: u64,
    bytes_counted: u64,
    events_counted: u64,
    failing_since: Option<Instant>,
    /// The next file could not be made, and the full one goes on.
    unrotated_since: Option<Instant>,
    /// The run's directory is gone or somebody else's, which has been told: what comes is counted and forgotten.
    is_lost: bool,
}

impl Run {
    pub(crate) fn new(opened: Opened) -> Run {
        let Opened {
            claim,
            writer,
            history,
            files,
        } = opened;
        let mut run = Run {
            claim,
            writer,
            files,
            file: 1,
            tags: HashMap::new(),
            clashes: HashSet::new(),
            user_tags: Vec::new(),
            user_groups: Vec::new(),
            boards: BTreeMap::new(),
            spare: Vec::new(),
            kept: HashMap::new(),
            era: 1,
            layout: Layout::default(),
            reported: None,
            newest_step: None,
            refused: 0,
            bytes_counted: 0,
            events_counted: 0,
            failing_since: None,
            unrotated_since: None,
            is_lost: false,
        };
        history
            .tags
            .into_iter()
            .for_each(|(tag, kind)| run.recall(tag, kind));
        run
    }

    /// A tag of a session before: it stands for the same thing, and charts go on showing it.
    fn recall(&mut self, tag: Box<str>, kind: Kind) {
        let is_ours = tag.starts_with("weight") || tag.starts_with("model/");
        if kind == Kind::Scalar && !is_ours {
            self.meet(&tag);
        }
        let tag_before = Tag {
            kind,
            described_in: 0,
            met_in: 0,
            description: None,
        };
        self.tags.insert(tag, tag_before);
    }

    /// Adds one event of the user's own scalars.
    pub(crate) fn user_scalars<'a>(
        &mut self,
        health: &Health,
        wall_time: WallTime,
        step: i64,
        scalars: impl Iterator<Item = (&'a str, f64)>,
    ) {
        self.rotate(health);
        let mut values = mem::take(&mut self.spare);
        let mut used = 0;
        for (tag, number) in scalars {
            let Some(met) = self.describe(health, tag, Kind::Scalar, None) else {
                continue;
            };
            if met == Met::InThisRun {
                self.meet(tag);
            }
            let description = (met != Met::Before).then_some("");
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
        self.rotate(health);
        let Some(met) = self.describe(health, tag, Kind::Histogram, None) else {
            return;
        };
        let description = (met != Met::Before).then_some("");
        let value = summary::histograms::value(tag, histogram, description);
        self.append(health, wall_time, step, vec![value]);
    }

    /// Adds what a model's snapshot came to: one event of scalars and one of histograms.
    pub(crate) fn points(&mut self, health: &Health, watch: u32, points: &Points) {
        self.rotate(health);
        let (mut scalars, mut histograms) = self.kept.remove(&watch).unwrap_or_default();
        self.event_of(health, points, &points.scalars, &mut scalars);
        // Described only now: writing may have gone on in a new file.
        self.event_of(health, points, &points.histograms, &mut histograms);
        self.kept.insert(watch, (scalars, histograms));
        self.layout.newest_step = points.step;
    }

    /// Adds an event of points of one kind.
    fn event_of<P: Point>(
        &mut self,
        health: &Health,
        points: &Points,
        of_kind: &[P],
        messages: &mut PointMessages,
    ) {
        // The messages stay for when this kind is due again.
        if of_kind.is_empty() {
            return;
        }
        let values = messages.of(of_kind, self.era, |tag| {
            match self.describe(health, &tag.name, P::KIND, Some(&tag.description)) {
                Some(Met::Before) => Needs::Nothing,
                Some(Met::InThisFile | Met::InThisRun) => Needs::Description,
                None => Needs::Omission,
            }
        });
        messages.keep(self.append(health, points.wall_time, points.step, values));
    }

    /// Tells what is known of a tag that is about to be used. `None` when it stands for something else already: that is
    /// told once for each tag, and counted each time.
    fn describe(
        &mut self,
        health: &Health,
        tag: &str,
        kind: Kind,
        description: Option<&Description>,
    ) -> Option<Met> {
        match self.tags.get_mut(tag) {
            Some(known) if known.kind == kind => {
                // A variable that has taken another role or shape is described again: who reads the log goes by it.
                let is_news = description.is_some() && description != known.description.as_ref();
                if known.described_in == self.file && !is_news {
                    return Some(Met::Before);
                }
                known.described_in = self.file;
                if is_news {
                    known.description = description.cloned();
                }
                Some(Met::InThisFile)
            }
            Some(known) => {
                let reason = match known.kind {
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
                let met = Tag {
                    kind,
                    described_in: self.file,
                    met_in: self.file,
                    description: description.cloned(),
                };
                self.tags.insert(tag.into(), met);
                self.layout.is_old = true;
                Some(Met::InThisRun)
            }
        }
    }

    /// What a refused event would have described is not described: without its metadata a histogram would stay unseen
    /// for good.
    fn forget(&mut self, event: &Event) {
        let Some(What::Summary(summary)) = &event.what else {
            return;
        };
        self.era += 1;
        for value in summary
            .value
            .iter()
            .filter(|value| value.metadata.is_some())
        {
            match self.tags.get_mut(&*value.tag) {
                Some(tag) if tag.met_in != self.file => tag.described_in = 0,
                Some(_) => {
                    self.tags.remove(&*value.tag);
                    self.user_tags.retain(|tag| **tag != *value.tag);
                }
                None => {}
            }
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
        if !self.layout.is_old || !due || self.boards.is_empty() || self.is_lost {
            return;
        }
        self.layout.is_old = false;
        let boards: Vec<ScopeBoard> = self.boards.values().cloned().collect();
        let written = |tag: &str| self.tags.contains_key(tag);
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
        self.rotate(health);
        let Some(met) = self.describe(health, WEIGHT_REPORT, Kind::Text, None) else {
            return;
        };
        let next = self.reported.map_or(0, |step| step.saturating_add(1));
        let step = self.layout.newest_step.max(next);
        let description = (met != Met::Before).then_some(REPORT_DESCRIPTION);
        let value = summary::text::value(WEIGHT_REPORT, markdown, description);
        if self.event(health, &summary_event(WallTime::now(), step, vec![value])) {
            self.reported = Some(step);
        }
    }

    /// Where the event files lie.
    pub(crate) fn directory(&self) -> &Path {
        self.claim.directory()
    }

    /// The tags that tell most.
    pub(crate) fn telling(&self, most: usize) -> Vec<String> {
        let boards: Vec<ScopeBoard> = self.boards.values().cloned().collect();
        dashboard::telling(
            &self.user_tags,
            &boards,
            &|tag| self.tags.contains_key(tag),
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
        if self.is_lost {
            Health::count(&health.dropped, 1);
            return false;
        }
        let taken = self.writer.append(event);
        if taken {
            self.newest_step = self.newest_step.max(Some(event.step));
        } else {
            self.refused += 1;
            Health::count(&health.dropped, 1);
            self.forget(event);
        }
        if self.writer.pending() >= WRITE_AT && may_try(self.failing_since) {
            self.write(health, false);
        }
        taken
    }

    /// Hands all that waits to the system, and to the device where the policy says so; `is_flush` when somebody waits for
    /// it. A failure is told once, until writing has succeeded again.
    pub(crate) fn write(&mut self, health: &Health, is_flush: bool) {
        if self.is_lost {
            return;
        }
        let sync = match self.files.sync {
            SyncPolicy::Never => false,
            SyncPolicy::OnFlush => is_flush,
            SyncPolicy::EveryWrite => true,
        };
        let mut result = self.writer.commit(sync);
        self.count_written(health);
        if let Err(Fault::Lost(loss)) = result {
            if !self.replace_file(health, loss) {
                return;
            }
            result = self.writer.commit(sync);
            self.count_written(health);
        }
        match result {
            Ok(()) => {
                self.failing_since = None;
                self.tell_dropped(health);
            }
            Err(Fault::Refused { action, source }) => {
                self.fail(health, Error::io(action, self.writer.path(), source));
            }
            // Twice at once: the next write sees to it.
            Err(Fault::Lost(_)) => {}
        }
    }

    /// Tells a failure of the disk once, until writing has succeeded again.
    fn fail(&mut self, health: &Health, error: Error) {
        if self.failing_since.replace(Instant::now()).is_none() {
            health.fail(error);
        } else {
            health.fail_again(error);
        }
    }

    fn count_written(&mut self, health: &Health) {
        let bytes = self.writer.bytes_written();
        Health::count(&health.bytes, bytes - self.bytes_counted);
        let events = self.writer.events_written();
        Health::count(&health.written, events - self.events_counted);
        (self.bytes_counted, self.events_counted) = (bytes, events);
    }

    /// Goes on in a further file once this one is as long as it may be. The full one is written first: TensorBoard's
    /// Python loader reads no file again once a later one is there.
    fn rotate(&mut self, health: &Health) {
        let is_full = |writer: &EventWriter, max: u64| {
            writer.bytes_written() + writer.pending() as u64 >= max
        };
        let Some(max) = self.files.max_bytes else {
            return;
        };
        if self.is_lost
            || !is_full(&self.writer, max)
            || !may_try(self.failing_since)
            || !may_try(self.unrotated_since)
        {
            return;
        }
        self.write(health, true);
        // It may have failed, or found the file lost and begun another one.
        if self.is_lost || !self.writer.is_settled() || !is_full(&self.writer, max) {
            return;
        }
        match self.next_file() {
            Ok(writer) => {
                self.install(writer);
                self.unrotated_since = None;
            }
            Err(error) => {
                let told = self.unrotated_since.replace(Instant::now()).is_some();
                if told {
                    health.fail_again(error);
                } else {
                    health.fail(error);
                }
            }
        }
    }

    fn next_file(&self) -> Result<EventWriter> {
        let previous = Some(self.writer.path());
        EventWriter::create(self.claim.directory(), previous, self.files.sync)
    }

    fn install(&mut self, writer: EventWriter) -> EventWriter {
        self.file += 1;
        self.era += 1;
        (self.bytes_counted, self.events_counted) = (0, 0);
        mem::replace(&mut self.writer, writer)
    }

    /// Goes on in a further file with what is not known to be in the one that somebody has deleted or cut; false when it
    /// cannot. What was in that file is theirs to have removed.
    fn replace_file(&mut self, health: &Health, loss: Loss) -> bool {
        let writer = match self.claim.renew() {
            Ok(true) => self.next_file(),
            Ok(false) => {
                self.lose(health);
                return false;
            }
            Err(error) => Err(error),
        };
        let writer = match writer {
            Ok(writer) => writer,
            Err(error) => {
                self.fail(health, error);
                return false;
            }
        };
        let mut lost = self.install(writer);
        self.adopt(health, &lost);
        lost.forget_pending();
        // A layout that stood there is gone too.
        self.layout.written.clear();
        self.layout.is_old = true;
        let reason = match loss {
            Loss::Deleted => "it was deleted while it was being written",
            Loss::CutShort => "it was cut short while it was being written",
        };
        let next = self.writer.path().display();
        let reason =
            format!("{reason}, with what had been written to it; logging goes on in {next}");
        let source = io::Error::new(io::ErrorKind::NotFound, reason);
        health.fail(Error::io("go on writing", lost.path(), source));
        true
    }

    /// Takes over what waits in another file. Tags are described again, since the file that told what they are is gone.
    fn adopt(&mut self, health: &Health, lost: &EventWriter) {
        let mut refused = 0;
        for (mut event, counts) in lost.unsettled() {
            self.describe_again(&mut event);
            let taken = match counts {
                true => self.writer.append(&event),
                false => self.writer.append_own(&event),
            };
            refused += u64::from(!taken && counts);
        }
        self.refused += refused;
        Health::count(&health.dropped, refused);
    }

    fn describe_again(&mut self, event: &mut Event) {
        let Some(What::Summary(summary)) = &mut event.what else {
            return;
        };
        for value in &mut summary.value {
            let Some(tag) = self.tags.get_mut(&*value.tag) else {
                continue;
            };
            if tag.described_in != self.file {
                tag.described_in = self.file;
                let text = tag
                    .description
                    .as_ref()
                    .map(|text| text.to_string())
                    .unwrap_or_default();
                value.metadata = Some(match tag.kind {
                    Kind::Scalar => summary::scalars::metadata(&text),
                    Kind::Histogram => summary::histograms::metadata(&text),
                    Kind::Text => summary::text::metadata(REPORT_DESCRIPTION),
                });
            }
        }
    }

    /// The directory is gone or another run's: whoever deleted it may have begun another run in its place.
    fn lose(&mut self, health: &Health) {
        self.is_lost = true;
        let events = self.writer.abandon();
        Health::count(&health.dropped, events);
        let reason = "the run's directory was deleted while it was being written, and what is logged from here on is \
                      lost; make a new logger";
        let source = io::Error::new(io::ErrorKind::NotFound, reason);
        health.fail(Error::io("go on writing", self.writer.path(), source));
    }

    /// Says in the file that all steps up to the newest are there. Nobody is told when it has no room.
    pub(crate) fn end_session(&mut self) {
        if let Some(step) = self.newest_step.filter(|_| !self.is_lost) {
            let _ = self
                .writer
                .append_own(&session_event(SessionStatus::Stop, step));
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

    /// True when something waits and the disk may be asked again.
    pub(crate) fn wants_write(&self) -> bool {
        !self.writer.is_settled() && may_try(self.failing_since)
    }
}

/// Whether what failed then may be tried again.
fn may_try(failing_since: Option<Instant>) -> bool {
    failing_since.is_none_or(|since| since.elapsed() > RETRY_AFTER)
}

fn summary_event(wall_time: WallTime, step: i64, values: Vec<Value>) -> Event {
    Event {
        wall_time: wall_time.secs(),
        step,
        what: Some(What::Summary(Summary { value: values })),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::points::ScalarPoint;
    use crate::analysis::tags::Tag;
    use crate::model::types::Existing;
    use crate::sink::logdir::claim_run;
    use std::sync::Arc;

    fn points(tag: &Arc<Tag>, step: i64) -> Points {
        Points {
            step,
            wall_time: WallTime::now(),
            scalars: vec![ScalarPoint::new(tag, 1.0)],
            histograms: Vec::new(),
        }
    }

    /// Whether the newest event describes its first value, and how many events wait.
    fn newest(run: &Run) -> (bool, usize) {
        let events: Vec<Event> = run.writer.unsettled().map(|(event, _)| event).collect();
        let described = match events.last().and_then(|event| event.what.as_ref()) {
            Some(What::Summary(summary)) => summary.value[0].metadata.is_some(),
            _ => false,
        };
        (described, events.len())
    }

    #[test]
    fn a_tag_whose_description_was_refused_is_described_again() {
        let parent = tempfile::tempdir().unwrap();
        let claim = claim_run(&parent.path().join("run"), Existing::Fail).unwrap();
        let files = FileOptions::default();
        let opened = Opened::new(claim, RunHistory::default(), None, files).unwrap();
        let (mut run, health) = (Run::new(opened), Health::new(Box::new(|_| {})));
        let tag = Arc::new(Tag {
            name: "weight_mean/w".into(),
            description: Description {
                text: "Mean of the weights.",
                sample: None,
                variable: None,
            },
        });
        run.write(&health, true);
        run.user_scalars(&health, WallTime::now(), 0, [("loss", 1.0)].into_iter());
        run.writer.set_capacity(1);
        run.points(&health, 0, &points(&tag, 0));
        assert_eq!(newest(&run).1, 1, "no room beside what waits");
        run.write(&health, true);
        run.writer.set_capacity(1 << 20);
        run.points(&health, 0, &points(&tag, 1));
        assert_eq!(newest(&run), (true, 1));
        run.points(&health, 0, &points(&tag, 2));
        assert_eq!(newest(&run), (false, 2), "once is enough");
    }
}
