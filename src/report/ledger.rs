//! The faults in force, and what of them is news.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::report::rules::rule;
use crate::report::verdict::{Finding, Verdict};

/// A fault that a variable, or the whole model, has come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// `None` for the model as a whole.
    pub(crate) variable: Option<Arc<str>>,
    pub(crate) verdict: Verdict,
    pub(crate) first_step: i64,
    pub(crate) step: i64,
    pub(crate) reason: String,
    /// Where it is seen to be over.
    pub(crate) over_since: Option<i64>,
    /// The same cause, seen better: not another finding.
    pub(crate) is_revision: bool,
}

impl Found {
    /// What users are told of it.
    pub(crate) fn told(self, run: &Path, scope: &str) -> Finding {
        Finding {
            run: run.to_path_buf(),
            scope: scope.to_owned(),
            variable: self.variable.as_deref().map(str::to_owned),
            verdict: self.verdict,
            first_step: self.first_step,
            step: self.step,
            reason: self.reason,
            over_since: self.over_since,
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    faults: Vec<Found>,
}

impl Ledger {
    /// In the order in which they became sure.
    pub(crate) fn faults(&self) -> &[Found] {
        &self.faults
    }

    pub(crate) fn clear(&mut self) {
        self.faults.clear();
    }

    /// Takes what is wrong now. `covered` are variables whose own faults are part of the model's.
    /// Returns what is news: faults that began, that are over, or that turn out to be another one
    /// of the same kind.
    pub(crate) fn update(
        &mut self,
        step: i64,
        wanted: Vec<Found>,
        covered: &HashSet<Arc<str>>,
    ) -> Vec<Found> {
        let mut news = Vec::new();
        let by_name: HashMap<Option<Arc<str>>, &Found> = wanted
            .iter()
            .map(|found| (found.variable.clone(), found))
            .collect();
        let mut kept = HashSet::new();
        self.faults.retain_mut(|fault| {
            let over = |news: &mut Vec<Found>, fault: &Found| {
                news.push(Found {
                    over_since: Some(step),
                    ..fault.clone()
                });
            };
            let is_kept = match by_name.get(&fault.variable) {
                Some(now) if now.verdict == fault.verdict => true,
                Some(now) if rule(now.verdict).kind == rule(fault.verdict).kind => {
                    (fault.verdict, fault.reason) = (now.verdict, now.reason.clone());
                    news.push(Found {
                        is_revision: true,
                        ..fault.clone()
                    });
                    true
                }
                Some(_) => {
                    over(&mut news, fault);
                    false
                }
                None => {
                    let is_covered =
                        (fault.variable.as_ref()).is_some_and(|name| covered.contains(name));
                    news.push(Found {
                        over_since: Some(step),
                        // It is told as the model's.
                        is_revision: is_covered,
                        ..fault.clone()
                    });
                    false
                }
            };
            if is_kept {
                kept.insert(fault.variable.clone());
            }
            is_kept
        });
        for found in wanted {
            if !kept.contains(&found.variable) {
                self.faults.push(found.clone());
                news.push(found);
            }
        }
        news
    }
}
