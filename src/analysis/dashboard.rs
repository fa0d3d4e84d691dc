//! The generated layout of the Custom Scalars dashboard: the questions a trainer asks, in the order
//! of asking.
//!
//! Measured in TensorBoard 2.21: the fast loader takes 44 ms for each line of a custom chart, and
//! all lines of a run share a colour. So the open charts show how a model's variables spread, in
//! lines that are called the same in each model: TensorBoard merges equal charts of several runs,
//! and leaves different ones side by side. Lines of single variables, at most [`LINES`] of a chart,
//! and what seldom matters are in closed categories, whose charts are not fetched until they are
//! opened.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::statistic::{Quantity, Section, Statistic, StatisticRow, TABLE};
use crate::model::tag_parts::FINDINGS;
use crate::model::tier::Tier;
use crate::proto::custom_scalar::{Category, Chart};
use crate::summary::custom_scalars::{band, category, group, lines};

/// The most lines of one chart.
const LINES: usize = 24;

/// Variables with a fault that get a chart of their own.
const FAULTS: usize = 9;

/// Up to this many variables the chart of each one's single weights is open.
const OPEN_SAMPLES: usize = 8;

/// The category of the user's scalars. It is there without a chart, too: TensorBoard merges the
/// layouts of runs in the order of their names, puts categories that the first run does not have at
/// the end, and loses what later runs have in these (`layout_impl` of its plugin, 2.21).
const TRAINING: &str = "Training";

/// What one watched model has to show.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScopeBoard {
    pub(crate) tier: Tier,
    /// What its model tags begin with (`model/`, `model/G/`); `None` without a logged variable.
    pub(crate) prefix: Option<Arc<str>>,
    /// The same of the user's groups, and of its roles.
    pub(crate) groups: Vec<Arc<str>>,
    pub(crate) roles: Vec<Arc<str>>,
    /// Some variable kept some of its elements at some step. Otherwise the changed share is 1 all
    /// the time, on an axis on which a change of 1e-7 looks like a catastrophe.
    pub(crate) has_unchanged: bool,
    pub(crate) variables: Vec<VariableBoard>,
    /// In the order in which they became sure.
    pub(crate) faults: Vec<FaultBoard>,
}

/// A variable with a fault, and the tags that show it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FaultBoard {
    /// The variable with its scope, and the verdict.
    pub(crate) title: Box<str>,
    pub(crate) tags: Vec<Arc<str>>,
}

/// The tags of one variable that the layout shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VariableBoard {
    /// With the scope.
    pub(crate) name: Box<str>,
    /// Of the statistics that have a chart.
    pub(crate) lines: Vec<(Quantity, Arc<str>)>,
    /// Mean, lower and upper bound.
    pub(crate) band: Option<[Arc<str>; 3]>,
    pub(crate) samples: Vec<Arc<str>>,
    pub(crate) delta_samples: Vec<Arc<str>>,
}

/// The categories over all models of a run of this name, and the groups of the user's own scalars.
/// Only tags that have a point (`written`) are named: a chart of tags that never come would stay
/// empty.
pub(crate) fn layout(
    run: &str,
    user_groups: &[Box<str>],
    user_tags: &[Box<str>],
    scopes: &[ScopeBoard],
    written: &dyn Fn(&str) -> bool,
) -> Vec<Category> {
    let board = Board { scopes, written };
    let open_samples = board.variables().count() <= OPEN_SAMPLES;
    let categories = [
        category("Needs attention", board.attention(run), false),
        category(TRAINING, user_charts(user_groups, user_tags), false),
        category(
            "Are the weights changing?",
            board.section(Section::Changing),
            false,
        ),
        category(
            "How large are the changes?",
            board.section(Section::Sizes),
            false,
        ),
        category("By group", board.parts(|scope| &scope.groups), false),
        category("Each variable", board.each_variable(), true),
        category("By role", board.parts(|scope| &scope.roles), true),
        category(
            "Single weights",
            board.samples(|variable| &variable.samples),
            !open_samples,
        ),
        category(
            "Changes of single weights",
            board.samples(|variable| &variable.delta_samples),
            true,
        ),
        category("Mean \u{b1} standard deviation", board.bands(), true),
        category(
            "Training: groups of many scalars",
            large_groups(user_groups, user_tags),
            true,
        ),
    ];
    let is_shown = |category: &Category| !category.chart.is_empty() || category.title == TRAINING;
    let categories: Vec<Category> = categories.into_iter().filter(is_shown).collect();
    // No chart at all is no layout.
    let has_charts = categories.iter().any(|category| !category.chart.is_empty());
    if has_charts { categories } else { Vec::new() }
}

