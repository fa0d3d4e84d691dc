//! How much of the process's time logging may take.

use crate::error::{Error, Result};

/// How much of the process's CPU time, or of the time on the clock where that is more (a process
/// that waits for a GPU), `log_weights` and `log_gradients` may take, with all that
/// follows on the writer thread; see [`LoggerBuilder::overhead`](crate::LoggerBuilder::overhead).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Overhead {
    /// At most this share, between 0 and 1, once the run is long enough: the first 36 steps are all
    /// observed, and those after them until that has taken 100 ms. What they cost above the share
    /// is made up for later. Then as few are observed as it takes to keep to it: two calls in a
    /// row, which make a delta of one step, out of 4, 8, 16, … The newest weights in the files are
    /// then those of the newest observed call. Calls that [`Cadence::EveryCall`] or
    /// [`Cadence::Every`] ask for are observed whatever they cost.
    ///
    /// [`Cadence::EveryCall`]: crate::Cadence::EveryCall
    /// [`Cadence::Every`]: crate::Cadence::Every
    AtMost(f64),
    /// Whatever it takes. No clock decides what is observed, so that two runs that do the same
    /// write the same.
    Unlimited,
}

impl Default for Overhead {
    /// Two hundredths: of 102 programs with known answers 101 are judged rightly with that limit
    /// and without one (`benches/wild`).
    fn default() -> Overhead {
        Overhead::AtMost(0.02)
    }
}

/// Names the limit of loggers that are given none: `unlimited`, or a share such as `0.05`.
const VARIABLE: &str = "TCH_TENSORBOARD_OVERHEAD";

impl Overhead {
    /// That of the environment variable [`VARIABLE`], else the default.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for anything but a share or `unlimited`.
    pub(crate) fn of_environment() -> Result<Overhead> {
        match std::env::var(VARIABLE) {
            Ok(text) => Overhead::parse(&text),
            Err(_) => Ok(Overhead::default()),
        }
    }

    fn parse(text: &str) -> Result<Overhead> {
        let share = text.trim().parse().map(Overhead::AtMost);
        match share.ok().filter(|share| share.check().is_ok()) {
            Some(share) => Ok(share),
            None if text.trim().eq_ignore_ascii_case("unlimited") => Ok(Overhead::Unlimited),
            None => Err(Error::InvalidOption {
                option: "overhead",
                reason: format!(
                    "{VARIABLE} is {text:?} in the environment: set it to \"unlimited\" or to a \
                     share between 0 and 1"
                )
                .into(),
            }),
        }
    }

    /// The share; `None` where there is no limit.
    pub(crate) fn share(self) -> Option<f64> {
        match self {
            Overhead::AtMost(share) => Some(share),
            Overhead::Unlimited => None,
        }
    }

    pub(crate) fn check(self) -> Result<()> {
        match self {
            Overhead::AtMost(share) if !(share > 0.0 && share < 1.0) => Err(Error::InvalidOption {
                option: "overhead",
                reason: format!(
                    "{share} is not between 0 and 1: AtMost(0.02) is two hundredths; \
                     Overhead::Unlimited sets no limit"
                )
                .into(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_a_share_or_no_limit() {
        assert_eq!(Overhead::parse(" 0.05").ok(), Some(Overhead::AtMost(0.05)));
        assert_eq!(Overhead::parse("Unlimited").ok(), Some(Overhead::Unlimited));
        for wrong in ["", "off", "5 %", "0", "1", "-0.1", "nan", "inf"] {
            let error = Overhead::parse(wrong).expect_err("no share").to_string();
            assert!(error.contains(VARIABLE), "{error}");
        }
    }
}
