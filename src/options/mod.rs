//! What `log_weights` writes: the choices of the builder.

pub(crate) mod cadence;
pub(crate) mod overhead;
pub(crate) mod thresholds;

use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use crate::error::{Error, Result};
use crate::model::statistic::Statistic;
use crate::options::cadence::Cadence;
use crate::options::thresholds::Thresholds;

/// Which variable names are meant: a glob (`conv*.weight`; `*` crosses dots) or a regular
/// expression. A plain string is taken as a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pattern {
    /// `*`, `?`, `[ab]`, `{a,b}` against the whole name.
    Glob(String),
    /// A regular expression of the `regex` crate, searched anywhere in the name; anchor it with `^`
    /// and `$`.
    Regex(String),
}

impl Pattern {
    /// A glob.
    pub fn glob(pattern: impl Into<String>) -> Pattern {
        Pattern::Glob(pattern.into())
    }

    /// A regular expression.
    pub fn regex(pattern: impl Into<String>) -> Pattern {
        Pattern::Regex(pattern.into())
    }
}

impl From<&str> for Pattern {
    fn from(pattern: &str) -> Pattern {
        Pattern::glob(pattern)
    }
}

impl From<&Pattern> for Pattern {
    fn from(pattern: &Pattern) -> Pattern {
        pattern.clone()
    }
}

impl From<&String> for Pattern {
    fn from(pattern: &String) -> Pattern {
        Pattern::glob(pattern)
    }
}

impl From<&&str> for Pattern {
    fn from(pattern: &&str) -> Pattern {
        Pattern::glob(*pattern)
    }
}

impl From<String> for Pattern {
    fn from(pattern: String) -> Pattern {
        Pattern::Glob(pattern)
    }
}

/// One pattern, or several: what [`WeightOptions::select`] and its neighbours take. Implemented for
/// whatever is a [`Pattern`] (`"conv*"`, a `String`, [`Pattern::regex`]) and for whatever iterates
/// over some (`["conv*", "fc*"]`, a `Vec<String>`, an iterator). Its parameter distinguishes the
/// two for the compiler and is never written.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no pattern for names of variables: pass a glob such as `\"conv*\"`, \
        several as `[\"conv*\", \"fc*\"]`, or `Pattern::regex(\"^h\")`",
    label = "neither a pattern nor several"
)]
pub trait Patterns<Count> {
    #[doc(hidden)]
    fn into_patterns(self) -> Vec<Pattern>;
}

/// One pattern: see [`Patterns`].
#[doc(hidden)]
#[derive(Debug)]
pub enum One {}

/// Several patterns: see [`Patterns`].
#[doc(hidden)]
#[derive(Debug)]
pub enum Several {}

impl<P: Into<Pattern>> Patterns<One> for P {
    fn into_patterns(self) -> Vec<Pattern> {
        vec![self.into()]
    }
}

impl<I: IntoIterator<Item: Into<Pattern>>> Patterns<Several> for I {
    fn into_patterns(self) -> Vec<Pattern> {
        self.into_iter().map(Into::into).collect()
    }
}

/// What differs for the variables of one pattern; see [`WeightOptions::for_matching`]. What is not
/// set stays as it is for all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerOptions {
    pub(crate) scalars: Option<Cadence>,
    pub(crate) histograms: Option<Cadence>,
    pub(crate) samples: Option<usize>,
    pub(crate) statistics: Option<Vec<Statistic>>,
}

impl LayerOptions {
    /// Nothing set.
    pub fn new() -> LayerOptions {
        LayerOptions::default()
    }

    /// How often scalars of these variables are written.
    pub fn scalars(mut self, cadence: Cadence) -> LayerOptions {
        self.scalars = Some(cadence);
        self
    }

    /// How often histograms of these variables are written.
    pub fn histograms(mut self, cadence: Cadence) -> LayerOptions {
        self.histograms = Some(cadence);
        self
    }

