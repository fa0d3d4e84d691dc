//! The single place that joins a statistic, a scope and a variable into a tag, and that says what
//! each tag means.

use std::sync::Arc;

use crate::analysis::begun::{Begun, BegunVariable};
use crate::analysis::description::Description;
use crate::capture::plan::{Extent, Plan, Variable};
use crate::capture::samples::spread;
use crate::model::statistic::{
    GRADIENTS, Quantity, Statistic, StatisticRow, TABLE, WEIGHT_DELTAS, WEIGHTS,
};
use crate::model::subject::Subject;
use crate::model::tag_parts::{BAND_HIGH, BAND_LOW, WEIGHT_DELTA_SAMPLES, WEIGHT_SAMPLES};
use crate::model::tier::Tier;
use crate::options::Selection;

/// Sampled weights of each variable of a small model.
const SMALL_SAMPLES: usize = 4;
/// Lines of sampled weights in a larger model.
const SAMPLED_LINES: usize = 64;
/// Up to this many variables a band of one standard deviation is written around the mean.
const BANDS: usize = 16;

/// A tag with its description. Points share it, and who has met one need not compare its letters.
#[derive(Debug)]
pub(crate) struct PointTag {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
}

/// Makes the tags of one variable or role.
#[derive(Clone)]
pub(super) struct TagMaker<'a> {
    pub(super) scope: &'a str,
    pub(super) name: &'a str,
    pub(super) sample: Option<(usize, usize)>,
    /// See [`Description::variable`].
    pub(super) variable: Option<Arc<str>>,
}

impl<'a> TagMaker<'a> {
    fn of(variable: &'a Variable, scope: &'a str) -> TagMaker<'a> {
        let sampled = matches!(variable.extent, Extent::Sampled { .. });
        TagMaker {
            scope,
            name: &variable.name,
            sample: sampled.then_some((variable.elements, variable.all)),
            variable: Some(variable.info.to_string().into()),
        }
    }

    pub(super) fn tag(&self, quantity: Quantity, text: &'static str) -> Arc<PointTag> {
        self.named(quantity.name(), text)
    }

    fn named(&self, first: &str, text: &'static str) -> Arc<PointTag> {
        let (scope, name) = (self.scope, self.name);
        let separator = if scope.is_empty() { "" } else { "/" };
        Arc::new(PointTag {
            name: format!("{first}/{scope}{separator}{name}").into(),
            description: Description {
                text: text.into(),
                sample: self.sample,
                variable: self.variable.clone(),
            },
        })
    }

    /// The tags of the chosen rows of the table.
    fn of_rows(
        &self,
        writes: impl Fn(&StatisticRow) -> bool,
    ) -> Vec<(&'static StatisticRow, Arc<PointTag>)> {
        let rows = TABLE.iter().filter(|row| writes(row));
        rows.map(|row| (row, self.named(row.tag, row.text)))
            .collect()
    }

    /// A single element's value is no estimate.
    fn element(&self, first: &str, element: usize, text: &'static str) -> Arc<PointTag> {
        let name = format!("{}/{element}", self.name);
        let tags = TagMaker {
            scope: self.scope,
            name: &name,
            sample: None,
            variable: None,
        };
        tags.named(first, text)
    }
}

/// The tags of one variable, as far as it has them.
#[derive(Debug, Default)]
pub(crate) struct VariableTags {
    /// Of the statistics that are written of it, in the order of the table.
    pub(crate) scalars: Vec<(&'static StatisticRow, Arc<PointTag>)>,
    pub(crate) histogram: Option<Arc<PointTag>>,
    pub(crate) delta_histogram: Option<Arc<PointTag>>,
    /// Mean minus and plus one standard deviation.
    pub(crate) band: Option<(Arc<PointTag>, Arc<PointTag>)>,
    pub(crate) samples: Vec<Sample>,
}

/// A single weight that becomes a line.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Its number in the buffer.
    pub(crate) element: usize,
    pub(crate) weight: Arc<PointTag>,
    pub(crate) delta: Arc<PointTag>,
}

/// The tags of all variables of a plan, `None` for watched ones, beside the plan's order.
pub(crate) fn variable_tags(
    plan: &Plan,
    subject: Subject,
    scope: &str,
    selection: &Selection,
    begun: &mut Begun,
) -> Vec<Option<VariableTags>> {
    let logged = plan
        .variables
        .iter()
        .filter(|variable| variable.is_logged())
        .count();
    let mut order = 0;
    let mut tags = |variable: &Variable| {
        if !variable.is_logged() {
            return None;
        }
        let alone = selection.singles_out(&variable.name);
        let before = begun.variable(&variable.name);
        let place = Place::new(order, logged, alone, before);
        order += 1;
        begun.begin(&variable.name, place.begun);
        Some(match subject {
            Subject::Weights => weight_tags(variable, place, scope, selection),
            Subject::Gradients => gradient_tags(variable, place, scope),
        })
    };
    plan.variables.iter().map(&mut tags).collect()
}

