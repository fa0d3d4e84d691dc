//! What the report says of variables that learn and of such that do not. One small net and plain
//! descent, so that each fault does exactly what its test says; whole architectures and optimizers
//! are tried by `make bench-faults`.

use prost::Message;
use tch::{Kind, Tensor};
use tch_tensorboard::proto::custom_scalar::Layout;
use tch_tensorboard::proto::summary::value;
use tch_tensorboard::{Cause, Finding, GradientState, Role, Trend, Verdict, WeightReport};

use crate::model::{Net, add_variable, cpu_store, tensor, variable};
use crate::run::{Run, every_call};
use crate::training::Training;

fn of(findings: &[Finding]) -> Vec<(Option<&str>, Verdict)> {
    findings
        .iter()
        .map(|finding| (finding.variable.as_deref(), finding.verdict))
        .collect()
}

const MISSING: Verdict = Verdict::NotUpdated {
    cause: Cause::NotInOptimizer,
};

#[test]
fn a_model_that_learns_has_no_fault() {
    let mut training = Training::new();
    training.train(10);
    assert_eq!(training.verdict("c2.weight"), Verdict::Undecided);
    training.train(50);
    let report = training.report();
    for parameter in &report.parameters {
        assert_eq!(parameter.verdict, Verdict::Learning, "{}", parameter.name);
        assert_eq!(parameter.evidence.gradient, GradientState::NonZero);
        assert_eq!(parameter.evidence.moves, 20);
    }
    assert!(
        report.findings.is_empty() && report.notes.is_empty(),
        "{report}"
    );
    assert!(matches!(
        report.models[0].trend,
        Some(Trend::Steady | Trend::Converging)
    ));
    assert!(training.run.take_findings().is_empty());
}

#[test]
fn a_variable_that_its_store_hides_from_optimizers_is_named() {
    let mut training = Training::new();
    // As after `set_requires_grad` on what was made without a gradient.
    let hidden = training.vs.root().zeros_no_train("scale", &[3]);
    let hidden = hidden.set_requires_grad(true);
    for _ in 0..30 {
        let (x, y) = Net::batch(training.step as u32);
        training.optimizer.zero_grad();
        let extra = (&hidden * 0.1).sum(Kind::Float);
        (training.net.loss(&x, &y) + extra).backward();
        training.optimizer.step();
        training.log();
    }
    let report = training.report();
    let scale = report.parameter("scale").unwrap();
    assert_eq!((scale.verdict, scale.since), (MISSING, Some(1)));
    assert!(scale.reason.contains("gradient norm"), "{}", scale.reason);
    assert_eq!(of(&report.findings), [(Some("scale"), MISSING)]);
    // Told once.
    assert_eq!(
        of(&training.run.take_findings()),
        [(Some("scale"), MISSING)]
    );
    assert!(training.run.take_findings().is_empty());
}

#[test]
fn a_fault_ends_with_its_variable_and_with_a_new_baseline() {
    let mut training = Training::new();
    let other = cpu_store();
    add_variable(&other.root(), "unused", &[5], 9);
    let log = |training: &mut Training, with_other: bool| {
        let sources = [&training.vs, &other];
        let sources = if with_other {
            &sources[..]
        } else {
            &sources[..1]
        };
        training.run.log_weights(sources, training.step).unwrap();
        training.step += 1;
    };
    let train = |training: &mut Training, steps: u32, with_other: bool| {
        for _ in 0..steps {
            training.backward();
            training.optimizer.step();
            log(training, with_other);
        }
    };
    let faults = |training: &Training| training.report().findings.len();
    train(&mut training, 30, true);
    assert_eq!(faults(&training), 1, "{}", training.report());
    train(&mut training, 1, false);
    assert_eq!(faults(&training), 0, "{}", training.report());
    train(&mut training, 30, true);
    assert_eq!(faults(&training), 1, "{}", training.report());
    training.run.new_baseline();
    log(&mut training, true);
    let report = training.report();
    assert_eq!(faults(&training), 0, "{report}");
    assert_eq!(
        report.parameter("unused").unwrap().verdict,
        Verdict::Undecided
    );
}

