//! What points into the dashboards: the generated layout and the address with pinned cards.

use std::collections::BTreeSet;

use prost::Message;
use regex::Regex;
use tch_tensorboard::WeightOptions;
use tch_tensorboard::proto::custom_scalar::{Layout, chart::Content};
use tch_tensorboard::proto::summary;

use crate::run::{Run, Written};

/// The layouts in the order of the file, with their steps.
fn layouts(written: &Written) -> Vec<(i64, Layout)> {
    let values = written.values.iter();
    let of_tag = values.filter(|(_, value)| value.tag == "custom_scalars__config__");
    of_tag
        .map(|(step, value)| {
            let Some(summary::value::Value::Tensor(tensor)) = &value.value else {
                panic!("the layout is no tensor");
            };
            let plugin = value
                .metadata
                .as_ref()
                .unwrap()
                .plugin_data
                .as_ref()
                .unwrap();
            assert_eq!(plugin.plugin_name, "custom_scalars");
            (*step, Layout::decode(&*tensor.string_val[0]).unwrap())
        })
        .collect()
}

/// Every chart's tags: those that TensorBoard's patterns match, and the names of margin charts.
fn shown(layout: &Layout, scalars: &BTreeSet<String>) -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    for chart in layout.category.iter().flat_map(|category| &category.chart) {
        match chart.content.as_ref().unwrap() {
            Content::Multiline(lines) => {
                for pattern in &lines.tag {
                    // TensorBoard matches at the start.
                    let regex = Regex::new(&format!("^(?:{pattern})")).unwrap();
                    let before = shown.len();
                    let matching: Vec<&String> =
                        scalars.iter().filter(|tag| regex.is_match(tag)).collect();
                    assert!(
                        !matching.is_empty(),
                        "{pattern} in {} shows nothing",
                        chart.title
                    );
                    shown.extend(matching.into_iter().cloned());
                    assert!(shown.len() >= before);
                }
            }
            Content::Margin(margin) => {
                for series in &margin.series {
                    for tag in [&series.value, &series.lower, &series.upper] {
                        assert!(
                            scalars.contains(tag),
                            "{tag} in {} is not there",
                            chart.title
                        );
                        shown.insert(tag.clone());
                    }
                }
            }
        }
    }
    shown
}

fn weights(step: i64) -> Vec<f32> {
    vec![1.0 + step as f32, 2.0, 3.0, 4.0, 5.0]
}

#[test]
fn the_layout_names_only_tags_that_exist() {
    let run = Run::of_every_call();
    let scope = run.scoped("G").unwrap();
    for step in 0..4_i64 {
        run.log_scalar("loss/train", step, step).unwrap();
        run.log_scalar("odd.(tag)+", step, step).unwrap();
        let variables = [
            ("c2.weight", weights(step)),
            ("c10.weight", weights(2 * step)),
        ];
        run.log_weights(&variables, step).unwrap();
        scope.log_weights(&("w", weights(step)), step).unwrap();
    }
    let written = run.finish();
    let mut scalars = written.tags();
    scalars.extend(["model/findings".to_owned(), "model/G/findings".to_owned()]);
    scalars.retain(|tag| !written.scalar(tag).is_empty());
    let layouts = layouts(&written);
    assert_eq!(layouts[0].0, 0, "the first layout stands at step 0");
    let (_, newest) = layouts.last().unwrap();
    let shown = shown(newest, &scalars);
    for tag in [
        "loss/train",
        "odd.(tag)+",
        "weight_update_ratio_log10/c2.weight",
        "weight_update_ratio_log10/G/w",
        "weight_mean_plus_std/c10.weight",
        "weight_samples/G/w/0",
        "weight_delta_samples/c2.weight/4",
        "model/update_ratio_log10_min",
    ] {
        let known = shown.contains(tag) || tag.contains("samples");
        assert!(known, "{tag} is on no chart: {shown:?}");
    }
    assert!(
        shown
            .iter()
            .any(|tag| tag.starts_with("weight_samples/G/w/"))
    );
    let titles: Vec<&str> = newest
        .category
        .iter()
        .map(|category| &*category.title)
        .collect();
    assert_eq!(titles[0], "Needs attention");
}

#[test]
fn a_run_without_weights_has_no_layout() {
    let run = Run::new();
    run.log_scalar("loss", 1.0, 0).unwrap();
    assert!(!run.finish().has("custom_scalars__config__"));
}

/// The tags of the cards that an address pins, by the grammar of JSON strings without escapes.
fn pinned(url: &str) -> Vec<String> {
    let (_, query) = url.split_once("/?pinnedCards=").expect(url);
    let (cards, rest) = query.split_once('&').expect(url);
    assert_eq!(rest, "smoothing=0#timeseries");
    assert!(
        cards
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"%-._~".contains(&byte))
    );
    let json = percent_encoding::percent_decode_str(cards)
        .decode_utf8()
        .unwrap();
    let card = r#"\{"plugin":"scalars","tag":"((?:[^"\\]|\\["\\])*)"\}"#;
    let whole = Regex::new(&format!("^\\[{card}(?:,{card})*\\]$")).unwrap();
    assert!(whole.is_match(&json), "{json}");
    let tags = Regex::new(card).unwrap();
    tags.captures_iter(&json)
        .map(|card| card[1].replace("\\\"", "\"").replace("\\\\", "\\"))
        .collect()
}

