//! The messages of a model's points, kept from one call to the next: mostly the same tags come in
//! the same order, and then neither is a tag looked up again nor memory asked for.
//!
//! Without it, each call of `log_weights` costs the process 0.76 ms of CPU time for 0.49 with 300
//! variables of 64 elements, and 67 µs for 45 with 8 of 1000 (scalars at each call, histograms at
//! none; builds in turn, medians of eight rounds on a busy machine of two cores).

use std::sync::Arc;

use crate::analysis::points::{HistogramPoint, ScalarPoint};
use crate::analysis::tags::PointTag;
use crate::model::plugin::Plugin;
use crate::proto::summary::Value;
use crate::run::tags::Era;
use crate::summary;

/// What becomes a message.
pub(crate) trait EncodedPoint {
    const PLUGIN: Plugin;

    fn tag(&self) -> &Arc<PointTag>;

    /// Writes the point over what the message held.
    fn refill(&self, message: &mut Value, description: Option<&str>);
}

impl EncodedPoint for ScalarPoint {
    const PLUGIN: Plugin = Plugin::Scalars;

    fn tag(&self) -> &Arc<PointTag> {
        &self.tag
    }

    fn refill(&self, message: &mut Value, description: Option<&str>) {
        summary::scalars::refill(message, &self.tag.name, self.value, description);
    }
}

impl EncodedPoint for HistogramPoint {
    const PLUGIN: Plugin = Plugin::Histograms;

    fn tag(&self) -> &Arc<PointTag> {
        &self.tag
    }

    fn refill(&self, message: &mut Value, description: Option<&str>) {
        summary::histograms::refill(message, &self.tag.name, &self.histogram, description);
    }
}

/// What a tag's first value in a file needs.
pub(crate) enum Needs {
    Nothing,
    Description,
    /// It must not be written: the tag stands for something else.
    Omission,
}

/// The messages of the newest event of one kind.
#[derive(Default)]
pub(crate) struct PointMessages {
    /// Those of the messages, one by one.
    tags: Vec<Arc<PointTag>>,
    values: Vec<Value>,
    /// Which state of the run's descriptions they were made under.
    era: Era,
}

impl PointMessages {
    /// The messages of these points. `needs` is asked for each tag that did not stand at the same
    /// place the last time, and for all of them when that was in another era. Let them come back by
    /// [`PointMessages::keep`].
    pub(crate) fn of<P: EncodedPoint>(
        &mut self,
        points: &[P],
        era: Era,
        mut needs: impl FnMut(&PointTag) -> Needs,
    ) -> Vec<Value> {
        let is_same_era = self.era == era;
        let mut values = std::mem::take(&mut self.values);
        let mut used = 0;
        for point in points {
            let tag = point.tag();
            let known = self.tags.get(used).filter(|known| Arc::ptr_eq(known, tag));
            let description = match known {
                Some(_) if is_same_era => None,
                _ => match needs(tag) {
                    Needs::Nothing => None,
                    Needs::Description => Some(tag.description.to_string()),
                    Needs::Omission => continue,
                },
            };
            match self.tags.get_mut(used) {
                Some(place) => place.clone_from(tag),
                None => self.tags.push(tag.clone()),
            }
            if values.len() <= used {
                values.push(Value::default());
            }
            if let Some(value) = values.get_mut(used) {
                point.refill(value, description.as_deref());
            }
            used += 1;
        }
        self.tags.truncate(used);
        values.truncate(used);
        self.era = era;
        values
    }

    /// Takes back the messages that [`PointMessages::of`] gave, for their memory.
    pub(crate) fn keep(&mut self, values: Vec<Value>) {
        self.values = values;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::description::Description;

    fn point(name: &str, value: f64) -> ScalarPoint {
        let tag = PointTag {
            name: name.into(),
            description: Description {
                text: "A number.".into(),
                sample: None,
                variable: None,
            },
        };
        ScalarPoint {
            tag: Arc::new(tag),
            value,
        }
    }

    /// Three of them, of which the first is that of messages which have none.
    const ERA: [Era; 3] = [Era::of(0), Era::of(1), Era::of(2)];

    /// The messages' tags, with a `+` where a description was given, and the tags asked for.
    fn made(
        messages: &mut PointMessages,
        points: &[&ScalarPoint],
        era: Era,
    ) -> (Vec<String>, Vec<String>) {
        let points: Vec<ScalarPoint> = points
            .iter()
            .map(|point| ScalarPoint::new(&point.tag, point.value))
            .collect();
        let mut asked = Vec::new();
        let values = messages.of(&points, era, |tag| {
            asked.push(tag.name.to_string());
            match &*tag.name {
                "taken" => Needs::Omission,
                _ => Needs::Description,
            }
        });
        let told = |value: &Value| match &value.metadata {
            Some(metadata) => {
                assert_eq!(metadata.summary_description, "A number.");
                format!("{}+", value.tag)
            }
            None => value.tag.clone(),
        };
        let tags = values.iter().map(told).collect();
        messages.keep(values);
        (tags, asked)
    }

    #[test]
    fn only_tags_that_have_not_stood_there_are_asked_for() {
        let mut messages = PointMessages::default();
        let (a, b, c) = (point("a", 1.0), point("b", 2.0), point("c", 3.0));
        let all = |tags: &[&str]| -> Vec<String> { tags.iter().map(ToString::to_string).collect() };
        assert_eq!(
            made(&mut messages, &[&a, &b], ERA[1]),
            (all(&["a+", "b+"]), all(&["a", "b"]))
        );
        assert_eq!(
            made(&mut messages, &[&a, &b], ERA[1]),
            (all(&["a", "b"]), vec![])
        );
        // Another order, and fewer.
        assert_eq!(
            made(&mut messages, &[&b, &c, &a], ERA[1]),
            (all(&["b+", "c+", "a+"]), all(&["b", "c", "a"]))
        );
        assert_eq!(made(&mut messages, &[&b], ERA[1]), (all(&["b"]), vec![]));
        // Another tag of the same name is another tag.
        let other = point("b", 2.0);
        assert_eq!(
            made(&mut messages, &[&other], ERA[1]),
            (all(&["b+"]), all(&["b"]))
        );
        assert_eq!(
            made(&mut messages, &[&other], ERA[2]),
            (all(&["b+"]), all(&["b"])),
            "in another era"
        );
        assert_eq!(made(&mut messages, &[], ERA[2]), (vec![], vec![]));
    }

    #[test]
    fn what_must_not_be_written_is_asked_for_each_time() {
        let mut messages = PointMessages::default();
        let (a, taken, b) = (point("a", 1.0), point("taken", 2.0), point("b", 3.0));
        for asked in [vec!["a", "taken", "b"], vec!["taken"], vec!["taken"]] {
            let (tags, all_asked) = made(&mut messages, &[&a, &taken, &b], ERA[1]);
            assert_eq!(all_asked, asked);
            let names: Vec<&str> = tags.iter().map(|tag| tag.trim_end_matches('+')).collect();
            assert_eq!(names, ["a", "b"]);
        }
    }
}