    /// How many single weights of each of these variables become lines.
    pub fn samples(mut self, count: usize) -> LayerOptions {
        self.samples = Some(count);
        self
    }

    /// Which scalars are written for these variables.
    pub fn statistics(mut self, statistics: impl IntoIterator<Item = Statistic>) -> LayerOptions {
        self.statistics = Some(statistics.into_iter().collect());
        self
    }
}

/// What `log_weights` writes, and how often. The default suits most runs: everything for up to 32
/// variables, the four telling statistics and all histograms up to 1000, roles (names with their
/// numbers replaced by `*`) above.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightOptions {
    pub(crate) include: Vec<Pattern>,
    pub(crate) exclude: Vec<Pattern>,
    pub(crate) layers: Vec<(Pattern, LayerOptions)>,
    pub(crate) groups: Vec<(String, Pattern)>,
    pub(crate) scalars: Cadence,
    pub(crate) histograms: Cadence,
    pub(crate) expected_steps: Option<u64>,
    pub(crate) samples: Option<usize>,
    pub(crate) statistics: Option<Vec<Statistic>>,
    pub(crate) histogram_rows: usize,
    pub(crate) non_trainable: bool,
    pub(crate) seed: u64,
    pub(crate) sample_limit: Option<usize>,
    pub(crate) store_timeout: Duration,
    pub(crate) thresholds: Thresholds,
    pub(crate) weight_map: bool,
}

impl Default for WeightOptions {
    fn default() -> WeightOptions {
        WeightOptions {
            include: Vec::new(),
            exclude: Vec::new(),
            layers: Vec::new(),
            groups: Vec::new(),
            scalars: Cadence::Auto,
            histograms: Cadence::Auto,
            expected_steps: None,
            samples: None,
            statistics: None,
            histogram_rows: 64,
            non_trainable: false,
            seed: 0,
            sample_limit: None,
            store_timeout: Duration::from_secs(10),
            thresholds: Thresholds::default(),
            weight_map: true,
        }
    }
}

impl WeightOptions {
    /// The defaults.
    pub fn new() -> WeightOptions {
        WeightOptions::default()
    }

    /// Logs only the variables that match one of these patterns: `select("conv*")`, or
    /// `select(["conv*", "fc1.*"])`. In a model of more than 1000 variables those of a pattern
    /// other than `*` are written one by one, not only by role.
    ///
    /// ```
    /// use tch_tensorboard::{Pattern, WeightOptions};
    ///
    /// let one = WeightOptions::new().select("conv*").exclude("*.bias");
    /// let several = WeightOptions::new().select(["conv*", "fc1.*"]);
    /// let mixed = WeightOptions::new().select([Pattern::glob("conv*"), Pattern::regex("^h.0.")]);
    /// # let _ = (one, several, mixed);
    /// ```
    pub fn select<Count>(mut self, patterns: impl Patterns<Count>) -> WeightOptions {
        self.include = patterns.into_patterns();
        self
    }

    /// Leaves out the variables that match one of these patterns, selected or not:
    /// `exclude("*.bias")`.
    pub fn exclude<Count>(mut self, patterns: impl Patterns<Count>) -> WeightOptions {
        self.exclude = patterns.into_patterns();
        self
    }

    /// Other options for the variables that match one of these patterns. Later calls win over
    /// earlier ones, option by option.
    pub fn for_matching<Count>(
        mut self,
        patterns: impl Patterns<Count>,
        options: LayerOptions,
    ) -> WeightOptions {
        let patterns = patterns.into_patterns().into_iter();
        self.layers
            .extend(patterns.map(|pattern| (pattern, options.clone())));
        self
    }