/// Where a variable stands among those that are logged.
#[derive(Clone, Copy)]
struct Place {
    /// It is written by itself; otherwise its role stands for it.
    alone: bool,
    begun: BegunVariable,
}

impl Place {
    /// Of the variable of this number among those that are logged; `alone` when the user has
    /// singled it out.
    fn new(order: usize, logged: usize, alone: bool, before: Option<BegunVariable>) -> Place {
        let now = Tier::of(logged);
        let tier = before.map_or(now, |before| before.tier.min(now));
        let alone = alone || tier < Tier::Large;
        let samples = || default_samples(order, logged, tier, alone);
        Place {
            alone,
            begun: BegunVariable {
                tier,
                samples: before.map_or_else(samples, |before| before.samples.max(samples())),
                has_band: logged <= BANDS || before.is_some_and(|before| before.has_band),
            },
        }
    }

    /// True when a statistic is written by default.
    fn writes(self, row: &StatisticRow) -> bool {
        self.begun.tier <= row.tier || (self.alone && row.tier >= Tier::Medium)
    }
}

fn weight_tags(
    variable: &Variable,
    place: Place,
    scope: &str,
    selection: &Selection,
) -> VariableTags {
    let name = &*variable.name;
    let layer = selection.layer(name);
    let alone = place.alone;
    let chosen = layer
        .statistics
        .as_ref()
        .or(selection.options.statistics.as_ref());
    let writes = |row: &StatisticRow| match (row.quantity, chosen) {
        (Quantity::Statistic(statistic), Some(chosen)) => chosen.contains(&statistic),
        (Quantity::Statistic(_) | Quantity::Nonfinite, _) => place.writes(row),
        _ => false,
    };
    let count = layer
        .samples
        .or(selection.options.samples)
        .unwrap_or(place.begun.samples);
    let band = place.begun.has_band && writes(Statistic::WeightMean.row());
    let tags = TagMaker::of(variable, scope);
    let sample = |element: usize| {
        let logical = variable.logical(element);
        Sample {
            element,
            weight: tags.element(WEIGHT_SAMPLES, logical, SAMPLE),
            delta: tags.element(WEIGHT_DELTA_SAMPLES, logical, DELTA_SAMPLE),
        }
    };
    VariableTags {
        scalars: tags.of_rows(writes),
        histogram: alone.then(|| tags.tag(Quantity::Weights, WEIGHTS)),
        delta_histogram: alone.then(|| tags.tag(Quantity::Deltas, WEIGHT_DELTAS)),
        band: band.then(|| (tags.named(BAND_LOW, BAND), tags.named(BAND_HIGH, BAND))),
        samples: spread(variable.elements, count, selection.options.seed, name)
            .into_iter()
            .map(sample)
            .collect(),
    }
}

fn default_samples(order: usize, logged: usize, tier: Tier, alone: bool) -> usize {
    match tier {
        Tier::Small => SMALL_SAMPLES,
        // One line each for variables spread evenly over the model, until the lines are used up.
        Tier::Medium if logged > SAMPLED_LINES => {
            let line = |order: usize| order * SAMPLED_LINES / logged;
            usize::from(order == 0 || line(order) > line(order - 1))
        }
        Tier::Medium => 1,
        Tier::Large => usize::from(alone),
    }
}

fn gradient_tags(variable: &Variable, place: Place, scope: &str) -> VariableTags {
    let writes = |row: &StatisticRow| {
        let is_of_gradient = row.quantity.is_of_gradient();
        is_of_gradient && place.writes(row)
    };
    let tags = TagMaker::of(variable, scope);
    VariableTags {
        scalars: tags.of_rows(writes),
        histogram: place
            .alone
            .then(|| tags.tag(Quantity::Gradients, GRADIENTS)),
        ..VariableTags::default()
    }
}

const BAND: &str = "Mean minus or plus one standard deviation of the weights, for the band chart.";
const SAMPLE: &str =
    "One element of the variable, chosen once by seed and name; the number is its row-major index.";
