//! What the files of a run tell to one who goes on with it.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::format::event_file::{EventReader, ReadError};
use crate::model::plugin::Plugin;
use crate::model::tag_parts::WEIGHT_REPORT;
use crate::proto::session_log::SessionStatus;
use crate::proto::{Event, event::What};
use crate::sink::Claim;
use crate::summary::{custom_scalars, foreign, hparams, private};

/// Tags of which the steps say nothing of what was logged.
const OWN_TAGS: [&str; 2] = [WEIGHT_REPORT, custom_scalars::TAG];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RunHistory {
    /// The newest step of a summary that was not taken back by a later session.
    newest: Option<i64>,
    /// The session that wrote it was closed, so all of that step is there.
    is_closed: bool,
    /// Where the last session began, if it was not the first.
    resumed_at: Option<i64>,
    /// A session began in these files: TensorBoard's Python loader takes only the second start for
    /// a restart.
    pub(crate) has_start: bool,
    /// The files hold more than their own first events.
    pub(crate) is_begun: bool,
    /// The tags in the order of their first value, each with its dashboard.
    pub(crate) tags: Vec<(Box<str>, Plugin)>,
}

impl RunHistory {
    /// Reads all segments of a run, in the order in which TensorBoard does. Damage ends a segment,
    /// as it does there: a torn tail, or what follows a damaged length.
    ///
    /// # Errors
    /// [`Error::Io`] when the run or a segment cannot be read.
    pub(crate) fn read(claim: &dyn Claim) -> Result<RunHistory> {
        let mut history = RunHistory::default();
        let mut known = HashMap::new();
        let run = claim.path();
        let segments = claim
            .list()
            .map_err(|error| Error::io("list", run, error))?;
        for name in segments {
            let failed = |error| Error::io("read", run.join(&name), error);
            for event in EventReader::new(claim.read(&name).map_err(failed)?) {
                match event {
                    Ok(event) => history.take(&event, &mut known),
                    Err(ReadError::Io { source, .. }) => return Err(failed(source)),
                    // What is behind it is read where it can be found.
                    Err(_) => {}
                }
            }
        }
        let mut tags: Vec<_> = known.into_iter().collect();
        tags.sort_unstable_by_key(|(_, (order, _))| *order);
        history.tags = tags
            .into_iter()
            .map(|(tag, (_, plugin))| (tag, plugin))
            .collect();
        Ok(history)
    }

    /// The first step that is to be logged again: the newest one unless all of it is known to be
    /// there, for the writer may have been stopped between two calls for that step. `None` before
    /// the first step.
    pub(crate) fn next_step(&self) -> Option<i64> {
        let next = self.newest.map(|newest| match self.is_closed {
            true => newest.saturating_add(1),
            false => newest,
        });
        next.max(self.resumed_at)
    }

