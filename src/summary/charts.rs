//! Charts of the user's own for the Custom Scalars dashboard.

use crate::error::{Error, Result};
use crate::proto::custom_scalar::{Category, Chart};
use crate::summary::custom_scalars::{band, category, group, lines, matching};

/// What errors call them.
const KIND: &str = "layout";

/// Charts of one layout at most: the page asks for the data of each.
const CHARTS: usize = 1000;

/// The category of charts that come with their values.
pub(crate) const OWN_CATEGORY: &str = "Charts";

/// A chart of several scalars: what a [`ChartCategory`] is made of.
///
/// ```
/// use tch_tensorboard::CustomChart;
///
/// let losses = CustomChart::lines("Losses", ["loss/train", "loss/val"]);
/// let band = CustomChart::band("Accuracy", "acc/mean", "acc/low", "acc/high");
/// # let _ = (losses, band);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CustomChart {
    title: String,
    content: ChartContent,
}

#[derive(Debug, Clone, PartialEq)]
enum ChartContent {
    Lines(Vec<String>),
    Group(String),
    Pattern(String),
    Band([String; 3]),
}

impl CustomChart {
    /// A line for each of these tags.
    pub fn lines<T: Into<String>>(
        title: impl Into<String>,
        tags: impl IntoIterator<Item = T>,
    ) -> CustomChart {
        let tags = tags.into_iter().map(Into::into).collect();
        CustomChart::new(title, ChartContent::Lines(tags))
    }

    /// A line for each tag of a group: the group's own name, and all below it (`loss/train` and
    /// `loss/val` of `loss`).
    pub fn group(title: impl Into<String>, group: impl Into<String>) -> CustomChart {
        CustomChart::new(title, ChartContent::Group(group.into()))
    }

    /// A line for each tag that matches a regular expression of Python, from the tag's start on:
    /// `layer\d+/loss$`. It has to be one that the crate `regex` reads, too.
    pub fn pattern(title: impl Into<String>, pattern: impl Into<String>) -> CustomChart {
        CustomChart::new(title, ChartContent::Pattern(pattern.into()))
    }

    /// A line of one tag between those of two others, filled: a mean with its confidence interval.
    /// The three have values at the same steps, or the page shows an error in place of the chart:
    /// log them by one [`log_scalars`](crate::Logger::log_scalars).
    pub fn band(
        title: impl Into<String>,
        value: impl Into<String>,
        lower: impl Into<String>,
        upper: impl Into<String>,
    ) -> CustomChart {
        let tags = [value.into(), lower.into(), upper.into()];
        CustomChart::new(title, ChartContent::Band(tags))
    }

    fn new(title: impl Into<String>, content: ChartContent) -> CustomChart {
        CustomChart {
            title: title.into(),
            content,
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |reason: String| Err(Error::value(KIND, &self.title, reason));
        if self.title.is_empty() {
            return invalid("a chart needs a title".into());
        }
        let is_empty = |tags: &[String]| tags.is_empty() || tags.iter().any(String::is_empty);
        match &self.content {
            ChartContent::Lines(tags) if is_empty(tags) => {
                invalid("names no tags, or an empty one; the chart would stay empty".into())
            }
            ChartContent::Band(tags) if is_empty(tags) => {
                invalid("names an empty tag; give the tags of value, lower and upper edge".into())
            }
            ChartContent::Group(group) if group.is_empty() => {
                invalid("names no group; give what its tags begin with".into())
            }
            ChartContent::Pattern(pattern) => match regex::Regex::new(pattern) {
                Ok(_) if !pattern.is_empty() => Ok(()),
                Ok(_) => invalid("has no pattern; the chart would stay empty".into()),
                Err(error) => invalid(format!("has a pattern that cannot be read: {error}")),
            },
            _ => Ok(()),
        }
    }

    /// `full` makes a whole tag of the caller's.
    fn to_chart(&self, full: &dyn Fn(&str) -> Box<str>) -> Chart {
        match &self.content {
            ChartContent::Lines(tags) => lines(&self.title, tags.iter().map(|tag| full(tag))),
            ChartContent::Group(of) => group(&self.title, &full(of)),
            ChartContent::Pattern(pattern) => {
                let scope = regex::escape(&full(""));
                // Either branch of an alternation is below the scope.
                matching(&self.title, [format!("{scope}(?:{pattern})")])
            }
            ChartContent::Band([value, lower, upper]) => {
                let (value, lower, upper) = (full(value), full(lower), full(upper));
                band(&self.title, [&value, &lower, &upper])
            }
        }
    }
}

/// A row of charts under a heading: what [`Logger::log_layout`](crate::Logger::log_layout) takes.
#[derive(Debug, Clone, PartialEq)]
pub struct ChartCategory {
    title: String,
    charts: Vec<CustomChart>,
    is_closed: bool,
}

impl ChartCategory {
    /// Open at first.
    pub fn new(
        title: impl Into<String>,
        charts: impl IntoIterator<Item = CustomChart>,
    ) -> ChartCategory {
        ChartCategory {
            title: title.into(),
            charts: charts.into_iter().collect(),
            is_closed: false,
        }
    }

