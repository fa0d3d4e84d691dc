//! What a log says of one variable at one step.

use crate::analysis::state::RATIO_FLOOR;
use crate::log_report::distribution::Distribution;
use crate::model::statistic::GradientStatistic;
use crate::model::statistic::Quantity;
use crate::model::statistic::Statistic;
use crate::source::gradient_sampler::GradientSample;

/// The values of one step, as far as they were written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sighting {
    statistics: [Option<f64>; Statistic::ALL.len()],
    /// Elements that are NaN or infinite; not written where there are none.
    pub(crate) nonfinite: Option<f64>,
    pub(crate) weights: Option<Distribution>,
    pub(crate) deltas: Option<Distribution>,
    /// Something of the weights was written.
    pub(crate) has_weights: bool,
    gradient: Gradient,
}

#[derive(Debug, Clone, Copy, Default)]
struct Gradient {
    norm: Option<f64>,
    nonfinite: Option<f64>,
    distribution: Option<Distribution>,
}

impl Sighting {
    /// Takes a number; one that is not finite says nothing.
    pub(crate) fn take_number(&mut self, quantity: Quantity, number: f64) {
        if !number.is_finite() {
            return;
        }
        match quantity {
            Quantity::Statistic(statistic) => {
                self.has_weights = true;
                if let Some(place) = self.statistics.get_mut(statistic as usize) {
                    *place = Some(number);
                }
            }
            Quantity::Nonfinite => (self.nonfinite, self.has_weights) = (Some(number), true),
            Quantity::GradientNonfinite => self.gradient.nonfinite = Some(number),
            Quantity::Gradient(GradientStatistic::Norm) => self.gradient.norm = Some(number),
            _ => {}
        }
    }

    pub(crate) fn take_distribution(&mut self, quantity: Quantity, seen: Distribution) {
        match quantity {
            Quantity::Weights => (self.weights, self.has_weights) = (Some(seen), true),
            Quantity::Deltas => (self.deltas, self.has_weights) = (Some(seen), true),
            Quantity::Gradients => self.gradient.distribution = Some(seen),
            _ => {}
        }
    }

    pub(crate) fn statistic(&self, statistic: Statistic) -> Option<f64> {
        self.statistics.get(statistic as usize).copied().flatten()
    }

    /// Whether some bit changed; `None` when nothing tells.
    pub(crate) fn moved(&self) -> Option<bool> {
        let not_zero = |statistic| Some(self.statistic(statistic)? != 0.0);
        let above_floor =
            |statistic| Some(self.statistic(statistic)? > RATIO_FLOOR + f64::from(f32::EPSILON));
        not_zero(Statistic::WeightChangedFraction)
            .or_else(|| not_zero(Statistic::WeightUpdateRatio))
            .or_else(|| not_zero(Statistic::WeightDeltaMaxAbs))
            .or_else(|| not_zero(Statistic::WeightDeltaStd))
            .or_else(|| above_floor(Statistic::WeightUpdateRatioLog10))
            .or_else(|| Some(!self.deltas?.is_zero()))
    }

    /// Norm of the change over the norm before. At the floor of its logarithm it is not known.
    pub(crate) fn update_ratio(&self) -> Option<f64> {
        self.statistic(Statistic::WeightUpdateRatio).or_else(|| {
            let log10 = self.statistic(Statistic::WeightUpdateRatioLog10)?;
            match self.moved() {
                Some(false) => Some(0.0),
                _ => (log10 > RATIO_FLOOR).then(|| 10_f64.powf(log10)),
            }
        })
    }

    /// Mean and sum of squared distances from it of the change of `elements`.
    pub(crate) fn deltas(&self, elements: f64, norm_before: Option<f64>) -> Option<(f64, f64)> {
        let spread = |mean: f64, std: f64| (mean, std * std * elements);
        let written = self
            .statistic(Statistic::WeightDeltaMean)
            .zip(self.statistic(Statistic::WeightDeltaStd));
        written
            .map(|(mean, std)| spread(mean, std))
            .or_else(|| {
                let norm = self.update_ratio()? * norm_before?;
                Some((0.0, norm * norm))
            })
            .or_else(|| self.deltas.map(|seen| spread(seen.mean, seen.std())))
    }

    /// Share of the elements whose bits changed.
    pub(crate) fn changed_fraction(&self) -> Option<f64> {
        self.statistic(Statistic::WeightChangedFraction)
    }

    /// What was written of the gradient.
    pub(crate) fn glimpse(&self) -> GradientSample {
        let norm = || {
            let seen = self.gradient.distribution.map(|seen| match seen.is_zero() {
                true => 0.0,
                false => seen.norm(),
            });
            self.gradient.norm.or(seen)
        };
        match (self.gradient.nonfinite, norm()) {
            (Some(nonfinite), _) if nonfinite > 0.0 => GradientSample::NonFinite,
            (_, Some(0.0)) => GradientSample::Zero,
            (_, Some(norm)) => GradientSample::NonZero(Some(norm)),
            _ => GradientSample::Unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[(Statistic, f64)]) -> Sighting {
        let mut sighting = Sighting::default();
        for (statistic, number) in numbers {
            sighting.take_number(Quantity::Statistic(*statistic), *number);
        }
        sighting
    }

    #[test]
    fn any_statistic_of_the_change_tells_whether_it_moved() {
        assert_eq!(of(&[(Statistic::WeightMean, 1.0)]).moved(), None);
        for (statistic, still, moving) in [
            (Statistic::WeightChangedFraction, 0.0, 1e-6),
            (Statistic::WeightUpdateRatio, 0.0, 1e-12),
            (Statistic::WeightUpdateRatioLog10, -8.0, -7.9),
            (Statistic::WeightDeltaMaxAbs, 0.0, 1e-9),
            (Statistic::WeightDeltaStd, 0.0, 1e-9),
        ] {
            assert_eq!(of(&[(statistic, still)]).moved(), Some(false));
            assert_eq!(of(&[(statistic, moving)]).moved(), Some(true));
        }
        assert_eq!(of(&[(Statistic::WeightDeltaStd, f64::NAN)]).moved(), None);
    }

    #[test]
    fn the_floor_of_a_ratio_is_not_taken_for_one() {
        let log10 = Statistic::WeightUpdateRatioLog10;
        assert!((of(&[(log10, -3.0)]).update_ratio().unwrap() - 1e-3).abs() < 1e-12);
        let changed = Statistic::WeightChangedFraction;
        assert_eq!(of(&[(log10, -8.0), (changed, 0.5)]).update_ratio(), None);
        assert_eq!(
            of(&[(log10, -8.0), (changed, 0.0)]).update_ratio(),
            Some(0.0)
        );
    }

    #[test]
    fn gradients_are_seen_only_where_they_were_written() {
        let gradient = |quantity, number| {
            let mut sighting = Sighting::default();
            sighting.take_number(quantity, number);
            assert!(!sighting.has_weights);
            sighting.glimpse()
        };
        let norm = Quantity::Gradient(GradientStatistic::Norm);
        assert_eq!(gradient(norm, 0.0), GradientSample::Zero);
        assert_eq!(gradient(norm, 2.0), GradientSample::NonZero(Some(2.0)));
        assert_eq!(
            gradient(Quantity::GradientNonfinite, 1.0),
            GradientSample::NonFinite
        );
        assert_eq!(Sighting::default().glimpse(), GradientSample::Unseen);
    }
}