    fn take(&mut self, event: &Event, known: &mut HashMap<Box<str>, (usize, Plugin)>) {
        match &event.what {
            Some(What::Summary(summary)) => {
                self.is_begun = true;
                self.is_closed = false;
                // Version 0.1 wrote its layouts and reports at steps that nobody had logged.
                let mut values = summary.value.iter();
                let is_own = |tag: &str| {
                    OWN_TAGS.contains(&tag) || hparams::is_tag(tag) || private::is_tag(tag)
                };
                if values.any(|value| !is_own(&value.tag)) {
                    self.newest = self.newest.max(Some(event.step));
                }
                for value in &summary.value {
                    let order = known.len();
                    if let Some(plugin) = foreign::plugin_of(value)
                        && !known.contains_key(&*value.tag)
                    {
                        known.insert(value.tag.as_str().into(), (order, plugin));
                    }
                }
            }
            Some(What::SessionLog(session)) if session.status() == SessionStatus::Start => {
                if self.has_start {
                    self.resumed_at = Some(event.step);
                    self.newest = self.newest.filter(|newest| *newest < event.step);
                }
                (self.has_start, self.is_closed) = (true, false);
            }
            Some(What::SessionLog(session)) if session.status() == SessionStatus::Stop => {
                self.is_closed = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    use crate::kernel::histogram::Histogram;
    use crate::model::types::{Existing, SyncPolicy};
    use crate::proto::Summary;
    use crate::proto::summary::Value;
    use crate::sink::claim::claim_run;
    use crate::sink::memory::MemorySink;
    use crate::sink::{EventWriter, LocalSink, session_event};
    use crate::summary;

    fn values(step: i64, value: Vec<Value>) -> Event {
        Event {
            step,
            what: Some(What::Summary(Summary { value })),
            ..Default::default()
        }
    }

    fn loss(step: i64) -> Event {
        values(step, vec![summary::scalars::value("loss", 1.0, Some(""))])
    }

    /// Each list becomes a file behind the one before.
    fn history(files: &[&[Event]]) -> RunHistory {
        let mut claim = claim();
        for events in files {
            let mut writer = EventWriter::create(&mut *claim, None, SyncPolicy::Never).unwrap();
            for event in *events {
                assert!(writer.append(event));
            }
        }
        RunHistory::read(&*claim).unwrap()
    }

    fn claim() -> Box<dyn Claim> {
        claim_run(&MemorySink::default(), Path::new("run"), Existing::Append).unwrap()
    }

    const START: SessionStatus = SessionStatus::Start;
    const STOP: SessionStatus = SessionStatus::Stop;

    #[test]
    fn the_newest_step_is_repeated_unless_the_run_was_closed() {
        assert_eq!(history(&[]).next_step(), None);
        assert_eq!(history(&[&[]]).next_step(), None);
        assert_eq!(history(&[&[loss(3), loss(7)]]).next_step(), Some(7));
        let closed = [loss(3), loss(7), session_event(STOP, 7)];
        assert_eq!(history(&[&closed]).next_step(), Some(8));
        // Over all files, and not by the order of arrival.
        assert_eq!(history(&[&[loss(9)], &[loss(4)]]).next_step(), Some(9));
        assert_eq!(history(&[&closed, &[loss(8)]]).next_step(), Some(8));
    }

    #[test]
    fn what_a_later_session_took_back_does_not_count() {
        let first = [loss(3), loss(90), session_event(STOP, 90)];
        let second = [
            session_event(START, 0),
            session_event(START, 50),
            loss(50),
            loss(51),
        ];
        assert_eq!(history(&[&first, &second]).next_step(), Some(51));
        // It was stopped before its first step.
        assert_eq!(history(&[&first, &second[..2]]).next_step(), Some(50));
        assert!(history(&[&first, &second]).has_start);
        assert!(!history(&[&first]).has_start);
    }

    #[test]
    fn tags_are_known_by_their_kind_and_order() {
        let histogram = summary::histograms::value("w", &Histogram::default(), Some(""));
        let events = [
            loss(0),
            values(0, vec![histogram]),
            values(1, vec![summary::scalars::value("acc", 1.0, None)]),
        ];
        let tags = history(&[&events]).tags;
        assert_eq!(
            tags,
            [
                ("loss".into(), Plugin::Scalars),
                ("w".into(), Plugin::Histograms),
                ("acc".into(), Plugin::Scalars)
            ]
        );
    }

    #[test]
    fn a_torn_tail_and_a_damaged_record_end_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut claim = claim_run(&LocalSink, dir.path(), Existing::Append).unwrap();
        let mut writer = EventWriter::create(&mut *claim, None, SyncPolicy::Never).unwrap();
        for step in 0..10 {
            assert!(writer.append(&loss(step)));
        }
        writer.finish().unwrap();
        let mut bytes = fs::read(writer.path()).unwrap();
        bytes.truncate(bytes.len() - 3);
        fs::write(writer.path(), &bytes).unwrap();
        assert_eq!(RunHistory::read(&*claim).unwrap().next_step(), Some(8));
        // One bit in the content of the last whole record.
        let at = bytes.len() - 60;
        bytes[at] ^= 1;
        fs::write(writer.path(), &bytes).unwrap();
        assert!(RunHistory::read(&*claim).unwrap().next_step() >= Some(7));
    }
}
