//! The end of a run: its last weights are there, nothing is there twice, and what may still be
//! asked.

use std::collections::HashSet;

use tch_tensorboard::{Cadence, Error, WeightOptions};

use crate::reference::{assert_close, assert_counts, deltas};
use crate::run::{Run, Written, every_call};

fn weights(step: i64) -> Vec<f32> {
    (0..6)
        .map(|index| index as f32 + (step * (index + 1)) as f32 / 128.0)
        .collect()
}

fn sparse() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::Every(4))
        .histograms(Cadence::Every(8))
}

#[track_caller]
fn assert_nothing_twice(written: &Written) {
    let mut seen = HashSet::new();
    for (step, value) in &written.values {
        assert!(
            seen.insert((*step, value.tag.clone())),
            "{} twice at {step}",
            value.tag
        );
    }
}

#[test]
fn the_newest_weights_are_written_in_full() {
    for calls in [1_i64, 2, 3, 5, 6, 9, 10] {
        let run = Run::with(sparse());
        for step in 0..calls {
            run.log_weights(&("w", weights(step)), step).unwrap();
        }
        let written = run.finish();
        assert_nothing_twice(&written);
        let last = calls - 1;
        for tag in [
            "weight_std/w",
            "weights/w",
            "model/weight_std",
            "weight_samples/w/0",
        ] {
            if tag == "weight_samples/w/0" && !written.has(tag) {
                continue;
            }
            assert_eq!(
                written.steps(tag).last(),
                Some(&last),
                "{tag} of {calls} calls"
            );
        }
        if last == 0 {
            assert!(!written.has("weight_deltas/w"));
            continue;
        }
        let changes = deltas(&weights(last), &weights(last - 1));
        assert_counts(
            "weights",
            &written.histogram("weight_deltas/w", last),
            &changes,
        );
        assert_close(
            "largest",
            written.at("weight_delta_max_abs/w", last),
            changes[5],
        );
        let samples = written.tags_of_step(last);
        let samples = samples
            .iter()
            .filter(|tag| tag.starts_with("weight_delta_samples/"));
        assert_eq!(samples.count(), 4, "{calls} calls");
    }
}

#[test]
fn dropping_the_last_clone_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let log = |name: &str, close: bool| {
        let logger = tch_tensorboard::Logger::builder(dir.path().join(name))
            .weights(sparse())
            .create()
            .unwrap();
        let clone = logger.clone();
        for step in 0..6_i64 {
            logger.log_weights(&("w", weights(step)), step).unwrap();
        }
        drop(logger);
        if close {
            clone.close().unwrap();
        }
        drop(clone);
        let written = Written::read(&dir.path().join(name));
        let of = written
            .values
            .into_iter()
            .filter(|(_, value)| value.tag != "custom_scalars__config__");
        of.map(|(step, value)| (step, value.tag, value.value))
            .collect::<Vec<_>>()
    };
    let (closed, dropped) = (log("closed", true), log("dropped", false));
    assert!(
        closed
            .iter()
            .any(|(step, tag, _)| (*step, tag.as_str()) == (5, "weight_deltas/w"))
    );
    assert_eq!(closed, dropped);
}

#[test]
fn closing_writes_no_delta_that_is_none() {
    // Between distant points the newest copy may be one without the copy before it.
    let run = Run::with(
        WeightOptions::new()
            .scalars(Cadence::Every(20))
            .histograms(Cadence::Every(20)),
    );
    for step in 0..20_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    let written = run.finish();
    assert_nothing_twice(&written);
    assert_eq!(written.steps("weight_std/w"), [0, 19]);
    assert!(!written.has("weight_delta_mean/w") && !written.has("weight_deltas/w"));
}

#[test]
fn a_closed_logger_answers_but_logs_no_more() {
    let run = Run::with(every_call());
    for step in 0..3_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    let before = run.weight_report().unwrap();
    let scope = run.scoped("G").unwrap();
    run.close().unwrap();
    run.close().unwrap();
    assert_eq!(run.weight_report().unwrap(), before);
    assert_eq!(run.try_weight_report(), Some(before));
    for logger in [&*run, &scope] {
        for error in [
            logger.log_weights(&("w", weights(9)), 9).unwrap_err(),
            logger.log_gradients(&("w", weights(9)), 9).unwrap_err(),
            logger.log_scalar("loss", 1.0, 9).unwrap_err(),
            logger.flush().unwrap_err(),
        ] {
            assert!(matches!(error, Error::Closed { .. }), "{error:?}");
            assert!(error.to_string().contains("closed"), "{error}");
        }
    }
    assert!(matches!(run.subrun("val"), Err(Error::Closed { .. })));
    assert!(!run.logdir().join("val").exists());
    let written = Written::read(run.logdir());
    assert_eq!(written.steps("weight_std/w"), [0, 1, 2]);
}

#[test]
fn the_report_of_the_end_is_that_of_the_last_call() {
    let run = Run::with(sparse());
    for step in 0..6_i64 {
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    run.close().unwrap();
    let report = run.weight_report().unwrap();
    let w = report.parameter("w").unwrap();
    assert_eq!(w.step, 5);
    assert!(w.update_ratio.is_some() && w.drift.is_some() && w.changed_fraction.is_some());
}

#[test]
fn a_report_before_the_first_step_is_empty_and_says_what_to_do() {
    let run = Run::new();
    assert_eq!(run.try_weight_report(), None);
    let report = run.weight_report().unwrap();
    assert!(report.parameters.is_empty());
    assert!(report.to_string().contains("log_weights"), "{report}");
    run.close().unwrap();
    assert!(run.weight_report().unwrap().parameters.is_empty());
}

#[test]
fn reports_may_be_asked_for_from_many_threads() {
    let run = Run::with(every_call());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut newest = -1;
                for _ in 0..50 {
                    let report = run.weight_report().unwrap();
                    let step = report.parameter("w").map_or(-1, |w| w.step);
                    assert!(step >= newest, "{step} after {newest}");
                    newest = step;
                }
            });
        }
        for step in 0..50_i64 {
            run.log_weights(&("w", weights(step)), step).unwrap();
        }
    });
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameter("w").map(|w| w.step), Some(49));
}

#[test]
fn a_source_without_variables_is_no_mistake() {
    let run = Run::with(every_call());
    let nothing: [(&str, Vec<f32>); 0] = [];
    for step in 0..30_i64 {
        run.log_weights(&nothing, step).unwrap();
    }
    assert!(run.weight_report().unwrap().parameters.is_empty());
    run.log_weights(&("late", weights(0)), 30).unwrap();
    run.log_weights(&("late", weights(1)), 31).unwrap();
    run.log_weights(&nothing, 32).unwrap();
    let written = run.finish();
    assert_eq!(written.steps("weight_std/late"), [30, 31]);
}