#[test]
fn a_layer_of_another_store_has_candidates() {
    let mut training = Training::new();
    let other = cpu_store();
    let bias = variable(&other.root(), "b", &[5], 9);
    let train = |training: &mut Training, steps: std::ops::Range<u32>| {
        for step in steps {
            let (x, y) = Net::batch(step);
            training.optimizer.zero_grad();
            let extra = (&bias * &bias).sum(Kind::Float);
            (training.net.loss(&x, &y) + extra).backward();
            training.optimizer.step();
            let sources = [&training.vs, &other];
            training.run.log_weights(&sources[..], step).unwrap();
        }
    };
    train(&mut training, 0..30);
    let Verdict::NotUpdated { cause } = training.verdict("b") else {
        panic!("{}", training.report());
    };
    assert!(
        cause.candidates().contains(&Cause::NotInOptimizer),
        "{cause}"
    );
    // Told the rate, rounding is out of the question: the steps would be visible.
    assert!(cause.candidates().contains(&Cause::Rounding), "{cause}");
    training.run.set_learning_rate(0.05);
    train(&mut training, 30..60);
    let Verdict::NotUpdated { cause } = training.verdict("b") else {
        panic!("{}", training.report());
    };
    assert!(!cause.candidates().contains(&Cause::Rounding), "{cause}");
}

#[test]
fn an_unused_layer_is_detached() {
    let mut training = Training::new();
    add_variable(&training.vs.root(), "unused", &[4, 4], 7);
    training.train(30);
    let report = training.report();
    assert_eq!(of(&report.findings), [(Some("unused"), Verdict::Detached)]);
    let unused = report.parameter("unused").unwrap();
    assert_eq!(unused.evidence.gradient, GradientState::Undefined);
}

#[test]
fn a_unit_that_never_fires_has_a_dead_gradient() {
    let mut training = Training::new();
    tch::no_grad(|| {
        let _ = training.vs.variables()["c2.bias"]
            .shallow_clone()
            .fill_(-1e3);
    });
    training.train(30);
    // Nothing comes through: neither what is before the dead units nor what is behind them gets
    // a gradient.
    for name in ["c2.weight", "c2.bias", "c10.weight"] {
        assert_eq!(training.verdict(name), Verdict::DeadGradient, "{name}");
    }
    assert_eq!(training.verdict("c10.bias"), Verdict::Learning);
}

#[test]
fn weights_of_zero_stay_zero() {
    let mut training = Training::new();
    tch::no_grad(|| {
        for name in ["c2.weight", "c10.weight", "c2.bias"] {
            let _ = training.vs.variables()[name].shallow_clone().zero_();
        }
    });
    training.train(30);
    for name in ["c2.weight", "c10.weight"] {
        assert_eq!(training.verdict(name), Verdict::AllZero, "{name}");
    }
}

#[test]
fn a_rate_of_zero_is_one_finding_for_the_model() {
    for told in [false, true] {
        let mut training = Training::new();
        training.optimizer.set_lr(0.0);
        if told {
            training.run.set_learning_rate(0.0);
        }
        if !told {
            // Gradients may be accumulated over many calls: stillness is a remark at first.
            training.train(30);
            let report = training.report();
            assert!(report.findings.is_empty(), "{report}");
            let remarks = report.parameters[0].remarks();
            assert_eq!(remarks[0].name(), "not_moved_yet");
            training.train(180);
        }
        training.train(30);
        let report = training.report();
        let [finding] = report.findings.as_slice() else {
            panic!("{report}");
        };
        assert_eq!(finding.variable, None);
        let Verdict::NotUpdated { cause } = finding.verdict else {
            panic!("{report}");
        };
        match told {
            true => assert_eq!(cause, Cause::LearningRateZero),
            false => assert!(cause.candidates().contains(&Cause::LearningRateZero)),
        }
        assert_eq!(report.models[0].trend, Some(Trend::Stagnant));
        assert_eq!(training.run.take_findings().len(), 1);
        // The rate comes back, and so does the model.
        training.optimizer.set_lr(0.05);
        training.train(40);
        assert!(
            training.report().findings.is_empty(),
            "{}",
            training.report()
        );
    }
}

