//! Runs, sub-runs, scopes, sessions, and runs of several files.

use tch_tensorboard::{Cadence, WeightOptions};

use crate::canonical::event_files;
use crate::data::Model;
use crate::net::{Log, scenario};

fn every_call() -> WeightOptions {
    WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::EveryCall)
        .samples(1)
}

fn train(log: &Log, model: &mut Model, steps: std::ops::Range<i64>) {
    for step in steps {
        log.scalar("loss/train", 0.5 / (step + 1) as f64, step);
        model.step(0.01);
        log.weights(model, step);
    }
}

/// Two models that take turns, and one without a scope.
#[test]
fn scopes() {
    scenario("scopes", |net| {
        let log = net.create(every_call().group("fc", "fc*"));
        let (generator, critic) = (log.scoped("G"), log.scoped("critic/deep"));
        let mut models = [Model::small(40), Model::small(41), Model::small(42)];
        for step in 0..45_i64 {
            models[0].step(0.01);
            log.weights(&models[0], step);
            // A critic that trains three times as often.
            if step % 3 == 0 {
                models[1].step(0.02);
            }
            generator.weights(&models[1], step);
            models[2].step(0.005);
            critic.weights(&models[2], step);
        }
        drop((generator, critic));
        net.close(log);
    });
}

#[test]
fn sub_runs() {
    scenario("sub_runs", |net| {
        let log = net.create(every_call());
        let (val, deep) = (log.sub_run("val"), log.sub_run("val").sub_run("deep"));
        let mut models = [Model::small(43), Model::small(44)];
        train(&log, &mut models[0], 0..12);
        train(&val, &mut models[1], 0..30);
        for step in 0..5 {
            deep.scalar("loss/train", 0.25, step);
        }
        deep.logger
            .log_histogram("values", &[1.0, 2.0, 4.0], 5)
            .unwrap();
        drop((val, deep));
        net.close(log);
    });
}

/// A session that was not closed, one that was, one that goes on from a checkpoint.
#[test]
fn resume() {
    scenario("resume", |net| {
        let mut model = Model::small(45);
        let log = net.create(every_call());
        train(&log, &mut model, 0..10);
        log.logger.log_histogram("values", &[1.0, 2.0], 9).unwrap();
        log.sub_run("val").scalar("loss/train", 1.0, 9);
        drop(log);
        let log = net.open(net.builder().weights(every_call()).resume());
        net.note("(resumed at)", log.logger.resumed_at());
        train(&log, &mut model, 9..20);
        log.sub_run("val").scalar("loss/train", 2.0, 19);
        net.close(log);
        let log = net.open(net.builder().weights(every_call()).resume());
        net.note("(resumed at)", log.logger.resumed_at());
        train(&log, &mut model, 20..25);
        // A tag goes on meaning what it meant.
        log.scalar("values", 1.0, 24);
        net.note(
            "(refused)",
            log.logger.log_scalar("loss/train", 1.0, 3).is_err(),
        );
        net.close(log);
        let log = net.open(net.builder().weights(every_call()).resume_from(15));
        net.note("(resumed at)", log.logger.resumed_at());
        train(&log, &mut model, 15..40);
        net.close(log);
    });
}

/// Where a file ends is not compared, but each is described (see `canonical.rs`), and none exceeds
/// its size by much.
#[test]
fn rotation() {
    scenario("rotation", |net| {
        const MOST: u64 = 1 << 16;
        let log = net.open(net.builder().weights(every_call()).max_file_bytes(MOST));
        train(&log, &mut Model::small(46), 0..60);
        net.close(log);
        let files = event_files(&net.run_dir());
        let sizes = files.iter().map(|file| file.metadata().unwrap().len());
        let sizes: Vec<u64> = sizes.collect();
        assert!(sizes.len() >= 3, "{sizes:?}");
        assert!(
            sizes.iter().all(|&size| size < MOST + MOST / 2),
            "{sizes:?}"
        );
        let full = &sizes[..sizes.len() - 1];
        assert!(full.iter().all(|&size| size >= MOST), "{sizes:?}");
    });
}
