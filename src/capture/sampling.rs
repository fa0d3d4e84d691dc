//! Whether a model is copied through a sample although the user has set no limit.

use crate::options::overhead::Overhead;
use crate::platform::memory;
use crate::platform::optimised::IS_UNOPTIMISED;

/// Elements of all tensors together that stand for a model too large to be copied.
const SAMPLED: usize = 1 << 16;

/// The same where this crate is not optimised, so that a pass over elements takes fifty times as
/// long.
const SAMPLED_UNOPTIMISED: usize = 1 << 12;

/// Copies of a model that exist at a time.
const COPIES: usize = 3;

/// Part of the free memory that these may take.
const SHARE: u64 = 8;

/// See the module. Where nothing is limited, everything is copied.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    is_large: bool,
    is_limited: bool,
}

impl Sampling {
    pub(crate) fn new(overhead: Overhead) -> Sampling {
        Sampling {
            is_large: false,
            is_limited: overhead.share().is_some(),
        }
    }

    /// The most elements to be copied; `None` for all.
    pub(crate) fn limit(&self) -> Option<usize> {
        match self.is_limited {
            true if IS_UNOPTIMISED => Some(SAMPLED_UNOPTIMISED),
            true if self.is_large => Some(SAMPLED),
            _ => None,
        }
    }

    /// Takes the size of a plan. True when the model has to be planned again, through a sample:
    /// its copies would take too much of the free memory.
    pub(crate) fn take_size(&mut self, bytes: usize) -> bool {
        if !self.is_limited || self.limit().is_some() {
            return false;
        }
        let needed = (bytes as u64).saturating_mul(COPIES as u64);
        self.is_large = memory::available().is_some_and(|free| needed > free / SHARE);
        self.is_large
    }

    /// What the report says of it.
    pub(crate) fn note(&self) -> Option<String> {
        self.is_large.then(Sampling::text)
    }

    fn text() -> String {
        format!(
            "three copies of the weights would take more than an eighth of the free memory, so a \
             sample of {SAMPLED} elements is logged: sample_limit() sets another size, \
             Overhead::Unlimited copies all"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_sampled_whose_copies_would_fill_the_memory() {
        let mut sampling = Sampling::new(Overhead::AtMost(0.1));
        assert!(!sampling.take_size(1 << 10) && sampling.limit().is_none());
        if memory::available().is_some() {
            assert!(sampling.take_size(usize::MAX / 2));
            assert_eq!(sampling.limit(), Some(SAMPLED));
            assert!(sampling.note().is_some());
            assert!(
                !sampling.take_size(usize::MAX / 2),
                "planned once more only"
            );
        }
        let mut all = Sampling::new(Overhead::Unlimited);
        assert!(!all.take_size(usize::MAX / 2) && all.limit().is_none());
    }
}
