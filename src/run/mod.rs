//! One run: its event files, the tags described in them, and the layout of its dashboard, each in a
//! file of its own.

mod embeddings;
mod encoded_payload;
pub(crate) mod entry;
pub(crate) mod files;
pub(crate) mod health;
pub(crate) mod layout;
pub(crate) mod opened;
pub(crate) mod point_messages;
mod records;
pub(crate) mod run_history;
pub(crate) mod tags;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::Path;

use crate::analysis::dashboard::ScopeBoard;
use crate::analysis::description::Description;
use crate::analysis::map_picture::MapPng;
use crate::analysis::points::PointBatch;
use crate::analysis::tag_parts::{self, WEIGHT_REPORT};
use crate::analysis::watch::MapPoint;
use crate::error::Error;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::model::types::WallTime;
use crate::proto::session_log::SessionStatus;
use crate::proto::summary::Value;
use crate::proto::tch_tensorboard::ModelRecord;
use crate::proto::{Event, Summary, event::What};
use crate::run::embeddings::Embeddings;
use crate::run::encoded_payload::EncodedPayload;
use crate::run::entry::RunEntry;
use crate::run::files::Files;
use crate::run::health::Health;
use crate::run::layout::RunLayout;
use crate::run::point_messages::{EncodedPoint, Needs, PointMessages};
use crate::run::records::Records;
use crate::run::tags::{Met, Tags};
use crate::sink::session_event;
use crate::summary::custom_scalars::{self, Categories};
use crate::summary::foreign;
use crate::summary::hparams::{self, SessionEnd, Status};
use crate::summary::images::EncodedImage;
use crate::summary::text::Markdown;
use crate::summary::{self, TaggedPayload, private};

pub(crate) use crate::run::files::FileOptions;
pub(crate) use crate::run::layout::Moment;
pub(crate) use crate::run::opened::Opened;

const REPORT_DESCRIPTION: &str =
    "What each variable has come to, and what to do. Written when a verdict changes.";

/// What the pictures of weights of all models may take together.
const MAP_BYTES: usize = 1 << 20;

const MAP_DESCRIPTION: &str = "What each step changed in each variable, from the first step on. \
    Colour: log10 of the update ratio, from 1e-5 (dark) to 1e-1 (bright). Grey: did not move. \
    Hatched: frozen. Red: NaN or infinite. Pale: not observed. A cell is divided by the shares of \
    its steps, and of the variables of a role (x12: of twelve). A triangle marks where a finding \
    began; the report under Text names it.";

/// See the module.
pub(crate) struct RunWriter {
    files: Files,
    tags: Tags,
    layout: RunLayout,
    records: Records,
    embeddings: Embeddings,
    /// Values of the last scalars, kept for their memory: there are millions of them.
    spare: Vec<Value>,
    /// The scalars and histograms of each watched model's last points.
    kept: HashMap<u32, (PointMessages, PointMessages)>,
    /// The step of the first event of this session, and that of the newest call that is in the
    /// private record.
    first_step: Option<i64>,
    recorded_step: Option<i64>,
    /// The newest report, and its step.
    reported: Option<(i64, String)>,
    /// The newest step of all.
    newest_step: Option<i64>,
    /// What the pictures of weights take so far.
    map_bytes: usize,
    /// Watched models of which a picture did not fit: further ones wait for the end.
    refused_maps: HashSet<u32>,
}