/// The tags that tell most, for pinned cards: the user's own first.
pub(crate) fn telling(
    user_tags: &[Box<str>],
    scopes: &[ScopeBoard],
    written: &dyn Fn(&str) -> bool,
    most: usize,
) -> Vec<String> {
    let board = Board { scopes, written };
    // Half for the user's own, so that the weights are on the page whatever else is logged.
    let own = user_tags.iter().take(most / 2).map(ToString::to_string);
    let attention = || {
        let rows = TABLE.iter().filter(|row| board.is_telling(row));
        rows.filter_map(|row| Some((row, row.attention.as_ref()?)))
    };
    let model: Vec<&str> = attention().flat_map(|(_, of)| of.tags).copied().collect();
    let model = board.model(&model);
    let pinned = attention().filter(|(_, attention)| attention.pins_variables);
    let ratios = pinned.flat_map(|(row, _)| board.each(row).map(str::to_owned));
    own.chain(model).chain(ratios).take(most).collect()
}

/// The user's tags of a group.
fn members<'a>(group: &str, user_tags: &'a [Box<str>]) -> Vec<&'a str> {
    let is_member = |tag: &&str| tag.split('/').next() == Some(group);
    user_tags
        .iter()
        .map(|tag| &**tag)
        .filter(is_member)
        .collect()
}

/// A chart for each group of the user's scalars, that of a large one with its first [`LINES`].
fn user_charts(user_groups: &[Box<str>], user_tags: &[Box<str>]) -> Vec<Chart> {
    let chart = |name: &str| {
        let members = members(name, user_tags);
        match members.get(..LINES) {
            Some(first) if members.len() > LINES => lines(
                &format!("{name}: the first {LINES} of {}", members.len()),
                first,
            ),
            _ => group(name, name),
        }
    };
    let names = user_groups.iter().map(|name| &**name);
    names.map(chart).collect()
}

/// The large groups as a whole.
fn large_groups(user_groups: &[Box<str>], user_tags: &[Box<str>]) -> Vec<Chart> {
    let is_large = |name: &&str| members(name, user_tags).len() > LINES;
    let names = user_groups.iter().map(|name| &**name);
    names
        .filter(is_large)
        .map(|name| group(name, name))
        .collect()
}

struct Board<'a> {
    scopes: &'a [ScopeBoard],
    written: &'a dyn Fn(&str) -> bool,
}