const DELTA_SAMPLE: &str = "What one step changed at this element.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::aggregate_tags::{aggregates, role};
    use crate::capture::plan::{Followed, SourceVariable};
    use crate::model::tag_parts::{TagParts, split_scope};
    use crate::model::tier::{MEDIUM, SMALL};
    use crate::model::types::DType;
    use crate::model::variable_info::Role;
    use crate::model::variable_info::VariableInfo;
    use crate::options::{LayerOptions, WeightOptions};

    fn selection(options: WeightOptions) -> Selection {
        Selection::new(options).expect("valid options")
    }

    fn plan(count: usize, selection: &Selection) -> Plan {
        let variable = |index| SourceVariable {
            name: format!("h.{index}.weight").into(),
            info: VariableInfo {
                dtype: DType::F32,
                shape: vec![10, 10],
                role: Role::Trainable,
                is_member: None,
            },
            is_beside: false,
            tie: None,
        };
        Plan::new(
            (0..count).map(variable).collect(),
            selection,
            &Followed::default(),
            None,
        )
    }

    fn tags(count: usize, options: WeightOptions) -> Vec<VariableTags> {
        let selection = selection(options);
        let plan = plan(count, &selection);
        variable_tags(
            &plan,
            Subject::Weights,
            "",
            &selection,
            &mut Begun::default(),
        )
        .into_iter()
        .flatten()
        .collect()
    }

    #[test]
    fn roles_replace_every_number() {
        assert_eq!(role("h.12.mlp.c_proj.weight"), "h.*.mlp.c_proj.weight");
        assert_eq!(role("conv1.weight"), "conv*.weight");
        assert_eq!(role("wte"), "wte");
    }

    #[test]
    fn a_small_model_has_everything() {
        let tags = tags(SMALL, WeightOptions::new());
        assert!(
            tags.iter()
                .all(|tags| tags.scalars.len() == Statistic::ALL.len() + 1
                    && tags.samples.len() == 4)
        );
        assert!(
            tags.iter()
                .all(|tags| tags.histogram.is_some() && tags.delta_histogram.is_some())
        );
        assert!(tags.iter().all(|tags| tags.band.is_none()));
    }

    #[test]
    fn a_medium_model_has_the_telling_ones_and_at_most_64_lines() {
        for count in [SMALL + 1, 64, 65, 300, MEDIUM] {
            let tags = tags(count, WeightOptions::new());
            assert!(
                tags.iter()
                    .all(|tags| tags.scalars.len() == 4 + 1 && tags.histogram.is_some())
            );
            let lines: usize = tags.iter().map(|tags| tags.samples.len()).sum();
            assert_eq!(lines, count.min(SAMPLED_LINES), "{count}");
        }
    }

    #[test]
    fn a_large_model_has_roles_and_what_was_pointed_at() {
        let options = WeightOptions::new().for_matching("h.7.*", LayerOptions::new().samples(2));
        let tags = tags(MEDIUM + 1, options);
        let alone: Vec<usize> = (0..tags.len())
            .filter(|&index| tags[index].histogram.is_some())
            .collect();
        assert_eq!(alone, [7]);
        assert_eq!(tags[7].samples.len(), 2);
        let chosen = selection(WeightOptions::new());
        let plan = plan(MEDIUM + 1, &chosen);
        let aggregates = aggregates(&plan, Subject::Weights, "G", &chosen, &mut Begun::default());
        assert_eq!(aggregates.len(), 2);
        assert_eq!(
            &*aggregates[1].tag_name("weight_std"),
            "model/G/h.*.weight/weight_std"
        );
        assert_eq!(
            &*aggregates[1]
                .histogram
                .as_ref()
                .expect("a role's histogram")
                .name,
            "weights/G/h.*.weight"
        );
    }

    #[test]
    fn series_go_on_when_a_model_grows_and_shrinks() {
        let chosen = selection(WeightOptions::new());
        let mut begun = Begun::default();
        let mut tags_of = |count: usize| {
            let plan = plan(count, &chosen);
            let aggregates = aggregates(&plan, Subject::Weights, "", &chosen, &mut begun);
            let tags = variable_tags(&plan, Subject::Weights, "", &chosen, &mut begun);
            (
                tags.into_iter().flatten().collect::<Vec<_>>(),
                aggregates.len(),
            )
        };
        let named = |tags: &VariableTags| {
            let scalars = tags.scalars.iter().map(|(_, tag)| tag.name.clone());
            let samples = tags.samples.iter().map(|sample| sample.weight.name.clone());
            let band = tags.band.iter().map(|(low, _)| low.name.clone());
            scalars
                .chain(samples)
                .chain(band)
                .collect::<Vec<Arc<str>>>()
        };
        let (small, roles) = tags_of(BANDS);
        assert_eq!(roles, 1);
        let (medium, roles) = tags_of(SMALL + 1);
        assert_eq!(roles, 2);
        for (before, now) in std::iter::zip(&small, &medium) {
            assert_eq!(named(before), named(now));
        }
        assert_eq!(medium[SMALL].scalars.len(), 4 + 1);
        let (large, _) = tags_of(MEDIUM + 1);
        for (before, now) in std::iter::zip(&medium, &large) {
            assert_eq!(named(before), named(now));
            assert!(now.histogram.is_some() && now.delta_histogram.is_some());
        }
        assert!(large[MEDIUM].histogram.is_none());
        let (_, roles) = tags_of(BANDS);
        assert_eq!(roles, 2);
    }

    #[test]
    fn a_variable_counts_once_whatever_names_a_group() {
        let options = WeightOptions::new()
            .group("h.*.weight", "*")
            .group("some", "h.1*")
            .group("some", "*.weight");
        let chosen = selection(options);
        let plan = plan(SMALL + 1, &chosen);
        let aggregates = aggregates(&plan, Subject::Weights, "", &chosen, &mut Begun::default());
        let sizes: Vec<usize> = aggregates
            .iter()
            .map(|aggregate| aggregate.members.len())
            .collect();
        assert_eq!(sizes, [SMALL + 1; 3]);
    }

    #[test]
    fn scopes_stand_behind_the_statistic() {
        let chosen = selection(WeightOptions::new().group("all", "*"));
        let plan = plan(1, &chosen);
        let tags = variable_tags(&plan, Subject::Weights, "G", &chosen, &mut Begun::default());
        let first = &tags[0].as_ref().expect("a logged variable").scalars[0].1;
        assert_eq!(&*first.name, "weight_mean/G/h.0.weight");
        let aggregates = aggregates(&plan, Subject::Weights, "G", &chosen, &mut Begun::default());
        let prefixes: Vec<Arc<str>> = aggregates
            .iter()
            .map(|aggregate| aggregate.tag_name("x"))
            .collect();
        assert_eq!(prefixes, ["model/G/x".into(), "model/G/all/x".into()]);
    }

    /// All tags of a variable but those of single elements and of the band.
    fn named(tags: &VariableTags) -> Vec<(Quantity, &Arc<PointTag>)> {
        let scalars = tags.scalars.iter();
        scalars.map(|(row, tag)| (row.quantity, tag)).collect()
    }

    #[test]
    fn tags_of_any_name_are_taken_apart_again() {
        let chosen = selection(WeightOptions::new().group("g/rp", "*"));
        for scope in ["", "G", "model", "a/b", "weights", "findings"] {
            for name in [
                "fc.weight",
                "a/b/c",
                "/",
                "weight_mean",
                "weight_mean/weight_mean",
                "findings",
                "update_ratio_log10",
                "model/findings",
                " Variable: f32 3, trainable.",
                "\u{e4}/*",
            ] {
                let found = SourceVariable {
                    name: name.into(),
                    info: VariableInfo {
                        dtype: DType::F32,
                        shape: vec![10, 10],
                        role: Role::Trainable,
                        is_member: Some(true),
                    },
                    is_beside: false,
                    tie: None,
                };
                let plan = Plan::new(vec![found], &chosen, &Followed::default(), None);
                let path = match scope {
                    "" => name.to_owned(),
                    scope => format!("{scope}/{name}"),
                };
                let parts = |tag: &Arc<PointTag>| {
                    assert!(tag.description.variable.is_some());
                    match TagParts::of(&tag.name) {
                        Some(TagParts::Variable { quantity, path: of }) if of == path => quantity,
                        other => panic!("{}: {other:?}", tag.name),
                    }
                };
                for subject in [Subject::Weights, Subject::Gradients] {
                    let tags = variable_tags(&plan, subject, scope, &chosen, &mut Begun::default());
                    let tags = tags[0].as_ref().expect("a logged variable");
                    for (quantity, tag) in named(tags) {
                        assert_eq!(parts(tag), quantity);
                    }
                    let histogram = match subject {
                        Subject::Weights => Quantity::Weights,
                        Subject::Gradients => Quantity::Gradients,
                    };
                    assert_eq!(tags.histogram.as_ref().map(parts), Some(histogram));
                }
                assert_eq!(split_scope(&path, [scope]), (scope, name));
                for aggregate in aggregates(
                    &plan,
                    Subject::Weights,
                    scope,
                    &chosen,
                    &mut Begun::default(),
                ) {
                    let (tag, findings) =
                        (aggregate.tag_name("drift"), aggregate.tag_name("findings"));
                    let rest = ["model/", scope, if scope.is_empty() { "" } else { "/" }].concat();
                    let path = tag.strip_suffix("/drift").unwrap_or_default();
                    let path = format!("{path}/");
                    let group = path.strip_prefix(&rest).unwrap_or("");
                    assert!(["", "g/rp/"].contains(&group), "{tag}: {group}");
                    let quantity = Quantity::Statistic(Statistic::WeightDrift);
                    let of = tag
                        .strip_prefix("model/")
                        .and_then(|tag| tag.strip_suffix("drift"));
                    let path = of.unwrap_or_default().trim_end_matches('/');
                    assert_eq!(
                        TagParts::of(&tag),
                        Some(TagParts::Aggregate { quantity, path })
                    );
                    if aggregate.is_model {
                        assert_eq!(TagParts::of(&findings), Some(TagParts::Findings { scope }));
                    }
                }
            }
        }
    }
}
