//! The tags that a run has used: what each holds, and in which file its metadata was written.

use std::collections::{HashMap, HashSet};

use crate::analysis::description::Description;
use crate::error::Error;
use crate::model::plugin::Plugin;
use crate::proto::summary::Value;
use crate::proto::{Event, SummaryMetadata, event::What};
use crate::run::health::Health;
use crate::summary::{self, TagText};

/// The state of all descriptions. While it stays the same, a tag that was described is described
/// still; it changes with each file and with each event refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Era {
    file: u32,
    refusals: u64,
}

#[cfg(test)]
impl Era {
    pub(crate) const fn of(file: u32) -> Era {
        Era { file, refusals: 0 }
    }
}

/// A tag that this run has used.
#[derive(Debug)]
struct Tag {
    plugin: Plugin,
    /// The number of the file that has its metadata, and of the one in which it first came up; 0
    /// for a file of an earlier session. Each file repeats the metadata with the tag's first
    /// value: a reader may begin at any file.
    described_in: u32,
    first_in: u32,
    description: Option<Description>,
    /// What the dashboard reads from the metadata.
    content: Box<[u8]>,
    /// The greatest step of this session, of values that the user orders.
    newest_step: i64,
    /// A lower step has been reported.
    went_back: bool,
}

impl Tag {
    fn new(plugin: Plugin, file: u32, description: Option<&Description>) -> Tag {
        Tag {
            plugin,
            described_in: file,
            first_in: file,
            description: description.cloned(),
            content: Box::default(),
            newest_step: i64::MIN,
            went_back: false,
        }
    }

    /// Counts a step that is lower than one before, and reports the first of each tag.
    fn check_step(&mut self, health: &Health, tag: &str, step: i64) {
        if step >= self.newest_step {
            self.newest_step = step;
            return;
        }
        Health::count(&health.steps_back, 1);
        if !std::mem::replace(&mut self.went_back, true) {
            let newest = self.newest_step;
            health.notify(&Error::InvalidStep {
                what: tag.into(),
                step: step.into(),
                reason: format!(
                    "is lower than step {newest} of the same tag, and TensorBoard drops the \
                     points from there on; log each tag in the order of its steps, or the second \
                     pass to a sub-run (further ones of this tag are only counted, in \
                     Stats::steps_back)"
                )
                .into(),
            });
        }
    }
}

/// What was known of a tag before its newest value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// Its metadata is in this file.
    Before,
    /// The run has used it, this file has not, or its description has changed.
    InThisFile,
    /// The run has not used it.
    InThisRun,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    known: HashMap<Box<str>, Tag>,
    /// What the user says of tags, used or not.
    texts: HashMap<Box<str>, TagText>,
    /// Tags whose use for two dashboards has been reported.
    reported_clashes: HashSet<Box<str>>,
    refusals: u64,
}

impl Tags {
    /// A tag of an earlier session.
    pub(crate) fn recall(&mut self, tag: Box<str>, plugin: Plugin) {
        self.known.insert(tag, Tag::new(plugin, 0, None));
    }

    pub(crate) fn is_known(&self, tag: &str) -> bool {
        self.known.contains_key(tag)
    }

    pub(crate) fn era(&self, file: u32) -> Era {
        Era {
            file,
            refusals: self.refusals,
        }
    }

    /// Records that a value of `tag` is about to be written to `file`, and returns what its
    /// metadata depends on. `None` when the tag holds values of another dashboard: that is
    /// reported once for each tag, and counted each time. A step is given for values that the
    /// user orders.
    pub(crate) fn describe(
        &mut self,
        health: &Health,
        file: u32,
        tag: &str,
        plugin: Plugin,
        description: Option<&Description>,
        step: Option<i64>,
    ) -> Option<Met> {
        match self.known.get_mut(tag) {
            Some(known) if known.plugin == plugin => {
                if let Some(step) = step {
                    known.check_step(health, tag, step);
                }
                // A variable that has taken another role or shape is described again: a reader of
                // the log relies on it.
                let is_news = description.is_some() && description != known.description.as_ref();
                if known.described_in == file && !is_news {
                    return Some(Met::Before);
                }
                known.described_in = file;
                if is_news {
                    known.description = description.cloned();
                }
                Some(Met::InThisFile)
            }
            Some(_) => {
                self.clashes(health, tag, plugin);
                None
            }
            None => {
                let mut known = Tag::new(plugin, file, description);
                known.newest_step = step.unwrap_or(i64::MIN);
                self.known.insert(tag.into(), known);
                Some(Met::InThisRun)
            }
        }
    }

