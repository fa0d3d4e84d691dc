//! The types of a training program made after a public report, and of the right answer to it.

use tch_tensorboard::Logger;

/// A training program as a person once wrote and reported it, in small.
pub struct Program {
    /// Snake case, unique in the suite.
    pub name: &'static str,
    /// Where the report is: "owner/repo#number" or "owner/repo: path".
    pub source: &'static str,
    /// One sentence: what the user did.
    pub about: &'static str,
    /// Trains and logs as a plain user would, with the logger's default options.
    pub train: fn(&Logger) -> anyhow::Result<()>,
    /// The right answers; a variable that no entry matches may be given any verdict.
    pub expect: &'static [Expect],
    /// Whether findings may or must be reported in the run.
    pub model: ModelExpect,
    /// The reason of the answer, written before the first run; later changes are recorded here.
    pub note: &'static str,
}

/// The right answer for all variables that match.
pub struct Expect {
    /// A glob over "scope/variable" or "variable"; `*` crosses dots and slashes.
    pub variables: &'static str,
    /// Any of these names is right.
    pub verdicts: &'static [&'static str],
    /// At least one of these must be named with the verdict; empty: any.
    pub causes: &'static [&'static str],
    /// All of these must be named beside the verdict; empty: none needed.
    pub remarks: &'static [&'static str],
}

/// The right answer for the run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelExpect {
    /// No finding at all may be reported in the run, at any time.
    Healthy,
    /// At least one finding must be reported.
    Fault,
    /// Either is right.
    Any,
}

impl Expect {
    /// Variables and the verdicts that are right for them.
    pub const fn new(variables: &'static str, verdicts: &'static [&'static str]) -> Expect {
        Expect {
            variables,
            verdicts,
            causes: &[],
            remarks: &[],
        }
    }

    /// One of these causes must be named.
    pub const fn because(self, causes: &'static [&'static str]) -> Expect {
        Expect { causes, ..self }
    }

    /// All of these remarks must be made.
    pub const fn noting(self, remarks: &'static [&'static str]) -> Expect {
        Expect { remarks, ..self }
    }
}
