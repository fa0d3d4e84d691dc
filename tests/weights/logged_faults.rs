//! The report recomputed from a log agrees with the one that the run itself came to: the same
//! faults, made in real training.

use tch::{Kind, Tensor};
use tch_tensorboard::{Cause, LogDir, LoggedReport, Verdict, WeightOptions, WeightReport};

use crate::common::recompute;
use crate::model::{Net, add_variable, tensor, variable};
use crate::run::{Run, every_call};
use crate::training::Training;

/// What the run said at its end, and what its log says.
fn both(run: Run) -> (WeightReport, LoggedReport) {
    let live = run.weight_report().unwrap();
    run.close().unwrap();
    let log = LogDir::open(run.logdir()).unwrap();
    (live, recompute(&log.runs()[0]))
}

/// The same, but for what a log cannot hold: without `log_gradients` it does not say whether there
/// was a gradient, so that its list of causes has those that a gradient rules out.
fn agree(live: Verdict, logged: Verdict) -> bool {
    match (live, logged) {
        (Verdict::NotUpdated { cause: live }, Verdict::NotUpdated { cause: logged }) => {
            let unseen = [Cause::NoGradient, Cause::GradientCleared];
            let others = |cause: &Cause| -> Vec<Cause> {
                let all = cause.candidates().iter().copied();
                all.filter(|one| !unseen.contains(one)).collect()
            };
            others(&live) == others(&logged)
        }
        (live, logged) => live == logged,
    }
}

/// Asserts that each variable of the log has the verdict of the run, since the same step, with the
/// same numbers.
fn assert_agrees(live: &WeightReport, logged: &LoggedReport) {
    assert_eq!(logged.recorded, [], "{live}\n\n{}", logged.report);
    assert!(!logged.report.parameters.is_empty());
    for one in &logged.report.parameters {
        let expected = live.parameter(&one.name).unwrap();
        assert!(
            agree(expected.verdict, one.verdict) && one.since == expected.since,
            "{live}\n\n{}",
            logged.report
        );
        assert_eq!(
            (&one.shape, one.dtype, one.role, one.step),
            (
                &expected.shape,
                expected.dtype,
                expected.role,
                expected.step
            )
        );
        let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-5 * b.abs() + 1e-12,
            (a, b) => a.is_none() && b.is_none(),
        };
        for (a, b) in [
            (one.mean, expected.mean),
            (one.std, expected.std),
            (one.norm, expected.norm),
            (one.update_ratio, expected.update_ratio),
            (one.changed_fraction, expected.changed_fraction),
            (one.drift, expected.drift),
            (one.evidence.update_ratio, expected.evidence.update_ratio),
            (Some(one.evidence.path), Some(expected.evidence.path)),
            (one.evidence.scale, expected.evidence.scale),
        ] {
            assert!(close(a, b), "{}: {a:?}, {b:?}", one.name);
        }
        assert_eq!(one.nonfinite, expected.nonfinite);
        assert_eq!(one.evidence.moves, expected.evidence.moves);
    }
    let faults = |report: &WeightReport| -> Vec<(Option<String>, Verdict, i64)> {
        let findings = report.findings.iter();
        findings
            .map(|one| (one.variable.clone(), one.verdict, one.first_step))
            .collect()
    };
    let (found, expected) = (faults(&logged.report), faults(live));
    assert_eq!(found.len(), expected.len());
    for ((name, verdict, step), (other, live, since)) in std::iter::zip(found, expected) {
        assert!(agree(live, verdict), "{live} {verdict}");
        assert_eq!((name, step), (other, since));
    }
    assert_eq!(logged.report.models[0].trend, live.models[0].trend);
}

/// A step with its gradients, which are exact then and in the log.
fn train_with_gradients(training: &mut Training, steps: i64) {
    for _ in 0..steps {
        training.backward();
        training
            .run
            .log_gradients(&training.vs, training.step)
            .unwrap();
        training.optimizer.step();
        training.log();
    }
}

fn set(training: &Training, name: &str, value: f64) {
    tch::no_grad(|| {
        let _ = training.vs.variables()[name].shallow_clone().fill_(value);
    });
}

