//! A picture of what changed where: a row for each kind of tensor, a column for each layer.

use std::collections::BTreeMap;

use tch_tensorboard::{ChangeVerdict, Comparison, Image, Logger, TensorChange};

use crate::output::{Failure, shown};

/// Pixels of a cell's side, the gap to the next one included.
const CELL: usize = 14;
const GAP: usize = 2;

/// Cells of a side: TensorBoard shows pictures at most as wide as the window.
const MOST: usize = 128;

type Colour = [u8; 3];

const BACKGROUND: Colour = [255, 255, 255];
const IDENTICAL: Colour = [205, 205, 205];
const FAULT: Colour = [214, 39, 40];
const OTHER: Colour = [148, 103, 189];

/// From a change of a millionth of the norm to one of the whole norm: dark blue, green, yellow.
const SCALE: [Colour; 5] = [
    [48, 18, 90],
    [49, 104, 142],
    [31, 158, 137],
    [144, 215, 67],
    [253, 231, 37],
];

/// Logs the picture as `checkpoint_change_map`, and with the first one the names of its rows.
pub(crate) fn log(
    logger: &Logger,
    comparison: &Comparison,
    step: i64,
    is_first: bool,
) -> Result<(), Failure> {
    // By kind, in the order of their first tensors.
    let mut kinds: Vec<(String, Vec<&TensorChange>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for row in &comparison.rows {
        let kind = kind(&row.name);
        let place = *places.entry(kind.clone()).or_insert(kinds.len());
        match kinds.get_mut(place) {
            Some((_, rows)) => rows.push(row),
            None => kinds.push((kind, vec![row])),
        }
    }
    kinds.truncate(MOST);
    let columns = kinds
        .iter()
        .map(|(_, rows)| rows.len())
        .max()
        .unwrap_or(0)
        .min(MOST);
    let (width, height) = (columns * CELL + GAP, kinds.len() * CELL + GAP);
    let mut pixels = vec![BACKGROUND; width * height];
    for (line, (_, rows)) in kinds.iter().enumerate() {
        for (column, row) in rows.iter().take(columns).enumerate() {
            let colour = colour(row);
            for y in line * CELL + GAP..(line + 1) * CELL {
                let start = y * width + column * CELL + GAP;
                if let Some(cells) = pixels.get_mut(start..start + CELL - GAP) {
                    cells.fill(colour);
                }
            }
        }
    }
    let pixels: Vec<u8> = pixels.into_iter().flatten().collect();
    let image = Image::from_pixels(&pixels, width, height, 3);
    logger.log_image("checkpoint_change_map", image, step)?;
    if is_first {
        logger.log_text("checkpoint_change_map_rows", &legend(&kinds), step)?;
    }
    Ok(())
}

fn legend(kinds: &[(String, Vec<&TensorChange>)]) -> String {
    let mut text = "Colours of `checkpoint_change_map`: from dark blue (a millionth of the norm) \
        by green to yellow (all of the norm); grey: identical; red: NaN, infinite or all zero; \
        violet: in one checkpoint only, or of other shapes. Rows from the top, their layers from \
        the left:\n"
        .to_owned();
    for (number, (kind, rows)) in kinds.iter().enumerate() {
        let kind = shown(kind).replace('`', "'");
        text.push_str(&format!("\n{}. `{kind}` ({})", number + 1, rows.len()));
    }
    text
}

/// The name without its first number: that of the layer.
fn kind(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(part) = parts.iter_mut().find(|part| part.parse::<u64>().is_ok()) {
        *part = "*";
    }
    parts.join(".")
}

fn colour(row: &TensorChange) -> Colour {
    match row.verdict {
        ChangeVerdict::Identical | ChangeVerdict::Retyped | ChangeVerdict::Renamed => IDENTICAL,
        ChangeVerdict::NonFinite | ChangeVerdict::Zero => FAULT,
        ChangeVerdict::Changed | ChangeVerdict::Scaled | ChangeVerdict::Rounding => {
            let size = row.size_of_change().unwrap_or(0.0);
            // 0 for a millionth, 1 for all.
            scaled(((size.log10() + 6.0) / 6.0).clamp(0.0, 1.0))
        }
        _ => OTHER,
    }
}

fn scaled(share: f64) -> Colour {
    let at = share * (SCALE.len() - 1) as f64;
    let below = (at as usize).min(SCALE.len() - 2);
    let (Some(low), Some(high)) = (SCALE.get(below), SCALE.get(below + 1)) else {
        return OTHER;
    };
    let mix = |low: u8, high: u8| {
        let (low, high) = (f64::from(low), f64::from(high));
        (low + (high - low) * (at - below as f64)).round() as u8
    };
    [
        mix(low[0], high[0]),
        mix(low[1], high[1]),
        mix(low[2], high[2]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_changes_are_brighter() {
        let brightness = |share: f64| {
            scaled(share)
                .iter()
                .map(|&part| u32::from(part))
                .sum::<u32>()
        };
        let shares = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0].map(brightness);
        assert!(
            shares.windows(2).all(|pair| pair[0] < pair[1]),
            "{shares:?}"
        );
        assert_eq!((scaled(0.0), scaled(1.0)), (SCALE[0], SCALE[4]));
    }

    #[test]
    fn layers_of_one_kind_are_one_row() {
        assert_eq!(
            kind("model.layers.11.mlp.0.weight"),
            "model.layers.*.mlp.0.weight"
        );
        assert_eq!(kind("lm_head.weight"), "lm_head.weight");
    }
}