#[test]
fn frozen_is_no_fault_and_moving_all_the_same_is_one() {
    let mut training = Training::new();
    let frozen = variable(&training.vs.root(), "average", &[6, 4], 5).set_requires_grad(false);
    training.train(30);
    let report = training.report();
    let average = report.parameter("average").unwrap();
    assert_eq!(
        (average.role, average.verdict),
        (Role::Frozen, Verdict::Frozen)
    );
    assert!(report.findings.is_empty());
    for _ in 0..30 {
        tch::no_grad(|| {
            let _ = frozen.shallow_clone().g_mul_scalar_(0.99);
        });
        training.train(1);
    }
    assert_eq!(training.verdict("average"), Verdict::MovingWhileFrozen);
}

#[test]
fn not_a_number_is_told_at_once() {
    let mut training = Training::new();
    training.train(3);
    tch::no_grad(|| {
        let bias = training.vs.variables()["c10.bias"].shallow_clone();
        let _ = bias.get(2).fill_(f64::NAN);
    });
    training.train(1);
    let report = training.report();
    let bias = report.parameter("c10.bias").unwrap();
    assert_eq!((bias.verdict, bias.since), (Verdict::NonFinite, Some(3)));
    assert!(bias.reason.contains("of 5 elements"), "{}", bias.reason);
    assert_eq!(report.models[0].trend, None);
}

#[test]
fn updates_below_the_type_are_rounded_away() {
    let run = Run::with(every_call());
    let mut weight = tensor(&[64, 64], 3)
        .to_kind(Kind::BFloat16)
        .set_requires_grad(true);
    for step in 0..30 {
        let gradient = tensor(&[64, 64], 100 + step) * 2e-3;
        tch::no_grad(|| {
            let _ = weight.g_sub_(&gradient.to_kind(Kind::BFloat16));
        });
        run.log_weights(&("w", &weight), i64::from(step)).unwrap();
    }
    let report = run.weight_report().unwrap();
    let parameter = report.parameter("w").unwrap();
    assert_eq!(parameter.verdict, Verdict::RoundedAway, "{report}");
    assert!(parameter.evidence.one_ulp_fraction.unwrap() > 0.35);
}

#[test]
fn gradients_that_are_cleared_before_the_call_silence_their_rules() {
    let mut training = Training::new();
    for _ in 0..30 {
        training.backward();
        training.optimizer.step();
        training.optimizer.zero_grad();
        training.log();
    }
    let report = training.report();
    assert!(report.findings.is_empty(), "{report}");
    assert!(
        report.notes[0].contains("before gradients are cleared"),
        "{report}"
    );
    let conv = report.parameter("c2.weight").unwrap();
    assert_eq!(conv.evidence.gradient, GradientState::Undefined);
}

#[test]
fn units_that_stand_still_in_a_layer_that_lives_are_counted() {
    let mut training = Training::new();
    tch::no_grad(|| {
        let _ = training.vs.variables()["c2.bias"].get(1).fill_(-1e3);
    });
    training.train(30);
    let report = training.report();
    let conv = report.parameter("c2.weight").unwrap();
    assert_eq!(conv.verdict, Verdict::Learning);
    assert!((conv.evidence.still_units.unwrap() - 1.0 / 3.0).abs() < 1e-9);
    assert!(
        report
            .to_string()
            .contains("learning, 33 % of its units still"),
        "{report}"
    );
}

#[test]
fn exact_gradients_refine_what_was_glimpsed() {
    let mut training = Training::new();
    for _ in 0..25 {
        training.backward();
        training
            .run
            .log_gradients(&training.vs, training.step)
            .unwrap();
        training.optimizer.step();
        training.optimizer.zero_grad();
        training.log();
    }
    let report = training.report();
    let conv = report.parameter("c2.weight").unwrap();
    assert_eq!(conv.evidence.gradient, GradientState::NonZero, "{report}");
    assert!(report.notes.is_empty(), "{report}");
}

