//! What is shown of several variables as one, and the tags of that.

use std::sync::Arc;

use crate::analysis::begun::Begun;
use crate::analysis::description::Description;
use crate::analysis::tags::{PointTag, TagMaker};
use crate::capture::plan::Plan;
use crate::model::statistic::{GRADIENTS, Quantity, WEIGHT_DELTAS, WEIGHTS};
use crate::model::subject::Subject;
use crate::model::tier::Tier;
use crate::model::variable_info::Role;
use crate::options::Selection;

/// A set of variables that is shown as one: the model, a group of the user's, or a role.
#[derive(Debug)]
pub(crate) struct Aggregate {
    /// Empty for the model.
    pub(crate) name: Box<str>,
    /// Indices into the plan.
    pub(crate) members: Vec<usize>,
    /// Only the whole model shows how its variables spread.
    pub(crate) is_model: bool,
    /// The user named it; otherwise it is the model or a role.
    pub(crate) is_group: bool,
    /// Histograms of a role of a large model.
    pub(crate) histogram: Option<Arc<PointTag>>,
    pub(crate) delta_histogram: Option<Arc<PointTag>>,
    pub(crate) tags: AggregateTags,
}

impl Aggregate {
    /// The name of the tag of one of this aggregate's statistics.
    pub(crate) fn tag_name(&self, statistic: &str) -> Arc<str> {
        self.tags.name(statistic)
    }
}

/// Makes the tags of an aggregate, each at its first use.
#[derive(Debug)]
pub(crate) struct AggregateTags {
    prefix: String,
    /// Elements copied and elements in all, when these differ.
    sample: Option<(usize, usize)>,
    made: Vec<Arc<PointTag>>,
}

impl AggregateTags {
    fn new(prefix: String, sample: Option<(usize, usize)>) -> AggregateTags {
        AggregateTags {
            prefix,
            sample,
            made: Vec::new(),
        }
    }

    fn name(&self, statistic: &str) -> Arc<str> {
        format!("{}{statistic}", self.prefix).into()
    }

    /// The tag of a statistic; `text` says what that is.
    pub(crate) fn tag(&mut self, statistic: &str, text: &'static str) -> Arc<PointTag> {
        let is_it = |tag: &&Arc<PointTag>| tag.name.get(self.prefix.len()..) == Some(statistic);
        if let Some(made) = self.made.iter().find(is_it) {
            return made.clone();
        }
        let tag = Arc::new(PointTag {
            name: self.name(statistic),
            description: Description {
                text: text.into(),
                sample: self.sample,
                variable: None,
            },
        });
        self.made.push(tag.clone());
        tag
    }
}

/// What is aggregated of a plan: the model first, then groups, then roles from the medium tier on.
pub(crate) fn aggregates(
    plan: &Plan,
    subject: Subject,
    scope: &str,
    selection: &Selection,
    begun: &mut Begun,
) -> Vec<Aggregate> {
    let logged = || {
        plan.variables
            .iter()
            .enumerate()
            .filter(|(_, variable)| variable.is_logged())
            // One storage is counted once.
            .filter(|(_, variable)| variable.tie.as_ref().is_none_or(|tie| !tie.is_second))
    };
    let members: Vec<usize> = logged().map(|(index, _)| index).collect();
    if members.is_empty() {
        return Vec::new();
    }
    let tier = begun.largest(Tier::of(members.len()));
    let prefix = |name: &str| match (scope, name) {
        ("", "") => "model/".to_owned(),
        ("", name) => format!("model/{name}/"),
        (scope, "") => format!("model/{scope}/"),
        (scope, name) => format!("model/{scope}/{name}/"),
    };
    let mut named: Vec<(String, bool, Vec<usize>)> = Vec::new();
    let mut join = |name: String, role: bool, index: usize| match named
        .iter_mut()
        .find(|(known, ..)| *known == name)
    {
        // A group may have the name of a role, or be given by several patterns.
        Some((.., members)) if members.last() == Some(&index) => {}
        Some((.., members)) => members.push(index),
        None => named.push((name, role, vec![index])),
    };
    for (index, variable) in logged() {
        selection
            .groups(&variable.name)
            .for_each(|group| join(group.to_owned(), false, index));
        if tier > Tier::Small {
            join(role(&variable.name), true, index);
        }
    }
    let (kind, description) = match subject {
        Subject::Weights => (Quantity::Weights, WEIGHTS),
        Subject::Gradients => (Quantity::Gradients, GRADIENTS),
    };
    let sample = |members: &[usize]| {
        let members = members
            .iter()
            .filter_map(|&member| plan.variables.get(member));
        let (sampled, all) = members.fold((0, 0), |(sampled, all), member| {
            (sampled + member.elements, all + member.all)
        });
        (sampled < all).then_some((sampled, all))
    };
    // The running statistics of a norm layer move a hundred times as fast as weights: with them,
    // the model's extremes would tell of nothing else.
    let is_weight = |&member: &usize| {
        let variable = plan.variables.get(member);
        variable.is_some_and(|variable| variable.info.role != Role::Buffer)
    };
    let members: Vec<usize> = members.into_iter().filter(is_weight).collect();
    let model = Aggregate {
        name: Box::default(),
        tags: AggregateTags::new(prefix(""), sample(&members)),
        members,
        is_model: true,
        is_group: false,
        histogram: None,
        delta_histogram: None,
    };
    // A role of one variable would only repeat it, except where variables are not written one by
    // one.
    let rest = named
        .into_iter()
        .filter(|(_, role, members)| !role || members.len() > 1 || tier == Tier::Large);
    let rest = rest.map(|(name, role, members)| {
        let histogram = role && tier == Tier::Large;
        let deltas = histogram && subject == Subject::Weights;
        let sample = sample(&members);
        let tags = TagMaker {
            scope,
            name: &name,
            sample,
            variable: None,
        };
        Aggregate {
            members,
            is_model: false,
            is_group: !role,
            histogram: histogram.then(|| tags.tag(kind, description)),
            delta_histogram: deltas.then(|| tags.tag(Quantity::Deltas, WEIGHT_DELTAS)),
            tags: AggregateTags::new(prefix(&name), sample),
            name: name.into(),
        }
    });
    std::iter::once(model).chain(rest).collect()
}

/// A variable's part in an architecture: its name with every number replaced
/// (`h.*.mlp.c_proj.weight`).
pub(crate) fn role(name: &str) -> String {
    let mut role = String::with_capacity(name.len());
    for letter in name.chars() {
        if !letter.is_ascii_digit() {
            role.push(letter);
        } else if !role.ends_with('*') {
            role.push('*');
        }
    }
    role
}
