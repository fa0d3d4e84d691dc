//! What is observed where logging may take only so much of the CPU time. Nothing here depends on
//! how fast a machine is: a limit next to nothing is exceeded on any.

use tch_tensorboard::{Cadence, LogDir, Logger, Overhead, Verdict, WeightOptions};

use crate::run::{Run, Written};

/// Elements of which a call takes long enough to spend, within a few hundred calls, what may be
/// spent before anything is thinned out.
const ELEMENTS: usize = 100_000;

/// Weights that each call raises by 1.
fn weights(call: i64) -> Vec<f32> {
    (0..ELEMENTS)
        .map(|index| (index % 7) as f32 + call as f32)
        .collect()
}

fn limited(options: WeightOptions) -> Run {
    Run::build(|builder| builder.overhead(Overhead::AtMost(1e-6)).weights(options))
}

/// Logs until so many steps were not observed.
fn log_until_thinned(logger: &Logger, unobserved: u64) -> i64 {
    let mut call = 0;
    while logger.stats().unobserved < unobserved {
        logger.log_weights(&("w", weights(call)), call).unwrap();
        call += 1;
        assert!(call < 20_000, "nothing was thinned out");
    }
    call
}

#[test]
fn steps_are_left_out_behind_the_first_and_a_delta_stays_that_of_one_step() {
    let run = limited(WeightOptions::new());
    let calls = log_until_thinned(&run, 500);
    let stats = run.stats();
    assert!(stats.spent > std::time::Duration::ZERO && stats.dropped == 0);
    let report = run.weight_report().unwrap();
    assert_eq!(report.parameter("w").unwrap().verdict, Verdict::Learning);
    let is_note = |note: &&String| note.contains("is observed, so that logging keeps to");
    let note = report.notes.iter().find(is_note).expect("a note").clone();

    let logdir = run.logdir().to_owned();
    run.close().unwrap();
    let written = Written::read(&logdir);
    let steps = written.steps("weight_std/w");
    assert_eq!(steps[..36], (0..36).collect::<Vec<i64>>());
    assert!(
        steps.len() < calls as usize - 400,
        "{} of {calls}",
        steps.len()
    );
    for (step, mean) in written.scalar("weight_delta_mean/w") {
        assert!(
            (mean - 1.0).abs() < 1e-3,
            "a delta of {mean} at step {step}"
        );
    }
    let logged = LogDir::open(&logdir).unwrap().runs()[0]
        .weight_report()
        .unwrap();
    assert_eq!(
        logged.report.parameter("w").unwrap().verdict,
        Verdict::Learning
    );
    assert!(
        logged.report.notes.contains(&note),
        "{:?}",
        logged.report.notes
    );
}

#[test]
fn a_cadence_of_the_users_own_is_kept_whatever_it_costs() {
    let each = WeightOptions::new()
        .scalars(Cadence::EveryCall)
        .histograms(Cadence::Every(0));
    let run = limited(each);
    for call in 0..300 {
        run.log_weights(&("w", weights(call)), call).unwrap();
    }
    assert_eq!(run.stats().unobserved, 0);
    assert_eq!(run.finish().steps("weight_std/w").len(), 300);
}

#[test]
fn a_share_of_nothing_and_one_of_more_than_all_are_refused() {
    for share in [0.0, -0.1, 1.0, 2.0, f64::NAN, f64::INFINITY] {
        let dir = tempfile::tempdir().unwrap();
        let logger = Logger::builder(dir.path().join("run"));
        let error = logger.overhead(Overhead::AtMost(share)).create().err();
        assert!(error.unwrap().to_string().contains("overhead"), "{share}");
    }
}