    /// Aggregates over the variables that match one of these patterns, as
    /// `model/<name>/<statistic>`. A variable may be in several groups. A group must not have the
    /// name of a scope: `model/<scope>/…` is that scope's.
    pub fn group<Count>(
        mut self,
        name: impl Into<String>,
        patterns: impl Patterns<Count>,
    ) -> WeightOptions {
        let (name, patterns) = (name.into(), patterns.into_patterns().into_iter());
        self.groups
            .extend(patterns.map(|pattern| (name.clone(), pattern)));
        self
    }

    /// How often scalars are written.
    pub fn scalars(mut self, cadence: Cadence) -> WeightOptions {
        self.scalars = cadence;
        self
    }

    /// How often histograms are written.
    pub fn histograms(mut self, cadence: Cadence) -> WeightOptions {
        self.histograms = cadence;
        self
    }

    /// How many calls the run will make, so that [`Cadence::Auto`] can spread its points evenly
    /// over it. A run that goes on beyond thins out as it would without this.
    pub fn expected_steps(mut self, steps: u64) -> WeightOptions {
        self.expected_steps = Some(steps);
        self
    }

    /// How many single weights of each variable become lines (`weight_samples/…`). Default: 4 for
    /// up to 32 variables, 64 lines in all up to 1000, above that one for each variable that is
    /// written by itself. The elements are fixed by the name of the variable.
    pub fn samples(mut self, count: usize) -> WeightOptions {
        self.samples = Some(count);
        self
    }

    /// Which scalars are written for each variable, whatever the size of the model.
    pub fn statistics(mut self, statistics: impl IntoIterator<Item = Statistic>) -> WeightOptions {
        self.statistics = Some(statistics.into_iter().collect());
        self
    }

    /// The most rows (buckets) of one histogram, 8 to 1000. Default 64: TensorBoard redraws with 30
    /// bins.
    pub fn histogram_rows(mut self, rows: usize) -> WeightOptions {
        self.histogram_rows = rows;
        self
    }

    /// Logs buffers, too (running means of batch norm): tensors that no optimizer trains. The tags
    /// of the model as a whole stay those of its parameters.
    pub fn non_trainable(mut self, log: bool) -> WeightOptions {
        self.non_trainable = log;
        self
    }

    /// For models too large to copy whole: at most about this many elements of all tensors together
    /// are copied at a call, spread evenly over each tensor and fixed by seed and name. Small
    /// tensors stay whole. Statistics of the others are estimates, and say so in their description:
    /// with k elements, the relative error of a standard deviation or norm is about 1 / sqrt(2 k)
    /// for normal data. Counts of histograms are scaled to the whole tensor, so that roles weigh
    /// their members by size; extremes are those of the sample.
    pub fn sample_limit(mut self, elements: usize) -> WeightOptions {
        self.sample_limit = Some(elements);
        self
    }

    /// The seed that chooses the sampled single weights. Default 0.
    pub fn seed(mut self, seed: u64) -> WeightOptions {
        self.seed = seed;
        self
    }

    /// Whether the picture `weight_map` is written. Default: true.
    ///
    /// It shows the whole run at a glance, on the Images and Time Series pages: a row for each
    /// variable (for each role above 64 variables), time to the right, the update ratio as a colour
    /// from 1e-5 (dark) to 1e-1 (bright). Grey did not move, hatched is frozen, red holds NaN or
    /// infinities, and a triangle marks where a finding began; where steps or members of a role
    /// differ, a cell is divided by their shares. The newest picture shows the run from its first
    /// step on. It is written at doubling numbers of steps, after a finding, and when the logger is
    /// closed: at most 1 MB a run.
    pub fn weight_map(mut self, write: bool) -> WeightOptions {
        self.weight_map = write;
        self
    }

    /// How long a call waits for a variable store that another thread holds, to save a checkpoint
    /// for example. Default: 10 seconds. The time is counted in
    /// [`Stats::waited`](crate::Stats::waited); a call that waits in vain is left out and counted
    /// in [`Stats::dropped`](crate::Stats::dropped), the first of several is reported to
    /// [`on_error`](crate::LoggerBuilder::on_error), and the following ones wait 200 ms at most
    /// until one succeeds.
    pub fn store_timeout(mut self, timeout: Duration) -> WeightOptions {
        self.store_timeout = timeout;
        self
    }