impl RunWriter {
    pub(crate) fn new(opened: Opened) -> RunWriter {
        let Opened {
            claim,
            writer,
            history,
            options,
        } = opened;
        let layout = RunLayout::new(claim.path());
        let mut run = RunWriter {
            files: Files::new(claim, writer, options),
            tags: Tags::default(),
            layout,
            records: Records::default(),
            embeddings: Embeddings::default(),
            spare: Vec::new(),
            kept: HashMap::new(),
            first_step: None,
            recorded_step: None,
            reported: None,
            newest_step: None,
            map_bytes: 0,
            refused_maps: HashSet::new(),
        };
        for (tag, plugin) in history.tags {
            // Charts continue to show the user's tags of earlier sessions.
            if plugin == Plugin::Scalars && !tag_parts::is_ours(&tag) {
                run.layout.add_user_tag(&tag);
            }
            run.tags.recall(tag, plugin);
        }
        run
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
            let Some(met) = self.describe(health, tag, Plugin::Scalars, None, Some(step)) else {
                continue;
            };
            if met == Met::InThisRun {
                self.layout.add_user_tag(tag);
            }
            let description = (met != Met::Before).then_some("");
            match values.get_mut(used) {
                Some(value) => summary::scalars::refill(value, tag, number, description),
                None => values.push(summary::scalars::value(tag, number, description)),
            }
            if met != Met::Before && self.tags.has_texts() {
                let value = values.get_mut(used);
                let metadata = self.tags.metadata(tag);
                value
                    .into_iter()
                    .for_each(|value| value.metadata.clone_from(&metadata));
            }
            used += 1;
        }
        values.truncate(used);
        self.spare = self.append(health, wall_time, step, values);
    }

    /// Writes what a caller has handed over.
    pub(crate) fn take(&mut self, health: &Health, kernels: &mut Kernels, entry: RunEntry) {
        match entry {
            RunEntry::Payloads(payloads) => {
                self.payloads(health, kernels, payloads);
            }
            RunEntry::Event(event, _) => self.foreign_event(health, *event),
            RunEntry::Embedding(files) => self.embeddings.write(health, &mut self.files, *files),
            RunEntry::Text(tag, text) => self.tags.set_text(tag, text),
            RunEntry::Charts(charts) => self.layout.add_charts(charts),
            RunEntry::Chart(category, chart) => self.layout.add_chart(&category, chart),
        }
    }

    /// Adds an event of a caller's own, without the values whose tags hold something else.
    fn foreign_event(&mut self, health: &Health, mut event: Event) {
        self.rotate(health);
        let step = event.step;
        match &mut event.what {
            Some(What::Summary(summary)) => {
                summary
                    .value
                    .retain_mut(|value| self.complete(health, value, step));
                if !summary.value.is_empty() {
                    self.event(health, &event);
                }
            }
            Some(What::GraphDef(_)) | None => {
                self.event_of_the_run(health, &event);
            }
            Some(_) => {
                self.event(health, &event);
            }
        }
    }

    /// Completes the metadata of a value of a caller's own; false when it cannot be written.
    fn complete(&mut self, health: &Health, value: &mut Value, step: i64) -> bool {
        let known = || self.tags.plugin(&value.tag);
        let Some(plugin) = foreign::plugin_of(value).or_else(known) else {
            let reason = "is a tensor that no value before has said the plugin of, which nothing \
                          shows; give it metadata";
            health.fail(Error::value("message", &value.tag, reason));
            Health::count(&health.dropped, 1);
            return false;
        };
        let Some(met) = self.describe(health, &value.tag, plugin, None, Some(step)) else {
            return false;
        };
        if met == Met::InThisRun && plugin == Plugin::Scalars {
            self.layout.add_user_tag(&value.tag);
        }
        if met == Met::Before {
            return true;
        }
        self.tags
            .set_content(&value.tag, foreign::content_of(value));
        let said = value.metadata.take();
        value.metadata = self.tags.metadata(&value.tag);
        if let (Some(said), Some(metadata)) = (said, &mut value.metadata) {
            if plugin == Plugin::Other {
                *metadata = said;
                return true;
            }
            let texts = [
                (&mut metadata.display_name, said.display_name),
                (&mut metadata.summary_description, said.summary_description),
            ];
            for (text, said) in texts {
                if text.is_empty() {
                    *text = said;
                }
            }
        }
        true
    }

    /// Adds a value of any dashboard; false when it was not written.
    pub(crate) fn payload(
        &mut self,
        health: &Health,
        kernels: &mut Kernels,
        tagged: TaggedPayload,
    ) -> bool {
        self.payloads(health, kernels, vec![tagged])
    }

    /// Adds values that belong together as one event, all of them or none; false when it was not
    /// written.
    fn payloads(
        &mut self,
        health: &Health,
        kernels: &mut Kernels,
        entry: Vec<TaggedPayload>,
    ) -> bool {
        let Some(first) = entry.first() else {
            return false;
        };
        let (step, wall_time) = (first.step, first.wall_time);
        let is_of_a_step = first.payload.is_of_a_step();
        self.rotate(health);
        // Before anything is encoded: it would be in vain.
        let mut tags = entry.iter().map(|one| (&*one.tag, one.payload.plugin()));
        if tags.any(|(tag, plugin)| self.tags.clashes(health, tag, plugin)) {
            return false;
        }
        let file = self.files.number();
        let made = entry.into_iter().filter_map(|tagged| {
            let is_described = self.tags.is_described(file, &tagged.tag);
            EncodedPayload::of(tagged, is_described, kernels).transpose()
        });
        let made: Vec<EncodedPayload> = match made.collect() {
            Ok(made) => made,
            Err(error) => {
                Health::count(&health.dropped, 1);
                health.fail(error);
                return false;
            }
        };
        let values: Vec<Value> = made
            .into_iter()
            .filter_map(|made| self.describe_payload(health, made, step))
            .collect();
        if values.is_empty() {
            return false;
        }
        let event = summary_event(wall_time, step, values);
        match is_of_a_step {
            true => self.event(health, &event),
            false => self.event_of_the_run(health, &event),
        }
    }

    /// The value with the metadata that it needs in this file.
    fn describe_payload(
        &mut self,
        health: &Health,
        made: EncodedPayload,
        step: i64,
    ) -> Option<Value> {
        let (tag, plugin) = (made.tag, made.plugin);
        let text = Description {
            text: made.description,
            sample: None,
            variable: None,
        };
        let met = self.describe(health, &tag, plugin, Some(&text), Some(step))?;
        if met == Met::InThisRun && plugin == Plugin::Scalars {
            self.layout.add_user_tag(&tag);
        }
        if let Some(content) = made.content {
            self.tags.set_content(&tag, content);
        }
        let is_described = met != Met::Before || made.repeats_metadata;
        Some(Value {
            metadata: is_described.then(|| self.tags.metadata(&tag)).flatten(),
            tag: tag.into(),
            value: Some(made.value),
        })
    }

    /// Adds the points of a model's snapshot: one event of scalars and one of histograms.
    pub(crate) fn points(&mut self, health: &Health, watch: u32, points: &PointBatch) {
        self.rotate(health);
        let (mut scalars, mut histograms) = self.kept.remove(&watch).unwrap_or_default();
        self.event_of(health, points, &points.scalars, &mut scalars);
        // Described only now: writing may have continued in a new file.
        self.event_of(health, points, &points.histograms, &mut histograms);
        self.kept.insert(watch, (scalars, histograms));
    }

    /// Writes what is new of a model to the private record, at the step of a call: where the model
    /// is like that for the first time, it has no other record at that step.
    pub(crate) fn record(&mut self, health: &Health, model: ModelRecord, at: Moment) {
        self.recorded_step = self.recorded_step.max(model.step);
        self.records.set(model);
        self.rotate(health);
        self.write_records(health, at != Moment::Between);
    }

    /// Nobody has logged them, and nobody counts them.
    fn write_records(&mut self, health: &Health, exact: bool) {
        for record in self.records.take(self.files.number(), exact) {
            let tag = private::tag(&record.scope);
            let met = self.describe(health, &tag, Plugin::Private, None, None);
            let (Some(met), Some(step)) = (met, record.step) else {
                continue;
            };
            let value = Value {
                tag,
                metadata: (met != Met::Before).then(|| summary::metadata(Plugin::Private, "")),
                value: Some(private::content(&record)),
            };
            let event = summary_event(WallTime::now(), step, vec![value]);
            if !self.files.append_own(&event) {
                self.records.refuse(&record.scope);
                self.forget(&event);
            }
        }
    }

    /// Adds an event of points of one kind.
    fn event_of<P: EncodedPoint>(
        &mut self,
        health: &Health,
        points: &PointBatch,
        of_kind: &[P],
        messages: &mut PointMessages,
    ) {
        // The messages stay for when this kind is due again.
        if of_kind.is_empty() {
            return;
        }
        let era = self.tags.era(self.files.number());
        let values = messages.of(of_kind, era, |tag| {
            match self.describe(health, &tag.name, P::PLUGIN, Some(&tag.description), None) {
                Some(Met::Before) => Needs::Nothing,
                Some(Met::InThisFile | Met::InThisRun) => Needs::Description,
                None => Needs::Omission,
            }
        });
        messages.keep(self.append(health, points.wall_time, points.step, values));
    }

    /// See [`Tags::describe`].
    fn describe(
        &mut self,
        health: &Health,
        tag: &str,
        plugin: Plugin,
        description: Option<&Description>,
        step: Option<i64>,
    ) -> Option<Met> {
        let file = self.files.number();
        let met = self
            .tags
            .describe(health, file, tag, plugin, description, step)?;
        if met == Met::InThisRun {
            self.layout.outdate();
        }
        Some(met)
    }

    /// Takes what a watched model has to show; the layout follows when it differs.
    pub(crate) fn show(&mut self, watch: u32, board: ScopeBoard) {
        self.layout.show(watch, board);
    }

    /// Writes the layout when it is out of date: seldom, unless `at` says otherwise.
    pub(crate) fn refresh_layout(&mut self, health: &Health, kernels: &mut Kernels, at: Moment) {
        if self.files.is_lost() {
            return;
        }
        let tags = &self.tags;
        let written = |tag: &str| tags.is_known(tag);
        let (Some(first), Some(newest)) = (self.first_step, self.newest_step) else {
            return;
        };
        let Some(draft) = self.layout.draft(at, first, newest, &written) else {
            return;
        };
        let layout = TaggedPayload {
            step: draft.step,
            wall_time: WallTime::now(),
            tag: custom_scalars::TAG.into(),
            description: "".into(),
            payload: Box::new(Categories(draft.categories.clone())),
        };
        if self.payload(health, kernels, layout) {
            self.layout.keep(draft);
        } else {
            self.layout.outdate();
        }
    }

    /// Writes the weight report as Markdown, at the newest step that was logged. False when it has
    /// to wait for a newer one: a tag has one value a step, except at the end of a run, where the
    /// newest report has to be in the log.
    pub(crate) fn report(
        &mut self,
        health: &Health,
        kernels: &mut Kernels,
        at: Moment,
        markdown: String,
    ) -> bool {
        let Some(step) = self.newest_step.max(self.recorded_step) else {
            return true;
        };
        if let Some((reported, text)) = &self.reported {
            if *text == markdown {
                return true;
            }
            if *reported >= step && at != Moment::End {
                return false;
            }
        }
        let report = TaggedPayload {
            step,
            wall_time: WallTime::now(),
            tag: WEIGHT_REPORT.into(),
            description: REPORT_DESCRIPTION.into(),
            payload: Box::new(Markdown(markdown.clone())),
        };
        if self.payload(health, kernels, report) {
            self.reported = Some((step, markdown));
        }
        true
    }

    /// False when a picture of what this model has done need not be drawn: there is no room for
    /// it before the end.
    pub(crate) fn takes_weight_map(&self, watch: u32) -> bool {
        !self.refused_maps.contains(&watch)
    }

    /// Writes a picture of what a model has done, within what all of them may take. Half of it is
    /// for the end.
    pub(crate) fn weight_map(
        &mut self,
        health: &Health,
        kernels: &mut Kernels,
        watch: u32,
        map: MapPoint,
        is_end: bool,
    ) {
        let bytes = self.map_bytes + map.picture.file.len();
        let most = if is_end { MAP_BYTES } else { MAP_BYTES / 2 };
        if bytes > most {
            self.refused_maps.insert(watch);
            return;
        }
        let MapPng {
            width,
            height,
            file,
        } = map.picture;
        let picture = TaggedPayload {
            step: map.step,
            wall_time: map.wall_time,
            tag: map.tag,
            description: MAP_DESCRIPTION.into(),
            payload: Box::new(EncodedImage {
                width,
                height,
                file,
            }),
        };
        if self.payload(health, kernels, picture) {
            self.map_bytes = bytes;
        }
    }

    /// Where the event files are.
    pub(crate) fn directory(&self) -> &Path {
        self.files.directory()
    }

    /// The most informative tags, at most `most`.
    pub(crate) fn telling(&self, most: usize) -> Vec<String> {
        self.layout.telling(most, &|tag| self.tags.is_known(tag))
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

    /// Adds an event of a step that was logged; false when it was refused.
    fn event(&mut self, health: &Health, event: &Event) -> bool {
        let is_taken = self.event_of_the_run(health, event);
        if is_taken {
            self.first_step.get_or_insert(event.step);
            self.newest_step = self.newest_step.max(Some(event.step));
        }
        is_taken
    }

    /// The same of an event whose step is none that was logged.
    fn event_of_the_run(&mut self, health: &Health, event: &Event) -> bool {
        let is_taken = self.files.append(health, event);
        if !is_taken && !self.files.is_lost() {
            self.forget(event);
        }
        if self.files.is_write_due() {
            self.write(health, false);
        }
        is_taken
    }

    fn forget(&mut self, refused: &Event) {
        for tag in self.tags.forget(self.files.number(), refused) {
            self.layout.remove_user_tag(tag);
        }
    }

    /// Hands all that waits to the system; `is_flush` when a caller waits for it.
    pub(crate) fn write(&mut self, health: &Health, is_flush: bool) {
        // The record of a file that was replaced is to be in the next one when a flush returns.
        for _ in 0..2 {
            let tags = &mut self.tags;
            let mut redescribe = |file: u32, event: &mut Event| tags.describe_again(file, event);
            if !self.files.write(health, is_flush, &mut redescribe) {
                break;
            }
            self.layout.forget_written();
            self.write_records(health, false);
        }
    }

    /// Begins the next file where this one is full.
    fn rotate(&mut self, health: &Health) {
        let tags = &mut self.tags;
        let mut redescribe = |file: u32, event: &mut Event| tags.describe_again(file, event);
        let before = self.files.number();
        let is_replaced = self.files.rotate(health, &mut redescribe);
        if is_replaced {
            self.layout.forget_written();
        }
        if self.files.number() != before {
            self.write_records(health, false);
        }
    }

    /// Records in the file that all steps up to the newest are complete.
    pub(crate) fn end_session(&mut self) {
        if let Some(step) = self.newest_step {
            // Left out where there is no room: the newest step counts as incomplete then.
            let _ = self
                .files
                .append_own(&session_event(SessionStatus::Stop, step));
        }
    }

    /// Records how a run with hyperparameters ended, unless an earlier session has: TensorBoard
    /// keeps the first.
    pub(crate) fn end_trial(&mut self, health: &Health, kernels: &mut Kernels, status: Status) {
        if !self.tags.is_known(hparams::START) || self.tags.is_known(hparams::END) {
            return;
        }
        let wall_time = WallTime::now();
        let end = TaggedPayload {
            step: 0,
            wall_time,
            tag: hparams::END.into(),
            description: "".into(),
            payload: Box::new(SessionEnd { status, wall_time }),
        };
        self.payload(health, kernels, end);
    }

    /// Counts what never reached the file as dropped: there is no next try.
    pub(crate) fn give_up(&mut self, health: &Health) {
        self.files.give_up(health);
    }

    /// Records events that were refused, for `flush` and `close`.
    pub(crate) fn record_refused(&mut self, health: &Health) {
        self.files.record_refused(health);
    }

    /// Why something waits that could not be written; `None` when nothing waits.
    pub(crate) fn unwritten(&self) -> Option<Error> {
        self.files.unwritten()
    }

    /// True when something waits and the disk may be tried again.
    pub(crate) fn wants_write(&self) -> bool {
        self.files.wants_write()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::points::ScalarPoint;
    use crate::analysis::tags::PointTag;
    use crate::model::types::Existing;
    use crate::run::run_history::RunHistory;
    use crate::sink::LocalSink;
    use crate::sink::claim::claim_run;
    use std::sync::Arc;

    fn points(tag: &Arc<PointTag>, step: i64) -> PointBatch {
        PointBatch {
            step,
            wall_time: WallTime::now(),
            scalars: vec![ScalarPoint::new(tag, 1.0)],
            histograms: Vec::new(),
        }
    }

    /// Whether the newest event describes its first value, and how many events wait.
    fn newest(run: &RunWriter) -> (bool, usize) {
        let events = run.files.waiting();
        let described = match events.last().and_then(|event| event.what.as_ref()) {
            Some(What::Summary(summary)) => summary.value[0].metadata.is_some(),
            _ => false,
        };
        (described, events.len())
    }

    #[test]
    fn a_tag_whose_description_was_refused_is_described_again() {
        let parent = tempfile::tempdir().unwrap();
        let claim = claim_run(&LocalSink, &parent.path().join("run"), Existing::Fail).unwrap();
        let files = FileOptions::default();
        let opened = Opened::new(claim, RunHistory::default(), None, files).unwrap();
        let (mut run, health) = (RunWriter::new(opened), Health::new(Box::new(|_| {})));
        let tag = Arc::new(PointTag {
            name: "weight_mean/w".into(),
            description: Description {
                text: "Mean of the weights.".into(),
                sample: None,
                variable: None,
            },
        });
        run.write(&health, true);
        run.user_scalars(&health, WallTime::now(), 0, [("loss", 1.0)].into_iter());
        run.files.set_capacity(1);
        run.points(&health, 0, &points(&tag, 0));
        assert_eq!(newest(&run).1, 1, "no room beside what waits");
        run.write(&health, true);
        run.files.set_capacity(1 << 20);
        run.points(&health, 0, &points(&tag, 1));
        assert_eq!(newest(&run), (true, 1));
        run.points(&health, 0, &points(&tag, 2));
        assert_eq!(newest(&run), (false, 2), "once is enough");
    }

    #[test]
    fn of_a_model_whose_picture_did_not_fit_none_is_drawn_before_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let claim = claim_run(&LocalSink, &parent.path().join("run"), Existing::Fail).unwrap();
        let (history, files) = (RunHistory::default(), FileOptions::default());
        let opened = Opened::new(claim, history, None, files).unwrap();
        let (mut run, health) = (RunWriter::new(opened), Health::new(Box::new(|_| {})));
        let mut kernels = Kernels::new(1);
        let map = |bytes: usize| MapPoint {
            step: 0,
            wall_time: WallTime::now(),
            tag: "weight_map".into(),
            picture: MapPng {
                width: 1,
                height: 1,
                file: vec![0; bytes],
            },
        };
        let large = map(MAP_BYTES / 2 + 1);
        run.weight_map(&health, &mut kernels, 1, large, false);
        run.weight_map(&health, &mut kernels, 2, map(10), false);
        assert!(!run.takes_weight_map(1) && run.takes_weight_map(2));
        assert_eq!(run.map_bytes, 10);
        let large = map(MAP_BYTES / 2 + 1);
        run.weight_map(&health, &mut kernels, 1, large, true);
        assert_eq!(run.map_bytes, MAP_BYTES / 2 + 11);
    }

    #[test]
    fn charts_go_on_showing_the_users_tags_after_resuming_whatever_they_begin_with() {
        let parent = tempfile::tempdir().unwrap();
        let claim = claim_run(&LocalSink, &parent.path().join("run"), Existing::Fail).unwrap();
        let tags = [
            "loss",
            "weight_mean/w",
            "weight_decay",
            "model/drift",
            "model/loss",
        ];
        let mut history = RunHistory::default();
        history.tags = tags.map(|tag| (tag.into(), Plugin::Scalars)).into();
        let opened = Opened::new(claim, history, None, FileOptions::default()).unwrap();
        let run = RunWriter::new(opened);
        assert_eq!(run.telling(10), ["loss", "weight_decay", "model/loss"]);
    }
}
