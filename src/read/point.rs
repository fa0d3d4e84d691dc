//! Events taken apart into points: one tag, one step, one value.

use std::collections::VecDeque;

use crate::proto::{self, event::What, summary};
use crate::read::plugin::{Plugin, Plugins};
use crate::read::value::PointValue;

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
