//! The points of a run.

use std::collections::VecDeque;

use crate::format::event_file::{ReadError, decode};
use crate::proto;
use crate::read::outline::Outline;
use crate::read::plugin::Plugins;
use crate::read::point::{Point, take_apart};
use crate::read::run_reader::RunReader;

/// The points of a run, in the order of the files.
///
/// Iterates and follows files as [`RunReader`] does. Points that a resumed run wrote again come
/// again: which of them a dashboard shows depends on its loader. What kind of values a tag has is
/// told by its first value, as in TensorBoard; that needs memory for each tag, and no more.
#[derive(Debug)]
pub struct Points {
    events: RunReader,
    plugins: Plugins,
    outline: Outline,
    ready: VecDeque<Point>,
}

impl RunReader {
    /// What the events say: scalars, histograms, texts and so on, whatever form the writer chose.
    pub fn points(self) -> Points {
        Points::new(self)
    }
}

impl Points {
    pub(crate) fn new(events: RunReader) -> Points {
        Points {
            events,
            plugins: Plugins::default(),
            outline: Outline::default(),
            ready: VecDeque::new(),
        }
    }

    /// The reader underneath, to ask where it is.
    pub fn events(&self) -> &RunReader {
        &self.events
    }
}

impl Iterator for Points {
    type Item = Result<Point, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(point) = self.ready.pop_front() {
                return Some(Ok(point));
            }
            let (outline, plugins) = (&mut self.outline, &mut self.plugins);
            // All there is to a scalar stands in the outline.
            match outlined(&mut self.events, outline, plugins, Outline::is_of_scalars)? {
                Ok(None) => self.ready.extend(outline.points()),
                Ok(Some(event)) => take_apart(event, plugins, &mut self.ready),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The next event: in outline if that is `enough`, or else decoded.
pub(super) fn outlined(
    events: &mut RunReader,
    outline: &mut Outline,
    plugins: &mut Plugins,
    enough: impl Fn(&Outline) -> bool,
) -> Option<Result<Option<proto::Event>, ReadError>> {
    outline.clear();
    events.next_with(|payload| {
        if outline.read(payload, plugins) && enough(outline) {
            return Ok(None);
        }
        outline.clear();
        decode(payload).map(Some)
    })
}
