//! Whether this crate was compiled without optimisation, as the dev profile of a program that
//! depends on it does unless it says otherwise.

use std::sync::Once;

/// Set by build.rs from the `OPT_LEVEL` of this package. Loops over elements then take ten to
/// fifty times as long, while `memcpy`, `memcmp` and libtorch are as fast as ever.
pub(crate) const IS_UNOPTIMISED: bool = cfg!(unoptimised);

/// What makes it fast, for people.
pub(crate) const ADVICE: &str = "tch-tensorboard is compiled without optimisation, so it looks \
    at samples of the weights and at fewer steps; these two lines in Cargo.toml make it fast: \
    [profile.dev.package.tch-tensorboard] and opt-level = 3";

static ADVISED: Once = Once::new();

/// Prints the advice, once in a process.
pub(crate) fn advise() {
    if IS_UNOPTIMISED {
        ADVISED.call_once(|| eprintln!("tch-tensorboard: {ADVICE}"));
    }
}
