//! Scalars, histograms, and what becomes of tags.

use half::{bf16, f16};
use tch_tensorboard::WeightOptions;

use crate::data::{Model, Numbers};
use crate::net::scenario;

#[test]
fn scalars() {
    scenario("scalars", |net| {
        let log = net.create(WeightOptions::new());
        let logger = &log.logger;
        let mut numbers = Numbers::new(1);
        for step in 0..40_i64 {
            let value = numbers.next();
            logger.log_scalar("loss/train", value, step).unwrap();
            logger
                .log_scalar("loss/half", f16::from_f32(value), step)
                .unwrap();
            logger
                .log_scalar("loss/brain", bf16::from_f32(value), step)
                .unwrap();
            logger.log_scalar("steps", step, step).unwrap();
            logger.log_scalar("is_even", step % 2 == 0, step).unwrap();
            let wide = f64::from(value) * 1e300;
            logger.log_scalar("too wide for f32", wide, step).unwrap();
            let several = [("lr", 0.5), ("epoch", f64::from(value)), ("lr/b", -0.0)];
            logger.log_scalars(&several, step).unwrap();
        }
        for (step, value) in [f32::NAN, f32::INFINITY, -f32::INFINITY, 1e-45]
            .into_iter()
            .enumerate()
        {
            logger.log_scalar("odd/value", value, step).unwrap();
        }
        // A step twice, and an earlier one: TensorBoard's affair.
        for step in [5_u32, 5, 3] {
            logger.log_scalar("odd/step", 1_u64 << 40, step).unwrap();
        }
        let refused = logger.log_scalar("", 1.0, 0_usize).unwrap_err();
        let text = refused.to_string();
        let far = logger.log_scalar("far", 1.0, u64::MAX).is_err();
        net.note("(refused)", (!text.is_empty(), far));
        net.close(log);
    });
}

#[test]
fn histograms() {
    scenario("histograms", |net| {
        let log = net.create(WeightOptions::new().histogram_rows(40));
        let logger = &log.logger;
        let mut numbers = Numbers::new(2);
        for step in 0..6_i64 {
            let values = numbers.vec(5000);
            let cubes: Vec<f64> = values.iter().map(|&v| f64::from(v * v * v) * 1e6).collect();
            logger.log_histogram("uniform", &values, step).unwrap();
            logger.log_histogram("cubes", &cubes, step).unwrap();
            let sum = |nine: &[f32]| nine.iter().sum::<f32>();
            let bell: Vec<f32> = values.chunks(9).map(sum).collect();
            logger.log_histogram("bell", &bell, step).unwrap();
            let digits: Vec<u8> = values.iter().map(|&v| (v.abs() * 10.0) as u8).collect();
            logger.log_histogram("digits", &digits, step).unwrap();
            let positive: Vec<bool> = values.iter().map(|&v| v > 0.5).collect();
            logger.log_histogram("flags", &positive, step).unwrap();
            let rare: Vec<i64> = values.iter().map(|&v| (v > 0.999).into()).collect();
            logger.log_histogram("rare", &rare, step).unwrap();
        }
        let odd: [(&str, &[f32]); 7] = [
            ("one", &[3.5]),
            ("equal", &[-2.0; 100]),
            ("two", &[-1.0, 1.0]),
            ("zeros", &[0.0, -0.0, 0.0]),
            ("tiny", &[1e-45, 2e-45, 1e-40]),
            ("wide", &[f32::MAX, f32::MIN, 0.0, 1e-30]),
            (
                "holes",
                &[f32::NAN, 1.0, f32::INFINITY, 2.0, f32::NEG_INFINITY],
            ),
        ];
        for (tag, values) in odd {
            logger
                .log_histogram(&format!("odd/{tag}"), values, 7)
                .unwrap();
        }
        logger.log_histogram("odd/nan", &[f64::NAN; 3], 7).unwrap();
        let empty: [f32; 0] = [];
        net.note(
            "(empty)",
            logger.log_histogram("odd/empty", &empty, 7).is_ok(),
        );
        net.close(log);
    });
}

/// A tag is one kind of thing: the second kind is left out, and told once.
#[test]
fn tag_clash() {
    scenario("tag_clash", |net| {
        let log = net.create(WeightOptions::new());
        let mut model = Model::small(3);
        for step in 0..5_i64 {
            log.scalar("both", 1.0, step);
            log.logger.log_histogram("both", &[1.0, 2.0], step).unwrap();
            log.flush();
            log.logger
                .log_histogram("weight_std/fc2.weight", &[1.0], step)
                .unwrap();
            log.flush();
            model.step(0.01);
            log.weights(&model, step);
            log.scalar("weights/conv1.bias", 0.5, step);
            log.scalar("weight_report", 0.5, step);
            log.scalar("model/findings", 7.0, step);
        }
        net.close(log);
    });
}

/// Groups of the user's own scalars in the layout, of which it takes 24.
#[test]
fn user_groups() {
    scenario("user_groups", |net| {
        let log = net.create(WeightOptions::new());
        let mut model = Model::new([("w", 6)], 4);
        for step in 0..3_i64 {
            for group in 0..30 {
                log.scalar(&format!("group{group}/a.b"), 0.5, step);
                log.scalar(&format!("group{group}/b"), 0.25, step);
            }
            model.step(0.1);
            log.weights(&model, step);
        }
        net.close(log);
    });
}