    /// True when the tag holds values of another dashboard: that is reported once for each tag, and
    /// counted each time.
    pub(crate) fn clashes(&mut self, health: &Health, tag: &str, plugin: Plugin) -> bool {
        let held = match self.known.get(tag) {
            Some(known) if known.plugin != plugin => known.plugin,
            _ => return false,
        };
        Health::count(&health.dropped, 1);
        let error = Error::InvalidTag {
            tag: tag.into(),
            reason: held.clash(plugin).into(),
        };
        if self.reported_clashes.insert(tag.into()) {
            health.fail(error);
        } else {
            health.record_loss(error);
        }
        true
    }

    /// True when the metadata of a tag are in this file.
    pub(crate) fn is_described(&self, file: u32, tag: &str) -> bool {
        let known = self.known.get(tag);
        known.is_some_and(|known| known.described_in == file)
    }

    /// Keeps what the user says of a tag, for its first value in this file or the next one.
    pub(crate) fn set_text(&mut self, tag: Box<str>, text: TagText) {
        if let Some(known) = self.known.get_mut(&tag) {
            known.described_in = 0;
        }
        self.texts.insert(tag, text);
    }

    /// The dashboard of a known tag.
    pub(crate) fn plugin(&self, tag: &str) -> Option<Plugin> {
        self.known.get(tag).map(|known| known.plugin)
    }

    pub(crate) fn has_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    /// Keeps what the dashboard reads from the metadata of a known tag.
    pub(crate) fn set_content(&mut self, tag: &str, content: Vec<u8>) {
        if let Some(known) = self.known.get_mut(tag) {
            known.content = content.into();
        }
    }

    /// The metadata of a known tag.
    pub(crate) fn metadata(&self, tag: &str) -> Option<SummaryMetadata> {
        let known = self.known.get(tag)?;
        let text = known.description.as_ref().map(ToString::to_string);
        let mut metadata = summary::metadata(known.plugin, &text.unwrap_or_default());
        if let Some(data) = &mut metadata.plugin_data {
            data.content = known.content.to_vec();
        }
        if let Some(text) = self.texts.get(tag) {
            metadata.display_name = text.display_name.to_string();
            if !text.description.is_empty() {
                metadata.summary_description = text.description.to_string();
            }
        }
        Some(metadata)
    }

    /// Undoes what [`describe`](Tags::describe) recorded for an event that was refused: without its
    /// metadata a histogram would never be shown. Returns the tags that are unknown again.
    pub(crate) fn forget<'a>(&mut self, file: u32, event: &'a Event) -> Vec<&'a str> {
        self.refusals += 1;
        let mut forgotten = Vec::new();
        for value in values_of(event).iter().filter(|v| v.metadata.is_some()) {
            match self.known.get_mut(&*value.tag) {
                Some(tag) if tag.first_in != file => tag.described_in = 0,
                Some(_) => {
                    self.known.remove(&*value.tag);
                    forgotten.push(&*value.tag);
                }
                None => {}
            }
        }
        forgotten
    }

    /// Adds the metadata of an event's tags that `file` does not have.
    pub(crate) fn describe_again(&mut self, file: u32, event: &mut Event) {
        let Some(What::Summary(summary)) = &mut event.what else {
            return;
        };
        for value in &mut summary.value {
            match self.known.get_mut(&*value.tag) {
                Some(tag) if tag.described_in != file => tag.described_in = file,
                _ => continue,
            }
            value.metadata = self.metadata(&value.tag);
        }
    }
}

fn values_of(event: &Event) -> &[Value] {
    match &event.what {
        Some(What::Summary(summary)) => &summary.value,
        _ => &[],
    }
}
