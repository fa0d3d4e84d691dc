//! Layouts of the user's own.

use prost::Message;
use tch_tensorboard::proto::DataClass;
use tch_tensorboard::proto::custom_scalar::{Category, Layout, chart::Content};
use tch_tensorboard::{ChartCategory, CustomChart, Error};

use crate::common::read_scalars;
use crate::{Board, kind};

const TAG: &str = "custom_scalars__config__";

/// The newest layout.
fn layout(board: &Board) -> Vec<Category> {
    let (tensor, metadata) = board.only(TAG);
    assert_eq!(kind(&metadata), ("custom_scalars", DataClass::Tensor));
    Layout::decode(&tensor.string_val[0][..]).unwrap().category
}

fn titles(categories: &[Category]) -> Vec<&str> {
    categories
        .iter()
        .map(|category| category.title.as_str())
        .collect()
}

fn lines(category: &Category, chart: usize) -> &[String] {
    match &category.chart[chart].content {
        Some(Content::Multiline(lines)) => &lines.tag,
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_values_are_one_chart_of_one_run() {
    let board = Board::new();
    let scoped = board.logger.scoped("G").unwrap();
    for step in 0..5 {
        let values = [("train", 1.0), ("val", 2.0)];
        scoped.log_scalars_chart("loss", &values, step).unwrap();
        scoped
            .log_scalars_chart("rate", &[("a", 0.5)], step)
            .unwrap();
    }
    board.logger.flush().unwrap();
    let scalars = read_scalars(board.logger.logdir());
    let counts: Vec<(&str, usize)> = scalars
        .iter()
        .map(|(tag, points)| (tag.as_str(), points.len()))
        .collect();
    assert_eq!(
        counts,
        [("G/loss/train", 5), ("G/loss/val", 5), ("G/rate/a", 5)]
    );
    let layout = layout(&board);
    assert_eq!(titles(&layout), ["Charts"]);
    assert_eq!(layout[0].chart.len(), 2);
    assert_eq!(lines(&layout[0], 0), ["G/loss(/.*)?$"]);
    let none: [(&str, f64); 0] = [];
    let error = scoped.log_scalars_chart("loss", &none, 5).unwrap_err();
    assert!(matches!(error, Error::InvalidValue { .. }), "{error}");
    assert!(scoped.log_scalars_chart("loss", &[("", 1.0)], 5).is_err());
}

#[test]
fn own_categories_come_before_generated_ones_and_share_their_titles() {
    let board = Board::new();
    let own = |title: &str, tag: &str| {
        ChartCategory::new(title, [CustomChart::lines("Own", [tag.to_owned()])])
    };
    let band = CustomChart::band("Accuracy", "acc", "acc/low", "acc/high");
    let layout_of_ours = [
        ChartCategory::new("Progress", [band]).closed(),
        own("Training", "loss"),
    ];
    board.logger.log_layout(&layout_of_ours).unwrap();
    let mut weight = vec![1.0_f32, -2.0, 0.5];
    for step in 0..4 {
        weight.iter_mut().for_each(|w| *w *= 0.9);
        board.logger.log_scalar("loss", 1.0, step).unwrap();
        board.logger.log_weights(&("w", &weight), step).unwrap();
    }
    board.logger.close().unwrap();
    let categories = layout(&board);
    let titles = titles(&categories);
    assert_eq!(titles[..2], ["Progress", "Training"]);
    assert!(titles.len() > 3, "{titles:?}");
    assert_eq!(
        titles.iter().filter(|title| **title == "Training").count(),
        1
    );
    assert!(categories[0].closed);
    let Some(Content::Margin(margin)) = &categories[0].chart[0].content else {
        panic!("a band");
    };
    let series = &margin.series[0];
    let tags = [&*series.value, &*series.lower, &*series.upper];
    assert_eq!(tags, ["acc", "acc/low", "acc/high"]);
    assert_eq!(categories[1].chart[0].title, "Own");
    assert!(
        categories[1].chart.len() > 1,
        "the generated chart of the loss"
    );
}

#[test]
fn a_group_that_has_a_chart_gets_no_second_one() {
    let board = Board::new();
    let mut weight = vec![1.0_f32, -2.0, 0.5];
    for step in 0..4 {
        weight.iter_mut().for_each(|w| *w *= 0.9);
        board.logger.log_scalar("rate", 0.1, step).unwrap();
        board
            .logger
            .log_scalars_chart("loss", &[("a", 1.0), ("b", 2.0)], step)
            .unwrap();
        board.logger.log_weights(&("w", &weight), step).unwrap();
    }
    board.logger.close().unwrap();
    let categories = layout(&board);
    let titled = |title: &str| {
        let charts = categories.iter().flat_map(|category| &category.chart);
        charts.filter(|chart| chart.title == title).count()
    };
    assert_eq!((titled("loss"), titled("rate")), (1, 1));
}

#[test]
fn a_category_takes_the_place_of_the_one_before() {
    let board = Board::new();
    let of = |tag: &str| [ChartCategory::new("A", [CustomChart::group("x", tag)])];
    board.logger.log_layout(&of("one")).unwrap();
    board.logger.log_layout(&of("two")).unwrap();
    board.logger.log_scalar("two/x", 1.0, 0).unwrap();
    let layout = layout(&board);
    assert_eq!(
        (layout.len(), lines(&layout[0], 0)),
        (1, &["two(/.*)?$".to_owned()][..])
    );
    let empty = board.logger.log_layout(&[ChartCategory::new("A", [])]);
    assert!(matches!(empty, Err(Error::InvalidValue { .. })));
}
