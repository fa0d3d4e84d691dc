//! What once surprised users: each is a promise now.

use std::sync::{Arc, Mutex};

use prost::Message;
use tch_tensorboard::proto::custom_scalar::{Category, Layout, chart::Content};
use tch_tensorboard::proto::summary;
use tch_tensorboard::{NamedTensors, Result, Role, Visitor};

use crate::reference::assert_close;
use crate::run::{Run, Written};

fn model(count: usize, step: i64) -> Vec<(String, Vec<f32>)> {
    (0..count)
        .map(|index| {
            let first = (index + 1) as f32 + step as f32 / 8.0;
            (format!("h.{index}.weight"), vec![first, 2.0, 3.0, 4.0, 5.0])
        })
        .collect()
}

#[test]
fn a_series_goes_on_when_the_model_grows_beyond_a_tier() {
    let run = Run::of_every_call();
    for step in 0..3_i64 {
        run.log_weights(&model(16, step), step).unwrap();
    }
    for step in 3..6_i64 {
        run.log_weights(&model(40, step), step).unwrap();
    }
    let written = run.finish();
    for tag in [
        "weight_mean/h.3.weight",
        "weight_norm/h.3.weight",
        "weight_drift/h.15.weight",
        "weight_samples/h.3.weight/0",
        "weight_mean_minus_std/h.3.weight",
    ] {
        assert_eq!(written.steps(tag), [0, 1, 2, 3, 4, 5], "{tag}");
    }
    assert_eq!(written.steps("weight_std/h.39.weight"), [3, 4, 5]);
    assert!(!written.has("weight_mean/h.39.weight"));
}

#[test]
fn the_learning_rate_is_one_series_whoever_logs_it() {
    let run = Run::of_every_call();
    let call = |step: i64, rate: f64, by_user: bool| {
        run.set_learning_rate(rate);
        run.log_weights(&model(1, step), step).unwrap();
        if by_user {
            run.log_scalar("learning_rate", rate, step).unwrap();
        }
    };
    call(0, 0.1, true);
    call(1, 0.05, true);
    run.log_scalars(&[("loss", 1.0), ("learning_rate", 0.05)], 2)
        .unwrap();
    call(3, 0.025, true);
    let written = run.finish();
    let expected = [(0, 0.1), (1, 0.05), (2, 0.05), (3, 0.025)];
    assert_eq!(written.scalar("learning_rate"), expected);
    assert_eq!(written.scalar("loss"), [(2, 1.0)]);
}

fn open_category(written: &Written, title: &str) -> Category {
    let values = written.values.iter().rev();
    let mut layouts = values.filter(|(_, value)| value.tag == "custom_scalars__config__");
    let (_, newest) = layouts.next().expect("a layout");
    let Some(summary::value::Value::Tensor(tensor)) = &newest.value else {
        panic!("the layout is no tensor");
    };
    let layout = Layout::decode(&*tensor.string_val[0]).unwrap();
    let mut found = layout.category.into_iter();
    found
        .find(|found| found.title == title)
        .expect("a category")
}

#[test]
fn a_group_of_many_scalars_is_no_open_chart_of_all_of_them() {
    let run = Run::of_every_call();
    for step in 0..2_i64 {
        for layer in 0..150 {
            run.log_scalar(&format!("grad/{layer}"), f64::from(layer), step)
                .unwrap();
        }
        run.log_scalar("loss/train", 1.0, step).unwrap();
        run.log_weights(&model(1, step), step).unwrap();
    }
    let written = run.finish();
    let training = open_category(&written, "Training");
    assert!(!training.closed);
    let [grad, loss] = training.chart.as_slice() else {
        panic!("{:?}", training.chart);
    };
    assert_eq!(grad.title, "grad: the first 24 of 150");
    let Some(Content::Multiline(lines)) = &grad.content else {
        panic!("{grad:?}");
    };
    assert_eq!(lines.tag.len(), 24);
    assert_eq!(loss.title, "loss");
    let all = open_category(&written, "Training: groups of many scalars");
    assert!(all.closed && all.chart.len() == 1 && all.chart[0].title == "grad");
}

/// A matrix that begins next to zero, as adapters do.
struct Adapter(f32);

impl NamedTensors for Adapter {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable("up", &vec![self.0; 16], Role::Trainable);
        Ok(())
    }
}

#[test]
fn norms_and_drifts_are_readable_at_every_size() {
    let run = Run::of_every_call();
    for (step, value) in [(0_i64, 1e-6_f32), (1, 1e-5), (2, 1e-4)] {
        run.log_weights(&Adapter(value), step).unwrap();
    }
    let report = run.weight_report().unwrap().to_string();
    // Norm 4e-4, drift 99: a vector has no fan-in.
    assert!(
        report.contains("4.00e-4") && report.contains("99"),
        "{report}"
    );
}

#[test]
fn weights_beyond_f32_are_counted_and_the_others_have_a_norm() {
    let run = Run::of_every_call();
    for step in 0..2_i64 {
        let w = vec![3.0_f64 + step as f64, 4.0, 1e200, -1e60];
        run.log_weights(&("w", w), step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let w = report.parameter("w").unwrap();
    assert_eq!((w.nonfinite, w.norm), (2, Some(32_f64.sqrt())));
    let written = run.finish();
    assert_eq!(written.scalar("weight_nonfinite/w"), [(0, 2.0), (1, 2.0)]);
    assert_close("norm", written.at("weight_norm/w", 0), 5.0);
}

#[test]
fn two_shapes_in_turn_in_one_scope_say_so() {
    let run = Run::of_every_call();
    let note = |run: &Run| {
        let report = run.weight_report().unwrap();
        report.notes.iter().any(|note| note.contains("scoped"))
    };
    for step in 0..4_i64 {
        let w = vec![1.0 + step as f32; if step < 2 { 3 } else { 4 }];
        run.log_weights(&("w", w), step).unwrap();
    }
    assert!(!note(&run), "it grew once");
    for step in 4..8_i64 {
        let w = vec![1.0 + step as f32; if step % 2 == 0 { 3 } else { 4 }];
        run.log_weights(&("w", w), step).unwrap();
    }
    assert!(note(&run));
}

/// Errors that reach `on_error`.
pub fn reported() -> (
    Arc<Mutex<Vec<String>>>,
    impl Fn(&tch_tensorboard::Error) + Send + Sync,
) {
    let errors = Arc::new(Mutex::new(Vec::new()));
    let list = errors.clone();
    let report = move |error: &tch_tensorboard::Error| list.lock().unwrap().push(error.to_string());
    (errors, report)
}