    /// When a number is a fault; see [`Thresholds`].
    pub fn thresholds(mut self, thresholds: Thresholds) -> WeightOptions {
        self.thresholds = thresholds;
        self
    }
}

/// A compiled [`Pattern`].
#[derive(Debug, Clone)]
enum Matcher {
    Glob(GlobMatcher),
    Regex(Regex),
}

impl Matcher {
    fn new(option: &'static str, pattern: &Pattern) -> Result<Matcher> {
        let invalid = |reason: String| Error::InvalidOption {
            option,
            reason: reason.into(),
        };
        match pattern {
            // Names are separated by dots, and a glob's `*` is meant to cross them.
            Pattern::Glob(glob) => GlobBuilder::new(glob)
                .literal_separator(false)
                .build()
                .map(|glob| Matcher::Glob(glob.compile_matcher()))
                .map_err(|error| invalid(format!("{glob:?} is no valid glob: {}", error.kind()))),
            Pattern::Regex(regex) => Regex::new(regex).map(Matcher::Regex).map_err(|error| {
                invalid(format!("{regex:?} is no valid regular expression: {error}"))
            }),
        }
    }

    fn is_match(&self, name: &str) -> bool {
        match self {
            Matcher::Glob(glob) => glob.is_match(name),
            Matcher::Regex(regex) => regex.is_match(name),
        }
    }
}

/// Validated options, with patterns compiled: what the capture and the worker read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    pub(crate) options: WeightOptions,
    include: Vec<Matcher>,
    exclude: Vec<Matcher>,
    layers: Vec<Matcher>,
    groups: Vec<Matcher>,
}

impl Selection {
    pub(crate) fn new(options: WeightOptions) -> Result<Selection> {
        let compile = |option, patterns: &[Pattern]| -> Result<Vec<Matcher>> {
            patterns
                .iter()
                .map(|pattern| Matcher::new(option, pattern))
                .collect()
        };
        if !(8..=1000).contains(&options.histogram_rows) {
            let reason = format!("{} is not in 8..=1000", options.histogram_rows).into();
            return Err(Error::InvalidOption {
                option: "histogram_rows",
                reason,
            });
        }
        options.thresholds.check()?;
        if options.sample_limit == Some(0) {
            let reason = "0 elements say nothing; leave it out to copy whole tensors".into();
            return Err(Error::InvalidOption {
                option: "sample_limit",
                reason,
            });
        }
        for (name, _) in &options.groups {
            if name.is_empty() || name.starts_with('/') || name.ends_with('/') {
                let reason =
                    format!("the name {name:?} must not be empty nor begin or end with '/'").into();
                return Err(Error::InvalidOption {
                    option: "group",
                    reason,
                });
            }
        }
        let layers: Vec<Pattern> = options
            .layers
            .iter()
            .map(|(pattern, _)| pattern.clone())
            .collect();
        let groups: Vec<Pattern> = options
            .groups
            .iter()
            .map(|(_, pattern)| pattern.clone())
            .collect();
        Ok(Selection {
            include: compile("select", &options.include)?,
            exclude: compile("exclude", &options.exclude)?,
            layers: compile("for_matching", &layers)?,
            groups: compile("group", &groups)?,
            options,
        })
    }

    /// True when the variable of this name is logged.
    pub(crate) fn selects(&self, name: &str) -> bool {
        let included =
            self.include.is_empty() || self.include.iter().any(|matcher| matcher.is_match(name));
        included && !self.exclude.iter().any(|matcher| matcher.is_match(name))
    }

