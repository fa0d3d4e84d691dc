//! What `log_weights` takes.

use std::collections::{BTreeMap, HashMap};

use tch_tensorboard::{Error, NamedTensors, Result, Role, Visitor};

use crate::run::{Run, every_call};

fn values(step: i64) -> Vec<f32> {
    vec![1.0 + step as f32, 2.0, -3.0]
}

/// Logs three steps of a source and tells the names with a delta, as the report orders them.
fn names<S: NamedTensors>(source: impl Fn(i64) -> S) -> Vec<String> {
    let run = Run::with(every_call());
    for step in 0..3_i64 {
        run.log_weights(&source(step), step).unwrap();
    }
    let report = run.weight_report().unwrap();
    let written = run.finish();
    let names = report
        .parameters
        .iter()
        .map(|parameter| parameter.name.clone());
    let names: Vec<String> = names.collect();
    for name in &names {
        let tag = format!("weight_delta_max_abs/{name}");
        assert_eq!(written.scalar(&tag), [(1, 1.0), (2, 1.0)], "{tag}");
    }
    names
}

struct Own {
    step: i64,
}

impl NamedTensors for Own {
    fn visit(&self, visitor: &mut Visitor<'_>) -> Result<()> {
        visitor.variable("c10.weight", &values(self.step), Role::Trainable);
        visitor.variable("c2.weight", values(self.step).as_slice(), Role::Trainable);
        Ok(())
    }
}

#[test]
fn pairs_arrays_vectors_slices_and_maps() {
    assert_eq!(names(|step| ("a", values(step))), ["a"]);
    assert_eq!(names(|step| (String::from("a"), [step as f64, 1.0])), ["a"]);
    let pairs = |step| [("c10", values(step)), ("c2", values(step))];
    assert_eq!(names(pairs), ["c2", "c10"]);
    assert_eq!(names(|step| pairs(step).to_vec()), ["c2", "c10"]);
    assert_eq!(names(|step| HashMap::from(pairs(step))), ["c2", "c10"]);
    assert_eq!(names(|step| BTreeMap::from(pairs(step))), ["c2", "c10"]);
    assert_eq!(
        names(|step| [HashMap::from(pairs(step)), HashMap::new()]),
        ["c2", "c10"]
    );
    assert_eq!(names(|step| Own { step }), ["c2.weight", "c10.weight"]);
    let boxed = |step| -> Vec<Box<dyn NamedTensors>> {
        vec![Box::new(("a", values(step))), Box::new(Own { step })]
    };
    assert_eq!(names(boxed), ["a", "c2.weight", "c10.weight"]);
}

#[test]
fn borrowed_sources_are_sources() {
    let run = Run::with(every_call());
    for step in 0..2_i64 {
        let (first, second) = (("a", values(step)), ("b", values(step)));
        match step {
            0 => run.log_weights(&[&first, &second], step).unwrap(),
            _ => run.log_weights([&first, &second].as_slice(), step).unwrap(),
        }
    }
    let source: &dyn NamedTensors = &[("a", values(2)), ("b", values(2))];
    run.log_weights(source, 2).unwrap();
    let written = run.finish();
    assert_eq!(
        written.scalar("weight_delta_max_abs/b"),
        [(1, 1.0), (2, 1.0)]
    );
}

#[test]
fn every_type_of_number_is_taken() {
    let run = Run::with(every_call());
    for step in 0..2_u8 {
        let half = half::bf16::from_f32(f32::from(step));
        let sources: Vec<Box<dyn NamedTensors>> = vec![
            Box::new(("u8", vec![step, 1])),
            Box::new(("i64", vec![i64::from(step), 1])),
            Box::new(("usize", vec![usize::from(step), 1])),
            Box::new(("bool", vec![step == 1, true])),
            Box::new(("bf16", vec![half, half::bf16::ONE])),
            Box::new(("f64", vec![f64::from(step), 1.0])),
        ];
        run.log_weights(&sources, step as u32).unwrap();
    }
    let written = run.finish();
    for name in ["u8", "i64", "usize", "bool", "bf16", "f64"] {
        let tag = |kind: &str| format!("{kind}/{name}");
        assert_eq!(written.at(&tag("weight_mean"), 1), 1.0, "{name}");
        assert_eq!(written.at(&tag("weight_delta_max_abs"), 1), 1.0, "{name}");
        assert_eq!(
            written.at(&tag("weight_changed_fraction"), 1),
            0.5,
            "{name}"
        );
    }
}

#[test]
fn a_name_twice_in_one_call_says_what_to_do() {
    for sources in [
        vec![("a", values(1)), ("b", values(1)), ("a", values(2))],
        vec![("a", values(1)), ("a", values(2))],
    ] {
        // In the first call, and once the variables are known.
        let run = Run::with(every_call());
        for step in [0_i64, 2] {
            let error = run.log_weights(&sources, step).unwrap_err();
            let a_twice = matches!(&error, Error::DuplicateVariable { name } if **name == *"a");
            assert!(a_twice, "{error:?}");
            assert!(error.to_string().contains("scoped("), "{error}");
            for step in [step, step + 1] {
                let once = [("a", values(step)), ("b", values(step))];
                run.log_weights(&once, step).unwrap();
            }
        }
        let written = run.finish();
        let changes = [(1, 1.0), (2, 1.0), (3, 1.0)];
        assert_eq!(written.scalar("weight_delta_max_abs/b"), changes);
    }
}

#[test]
fn a_source_that_fails_is_reported_to_the_caller() {
    struct Broken;
    impl NamedTensors for Broken {
        fn visit(&self, _: &mut Visitor<'_>) -> Result<()> {
            Err(Error::UnsupportedTensor {
                name: "mine".into(),
                reason: "is not there".into(),
            })
        }
    }
    let run = Run::new();
    let error = run.log_weights(&Broken, 0).unwrap_err();
    assert!(error.to_string().contains("mine"), "{error}");
    run.log_weights(&("a", values(0)), 0).unwrap();
}
