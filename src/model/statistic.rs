//! The one table of statistics: a row for each scalar that is written of a variable, of an
//! aggregate, or of gradients, with its tags, its text in TensorBoard, the models it is written
//! for, its formula and the charts that show it.
//!
//! A new statistic is one row. [`Statistic`], the tags, what is parsed back from tags, the
//! aggregates and the generated dashboard all follow from it.

use std::fmt;

use crate::model::measured::Measured;
use crate::model::tier::Tier;

/// A scalar of the table.
pub(crate) struct StatisticRow {
    pub(crate) quantity: Quantity,
    /// The first part of a variable's tag.
    pub(crate) tag: &'static str,
    /// The text beside its first value: what it means, what is healthy, what to do.
    pub(crate) text: &'static str,
    /// The largest tier of which it is written for each variable by default.
    pub(crate) tier: Tier,
    /// `None` where it is not defined: no finite element, nothing to compare with, a division by
    /// zero.
    pub(crate) value: fn(&Measured) -> Option<f64>,
    /// Of a model, group or role as a whole; `None` when it is not written of these.
    pub(crate) aggregate: Option<AggregateTag>,
    /// How it spreads over the variables of a model: a variable that does not move is lost in a
    /// sum.
    pub(crate) spread: Option<Quantiles>,
    pub(crate) chart: Option<LineChart>,
    /// Lines of its spread in the dashboard's first category, and where the fault of a variable
    /// shows.
    pub(crate) attention: Option<Attention>,
    /// The title of its charts over groups and roles.
    pub(crate) by_role: Option<&'static str>,
}

impl fmt::Debug for StatisticRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("StatisticRow")
            .field(&self.quantity)
            .finish()
    }
}

/// How a statistic of an aggregate is called and described.
pub(crate) struct AggregateTag {
    /// The last part of the tag.
    pub(crate) tag: &'static str,
    pub(crate) text: &'static str,
}

/// Quantiles over the variables of a model.
pub(crate) struct Quantiles {
    pub(crate) text: &'static str,
    /// The last part of the tag, and the share of the variables that lie below.
    pub(crate) quantiles: &'static [(&'static str, f64)],
}

/// A chart with a line for each variable of a small model. In larger ones it shows the model: its
/// spread, if it has one.
pub(crate) struct LineChart {
    pub(crate) section: Section,
    pub(crate) title: &'static str,
    /// The model as a whole is shown beside its spread.
    pub(crate) shows_whole: bool,
}

/// A category of the generated dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Are the weights changing?
    Changing,
    /// How large are the changes?
    Sizes,
}

/// See [`StatisticRow::attention`].
pub(crate) struct Attention {
    pub(crate) title: &'static str,
    /// Tags of the spread.
    pub(crate) tags: &'static [&'static str],
    /// A card of each variable is pinned on TensorBoard's Time Series page.
    pub(crate) pins_variables: bool,
}

/// What the values of a tag are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Histograms of the weights.
    Weights,
    /// Histograms of what a step changed.
    Deltas,
    /// Histograms of the gradients.
    Gradients,
    /// A scalar of the weights.
    Statistic(Statistic),
    /// A scalar of the gradients.
    Gradient(GradientStatistic),
    /// How many weights are NaN or infinite.
    Nonfinite,
    /// How many elements of a gradient are.
    GradientNonfinite,
}

impl Quantity {
    const HISTOGRAMS: [Quantity; 3] = [Quantity::Weights, Quantity::Deltas, Quantity::Gradients];

    /// Histograms and scalars.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Quantity> {
        Quantity::HISTOGRAMS
            .into_iter()
            .chain(TABLE.iter().map(|row| row.quantity))
    }

    pub(crate) fn is_of_gradient(self) -> bool {
        matches!(
            self,
            Quantity::Gradients | Quantity::Gradient(_) | Quantity::GradientNonfinite
        )
    }

    /// Its row; `None` for histograms.
    pub(crate) fn row(self) -> Option<&'static StatisticRow> {
        TABLE.iter().find(|row| row.quantity == self)
    }

    /// What a variable's tag with this first part is of.
    pub(crate) fn of_name(name: &str) -> Option<Quantity> {
        let row = TABLE.iter().find(|row| row.tag == name);
        let is_it = |histogram: &Quantity| histogram.name() == name;
        row.map(|row| row.quantity)
            .or_else(|| Quantity::HISTOGRAMS.into_iter().find(is_it))
    }

    /// The first part of a variable's tag.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quantity::Weights => "weights",
            Quantity::Deltas => "weight_deltas",
            Quantity::Gradients => "weight_gradients",
            scalar => scalar.row().map_or("", |row| row.tag),
        }
    }
}