#[test]
fn the_address_pins_cards_that_exist() {
    let run = Run::of_every_call();
    for step in 0..3_i64 {
        run.log_scalar("loss/\"quoted\" \\ 100 %", step, step)
            .unwrap();
        run.log_weights(&("w", weights(step)), step).unwrap();
    }
    let open = run.board_url("http://localhost:6006/");
    assert!(open.starts_with("http://localhost:6006/?"), "{open}");
    run.close().unwrap();
    let closed = run.board_url("http://localhost:6006");
    let written = Written::read(run.logdir());
    for url in [open, closed] {
        let tags = pinned(&url);
        assert!(
            tags.contains(&"loss/\"quoted\" \\ 100 %".to_owned()),
            "{tags:?}"
        );
        assert!(
            tags.contains(&"weight_update_ratio_log10/w".to_owned()),
            "{tags:?}"
        );
        for tag in &tags {
            assert!(
                !written.scalar(tag).is_empty(),
                "{tag} is pinned, but not there"
            );
        }
        assert!(tags.len() <= 10, "TensorBoard pins ten");
    }
}

#[test]
fn an_address_without_anything_to_pin_is_the_page() {
    let run = Run::new();
    assert_eq!(run.board_url("http://host:1/"), "http://host:1/#timeseries");
}

#[test]
fn the_learning_rate_is_a_scalar_of_the_next_step() {
    let run = Run::of_every_call();
    run.log_weights(&("w", weights(0)), 10).unwrap();
    run.set_learning_rate(0.5);
    run.set_learning_rate(0.25);
    run.log_weights(&("w", weights(1)), 11).unwrap();
    run.log_weights(&("w", weights(2)), 12).unwrap();
    let scope = run.scoped("G").unwrap();
    scope.set_learning_rate(0.125);
    scope.log_weights(&("w", weights(2)), 3).unwrap();
    let written = run.finish();
    assert_eq!(written.scalar("learning_rate"), [(11, 0.25)]);
    assert_eq!(written.scalar("G/learning_rate"), [(3, 0.125)]);
}

#[test]
fn a_learning_rate_outlives_a_call_that_failed() {
    let run = Run::of_every_call();
    run.set_learning_rate(0.5);
    let twice = [("w", weights(0)), ("w", weights(0))];
    run.log_weights(&twice, 0).unwrap_err();
    run.log_weights(&("w", weights(0)), 0).unwrap();
    assert_eq!(run.finish().scalar("learning_rate"), [(0, 0.5)]);
}

/// Titles of categories, each with those of its charts.
fn titles(written: &Written) -> Vec<(String, Vec<String>)> {
    let (_, newest) = layouts(written).pop().unwrap();
    let categories = newest.category.into_iter();
    categories
        .map(|category| {
            let charts = category.chart.into_iter().map(|chart| chart.title);
            (category.title, charts.collect())
        })
        .collect()
}

fn charts<'a>(titles: &'a [(String, Vec<String>)], category: &str) -> &'a [String] {
    let found = titles.iter().find(|(title, _)| title == category);
    found.map_or(&[], |(_, charts)| charts)
}

#[test]
fn the_changed_share_has_charts_only_where_it_says_something() {
    let write = |rests: bool| {
        let run = Run::of_every_call();
        for step in 0..6_i64 {
            let mut weights: Vec<f32> = (0..8).map(|n| (step + n + 1) as f32).collect();
            if rests {
                weights[3] = 7.0;
            }
            run.log_weights(&("w", weights), step).unwrap();
        }
        titles(&run.finish())
    };
    let is_share = |title: &String| title.contains("hanged share");
    let all = |titles: &[(String, Vec<String>)]| -> usize {
        let charts = titles.iter().flat_map(|(_, charts)| charts);
        charts.filter(|title| is_share(title)).count()
    };
    assert_eq!(all(&write(false)), 0);
    assert!(all(&write(true)) >= 2);
}

#[test]
fn titles_name_scope_and_run_and_groups_have_a_place() {
    let options = WeightOptions::new().group("head", "fc*");
    let run = Run::build(|builder| builder.weights(options));
    let scope = run.scoped("G").unwrap();
    for step in 0..40_i64 {
        let moving = weights(step);
        let mut broken = weights(step);
        broken[1] = f32::NAN;
        run.log_weights(&("fc.weight", &moving), step).unwrap();
        scope.log_weights(&("fc.weight", &broken), step).unwrap();
    }
    let titles = titles(&run.finish());
    assert_eq!(
        charts(&titles, "Needs attention")[0],
        "G/fc.weight: non finite (run)"
    );
    assert!(charts(&titles, "Single weights").contains(&"G/fc.weight".to_owned()));
    assert!(charts(&titles, "Single weights").contains(&"fc.weight".to_owned()));
    assert!(!charts(&titles, "By group").is_empty());
    // For TensorBoard, which puts what the first of several runs does not have at the end.
    assert!(titles.iter().any(|(title, _)| title == "Training"));
    assert!(charts(&titles, "Training").is_empty());
}
