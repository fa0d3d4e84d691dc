//! The Custom Scalars dashboard: a layout of charts over ordinary scalars.

use prost::Message;

use crate::error::Result;
use crate::kernel::Kernels;
use crate::model::plugin::Plugin;
use crate::proto::custom_scalar::{
    Category, Chart, Layout, MarginChartContent, MultilineChartContent, chart::Content,
    margin_chart_content::Series,
};
use crate::proto::summary::value;
use crate::summary::Payload;

/// The only tag the dashboard reads.
pub(crate) const TAG: &str = "custom_scalars__config__";

/// The layout.
pub(crate) struct Categories(pub(crate) Vec<Category>);

impl Payload for Categories {
    fn plugin(&self) -> Plugin {
        Plugin::CustomScalars
    }

    /// It does not wait for the worker, which makes it.
    fn bytes(&self) -> usize {
        0
    }

    fn into_value(self: Box<Self>, _: &str, _: &mut Kernels) -> Result<Option<value::Value>> {
        let layout = Layout {
            category: self.0,
            ..Default::default()
        };
        Ok(Some(super::string(layout.encode_to_vec())))
    }

    /// The layout is rewritten, and a reader may begin anywhere.
    fn repeats_metadata(&self) -> bool {
        true
    }
}

/// A row of charts that folds away.
pub(crate) fn category(title: &str, chart: Vec<Chart>, closed: bool) -> Category {
    Category {
        title: title.into(),
        chart,
        closed,
    }
}

/// Lines of exactly these tags.
pub(crate) fn lines<T: AsRef<str>>(title: &str, tags: impl IntoIterator<Item = T>) -> Chart {
    matching(
        title,
        tags.into_iter()
            .map(|tag| format!("{}$", regex::escape(tag.as_ref()))),
    )
}

/// Lines of all tags of a group: the group's own name, or anything below it.
pub(crate) fn group(title: &str, group: &str) -> Chart {
    matching(title, [format!("{}(/.*)?$", regex::escape(group))])
}

/// TensorBoard anchors a pattern at its start only.
pub(crate) fn matching(title: &str, patterns: impl IntoIterator<Item = String>) -> Chart {
    let content = MultilineChartContent {
        tag: patterns.into_iter().collect(),
    };
    Chart {
        title: title.into(),
        content: Some(Content::Multiline(content)),
    }
}

/// A line between two bounds; the three tags have values at the same steps.
pub(crate) fn band(title: &str, [value, lower, upper]: [&str; 3]) -> Chart {
    let series = Series {
        value: value.into(),
        lower: lower.into(),
        upper: upper.into(),
    };
    let content = MarginChartContent {
        series: vec![series],
    };
    Chart {
        title: title.into(),
        content: Some(Content::Margin(content)),
    }
}
