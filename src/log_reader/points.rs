//! Events taken apart into points: one tag, one step, one value.

use std::collections::{HashMap, VecDeque};

use crate::event_file::ReadError;
use crate::log_reader::{PointValue, RunReader};
use crate::proto::{self, event::What, summary};

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
    plugins: HashMap<String, Box<str>>,
    ready: VecDeque<Point>,
}

impl Points {
    pub(crate) fn new(events: RunReader) -> Points {
        Points {
            events,
            plugins: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// The reader underneath, to ask where it is.
    pub fn events(&self) -> &RunReader {
        &self.events
    }

    fn take_apart(&mut self, event: proto::Event) {
        let (step, wall_time) = (event.step, event.wall_time);
        match event.what {
            Some(What::Summary(summary)) => {
                for value in summary.value {
                    let point = self.point(value, step, wall_time);
                    self.ready.push_back(point);
                }
            }
            Some(What::GraphDef(graph)) => self.ready.push_back(Point {
                tag: GRAPH_TAG.to_owned(),
                step,
                wall_time,
                value: PointValue::Graph(graph),
            }),
            _ => {}
        }
    }

    fn point(&mut self, mut value: summary::Value, step: i64, wall_time: f64) -> Point {
        let tag = std::mem::take(&mut value.tag);
        let named = value.metadata.as_ref().and_then(|metadata| {
            let plugin = &metadata.plugin_data.as_ref()?.plugin_name;
            (!plugin.is_empty()).then_some(plugin)
        });
        let known = self.plugins.get(&tag);
        let plugin = known.map(|plugin| &**plugin).or(named.map(String::as_str));
        let plugin = plugin.unwrap_or_default().to_owned();
        if known.is_none() && !plugin.is_empty() {
            self.plugins.insert(tag.clone(), plugin.as_str().into());
        }
        Point {
            tag,
            step,
            wall_time,
            value: PointValue::of(value, &plugin),
        }
    }
}

impl Iterator for Points {
    type Item = Result<Point, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(point) = self.ready.pop_front() {
                return Some(Ok(point));
            }
            match self.events.next()? {
                Ok(event) => self.take_apart(event),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