#[test]
fn a_finding_reaches_the_text_and_the_first_category() {
    let mut training = Training::new();
    add_variable(&training.vs.root(), "un*used|x", &[4, 4], 7);
    training.train(30);
    let written = training.run.finish();
    let texts: Vec<String> = written
        .values
        .iter()
        .filter(|(_, value)| value.tag == "weight_report")
        .map(|(_, value)| match &value.value {
            Some(value::Value::Tensor(tensor)) => {
                String::from_utf8(tensor.string_val[0].clone()).unwrap()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let last = texts.last().unwrap();
    assert!(last.contains("| **un\\*used&#124;x** |"), "{last}");
    assert!(last.contains("4 learning, 1 detached"), "{last}");
    let (_, count) = written.scalar("model/findings").last().copied().unwrap();
    assert_eq!(count, 1.0);
    let layout = written
        .values
        .iter()
        .rfind(|(_, value)| value.tag == "custom_scalars__config__")
        .unwrap();
    let Some(value::Value::Tensor(tensor)) = &layout.1.value else {
        panic!("{layout:?}");
    };
    let layout = Layout::decode(&*tensor.string_val[0]).unwrap();
    assert_eq!(layout.category[0].title, "Needs attention");
    let title = &layout.category[0].chart[0].title;
    assert_eq!(title, "un*used|x: detached (run)");
}

#[test]
fn a_report_is_given_at_any_time_and_from_any_thread() {
    let run = Run::with(every_call());
    assert!(run.weight_report().unwrap().parameters.is_empty());
    let none = cpu_store();
    run.log_weights(&none, 0).unwrap();
    run.log_weights(&none, 1).unwrap();
    assert!(run.weight_report().unwrap().parameters.is_empty());
    let mut training = Training::new();
    training.train(5);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(training_report(&training.run).parameters.len(), 4));
        }
    });
    training.run.close().unwrap();
    assert_eq!(training.report().parameters.len(), 4);
    assert!(training.run.take_findings().is_empty());
}

fn training_report(run: &Run) -> WeightReport {
    run.weight_report().unwrap()
}

#[test]
fn variables_come_and_go() {
    let run = Run::with(every_call());
    let values = |step: u32, name: &str| (name.to_owned(), tensor(&[8, 8], step));
    for step in 0..60_u32 {
        let mut variables = vec![values(step, "stays")];
        if step < 30 {
            variables.push(values(step, "goes"));
        }
        if step >= 15 {
            variables.push(values(step, "comes"));
        }
        run.log_weights(&variables, i64::from(step)).unwrap();
    }
    let report = run.weight_report().unwrap();
    let names: Vec<&str> = report.parameters.iter().map(|one| &*one.name).collect();
    assert_eq!(names, ["comes", "stays"]);
    assert!(report.parameter("stays").unwrap().evidence.steps >= 58);
}

#[test]
fn thousands_of_variables_are_diagnosed() {
    let run = Run::with(every_call());
    for step in 0..26_u32 {
        let variables: Vec<(String, Tensor)> = (0..2000)
            .map(|index| {
                let seed = if index == 1234 { 0 } else { step };
                let weight = tensor(&[2, 2], 10_000 * seed + index);
                (format!("h.{index}.w"), weight.set_requires_grad(true))
            })
            .collect();
        run.log_weights(&variables, i64::from(step)).unwrap();
    }
    let report = run.weight_report().unwrap();
    let still = report.parameter("h.1234.w").unwrap();
    assert!(
        matches!(still.verdict, Verdict::NotUpdated { .. }),
        "{:?}",
        still.verdict
    );
    let named = report
        .findings
        .iter()
        .any(|finding| finding.variable.as_deref() == Some("h.1234.w"));
    assert!(named);
}
