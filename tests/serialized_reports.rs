//! What `serde` makes of a report: names that programs may rely on.

use serde_json::{Value, json};
use tch_tensorboard::{Cause, Logger, Verdict};

#[test]
fn a_report_has_stable_names() {
    let dir = tempfile::tempdir().unwrap();
    let logger = Logger::create(dir.path().join("run")).unwrap();
    for (step, last) in [(0, 0.5_f32), (1, 0.4), (2, f32::NAN)] {
        let weights = [("a", [0.1_f32, 0.2]), ("w", [0.1 * step as f32, last])];
        logger.log_weights(&weights, step).unwrap();
    }
    let report = logger.weight_report().unwrap();
    let value = serde_json::to_value(&report).unwrap();
    let parameter = value["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .find(|parameter| parameter["name"] == "w")
        .unwrap();
    assert_eq!(parameter["verdict"], "non_finite");
    assert_eq!(parameter["causes"], json!([]));
    assert_eq!(parameter["fault"], true);
    assert_eq!(parameter["dtype"], "f32");
    assert_eq!(parameter["role"], "trainable");
    assert_eq!(parameter["shape"], json!([2]));
    assert_eq!(parameter["step"], 2);
    assert_eq!(parameter["nonfinite"], 1);
    assert_eq!(parameter["run"], logger.logdir().display().to_string());
    assert_eq!(parameter["evidence"]["gradient"], "unseen");
    let finding = &value["findings"][0];
    assert_eq!(finding["verdict"], "non_finite");
    assert_eq!(finding["variable"], "w");
    assert_eq!(finding["over_since"], Value::Null);
    assert_eq!(value["models"][0]["step"], 2);
    assert!(value["notes"].is_array());
    // Each remark is an object with its name and its numbers.
    for parameter in &report.parameters {
        let remarks = serde_json::to_value(parameter.remarks()).unwrap();
        for (remark, value) in parameter.remarks().iter().zip(remarks.as_array().unwrap()) {
            assert_eq!(value["remark"], remark.name());
        }
    }
}

#[test]
fn a_verdict_is_its_name_and_its_causes() {
    let cause = Cause::OneOf(&[Cause::StepNotCalled, Cause::Rounding]);
    let value = serde_json::to_value(Verdict::NotUpdated { cause }).unwrap();
    let wanted = json!({
        "verdict": "not_updated", "causes": ["step_not_called", "rounding"], "fault": true,
    });
    assert_eq!(value, wanted);
    let value = serde_json::to_value(Verdict::Learning).unwrap();
    let wanted = json!({"verdict": "learning", "causes": [], "fault": false});
    assert_eq!(value, wanted);
    assert_eq!(
        serde_json::to_value(Cause::Rounding).unwrap(),
        json!(["rounding"])
    );
}
