//! The outcomes as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::Outcome;
use crate::nets;
use crate::scenario::{FAULTS, HEALTHY, not_applicable};

/// Everything there is to say, with the command that makes it.
pub(crate) fn tables(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "# Verdicts on a labelled suite\n\nMade by `make bench-faults`. Each run trains 150 steps \
         (300 for `lr-zero`, since stillness of unknown cause is a fault after 200 calls) on the \
         digits of this repository and logs with `log_weights` alone; `set_learning_rate` is \
         called in every other faulty run. The tuning part (networks `cnn` and `mlp`, seeds 0 to \
         2) is what thresholds were chosen on; the held-out part is only reported. `right`: the \
         variables named and, where there is one, the cause. `wrong`: findings that the fault \
         does not explain, by place, verdict or step. `injected as said`: runs in which tensors, \
         gradients and losses, looked at directly, do what the list below says of the fault. \
         Steps are counted from the end of the warm-up (10 steps) or from the injection to the \
         last variable that had to be named.\n",
    );
    for part in ["tuning", "held-out"] {
        let chosen: Vec<&Outcome> = outcomes.iter().filter(|one| one.part == part).collect();
        if !chosen.is_empty() {
            let _ = writeln!(text, "\n## The {part} part\n");
            faults(&mut text, &chosen);
            healthy(&mut text, &chosen);
        }
    }
    confusion(&mut text, outcomes);
    injections(&mut text);
    text
}

fn percent(part: usize, all: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / all.max(1) as f64)
}

fn faults(text: &mut String, outcomes: &[&Outcome]) {
    text.push_str(
        "| fault | runs | found | right | wrong findings | steps until found: median | most | \
         injected as said | bar |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (fault, _) in FAULTS {
        let runs: Vec<_> = outcomes.iter().filter(|one| one.fault == fault).collect();
        if runs.is_empty() {
            continue;
        }
        let count = |is: &dyn Fn(&Outcome) -> bool| runs.iter().filter(|one| is(one)).count();
        let mut steps: Vec<i64> = runs.iter().filter_map(|one| one.steps).collect();
        steps.sort_unstable();
        let shown = |step: Option<&i64>| step.map_or("-".into(), ToString::to_string);
        let _ = writeln!(
            text,
            "| {fault} | {} | {} | {} | {} | {} | {} | {} | {} |",
            runs.len(),
            percent(count(&|one| one.found), runs.len()),
            percent(count(&|one| one.right), runs.len()),
            runs.iter().map(|one| one.wrong).sum::<usize>(),
            shown(steps.get(steps.len() / 2)),
            shown(steps.last()),
            count(&|one| one.objection.is_empty()),
            bar(fault)
        );
    }
}

/// What share is to be found: all where no threshold decides. Variable and cause are to be right in
/// 98 %, within 20 steps.
fn bar(fault: &str) -> &'static str {
    match fault {
        "lr-huge" | "bad-init" | "vanishing" | "saturated" | "stalled" => "95 %",
        _ => "100 %",
    }
}

fn healthy(text: &mut String, outcomes: &[&Outcome]) {
    let all: Vec<_> = outcomes
        .iter()
        .filter(|one| HEALTHY.contains(&&*one.fault))
        .collect();
    if all.is_empty() {
        return;
    }
    let clean = all.iter().filter(|one| one.wrong == 0).count();
    let _ = writeln!(
        text,
        "\nHealthy runs: {}, of which {clean} without any finding.\n",
        all.len()
    );
    text.push_str("| variant | runs | with a finding | learn |\n|---|--:|--:|--:|\n");
    for variant in HEALTHY {
        let runs: Vec<_> = all.iter().filter(|one| one.fault == variant).collect();
        let wrong = runs.iter().filter(|one| one.wrong > 0).count();
        let learn = runs.iter().filter(|one| one.objection.is_empty()).count();
        if !runs.is_empty() {
            let _ = writeln!(text, "| {variant} | {} | {wrong} | {learn} |", runs.len());
        }
    }
}

fn confusion(text: &mut String, outcomes: &[Outcome]) {
    let verdicts: BTreeSet<&str> = outcomes.iter().map(|one| &*one.verdict).collect();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for one in outcomes {
        let fault = if HEALTHY.contains(&&*one.fault) {
            "healthy"
        } else {
            &one.fault
        };
        *counts.entry((fault, &one.verdict)).or_default() += 1;
    }
    let columns: Vec<&str> = verdicts.into_iter().collect();
    let _ = writeln!(
        text,
        "\n## Confusion matrix\n\nRuns by fault and by the verdict that fits, or else the first \
         found.\n"
    );
    let _ = writeln!(
        text,
        "| | {} |\n|---|{}",
        columns.join(" | "),
        "--:|".repeat(columns.len())
    );
    for fault in FAULTS.iter().map(|(fault, _)| *fault).chain(["healthy"]) {
        let row: Vec<String> = columns
            .iter()
            .map(|verdict| {
                counts
                    .get(&(fault, *verdict))
                    .map_or(String::new(), ToString::to_string)
            })
            .collect();
        let _ = writeln!(text, "| {fault} | {} |", row.join(" | "));
    }
}

fn injections(text: &mut String) {
    text.push_str("\n## What was injected\n\n| fault | how |\n|---|---|\n");
    for (fault, how) in FAULTS {
        let _ = writeln!(text, "| {fault} | {how} |");
    }
    text.push_str("\nNot applicable:\n\n");
    for (fault, _) in FAULTS {
        for net in nets::NAMES {
            if let Some(reason) = not_applicable(fault, net) {
                let _ = writeln!(text, "- {fault}, {net}: {reason}");
            }
        }
    }
}
