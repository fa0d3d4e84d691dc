//! The numbers that rules compare with.

use crate::error::{Error, Result};

/// When a number is a fault. Given to
/// [`WeightOptions::thresholds`](crate::WeightOptions::thresholds); the defaults were chosen on one
/// half of a labelled suite of training runs and checked on the other
/// (`benches/results/faults.md`).
///
/// An update ratio is norm(delta) / norm(weights); here the weights count at least as much as He's
/// initialisation would make them, so that weights that begin at zero are not said to explode.
///
/// ```
/// let mut thresholds = tch_tensorboard::Thresholds::default();
/// thresholds.large_update_ratio = 0.3; // a tiny model with a high rate, on purpose
/// let options = tch_tensorboard::WeightOptions::new().thresholds(thresholds);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Thresholds {
    /// Steps that a rule looks back over, 4 to 1000. Default 20. A variable must rest for at
    /// least as many, and for longer where the run has shown that moves lie further apart.
    pub window: u32,
    /// Calls without any move of a model, before its first, after which that is a fault where no
    /// reason is seen. Default 200: gradients may be accumulated over a hundred calls. Where a
    /// reason is seen (no gradient, a gradient of zero, a rate of 0), `window` is enough.
    pub patience: u32,
    /// First steps that rules about sizes ignore. Default 10: Adam's first steps are of full size
    /// whatever the gradient, and rates are warmed up.
    pub warm_up: u32,
    /// Evaluations in a row that must agree before a verdict becomes a fault. Default 3.
    pub confirm: u32,
    /// `Exploding`: an update ratio of this at three of five steps, or once where the gradient is
    /// dead since: the step is as large as what it changes. Default 0.3. SageMaker Debugger's
    /// ExplodingTensor waits for NaN.
    pub exploding_update_ratio: f64,
    /// `Exploding`: the norm has grown this many times over its first value (or over what He's
    /// spread gives), and by half over the window. Default 10.
    pub exploding_growth: f64,
    /// `LargeUpdates`: an update ratio above this for the whole window. Default 0.1. CS231n calls
    /// 1e-3 healthy; Adam with its usual 1e-3 gives 1e-2 on layers of a few hundred inputs, and
    /// they learn.
    pub large_update_ratio: f64,
    /// `Erratic`: the mean cosine of successive changes below this. Default -0.7. Around -1 each
    /// step undoes the one before, what Cockpit calls overshooting; full-batch descent at the edge
    /// of stability does so too, with small steps.
    pub erratic_cosine: f64,
    /// `Erratic`: only above this update ratio. Default 0.08.
    pub erratic_update_ratio: f64,
    /// `RoundedAway`: of the elements that changed, at least this share by one unit in the last
    /// place. Default 0.35: f32 training stays below 0.05, bf16 training that loses updates lies at
    /// 0.4 to 1.
    pub one_ulp_fraction: f64,
    /// `RoundedAway`: and at most this share of the elements changed. Default 0.5.
    pub rounded_changed_fraction: f64,
    /// `Vanishing`: norm(gradient) / norm(weights) below this share of the other layers' upper
    /// quartile. Default 1e-4. SageMaker Debugger's VanishingGradient takes an absolute mean of
    /// 1e-7, which the scale of a loss can move.
    pub vanishing_gradient: f64,
    /// The remark `HardlyMoving`: an update ratio below this for a hundred steps. Default 1e-5, a
    /// hundredth of the 1e-3 that is usual: a hundred such steps change a thousandth of a variable
    /// at most. 0 where fine-tuning is meant to be that slow.
    pub hardly_moving: f64,
    /// `Stalled`: the update ratio below this share of its own highest. Default 0.01. SageMaker
    /// Debugger's UnchangedTensor asks for equal values, and AllenNLP plots the ratio for the eye.
    pub stalled_collapse: f64,
    /// `Stalled`: while the other variables' median keeps this share of theirs. Default 0.1; so a
    /// schedule that goes to zero stalls nobody.
    pub stalled_others: f64,
    /// `PoorInit`, of weights logged before the first backward pass: the lowest healthy standard
    /// deviation of the first weights times the square root of the fan-in. Default 0.025. SageMaker
    /// Debugger's PoorWeightInitialization compares layers' variances instead.
    pub init_scale_min: f64,
    /// `PoorInit`: the highest. Default 10. Xavier gives 1, He 1.4, PyTorch's default 0.6, GPT-2
    /// 0.1 to 0.6.
    pub init_scale_max: f64,
    /// `ScaleDrift`: std(t) / std(0) beyond this or below its inverse. Default 10.
    pub scale_drift: f64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            window: 20,
            patience: 200,
            warm_up: 10,
            confirm: 3,
            exploding_update_ratio: 0.3,
            exploding_growth: 10.0,
            large_update_ratio: 0.1,
            erratic_cosine: -0.7,
            erratic_update_ratio: 0.08,
            one_ulp_fraction: 0.35,
            rounded_changed_fraction: 0.5,
            vanishing_gradient: 1e-4,
            hardly_moving: 1e-5,
            stalled_collapse: 0.01,
            stalled_others: 0.1,
            init_scale_min: 0.025,
            init_scale_max: 10.0,
            scale_drift: 10.0,
        }
    }
}

impl Thresholds {
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |reason: String| Error::InvalidOption {
            option: "thresholds",
            reason: reason.into(),
        };
        if !(4..=1000).contains(&self.window) {
            return Err(invalid(format!(
                "window {} is not in 4..=1000",
                self.window
            )));
        }
        if self.patience < self.window {
            return Err(invalid(format!(
                "patience {} is below the window of {}",
                self.patience, self.window
            )));
        }
        let numbers = [
            ("exploding_update_ratio", self.exploding_update_ratio),
            ("exploding_growth", self.exploding_growth),
            ("large_update_ratio", self.large_update_ratio),
            ("erratic_update_ratio", self.erratic_update_ratio),
            ("one_ulp_fraction", self.one_ulp_fraction),
            ("rounded_changed_fraction", self.rounded_changed_fraction),
            ("vanishing_gradient", self.vanishing_gradient),
            ("hardly_moving", self.hardly_moving),
            ("stalled_collapse", self.stalled_collapse),
            ("stalled_others", self.stalled_others),
            ("init_scale_min", self.init_scale_min),
            ("init_scale_max", self.init_scale_max),
            ("scale_drift", self.scale_drift),
        ];
        for (name, value) in numbers {
            // Infinity switches a rule off.
            if value.is_nan() || value < 0.0 {
                return Err(invalid(format!(
                    "{name} {value} is not a number of at least 0"
                )));
            }
        }
        if !(-1.0..=1.0).contains(&self.erratic_cosine) {
            return Err(invalid(format!(
                "erratic_cosine {} is not in -1..=1",
                self.erratic_cosine
            )));
        }
        Ok(())
    }
}
