//! Events taken apart into points: one tag, one step, one value.

use std::collections::VecDeque;

use crate::format::event_file::{ReadError, decode};
use crate::proto::{self, event::What, summary};
use crate::read::outline::Outline;
use crate::read::plugin::{Plugin, Plugins};
use crate::read::{PointValue, RunReader};

/// The tag under which TensorBoard shows a run's graph.
const GRAPH_TAG: &str = "__run_graph__";

/// One value of one tag at one step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// The name under which it is shown.
    pub tag: String,
    /// The training step.
    pub step: i64,
    /// Seconds since the Unix epoch; a damaged or odd file may hold any number, NaN included.
    pub wall_time: f64,
    /// What it holds.
    pub value: PointValue,
}

/// The points of a run, in the order of the files.
///
/// Iterates and follows files as [`RunReader`] does. Points that a resumed run wrote again come again: which of them a dashboard
/// shows depends on its loader. What kind of values a tag has is told by its first value, as in TensorBoard; that needs
/// memory for each tag, and no more.
#[derive(Debug)]
pub struct Points {
    events: RunReader,
    plugins: Plugins,
    outline: Outline,
    ready: VecDeque<Point>,
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

/// Appends the points of an event to those that are `ready`.
pub(crate) fn take_apart(event: proto::Event, plugins: &mut Plugins, ready: &mut VecDeque<Point>) {
    let (step, wall_time) = (event.step, event.wall_time);
    let mut add = |tag, value| {
        ready.push_back(Point {
            tag,
            step,
            wall_time,
            value,
        });
    };
    match event.what {
        Some(What::Summary(summary)) => {
            for mut value in summary.value {
                let tag = std::mem::take(&mut value.tag);
                let plugin = plugins.of(&tag, named(&value));
                add(tag, PointValue::of(value, plugin));
            }
        }
        Some(What::GraphDef(graph)) => add(GRAPH_TAG.to_owned(), PointValue::Graph(graph)),
        _ => {}
    }
}

/// The plugin that the metadata of a value names.
fn named(value: &summary::Value) -> Option<Plugin> {
    let plugin = value.metadata.as_ref()?.plugin_data.as_ref()?;
    Plugin::named(&plugin.plugin_name)
}
