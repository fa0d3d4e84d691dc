//! What a log does not allow to decide, in words.

use crate::log_report::RecordedVerdict;
use crate::log_report::index::Index;
use crate::log_report::model::LoggedModel;
use crate::log_report::recorded::Recorded;
use crate::log_report::variable::{Kind, LoggedVariable};
use crate::report::thinned_note::thinned_note;
use crate::report::{Verdict, WeightReport};

/// Variables that a note names one by one.
const NAMED: usize = 20;

/// Adds the notes.
pub(crate) fn note(
    index: &Index,
    recorded: &Recorded,
    differences: &[RecordedVerdict],
    report: &mut WeightReport,
) {
    if report.parameters.is_empty() {
        return;
    }
    note_differences(recorded, differences, report);
    let models = &index.models;
    note_undecided(index, report);
    let notes = &mut report.notes;
    notes.extend(thinned_note(index.declared.stride()));
    if models.iter().any(|model| model.is_foreign) {
        notes.push(
            "histograms of another writer: judged by what changed from point to point. They have \
             neither shapes nor roles nor single steps, so rules about sizes are silent, and what \
             is frozen looks as if it were not updated"
                .into(),
        );
    } else {
        notes.push(not_in_logs(models));
    }
    let all = || models.iter().flat_map(LoggedModel::members);
    let nameless =
        |variable: &&LoggedVariable| variable.kind == Kind::Variable && variable.traits.is_none();
    let count = all().filter(nameless).count();
    if count > 0 {
        notes.push(format!(
            "the log does not have the shape of {count} variables: rules about matrices are \
             silent on them"
        ));
    }
    let roles = all().filter(|variable| variable.kind == Kind::Role).count();
    if roles > 0 {
        notes.push(format!(
            "{roles} rows are roles, each of which represents all its variables: one that does \
             not learn among them is not seen"
        ));
    }
    let went_back = models
        .iter()
        .filter_map(|model| model.went_back)
        .next_back();
    if let Some((before, step)) = went_back {
        notes.push(format!(
            "steps go back from {before} to {step}, and no session says that it goes on there: \
             judged from there on"
        ));
    }
    let silent = match index.selection.is_narrowed() {
        true => 0,
        false => recorded.silent(report),
    };
    if silent > 0 {
        report.notes.push(format!(
            "{silent} frozen variables did not move and are not in the log"
        ));
    }
    note_unread(index, report);
}

/// What this version cannot take in.
pub(crate) fn note_unread(index: &Index, report: &mut WeightReport) {
    let notes = &mut report.notes;
    let (codes, newer) = index.declared.unknown();
    if !codes.is_empty() {
        let codes: Vec<String> = codes.into_iter().take(NAMED).collect();
        notes.push(format!(
            "the log records verdicts that this version does not know: {}",
            codes.join("; ")
        ));
    }
    if let Some(version) = newer {
        notes.push(format!(
            "the log was written by version {version}, which records more than this version reads"
        ));
    }
    if index.is_full {
        notes.push("more variables than are judged at once: 10000 were taken".into());
    }
}

/// Where the run itself has come to another verdict.
fn note_differences(
    recorded: &Recorded,
    differences: &[RecordedVerdict],
    report: &mut WeightReport,
) {
    let Some(step) = recorded.step().filter(|_| !differences.is_empty()) else {
        return;
    };
    let named = differences.iter().take(NAMED);
    let mut said: Vec<String> = named
        .map(|one| format!("{}: {}", one.variable, one.verdict))
        .collect();
    if differences.len() > NAMED {
        said.push(format!("{} more", differences.len() - NAMED));
    }
    report.notes.push(format!(
        "the run's own report, at step {step}, had more to go by and says: {}",
        said.join("; ")
    ));
}

/// Verdicts that need what no tag tells.
fn not_in_logs(models: &[LoggedModel]) -> String {
    let blind = models.iter().any(|model| !model.has_gradients);
    match blind {
        true => "a log holds no gradients (log_gradients writes them) and no single \
                 elements: detached, dead gradient, vanishing, stalled, rounded away and erratic \
                 do not show in it, and what does not move is \"not updated\""
            .into(),
        false => "a log holds no single elements: rounded away, erratic and units that do not \
                  move do not show in it"
            .into(),
    }
}

fn note_undecided(index: &Index, report: &mut WeightReport) {
    let window = index.selection.options.thresholds.window;
    let undecided = report
        .parameters
        .iter()
        .filter(|parameter| parameter.verdict == Verdict::Undecided)
        .count();
    if undecided > 0 {
        report.notes.push(format!(
            "{undecided} variables are undecided: the log has fewer than {window} points of them \
             to compare, or does not say whether they moved"
        ));
    }
}