    /// As `selects`, of a variable with a scope: tables show `scope/name`, so a pattern may be of
    /// that, too.
    pub(crate) fn selects_scoped(&self, scope: &str, name: &str) -> bool {
        if scope.is_empty() {
            return self.selects(name);
        }
        let shown = format!("{scope}/{name}");
        let is_match = |matcher: &Matcher| matcher.is_match(name) || matcher.is_match(&shown);
        let included = self.include.is_empty() || self.include.iter().any(is_match);
        included && !self.exclude.iter().any(is_match)
    }

    /// True when variables were chosen or left out.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty()
    }

    /// True when the user pointed at this variable by more than "all": it is written one by one in
    /// a huge model.
    pub(crate) fn singles_out(&self, name: &str) -> bool {
        let all = |glob: &str| glob == "*" || glob == "**";
        let pointed = |pattern: &Pattern| !matches!(pattern, Pattern::Glob(glob) if all(glob));
        let by_include = std::iter::zip(&self.options.include, &self.include)
            .any(|(pattern, matcher)| pointed(pattern) && matcher.is_match(name));
        by_include || self.layers.iter().any(|matcher| matcher.is_match(name))
    }

    /// The options of this variable that differ from those for all.
    pub(crate) fn layer(&self, name: &str) -> LayerOptions {
        let mut merged = LayerOptions::default();
        for ((_, options), matcher) in std::iter::zip(&self.options.layers, &self.layers) {
            if matcher.is_match(name) {
                merged.scalars = options.scalars.or(merged.scalars);
                merged.histograms = options.histograms.or(merged.histograms);
                merged.samples = options.samples.or(merged.samples);
                merged.statistics = options.statistics.clone().or(merged.statistics);
            }
        }
        merged
    }

    /// The patterns that match none of these variables, each with the option it was given to:
    /// likely misspelt.
    pub(crate) fn idle_patterns(&self, names: &[&str]) -> Vec<String> {
        let patterns = |pairs: Vec<(&'static str, &Pattern, &Matcher)>| {
            let idle = pairs
                .into_iter()
                .filter(|(.., matcher)| !names.iter().any(|name| matcher.is_match(name)));
            idle.map(|(option, pattern, _)| match pattern {
                Pattern::Glob(text) | Pattern::Regex(text) => format!("{option}({text:?})"),
            })
            .collect::<Vec<String>>()
        };
        let options = &self.options;
        let select = std::iter::zip(&options.include, &self.include);
        let layers = std::iter::zip(&options.layers, &self.layers);
        let groups = std::iter::zip(&options.groups, &self.groups);
        patterns(
            select
                .map(|(pattern, matcher)| ("select", pattern, matcher))
                .chain(layers.map(|((pattern, _), matcher)| ("for_matching", pattern, matcher)))
                .chain(groups.map(|((_, pattern), matcher)| ("group", pattern, matcher)))
                .collect(),
        )
    }

    /// The names of the groups this variable is in.
    pub(crate) fn groups<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        std::iter::zip(&self.options.groups, &self.groups)
            .filter(move |(_, matcher)| matcher.is_match(name))
            .map(|((group, _), _)| group.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(options: WeightOptions) -> Selection {
        Selection::new(options).expect("valid options")
    }

    #[test]
    fn one_pattern_is_as_good_as_a_list_of_one() {
        let names: Vec<String> = vec!["conv*".into()];
        let lists = [
            WeightOptions::new().select(["conv*"]),
            WeightOptions::new().select("conv*"),
            WeightOptions::new().select(["conv*"].iter()),
            WeightOptions::new().select(String::from("conv*")),
            WeightOptions::new().select(Pattern::glob("conv*")),
            WeightOptions::new().select(&names),
            WeightOptions::new().select(names.iter().map(String::as_str)),
            WeightOptions::new().select(Some("conv*")),
        ];
        for options in &lists {
            assert_eq!(options, &lists[0]);
        }
        let options = WeightOptions::new()
            .for_matching(["a*", "b*"], LayerOptions::new().samples(3))
            .group("both", ["a*", "b*"])
            .exclude("c");
        let chosen = selection(options);
        for name in ["a1", "b1"] {
            assert_eq!(chosen.layer(name).samples, Some(3));
            assert_eq!(chosen.groups(name).collect::<Vec<_>>(), ["both"]);
        }
        assert!(chosen.selects("a1") && !chosen.selects("c"));
    }

    #[test]
    fn globs_cross_dots_and_match_whole_names() {
        let chosen = selection(
            WeightOptions::new()
                .select(["conv*.weight", "h.*.mlp"])
                .exclude(["*3*"]),
        );
        assert!(chosen.selects("conv1.weight"));
        assert!(chosen.selects("conv1.inner.weight"));
        assert!(chosen.selects("h.0.x.mlp"));
        assert!(!chosen.selects("conv1.weight.other"));
        assert!(!chosen.selects("conv3.weight"));
    }

    #[test]
    fn regexes_search() {
        let chosen = selection(
            WeightOptions::new()
                .select([Pattern::regex(r"^h\.\d+\.")])
                .exclude([Pattern::regex("bias$")]),
        );
        assert!(chosen.selects("h.12.attn.weight"));
        assert!(!chosen.selects("h.12.attn.bias"));
        assert!(!chosen.selects("wte.weight"));
    }

    #[test]
    fn without_select_all_are_chosen_and_none_singled_out() {
        let chosen = selection(WeightOptions::new());
        assert!(chosen.selects("anything"));
        assert!(!chosen.singles_out("anything"));
        assert!(!selection(WeightOptions::new().exclude(["x"])).singles_out("y"));
        assert!(
            selection(WeightOptions::new().select(["wte*", "*"]).exclude(["x"]))
                .singles_out("wte.weight")
        );
    }

    #[test]
    fn later_layer_options_win_one_by_one() {
        let chosen = selection(
            WeightOptions::new()
                .for_matching(
                    "fc*",
                    LayerOptions::new().samples(16).scalars(Cadence::EveryCall),
                )
                .for_matching("*.weight", LayerOptions::new().samples(2)),
        );
        let layer = chosen.layer("fc1.weight");
        assert_eq!(
            (layer.samples, layer.scalars),
            (Some(2), Some(Cadence::EveryCall))
        );
        assert_eq!(chosen.layer("fc1.bias").samples, Some(16));
        assert_eq!(chosen.layer("conv1.bias"), LayerOptions::default());
    }

    #[test]
    fn groups_collect_their_variables() {
        let chosen = selection(
            WeightOptions::new()
                .group("convs", "conv*")
                .group("weights", "*.weight"),
        );
        assert_eq!(
            chosen.groups("conv1.weight").collect::<Vec<_>>(),
            ["convs", "weights"]
        );
        assert_eq!(chosen.groups("fc.bias").count(), 0);
    }

    #[test]
    fn patterns_that_match_nothing_are_known() {
        let chosen = selection(
            WeightOptions::new()
                .select(["conv*", "cnov*"])
                .for_matching("conv1.*", LayerOptions::new())
                .group("heads", Pattern::regex("^head")),
        );
        let idle = chosen.idle_patterns(&["conv1.weight", "conv1.bias"]);
        assert_eq!(idle, ["select(\"cnov*\")", "group(\"^head\")"]);
        assert_eq!(selection(WeightOptions::new()).idle_patterns(&[]).len(), 0);
    }

    #[test]
    fn mistakes_name_the_option() {
        let mistakes = [
            (
                WeightOptions::new()
                    .select([Pattern::regex("(")])
                    .exclude(["x"]),
                "select",
            ),
            (WeightOptions::new().group("", "x"), "group"),
            (
                WeightOptions::new().for_matching("[", LayerOptions::new()),
                "for_matching",
            ),
            (WeightOptions::new().histogram_rows(2), "histogram_rows"),
        ];
        for (options, name) in mistakes {
            let error = Selection::new(options).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
