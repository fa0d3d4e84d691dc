//! The generated layout of the Custom Scalars dashboard: what it depends on, and when it is written
//! again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::analysis::dashboard::{self, ScopeBoard};
use crate::proto::custom_scalar::{Category, Chart};
use crate::summary::custom_scalars;

/// The least time between two layouts.
const LAYOUT_INTERVAL: Duration = Duration::from_secs(2);

/// Groups of the user's scalars that get a chart.
const USER_GROUPS: usize = 24;

/// When the crate writes of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// While training goes on: seldom.
    Between,
    /// A caller waits.
    Flush,
    /// Nothing more will be logged.
    End,
}

/// See the module.
#[derive(Default)]
pub(crate) struct RunLayout {
    /// The run's name in titles.
    run: Box<str>,
    /// The user's scalar tags, in the order of their first value.
    user_tags: Vec<Box<str>>,
    user_groups: Vec<Box<str>>,
    /// The user's own charts.
    own: Vec<Category>,
    boards: BTreeMap<u32, ScopeBoard>,
    written: Vec<Category>,
    /// Tags or models have come up since.
    is_old: bool,
    at: Option<Instant>,
    /// The step of the newest layout.
    step: Option<i64>,
}

/// A layout to write.
pub(crate) struct Draft {
    pub(crate) categories: Vec<Category>,
    pub(crate) step: i64,
}

impl RunLayout {
    /// Of the run in this directory.
    pub(crate) fn new(directory: &Path) -> RunLayout {
        let name = directory.file_name().unwrap_or(directory.as_os_str());
        RunLayout {
            run: name.to_string_lossy().into(),
            ..RunLayout::default()
        }
    }

    /// Adds a scalar tag of the user's own.
    pub(crate) fn add_user_tag(&mut self, tag: &str) {
        self.user_tags.push(tag.into());
        let group = tag.split('/').next().unwrap_or(tag);
        if self.user_groups.len() < USER_GROUPS
            && !self.user_groups.iter().any(|known| **known == *group)
        {
            self.user_groups.push(group.into());
        }
    }

    /// Removes a tag whose only value was refused.
    pub(crate) fn remove_user_tag(&mut self, tag: &str) {
        self.user_tags.retain(|known| **known != *tag);
    }

    /// Takes what a watched model has to show.
    pub(crate) fn show(&mut self, watch: u32, board: ScopeBoard) {
        if self.boards.get(&watch) != Some(&board) {
            self.boards.insert(watch, board);
            self.is_old = true;
        }
    }

    /// Adds charts of the user's own. A category takes the place of the one of its title, and a
    /// chart in a category that goes on that of its title.
    pub(crate) fn add_charts(&mut self, categories: Vec<Category>) {
        for category in categories {
            self.is_old = true;
            let mut known = self.own.iter_mut();
            match known.find(|known| known.title == category.title) {
                Some(known) => *known = category,
                None => self.own.push(category),
            }
        }
    }

    /// Adds one chart to a category of the user's own, in place of the one of its title.
    pub(crate) fn add_chart(&mut self, category: &str, chart: Chart) {
        let place = self.own.iter().position(|known| known.title == category);
        let place = place.unwrap_or_else(|| {
            self.own
                .push(custom_scalars::category(category, Vec::new(), false));
            self.own.len() - 1
        });
        let Some(known) = self.own.get_mut(place) else {
            return;
        };
        let mut charts = known.chart.iter_mut();
        match charts.find(|known| known.title == chart.title) {
            Some(known) if *known == chart => return,
            Some(known) => *known = chart,
            None => known.chart.push(chart),
        }
        self.is_old = true;
    }

    /// A tag has come up that the layout may name.
    pub(crate) fn outdate(&mut self) {
        self.is_old = true;
    }

    /// The file with the newest layout is lost.
    pub(crate) fn forget_written(&mut self) {
        self.written.clear();
        self.is_old = true;
    }

    /// The layout, when it is out of date and it is time for another one. Only tags that are
    /// `written` are named.
    ///
    /// Each has a step that the user has logged, or a resumed run would go on behind a step that
    /// nobody knows, and a step of its own, since the fast loader keeps one point of a step: the
    /// first has the `first_step` of the session, so that a purge of later steps leaves it, later
    /// ones the `newest_step`. Where that has a layout already, the next one waits for another
    /// step. Only at the end there is none to wait for: then the fast loader keeps the last of that
    /// step and the Python loader both, and either shows the last.
    pub(crate) fn draft(
        &mut self,
        at: Moment,
        first_step: i64,
        newest_step: i64,
        written: &dyn Fn(&str) -> bool,
    ) -> Option<Draft> {
        let is_due =
            at != Moment::Between || self.at.is_none_or(|at| at.elapsed() >= LAYOUT_INTERVAL);
        let has_step = at == Moment::End || self.step.is_none_or(|step| step < newest_step);
        let is_empty = self.boards.is_empty() && self.own.is_empty();
        if !self.is_old || !is_due || !has_step || is_empty {
            return None;
        }
        self.is_old = false;
        let mut categories = self.own.clone();
        // Without a model there is nothing that the user's own cards do not show.
        if !self.boards.is_empty() {
            let boards: Vec<ScopeBoard> = self.boards.values().cloned().collect();
            // One chart of a group is enough.
            let has_chart = |group: &str| {
                let mut charts = self.own.iter().flat_map(|category| &category.chart);
                charts.any(|chart| *chart == custom_scalars::group(group, group))
            };
            let mut groups = self.user_groups.clone();
            groups.retain(|group| !has_chart(group));
            let generated =
                dashboard::layout(&self.run, &groups, &self.user_tags, &boards, written);
            join(&mut categories, generated);
        }
        if categories.is_empty() || categories == self.written {
            return None;
        }
        let step = self.step.map_or(first_step, |step| newest_step.max(step));
        Some(Draft { categories, step })
    }

    /// The draft was written.
    pub(crate) fn keep(&mut self, draft: Draft) {
        self.written = draft.categories;
        (self.step, self.at) = (Some(draft.step), Some(Instant::now()));
    }

    /// The most informative tags, at most `most`.
    pub(crate) fn telling(&self, most: usize, written: &dyn Fn(&str) -> bool) -> Vec<String> {
        let boards: Vec<ScopeBoard> = self.boards.values().cloned().collect();
        dashboard::telling(&self.user_tags, &boards, written, most)
    }
}

/// Appends generated categories. Where the user has one of the same title, its charts come first:
/// TensorBoard merges categories by their titles.
fn join(own: &mut Vec<Category>, generated: Vec<Category>) {
    for category in generated {
        let mut known = own.iter_mut();
        match known.find(|known| known.title == category.title) {
            Some(known) => known.chart.extend(category.chart),
            None => own.push(category),
        }
    }
}