/// The text of histograms of weights.
pub(crate) const WEIGHTS: &str = "Distribution of the weights. It should move and widen slowly; a \
    shape that never changes belongs to a variable that does not learn.";
/// The text of histograms of changes.
pub(crate) const WEIGHT_DELTAS: &str = "Distribution of w(t) - w(t-1), what one step changed. All \
    mass at zero: the variable is not updated.";
/// The text of histograms of gradients.
pub(crate) const GRADIENTS: &str = "Distribution of the gradient left by the last backward pass.";

/// What a row has unless it says otherwise.
const PLAIN: StatisticRow = StatisticRow {
    quantity: Quantity::Weights,
    tag: "",
    text: "",
    tier: Tier::Small,
    value: |_| None,
    aggregate: None,
    spread: None,
    chart: None,
    attention: None,
    by_role: None,
};

/// Makes the enums and [`TABLE`] of the rows.
macro_rules! statistics {
    (
        weights { $($(#[$doc:meta])+ $weight:ident { $($field:ident: $value:expr,)+ })+ }
        gradients { $($gradient:ident { $($gradient_field:ident: $gradient_value:expr,)+ })+ }
        counts { $($count:ident { $($count_field:ident: $count_value:expr,)+ })+ }
    ) => {
        /// A scalar that is written for each variable. The tag is the name in snake case, then the
        /// variable.
        ///
        /// ```
        /// use tch_tensorboard::{Statistic, WeightOptions};
        ///
        /// let wanted = [Statistic::WeightNorm, Statistic::WeightDrift];
        /// let options = WeightOptions::new().statistics(wanted);
        /// assert_eq!(Statistic::WeightDrift.tag(), "weight_drift");
        /// # let _ = options;
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Statistic { $($(#[$doc])+ $weight,)+ }

        impl Statistic {
            /// All of them: what a model of up to 32 variables writes by default. Later versions
            /// may have more.
            pub const ALL: &'static [Statistic] = &[$(Statistic::$weight),+];
        }

        /// A scalar of a variable's gradient.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum GradientStatistic { $($gradient),+ }

        /// All rows: weights, gradients, counts.
        #[allow(clippy::needless_update, reason = "a row may name each column")]
        pub(crate) static TABLE: &[StatisticRow] = &[
            $(StatisticRow {
                quantity: Quantity::Statistic(Statistic::$weight),
                $($field: $value,)+
                ..PLAIN
            },)+
            $(StatisticRow {
                quantity: Quantity::Gradient(GradientStatistic::$gradient),
                $($gradient_field: $gradient_value,)+
                ..PLAIN
            },)+
            $(StatisticRow {
                quantity: Quantity::$count, $($count_field: $count_value,)+ ..PLAIN
            },)+
        ];
    };
}

statistics! {
    weights {
        /// `weight_mean/…`: mean of the weights.
        WeightMean {
            tag: "weight_mean",
            text: "Mean of the weights.",
            value: Measured::mean,
        }
        /// `weight_std/…`: population standard deviation of the weights.
        WeightStd {
            tag: "weight_std",
            text: "Population standard deviation of the weights. Growing without bound: lower the \
                rate or add weight decay.",
            tier: Tier::Medium,
            value: |measured| measured.values.std(),
            aggregate: Some(AggregateTag {
                tag: "weight_std",
                text: "Population standard deviation of all weights together.",
            }),
        }
        /// `weight_norm/…`: L2 norm of the weights.
        WeightNorm {
            tag: "weight_norm",
            text: "L2 norm of the weights.",
            value: Measured::norm,
            aggregate: Some(AggregateTag {
                tag: "weight_norm",
                text: "L2 norm of all weights together.",
            }),
        }
        /// `weight_delta_mean/…`: mean of w(t) - w(t-1).
        WeightDeltaMean {
            tag: "weight_delta_mean",
            text: "Mean of w(t) - w(t-1). Far from zero against its spread: all weights drift one \
                way.",
            value: |measured| {
                measured.deltas().and_then(|deltas| deltas.std().map(|_| deltas.mean))
            },
        }
        /// `weight_delta_std/…`: population standard deviation of w(t) - w(t-1).
        WeightDeltaStd {
            tag: "weight_delta_std",
            text: "Population standard deviation of w(t) - w(t-1).",
            value: |measured| measured.deltas().and_then(|deltas| deltas.std()),
        }
        /// `weight_delta_max_abs/…`: largest |w(t) - w(t-1)|.
        WeightDeltaMaxAbs {
            tag: "weight_delta_max_abs",
            text: "Largest absolute change of an element in one step.",
            tier: Tier::Medium,
            value: |measured| measured.deltas().and_then(|deltas| deltas.max_abs()),
            aggregate: Some(AggregateTag {
                tag: "delta_max_abs",
                text: "Largest absolute change of any element in one step.",
            }),
            chart: Some(LineChart {
                section: Section::Sizes,
                title: "Largest change of an element",
                shows_whole: true,
            }),
        }
        /// `weight_update_ratio_log10/…`: log10 of norm(w(t) - w(t-1)) / norm(w(t-1)), at least -8.
        WeightUpdateRatioLog10 {
            tag: "weight_update_ratio_log10",
            text: "log10 of norm(w(t) - w(t-1)) / norm(w(t-1)), at least -8. About -3 is healthy; \
                above -2 the rate is high; -8 means that nothing moved.",
            tier: Tier::Medium,
            value: Measured::update_ratio_log10,
            aggregate: Some(AggregateTag {
                tag: "update_ratio_log10",
                text: "log10 of norm(w(t) - w(t-1)) / norm(w(t-1)) over all variables together, at \
                    least -8. About -3 is healthy.",
            }),
            spread: Some(Quantiles {
                text: "How weight_update_ratio_log10 spreads over the variables. A minimum of -8: \
                    some variable does not move at all.",
                quantiles: &[
                    ("update_ratio_log10_min", 0.0),
                    ("update_ratio_log10_p10", 0.1),
                    ("update_ratio_log10_median", 0.5),
                    ("update_ratio_log10_p90", 0.9),
                    ("update_ratio_log10_max", 1.0),
                ],
            }),
            chart: Some(LineChart {
                section: Section::Changing,
                title: "Update ratio (log10; about -3 is healthy)",
                shows_whole: false,
            }),
            attention: Some(Attention {
                title: "Lowest and highest update ratio (log10; -8: not moving)",
                tags: &["update_ratio_log10_min", "update_ratio_log10_max"],
                pins_variables: true,
            }),
            by_role: Some("Update ratio (log10)"),
        }
        /// `weight_update_ratio/…`: the same, not in log10.
        WeightUpdateRatio {
            tag: "weight_update_ratio",
            text: "norm(w(t) - w(t-1)) / norm(w(t-1)). About 0.001 is healthy; 0 means that \
                nothing moved.",
            value: Measured::update_ratio,
        }
        /// `weight_changed_fraction/…`: share of elements whose bits changed.
        WeightChangedFraction {
            tag: "weight_changed_fraction",
            text: "Share of elements whose bits changed. Near 1 is healthy for f32; 0: not \
                updated; small with bf16: updates are rounded away.",
            tier: Tier::Medium,
            value: Measured::changed_fraction,
            aggregate: Some(AggregateTag {
                tag: "changed_fraction",
                text: "Share of all elements whose bits changed.",
            }),
            spread: Some(Quantiles {
                text: "The lowest weight_changed_fraction of any variable. 0: some variable is not \
                    updated.",
                quantiles: &[("changed_fraction_min", 0.0)],
            }),
            chart: Some(LineChart {
                section: Section::Changing,
                title: "Changed share of elements",
                shows_whole: true,
            }),
            attention: Some(Attention {
                title: "Lowest changed share of any variable",
                tags: &["changed_fraction_min"],
                pins_variables: false,
            }),
            by_role: Some("Changed share"),
        }
        /// `weight_drift/…`: norm(w(t) - w(0)) / norm(w(0)). A matrix whose first norm is below 1 %
        /// of that of a fresh one (He) is measured against that.
        WeightDrift {
            tag: "weight_drift",
            text: "norm(w(t) - w(0)) / norm(w(0)), how far training has moved the variable; from \
                4096 sampled elements where it has more.",
            value: Measured::drift,
            aggregate: Some(AggregateTag {
                tag: "drift",
                text: "norm(w(t) - w(0)) / norm(w(0)) over all variables: how far training has \
                    moved the model.",
            }),
            chart: Some(LineChart {
                section: Section::Changing,
                title: "Drift from the first weights",
                shows_whole: true,
            }),
        }
    }
    gradients {
        Norm {
            tag: "weight_gradient_norm",
            text: "L2 norm of the gradient. Orders of magnitude below other layers: vanishing.",
            tier: Tier::Medium,
            value: Measured::norm,
            aggregate: Some(AggregateTag {
                tag: "gradient_norm",
                text: "L2 norm of all gradients together, what gradient clipping looks at.",
            }),
            chart: Some(LineChart {
                section: Section::Sizes,
                title: "Gradient norm",
                shows_whole: true,
            }),
        }
        Std {
            tag: "weight_gradient_std",
            text: "Population standard deviation of the gradient.",
            value: |measured| measured.values.std(),
        }
        MaxAbs {
            tag: "weight_gradient_max_abs",
            text: "Largest absolute element of the gradient.",
            value: |measured| measured.values.max_abs(),
        }
    }
    counts {
        Nonfinite {
            tag: "weight_nonfinite",
            text: "Number of NaN and infinite elements. Any is a fault: lower the learning rate, \
                clip gradients, or look for a division by zero.",
            tier: Tier::Large,
            value: Measured::nonfinite,
            aggregate: Some(AggregateTag {
                tag: "nonfinite",
                text: "Number of NaN and infinite elements.",
            }),
        }
        GradientNonfinite {
            tag: "weight_gradient_nonfinite",
            text: "Number of NaN and infinite elements of the gradient.",
            tier: Tier::Large,
            value: Measured::nonfinite,
            aggregate: Some(AggregateTag {
                tag: "gradient_nonfinite",
                text: "Number of NaN and infinite elements.",
            }),
        }
    }
}

impl Statistic {
    /// Those that a model of more than 32 variables writes by default.
    ///
    /// ```
    /// use tch_tensorboard::Statistic;
    ///
    /// assert!(Statistic::key().any(|key| key == Statistic::WeightUpdateRatioLog10));
    /// assert!(Statistic::key().count() < Statistic::ALL.len());
    /// ```
    pub fn key() -> impl Iterator<Item = Statistic> {
        let is_key = |statistic: &Statistic| statistic.row().tier > Tier::Small;
        Statistic::ALL.iter().copied().filter(is_key)
    }

    /// The first part of the tag.
    pub fn tag(self) -> &'static str {
        self.row().tag
    }

    /// Its row of the table, which begins with the statistics of weights in this order.
    pub(crate) fn row(self) -> &'static StatisticRow {
        &TABLE[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_statistic_has_the_row_of_its_place() {
        for &statistic in Statistic::ALL {
            assert_eq!(statistic.row().quantity, Quantity::Statistic(statistic));
        }
        for row in TABLE {
            assert!(std::ptr::eq(row.quantity.row().expect("a row"), row));
            assert_eq!(Quantity::of_name(row.tag), Some(row.quantity));
            assert!(
                !row.tag.is_empty() && row.text.ends_with('.'),
                "{}",
                row.tag
            );
        }
    }

    #[test]
    fn no_two_quantities_and_no_two_lines_of_an_aggregate_share_a_tag() {
        let names: Vec<&str> = Quantity::all().map(Quantity::name).collect();
        let unique: HashSet<&str> = names.iter().copied().collect();
        assert_eq!(unique.len(), names.len());
        let aggregates = TABLE
            .iter()
            .flat_map(|row| row.aggregate.iter().map(|of| of.tag));
        let spreads = TABLE
            .iter()
            .flat_map(|row| row.spread.iter().flat_map(|spread| spread.quantiles));
        let names: Vec<&str> = aggregates.chain(spreads.map(|(tag, _)| *tag)).collect();
        let unique: HashSet<&str> = names.iter().copied().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn charts_of_the_model_show_tags_that_are_written() {
        for row in TABLE {
            let spread = row
                .spread
                .as_ref()
                .map_or(&[][..], |spread| spread.quantiles);
            let written = |tag: &&str| spread.iter().any(|(known, _)| known == tag);
            if let Some(attention) = &row.attention {
                assert!(attention.tags.iter().all(written), "{}", row.tag);
            }
            if let Some(chart) = &row.chart {
                assert!(!chart.shows_whole || row.aggregate.is_some(), "{}", row.tag);
                assert!(chart.shows_whole || !spread.is_empty(), "{}", row.tag);
            }
            assert!(
                row.by_role.is_none() || row.aggregate.is_some(),
                "{}",
                row.tag
            );
        }
    }
}