#[test]
fn a_model_that_learns() {
    let mut training = Training::new();
    training.train(60);
    let (live, logged) = both(training.run);
    assert_agrees(&live, &logged);
    assert_eq!(logged.faults().count(), 0, "{}", logged.report);
    assert!(logged.report.notes[0].contains("log_gradients"));
}

// Points lie one, two and four steps apart; each tells of one step.
#[test]
fn a_log_that_is_thinned_out() {
    let mut training = Training::with(WeightOptions::new());
    training.train(1300);
    let (live, logged) = both(training.run);
    assert!(live.findings.is_empty() && logged.recorded.is_empty());
    for one in &logged.report.parameters {
        assert_eq!(one.verdict, Verdict::Learning, "{}", logged.report);
        let steps = live.parameter(&one.name).unwrap().evidence.steps;
        assert!((600..900).contains(&one.evidence.steps) && steps > 1200);
    }
    // The trend is that of the last hundred points, which lie further apart.
    assert!(logged.report.models[0].trend.is_some());
}

#[test]
fn a_variable_that_is_hidden_from_optimizers() {
    for gradients in [false, true] {
        let mut training = Training::new();
        let hidden = training.vs.root().zeros_no_train("scale", &[3]);
        let hidden = hidden.set_requires_grad(true);
        for _ in 0..30 {
            let (x, y) = Net::batch(training.step as u32);
            training.optimizer.zero_grad();
            let extra = (&hidden * 0.1).sum(Kind::Float);
            (training.net.loss(&x, &y) + extra).backward();
            if gradients {
                training
                    .run
                    .log_gradients(&training.vs, training.step)
                    .unwrap();
            }
            training.optimizer.step();
            training.log();
        }
        let (live, logged) = both(training.run);
        let scale = live.parameter("scale").unwrap().verdict;
        let cause = Cause::NotInOptimizer;
        assert_eq!(scale, Verdict::NotUpdated { cause });
        assert_agrees(&live, &logged);
    }
}

#[test]
fn an_unused_layer_is_not_updated_or_with_gradients_detached() {
    for gradients in [false, true] {
        let mut training = Training::new();
        add_variable(&training.vs.root(), "unused", &[4, 4], 7);
        match gradients {
            true => train_with_gradients(&mut training, 40),
            false => training.train(40),
        }
        let (live, logged) = both(training.run);
        assert_eq!(live.parameter("unused").unwrap().verdict, Verdict::Detached);
        if gradients {
            assert_agrees(&live, &logged);
            continue;
        }
        let unused = logged.report.parameter("unused").unwrap();
        let Verdict::NotUpdated { cause } = unused.verdict else {
            panic!("{}", logged.report);
        };
        assert!(cause.candidates().contains(&Cause::NoGradient));
        let [recorded] = logged.recorded.as_slice() else {
            panic!("{}", logged.report);
        };
        assert_eq!(
            (&*recorded.variable, recorded.verdict),
            ("unused", Verdict::Detached)
        );
        let text = logged.report.to_string();
        assert!(text.contains("says: unused: detached"), "{text}");
    }
}

#[test]
fn a_unit_that_never_fires() {
    let mut training = Training::new();
    set(&training, "c2.bias", -1e3);
    train_with_gradients(&mut training, 40);
    let (live, logged) = both(training.run);
    let conv = live.parameter("c2.weight").unwrap();
    assert_eq!(conv.verdict, Verdict::DeadGradient);
    assert_agrees(&live, &logged);
}

#[test]
fn weights_of_zero() {
    let mut training = Training::new();
    for name in ["c2.weight", "c10.weight", "c2.bias"] {
        set(&training, name, 0.0);
    }
    training.train(40);
    let (live, logged) = both(training.run);
    for name in ["c2.weight", "c10.weight"] {
        assert_eq!(live.parameter(name).unwrap().verdict, Verdict::AllZero);
        let found = logged.report.parameter(name).unwrap();
        assert_eq!(found.verdict, Verdict::AllZero, "{}", logged.report);
    }
}

