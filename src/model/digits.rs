//! Numbers for people.

/// Three significant digits: plainly from 0.001 to 1000, with an exponent outside. A norm of 3e-5 is not `0.0000`.
///
/// | value | text |
/// | --- | --- |
/// | 0.5 | `0.500` |
/// | 123.456 | `123` |
/// | 0.0000321 | `3.21e-5` |
/// | 54600 | `5.46e4` |
pub(crate) fn three_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let rounded = format!("{value:.2e}");
    let exponent = rounded
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    match exponent {
        Some(exponent @ -3..=2) => {
            let decimals = usize::try_from(2 - exponent).unwrap_or(0);
            format!("{value:.decimals$}")
        }
        _ => rounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_left_of_every_size() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.5, "0.500"),
            (12.345_678_9, "12.3"),
            (123.456, "123"),
            (999.6, "1.00e3"),
            (54_600.0, "5.46e4"),
            (0.001_234, "0.00123"),
            (0.000_999_9, "0.00100"),
            (3.21e-5, "3.21e-5"),
            (-2.0, "-2.00"),
            (1e60, "1.00e60"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(three_digits(value), text, "{value:e}");
        }
    }
}