    /// Closed at first: its data are fetched once somebody opens it.
    #[must_use]
    pub fn closed(mut self) -> ChartCategory {
        self.is_closed = true;
        self
    }
}

/// The categories as the dashboard reads them; `full` makes whole tags of the caller's.
///
/// # Errors
/// [`Error::InvalidValue`] for what would stay empty.
pub(crate) fn categories(
    layout: &[ChartCategory],
    full: &dyn Fn(&str) -> Box<str>,
) -> Result<Vec<Category>> {
    let charts: usize = layout.iter().map(|category| category.charts.len()).sum();
    if charts > CHARTS {
        let reason = format!("has {charts} charts; TensorBoard's page takes {CHARTS} at most");
        return Err(Error::value(KIND, "", reason));
    }
    let made = layout.iter().map(|of| {
        if of.title.is_empty() || of.charts.is_empty() {
            let reason = "a category needs a title and at least one chart";
            return Err(Error::value(KIND, &of.title, reason));
        }
        let charts = of.charts.iter().map(|chart| {
            chart.check()?;
            Ok(chart.to_chart(full))
        });
        Ok(category(
            &of.title,
            charts.collect::<Result<_>>()?,
            of.is_closed,
        ))
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::custom_scalar::chart::Content;

    fn patterns(chart: &CustomChart) -> Vec<String> {
        match chart.to_chart(&|tag| format!("G/{tag}").into()).content {
            Some(Content::Multiline(lines)) => lines.tag,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tags_are_matched_as_a_whole_below_the_scope() {
        let lines = CustomChart::lines("x", ["a.b", "c"]);
        assert_eq!(patterns(&lines), [r"G/a\.b$", "G/c$"]);
        assert_eq!(patterns(&CustomChart::group("x", "a+")), [r"G/a\+(/.*)?$"]);
        assert_eq!(patterns(&CustomChart::pattern("x", "a|b$")), ["G/(?:a|b$)"]);
    }

    #[test]
    fn charts_that_would_stay_empty_are_errors() {
        let none: [&str; 0] = [];
        for (chart, wanted) in [
            (CustomChart::lines("", ["a"]), "needs a title"),
            (CustomChart::lines("x", none), "names no tags"),
            (CustomChart::lines("x", [""]), "or an empty one"),
            (CustomChart::band("x", "a", "", "b"), "names an empty tag"),
            (CustomChart::group("x", ""), "names no group"),
            (CustomChart::pattern("x", "("), "cannot be read"),
            (CustomChart::pattern("x", ""), "has no pattern"),
        ] {
            let layout = [ChartCategory::new("c", [chart])];
            let reason = categories(&layout, &|tag| tag.into())
                .unwrap_err()
                .to_string();
            assert!(reason.contains(wanted), "{reason}");
        }
        let full = |tag: &str| tag.into();
        assert!(categories(&[ChartCategory::new("c", [])], &full).is_err());
        let many = vec![CustomChart::group("x", "a"); CHARTS + 1];
        assert!(categories(&[ChartCategory::new("c", many)], &full).is_err());
        assert!(categories(&[], &full).unwrap().is_empty());
    }
}