impl<'a> Board<'a> {
    fn variables(&self) -> impl Iterator<Item = &'a VariableBoard> {
        self.scopes.iter().flat_map(|scope| &scope.variables)
    }

    /// The tag of a statistic of each variable that has it.
    fn each(&self, row: &'static StatisticRow) -> impl Iterator<Item = &'a str> {
        let tag = |variable: &'a VariableBoard| {
            let mut lines = variable.lines.iter();
            lines.find(|(quantity, _)| *quantity == row.quantity)
        };
        let tags = self.variables().filter_map(tag).map(|(_, tag)| &**tag);
        tags.filter(|tag| (self.written)(tag))
    }

    /// The same statistics of each model.
    fn model(&self, statistics: &[&str]) -> Vec<String> {
        // Weights and gradients of one scope share a prefix.
        let prefixes: BTreeSet<&str> = self
            .scopes
            .iter()
            .filter_map(|scope| scope.prefix.as_deref())
            .collect();
        let tags = |prefix| {
            statistics
                .iter()
                .map(move |statistic| format!("{prefix}{statistic}"))
        };
        prefixes
            .into_iter()
            .flat_map(tags)
            .filter(|tag| (self.written)(tag))
            .collect()
    }

    /// False for a statistic whose charts would show nothing but an odd axis.
    fn is_telling(&self, row: &StatisticRow) -> bool {
        row.quantity != Quantity::Statistic(Statistic::WeightChangedFraction)
            || self.scopes.iter().any(|scope| scope.has_unchanged)
    }

    /// The charts of a category: lines for each model.
    fn section(&self, section: Section) -> Vec<Chart> {
        let chart = |row: &'static StatisticRow| {
            let chart = row
                .chart
                .as_ref()
                .filter(|chart| chart.section == section && self.is_telling(row))?;
            let whole = row.aggregate.iter().filter(|_| chart.shows_whole);
            let spread = row.spread.iter().flat_map(|spread| spread.quantiles);
            let tags = whole.map(|of| of.tag).chain(spread.map(|(tag, _)| *tag));
            self.model_chart(chart.title, &tags.collect::<Vec<&str>>())
        };
        TABLE.iter().filter_map(chart).collect()
    }

    /// A line for each variable, as far as they fit into a chart.
    fn each_variable(&self) -> Vec<Chart> {
        let chart = |row: &'static StatisticRow| {
            let chart = row.chart.as_ref().filter(|_| self.is_telling(row))?;
            let each: Vec<&str> = self.each(row).collect();
            (1..=LINES)
                .contains(&each.len())
                .then(|| lines(chart.title, each))
        };
        TABLE.iter().filter_map(chart).collect()
    }

    fn model_chart(&self, title: &str, statistics: &[&str]) -> Option<Chart> {
        let tags = self.model(statistics);
        (!tags.is_empty()).then(|| lines(title, tags.iter().take(LINES)))
    }

    fn attention(&self, run: &str) -> Vec<Chart> {
        let findings = self.model_chart("Variables with a fault", &[FINDINGS]);
        let chart = |row: &StatisticRow| {
            let attention = row.attention.as_ref().filter(|_| self.is_telling(row))?;
            self.model_chart(attention.title, attention.tags)
        };
        let general = findings.into_iter().chain(TABLE.iter().filter_map(chart));
        self.faults(run).chain(general).collect()
    }

    /// What is wrong comes first, with the run: the charts of several runs are side by side.
    fn faults(&self, run: &str) -> impl Iterator<Item = Chart> {
        let faults = self.scopes.iter().flat_map(|scope| &scope.faults);
        let chart = move |fault: &FaultBoard| {
            let tags = fault.tags.iter().filter(|tag| (self.written)(tag));
            let tags: Vec<&Arc<str>> = tags.collect();
            (!tags.is_empty()).then(|| lines(&format!("{} ({run})", fault.title), tags))
        };
        faults.filter_map(chart).take(FAULTS)
    }

    fn parts(&self, of: impl Fn(&'a ScopeBoard) -> &'a Vec<Arc<str>>) -> Vec<Chart> {
        let parts: BTreeSet<&Arc<str>> = self.scopes.iter().flat_map(of).collect();
        let chart = |title: &str, statistic: &str| -> Vec<Chart> {
            let tags = parts.iter().map(|part| format!("{part}{statistic}"));
            let tags: Vec<String> = tags.filter(|tag| (self.written)(tag)).collect();
            chunked(title, &tags)
        };
        TABLE
            .iter()
            .filter(|row| self.is_telling(row))
            .filter_map(|row| Some(chart(row.by_role?, row.aggregate.as_ref()?.tag)))
            .flatten()
            .collect()
    }

    /// A chart for each variable with several lines; those with a single one share charts.
    fn samples(&self, tags: impl Fn(&'a VariableBoard) -> &'a Vec<Arc<str>>) -> Vec<Chart> {
        let mut charts = Vec::new();
        let mut single = Vec::new();
        for variable in self.variables() {
            let written: Vec<&str> = tags(variable)
                .iter()
                .map(|tag| &**tag)
                .filter(|tag| (self.written)(tag))
                .collect();
            match written.as_slice() {
                [] => {}
                [one] => single.push((&*variable.name, *one)),
                several => charts.extend(chunked(&variable.name, several)),
            }
        }
        let tags: Vec<&str> = single.iter().map(|(_, tag)| *tag).collect();
        match single.as_slice() {
            [(name, _)] => charts.extend(chunked(name, &tags)),
            several => {
                let title = format!("One weight of each of {} variables", several.len());
                charts.extend(chunked(&title, &tags));
            }
        }
        charts
    }

    fn bands(&self) -> Vec<Chart> {
        let bands = self
            .variables()
            .filter_map(|variable| Some((&variable.name, variable.band.as_ref()?)));
        let written = bands.filter(|(_, tags)| tags.iter().all(|tag| (self.written)(tag)));
        written
            .map(|(name, [mean, low, high])| band(name, [mean, low, high]))
            .collect()
    }
}

/// Charts of at most [`LINES`] lines each, numbered when there are several.
fn chunked<T: AsRef<str>>(title: &str, tags: &[T]) -> Vec<Chart> {
    if tags.len() <= LINES {
        return if tags.is_empty() {
            Vec::new()
        } else {
            vec![lines(title, tags)]
        };
    }
    let numbered = tags.chunks(LINES).enumerate();
    numbered
        .map(|(index, tags)| lines(&format!("{title}, part {}", index + 1), tags))
        .collect()
}