#[test]
fn a_rate_of_zero() {
    for told in [false, true] {
        let mut training = Training::new();
        training.optimizer.set_lr(0.0);
        if told {
            training.run.set_learning_rate(0.0);
        }
        // Gradients may be accumulated over many calls, unless the rate is known.
        training.train(if told { 40 } else { 240 });
        let (live, logged) = both(training.run);
        assert_eq!(live.findings.len(), 1);
        assert_agrees(&live, &logged);
        // The rate comes back before the end.
        let mut training = Training::new();
        training.optimizer.set_lr(0.0);
        training.train(if told { 30 } else { 230 });
        training.optimizer.set_lr(0.05);
        training.train(50);
        let (live, logged) = both(training.run);
        assert!(live.findings.is_empty());
        assert_agrees(&live, &logged);
    }
}

#[test]
fn frozen_and_moving_while_frozen() {
    let mut training = Training::new();
    let moving = variable(&training.vs.root(), "average", &[6, 4], 5).set_requires_grad(false);
    let _still = variable(&training.vs.root(), "still", &[6, 4], 6).set_requires_grad(false);
    for _ in 0..40 {
        tch::no_grad(|| {
            let _ = moving.shallow_clone().g_mul_scalar_(0.99);
        });
        training.train(1);
    }
    let (live, logged) = both(training.run);
    assert_eq!(live.parameter("still").unwrap().verdict, Verdict::Frozen);
    assert_eq!(logged.report.parameter("still"), None);
    let notes = logged.report.notes.join("\n");
    assert!(notes.contains("1 frozen variables"), "{notes}");
    for report in [&live, &logged.report] {
        let found = report.parameter("average").unwrap().verdict;
        assert_eq!(found, Verdict::MovingWhileFrozen, "{report}");
    }
    assert_eq!(logged.recorded, []);
}

#[test]
fn not_a_number() {
    let mut training = Training::new();
    training.train(3);
    tch::no_grad(|| {
        let bias = training.vs.variables()["c10.bias"].shallow_clone();
        let _ = bias.get(2).fill_(f64::NAN);
    });
    training.train(1);
    let (live, logged) = both(training.run);
    let bias = logged.report.parameter("c10.bias").unwrap();
    assert_eq!((bias.verdict, bias.since), (Verdict::NonFinite, Some(3)));
    assert_eq!(bias.reason, live.parameter("c10.bias").unwrap().reason);
    assert_eq!(logged.recorded, []);
    // All of it, in the end.
    let mut training = Training::new();
    training.train(30);
    set(&training, "c10.weight", f64::INFINITY);
    training.train(10);
    let (live, logged) = both(training.run);
    for one in &logged.report.parameters {
        let expected = live.parameter(&one.name).unwrap();
        assert_eq!(
            (one.verdict, one.nonfinite),
            (expected.verdict, expected.nonfinite)
        );
    }
}

#[test]
fn steps_as_large_as_the_weights() {
    for (rate, expected) in [(0.05, Verdict::Learning), (30.0, Verdict::Exploding)] {
        let mut training = Training::new();
        training.optimizer.set_lr(rate);
        train_with_gradients(&mut training, 50);
        let (live, logged) = both(training.run);
        let found = logged.report.parameter("c10.weight").unwrap().verdict;
        assert_eq!(found, expected, "{live}\n{}", logged.report);
        assert_agrees(&live, &logged);
    }
}

// Steps of one unit in the last place are in no log: only the run itself can tell.
#[test]
fn updates_that_are_rounded_away_are_told_by_the_run_itself() {
    let run = Run::with(every_call());
    let mut weight = tensor(&[64, 64], 3)
        .to_kind(Kind::BFloat16)
        .set_requires_grad(true);
    for step in 0..40 {
        let gradient: Tensor = tensor(&[64, 64], 100 + step) * 2e-3;
        tch::no_grad(|| {
            let _ = weight.g_sub_(&gradient.to_kind(Kind::BFloat16));
        });
        run.log_weights(&("w", &weight), i64::from(step)).unwrap();
    }
    let (_, logged) = both(run);
    assert_eq!(
        logged.report.parameter("w").unwrap().verdict,
        Verdict::Learning
    );
    assert_eq!(logged.recorded[0].verdict, Verdict::RoundedAway);
    assert_eq!(logged.faults().collect::<Vec<_>>(), [Verdict::RoundedAway]);
}
